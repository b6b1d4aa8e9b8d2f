//! Requests inside a dialog: by Route set and Request-URI, on the word of our signed token or of
//! the live call's memory (BEHAVIOUR 3).

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use smallvec::SmallVec;
use trunkline_sip::{Message, Method, NameAddr, Transport, Uri};

use crate::{
    Hop,
    context::{InDialog, Kind, MoreInDialog, Opening},
    contexts::Contexts,
    dialog::{Call, Party, Side},
    engine::{Engine, Turn, ack_key},
    event::Direction,
    forward::{self, MaxForwards, NewUri, RequestPlan, ViaPlan},
    heading::{Heading, Reached},
    hop::ListenerId,
    next_hop::literal,
    reject::Reject,
    routing::Candidate,
    settings::{Place, TrunkId},
    snapshot::Snapshot,
    token::DialogToken,
    walk::{Walk, keeps_to_peer},
};

/// Addresses of a next hop: nearly always one.
type Candidates = SmallVec<[Candidate; 1]>;

/// Where an in-dialog request goes.
struct Onward {
    candidates: Candidates,
    /// A new Request-URI where an endpoint that ignored Record-Route addressed us; else empty.
    request_uri: Box<[u8]>,
    routes: Vec<Box<[u8]>>,
    trunk: TrunkId,
    direction: Direction,
    call: Option<u64>,
    hop: Option<Hop>,
}

/// What is known of a request inside a dialog before its way is looked for.
#[derive(Copy, Clone)]
pub struct Arrival {
    /// Where it came from.
    pub from: Hop,
    /// Where its answers go.
    pub back: Hop,
    /// Names its server transaction.
    pub transaction: u64,
    /// Names its dialog: [`Engine::dialog`].
    pub dialog: u64,
    /// See [`Opening::loop_print`].
    pub loop_print: u64,
}

/// What deciding came to.
enum Decision {
    Go(Onward),
    /// DNS first.
    Ask(Place),
    Reject(Reject),
}

impl Contexts {
    /// A request with a To tag, ACK included, of a source that may speak: that somebody allowed, or
    /// that [is a party](is_party).
    pub(crate) fn on_in_dialog(
        &mut self,
        request: &Message<'_>,
        arrival: &Arrival,
        snapshot: &Snapshot,
        turn: &mut Turn<'_>,
    ) {
        let heading = Heading::read(request, snapshot);
        let decision = decide(request, arrival, &heading, snapshot, turn);
        match decision {
            // It need not move for an ACK: nothing keeps it.
            Decision::Go(ref onward) if request.method() == Some(Method::Ack) => {
                forward_ack(request, arrival, &heading, onward, snapshot, turn);
            }
            Decision::Go(onward) => self.open_in_dialog(request, arrival, &heading, onward, turn),
            Decision::Ask(place) => self.park(request, arrival.from, place, turn),
            Decision::Reject(reject) => turn.reject(request, arrival.from, reject, &[]),
        }
    }

    fn open_in_dialog(
        &mut self,
        request: &Message<'_>,
        arrival: &Arrival,
        heading: &Heading<'_>,
        onward: Onward,
        turn: &mut Turn<'_>,
    ) {
        let kind = if request.method() == Some(Method::Invite) {
            Kind::ReInvite
        } else {
            Kind::Other
        };
        // RFC 3261 §16.6 step 4: also on what refreshes a target; a recovering endpoint may have
        // nothing else.
        let token = heading
            .token
            .filter(|text| kind == Kind::ReInvite && turn.engine.tokens.read(text).is_some())
            .map(SmallVec::from_slice);
        let routes = onward.routes;
        let more = (token.is_some() || !routes.is_empty())
            .then(|| Box::new(MoreInDialog { token, routes }));
        let in_dialog = InDialog {
            strict: heading.strict,
            call: onward.call,
            ends: request.method() == Some(Method::Bye),
            hop: onward.hop,
            more,
        };
        let walk = Walk::Fixed {
            trunk: onward.trunk,
            direction: onward.direction,
            candidates: onward.candidates,
            request_uri: match &*onward.request_uri {
                [] => Arc::default(),
                uri => uri.into(),
            },
        };
        let drop_routes = heading.drop_routes;
        let in_dialog = Some(in_dialog);
        self.open(
            request,
            Opening {
                key: arrival.transaction,
                kind,
                from: arrival.from,
                back: arrival.back,
                walk,
                in_dialog,
                drop_routes,
                loop_print: arrival.loop_print,
            },
            turn,
        );
    }
}

/// What is known of a dialog: by our token, by the live call's memory, or both.
struct Known<'k> {
    /// `None` also where it would say what memory says.
    token: Option<DialogToken>,
    call: Option<Call<'k>>,
    /// Who the request is for, and where that side spoke from when the call was set up, as memory has it.
    to: (Party, Option<Hop>),
}

