//! Requests outside a dialog: who may ask (BEHAVIOUR 2 and 3).

use std::sync::Arc;

use smallvec::SmallVec;
use trunkline_sip::{Facts, Message, Method, Name, Transport};

use crate::{
    Event, Hop,
    branch::TEXT_BYTES,
    choose::choose_walk,
    context::{Context, Kind, Opening},
    contexts::Contexts,
    dice::Dice,
    drill,
    engine::{Engine, Turn},
    heading::dropped_routes,
    health::Class,
    in_dialog::{Arrival, is_party},
    reject::Reject,
    reply,
    routing::Role,
    settings::TrunkId,
    snapshot::Snapshot,
    walk::Walk,
};

/// Who sent a request.
#[derive(Copy, Clone)]
pub(crate) struct Source<'s> {
    /// From where.
    pub from: Hop,
    /// Who that is.
    pub role: &'s Role,
}

impl Contexts {
    /// A request. One of a source that nobody allowed gets in only where it belongs to a dialog, and
    /// hears nothing otherwise. `snapshot`: the present one.
    pub(crate) fn on_request(
        &mut self,
        request: &mut Message<'_>,
        Source { from, role }: Source<'_>,
        snapshot: &Arc<Snapshot>,
        turn: &mut Turn<'_>,
    ) {
        let known = !role.is_unknown();
        let Some(method) = request.method() else {
            return;
        };
        let settled = request.settle();
        let request = &*request;
        let facts = match (settled, request.facts()) {
            (Ok(()), Some(facts)) => facts,
            (Err(malformed), _) if known => {
                return turn.reject(request, from, Reject::from(malformed), &[]);
            }
            (Err(malformed), _) => {
                return turn.tell(Event::Dropped {
                    from,
                    why: malformed.fault.word(),
                });
            }
            (Ok(()), None) => return,
        };
        if !known && !is_party(request, from, turn.engine) {
            // Looked at so far because it might have been in a dialog.
            return turn.tell(Event::Dropped {
                from,
                why: "unknown_source",
            });
        }
        let key = server_key(
            turn.engine,
            facts,
            request.request_uri().unwrap_or_default(),
            method,
        );
        let open = turn.engine.by_key.get(key).copied();
        match (method, open) {
            (Method::Ack, _)
                if facts.to_tag.is_some_and(|tag| {
                    let branch = facts.via.branch().unwrap_or_default();
                    turn.engine.refusals.gave(tag, branch)
                }) =>
            {
                // Whatever became of the branch since: it belongs to no call.
                return;
            }
            (Method::Ack, Some(slot)) => {
                let mut goes_on = false;
                self.with(slot, turn, |context, turn| {
                    goes_on = context.on_ack(slot, turn)
                });
                if !goes_on {
                    return;
                }
            }
            (Method::Cancel, Some(slot)) => {
                reply::cancel_ok(turn, request, from);
                return self.with(slot, turn, |context, turn| context.on_cancel(slot, turn));
            }
            (Method::Cancel, None) if known => {
                return turn.reject(request, from, Reject::NoSuchTransaction, &[]);
            }
            (_, Some(slot)) => {
                return self.with(slot, turn, |context, turn| {
                    context.on_retransmission(request, from, turn)
                });
            }
            (Method::Ack, None)
                if facts
                    .to_tag
                    .is_some_and(|tag| reply::acknowledges_us(turn.engine, request, tag)) =>
            {
                // To a failure that we answered without state: it ends here (RFC 3261 §17.1.1.3).
                return;
            }
            (_, None) => {}
        }
        // These make no sense outside a dialog; one with an RFC 2543 callee has no To tag.
        let inside = matches!(
            method,
            Method::Ack | Method::Bye | Method::Prack | Method::Update
        );
        let in_dialog = inside || facts.to_tag.is_some();
        if !known && (!in_dialog || method == Method::Cancel) {
            // A party, but this is no request of its dialog.
            return turn.tell(Event::Dropped {
                from,
                why: "unknown_source",
            });
        }
        // Never what belongs to a call that was taken; and OPTIONS cost no more than their refusal.
        if !in_dialog && method != Method::Options && turn.engine.pressure.sheds() {
            return turn.reject(request, from, Reject::Overload, &[]);
        }
        let dialog = in_dialog.then(|| {
            let tags = [facts.from_tag, facts.to_tag].map(Option::unwrap_or_default);
            turn.engine.dialog(facts.call_id, tags[0], tags[1])
        });
        let print = loop_print(turn.engine, request, facts, dialog);
        if let Err(reject) = admit(request, facts, print, snapshot, turn.engine) {
            return match reject {
                _ if !known => turn.tell(Event::Dropped {
                    from,
                    why: reject.word(),
                }),
                Reject::TooManyHops if method == Method::Options => {
                    self.on_options(request, from, snapshot, turn)
                }
                Reject::BadExtension => {
                    let tags = reply::proxy_require(request);
                    let lines: SmallVec<[(&str, &[u8]); 4]> =
                        tags.iter().map(|tag| ("Unsupported", *tag)).collect();
                    turn.reject(request, from, reject, &lines);
                }
                reject => turn.reject(request, from, reject, &[]),
            };
        }
        let back = reply::back(from, &facts.via);
        if let Some(dialog) = dialog {
            let arrival = Arrival {
                from,
                back,
                transaction: key,
                dialog,
                loop_print: print,
            };
            return self.on_in_dialog(request, &arrival, snapshot, turn);
        }
        if method == Method::Options && is_for_us(facts, snapshot) {
            return self.on_options(request, from, snapshot, turn);
        }
        if method == Method::Register {
            return turn.reject(request, from, Reject::MethodNotAllowed, &[]);
        }
        if turn.engine.draining {
            return turn.reject(request, from, Reject::Draining, &[]);
        }
        match choose_walk(from, role, facts, snapshot, turn.engine) {
            Ok(walk) => {
                let drilled = drill::walk(&walk, request, snapshot, turn.engine, turn.now);
                let walk = drilled.unwrap_or(walk);
                let kind = if method == Method::Invite {
                    Kind::Call
                } else {
                    Kind::Other
                };
                let drop_routes = dropped_routes(request, snapshot);
                let opening = Opening {
                    key,
                    kind,
                    from,
                    back,
                    walk,
                    in_dialog: None,
                    drop_routes,
                    loop_print: print,
                };
                self.open(request, opening, turn);
            }
            Err(reject) => turn.reject(request, from, reject, &[]),
        }
    }

