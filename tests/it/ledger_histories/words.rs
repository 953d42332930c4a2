//! What the machine answers, in the words of the naive ledger.

use tollgate::domain::{
    credits::Credits,
    ledger::{
        Account, AccountId, AccountKind, Broken, Closed, Finished, HoldId, HoldRefused, HoldState,
        Shortage, Step, Transfer, TransferRefused, Unadjusted, Undeclarable,
    },
};

use crate::support::ledger_model::{self as model, Seen, State};

pub fn credits(amount: i128) -> Credits {
    Credits::new(amount.try_into().unwrap()).unwrap()
}

pub fn whole(credits: Credits) -> i128 {
    credits.amount().into()
}

/// What a step came to, or what the machine found contradicted.
pub fn step<T>(outcome: Step<T>) -> Result<T, String> {
    outcome.map_err(|broken| match broken {
        Broken::Store(failure) => failure.to_string(),
        Broken::Inconsistent(why) => why,
    })
}

pub fn state(state: HoldState) -> State {
    match state {
        HoldState::Open => State::Open,
        HoldState::Posted { amount, uncertain, refunded } => {
            State::Posted { amount: whole(amount), uncertain, refunded: whole(refunded) }
        }
        HoldState::Voided => State::Voided,
    }
}

pub fn short(short: &Shortage) -> String {
    format!("short {} {} {}", short.account.as_str(), short.remaining, short.cost)
}

pub fn hold_refused(refused: &HoldRefused) -> String {
    match refused {
        HoldRefused::Short(lacks) => short(lacks),
        HoldRefused::Closed(id) => format!("closed {}", id.as_str()),
        HoldRefused::NoAccount(id) => format!("no account {}", id.as_str()),
        HoldRefused::KeyReuse => "reused".to_owned(),
        HoldRefused::Root(_) => "root".to_owned(),
    }
}

pub fn transfer_refused(refused: &TransferRefused) -> String {
    match refused {
        TransferRefused::Account(refused) => hold_refused(refused),
        TransferRefused::Exists(id) => format!("exists {}", id.as_str()),
        TransferRefused::TooDeep => "too deep".to_owned(),
        TransferRefused::Past => "past".to_owned(),
        TransferRefused::Nothing => "nothing".to_owned(),
        TransferRefused::TooMuch => "too much".to_owned(),
        TransferRefused::TooMuchGiven => "too much given".to_owned(),
        TransferRefused::NoHold(_) => "no hold".to_owned(),
        TransferRefused::NothingPosted(_) => "nothing posted".to_owned(),
        TransferRefused::BeyondPosted { left, asked, .. } => format!("beyond {left} {asked}"),
        TransferRefused::KeyReuse => "reused".to_owned(),
    }
}

pub fn undeclarable(kept: &Undeclarable) -> String {
    let why = match kept.reason {
        Unadjusted::Taken(taken) => format!("taken {taken}"),
        Unadjusted::Uncountable => "uncountable".to_owned(),
    };
    format!("{} {} {why}", kept.account.as_str(), kept.asked)
}

pub fn finished(done: &Finished) -> String {
    format!("{:?} {} {} {}", state(done.state), done.held, done.account.as_str(), done.replayed)
}

pub fn closed(closed: &[Closed]) -> Vec<(&str, i128)> {
    closed.iter().map(|closed| (closed.account.as_str(), whole(closed.returned))).collect()
}

pub fn transfer(naive: &model::Transfer) -> Transfer {
    let id = |id: &str| AccountId::from(id);
    match naive {
        model::Transfer::Mint { account, amount } => {
            Transfer::Mint { account: id(account), amount: credits(*amount) }
        }
        model::Transfer::Carve { from, to, amount, expires } => Transfer::Carve {
            from: id(from),
            to: id(to),
            amount: credits(*amount),
            expires: *expires,
        },
        model::Transfer::Cap { from, to, limit, expires } => {
            Transfer::Cap { from: id(from), to: id(to), limit: credits(*limit), expires: *expires }
        }
        model::Transfer::Refund { hold, amount } => {
            Transfer::Refund { hold: HoldId(*hold).to_string(), amount: amount.map(credits) }
        }
    }
}

/// A row as the naive ledger sees it.
pub fn seen(account: &Account) -> Seen {
    let numbers = match &account.kind {
        AccountKind::Funded(funds) => {
            let owed = funds.source.as_ref().map_or(0, |source| whole(source.owed));
            [whole(funds.issued), funds.available.into(), funds.net.into(), owed]
        }
        AccountKind::Ceiling(ceiling) => {
            [ceiling.limit, ceiling.used, ceiling.carved, ceiling.granted].map(whole)
        }
    };
    Seen {
        open: account.open,
        expires: account.expires,
        reserved: whole(account.reserved),
        spent: whole(account.spent),
        numbers,
    }
}
