//! What a call costs the server, at given rates, and how long callers wait for the ringing.

use serde_json::{Value, json};

use trunkline_benches::{
    cpu::{self, Spent},
    histogram::Histogram,
    load::{Mark, Plan, Score},
};

use crate::{
    options::Options,
    report::{Spread, spread},
    server::{Failure, Server, Site, System},
};

/// One turn of one system at one rate.
pub struct Turn {
    pub score: Score,
    pub spent: Spent,
    /// Resident memory of the server's main process after it.
    pub resident: u64,
}

impl Turn {
    /// Starts the system, loads it, ends it.
    pub fn take(system: System, site: &Site, plan: &Plan) -> Result<Turn, Failure> {
        let mut server = Server::start(system, site)?;
        Ok(Turn::of(&mut server, plan))
    }

    /// Of a server that runs.
    pub fn of(server: &mut Server, plan: &Plan) -> Turn {
        let process = server.process();
        let (mut before, mut after) = (Spent::default(), Spent::default());
        let mut mark = |mark| {
            *match mark {
                Mark::MeasureBegins => &mut before,
                Mark::MeasureEnds => &mut after,
            } = cpu::tree(process);
        };
        let score = server.load.run(plan, &mut mark);
        Turn {
            score,
            spent: after.since(before),
            resident: cpu::resident(process),
        }
    }

    /// Microseconds of the processor for each call that ended.
    pub fn cost(&self) -> f64 {
        self.spent.total.as_secs_f64() * 1e6 / self.score.ended.max(1) as f64
    }
}

/// All turns of one system at one rate.
struct Row {
    system: System,
    turns: Vec<Turn>,
}

/// Measures, prints a table for each rate, and returns it for the file.
pub fn run(options: &Options, site: &Site) -> Result<Value, Failure> {
    let mut rates = Vec::new();
    let systems = options.systems(&[
        System::Kamailio,
        System::Trunkline,
        System::Relay,
        System::KamailioStateless,
    ]);
    for rate in options.rates(&[500.0, 2_000.0, 5_000.0]) {
        let plan = options.plan(rate);
        let row = |system: &System| Row {
            system: *system,
            turns: Vec::new(),
        };
        let mut rows: Vec<Row> = systems.iter().map(row).collect();
        for _ in 0..options.passes {
            for row in &mut rows {
                row.turns.push(Turn::take(row.system, site, &plan)?);
            }
        }
        print(options, rate, &rows);
        rates.push(json!({
            "rate": rate,
            "systems": rows.iter().map(|row| row.json(&rows)).collect::<Vec<_>>(),
        }));
    }
    Ok(json!({ "mode": "cost", "rates": rates }))
}

impl Row {
    fn costs(&self) -> Vec<f64> {
        self.turns.iter().map(Turn::cost).collect()
    }

    /// Our cost by theirs, turn by turn of the same pass.
    fn ratio(&self, rows: &[Row], to: System) -> Option<Spread> {
        let other = rows.iter().find(|row| row.system == to)?;
        let pairs = self.costs().into_iter().zip(other.costs());
        Some(spread(pairs.map(|(ours, theirs)| ours / theirs)))
    }

    fn user_share(&self) -> f64 {
        let sum = |of: fn(&Turn) -> f64| self.turns.iter().map(of).sum::<f64>();
        let user = sum(|turn| turn.spent.user_ticks);
        user / (user + sum(|turn| turn.spent.system_ticks)).max(1e-9)
    }

    fn ringing(&self) -> Histogram {
        let mut all = Histogram::default();
        self.turns
            .iter()
            .for_each(|turn| all.merge(&turn.score.ringing));
        all
    }

    fn sum(&self, of: impl Fn(&Score) -> u64) -> u64 {
        self.turns.iter().map(|turn| of(&turn.score)).sum()
    }

    /// The load's largest share of its core.
    fn load_share(&self) -> f64 {
        let shares = self.turns.iter().map(|turn| turn.score.load_share());
        shares.fold(0.0, f64::max)
    }

    fn fell_behind(&self) -> bool {
        self.turns.iter().any(|turn| turn.score.fell_behind())
    }

    fn json(&self, rows: &[Row]) -> Value {
        let ratio = |to| self.ratio(rows, to).map(Spread::json);
        json!({
            "system": self.system.name(),
            "cpu_us_a_call": spread(self.costs()).json(),
            "user_share": self.user_share(),
            "to_kamailio": ratio(System::Kamailio),
            "to_relay": ratio(System::Relay),
            "to_baseline": ratio(System::Baseline),
            "to_trunkline": ratio(System::Trunkline),
            "ringing": self.ringing().json(),
            "placed": self.sum(|score| score.placed),
            "done": self.sum(|score| score.done),
            "repeated": self.sum(|score| score.repeated),
            "lost": self.sum(|score| score.lost),
            "load_share": self.load_share(),
            "load_fell_behind": self.fell_behind(),
            "resident_bytes": self.turns.last().map(|turn| turn.resident),
        })
    }
}

fn print(options: &Options, rate: f64, rows: &[Row]) {
    let columns = [
        System::Kamailio,
        System::Relay,
        System::Baseline,
        System::Trunkline,
    ];
    let columns: Vec<System> = columns
        .into_iter()
        .filter(|to| rows.len() > 1 && rows.iter().any(|row| row.system == *to))
        .collect();
    println!("\n{rate} calls/s");
    print!("{:<19} {:>20} {:>9}", "", "CPU us a call", "user/sys");
    for to in &columns {
        print!(" {:>18}", format!("by {}", to.name()));
    }
    println!(
        " {:>8} {:>8} {:>8} {:>8} {:>9} {:>6} {:>5}",
        "p50 us", "p99", "p99.9", "max", "repeated", "lost", "load"
    );
    for row in rows {
        let user = row.user_share();
        let costs = spread(row.costs());
        print!(
            "{:<19} {:>20} {:>9}",
            row.system.name(),
            costs.text(1),
            format!(
                "{:.0}/{:.0}",
                costs.median * user,
                costs.median * (1.0 - user)
            ),
        );
        for to in &columns {
            let ratio = row.ratio(rows, *to).map(|ratio| ratio.text(2));
            print!(" {:>18}", ratio.unwrap_or_default());
        }
        let ringing = row.ringing();
        let micros = |share| ringing.quantile(share).as_micros();
        println!(
            " {:>8} {:>8} {:>8} {:>8} {:>9} {:>6} {:>4.0}%{}",
            micros(0.5),
            micros(0.99),
            micros(0.999),
            ringing.max().as_micros(),
            row.sum(|score| score.repeated),
            row.sum(|score| score.lost),
            row.load_share() * 100.0,
            if row.fell_behind() {
                " THE LOAD FELL BEHIND"
            } else {
                ""
            }
        );
    }
    if options.histogram {
        for row in rows {
            println!("\n{}, from INVITE to 180", row.system.name());
            print!("{}", row.ringing().picture());
        }
    }
}
