//! What is counted of one target, or of the carrier behind one trunk, over all shards of the process:
//! how many calls it has, and how often it may get one.
//!
//! The line for a carrier is the generic cell rate algorithm: one word, the moment at which everything that
//! was granted so far will have been used up at the rate allowed. A target's pace is a window that slides: a
//! bucket that fills while nobody calls would let twice its rate through in the second after.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

const SECOND: u64 = 1_000_000_000;
/// What is granted is counted by such spans, and gone when it is more than a second old.
const SPAN: u64 = SECOND / 20;
/// Those of a second, and the one that has just begun.
const SPANS: usize = 21;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Tally {
    calls: AtomicU32,
    /// Nanoseconds on the clock that all shards share.
    used_up: AtomicU64,
    /// Calls granted in the last spans: a span's number above, how many below.
    granted: [AtomicU64; SPANS],
    /// An operator wants no new calls there.
    drained: AtomicBool,
}

impl Tally {
    /// Calls it has now, those included that it was asked to take and has not answered yet.
    pub fn calls(&self) -> u32 {
        self.calls.load(Relaxed)
    }

    /// Whether it gets no new calls, by an operator's wish.
    pub fn is_drained(&self) -> bool {
        self.drained.load(Relaxed)
    }

    /// Takes it out, or returns it.
    pub fn drain(&self, drained: bool) {
        self.drained.store(drained, Relaxed);
    }

    /// One call more, if it has fewer than `max`; 0 is no limit.
    pub fn seat(tally: &Arc<Tally>, max: u32) -> Option<Seat> {
        let more = |calls: u32| (max == 0 || calls < max).then_some(calls.saturating_add(1));
        let seated = tally.calls.fetch_update(Relaxed, Relaxed, more);
        seated.is_ok().then(|| Seat(Arc::clone(tally)))
    }

    /// Whether [`spend`](Self::spend) would say yes.
    pub fn has_pace(&self, now: Duration, a_second: u32) -> bool {
        a_second == 0 || self.granted_since(span(now)) < a_second
    }

    /// Takes one of `a_second` calls, never more in any second however they come; 0 is no limit. `false`:
    /// there is none left now.
    pub fn spend(&self, now: Duration, a_second: u32) -> bool {
        if a_second == 0 {
            return true;
        }
        let span = span(now);
        let word = &self.granted[span as usize % SPANS];
        loop {
            // Earlier spans change no more, so the sum holds if this one has not changed meanwhile.
            let before = word.load(Relaxed);
            if self.granted_since(span) >= a_second {
                return false;
            }
            let after = if before >> 32 == u64::from(span) {
                before + 1
            } else {
                u64::from(span) << 32 | 1
            };
            if word
                .compare_exchange(before, after, Relaxed, Relaxed)
                .is_ok()
            {
                return true;
            }
        }
    }

    /// Calls granted in the second before and in this span.
    fn granted_since(&self, span: u32) -> u32 {
        let words = self.granted.iter().map(|word| word.load(Relaxed));
        let recent = words.filter(|word| span.saturating_sub((word >> 32) as u32) < SPANS as u32);
        recent.fold(0u32, |sum, word| sum.saturating_add(word as u32))
    }

    /// How long one has to stand in line now for one of `a_second` evenly spaced calls a second;
    /// 0 is no limit.
    pub fn line(&self, now: Duration, a_second: u32) -> Duration {
        if a_second == 0 {
            return Duration::ZERO;
        }
        let wait = self.used_up.load(Relaxed).saturating_sub(nanos(now));
        Duration::from_nanos(wait)
    }

    /// Stands in that line: for how long, or `None` if that would be longer than `patience`.
    pub fn stand(&self, now: Duration, a_second: u32, patience: Duration) -> Option<Duration> {
        if a_second == 0 {
            return Some(Duration::ZERO);
        }
        let (now, patience) = (nanos(now), nanos(patience));
        let stand = |used_up: u64| {
            let turn = used_up.max(now);
            (turn - now <= patience).then_some(turn + SECOND / u64::from(a_second))
        };
        let before = self.used_up.fetch_update(Relaxed, Relaxed, stand).ok()?;
        Some(Duration::from_nanos(before.saturating_sub(now)))
    }
}

fn nanos(time: Duration) -> u64 {
    // 584 years fit.
    time.as_nanos() as u64
}

/// The number of a span, from 1: seven years fit.
fn span(now: Duration) -> u32 {
    (nanos(now) / SPAN) as u32 + 1
}

/// A call that is counted for as long as this lives.
#[derive(Debug)]
pub struct Seat(Arc<Tally>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Relaxed);
    }
}

/// How many chains the tallies hang in.
const CHAINS: usize = 1024;

/// What is counted of each thing of a process, by the trunk's name and its own. What was once made
/// stays, so that a target which leaves the configuration and returns still has its calls.
///
/// It only grows, and by whoever configures the process: it needs neither lock nor sweep.
#[derive(Debug)]
pub struct Named<T>(Box<[OnceLock<Box<Link<T>>>]>);

/// By target as it is written; the trunk's carrier for "".
pub type Tallies = Named<Tally>;

#[derive(Debug)]
struct Link<T> {
    trunk: Box<str>,
    name: Box<str>,
    counted: Arc<T>,
    next: OnceLock<Box<Link<T>>>,
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Named((0..CHAINS).map(|_| OnceLock::new()).collect())
    }
}

