//! Timers: one FIFO for each distinct duration.
//!
//! SIP arms few different durations (T1, 4 s, 64·T1, ...) and arms them often. Time never runs
//! back, so entries of one duration fall due in the order in which they were armed, and a queue
//! is sorted without sorting. What has no lane goes into a heap.
//!
//! Hardly anything is cancelled. An entry that no longer matters surfaces when its time has come, and
//! its owner sees from the key (a generation, a state) that it is stale. What nearly always is stale by
//! then can be [taken back](Lanes::disarm) instead: nobody wakes up for it.

use std::{
    cmp::Ordering,
    collections::{BinaryHeap, VecDeque},
    time::Duration,
};

use crate::{Moment, moment::nanos};

/// Lanes at most; a duration that finds neither its own lane nor an empty one goes to the heap.
const LANES_MAX: usize = 24;

/// A queue with less room than this is never worth giving memory back for.
const SHRINK_ABOVE: usize = 1024;

/// No lane: the heap.
const HEAP: usize = usize::MAX;

/// Armed timers, each with a key that says what it is for.
#[derive(Debug)]
pub struct Lanes<K> {
    /// The latest `now` seen.
    now: Option<Moment>,
    lanes: Vec<Lane<K>>,
    /// The duration of each lane, in [nanoseconds](nanos).
    afters: Vec<u64>,
    /// The first deadline of each lane, or [`Moment::NEVER`]: side by side, since each pop looks at all.
    heads: Vec<Moment>,
    odd: BinaryHeap<Odd<K>>,
    /// Tells heap entries with the same deadline apart, so that the first armed is first out.
    armed: u64,
    /// The earliest deadline of all, or [`Moment::NEVER`].
    next: Moment,
    /// The lane that has it; any other number: the heap.
    next_lane: usize,
    len: usize,
}

#[derive(Debug)]
struct Lane<K> {
    /// `None` where one was taken back; the first one never was.
    queue: VecDeque<(Moment, Option<K>)>,
    /// The number of the first one; each has the one after that of the one before it.
    first: u32,
}

/// Names a timer that was armed. One that is kept for long after it has surfaced may name another:
/// after four thousand millions of its lane.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Armed {
    lane: u8,
    number: u32,
}

#[derive(Debug)]
struct Odd<K> {
    at: Moment,
    armed: u64,
    key: K,
}

impl<K> Lanes<K> {
    /// None armed.
    pub fn new() -> Self {
        Lanes {
            now: None,
            lanes: Vec::new(),
            afters: Vec::new(),
            heads: Vec::new(),
            odd: BinaryHeap::new(),
            armed: 0,
            next: Moment::NEVER,
            next_lane: HEAP,
            len: 0,
        }
    }

    /// Arms a timer that falls due `after` from `now`. `now` must not be earlier than any `now`
    /// given before.
    ///
    /// For durations that come up again and again; each has a lane of its own. Whoever may want to
    /// take it back gets its name, if it can be.
    pub fn arm(&mut self, now: Moment, after: Duration, key: K) -> Option<Armed> {
        let at = self.see(now) + after;
        let Some(lane) = self.lane(nanos(after)) else {
            self.push_odd(at, key);
            return None;
        };
        let (head, Lane { queue, first }) =
            self.heads.get_mut(lane).zip(self.lanes.get_mut(lane))?;
        let number = first.wrapping_add(queue.len() as u32);
        *head = (*head).min(at);
        queue.push_back((at, Some(key)));
        self.count_in(at, lane);
        let lane = lane as u8;
        Some(Armed { lane, number })
    }

    /// Takes a timer back, unless it has surfaced.
    #[inline]
    pub fn disarm(&mut self, Armed { lane, number }: Armed) {
        let at = usize::from(lane);
        let Some(lane) = self.lanes.get_mut(at) else {
            return;
        };
        let place = number.wrapping_sub(lane.first) as usize;
        let Some((_, key @ Some(_))) = lane.queue.get_mut(place) else {
            return;
        };
        *key = None;
        self.len -= 1;
        if place == 0 {
            self.heads[at] = lane.advance();
            if at == self.next_lane {
                self.find_next();
            }
        }
    }

