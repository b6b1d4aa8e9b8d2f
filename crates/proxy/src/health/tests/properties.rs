//! What holds whatever happens.

use proptest::prelude::*;

use super::*;

pub(super) fn evidence() -> impl Strategy<Value = Evidence> {
    prop_oneof![
        Just(Evidence::Alive),
        Just(Evidence::Failed("x")),
        Just(Evidence::ProbeFailed("x")),
        (0u32..60).prop_map(|secs| Evidence::Pause(secs * S)),
        Just(Evidence::Silent),
        Just(Evidence::Trial),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    See(Evidence),
    Hear(Evidence),
    Wait(u32),
    Sent,
    Heard,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => evidence().prop_map(Step::See),
        1 => evidence().prop_map(Step::Hear),
        3 => prop_oneof![0u32..3000, 0u32..30].prop_map(Step::Wait),
        2 => Just(Step::Sent),
        1 => Just(Step::Heard),
    ]
}

/// Plays the steps; returns when it was probed.
fn play(world: &mut World, ix: PeerIx, steps: &[Step]) -> Vec<Moment> {
    let mut probed = Vec::new();
    for step in steps {
        match step {
            Step::See(evidence) => {
                world.see(ix, *evidence);
            }
            Step::Hear(evidence) => {
                world.table.learn(world.now, ix, *evidence);
            }
            Step::Wait(ms) => {
                let (_, probes) = world.wait(*ms * MS);
                probed.extend(probes.iter().map(|(at, _)| *at));
            }
            Step::Sent => {
                world.send(ix);
            }
            Step::Heard => world.table.heard(world.now, ix),
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
        world.wait(REST_MAX + REST_MIN);
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
}
