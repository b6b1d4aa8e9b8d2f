//! The only clock of the data path.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use trunkline_proxy::{Clock, Moment};

/// What a shard reads its clock by: the system's monotonic one, in moments as the brain counts them.
#[derive(Copy, Clone, Debug)]
pub(crate) struct ShardClock {
    epoch: Instant,
}

impl ShardClock {
    /// One whose [`Moment::EPOCH`] is this.
    pub(crate) fn new(epoch: Instant) -> Self {
        ShardClock { epoch }
    }

    /// Now, for timers.
    #[inline]
    pub(crate) fn now(self) -> Moment {
        Moment::EPOCH + Instant::now().saturating_duration_since(self.epoch)
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
