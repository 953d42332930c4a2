//! Backoff, circuit and trials, on a clock that is an argument.

use std::time::Duration;

use proptest::{prelude::*, test_runner::RngSeed};

use super::{Attempt, LONGEST_OPEN, Pause, STEADY, Supervision};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What happens to a server at each trial.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// Does not start.
    Fails,
    /// Comes up and ends after this number of milliseconds, without an answer.
    Dies(u64),
    /// Comes up, answers a call, and ends at once.
    Answers,
    /// Ends at once; that is noticed before its answer.
    AnswersLate,
    /// Comes up and is stopped after this number of milliseconds, as it is not used.
    PutDown(u64),
}

use Fate::{Answers, AnswersLate, Dies, Fails, PutDown};

/// Lets one trial go as fated; the clock goes along.
fn suffer(server: &mut Supervision, attempt: Attempt, fate: Fate, now: &mut Duration) {
    match fate {
        Fails => server.failed(attempt, *now),
        Dies(after) => {
            server.came_up(attempt, *now);
            *now += Duration::from_millis(after);
            server.died(*now);
        }
        Answers => {
            server.came_up(attempt, *now);
            server.answered();
            server.died(*now);
        }
        AnswersLate => {
            server.came_up(attempt, *now);
            server.died(*now);
            server.answered();
        }
        PutDown(after) => {
            server.came_up(attempt, *now);
            *now += Duration::from_millis(after);
            server.stopped_idle(*now);
        }
    }
}

/// Every trial at the earliest moment: the pauses after each, in seconds.
#[track_caller]
fn check(fates: &[Fate], pauses: &[u64]) {
    let mut server = Supervision::default();
    let mut now = seconds(1_000);
    let mut found = Vec::new();
    for &fate in fates {
        let attempt = server.begin(now).unwrap();
        suffer(&mut server, attempt, fate, &mut now);
        let pause = server.pause(now).map_or(Duration::ZERO, |pause| pause.left);
        found.push(pause.as_secs());
        now += pause;
    }
    assert_eq!(found, pauses);
}

#[test]
fn restarts_back_off_until_the_circuit_opens() {
    check(&[Dies(0); 13], &[0, 2, 4, 6, 8, 10, 30, 60, 120, 240, 300, 300, 300]);
    check(&[Dies(4_999); 3], &[0, 2, 4]);
}

#[test]
fn failed_start_is_not_retried_at_once() {
    check(&[Fails; 11], &[2, 4, 6, 8, 10, 30, 60, 120, 240, 300, 300]);
    check(&[Dies(0), Fails, Dies(0), Fails], &[0, 2, 4, 6]);
    check(&[Dies(60_000), Fails, Fails], &[0, 2, 4]);
}

#[test]
fn stable_server_resets_the_failure_count() {
    check(&[Dies(0), Dies(0), Dies(5_000), Dies(0), Dies(0)], &[0, 2, 0, 2, 4]);
    check(&[Fails, Fails, Answers, Fails], &[2, 4, 0, 2]);
    check(&[Answers; 20], &[0; 20]);
    check(&[AnswersLate; 20], &[0; 20]);
    let opened = [Fails, Fails, Fails, Fails, Fails, Fails, Fails];
    let closed = [Dies(5_000), Dies(0), Fails];
    check(&[&opened[..], &closed].concat(), &[2, 4, 6, 8, 10, 30, 60, 0, 2, 4]);
}

#[test]
fn stopped_idle_server_restarts_without_a_pause() {
    check(&[PutDown(1), PutDown(1), Dies(0), PutDown(1), Dies(0)], &[0, 0, 0, 0, 2]);
    check(&[Fails, Fails, PutDown(5_000), Fails], &[2, 4, 0, 2]);
}

#[test]
fn after_the_pause_one_trial_is_admitted() {
    let mut server = Supervision::default();
    let attempt = server.begin(seconds(10)).unwrap();
    server.failed(attempt, seconds(70));
    assert_eq!(server.begin(seconds(70)).unwrap_err().left, seconds(2));
    let almost = server.begin(seconds(72) - Duration::from_nanos(1)).unwrap_err();
    assert_eq!((almost.left_ms(), almost.to_string().ends_with("next trial in 1 s")), (1, true));
    let trial = server.begin(seconds(72)).unwrap();
    let other = server.begin(seconds(72)).unwrap_err();
    assert_eq!(other.to_string(), "it failed to start once; a trial is under way");
    server.came_up(trial, seconds(73));
    assert_eq!(server.pause(seconds(73)), None);
}

#[test]
fn pause_reports_its_cause_and_its_end() {
    let says = |failed_starts, early_deaths, ms, words: &str| {
        let left = Duration::from_millis(ms);
        assert_eq!(Pause { left, failed_starts, early_deaths }.to_string(), words);
    };
    says(0, 5, 12_000, "it died 5 times within 5 s of its start; next trial in 12 s");
    says(1, 0, 1_001, "it failed to start once; next trial in 2 s");
    says(
        3,
        2,
        30_000,
        "it failed to start 3 times and died twice within 5 s of its start; next trial in 30 s",
    );
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        3 => Just(Fails),
        3 => (0_u64..5_000).prop_map(Dies),
        1 => (5_000_u64..100_000).prop_map(Dies),
        1 => Just(Answers),
        1 => Just(AnswersLate),
        1 => (0_u64..10_000).prop_map(PutDown),
    ]
}

/// Whether the server has worked.
fn works(fate: Fate) -> bool {
    match fate {
        Answers | AnswersLate => true,
        Dies(after) | PutDown(after) => Duration::from_millis(after) >= STEADY,
        Fails => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_000,
        rng_seed: RngSeed::Fixed(0x5afe),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Against a naive model: what was fated since the server last worked decides everything.
    #[test]
    fn pause_depends_on_failures_since_the_last_success(
        fates in prop::collection::vec(fate(), 1..40),
        patience in 0_u64..100,
    ) {
        let mut server = Supervision::default();
        let mut now = Duration::ZERO;
        for (index, &fate) in fates.iter().enumerate() {
            let attempt = server.begin(now).unwrap();
            suffer(&mut server, attempt, fate, &mut now);
            let left = server.pause(now).map_or(Duration::ZERO, |pause| pause.left);
            prop_assert!(left <= LONGEST_OPEN);
            prop_assert_eq!(left, seconds(expected(&fates[..=index])));
            if !left.is_zero() {
                prop_assert!(server.begin(now + left - Duration::from_millis(1)).is_err());
            }
            now += left + Duration::from_millis(patience);
        }
    }
}

fn expected(fates: &[Fate]) -> u64 {
    const PAUSES: [u64; 11] = [0, 2, 4, 6, 8, 10, 30, 60, 120, 240, 300];
    let Some(last) = fates.last() else { return 0 };
    if matches!(last, PutDown(_)) {
        return 0;
    }
    let worked = fates.iter().rposition(|&fate| works(fate)).unwrap_or(0);
    let ends = fates[worked..].iter().filter(|fate| !matches!(fate, PutDown(_)));
    let mut ends: Vec<&Fate> = ends.collect();
    if matches!(ends.first(), Some(Fails)) {
        // A failed start has no free restart.
        ends.insert(0, &Fails);
    }
    PAUSES[(ends.len() - 1).min(10)]
}
