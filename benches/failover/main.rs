//! What a death costs the callers: 1000 calls a second while peers die and return.
//!
//! ```text
//! cargo bench -p trunkline-benches --bench failover                        # in virtual time
//! cargo bench -p trunkline-benches --bench failover -- --loopback          # real sockets, 3 minutes
//! ... -- --loopback --realtime                                             # on a busy machine, as root
//! cargo bench -p trunkline-benches --bench failover -- --discovery         # from shard to shard
//! ```
//!
//! In virtual time nothing is measured by a clock, so any machine prints the same, and whether the targets
//! are met decides how it ends.

mod discovery;
mod live;

use std::{process::ExitCode, time::Duration};

use trunkline_proxy::event::HealthState;
use trunkline_sim::{
    address::Address,
    fleet::{Call, Change, Fate, Outcome, Scenario, run},
    names::Record,
};

/// What a call that meets nobody dead stays far below.
const SLOW: Duration = Duration::from_millis(100);

/// When what happens.
#[derive(Copy, Clone)]
struct Times {
    death: Duration,
    back: Duration,
    end: Duration,
}

const SIMULATED: Times = Times {
    death: Duration::from_secs(10),
    back: Duration::from_secs(40),
    end: Duration::from_secs(60),
};

/// A carrier's address that is down is probed every ten seconds.
const LIVE: Times = Times {
    death: Duration::from_secs(5),
    back: Duration::from_secs(16),
    end: Duration::from_secs(32),
};

/// Who is where.
struct Site {
    times: Times,
    trunkline: String,
    /// Places calls, as a carrier or as a PBX.
    callers: [Address; 2],
    pbxs: Vec<Address>,
    edge: Vec<Address>,
}

