//! Compares the rows of a store with its records, in short reads, so that a busy store can move its
//! log meanwhile. The records are followed to their end before rows of the same read are compared,
//! so every row is compared with the records of its own moment.

use std::sync::Arc;

use super::{Ledger, Turn, transact, tx::LedgerTx};
use crate::{
    domain::{
        ledger::{
            HoldId, Step,
            proof::{Proof, Recount},
            replay::Replay,
        },
        record::Head,
    },
    ledger::answer::{LedgerUnavailable, Verdict},
};

/// At most this many records in one read, each of which is parsed and hashed.
const RECORDS: usize = 500;
/// At most this many holds.
const HOLDS: usize = 2_000;

/// Whether the records are those that were written, all of them, in order, and explain the rows.
pub(super) async fn verify(ledger: Arc<dyn Ledger>) -> Result<Verdict, LedgerUnavailable> {
    let Walk { chain, begins_late, replay, .. } = walk(&*ledger).await?;
    let (proof, ahead) = replay.finish();
    let whole = chain.is_whole() && !begins_late;
    let incomplete = proof.faults.first().filter(|_| whole).map(|first| match ahead {
        0 => format!(
            "the accounts are not what the records come to ({first}); `tollgate budget prove` lists all differences"
        ),
        ahead => format!(
            "records are missing at the end: {ahead} rows are of what no record has ({first}); `tollgate budget prove` lists all differences"
        ),
    });
    Ok(Verdict { incomplete: chain.incomplete.clone().or(incomplete), ..chain })
}

/// Recounts everything.
pub(super) async fn prove(ledger: Arc<dyn Ledger>) -> Result<Proof, LedgerUnavailable> {
    let Walk { chain, begins_late, replay, .. } = walk(&*ledger).await?;
    let mut proof = match begins_late {
        // A store that forgets records has holds that no record explains.
        true => transact(&*ledger, Turn::Read, |tx, _| recount(tx)).await?,
        false => replay.finish().0,
    };
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

/// What comes next once the records are followed to their end.
#[derive(Default, PartialEq, Eq)]
enum Stage {
    /// Accounts and rights.
    #[default]
    Accounts,
    /// Holds from this id on.
    Holds(HoldId),
    /// Holds of the records that were not among the others.
    Left,
    Done,
}

/// A walk along the records of a store and its rows. It travels into each read and back, so that
/// no rows are carried out of the store.
#[derive(Default)]
struct Walk {
    /// Whether the store has forgotten the first records.
    begins_late: bool,
    /// How far the records were followed; None before the first read.
    head: Option<Head>,
    chain: Verdict,
    replay: Replay,
    stage: Stage,
}

async fn walk(ledger: &dyn Ledger) -> Result<Walk, LedgerUnavailable> {
    let mut walk = Walk::default();
    while walk.stage != Stage::Done {
        walk = transact(ledger, Turn::Read, move |tx, _| walk.go_on(tx)).await?;
    }
    Ok(walk)
}

impl Walk {
    /// Follows some records; if they are the last ones, compares some rows of the same moment.
    fn go_on(mut self, tx: &mut dyn LedgerTx) -> Step<Self> {
        let mut head = match self.head.take() {
            Some(head) => head,
            None => tx.origin()?,
        };
        self.begins_late |= self.chain.records == 0 && head.seq > 0;
        let records = tx.records(head.seq, RECORDS)?;
        for sealed in &records {
            match head.follow(sealed) {
                Ok(record) => self.replay.record(&record),
                Err(unlinked) => {
                    self.chain.broken = Some((unlinked.place(), unlinked.to_string()));
                    return Ok(Self { stage: Stage::Done, ..self });
                }
            }
            self.chain.records += 1;
        }
        if records.len() < RECORDS {
            at_end(&mut self.chain, &head, &tx.head()?, tx.vouched()?);
            self.stage = match self.chain.is_whole() && !self.begins_late {
                true => self.compare(tx)?,
                false => Stage::Done,
            };
        }
        Ok(Self { head: Some(head), ..self })
    }

    /// Compares the rows of this stage. Returns the next one.
    fn compare(&mut self, tx: &mut dyn LedgerTx) -> Step<Stage> {
        Ok(match self.stage {
            Stage::Accounts => {
                self.replay.accounts(&tx.accounts()?);
                let (rights, transfers) = (tx.rights()?, tx.transfers()?);
                self.replay.rights(&rights, transfers);
                Stage::Holds(HoldId(0))
            }
            Stage::Holds(from) => {
                let holds = tx.holds(from, HoldId(u128::MAX), HOLDS)?;
                holds.iter().for_each(|(id, hold)| self.replay.hold(*id, hold));
                let last = holds.last().filter(|_| holds.len() == HOLDS);
                let next = last.and_then(|(id, _)| id.0.checked_add(1));
                next.map_or(Stage::Left, |next| Stage::Holds(HoldId(next)))
            }
            Stage::Left => {
                for id in self.replay.not_compared(HOLDS) {
                    match tx.tables().hold(id)? {
                        Some(hold) => self.replay.hold(id, &hold),
                        None => self.replay.no_hold(id),
                    }
                }
                Stage::Done
            }
            Stage::Done => Stage::Done,
        })
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
