//! Shards that keep their tables alike (the module's text): each case plays a process of several
//! tables whose news arrive late, and in whatever order the test lets them.

use proptest::prelude::*;

use super::*;

/// A process: one table for each shard, and the news that are on their way.
struct Process {
    tables: Vec<HealthTable>,
    now: Moment,
    /// When it arrives, at which table, and what.
    news: Vec<(Moment, usize, Evidence)>,
    told: usize,
}

const LATE: Duration = Duration::from_millis(10);
const IX: PeerIx = PeerIx(0);

impl Process {
    fn new(shards: u8, settings: Health) -> Process {
        let now = some_moment();
        let tables = (0..shards).map(|shard| {
            let mut table = HealthTable::new(ShardId(shard), shards);
            table.intern(peer(1), settings, now);
            table
        });
        Process {
            tables: tables.collect(),
            now,
            news: Vec::new(),
            told: 0,
        }
    }

    fn tell(&mut self, from: usize, evidence: Evidence, late: Duration) {
        self.told += 1;
        let others = (0..self.tables.len()).filter(|at| *at != from);
        let at = self.now + late;
        self.news.extend(others.map(|to| (at, to, evidence)));
    }

    fn see(&mut self, shard: usize, evidence: Evidence) {
        let lesson = self.tables[shard].observe(self.now, IX, evidence);
        if lesson.is_news {
            self.tell(shard, evidence, LATE);
        }
    }

    fn send(&mut self, shard: usize) {
        if self.tables[shard].sent(self.now, IX) {
            self.tell(shard, Evidence::Trial, LATE);
        }
    }

    /// Lets time pass, and answers each probe as `alive` says.
    fn wait(&mut self, length: Duration, alive: bool) -> Vec<(Moment, usize)> {
        let end = self.now + length;
        let mut probes = Vec::new();
        loop {
            let deadlines = self.tables.iter().filter_map(HealthTable::next_deadline);
            let arrivals = self.news.iter().map(|(at, ..)| *at);
            let Some(next) = deadlines.chain(arrivals).min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            let now = self.now;
            let (arrived, rest) = self.news.drain(..).partition(|(at, ..)| *at <= now);
            self.news = rest;
            let arrived: Vec<(Moment, usize, Evidence)> = arrived;
            for (_, to, evidence) in arrived {
                self.tables[to].learn(now, IX, evidence);
            }
            for shard in 0..self.tables.len() {
                let (mut lessons, mut due) = (Vec::new(), Vec::new());
                self.tables[shard].sweep(now, &mut lessons);
                for (_, lesson) in lessons {
                    if lesson.is_news {
                        self.tell(shard, Evidence::Silent, LATE);
                    }
                }
                self.tables[shard].due_probes(now, &mut due);
                for _ in due {
                    probes.push((now, shard));
                    let evidence = if alive {
                        Evidence::ProbeAnswered
                    } else {
                        Evidence::ProbeFailed("silent")
                    };
                    self.see(shard, evidence);
                }
            }
        }
        self.now = end;
        probes
    }

    fn states(&self) -> Vec<HealthState> {
        self.tables.iter().map(|table| table.state(IX)).collect()
    }

    fn agree_on(&self, state: HealthState) {
        assert_eq!(self.states(), vec![state; self.tables.len()]);
    }
}

#[test]
fn failures_on_different_shards_add_up() {
    let mut process = Process::new(8, unprobed());
    process.see(2, Evidence::Failed("silent"));
    process.wait(LATE, true);
    process.agree_on(HealthState::Suspect);
    process.see(5, Evidence::Failed("silent"));
    assert_eq!(process.states()[2], HealthState::Suspect, "not heard yet");
    process.wait(LATE, true);
    process.agree_on(HealthState::Down);
    process.see(7, Evidence::Alive);
    process.wait(LATE, true);
    process.agree_on(HealthState::Up);
}

