//! Trunkline, the program: puts the parts together and decides nothing.
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

mod admin_client;
mod check;
mod demo;
mod dr;
mod logging;
mod run;
mod secrets;
mod targets;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};

/// SIP edge load balancer: stands between PBXs and carriers and makes calls succeed.
#[derive(Parser)]
#[command(name = "trunkline", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service in the foreground. SIGHUP reloads the file, SIGTERM drains and ends
    Run {
        /// The configuration file
        #[arg(long, short, value_name = "FILE")]
        config: PathBuf,
    },
    /// Check a configuration file as `run` would read it: every fault at once, with its remedy
    Check {
        /// The configuration file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Show what each edge and target resolves to now, and the health of each address
    ///
    /// Asks the running service (its admin address); without one, asks DNS itself, and health is
    /// then unknown.
    Targets {
        /// The configuration file
        #[arg(long, short, value_name = "FILE")]
        config: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Disaster recovery before the disaster: test the webhook, or drill with some real calls
    #[command(subcommand)]
    Dr(Dr),
    /// Show the whole thing on loopback with nothing else installed: calls both ways, and what
    /// happens when an address, an edge, a PBX and all PBXs die
    Demo {
        /// Keep running afterwards, with the configuration printed, until Ctrl-C
        #[arg(long)]
        stay: bool,
    },
}

#[derive(Subcommand)]
enum Dr {
    /// Ask the real webhooks, marked as a test (TrunklineTest, X-Trunkline-Test), and show what would
    /// happen to a call now: request, answer, plan, certificate, and what is wrong
    Test {
        /// The trunk; all of them when it is left out
        #[arg(value_name = "TRUNK")]
        trunk: Option<String>,
        /// The configuration file
        #[arg(long, short, value_name = "FILE")]
        config: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// For a while, treat some inbound calls of a trunk as if every PBX were down; all others notice
    /// nothing. Tests the webhook first, ends by itself, and tells how the calls fared
    #[command(group(clap::ArgGroup::new("calls").required(true).args(["number", "share"])))]
    Drill {
        /// The trunk
        #[arg(value_name = "TRUNK")]
        trunk: String,
        /// The configuration file of the running service
        #[arg(long, short, value_name = "FILE")]
        config: PathBuf,
        /// How long: 30s, 10m, 1h at most
        #[arg(long = "for", value_name = "TIME", value_parser = lasts)]
        lasts: Duration,
        /// Calls from or to this number; "+1555*" is every number that begins so
        #[arg(long, value_name = "NUMBER")]
        number: Option<String>,
        /// So many of all calls: 1%
        #[arg(long, value_name = "PERCENT", value_parser = percent)]
        share: Option<f64>,
    },
}

fn lasts(text: &str) -> Result<Duration, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600)];
    let read = units.into_iter().find_map(|(unit, seconds)| {
        let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(Duration::from_secs(count.checked_mul(seconds)?))
    });
    read.filter(|lasts| (1..=3600).contains(&lasts.as_secs()))
        .ok_or_else(|| "write 30s, 10m or 1h; one hour is the most".to_owned())
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse().ok();
    number
        .filter(|percent| *percent > 0.0 && *percent <= 100.0)
        .ok_or_else(|| "write a share above 0% and up to 100%, such as 1%".to_owned())
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run { config } => run::run(&config),
        Command::Check { file } => check::check(&file),
        Command::Targets { config, json } => targets::targets(&config, json),
        Command::Dr(Dr::Test {
            trunk,
            config,
            json,
        }) => dr::test(&config, trunk.as_deref(), json),
        Command::Dr(Dr::Drill {
            trunk,
            config,
            lasts,
            number,
            share,
        }) => {
            let wanted = dr::Wanted {
                trunk,
                lasts,
                number,
                percent: share,
            };
            dr::drill(&config, &wanted)
        }
        Command::Demo { stay } => demo::demo(stay),
    }
}
