//! The keys of tokens, and what they prove.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

use super::wire::{Kid, Token, TokenId, UnreadableToken};
use crate::domain::{
    caveat::{Caveat, Caveats, TwoTenants},
    credits::Credits,
    keyed::Key,
    period::timestamp,
    secret::Secret,
};

/// The keys of tokens: the first signs, all verify. Each has a name that is derived from it.
#[derive(Clone)]
pub struct TokenKeys(Vec<(Kid, Key)>);

/// A token that is what it says: its chain was begun with one of the keys, it is of this namespace and not
/// expired. Made only by [`TokenKeys::verify`]. Whether it was revoked, its account knows.
///
/// ```compile_fail
/// use tollgate::domain::{caveat::Caveats, token::{TokenId, Verified}};
/// let forged = Verified {
///     id: TokenId(1),
///     has_account: true,
///     caveats: Caveats::default(),
///     ceilings: Vec::new(),
/// };
/// ```
#[derive(Clone, Debug)]
pub struct Verified {
    id: TokenId,
    has_account: bool,
    caveats: Caveats,
    ceilings: Vec<([u8; 8], Credits)>,
}

/// Why a token proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    /// No token.
    #[error(transparent)]
    Unreadable(#[from] UnreadableToken),
    /// None of the keys made it.
    #[error("the token was made with another key than those of this gateway (`auth.rootKey`)")]
    UnknownKey,
    /// Not as it was made.
    #[error("the token was altered: its signature does not fit what it says")]
    Altered,
    /// Of a type that this version does not know.
    #[error(
        "the token's caveat {place} is of type {kind}, which this version does not know, so what it forbids is unknown"
    )]
    UnknownCaveat {
        /// Its place, from 1.
        place: usize,
        /// Its type.
        kind: u8,
    },
    /// A caveat that makes no sense.
    #[error("the token's caveat {place} cannot be read: {reason}")]
    BadCaveat {
        /// Its place, from 1.
        place: usize,
        /// Why.
        reason: String,
    },
    /// Its time is over.
    #[error("the token expired at {}", timestamp(*.at))]
    Expired {
        /// When, in milliseconds since 1970.
        at: i64,
    },
    /// Its accounts are others.
    #[error("the token was made for other settings than these")]
    OtherNamespace,
    /// Two tenants.
    #[error(transparent)]
    Tenants(#[from] TwoTenants),
    /// A ceiling that nothing can count.
    #[error("the token has a ceiling but no account of its own, so nothing could count against it")]
    CeilingWithoutAccount,
}

impl TokenKeys {
    /// Of these keys, which may serve other purposes as well.
    pub fn of_keys<'a>(keys: impl IntoIterator<Item = &'a Key>) -> Self {
        let named = |key: &Key| {
            let key = key.derive("tokens");
            (first_bytes(key.mac(b"kid")), key)
        };
        Self(keys.into_iter().map(named).collect())
    }

    /// Of these texts (`auth.rootKey`).
    pub fn of_texts(texts: &[SecretString]) -> Self {
        let keys: Vec<Key> = texts.iter().map(|text| Key::of_text(text.expose_secret())).collect();
        Self::of_keys(&keys)
    }

    /// The key that signs, and its name.
    pub(super) fn signing(&self) -> Option<(Kid, &Key)> {
        self.0.first().map(|(kid, key)| (*kid, key))
    }

    /// Whether one of them has the name that a token gives.
    pub fn know(&self, token: &Token) -> bool {
        self.find(token).is_some()
    }

    fn find(&self, token: &Token) -> Option<&Key> {
        // The name is no secret.
        self.0.iter().find(|(kid, _)| *kid == token.header.kid).map(|(_, key)| key)
    }

    /// Verifies a token of this namespace, at a time in milliseconds since 1970.
    ///
    /// # Errors
    /// Why it proves nothing. Never quotes the token.
    pub fn verify(&self, text: &str, namespace: &str, now: i64) -> Result<Verified, Unverified> {
        let token = Token::parse(text)?;
        let key = self.find(&token).ok_or(Unverified::UnknownKey)?;
        let tags = token.chain(key);
        // Only what is proven to be of a key's owner is looked at further.
        let proven = tags.last().is_some_and(|tag| tag.same_as(&token.tag));
        if !proven {
            return Err(Unverified::Altered);
        }
        let caveats = Caveats(token.caveats()?);
        if token.namespace() != namespace {
            return Err(Unverified::OtherNamespace);
        }
        if let Some(at) = caveats.expires().filter(|at| *at <= now) {
            return Err(Unverified::Expired { at });
        }
        caveats.tenant()?;
        let ceilings = ceilings(&caveats, &tags);
        if !ceilings.is_empty() && !token.has_account() {
            return Err(Unverified::CeilingWithoutAccount);
        }
        Ok(Verified { id: token.id(), has_account: token.has_account(), caveats, ceilings })
    }
}

/// The ceilings and their names. A name is derived from the chain up to the ceiling, so it stays the
/// same when the token is narrowed further, and does not reveal the chain.
fn ceilings(caveats: &Caveats, tags: &[Secret]) -> Vec<([u8; 8], Credits)> {
    let after = tags.iter().skip(1);
    let ceiling = |(caveat, tag): (&Caveat, &Secret)| match caveat {
        Caveat::Ceiling(most) => {
            Some((first_bytes(Key::new(*tag.expose()).mac(b"ceiling")), *most))
        }
        _ => None,
    };
    caveats.0.iter().zip(after).filter_map(ceiling).collect()
}

fn first_bytes([a, b, c, d, e, f, g, h, ..]: [u8; 32]) -> [u8; 8] {
    [a, b, c, d, e, f, g, h]
}

impl Verified {
    /// Its id.
    pub fn id(&self) -> TokenId {
        self.id
    }

    /// Whether the account `token/<id>` pays; else it pays as its agent does.
    pub fn has_account(&self) -> bool {
        self.has_account
    }

    /// What narrows it.
    pub fn caveats(&self) -> &Caveats {
        &self.caveats
    }

    /// What all its calls together may cost: each ceiling with a name that stays the same in all
    /// tokens that are made of this one.
    pub fn ceilings(&self) -> &[([u8; 8], Credits)] {
        &self.ceilings
    }
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKeys({})", self.0.len())
    }
}
