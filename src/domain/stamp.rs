//! Signed identities that a client's hook writes: what stands in `agent_id` then is a stamp,
//! `AGENT~INSTANCE~CLAIM~TIME~NONCE~MAC`, good for one call.
//!
//! It says which agent calls. Only a holder of the installation's key can make it, for this tool
//! with these very arguments, a short while ago. The caller of [`verify`] ensures that it is used
//! once.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::{call::AgentId, delegation::is_handle, digest, keyed::Key, secret::same_bytes};

/// How long a stamp is valid: the client may ask its user about the call after it was stamped.
const LIFETIME: i64 = 10 * 60 * 1000;

/// How far the hook's clock may be ahead.
const AHEAD: i64 = 60 * 1000;

/// A valid stamp expires within this time, in milliseconds.
pub const LONGEST_GOOD: i64 = LIFETIME + AHEAD;

/// The longest text that can be a stamp.
const LONGEST: usize = 512;

/// Stands between the parts, and in no agent's name.
const BETWEEN: char = '~';

/// How much of the keyed digest a stamp carries: models may have to repeat it.
const MAC_BYTES: usize = 16;

const PURPOSE: &str = "stamps";

/// Whether `text` can only be a stamp, good or not: no agent's name and no handle looks like it.
pub fn is_stamp(text: &str) -> bool {
    text.contains(BETWEEN)
}

/// What a call asks for, digested: the tool of the facade by its bare name, such as `execute_tool`,
/// and all its arguments but `agent_id`. The order of members does not matter; numbers count as
/// they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallDigest([u8; 32]);

impl CallDigest {
    /// Digests a call.
    pub fn of(tool: &str, arguments: &Map<String, Value>) -> Self {
        let mut hash = Sha256::new_with_prefix(b"tollgate call\0");
        digest::feed_text(&mut hash, tool);
        digest::feed_members(&mut hash, arguments, Some("agent_id"));
        Self(hash.finalize().into())
    }
}

/// The content of a stamp to be signed. Holds only what a stamp can express.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    agent: AgentId,
    instance: Option<String>,
    claim: Option<String>,
    at: i64,
    nonce: [u8; 9],
}

impl Stamp {
    /// Says that an agent calls now, in milliseconds since 1970. The nonce tells apart two equal calls
    /// of one moment. None if `agent` cannot name an agent.
    pub fn new(agent: AgentId, at: i64, nonce: [u8; 9]) -> Option<Self> {
        let stamp = Self { agent, instance: None, claim: None, at, nonce };
        AgentId::is_well_formed(stamp.agent.as_str()).then_some(stamp)
    }

    /// Adds the client's id of the agent's instance. An id that a stamp cannot hold is replaced by its
    /// digest.
    #[must_use]
    pub fn of_instance(self, id: &str) -> Self {
        let instance = match AgentId::is_well_formed(id) {
            true => id.to_owned(),
            false => URL_SAFE_NO_PAD.encode(Sha256::digest(id)),
        };
        Self { instance: Some(instance), ..self }
    }

    /// Adds the handle of a delegation that the caller names. Any other text is ignored.
    #[must_use]
    pub fn claiming(self, handle: &str) -> Self {
        Self { claim: is_handle(handle).then(|| handle.to_owned()), ..self }
    }

    /// Whether a stamp that was verified says the same agent and instance.
    pub fn is_of(&self, stamped: &Stamped) -> bool {
        self.agent == stamped.agent && self.instance.as_deref() == stamped.instance()
    }

    /// The stamp for a call, by the installation's key.
    pub fn sign(&self, key: &Key, call: &CallDigest) -> String {
        let said = [
            self.agent.as_str(),
            self.instance.as_deref().unwrap_or_default(),
            self.claim.as_deref().unwrap_or_default(),
            &self.at.to_string(),
            &URL_SAFE_NO_PAD.encode(self.nonce),
        ]
        .join("~");
        let mac = URL_SAFE_NO_PAD.encode(mac(key, call, &said));
        format!("{said}{BETWEEN}{mac}")
    }
}

/// The keyed digest of a call and of the stamp's text for it.
fn mac(key: &Key, call: &CallDigest, said: &str) -> [u8; MAC_BYTES] {
    let signed = [call.0.as_slice(), said.as_bytes()].concat();
    let mut mac = [0; MAC_BYTES];
    mac.iter_mut().zip(key.derive(PURPOSE).mac(&signed)).for_each(|(to, from)| *to = from);
    mac
}

/// A stamp that was verified for a call; made only by [`verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamped {
    agent: AgentId,
    instance: Option<Arc<str>>,
    claim: Option<Arc<str>>,
    digest: [u8; 32],
    until: i64,
}

impl Stamped {
    /// The agent that calls.
    pub fn agent(&self) -> &AgentId {
        &self.agent
    }

    /// Which instance of it, by the client's id.
    pub fn instance(&self) -> Option<&str> {
        self.instance.as_deref()
    }

    /// The handle of a delegation that the caller names. The stamp does not vouch for it.
    pub fn claim(&self) -> Option<&str> {
        self.claim.as_deref()
    }

    /// No other stamp has the same: the stamp was used before if this was seen before.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Until when the stamp is good, in milliseconds since 1970; it need not be remembered longer.
    pub fn until(&self) -> i64 {
        self.until
    }
}

/// Why a stamp is not good. The texts tell a model what to do; they never quote the stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadStamp {
    /// It is none.
    #[error(
        "`agent_id` is not a whole stamp; call again with the name of your agent, and the client's hook signs the call"
    )]
    Malformed,
    /// It was not made for this, or not by a hook of this installation.
    #[error(
        "the stamp in `agent_id` was not made for this call here; call again, and the client's hook signs each call anew"
    )]
    Altered,
    /// It was made too long ago.
    #[error(
        "the stamp in `agent_id` has expired; call again, and the client's hook signs each call anew"
    )]
    Expired,
    /// It was made later than now.
    #[error(
        "the stamp in `agent_id` is of the future; the clocks of client and gateway differ by more than a minute"
    )]
    Early,
}

/// Verifies a stamp for a call with the installation's key, at a time in milliseconds since 1970.
///
/// # Errors
/// Whatever is not exactly a stamp that was signed for this call, and lately.
pub fn verify(text: &str, key: &Key, call: &CallDigest, now: i64) -> Result<Stamped, BadStamp> {
    if text.len() > LONGEST {
        return Err(BadStamp::Malformed);
    }
    let (said, signature) = text.rsplit_once(BETWEEN).ok_or(BadStamp::Malformed)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| BadStamp::Malformed)?;
    // Nothing of it is believed, or even read, before this.
    if !same_bytes(&mac(key, call, said), &signature) {
        return Err(BadStamp::Altered);
    }
    let parts: Vec<&str> = said.split(BETWEEN).collect();
    let &[agent, instance, claim, at, _nonce] = parts.as_slice() else {
        return Err(BadStamp::Malformed);
    };
    let at: i64 = at.parse().map_err(|_| BadStamp::Malformed)?;
    let until = at.saturating_add(LIFETIME);
    if now >= until {
        return Err(BadStamp::Expired);
    }
    if at > now.saturating_add(AHEAD) {
        return Err(BadStamp::Early);
    }
    let given = |part: &str| (!part.is_empty()).then(|| part.into());
    Ok(Stamped {
        agent: AgentId::from(agent),
        instance: given(instance),
        claim: given(claim),
        digest: Sha256::digest(text).into(),
        until,
    })
}
