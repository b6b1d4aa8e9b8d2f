//! Keeps every configured place resolved ahead of need, and makes the snapshots from it.
//!
//! One task a place asks again before the TTL ends; the keeper holds the last good answers and
//! says when the whole has changed. It never knows of calls: a call finds what is here already.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};
use trunkline_proxy::{
    Routing,
    routing::{Candidate, Freshness, Resolved},
    settings::{Listener, Place, Settings},
};

use super::{Lookup, Resolver};

/// When to ask again.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Pace {
    /// Not sooner than this after an answer, however short its TTL.
    pub refresh_min: Duration,
    /// Not later than this after an answer, however long its TTL.
    pub refresh_max: Duration,
    /// This soon after a first failure, then twice as long each time,
    pub retry_min: Duration,
    /// up to this.
    pub retry_max: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            refresh_min: Duration::from_secs(5),
            refresh_max: Duration::from_secs(3600),
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(30),
        }
    }
}

impl Pace {
    /// At 80 % of the TTL, so that the old answer still holds while the new one is fetched.
    fn refresh(&self, ttl: Duration) -> Duration {
        (ttl.min(self.refresh_max) * 4 / 5).max(self.refresh_min)
    }

    fn retry(&self, failures: u32) -> Duration {
        self.retry_min
            .saturating_mul(1 << failures.min(16))
            .min(self.retry_max)
    }
}

/// What the keeper knows about one place, for status.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlaceStatus {
    /// As it is asked for.
    pub place: Place,
    /// Its candidates and how good they are.
    pub resolved: Arc<Resolved>,
    /// What is not among them for want of a listener.
    pub left_out: Vec<String>,
    /// Why the answer is stale, absent or not there yet.
    pub why: Option<String>,
}

/// How a lookup went, as a metric label.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum LookupResult {
    /// Addresses.
    Found,
    /// Addresses, and there may be more.
    Incomplete,
    /// No such name.
    Absent,
    /// No answer.
    Failed,
}

impl LookupResult {
    /// All of them.
    pub const ALL: [LookupResult; 4] = [
        LookupResult::Found,
        LookupResult::Incomplete,
        LookupResult::Absent,
        LookupResult::Failed,
    ];

    /// How this lookup went.
    pub fn of(lookup: &Lookup) -> Self {
        match lookup {
            Lookup::Found {
                incomplete: None, ..
            } => LookupResult::Found,
            Lookup::Found {
                incomplete: Some(_),
                ..
            } => LookupResult::Incomplete,
            Lookup::Absent { .. } => LookupResult::Absent,
            Lookup::Failed(_) => LookupResult::Failed,
        }
    }

    /// The metric label.
    pub const fn word(self) -> &'static str {
        match self {
            LookupResult::Found => "found",
            LookupResult::Incomplete => "incomplete",
            LookupResult::Absent => "absent",
            LookupResult::Failed => "failed",
        }
    }
}

/// What [`Keeper::next`] tells.
#[derive(Clone, Debug)]
pub enum News {
    /// A lookup came back; nothing that a call could notice has changed.
    Asked(LookupResult),
    /// A lookup came back and there is a new snapshot.
    Changed(LookupResult, Arc<Routing>),
    /// The first answers after a start or a reload are in, or have taken too long to wait for.
    Settled(Arc<Routing>),
}

/// Keeps the places of one [`Settings`] resolved. Dropping it ends its tasks.
pub struct Keeper {
    resolver: Resolver,
    pace: Pace,
    settings: Arc<Settings>,
    entries: Vec<Entry>,
    reports: mpsc::Receiver<Report>,
    report: mpsc::Sender<Report>,
    next_task: u64,
    /// Until when a snapshot waits for the first answers; `None` once it need not.
    settling: Option<Instant>,
}

struct Entry {
    status: PlaceStatus,
    /// Asks again and again; a literal address has none.
    task: Option<Task>,
    /// Whether there was any answer or failure yet.
    known: bool,
}

/// A place's own task, ended when the place goes.
struct Task {
    id: u64,
    handle: JoinHandle<()>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

struct Report {
    task: u64,
    lookup: Lookup,
}

impl Keeper {
    /// Starts keeping. Literal addresses are there at once; for names it waits until each has an
    /// answer or a failure, and at most `patience`.
    pub async fn start(
        settings: Arc<Settings>,
        resolver: Resolver,
        patience: Duration,
        pace: Pace,
    ) -> (Keeper, Arc<Routing>) {
        let (report, reports) = mpsc::channel(64);
        let mut keeper = Keeper {
            resolver,
            pace,
            settings: settings.clone(),
            entries: Vec::new(),
            reports,
            report,
            next_task: 0,
            settling: None,
        };
        keeper.replace(settings, patience).await;
        loop {
            if let News::Settled(routing) = keeper.next().await {
                return (keeper, routing);
            }
        }
    }

