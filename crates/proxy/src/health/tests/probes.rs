//! When candidates are probed.

use std::collections::{HashMap, HashSet};

use super::*;

/// P28: ping every 3 s with a threshold of 1, and still 30 s to notice.
#[test]
fn a_silent_death_is_noticed_within_the_time_that_is_promised() {
    for settings in [
        pbx(),
        carrier(),
        Health {
            fail_after: 1,
            ..pbx()
        },
        Health {
            fail_after: 9,
            probe_timeout: 300 * MS,
            ..carrier()
        },
        Health {
            probe_interval: Some(10 * S),
            probe_timeout: 3 * S,
            ..pbx()
        },
        Health {
            probe_interval: Some(200 * MS),
            probe_timeout: 50 * MS,
            ..pbx()
        },
    ] {
        let promised = worst_detection(&settings).unwrap();
        for number in 1..200 {
            let mut world = World::new();
            let ix = world.know(number, settings);
            // It answers some probes, and dies right after the last.
            let mut answered = 0;
            let mut lost: Vec<Moment> = Vec::new();
            let mut died = world.now;
            while world.table.state(ix) != HealthState::Down {
                let probe = world.table.next_deadline().unwrap();
                let verdict = lost.first().map(|sent| *sent + settings.probe_timeout);
                match verdict.filter(|verdict| *verdict <= probe) {
                    Some(verdict) => {
                        lost.remove(0);
                        world.now = verdict;
                        world.see(ix, Evidence::ProbeFailed("silent"));
                    }
                    None => {
                        let wait = probe - world.now;
                        let (_, probes) = world.wait(wait);
                        if answered < 3 {
                            answered += probes.len();
                            world.see(ix, Evidence::ProbeAnswered);
                            died = world.now;
                        } else {
                            lost.extend(probes.iter().map(|(at, _)| *at));
                        }
                    }
                }
            }
            let took = world.now - died;
            assert!(took <= promised, "{took:?} > {promised:?} for {settings:?}");
        }
    }
    assert_eq!(worst_detection(&carrier()), Some(35 * S));
    assert_eq!(worst_detection(&unprobed()), None);
}

/// P32: OPTIONS came in bursts of fifteen and were firewalled.
#[test]
fn probes_spread_over_the_interval_from_the_first_one_on() {
    const PEERS: u16 = 3000;
    let mut world = World::new();
    (0..PEERS).for_each(|number| {
        world.know(number, carrier());
    });
    let start = world.now;
    let (_, probes) = world.wait(300 * S);
    let mut buckets: HashMap<u128, u32> = HashMap::new();
    let mut last: HashMap<PeerIx, Moment> = HashMap::new();
    for (at, ix) in &probes {
        *buckets.entry((*at - start).as_millis() / 100).or_default() += 1;
        if let Some(before) = last.insert(*ix, *at) {
            let gap = *at - before;
            assert!((27 * S..=33 * S).contains(&gap), "{gap:?}");
        }
    }
    // Ten in a tenth of a second on average; chance alone makes it 28 once in ten thousand times.
    let most = buckets.values().max().copied();
    assert!(most < Some(35), "{most:?} probes in a tenth of a second");
    assert!(
        (29_000..=31_000).contains(&probes.len()),
        "{}",
        probes.len()
    );
}

#[test]
fn a_reload_brings_no_probe_forward() {
    let mut world = World::new();
    let mut sent = 0;
    for _ in 0..600 {
        (0..50).for_each(|number| {
            world.know(number, carrier());
        });
        sent += world.wait(S).1.len();
    }
    assert!(
        (950..=1050).contains(&sent),
        "{sent} probes instead of 1000"
    );
}

#[test]
fn two_trunks_that_disagree_about_a_candidate_do_not_stop_its_probes() {
    for other in [unprobed(), pbx()] {
        let mut world = World::new();
        let mut sent = 0;
        for _ in 0..600 {
            world.know(1, other);
            world.know(1, carrier());
            sent += world.wait(S).1.len();
        }
        assert!((18..=130).contains(&sent), "{sent} probes");
    }
}

#[test]
fn an_interval_out_of_reason_does_no_harm() {
    let table = [
        (Duration::ZERO, 0..=0),
        (Duration::from_nanos(1), 90..=111),
        (Duration::MAX, 0..=1),
    ];
    for (interval, expected) in table {
        let (mut world, _) = World::one(Health {
            probe_interval: Some(interval),
            ..pbx()
        });
        let sent = world.wait(10 * S).1.len();
        assert!(expected.contains(&sent), "{interval:?}: {sent}");
    }
}

#[test]
fn trouble_hastens_probes_as_far_as_the_candidate_bears() {
    let table = [
        (pbx(), HealthState::Suspect, 900 * MS..=1100 * MS),
        (pbx(), HealthState::Down, 1800 * MS..=2200 * MS),
        (carrier(), HealthState::Suspect, 9 * S..=11 * S),
        (carrier(), HealthState::Down, 9 * S..=11 * S),
    ];
    for (settings, state, gaps) in table {
        let (mut world, ix) = World::one(settings);
        world.bring(ix, state);
        let (_, probes) = world.wait(60 * S);
        for pair in probes.windows(2) {
            let gap = pair[1].0 - pair[0].0;
            assert!(gaps.contains(&gap), "{state:?}: {gap:?}");
        }
        assert!(probes.len() > 4, "{state:?}");
    }
}

