//! Random bytes of the machine. No other module asks for them.

/// Bytes that cannot be guessed.
///
/// # Errors
/// The system has no source of them.
pub fn bytes<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map(|()| bytes)
}

/// A new id that nothing else has: a UUID of version 7, so later ones are greater.
pub fn id() -> u128 {
    uuid::Uuid::now_v7().as_u128()
}
