//! Finds a hold by its id, or by the first digits of it.

use anyhow::bail;

use crate::{
    cli::{
        context::{OpenStore, answer},
        lookup::{SHOWN, only},
    },
    domain::{ledger::HoldId, record::Draft},
};

/// Ids begin with the time, so fewer digits are never unique.
const FEWEST_DIGITS: usize = 8;
/// Of an id.
const DIGITS: usize = 32;

/// The one hold whose id begins with these digits, and what a record says about its call.
pub(super) async fn find(store: &OpenStore, digits: &str) -> anyhow::Result<(HoldId, Draft)> {
    let digits = digits.to_ascii_lowercase();
    let bound = |fill: char| {
        let filled = format!("{digits}{}", fill.to_string().repeat(DIGITS - digits.len()));
        HoldId::parse(&filled)
    };
    let enough = (FEWEST_DIGITS..=DIGITS).contains(&digits.len());
    let Some((from, to)) = enough.then(|| bound('0').zip(bound('f'))).flatten() else {
        bail!(
            "`{digits}` is not a hold: give {FEWEST_DIGITS} to {DIGITS} hexadecimal digits, as `tollgate audit log` shows them"
        );
    };
    let found = answer(store.ledger.holds(from, to, SHOWN + 1)).await?;
    let (id, hold) = only("hold", &digits, found, |(id, _)| id.to_string())?;
    let about = hold.about;
    Ok((
        id,
        Draft {
            agent: Some(about.agent),
            server: Some(about.server),
            tool: Some(about.tool),
            ..Draft::default()
        },
    ))
}
