//! Numbers as people read them, and the file.

use std::{fs, io, process::Command};

use serde_json::{Value, json};

use crate::{options::Options, server::Site};

/// Median and extremes of repeated measurements.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

/// Of at least one value.
pub fn spread(values: impl IntoIterator<Item = f64>) -> Spread {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    let middle = values.len() / 2;
    Spread {
        median: match values.len() % 2 {
            0 => (at(middle.wrapping_sub(1)) + at(middle)) / 2.0,
            _ => at(middle),
        },
        least: at(0),
        most: at(values.len().wrapping_sub(1)),
    }
}

impl Spread {
    /// "135.2 (130.1-141.0)".
    pub fn text(self, digits: usize) -> String {
        let Spread {
            median,
            least,
            most,
        } = self;
        format!("{median:.digits$} ({least:.digits$}-{most:.digits$})")
    }

    /// For the file.
    pub fn json(self) -> Value {
        json!({ "median": self.median, "least": self.least, "most": self.most })
    }
}

/// What was measured, and on what.
pub fn preamble(options: &Options, site: &Site, before_others: bool) {
    println!(
        "server on core {}, load on core {} ({}, Linux {}); {} s measured after {} s, {} passes in turn",
        site.cores,
        options.load_core,
        processor(),
        fs::read_to_string("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim(),
        options.seconds,
        options.warm,
        options.passes,
    );
    if !before_others {
        println!("not run as root, so other programs of this machine disturb more than they must");
    }
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find(|line| line.starts_with("model name"));
    let name = name.and_then(|line| line.split(": ").nth(1));
    name.unwrap_or("unknown processor").into()
}

/// Writes the file, if one is wanted.
pub fn write(options: &Options, results: &Value) -> io::Result<()> {
    let Some(file) = &options.json else {
        return Ok(());
    };
    let version = |program: &str| {
        let output = Command::new(program).arg("-v").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Some(text.lines().next()?.to_owned())
    };
    let all = json!({
        "machine": { "processor": processor() },
        "kamailio": version("kamailio"),
        "seconds": options.seconds,
        "warm_seconds": options.warm,
        "workers": options.workers,
        "passes": options.passes,
        "results": results,
    });
    fs::write(file, format!("{all:#}\n"))?;
    println!("\nwritten: {}", file.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_median_and_extremes() {
        let found = spread([3.0, 1.0, 2.0]);
        assert_eq!((found.median, found.least, found.most), (2.0, 1.0, 3.0));
        assert_eq!(spread([4.0, 2.0]).median, 3.0);
        assert_eq!(spread([4.0, 2.0]).text(1), "3.0 (2.0-4.0)");
    }
}
