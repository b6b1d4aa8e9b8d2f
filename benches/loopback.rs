//! Whole calls through real sockets: the load of [`trunkline_benches::load`] and one shard with the real
//! proxy, in one process, on loopback. Quicker to start than `versus/run` and without control, so the
//! figure is the shard's alone.
//!
//! ```text
//! cargo bench -p trunkline-benches --bench loopback -- [--wire] [--tcp] [--seconds N] [RATE...]
//! ```
//!
//! `--wire` puts a brain in the proxy's place that only passes messages on (six in, six out): the
//! difference is what deciding costs.

mod support;

use std::time::Duration;

use support::shard::{Brain, Rig, thread_time};
use trunkline_benches::load::{Arrivals, Bound, Carrier, Mark, Plan, Score};
use trunkline_sip::Transport;

fn main() {
    let options = Options::read(std::env::args().skip(1));
    println!(
        "{} over {}, {} s for each rate",
        options.brain.name(),
        options.transport.via_name(),
        options.seconds
    );
    println!(
        "{:>9} {:>9} {:>7} {:>14} {:>10} {:>10} {:>6}",
        "offered/s", "done/s", "lost", "shard us/call", "p50 us", "p99 us", "load"
    );
    for rate in &options.rates {
        let (score, shard) = run(&options, *rate);
        println!(
            "{:>9} {:>9.0} {:>7} {:>14.1} {:>10} {:>10} {:>5.0}%{}",
            rate,
            score.done as f64 / score.measured.as_secs_f64(),
            score.lost,
            shard.as_secs_f64() * 1e6 / score.ended.max(1) as f64,
            score.ringing.quantile(0.5).as_micros(),
            score.ringing.quantile(0.99).as_micros(),
            score.load_share() * 100.0,
            if score.fell_behind() {
                " fell behind"
            } else {
                ""
            }
        );
    }
}

struct Options {
    brain: Brain,
    transport: Transport,
    seconds: u64,
    rates: Vec<u64>,
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Self {
        let mut options = Options {
            brain: Brain::Proxy,
            transport: Transport::Udp,
            seconds: 3,
            rates: Vec::new(),
        };
        let mut measure = false;
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--wire" => options.brain = Brain::Wire,
                "--tcp" => options.transport = Transport::Tcp,
                "--seconds" => {
                    let seconds = arguments.next().and_then(|value| value.parse().ok());
                    options.seconds = seconds.unwrap_or_else(|| usage("--seconds wants a number"));
                }
                // What `cargo bench` adds by itself, and `cargo test` does not.
                "--bench" => measure = true,
                rate => match rate.parse() {
                    Ok(rate) => options.rates.push(rate),
                    Err(_) => usage(&format!("\"{rate}\" is neither an option nor a rate")),
                },
            }
        }
        match (options.rates.is_empty(), measure) {
            (true, true) => options.rates = vec![100, 1_000, 2_000, 5_000],
            // A test only wants to know whether it works.
            (true, false) => (options.seconds, options.rates) = (1, vec![50]),
            (false, _) => {}
        }
        options
    }
}

fn usage(fault: &str) -> ! {
    eprintln!("{fault}\nusage: loopback [--wire] [--tcp] [--seconds N] [CALLS-PER-SECOND...]");
    std::process::exit(2)
}

/// One rate, from start to the last answer; what the calls came to, and the shard's processor time.
fn run(options: &Options, rate: u64) -> (Score, Duration) {
    let carrier = match options.transport {
        Transport::Udp => Carrier::Udp,
        _ => Carrier::Tcp(1),
    };
    let bound = Bound::new(carrier).expect("loopback can be bound");
    let callee = bound.targets().expect("bound")[0];
    let rig = Rig::start(options.brain, options.transport, callee);
    let mut load = bound.connect(rig.address).expect("the shard listens");
    let plan = Plan {
        rate: rate as f64,
        warm: Duration::from_millis(500),
        measure: Duration::from_secs(options.seconds),
        arrivals: Arrivals::Random,
        flood: 0.0,
        spin: false,
    };
    let (mut before, mut after) = (Duration::ZERO, Duration::ZERO);
    let score = load.run(&plan, &mut |mark| {
        *match mark {
            Mark::MeasureBegins => &mut before,
            Mark::MeasureEnds => &mut after,
        } = thread_time("shard-0");
    });
    drop(load);
    rig.stop();
    (score, after.saturating_sub(before))
}
