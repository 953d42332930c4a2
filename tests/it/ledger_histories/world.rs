//! The machine and the naive ledger, side by side.

use tollgate::domain::{
    budget::{Budgeting, Limit},
    call::AgentId,
    ledger::{
        About, AccountId, Adjusted, Declaration, Extended, Finish, HoldId, HoldRequest, TransferId,
        close, declare, hold, transfer,
    },
    period::Period,
    rules::{AgentRules, Rules},
};

use super::{
    Operation,
    watched::Watched,
    words::{self, credits, step, whole},
};
use crate::support::ledger_model::{self as model, Model, Span, State};

const AGENTS: [&str; 3] = ["a", "b", "c"];
const SPANS: [Option<Span>; 5] =
    [None, Some(Span::Hour), Some(Span::Day), Some(Span::Week), Some(Span::Month)];
const HOUR: i64 = 3_600_000;

/// Agents with what each may spend, and how often.
type Agents = Vec<(&'static str, i128, Option<Span>)>;

pub struct World {
    real: Watched,
    model: Model,
    now: i64,
    settings: (model::Limit, Agents),
    ids: u128,
    huge: bool,
    aloud: bool,
}

/// What a step came to, in the words of the naive ledger, or what the machine found contradicted.
type Said = Result<String, String>;

/// What a step must come to if it is taken a second time; it writes nothing then.
enum Again {
    Same(String),
    Anything,
    /// It goes on where it ended.
    Never,
}

impl World {
    pub fn new(huge: bool, aloud: bool) -> Self {
        let mut world = Self {
            real: Watched::default(),
            model: Model::default(),
            now: 1_795_212_000_000,
            settings: (Some((1000, None)), vec![("a", 300, Some(Span::Day)), ("b", 200, None)]),
            ids: 1,
            huge,
            aloud,
        };
        world.declare().unwrap();
        world
    }

    pub fn operate(&mut self, [kind, a, b, c]: Operation) -> Result<String, String> {
        self.pass_time(kind >> 32);
        match kind % 100 {
            0..36 => self.hold(a, b, c),
            36..62 => self.finish(a, b, c),
            62..65 => self.extend(a, b),
            65..69 => self.mint(a, b),
            69..75 => self.carve(a, b, c),
            75..78 => self.cap(a, b, c),
            78..86 => self.refund(a, b, c),
            86..90 => self.close(a, b),
            90..95 => self.sweep(a),
            _ => {
                self.change_settings(a, b, c);
                self.declare()
            }
        }
    }

    fn pass_time(&mut self, chance: u64) {
        let far = chance / 1000;
        self.now += match chance % 1000 {
            0..500 => 0,
            500..900 => (far % 5_000) as i64,
            900..940 => (far % 90) as i64 * 60_000,
            940..960 => HOUR,
            960..970 => 24 * HOUR,
            970..975 => 7 * 24 * HOUR,
            975..979 => 31 * 24 * HOUR,
            // To the border of an hour, and one before.
            979..985 => HOUR - self.now % HOUR - (far % 2) as i64,
            985..995 => -((far % 50) as i64 * HOUR / 2),
            _ => -40 * 24 * HOUR,
        };
    }

    fn amount(&self, pick: u64, account: Option<usize>) -> i128 {
        let (how, size) = (pick % 100, i128::from(pick / 100));
        let headroom = account.and_then(|at| self.model.headroom(at, self.now)).unwrap_or(50);
        match how {
            0..8 => 0,
            8..20 => headroom.max(0),
            20..26 => headroom.max(0) + 1,
            26..36 if self.huge => model::MOST - size % 3,
            36..50 if self.huge => model::MOST / (1 + size % 4),
            26..50 => size % 200,
            _ => size % 20,
        }
        .min(model::MOST)
    }

    /// Mostly an open account; sometimes any, or none that there is.
    fn account(&self, pick: u64) -> (String, Option<usize>) {
        let open = |at: &usize| {
            let account = &self.model.accounts[*at];
            let left = self.model.headroom(*at, self.now);
            account.open && left.is_none_or(|left| left > 0)
        };
        let all = 0..self.model.accounts.len();
        let wanted: Vec<usize> = match pick % 20 {
            0 => return ("b/nobody".to_owned(), None),
            1 | 2 => all.collect(),
            _ => all.filter(open).collect(),
        };
        match wanted.get((pick / 20) as usize % wanted.len().max(1)) {
            Some(at) => (self.model.accounts[*at].id.clone(), Some(*at)),
            None => ("b/root".to_owned(), self.model.find("b/root")),
        }
    }

    fn some_hold(&self, pick: u64, wanted: impl Fn(&model::Hold) -> bool) -> u128 {
        let found: Vec<_> = match pick % 8 {
            0 => self.model.holds.iter().collect(),
            _ => self.model.holds.iter().filter(|hold| wanted(hold)).collect(),
        };
        match pick % 40 {
            1 => 0,
            _ => found.get((pick / 40) as usize % found.len().max(1)).map_or(0, |hold| hold.id),
        }
    }

    fn new_id(&mut self) -> u128 {
        self.ids += 1;
        self.ids
    }

    /// Does a step with both, and again with the machine; compares what they say.
    fn both(
        &mut self,
        what: &str,
        machine: impl Fn(&mut Watched) -> Said,
        naive: impl FnOnce(&mut Model) -> String,
        again: impl FnOnce(&str) -> Again,
    ) -> Result<String, String> {
        if self.aloud {
            eprintln!("{} {what}", self.now);
        }
        let before = self.huge.then(|| self.model.clone());
        let (mut writes, recounts) = (self.real.writes, self.model.recounts);
        let expected = naive(&mut self.model);
        let said = match machine(&mut self.real) {
            Ok(said) => said,
            Err(broken) if self.real.writes != writes => {
                return Err(format!("{what}: failed, and wrote: {broken}"));
            }
            Err(broken) => {
                // More than can be counted: nothing has happened.
                self.model = before.ok_or(format!("{what}: {broken}"))?;
                return Ok("overflow".to_owned());
            }
        };
        if said != expected {
            return Err(format!("{what}: machine `{said}`, model `{expected}`"));
        }
        if self.model.recounts != recounts {
            // Which is kept even if the step refuses.
            writes = self.real.writes;
        }
        let refused = ["no ", "closed ", "short", "reused", "exists", "too", "nothing", "beyond"];
        if refused.iter().any(|word| said.starts_with(word)) && self.real.writes != writes {
            return Err(format!("{what}: refused, and wrote: {said}"));
        }
        let (writes, again) = (self.real.writes, again(&said));
        if matches!(again, Again::Never) {
            return Ok(said);
        }
        let twice = machine(&mut self.real)?;
        if self.real.writes != writes {
            return Err(format!("{what}: a second time it wrote, and said `{twice}`"));
        }
        match again {
            Again::Same(expected) if twice != expected => {
                Err(format!("{what}: a second time `{twice}`, expected `{expected}`"))
            }
            _ => Ok(said),
        }
    }

    fn hold(&mut self, a: u64, b: u64, c: u64) -> Result<String, String> {
        let (account, at) = self.account(a);
        let amount = self.amount(b, at);
        let (id, fingerprint) = match c % 20 {
            0 => (self.some_hold(c / 20, |_| true), 0),
            1 => (self.some_hold(c / 20, |_| true), 1),
            _ => (self.new_id(), 0),
        };
        let (forced, charge) = (c >> 8 & 15 == 0, c >> 12 & 3 != 0);
        let lifetime = [30_000, 600_000, 5, -1, i64::MAX][(c >> 16) as usize % 5];
        let now = self.now;
        let request = HoldRequest {
            id: HoldId(id),
            account: AccountId::from(account.as_str()),
            amount: credits(amount),
            fingerprint: [fingerprint; 32],
            lifetime,
            forced,
            charge_if_lost: charge,
            about: About::default(),
        };
        self.both(
            &format!("hold {id} on {account}: {amount}, forced {forced}, charge {charge}, for {lifetime}, {fingerprint}"),
            |real| Ok(match step(hold::hold(real, request.clone(), now))? {
                Ok(held) => match held.replayed {
                    Some(state) => format!("replayed {:?}", words::state(state)),
                    None => format!("held {:?} {:?}", held.remaining.map(whole), held.over.as_ref().map(words::short)),
                },
                Err(refused) => words::hold_refused(&refused),
            }),
            |model| {
                model.hold(id, &account, amount, fingerprint, now, lifetime, forced, charge)
            },
            |said| Again::Same(if said.starts_with("held") { "replayed Open" } else { said }.to_owned()),
        )
    }

    fn finish(&mut self, a: u64, b: u64, c: u64) -> Result<String, String> {
        let id = self.some_hold(a, |hold| hold.state == State::Open);
        let held = self.model.holds.iter().find(|hold| hold.id == id).map_or(9, |hold| hold.amount);
        let (how, end) = match b % 10 {
            0..4 => (Ok(held), Finish::Post(credits(held))),
            4 | 5 => {
                let part = i128::from(c) % (held + 2);
                (Ok(part), Finish::Post(credits(part.min(model::MOST))))
            }
            6 => (Err("uncertain"), Finish::Uncertain),
            7 | 8 => (Err("void"), Finish::Void),
            _ => (Err("lost"), Finish::Lost),
        };
        self.both(
            &format!("finish {id}: {end:?}"),
            |real| {
                Ok(match step(hold::finish(real, HoldId(id), end))? {
                    None => "no hold".to_owned(),
                    Some(done) => words::finished(&done),
                })
            },
            |model| model.finish(id, how),
            |said| Again::Same(replayed(said)),
        )
    }

    fn extend(&mut self, a: u64, b: u64) -> Result<String, String> {
        let id = self.some_hold(a, |hold| hold.state == State::Open);
        let lifetime = [0, 60_000, -5, i64::MAX][b as usize % 4];
        let now = self.now;
        self.both(
            &format!("extend {id} by {lifetime}"),
            |real| {
                let extended = match step(hold::extend(real, HoldId(id), lifetime, now))? {
                    Extended::Closed(account) => format!("Closed({})", account.as_str()),
                    other => format!("{other:?}"),
                };
                let kept = real.rows.holds.get(&HoldId(id)).map(|hold| hold.deadline);
                Ok(format!("{extended} {kept:?}"))
            },
            |model| {
                let extended = model.extend(id, lifetime, now);
                let kept = model.holds.iter().find(|hold| hold.id == id);
                format!("{extended} {:?}", kept.map(|hold| hold.deadline))
            },
            |said| Again::Same(said.to_owned()),
        )
    }

    fn mint(&mut self, a: u64, b: u64) -> Result<String, String> {
        let (account, at) = self.account(a);
        let amount = self.amount(b, at);
        self.transfer(model::Transfer::Mint { account, amount }, a)
    }

    fn carve(&mut self, a: u64, b: u64, c: u64) -> Result<String, String> {
        let (from, at) = self.account(a);
        // Half of the time from the account that was opened last, so that some are nested deeply.
        let last = self.model.accounts.last().filter(|account| account.open && a & 1 == 0);
        let from = last.map_or(from, |account| account.id.clone());
        let amount = self.amount(b, at);
        let to = match c % 16 {
            0 => self.account(c / 16).0,
            _ => format!("b/token/{}", self.new_id()),
        };
        let later = [60_000, HOUR, 30 * HOUR, -1];
        let expires = (c >> 8 & 1 == 0).then(|| self.now + later[(c >> 9) as usize % 4]);
        self.transfer(model::Transfer::Carve { from, to, amount, expires }, c)
    }

    fn cap(&mut self, a: u64, b: u64, c: u64) -> Result<String, String> {
        let (mut from, at) = self.account(a);
        let mut limit = self.amount(b, at);
        let mut to = format!("b/token/{}/cap", self.new_id());
        // Some are asked for again, as they are or otherwise.
        let capped = self.model.accounts.iter().filter(|account| account.id.ends_with("cap"));
        let capped: Vec<_> = capped.collect();
        if let Some(there) = capped.get((c >> 16) as usize % capped.len().max(1))
            && c.is_multiple_of(3)
        {
            to = there.id.clone();
            if !c.is_multiple_of(9) {
                from = self.model.accounts[there.parent.unwrap()].id.clone();
            }
            if !c.is_multiple_of(4) {
                limit = self.model.seen(self.model.find(&to).unwrap()).numbers[0];
            }
        }
        let later = [60_000, HOUR, 30 * HOUR, -1];
        let expires = (c >> 8 & 1 == 0).then(|| self.now + later[(c >> 9) as usize % 4]);
        self.transfer(model::Transfer::Cap { from, to, limit, expires }, c)
    }

    fn refund(&mut self, a: u64, b: u64, c: u64) -> Result<String, String> {
        let posted = |hold: &model::Hold| matches!(hold.state, State::Posted { .. });
        let hold = self.some_hold(a, posted);
        let amount = (!b.is_multiple_of(3)).then(|| self.amount(b / 3, None));
        self.transfer(model::Transfer::Refund { hold, amount }, c)
    }

    fn transfer(&mut self, naive: model::Transfer, pick: u64) -> Result<String, String> {
        let (mut id, mut naive) = (self.new_id(), naive);
        let before = &self.model.transfers;
        if let Some((known, asked)) = before.get((pick >> 40) as usize % before.len().max(1)) {
            match pick >> 32 & 31 {
                0 => (id, naive) = (*known, asked.clone()),
                1 => id = *known,
                _ => {}
            }
        }
        let (now, asked) = (self.now, words::transfer(&naive));
        self.both(
            &format!("transfer {id}: {naive:?}"),
            |real| {
                Ok(match step(transfer::transfer(real, TransferId(id), &asked, now))? {
                    Ok(done) => format!(
                        "moved {} {} {:?} {}",
                        done.amount,
                        done.account.as_str(),
                        done.remaining.map(whole),
                        done.replayed
                    ),
                    Err(refused) => words::transfer_refused(&refused),
                })
            },
            |model| model.transfer(id, &naive, now),
            |said| match &naive {
                // Of a refund of all that is left, a second answer tells all that was given back.
                model::Transfer::Refund { amount: None, .. } => Again::Anything,
                _ => Again::Same(replayed(said)),
            },
        )
    }

    fn close(&mut self, a: u64, b: u64) -> Result<String, String> {
        let token = |account: &str| account.starts_with("b/token") || b.is_multiple_of(8);
        let (mut id, _) = self.account(a);
        if !token(&id) {
            let carved = self.model.accounts.iter().filter(|account| account.id.contains("token"));
            let carved: Vec<_> = carved.collect();
            let Some(account) = carved.get(b as usize % carved.len().max(1)) else {
                return Ok("none to close".to_owned());
            };
            id = account.id.clone();
        }
        let account = AccountId::from(id.as_str());
        self.both(
            &format!("close {id}"),
            |real| {
                Ok(match step(close::close(real, &account))? {
                    Ok(closed) => format!("{:?}", words::closed(&closed)),
                    Err(refused) => words::hold_refused(&refused),
                })
            },
            |model| model.close(&id),
            |said| Again::Same(if said.starts_with('[') { "[]" } else { said }.to_owned()),
        )
    }

    fn sweep(&mut self, a: u64) -> Result<String, String> {
        let (now, most) = (self.now, if a.is_multiple_of(4) { 2 } else { 1000 });
        let over = self.too_much_to_sweep(now, most)?;
        self.both(
            &format!("sweep {most}"),
            |real| {
                let swept = step(close::sweep(real, now, most))?;
                let ended = swept.ended.iter().map(|(id, done)| (id.0, words::finished(done)));
                let closed = words::closed(&swept.closed);
                Ok(format!("{:?} {closed:?}", ended.collect::<Vec<_>>()))
            },
            |model| model.sweep(now, most, &over),
            |_| match most == 2 || !over.is_empty() {
                true => Again::Never,
                false => Again::Same("[] []".to_owned()),
            },
        )
    }

    /// What a sweep passes over, as it would come to more than can be counted.
    fn too_much_to_sweep(&self, now: i64, most: usize) -> Result<Vec<String>, String> {
        if !self.huge {
            return Ok(Vec::new());
        }
        let swept = step(close::sweep(&mut self.real.rows.clone(), now, most))?;
        if let Some(fault) = swept.faults.iter().find(|fault| !fault.contains("flow")) {
            return Err(fault.clone());
        }
        let id = |fault: &String| fault.split(' ').next().unwrap().to_owned();
        Ok(swept.faults.iter().map(id).collect())
    }

    fn change_settings(&mut self, a: u64, b: u64, c: u64) {
        let (root, agents) = &mut self.settings;
        let span = SPANS[(b % 5) as usize];
        let limit = match c % 16 {
            0 if self.huge => model::MOST,
            1 => 0,
            _ => i128::from(c / 16) % 2000,
        };
        match a % 10 {
            0 => *root = None,
            1 => *root = Some((limit, span)),
            2..5 => *root = Some((limit, root.and_then(|(_, span)| span))),
            _ => {
                let agent = AGENTS[(a / 10) as usize % 3];
                let before = agents.iter().find(|(name, ..)| *name == agent);
                let same = before.map_or(span, |(.., span)| *span);
                agents.retain(|(name, ..)| *name != agent);
                if a % 10 != 5 {
                    agents.push((agent, limit, if b.is_multiple_of(3) { span } else { same }));
                    agents.sort_unstable();
                }
            }
        }
    }

    fn declare(&mut self) -> Said {
        let (limit, agents) = self.settings.clone();
        let (declaration, now) = (declaration(limit, &agents), self.now);
        let said = self.both(
            &format!("declare {limit:?}, agents {agents:?}"),
            |real| {
                let Adjusted { changed, undeclarable } =
                    step(declare::declare(real, &declaration, now))?;
                let changed = changed.iter().map(|word| word.split_once(':').unwrap().0);
                let changed: Vec<_> = changed.map(|word| format!("b/{word}")).collect();
                let kept = undeclarable.iter().map(words::undeclarable);
                Ok(format!("{changed:?} kept {:?}", kept.collect::<Vec<_>>()))
            },
            |model| model.declare(limit, &agents, now),
            |said| Again::Same(format!("[] kept {}", said.split_once(" kept ").unwrap().1)),
        )?;
        Ok(said)
    }

    pub fn compare(&mut self) -> Result<(), String> {
        self.real.compare(&self.model)
    }

    pub fn prove(&self) -> Result<(), String> {
        self.real.prove(&self.model)
    }
}

fn replayed(said: &str) -> String {
    said.strip_suffix("false").map_or(said.to_owned(), |said| format!("{said}true"))
}

fn declaration(limit: model::Limit, agents: &[(&str, i128, Option<Span>)]) -> Declaration {
    let budget = |amount, span: Option<Span>| Limit {
        credits: credits(amount),
        period: span.map(|span| match span {
            Span::Hour => Period::Hour,
            Span::Day => Period::Day,
            Span::Week => Period::Week,
            Span::Month => Period::Month,
        }),
    };
    let limit = limit.map(|(limit, span)| budget(limit, span));
    let budgeting = Budgeting { limit, namespace: "b".to_owned(), ..Budgeting::default() };
    let agents = agents.iter().map(|(agent, limit, span)| {
        let budget = Some(budget(*limit, *span));
        (AgentId::from(*agent), AgentRules { budget, ..AgentRules::default() })
    });
    Declaration::of(&budgeting, &Rules { agents: agents.collect(), ..Rules::default() })
}