#[test]
fn a_suspect_is_probed_at_once() {
    for settings in [pbx(), carrier()] {
        let (mut world, ix) = World::one(settings);
        world.fail(ix, 1);
        assert_eq!(world.table.next_deadline(), Some(world.now));
        assert_eq!(world.wait(Duration::ZERO).1.len(), 1);
    }
}

#[test]
fn a_suspect_that_was_probed_just_now_is_not_probed_twice_in_a_second() {
    let (mut world, ix) = World::one(carrier());
    while world.wait(100 * MS).1.is_empty() {}
    world.fail(ix, 1);
    let (_, probes) = world.wait(2 * S);
    assert_eq!(probes.len(), 1);
    assert!(
        probes[0].0 >= world.now - 1100 * MS,
        "a second after the last"
    );
}

#[test]
fn no_two_intervals_are_the_same() {
    let (mut world, _) = World::one(carrier());
    let (_, probes) = world.wait(600 * S);
    let gaps: HashSet<Duration> = probes
        .windows(2)
        .map(|pair| pair[1].0 - pair[0].0)
        .collect();
    assert_eq!(gaps.len(), probes.len() - 1);
}

#[test]
fn an_idle_table_wakes_for_its_probes_and_for_nothing_else() {
    let mut world = World::new();
    let all: Vec<PeerIx> = (0..20)
        .map(|number| world.know(number, carrier()))
        .collect();
    world.know(99, unprobed());
    // Some traffic, all of it answered.
    for _ in 0..100 {
        for ix in &all {
            (0..4).for_each(|_| world.send(*ix));
            world.table.heard(world.now, *ix);
        }
    }
    world.wait(2 * S);
    let (mut wakes, mut probes) = (0, 0);
    let end = world.now + 600 * S;
    while let Some(at) = world.table.next_deadline().filter(|at| *at <= end) {
        wakes += 1;
        probes += world.wait(at - world.now).1.len();
    }
    assert!(wakes <= probes, "{wakes} wakes for {probes} probes");
}

/// A peer that takes calls and ignores OPTIONS must not swing between down and up.
#[test]
fn silence_to_probes_means_nothing_from_a_peer_that_answers_calls_alone() {
    let (mut world, ix) = World::one(pbx());
    world.see(ix, Evidence::Alive);
    for _ in 0..10 {
        assert_eq!(world.see(ix, Evidence::ProbeFailed("silent")), None);
    }
    assert_eq!(world.table.state(ix), HealthState::Up);
    world.fail(ix, 2);
    assert_eq!(
        world.table.state(ix),
        HealthState::Down,
        "its calls still speak"
    );
    // Once it has answered one probe, their silence counts.
    world.see(ix, Evidence::ProbeAnswered);
    world.see(ix, Evidence::ProbeFailed("silent"));
    assert_eq!(world.table.state(ix), HealthState::Suspect);
}

/// A firewall that answers OPTIONS for a dead PBX must not send it calls every few seconds.
#[test]
fn probes_are_no_proof_for_a_peer_that_answers_them_and_no_calls() {
    let (mut world, ix) = World::one(pbx());
    world.fail(ix, 1);
    world.see(ix, Evidence::ProbeAnswered);
    assert_eq!(
        world.table.state(ix),
        HealthState::Up,
        "it may be one call's bad luck"
    );
    let change = world.see(ix, Evidence::Failed("silent")).unwrap();
    assert_eq!(
        (change.is, change.why),
        (HealthState::Down, "answers OPTIONS and no calls")
    );
    for rest in [5, 10, 20, 40, 60, 60] {
        assert_eq!(world.see(ix, Evidence::ProbeAnswered), None);
        world.wait(rest * S - MS);
        assert_eq!(world.class(ix), Class::Down, "{rest} s");
        world.wait(MS);
        assert_eq!(world.class(ix), Class::Usable, "one call may try it");
        world.send(ix);
        assert_eq!(world.class(ix), Class::Down, "and only one");
        world.see(ix, Evidence::Failed("silent"));
    }
    world.see(ix, Evidence::Alive);
    assert_eq!(world.table.state(ix), HealthState::Up);
    world.fail(ix, 1);
    world.see(ix, Evidence::ProbeAnswered);
    assert_eq!(world.table.state(ix), HealthState::Up, "all is forgiven");
}

#[test]
fn probes_that_fail_with_the_calls_are_believed_when_they_are_answered_again() {
    let (mut world, ix) = World::one(pbx());
    world.fail(ix, 1);
    world.see(ix, Evidence::ProbeAnswered);
    world.fail(ix, 1);
    assert_eq!(world.see(ix, Evidence::ProbeAnswered), None, "no proof");
    world.see(ix, Evidence::ProbeFailed("silent"));
    world.see(ix, Evidence::ProbeAnswered);
    assert_eq!(world.table.state(ix), HealthState::Up);
}

/// While probes show that it is still dead, no call need wait four seconds to find that out.
#[test]
fn failing_probes_put_the_half_open_trial_off_but_not_for_ever() {
    let (mut world, ix) = World::one(pbx());
    world.see(ix, Evidence::ProbeAnswered);
    world.fail(ix, 2);
    let died = world.now;
    while world.now < died + TRIAL_EVERY - 10 * S {
        assert_eq!(world.class(ix), Class::Down, "after {:?}", world.now - died);
        world.wait(2 * S);
        world.see(ix, Evidence::ProbeFailed("silent"));
    }
    world.wait(12 * S);
    world.see(ix, Evidence::ProbeFailed("silent"));
    assert_eq!(world.class(ix), Class::Suspect);
}
