//! What the commands do to the lists.

use super::{Account, Hold, Is, Limit, MOST, Model, Span, State, Transfer};

const LEVELS: usize = 8;

/// A deadline that is further ahead was written by a clock that was.
const AHEAD: i64 = 86_400_000;

impl Model {
    /// From the caller's account up to the first funded one, or why not.
    fn path(&mut self, id: &str, now: i64) -> Result<Vec<usize>, String> {
        let mut at = self.find(id).ok_or_else(|| format!("no account {id}"))?;
        let mut path = Vec::new();
        loop {
            self.present(at, now);
            let account = &self.accounts[at];
            if !account.open || account.expires.is_some_and(|expires| expires <= now) {
                return Err(format!("closed {}", account.id));
            }
            path.push(at);
            match account.is {
                Is::Ceiling(_) => at = account.parent.unwrap(),
                Is::Unlimited | Is::Funded => return Ok(path),
            }
        }
    }

    /// The account with the least left, if that is less than an amount.
    fn short(&self, path: &[usize], amount: i128, now: i64) -> Option<String> {
        let mut least: Option<(i128, usize)> = None;
        for account in path {
            let Some(left) = self.headroom(*account, now) else { continue };
            if least.is_none_or(|(least, _)| left < least) {
                least = Some((left, *account));
            }
        }
        let (left, account) = least.filter(|(left, _)| amount > 0 && *left < amount)?;
        Some(format!("short {} {} {amount}", self.accounts[account].id, left.clamp(0, MOST)))
    }

    /// The account on which an amount more is beyond what can be counted.
    fn uncountable(&self, path: &[usize], amount: i128, now: i64) -> Option<String> {
        let left = |at: usize| {
            let (reserved, spent) = self.taken(at);
            MOST - match self.accounts[at].is {
                Is::Unlimited => reserved,
                Is::Funded => reserved + spent,
                Is::Ceiling(_) => reserved.max(self.drawn(at, self.window_at(at, now))[0]),
            }
        };
        let at = *path.iter().find(|at| left(**at) < amount)?;
        Some(format!("short {} {} {amount}", self.accounts[at].id, left(at)))
    }

    fn legs(&mut self, path: &[usize], now: i64) -> Vec<(usize, i64)> {
        let legs = path.iter().map(|at| (*at, self.window_at(*at, now)));
        let legs: Vec<_> = legs.collect();
        legs.iter().for_each(|(at, window)| self.touch(*at, *window));
        legs
    }

    #[expect(clippy::too_many_arguments, reason = "everything that a hold is")]
    pub fn hold(
        &mut self,
        id: u128,
        account: &str,
        amount: i128,
        fingerprint: u8,
        now: i64,
        lifetime: i64,
        forced: bool,
        charge: bool,
    ) -> String {
        if let Some(before) = self.holds.iter().find(|hold| hold.id == id) {
            return match before.fingerprint == fingerprint {
                true => format!("replayed {:?}", before.state),
                false => "reused".to_owned(),
            };
        }
        let path = match self.path(account, now) {
            Ok(path) => path,
            Err(refused) => return refused,
        };
        if let Some(uncountable) = self.uncountable(&path, amount, now) {
            return uncountable;
        }
        let short = self.short(&path, amount, now);
        if let (Some(short), false) = (&short, forced) {
            return short.clone();
        }
        let deadline = now.saturating_add(lifetime);
        let legs = self.legs(&path, now);
        let state = State::Open;
        self.holds.push(Hold { id, amount, fingerprint, state, deadline, charge, path: legs });
        let left = path.iter().filter_map(|at| self.headroom(*at, now)).min();
        format!("held {:?} {short:?}", left.map(|left| left.clamp(0, MOST)))
    }

    pub fn extend(&mut self, id: u128, lifetime: i64, now: i64) -> String {
        let until = now.saturating_add(lifetime);
        let open = self.holds.iter_mut().find(|hold| hold.id == id && hold.state == State::Open);
        let Some(hold) = open else { return "Ended".to_owned() };
        let too_far = hold.deadline > until.saturating_add(AHEAD);
        hold.deadline = if too_far { until } else { hold.deadline.max(until) };
        let path = hold.path.clone();
        let ended = path
            .into_iter()
            .map(|(at, _)| &self.accounts[at])
            .find(|account| !account.open || account.expires.is_some_and(|expires| expires <= now));
        ended.map_or("Open".to_owned(), |account| format!("Closed({})", account.id))
    }

