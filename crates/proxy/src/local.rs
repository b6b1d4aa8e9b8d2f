//! Transactions of our own: OPTIONS to see who lives, ACK and BYE for answers that nobody holds.

use std::time::Duration;

use smallvec::SmallVec;
use trunkline_sip::Message;

use crate::{
    Event, Hop,
    engine::{Alarm, LOCAL, LocalRing, Turn},
    event::Peer,
    forward::{self, ViaPlan},
    health::{Evidence, PeerIx},
    own_route::OwnRoute,
    snapshot::Snapshot,
    table::Slot,
    transaction::{LINGER, client},
};

/// One of them.
pub struct Local {
    purpose: Purpose,
    hop: Hop,
    bytes: Box<[u8]>,
    sends: u8,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Purpose {
    Probe(PeerIx),
    HangUp,
}

/// Asks a candidate whether it lives.
pub fn probe(turn: &mut Turn<'_>, ix: PeerIx, timeout: Duration) {
    let Peer {
        transport,
        addr,
        listener,
    } = turn.engine.health.peer(ix);
    let hop = Hop {
        transport,
        listener,
        remote: addr,
        connection: None,
    };
    let snapshot = std::sync::Arc::clone(&turn.engine.snapshot);
    let uri = match transport {
        trunkline_sip::Transport::Udp => format!("sip:{addr}"),
        _ => format!("sip:{addr};transport={}", transport.param()),
    };
    let local = Local {
        purpose: Purpose::Probe(ix),
        hop,
        bytes: Box::default(),
        sends: 1,
    };
    let slot = turn.engine.locals.insert(local);
    let branch = turn.engine.branch(slot, LOCAL, 0);
    let face = snapshot.face(listener);
    let via = ViaPlan {
        face,
        branch: branch.as_ref(),
        alias: false,
    };
    let unique = turn.engine.branches.hash(&[
        b"probe",
        &slot.generation.to_be_bytes(),
        &slot.index.to_be_bytes(),
    ]);
    let (tag, call_id) = (
        format!("{:08x}", unique as u32),
        format!("{unique:016x}@{}", face.authority),
    );
    let mut bytes = Vec::with_capacity(512);
    forward::options(
        uri.as_bytes(),
        &via,
        tag.as_bytes(),
        call_id.as_bytes(),
        1,
        &mut bytes,
    );
    turn.engine.health.hold(ix);
    begin(turn, slot, hop, bytes, timeout);
}

/// Ends a call that was answered when nobody held it any more: ACK, and BYE when `bye`.
///
/// Both are built from the dialog's own route set (FACTS P7); where the 2xx has no Contact to
/// speak to, nothing can be sent.
#[allow(clippy::too_many_arguments)] // One caller; the parts belong to nothing together.
pub fn hang_up(
    turn: &mut Turn<'_>,
    context: Slot,
    attempt: u8,
    snapshot: &Snapshot,
    hop: Hop,
    response: &Message<'_>,
    bye: bool,
) {
    let routes: SmallVec<[&[u8]; 4]> = forward::routes_above(response, |route| {
        OwnRoute::of_value(route, snapshot).is_some()
    });
    let to = dialog_hop(turn, snapshot, hop, &routes, response);
    let face = snapshot.face(to.listener);
    let seed = turn.engine.branches.hash(&[
        b"ack",
        &context.generation.to_be_bytes(),
        &context.index.to_be_bytes(),
        &[attempt],
        response.to_tag().unwrap_or_default(),
    ]);
    let branch = turn.engine.branches.stateless(seed, 0);
    let via = ViaPlan {
        face,
        branch: branch.as_ref(),
        alias: false,
    };
    turn.send(to, |out| {
        forward::ack_success(response, &via, &routes, out);
    });
    if !bye {
        return;
    }
    let local = Local {
        purpose: Purpose::HangUp,
        hop: to,
        bytes: Box::default(),
        sends: 1,
    };
    let slot = turn.engine.locals.insert(local);
    let branch = turn.engine.branch(slot, LOCAL, 0);
    let via = ViaPlan {
        face,
        branch: branch.as_ref(),
        alias: false,
    };
    let mut bytes = Vec::with_capacity(512);
    let reason = Some("SIP;cause=487;text=\"Answered too late\"");
    if forward::bye(response, &via, &routes, reason, &mut bytes) {
        begin(turn, slot, to, bytes, LINGER);
    } else {
        turn.engine.locals.remove(slot);
    }
}

/// Where requests inside the dialog go: its first route or its Contact when that is a literal
/// address of somebody we may speak to, else back to who answered.
fn dialog_hop(
    turn: &Turn<'_>,
    snapshot: &Snapshot,
    hop: Hop,
    routes: &[&[u8]],
    response: &Message<'_>,
) -> Hop {
    let first = routes
        .first()
        .and_then(|route| trunkline_sip::NameAddr::parse(route).ok());
    let uri = first
        .or_else(|| response.contact())
        .map(|address| address.uri);
    let place = uri
        .and_then(|uri| trunkline_sip::Uri::parse(uri).ok())
        .and_then(|uri| crate::settings::Place::of(&uri));
    let known =
        place.and_then(|place| turn.engine.lookup(snapshot, &place, hop.listener, turn.now));
    let welcome = |it: &crate::routing::Candidate| {
        it.addr.ip() == hop.remote.ip() || !snapshot.routing().role(it.addr.ip()).is_unknown()
    };
    match known.and_then(|candidates| candidates.into_iter().find(welcome)) {
        // A peer behind NAT answers by the connection it has.
        Some(candidate)
            if candidate.transport != hop.transport || candidate.addr.ip() != hop.remote.ip() =>
        {
            candidate.hop()
        }
        Some(candidate) if hop.connection.is_none() => candidate.hop(),
        Some(_) | None => hop,
    }
}

fn begin(turn: &mut Turn<'_>, slot: Slot, hop: Hop, bytes: Vec<u8>, patience: Duration) {
    turn.send(hop, |out| out.extend_from_slice(&bytes));
    if let Some(local) = turn.engine.locals.get_mut(slot) {
        local.bytes = bytes.into();
    }
    turn.arm(patience, Alarm::Local(slot, LocalRing::GiveUp));
    if !hop.transport.is_reliable() {
        turn.arm(
            client::timer_e(client::State::Trying, 1),
            Alarm::Local(slot, LocalRing::Resend(1)),
        );
    }
}

/// A response to one of them. Finals end it; what comes later finds nothing.
pub fn on_response(turn: &mut Turn<'_>, slot: Slot, response: &Message<'_>) {
    let Some(code) = response.code().filter(|code| *code >= 200) else {
        return;
    };
    let Some(local) = turn.engine.locals.remove(slot) else {
        return;
    };
    if let Purpose::Probe(ix) = local.purpose {
        let peer = turn.engine.health.peer(ix);
        turn.engine.health.heard(turn.now, ix);
        turn.tell(Event::Probe {
            peer,
            status: Some(code),
        });
        let pause = (code == 503).then(|| retry_after(response)).flatten();
        let evidence = match (code, pause) {
            // A probe has no `retry_after_max` of its own; this is that key's default.
            (503, Some(pause)) => Evidence::Pause(pause.min(Duration::from_secs(60))),
            (408 | 503, _) => Evidence::ProbeFailed("answered a probe with 408 or 503"),
            _ => Evidence::ProbeAnswered,
        };
        turn.observe(Some(ix), evidence);
        turn.engine.health.release(ix);
    }
}

/// What a Retry-After asks for, in whole seconds (RFC 3261 §20.33).
pub fn retry_after(response: &Message<'_>) -> Option<Duration> {
    let value = response.first(trunkline_sip::Name::RetryAfter)?.value;
    let digits: &[u8] = &value[..value
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count()
        .min(9)];
    let seconds: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// A timer of one of them.
pub fn on_ring(turn: &mut Turn<'_>, slot: Slot, ring: LocalRing) {
    let Some(local) = turn.engine.locals.get_mut(slot) else {
        return;
    };
    match ring {
        LocalRing::Resend(sends) if sends == local.sends => {
            local.sends = local.sends.saturating_add(1);
            let (hop, sends) = (local.hop, local.sends);
            turn.out.send(hop, Duration::from_secs(2), |out| {
                out.extend_from_slice(&local.bytes)
            });
            turn.tell(Event::Retransmitted);
            turn.arm(
                client::timer_e(client::State::Trying, sends),
                Alarm::Local(slot, LocalRing::Resend(sends)),
            );
        }
        LocalRing::Resend(_) => {}
        LocalRing::GiveUp => fail(turn, slot, "no answer to a probe"),
    }
}

/// A hop was lost: probes that go there have failed.
pub fn hop_lost(turn: &mut Turn<'_>, hop: Hop, why: &'static str) {
    let hit: Vec<Slot> = turn
        .engine
        .locals
        .iter()
        .filter(|(_, local)| local.hop.remote == hop.remote && local.hop.transport == hop.transport)
        .map(|(slot, _)| slot)
        .collect();
    hit.into_iter().for_each(|slot| fail(turn, slot, why));
}

fn fail(turn: &mut Turn<'_>, slot: Slot, why: &'static str) {
    let Some(local) = turn.engine.locals.remove(slot) else {
        return;
    };
    if let Purpose::Probe(ix) = local.purpose {
        let peer = turn.engine.health.peer(ix);
        turn.tell(Event::Probe { peer, status: None });
        turn.observe(Some(ix), Evidence::ProbeFailed(why));
        turn.engine.health.release(ix);
    }
}

/// Whether one of them still runs that is more than a probe.
pub fn is_busy(turn_locals: &crate::table::Slab<Local>) -> bool {
    turn_locals
        .iter()
        .any(|(_, local)| local.purpose == Purpose::HangUp)
}
