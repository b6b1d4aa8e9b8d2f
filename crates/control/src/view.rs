//! What an operator asks: where names point now, how the candidates are, which calls there were.
//!
//! Written by the control task, read by the admin server. The lock is held for a copy or a
//! change, never across a wait.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use trunkline_proxy::{
    Event, ListenerId, Routing, Settings, Shared,
    event::{AttemptRecord, CallRecord, HealthState, Peer},
    routing::{Candidate, Freshness},
    settings::{PlaceId, TrunkId},
};

use crate::{fences::FenceShown, mask, resolve::PlaceStatus};

/// Calls remembered.
const CALLS_MAX: usize = 100;

/// The operator's view of the process.
#[derive(Default)]
pub struct View {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    routing: Option<Arc<Routing>>,
    /// The trunks of its settings.
    trunks: Vec<Arc<str>>,
    places: Vec<PlaceStatus>,
    health: HashMap<Peer, (HealthState, &'static str)>,
    calls: VecDeque<CallKept>,
    fences: Vec<FenceShown>,
    /// What the shards count together.
    shared: Option<Arc<Shared>>,
    listening: bool,
    draining: bool,
}

/// A call as it was told: it is put into words when somebody asks, which is far rarer than a call.
struct CallKept {
    record: Box<CallRecord>,
    trunk: Option<Arc<str>>,
    ended_at: SystemTime,
}

/// One place as `/targets` shows it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct TargetShown {
    /// The trunk it belongs to.
    pub trunk: Box<str>,
    /// "edge" or "target".
    pub role: &'static str,
    /// As written in the file.
    pub written: Box<str>,
    /// "fresh", "stale", "absent", "unknown".
    pub freshness: &'static str,
    /// Why it is not fresh, when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What DNS gave and no listener of ours can reach.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// Whether an operator has taken it out: it gets no new calls.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub drained: bool,
    /// Where calls can go.
    pub candidates: Vec<CandidateShown>,
}

/// One candidate as `/targets` shows it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct CandidateShown {
    /// "udp", "tcp", ...
    pub transport: &'static str,
    /// IP and port.
    pub address: String,
    /// SRV priority.
    pub priority: u16,
    /// SRV weight.
    pub weight: u16,
    /// "up", "suspect", "down", "paused".
    pub health: &'static str,
    /// The evidence.
    pub why: &'static str,
}

/// One call as `/calls` shows it; numbers are masked.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct CallShown {
    /// When the caller had its final answer, seconds since 1970.
    pub ended_at: u64,
    /// As on the wire, printable characters only.
    pub call_id: String,
    /// Who called, masked.
    pub from: String,
    /// Whom, masked.
    pub to: String,
    /// Where the INVITE came from.
    pub source: String,
    /// Which way.
    pub direction: &'static str,
    /// The trunk that took it, else the first tried.
    pub trunk: Box<str>,
    /// The final response.
    pub status: u16,
    /// Whether that response was ours.
    pub own: bool,
    /// What decided the end when it was not an attempt.
    pub why: &'static str,
    /// Seconds to the first ring.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_ring: Option<f64>,
    /// Seconds to the final response.
    pub took: f64,
    /// Where it was tried, in order.
    pub attempts: Vec<AttemptShown>,
}

/// One attempt of a call as `/calls` shows it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct AttemptShown {
    /// "udp:192.0.2.1:5060".
    pub peer: String,
    /// A status code, or a word such as "silent".
    pub outcome: String,
    /// Seconds from the INVITE.
    pub began: f64,
    /// Seconds to its verdict.
    pub took: f64,
}

impl View {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// A snapshot was made; everything is shown by it from now on.
    pub fn set_routing(&self, routing: Arc<Routing>) {
        let mut inner = self.lock();
        // Health is kept for what is configured; the rest would pile up as DNS changes.
        let now: Vec<Peer> = routing
            .places()
            .iter()
            .flat_map(|place| &place.candidates)
            .map(peer)
            .collect();
        inner.health.retain(|peer, _| now.contains(peer));
        let trunks = routing.settings().trunks.iter();
        inner.trunks = trunks.map(|trunk| (&*trunk.name).into()).collect();
        inner.routing = Some(routing);
    }

