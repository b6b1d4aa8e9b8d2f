use std::net::SocketAddr;

use trunkline_sip::Transport;

use super::*;
use crate::hop::{HopLoss, ListenerId, ShardId};

mod news;
mod probes;
mod properties;
mod suspicion;

const S: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn some_moment() -> Moment {
    Moment::EPOCH
}

/// As BEHAVIOUR 7 has it for PBXs.
fn pbx() -> Health {
    Health {
        probe_interval: Some(5 * S),
        probe_timeout: S,
        suspect_after: Some(S),
        fail_after: 2,
        slow_start: 30 * S,
    }
}

fn carrier() -> Health {
    Health {
        probe_interval: Some(30 * S),
        ..pbx()
    }
}

fn unprobed() -> Health {
    Health {
        probe_interval: None,
        ..pbx()
    }
}

fn peer(number: u16) -> Peer {
    Peer {
        transport: Transport::Udp,
        addr: SocketAddr::from(([192, 0, 2, 1], number)),
        listener: ListenerId(0),
    }
}

/// A table and a clock.
struct World {
    table: HealthTable,
    now: Moment,
}

impl World {
    fn new() -> World {
        World {
            table: HealthTable::new(ShardId(0), 1),
            now: some_moment(),
        }
    }

    fn one(settings: Health) -> (World, PeerIx) {
        let mut world = World::new();
        let ix = world.know(1, settings);
        (world, ix)
    }

    fn know(&mut self, number: u16, settings: Health) -> PeerIx {
        self.table.intern(peer(number), settings, self.now)
    }

    fn see(&mut self, ix: PeerIx, evidence: Evidence) -> Option<Change> {
        self.table.observe(self.now, ix, evidence).change
    }

    fn fail(&mut self, ix: PeerIx, times: u32) {
        for _ in 0..times {
            self.see(ix, Evidence::Failed("silent"));
        }
    }

    /// A call is sent to it.
    fn send(&mut self, ix: PeerIx) {
        self.table.sent(self.now, ix);
    }

    fn class(&self, ix: PeerIx) -> Class {
        self.table.class(ix, self.now)
    }

    /// Lets time pass, moment by moment, and returns what changed and who was probed when.
    fn wait(&mut self, length: Duration) -> (Vec<Change>, Vec<(Moment, PeerIx)>) {
        let end = self.now + length;
        let (mut lessons, mut probes, mut due) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(at) = self.table.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.table.sweep(self.now, &mut lessons);
            self.table.due_probes(self.now, &mut due);
            probes.extend(due.drain(..).map(|ix| (self.now, ix)));
        }
        self.now = end;
        let changes = lessons.into_iter().filter_map(|(_, lesson)| lesson.change);
        (changes.collect(), probes)
    }

    /// Brings a fresh candidate into a state.
    fn bring(&mut self, ix: PeerIx, state: HealthState) {
        match state {
            HealthState::Up => {}
            HealthState::Suspect => self.fail(ix, 1),
            HealthState::Down => self.fail(ix, 2),
            HealthState::Paused => {
                self.see(ix, Evidence::Pause(20 * S));
            }
        }
        assert_eq!(self.table.state(ix), state);
    }
}

/// P29: modes that contradict their documentation. This is the documentation, as a test.
#[test]
fn the_machine_does_what_its_table_says() {
    use Evidence::{Alive, Failed, Pause, ProbeFailed};
    use HealthState::{Down, Paused, Suspect, Up};

    let table = [
        (Up, Alive, Up),
        (Up, Failed("x"), Suspect),
        (Up, ProbeFailed("x"), Suspect),
        (Up, Pause(S), Paused),
        (Up, Pause(Duration::ZERO), Suspect),
        (Suspect, Alive, Up),
        (Suspect, Failed("x"), Down),
        (Suspect, ProbeFailed("x"), Down),
        (Suspect, Pause(S), Paused),
        (Down, Alive, Up),
        (Down, Failed("x"), Down),
        (Down, ProbeFailed("x"), Down),
        (Down, Pause(S), Paused),
        (Paused, Alive, Paused),
        (Paused, Failed("x"), Paused),
        (Paused, ProbeFailed("x"), Paused),
        (Paused, Pause(S), Paused),
    ];
    for (was, evidence, is) in table {
        let (mut world, ix) = World::one(pbx());
        world.bring(ix, was);
        let change = world.see(ix, evidence);
        assert_eq!(world.table.state(ix), is, "{was:?} + {evidence:?}");
        let told = change.map(|change| (change.ix, change.was, change.is));
        assert_eq!(told, (was != is).then_some((ix, was, is)));
    }
}

