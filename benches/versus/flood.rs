//! A stranger's flood: what a datagram of his costs, and whether configured peers' calls complete.

use serde_json::{Value, json};
use trunkline_benches::load::Plan;

use crate::{
    cost::Turn,
    highest,
    options::Options,
    server::{Failure, Site, System},
};

/// Datagrams a second, in highest rates of calls.
const TIMES: f64 = 5.0;

/// Measures each system with and without the flood, prints and returns both.
pub fn run(options: &Options, site: &Site) -> Result<Value, Failure> {
    let mut rows = Vec::new();
    for system in options.systems(&[System::Trunkline, System::Kamailio, System::Relay]) {
        let capacity = highest::of(system, options, site)?;
        for rate in options.rates(&[capacity / 4.0]) {
            let calm = options.plan(rate);
            let flooded = Plan {
                flood: TIMES * capacity,
                ..calm
            };
            let before = Turn::take(system, site, &calm)?;
            let during = Turn::take(system, site, &flooded)?;
            let datagrams = during.score.flooded.max(1) as f64;
            let busy = |turn: &Turn| turn.spent.total.as_secs_f64();
            // More than what the same calls took before.
            let each = (busy(&during) - busy(&before)) * 1e6 / datagrams;
            println!(
                "\n{}: {rate:.0} calls/s, then {:.0} datagrams/s of a stranger ({:.0} planned)",
                system.name(),
                datagrams / during.score.measured.as_secs_f64(),
                flooded.flood,
            );
            for (name, turn) in [("calm", &before), ("flooded", &during)] {
                let score = &turn.score;
                println!(
                    "  {name:<8} {} of {} calls done, {} sent twice, {} lost; INVITE to 180 p50 {} us, p99 {} us; server {:.0} % of a core, load {:.0} %{}",
                    score.done,
                    score.placed,
                    score.repeated,
                    score.lost,
                    score.ringing.quantile(0.5).as_micros(),
                    score.ringing.quantile(0.99).as_micros(),
                    100.0 * busy(turn) / score.measured.as_secs_f64(),
                    score.load_share() * 100.0,
                    if score.fell_behind() && name == "calm" {
                        ", and fell behind"
                    } else {
                        ""
                    }
                );
            }
            println!(
                "  a datagram of the stranger: {each:.2} us, 1/{:.0} of a call",
                before.cost() / each
            );
            rows.push(json!({
                "system": system.name(),
                "rate": rate,
                "datagrams_a_second": datagrams / during.score.measured.as_secs_f64(),
                "placed": during.score.placed,
                "done": during.score.done,
                "repeated": during.score.repeated,
                "lost": during.score.lost,
                "ringing_calm": before.score.ringing.json(),
                "ringing_flooded": during.score.ringing.json(),
                "us_a_call": before.cost(),
                "us_a_datagram": each,
            }));
        }
    }
    Ok(json!({ "mode": "flood", "systems": rows }))
}
