//! `trunkline-sim`: one world in full, many worlds until one breaks a promise, or one ladder.

use std::{collections::BTreeMap, path::Path, process::ExitCode};

use trunkline_sim::{
    ladder::{Library, Script, run as play},
    world::{Plan, real, run},
};

const USAGE: &str = "\
usage: trunkline-sim --seed N        one world, told as a ladder
       trunkline-sim --worlds N      worlds from seed 1 (or --from SEED) on, until one breaks a promise
                                     (or with --all, past that one)
       trunkline-sim --ladder FILE   one ladder script, told as it happened";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().ok();
    match words[..] {
        ["--seed", seed] => number(seed).map(one_world),
        ["--worlds", count, ref rest @ ..] => {
            let from = match rest {
                ["--from", from, ..] => number(from),
                _ => Some(1),
            };
            let all = rest.contains(&"--all");
            number(count)
                .zip(from)
                .map(|(count, from)| many_worlds(from, count, all))
        }
        ["--ladder", file] => Some(one_ladder(Path::new(file))),
        _ => None,
    }
    .unwrap_or_else(|| {
        eprintln!("{USAGE}");
        ExitCode::from(2)
    })
}

fn one_world(seed: u64) -> ExitCode {
    let plan = Plan::draw(seed);
    println!("{}", plan.config);
    let outcome = run(&plan, &real, true);
    for line in outcome.trace {
        println!("{line}");
    }
    for story in outcome.stories {
        println!("{story}");
    }
    match outcome.broken {
        None => ExitCode::SUCCESS,
        Some(broken) => {
            eprintln!("seed {seed}: {broken}");
            ExitCode::FAILURE
        }
    }
}

fn many_worlds(from: u64, count: u64, all: bool) -> ExitCode {
    let (mut inputs, mut bad) = (0, 0);
    let mut sights: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in from..from.saturating_add(count) {
        let outcome = run(&Plan::draw(seed), &real, false);
        inputs += outcome.inputs;
        for (sight, count) in outcome.sights {
            *sights.entry(sight).or_default() += count;
        }
        if let Some(broken) = outcome.broken {
            bad += 1;
            eprintln!("seed {seed}: {broken}");
            eprintln!("again: cargo run -p trunkline-sim -- --seed {seed}");
            if !all {
                return ExitCode::FAILURE;
            }
        }
    }
    if bad > 0 {
        return ExitCode::FAILURE;
    }
    for (sight, count) in sights {
        println!("{count:>9}  {sight}");
    }
    println!("{count} worlds from seed {from}, {inputs} inputs: every promise was kept");
    ExitCode::SUCCESS
}

fn one_ladder(file: &Path) -> ExitCode {
    // A script stands in a folder beside `configs`, or two above it.
    let configs = file
        .ancestors()
        .skip(1)
        .map(|folder| folder.join("configs"))
        .find(|folder| folder.is_dir());
    let told = std::fs::read_to_string(file)
        .map_err(|error| format!("{}: {error}", file.display()))
        .and_then(|text| {
            Script::parse(&text).map_err(|error| format!("{}: {error}", file.display()))
        })
        .and_then(|script| {
            play(&script, &Library::new(configs.unwrap_or_default()))
                .map_err(|failure| failure.to_string())
        });
    match told {
        Ok(ladder) => {
            ladder.iter().for_each(|line| println!("{line}"));
            ExitCode::SUCCESS
        }
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}