#[test]
fn fail_after_failures_in_a_row_make_it_down() {
    for fail_after in [1, 2, 3, 7] {
        let (mut world, ix) = World::one(Health {
            fail_after,
            ..pbx()
        });
        world.fail(ix, u32::from(fail_after) - 1);
        assert_ne!(world.table.state(ix), HealthState::Down, "{fail_after}");
        world.see(ix, Evidence::Alive);
        world.fail(ix, u32::from(fail_after) - 1);
        assert_ne!(world.table.state(ix), HealthState::Down, "not in a row");
        let change = world.see(ix, Evidence::Failed("the last straw")).unwrap();
        assert_eq!(
            (change.is, change.why),
            (HealthState::Down, "the last straw")
        );
    }
}

/// P10: a node that is down was used as failover candidate.
#[test]
fn a_down_candidate_gets_no_call_until_it_has_rested_and_then_one_at_a_time() {
    let (mut world, ix) = World::one(pbx());
    world.fail(ix, 2);
    assert_eq!(world.class(ix), Class::Down);
    world.wait(REST_MIN - MS);
    assert_eq!(world.class(ix), Class::Down);
    world.wait(MS);
    assert_eq!(world.class(ix), Class::Suspect, "half-open");
    world.send(ix);
    assert_eq!(world.class(ix), Class::Down, "a trial runs");
    world.see(ix, Evidence::Alive);
    assert_eq!(world.class(ix), Class::Usable);
}

#[test]
fn a_candidate_that_is_not_probed_comes_back_by_one_real_call() {
    let (mut world, ix) = World::one(unprobed());
    world.fail(ix, 2);
    world.wait(REST_MIN);
    assert_eq!(world.class(ix), Class::Usable);
    world.send(ix);
    assert_eq!(world.class(ix), Class::Down, "one at a time");
    world.see(ix, Evidence::Alive);
    assert_eq!(world.class(ix), Class::Usable);
}

/// P31, the other way round: it ignores OPTIONS, so no probe would ever have cleared it.
#[test]
fn a_candidate_that_answers_calls_and_no_probe_comes_back_by_calls() {
    let (mut world, ix) = World::one(pbx());
    world.see(ix, Evidence::Alive);
    world.see(ix, Evidence::Failed("silent"));
    world.see(ix, Evidence::ProbeFailed("silent"));
    assert_eq!(world.class(ix), Class::Suspect);
    world.wait(REST_MIN);
    assert_eq!(world.class(ix), Class::Usable, "given another chance");
    world.fail(ix, 2);
    assert_eq!(world.class(ix), Class::Down);
    world.wait(REST_MIN);
    assert_eq!(world.class(ix), Class::Usable, "for one call");
    world.send(ix);
    assert_eq!(world.class(ix), Class::Down);
}

#[test]
fn every_trial_lost_doubles_the_rest() {
    let (mut world, ix) = World::one(pbx());
    world.fail(ix, 2);
    let mut rest = REST_MIN;
    for _ in 0..8 {
        world.wait(rest - MS);
        assert_eq!(world.class(ix), Class::Down, "{rest:?}");
        world.wait(MS);
        assert_eq!(world.class(ix), Class::Suspect, "{rest:?}");
        world.send(ix);
        world.fail(ix, 3);
        rest = (rest * 2).min(REST_MAX);
    }
    assert_eq!(rest, REST_MAX);
}

