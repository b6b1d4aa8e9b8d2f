//! Trunkline, the program: puts the parts together and decides nothing.
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

mod check;
mod demo;
mod logging;
mod run;
mod secrets;
mod targets;

use std::{path::PathBuf, process::ExitCode};

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
    /// Show the whole thing on loopback with nothing else installed: calls both ways, and what
    /// happens when an address, an edge, a PBX and all PBXs die
    Demo {
        /// Keep running afterwards, with the configuration printed, until Ctrl-C
        #[arg(long)]
        stay: bool,
    },
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run { config } => run::run(&config),
        Command::Check { file } => check::check(&file),
        Command::Targets { config, json } => targets::targets(&config, json),
        Command::Demo { stay } => demo::demo(stay),
    }
}
