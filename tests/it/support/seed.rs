//! The seed of suites that draw at random: another one every day, so that more is tried, and the
//! same all day, so that a failure can be repeated.

use chrono::{Datelike as _, Utc};

/// `SEED` from the environment, else today's date as a number. Prints it, and how to repeat a run.
pub fn seed() -> u64 {
    let asked = std::env::var("SEED").ok();
    let asked = asked.map(|text| text.parse().unwrap_or_else(|_| panic!("SEED={text}: no number")));
    let seed = asked.unwrap_or_else(today);
    eprintln!("SEED={seed}; to repeat this run: SEED={seed} scripts/test -- NAME");
    seed
}

fn today() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = chrono::DateTime::<Utc>::from_timestamp(now.as_secs().try_into().unwrap(), 0);
    let date = now.unwrap().date_naive();
    u64::try_from(date.year()).unwrap() * 10_000
        + u64::from(date.month()) * 100
        + u64::from(date.day())
}
