//! Drills as an operator starts, watches and ends them: which run, and what happened in them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use trunkline_proxy::{
    Event, Settings,
    drill::{Drill, Drilled, WHOLE},
    event::CallRecord,
    settings::{NumberPattern, TrunkId},
};

/// No drill lasts longer.
pub const LONGEST: Duration = Duration::from_secs(3600);
/// Drills remembered, running ones included.
const KEPT: usize = 20;

/// What an operator asks for.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillWanted {
    /// The trunk whose inbound calls are meant.
    pub trunk: String,
    /// For so long.
    pub seconds: u64,
    /// Calls from or to this number ("+1555*": every number that begins so).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// Or so many percent of all calls, chosen by chance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
}

/// A drill as it is shown.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct DrillShown {
    /// Names it while the process runs.
    pub id: u64,
    /// What was asked for.
    #[serde(flatten)]
    pub wanted: DrillWanted,
    /// When it began, in seconds since 1970.
    pub began_at: u64,
    /// Whether it takes calls now.
    pub running: bool,
    /// Calls that have ended.
    pub calls: u64,
    /// Of these, how many were answered.
    pub answered: u64,
    /// Of these, how many got our 503 because nothing valid came back.
    pub lost: u64,
    /// Final responses the callers got.
    pub responses: BTreeMap<u16, u64>,
    /// Steps of disaster recovery: asked, answered, failed, dial and so on.
    pub steps: BTreeMap<&'static str, u64>,
    /// The longest time from an INVITE to its first ring or final response, in milliseconds.
    pub slowest_ms: u64,
    /// What went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
}

struct Kept {
    shown: DrillShown,
    calls: Drilled,
    until: Instant,
}

/// Why a drill is not begun.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DrillRefused {
    /// No such trunk.
    #[error("no trunk is named {0:?}")]
    NoTrunk(String),
    /// It has nothing to drill.
    #[error("trunk {0:?} has no [trunk.disaster_recovery]: its calls would only get 503")]
    NoRecovery(String),
    /// One is enough.
    #[error("a drill of trunk {0:?} is running already; end it first, or wait")]
    Running(String),
    /// Too long, or no time at all.
    #[error("a drill lasts from one second to one hour")]
    Length,
    /// Neither or both, or out of range.
    #[error(
        "say which calls: a number such as \"+15550100\", or a share above 0 and up to 100 percent"
    )]
    Calls,
}

/// All drills of the process.
#[derive(Default)]
pub struct Drills {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    kept: Vec<Kept>,
    begun: u64,
}

