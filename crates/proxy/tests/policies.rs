//! How calls spread over many targets.

mod common;

use std::collections::BTreeMap;

use trunkline_proxy::Input;

use common::{CARRIER, World, invite, respond};

/// So many targets of weights 10 and 20 in turn, and one more that stands by.
fn file(targets: usize, policy: &str) -> String {
    let targets: String = (1..=targets)
        .map(|at| {
            let weight = 10 + 10 * (at % 2);
            format!("  {{ uri = \"sip:10.0.2.{at}\", priority = 10, weight = {weight} }},\n")
        })
        .collect();
    format!(
        r#"
[[listen]]
protocol = "udp"
address = "192.0.2.10:5060"
[[trunk]]
name = "acme"
allow = ["198.51.100.0/24"]
[trunk.origination]
policy = "{policy}"
targets = [
{targets}  {{ uri = "sip:10.0.3.1", priority = 20, weight = 10 }},
]
[health]
probe_interval = "off"
target_probe_interval = "off"
"#
    )
}

/// Answered calls of each address, none of which ends.
fn placed(world: &mut World, calls: std::ops::Range<u32>) -> BTreeMap<String, u32> {
    let mut placed = BTreeMap::new();
    for call in calls {
        let invite = invite("sip:+15550100@192.0.2.10", &format!("c{call}"), CARRIER);
        let sent = world.message(CARRIER, &invite);
        let (to, out) = sent[1].clone();
        let answer = world.message(&to, &respond(&out, 200, "t", &to));
        assert_eq!(answer.len(), 1, "{answer:#?}");
        *placed.entry(to).or_insert(0) += 1;
    }
    placed
}

#[test]
fn the_fewest_calls_stay_even_among_few_targets_and_among_many() {
    for targets in [4, 16, 17, 60, 200] {
        let mut world = World::with(&file(targets, "least_calls"), |_| {});
        // Ten calls of each that weighs 10, twenty of the others.
        let placed = placed(&mut world, 0..15 * targets as u32);
        // To the call where all are looked at; seven draws miss it by one or two.
        let room = if targets <= 16 { 1 } else { 3 };
        for at in 1..=targets {
            let due = 10 + 10 * (at as u32 % 2);
            let calls = placed.get(&format!("10.0.2.{at}:5060")).copied();
            let calls = calls.unwrap_or(0);
            assert!(calls.abs_diff(due) <= room, "{targets}: {at} has {calls}");
        }
        assert_eq!(placed.len(), targets, "one that stands by has calls");
    }
}

#[test]
fn a_target_without_calls_among_many_busy_ones_is_not_everybodys_choice() {
    let mut world = World::with(&file(60, "least_calls"), |_| {});
    placed(&mut world, 0..900);
    // The 61st is as the file of before, but for one that is new.
    let file = file(60, "least_calls").replace("10.0.2.7\"", "10.0.2.77\"");
    let routing = common::snapshot(&file, |_| {}, |_| {});
    world
        .proxy
        .handle(world.now, Input::Routing(routing), &mut world.out);
    let placed = placed(&mut world, 900..960);
    let new = placed.get("10.0.2.77:5060").copied().unwrap_or(0);
    assert!((5..=20).contains(&new), "{new} of 60 calls: {placed:?}");
}
