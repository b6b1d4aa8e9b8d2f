//! What holds whatever happens.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn evidence() -> impl Strategy<Value = Evidence> {
    prop_oneof![
        Just(Evidence::Alive),
        Just(Evidence::Failed("x")),
        Just(Evidence::ProbeFailed("x")),
        (0u32..60).prop_map(|secs| Evidence::Pause(secs * S)),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    See(Evidence),
    Impose(HealthState),
    Wait(u32),
    Sent,
    Heard,
    Trial,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => evidence().prop_map(Step::See),
        1 => prop_oneof![
            Just(HealthState::Up),
            Just(HealthState::Suspect),
            Just(HealthState::Down),
            Just(HealthState::Paused),
        ].prop_map(Step::Impose),
        3 => prop_oneof![0u32..3000, 0u32..30].prop_map(Step::Wait),
        2 => Just(Step::Sent),
        1 => Just(Step::Heard),
        1 => Just(Step::Trial),
    ]
}

/// Plays the steps; returns when it was probed.
fn play(world: &mut World, ix: PeerIx, steps: &[Step]) -> Vec<Instant> {
    let mut probed = Vec::new();
    for step in steps {
        match step {
            Step::See(evidence) => {
                world.see(ix, *evidence);
            }
            Step::Impose(state) => {
                world.table.impose(world.now, ix, *state);
            }
            Step::Wait(ms) => {
                let (_, probes) = world.wait(*ms * MS);
                probed.extend(probes.iter().map(|(at, _)| *at));
            }
            Step::Sent => world.table.sent(world.now, ix),
            Step::Heard => world.table.heard(world.now, ix),
            Step::Trial => world.table.begin_trial(ix, world.now),
        }
    }
    probed
}

proptest! {
    /// P33: a candidate that traffic had ejected stayed out until a person came.
    #[test]
    fn nothing_but_an_operator_ejects_for_good(
        steps in prop::collection::vec(step(), 0..60), probed: bool,
    ) {
        let (mut world, ix) = World::one(if probed { pbx() } else { unprobed() });
        play(&mut world, ix, &steps);
        world.wait(REST_MAX.max(IMPOSED_PAUSE) + REST_MIN);
        prop_assert_ne!(world.class(ix), Class::Down);
        if !probed {
            prop_assert_eq!(world.class(ix), Class::Usable);
        }
    }

    /// P32, under trouble: neither calls nor their number make probes come faster.
    #[test]
    fn no_trouble_makes_probes_come_in_bursts(steps in prop::collection::vec(step(), 0..400)) {
        for (settings, most) in [(pbx(), 34), (carrier(), 8)] {
            let (mut world, ix) = World::one(settings);
            let probed = play(&mut world, ix, &steps);
            for pair in probed.windows(2) {
                prop_assert!(pair[1] - pair[0] >= 900 * MS);
            }
            for (at, first) in probed.iter().enumerate() {
                let count = probed[at..].iter().filter(|next| **next - *first < 30 * S).count();
                prop_assert!(count <= most, "{} in 30 s", count);
            }
        }
    }

    /// The model: a plain list.
    #[test]
    fn the_waiting_list_loses_nobody(steps in prop::collection::vec(any::<Option<prop::sample::Index>>(), 0..200)) {
        let (mut world, ix) = World::one(pbx());
        let mut places: HashMap<u64, u32> = HashMap::new();
        for (waiter, step) in (0u64..).zip(steps) {
            match step {
                None => {
                    places.insert(waiter, world.table.attach(ix, waiter));
                }
                Some(_) if places.is_empty() => {}
                Some(which) => {
                    let mut waiting: Vec<u64> = places.keys().copied().collect();
                    waiting.sort_unstable();
                    let leaver = waiting[which.index(waiting.len())];
                    let place = places.remove(&leaver).unwrap();
                    if let Some(moved) = world.table.detach(ix, place) {
                        places.insert(moved, place);
                    }
                }
            }
            for (waiter, place) in &places {
                prop_assert_eq!(world.table.entry(ix).waiting[*place as usize], *waiter);
            }
        }
        let mut left = world.table.take_waiting(ix);
        left.sort_unstable();
        let mut expected: Vec<u64> = places.into_keys().collect();
        expected.sort_unstable();
        prop_assert_eq!(left, expected);
        prop_assert_eq!(world.table.detach(ix, 0), None);
    }
}