impl Drills {
    /// Begins one; it ends by itself.
    ///
    /// # Errors
    /// What is wrong about it; then nothing has changed.
    pub fn begin(
        &self,
        wanted: DrillWanted,
        settings: &Settings,
        now: Instant,
    ) -> Result<DrillShown, DrillRefused> {
        let trunk = settings
            .trunks
            .iter()
            .find(|trunk| *trunk.name == *wanted.trunk)
            .ok_or_else(|| DrillRefused::NoTrunk(wanted.trunk.clone()))?;
        if trunk.recovery.is_none() {
            return Err(DrillRefused::NoRecovery(wanted.trunk));
        }
        let lasts = Duration::from_secs(wanted.seconds);
        if lasts.is_zero() || lasts > LONGEST {
            return Err(DrillRefused::Length);
        }
        let calls = which(&wanted).ok_or(DrillRefused::Calls)?;
        let mut inner = self.lock();
        let same = |kept: &Kept| kept.shown.wanted.trunk == wanted.trunk && kept.runs(now);
        if inner.kept.iter().any(same) {
            return Err(DrillRefused::Running(wanted.trunk));
        }
        inner.begun += 1;
        let shown = DrillShown {
            id: inner.begun,
            wanted,
            began_at: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |now| now.as_secs()),
            running: true,
            calls: 0,
            answered: 0,
            lost: 0,
            responses: BTreeMap::new(),
            steps: BTreeMap::new(),
            slowest_ms: 0,
            last_failure: None,
        };
        if inner.kept.len() >= KEPT {
            // Running ones are at most one a trunk; an old report goes first.
            let oldest = inner.kept.iter().position(|kept| !kept.runs(now));
            inner.kept.remove(oldest.unwrap_or(0));
        }
        inner.kept.push(Kept {
            shown: shown.clone(),
            calls,
            until: now + lasts,
        });
        Ok(shown)
    }

    /// Ends one before its time. False: none of that number runs.
    pub fn end(&self, id: u64, now: Instant) -> bool {
        let mut inner = self.lock();
        let mut running = inner
            .kept
            .iter_mut()
            .filter(|kept| kept.shown.id == id && kept.runs(now));
        running.next().is_some_and(|kept| {
            kept.until = now;
            true
        })
    }

    /// All that are remembered, the newest last.
    pub fn shown(&self, now: Instant) -> Vec<DrillShown> {
        let inner = self.lock();
        let shown = inner.kept.iter().map(|kept| DrillShown {
            running: kept.runs(now),
            ..kept.shown.clone()
        });
        shown.collect()
    }

    /// Those that run, for the shards.
    pub fn running(&self, settings: &Settings, now: Instant) -> Arc<[Drill]> {
        let inner = self.lock();
        let running = inner.kept.iter().filter(|kept| kept.runs(now));
        let drills = running.filter_map(|kept| {
            let mut names = settings.trunks.iter().map(|trunk| &*trunk.name);
            let at = names.position(|name| name == kept.shown.wanted.trunk)?;
            Some(Drill {
                trunk: TrunkId(u16::try_from(at).ok()?),
                calls: kept.calls.clone(),
                until: kept.until,
            })
        });
        drills.collect()
    }

    /// Counts what happened to a call of a drill.
    #[inline]
    pub fn record(&self, event: &Event, settings: &Settings) {
        let name = |id: TrunkId| {
            let trunk = settings.trunks.get(usize::from(id.0));
            trunk.map_or("", |trunk| &*trunk.name)
        };
        match event {
            Event::Recovery {
                trunk,
                drill: true,
                step,
                detail,
            } => self.with(name(*trunk), |shown| {
                *shown.steps.entry(step).or_default() += 1;
                if *step == "failed" {
                    shown.last_failure = Some(crate::mask::sentence(detail));
                }
            }),
            Event::CallSetUp(call) => {
                // Its own trunk: a number may have been called through another one.
                if let Some(id) = call.drill {
                    self.with(name(id), |shown| shown.add(call));
                }
            }
            _ => {}
        }
    }

    /// The newest drill of a trunk: calls may end after it has.
    fn with(&self, trunk: &str, work: impl FnOnce(&mut DrillShown)) {
        let mut inner = self.lock();
        let mut newest = inner.kept.iter_mut().rev();
        if let Some(kept) = newest.find(|kept| kept.shown.wanted.trunk == trunk) {
            work(&mut kept.shown);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn runs(&self, now: Instant) -> bool {
        now < self.until
    }
}

impl DrillShown {
    fn add(&mut self, call: &CallRecord) {
        self.calls += 1;
        self.answered += u64::from((200..300).contains(&call.status));
        self.lost += u64::from(call.why == "recovery exhausted");
        *self.responses.entry(call.status).or_default() += 1;
        let heard = call.first_ring.unwrap_or(call.took).as_millis() as u64;
        self.slowest_ms = self.slowest_ms.max(heard);
    }

    /// What happened, as a sentence.
    pub fn summary(&self) -> String {
        let responses: Vec<String> = self
            .responses
            .iter()
            .map(|(code, count)| format!("{count} x {code}"))
            .collect();
        let failure = self
            .last_failure
            .as_ref()
            .map(|why| format!("; last failure: {why}"))
            .unwrap_or_default();
        format!(
            "{} calls, {} answered, {} lost ({}); slowest to be heard of {} ms{failure}",
            self.calls,
            self.answered,
            self.lost,
            responses.join(", "),
            self.slowest_ms
        )
    }
}

fn which(wanted: &DrillWanted) -> Option<Drilled> {
    match (&wanted.number, wanted.percent) {
        (Some(number), None) if !number.is_empty() => {
            NumberPattern::parse(number).map(Drilled::Number)
        }
        (None, Some(percent)) if percent > 0.0 && percent <= 100.0 => {
            let share = (percent * f64::from(WHOLE) / 100.0).round();
            Some(Drilled::Share((share as u16).max(1)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