    /// Takes new settings. Places that stay keep what is known about them; [`News::Settled`]
    /// follows when the new ones are known too, and at most after `patience`.
    pub async fn replace(&mut self, settings: Arc<Settings>, patience: Duration) {
        // Which listener speaks to a candidate is part of an answer.
        let same_listeners = settings.listeners == self.settings.listeners;
        let mut old = std::mem::take(&mut self.entries);
        self.settings = settings.clone();
        for place in &settings.places {
            let kept = old
                .iter()
                .position(|entry| same_listeners && entry.status.place == *place);
            let entry = match kept {
                Some(at) => old.swap_remove(at),
                None => self.begin(place.clone()).await,
            };
            self.entries.push(entry);
        }
        self.settling = Some(Instant::now() + patience);
    }

    /// Waits for the next thing to know. May be dropped and called again at any time.
    pub async fn next(&mut self) -> News {
        loop {
            if let Some(deadline) = self.settling {
                let settled = self.entries.iter().all(|entry| entry.known);
                if settled || Instant::now() >= deadline {
                    self.settling = None;
                    self.entries
                        .iter()
                        .for_each(|entry| say_what_is_missing(&entry.status));
                    return News::Settled(self.snapshot());
                }
            }
            let deadline = self.settling;
            tokio::select! {
                report = self.reports.recv() => {
                    let Some(report) = report else { continue };
                    if let Some(news) = self.apply(report) {
                        return news;
                    }
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {}
            }
        }
    }

    /// The routing as of now.
    pub fn snapshot(&self) -> Arc<Routing> {
        let places = self
            .entries
            .iter()
            .map(|entry| entry.status.resolved.clone())
            .collect();
        Arc::new(Routing::new(self.settings.clone(), places))
    }

    /// All places, in the settings' order.
    pub fn status(&self) -> Vec<PlaceStatus> {
        self.entries
            .iter()
            .map(|entry| entry.status.clone())
            .collect()
    }

    /// What is known about a place, if the settings have it.
    pub fn known(&self, place: &Place) -> Option<&Resolved> {
        let entry = self
            .entries
            .iter()
            .find(|entry| entry.status.place == *place)?;
        Some(&entry.status.resolved)
    }

    /// Whether [`News::Settled`] is still to come, so that the last snapshot is of other settings.
    pub fn is_settling(&self) -> bool {
        self.settling.is_some()
    }

    async fn begin(&mut self, place: Place) -> Entry {
        let mut entry = Entry {
            status: PlaceStatus {
                place: place.clone(),
                resolved: Arc::default(),
                left_out: Vec::new(),
                why: Some("not asked yet".into()),
            },
            task: None,
            known: false,
        };
        if place.host.parse::<std::net::IpAddr>().is_ok() {
            // Asks nobody, so it does not wait.
            let lookup = self.resolver.place(&place, &self.settings.listeners).await;
            entry.apply(lookup);
            return entry;
        }
        let id = self.next_task;
        self.next_task += 1;
        let work = keep(
            id,
            place,
            self.settings.listeners.clone(),
            self.resolver.clone(),
            self.pace,
            self.report.clone(),
        );
        entry.task = Some(Task {
            id,
            handle: tokio::spawn(work),
        });
        entry
    }

    fn apply(&mut self, report: Report) -> Option<News> {
        let result = LookupResult::of(&report.lookup);
        // A report of a place that went away meanwhile matters no more.
        let entry = self.entries.iter_mut().find(|entry| {
            entry
                .task
                .as_ref()
                .is_some_and(|task| task.id == report.task)
        })?;
        let changed = entry.apply(report.lookup);
        Some(if changed && self.settling.is_none() {
            News::Changed(result, self.snapshot())
        } else {
            News::Asked(result)
        })
    }
}

impl Entry {
    /// Takes an answer in and says whether a call could notice.
    fn apply(&mut self, lookup: Lookup) -> bool {
        let before = self.status.resolved.clone();
        self.known = true;
        self.status.left_out.clear();
        let (candidates, freshness, why) = match lookup {
            Lookup::Found {
                candidates,
                left_out,
                incomplete: None,
                ..
            } => {
                self.status.left_out = left_out;
                (candidates, Freshness::Fresh, None)
            }
            Lookup::Found {
                candidates,
                left_out,
                incomplete: Some(why),
                ..
            } => {
                self.status.left_out = left_out;
                // Some questions failed: what was there before may be there still.
                (
                    union(candidates, &before.candidates),
                    Freshness::Stale,
                    Some(why),
                )
            }
            Lookup::Absent { why, .. } => (Vec::new(), Freshness::Absent, Some(why)),
            Lookup::Failed(why) => {
                // RFC 8767: the last good answer serves, whatever it was. A name that never had
                // one stays unknown.
                let freshness = match before.freshness {
                    Freshness::Unknown => Freshness::Unknown,
                    Freshness::Absent => Freshness::Absent,
                    Freshness::Fresh | Freshness::Stale => Freshness::Stale,
                };
                (before.candidates.clone(), freshness, Some(why))
            }
        };
        self.status.why = why;
        let after = Resolved {
            candidates,
            freshness,
        };
        if *before == after {
            return false;
        }
        said(
            &self.status.place,
            &before,
            &after,
            self.status.why.as_deref(),
        );
        self.status.resolved = Arc::new(after);
        true
    }
}

/// Both sets, in order. An address with a new priority or weight has the new one only.
fn union(mut new: Vec<Candidate>, old: &[Candidate]) -> Vec<Candidate> {
    let key = |c: &Candidate| (c.transport, c.addr, c.listener);
    let gone: Vec<_> = old
        .iter()
        .filter(|o| new.iter().all(|n| key(n) != key(o)))
        .copied()
        .collect();
    new.extend(gone);
    new.sort_unstable();
    new
}

/// One line for each change that an operator may want to know of.
fn said(place: &Place, before: &Resolved, after: &Resolved, why: Option<&str>) {
    let (name, count) = (&place.host, after.candidates.len());
    let why = why.unwrap_or_default();
    match (before.freshness, after.freshness) {
        (_, Freshness::Absent) => {
            tracing::warn!(name = %name, why, "DNS says that the name is not there: no new calls go to it");
        }
        (was, Freshness::Stale) if was != Freshness::Stale => {
            tracing::warn!(
                name = %name, candidates = count, why,
                "DNS fails: serving the last good addresses"
            );
        }
        (Freshness::Stale, Freshness::Fresh) => {
            tracing::info!(name = %name, candidates = count, "DNS answers again");
        }
        (_, Freshness::Fresh | Freshness::Stale) => {
            tracing::info!(name = %name, candidates = count, "DNS changed");
        }
        (_, Freshness::Unknown) => {}
    }
}

/// At a start or a reload: what the operator wrote and calls cannot use yet.
fn say_what_is_missing(status: &PlaceStatus) {
    let name = &status.place.host;
    if status.resolved.freshness == Freshness::Unknown {
        let why = status.why.as_deref().unwrap_or_default();
        tracing::warn!(name = %name, why, "no addresses yet; trying on");
    }
    if !status.left_out.is_empty() {
        let left_out = status.left_out.join("; ");
        tracing::warn!(name = %name, left_out, "no listener reaches this; add one, or a transport to the URI");
    }
}

/// One place's life: ask, report, wait; until the keeper is gone.
async fn keep(
    task: u64,
    place: Place,
    listeners: Vec<Listener>,
    resolver: Resolver,
    pace: Pace,
    report: mpsc::Sender<Report>,
) {
    let mut failures = 0;
    loop {
        let lookup = resolver.place(&place, &listeners).await;
        let pause = match &lookup {
            Lookup::Found {
                ttl,
                incomplete: None,
                ..
            }
            | Lookup::Absent { ttl, .. } => {
                failures = 0;
                pace.refresh(*ttl)
            }
            Lookup::Found { .. } | Lookup::Failed(_) => {
                let pause = pace.retry(failures);
                failures += 1;
                pause
            }
        };
        if report.send(Report { task, lookup }).await.is_err() {
            return;
        }
        sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_follows_the_ttl_within_limits_and_failures_back_off() {
        let pace = Pace::default();
        let seconds = Duration::from_secs;
        let refresh = [(0, 5), (5, 5), (10, 8), (600, 480), (86_400, 2880)];
        for (ttl, want) in refresh {
            assert_eq!(pace.refresh(seconds(ttl)), seconds(want), "TTL {ttl}");
        }
        let retry: Vec<_> = (0..7)
            .map(|failures| pace.retry(failures).as_secs())
            .collect();
        assert_eq!(retry, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(pace.retry(u32::MAX), seconds(30));
        assert_eq!(pace.refresh(Duration::MAX), seconds(2880));
    }
}
