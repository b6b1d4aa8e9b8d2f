use std::hash::Hasher;

use proptest::prelude::*;
use siphasher::sip::SipHasher24;

use super::*;

const ROUNDS: u64 = 100_000;

fn dice(call: u64) -> Dice {
    Dice::for_call(b"sixteen key byte", &call.to_le_bytes())
}

fn choice(priority: u16, weight: u16, id: u64) -> Choice {
    Choice {
        priority,
        weight: u32::from(weight),
        active: 0,
        id,
    }
}

/// How often each was first choice, one call after the other.
fn spread(by: impl Fn(u64) -> By, eligible: &[Choice]) -> Vec<u64> {
    let mut counts = vec![0; eligible.len()];
    for call in 0..ROUNDS {
        counts[pick(by(call), eligible, &mut dice(call)).unwrap()] += 1;
    }
    counts
}

/// Within four standard deviations of a binomial.
fn assert_shares(counts: &[u64], shares: &[f64], what: &str) {
    let whole: f64 = shares.iter().sum();
    for (count, share) in counts.iter().zip(shares) {
        let p = share / whole;
        let mean = p * ROUNDS as f64;
        let slack = 4.0 * (mean * (1.0 - p)).sqrt();
        assert!(
            (*count as f64 - mean).abs() <= slack,
            "{what}: {counts:?} for {shares:?}"
        );
    }
}

/// Spreads a counter over all hashes, as a keyed hash of Call-IDs would.
fn key(call: u64) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(1, 2);
    hasher.write_u64(call);
    hasher.finish()
}

/// Twilio's own example (FACTS F2.2): three at priority 10 with 60/20/20, two at 20 with 20/10.
fn twilio() -> Vec<Choice> {
    [(10, 60), (10, 20), (10, 20), (20, 20), (20, 10)]
        .iter()
        .zip(1..)
        .map(|((priority, weight), id)| choice(*priority, *weight, id))
        .collect()
}

fn without(eligible: &[Choice], ids: &[u64]) -> Vec<Choice> {
    eligible
        .iter()
        .copied()
        .filter(|choice| !ids.contains(&choice.id))
        .collect()
}

#[test]
fn twilios_example_spreads_as_twilio_says() {
    let table: [(&[u64], &[f64]); 5] = [
        (&[], &[60.0, 20.0, 20.0, 0.0, 0.0]),
        (&[1], &[50.0, 50.0, 0.0, 0.0]),
        (&[1, 2], &[100.0, 0.0, 0.0]),
        (&[1, 2, 3], &[20.0, 10.0]),
        (&[1, 2, 3, 4], &[100.0]),
    ];
    for (down, shares) in table {
        let left = without(&twilio(), down);
        assert_shares(&spread(|_| By::Weighted, &left), shares, "weighted");
        assert_shares(&spread(|call| By::Hash(key(call)), &left), shares, "hash");
        assert_shares(&spread(|_| By::LeastCalls, &left), shares, "idle");
    }
}

#[test]
fn nothing_to_pick_from_is_no_choice() {
    for by in [By::Weighted, By::LeastCalls, By::Hash(1)] {
        assert_eq!(pick(by, &[], &mut dice(0)), None);
    }
}

#[test]
fn weight_0_gets_a_call_now_and_then() {
    let table: [(&[u16], &[f64]); 5] = [
        (&[0, 9], &[1.0, 9.0]),
        (&[9, 0, 0], &[9.0, 0.5, 0.5]),
        (&[0, 0, 0], &[1.0, 1.0, 1.0]),
        (&[0], &[1.0]),
        (&[65535, 65535, 0], &[65535.0, 65535.0, 1.0]),
    ];
    for (weights, shares) in table {
        let eligible: Vec<Choice> = weights
            .iter()
            .zip(1..)
            .map(|(weight, id)| choice(0, *weight, id))
            .collect();
        assert_shares(&spread(|_| By::Weighted, &eligible), shares, "weighted");
    }
}

#[test]
fn least_calls_fills_in_proportion_to_weight() {
    let mut eligible = [choice(0, 60, 1), choice(0, 20, 2), choice(0, 20, 3)];
    for call in 0..1000 {
        let chosen = pick(By::LeastCalls, &eligible, &mut dice(call)).unwrap();
        eligible[chosen].active += 1;
    }
    assert_eq!(eligible.map(|choice| choice.active), [600, 200, 200]);
}

