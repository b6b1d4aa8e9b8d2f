//! Requests inside a dialog: by Route set and Request-URI, on the word of our signed token or of
//! the live call's memory (BEHAVIOUR 3).

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use smallvec::SmallVec;
use trunkline_sip::{Message, Method, Uri};

use crate::{
    Hop,
    context::{InDialog, Kind, Opening},
    contexts::Contexts,
    dialog::{self, Calls},
    engine::{Engine, Turn},
    event::Direction,
    forward::{self, MaxForwards, RequestPlan, ViaPlan},
    heading::Heading,
    next_hop::place_of,
    reject::Reject,
    routing::{Candidate, Role},
    settings::{Place, TrunkId},
    snapshot::Snapshot,
    walk::{Walk, keeps_to_peer},
};

/// Where an in-dialog request goes.
struct Onward {
    candidates: SmallVec<[Candidate; 1]>,
    /// A new Request-URI where an endpoint that ignored Record-Route addressed us; else empty.
    request_uri: Box<[u8]>,
    routes: Vec<Box<[u8]>>,
    trunk: TrunkId,
    direction: Direction,
    call: Option<u128>,
    hop: Option<Hop>,
}

/// What deciding came to.
enum Decision {
    Go(Onward),
    /// DNS first.
    Ask(Place),
    Reject(Reject),
    /// A source that may not speak, and gets silence.
    Silence,
}

impl Contexts {
    /// A request with a To tag, ACK included.
    pub(crate) fn on_in_dialog(
        &mut self,
        request: &Message<'_>,
        from: Hop,
        opening: (u128, Hop, u64),
        turn: &mut Turn<'_>,
    ) {
        let snapshot = Arc::clone(&turn.engine.snapshot);
        let heading = Heading::read(request, &snapshot, &turn.engine.tokens);
        match decide(request, from, &heading, &snapshot, turn) {
            Decision::Go(onward) if request.method() == Some(Method::Ack) => {
                forward_ack(request, from, &heading, &onward, opening.2, &snapshot, turn);
            }
            Decision::Go(onward) => {
                self.open_in_dialog(request, from, heading, onward, opening, turn)
            }
            Decision::Ask(place) => self.park(request, from, place, turn),
            Decision::Reject(reject) => turn.reject(request, from, reject, &[]),
            Decision::Silence => turn.tell(crate::Event::Dropped {
                from,
                why: "unknown_source",
            }),
        }
    }

    fn open_in_dialog(
        &mut self,
        request: &Message<'_>,
        from: Hop,
        heading: Heading<'_>,
        onward: Onward,
        (key, back, loop_print): (u128, Hop, u64),
        turn: &mut Turn<'_>,
    ) {
        let kind = if request.method() == Some(Method::Invite) {
            Kind::ReInvite
        } else {
            Kind::Other
        };
        let token = match (&heading.token, kind) {
            // RFC 3261 §16.6 step 4: also on what refreshes a target; a recovering endpoint may
            // have nothing else.
            (Some((_, text)), Kind::ReInvite) => Some(SmallVec::from_slice(text)),
            (Some(_), Kind::Call | Kind::Other) | (None, _) => None,
        };
        let in_dialog = InDialog {
            strict: heading.strict,
            token,
            call: onward.call,
            ends: request.method() == Some(Method::Bye),
            routes: onward.routes,
            hop: onward.hop,
        };
        let walk = Walk::Fixed {
            trunk: onward.trunk,
            direction: onward.direction,
            candidates: onward.candidates,
            request_uri: onward.request_uri.into(),
        };
        let drop_routes = heading.drop_routes;
        let in_dialog = Some(Box::new(in_dialog));
        self.open(
            request,
            Opening {
                key,
                kind,
                from,
                back,
                walk,
                in_dialog,
                drop_routes,
                loop_print,
            },
            turn,
        );
    }
}

