//! A carrier's whole edge is gone, and its next one is well: that costs no call, however many come and
//! however few the addresses.

use std::time::Duration;

use trunkline_sim::{
    address::Address,
    fleet::{Change, Fate, Scenario, run},
    names::Record,
};

const MS: Duration = Duration::from_millis(1);

const CONFIG: &str = r#"
[pbx]
allow = ["10.0.0.0/24"]
[[listen]]
protocol = "udp"
address = "203.0.113.10:5060"
[[trunk]]
name = "carrier"
[trunk.termination]
edges = ["dublin.test", "frankfurt.test"]
[health]
probe_interval = "off"
"#;

fn address(last: usize) -> Record {
    Record {
        address: Address::parse(&format!("192.0.2.{last}")).unwrap(),
        priority: 0,
        weight: 0,
    }
}

/// How many calls there were, and how many of them were answered: Dublin has so many addresses, and all
/// share this fate, as the first one of Frankfurt's two may; its other one is well.
fn calls(config: &str, dublin: usize, frankfurt: Fate, fate: Fate, every: u32) -> (usize, usize) {
    let mut changes: Vec<_> = (1..=dublin).map(|n| (address(n), fate)).collect();
    changes.push((address(98), frankfurt));
    let outcome = run(&Scenario {
        config: config.into(),
        names: vec![
            ("dublin.test".into(), (1..=dublin).map(address).collect()),
            ("frankfurt.test".into(), vec![address(98), address(99)]),
        ],
        caller: Address::parse("10.0.0.1").unwrap(),
        uri: "sip:+15550100@203.0.113.10".into(),
        calls: (MS, Duration::from_secs(10), MS * every),
        rings: (20 * MS, 30 * MS),
        talks: Duration::from_secs(1),
        changes: changes
            .into_iter()
            .map(|(who, fate)| (Duration::ZERO, Change::Peer(who.address, fate)))
            .collect(),
    })
    .unwrap();
    let answered = outcome.calls.iter().filter(|call| call.answered.is_some());
    (outcome.calls.len(), answered.count())
}

#[test]
fn an_edge_that_is_gone_costs_no_call_at_any_rate() {
    for fate in [
        Fate::Silent,
        Fate::OnlyOptions,
        Fate::Refuses(503),
        Fate::Refuses(500),
    ] {
        for dublin in [1, 2, 3, 5] {
            for every in [5, 33, 100, 101, 250, 1000] {
                let (all, answered) = calls(CONFIG, dublin, Fate::Well, fate, every);
                assert_eq!(
                    answered, all,
                    "{dublin} addresses, {fate:?}, a call each {every} ms"
                );
            }
        }
    }
}

#[test]
fn attempts_that_save_every_other_call_are_not_withheld() {
    // The fourth attempt is the last, and every other call makes it to the one who is well.
    let config = CONFIG.replace("[health]", "max_attempts = 4\n[health]");
    for every in [5, 100, 1000] {
        let refuses = Fate::Refuses(500);
        let (all, answered) = calls(&config, 3, refuses, refuses, every);
        assert!(answered * 3 > all, "{answered} of {all}, each {every} ms");
        assert!(answered < all, "{answered} of {all}: this shows nothing");
    }
}