    /// Opens a context and makes its first attempt.
    pub(crate) fn open(&mut self, request: &Message<'_>, opening: Opening, turn: &mut Turn<'_>) {
        let snapshot = Arc::clone(&turn.engine.snapshot);
        let capacity = snapshot.settings().capacity;
        let most = capacity.of_one(turn.engine.shared.shards()).contexts;
        if !self.make_room(most, turn) {
            return turn.reject(request, opening.from, Reject::TooBusy, &[]);
        }
        let (key, kind) = (opening.key, opening.kind);
        let dice = match opening.walk {
            Walk::Termination { .. } | Walk::Origination { .. } => {
                turn.engine.cup.dice(request.call_id().unwrap_or_default())
            }
            // Nothing is left to chance.
            Walk::Fixed { .. } => Dice::default(),
        };
        let started = Event::CallStarted {
            direction: opening.walk.direction(),
            trunk: opening.walk.first_trunk(),
        };
        let paper = turn.engine.papers.keep(request.bytes());
        let context = Context::new(opening, snapshot, request, paper, dice, turn.now);
        let slot = self.slab.insert(context);
        turn.engine.by_key.insert(key, slot);
        if kind == Kind::Call {
            turn.engine.in_setup += 1;
            turn.tell(started);
        }
        self.with(slot, turn, |context, turn| {
            if kind != Kind::Other {
                context.send_trying(request, turn);
            }
            context.try_next(slot, request, turn);
        });
    }

    #[inline(never)]
    fn on_options(
        &mut self,
        request: &Message<'_>,
        from: Hop,
        snapshot: &Snapshot,
        turn: &mut Turn<'_>,
    ) {
        let role = snapshot.routing().role(from.remote.ip());
        let usable = !turn.engine.draining && is_usable_for(role, snapshot, turn);
        reply::options(turn, request, from, usable);
    }
}

/// RFC 3261 §16.3, in its order; syntax was first, and Max-Forwards is here.
fn admit(
    request: &Message<'_>,
    facts: &Facts<'_>,
    print: u64,
    snapshot: &Snapshot,
    engine: &Engine,
) -> Result<(), Reject> {
    if facts.max_forwards == Some(0) {
        return Err(Reject::TooManyHops);
    }
    let may_be_ours = |header| snapshot.may_be_our_via(&header);
    // The length of its branch tells most, and it has been read.
    let may_loop = match request.is_single(Name::Via) {
        true => facts.via.branch().is_some_and(|it| it.len() == TEXT_BYTES),
        false => request.all(Name::Via).any(may_be_ours),
    };
    if may_loop {
        let looped = request.vias().filter_map(Result::ok).any(|via| {
            let ours = via
                .branch()
                .and_then(|branch| engine.branches.loop_print(branch));
            ours == Some(print)
                && snapshot
                    .own(via.host(), via.port, Transport::parse(via.transport))
                    .is_some()
        });
        if looped {
            return Err(Reject::Loop);
        }
    }
    if request.first(Name::ProxyRequire).is_none() || reply::proxy_require(request).is_empty() {
        Ok(())
    } else {
        Err(Reject::BadExtension)
    }
}

