//! When a candidate is probed: never all at once, never faster than it bears.

use std::{
    hash::{Hash, Hasher},
    time::Duration,
};

use siphasher::sip::SipHasher24;

use super::later;
use crate::{
    Moment,
    event::{HealthState, Peer},
    hop::ShardId,
    settings::Health,
};

/// Whoever is probed this seldom is a carrier, and does not like to be probed much more often
/// just because it is in trouble.
const CARRIER_INTERVAL: Duration = Duration::from_secs(10);
const INTERVAL_MIN: Duration = Duration::from_millis(100);
const INTERVAL_MAX: Duration = Duration::from_secs(86_400);
const SUSPECT_INTERVAL: Duration = Duration::from_secs(1);
const DOWN_INTERVAL: Duration = Duration::from_secs(2);

/// The rhythm of one candidate's probes.
///
/// Its jitter comes from a hash of the candidate and a counter: spread as chance would spread it,
/// and the same in a replay.
#[derive(Copy, Clone, Debug)]
pub(super) struct Pace {
    seed: u64,
    born: Moment,
    probes: u64,
    last: Option<Moment>,
    /// The last time a probe was brought forward because of suspicion.
    hurried: Option<Moment>,
}

impl Pace {
    pub(super) fn new(peer: &Peer, now: Moment) -> Self {
        let mut hasher = SipHasher24::new();
        peer.hash(&mut hasher);
        Pace {
            seed: hasher.finish(),
            born: now,
            probes: 0,
            last: None,
            hurried: None,
        }
    }

    /// Which of a process's shards tends the candidate: the same one for all of them.
    pub(super) fn tender(&self, shards: u8) -> ShardId {
        // The remainder is smaller than `shards`, which is a u8.
        ShardId((self.seed % u64::from(shards)) as u8)
    }

    /// The first probe: anywhere within the interval, and from there on one interval further each
    /// time. So probing that is switched off and on again, however often, is neither hastened nor
    /// put off for ever.
    pub(super) fn first(&self, settings: &Health, now: Moment) -> Option<Moment> {
        let interval = interval(settings)?;
        let first = later(self.born, interval.mul_f64(self.chance(0)))?;
        let late = now.saturating_duration_since(first).as_nanos();
        let times = late.div_ceil(interval.as_nanos());
        later(first, interval.saturating_mul(u32::try_from(times).ok()?))
    }

    /// One whole interval from now.
    pub(super) fn regular(&self, settings: &Health, now: Moment) -> Option<Moment> {
        later(now, self.jittered(interval(settings)?))
    }

    /// A probe is sent now; says when the next one is.
    pub(super) fn probed(
        &mut self,
        settings: &Health,
        state: HealthState,
        now: Moment,
    ) -> Option<Moment> {
        self.probes += 1;
        self.last = Some(now);
        later(now, self.jittered(gap(settings, state)?))
    }

    /// The state has changed; says when the next probe is, given the one that was planned.
    pub(super) fn changed(
        &mut self,
        settings: &Health,
        state: HealthState,
        planned: Option<Moment>,
        now: Moment,
    ) -> Option<Moment> {
        let gap = gap(settings, state)?;
        match state {
            HealthState::Suspect => self.hurry(settings, gap, planned, now),
            HealthState::Down => {
                let next = later(self.last.unwrap_or(now), self.jittered(gap))?.max(now);
                Some(planned.map_or(next, |planned| planned.min(next)))
            }
            // The fast rhythm ends with its reason.
            HealthState::Up => later(now, self.jittered(gap)),
            HealthState::Paused => None,
        }
    }

    /// At once, but not right after the probe before; and a carrier is hurried only so often,
    /// however often it becomes suspect.
    fn hurry(
        &mut self,
        settings: &Health,
        gap: Duration,
        planned: Option<Moment>,
        now: Moment,
    ) -> Option<Moment> {
        let again = self.hurried.and_then(|hurried| later(hurried, gap));
        let fresh = self.last.and_then(|last| later(last, shortest(settings)?));
        let soonest = [again, fresh].into_iter().flatten().fold(now, Moment::max);
        let next = planned.map_or(soonest, |planned| planned.min(soonest));
        self.hurried = Some(next);
        Some(next)
    }

    /// Ten per cent either way.
    fn jittered(&self, gap: Duration) -> Duration {
        gap.mul_f64(0.9 + 0.2 * self.chance(self.probes))
    }

    /// A number from 0 up to 1, another one for each turn.
    fn chance(&self, turn: u64) -> f64 {
        let mut hasher = SipHasher24::new_with_keys(self.seed, turn);
        hasher.write_u8(0);
        (hasher.finish() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The configured interval within reason; 0 is off, as `None` is.
fn interval(settings: &Health) -> Option<Duration> {
    let interval = settings
        .probe_interval
        .filter(|interval| !interval.is_zero())?;
    Some(interval.clamp(INTERVAL_MIN, INTERVAL_MAX))
}

/// Whether such a candidate is probed at all.
pub(super) fn is_probed(settings: &Health) -> bool {
    interval(settings).is_some()
}

/// From one probe to the next in a state; `None`: not probed.
fn gap(settings: &Health, state: HealthState) -> Option<Duration> {
    let interval = interval(settings)?;
    let hastened = |fast: Duration| {
        let fastest = if interval >= CARRIER_INTERVAL {
            CARRIER_INTERVAL
        } else {
            fast
        };
        interval.min(fastest)
    };
    match state {
        HealthState::Up => Some(interval),
        HealthState::Suspect => Some(hastened(SUSPECT_INTERVAL)),
        HealthState::Down => Some(hastened(DOWN_INTERVAL)),
        HealthState::Paused => None,
    }
}

/// The least there is between two probes: a second, unless the operator wants more.
fn shortest(settings: &Health) -> Option<Duration> {
    Some(interval(settings)?.min(SUSPECT_INTERVAL))
}

/// How long a candidate that dies can stay unnoticed when there are no calls to it at all, at
/// worst: the probe before came just in time and the next is as late as jitter makes it. `None`
/// when it is not probed.
pub fn worst_detection(settings: &Health) -> Option<Duration> {
    let timeout = settings.probe_timeout;
    let first = interval(settings)?.mul_f64(1.1);
    if settings.fail_after <= 1 {
        return Some(first + timeout);
    }
    // The first that fails makes it suspect, which hurries the second; and that one decides.
    Some(first + timeout.max(shortest(settings)?) + timeout)
}
