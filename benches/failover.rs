//! What a death costs the callers: 1000 calls a second, in virtual time, while peers die and return.
//!
//! `cargo bench -p trunkline-benches --bench failover` prints the table and says whether the
//! targets are met. Nothing here is measured in real time, so any machine prints the same.

use std::{process::ExitCode, time::Duration};

use trunkline_proxy::event::HealthState;
use trunkline_sim::{
    address::Address,
    fleet::{Call, Change, Fate, Outcome, Scenario, run},
    names::Record,
};

const DEATH: Duration = Duration::from_secs(10);
const RETURN: Duration = Duration::from_secs(40);
const END: Duration = Duration::from_secs(60);
/// What a call that meets nobody dead stays far below.
const SLOW: Duration = Duration::from_millis(100);

struct Row {
    name: &'static str,
    scenario: Scenario,
    dead: Vec<Address>,
    /// Weights of the others, which their calls are held against.
    others: Vec<(Address, f64)>,
    /// When new calls must avoid the dead at the latest, and whether this row is held to the targets.
    within: Option<Duration>,
    /// So many calls may be slowed later: real calls that try a dead one, since nothing else does.
    trials: usize,
}

fn main() -> ExitCode {
    let rows = [
        pbxs("PBX, defaults", "", Some(2.0)),
        pbxs(
            "PBX, no regular probes",
            "target_probe_interval = \"off\"",
            Some(2.0),
        ),
        pbxs(
            "PBX, no probes, no suspicion",
            "target_probe_interval = \"off\"\nsuspect_after = \"off\"",
            None,
        ),
        stalls(pbxs("PBX stalls for 6 s", "", Some(2.0))),
        edge("edge, 1 of 4", 1, Some(2.0)),
        edge("edge, 4 of 4", 4, None),
        idle("idle, probes each second"),
    ];
    println!(
        "{:<29} {:>7} {:>7} {:>7} | {:>6} {:>6} {:>6} | {:>9} {:>6} {:>5} {:>7} | {:>6} {:>7}",
        "1000 calls/s, dead at 10 s",
        "suspect",
        "down",
        "up",
        ">100ms",
        ">500ms",
        ">4s",
        "after+100",
        "rang",
        "lost",
        "orphans",
        "share",
        "return"
    );
    let missed: Vec<String> = rows.iter().flat_map(measure).collect();
    println!(
        "\nsuspect, down: after the death; up: after the return. >100ms: calls whose caller heard nothing\n\
         but 100 for so long. after+100: those of them that were placed later than 100 ms after the dead one\n\
         was suspect or down. rang: calls that rang at the dead one, which nobody may move. lost: calls\n\
         that nobody took, other than those. share: how far the survivors' shares were from their weights.\n\
         return: calls slowed that were placed after the return."
    );
    for target in &missed {
        println!("MISSED: {target}");
    }
    if missed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn measure(row: &Row) -> Vec<String> {
    let outcome = match run(&row.scenario) {
        Ok(outcome) => outcome,
        Err(what) => return vec![format!("{}: {what}", row.name)],
    };
    let first = |from: Duration, states: &[HealthState]| {
        let seen = outcome
            .health
            .iter()
            .find(|(at, who, is)| *at >= from && row.dead.contains(who) && states.contains(is));
        seen.map(|(at, ..)| *at - from)
    };
    let known = first(DEATH, &[HealthState::Suspect, HealthState::Down]);
    let down = first(DEATH, &[HealthState::Down]);
    let up = first(RETURN, &[HealthState::Up]);
    let slower = |than: Duration| {
        outcome
            .calls
            .iter()
            .filter(|call| waited(call) > than)
            .count()
    };
    let slow_after = |from: Duration, until: Duration| {
        let calls = outcome.calls.iter().filter(|call| waited(call) > SLOW);
        calls
            .filter(|call| (from..until).contains(&call.placed))
            .count()
    };
    let avoided = known.map_or(END, |known| DEATH + known + SLOW);
    let late = slow_after(avoided, RETURN);
    let rang = |call: &&Call| call.rang.is_some_and(|rang| row.dead.contains(&rang));
    let unanswered = || outcome.calls.iter().filter(|call| call.answered.is_none());
    let rung = unanswered().filter(rang).count();
    let lost = unanswered().count() - rung;
    let share = share(&outcome, row, avoided);
    let back = slow_after(RETURN, END);
    println!(
        "{:<29} {:>7} {:>7} {:>7} | {:>6} {:>6} {:>6} | {:>9} {:>6} {:>5} {:>7} | {:>5.1}% {:>7}",
        row.name,
        seconds(known),
        seconds(down),
        seconds(up),
        slower(SLOW),
        slower(Duration::from_millis(500)),
        slower(Duration::from_secs(4)),
        late,
        rung,
        lost,
        outcome.orphans,
        share,
        back
    );
    let mut missed = Vec::new();
    let mut target = |met: bool, what: String| {
        if !met {
            missed.push(format!("{}: {what}", row.name));
        }
    };
    let Some(within) = row.within else {
        return missed;
    };
    target(
        known.is_some_and(|known| known <= within),
        format!("known after {within:?}"),
    );
    target(
        late <= row.trials,
        format!("{late} calls slowed after the discovery"),
    );
    target(lost == 0, format!("{lost} calls lost"));
    target(outcome.orphans == 0, format!("{} orphans", outcome.orphans));
    target(share <= 2.0, format!("a share is {share:.1} % off"));
    target(
        outcome.load.contexts == 0,
        format!("{:?} left", outcome.load),
    );
    missed
}

/// How long the caller heard nothing but 100.
fn waited(call: &Call) -> Duration {
    call.heard
        .map_or(Duration::MAX, |heard| heard - call.placed)
}

/// The worst difference between a survivor's share and its weight, in percent of all calls.
fn share(outcome: &Outcome, row: &Row, from: Duration) -> f64 {
    let calls = outcome.calls.iter();
    let placed: Vec<_> = calls
        .filter(|call| (from..RETURN).contains(&call.placed))
        .filter_map(|call| call.answered)
        .collect();
    let weights: f64 = row.others.iter().map(|(_, weight)| weight).sum();
    let off = row.others.iter().map(|(who, weight)| {
        let got = placed.iter().filter(|by| *by == who).count() as f64;
        (got / (placed.len() as f64).max(1.0) - weight / weights).abs() * 100.0
    });
    off.fold(0.0, f64::max)
}

fn seconds(at: Option<Duration>) -> String {
    at.map_or("-".into(), |at| format!("{:.2}s", at.as_secs_f64()))
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap_or_else(|| panic!("{text} is an address"))
}

const LISTEN: &str = "[[listen]]\nprotocol = \"udp\"\naddress = \"203.0.113.10:5060\"\n";

fn scenario(config: String, caller: &str, dead: &[Address]) -> Scenario {
    let at =
        |when: Duration, fate: Fate| dead.iter().map(move |who| (when, Change::Peer(*who, fate)));
    Scenario {
        config,
        names: Vec::new(),
        caller: address(caller),
        uri: "sip:+15550100@203.0.113.10".into(),
        calls: (Duration::ZERO, END, Duration::from_millis(1)),
        rings: (Duration::from_millis(20), Duration::from_millis(30)),
        talks: Duration::from_secs(2),
        changes: at(DEATH, Fate::Silent)
            .chain(at(RETURN, Fate::Well))
            .collect(),
    }
}

/// Three PBXs, 60/20/20; the first dies.
fn pbxs(name: &'static str, health: &str, within: Option<f64>) -> Row {
    let config = format!(
        "{LISTEN}[[trunk]]\nname = \"in\"\nallow = [\"192.0.2.0/24\"]\n[trunk.origination]\ntargets = [\n\
         {{ uri = \"sip:10.0.2.1\", weight = 60 }},\n{{ uri = \"sip:10.0.2.2\", weight = 20 }},\n\
         {{ uri = \"sip:10.0.2.3\", weight = 20 }},\n]\n[health]\n{health}\n"
    );
    let dead = vec![address("10.0.2.1")];
    Row {
        name,
        scenario: scenario(config, "192.0.2.1", &dead),
        dead,
        others: vec![(address("10.0.2.2"), 20.0), (address("10.0.2.3"), 20.0)],
        within: within.map(Duration::from_secs_f64),
        // After 5, 15, 35 s.
        trials: if health.contains("off") { 3 } else { 0 },
    }
}

/// Not dead but slow: everything that it missed happens six seconds later.
fn stalls(mut row: Row) -> Row {
    let who = row.dead[0];
    row.scenario.changes = vec![
        (DEATH, Change::Peer(who, Fate::Stalls)),
        (
            DEATH + Duration::from_secs(6),
            Change::Peer(who, Fate::Well),
        ),
    ];
    row.others.clear();
    row
}

/// One carrier edge with four addresses, of which so many die.
fn edge(name: &'static str, dying: usize, within: Option<f64>) -> Row {
    let config = format!(
        "{LISTEN}[pbx]\nallow = [\"10.0.1.0/24\"]\n[[trunk]]\nname = \"out\"\n[trunk.termination]\n\
         edges = [\"edge.carrier.test\"]\n"
    );
    let all: Vec<Address> = (1..=4).map(|n| address(&format!("192.0.2.{n}"))).collect();
    let record = |address: &Address| Record {
        address: *address,
        priority: 0,
        weight: 0,
    };
    let (dead, others) = all.split_at(dying);
    let mut scenario = scenario(config, "10.0.1.5", dead);
    scenario.names = vec![("edge.carrier.test".into(), all.iter().map(record).collect())];
    Row {
        name,
        scenario,
        dead: dead.to_vec(),
        others: others.iter().map(|who| (*who, 1.0)).collect(),
        within: within.map(Duration::from_secs_f64),
        trials: 0,
    }
}

/// No calls at all.
fn idle(name: &'static str) -> Row {
    let health = "target_probe_interval = \"1s\"\nprobe_timeout = \"200ms\"";
    let mut row = pbxs(name, health, Some(1.5));
    row.scenario.calls = (Duration::ZERO, Duration::ZERO, Duration::from_secs(1));
    row.others.clear();
    row
}
