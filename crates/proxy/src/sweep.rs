//! When established calls are looked through for those that nobody is in any more.
//!
//! Few calls are all looked at once a minute. Many would take milliseconds, for which every packet
//! waited: of them a part is looked at at a time, and each part every ten minutes.

use std::{ops::Range, time::Duration};

use crate::dialog::Calls;

/// More calls than this are many.
const MANY: usize = 50_000;
/// How often few are looked at.
const EVERY: Duration = Duration::from_secs(60);
/// How often each of many is.
const EACH: Duration = Duration::from_secs(600);

/// See the module's text.
#[derive(Debug, Default)]
pub struct Sweep {
    /// Whether a look is due some time.
    pub armed: bool,
    /// The part whose turn it is among many.
    part: usize,
}

impl Sweep {
    /// The parts of the table that the next look takes on.
    pub fn parts(&self, calls: usize) -> Range<usize> {
        if calls > MANY {
            self.part..self.part + 1
        } else {
            0..Calls::PARTS
        }
    }

    /// That look is done; how long to wait for the next.
    pub fn done(&mut self, calls: usize) -> Duration {
        self.part = (self.part + 1) % Calls::PARTS;
        Sweep::pause(calls)
    }

    /// Between two looks.
    pub fn pause(calls: usize) -> Duration {
        if calls > MANY {
            EACH / Calls::PARTS as u32
        } else {
            EVERY
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_calls_are_all_looked_at_each_minute_and_many_part_by_part_in_ten() {
        let mut sweep = Sweep::default();
        assert_eq!(sweep.parts(MANY), 0..Calls::PARTS);
        assert_eq!(sweep.done(MANY), Duration::from_secs(60));
        let mut seen = vec![0; Calls::PARTS];
        let mut took = Duration::ZERO;
        for _ in 0..Calls::PARTS {
            let parts = sweep.parts(MANY + 1);
            assert_eq!(parts.len(), 1);
            seen[parts.start] += 1;
            took += sweep.done(MANY + 1);
        }
        assert!(seen.iter().all(|times| *times == 1), "{seen:?}");
        assert_eq!(took, Duration::from_secs(600));
    }
}