/// What decides the routing of a request: the same print twice is a loop, another one a spiral
/// (RFC 5393 §4.2). The topmost Via is not part of it: it differs each time round, and would hide
/// every loop that passes another hop.
fn loop_print(
    engine: &Engine,
    request: &Message<'_>,
    facts: &Facts<'_>,
    dialog: Option<u64>,
) -> u64 {
    let mut print = engine.branches.running_print();
    match dialog {
        Some(key) => print.add_number(key),
        None => {
            print.add(facts.from_tag.unwrap_or_default());
            print.add(facts.call_id);
        }
    }
    print.add(request.request_uri().unwrap_or_default());
    print.add_number(u64::from(facts.cseq.number));
    for name in [Name::Route, Name::ProxyRequire] {
        request.all(name).for_each(|header| print.add(header.value));
    }
    print.finish() & 0xffff_ffff_ffff
}

/// Names a server transaction (RFC 3261 §17.2.3). An ACK and a CANCEL name that of their INVITE.
#[inline(always)]
pub(crate) fn server_key(
    engine: &Engine,
    facts: &Facts<'_>,
    uri: &[u8],
    method: Method<'_>,
) -> u64 {
    let method = match method {
        Method::Ack | Method::Cancel => Method::Invite,
        other => other,
    };
    let branch = facts.via.branch().unwrap_or_default();
    let port = facts.via.port.unwrap_or(0);
    if has_cookie(branch) {
        let (port, host) = (u64::from(port) << 8, facts.via.host_raw());
        let branches = &engine.branches;
        // The methods that calls are made of are a number each: that costs less than their texts.
        return match method {
            Method::Invite => branches.key_with(port | 1, &[branch, host]),
            Method::Bye => branches.key_with(port | 2, &[branch, host]),
            other => branches.key_with(port, &[branch, host, other.as_bytes()]),
        };
    }
    let port = port.to_be_bytes();
    // RFC 2543 peers: the fields that its copies, its ACK and its CANCEL have in common.
    engine.branches.key(&[
        b"2543",
        branch,
        facts.via.host_raw(),
        &port,
        facts.call_id,
        facts.from_tag.unwrap_or_default(),
        &facts.cseq.number.to_be_bytes(),
        uri,
        method.as_bytes(),
    ])
}

/// Whether a branch tells one transaction from all others, as RFC 3261 §8.1.1.7 wants it.
#[inline(always)]
fn has_cookie(branch: &[u8]) -> bool {
    const COOKIE: &[u8; 7] = b"z9hG4bK";
    match branch.split_first_chunk::<7>() {
        // Nearly all write it like this.
        Some((COOKIE, rest)) => !rest.is_empty(),
        Some((first, rest)) => !rest.is_empty() && first.eq_ignore_ascii_case(COOKIE),
        None => false,
    }
}

fn is_for_us(facts: &Facts<'_>, snapshot: &Snapshot) -> bool {
    facts.uri.is_none_or(|uri| {
        snapshot.own_uri(&uri).is_some()
            || (uri.user.is_none() && snapshot.routing().trunk_of_edge(uri.host_raw).is_none())
    })
}

/// Whether a call from this source would find anything that is not down.
fn is_usable_for(role: &Role, snapshot: &Snapshot, turn: &Turn<'_>) -> bool {
    let health = &turn.engine.health;
    let alive = |place| {
        snapshot
            .pool(place)
            .any(|(_, peer)| health.class(peer, turn.now) != Class::Down)
    };
    let trunks = &snapshot.settings().trunks;
    let origination = |id: &TrunkId| {
        let trunk = trunks.get(usize::from(id.0))?;
        Some((*id, trunk.origination.as_ref()?))
    };
    let mut inbound = role.trunks.iter().filter_map(origination).peekable();
    let drained = |id: TrunkId, at: usize| {
        let tally = snapshot.tally(id, at as u16);
        tally.is_some_and(|tally| tally.is_drained())
    };
    let outbound = || trunks.iter().filter_map(|trunk| trunk.termination.as_ref());
    if inbound.peek().is_some() {
        return inbound.any(|(id, it)| {
            let mut targets = it.targets.iter().enumerate();
            targets.any(|(at, target)| !drained(id, at) && alive(target.place))
        });
    }
    !role.pbx
        || outbound().next().is_none()
        || outbound()
            .flat_map(|it| &it.edges)
            .any(|edge| alive(edge.place))
}
