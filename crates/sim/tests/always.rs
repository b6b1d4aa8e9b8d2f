//! What Trunkline is for: while one of those who can take a call is well, every call is answered, whatever
//! the others do, however they are configured and however often calls come.

use std::time::Duration;

use trunkline_sim::{
    address::Address,
    chance::Chance,
    fleet::{Call, Change, Fate, Scenario, run},
    names::Record,
};

const MS: Duration = Duration::from_millis(1);
const END: Duration = Duration::from_secs(40);
const SEEDS: u64 = 80;

/// Up to six, so that the last one's turn comes within `setup_budget`.
struct Fleet {
    text: String,
    scenario: Scenario,
    /// Who is always well.
    well: Address,
}

fn peer(number: u64) -> Address {
    Address::parse(&format!("10.0.2.{number}")).unwrap()
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

/// A trunk to the carrier, with the peers behind one to three edges.
fn edges(chance: &mut Chance, peers: u64) -> (String, Vec<(String, Vec<Record>)>) {
    let mut edges = vec![Vec::new(); chance.between(1, 3) as usize];
    for number in 1..=peers {
        let edge = chance.below(edges.len() as u64) as usize;
        edges[edge].push(Record {
            address: peer(number),
            priority: chance.below(2) as u16,
            weight: chance.below(3) as u16,
        });
    }
    let names: Vec<_> = (1..)
        .map(|edge| format!("edge{edge}.test"))
        .zip(edges)
        .collect();
    let quoted = list(names.iter().map(|(name, _)| format!("{name:?}")));
    (format!("termination.edges = [{quoted}]\n"), names)
}

/// A trunk from the carrier, with the peers as its targets.
fn targets(chance: &mut Chance, peers: u64) -> String {
    let policies = ["weighted", "least_calls", "hash"];
    let policy = chance.pick(&policies).unwrap();
    let targets = list((1..=peers).map(|number| {
        let (priority, weight) = (chance.below(2), chance.between(1, 60));
        format!("{{ uri = \"sip:10.0.2.{number}\", priority = {priority}, weight = {weight} }}")
    }));
    format!("[trunk.origination]\npolicy = \"{policy}\"\ntargets = [{targets}]\n")
}

/// What becomes of a peer: one fate for ever, or another every few seconds.
fn fates(chance: &mut Chance, outward: bool) -> Vec<(Duration, Fate)> {
    let all = [
        Fate::Silent,
        Fate::OnlyOptions,
        Fate::NoOptions,
        Fate::Well,
        Fate::Refuses(503),
        Fate::Refuses(500),
        // The last, since carriers' answers of this kind are for the caller.
        Fate::Refuses(403),
    ];
    let kinds = all.len() as u64 - u64::from(outward);
    let forever = chance.percent(50);
    let (mut at, mut fates) = (Duration::ZERO, Vec::new());
    while at < END && (fates.is_empty() || !forever) {
        fates.push((at, all[chance.below(kinds) as usize]));
        at += MS * chance.between(200, 15_000) as u32;
    }
    fates
}

fn fleet(seed: u64) -> Fleet {
    let mut chance = Chance::new(seed);
    let outward = chance.percent(50);
    let peers = chance.between(2, 6);
    let (trunk, names) = if outward {
        edges(&mut chance, peers)
    } else {
        (targets(&mut chance, peers), Vec::new())
    };
    let health = [
        "",
        "probe_interval = \"off\"\ntarget_probe_interval = \"off\"",
        "suspect_after = \"off\"",
        "fail_after = 4",
    ];
    let health = chance.pick(&health).unwrap();
    let text = format!(
        "[[listen]]\nprotocol = \"udp\"\naddress = \"203.0.113.10:5060\"\n[pbx]\nallow = [\"10.0.0.0/24\"]\n\
         [[trunk]]\nname = \"acme\"\nallow = [\"192.0.2.0/24\"]\n{trunk}[health]\n{health}\n"
    );
    let well = chance.between(1, peers);
    let mut changes = Vec::new();
    for number in (1..=peers).filter(|number| *number != well) {
        let change = |(at, fate)| (at, Change::Peer(peer(number), fate));
        changes.extend(fates(&mut chance, outward).into_iter().map(change));
    }
    changes.sort_by_key(|(at, _)| *at);
    let every = *chance.pick(&[20, 33, 100, 250, 1000]).unwrap();
    let caller = if outward { "10.0.0.1" } else { "192.0.2.1" };
    Fleet {
        scenario: Scenario {
            config: text.clone(),
            names,
            caller: Address::parse(caller).unwrap(),
            uri: "sip:+15550100@203.0.113.10".into(),
            calls: (MS, END, MS * every),
            rings: (20 * MS, 30 * MS),
            talks: Duration::from_secs(1),
            changes,
        },
        text,
        well: peer(well),
    }
}

#[test]
fn a_call_is_answered_while_one_peer_is_well() {
    let mut moved = 0;
    for seed in 0..SEEDS {
        let Fleet {
            text,
            scenario,
            well,
        } = fleet(seed);
        let outcome = run(&scenario).unwrap();
        assert_eq!((outcome.orphans, outcome.load.contexts), (0, 0));
        let lost = |call: &&Call| {
            // Whom a phone rang at may die with it; and who said 100 first keeps the call for Timer C.
            let rang_elsewhere = call.rang.is_some_and(|rang| rang != well);
            let timer_c = call.failed.is_some_and(|(_, code)| code == 408);
            call.answered.is_none() && !rang_elsewhere && !timer_c
        };
        let calls = &outcome.calls;
        if let Some(call) = calls.iter().find(lost) {
            let all = calls.iter().filter(lost).count();
            panic!(
                "seed {seed}: {all} of {} lost, one of them {call:?}; changes {:?}\n{text}",
                calls.len(),
                scenario.changes
            );
        }
        let timed_out = |call: &&Call| call.answered.is_none() && call.rang.is_none();
        let timed_out = calls.iter().filter(timed_out).count();
        assert!(timed_out * 1000 <= calls.len(), "seed {seed}: {timed_out}");
        let elsewhere = |call: &&Call| call.answered.is_some() && call.answered != call.first;
        moved += calls.iter().filter(elsewhere).count();
    }
    assert!(moved > 1000, "only {moved} had to move: this shows little");
}
