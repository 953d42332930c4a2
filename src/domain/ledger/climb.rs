//! What a closed account has left goes up to the accounts that gave it its credits.

use super::{
    AccountId, MOST_LEVELS, Step,
    account::{Account, AccountKind, Leg, Source, difference, moved, sum},
    inconsistent,
    staged::Staged,
};
use crate::domain::credits::Credits;

/// Moves what a closed account has available, or is overdrawn by, to the account that gave it its
/// credits, and on from there while that one is closed too. Returns the amount.
pub(super) fn climb(rows: &mut Staged<'_>, id: &AccountId) -> Step<Credits> {
    let AccountKind::Funded(funds) = rows.known(id)?.kind else { return Ok(Credits::ZERO) };
    let rest = funds.available;
    let (mut from, mut levels) = (id.clone(), 0);
    while rest != 0 && !rows.known(&from)?.open {
        if levels > MOST_LEVELS {
            return inconsistent("accounts are nested too deeply");
        }
        levels += 1;
        from = hand_up(rows, &from, rest)?;
    }
    Ok(Credits::of_balance(rest))
}

/// Moves credits, or a debt, from a carved account to the one that gave it its credits. On the
/// ceilings between, no more comes free than was let through. Returns the giver.
fn hand_up(rows: &mut Staged<'_>, id: &AccountId, rest: i64) -> Step<AccountId> {
    let mut account = rows.known(id)?;
    let AccountKind::Funded(funds) = &mut account.kind else {
        return inconsistent("a ceiling gave");
    };
    let Some(Source { path, owed, .. }) = &mut funds.source else {
        return inconsistent(format!(
            "account {id:?} is closed, and no account gave it its credits"
        ));
    };
    let (freed, debt) = (Credits::of_balance(rest).min(*owed), Credits::of_balance(-rest));
    *owed = sum(difference(*owed, freed)?, debt)?;
    let Some((Leg { account: giver, .. }, ceilings)) = path.split_last() else {
        return inconsistent(format!("no account gave {id:?} its credits"));
    };
    let (giver, ceilings) = (giver.clone(), ceilings.to_vec());
    add(&mut account, -rest)?;
    rows.put_account(id, account);
    for Leg { account: id, window } in ceilings {
        let mut account = rows.known(&id)?;
        if let AccountKind::Ceiling(ceiling) = &mut account.kind
            && ceiling.begins() == window
        {
            ceiling.carved = sum(difference(ceiling.carved, freed)?, debt)?;
        }
        rows.put_account(&id, account);
    }
    let mut account = rows.known(&giver)?;
    add(&mut account, rest)?;
    rows.put_account(&giver, account);
    Ok(giver)
}

/// Adds an amount to a funded account, or takes it.
fn add(account: &mut Account, amount: i64) -> Step<()> {
    let AccountKind::Funded(funds) = &mut account.kind else {
        return inconsistent("a ceiling was given");
    };
    funds.available = moved(funds.available, amount)?;
    funds.net = moved(funds.net, amount)?;
    Ok(())
}
