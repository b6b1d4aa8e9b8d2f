//! How many attempts beyond each call's first a trunk may see while they do not help.
//!
//! A second attempt that finds a living peer saves a call, and a whole dead peer's calls may move on at
//! once. But where most further attempts fail as well, they are only more load on what is overloaded
//! or dead: then they are held to a share of the trunk's calls (`retry_budget`), and to [`FLOOR`] a
//! second where that is more. The first that help again end it. When a failure is one of these, its
//! call says (`weigh` in `context/attempt.rs`).
//!
//! Counted by trunk and direction, over all shards. Shares are taken over some [`WINDOW`]s: what was
//! counted is halved after each, so neither yesterday's calls nor yesterday's attempts weigh.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::tally::Tally;

/// For so long a failure speaks against the next attempt.
const WINDOW: Duration = Duration::from_secs(10);
/// So many failures beyond what was helped are trouble; few calls with many addresses each are not.
const TROUBLE: u32 = 20;
/// One that helped outweighs so many failures: a call that is saved is worth some attempts.
const HELP: u32 = 3;
/// The most that failures count, so that a few successes end the trouble.
const WORST: u32 = 2 * TROUBLE;
/// So many a second are always allowed, and so many at a time.
const FLOOR: u32 = 3;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Retries {
    /// Failed further attempts less [`HELP`] for each that helped, from 0 to [`WORST`].
    score: AtomicU32,
    /// When one failed last; this and the other moments in milliseconds.
    failed: AtomicU64,
    /// Calls that came to this trunk.
    calls: AtomicU64,
    /// Attempts beyond their first here.
    further: AtomicU64,
    /// When the two were last halved.
    halved: AtomicU64,
    floor: Tally,
    /// When it was last told that attempts are withheld, and one; 0: never.
    told: AtomicU64,
}

impl Retries {
    /// A call's first attempt at this trunk begins.
    pub fn first(&self, now: Duration) {
        self.age(now);
        self.calls.fetch_add(1, Relaxed);
    }

    /// Whether [`take`](Self::take) would say yes.
    pub fn has(&self, now: Duration, percent: u32) -> bool {
        percent == 0
            || !self.is_in_trouble(now)
            || self.further.load(Relaxed) < self.allowance(percent)
            || self.floor.has_pace(now, FLOOR)
    }

    /// A call's further attempt wants to begin; `percent`: of the calls, 0 is no limit. `false`: it
    /// must not.
    pub fn take(&self, now: Duration, percent: u32) -> bool {
        if percent == 0 {
            return true;
        }
        self.age(now);
        let allowance = self.allowance(percent);
        if !self.is_in_trouble(now) {
            // What was free is owed all the same, but not for longer than it takes to earn it.
            let owed = 2 * allowance + u64::from(WORST);
            let _ = self.one_more(owed);
            return true;
        }
        if self.one_more(allowance) {
            return true;
        }
        let allowed = self.floor.spend(now, FLOOR);
        self.further.fetch_add(u64::from(allowed), Relaxed);
        allowed
    }

    /// A further attempt came to somebody who lives.
    pub fn helped(&self) {
        if self.score.load(Relaxed) > 0 {
            let less = |score: u32| Some(score.saturating_sub(HELP));
            let _ = self.score.fetch_update(Relaxed, Relaxed, less);
        }
    }

    /// A further attempt failed like the one before it.
    pub fn failed(&self, now: Duration) {
        let last = self.failed.swap(millis(now), Relaxed);
        let fresh = is_within(last, now);
        let more = |score: u32| Some(if fresh { WORST.min(score + 1) } else { 1 });
        let _ = self.score.fetch_update(Relaxed, Relaxed, more);
    }

    /// Whether it is time to tell somebody that attempts are withheld: once a [`WINDOW`].
    pub fn is_to_be_told(&self, now: Duration) -> bool {
        let tell = |last: u64| match last.checked_sub(1) {
            Some(last) if is_within(last, now) => None,
            Some(_) | None => Some(millis(now) + 1),
        };
        self.told.fetch_update(Relaxed, Relaxed, tell).is_ok()
    }

    fn is_in_trouble(&self, now: Duration) -> bool {
        self.score.load(Relaxed) >= TROUBLE && is_within(self.failed.load(Relaxed), now)
    }

    fn allowance(&self, percent: u32) -> u64 {
        self.calls.load(Relaxed) * u64::from(percent) / 100
    }