struct Row {
    name: &'static str,
    times: Times,
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
    let options: Vec<String> = std::env::args().skip(1).collect();
    let has = |option: &str| options.iter().any(|given| given == option);
    let shards = options.iter().position(|given| given == "--shards");
    let shards = shards.and_then(|at| options.get(at + 1)?.parse().ok());
    if has("--realtime")
        && let Err(error) = trunkline_benches::sys::real_time()
    {
        eprintln!("--realtime wants root: {error}");
        return ExitCode::FAILURE;
    }
    if has("--discovery") {
        return match discovery::run(shards.unwrap_or(2)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(what) => {
                eprintln!("{what}");
                ExitCode::FAILURE
            }
        };
    }
    let missed = if has("--loopback") {
        on_loopback(shards.unwrap_or(2))
    } else {
        simulated()
    };
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

fn simulated() -> Vec<String> {
    let pbx = |n| address(&format!("10.0.2.{n}"));
    let carrier = |n| address(&format!("192.0.2.{n}"));
    let site = Site {
        times: SIMULATED,
        trunkline: "203.0.113.10:5060".into(),
        callers: [address("192.0.2.1"), address("10.0.1.5")],
        pbxs: (1..=3).map(pbx).collect(),
        edge: (1..=4).map(carrier).collect(),
    };
    heading(&site);
    let rows = [
        pbxs(&site, "PBX, defaults", "", Some(2.0)),
        pbxs(&site, "PBX, no regular probes", NO_PROBES, Some(2.0)),
        pbxs(&site, "PBX, no probes, no suspicion", NO_SUSPICION, None),
        stalls(pbxs(&site, "PBX stalls for 6 s", "", Some(2.0))),
        edge(&site, "edge, 1 of 4", 1, Some(2.0)),
        edge(&site, "edge, 4 of 4", 4, None),
        idle(&site, "idle, probes each second"),
    ];
    let missed = rows.iter().flat_map(|row| measure(row, run(&row.scenario)));
    missed.collect()
}

/// The same on real sockets: a place of its own for each row.
fn on_loopback(shards: u8) -> Vec<String> {
    type Make = fn(&Site) -> Row;
    let rows: [Make; 5] = [
        |site| pbxs(site, "PBX, defaults", "", Some(2.1)),
        |site| pbxs(site, "PBX, no regular probes", NO_PROBES, Some(2.1)),
        |site| edge(site, "edge, 1 of 4", 1, Some(2.1)),
        |site| edge(site, "edge, 4 of 4", 4, None),
        |site| idle(site, "idle, probes each second"),
    ];
    let mut missed = Vec::new();
    for (nth, make) in rows.iter().enumerate() {
        let place = live::Place::new(shards, 7).expect("loopback can be bound");
        let all = place.addresses();
        let site = Site {
            times: LIVE,
            trunkline: place.trunkline().to_string(),
            callers: [all[0]; 2],
            pbxs: all[1..4].to_vec(),
            edge: all[4..8].to_vec(),
        };
        if nth == 0 {
            heading(&site);
        }
        let row = make(&site);
        let outcome = place.run(&row.scenario).map(|(outcome, _)| outcome);
        missed.extend(measure(&row, outcome));
    }
    missed
}

fn heading(site: &Site) {
    println!(
        "{:<29} {:>7} {:>7} {:>7} | {:>6} {:>6} {:>6} | {:>9} {:>6} {:>5} {:>7} | {:>6} {:>7}",
        format!("1000 calls/s, dead at {} s", site.times.death.as_secs()),
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
}

fn measure(row: &Row, outcome: Result<Outcome, String>) -> Vec<String> {
    let Times { death, back, end } = row.times;
    let outcome = match outcome {
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
    let known = first(death, &[HealthState::Suspect, HealthState::Down]);
    let down = first(death, &[HealthState::Down]);
    let up = first(back, &[HealthState::Up]);
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
    let avoided = known.map_or(end, |known| death + known + SLOW);
    let late = slow_after(avoided, back);
    let rang = |call: &&Call| call.rang.is_some_and(|rang| row.dead.contains(&rang));
    let unanswered = || outcome.calls.iter().filter(|call| call.answered.is_none());
    let rung = unanswered().filter(rang).count();
    let lost = unanswered().count() - rung;
    let share = share(&outcome, row, avoided);
    let returned = slow_after(back, end);
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
        returned
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
        .filter(|call| (from..row.times.back).contains(&call.placed))
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

const NO_PROBES: &str = "target_probe_interval = \"off\"";
const NO_SUSPICION: &str = "target_probe_interval = \"off\"\nsuspect_after = \"off\"";

fn listen(site: &Site) -> String {
    format!(
        "[[listen]]\nprotocol = \"udp\"\naddress = \"{}\"\n",
        site.trunkline
    )
}

fn scenario(site: &Site, config: String, caller: Address, dead: &[Address]) -> Scenario {
    let Times { death, back, end } = site.times;
    let at =
        |when: Duration, fate: Fate| dead.iter().map(move |who| (when, Change::Peer(*who, fate)));
    Scenario {
        config,
        names: Vec::new(),
        caller,
        uri: format!("sip:+15550100@{}", site.trunkline),
        calls: (Duration::ZERO, end, Duration::from_millis(1)),
        rings: (Duration::from_millis(20), Duration::from_millis(30)),
        talks: Duration::from_secs(2),
        changes: at(death, Fate::Silent)
            .chain(at(back, Fate::Well))
            .collect(),
    }
}

/// Three PBXs, 60/20/20; the first dies.
fn pbxs(site: &Site, name: &'static str, health: &str, within: Option<f64>) -> Row {
    let weights = [60.0, 20.0, 20.0];
    let targets: String = site
        .pbxs
        .iter()
        .zip(weights)
        .map(|(pbx, weight)| format!("{{ uri = \"sip:{}\", weight = {weight} }},\n", pbx.socket))
        .collect();
    let config = format!(
        "{}[[trunk]]\nname = \"in\"\nallow = [\"{}\"]\n[trunk.origination]\ntargets = [\n{targets}]\n\
         [health]\n{health}\n",
        listen(site),
        site.callers[0].socket.ip()
    );
    let (dead, others) = site.pbxs.split_at(1);
    Row {
        name,
        times: site.times,
        scenario: scenario(site, config, site.callers[0], dead),
        dead: dead.to_vec(),
        others: others.iter().copied().zip([20.0, 20.0]).collect(),
        within: within.map(Duration::from_secs_f64),
        // After 5, 15, 35 s.
        trials: if health.contains("off") { 3 } else { 0 },
    }
}

/// Not dead but slow: everything that it missed happens six seconds later.
fn stalls(mut row: Row) -> Row {
    let who = row.dead[0];
    let death = row.times.death;
    row.scenario.changes = vec![
        (death, Change::Peer(who, Fate::Stalls)),
        (
            death + Duration::from_secs(6),
            Change::Peer(who, Fate::Well),
        ),
    ];
    row.others.clear();
    row
}

/// One carrier edge with four addresses, of which so many die.
fn edge(site: &Site, name: &'static str, dying: usize, within: Option<f64>) -> Row {
    let config = format!(
        "{}[pbx]\nallow = [\"{}\"]\n[[trunk]]\nname = \"out\"\n[trunk.termination]\n\
         edges = [\"edge.carrier.test\"]\n",
        listen(site),
        site.callers[1].socket.ip()
    );
    let record = |address: &Address| Record {
        address: *address,
        priority: 0,
        weight: 0,
    };
    let (dead, others) = site.edge.split_at(dying);
    let mut scenario = scenario(site, config, site.callers[1], dead);
    let records = site.edge.iter().map(record).collect();
    scenario.names = vec![("edge.carrier.test".into(), records)];
    Row {
        name,
        times: site.times,
        scenario,
        dead: dead.to_vec(),
        others: others.iter().map(|who| (*who, 1.0)).collect(),
        within: within.map(Duration::from_secs_f64),
        trials: 0,
    }
}

/// No calls at all.
fn idle(site: &Site, name: &'static str) -> Row {
    let health = "target_probe_interval = \"1s\"\nprobe_timeout = \"200ms\"";
    let mut row = pbxs(site, name, health, Some(1.5));
    row.scenario.calls.1 = Duration::ZERO;
    row.others.clear();
    row
}
