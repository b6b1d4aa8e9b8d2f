//! The only clock of the data path.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use trunkline_proxy::Clock;

/// Now, for timers.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Now on both clocks, for tokens that other nodes must be able to read.
pub(crate) fn both() -> Clock {
    let unix = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    Clock { at: now(), unix }
}