    /// Counts a further attempt, unless there are `most`.
    fn one_more(&self, most: u64) -> bool {
        let more = |further: u64| (further < most).then_some(further + 1);
        self.further.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    fn age(&self, now: Duration) {
        let last = self.halved.load(Relaxed);
        if is_within(last, now) {
            return;
        }
        let now = millis(now);
        let times = (now - last) / millis(WINDOW);
        // Whoever wins the exchange halves; the others go on with what they find.
        let next = last + times * millis(WINDOW);
        if self
            .halved
            .compare_exchange(last, next, Relaxed, Relaxed)
            .is_ok()
        {
            let halve = |count: u64| Some(count.checked_shr(times.min(64) as u32).unwrap_or(0));
            let _ = self.calls.fetch_update(Relaxed, Relaxed, halve);
            let _ = self.further.fetch_update(Relaxed, Relaxed, halve);
        }
    }
}

fn millis(time: Duration) -> u64 {
    // Millions of years fit.
    time.as_millis() as u64
}

fn is_within(then: u64, now: Duration) -> bool {
    millis(now).saturating_sub(then) < millis(WINDOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MS: Duration = Duration::from_millis(1);

    /// A trunk that had so many calls, and whose last `bad` further attempts failed.
    fn after(now: Duration, calls: u64, bad: u32) -> Retries {
        let retries = Retries::default();
        retries.age(now);
        (0..calls).for_each(|_| retries.first(now));
        (0..bad).for_each(|_| retries.failed(now));
        retries
    }

    fn taken(retries: &Retries, now: Duration, wanted: u32) -> usize {
        (0..wanted).filter(|_| retries.take(now, 20)).count()
    }

    #[test]
    fn further_attempts_are_free_until_most_of_them_fail_and_then_a_share_of_the_calls() {
        let now = 100 * SECOND;
        // Calls, failed further attempts, how many of 1000 are allowed then.
        let table = [
            ("no trouble: a dead peer's calls all move", 50, 0, 1000),
            ("a few failures are none", 50, TROUBLE - 1, 1000),
            ("trouble, many calls", 1000, TROUBLE, 200 + 3),
            ("trouble, few calls", 4, TROUBLE, 3),
            ("trouble, no call at all", 0, WORST, 3),
        ];
        for (what, calls, bad, wanted) in table {
            let retries = after(now, calls, bad);
            assert_eq!(taken(&retries, now, 1000), wanted, "{what}");
            let more = retries.has(now, 20);
            assert_eq!(more, retries.take(now, 20), "{what}: asked and taken");
        }
    }

    #[test]
    fn what_helps_again_ends_it_and_so_does_time() {
        let now = 100 * SECOND;
        let retries = after(now, 0, 1000);
        assert_eq!(taken(&retries, now, 100), 3);
        (0..=TROUBLE / HELP).for_each(|_| retries.helped());
        assert_eq!(taken(&retries, now, 100), 100, "they help again");

        let retries = after(now, 0, 1000);
        assert_eq!(taken(&retries, now, 100), 3);
        assert_eq!(taken(&retries, now + 9 * SECOND, 100), 3, "three a second");
        assert_eq!(taken(&retries, now + 10 * SECOND, 100), 100, "long ago");
        retries.failed(now + 20 * SECOND);
        assert_eq!(taken(&retries, now + 20 * SECOND, 100), 100, "a new count");
    }

    #[test]
    fn a_storm_of_a_thousand_calls_a_second_is_not_multiplied() {
        // Everybody refuses at once, and each call would try eight more.
        let retries = Retries::default();
        let (mut calls, mut further) = (0u32, 0u32);
        for at in 0..60_000u32 {
            let now = 30 * SECOND + at * MS;
            retries.first(now);
            calls += 1;
            for _ in 0..8 {
                if retries.take(now, 20) {
                    further += 1;
                    retries.failed(now);
                }
            }
        }
        assert!(further * 5 <= calls + 15, "{further} beside {calls}");
        assert!(further * 6 >= calls, "{further} beside {calls}");
    }

    #[test]
    fn what_was_free_is_owed_but_not_for_long() {
        let now = 100 * SECOND;
        let retries = after(now, 1000, 0);
        assert_eq!(taken(&retries, now, 100_000), 100_000);
        (0..WORST).for_each(|_| retries.failed(now));
        assert_eq!(taken(&retries, now, 100), 3, "owed: only the floor");
        // Thirteen hundred calls more earn what the first thousand did not.
        (0..1300).for_each(|_| retries.first(now));
        assert!(taken(&retries, now, 100) > 0);
    }

    #[test]
    fn it_is_told_once_in_ten_seconds() {
        let retries = Retries::default();
        let told: Vec<u64> = (0..35)
            .filter(|second| retries.is_to_be_told(Duration::from_secs(*second)))
            .collect();
        assert_eq!(told, [0, 10, 20, 30]);
    }
}
