//! `trunkline check FILE`: reads it by the same code as `run` does.

use std::{path::Path, process::ExitCode};

use trunkline_config::Report;

/// Prints every fault and warning, and what the timers come to when something dies. Exit code 0: the file can be used; 2: it cannot.
pub fn check(file: &Path) -> ExitCode {
    match trunkline_config::load(file) {
        Ok(loaded) => {
            let warnings = loaded.warnings.len();
            if warnings > 0 {
                println!(
                    "{}",
                    Report {
                        path: file.to_owned(),
                        diagnostics: loaded.warnings
                    }
                );
            }
            let settings = &loaded.settings;
            println!(
                "{}: good: {}, {}, {}{}",
                file.display(),
                counted(settings.listeners.len(), "listener"),
                counted(settings.trunks.len(), "trunk"),
                counted(settings.places.len(), "place to resolve"),
                match warnings {
                    0 => String::new(),
                    more => format!("; {}", counted(more, "warning")),
                }
            );
            for foresight in &loaded.foresight {
                println!("\n{foresight}");
            }
            ExitCode::SUCCESS
        }
        Err(report) => {
            eprintln!("{report}");
            ExitCode::from(2)
        }
    }
}

fn counted(count: usize, thing: &str) -> String {
    match (count, thing.split_once(' ')) {
        (1, _) => format!("1 {thing}"),
        (_, Some((first, rest))) => format!("{count} {first}s {rest}"),
        (_, None) => format!("{count} {thing}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn counts_read_as_english() {
        assert_eq!(counted(1, "trunk"), "1 trunk");
        assert_eq!(counted(0, "warning"), "0 warnings");
        assert_eq!(counted(3, "place to resolve"), "3 places to resolve");
    }
}