#[test]
fn one_shard_probes_and_suspicion_on_another_has_it_probe_at_once() {
    let mut process = Process::new(8, pbx());
    let probes = process.wait(60 * S, true);
    let prober = probes[0].1;
    assert!(probes.iter().all(|(_, shard)| *shard == prober));
    assert!((10..=14).contains(&probes.len()), "{}", probes.len());
    assert!(process.tables[prober].tends(IX));

    let other = (prober + 3) % 8;
    (0..3).for_each(|_| process.send(other));
    let silent_at = process.now + S;
    let probes = process.wait(S + 2 * LATE, false);
    assert_eq!(probes.last().map(|(at, _)| *at), Some(silent_at + LATE));
    process.wait(2 * LATE, false);
    process.agree_on(HealthState::Down);
}

#[test]
fn all_shards_together_try_a_half_open_candidate_with_one_call() {
    let mut process = Process::new(4, unprobed());
    (0..2).for_each(|_| process.see(0, Evidence::Failed("silent")));
    process.wait(REST_MIN + LATE, true);
    process.send(1);
    process.wait(LATE, true);
    for table in &process.tables {
        assert_eq!(table.class(IX, process.now), Class::Down, "a trial runs");
    }
    process.see(1, Evidence::Alive);
    process.wait(LATE, true);
    process.agree_on(HealthState::Up);
}

#[test]
fn what_changes_nothing_is_told_to_nobody() {
    let mut process = Process::new(8, unprobed());
    process.see(0, Evidence::Alive);
    assert_eq!(process.told, 1, "it answers calls: that is remembered");
    process.wait(S, true);
    for shard in 0..8 {
        (0..1000).for_each(|_| process.see(shard, Evidence::Alive));
    }
    assert_eq!(process.told, 1);
    for shard in 0..8 {
        (0..1000).for_each(|_| process.see(shard, Evidence::Failed("answered 503")));
        process.wait(LATE, true);
    }
    assert_eq!(
        process.told, 3,
        "two failures take it down, the rest say nothing"
    );
    (0..1000).for_each(|_| process.see(3, Evidence::Pause(20 * S)));
    assert_eq!(process.told, 4);
}

#[test]
fn a_shard_alone_has_no_news() {
    let mut process = Process::new(1, pbx());
    process.see(0, Evidence::Failed("x"));
    process.see(0, Evidence::Alive);
    process.wait(60 * S, true);
    assert_eq!(process.told, 0);
}

proptest! {
    /// Evidence that crosses on its way, or is lost, can leave shards of different opinion; not for
    /// long.
    #[test]
    fn shards_agree_again_whatever_crossed_or_was_lost(
        seen in prop::collection::vec((0usize..4, properties::evidence(), 0u64..40, prop::bool::weighted(0.2)), 0..60),
        probed: bool,
        alive: bool,
    ) {
        let mut process = Process::new(4, if probed { pbx() } else { unprobed() });
        // It is known to answer probes, so that they count.
        process.see(0, Evidence::ProbeAnswered);
        process.wait(LATE, alive);
        for (shard, evidence, ms, lost) in seen {
            process.see(shard, evidence);
            if lost {
                process.news.pop();
            }
            process.wait(Duration::from_millis(ms), alive);
        }
        // The longest pause, then two rounds of probes.
        process.wait(60 * S + 15 * S, alive);
        if probed && alive {
            // Where it seems to answer probes and no calls, a call decides; and it does get one.
            for shard in 0..4 {
                if process.states()[shard] != HealthState::Up {
                    prop_assert_ne!(process.tables[shard].class(IX, process.now), Class::Down);
                    process.see(shard, Evidence::Alive);
                    process.wait(LATE, alive);
                }
            }
            process.agree_on(HealthState::Up);
        } else if probed {
            process.agree_on(HealthState::Down);
        } else {
            let usable = process.tables.iter().all(|table| table.class(IX, process.now) == Class::Usable);
            prop_assert!(usable, "{:?}", process.states());
        }
    }
}
