//! The highest rate that a system carries on its cores.

use serde_json::{Value, json};

use crate::{
    cost::Turn,
    options::Options,
    report::{Spread, spread},
    server::{Failure, Site, System},
};

/// Calls that may be refused, lost, or sent twice.
const TROUBLE_MOST: f64 = 0.001;
/// Where the search begins: every system carries it.
const FIRST: f64 = 3_000.0;
/// The factor between neighbours; the last step halves it, so the result is 4 % exact.
const STEP: f64 = 1.15;
/// Rates that are tried at most.
const TRIES: usize = 12;
/// Turns in which a rate may show that it is carried: one stall of a shared machine must not end the search.
const CHANCES: usize = 2;

/// What one search found.
struct Found {
    /// Calls a second; 0 when not even the first rate was carried.
    rate: f64,
    /// The load could not offer more: the system may carry more than that.
    load_bound: bool,
}

/// Searches for each system in turn, prints and returns what was found.
pub fn run(options: &Options, site: &Site) -> Result<Value, Failure> {
    let mut found: Vec<(System, Vec<Found>)> = Vec::new();
    let systems = options.systems(&[
        System::Kamailio,
        System::Trunkline,
        System::Relay,
        System::KamailioStateless,
    ]);
    found.extend(systems.iter().map(|system| (*system, Vec::new())));
    for pass in 1..=options.passes {
        for (system, found) in &mut found {
            println!("\npass {pass}, {}", system.name());
            found.push(search(*system, options, site)?);
        }
    }
    let rates = |system| {
        let (_, found) = found.iter().find(|(it, _)| *it == system)?;
        Some(found.iter().map(|found| found.rate).collect::<Vec<_>>())
    };
    println!(
        "\n{:<19} {:>26} {:>18}",
        "", "highest calls/s", "by kamailio"
    );
    let mut systems = Vec::new();
    for (system, found) in &found {
        let own = spread(found.iter().map(|found| found.rate));
        let ratio = rates(System::Kamailio).map(|theirs| {
            let pairs = found.iter().zip(theirs);
            spread(pairs.map(|(ours, theirs)| ours.rate / theirs))
        });
        let load_bound = found.iter().any(|found| found.load_bound);
        println!(
            "{:<19} {:>26} {:>18}{}",
            system.name(),
            own.text(0),
            ratio.map(|ratio| ratio.text(2)).unwrap_or_default(),
            if load_bound {
                " at least: the load could not offer more"
            } else {
                ""
            }
        );
        systems.push(json!({
            "system": system.name(),
            "highest": own.json(),
            "to_kamailio": ratio.map(Spread::json),
            "load_bound": load_bound,
        }));
    }
    Ok(json!({ "mode": "highest", "systems": systems }))
}

/// The system's highest rate, as it was given or as it is found.
pub fn of(system: System, options: &Options, site: &Site) -> Result<f64, Failure> {
    if let Some(capacity) = options.capacity {
        return Ok(capacity);
    }
    println!("\nthe highest rate of {}", system.name());
    Ok(search(system, options, site)?.rate.max(1.0))
}

fn search(system: System, options: &Options, site: &Site) -> Result<Found, Failure> {
    let mut best = 0.0;
    let mut least_bad = f64::INFINITY;
    let mut load_bound = false;
    let mut rate = FIRST;
    for _ in 0..TRIES {
        let Tried {
            fits,
            fell_behind,
            cost,
        } = try_rate(rate, system, options, site)?;
        if !fits {
            load_bound = fell_behind;
        }
        if fits {
            best = f64::max(best, rate);
        } else {
            least_bad = f64::min(least_bad, rate);
        }
        let (low, high) = (best, least_bad);
        rate = if high < low * STEP.sqrt() * 1.01 {
            break;
        } else if low > 0.0 && high < low * STEP * 1.01 {
            low * STEP.sqrt()
        } else if rate == FIRST && fits {
            // A cost at a low rate is more than at a high one, so this is carried, too, or nearly.
            let estimate = site.workers as f64 * 0.95e6 / cost;
            f64::max(estimate, FIRST * STEP)
        } else if fits {
            rate * STEP
        } else {
            rate / STEP
        };
    }
    Ok(Found {
        rate: best,
        load_bound,
    })
}

/// What came of one rate.
struct Tried {
    /// Some turn had next to no trouble.
    fits: bool,
    /// In the last turn the load was late.
    fell_behind: bool,
    /// Microseconds a call.
    cost: f64,
}

fn try_rate(rate: f64, system: System, options: &Options, site: &Site) -> Result<Tried, Failure> {
    let mut chance = 1;
    loop {
        let turn = Turn::take(system, site, &options.plan(rate))?;
        let (fell_behind, cost) = (turn.score.fell_behind(), turn.cost());
        let fits = turn.score.trouble() < TROUBLE_MOST && !fell_behind;
        println!(
            "  {rate:>7.0}/s: {cost:>6.1} us a call, {:.3} % sent twice, refused or lost, load {:.0} %{}",
            turn.score.trouble() * 100.0,
            turn.score.load_share() * 100.0,
            if fell_behind { ", fell behind" } else { "" }
        );
        if fits || chance == CHANCES {
            return Ok(Tried {
                fits,
                fell_behind,
                cost,
            });
        }
        chance += 1;
    }
}