/// P21: Retry-After ignored, a 503 to OPTIONS taken for health.
#[test]
fn a_pause_is_kept_to_its_end() {
    let (mut world, ix) = World::one(carrier());
    world.see(ix, Evidence::Pause(20 * S));
    world.see(ix, Evidence::Pause(5 * S));
    world.wait(19 * S);
    world.see(ix, Evidence::Alive);
    assert_eq!(world.class(ix), Class::Down, "no early flip");
    let (changes, probes) = world.wait(S);
    assert_eq!(probes, [], "it asked for rest");
    assert_eq!(changes.len(), 1);
    assert_eq!(
        (changes[0].was, changes[0].is),
        (HealthState::Paused, HealthState::Up)
    );
    assert_eq!(world.class(ix), Class::Usable);
    assert!(world.table.slow_start_share(ix, world.now) < 1000);
}

#[test]
fn no_pause_lasts_longer_than_an_hour_whatever_was_asked_for() {
    for length in [PAUSE_MAX, 1000 * PAUSE_MAX, Duration::MAX] {
        let (mut world, ix) = World::one(carrier());
        world.see(ix, Evidence::Pause(length));
        world.wait(PAUSE_MAX - MS);
        assert_eq!(world.class(ix), Class::Down);
        world.wait(MS);
        assert_eq!(world.class(ix), Class::Usable);
    }
}

#[test]
fn failures_met_during_a_pause_count_when_it_ends() {
    for (failures, expected) in [
        (0, HealthState::Up),
        (1, HealthState::Suspect),
        (2, HealthState::Down),
    ] {
        let (mut world, ix) = World::one(pbx());
        world.see(ix, Evidence::Pause(10 * S));
        world.fail(ix, failures);
        let (changes, _) = world.wait(10 * S);
        assert_eq!(changes[0].is, expected);
        assert_ne!(world.class(ix), Class::Down, "it has rested");
    }
}

/// P25: a failed TCP connect did not mark the target.
#[test]
fn every_lost_hop_counts_as_a_failure() {
    for loss in [
        HopLoss::Unreachable,
        HopLoss::Refused,
        HopLoss::ConnectTimeout,
        HopLoss::Closed,
        HopLoss::Tls,
    ] {
        let (mut world, ix) = World::one(pbx());
        world.see(ix, Evidence::Failed(loss.word()));
        let change = world.see(ix, Evidence::Failed(loss.word())).unwrap();
        assert_eq!((change.is, change.why), (HealthState::Down, loss.word()));
    }
}

/// P26: two entries with the same URI and different sockets were taken for one.
#[test]
fn health_is_kept_by_transport_address_and_listener() {
    let mut world = World::new();
    let one = peer(1);
    let others = [
        Peer {
            transport: Transport::Tcp,
            ..one
        },
        Peer {
            listener: ListenerId(1),
            ..one
        },
        peer(2),
    ];
    let ix = world.table.intern(one, pbx(), world.now);
    let others = others.map(|other| world.table.intern(other, pbx(), world.now));
    world.fail(ix, 2);
    assert_eq!(world.table.state(ix), HealthState::Down);
    for other in others {
        assert_eq!(world.table.state(other), HealthState::Up);
    }
    assert_eq!(world.table.intern(one, pbx(), world.now), ix);
    assert_eq!(
        world.table.state(ix),
        HealthState::Down,
        "a reload forgets nothing"
    );
}

/// P27: one call stuck forever kept a counter up.
#[test]
fn a_trial_that_ends_without_a_verdict_does_not_keep_others_away() {
    let (mut world, ix) = World::one(pbx());
    world.fail(ix, 2);
    world.wait(REST_MIN);
    world.table.hold(ix);
    world.send(ix);
    assert_eq!(world.class(ix), Class::Down);
    world.table.release(ix);
    assert_eq!(world.class(ix), Class::Suspect, "released: cancelled");

    world.send(ix);
    world.table.end_trial(ix);
    assert_eq!(world.class(ix), Class::Suspect, "the caller gave up");

    world.table.hold(ix);
    world.send(ix);
    world.wait(TRIAL_MAX);
    assert_eq!(world.class(ix), Class::Suspect, "never released: a leak");
}

