//! Keys, and digests that cannot be made without one (HMAC-SHA-256, RFC 2104).

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};

use super::secret::Secret;

/// A secret of 256 bits.
#[derive(Clone)]
pub struct Key(Secret);

impl Key {
    /// A key of these bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes.into())
    }

    /// The key that a text stands for: 64 hexadecimal digits are its bytes; of any other text, its
    /// SHA-256 is the key.
    pub fn of_text(text: &str) -> Self {
        Self::new(unhex(text).unwrap_or_else(|| Sha256::digest(text).into()))
    }

    /// The key for one purpose; who has it cannot tell this one, or that for another purpose.
    pub fn derive(&self, purpose: &str) -> Self {
        Self::new(self.mac(purpose.as_bytes()))
    }

    /// The keyed digest of a text.
    pub fn mac(&self, text: &[u8]) -> [u8; 32] {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.0.expose()) else {
            // HMAC takes keys of every length.
            return [0; 32];
        };
        mac.update(text);
        mac.finalize().into_bytes().into()
    }

    /// Whether this is the keyed digest of a text; in constant time.
    pub fn verifies(&self, text: &[u8], digest: &[u8]) -> bool {
        Hmac::<Sha256>::new_from_slice(self.0.expose()).is_ok_and(|mut mac| {
            mac.update(text);
            mac.verify_slice(digest).is_ok()
        })
    }
}

/// The bytes of 64 hexadecimal digits.
pub fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

#[cfg(test)]
mod tests {
    use super::Key;
    use crate::domain::record::hex;

    #[test]
    fn digests_are_those_of_rfc_4231() {
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        // HMAC pads keys with zeros, so test case 1's key of 20 bytes is this one.
        let key = Key::new(key);
        let digest = key.mac(b"Hi There");
        assert_eq!(
            hex(&digest),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
        assert!(key.verifies(b"Hi There", &digest));
        assert!(!key.verifies(b"hi There", &digest));
        assert!(!key.derive("other").verifies(b"Hi There", &digest));
    }
}