#[test]
fn least_calls_prefers_the_idle_and_keeps_weight_0_for_last() {
    let with = |weight, active, id| Choice {
        active,
        ..choice(0, weight, id)
    };
    let table: [(&[Choice], usize); 5] = [
        (&[with(10, 5, 1), with(10, 4, 2)], 1),
        (&[with(100, 5, 1), with(10, 1, 2)], 0),
        (&[with(0, 0, 1), with(1, 1000, 2)], 1),
        (&[with(0, 3, 1), with(0, 2, 2)], 1),
        (&[with(u16::MAX, u32::MAX, 1), with(1, u32::MAX, 2)], 0),
    ];
    for (eligible, expected) in table {
        for call in 0..50 {
            let chosen = pick(By::LeastCalls, eligible, &mut dice(call));
            assert_eq!(chosen, Some(expected), "{eligible:?}");
        }
    }
}

#[test]
fn a_hash_spreads_over_many_targets_as_their_weights_say() {
    // P11: a weak hash sent 800 calls to one node; another broke above 25 hosts.
    for count in [2u64, 3, 10, 26, 60] {
        let eligible: Vec<Choice> = (1..=count).map(|id| choice(0, id as u16, id)).collect();
        let shares: Vec<f64> = (1..=count).map(|weight| weight as f64).collect();
        let counts = spread(|call| By::Hash(key(call)), &eligible);
        assert_shares(&counts, &shares, &format!("{count} targets"));
    }
}

#[test]
fn a_lost_targets_calls_spread_over_all_that_are_left() {
    // P11: a dead node's whole load landed on one neighbour.
    let eligible: Vec<Choice> = (1..=5).map(|id| choice(0, 10, id)).collect();
    let left = without(&eligible, &[3]);
    let mut heirs = [0u64; 4];
    let mut moved = 0;
    for call in 0..ROUNDS {
        let by = By::Hash(key(call));
        let before = eligible[pick(by, &eligible, &mut dice(0)).unwrap()].id;
        let after = pick(by, &left, &mut dice(0)).unwrap();
        if before == 3 {
            heirs[after] += 1;
            moved += 1;
        } else {
            assert_eq!(left[after].id, before, "a call of a living target moved");
        }
    }
    let mean = moved as f64 / 4.0;
    assert!(
        heirs
            .iter()
            .all(|n| (*n as f64 - mean).abs() < 4.0 * (mean * 0.75).sqrt()),
        "{heirs:?}"
    );
}

fn choices() -> impl Strategy<Value = Vec<Choice>> {
    let weight = prop_oneof![Just(0u16), any::<u16>(), 0u16..4];
    prop::collection::vec((0u16..4, weight, 0u32..5), 1..12).prop_map(|list| {
        list.into_iter()
            .zip(1..)
            .map(|((priority, weight, active), id)| Choice {
                priority,
                weight: u32::from(weight),
                active,
                id,
            })
            .collect()
    })
}

fn by() -> impl Strategy<Value = By> {
    prop_oneof![
        Just(By::Weighted),
        Just(By::LeastCalls),
        any::<u64>().prop_map(By::Hash)
    ]
}

proptest! {
    #[test]
    fn the_lowest_priority_present_is_always_used(eligible in choices(), by in by(), call: u64) {
        let chosen = pick(by, &eligible, &mut dice(call)).unwrap();
        let lowest = eligible.iter().map(|choice| choice.priority).min().unwrap();
        prop_assert_eq!(eligible[chosen].priority, lowest);
    }

    #[test]
    fn a_call_that_keeps_failing_tries_every_choice_once(
        mut eligible in choices(), by in by(), call: u64,
    ) {
        let mut dice = dice(call);
        let mut last = 0;
        for left in (0..eligible.len()).rev() {
            let chosen = eligible.swap_remove(pick(by, &eligible, &mut dice).unwrap());
            prop_assert!(chosen.priority >= last);
            last = chosen.priority;
            prop_assert_eq!(eligible.len(), left);
        }
        prop_assert_eq!(pick(by, &eligible, &mut dice), None);
    }

    #[test]
    fn a_hash_moves_only_the_lost_targets_calls(eligible in choices(), key: u64, lost: prop::sample::Index) {
        let lost = lost.index(eligible.len());
        let before = pick(By::Hash(key), &eligible, &mut dice(0)).unwrap();
        prop_assume!(before != lost);
        let mut left = eligible.clone();
        left.remove(lost);
        let after = pick(By::Hash(key), &left, &mut dice(0)).unwrap();
        prop_assert_eq!(eligible[before].id, left[after].id);
    }

    #[test]
    fn the_order_of_the_list_does_not_move_a_hashed_call(eligible in choices(), key: u64) {
        let mut reversed = eligible.clone();
        reversed.reverse();
        let here = pick(By::Hash(key), &eligible, &mut dice(0)).unwrap();
        let there = pick(By::Hash(key), &reversed, &mut dice(0)).unwrap();
        prop_assert_eq!(eligible[here].id, reversed[there].id);
    }
}
