//! Keys and amounts for tokens made in this process.

use tollgate::domain::{credits::Credits, keyed::Key, token::TokenKeys};

pub fn key() -> Key {
    Key::new(std::array::from_fn(|n| n as u8))
}

pub fn keys() -> TokenKeys {
    TokenKeys::of_keys([&key()])
}

pub fn credits(amount: u64) -> Credits {
    Credits::new(amount).unwrap()
}
