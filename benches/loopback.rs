//! Whole calls through real sockets: a caller, a shard with the real proxy, a callee, all on
//! loopback. The caller is open-loop: it places calls by the clock, whatever comes back.
//!
//! ```text
//! cargo bench -p trunkline-benches --bench loopback -- [--wire | --bare | --stranger] [--tcp] [--seconds N] [RATE...]
//! ```
//!
//! A call is INVITE, 100, 180, 200, ACK, BYE, 200: six messages into the shard and seven out. The
//! processor time is that of the shard's thread alone; caller and callee need about as much again,
//! so on few cores they are the first to be too slow.
//!
//! - `--wire` puts a brain in the proxy's place that only passes messages on (six in, six out): the
//!   difference is what deciding costs.
//! - `--bare` puts a thread with one blocking UDP socket in the shard's place that does the same: the
//!   difference to `--wire` is what the loop costs.
//! - `--stranger` calls from an address that nobody allowed: no call is done, and the cost is that of
//!   one INVITE dropped.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use support::{
    callee::callee,
    caller::{Caller, Score},
    line::Line,
    shard::{Brain, Rig, thread_time},
};
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
        "{:>9} {:>9} {:>7} {:>14} {:>10} {:>10}",
        "offered/s", "done/s", "lost", "shard us/call", "p50 us", "p99 us"
    );
    for rate in &options.rates {
        let score = run(&options, *rate);
        println!(
            "{:>9} {:>9.0} {:>7} {:>14.1} {:>10} {:>10}",
            rate,
            score.done as f64 / score.took.as_secs_f64(),
            score.placed - score.done,
            score.shard.as_secs_f64() * 1e6
                / if options.stranger {
                    score.placed
                } else {
                    score.done.max(1)
                } as f64,
            score.percentile(50),
            score.percentile(99),
        );
    }
}

struct Options {
    brain: Brain,
    transport: Transport,
    stranger: bool,
    seconds: u64,
    rates: Vec<u64>,
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Self {
        let mut options = Options {
            brain: Brain::Proxy,
            transport: Transport::Udp,
            stranger: false,
            seconds: 3,
            rates: Vec::new(),
        };
        let mut measure = false;
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--wire" => options.brain = Brain::Wire,
                "--bare" => options.brain = Brain::Bare,
                "--tcp" => options.transport = Transport::Tcp,
                "--stranger" => options.stranger = true,
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
        if options.brain == Brain::Bare && options.transport != Transport::Udp {
            usage("--bare speaks UDP only");
        }
        match (options.rates.is_empty(), measure) {
            (true, true) => options.rates = vec![100, 1_000, 2_000, 4_000],
            // A test only wants to know whether it works.
            (true, false) => (options.seconds, options.rates) = (1, vec![50]),
            (false, _) => {}
        }
        options
    }
}

fn usage(fault: &str) -> ! {
    eprintln!(
        "{fault}\nusage: loopback [--wire | --bare | --stranger] [--tcp] [--seconds N] [CALLS-PER-SECOND...]"
    );
    std::process::exit(2)
}

/// One rate, from start to the last answer.
fn run(options: &Options, rate: u64) -> Score {
    let stop = Arc::new(AtomicBool::new(false));
    let callee = callee(options.transport, Arc::clone(&stop));
    let rig = Rig::start(options.brain, options.transport, callee.address);
    let from = if options.stranger {
        "127.0.0.9:0"
    } else {
        "127.0.0.1:0"
    };
    let line = Line::to(options.transport, from, rig.address);
    let calls = rate * options.seconds;
    let caller = Arc::new(Caller::new(line, calls as usize));

    let listener = thread::spawn({
        let (caller, stop) = (Arc::clone(&caller), Arc::clone(&stop));
        move || caller.listen(&stop)
    });
    let before = thread_time("shard-0");
    let began = Instant::now();
    let mut placed = 0;
    while placed < calls {
        let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
        while placed < due.min(calls) {
            caller.place(placed as usize);
            placed += 1;
        }
        thread::sleep(Duration::from_micros(200));
    }
    let took = began.elapsed();
    if !options.stranger {
        wait_for(&caller.done, calls, Duration::from_secs(3));
    }
    let shard = thread_time("shard-0") - before;
    stop.store(true, Ordering::Relaxed);
    let delays = listener.join().expect("the caller's thread lives");
    callee.thread.join().expect("the callee's thread lives");
    rig.stop();
    Score::new(
        placed,
        caller.done.load(Ordering::Relaxed),
        took,
        shard,
        delays,
    )
}

/// Waits until the counter has this value, or so long.
fn wait_for(counter: &AtomicU64, value: u64, most: Duration) {
    let until = Instant::now() + most;
    while counter.load(Ordering::Relaxed) < value && Instant::now() < until {
        thread::sleep(Duration::from_millis(5));
    }
}
