//! Compares the rows of a store with its records, in slices: each slice is one short read, and is
//! worked on after that read has ended, so that a busy store can move its log meanwhile. The records
//! are followed to their end before rows of the same read are compared, so every row is compared
//! with the records of its own moment.

use std::sync::Arc;

use super::{Ledger, Turn, transact, tx::LedgerTx};
use crate::{
    domain::{
        ledger::{
            Account, AccountId, Failure, HoldEntry, HoldId, Step,
            proof::{Proof, Recount},
            replay::{Replay, RightRow},
        },
        record::{Head, Sealed},
    },
    ledger::answer::{Answered, LedgerUnavailable, Verdict},
};

/// At most this many records are read at once.
const RECORDS: usize = 1_000;
/// At most this many holds.
const HOLDS: usize = 2_000;

/// The result of following the records.
struct Walked {
    chain: Verdict,
    /// Whether the store has forgotten the first records.
    begins_late: bool,
    proof: Proof,
    /// The number of rows that no record explains.
    ahead: usize,
}

/// Whether the records are those that were written, all of them, in order, and explain the rows.
pub(super) async fn verify(ledger: Arc<dyn Ledger>) -> Result<Verdict, LedgerUnavailable> {
    let Walked { chain, begins_late, proof, ahead } = walk(&*ledger).await?;
    let whole = chain.broken.is_none() && chain.incomplete.is_none() && !begins_late;
    let incomplete = proof.faults.first().filter(|_| whole).map(|first| match ahead {
        0 => format!(
            "the accounts are not what the records come to ({first}); `tollgate budget prove` lists all differences"
        ),
        ahead => format!(
            "records are missing at the end: no record explains {ahead} rows ({first}); `tollgate budget prove` lists all differences"
        ),
    });
    Ok(Verdict { incomplete: chain.incomplete.clone().or(incomplete), ..chain })
}

/// Recounts everything.
pub(super) async fn prove(ledger: Arc<dyn Ledger>) -> Result<Proof, LedgerUnavailable> {
    let Walked { chain, begins_late, mut proof, .. } = walk(&*ledger).await?;
    if begins_late {
        // A store that forgets records has holds that no record explains.
        proof = transact(&*ledger, Turn::Read, |tx, _| recount(tx)).await?;
    }
    let broken = chain.broken.map(|(_, why)| why);
    proof.faults.splice(0..0, broken.into_iter().chain(chain.incomplete));
    Ok(proof)
}

fn recount(tx: &mut dyn LedgerTx) -> Step<Proof> {
    let mut recount = Recount::new(tx.accounts()?);
    for (id, hold) in tx.holds(HoldId(0), HoldId(u128::MAX), usize::MAX)? {
        recount.hold(id, &hold);
    }
    Ok(recount.finish())
}

/// Which rows come next.
#[derive(Clone)]
enum Stage {
    /// Accounts and rights.
    Accounts,
    /// Holds from this id on.
    Holds(HoldId),
    /// Holds that the records tell of, and that were not among the others.
    Left(Vec<HoldId>),
    Done,
}

enum SliceRows {
    /// There are more records first.
    NotYet,
    Accounts(Vec<(AccountId, Account)>, Vec<RightRow>, u64),
    Holds(Vec<(HoldId, HoldEntry)>),
    Left(Vec<(HoldId, Option<HoldEntry>)>),
    None,
}

/// What one read returns.
struct Slice {
    origin: Head,
    end: Head,
    vouched: bool,
    records: Vec<Sealed>,
    rows: SliceRows,
}

fn slice(ledger: &dyn Ledger, after: u64, stage: Stage) -> Answered<Slice> {
    transact(ledger, Turn::Read, move |tx, _| {
        let (origin, records) = (tx.origin()?, tx.records(after, RECORDS)?);
        let rows = match records.len() < RECORDS && origin.seq == 0 {
            true => rows(tx, stage)?,
            false => SliceRows::NotYet,
        };
        Ok(Slice { origin, end: tx.head()?, vouched: tx.vouched()?, records, rows })
    })
}

