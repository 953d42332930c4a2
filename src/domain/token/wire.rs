//! A token as bytes and text: `gwt1.` and base64url of kid ‖ kind ‖ id ‖ namespace ‖ caveats ‖ tag.
//!
//! Numbers are big-endian. A caveat is its type (u8), its length (u16) and its bytes. There is one
//! text for each token, and reading takes no more than the text is long.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::SecretString;

use crate::domain::{
    call::AgentId, caveat::Caveat, credits::Credits, id::id, keyed::Key, scope::Scope,
    secret::Secret,
};

/// Names a key.
pub(super) type Kid = [u8; 8];

/// What the text of a token begins with.
pub const PREFIX: &str = "gwt1.";
/// The beginning of everything that is signed, so that no other text of these bytes can be taken for it.
const VERSION: &[u8] = b"gwt1";
/// What a token of satgate begins with: `{"v":1` in base64.
const OTHER_SYSTEM: &str = "eyJ2Ijox";
/// Of a tenant's name.
const LONGEST_TENANT: usize = 128;

/// A token has at most this many caveats.
pub const MOST_CAVEATS: usize = 32;
/// The text of a token has at most this many bytes.
pub const MOST_BYTES: usize = 4096;

id! {
    /// Names a token, and all that are made of it by narrowing.
    TokenId
}

/// A token as it reads: nothing of it is proven. [`super::TokenKeys::verify`] does that.
#[derive(Clone)]
pub struct Token {
    pub(super) header: Header,
    pub(super) caveats: Vec<SignedCaveat>,
    /// The last digest of the chain, which makes the token a secret.
    pub(super) tag: Secret,
}

/// What stands before the caveats.
#[derive(Clone)]
pub(super) struct Header {
    pub(super) kid: Kid,
    pub(super) has_account: bool,
    pub(super) id: TokenId,
    pub(super) namespace: String,
}

/// Why a text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableToken {
    /// Of satgate.
    #[error("the token is one of another system; mint one with `tollgate token mint`")]
    OtherSystem,
    /// Anything else.
    #[error("this is no Tollgate token, which begins with `{PREFIX}`")]
    NoToken,
    /// More than [`MOST_BYTES`].
    #[error("the token is too long: at most {MOST_BYTES} bytes are read")]
    TooLong,
    /// Letters that no token has.
    #[error("the token is malformed: after `{PREFIX}` it is not base64url; copy all of it again")]
    Malformed,
    /// It ends before its end.
    #[error(
        "the token is malformed: it is cut short, or has more than a token has; copy all of it again"
    )]
    Truncated,
    /// More than [`MOST_CAVEATS`].
    #[error("the token has too many caveats: at most {MOST_CAVEATS} are read")]
    TooManyCaveats,
}

/// One caveat as signed.
#[derive(Clone)]
pub(super) struct SignedCaveat {
    kind: u8,
    bytes: Vec<u8>,
}

/// The types of caveats. A number is never given another meaning.
mod kind {
    pub(super) const EXPIRES: u8 = 1;
    pub(super) const SERVERS: u8 = 2;
    pub(super) const TOOLS: u8 = 3;
    pub(super) const EXCEPT: u8 = 4;
    pub(super) const AGENT: u8 = 5;
    pub(super) const MOST_COST: u8 = 6;
    pub(super) const DEPTH: u8 = 7;
    pub(super) const MOST_DELEGATED: u8 = 8;
    pub(super) const CEILING: u8 = 9;
    pub(super) const TENANT: u8 = 10;
}

