//! Processor time, as `/proc` tells it.

use std::{fs, path::Path, time::Duration};

/// Clock ticks of `/proc/PID/stat` in a second: the same on every Linux (`USER_HZ`).
const TICKS: f64 = 100.0;

/// What a process and its children have used.
#[derive(Copy, Clone, Default, Debug)]
pub struct Spent {
    /// All of it, exact.
    pub total: Duration,
    /// Share of it in user space, in seconds of the clock's ticks (10 ms each): an estimate.
    pub user_ticks: f64,
    /// The same of the kernel's work for it.
    pub system_ticks: f64,
}

impl Spent {
    /// From then to now.
    pub fn since(self, earlier: Spent) -> Spent {
        Spent {
            total: self.total.saturating_sub(earlier.total),
            user_ticks: self.user_ticks - earlier.user_ticks,
            system_ticks: self.system_ticks - earlier.system_ticks,
        }
    }
}

/// This thread's.
pub fn own() -> Duration {
    exact(Path::new("/proc/thread-self"))
}

/// A process with all its threads and, since servers fork, all its descendants.
pub fn tree(process: u32) -> Spent {
    let folder = format!("/proc/{process}");
    let mut spent = Spent::default();
    if let Ok(stat) = fs::read_to_string(format!("{folder}/stat")) {
        // After the name, which may contain anything but is in parentheses: field 3 and on.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let mut fields = fields.split_whitespace().skip(11);
        let mut ticks = || -> f64 { fields.next().and_then(|it| it.parse().ok()).unwrap_or(0.0) };
        spent.user_ticks = ticks() / TICKS;
        spent.system_ticks = ticks() / TICKS;
    }
    let tasks = fs::read_dir(format!("{folder}/task")).into_iter().flatten();
    for task in tasks.flatten().map(|task| task.path()) {
        spent.total += exact(&task);
        let children = fs::read_to_string(task.join("children")).unwrap_or_default();
        for child in children.split_whitespace().flat_map(str::parse) {
            let child = tree(child);
            spent.total += child.total;
            spent.user_ticks += child.user_ticks;
            spent.system_ticks += child.system_ticks;
        }
    }
    spent
}

/// False once it has ended, even if nobody has waited for it.
pub fn runs(process: u32) -> bool {
    fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .starts_with(" Z")
    })
}

/// Resident memory of the same processes, in bytes. What they share counts for each.
pub fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes: u64 = line
        .and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0);
    kibibytes * 1024
}

/// One thread, in nanoseconds (`Documentation/scheduler/sched-stats`: the first of three numbers).
fn exact(task: &Path) -> Duration {
    let text = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
    let first = text.split(' ').next().and_then(|it| it.parse().ok());
    Duration::from_nanos(first.unwrap_or(0))
}