/// P30: a single missed ping was too strict; and how does it come back?
#[test]
fn one_missed_probe_costs_no_calls_and_the_way_back_is_automatic() {
    let (mut world, ix) = World::one(pbx());
    world.see(ix, Evidence::ProbeFailed("silent"));
    assert_eq!(world.class(ix), Class::Suspect);
    let (_, probes) = world.wait(Duration::ZERO);
    assert_eq!(probes.len(), 1, "asked again at once");
    world.see(ix, Evidence::ProbeFailed("silent"));
    assert_eq!(world.class(ix), Class::Down);

    world.see(ix, Evidence::Alive);
    assert_eq!(world.class(ix), Class::Usable);
    let mut shares = Vec::new();
    for _ in 0..7 {
        shares.push(world.table.slow_start_share(ix, world.now));
        world.wait(5 * S);
    }
    assert_eq!(shares, [100, 250, 400, 550, 700, 850, 1000]);
}

#[test]
fn a_candidate_that_never_was_away_has_its_full_share() {
    let (mut world, ix) = World::one(pbx());
    assert_eq!(world.table.slow_start_share(ix, world.now), 1000);
    world.fail(ix, 1);
    world.see(ix, Evidence::Alive);
    assert_eq!(world.table.slow_start_share(ix, world.now), 1000);
    let (mut world, ix) = World::one(Health {
        slow_start: Duration::ZERO,
        ..pbx()
    });
    world.fail(ix, 2);
    world.see(ix, Evidence::Alive);
    assert_eq!(world.table.slow_start_share(ix, world.now), 1000);
}

#[test]
fn who_leaves_the_configuration_is_probed_no_more_and_forgotten_once_released() {
    let (mut world, ix) = World::one(pbx());
    let stays = world.know(2, unprobed());
    world.table.hold(ix);
    let leave = |world: &mut World| {
        let now = world.now;
        world.table.retain_configured(now, &[stays]);
    };
    leave(&mut world);
    assert_eq!(world.wait(60 * S).1, []);
    assert_eq!(world.table.lookup(&peer(1)), Some(ix), "an attempt runs");
    world.fail(ix, 1);
    world.see(ix, Evidence::Alive);
    assert_eq!(world.wait(60 * S).1, []);
    world.table.release(ix);
    assert_eq!(world.table.lookup(&peer(1)), None);
    assert_eq!(world.table.len(), 1);
    let places: Vec<PeerIx> = world.table.iter().map(|(ix, _, _)| ix).collect();
    assert_eq!(places, [stays]);
    assert_eq!(world.know(3, pbx()), ix, "its place is used again");
    assert_eq!(world.table.state(ix), HealthState::Up);
}

/// DNS that alternates between two sets of addresses must not make a dead one good as new.
#[test]
fn what_is_not_well_is_remembered_for_a_while_after_it_left() {
    let (mut world, ix) = World::one(pbx());
    let leave = |world: &mut World| {
        let now = world.now;
        world.table.retain_configured(now, &[]);
    };
    world.fail(ix, 2);
    leave(&mut world);
    assert_eq!(world.table.iter().count(), 0, "nothing to show");
    assert_eq!(world.wait(LINGER - S).1, [], "and nothing to probe");
    assert_eq!(world.know(1, pbx()), ix);
    assert_eq!(world.table.state(ix), HealthState::Down);
    assert_ne!(world.wait(10 * S).1, []);
    leave(&mut world);
    world.table.hold(ix);
    world.wait(LINGER);
    assert_eq!(world.table.lookup(&peer(1)), Some(ix), "an attempt runs");
    world.table.release(ix);
    assert_eq!(world.table.lookup(&peer(1)), None);
    let ix = world.know(1, pbx());
    assert_eq!(world.table.state(ix), HealthState::Up);
    world.fail(ix, 2);
    leave(&mut world);
    world.see(ix, Evidence::Alive);
    assert_eq!(world.table.len(), 0, "it is well: nothing to remember");
    for number in 0..2000 {
        let ix = world.know(number, pbx());
        world.fail(ix, 2);
        leave(&mut world);
    }
    assert!(world.table.len() <= LINGERING_MAX, "{}", world.table.len());
    world.wait(LINGER);
    assert_eq!((world.table.len(), world.table.next_deadline()), (0, None));
}