    /// `how`: an amount, or `uncertain`, `void`, `lost`.
    pub fn finish(&mut self, id: u128, how: Result<i128, &str>) -> String {
        let Some(hold) = self.holds.iter_mut().find(|hold| hold.id == id) else {
            return "no hold".to_owned();
        };
        let replayed = hold.state != State::Open;
        if !replayed {
            let posted = |amount, uncertain| State::Posted { amount, uncertain, refunded: 0 };
            hold.state = match how {
                Ok(amount) => posted(amount.min(hold.amount), false),
                Err("uncertain") => posted(hold.amount, true),
                Err("lost") if hold.charge => posted(hold.amount, true),
                Err(_) => State::Voided,
            };
        }
        let (state, leaf) = (hold.state, hold.path[0].0);
        format!("{state:?} {} {} {replayed}", hold.amount, self.accounts[leaf].id)
    }

    pub fn transfer(&mut self, id: u128, asked: &Transfer, now: i64) -> String {
        let before = self.transfers.iter().find(|(before, _)| *before == id);
        let replayed = before.is_some();
        if before.is_some_and(|(_, before)| before != asked) {
            return "reused".to_owned();
        }
        let moved = match asked {
            _ if replayed => Ok(self.moved_before(asked)),
            Transfer::Mint { account, amount } => self.mint(account, *amount, now),
            Transfer::Carve { from, to, amount, expires } => {
                self.carve(from, to, *amount, *expires, now)
            }
            Transfer::Cap { from, to, limit, expires } => {
                match self.cap(from, to, *limit, *expires, now) {
                    // It is there; this command does nothing, and is not remembered.
                    Ok(None) => {
                        let at = self.find(to).unwrap();
                        self.present(at, now);
                        let left = self.headroom(at, now).map(|left| left.clamp(0, MOST));
                        return format!("moved {limit} {to} {left:?} true");
                    }
                    Ok(Some(at)) => Ok((at, *limit)),
                    Err(refused) => Err(refused),
                }
            }
            Transfer::Refund { hold, amount } => self.refund(*hold, *amount, now),
        };
        match moved {
            Ok((account, amount)) => {
                if !replayed {
                    self.transfers.push((id, asked.clone()));
                }
                self.present(account, now);
                let left = self.headroom(account, now).map(|left| left.clamp(0, MOST));
                format!("moved {amount} {} {left:?} {replayed}", self.accounts[account].id)
            }
            Err(refused) => refused,
        }
    }

    fn moved_before(&self, asked: &Transfer) -> (usize, i128) {
        match asked {
            Transfer::Mint { account, amount } => (self.find(account).unwrap(), *amount),
            Transfer::Carve { from, amount, .. } => (self.find(from).unwrap(), *amount),
            Transfer::Cap { to, limit, .. } => (self.find(to).unwrap(), *limit),
            Transfer::Refund { hold, amount } => {
                let hold = self.holds.iter().find(|kept| kept.id == *hold).unwrap();
                let State::Posted { refunded, .. } = hold.state else { panic!("{hold:?}") };
                (hold.path[0].0, amount.unwrap_or(refunded))
            }
        }
    }

    fn mint(&mut self, id: &str, amount: i128, now: i64) -> Result<(usize, i128), String> {
        if amount == 0 {
            return Err("nothing".to_owned());
        }
        let at = self.find(id).ok_or_else(|| format!("no account {id}"))?;
        self.present(at, now);
        let account = &self.accounts[at];
        if !account.open || account.expires.is_some_and(|expires| expires <= now) {
            return Err(format!("closed {id}"));
        }
        let window = self.window_at(at, now);
        let full = match account.is {
            Is::Ceiling(_) => self.limit(at) + self.drawn(at, window)[2] + amount > MOST,
            Is::Unlimited | Is::Funded => self.issued(at) + amount > MOST,
        };
        if full {
            return Err("too much".to_owned());
        }
        self.touch(at, window);
        self.mints.push((at, amount, window));
        Ok((at, amount))
    }