impl<'k> Known<'k> {
    #[inline(always)]
    fn of(request: &Message<'_>, dialog: u64, heading: &Heading<'_>, engine: &'k Engine) -> Self {
        let from_tag = request.from_tag().unwrap_or_default();
        let call = engine.calls.get(dialog);
        let is_of_call = |text| call.is_some_and(|call| call.has_token(text));
        let token = heading
            .token
            .filter(|text| !is_of_call(text))
            .and_then(|text| engine.tokens.read(text));
        let speaks = match (&token, call) {
            (Some(token), _) if token.caller_tag == engine.tokens.name_hash(from_tag) => {
                Party::Caller
            }
            (Some(_), _) => Party::Callee,
            (None, Some(call)) => call.speaker(from_tag),
            (None, None) => Party::Caller,
        };
        let to = speaks.other();
        Known {
            token,
            call,
            to: (to, call.and_then(|call| call.hop(to))),
        }
    }

    /// Whether an address takes part in the dialog.
    fn is_party(&self, ip: IpAddr) -> bool {
        let is = |party: SocketAddr| party.ip() == ip;
        let token = self.token.as_ref();
        self.to.1.is_some_and(|hop| is(hop.remote))
            || token.is_some_and(|it| is(it.caller.addr) || is(it.callee.addr))
            || self
                .call
                .and_then(|call| call.hop(self.to.0.other()))
                .is_some_and(|hop| is(hop.remote))
    }

    fn is_from_caller(&self) -> bool {
        self.to.0 == Party::Callee
    }

    /// The side that the request is for, as memory has it.
    fn towards(&self) -> Option<Side<'k>> {
        self.call?.side(self.to.0)
    }

    /// Where that side spoke from when the call was set up.
    fn peer(&self) -> Option<(Transport, SocketAddr)> {
        let named = self.token.as_ref().map(|it| match self.to.0 {
            Party::Callee => it.callee,
            Party::Caller => it.caller,
        });
        named
            .map(|party| (party.transport, party.addr))
            .or(self.to.1.map(|hop| (hop.transport, hop.remote)))
    }

    /// The trunk and the way of the call; no trunk where its name is configured no more.
    fn trunk(&self, snapshot: &Snapshot) -> (Option<TrunkId>, Direction) {
        let named = self
            .token
            .as_ref()
            .and_then(|token| snapshot.trunk_of_hash(token.trunk));
        let direction = self
            .token
            .as_ref()
            .map(|token| token.direction)
            .or(self.call.map(Call::direction));
        (
            named.or(self.call.map(Call::trunk)),
            direction.unwrap_or(Direction::Termination),
        )
    }
}

#[inline(always)]
fn decide(
    request: &Message<'_>,
    arrival: &Arrival,
    heading: &Heading<'_>,
    snapshot: &Snapshot,
    turn: &Turn<'_>,
) -> Decision {
    let from = arrival.from;
    let known = Known::of(request, arrival.dialog, heading, turn.engine);
    if known.token.is_none() && known.call.is_none() {
        // A Route or Request-URI alone is no dialog of ours.
        return Decision::Reject(Reject::NoSuchTransaction);
    }
    let (named, direction) = known.trunk(snapshot);
    let trunk = named.unwrap_or_else(|| {
        let role = snapshot.routing().role(from.remote.ip());
        role.trunks.first().copied().unwrap_or(TrunkId(0))
    });
    let hop = known.to.1;
    let preferred = heading
        .leaves_from
        .or(hop.map(|hop| hop.listener))
        .unwrap_or(from.listener);
    let mut onward = Onward {
        candidates: SmallVec::new(),
        request_uri: Box::default(),
        routes: Vec::new(),
        trunk,
        direction,
        call: known.call.is_some().then_some(arrival.dialog),
        hop,
    };
    if heading.next.is_none()
        && let Some(side) = known.towards()
    {
        // An endpoint that ignores Record-Route addressed us: what it left out goes in.
        // What cannot be read would lead nowhere; the side's own address does.
        if Uri::parse(side.contact).is_ok() {
            onward.request_uri = side.contact.into();
        }
        onward.routes = side.routes().map(Box::from).collect();
    }
    let towards_carrier = (direction == Direction::Termination) == known.is_from_caller();
    if towards_carrier
        && keeps_to_peer(snapshot, trunk)
        && let Some(peer) = known.peer()
    {
        // `in_dialog = "peer"`: a Contact behind NAT cannot be reached; the address can.
        onward.routes.clear();
        onward
            .candidates
            .extend(candidate_at(peer, preferred, snapshot));
        return Decision::Go(onward);
    }
    // No open relay: its own trunk, the PBX side, or who takes part. A trunk that is configured no
    // more narrows nothing.
    let may_hear = |ip: IpAddr| {
        // Nearly always that side itself, and that costs least to see.
        if known.is_party(ip) {
            return true;
        }
        let role = snapshot.routing().role(ip);
        role.pbx || named.map_or(!role.is_unknown(), |trunk| role.carries(trunk))
    };
    match next_hops(heading, &onward, preferred, snapshot, turn) {
        Ok(found) if found.is_empty() => Decision::Reject(Reject::Unresolvable),
        Ok(found) => {
            onward.candidates = found;
            onward.candidates.retain(|it| may_hear(it.addr.ip()));
            if onward.candidates.is_empty() {
                return Decision::Reject(Reject::NotARelay);
            }
            Decision::Go(onward)
        }
        Err(place) => Decision::Ask(place),
    }
}

