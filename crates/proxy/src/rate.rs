//! How often sources that nobody configured are looked at: a token bucket for each (BEHAVIOUR 2).

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

/// Sources remembered at a time.
const SOURCES_MAX: usize = 65_536;
/// When so many are remembered and none can be forgotten, they are not looked through again for
/// so long: whoever forges source addresses must not make each packet cost a walk over all.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

/// See the module's text.
#[derive(Debug, Default)]
pub struct Rates {
    buckets: HashMap<IpAddr, Bucket>,
    swept: Option<Instant>,
}

#[derive(Copy, Clone, Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn filled(self, rate: f64, now: Instant) -> f64 {
        self.left + now.saturating_duration_since(self.at).as_secs_f64() * rate
    }
}

impl Rates {
    /// Whether one more message of this source is within `rate` a second, twice that at once. 0: any
    /// number is.
    pub fn take(&mut self, now: Instant, source: IpAddr, rate: u32) -> bool {
        if rate == 0 {
            return true;
        }
        let (rate, burst) = (f64::from(rate), f64::from(rate) * 2.0);
        if self.buckets.len() >= SOURCES_MAX
            && !self.buckets.contains_key(&source)
            && !self.sweep(now, rate, burst)
        {
            return false;
        }
        let bucket = self.buckets.entry(source).or_insert(Bucket {
            left: burst,
            at: now,
        });
        *bucket = Bucket {
            left: bucket.filled(rate, now).min(burst),
            at: now,
        };
        let within = bucket.left >= 1.0;
        bucket.left -= if within { 1.0 } else { 0.0 };
        within
    }

    /// How many sources are remembered.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Forgets full buckets, which say nothing that a missing one does not; whether there is room.
    fn sweep(&mut self, now: Instant, rate: f64, burst: f64) -> bool {
        if self.swept.is_some_and(|swept| now < swept + SWEEP_PAUSE) {
            return false;
        }
        self.swept = Some(now);
        self.buckets
            .retain(|_, bucket| bucket.filled(rate, now) < burst);
        self.buckets.len() < SOURCES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    #[allow(clippy::disallowed_methods)] // Where virtual time begins; it is never read again.
    fn beginning() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_source_may_say_twice_its_rate_at_once_and_then_its_rate() {
        let (mut rates, start) = (Rates::default(), beginning());
        let burst = (0..100)
            .filter(|_| rates.take(start, source(1), 10))
            .count();
        assert_eq!(burst, 20);
        let later = (0..100)
            .filter(|_| rates.take(start + Duration::from_secs(1), source(1), 10))
            .count();
        assert_eq!(later, 10);
        assert!(
            rates.take(start, source(2), 10),
            "another source has its own bucket"
        );
        assert!(
            (0..1000).all(|_| rates.take(start, source(1), 0)),
            "0 is no limit"
        );
    }

    #[test]
    fn forged_sources_cost_no_more_memory_and_one_walk_a_second() {
        let (mut rates, start) = (Rates::default(), beginning());
        let max = SOURCES_MAX as u32;
        assert_eq!(
            (0..max + 500)
                .filter(|number| rates.take(start, source(*number), 1))
                .count(),
            SOURCES_MAX
        );
        assert_eq!(rates.len(), SOURCES_MAX);
        let swept = rates.swept;
        assert!(swept.is_some());
        assert!(!rates.take(start + SWEEP_PAUSE / 2, source(max + 501), 1));
        assert_eq!(rates.swept, swept);
        // Once theirs are full again, others have room.
        assert!(rates.take(start + 3 * SWEEP_PAUSE, source(max + 501), 1));
        assert_eq!(rates.len(), 1);
    }
}
