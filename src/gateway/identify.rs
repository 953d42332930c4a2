//! Who calls: the credentials of a call are verified, and the agent that it names is looked up.

use std::sync::{Arc, OnceLock};

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq;

use super::{
    journal::CallRecord,
    key_ring::{KeyRing, Keys},
    request::{EntryPoint, Granted},
};
use crate::{
    domain::{
        auth::{self, ApiKey, AuthMode},
        caller::Caller,
        caveat::Caveat,
        delegation::{Delegation, Standing, is_handle},
        identity::{Credential, Evidence, Unidentified},
        json::{MOST_VALUES, RawJson},
        refusal::Refusal,
        settings::Settings,
        stamp::{self, CallDigest, Stamped},
        token::{Token, TokenId, TokenKeys, Verified},
    },
    host::clock::now,
    ledger::Ledger,
};

/// A longer text names no agent, signed or not; in bytes of JSON.
const LONGEST_ID: usize = 4096;

/// Identifies callers by one state of the settings.
#[derive(Debug)]
pub(super) struct Identifier {
    settings: Arc<Settings>,
    ledger: Arc<dyn Ledger>,
    key_ring: Arc<KeyRing>,
    /// Names this process, and the one client that started it.
    session: u128,
    /// What signs and verifies tokens; made when first needed.
    token_keys: OnceLock<TokenKeys>,
}

/// What a call presents to show who makes it. Nothing of it is verified yet.
#[derive(Debug)]
pub(super) struct PresentedCredentials {
    agent_id: Option<String>,
    credential: Option<SecretString>,
    granted: Granted,
    /// The call as a signature on its `agent_id` binds it, if there may be one.
    signed_call: Option<CallDigest>,
}

impl PresentedCredentials {
    /// Reads the `agent_id` of a call, and what may be signed. A call of a server's own tool has no
    /// `agent_id`: its arguments are all the server's.
    ///
    /// # Errors
    /// Arguments that are signed and cannot be read.
    pub(super) fn read(
        entry_point: EntryPoint,
        tool: &str,
        arguments: &RawJson,
        credential: Option<SecretString>,
        granted: Granted,
    ) -> Result<Self, Refusal> {
        let agent_id = match entry_point {
            EntryPoint::Direct => None,
            _ => arguments.member("agent_id").filter(|id| id.length() <= LONGEST_ID),
        };
        let agent_id = agent_id.and_then(|id| id.string());
        let signed_call = if agent_id.as_deref().is_some_and(stamp::is_stamp) {
            Some(digest_of(tool, arguments)?)
        } else {
            None
        };
        Ok(Self { agent_id, credential, granted, signed_call })
    }
}

/// The call as its signature binds it.
fn digest_of(tool: &str, arguments: &RawJson) -> Result<CallDigest, Refusal> {
    match arguments.tree(MOST_VALUES) {
        Ok(Value::Object(arguments)) => Ok(CallDigest::of(tool, &arguments)),
        Ok(_) => Ok(CallDigest::of(tool, &Map::new())),
        Err(cause) => Err(Refusal::from(Unidentified::Stamp(format!(
            "the signature on `agent_id` cannot be verified, as the call's arguments have {cause}"
        )))),
    }
}

impl Identifier {
    pub(super) fn new(
        settings: &Arc<Settings>,
        ledger: Arc<dyn Ledger>,
        key_ring: &Arc<KeyRing>,
        session: u128,
    ) -> Self {
        let (settings, key_ring) = (settings.clone(), key_ring.clone());
        Self { settings, ledger, key_ring, session, token_keys: OnceLock::new() }
    }

    /// Establishes who calls. What is proven on the way is in the record, even if the call ends here.
    pub(super) async fn identify(
        &self,
        presented: &PresentedCredentials,
        record: &mut CallRecord,
    ) -> Result<Caller, Refusal> {
        let credential = self.credential(presented).await?;
        let identities = &self.settings.identities;
        record.proves(identities.assurance(credential.as_ref(), None), credential.as_ref());
        let claimed = presented.agent_id.as_deref().filter(|id| !id.is_empty());
        let stamp = match (claimed, &presented.signed_call) {
            (Some(text), Some(call)) => Some(self.stamp(text, call).await?),
            _ => None,
        };
        if stamp.is_some() {
            let assurance = identities.assurance(credential.as_ref(), stamp.as_ref());
            record.proves(assurance, credential.as_ref());
        }
        let named = stamp.as_ref().map_or(claimed, |stamp: &Stamped| stamp.claim());
        let handle = match named.filter(|text| is_handle(text)) {
            Some(text) => self.handle(text, credential.as_ref()).await?,
            None => None,
        };
        let evidence = Evidence { claimed, credential, stamp, handle };
        let caller = identities.identify_by(evidence, &self.settings.rules)?;
        record.calls(&caller);
        Ok(caller)
    }

