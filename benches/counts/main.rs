//! How many instructions things cost, compared with what is recorded in `counts.toml`.
//!
//! ```text
//! cargo bench -p trunkline-benches --bench counts -- [--record] [ROW...]
//! ```
//!
//! Counted by callgrind, so the figures do not depend on how busy or fast the machine is: the same code
//! gives the same figures. It fails when a figure has grown by more than its tolerance; `--record`
//! writes the new figures, which is how a commit declares them. `ROW` is (part of) a name.

mod process;
mod rows;

use std::{
    path::Path,
    process::{Command, ExitCode},
};

use rows::{COUNTED, ROWS};
use trunkline_benches::{
    budget::{self, Figures, RECORD, Verdict, grouped},
    callgrind::{self, count_myself},
};

/// What issue 3 allows a whole call through the whole process to cost.
const CALL_MAX: u64 = 40_000;

/// A routed call costs at least so many packets of a stranger.
const STRANGERS_A_CALL: u64 = 20;

/// The rows of the whole process.
const PROCESS: [&str; 3] = ["process.call", "process.yardstick", "process.stranger"];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    if let [play, row] = &words[..]
        && play == "--play"
    {
        let row = ROWS.iter().find(|it| it.name == *row);
        rows::play(row.expect("this program asks itself for its own rows"));
        return ExitCode::SUCCESS;
    }
    let (options, wanted): (Vec<String>, Vec<String>) =
        words.into_iter().partition(|word| word.starts_with('-'));
    let record = match &options[..] {
        [] => false,
        [one] if one == "--record" => true,
        _ => return failed("usage: counts [--record] [ROW...]"),
    };
    if !callgrind::is_there() {
        return failed("NOT COUNTED: there is no valgrind; install the package of that name");
    }
    match judge(&wanted, record) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => failed(&fault),
    }
}

fn failed(fault: &str) -> ExitCode {
    eprintln!("{fault}");
    ExitCode::FAILURE
}

/// Counts, prints, and records if told to; whether all is well.
fn judge(wanted: &[String], record: bool) -> Result<bool, String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("counts.toml");
    let recorded = budget::read(&file);
    let names = names();
    let counted = count(&names, wanted)?;
    if counted.is_empty() {
        return Err(format!(
            "no row is named so; there are {}",
            names.join(", ")
        ));
    }
    if record {
        let mut figures = match &recorded {
            Ok(recorded) if !wanted.is_empty() => recorded.clone(),
            Ok(_) | Err(_) => Figures::new(),
        };
        figures.extend(counted.clone());
        budget::write(&file, &names, &figures, &compiler())?;
        println!("recorded in benches/counts.toml");
    }
    let recorded = if record {
        budget::read(&file)
    } else {
        recorded
    }?;
    let mut well = true;
    for name in names.iter().filter(|name| counted.contains_key(*name)) {
        let (figure, before) = (counted[name], recorded.get(name).copied());
        let verdict = budget::verdict(name, figure, before);
        well &= matches!(verdict, Verdict::Same | Verdict::Less);
        explain(name, figure, before, verdict);
    }
    if wanted.is_empty() {
        for name in recorded.keys().filter(|name| !names.contains(name)) {
            well = false;
            println!("FAILED: {name} is recorded and no longer counted; take it out: {RECORD}");
        }
    }
    Ok(limits(&counted, &recorded) && well)
}

/// All rows, in the order in which they are shown.
fn names() -> Vec<String> {
    let inside = ROWS.iter().map(|row| format!("proxy.{}", row.name));
    inside.chain(PROCESS.map(str::to_owned)).collect()
}

fn count(names: &[String], wanted: &[String]) -> Result<Figures, String> {
    let is_wanted =
        |name: &String| wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str()));
    let mut counted = Figures::new();
    println!(
        "{:<24} {:>12} {:>12} {:>8}",
        "instructions", "counted", "recorded", ""
    );
    for row in ROWS {
        let name = format!("proxy.{}", row.name);
        if is_wanted(&name) {
            let sum = count_myself(row.name, &["--play", row.name])?;
            counted.insert(name, sum / COUNTED);
        }
    }
    if PROCESS.iter().any(|name| is_wanted(&(*name).to_owned())) {
        let cost = process::count()?;
        counted.insert(PROCESS[0].into(), cost.call);
        counted.insert(PROCESS[1].into(), cost.yardstick);
        counted.insert(PROCESS[2].into(), cost.stranger);
    }
    debug_assert!(counted.keys().all(|name| names.contains(name)));
    Ok(counted)
}

fn explain(name: &str, figure: u64, before: Option<u64>, verdict: Verdict) {
    let shown = before.map_or_else(|| "-".into(), grouped);
    let change = before.map_or_else(String::new, |before| {
        format!(
            "{:+.1} %",
            (figure as f64 / before.max(1) as f64 - 1.0) * 100.0
        )
    });
    println!("{name:<24} {:>12} {shown:>12} {change:>8}", grouped(figure));
    let tolerance = budget::tolerance(name);
    match verdict {
        Verdict::Same => {}
        Verdict::Less => {
            println!(
                "  {name} costs less than recorded, by over {tolerance} %: good. Record it: {RECORD}"
            );
        }
        Verdict::More => println!(
            "FAILED: {name} costs {} instructions, {} are recorded: it grew by over {tolerance} %. \
             If that is meant, declare it: {RECORD}",
            grouped(figure),
            grouped(before.unwrap_or(0)),
        ),
        Verdict::New => println!("FAILED: nothing is recorded for {name}; record it: {RECORD}"),
    }
}

/// The goals of issue 3. One that is recorded as reached must stay so, however small the step; one that is
/// not yet is only told.
fn limits(counted: &Figures, recorded: &Figures) -> bool {
    let call_too_dear = |figures: &Figures| {
        let call = figures.get("process.yardstick").copied()?;
        let fault = format!(
            "the yardstick's call costs {} instructions; {} are allowed",
            grouped(call),
            grouped(CALL_MAX)
        );
        (call > CALL_MAX).then_some(fault)
    };
    let stranger_too_dear = |figures: &Figures, part: &str| {
        let call = figures.get(&format!("{part}.call"))?;
        let stranger = figures.get(&format!("{part}.stranger"))?;
        let fault = format!(
            "{part}: a stranger's packet costs {}, more than 1/{STRANGERS_A_CALL} of a call ({})",
            grouped(*stranger),
            grouped(*call)
        );
        (stranger * STRANGERS_A_CALL > *call).then_some(fault)
    };
    let goals = [
        (call_too_dear(counted), call_too_dear(recorded)),
        (
            stranger_too_dear(counted, "proxy"),
            stranger_too_dear(recorded, "proxy"),
        ),
        (
            stranger_too_dear(counted, "process"),
            stranger_too_dear(recorded, "process"),
        ),
    ];
    let mut well = true;
    for (now, before) in goals {
        let Some(fault) = now else { continue };
        if before.is_some() {
            println!("NOT REACHED YET: {fault}");
        } else {
            well = false;
            println!("FAILED: {fault}, and that was kept before");
        }
    }
    well
}

/// Other compilers give other figures.
fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output();
    let version = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    version.unwrap_or_else(|_| "an unknown compiler".into())
}
