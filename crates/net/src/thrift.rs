//! Memory that a peak needed goes back to the system once there is time for that.
//!
//! The allocator keeps what is freed for the next time, so 100 000 calls at once would cost 110 MiB
//! for ever. It gives that back when it is told to, and takes 0.1 ms a MiB: nothing to do while
//! packets come. So a shard does it when it has slept for a while and is about to sleep again.
#![allow(unsafe_code)]

use std::{fs, time::Duration};

use trunkline_proxy::Moment;

/// Who sleeps for so long, twice in a row, has time.
const LULL: Duration = Duration::from_millis(250);
/// How often memory is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Less than this is not worth giving back.
const WORTH_BYTES: u64 = 32 << 20;
/// The unit of `/proc/self/statm`.
const PAGE_BYTES: u64 = 4096;

#[derive(Debug)]
pub(crate) struct Thrift {
    /// The last turn.
    turn: Moment,
    look_at: Moment,
    /// What the process had from the system when it needed little.
    usual: u64,
}

impl Thrift {
    pub(crate) fn new(now: Moment) -> Self {
        Thrift {
            turn: now,
            look_at: now + LOOK_EVERY,
            usual: resident(),
        }
    }

    /// At the end of a turn that began at `now`, when there is nothing to do until `until`.
    #[inline]
    pub(crate) fn before_sleep(&mut self, now: Moment, until: Moment) {
        let last = std::mem::replace(&mut self.turn, now);
        if self.look_at <= now {
            self.look(now, last, until);
        }
    }

    #[cold]
    fn look(&mut self, now: Moment, last: Moment, until: Moment) {
        if now < last + LULL || until < now + LULL {
            return;
        }
        self.look_at = now + LOOK_EVERY;
        if resident() > self.usual + WORTH_BYTES {
            give_back();
            self.usual = resident();
        }
    }
}

/// Memory that the process has from the system, in bytes; 0 when that cannot be known.
fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0_u64).saturating_mul(PAGE_BYTES)
}

#[cfg(target_env = "gnu")]
fn give_back() {
    // SAFETY: no pointers are passed; it may be called at any time, by any thread.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators than glibc's have other ways.
#[cfg(not(target_env = "gnu"))]
fn give_back() {}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use std::{env, process::Command};

    use super::*;

    /// Set where a test runs without others beside it.
    const ALONE: &str = "TRUNKLINE_TEST_ALONE";

    /// Memory is the whole process', so this takes one of its own.
    #[test]
    fn memory_goes_back_in_a_lull_and_not_before() {
        if env::var_os(ALONE).is_some() {
            return gives_back();
        }
        let name = "thrift::tests::memory_goes_back_in_a_lull_and_not_before";
        let run = Command::new(env::current_exe().expect("this test"))
            .args(["--exact", name])
            .env(ALONE, "yes")
            .output()
            .expect("it can run itself");
        let said = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success() && said.contains("1 passed"), "{said}");
    }

    fn gives_back() {
        let start = Moment::EPOCH;
        let mut thrift = Thrift::new(start);
        let before = resident();
        // What is freed between things that stay is what an allocator keeps.
        let mut boxes: Vec<_> = (0..100_000).map(|_| Box::new([1_u8; 1000])).collect();
        let mut at = 0;
        boxes.retain(|_| {
            at += 1;
            at % 1000 == 0
        });
        let kept = resident();
        assert!(kept > before + (80 << 20), "{before} {kept}");
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        for (turn, until, why) in [
            (9_000, None, "it was looked at not long ago"),
            (10_100, Some(10_200), "there is something to do soon"),
            (10_200, None, "it has not slept for long"),
        ] {
            thrift.before_sleep(after(turn), until.map_or(Moment::NEVER, after));
            assert!(resident() > before + (80 << 20), "{why}");
        }
        thrift.before_sleep(after(10_500), after(20_000));
        let left = resident();
        assert!(left < before + (16 << 20), "{before} {left}");
        assert_eq!(boxes.len(), 100);
    }
}