    /// The credential that a call shows, verified; else that of this process, where the listener
    /// grants it. None where the settings ask for nothing, and then nothing is looked at.
    pub(super) async fn credential(
        &self,
        presented: &PresentedCredentials,
    ) -> Result<Option<Credential>, Refusal> {
        let auth = &self.settings.auth;
        if let AuthMode::None = auth.mode {
            return Ok(None);
        }
        let own = match presented.granted {
            Granted::ProcessCredential => auth.presented.as_ref(),
            Granted::Nothing => None,
        };
        let shown = presented.credential.as_ref().or(own);
        let shown = shown.ok_or_else(|| Refusal::unauthenticated(MISSING))?.expose_secret();
        match &auth.mode {
            AuthMode::None => Ok(None),
            AuthMode::Config(token) => {
                let (shown, token) = (bare(shown).as_bytes(), token.expose_secret().as_bytes());
                if bool::from(shown.ct_eq(token)) {
                    Ok(Some(Credential::Static))
                } else {
                    Err(Refusal::unauthenticated("the token is not the one of the settings"))
                }
            }
            AuthMode::Header(_) => self.token(shown).await.map(Some),
            AuthMode::ApiKey(keys) => self.api_key(keys, bare(shown)).await.map(Some),
        }
    }

    pub(super) async fn token(&self, shown: &str) -> Result<Credential, Refusal> {
        let verified = self.token_keys()?.verify(shown, self.namespace(), now());
        let verified: Verified = verified.map_err(Refusal::unauthenticated)?;
        match self.ledger.standing(verified.id()).await? {
            Standing { usable: true, delegation }
                if verified.has_account() == delegation.is_some() =>
            {
                Ok(Credential::Token(verified, delegation))
            }
            _ => Err(Refusal::unauthenticated("the token was revoked or has expired")),
        }
    }

    /// Whether what a caller showed is still good, for a call that had to wait before it is sent.
    pub(super) async fn readmit(&self, caller: &Caller) -> Result<(), Refusal> {
        let Some(grant) = caller.grant() else { return Ok(()) };
        let credential = grant.credential.as_deref().unwrap_or_default();
        let mut good = grant.caveats.expires().is_none_or(|at| at > now());
        if let Some(id) = credential.strip_prefix("key ") {
            let keys = self.ledger.api_keys().await?;
            good &= keys.iter().all(|key| key.id != id || key.usable(now()));
        }
        let shown = [grant.token.as_deref(), credential.strip_prefix("token ")];
        for token in shown.into_iter().flatten().filter_map(TokenId::parse) {
            good = good && self.ledger.standing(token).await?.usable;
        }
        if good { Ok(()) } else { Err(Refusal::unauthenticated(REVOKED_MEANWHILE)) }
    }

    async fn api_key(&self, keys: &[ApiKey], shown: &str) -> Result<Credential, Refusal> {
        let digest = auth::digest(shown);
        let of_settings = auth::find_key(keys, &digest).cloned();
        let is_of_settings = of_settings.is_some();
        let found = match of_settings {
            Some(key) => Some(key),
            None => self.ledger.api_key(*digest.expose()).await?,
        };
        let Some(key) = found else {
            return Err(Refusal::unauthenticated("the API key is not one of this gateway's"));
        };
        if let Some(state) = key.obstacle(now(), is_of_settings) {
            let verb = if state == "revoked" { "was" } else { "is" };
            return Err(Refusal::unauthenticated(format!("the API key {verb} {state}")));
        }
        if !key.roles.is_empty() {
            return Err(Refusal::unauthenticated(ROLES));
        }
        Ok(Credential::ApiKey(key))
    }

    /// What the client's hook signed, which is good once.
    async fn stamp(&self, text: &str, call: &CallDigest) -> Result<Stamped, Refusal> {
        let refused = |why: String| Refusal::from(Unidentified::Stamp(why));
        let stamped = stamp::verify(text, &self.keys()?.stamps, call, now())
            .map_err(|bad| refused(bad.to_string()))?;
        if self.ledger.consume_nonce(stamped.digest(), stamped.until()).await? {
            Ok(stamped)
        } else {
            Err(refused(REPLAYED.to_owned()))
        }
    }