pub(super) fn parse(text: &str) -> Result<Token, UnreadableToken> {
    let text = without_scheme(text.trim_ascii());
    if text.starts_with(OTHER_SYSTEM) {
        return Err(UnreadableToken::OtherSystem);
    }
    let encoded = text.strip_prefix(PREFIX).ok_or(UnreadableToken::NoToken)?;
    if text.len() > MOST_BYTES {
        return Err(UnreadableToken::TooLong);
    }
    // Refuses all but the one encoding that these bytes have.
    let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| UnreadableToken::Malformed)?;
    let (body, tag) = bytes.split_last_chunk::<32>().ok_or(UnreadableToken::Truncated)?;
    let mut reader = ByteReader(body);
    let header = reader.header().ok_or(UnreadableToken::Truncated)?;
    let mut caveats = Vec::new();
    while !reader.0.is_empty() {
        if caveats.len() == MOST_CAVEATS {
            return Err(UnreadableToken::TooManyCaveats);
        }
        caveats.push(reader.caveat().ok_or(UnreadableToken::Truncated)?);
    }
    Ok(Token { header, caveats, tag: Secret::from(*tag) })
}

fn without_scheme(text: &str) -> &str {
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim_ascii_start(),
        _ => text,
    }
}

pub(super) fn text(token: &Token) -> SecretString {
    let mut bytes = token.header.bytes();
    token.caveats.iter().for_each(|sealed| bytes.extend(sealed.signed()));
    bytes.extend(token.tag.expose());
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)).into()
}

/// How long the text is.
pub(super) fn text_length(token: &Token) -> usize {
    let caveats: usize = token.caveats.iter().map(|sealed| sealed.bytes.len() + 3).sum();
    let bytes = token.header.bytes().len() + caveats + token.tag.expose().len();
    PREFIX.len() + (bytes * 4).div_ceil(3)
}

impl Header {
    /// What the first digest is of.
    pub(super) fn signed(&self) -> Vec<u8> {
        [VERSION, &self.bytes()].concat()
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.kid.to_vec();
        bytes.push(u8::from(self.has_account));
        bytes.extend(self.id.0.to_be_bytes());
        // A longer one is neither minted nor read.
        bytes.push(u8::try_from(self.namespace.len()).unwrap_or(u8::MAX));
        bytes.extend(self.namespace.as_bytes());
        bytes
    }
}

impl SignedCaveat {
    /// A caveat as it is signed.
    pub(super) fn of(caveat: &Caveat) -> Result<Self, String> {
        let (kind, bytes) = match caveat {
            Caveat::Expires(at) => (kind::EXPIRES, at.to_be_bytes().to_vec()),
            Caveat::Servers(scope) => (kind::SERVERS, scope.to_string().into_bytes()),
            Caveat::Tools(scope) => (kind::TOOLS, scope.to_string().into_bytes()),
            Caveat::Except(scope) => (kind::EXCEPT, scope.to_string().into_bytes()),
            Caveat::Agent(agent) => (kind::AGENT, agent.as_str().as_bytes().to_vec()),
            Caveat::MostCost(most) => (kind::MOST_COST, most.amount().to_be_bytes().to_vec()),
            Caveat::Depth(depth) => (kind::DEPTH, vec![*depth]),
            Caveat::MostDelegated(most) => {
                (kind::MOST_DELEGATED, most.amount().to_be_bytes().to_vec())
            }
            Caveat::Ceiling(most) => (kind::CEILING, most.amount().to_be_bytes().to_vec()),
            Caveat::Tenant(tenant) => (kind::TENANT, tenant.as_bytes().to_vec()),
        };
        if bytes.len() > usize::from(u16::MAX) {
            return Err("it is longer than 65535 bytes".into());
        }
        let sealed = Self { kind, bytes };
        match sealed.meaning() {
            // Refuses what would be read back differently.
            Some(Ok(read)) if read == *caveat => Ok(sealed),
            Some(Err(reason)) => Err(reason),
            _ => Err(format!("`{caveat}`")),
        }
    }

    /// The digest after this caveat.
    pub(super) fn next(&self, tag: &Secret) -> Secret {
        Key::new(*tag.expose()).mac(&self.signed()).into()
    }

