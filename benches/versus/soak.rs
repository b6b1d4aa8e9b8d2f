//! Latencies over a long time, and the longest of them all. Trunkline is scraped, looked at and has to load its
//! configuration again meanwhile. The relay shows which of them are the machine's and the load's own.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_benches::load::Plan;

use crate::{
    cost::Turn,
    endurance::{self, Watch},
    highest,
    options::Options,
    server::{Failure, Server, Site, System},
    upkeep::Upkeep,
};

/// No pause of the server is longer.
const PAUSE_MOST: Duration = Duration::from_millis(5);

/// Measures each system, prints and returns what came of it.
pub fn run(options: &Options, site: &Site) -> Result<Value, Failure> {
    let rates = match options.rates(&[]) {
        rates if rates.is_empty() => {
            vec![highest::of(System::Kamailio, options, site)? / 2.0]
        }
        rates => rates,
    };
    let seconds = options.soak.unwrap_or(options.seconds);
    let mut rows = Vec::new();
    for rate in rates {
        for system in options.systems(&[System::Trunkline, System::Relay, System::Kamailio]) {
            let plan = Plan {
                measure: Duration::from_secs_f64(seconds),
                ..options.plan(rate)
            };
            let mut server = Server::start(system, site)?;
            let watch = options.samples.as_ref().map(|_| {
                let every = Duration::from_secs_f64(options.every.max(0.1));
                Watch::begin(server.process(), every)
            });
            // A signal to a wrapper would end it.
            let upkeep = server.admin().filter(|_| site.wrapper.is_empty());
            let upkeep = upkeep.map(|admin| Upkeep::begin(server.process(), admin));
            let turn = Turn::of(&mut server, &plan);
            let upkeep = upkeep.map(Upkeep::end).unwrap_or_default();
            let score = &turn.score;
            let ringing = &score.ringing;
            println!(
                "\n{} at {rate:.0} calls/s for {seconds} s, INVITE to 180: p50 {} us, p99 {} us, p99.9 {} us, longest {} us, {} above 5 ms; {} calls, {} sent twice, {} lost, {:.1} us a call, {} MiB; load {:.0} %{}",
                system.name(),
                ringing.quantile(0.5).as_micros(),
                ringing.quantile(0.99).as_micros(),
                ringing.quantile(0.999).as_micros(),
                ringing.max().as_micros(),
                ringing.above(PAUSE_MOST),
                score.placed,
                score.repeated,
                score.lost,
                turn.cost(),
                turn.resident >> 20,
                score.load_share() * 100.0,
                if score.fell_behind() {
                    ", and fell behind"
                } else {
                    ""
                }
            );
            if upkeep.pages > 0 {
                println!(
                    "meanwhile {} pages were read ({} failed) and the configuration was loaded {} times",
                    upkeep.pages, upkeep.failed, upkeep.reloads
                );
            }
            print!("{}", ringing.picture());
            if let (Some(watch), Some(file)) = (watch, &options.samples) {
                let samples = watch.end();
                endurance::write(&samples, file)?;
                println!("{} samples in {}", samples.len(), file.display());
                if let Some(what) = endurance::growth(&samples).map_err(Failure::Soak)? {
                    return Err(Failure::Soak(what));
                }
                println!("neither memory nor descriptors nor threads grew");
            }
            rows.push(json!({
                "system": system.name(),
                "rate": rate,
                "ringing": ringing.json(),
                "above_5_ms": ringing.above(PAUSE_MOST),
                "placed": score.placed,
                "repeated": score.repeated,
                "lost": score.lost,
                "us_a_call": turn.cost(),
                "resident_bytes": turn.resident,
                "load_fell_behind": score.fell_behind(),
                "pages": upkeep.pages,
                "reloads": upkeep.reloads,
            }));
        }
    }
    Ok(json!({ "mode": "soak", "seconds": seconds, "systems": rows }))
}