    /// The settings that are worked with, once there are some.
    pub fn settings(&self) -> Option<Arc<Settings>> {
        let inner = self.lock();
        inner
            .routing
            .as_ref()
            .map(|routing| Arc::clone(routing.settings()))
    }

    /// What the keeper says about the places of the snapshot: why one is stale, what is left out.
    pub fn set_places(&self, places: Vec<PlaceStatus>) {
        self.lock().places = places;
    }

    /// Something happened about now. Of a call, the record is taken and one that is no longer shown left in its
    /// place, for its memory.
    #[inline]
    pub(crate) fn record(&self, event: &mut Event, now: SystemTime) {
        match event {
            Event::Health { peer, is, why, .. } => {
                self.lock().health.insert(*peer, (*is, why));
            }
            Event::CallSetUp(record) => self.keep_call(record, now),
            Event::Rejected { .. }
            | Event::Dropped { .. }
            | Event::CallStarted { .. }
            | Event::AttemptEnded { .. }
            | Event::CallEnded { .. }
            | Event::LateAnswer { .. }
            | Event::RetryWithheld { .. }
            | Event::Probe { .. }
            | Event::Recovery { .. }
            | Event::Retransmitted
            | Event::OversizedDatagram
            | Event::Parked
            | Event::Fence(_)
            | Event::Load { .. } => {}
        }
    }

    fn keep_call(&self, record: &mut Box<CallRecord>, now: SystemTime) {
        let mut inner = self.lock();
        let mut kept = if inner.calls.len() == CALLS_MAX
            && let Some(mut oldest) = inner.calls.pop_front()
        {
            std::mem::swap(&mut oldest.record, record);
            oldest
        } else {
            CallKept {
                trunk: None,
                ended_at: now,
                record: record.clone(),
            }
        };
        let trunk = inner.trunks.get(usize::from(kept.record.trunk.0));
        let is_known = match (&kept.trunk, trunk) {
            (Some(kept), Some(trunk)) => Arc::ptr_eq(kept, trunk),
            (kept, trunk) => kept.is_none() && trunk.is_none(),
        };
        if !is_known {
            kept.trunk = trunk.cloned();
        }
        kept.ended_at = now;
        inner.calls.push_back(kept);
    }

    /// Whom the sockets keep out now.
    pub fn set_fences(&self, fences: Vec<FenceShown>) {
        self.lock().fences = fences;
    }

    /// Whom the sockets keep out, for `/fences`.
    pub fn fences(&self) -> Vec<FenceShown> {
        self.lock().fences.clone()
    }

    /// What the shards count together is known: targets can be drained.
    pub fn set_shared(&self, shared: Arc<Shared>) {
        self.lock().shared = Some(shared);
    }

    /// Takes a target or an edge of a trunk out, as `/targets` writes it, or returns it. Its calls go on;
    /// new ones go elsewhere.
    ///
    /// # Errors
    /// When there is no such target, as a sentence that names those there are.
    pub fn drain_target(&self, trunk: &str, target: &str, drained: bool) -> Result<(), String> {
        let inner = self.lock();
        let (Some(routing), Some(shared)) = (&inner.routing, &inner.shared) else {
            return Err("the process is still starting; try again".into());
        };
        let settings = routing.settings();
        let Some(found) = settings.trunks.iter().find(|it| &*it.name == trunk) else {
            let names: Vec<&str> = settings.trunks.iter().map(|it| &*it.name).collect();
            let names = names.join(", ");
            return Err(format!("no trunk is named \"{trunk}\"; there is {names}"));
        };
        let edges = found.termination.iter().flat_map(|it| &it.edges);
        let targets = found.origination.iter().flat_map(|it| &it.targets);
        let edges = edges.map(|it| &*it.address.written);
        let mut written = targets.map(|it| &*it.address.written).chain(edges);
        if written.clone().any(|it| it == target) {
            shared.drain(trunk, target, drained);
            return Ok(());
        }
        let first = written.next().map_or("none".into(), |first| {
            written.fold(first.to_owned(), |all, it| format!("{all}, {it}"))
        });
        Err(format!(
            "trunk \"{trunk}\" has no target or edge \"{target}\"; it has {first}"
        ))
    }

