//! Tollgate tokens.
//!
//! A token is a chain of keyed digests over a header and caveats. Its holder can append a caveat
//! without any key, since each digest is the key of the next, but cannot remove or change one. A
//! token carries no credits: at most it names the account that pays.
//!
//! - [`wire`]: a token as bytes and text. [`keys`]: the keys that sign, and verification.

pub mod keys;
pub mod wire;

pub use keys::{TokenKeys, Unverified, Verified};
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use wire::{Header, SignedCaveat};
pub use wire::{MOST_BYTES, MOST_CAVEATS, Token, TokenId, UnreadableToken};

use super::{caveat::Caveat, keyed::Key, secret::Secret};

/// Stands for an API key among the tokens that were denied.
pub fn denial_of_api_key(id: &str) -> TokenId {
    let digest = Sha256::new().chain_update("API key\0").chain_update(id).finalize();
    let (begin, _) = digest.split_at(16);
    TokenId(begin.iter().fold(0, |number, byte| number << 8 | u128::from(*byte)))
}

/// Why a token cannot be made, or narrowed so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The ring is empty.
    #[error("there is no key to sign tokens with")]
    NoKey,
    /// The name of the namespace does not fit.
    #[error("the name of the settings' accounts is longer than 255 bytes")]
    Namespace,
    /// A caveat that cannot be written.
    #[error("a token cannot say this: {0}")]
    Caveat(String),
    /// A ceiling where nothing could count it.
    #[error(
        "a ceiling needs a token with an account of its own: mint one with `--budget`, or limit what each call may cost"
    )]
    NoAccount,
    /// Too many caveats.
    #[error("a token has at most {MOST_CAVEATS} caveats; mint or delegate a new one instead")]
    TooManyCaveats,
    /// Too long.
    #[error("a token has at most {MOST_BYTES} bytes; write shorter patterns, or mint a new one")]
    TooLong,
}

impl Token {
    /// Makes a token. The id must be random: its account is named by it.
    ///
    /// # Errors
    /// What does not fit into a token.
    pub fn mint(
        keys: &TokenKeys,
        has_account: bool,
        id: TokenId,
        namespace: &str,
        caveats: &[Caveat],
    ) -> Result<Self, Unfit> {
        let (kid, key) = keys.signing().ok_or(Unfit::NoKey)?;
        if namespace.len() > usize::from(u8::MAX) {
            return Err(Unfit::Namespace);
        }
        let header = Header { kid, has_account, id, namespace: namespace.to_owned() };
        let tag = Secret::from(key.mac(&header.signed()));
        let token = Self { header, caveats: Vec::new(), tag };
        caveats.iter().try_fold(token, |token, caveat| token.narrow(caveat))
    }

    /// Reads a token, with or without `Bearer ` before it.
    ///
    /// # Errors
    /// Text that is no token.
    pub fn parse(text: &str) -> Result<Self, UnreadableToken> {
        wire::parse(text)
    }

    /// The token with one restriction more. Takes no key.
    ///
    /// # Errors
    /// What does not fit into a token, or would make it worthless.
    pub fn narrow(mut self, caveat: &Caveat) -> Result<Self, Unfit> {
        if self.caveats.len() >= MOST_CAVEATS {
            return Err(Unfit::TooManyCaveats);
        }
        if matches!(caveat, Caveat::Ceiling(_)) && !self.header.has_account {
            return Err(Unfit::NoAccount);
        }
        let sealed = SignedCaveat::of(caveat).map_err(Unfit::Caveat)?;
        self.tag = sealed.next(&self.tag);
        self.caveats.push(sealed);
        match wire::text_length(&self) {
            length if length > MOST_BYTES => Err(Unfit::TooLong),
            _ => Ok(self),
        }
    }

    /// The token itself, which is a secret.
    pub fn text(&self) -> SecretString {
        wire::text(self)
    }

    /// Its id.
    pub fn id(&self) -> TokenId {
        self.header.id
    }

    /// The name of the key that made it, in hexadecimal digits.
    pub fn kid(&self) -> String {
        super::record::hex(&self.header.kid)
    }

    /// Whether an account `token/<id>` pays for it; else it pays as its agent does.
    pub fn has_account(&self) -> bool {
        self.header.has_account
    }

    /// Whose accounts pay.
    pub fn namespace(&self) -> &str {
        &self.header.namespace
    }

    /// What it claims to be narrowed by.
    ///
    /// # Errors
    /// The first caveat that this version cannot read.
    pub fn caveats(&self) -> Result<Vec<Caveat>, Unverified> {
        let read = |(place, signed): (usize, &SignedCaveat)| match signed.meaning() {
            Some(Ok(caveat)) => Ok(caveat),
            Some(Err(reason)) => Err(Unverified::BadCaveat { place, reason }),
            None => Err(Unverified::UnknownCaveat { place, kind: signed.kind() }),
        };
        (1..).zip(&self.caveats).map(read).collect()
    }

    /// The digests of the chain: that of the header, then one after each caveat.
    fn chain(&self, key: &Key) -> Vec<Secret> {
        let mut tags = Vec::with_capacity(self.caveats.len() + 1);
        let mut tag = Secret::from(key.mac(&self.header.signed()));
        tags.push(tag);
        for sealed in &self.caveats {
            tag = sealed.next(&tag);
            tags.push(tag);
        }
        tags
    }
}
