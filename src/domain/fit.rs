//! A token budget over many tools: which tool is shown at which level.
//!
//! Detail is reduced before a tool is left out. Every tool gets a line with its name; a greedy heap
//! spends the rest of the budget where it helps most per token. Without room for a line each, names
//! share one. Only the given tools are looked at, so neither the outcome nor the time depends on
//! tools that the caller may not see.

use std::{cmp::Ordering, collections::BinaryHeap};

use super::{
    call::ServerName,
    credits::Credits,
    detail::{Detail, Level},
    rendered::{AnswerForm, LARGEST_FRAME, RenderedTool, ShownTool},
};

/// A tool that was selected for an answer.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The tool.
    pub tool: &'a RenderedTool,
    /// Its server.
    pub server: &'a ServerName,
    /// The price to tell with it; None where it is the default.
    pub price: Option<Credits>,
}

impl Candidate<'_> {
    fn bound(&self, level: Level, form: AnswerForm) -> Option<usize> {
        self.tool.bound(level, self.price, form)
    }
}

/// The value of each level to an agent: it knows the tool, can choose, call, understand it.
const WORTH: [(Level, f64); 4] =
    [(Level::Names, 0.30), (Level::Summary, 0.45), (Level::Signature, 0.90), (Level::Full, 1.0)];

/// Decides the level of each tool within `cap` tokens; tools that do not fit even by name are left
/// out. The order of the candidates is kept.
pub fn fit<'a>(
    candidates: &[Candidate<'a>],
    detail: Detail,
    cap: usize,
    prefixed: bool,
) -> Vec<ShownTool<'a>> {
    if cap == 0 {
        return Vec::new();
    }
    let most = match detail {
        Detail::AtMost(level) => level,
        Detail::Auto => Level::Signature,
    };
    let whole = matches!(detail, Detail::Auto | Detail::AtMost(Level::Full));
    if whole && let Some(placed) = all_whole(candidates, cap, prefixed) {
        return placed;
    }
    let form = AnswerForm { prefixed, objects: most == Level::Full };
    let mut budget = cap.saturating_sub(LARGEST_FRAME);
    let levels = match floor(candidates, budget, form) {
        Some(left) => {
            budget = left;
            let mut levels = vec![Some(Level::Names); candidates.len()];
            refine(candidates, &mut levels, most, budget, form);
            levels
        }
        None => mentions(candidates, budget, form),
    };
    candidates
        .iter()
        .zip(levels)
        .filter_map(|(candidate, level)| Some(place(candidate, level?)))
        .collect()
}

/// One tool that was asked for by name: at the highest level that fits, or its name if none does.
pub fn fit_one<'a>(
    candidate: &Candidate<'a>,
    detail: Detail,
    cap: usize,
    prefixed: bool,
) -> Vec<ShownTool<'a>> {
    let fitted = fit(std::slice::from_ref(candidate), detail, cap, prefixed);
    match fitted.is_empty() && cap > 0 {
        true => vec![place(candidate, Level::Names)],
        false => fitted,
    }
}

fn place<'a>(candidate: &Candidate<'a>, level: Level) -> ShownTool<'a> {
    let &Candidate { tool, server, price } = candidate;
    ShownTool { tool, server, level, price }
}

/// All tools as objects, if that fits; counted exactly, since what follows each is known.
fn all_whole<'a>(
    candidates: &[Candidate<'a>],
    cap: usize,
    prefixed: bool,
) -> Option<Vec<ShownTool<'a>>> {
    let mut left = cap.checked_sub(LARGEST_FRAME)?;
    for (index, candidate) in candidates.iter().enumerate() {
        let next = (index + 1 < candidates.len()).then_some(Level::Full);
        left = left.checked_sub(candidate.tool.tokens(
            Level::Full,
            candidate.price,
            next,
            prefixed,
        )?)?;
    }
    Some(candidates.iter().map(|candidate| place(candidate, Level::Full)).collect())
}

