//! The recorded instruction counts: read, compared, written. For `counts`.

use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

/// The one command that declares new figures.
pub const RECORD: &str = "cargo bench -p trunkline-benches --bench counts -- --record";

/// Figures by name, such as `proxy.invite`.
pub type Figures = BTreeMap<String, u64>;

/// What a figure may differ by before somebody must say so, in percent: the proxy alone is counted to
/// the instruction; the whole process has threads and a clock.
pub fn tolerance(name: &str) -> u64 {
    match name {
        // How many of these packets gather before the process wakes is up to the machine.
        "process.stranger" => 50,
        _ if name.starts_with("process.") => 15,
        _ => 5,
    }
}

/// How a figure stands beside the recorded one.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Within its tolerance.
    Same,
    /// Less than that: good, and worth recording.
    Less,
    /// More than that: somebody must say that it is meant.
    More,
    /// Nothing is recorded for it.
    New,
}

/// Compares one figure with the recorded one.
pub fn verdict(name: &str, counted: u64, recorded: Option<u64>) -> Verdict {
    let Some(recorded) = recorded else {
        return Verdict::New;
    };
    let (counted, room) = (counted * 100, tolerance(name));
    if counted > recorded * (100 + room) {
        Verdict::More
    } else if counted < recorded * (100 - room) {
        Verdict::Less
    } else {
        Verdict::Same
    }
}

/// Reads what is recorded.
///
/// # Errors
/// In a sentence: the file cannot be read, or holds something else.
pub fn read(file: &Path) -> Result<Figures, String> {
    let fault = |what: String| format!("{}: {what}; \"{RECORD}\" writes it anew", file.display());
    let text = fs::read_to_string(file).map_err(|error| fault(error.to_string()))?;
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| fault(error.to_string()))?;
    let mut figures = Figures::new();
    for (part, rows) in &table {
        for (row, figure) in rows.as_table().into_iter().flatten() {
            let figure = figure.as_integer().and_then(|it| u64::try_from(it).ok());
            let figure = figure.ok_or_else(|| fault(format!("{part}.{row} is no count")))?;
            figures.insert(format!("{part}.{row}"), figure);
        }
    }
    Ok(figures)
}

/// Writes figures, by part and in the order of `names`.
///
/// # Errors
/// In a sentence: the file cannot be written.
pub fn write(
    file: &Path,
    names: &[String],
    figures: &Figures,
    compiler: &str,
) -> Result<(), String> {
    let mut text = format!(
        "# Instructions in user space, as benches/README.md tells (\"Instructions\"). CI counts them again and\n\
         # fails on a growth over 5 % (over 15 % for the whole process, 50 % for a stranger's packet there). To declare new ones:\n\
         #   {RECORD}\n\
         # Recorded with {compiler}.\n"
    );
    let mut part = "";
    for name in names {
        let (Some((of, row)), Some(figure)) = (name.split_once('.'), figures.get(name)) else {
            continue;
        };
        if of != part {
            let _ = write!(text, "\n[{of}]\n");
            part = of;
        }
        let _ = writeln!(text, "{row} = {}", grouped(*figure));
    }
    fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}

/// 1234567 as 1_234_567.
pub fn grouped(figure: u64) -> String {
    let digits = figure.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_beyond_the_tolerance_and_rows_nobody_recorded_stand_out() {
        for (name, counted, recorded, wanted) in [
            ("proxy.invite", 10_000, Some(10_000), Verdict::Same),
            ("proxy.invite", 10_500, Some(10_000), Verdict::Same),
            ("proxy.invite", 10_501, Some(10_000), Verdict::More),
            ("proxy.invite", 9_500, Some(10_000), Verdict::Same),
            ("proxy.invite", 9_499, Some(10_000), Verdict::Less),
            ("proxy.invite", 1, None, Verdict::New),
            ("process.call", 11_500, Some(10_000), Verdict::Same),
            ("process.call", 11_501, Some(10_000), Verdict::More),
        ] {
            let found = verdict(name, counted, recorded);
            assert_eq!(found, wanted, "{name}: {counted} beside {recorded:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let file = std::env::temp_dir().join(format!("budget.{}.toml", std::process::id()));
        let names = ["proxy.call", "proxy.ack", "process.call"].map(str::to_owned);
        let figures = Figures::from([
            ("proxy.call".to_owned(), 1_234_567),
            ("proxy.ack".to_owned(), 890),
            ("process.call".to_owned(), 12),
        ]);
        write(&file, &names, &figures, "a compiler").unwrap();
        let again = read(&file);
        let _ = fs::remove_file(&file);
        assert_eq!(again, Ok(figures));
    }
}
