//! The only clock of the data path.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use trunkline_proxy::{Clock, Moment};

use crate::system;

/// What a shard reads its clock by: the system's monotonic one, in moments as the brain counts them.
///
/// An [`Instant`] is that clock too, but to know how long it is after another one takes as long as to read it.
#[derive(Copy, Clone, Debug)]
pub(crate) struct ShardClock {
    /// What it showed at the epoch, in nanoseconds.
    epoch: u64,
}

impl ShardClock {
    /// One whose [`Moment::EPOCH`] is this.
    pub(crate) fn new(epoch: Instant) -> Self {
        let now = system::monotonic();
        let since = epoch.elapsed().as_nanos() as u64;
        ShardClock {
            epoch: now.saturating_sub(since),
        }
    }

    /// Now, for timers.
    #[inline]
    pub(crate) fn now(self) -> Moment {
        Moment::at_nanos(system::monotonic().saturating_sub(self.epoch))
    }
}

/// Now on both clocks, for tokens that other nodes must be able to read.
pub(crate) fn both() -> Clock {
    let unix = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    Clock {
        at: Instant::now(),
        unix,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn moments_are_those_of_an_instant_and_never_run_back() {
        let epoch = Instant::now();
        let clock = ShardClock::new(epoch);
        let mut last = Moment::EPOCH;
        for _ in 0..1000 {
            let before = epoch.elapsed();
            let now = clock.now();
            let after = epoch.elapsed();
            assert!(now >= last, "{last:?} {now:?}");
            // What passes between the first two reads is lost for ever: nothing, or a turn of somebody else's.
            let slack = Duration::from_millis(500);
            let since = now.since_epoch();
            assert!(
                since + slack >= before && since <= after + slack,
                "{since:?} {before:?} {after:?}"
            );
            last = now;
        }
    }
}
