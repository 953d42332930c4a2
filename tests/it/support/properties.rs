//! How property tests draw their cases.

use proptest::{prelude::ProptestConfig, test_runner::RngSeed};

use crate::support::seed;

/// This number of cases, drawn from the seed of the day.
pub fn drawn(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(seed()),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}
