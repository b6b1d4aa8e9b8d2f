//! What happened, as log lines: one a call by default, numbers masked, hosts shown.

use std::fmt::Write;

use tracing::{debug, info, trace, warn};
use trunkline_proxy::{
    Event, Settings,
    event::{CallRecord, HealthState},
};

use crate::{mask, view::trunk_name};

/// Writes the line for an event, if it has one at the level that is on.
pub fn log(event: &Event, settings: &Settings) {
    let trunk = |id| trunk_name(Some(settings), id);
    match event {
        Event::CallSetUp(call) => log_call(call, trunk(call.trunk)),
        Event::Health { peer, was, is, why } => {
            let (was, state) = (was.word(), is.word());
            match is {
                HealthState::Up => info!(%peer, was, state, why, "candidate"),
                HealthState::Suspect | HealthState::Paused => {
                    info!(%peer, was, state, why, "candidate")
                }
                HealthState::Down => warn!(%peer, was, state, why, "candidate"),
            }
        }
        Event::Recovery {
            trunk: id,
            step,
            detail,
        } => {
            let detail = mask::sentence(detail);
            match *step {
                "failed" | "exhausted" => {
                    warn!(trunk = trunk(*id), step, detail, "disaster recovery")
                }
                _ => info!(trunk = trunk(*id), step, detail, "disaster recovery"),
            }
        }
        Event::LateAnswer {
            trunk: id,
            peer,
            used,
        } => {
            info!(trunk = trunk(*id), %peer, used, "late answer");
        }
        Event::CallEnded {
            direction,
            trunk: id,
            lasted,
            call_id,
            why,
        } => {
            debug!(
                call_id = mask::printable(call_id),
                direction = direction.word(),
                trunk = trunk(*id),
                seconds = lasted.as_secs(),
                why,
                "call ended"
            );
        }
        Event::Rejected { from, status, why } => debug!(%from, status, why, "rejected"),
        Event::Dropped { from, why } => debug!(%from, why, "dropped"),
        Event::AttemptEnded {
            direction,
            trunk: id,
            peer,
            outcome,
            took,
        } => {
            debug!(
                direction = direction.word(),
                trunk = trunk(*id),
                %peer,
                %outcome,
                ms = took.as_millis() as u64,
                "attempt ended"
            );
        }
        Event::CallStarted {
            direction,
            trunk: id,
        } => {
            trace!(
                direction = direction.word(),
                trunk = trunk(*id),
                "call started"
            );
        }
        Event::Probe { peer, status } => trace!(%peer, ?status, "probe"),
        Event::Retransmitted | Event::OversizedDatagram | Event::Parked | Event::Load(_) => {}
    }
}

/// The one line of a call: what it was, how it ended, and where it was tried.
fn log_call(call: &CallRecord, trunk: &str) {
    let mut path = String::new();
    for attempt in &call.attempts {
        let space = if path.is_empty() { "" } else { " " };
        // Writing to a String does not fail.
        let _ = write!(path, "{space}{}=", attempt.peer);
        let _ = match attempt.outcome {
            Some(outcome) => write!(path, "{outcome}"),
            None => write!(path, "running"),
        };
    }
    info!(
        call_id = mask::printable(&call.call_id),
        from = mask::number(&call.from),
        to = mask::number(&call.to),
        source = %call.source,
        direction = call.direction.word(),
        trunk,
        status = call.status,
        own = call.own,
        why = call.why,
        ring_ms = call.first_ring.map(|ring| ring.as_millis() as u64),
        ms = call.took.as_millis() as u64,
        attempts = path,
        "call"
    );
}
