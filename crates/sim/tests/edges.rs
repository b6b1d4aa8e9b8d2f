//! A carrier's whole edge is gone, and its next one is well: that costs no call, however many come and
//! however few the addresses.

use std::time::Duration;

use trunkline_sim::{
    address::Address,
    fleet::{Change, Fate, Outcome, Scenario, run},
    names::Record,
};

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

/// Dublin has so many addresses, and all share this fate; Frankfurt has one, and is well.
fn calls(dublin: usize, fate: Fate, every: Duration) -> Outcome {
    run(&Scenario {
        config: CONFIG.into(),
        names: vec![
            ("dublin.test".into(), (1..=dublin).map(address).collect()),
            ("frankfurt.test".into(), vec![address(99)]),
        ],
        caller: Address::parse("10.0.0.1").unwrap(),
        uri: "sip:+15550100@203.0.113.10".into(),
        calls: (Duration::from_millis(1), Duration::from_secs(10), every),
        rings: (Duration::from_millis(20), Duration::from_millis(30)),
        talks: Duration::from_secs(1),
        changes: (1..=dublin)
            .map(|n| (Duration::ZERO, Change::Peer(address(n).address, fate)))
            .collect(),
    })
    .unwrap()
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
                let outcome = calls(dublin, fate, Duration::from_millis(every));
                let calls = outcome.calls.iter();
                let lost = calls.filter(|call| call.answered.is_none()).count();
                assert_eq!(
                    lost, 0,
                    "{dublin} addresses, {fate:?}, a call each {every} ms"
                );
            }
        }
    }
}