fn rows(tx: &mut dyn LedgerTx, stage: Stage) -> Result<SliceRows, Failure> {
    Ok(match stage {
        Stage::Accounts => SliceRows::Accounts(tx.accounts()?, tx.rights()?, tx.transfers()?),
        Stage::Holds(from) => SliceRows::Holds(tx.holds(from, HoldId(u128::MAX), HOLDS)?),
        Stage::Left(ids) => {
            let mut left = Vec::with_capacity(ids.len());
            for id in ids {
                left.push((id, tx.holds(id, id, 1)?.pop().map(|(_, hold)| hold)));
            }
            SliceRows::Left(left)
        }
        Stage::Done => SliceRows::None,
    })
}

struct Walk {
    begins_late: bool,
    head: Head,
    chain: Verdict,
    replay: Replay,
    stage: Stage,
}

async fn walk(ledger: &dyn Ledger) -> Result<Walked, LedgerUnavailable> {
    let mut next = slice(ledger, 0, Stage::Accounts).await?;
    let mut walk = Walk {
        begins_late: next.origin.seq > 0,
        head: next.origin.clone(),
        chain: Verdict::default(),
        replay: Replay::default(),
        stage: Stage::Accounts,
    };
    while walk.takes(next) {
        next = slice(ledger, walk.head.seq, walk.stage.clone()).await?;
    }
    let Walk { chain, begins_late, replay, .. } = walk;
    let (proof, ahead) = replay.finish();
    Ok(Walked { chain, begins_late, proof, ahead })
}

impl Walk {
    /// Takes what one read returned; false if nothing is left to do.
    fn takes(&mut self, slice: Slice) -> bool {
        let Slice { end, vouched, records, rows, .. } = slice;
        let caught_up = records.len() < RECORDS;
        for sealed in &records {
            match self.head.follow(sealed) {
                Ok(record) => self.replay.record(&record),
                Err(unlinked) => {
                    self.chain.broken = Some((unlinked.place(), unlinked.to_string()));
                    return false;
                }
            }
            self.chain.records += 1;
        }
        if !caught_up {
            return true;
        }
        at_end(&mut self.chain, &self.head, &end, vouched);
        let whole = self.chain.broken.is_none() && self.chain.incomplete.is_none();
        whole && !self.begins_late && self.compares(rows)
    }

    /// Compares rows with the records up to the same moment.
    fn compares(&mut self, rows: SliceRows) -> bool {
        self.stage = match rows {
            SliceRows::NotYet => return true,
            SliceRows::Accounts(accounts, rights, transfers) => {
                self.replay.accounts(&accounts);
                self.replay.rights(&rights, transfers);
                Stage::Holds(HoldId(0))
            }
            SliceRows::Holds(holds) => {
                let last = holds.last().map(|(id, _)| *id).filter(|_| holds.len() == HOLDS);
                holds.iter().for_each(|(id, hold)| self.replay.hold(*id, hold));
                match last.and_then(|id| id.0.checked_add(1)) {
                    Some(next) => Stage::Holds(HoldId(next)),
                    None => Stage::Left(self.replay.not_compared(HOLDS)),
                }
            }
            SliceRows::Left(left) => {
                for (id, hold) in left {
                    match hold {
                        Some(hold) => self.replay.hold(id, &hold),
                        None => self.replay.no_hold(id),
                    }
                }
                Stage::Done
            }
            SliceRows::None => return false,
        };
        !matches!(self.stage, Stage::Done)
    }
}

/// Compares the last record with the end that the store keeps apart.
fn at_end(chain: &mut Verdict, head: &Head, end: &Head, vouched: bool) {
    if !vouched {
        let why = "the end of the chain was not written with the key of this installation";
        chain.broken = Some((head.seq, why.to_owned()));
    } else if head.seq < end.seq {
        let what = format!("records end at {}, the chain at {}", head.seq, end.seq);
        chain.incomplete = Some(what);
    } else if head.seq > end.seq {
        let seq = end.seq + 1;
        chain.broken = Some((seq, format!("record {seq} is beyond the end of the chain")));
    } else if head.hash != end.hash {
        let why = format!("record {} is not the end of the chain", head.seq);
        chain.broken = Some((head.seq, why));
    }
}
