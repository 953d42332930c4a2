//! The price behind a signature.

use crate::domain::credits::Credits;

/// What stands behind the signature of a tool that has a price of its own: ` — 5 credits`.
pub fn price_tag(price: Credits) -> String {
    format!(" — {}", price.in_words())
}

/// The tokens of the tag, behind text that does not end in a space, and before a mark: the same in
/// all encodings here. Tokenizers take the dash, the space, the unit, and up to three digits at a
/// time for one piece each, and each of those is one token.
pub fn price_tag_tokens(price: Credits) -> usize {
    const DASH_SPACE_UNIT: usize = 3;
    const DIGITS: u32 = 3;
    let digits = price.amount().checked_ilog10().unwrap_or_default() + 1;
    DASH_SPACE_UNIT + digits.div_ceil(DIGITS) as usize
}

#[cfg(test)]
mod tests {
    use super::{Credits, price_tag, price_tag_tokens};
    use crate::domain::tokens::Encoding;

    fn check(amount: u64) {
        let price = Credits::new(amount).unwrap();
        let tag = price_tag(price);
        for encoding in [Encoding::O200k, Encoding::Cl100k] {
            assert_eq!(price_tag_tokens(price), encoding.count(&tag), "{tag}, {encoding:?}");
        }
    }

    #[test]
    fn the_tokens_of_a_tag_follow_from_its_digits() {
        // Every group of one, two and three digits.
        (0..=11_111).for_each(check);
        for power in 0..16 {
            let tens = 10_u64.pow(power);
            [tens - 1, tens, tens + 1, tens * 7].into_iter().for_each(check);
        }
        (0..=53).for_each(|bits| check((1 << bits) - 1));
        // Many others, spread over the whole range.
        let spread = |step: u64| step.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (11 + step % 50);
        (1..=20_000).map(spread).for_each(check);
        check(Credits::MAX.amount());
    }

    #[test]
    fn one_credit_is_one() {
        let tag = |amount| price_tag(Credits::new(amount).unwrap());
        assert_eq!(tag(0), " — 0 credits");
        assert_eq!(tag(1), " — 1 credit");
        assert_eq!(tag(5), " — 5 credits");
        assert_eq!(price_tag(Credits::MAX), " — 9007199254740991 credits");
    }
}
