//! Durations, counted in buckets that are 3 % wide.

use std::time::Duration;

use serde_json::{Value, json};

/// Buckets for each doubling.
const FINE: u64 = 32;
const FINE_BITS: u32 = FINE.trailing_zeros();

/// From nanoseconds to centuries, with the largest kept as it was.
#[derive(Clone, Default)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Histogram {
    /// Counts one.
    pub fn record(&mut self, nanoseconds: u64) {
        let at = bucket(nanoseconds);
        if at >= self.buckets.len() {
            self.buckets.resize(at + 1, 0);
        }
        self.buckets[at] += 1;
        self.count += 1;
        self.max = self.max.max(nanoseconds);
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Histogram) {
        let length = self.buckets.len().max(other.buckets.len());
        self.buckets.resize(length, 0);
        for (mine, others) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += others;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// The largest.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// What this share of all (0 to 1) is not above.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.count as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (at, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Duration::from_nanos(upper(at).min(self.max));
            }
        }
        self.max()
    }

    /// How many are certainly above.
    pub fn above(&self, limit: Duration) -> u64 {
        let limit = bucket(limit.as_nanos() as u64);
        self.buckets.iter().skip(limit + 1).sum()
    }

    /// Lines with a bar for each doubling that something fell into.
    pub fn picture(&self) -> String {
        let mut doublings: Vec<(u64, u64)> = Vec::new();
        for (at, count) in self
            .buckets
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
        {
            let below = (upper(at) + 1).next_power_of_two();
            match doublings.last_mut() {
                Some((last, sum)) if *last == below => *sum += count,
                _ => doublings.push((below, *count)),
            }
        }
        let mut text = String::new();
        for (below, count) in doublings {
            // One star each, then one more for each tenfold part: rare ones must be seen.
            let stars = count.ilog2() as usize + 1;
            let below = below as f64 / 1e6;
            text.push_str(&format!(
                "  < {below:>9.3} ms {count:>10} {}\n",
                "*".repeat(stars)
            ));
        }
        text
    }

    /// For the file.
    pub fn json(&self) -> Value {
        let us = |duration: Duration| duration.as_nanos() as f64 / 1e3;
        json!({
            "count": self.count,
            "p50_us": us(self.quantile(0.5)),
            "p99_us": us(self.quantile(0.99)),
            "p999_us": us(self.quantile(0.999)),
            "max_us": us(self.max()),
        })
    }
}

fn bucket(value: u64) -> usize {
    if value < FINE {
        return value as usize;
    }
    let shift = value.ilog2() - FINE_BITS;
    (u64::from(shift + 1) * FINE + (value >> shift) - FINE) as usize
}

/// The largest value of a bucket.
fn upper(at: usize) -> u64 {
    let at = at as u64;
    if at < FINE {
        return at;
    }
    let shift = at / FINE - 1;
    (((at % FINE + FINE + 1) as u128) << shift).saturating_sub(1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_at_most_its_buckets_upper_end_and_within_4_percent() {
        for value in (0..2_000).chain((11..63).map(|bits| (1 << bits) + 12_345 % (1 << bits))) {
            let top = upper(bucket(value));
            assert!(
                value <= top && (top - value) as f64 <= 0.04 * value as f64,
                "{value} {top}"
            );
            assert!(bucket(value + 1) >= bucket(value), "{value}");
        }
    }

    #[test]
    fn quantiles_are_where_they_should_be() {
        let mut histogram = Histogram::default();
        (1..=10_000).for_each(|value| histogram.record(value * 1_000));
        for (share, micros) in [(0.5, 5_000.0), (0.99, 9_900.0), (1.0, 10_000.0)] {
            let found = histogram.quantile(share).as_nanos() as f64 / 1e3;
            assert!((found / micros - 1.0).abs() < 0.04, "{share}: {found}");
        }
    }
}
