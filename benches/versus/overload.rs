//! Twice the highest rate: how many calls still go through, and how fast the others are turned away.

use serde_json::{Value, json};

use crate::{
    cost::Turn,
    highest,
    options::Options,
    server::{Failure, Site, System},
};

/// Measures each system, prints and returns what came of it.
pub fn run(options: &Options, site: &Site) -> Result<Value, Failure> {
    let mut rows = Vec::new();
    for system in options.systems(&[System::Trunkline, System::Kamailio]) {
        let capacity = highest::of(system, options, site)?;
        for rate in options.rates(&[2.0 * capacity]) {
            let turn = Turn::take(system, site, &options.plan(rate))?;
            let score = &turn.score;
            let seconds = score.measured.as_secs_f64();
            let accepted = score.ended as f64 / seconds;
            println!(
                "\n{} with {:.0} calls/s offered ({rate:.0} planned), highest rate {capacity:.0}:",
                system.name(),
                score.placed as f64 / seconds,
            );
            println!(
                "  accepted {accepted:.0}/s ({:.0} % of the highest rate), refused {:.0}/s, lost {} of {}, sent twice {}",
                100.0 * accepted / capacity,
                score.turned_away as f64 / seconds,
                score.lost,
                score.placed,
                score.repeated,
            );
            let us = |share| score.refusing.quantile(share).as_micros();
            println!(
                "  refused with {:?} after p50 {} us, p99 {} us; INVITE to 180 p50 {} us, p99 {} us; load {:.0} %{}",
                score.refused,
                us(0.5),
                us(0.99),
                score.ringing.quantile(0.5).as_micros(),
                score.ringing.quantile(0.99).as_micros(),
                score.load_share() * 100.0,
                if score.fell_behind() {
                    ", and fell behind"
                } else {
                    ""
                }
            );
            rows.push(json!({
                "system": system.name(),
                "highest": capacity,
                "offered": score.placed as f64 / seconds,
                "accepted": accepted,
                "refused": score.turned_away as f64 / seconds,
                "refusing": score.refusing.json(),
                "ringing": score.ringing.json(),
                "lost": score.lost,
                "load_fell_behind": score.fell_behind(),
            }));
        }
    }
    Ok(json!({ "mode": "overload", "systems": rows }))
}