fn decide(
    request: &Message<'_>,
    from: Hop,
    heading: &Heading<'_>,
    snapshot: &Snapshot,
    turn: &Turn<'_>,
) -> Decision {
    let engine = &*turn.engine;
    let from_tag = request.from_tag().unwrap_or_default();
    let call_id = request.call_id().unwrap_or_default();
    let key = dialog::key(
        |parts| engine.branches.hash128(parts),
        call_id,
        from_tag,
        request.to_tag().unwrap_or_default(),
    );
    let call = engine.calls.get(key);
    let parties: SmallVec<[SocketAddr; 4]> = heading
        .token
        .iter()
        .flat_map(|(token, _)| [token.caller.addr, token.callee.addr])
        .chain(
            call.iter()
                .flat_map(|call| [call.caller.hop.remote, call.callee.hop.remote]),
        )
        .collect();
    let is_party = |ip: IpAddr| parties.iter().any(|party| party.ip() == ip);
    let role: &Role = snapshot.routing().role(from.remote.ip());
    if role.is_unknown() && !is_party(from.remote.ip()) {
        return Decision::Silence;
    }
    // Neither token nor memory: a Route or Request-URI alone is no dialog of ours.
    if heading.token.is_none() && call.is_none() {
        return Decision::Reject(Reject::NoSuchTransaction);
    }
    let by_token = heading.token.as_ref().map(|(token, _)| {
        let speaks_caller = token.caller_tag == engine.tokens.name_hash(from_tag);
        let trunk = snapshot.trunk_of_hash(token.trunk);
        (
            if speaks_caller {
                token.callee
            } else {
                token.caller
            },
            trunk,
            token.direction,
            speaks_caller,
        )
    });
    let by_call = call.as_ref().map(|call| {
        let party = Calls::side_of(call, from_tag);
        (
            call.side(party.other()),
            call.trunk,
            call.direction,
            party == dialog::Party::Caller,
        )
    });
    let role_trunk = role.trunks.first().copied();
    let (trunk, direction, towards_callee) = match (&by_token, &by_call) {
        (Some((_, Some(trunk), direction, caller)), _) => (*trunk, *direction, *caller),
        (_, Some((_, trunk, direction, caller))) => (*trunk, *direction, *caller),
        (Some((_, None, direction, caller)), None) => {
            (role_trunk.unwrap_or(TrunkId(0)), *direction, *caller)
        }
        (None, None) => (
            role_trunk.unwrap_or(TrunkId(0)),
            Direction::Termination,
            true,
        ),
    };
    let towards_carrier = (direction == Direction::Termination) == towards_callee;
    let mut onward = Onward {
        candidates: SmallVec::new(),
        request_uri: Box::default(),
        routes: Vec::new(),
        trunk,
        direction,
        call: call.is_some().then_some(key),
        hop: by_call.as_ref().map(|(side, ..)| side.hop),
    };
    let preferred = heading
        .leaves_from
        .or(by_call.as_ref().map(|(side, ..)| side.hop.listener))
        .unwrap_or(from.listener);
    if towards_carrier && keeps_to_peer(snapshot, trunk) {
        // `in_dialog = "peer"`: a Contact behind NAT cannot be reached; the address can.
        let peer = by_token
            .as_ref()
            .map(|(party, ..)| (party.transport, party.addr))
            .or(by_call
                .as_ref()
                .map(|(side, ..)| (side.hop.transport, side.hop.remote)));
        if let Some((transport, addr)) = peer {
            if let Some(listener) = snapshot.listener_for(transport, addr.ip(), preferred) {
                onward.candidates.push(Candidate {
                    priority: 0,
                    weight: 0,
                    transport,
                    addr,
                    listener,
                });
            }
            if let (None, Some((side, ..))) = (heading.next, &by_call) {
                onward.request_uri = side.contact.into();
            }
            return Decision::Go(onward);
        }
    }
    let next: Box<[u8]> = match (heading.next, &by_call) {
        (Some(next), _) => next.into(),
        (None, Some((side, ..))) => {
            onward.request_uri = side.contact.into();
            onward.routes = side.routes().map(Box::from).collect();
            let first = onward
                .routes
                .first()
                .and_then(|route| trunkline_sip::NameAddr::parse(route).ok());
            first.map_or(side.contact, |route| route.uri).into()
        }
        (None, None) => return Decision::Reject(Reject::NoSuchTransaction),
    };
    let Some(place) = Uri::parse(&next).ok().and_then(|uri| place_of(&uri)) else {
        // No Contact to go to: back to where its messages came from.
        return match by_call {
            Some((side, ..)) if next.is_empty() => {
                onward.candidates.push(candidate_of(side.hop));
                Decision::Go(onward)
            }
            _ => Decision::Reject(Reject::Unresolvable),
        };
    };
    let Some(found) = engine.lookup(snapshot, &place, preferred, turn.now) else {
        return Decision::Ask(place);
    };
    if found.is_empty() {
        return Decision::Reject(Reject::Unresolvable);
    }
    // No open relay: its own trunk, the PBX side, or whom the token names. A trunk that is no longer
    // configured narrows nothing.
    let sure = by_call.is_some() || matches!(by_token, Some((_, Some(_), ..)));
    let allowed = |ip: IpAddr| {
        let role = snapshot.routing().role(ip);
        is_party(ip) || role.pbx || role.trunks.contains(&trunk) || (!sure && !role.is_unknown())
    };
    onward.candidates = found
        .into_iter()
        .filter(|it| allowed(it.addr.ip()))
        .collect();
    if onward.candidates.is_empty() {
        return Decision::Reject(Reject::NotARelay);
    }
    Decision::Go(onward)
}

