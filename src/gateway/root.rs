//! The root token: whoever starts a gateway gets one, if the settings ask for it.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::Gateway;
use crate::{
    domain::{
        auth::AuthMode, caveat::Caveat, identity::Credential, refusal::Refusal, token::TokenId,
    },
    host::{clock::now, random},
};

/// How long a root token lasts that is made at the start. The next start makes another.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// A token that may do everything that the rules allow.
#[derive(Debug)]
pub struct Root {
    /// The token.
    pub token: SecretString,
    /// Names it.
    pub id: TokenId,
}

impl Gateway {
    /// The root token: the one of the settings, verified, or a new one; None if they ask for none.
    ///
    /// # Errors
    /// A token of the settings that is not good here, or a key that cannot be read, in words.
    pub async fn root_token(&self) -> Result<Option<Root>, String> {
        let snapshot = self.current();
        let AuthMode::Header(tokens) = &snapshot.settings.auth.mode else { return Ok(None) };
        let words = |refusal: Refusal| match refusal {
            Refusal::LedgerUnavailable => {
                "no root token: the key or the store cannot be used".to_owned()
            }
            refusal => format!(
                "auth.rootToken is not good here: {refusal}; make one with `tollgate token mint`"
            ),
        };
        if let Some(token) = &tokens.root_token {
            let shown = token.expose_secret();
            let good = snapshot.identifier.token(shown).await;
            return match good.map_err(words)? {
                Credential::Token(verified, _) => {
                    Ok(Some(Root { token: token.clone(), id: verified.id() }))
                }
                Credential::Static | Credential::ApiKey(_) => Ok(None),
            };
        }
        if !tokens.auto_mint_root {
            return Ok(None);
        }
        let id = TokenId(random::id());
        let lasts = i64::try_from(LIFETIME.as_millis()).unwrap_or(i64::MAX);
        let caveats = [Caveat::Expires(now().saturating_add(lasts))];
        let token = snapshot.identifier.mint(false, id, &caveats).map_err(words)?;
        Ok(Some(Root { token, id }))
    }
}