/// The budget left after a line with its name for every tool; None if that exceeds it.
fn floor(candidates: &[Candidate<'_>], budget: usize, form: AnswerForm) -> Option<usize> {
    let costs = candidates.iter().map(|one| one.bound(Level::Names, form));
    costs.into_iter().try_fold(budget, |left, cost| left.checked_sub(cost?))
}

/// As many tools as possible, by name in one line: the shortest names. A name that cannot stand in a
/// line with others has one of its own.
fn mentions(candidates: &[Candidate<'_>], budget: usize, form: AnswerForm) -> Vec<Option<Level>> {
    /// The end of the line, and the comma before it.
    const LINE: usize = 2;
    let mut left = budget.saturating_sub(LINE);
    let mut costs: Vec<(usize, usize, Level)> = candidates
        .iter()
        .enumerate()
        .filter_map(|(index, one)| match one.tool.mention_bound(form.prefixed) {
            Some(cost) => Some((cost, index, Level::Mention)),
            None => Some((one.bound(Level::Names, form)?, index, Level::Names)),
        })
        .collect();
    costs.sort_unstable();
    let mut levels = vec![None; candidates.len()];
    for (cost, index, level) in costs {
        let Some(rest) = left.checked_sub(cost) else { break };
        left = rest;
        if let Some(place) = levels.get_mut(index) {
            *place = Some(level);
        }
    }
    levels
}

/// One way to show one tool in more detail.
struct Upgrade {
    gain: f64,
    index: usize,
    level: Level,
    cost: usize,
}

/// Spends the budget on steps, the best gain per token first; of equal ones the earlier tool's.
fn refine(
    candidates: &[Candidate<'_>],
    levels: &mut [Option<Level>],
    most: Level,
    mut budget: usize,
    form: AnswerForm,
) {
    let steps = |index: usize, from: Level| {
        let candidate = candidates.get(index).into_iter();
        candidate.flat_map(move |candidate| steps_from(candidate, index, from, most, form))
    };
    let shown = levels.iter().enumerate();
    let mut heap: BinaryHeap<Upgrade> = shown
        .filter_map(|(index, level)| Some((index, (*level)?)))
        .flat_map(|(i, l)| steps(i, l))
        .collect();
    while let Some(step) = heap.pop() {
        let Some(Some(level)) = levels.get_mut(step.index) else { continue };
        // An upgrade from a level that the tool has left is void; newer ones replace it.
        let paid = candidates.get(step.index).and_then(|c| c.bound(*level, form));
        let Some(more) = paid.map(|paid| step.cost.saturating_sub(paid)) else { continue };
        if step.level <= *level || more > budget {
            continue;
        }
        budget -= more;
        *level = step.level;
        heap.extend(steps(step.index, step.level));
    }
}

fn steps_from(
    candidate: &Candidate<'_>,
    index: usize,
    from: Level,
    most: Level,
    form: AnswerForm,
) -> impl Iterator<Item = Upgrade> {
    let paid = candidate.bound(from, form);
    let worth = |level: Level| WORTH.iter().find(|(l, _)| *l == level).map_or(0.0, |(_, w)| *w);
    let have = worth(from);
    Level::ALL.into_iter().filter(move |level| *level > from && *level <= most).filter_map(
        move |level| {
            let cost = candidate.bound(level, form)?;
            let more = cost.saturating_sub(paid?).max(1);
            // Only the order matters, so a float is exact enough.
            let gain = (worth(level) - have) / f64::from(u32::try_from(more).unwrap_or(u32::MAX));
            Some(Upgrade { gain, index, level, cost })
        },
    )
}

impl Ord for Upgrade {
    fn cmp(&self, other: &Self) -> Ordering {
        self.gain
            .total_cmp(&other.gain)
            .then_with(|| other.index.cmp(&self.index))
            .then_with(|| self.level.cmp(&other.level))
    }
}

impl PartialOrd for Upgrade {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Upgrade {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Upgrade {}