    fn carve(
        &mut self,
        from: &str,
        to: &str,
        amount: i128,
        expires: Option<i64>,
        now: i64,
    ) -> Result<(usize, i128), String> {
        if amount == 0 {
            return Err("nothing".to_owned());
        }
        if self.find(to).is_some() {
            return Err(format!("exists {to}"));
        }
        let path = self.room_below(from, expires, now)?;
        if let Some(short) = self.short(&path, amount, now) {
            return Err(short);
        }
        let giver = path[path.len() - 1];
        let given = amount - self.with_those_below(giver);
        if self.accounts[giver].is == Is::Unlimited && given > MOST / 2 {
            return Err("too much given".to_owned());
        }
        let above = path.iter().filter_map(|at| self.accounts[*at].expires);
        let expires = above.chain(expires).min();
        let given = Some((amount, self.legs(&path, now)));
        self.accounts.push(Account {
            id: to.to_owned(),
            parent: Some(path[0]),
            is: Is::Funded,
            open: true,
            expires,
            given,
        });
        Ok((path[0], amount))
    }

    fn room_below(
        &mut self,
        from: &str,
        expires: Option<i64>,
        now: i64,
    ) -> Result<Vec<usize>, String> {
        if expires.is_some_and(|at| at <= now) {
            return Err("past".to_owned());
        }
        let path = self.path(from, now)?;
        let levels = std::iter::successors(Some(path[0]), |at| self.accounts[*at].parent).count();
        if levels >= LEVELS { Err("too deep".to_owned()) } else { Ok(path) }
    }

    /// None if it is there already.
    fn cap(
        &mut self,
        from: &str,
        to: &str,
        limit: i128,
        expires: Option<i64>,
        now: i64,
    ) -> Result<Option<usize>, String> {
        if let Some(at) = self.find(to) {
            let there = &self.accounts[at];
            let same = there.is == Is::Ceiling(None) && self.limit(at) == limit;
            return match there.parent == self.find(from) && there.parent.is_some() && same {
                false => Err(format!("exists {to}")),
                true if !there.open || there.expires.is_some_and(|at| at <= now) => {
                    Err(format!("closed {to}"))
                }
                true => Ok(None),
            };
        }
        let path = self.room_below(from, expires, now)?;
        let above = path.iter().filter_map(|at| self.accounts[*at].expires);
        let expires = above.chain(expires).min();
        self.accounts.push(Account {
            id: to.to_owned(),
            parent: Some(path[0]),
            is: Is::Ceiling(None),
            open: true,
            expires,
            given: None,
        });
        let at = self.accounts.len() - 1;
        self.limits.push((at, limit, 0));
        Ok(Some(at))
    }

    fn refund(
        &mut self,
        id: u128,
        amount: Option<i128>,
        now: i64,
    ) -> Result<(usize, i128), String> {
        let hold = self.holds.iter_mut().find(|hold| hold.id == id);
        let hold = hold.ok_or("no hold")?;
        let State::Posted { amount: posted, refunded, .. } = &mut hold.state else {
            return Err("nothing posted".to_owned());
        };
        let left = *posted - *refunded;
        match amount.unwrap_or(left) {
            _ if left == 0 => Err("nothing posted".to_owned()),
            0 => Err("nothing".to_owned()),
            asked if asked > left => Err(format!("beyond {left} {asked}")),
            asked => {
                *refunded += asked;
                let path = hold.path.clone();
                path.iter().for_each(|(at, _)| self.present(*at, now));
                Ok((path[0].0, asked))
            }
        }
    }
}

/// Closing, time and settings.
impl Model {
    pub fn close(&mut self, id: &str) -> String {
        let Some(at) = self.find(id) else { return format!("no account {id}") };
        if self.accounts[at].parent.is_none() {
            return "root".to_owned();
        }
        let mut closed = Vec::new();
        self.shut(at, &mut closed);
        format!("{closed:?}")
    }

    fn shut(&mut self, at: usize, closed: &mut Vec<(String, i128)>) {
        if !self.accounts[at].open {
            return;
        }
        for child in self.sorted(|account| account.parent == Some(at)) {
            self.shut(child, closed);
        }
        self.accounts[at].open = false;
        let funded = self.accounts[at].is == Is::Funded;
        let returned = if funded { self.raw(at).clamp(0, MOST) } else { 0 };
        closed.push((self.accounts[at].id.clone(), returned));
    }

    fn sorted(&self, wanted: impl Fn(&Account) -> bool) -> Vec<usize> {
        let all = (0..self.accounts.len()).filter(|at| wanted(&self.accounts[*at]));
        let mut found: Vec<_> = all.collect();
        found.sort_by_key(|at| self.accounts[*at].id.clone());
        found
    }

