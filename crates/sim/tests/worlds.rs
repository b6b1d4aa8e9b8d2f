//! Worlds drawn from seeds: every promise holds in each, one seed is one world, and how many
//! shards there are makes no difference to a call.

use std::collections::BTreeMap;

use trunkline_sim::world::{Plan, real, run};

/// Small enough for every test run; `trunkline-sim --worlds 100000` takes its time.
const WORLDS: u64 = 2000;
/// Tests run side by side, so the worlds are cut into as many parts as a small machine has cores.
const PARTS: u64 = 4;

fn every_promise_is_kept(part: u64) {
    for seed in (1..=WORLDS).filter(|seed| seed % PARTS == part) {
        if let Some(broken) = run(&Plan::draw(seed), &real, false).broken {
            let told = run(&Plan::draw(seed), &real, true);
            panic!(
                "seed {seed}: {broken}\nagain: cargo run -p trunkline-sim -- --seed {seed}\n{}",
                told.trace.join("\n")
            );
        }
    }
}

#[test]
fn every_promise_is_kept_in_a_quarter_of_the_worlds() {
    every_promise_is_kept(0);
}

#[test]
fn every_promise_is_kept_in_another_quarter() {
    every_promise_is_kept(1);
}

#[test]
fn every_promise_is_kept_in_the_third_quarter() {
    every_promise_is_kept(2);
}

#[test]
fn every_promise_is_kept_in_the_last_quarter() {
    every_promise_is_kept(3);
}

/// Worlds that never see a late answer prove nothing about late answers.
#[test]
fn worlds_show_every_way_a_call_can_go() {
    const WAYS: [&str; 24] = [
        "answered",
        "3xx",
        "4xx",
        "5xx",
        "6xx",
        "silent",
        "no_progress",
        "no_answer",
        "lost",
        "peer_down",
        "cancelled",
        "out_of_time",
        "late answer used",
        "late answer hung up",
        "asked",
        "fallback",
        "dial",
        "reject",
        "exhausted",
        "suspect",
        "down",
        "paused",
        "draining",
        "unknown_source",
    ];
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in 1..=450 {
        for (sight, count) in run(&Plan::draw(seed), &real, false).sights {
            *seen.entry(sight).or_default() += count;
        }
    }
    for way in WAYS {
        assert!(seen.contains_key(way), "no world shows \"{way}\": {seen:?}");
    }
}

#[test]
fn one_seed_is_one_world_to_the_byte() {
    for seed in 1..=40 {
        let plan = Plan::draw(seed);
        let (first, again) = (run(&plan, &real, true), run(&plan, &real, true));
        assert!(!first.trace.is_empty());
        assert_eq!(first.trace, again.trace, "seed {seed}");
        assert_eq!(Plan::draw(seed), plan);
    }
}

/// A plan of attempts depends on the call alone, not on which shard it meets nor in which order
/// calls come: `least_calls`, too, counts the calls of all shards.
#[test]
fn eight_shards_tell_the_same_stories_as_one() {
    let (mut compared, mut by_least_calls, mut recovered) = (0, 0, 0);
    for seed in 1..=400 {
        let (one, eight) = (Plan::calm(seed, 1), Plan::calm(seed, 8));
        by_least_calls += usize::from(one.config.contains("least_calls"));
        recovered += usize::from(one.config.contains("disaster_recovery"));
        let (one, eight) = (run(&one, &real, false), run(&eight, &real, false));
        assert_eq!((one.broken, eight.broken), (None, None), "seed {seed}");
        assert_eq!(one.stories, eight.stories, "seed {seed}");
        compared += one.stories.len();
    }
    assert!(compared > 1000, "{compared} calls are too few to tell");
    assert!(
        by_least_calls > 20 && recovered > 20,
        "{by_least_calls} {recovered}"
    );
}
