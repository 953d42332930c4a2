//! Who calls: what a call shows is verified, and what it names is looked up.

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq;

use super::{CallRequest, Gateway, Granted, Snapshot, entry::Entry};
use crate::{
    domain::{
        auth::{self, ApiKey, AuthMode},
        call::AgentId,
        caller::Caller,
        delegation::{Delegation, Standing, is_handle},
        identity::{Credential, Evidence, Unidentified},
        json::{MOST_VALUES, RawJson},
        refusal::Refusal,
        stamp::{self, CallDigest, Stamped},
        token::{TokenId, TokenKeys, Verified},
    },
    host::clock::now,
    ledger::Unavailable,
};

/// A longer text names no agent, signed or not; in bytes of JSON.
const LONGEST_ID: usize = 4096;

/// What a call shows of who makes it.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) agent_id: Option<String>,
    pub(super) credential: Option<SecretString>,
    pub(super) granted: Granted,
    /// The call as a signature on its `agent_id` binds it, if there may be one.
    pub(super) call: Option<CallDigest>,
}

impl Shown {
    /// What a call of one of the three tools shows; reads nothing but what may be signed.
    pub(super) fn by(
        tool: &str,
        arguments: &RawJson,
        credential: Option<&SecretString>,
        granted: Granted,
    ) -> Result<Self, Refusal> {
        let agent_id = arguments.member("agent_id").filter(|id| id.length() <= LONGEST_ID);
        let agent_id = agent_id.and_then(|id| id.string());
        let call = match agent_id.as_deref().is_some_and(stamp::is_stamp) {
            true => Some(digest_of(tool, arguments)?),
            false => None,
        };
        Ok(Self { agent_id, credential: credential.cloned(), granted, call })
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

impl Gateway {
    /// The agent that a call is made as; None if it would be refused.
    pub async fn agent_of(&self, asked: &CallRequest) -> Option<AgentId> {
        let snapshot = self.current();
        let caller = snapshot.identify(&asked.shown().ok()?, &mut snapshot.new_entry()).await;
        Some(caller.ok()?.agent().clone())
    }
}

impl Snapshot {
    /// Establishes who calls. What is proven on the way is in the entry, even if the call ends here.
    pub(super) async fn identify(
        &self,
        shown: &Shown,
        entry: &mut Entry,
    ) -> Result<Caller, Refusal> {
        let credential = self.credential(shown.credential.as_ref(), shown.granted).await?;
        let identities = &self.settings.identities;
        entry.proves(identities.assurance(credential.as_ref(), None), credential.as_ref());
        let claimed = shown.agent_id.as_deref().filter(|id| !id.is_empty());
        let stamp = match (claimed, &shown.call) {
            (Some(text), Some(call)) => Some(self.stamp(text, call).await?),
            _ => None,
        };
        if stamp.is_some() {
            let assurance = identities.assurance(credential.as_ref(), stamp.as_ref());
            entry.proves(assurance, credential.as_ref());
        }
        let named = stamp.as_ref().map_or(claimed, |stamp: &Stamped| stamp.claim());
        let handle = match named.filter(|text| is_handle(text)) {
            Some(text) => self.handle(text, credential.as_ref()).await?,
            None => None,
        };
        let evidence = Evidence { claimed, credential, stamp, handle };
        let caller = identities.identify_by(evidence, &self.settings.rules)?;
        entry.calls(&caller);
        Ok(caller)
    }

    /// A refusal of arguments, once it is known whose: records tell that, too.
    pub(super) async fn of_caller(
        &self,
        refusal: Refusal,
        shown: &Shown,
        entry: &mut Entry,
    ) -> Refusal {
        // The arguments are at fault, whether or not it is known who wrote them.
        let _ = self.identify(shown, entry).await;
        refusal
    }

    /// What a call, or else this process, shows to prove who calls. Nothing of it is looked at where
    /// the settings ask for nothing.
    pub(super) async fn credential(
        &self,
        shown: Option<&SecretString>,
        granted: Granted,
    ) -> Result<Option<Credential>, Refusal> {
        let auth = &self.settings.auth;
        if let AuthMode::None = auth.mode {
            return Ok(None);
        }
        let own = match granted {
            Granted::ProcessCredential => auth.presented.as_ref(),
            Granted::Nothing => None,
        };
        let shown = shown.or(own);
        let shown = shown.ok_or_else(|| Refusal::unauthenticated(MISSING))?.expose_secret();
        match &auth.mode {
            AuthMode::None => Ok(None),
            AuthMode::Config(token) => {
                let (shown, token) = (bare(shown).as_bytes(), token.expose_secret().as_bytes());
                match bool::from(shown.ct_eq(token)) {
                    true => Ok(Some(Credential::Static)),
                    false => {
                        Err(Refusal::unauthenticated("the token is not the one of the settings"))
                    }
                }
            }
            AuthMode::Header(_) => self.token(shown).await.map(Some),
            AuthMode::ApiKey(keys) => self.api_key(keys, bare(shown)).await.map(Some),
        }
    }

    pub(super) async fn token(&self, shown: &str) -> Result<Credential, Refusal> {
        let namespace = &self.settings.budgeting.namespace;
        let verified = self.token_keys()?.verify(shown, namespace, now());
        let verified: Verified = verified.map_err(Refusal::unauthenticated)?;
        let standing = self.billing.ledger.standing(verified.id()).await.map_err(unavailable)?;
        let ended = || Refusal::unauthenticated("the token was revoked, or its time is over");
        match standing {
            Standing { usable: true, delegation }
                if verified.has_account() == delegation.is_some() =>
            {
                Ok(Credential::Token(verified, delegation))
            }
            _ => Err(ended()),
        }
    }

    /// Whether what a caller showed is still good, for a call that had to wait before it is sent.
    pub(super) async fn readmit(&self, caller: &Caller) -> Result<(), Refusal> {
        let revoked = || Err(Refusal::unauthenticated(REVOKED_MEANWHILE));
        let Some(grant) = caller.grant() else { return Ok(()) };
        if grant.caveats.expires().is_some_and(|at| at <= now()) {
            return revoked();
        }
        let ledger = &self.billing.ledger;
        let credential = grant.credential.as_deref().unwrap_or_default();
        if let Some(id) = credential.strip_prefix("key ") {
            let kept = ledger.api_keys().await.map_err(unavailable)?;
            if kept.iter().any(|key| key.id == id && !key.usable(now())) {
                return revoked();
            }
        }
        let shown = [grant.token.as_deref(), credential.strip_prefix("token ")];
        for token in shown.into_iter().flatten().filter_map(TokenId::parse) {
            if !ledger.standing(token).await.map_err(unavailable)?.usable {
                return revoked();
            }
        }
        Ok(())
    }

    /// What signs and verifies tokens.
    pub(super) fn token_keys(&self) -> Result<&TokenKeys, Refusal> {
        if let Some(keys) = self.token_keys.get() {
            return Ok(keys);
        }
        let keys =
            self.billing.key_ring.token_keys(&self.settings.auth.mode).map_err(unavailable)?;
        Ok(self.token_keys.get_or_init(|| keys))
    }

    async fn api_key(&self, keys: &[ApiKey], shown: &str) -> Result<Credential, Refusal> {
        let digest = auth::digest(shown);
        let of_settings = auth::find_key(keys, &digest).cloned();
        let is_of_settings = of_settings.is_some();
        let found = match of_settings {
            Some(key) => Some(key),
            None => self.billing.ledger.api_key(digest).await.map_err(unavailable)?,
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
        let key = &self.billing.key_ring.keys().map_err(unavailable)?.stamps;
        let stamped =
            stamp::verify(text, key, call, now()).map_err(|bad| refused(bad.to_string()))?;
        let first = self.billing.ledger.consume_nonce(stamped.digest(), stamped.until()).await;
        match first.map_err(unavailable)? {
            true => Ok(stamped),
            false => Err(refused(REPLAYED.to_owned())),
        }
    }

    /// The delegation that a handle stands for, if it may be used behind this principal and is of
    /// these settings' accounts. None if the rules have an agent of that very name.
    async fn handle(
        &self,
        text: &str,
        credential: Option<&Credential>,
    ) -> Result<Option<Delegation>, Refusal> {
        let keys = self.billing.key_ring.keys().map_err(unavailable)?;
        let found = self.billing.ledger.by_handle(keys.handles.mac(text.as_bytes())).await;
        let found = found.map_err(unavailable)?;
        let principal = self.principal(credential.map(Credential::name).as_deref())?;
        match found {
            Some(Standing { usable: true, delegation: Some(delegation) })
                if delegation.principal == Some(principal)
                    && delegation.account.namespace() == self.settings.budgeting.namespace =>
            {
                Ok(Some(delegation))
            }
            None if self.settings.rules.agents.contains_key(text) => Ok(None),
            _ => Err(Refusal::HandleNotFound),
        }
    }

    /// Who stands behind a call, whatever agent it names: a credential, or this process and the
    /// client that started it. A keyed digest.
    pub(super) fn principal(&self, credential: Option<&str>) -> Result<[u8; 32], Refusal> {
        let text = match credential {
            None => format!("process {:032x}", self.billing.session),
            Some(name) => format!("credential {name}"),
        };
        let keys = self.billing.key_ring.keys().map_err(unavailable)?;
        Ok(keys.handles.derive("principals").mac(text.as_bytes()))
    }
}

const MISSING: &str = "the call shows no credential; it is read from `token` in the request's `_meta`, or from TOLLGATE_TOKEN in the environment of the client's entry for this gateway";

/// Keys of the store may have roles from a version that kept them. Their holders could do more than
/// these say.
const ROLES: &str =
    "the API key has roles, which this version does not enforce; it takes a key without them";

const REVOKED_MEANWHILE: &str = "the call was not sent: while it waited for its turn, what it was made with was revoked or has expired";

const REPLAYED: &str =
    "the signature on `agent_id` was used before; call again, and the client's hook signs anew";

impl Snapshot {
    /// A call does not carry a credential for this gateway to a server, wherever in what is sent it
    /// stands.
    pub(super) fn keeps_its_credential(
        &self,
        shown: Option<&SecretString>,
        sent: &[RawJson],
    ) -> Result<(), Refusal> {
        let auth = &self.settings.auth;
        if let AuthMode::None = auth.mode {
            return Ok(());
        }
        // Written as what is sent is, in which some letters are not written as they are.
        let written = |shown: &SecretString| Value::from(bare(shown.expose_secret())).to_string();
        let sent: Vec<String> = sent.iter().map(RawJson::compact).collect();
        let holds = |shown: &SecretString| {
            let shown = written(shown);
            let shown = shown.trim_matches('"');
            !shown.is_empty() && sent.iter().any(|sent| sent.contains(shown))
        };
        match shown.into_iter().chain(auth.presented.as_ref()).any(holds) {
            true => Err(Refusal::arguments(
                "the call holds the credential for this gateway in its arguments, or in `_meta` beside `token`; no server is sent that, so take it out",
            )),
            false => Ok(()),
        }
    }
}

/// A credential without its scheme.
fn bare(shown: &str) -> &str {
    match shown.split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => rest.trim(),
        _ => shown.trim(),
    }
}

/// Calls of nobody who can be told are not made; the log says why.
fn unavailable(cause: Unavailable) -> Refusal {
    tracing::error!("nobody can be identified, as the store or the key cannot be used: {cause}");
    Refusal::LedgerUnavailable
}
