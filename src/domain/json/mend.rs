//! Text that is not quite JSON.

/// Replaces every `\uD800` to `\uDFFF` that is not one of a pair by `\ufffd`, in place.
pub(super) fn lone_surrogates(text: &mut [u8]) {
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| rest.iter().position(|&b| b == b'\\')) {
        at += found;
        let Some(unit) = escaped_unit(text, at) else {
            // The next character belongs to this escape.
            at += 2;
            continue;
        };
        at += match unit {
            0xD800..=0xDBFF if matches!(escaped_unit(text, at + 6), Some(0xDC00..=0xDFFF)) => 12,
            0xD800..=0xDFFF => {
                if let Some(digits) = text.get_mut(at + 2..at + 6) {
                    digits.copy_from_slice(b"fffd");
                }
                6
            }
            _ => 6,
        };
    }
}

/// The UTF-16 unit that is escaped here as `\uXXXX`.
fn escaped_unit(text: &[u8], at: usize) -> Option<u16> {
    let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |unit, digit| {
        Some(unit << 4 | u16::try_from(char::from(*digit).to_digit(16)?).ok()?)
    })
}
