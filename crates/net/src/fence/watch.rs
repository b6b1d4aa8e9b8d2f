//! Whom a listener's fence turns away, and when: the decision, without socket or clock.
//!
//! Told of each datagram that was dropped, it only counts while there are few. When there are more
//! than [`limit`](Watch::new) within a second, it keeps the sources of as many more, and whoever has a
//! good part of those and is nobody's peer is fenced: the busiest, at most [`SOURCES_MAX`]. A flood from
//! sources that are forged one by one has no busy one; then there is no fence, and a second later
//! others are looked at. So what it remembers is one sample and one short list, whatever comes.
//!
//! After [`STANDS_FOR`] a fence is lifted, to hear whether the flood goes on. If so, it stands again a
//! moment later; if not for [`LISTENS_FOR`], it is gone.

use std::{net::IpAddr, time::Duration};

use trunkline_proxy::Moment;

/// Addresses fenced at a time.
pub(crate) const SOURCES_MAX: usize = 64;
/// Dropped datagrams that are too many in a [`SECOND`], over all shards; and the size of a sample.
const LIMIT: u32 = 1_000;
/// A sample is no smaller than this, or chance would have a say in it.
const LIMIT_MIN: u32 = 250;
const SECOND: Duration = Duration::from_secs(1);
/// Whoever has less than this in a sample is not busy.
const BUSY: u32 = 16;
/// Nor is whoever says less than this in a second.
const BUSY_RATE: u32 = 100;
/// How long a fence stands before it is lifted.
pub(crate) const STANDS_FOR: Duration = Duration::from_secs(10);
/// How long is listened then.
pub(crate) const LISTENS_FOR: Duration = Duration::from_secs(3);
/// How long whoever was asked something may answer: Timers B and F (RFC 3261 §17.1).
const ANSWERS_FOR: Duration = Duration::from_secs(32);
/// How many are remembered that may.
const ASKED_MAX: usize = 64;

/// One listener's, on one shard.
#[derive(Debug)]
pub(crate) struct Watch {
    limit: u32,
    counting: Counting,
    /// When what was counted is too old to matter.
    counts_until: Moment,
    state: State,
    /// Whom the fence keeps out, the busiest first. Empty unless it stands.
    fenced: Vec<IpAddr>,
    /// Who is not to be fenced until then.
    asked: Vec<(IpAddr, Moment)>,
}

#[derive(Debug)]
enum Counting {
    /// So many were dropped.
    Few { dropped: u32 },
    /// Too many: who sends them?
    Many { since: Moment, sources: Vec<IpAddr> },
    /// Nobody who could be fenced: a second goes by before it is looked at again.
    Resting,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// There is no fence.
    Quiet,
    /// It stands until then.
    Standing(Moment),
    /// It was lifted, and is gone for good then.
    Lifted(Moment),
}

/// What has become of a fence.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// It stands, around [`fenced`](Watch::fenced), where there was none.
    Up,
    /// It stands, around others than before or again.
    Moved,
    /// It is lifted, to hear who still floods.
    Lifted,
    /// It was lifted for long enough.
    Gone,
}

/// Who was found to be busy in a sample.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Busy {
    pub(crate) source: IpAddr,
    /// Datagrams a second.
    pub(crate) rate: u32,
}

impl Watch {
    /// For one of so many shards: what is dropped of one source may be dropped by all of them, a part
    /// by each.
    pub(crate) fn new(now: Moment, shards: usize) -> Self {
        let shards = u32::try_from(shards).unwrap_or(u32::MAX).max(1);
        Watch {
            limit: (LIMIT / shards).max(LIMIT_MIN),
            counting: Counting::Few { dropped: 0 },
            counts_until: now + SECOND,
            state: State::Quiet,
            fenced: Vec::new(),
            asked: Vec::new(),
        }
    }

    /// A datagram of this source was dropped. Whether [`judge`](Self::judge) is to be called.
    pub(crate) fn count(&mut self, now: Moment, source: IpAddr) -> bool {
        if now >= self.counts_until {
            self.count_anew(now);
        }
        match &mut self.counting {
            Counting::Few { dropped } => {
                *dropped += 1;
                if *dropped >= self.limit {
                    self.counting = Counting::Many {
                        since: now,
                        sources: Vec::with_capacity(self.limit as usize),
                    };
                    self.counts_until = now + SECOND;
                }
                false
            }
            Counting::Many { sources, .. } => {
                if sources.len() < self.limit as usize {
                    sources.push(source);
                }
                sources.len() >= self.limit as usize
            }
            Counting::Resting => false,
        }
    }