/// The candidates of the next hop: the first Route, else the Request-URI, else (there is no
/// Contact) where that side's messages came from. `Err`: DNS must be asked first.
fn next_hops(
    heading: &Heading<'_>,
    onward: &Onward,
    preferred: ListenerId,
    snapshot: &Snapshot,
    turn: &Turn<'_>,
) -> Result<Candidates, Place> {
    let route = || {
        let route = onward.routes.first()?;
        NameAddr::parse(route).ok().map(|route| route.uri)
    };
    let left_out;
    let (next, uri) = match &heading.next {
        Some(next) => (next.text, next.uri.as_ref()),
        None => {
            let next = route().unwrap_or(&onward.request_uri);
            left_out = Uri::parse(next).ok().map(Reached::of);
            (next, left_out.as_ref())
        }
    };
    if let Some(named) = uri.and_then(|uri| literal(uri, snapshot, preferred)) {
        return Ok(named.map_or_else(Candidates::new, |named| Candidates::from_buf([named])));
    }
    match (uri.and_then(|next| Place::of(&next.uri)), onward.hop) {
        (Some(place), _) => turn
            .engine
            .lookup(snapshot, &place, preferred, turn.now)
            .map(Candidates::from_vec)
            .ok_or(place),
        (None, Some(hop)) if next.is_empty() => {
            let found = candidate_at((hop.transport, hop.remote), hop.listener, snapshot);
            Ok(found.into_iter().collect())
        }
        (None, _) => Ok(Candidates::new()),
    }
}

/// An address as a candidate, when a listener of ours speaks with it.
fn candidate_at(
    (transport, addr): (Transport, SocketAddr),
    preferred: ListenerId,
    snapshot: &Snapshot,
) -> Option<Candidate> {
    let listener = snapshot.listener_for(transport, addr.ip(), preferred)?;
    Some(Candidate {
        priority: 0,
        weight: 0,
        transport,
        addr,
        listener,
    })
}

/// Whether a source that nobody configured takes part in the dialog that this request names: by
/// our signed token, or by the live call's memory.
pub fn is_party(request: &Message<'_>, from: Hop, engine: &Engine) -> bool {
    let heading = Heading::read(request, &engine.snapshot);
    let dialog = engine.dialog_of(request);
    Known::of(request, dialog, &heading, engine).is_party(from.remote.ip())
}

/// The ACK to a 2xx: without state, the same branch for the same ACK (RFC 3261 §16.11).
fn forward_ack(
    request: &Message<'_>,
    arrival: &Arrival,
    heading: &Heading<'_>,
    onward: &Onward,
    snapshot: &Snapshot,
    turn: &mut Turn<'_>,
) {
    let Some(candidate) = onward.candidates.first() else {
        return;
    };
    let number = request.cseq().map_or(0, |cseq| cseq.number);
    turn.engine.forget_unacked(ack_key(arrival.dialog, number));
    let mut seed = turn.engine.branches.running_print();
    seed.add_number(arrival.transaction);
    let branch = turn
        .engine
        .branches
        .stateless(seed.finish(), arrival.loop_print);
    let routes = onward.routes.iter();
    let routes: Vec<(&str, &[u8])> = routes.map(|route| ("Route", &route[..])).collect();
    let plan = RequestPlan {
        request_uri: match &onward.request_uri[..] {
            [] => NewUri::Kept,
            uri => NewUri::Is(uri),
        },
        drop_routes: usize::from(heading.drop_routes),
        strict: heading.strict,
        received: Some(arrival.from.remote),
        via: ViaPlan {
            face: snapshot.face(candidate.listener),
            branch: branch.as_ref(),
            alias: false,
        },
        record_route: &[],
        max_forwards: max_forwards(request),
        content_length: candidate.transport.is_reliable(),
        append: &routes,
        drop: &[],
    };
    let mut to = candidate.hop();
    if let Some(side) = onward.hop.filter(|side| speaks_over(side, &to)) {
        to.connection = side.connection;
    }
    turn.out.send(to, Duration::from_secs(2), |out| {
        // An ACK that cannot be forwarded has nobody to tell.
        let _ = forward::request(request, &plan, out);
    });
}

/// Whether a side's own connection leads to this hop.
pub fn speaks_over(side: &Hop, hop: &Hop) -> bool {
    side.transport == hop.transport && side.remote.ip() == hop.remote.ip()
}

/// RFC 3261 §16.6 step 3.
pub fn max_forwards(request: &Message<'_>) -> MaxForwards {
    match request.max_forwards() {
        Ok(Some(hops)) => MaxForwards::Set(hops.saturating_sub(1)),
        Ok(None) | Err(_) => MaxForwards::Insert70,
    }
}
