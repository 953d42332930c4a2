//! Whole credits: the unit of prices, budgets and balances.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An amount of credits, from 0 to [`Credits::MAX`]. Arithmetic is checked: credits never wrap, and
/// are exact in every JSON reader and every store.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "u64", into = "u64")]
pub struct Credits(u64);

impl Credits {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// One credit.
    pub const ONE: Self = Self(1);
    /// The most there can be: 2^53 − 1, the largest integer that every JSON reader keeps exact.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// An amount; None above [`Credits::MAX`].
    pub const fn new(amount: u64) -> Option<Self> {
        if amount <= Self::MAX.0 { Some(Self(amount)) } else { None }
    }

    /// The amount as a number.
    pub const fn amount(self) -> u64 {
        self.0
    }

    /// The amount as a signed number, for balances that may be below zero.
    pub const fn signed(self) -> i64 {
        // At most 2^53 − 1.
        self.0.cast_signed()
    }

    /// The part of a balance that can be spent: 0 if it is negative.
    pub fn of_balance(balance: i64) -> Self {
        Self(u64::try_from(balance).unwrap_or(0).min(Self::MAX.0))
    }

    /// The amount in words: `1 credit`, `5 credits`.
    pub fn in_words(self) -> String {
        in_words(self.0)
    }

    /// The rest in words: `1 is left`, `5 are left`.
    pub fn left(self) -> String {
        format!("{self} {} left", if self == Self::ONE { "is" } else { "are" })
    }

    /// The sum; None above [`Credits::MAX`].
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).and_then(Self::new)
    }

    /// The difference; None below zero.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The difference, or nothing where it would be below zero.
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

/// A number of credits in words: `1 credit`, `5 credits`.
pub fn in_words(amount: u64) -> String {
    format!("{amount} {}", if amount == 1 { "credit" } else { "credits" })
}

impl fmt::Display for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Credits> for u64 {
    fn from(credits: Credits) -> Self {
        credits.0
    }
}

impl TryFrom<u64> for Credits {
    type Error = String;

    fn try_from(amount: u64) -> Result<Self, String> {
        Self::new(amount).ok_or_else(|| format!("{amount} is more than {} credits", Self::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::Credits;

    #[test]
    fn credits_end_where_json_readers_begin_to_round() {
        assert_eq!(Credits::new(1 << 53), None);
        assert_eq!(Credits::MAX.checked_add(Credits::ONE), None);
        assert_eq!(Credits::ZERO.checked_sub(Credits::ONE), None);
        assert_eq!(Credits::MAX.to_string(), "9007199254740991");
        assert!(serde_json::from_str::<Credits>("9007199254740992").is_err());
        assert_eq!(Credits::of_balance(-3), Credits::ZERO);
    }

    #[test]
    fn one_credit_is_told_as_one() {
        let [none, one, five] = [0, 1, 5].map(|amount| Credits::new(amount).unwrap());
        assert_eq!(
            [none, one, five].map(Credits::in_words),
            ["0 credits", "1 credit", "5 credits"]
        );
        assert_eq!([none, one, five].map(Credits::left), ["0 are left", "1 is left", "5 are left"]);
    }
}