    /// Arms a timer that falls due at a moment of its own (a budget's end, a Retry-After).
    pub fn arm_once(&mut self, at: Moment, key: K) {
        self.push_odd(at, key);
    }

    /// Takes out the timer that fell due first, if one has. Of those with the same deadline in
    /// one lane the first armed comes first.
    pub fn pop_expired(&mut self, now: Moment) -> Option<K> {
        let now = self.see(now);
        if self.next > now {
            return None;
        }
        let key = match self.lanes.get_mut(self.next_lane) {
            Some(lane) => {
                let first = lane.queue.front_mut();
                let key = first.and_then(|(_, key)| key.take());
                self.heads[self.next_lane] = lane.advance();
                key
            }
            None => {
                let key = self.odd.pop().map(|odd| odd.key);
                if roomy(self.odd.len(), self.odd.capacity()) {
                    self.odd.shrink_to(self.odd.capacity() / 4);
                }
                key
            }
        };
        self.len -= usize::from(key.is_some());
        self.find_next();
        key
    }

    /// When the next timer falls due.
    #[inline]
    pub fn next(&self) -> Option<Moment> {
        Some(self.next).filter(|next| *next != Moment::NEVER)
    }

    /// How many are armed, stale ones included, but none that was taken back.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is armed.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Moves our clock on. One that ran back would leave a lane unsorted and its timers late.
    fn see(&mut self, now: Moment) -> Moment {
        debug_assert!(self.now.is_none_or(|before| before <= now), "time ran back");
        let now = self.now.map_or(now, |before| before.max(now));
        self.now = Some(now);
        now
    }

    /// The lane for a duration: its own, else an empty one, else a new one while there may be more.
    #[inline]
    fn lane(&mut self, after: u64) -> Option<usize> {
        let own = self.afters.iter().position(|own| *own == after);
        own.or_else(|| self.another_lane(after))
    }

    #[cold]
    fn another_lane(&mut self, after: u64) -> Option<usize> {
        if self.lanes.len() < LANES_MAX {
            self.lanes.push(Lane {
                queue: VecDeque::new(),
                first: 0,
            });
            self.afters.push(after);
            self.heads.push(Moment::NEVER);
            return Some(self.lanes.len() - 1);
        }
        // A duration that left the configuration leaves its lane to another once it has drained.
        let empty = self.lanes.iter().position(|lane| lane.queue.is_empty())?;
        self.afters[empty] = after;
        Some(empty)
    }

    fn push_odd(&mut self, at: Moment, key: K) {
        let armed = self.armed;
        self.armed += 1;
        self.odd.push(Odd { at, armed, key });
        self.count_in(at, HEAP);
    }

    fn count_in(&mut self, at: Moment, lane: usize) {
        self.len += 1;
        // A lane's comes before the heap's of the same moment, and the first lane's before others'.
        if (at, lane) < (self.next, self.next_lane) {
            (self.next, self.next_lane) = (at, lane);
        }
    }

    fn find_next(&mut self) {
        let mut next = (self.odd.peek().map_or(Moment::NEVER, |odd| odd.at), HEAP);
        for (lane, at) in self.heads.iter().enumerate().rev() {
            if *at <= next.0 {
                next = (*at, lane);
            }
        }
        (self.next, self.next_lane) = next;
    }
}

impl<K> Lane<K> {
    /// Lets go of those in front that have surfaced or were taken back; the deadline of the first that
    /// is left.
    #[inline]
    fn advance(&mut self) -> Moment {
        let head = loop {
            match self.queue.front() {
                Some((at, Some(_))) => break *at,
                Some((_, None)) => {
                    self.queue.pop_front();
                    self.first = self.first.wrapping_add(1);
                }
                None => break Moment::NEVER,
            }
        };
        shrink(&mut self.queue);
        head
    }
}