    fn signed(&self) -> Vec<u8> {
        // A longer one is neither made nor read.
        let length = u16::try_from(self.bytes.len()).unwrap_or(u16::MAX);
        [&[self.kind], length.to_be_bytes().as_slice(), &self.bytes].concat()
    }

    pub(super) fn kind(&self) -> u8 {
        self.kind
    }

    /// The caveat, or why its bytes mean none; None for a type that this version does not know.
    pub(super) fn meaning(&self) -> Option<Result<Caveat, String>> {
        Some(match self.kind {
            kind::EXPIRES => self.moment().map(Caveat::Expires),
            kind::SERVERS => self.servers().map(Caveat::Servers),
            kind::TOOLS => self.scope().map(Caveat::Tools),
            kind::EXCEPT => self.scope().map(Caveat::Except),
            kind::AGENT => self.agent().map(Caveat::Agent),
            kind::MOST_COST => self.credits().map(Caveat::MostCost),
            kind::DEPTH => self.number().map(|[depth]| Caveat::Depth(depth)),
            kind::MOST_DELEGATED => self.credits().map(Caveat::MostDelegated),
            kind::CEILING => self.credits().map(Caveat::Ceiling),
            kind::TENANT => self.tenant().map(Caveat::Tenant),
            _ => return None,
        })
    }

    fn number<const N: usize>(&self) -> Result<[u8; N], String> {
        let wrong = |_| format!("a number of {N} bytes is expected, not {}", self.bytes.len());
        self.bytes.as_slice().try_into().map_err(wrong)
    }

    fn moment(&self) -> Result<i64, String> {
        self.number().map(i64::from_be_bytes)
    }

    fn credits(&self) -> Result<Credits, String> {
        Credits::try_from(u64::from_be_bytes(self.number()?))
    }

    fn words(&self) -> Result<&str, String> {
        str::from_utf8(&self.bytes).map_err(|_| "it is not UTF-8".into())
    }

    fn scope(&self) -> Result<Scope, String> {
        Scope::parse(self.words()?).map_err(|error| format!("the list of patterns {error}"))
    }

    fn servers(&self) -> Result<Scope, String> {
        match self.words()? {
            words if words.contains('/') => Err("the name of a server has no `/`".into()),
            _ => self.scope(),
        }
    }

    fn agent(&self) -> Result<AgentId, String> {
        match self.words()? {
            agent if AgentId::is_well_formed(agent) => Ok(agent.into()),
            _ => Err("an agent is named by 1 to 128 of the letters A-Z a-z 0-9 _ . : -".into()),
        }
    }

    fn tenant(&self) -> Result<String, String> {
        match self.words()? {
            "" => Err("a tenant has a name".into()),
            tenant if tenant.len() > LONGEST_TENANT => {
                Err(format!("the name of a tenant has at most {LONGEST_TENANT} bytes"))
            }
            tenant if tenant.chars().any(char::is_control) => {
                Err("the name of a tenant has no control characters".into())
            }
            tenant => Ok(tenant.into()),
        }
    }
}

/// The bytes that are left to read. Answers None where too few are left.
struct ByteReader<'a>(&'a [u8]);

impl<'a> ByteReader<'a> {
    fn header(&mut self) -> Option<Header> {
        let kid = self.array()?;
        let has_account = match self.array()? {
            [0] => false,
            [1] => true,
            [_] => return None,
        };
        let id = TokenId(u128::from_be_bytes(self.array()?));
        let [length] = self.array()?;
        let namespace = str::from_utf8(self.take(length.into())?).ok()?.to_owned();
        Some(Header { kid, has_account, id, namespace })
    }

    fn caveat(&mut self) -> Option<SignedCaveat> {
        let [kind] = self.array()?;
        let length = u16::from_be_bytes(self.array()?);
        Some(SignedCaveat { kind, bytes: self.take(length.into())?.to_vec() })
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }
}

/// Nothing that could be used.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.header.id)
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Header({})", self.id)
    }
}