    /// Looks at the sample, if there is a whole one: the busiest that are strangers and not fenced yet. They
    /// are not fenced before [`fence`](Self::fence) is called with them.
    pub(crate) fn judge(
        &mut self,
        now: Moment,
        mut is_stranger: impl FnMut(IpAddr) -> bool,
    ) -> Vec<Busy> {
        let Counting::Many { since, sources } = &mut self.counting else {
            return Vec::new();
        };
        if sources.len() < self.limit as usize {
            return Vec::new();
        }
        let took = now.saturating_duration_since(*since).as_millis().max(1);
        let mut sources = std::mem::take(sources);
        self.count_anew(now);
        sources.sort_unstable();
        let mut busiest: Vec<Busy> = sources
            .chunk_by(|one, other| one == other)
            .filter(|same| same.len() >= BUSY as usize)
            .map(|same| Busy {
                source: same[0],
                rate: u32::try_from(same.len() as u128 * 1_000 / took).unwrap_or(u32::MAX),
            })
            .filter(|busy| busy.rate >= BUSY_RATE)
            .collect();
        busiest.sort_by_key(|busy| std::cmp::Reverse(busy.rate));
        busiest.retain(|busy| {
            !self.fenced.contains(&busy.source)
                && !self.is_asked(now, busy.source)
                && is_stranger(busy.source)
        });
        if busiest.is_empty() {
            self.counting = Counting::Resting;
        }
        busiest
    }

    /// Fences these as well, as far as there is room. They are known to be strangers.
    pub(crate) fn fence(
        &mut self,
        now: Moment,
        sources: impl IntoIterator<Item = IpAddr>,
    ) -> Option<Change> {
        let before = self.fenced.len();
        for source in sources {
            let has_room = self.fenced.len() < SOURCES_MAX;
            if has_room && !self.fenced.contains(&source) && !self.is_asked(now, source) {
                self.fenced.push(source);
            }
        }
        if self.fenced.len() == before {
            return None;
        }
        match self.state {
            State::Quiet => {
                self.state = State::Standing(now + STANDS_FOR);
                Some(Change::Up)
            }
            State::Lifted(_) => {
                self.state = State::Standing(now + STANDS_FOR);
                Some(Change::Moved)
            }
            State::Standing(_) => Some(Change::Moved),
        }
    }

    /// Who is a stranger may have changed: whoever is none any more is heard at once.
    pub(crate) fn review(
        &mut self,
        now: Moment,
        is_stranger: impl FnMut(IpAddr) -> bool,
    ) -> Option<Change> {
        self.keep(now, is_stranger)
    }

    /// This source is asked something: it is to be heard, whoever it is.
    pub(crate) fn ask(&mut self, now: Moment, source: IpAddr) -> Option<Change> {
        self.asked.retain(|(_, until)| *until > now);
        if self.asked.len() < ASKED_MAX && !self.is_asked(now, source) {
            self.asked.push((source, now + ANSWERS_FOR));
        }
        self.keep(now, |fenced| fenced != source)
    }

    /// What time has changed.
    pub(crate) fn tick(&mut self, now: Moment) -> Option<Change> {
        match self.state {
            State::Standing(until) if until <= now => Some(self.lift(now)),
            State::Lifted(until) if until <= now => {
                self.state = State::Quiet;
                Some(Change::Gone)
            }
            State::Quiet | State::Standing(_) | State::Lifted(_) => None,
        }
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        match self.state {
            State::Quiet => None,
            State::Standing(until) | State::Lifted(until) => Some(until),
        }
    }

    /// Whom the fence keeps out now; nobody when it does not stand.
    pub(crate) fn fenced(&self) -> &[IpAddr] {
        &self.fenced
    }

    fn keep(&mut self, now: Moment, mut keep: impl FnMut(IpAddr) -> bool) -> Option<Change> {
        let before = self.fenced.len();
        self.fenced.retain(|source| keep(*source));
        match self.fenced.len() {
            same if same == before => None,
            0 => Some(self.lift(now)),
            _ => Some(Change::Moved),
        }
    }

