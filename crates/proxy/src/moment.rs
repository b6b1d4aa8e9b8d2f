//! Time as the proxy counts it: one number. It is compared, added to and subtracted from for every
//! message many times, and an [`Instant`](std::time::Instant) is two numbers that must be carried
//! from one to the other.

use std::{
    ops::{Add, AddAssign, Sub},
    time::Duration,
};

/// Nanoseconds of the monotonic clock. Those of the shards of one process are comparable:
/// [`Shared`](crate::Shared) says where they count from.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Moment(u64);

impl Moment {
    /// Where time begins: as far from the first moment that can be told as from the last, nearly.
    pub const EPOCH: Moment = Moment(1 << 62);
    /// Later than everything; what stops here is 430 years away.
    pub const NEVER: Moment = Moment(u64::MAX);

    /// So many nanoseconds after time began.
    #[inline]
    pub const fn at_nanos(since_epoch: u64) -> Moment {
        Moment(Moment::EPOCH.0.saturating_add(since_epoch))
    }

    /// How long after time began.
    #[inline]
    pub fn since_epoch(self) -> Duration {
        self.saturating_duration_since(Moment::EPOCH)
    }

    /// How long after `earlier`, or nothing where that is later.
    #[inline]
    pub fn saturating_duration_since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// So much later; `None` where that is beyond what can be told.
    #[inline]
    pub fn checked_add(self, after: Duration) -> Option<Moment> {
        Some(self + after).filter(|at| *at != Moment::NEVER)
    }

    /// How long after `earlier`; `None` where that is later.
    #[inline]
    pub fn checked_duration_since(self, earlier: Moment) -> Option<Duration> {
        self.0.checked_sub(earlier.0).map(Duration::from_nanos)
    }
}

/// 584 years fit; more counts as that.
#[inline]
pub(crate) fn nanos(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::from(duration.subsec_nanos()))
}

impl Add<Duration> for Moment {
    type Output = Moment;

    #[inline]
    fn add(self, after: Duration) -> Moment {
        Moment(self.0.saturating_add(nanos(after)))
    }
}

impl AddAssign<Duration> for Moment {
    #[inline]
    fn add_assign(&mut self, after: Duration) {
        *self = *self + after;
    }
}

impl Sub<Duration> for Moment {
    type Output = Moment;

    #[inline]
    fn sub(self, before: Duration) -> Moment {
        Moment(self.0.saturating_sub(nanos(before)))
    }
}

/// Nothing where the other is later, as with [`Instant`](std::time::Instant).
impl Sub for Moment {
    type Output = Duration;

    #[inline]
    fn sub(self, earlier: Moment) -> Duration {
        self.saturating_duration_since(earlier)
    }
}
