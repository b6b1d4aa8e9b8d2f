//! Memory and descriptors of a server while it works, sample by sample, and whether they grow.

use std::{
    fs, io,
    path::Path,
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use trunkline_benches::cpu;

/// Transactions linger for 32 s and the alarms of Timer C for 180 s, in queues whose room is a power of two:
/// until all of that was used once, memory grows as it should. At 1000 calls a second that is after 262 s.
const SETTLED: Duration = Duration::from_secs(300);
/// More than this between the first and the last third is growth.
const GROWTH_BYTES: u64 = 2 << 20;
/// The admin page and the log may be open at one sample and not at the next.
const MORE_DESCRIPTORS: usize = 2;

/// What was seen at one moment.
#[derive(Copy, Clone, Debug)]
pub struct Sample {
    at: Duration,
    resident: u64,
    descriptors: usize,
    threads: usize,
    processor: Duration,
}

impl Sample {
    fn of(process: u32, at: Duration) -> Sample {
        let count = |folder: &str| {
            fs::read_dir(format!("/proc/{process}/{folder}")).map_or(0, Iterator::count)
        };
        Sample {
            at,
            resident: cpu::resident(process),
            descriptors: count("fd"),
            threads: count("task"),
            processor: cpu::tree(process).total,
        }
    }
}

/// Looks at a process each so often, until it is asked what it saw.
pub struct Watch {
    stop: Sender<()>,
    thread: JoinHandle<Vec<Sample>>,
}

impl Watch {
    /// Begins.
    pub fn begin(process: u32, every: Duration) -> Watch {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            let start = Instant::now();
            let mut samples = vec![Sample::of(process, Duration::ZERO)];
            loop {
                let next = every * samples.len() as u32;
                let pause = next.saturating_sub(start.elapsed());
                match stopped.recv_timeout(pause) {
                    Err(RecvTimeoutError::Timeout) => {
                        samples.push(Sample::of(process, start.elapsed()));
                    }
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return samples,
                }
            }
        });
        Watch { stop, thread }
    }

    /// What was seen.
    pub fn end(self) -> Vec<Sample> {
        // It may have ended by itself, and its samples say more than how.
        let _ = self.stop.send(());
        self.thread.join().unwrap_or_default()
    }
}

/// Writes samples as CSV.
pub fn write(samples: &[Sample], to: &Path) -> io::Result<()> {
    let mut text = String::from("seconds,resident_kib,descriptors,threads,processor_seconds\n");
    for sample in samples {
        text += &format!(
            "{:.0},{},{},{},{:.1}\n",
            sample.at.as_secs_f64(),
            sample.resident >> 10,
            sample.descriptors,
            sample.threads,
            sample.processor.as_secs_f64()
        );
    }
    fs::write(to, text)
}

/// What grows, for a person; nothing: neither does. `Err`: there was too little to tell.
pub fn growth(samples: &[Sample]) -> Result<Option<String>, String> {
    let settled: Vec<&Sample> = samples.iter().filter(|it| it.at >= SETTLED).collect();
    let third = settled.len() / 3;
    if third == 0 {
        return Err(format!(
            "{} samples after the first {SETTLED:?} are too few to tell growth: soak for longer, or sample more often",
            settled.len()
        ));
    }
    let median = |part: &[&Sample]| {
        let mut resident: Vec<u64> = part.iter().map(|it| it.resident).collect();
        resident.sort_unstable();
        resident[resident.len() / 2]
    };
    let (first, last) = (&settled[..third], &settled[settled.len() - third..]);
    let (before, after) = (median(first), median(last));
    if after > before + GROWTH_BYTES.max(before / 50) {
        return Ok(Some(format!(
            "resident memory grew from {} to {} KiB",
            before >> 10,
            after >> 10
        )));
    }
    let most = |part: &[&Sample], of: fn(&Sample) -> usize| {
        part.iter().map(|it| of(it)).max().unwrap_or(0)
    };
    let grown = |what: &str, of: fn(&Sample) -> usize| {
        let (before, after) = (most(first, of), most(last, of));
        (after > before + MORE_DESCRIPTORS).then(|| format!("{what} grew from {before} to {after}"))
    };
    Ok(
        grown("open descriptors", |it| it.descriptors)
            .or_else(|| grown("threads", |it| it.threads)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(of: impl Fn(u64) -> (u64, usize)) -> Vec<Sample> {
        let sample = |nth: u64| {
            let (mebibytes, descriptors) = of(nth);
            Sample {
                at: Duration::from_secs(60 * nth),
                resident: mebibytes << 20,
                descriptors,
                threads: 4,
                processor: Duration::ZERO,
            }
        };
        (0..60).map(sample).collect()
    }

    #[test]
    fn what_grows_is_named_and_what_swings_is_not() {
        let seen = |of: fn(u64) -> (u64, usize)| growth(&samples(of)).unwrap();
        assert_eq!(seen(|_| (30, 20)), None, "steady");
        assert_eq!(seen(|nth| (10 + nth.min(1) * 50, 20)), None, "a start");
        assert_eq!(
            seen(|nth| (30 + nth % 7, 20 + nth as usize % 3)),
            None,
            "swings"
        );
        let memory = seen(|nth| (30 + nth / 5, 20)).unwrap();
        assert!(memory.contains("memory"), "{memory}");
        let descriptors = seen(|nth| (30, 20 + nth as usize / 10)).unwrap();
        assert!(descriptors.contains("descriptors"), "{descriptors}");
        assert!(growth(&samples(|_| (30, 20))[..3]).is_err(), "too few");
    }
}