    /// The delegation that a handle stands for, if it may be used behind this principal and is of
    /// these settings' accounts. None if the rules have an agent of that very name.
    async fn handle(
        &self,
        text: &str,
        credential: Option<&Credential>,
    ) -> Result<Option<Delegation>, Refusal> {
        let found = self.by_handle(text).await?;
        let principal = self.principal(credential.map(Credential::name).as_deref())?;
        match found {
            Some(Standing { usable: true, delegation: Some(delegation) })
                if delegation.principal == Some(principal)
                    && delegation.account.namespace() == self.namespace() =>
            {
                Ok(Some(delegation))
            }
            None if self.settings.rules.agents.contains_key(text) => Ok(None),
            _ => Err(Refusal::HandleNotFound),
        }
    }

    pub(super) async fn by_handle(&self, handle: &str) -> Result<Option<Standing>, Refusal> {
        Ok(self.ledger.by_handle(self.handle_digest(handle)?).await?)
    }

    /// The digest under which the ledger keeps a handle.
    pub(super) fn handle_digest(&self, handle: &str) -> Result<[u8; 32], Refusal> {
        Ok(self.keys()?.handles.mac(handle.as_bytes()))
    }

    /// Who stands behind a call, whatever agent it names: a credential, or this process and the
    /// client that started it. A keyed digest.
    pub(super) fn principal(&self, credential: Option<&str>) -> Result<[u8; 32], Refusal> {
        let text = match credential {
            None => format!("process {:032x}", self.session),
            Some(name) => format!("credential {name}"),
        };
        Ok(self.keys()?.handles.derive("principals").mac(text.as_bytes()))
    }

    pub(super) fn keys(&self) -> Result<&Keys, Refusal> {
        Ok(self.key_ring.keys()?)
    }

    /// Makes a token of these settings.
    pub(super) fn mint(
        &self,
        has_account: bool,
        id: TokenId,
        caveats: &[Caveat],
    ) -> Result<SecretString, Refusal> {
        let token = Token::mint(self.token_keys()?, has_account, id, self.namespace(), caveats);
        Ok(token.map_err(Refusal::delegation)?.text())
    }

    fn token_keys(&self) -> Result<&TokenKeys, Refusal> {
        if let Some(keys) = self.token_keys.get() {
            return Ok(keys);
        }
        let keys = self.key_ring.token_keys(&self.settings.auth.mode)?;
        Ok(self.token_keys.get_or_init(|| keys))
    }

    fn namespace(&self) -> &str {
        &self.settings.budgeting.namespace
    }

    /// Refuses a call that carries a credential for this gateway to a server, wherever in what is
    /// sent it stands.
    pub(super) fn keep_credential(
        &self,
        presented: &PresentedCredentials,
        sent: impl FnOnce() -> [RawJson; 2],
    ) -> Result<(), Refusal> {
        let auth = &self.settings.auth;
        let mut secrets = presented.credential.iter().chain(&auth.presented).peekable();
        if matches!(auth.mode, AuthMode::None) || secrets.peek().is_none() {
            return Ok(());
        }
        let sent = sent().map(|json| json.compact());
        let holds = |secret: &SecretString| {
            // As JSON, like what is sent, where some letters are escaped.
            let secret = Value::from(bare(secret.expose_secret())).to_string();
            let secret = secret.trim_matches('"');
            !secret.is_empty() && sent.iter().any(|sent| sent.contains(secret))
        };
        if secrets.any(holds) { Err(Refusal::arguments(CARRIED)) } else { Ok(()) }
    }
}

const MISSING: &str = "the call shows no credential; it is read from `token` in the request's `_meta`, or from TOLLGATE_TOKEN in the environment of the client's record for this gateway";

/// Keys of the store may have roles from a version that kept them. Their holders could do more than
/// these say.
const ROLES: &str =
    "the API key has roles, which this version does not enforce; it takes a key without them";

const REVOKED_MEANWHILE: &str = "the call was not sent: while it waited for its turn, its credential was revoked or has expired";

const REPLAYED: &str =
    "the signature on `agent_id` was used before; call again, and the client's hook signs anew";

const CARRIED: &str = "the call holds the credential for this gateway in its arguments, or in `_meta` beside `token`; no server is sent that, so take it out";

/// A credential without its scheme.
fn bare(shown: &str) -> &str {
    match shown.split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => rest.trim(),
        _ => shown.trim(),
    }
}