    pub fn sweep(&mut self, now: i64, most: usize, except: &[String]) -> String {
        let over = |hold: &&Hold| {
            let counts = !except.contains(&format!("{:032x}", hold.id));
            hold.state == State::Open && hold.deadline <= now && counts
        };
        let due = self.holds.iter().filter(over).map(|hold| (hold.deadline, hold.id));
        let mut due: Vec<_> = due.collect();
        due.sort_unstable();
        let expired = |a: &Account| {
            a.open && a.expires.is_some_and(|at| at <= now) && !except.contains(&a.id)
        };
        let expired = self.sorted(expired);
        let mut ended = Vec::new();
        for (_, id) in due.into_iter().take(most) {
            ended.push((id, self.finish(id, Err("lost"))));
        }
        let mut closed = Vec::new();
        for at in expired.into_iter().take(most) {
            self.shut(at, &mut closed);
        }
        let too_far = |hold: &&mut Hold| {
            hold.state == State::Open && hold.deadline > now.saturating_add(AHEAD)
        };
        let mut too_far: Vec<_> = self.holds.iter_mut().filter(too_far).collect();
        too_far.sort_unstable_by_key(|hold| std::cmp::Reverse((hold.deadline, hold.id)));
        too_far.into_iter().take(most).for_each(|hold| hold.deadline = now + 60_000);
        format!("{ended:?} {closed:?}")
    }

    /// Brings accounts in line with the settings; answers what changed.
    pub fn declare(
        &mut self,
        limit: Limit,
        agents: &[(&str, i128, Option<Span>)],
        now: i64,
    ) -> String {
        let mut asked: Vec<(String, Option<String>, Is, i128)> = Vec::new();
        let unlimited = || ("b/unmetered".to_owned(), None, Is::Unlimited, 0);
        match limit {
            None => asked.push(unlimited()),
            Some((limit, None)) => asked.push(("b/root".to_owned(), None, Is::Funded, limit)),
            Some((limit, span)) => {
                asked.push(unlimited());
                let above = Some("b/unmetered".to_owned());
                asked.push((named("b/root", span), above, Is::Ceiling(span), limit));
            }
        }
        let root = asked.last().unwrap().0.clone();
        for (agent, limit, span) in agents {
            let id = named(&format!("b/agent/{agent}"), *span);
            asked.push((id, Some(root.clone()), Is::Ceiling(*span), *limit));
        }
        let (mut changed, mut kept) = (Vec::new(), Vec::new());
        for (id, parent, is, mut limit) in asked {
            let parent = parent.and_then(|id| self.find(&id));
            if let Some(at) = self.find(&id) {
                self.present(at, now);
                if let Some(why) = self.undeclarable(at, limit) {
                    kept.push(format!("{id} {limit} {why}"));
                    limit = self.limit(at);
                }
            }
            changed.extend(self.bring(id, parent, is, limit, now));
        }
        format!("{changed:?} kept {kept:?}")
    }

    /// Why the limit of a root stays as it is.
    fn undeclarable(&self, at: usize, limit: i128) -> Option<String> {
        let declared = self.limit(at);
        if self.accounts[at].is != Is::Funded {
            return None;
        }
        let taken = declared - self.raw(at);
        if limit < declared && limit < taken {
            return Some(format!("taken {}", taken.clamp(0, MOST)));
        }
        (self.issued(at) - declared + limit > MOST).then(|| "uncountable".to_owned())
    }

    fn bring(
        &mut self,
        id: String,
        parent: Option<usize>,
        is: Is,
        limit: i128,
        now: i64,
    ) -> Option<String> {
        let (at, verb) = match self.find(&id) {
            Some(at) => (at, "changed"),
            None => {
                let id = id.clone();
                let account = Account { id, parent, is, open: true, expires: None, given: None };
                self.accounts.push(account);
                (self.accounts.len() - 1, "opened")
            }
        };
        let account = &mut self.accounts[at];
        let same = account.parent == parent && account.open && verb == "changed";
        (account.parent, account.open) = (parent, true);
        if same && self.limit(at) == limit {
            return None;
        }
        if verb == "opened" || self.limit(at) != limit {
            let window = self.window_at(at, now);
            self.touch(at, window);
            self.limits.push((at, limit, window));
        }
        Some(format!("{id} {verb}"))
    }
}

fn named(name: &str, span: Option<Span>) -> String {
    match span {
        Some(span) => format!("{name}/{}", format!("{span:?}").to_lowercase()),
        None => name.to_owned(),
    }
}
