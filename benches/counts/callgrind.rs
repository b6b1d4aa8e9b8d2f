//! Runs a program under callgrind and reads how many instructions it took in user space.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Where callgrind leaves its counts: a file of this process, gone when dropped.
pub struct Tally {
    file: PathBuf,
}

impl Tally {
    /// A file that is named after what is counted.
    pub fn new(name: &str) -> Tally {
        let file = format!("trunkline-counts.{}.{name}", std::process::id());
        Tally {
            file: std::env::temp_dir().join(file),
        }
    }

    /// `valgrind` before a program, which is still to be named.
    pub fn valgrind(&self) -> Command {
        let mut command = Command::new("valgrind");
        command.args(["--quiet", "--tool=callgrind"]);
        // `--dump-instr=no` and the like are defaults; what is wanted is one sum.
        command.arg(format!("--callgrind-out-file={}", self.file.display()));
        command
    }

    /// The sum, once the program has ended.
    pub fn instructions(&self) -> Result<u64, String> {
        let text = read(&self.file)?;
        let sums = text
            .lines()
            .filter_map(|line| line.strip_prefix("totals: "));
        // With several parts (there is one here) each has its own.
        let sums: Option<Vec<u64>> = sums.map(|sum| sum.trim().parse().ok()).collect();
        sums.filter(|sums| !sums.is_empty())
            .map(|sums| sums.iter().sum())
            .ok_or_else(|| format!("{}: callgrind left no sum", self.file.display()))
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

fn read(file: &Path) -> Result<String, String> {
    let bytes = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether there is a valgrind to count with.
pub fn is_there() -> bool {
    Command::new("valgrind")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}
