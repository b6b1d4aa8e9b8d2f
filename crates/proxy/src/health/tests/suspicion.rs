//! Early suspicion (BEHAVIOUR 7): silence is noticed before any attempt has failed.

use super::*;

#[test]
fn silence_to_several_calls_while_others_answer_is_suspicious() {
    let mut world = World::new();
    let silent = world.know(1, carrier());
    let other = world.know(2, carrier());
    for _ in 0..3 {
        world.send(silent);
        world.send(other);
        world.wait(100 * MS);
        world.table.heard(world.now, other);
    }
    // The third call was sent a tenth of a second ago.
    assert_eq!(world.wait(899 * MS).0, []);
    let (changes, probes) = world.wait(MS);
    assert_eq!(changes.len(), 1);
    assert_eq!(
        (changes[0].ix, changes[0].is),
        (silent, HealthState::Suspect)
    );
    assert_eq!(probes.len(), 1, "probed at once");
    let change = world.see(silent, Evidence::ProbeFailed("silent")).unwrap();
    assert_eq!(change.is, HealthState::Down);
    assert_eq!(world.table.state(other), HealthState::Up);
}

#[test]
fn what_is_no_reason_for_suspicion() {
    type Story = fn(&mut World, PeerIx, PeerIx);
    let stories: [(&str, Health, Story); 6] = [
        ("two calls", carrier(), |world, one, _| {
            (0..2).for_each(|_| world.send(one));
        }),
        ("an answer to one of them", carrier(), |world, one, _| {
            (0..9).for_each(|_| world.send(one));
            world.see(one, Evidence::Alive);
        }),
        ("a 100 to one of them", carrier(), |world, one, _| {
            (0..9).for_each(|_| world.send(one));
            world.table.heard(world.now, one);
        }),
        (
            "switched off",
            Health {
                suspect_after: None,
                ..carrier()
            },
            |world, one, _| (0..9).for_each(|_| world.send(one)),
        ),
        (
            "switched off with 0",
            Health {
                suspect_after: Some(Duration::ZERO),
                ..carrier()
            },
            |world, one, _| (0..9).for_each(|_| world.send(one)),
        ),
        (
            "everybody is silent: our own link",
            carrier(),
            |world, one, other| {
                for _ in 0..9 {
                    world.send(one);
                    world.send(other);
                }
            },
        ),
    ];
    for (what, settings, story) in stories {
        let mut world = World::new();
        let one = world.know(1, settings);
        let other = world.know(2, settings);
        story(&mut world, one, other);
        assert_eq!(world.wait(4 * S).0, [], "{what}");
    }
}

#[test]
fn a_lone_candidate_that_is_silent_is_suspicious_too() {
    let mut world = World::new();
    let ix = world.know(1, carrier());
    world.know(2, carrier());
    (0..3).for_each(|_| world.send(ix));
    assert_eq!(world.wait(S).0.len(), 1, "nobody else was asked anything");
}

#[test]
fn suspicion_put_off_comes_when_others_answer_again() {
    let mut world = World::new();
    let (dead, well) = (world.know(1, carrier()), world.know(2, carrier()));
    for ix in [dead, well] {
        (0..3).for_each(|_| world.send(ix));
    }
    world.wait(1500 * MS);
    world.table.heard(world.now, well);
    let (changes, _) = world.wait(S);
    assert_eq!(changes.iter().map(|c| c.ix).collect::<Vec<_>>(), [dead]);
}