    /// The listeners take messages.
    pub fn listening(&self) {
        self.lock().listening = true;
    }

    /// No new calls are taken any more.
    pub fn draining(&self) {
        self.lock().draining = true;
    }

    /// Whether calls can be taken and have somewhere to go.
    ///
    /// # Errors
    /// Why not, as a sentence.
    pub fn readiness(&self) -> Result<(), String> {
        let inner = self.lock();
        if inner.draining {
            return Err("draining: no new calls are taken".into());
        }
        let Some(routing) = &inner.routing else {
            return Err("the names in the configuration are being resolved".into());
        };
        if !inner.listening {
            return Err("the listeners are not open yet".into());
        }
        let settings = routing.settings();
        let sides = settings.trunks.iter().map(|trunk| {
            let edges = trunk
                .termination
                .iter()
                .flat_map(|side| &side.edges)
                .map(|edge| edge.place);
            let targets = trunk
                .origination
                .iter()
                .flat_map(|side| &side.targets)
                .map(|target| target.place);
            (edges.collect::<Vec<_>>(), targets.collect::<Vec<_>>())
        });
        let (edges, targets): (Vec<_>, Vec<_>) = sides.unzip();
        inner.usable(
            routing,
            "termination: no candidate of any edge",
            edges.concat(),
        )?;
        inner.usable(
            routing,
            "origination: no candidate of any target",
            targets.concat(),
        )
    }

    /// Every candidate once, with its health and the name (else the address) of its listener.
    pub fn candidates(&self) -> Vec<(Peer, HealthState, String)> {
        let inner = self.lock();
        let Some(routing) = &inner.routing else {
            return Vec::new();
        };
        let mut peers: Vec<Peer> = routing
            .places()
            .iter()
            .flat_map(|place| &place.candidates)
            .map(peer)
            .collect();
        peers.sort_unstable();
        peers.dedup();
        let named = |peer: Peer| {
            let listener = listener_name(routing.settings(), peer.listener);
            (peer, inner.health_of(&peer).0, listener)
        };
        peers.into_iter().map(named).collect()
    }

    /// How good each place's answer is, in the settings' order.
    pub fn freshness(&self) -> Vec<Freshness> {
        let inner = self.lock();
        let places = inner.routing.iter().flat_map(|routing| routing.places());
        places.map(|place| place.freshness).collect()
    }

    /// Every edge and target, for `/targets`.
    pub fn targets(&self) -> Vec<TargetShown> {
        let inner = self.lock();
        let Some(routing) = inner.routing.clone() else {
            return Vec::new();
        };
        let mut shown = Vec::new();
        for trunk in &routing.settings().trunks {
            for edge in trunk.termination.iter().flat_map(|side| &side.edges) {
                shown.push(inner.target(
                    &routing,
                    &trunk.name,
                    "edge",
                    &edge.address.written,
                    edge.place,
                ));
            }
            for target in trunk.origination.iter().flat_map(|side| &side.targets) {
                let written = &target.address.written;
                shown.push(inner.target(&routing, &trunk.name, "target", written, target.place));
            }
        }
        shown
    }

    /// The last calls, newest first, for `/calls`.
    pub fn calls(&self) -> Vec<CallShown> {
        self.lock().calls.iter().rev().map(shown).collect()
    }

    /// A view that a panicking thread left behind is still worth reading.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Nobody complained about a candidate that no event has named.
    fn health_of(&self, peer: &Peer) -> (HealthState, &'static str) {
        self.health
            .get(peer)
            .copied()
            .unwrap_or((HealthState::Up, "no failure seen"))
    }

