//! Finds a hold by its id, or by the first digits of it.

use std::sync::Arc;

use anyhow::bail;

use crate::{
    cli::records::answer,
    domain::{
        ledger::{Hold, HoldId},
        record::Draft,
    },
    ledger::Ledger,
};

/// Ids begin with the time, so fewer digits tell nothing apart.
const FEWEST_DIGITS: usize = 8;
/// Of an id.
const DIGITS: usize = 32;
/// At most this many ids are listed if several begin with the same digits.
const LISTED: usize = 8;

/// A hold that was found.
pub(super) struct Found {
    /// Its whole id.
    pub(super) id: String,
    /// Whose call it was, and of what.
    pub(super) draft: Draft,
}

/// The one hold whose id begins with these digits.
///
/// # Errors
/// No hold begins so, or several do; a store that cannot be used.
pub(super) async fn find(ledger: &Arc<dyn Ledger>, digits: &str) -> anyhow::Result<Found> {
    let digits = digits.to_ascii_lowercase();
    let bound = |fill: char| {
        let filled = format!("{digits}{}", fill.to_string().repeat(DIGITS - digits.len()));
        HoldId::parse(&filled)
    };
    let enough = (FEWEST_DIGITS..=DIGITS).contains(&digits.len());
    let Some((from, to)) = enough.then(|| bound('0').zip(bound('f'))).flatten() else {
        bail!(
            "`{digits}` is no hold: give {FEWEST_DIGITS} to {DIGITS} hexadecimal digits, as `tollgate audit log` shows them"
        );
    };
    let found = answer(ledger.holds(from, to, LISTED + 1)).await?;
    match found.as_slice() {
        [] => bail!("no hold begins with `{digits}`"),
        [(id, hold)] => Ok(Found { id: id.to_string(), draft: about(hold) }),
        several => {
            let ids: Vec<String> =
                several.iter().take(LISTED).map(|(id, _)| id.to_string()).collect();
            let more = if several.len() > LISTED { ", and more" } else { "" };
            bail!(
                "more than one hold begins with `{digits}`: {}{more}; give all digits",
                ids.join(", ")
            )
        }
    }
}

fn about(hold: &Hold) -> Draft {
    let about = hold.about.clone();
    Draft {
        agent: Some(about.agent),
        server: Some(about.server),
        tool: Some(about.tool),
        ..Draft::default()
    }
}