    fn lift(&mut self, now: Moment) -> Change {
        self.fenced.clear();
        self.state = State::Lifted(now + LISTENS_FOR);
        self.count_anew(now);
        Change::Lifted
    }

    fn count_anew(&mut self, now: Moment) {
        self.counting = Counting::Few { dropped: 0 };
        self.counts_until = now + SECOND;
    }

    fn is_asked(&self, now: Moment, source: IpAddr) -> bool {
        let mut asked = self.asked.iter();
        asked.any(|(who, until)| *who == source && *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn ip(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).into()
    }

    fn everybody(_: IpAddr) -> bool {
        true
    }

    /// A watch with a clock, and who is a stranger to it.
    struct Scene {
        watch: Watch,
        now: Moment,
        is_stranger: fn(IpAddr) -> bool,
    }

    impl Scene {
        fn new(is_stranger: fn(IpAddr) -> bool) -> Scene {
            let now = Moment::EPOCH;
            Scene {
                watch: Watch::new(now, 1),
                now,
                is_stranger,
            }
        }

        /// So many datagrams, evenly over this time, of sources by their number. What changed.
        fn flood(
            &mut self,
            count: u32,
            over: Duration,
            source: impl Fn(u32) -> IpAddr,
        ) -> Vec<Change> {
            let (start, mut changes) = (self.now, Vec::new());
            for number in 0..count {
                self.now = start + over * number / count;
                changes.extend(self.watch.tick(self.now));
                let source = source(number);
                if !self.watch.fenced().contains(&source) && self.watch.count(self.now, source) {
                    let found = self.watch.judge(self.now, self.is_stranger);
                    let found = found.into_iter().map(|busy| busy.source);
                    changes.extend(self.watch.fence(self.now, found));
                }
            }
            self.now = start + over;
            changes.extend(self.watch.tick(self.now));
            changes
        }

        fn rest(&mut self, time: Duration) -> Vec<Change> {
            let end = self.now + time;
            let mut changes = Vec::new();
            while let Some(due) = self.watch.deadline().filter(|due| *due <= end) {
                self.now = due;
                changes.extend(self.watch.tick(due));
            }
            self.now = end;
            changes
        }
    }

    #[test]
    fn only_who_floods_is_fenced() {
        /// How many a second there are, whose each is, and how many sources are fenced after two seconds.
        type Row = (&'static str, u32, fn(u32) -> IpAddr, usize);
        let table: [Row; 7] = [
            ("one scanner", 5_000, |_| ip(1), 1),
            ("one, not fast enough to matter", 900, |_| ip(1), 0),
            ("ten of them", 5_000, |number| ip(number % 10), 10),
            (
                "a thousand that say little each",
                20_000,
                |number| ip(number % 1_000),
                0,
            ),
            ("a flood of forged sources", 20_000, ip, 0),
            (
                "one among forged ones",
                20_000,
                |number| if number % 10 == 0 { ip(0) } else { ip(number) },
                1,
            ),
            (
                "two busy peers",
                20_000,
                |number| ip(1_000_000 + number % 2),
                0,
            ),
        ];
        for (what, rate, source, fenced) in table {
            // From a million on, they are peers.
            let mut scene = Scene::new(|source| source < ip(1_000_000));
            scene.flood(2 * rate, 2 * SECOND, source);
            assert_eq!(scene.watch.fenced().len(), fenced, "{what}");
        }
    }

    #[test]
    fn a_fence_stands_for_ten_seconds_is_lifted_for_a_moment_and_stands_again_while_the_flood_lasts()
     {
        let mut scene = Scene::new(everybody);
        let changes = scene.flood(35 * 40_000, 35 * SECOND, |_| ip(1));
        let again = [Change::Lifted, Change::Moved];
        assert_eq!(
            changes,
            [&[Change::Up][..], &again, &again, &again].concat()
        );
        assert_eq!(scene.watch.fenced(), [ip(1)]);

        assert_eq!(scene.rest(60 * SECOND), [Change::Lifted, Change::Gone]);
        assert!(scene.watch.fenced().is_empty());
        assert_eq!(scene.watch.deadline(), None, "nothing is left to wait for");
    }

    #[test]
    fn who_begins_while_a_fence_stands_is_fenced_too_the_busiest_first_and_not_more_than_there_is_room_for()
     {
        let mut scene = Scene::new(everybody);
        let of_two = |number: u32| {
            if number.is_multiple_of(3) {
                ip(1)
            } else {
                ip(2)
            }
        };
        assert_eq!(scene.flood(2_000, SECOND / 10, of_two), [Change::Up]);
        assert_eq!(scene.watch.fenced(), [ip(2), ip(1)]);
        assert_eq!(scene.flood(2_000, SECOND / 10, |_| ip(3)), [Change::Moved]);
        assert_eq!(scene.watch.fenced(), [ip(2), ip(1), ip(3)]);
        for first in [100, 200, 300] {
            scene.flood(2_000, SECOND / 10, |number| ip(first + number % 50));
        }
        assert_eq!(scene.watch.fenced().len(), SOURCES_MAX);
        assert!(scene.watch.fenced().starts_with(&[ip(2), ip(1), ip(3)]));
    }

    #[test]
    fn who_becomes_a_peer_is_heard_at_once_and_the_others_are_not() {
        let mut scene = Scene::new(everybody);
        scene.flood(2_000, SECOND / 10, |number| ip(number % 2));
        assert_eq!(scene.watch.review(scene.now, everybody), None);
        let one_less = scene.watch.review(scene.now, |source| source != ip(1));
        assert_eq!(one_less, Some(Change::Moved));
        assert_eq!(scene.watch.fenced(), [ip(0)]);
        let nobody = scene.watch.review(scene.now, |_| false);
        assert_eq!(nobody, Some(Change::Lifted));
        assert!(scene.watch.fenced().is_empty());
        assert_eq!(scene.rest(LISTENS_FOR), [Change::Gone]);
    }

    #[test]
    fn who_is_asked_something_is_heard_until_its_answer_cannot_come_any_more() {
        let mut scene = Scene::new(everybody);
        scene.flood(2_000, SECOND / 10, |_| ip(1));
        assert_eq!(scene.watch.ask(scene.now, ip(2)), None);
        assert_eq!(scene.watch.ask(scene.now, ip(1)), Some(Change::Lifted));
        scene.flood(30 * 5_000, 30 * SECOND, |_| ip(1));
        assert!(scene.watch.fenced().is_empty());
        assert_eq!(
            scene.watch.fence(scene.now, [ip(1)]),
            None,
            "nor by another shard's word"
        );
        scene.flood(4 * 5_000, 4 * SECOND, |_| ip(1));
        assert_eq!(scene.watch.fenced(), [ip(1)]);
        for number in 0..100_000 {
            let _ = scene.watch.ask(scene.now, ip(number));
        }
        assert!(scene.watch.asked.len() <= ASKED_MAX);
    }

    #[test]
    fn forged_sources_take_no_memory_and_are_looked_at_once_a_second() {
        let mut scene = Scene::new(everybody);
        let mut looks = 0;
        for number in 0..100_000 {
            scene.now += 2 * SECOND / 100_000;
            if scene.watch.count(scene.now, ip(number)) {
                assert!(scene.watch.judge(scene.now, everybody).is_empty());
                looks += 1;
            }
            if let Counting::Many { sources, .. } = &scene.watch.counting {
                assert!(sources.capacity() <= LIMIT as usize);
            }
        }
        assert!((1..=2).contains(&looks), "{looks}");
        assert_eq!(
            scene.watch.fenced.capacity() + scene.watch.asked.capacity(),
            0
        );
    }

    #[test]
    fn each_of_many_shards_notices_its_part_and_a_sample_is_never_too_small() {
        for (shards, limit) in [(0, 1_000), (1, 1_000), (2, 500), (4, 250), (255, 250)] {
            let mut watch = Watch::new(Moment::EPOCH, shards);
            let now = Moment::EPOCH;
            let first = (1..).find(|_| watch.count(now, ip(1)));
            assert_eq!(first, Some(2 * limit), "{shards} shards");
            assert_eq!(watch.judge(now + MS, everybody).len(), 1);
            assert!(
                watch.judge(now + MS, everybody).is_empty(),
                "a sample is judged once"
            );
        }
    }
}
