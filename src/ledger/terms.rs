//! What records say of accounts that a step opened or changed, so that they can be replayed.

use super::{Failure, LedgerTx};
use crate::domain::{
    credits::Credits,
    ledger::{Account, AccountId, Declaration, Kind, Transfer},
    record::AccountTerms,
};

/// The accounts of a declaration that are there, as they are.
pub(super) fn of_all(
    tx: &mut dyn LedgerTx,
    declaration: &Declaration,
) -> Result<Vec<AccountTerms>, Failure> {
    let mut all = Vec::new();
    for declared in declaration.accounts() {
        all.extend(of(tx, &declared.id)?);
    }
    Ok(all)
}

/// The account that a transfer opened, if it did.
pub(super) fn opened_by(
    tx: &mut dyn LedgerTx,
    transfer: &Transfer,
) -> Result<Vec<AccountTerms>, Failure> {
    match transfer {
        Transfer::Carve { to, .. } | Transfer::Cap { to, .. } => {
            Ok(of(tx, to)?.into_iter().collect())
        }
        Transfer::Mint { .. } | Transfer::Refund { .. } => Ok(Vec::new()),
    }
}

fn of(tx: &mut dyn LedgerTx, id: &AccountId) -> Result<Option<AccountTerms>, Failure> {
    Ok(tx.account(id)?.map(|account| terms(id, &account)))
}

fn terms(id: &AccountId, account: &Account) -> AccountTerms {
    let terms = AccountTerms {
        id: id.as_str().to_owned(),
        parent: account.parent.as_ref().map(|parent| parent.as_str().to_owned()),
        expires: account.expires,
        closed: !account.open,
        ..AccountTerms::default()
    };
    let amount = |amount: Credits| Some(amount.amount());
    match &account.kind {
        Kind::Funded(funds) => AccountTerms {
            issued: amount(funds.issued),
            declared: amount(funds.declared),
            unlimited: funds.unlimited,
            ..terms
        },
        Kind::Ceiling(ceiling) => AccountTerms {
            cap: amount(ceiling.limit),
            period: ceiling.period,
            window: Some(ceiling.window).filter(|window| *window != 0),
            ..terms
        },
    }
}