    fn is_drained(&self, trunk: &str, target: &str) -> bool {
        self.shared
            .as_ref()
            .is_some_and(|shared| shared.is_drained(trunk, target))
    }

    fn usable(&self, routing: &Routing, what: &str, places: Vec<PlaceId>) -> Result<(), String> {
        if places.is_empty() {
            return Ok(());
        }
        let mut count = 0;
        for candidate in places
            .iter()
            .flat_map(|place| &routing.resolved(*place).candidates)
        {
            match self.health_of(&peer(candidate)).0 {
                HealthState::Up | HealthState::Suspect => return Ok(()),
                HealthState::Down | HealthState::Paused => count += 1,
            }
        }
        Err(match count {
            0 => format!("{what} is known; see /targets"),
            count => format!("{what} is usable, all {count} are down or paused; see /targets"),
        })
    }

    fn target(
        &self,
        routing: &Routing,
        trunk: &str,
        role: &'static str,
        written: &str,
        place: PlaceId,
    ) -> TargetShown {
        let resolved = routing.resolved(place);
        let status = self.places.get(place.0 as usize);
        let candidate = |candidate: &Candidate| {
            let (health, why) = self.health_of(&peer(candidate));
            CandidateShown {
                transport: candidate.transport.param(),
                address: candidate.addr.to_string(),
                priority: candidate.priority,
                weight: candidate.weight,
                health: health.word(),
                why,
            }
        };
        TargetShown {
            trunk: trunk.into(),
            role,
            written: written.into(),
            freshness: freshness_word(resolved.freshness),
            why: status.and_then(|status| status.why.clone()),
            left_out: status
                .map(|status| status.left_out.clone())
                .unwrap_or_default(),
            drained: self.is_drained(trunk, written),
            candidates: resolved.candidates.iter().map(candidate).collect(),
        }
    }
}

/// The word for logs, metrics and status.
pub const fn freshness_word(freshness: Freshness) -> &'static str {
    match freshness {
        Freshness::Unknown => "unknown",
        Freshness::Fresh => "fresh",
        Freshness::Stale => "stale",
        Freshness::Absent => "absent",
    }
}

/// The name of a trunk that a reload took away.
const UNKNOWN: &str = "unknown";

/// A listener's name, else its address.
pub(crate) fn listener_name(settings: &Settings, id: ListenerId) -> String {
    let listener = settings.listeners.get(usize::from(id.0));
    let named = listener.map(|listener| {
        let name = listener.name.as_deref();
        name.map_or_else(|| listener.bind.to_string(), str::to_owned)
    });
    named.unwrap_or_default()
}

/// A trunk's name.
pub(crate) fn trunk_name(settings: &Settings, id: TrunkId) -> &str {
    let trunk = settings.trunks.get(usize::from(id.0));
    trunk.map_or(UNKNOWN, |trunk| &trunk.name)
}

fn peer(candidate: &Candidate) -> Peer {
    Peer {
        transport: candidate.transport,
        addr: candidate.addr,
        listener: candidate.listener,
    }
}

fn shown(kept: &CallKept) -> CallShown {
    let call = &kept.record;
    let attempt = |attempt: &AttemptRecord| AttemptShown {
        peer: attempt.peer.to_string(),
        outcome: attempt
            .outcome
            .map_or_else(|| "running".into(), |outcome| outcome.to_string()),
        began: attempt.began.as_secs_f64(),
        took: attempt.took.as_secs_f64(),
    };
    CallShown {
        ended_at: kept
            .ended_at
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
        call_id: mask::printable(&call.names.call_id()),
        from: mask::number(&call.names.from()),
        to: mask::number(&call.names.to()),
        source: call.source.to_string(),
        direction: call.direction.word(),
        trunk: kept.trunk.as_deref().unwrap_or(UNKNOWN).into(),
        status: call.status,
        own: call.own,
        why: call.why,
        first_ring: call.first_ring.map(|ring| ring.as_secs_f64()),
        took: call.took.as_secs_f64(),
        attempts: call.attempts.iter().map(attempt).collect(),
    }
}