/// Whether a source that nobody configured takes part in the dialog that this request names: by
/// our signed token, or by the live call's memory.
pub fn is_party(request: &Message<'_>, from: Hop, engine: &Engine) -> bool {
    let ip = from.remote.ip();
    if let Some((token, _)) = Heading::read(request, &engine.snapshot, &engine.tokens).token {
        return token.caller.addr.ip() == ip || token.callee.addr.ip() == ip;
    }
    let (Ok(call_id), Some(from_tag)) = (request.call_id(), request.from_tag()) else {
        return false;
    };
    let to_tag = request.to_tag().unwrap_or_default();
    let key = dialog::key(
        |parts| engine.branches.hash128(parts),
        call_id,
        from_tag,
        to_tag,
    );
    engine
        .calls
        .get(key)
        .is_some_and(|call| call.caller.hop.remote.ip() == ip || call.callee.hop.remote.ip() == ip)
}

fn candidate_of(hop: Hop) -> Candidate {
    Candidate {
        priority: 0,
        weight: 0,
        transport: hop.transport,
        addr: hop.remote,
        listener: hop.listener,
    }
}

/// The ACK to a 2xx: without state, the same branch for the same ACK (RFC 3261 §16.11).
fn forward_ack(
    request: &Message<'_>,
    from: Hop,
    heading: &Heading<'_>,
    onward: &Onward,
    loop_print: u64,
    snapshot: &Snapshot,
    turn: &mut Turn<'_>,
) {
    let Some(candidate) = onward.candidates.first() else {
        return;
    };
    let branch = request
        .top_via()
        .ok()
        .and_then(|via| via.branch())
        .unwrap_or_default();
    let call_id = request.call_id().unwrap_or_default();
    let number = request.cseq().map_or(0, |cseq| cseq.number);
    let seed = turn
        .engine
        .branches
        .hash(&[b"stateless", branch, call_id, &number.to_be_bytes()]);
    let branch = turn.engine.branches.stateless(seed, loop_print);
    let routes: SmallVec<[(&str, &[u8]); 4]> = onward
        .routes
        .iter()
        .map(|route| ("Route", &route[..]))
        .collect();
    let plan = RequestPlan {
        request_uri: (!onward.request_uri.is_empty()).then_some(&onward.request_uri[..]),
        drop_routes: usize::from(heading.drop_routes),
        strict: heading.strict,
        received: Some(from.remote),
        via: ViaPlan {
            transport: candidate.transport,
            sent_by: snapshot.advertise(candidate.listener),
            branch: branch.as_ref(),
            alias: false,
        },
        record_route: &[],
        max_forwards: max_forwards(request),
        content_length: candidate.transport.is_reliable(),
        append: &routes,
    };
    let mut to = candidate.hop();
    if let Some(side) = onward.hop.filter(|side| speaks_over(side, candidate)) {
        to.connection = side.connection;
    }
    turn.out.send(to, Duration::from_secs(2), |out| {
        // An ACK that cannot be forwarded has nobody to tell.
        let _ = forward::request(request, &plan, out);
    });
}

/// Whether a side's own connection leads to this candidate.
pub fn speaks_over(side: &Hop, candidate: &Candidate) -> bool {
    side.transport == candidate.transport && side.remote.ip() == candidate.addr.ip()
}

/// RFC 3261 §16.6 step 3.
pub fn max_forwards(request: &Message<'_>) -> MaxForwards {
    match request.max_forwards() {
        Ok(Some(hops)) => MaxForwards::Set(hops.saturating_sub(1)),
        Ok(None) | Err(_) => MaxForwards::Insert70,
    }
}
