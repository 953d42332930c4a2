//! The machine of credits against the naive ledger of `ledger_model`: random histories, every
//! answer and every row compared, every command given twice, and refused ones seen to write nothing.
//!
//! `TOLLGATE_OPERATIONS` says how many operations, `SEED` where to begin; a failure prints
//! the shortest history found that still fails. `scripts/soak-ledger` runs many.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use world::World;

use crate::support::seed;

mod watched;
mod words;
mod world;

/// The number of operations of a history.
const LENGTH: usize = 160;

#[test]
fn random_histories_do_as_the_naive_ledger_does() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let operations = number("TOLLGATE_OPERATIONS").unwrap_or(200_000);
    let first = seed();
    let histories = operations.div_ceil(LENGTH as u64);
    let began = Instant::now();
    let mut told = Told::default();
    std::thread::scope(|scope| {
        let workers = [0, 1].map(|worker| {
            scope.spawn(move || {
                let seeds = (worker..histories).step_by(2).map(|n| first.wrapping_add(n));
                seeds.fold(Told::default(), |told, seed| told.and(history(seed)))
            })
        });
        for worker in workers {
            told = std::mem::take(&mut told).and(worker.join().unwrap());
        }
    });
    let seconds = began.elapsed().as_secs_f64();
    let speed = (histories as usize * LENGTH) as f64 / seconds;
    eprintln!("{histories} histories of {LENGTH} in {seconds:.1} s, {speed:.0}/s");
    eprintln!("{:#?}", told.0);
    // A generator that has gone astray proves nothing.
    for common in ["held", "moved", "Posted", "Voided", "short", "closed"] {
        let seen: u64 =
            told.0.iter().filter(|(word, _)| word.contains(common)).map(|(_, n)| n).sum();
        assert!(seen * 1000 > histories, "{common}: {seen}");
    }
}

/// How often each kind of answer was given.
#[derive(Default)]
struct Told(BTreeMap<String, u64>);

impl Told {
    fn and(mut self, other: Self) -> Self {
        other.0.into_iter().for_each(|(word, n)| *self.0.entry(word).or_default() += n);
        self
    }
}

/// One operation, as numbers that are given a meaning when it is their turn, so that histories can
/// be cut.
type Operation = [u64; 4];

fn history(seed: u64) -> Told {
    let mut state = seed;
    let huge = seed.is_multiple_of(8);
    let operations: Vec<Operation> =
        (0..LENGTH).map(|_| [(); 4].map(|()| next(&mut state))).collect();
    match run(&operations, huge, false) {
        Ok(told) => told,
        Err(_) => {
            let shortest = shortened(operations, huge);
            let told = run(&shortest, huge, true).err().unwrap_or_default();
            panic!("SEED={seed}, {} operations: {told}", shortest.len());
        }
    }
}

/// Without what is not needed to fail.
fn shortened(mut failing: Vec<Operation>, huge: bool) -> Vec<Operation> {
    let mut chunk = failing.len() / 2;
    while chunk > 0 {
        let mut at = 0;
        while at < failing.len() {
            let mut fewer = failing.clone();
            fewer.drain(at..(at + chunk).min(failing.len()));
            match run(&fewer, huge, false) {
                Err(_) => failing = fewer,
                Ok(_) => at += chunk,
            }
        }
        chunk /= 2;
    }
    failing
}

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn run(operations: &[Operation], huge: bool, aloud: bool) -> Result<Told, String> {
    let mut world = World::new(huge, aloud);
    let mut told = Told::default();
    for (index, operation) in operations.iter().enumerate() {
        let done = catch_unwind(AssertUnwindSafe(|| world.operate(*operation)));
        let answer = done.map_err(|_| format!("operation {index} panicked"))??;
        // Lists of what was swept, closed or declared are one kind.
        let word = answer.split([' ', '(', '"']).next().unwrap_or_default();
        *told.0.entry(word.to_owned()).or_default() += 1;
        world.compare()?;
        if index % 64 == 63 {
            world.prove()?;
        }
    }
    world.prove()?;
    Ok(told)
}
