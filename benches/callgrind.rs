//! Runs a program under callgrind and reads how many instructions it took in user space.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::world::COUNTED_FUNCTION;

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
    ///
    /// # Errors
    /// In a sentence: callgrind left no sum.
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

/// Runs this very program again under callgrind, with these arguments, and counts inside of
/// [`World`](crate::world::World) only, where it is told to.
///
/// # Errors
/// In a sentence: it cannot be run, it ended badly, or nothing was counted.
pub fn count_myself(name: &str, arguments: &[&str]) -> Result<u64, String> {
    let tally = Tally::new(name);
    let myself = std::env::current_exe().map_err(|error| error.to_string())?;
    let status = tally
        .valgrind()
        .arg("--collect-atstart=no")
        .arg(format!("--toggle-collect={COUNTED_FUNCTION}"))
        .arg(myself)
        .args(arguments)
        .stdout(Stdio::null())
        .status()
        .map_err(|error| format!("valgrind: {error}"))?;
    if !status.success() {
        return Err(format!("{name}: it ended badly ({status})"));
    }
    match tally.instructions()? {
        0 => Err(format!(
            "{name}: nothing was counted; is {COUNTED_FUNCTION} still its name?"
        )),
        sum => Ok(sum),
    }
}

/// Whether there is a valgrind to count with.
pub fn is_there() -> bool {
    Command::new("valgrind")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}
