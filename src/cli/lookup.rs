//! Things that are named by the first digits of their ids.

use anyhow::bail;

/// At most this many ids are listed if several begin with the same digits.
pub(super) const SHOWN: usize = 8;

/// The only one of `found`, all of which begin with these digits.
pub(super) fn only<T>(
    what: &str,
    digits: &str,
    mut found: Vec<T>,
    id: impl Fn(&T) -> String,
) -> anyhow::Result<T> {
    match (found.pop(), found.as_slice()) {
        (None, _) => bail!("no {what} begins with `{digits}`"),
        (Some(one), []) => Ok(one),
        (Some(last), others) => {
            let ids: Vec<String> = others.iter().chain([&last]).take(SHOWN).map(id).collect();
            let more = if others.len() >= SHOWN { ", and more" } else { "" };
            bail!(
                "more than one {what} begins with `{digits}`: {}{more}; give all digits",
                ids.join(", ")
            )
        }
    }
}
