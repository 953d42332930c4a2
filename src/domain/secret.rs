//! Bytes that must neither be shown nor be compared with `==`.

use std::fmt;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

/// 256 bits that are a secret, or could be used to guess one: a key, a tag, a digest. There is no
/// `PartialEq`, so no type that holds one can derive it, and [`Secret::same_as`] takes constant time.
///
/// ```compile_fail,E0369
/// use tollgate::domain::secret::Secret;
/// #[derive(PartialEq)]
/// struct Holder(Secret);
/// ```
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret([u8; 32]);

impl Secret {
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether both are the same; how long it takes does not tell how much of them is.
    pub fn same_as(&self, other: &Self) -> bool {
        same_bytes(&self.0, &other.0)
    }
}

impl From<[u8; 32]> for Secret {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Whether two secrets are the same, in constant time for texts of one length.
pub fn same_bytes(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}
