//! A month in one test: peers die, flap, refuse and return, names change and fail, files are loaded
//! again; and at its end nothing is left of any of it.

use std::time::Duration;

use trunkline_proxy::event::HealthState;
use trunkline_sim::{
    address::Address,
    chance::Chance,
    fleet::{Change, Fate, Scenario, run},
    names::Record,
};

const HOUR: Duration = Duration::from_secs(3600);
const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);
/// The last hours are quiet, so that what is wrong then is what the month has left.
const QUIET: Duration = Duration::from_secs(2 * 3600);

const CONFIG: &str = r#"
[[listen]]
protocol = "udp"
address = "203.0.113.10:5060"
[[trunk]]
name = "acme"
allow = ["192.0.2.0/24"]
[trunk.origination]
targets = ["sip:pbx1.test", "sip:pbx2.test", "sip:pbx3.test"]
[health]
target_probe_interval = "30s"
"#;

fn pbx(number: u64) -> Address {
    Address::parse(&format!("10.0.2.{number}")).unwrap()
}

fn record(address: Address) -> Record {
    Record {
        address,
        priority: 0,
        weight: 0,
    }
}

/// What goes wrong, hour by hour: PBX 3 alone is always there.
fn troubles(chance: &mut Chance) -> Vec<(Duration, Change)> {
    let mut changes = Vec::new();
    let mut hour = HOUR;
    while hour < MONTH - QUIET {
        let at = |seconds: u64| hour + Duration::from_secs(seconds);
        let who = pbx(chance.between(1, 2));
        match chance.below(8) {
            // A death of some minutes.
            0..2 => {
                changes.push((at(60), Change::Peer(who, Fate::Silent)));
                changes.push((at(chance.between(70, 3000)), Change::Peer(who, Fate::Well)));
            }
            // There and gone, every second, for five minutes.
            2 => {
                for second in 0..150 {
                    changes.push((at(2 * second), Change::Peer(who, Fate::Silent)));
                    changes.push((at(2 * second + 1), Change::Peer(who, Fate::Well)));
                }
            }
            3 => {
                let fates = [Fate::Refuses(503), Fate::OnlyOptions, Fate::NoOptions];
                let fate = *chance.pick(&fates).unwrap();
                changes.push((at(60), Change::Peer(who, fate)));
                changes.push((at(chance.between(70, 3000)), Change::Peer(who, Fate::Well)));
            }
            // The name moves to another address and back.
            4 => {
                let (old, new) = (vec![record(pbx(1))], vec![record(pbx(11))]);
                changes.push((at(10), Change::Names("pbx1.test".into(), new)));
                changes.push((at(1800), Change::Names("pbx1.test".into(), old)));
            }
            5 => {
                let old = vec![record(pbx(2))];
                changes.push((at(10), Change::NamesFail("pbx2.test".into())));
                changes.push((at(600), Change::Names("pbx2.test".into(), Vec::new())));
                changes.push((at(1200), Change::Names("pbx2.test".into(), old)));
            }
            6 => changes.push((at(30), Change::Reload)),
            _ => {}
        }
        hour += HOUR;
    }
    changes.sort_by_key(|(at, _)| *at);
    changes
}

#[test]
fn a_month_of_troubles_leaves_nothing_behind() {
    let names = (1..=3).map(|n| (format!("pbx{n}.test"), vec![record(pbx(n))]));
    let scenario = Scenario {
        config: CONFIG.into(),
        names: names.collect(),
        caller: Address::parse("192.0.2.1").unwrap(),
        uri: "sip:+15550100@203.0.113.10".into(),
        calls: (Duration::ZERO, MONTH, Duration::from_secs(59)),
        rings: (Duration::from_millis(20), Duration::from_millis(500)),
        talks: Duration::from_secs(90),
        changes: troubles(&mut Chance::new(7)),
    };
    let outcome = run(&scenario).unwrap();
    assert!(outcome.calls.len() > 40_000 && scenario.changes.len() > 1000);
    let downs = outcome
        .health
        .iter()
        .filter(|(.., is)| *is == HealthState::Down);
    assert!(
        downs.count() > 100,
        "a month without troubles proves nothing"
    );

    let finals = outcome.calls.iter().find(|call| call.finals != 1);
    assert!(finals.is_none(), "one final answer each: {finals:?}");
    // One PBX is always there: only who rang at a dying one may not get through.
    let lost = outcome
        .calls
        .iter()
        .find(|call| call.answered.is_none() && call.rang.is_none());
    assert!(lost.is_none(), "{lost:?}");
    assert_eq!(outcome.orphans, 0);

    let last = outcome
        .calls
        .iter()
        .filter(|call| call.placed > MONTH - HOUR);
    for call in last {
        let waited = call.heard.map(|heard| heard - call.placed);
        assert!(waited < Some(Duration::from_millis(100)), "{call:?}");
    }
    assert_eq!((outcome.load.contexts, outcome.load.calls_active), (0, 0));
    assert!(outcome.contexts_most < 100, "{}", outcome.contexts_most);
    let unwell = outcome.peers.iter().find(|(_, is)| *is != HealthState::Up);
    assert_eq!(unwell, None);
    assert_eq!(outcome.peers.len(), 3, "{:?}", outcome.peers);
}
