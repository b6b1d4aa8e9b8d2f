//! Trunkline beside Kamailio and a bare relay, on loopback, in one run: `benches/versus/run`.
//! Method, results and how to read them are in `benches/README.md`.

mod cost;
mod endurance;
mod flood;
mod highest;
mod options;
mod overload;
mod relay;
mod report;
mod server;
mod soak;
mod upkeep;

use std::process::ExitCode;

use clap::Parser;

use options::Options;
use trunkline_benches::sys;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, word, addresses @ ..] = arguments.as_slice()
        && word == relay::WORD
    {
        return ended(relay::run(addresses).map_err(Into::into));
    }
    ended(run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let outranking = sys::Outranking::begin();
    let site = options.site()?;
    sys::pin(options.load_core).map_err(|error| {
        format!(
            "cannot keep the load on core {}: {error}; choose another with --load-core",
            options.load_core
        )
    })?;
    sys::exact_timers()?;
    if options.realtime {
        sys::real_time().map_err(|error| format!("--realtime wants root: {error}"))?;
    }
    report::preamble(options, &site, outranking.granted);
    let measure = match options {
        Options { highest: true, .. } => highest::run,
        Options { overload: true, .. } => overload::run,
        Options { flood: true, .. } => flood::run,
        Options { soak: Some(_), .. } => soak::run,
        _ => cost::run,
    };
    let json = measure(options, &site)?;
    report::write(options, &json)?;
    Ok(())
}

fn ended(result: Result<(), Box<dyn std::error::Error>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("versus: {error}");
            ExitCode::FAILURE
        }
    }
}