impl<K> Default for Lanes<K> {
    fn default() -> Self {
        Self::new()
    }
}

/// The heap is a max-heap, so the earliest deadline is the greatest.
impl<K> Ord for Odd<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.armed).cmp(&(self.at, self.armed))
    }
}

impl<K> PartialOrd for Odd<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> PartialEq for Odd<K> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<K> Eq for Odd<K> {}

fn shrink<T>(queue: &mut VecDeque<T>) {
    if roomy(queue.len(), queue.capacity()) {
        queue.shrink_to(queue.capacity() / 4);
    }
}

/// Whether memory should be given back. Shrinking to a quarter when less than an eighth is used
/// leaves as much to be popped before the next time as was copied this time.
fn roomy(len: usize, capacity: usize) -> bool {
    capacity > SHRINK_ABOVE && len < capacity / 8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn some_moment() -> Moment {
        Moment::EPOCH
    }

    const MS: Duration = Duration::from_millis(1);

    fn drain<K>(lanes: &mut Lanes<K>, now: Moment) -> Vec<K> {
        std::iter::from_fn(|| lanes.pop_expired(now)).collect()
    }

    #[test]
    fn timers_surface_in_deadline_order_across_lanes() {
        let start = some_moment();
        let mut lanes = Lanes::new();
        lanes.arm(start, 30 * MS, "third");
        lanes.arm(start, 10 * MS, "first");
        lanes.arm_once(start + 20 * MS, "second");
        lanes.arm(start + 5 * MS, 30 * MS, "fourth");
        assert_eq!(lanes.next(), Some(start + 10 * MS));
        assert_eq!(lanes.len(), 4);
        assert_eq!(drain(&mut lanes, start + 9 * MS), Vec::<&str>::new());
        assert_eq!(
            drain(&mut lanes, start + 100 * MS),
            ["first", "second", "third", "fourth"]
        );
        assert_eq!(lanes.next(), None);
        assert!(lanes.is_empty());
    }

    #[test]
    fn a_timer_falls_due_at_its_moment_and_not_before() {
        let start = some_moment();
        let mut lanes = Lanes::new();
        lanes.arm(start, 500 * MS, ());
        assert_eq!(lanes.pop_expired(start + 499 * MS), None);
        assert_eq!(lanes.pop_expired(start + 500 * MS), Some(()));
    }

    #[test]
    fn a_moment_already_past_is_due_at_once() {
        let start = some_moment();
        let mut lanes = Lanes::new();
        lanes.arm(start + 50 * MS, MS, "later");
        lanes.arm_once(start, "past");
        assert_eq!(lanes.pop_expired(start + 50 * MS), Some("past"));
    }

    #[test]
    fn a_moment_named_before_any_clock_reading_is_not_early() {
        let start = some_moment();
        let mut lanes = Lanes::new();
        lanes.arm_once(start + 10 * MS, ());
        assert_eq!(lanes.pop_expired(start), None);
        assert_eq!(lanes.next(), Some(start + 10 * MS));
        assert_eq!(lanes.pop_expired(start + 10 * MS), Some(()));
    }

    #[test]
    fn more_durations_than_lanes_still_come_in_order() {
        let start = some_moment();
        let mut lanes = Lanes::new();
        for n in (1..=100u32).rev() {
            lanes.arm(start, n * MS, n);
        }
        assert_eq!(lanes.lanes.len(), LANES_MAX);
        assert_eq!(
            drain(&mut lanes, start + 100 * MS),
            (1..=100).collect::<Vec<_>>()
        );
        lanes.arm(start + 100 * MS, 777 * MS, 777);
        assert!(lanes.odd.is_empty(), "a drained lane serves a new duration");
        assert_eq!(lanes.lanes.len(), LANES_MAX);
    }

    #[test]
    fn a_peak_gives_its_memory_back() {
        const PEAK: u32 = 200_000;
        let start = some_moment();
        let mut lanes = Lanes::new();
        for n in 0..PEAK {
            lanes.arm(start, MS, n);
            lanes.arm_once(start + MS, n);
        }
        assert_eq!(drain(&mut lanes, start + MS).len(), 2 * PEAK as usize);
        let room = lanes.lanes[0].queue.capacity() + lanes.odd.capacity();
        assert!(room <= 2 * SHRINK_ABOVE, "{room} entries kept");
        let armed: Vec<_> = (0..PEAK)
            .filter_map(|n| lanes.arm(start + MS, MS, n))
            .collect();
        assert_eq!(armed.len(), PEAK as usize);
        armed.into_iter().for_each(|armed| lanes.disarm(armed));
        let room = lanes.lanes[0].queue.capacity();
        assert!(room <= SHRINK_ABOVE, "{room} entries kept");
        assert_eq!((lanes.len(), lanes.next()), (0, None));
    }

    #[test]
    fn the_longest_duration_does_not_overflow() {
        let start = some_moment();
        let mut lanes = Lanes::new();
        lanes.arm(start, Duration::MAX, "never");
        lanes.arm(start, MS, "soon");
        assert_eq!(lanes.next(), Some(start + MS));
        assert_eq!(drain(&mut lanes, start + MS), ["soon"]);
        assert_eq!(lanes.len(), 1);
    }

    #[test]
    #[should_panic(expected = "time ran back")]
    #[cfg(debug_assertions)]
    fn a_clock_that_runs_back_is_noticed() {
        let start = some_moment();
        let mut lanes = Lanes::new();
        lanes.arm(start + MS, MS, ());
        lanes.arm(start, MS, ());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Wait(u64),
        Arm(u64),
        Once(u64),
        /// Takes back one of those that were armed, surfaced or not.
        Disarm(usize),
        Pop,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u64..50).prop_map(Step::Wait),
            // More distinct durations than lanes, and often the same ones.
            prop_oneof![0u64..4, 0u64..60].prop_map(Step::Arm),
            (0u64..100).prop_map(Step::Once),
            any::<usize>().prop_map(Step::Disarm),
            Just(Step::Pop),
        ]
    }

    proptest! {
        /// The model: a list, searched for the smallest deadline.
        #[test]
        fn lanes_do_what_a_sorted_list_does(steps in prop::collection::vec(step(), 1..400)) {
            let start = some_moment();
            let mut lanes = Lanes::new();
            // Each with a number of its own, which tells it from others of the same deadline.
            let mut model: Vec<(u64, usize)> = Vec::new();
            let mut armed = Vec::new();
            let mut now = 0;
            for (number, step) in steps.into_iter().enumerate() {
                let at = |ms: u64| start + Duration::from_millis(ms);
                match step {
                    Step::Wait(ms) => now += ms,
                    Step::Arm(ms) => {
                        let name = lanes.arm(at(now), Duration::from_millis(ms), (now + ms, number));
                        armed.extend(name.map(|name| (name, number)));
                        model.push((now + ms, number));
                    }
                    Step::Once(ms) => {
                        lanes.arm_once(at(ms), (ms, number));
                        model.push((ms, number));
                    }
                    Step::Disarm(which) => {
                        if let Some((name, number)) = armed.get(which % armed.len().max(1)) {
                            lanes.disarm(*name);
                            model.retain(|(_, own)| own != number);
                        }
                    }
                    Step::Pop => {
                        let due = model.iter().map(|(at, _)| *at).filter(|due| *due <= now).min();
                        let popped = lanes.pop_expired(at(now));
                        prop_assert_eq!(popped.map(|(at, _)| at), due);
                        if let Some(popped) = popped {
                            let place = model.iter().position(|it| *it == popped);
                            prop_assert!(place.is_some());
                            model.swap_remove(place.unwrap_or_default());
                        }
                    }
                }
                prop_assert_eq!(lanes.len(), model.len());
                prop_assert_eq!(lanes.next(), model.iter().min().map(|(ms, _)| start + Duration::from_millis(*ms)));
            }
        }
    }
}
