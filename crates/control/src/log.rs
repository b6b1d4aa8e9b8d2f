//! What happened, as log lines: one a call by default, numbers masked, hosts shown.

use tracing::{Level, debug, info, level_filters::LevelFilter, trace, warn};
use trunkline_proxy::{Event, Settings, event::HealthState};

use crate::{call_line::CallLines, mask, view::trunk_name};

/// Whether nobody is to see this event, only how many of them there were: what every call has has a line for those
/// who look closely only.
#[inline]
pub(crate) fn is_only_counted(event: &Event) -> bool {
    matches!(
        event,
        Event::CallStarted { .. } | Event::AttemptEnded { .. } | Event::CallEnded { .. }
    ) && LevelFilter::current() < LevelFilter::DEBUG
}

/// Writes the line for an event, if it has one at the level that is on; that of a call waits in
/// `calls` for others.
#[inline]
pub fn log(event: &Event, settings: &Settings, calls: &mut CallLines) {
    match event {
        Event::CallSetUp(call) => {
            // Those that wait were wanted.
            if !calls.is_empty() || tracing::enabled!(Level::INFO) {
                calls.add(call, trunk_name(settings, call.trunk));
            }
        }
        _ => log_other(event, settings),
    }
}

/// Writes the line for an event that does not wait for others.
fn log_other(event: &Event, settings: &Settings) {
    let trunk = |id| trunk_name(settings, id);
    match event {
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
            drill,
            step,
            detail,
        } => {
            let detail = mask::sentence(detail);
            let drill = drill.then_some(true);
            match *step {
                "failed" | "passed_over" | "exhausted" => {
                    warn!(trunk = trunk(*id), step, detail, drill, "disaster recovery")
                }
                _ => info!(trunk = trunk(*id), step, detail, drill, "disaster recovery"),
            }
        }
        Event::RetryWithheld {
            direction,
            trunk: id,
            is_first,
        } => {
            let (direction, trunk) = (direction.word(), trunk(*id));
            if *is_first {
                warn!(
                    direction,
                    trunk, "most attempts beyond a call's first fail: retry_budget holds them back"
                );
            } else {
                trace!(direction, trunk, "attempt held back by retry_budget");
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
                call_id = mask::printable(&call_id.text()),
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
        // Only over all shards it is worth a line: see `fences`.
        Event::Fence(_) => {}
        Event::Retransmitted
        | Event::OversizedDatagram
        | Event::Parked
        | Event::Load { .. }
        | Event::CallSetUp(_) => {}
    }
}
