//! How values are spread, in little memory: exact below 128, less than 2 % too low above.

use std::collections::BTreeMap;

/// Values differ if they differ in this many leading bits.
const BITS: u32 = 7;

/// Counts of values, by ranges that grow with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// How often, by the least value of the range.
    counts: BTreeMap<u64, u64>,
    total: u64,
}

impl Histogram {
    /// Counts a value.
    pub fn add(&mut self, value: u64) {
        let spare = (u64::BITS - value.leading_zeros()).saturating_sub(BITS);
        *self.counts.entry(value >> spare << spare).or_default() += 1;
        self.total += 1;
    }

    /// The least value that this percentage of all values does not exceed; None of no values.
    pub fn percentile(&self, percent: u64) -> Option<u64> {
        let wanted = self.total.saturating_mul(percent).div_ceil(100).max(1);
        let mut seen = 0;
        let reached = |(least, count): (&u64, &u64)| {
            seen += count;
            (seen >= wanted).then_some(*least)
        };
        self.counts.iter().find_map(reached)
    }
}

#[cfg(test)]
mod tests {
    use super::Histogram;

    #[test]
    fn percentiles_are_exact_below_128_and_near_above() {
        let of = |values: &[u64], percent| {
            let mut histogram = Histogram::default();
            values.iter().for_each(|value| histogram.add(*value));
            histogram.percentile(percent)
        };
        assert_eq!(of(&[], 50), None);
        assert_eq!(of(&[7], 50), Some(7));
        assert_eq!(of(&[1, 2, 3, 4], 50), Some(2));
        assert_eq!(of(&[1, 2, 3, 4], 95), Some(4));
        assert_eq!(of(&(1..=100).collect::<Vec<_>>(), 95), Some(95));
        for value in [127, 128, 129, 1_000, 123_456, 30_000_000, u64::MAX] {
            let found = of(&[value], 50).unwrap();
            assert!(found <= value && value - found <= value / 64, "{value}: {found}");
        }
    }
}
