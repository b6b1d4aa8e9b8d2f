//! How often sources that nobody configured are looked at: a token bucket for each (BEHAVIOUR 2),
//! one for all shards of the process.
//!
//! A bucket is one word: a few bits that name the source, and the moment at which the bucket is full
//! again (the "theoretical arrival time" of the generic cell rate algorithm). Every message moves
//! that moment on by one message's worth of time; one that would move it too far ahead is too much. A
//! moment that has passed is a full bucket, which says nothing that a missing one does not: its place is
//! free. So there is nothing to sweep, nothing to lock, and memory does not grow with the sources that
//! somebody forges.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Sources remembered at a time.
const SOURCES_MAX: usize = 65_536;
/// Places that one source may have: a cache line of them.
const WAYS: usize = 8;
/// Bits of the moment, in microseconds. It goes round every 51 days, which is far more than a
/// bucket takes to fill.
const MOMENT_BITS: u32 = 42;
const MOMENT: u64 = (1 << MOMENT_BITS) - 1;
/// A source may say at once what it may say in so long.
const BURST: u64 = 2_000_000;

/// See the module's text.
#[derive(Debug)]
pub struct Sources(Box<[AtomicU64]>);

impl Default for Sources {
    fn default() -> Self {
        Sources((0..SOURCES_MAX).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Sources {
    /// Whether one more message of a source is within `rate` a second, twice that at once. 0: any
    /// number is. `source` is a hash that nobody outside can aim with; `now` counts from the same
    /// moment on all shards.
    ///
    /// A source that finds no free place is refused: so many others are speaking.
    pub fn take(&self, now: Duration, source: u64, rate: u32) -> bool {
        if rate == 0 {
            return true;
        }
        let now = now.as_micros() as u64 & MOMENT;
        let each = (1_000_000 / u64::from(rate)).max(1);
        let first = (source as usize % (SOURCES_MAX / WAYS)) * WAYS;
        let places = &self.0[first..first + WAYS];
        let name = source & !MOMENT;
        if let Some(place) = places.iter().find(|it| it.load(Relaxed) & !MOMENT == name) {
            return spend(place, name, now, each);
        }
        places.iter().any(|place| {
            let bucket = place.load(Relaxed);
            let fresh = name | (now + each) & MOMENT;
            (bucket == 0 || ahead(bucket, now) == 0)
                && place
                    .compare_exchange(bucket, fresh, Relaxed, Relaxed)
                    .is_ok()
        })
    }
}

/// How far a bucket is from being full, in microseconds.
const fn ahead(bucket: u64, now: u64) -> u64 {
    let ahead = (bucket & MOMENT).wrapping_sub(now) & MOMENT;
    if ahead <= BURST { ahead } else { 0 }
}

fn spend(place: &AtomicU64, name: u64, now: u64, each: u64) -> bool {
    let spent = |bucket: u64| {
        let after = ahead(bucket, now) + each;
        (after <= BURST).then_some(name | (now + after) & MOMENT)
    };
    place.fetch_update(Relaxed, Relaxed, spent).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    /// Spread as a keyed hash would spread them.
    fn source(number: u64) -> u64 {
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ mixed.rotate_left(31)
    }

    fn taken(sources: &Sources, now: Duration, source: u64, rate: u32) -> usize {
        (0..100).filter(|_| sources.take(now, source, rate)).count()
    }

    #[test]
    fn a_source_may_say_twice_its_rate_at_once_and_then_its_rate() {
        // The last: when the moments go round.
        for start in [Duration::ZERO, S, Duration::from_micros(MOMENT - 500_000)] {
            let sources = Sources::default();
            assert_eq!(taken(&sources, start, source(1), 10), 20);
            assert_eq!(taken(&sources, start + S, source(1), 10), 10);
            assert_eq!(taken(&sources, start + S, source(2), 10), 20, "its own");
            assert_eq!(taken(&sources, start + 60 * S, source(1), 10), 20);
            assert_eq!(taken(&sources, start, source(1), 0), 100, "0 is no limit");
        }
    }

    #[test]
    fn threads_that_hear_one_source_let_it_say_no_more_than_one_would() {
        let sources = Sources::default();
        let heard: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| taken(&sources, S, source(7), 25)))
                .collect();
            threads.into_iter().map(|it| it.join().unwrap()).sum()
        });
        assert_eq!(heard, 50);
    }

    #[test]
    fn forged_sources_cost_no_more_memory_and_keep_their_places_for_seconds_only() {
        let sources = Sources::default();
        let flood = |now, from: u64| {
            (from..from + 4 * SOURCES_MAX as u64)
                .filter(|number| sources.take(now, source(*number), 1))
                .count()
        };
        let first = flood(S, 0);
        assert!(
            first <= SOURCES_MAX && first > SOURCES_MAX * 9 / 10,
            "{first}"
        );
        assert!(flood(S, 1_000_000) < SOURCES_MAX / 10, "no room is left");
        assert!(
            flood(3 * S, 2_000_000) > SOURCES_MAX * 9 / 10,
            "theirs are full again"
        );
    }
}