impl<T: Default> Named<T> {
    /// What is counted under these names.
    pub fn find(&self, trunk: &str, name: &str) -> Arc<T> {
        // FNV-1a: a file is no adversary.
        let bytes = trunk.bytes().chain([0]).chain(name.bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let mut place = &self.0[(hash >> 32) as usize % CHAINS];
        loop {
            let link = place.get_or_init(|| {
                Box::new(Link {
                    trunk: trunk.into(),
                    name: name.into(),
                    counted: Arc::default(),
                    next: OnceLock::new(),
                })
            });
            if (&*link.trunk, &*link.name) == (trunk, name) {
                return Arc::clone(&link.counted);
            }
            place = &link.next;
        }
    }
}

impl Tallies {
    /// All calls of all targets, for tests.
    pub fn calls(&self) -> usize {
        let mut sum = 0;
        for chain in &self.0 {
            let mut place = chain;
            while let Some(link) = place.get() {
                sum += link.counted.calls() as usize;
                place = &link.next;
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn no_more_calls_than_allowed_and_each_that_ends_makes_room() {
        let tally = Arc::default();
        let mut seats: Vec<Seat> = (0..5).filter_map(|_| Tally::seat(&tally, 3)).collect();
        assert_eq!((seats.len(), tally.calls()), (3, 3));
        seats.pop();
        assert!(Tally::seat(&tally, 3).is_some(), "and left at once");
        assert_eq!(tally.calls(), 2);
        assert!(Tally::seat(&tally, 0).is_some(), "0 is no limit");
        drop(seats);
        assert_eq!(tally.calls(), 0);
    }

    #[test]
    fn a_seconds_worth_at_once_and_the_next_when_a_second_is_over() {
        let tally = Tally::default();
        let spend = |at: u32| (0..100).filter(|_| tally.spend(at * MS, 20)).count();
        assert_eq!(spend(0), 20, "from the first moment");
        assert_eq!((spend(500), spend(999)), (0, 0));
        assert!(!tally.has_pace(999 * MS, 20) && tally.has_pace(1050 * MS, 20));
        assert_eq!((spend(1050), spend(60_000)), (20, 20));
        assert!(tally.spend(60_000 * MS, 0), "0 is no limit");
    }

    #[test]
    fn no_second_has_more_than_the_rate_and_a_steady_stream_gets_nearly_all_of_it() {
        // Every so many milliseconds so many want to.
        for (every, many) in [(1, 1), (3, 1), (20, 5), (250, 60), (700, 300), (1, 7)] {
            let tally = Tally::default();
            let mut granted: Vec<u32> = Vec::new();
            for at in (3000..23_000).step_by(every) {
                granted.extend((0..many).filter(|_| tally.spend(at * MS, 50)).map(|_| at));
            }
            for first in 0..granted.len() {
                let second = granted[first..].iter();
                let within = second.take_while(|at| **at < granted[first] + 1000);
                assert!(within.count() <= 50, "{every} {many}");
            }
            let steady = every < 100;
            assert!(
                !steady || granted.len() >= 20 * 47,
                "{every}: {}",
                granted.len()
            );
        }
    }

    #[test]
    fn a_line_is_spaced_evenly_and_no_longer_than_patience() {
        let tally = Tally::default();
        let stand = |at: Duration| tally.stand(at, 10, 250 * MS);
        assert_eq!(stand(500 * MS), Some(Duration::ZERO));
        assert_eq!(stand(500 * MS), Some(100 * MS));
        assert_eq!(stand(550 * MS), Some(150 * MS));
        assert_eq!(stand(550 * MS), Some(250 * MS));
        assert_eq!(stand(550 * MS), None);
        assert_eq!(tally.line(550 * MS, 10), 350 * MS);
        assert_eq!(tally.stand(5000 * MS, 10, 250 * MS), Some(Duration::ZERO));
    }

    #[test]
    fn shards_that_share_a_tally_allow_no_more_than_one_would() {
        let tally = Arc::<Tally>::default();
        let granted = || {
            let seats = (0..500).filter_map(|_| Tally::seat(&tally, 300));
            let seats: Vec<Seat> = seats.collect();
            let paced = (0..500).filter(|_| tally.spend(MS, 250)).count();
            (seats, paced)
        };
        let (mut seated, mut paced) = (Vec::new(), 0);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(granted)).collect();
            for thread in threads {
                let (seats, spent) = thread.join().unwrap();
                seated.extend(seats);
                paced += spent;
            }
        });
        assert_eq!((seated.len(), paced), (300, 250));
    }

    #[test]
    fn a_name_has_one_tally_for_as_long_as_the_process_lives() {
        let tallies = Tallies::default();
        let all: Vec<Arc<Tally>> = (0..5000)
            .map(|at| tallies.find("acme", &format!("sip:10.0.0.1:{at}")))
            .collect();
        let seat = Tally::seat(&all[77], 0);
        for (at, tally) in all.iter().enumerate() {
            let name = format!("sip:10.0.0.1:{at}");
            assert!(Arc::ptr_eq(tally, &tallies.find("acme", &name)));
            assert_eq!(tallies.find("other", &name).calls(), 0);
        }
        assert_eq!(tallies.calls(), 1);
        drop(seat);
        assert_eq!(tallies.calls(), 0);
    }
}
