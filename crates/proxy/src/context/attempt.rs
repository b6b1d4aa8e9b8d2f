//! The attempts of a context: choosing, sending, hearing, giving up.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use smallvec::SmallVec;
use trunkline_sip::{Message, Uri};

use super::{ATTEMPTS_MAX, Attempt, Client, Context, Kind, TokenBytes};
use crate::{
    Event, Hop, UDP_SAFE_BYTES,
    engine::{Alarm, Engine, Ring, Turn},
    event::Outcome,
    forward::{self, RecordRoute, RequestPlan, Sent, Strict, ViaPlan},
    health::{Class, Evidence},
    in_dialog::{max_forwards, speaks_over},
    routing::Candidate,
    settings::Attempts,
    table::Slot,
    token::{DialogToken, Party},
    transaction::{LINGER, client, invite_client},
    walk::{Addressed, Step, Terrain, Walk, request_address},
};

/// A Request-URI while it is being made.
type UriText = SmallVec<[u8; 128]>;

impl Context {
    /// Begins the next attempt of the walk, or ends the request when nothing is left.
    pub fn try_next(&mut self, slot: Slot, request: &Message<'_>, turn: &mut Turn<'_>) {
        if !self.is_waiting() {
            return;
        }
        match self.next_step(turn.engine, turn.now) {
            Some(step) => self.begin(slot, step, request, turn),
            None => self.exhausted(slot, request, turn),
        }
    }

    /// As [`try_next`](Self::try_next), when the request must be read again first.
    pub fn try_next_again(&mut self, slot: Slot, turn: &mut Turn<'_>) {
        self.with_request(|context, request| context.try_next(slot, request, turn));
    }

    /// Runs `work` with the request parsed. It was parsed before, so it parses again.
    pub(super) fn with_request(&mut self, work: impl FnOnce(&mut Context, &Message<'_>)) {
        let bytes = Arc::clone(&self.request);
        if let Ok(request) = Message::parse(&bytes, &crate::proxy::LIMITS) {
            work(self, &request);
        }
    }

    /// The step that [`try_next`](Self::try_next) would take now.
    fn next_step(&mut self, engine: &Engine, now: Instant) -> Option<Step> {
        if self.attempts.len() >= ATTEMPTS_MAX {
            return None;
        }
        if self.recovering.is_none() && !self.is_fixed() {
            let limits = self
                .walk
                .attempts(&self.snapshot, self.walk.first_trunk())?;
            let spent = now.saturating_duration_since(self.began);
            if self.attempts.len() >= usize::from(limits.max_attempts)
                || spent >= limits.setup_budget
            {
                return None;
            }
        }
        let tried = self.tried();
        let terrain = Terrain {
            snapshot: &self.snapshot,
            health: &engine.health,
            now,
            active: &|trunk, target| engine.active.get(&(trunk, target)).copied().unwrap_or(0),
            has_pace: &|trunk, at, target| engine.has_pace(trunk, at, target, now),
            tried: &tried,
        };
        self.walk.next(&terrain, &mut self.dice)
    }

    /// Whether there is anything left to try; changes nothing.
    fn has_next(&mut self, engine: &Engine, now: Instant) -> bool {
        let (walk, dice) = (self.walk.clone(), self.dice.clone());
        let found = self.next_step(engine, now).is_some();
        (self.walk, self.dice) = (walk, dice);
        found
    }

    /// The timers of an attempt at this trunk.
    pub(super) fn limits(&self, attempt: usize) -> Option<&Attempts> {
        self.walk
            .attempts(&self.snapshot, self.attempts[attempt].trunk)
    }

    fn begin(&mut self, slot: Slot, step: Step, request: &Message<'_>, turn: &mut Turn<'_>) {
        let now = turn.now;
        let number = self.attempts.len() as u8;
        let reliable = step.candidate.transport.is_reliable();
        let limits = self.walk.attempts(&self.snapshot, step.trunk);
        let answer_timeout = self
            .recovering
            .as_ref()
            .and_then(|recovering| recovering.ring_timeout())
            .or(limits.map(|limits| limits.answer_timeout))
            .unwrap_or(Duration::from_secs(180));
        // Where nothing else can be tried, the RFC's own patience holds (Timers B and F).
        let patience = match limits {
            Some(limits) if !self.is_fixed() || self.recovering.is_some() => {
                limits.response_timeout
            }
            _ => LINGER,
        };
        if let Some(peer) = step.peer {
            turn.engine.health.hold(peer);
            turn.engine.health.sent(now, peer);
            if turn.engine.health.class(peer, now) != Class::Usable {
                turn.engine.health.begin_trial(peer, now);
            }
        }
        let hop = self.first_hop(&step.candidate);
        turn.engine.waiting.attach(step.peer, hop, slot);
        if let (Addressed::Target(at), Kind::Call) = (step.addressed, self.kind) {
            turn.engine.count_pace(step.trunk, at, now);
        }
        let request_uri = match &self.walk {
            Walk::Fixed { request_uri, .. } => Arc::clone(request_uri),
            Walk::Termination { .. } | Walk::Origination { .. } => Arc::default(),
        };
        self.attempts.push(Attempt {
            trunk: step.trunk,
            addressed: step.addressed,
            candidate: step.candidate,
            hop,
            request_uri,
            peer: step.peer,
            client: if self.is_invite() {
                Client::Invite(invite_client::State::Calling)
            } else {
                Client::Other(client::State::Trying)
            },
            sends: 0,
            cancels: 0,
            cancel_done: false,
            heard: false,
            rang: false,
            reaped: false,
            began: now,
            answer_at: now + answer_timeout,
            linger_at: now,
            verdict: None,
        });
        turn.arm(patience, Alarm::Context(slot, Ring::Try(number)));
        if self.is_invite() {
            turn.arm(answer_timeout, Alarm::Context(slot, Ring::Answer(number)));
        }
        self.transmit(slot, usize::from(number), request, turn);
        if !reliable {
            turn.arm(
                self.resend_after(usize::from(number)),
                Alarm::Context(slot, Ring::Resend(number, 1)),
            );
        }
    }

    /// What the first copy goes by: the connection that a dialog's side had opened, if it had.
    fn first_hop(&self, candidate: &Candidate) -> Hop {
        let side = self.in_dialog.as_ref().and_then(|dialog| dialog.hop);
        let side = side.filter(|side| speaks_over(side, candidate));
        Hop {
            connection: side.and_then(|side| side.connection),
            ..candidate.hop()
        }
    }

    fn resend_after(&self, attempt: usize) -> Duration {
        let attempt = &self.attempts[attempt];
        match attempt.client {
            Client::Invite(_) => invite_client::timer_a(attempt.sends),
            Client::Other(state) => client::timer_e(state, attempt.sends),
        }
    }

    /// Sends the attempt's request, for the first time or again: the same bytes.
    pub(super) fn transmit(
        &mut self,
        slot: Slot,
        number: usize,
        request: &Message<'_>,
        turn: &mut Turn<'_>,
    ) {
        self.attempts[number].sends = self.attempts[number].sends.saturating_add(1);
        let first = self.attempts[number].sends == 1;
        let attempt = &self.attempts[number];
        let connect = self
            .walk
            .attempts(&self.snapshot, attempt.trunk)
            .map(|limits| limits.connect_timeout);
        let mut size = 0;
        let engine = &*turn.engine;
        turn.out.send(
            attempt.hop,
            connect.unwrap_or(Duration::from_secs(2)),
            |out| {
                let start = out.len();
                self.write_request(engine, slot, number, request, out);
                size = out.len() - start;
            },
        );
        if first
            && size > UDP_SAFE_BYTES
            && !self.attempts[number].candidate.transport.is_reliable()
        {
            turn.tell(Event::OversizedDatagram);
        }
    }

    fn write_request(
        &self,
        engine: &Engine,
        slot: Slot,
        number: usize,
        request: &Message<'_>,
        out: &mut Vec<u8>,
    ) {
        let attempt = &self.attempts[number];
        let candidate = &attempt.candidate;
        let mut uri = UriText::new();
        self.request_uri(number, request, &mut uri);
        let branch = engine.branch(slot, number as u8, self.loop_print);
        let token = self.token(engine, number, request);
        let incoming = RecordRoute {
            transport: self.from.transport,
            advertise: self.snapshot.advertise(self.from.listener),
            token: token.as_deref(),
        };
        let outgoing = RecordRoute {
            transport: candidate.transport,
            advertise: self.snapshot.advertise(candidate.listener),
            token: None,
        };
        let both = [outgoing, incoming];
        // RFC 5658: where the two sides differ, each finds its own side of us at the top.
        let records: &[RecordRoute<'_>] = match token {
            None => &[],
            Some(_) if candidate.listener == self.from.listener => &both[1..],
            Some(_) => &both,
        };
        let plan = RequestPlan {
            record_route: records,
            ..self.plan(number, request, &uri, branch.as_ref())
        };
        let routes: SmallVec<[(&str, &[u8]); 2]> = self
            .in_dialog
            .iter()
            .flat_map(|dialog| &dialog.routes)
            .map(|route| ("Route", &route[..]))
            .collect();
        let plan = RequestPlan {
            append: &routes,
            ..plan
        };
        // The request passed its checks when it came in; one that fails here was never forwarded.
        let _ = forward::request(request, &plan, out);
    }

    /// What every message of the attempt has in common.
    fn plan<'p>(
        &'p self,
        number: usize,
        request: &Message<'_>,
        uri: &'p [u8],
        branch: &'p [u8],
    ) -> RequestPlan<'p> {
        let candidate = &self.attempts[number].candidate;
        RequestPlan {
            request_uri: (!uri.is_empty()).then_some(uri),
            drop_routes: usize::from(self.drop_routes),
            received: Some(self.from.remote),
            via: ViaPlan {
                transport: candidate.transport,
                sent_by: self.snapshot.advertise(candidate.listener),
                branch,
                alias: false,
            },
            record_route: &[],
            max_forwards: max_forwards(request),
            strict: self
                .in_dialog
                .as_ref()
                .map_or(Strict::None, |dialog| dialog.strict),
            content_length: candidate.transport.is_reliable(),
            append: &[],
        }
    }

    /// The attempt's Request-URI; stays empty where it is the request's own.
    fn request_uri(&self, number: usize, request: &Message<'_>, uri: &mut UriText) {
        let attempt = &self.attempts[number];
        match request_address(&self.snapshot, attempt.trunk, attempt.addressed) {
            Some(address) => {
                if let Some(Ok(old)) = request.request_uri().map(Uri::parse) {
                    forward::request_uri(&old, address, uri);
                }
            }
            None => uri.extend_from_slice(&attempt.request_uri),
        }
    }

    /// The dialog token of the attempt's Record-Route; `None` for requests that make no dialog.
    fn token(&self, engine: &Engine, number: usize, request: &Message<'_>) -> Option<TokenBytes> {
        use trunkline_sip::Method;
        if let Some(dialog) = &self.in_dialog {
            return dialog.token.clone();
        }
        if !matches!(
            request.method()?,
            Method::Invite | Method::Subscribe | Method::Refer
        ) {
            return None;
        }
        Some(TokenBytes::from_slice(
            engine
                .tokens
                .write(&self.dialog_token(engine, number, request))
                .as_ref(),
        ))
    }

    fn dialog_token(&self, engine: &Engine, number: usize, request: &Message<'_>) -> DialogToken {
        let attempt = &self.attempts[number];
        DialogToken {
            trunk: self.snapshot.trunk_hash(attempt.trunk),
            direction: self.walk.direction(),
            caller_tag: engine
                .tokens
                .name_hash(request.from_tag().unwrap_or_default()),
            target: match attempt.addressed {
                Addressed::Edge(at) | Addressed::Target(at) => at,
                Addressed::Fixed => u16::MAX,
            },
            started: engine.unix(self.began),
            caller: Party {
                transport: self.from.transport,
                addr: self.from.remote,
            },
            callee: Party {
                transport: attempt.candidate.transport,
                addr: attempt.candidate.addr,
            },
        }
    }

    /// Runs `write` with what the attempt's request was sent as.
    fn with_sent(
        &self,
        engine: &Engine,
        slot: Slot,
        number: usize,
        request: &Message<'_>,
        write: impl FnOnce(&Sent<'_>),
    ) {
        let mut uri = UriText::new();
        self.request_uri(number, request, &mut uri);
        let branch = engine.branch(slot, number as u8, self.loop_print);
        let plan = self.plan(number, request, &uri, branch.as_ref());
        let request_uri = plan
            .request_uri
            .or(request.request_uri())
            .unwrap_or_default();
        write(&Sent {
            request_uri,
            drop_routes: plan.drop_routes,
            strict: plan.strict,
            via: plan.via,
        });
    }

    /// Sends (or repeats) the attempt's CANCEL (RFC 3261 §9.1).
    pub(super) fn send_cancel(&mut self, slot: Slot, number: usize, turn: &mut Turn<'_>) {
        let attempt = &mut self.attempts[number];
        attempt.cancels = attempt.cancels.saturating_add(1);
        // Remembered for 64*T1 after its last message (BEHAVIOUR 5): an answer to this one counts.
        attempt.linger_at = attempt.linger_at.max(turn.now + LINGER);
        let (cancels, reliable) = (attempt.cancels, attempt.candidate.transport.is_reliable());
        let reason = match self.caller {
            super::Caller::Answered(code) if (200..300).contains(&code) => {
                Some("SIP;cause=200;text=\"Call completed elsewhere\"")
            }
            super::Caller::Answered(_) | super::Caller::Waiting => None,
        };
        self.with_request(|context, request| {
            let engine = &*turn.engine;
            let out = &mut *turn.out;
            context.with_sent(engine, slot, number, request, |sent| {
                out.send(
                    context.attempts[number].hop,
                    Duration::from_secs(2),
                    |bytes| {
                        forward::cancel(request, sent, reason, bytes);
                    },
                );
            });
        });
        if !reliable {
            let after = client::timer_e(client::State::Trying, cancels);
            turn.arm(
                after,
                Alarm::Context(slot, Ring::Cancel(number as u8, cancels)),
            );
        }
    }

    /// The ACK to a failure (RFC 3261 §17.1.1.3).
    fn send_ack(&mut self, slot: Slot, number: usize, response: &Message<'_>, turn: &mut Turn<'_>) {
        self.with_request(|context, request| {
            let engine = &*turn.engine;
            let out = &mut *turn.out;
            context.with_sent(engine, slot, number, request, |sent| {
                out.send(
                    context.attempts[number].hop,
                    Duration::from_secs(2),
                    |bytes| {
                        forward::ack_failure(request, sent, response, bytes);
                    },
                );
            });
        });
    }

    /// A response to one of the attempts.
    pub fn on_response(
        &mut self,
        slot: Slot,
        number: usize,
        from: Hop,
        response: &Message<'_>,
        turn: &mut Turn<'_>,
    ) {
        let (Some(code), Some(attempt)) = (response.code(), self.attempts.get_mut(number)) else {
            return;
        };
        // RFC 3261 §17.1.3: branch and method name a transaction together.
        let Ok(trunkline_sip::CSeq { method, .. }) = response.cseq() else {
            return;
        };
        let is_cancel = method == trunkline_sip::Method::Cancel;
        let is_invite = matches!(attempt.client, Client::Invite(_));
        if !is_cancel && is_invite != (method == trunkline_sip::Method::Invite) {
            return turn.tell(Event::Dropped {
                from,
                why: "stray_response",
            });
        }
        if let Some(peer) = attempt.peer {
            turn.engine.health.heard(turn.now, peer);
        }
        if is_cancel {
            attempt.cancel_done |= code >= 200;
            return;
        }
        attempt.heard = true;
        if from.connection.is_some() && from.transport == attempt.hop.transport {
            attempt.hop.connection = from.connection;
        }
        let Attempt {
            client,
            peer,
            candidate,
            ..
        } = *attempt;
        if code > 100 {
            turn.engine
                .waiting
                .detach(peer, self.first_hop(&candidate), slot);
        }
        match client {
            Client::Invite(state) => {
                let event = match code {
                    ..200 => invite_client::Event::Provisional,
                    200..300 => invite_client::Event::Success,
                    300.. => invite_client::Event::Failure,
                };
                self.step_invite(slot, number, state, event, Some(response), turn);
            }
            Client::Other(state) => {
                let event = if code < 200 {
                    client::Event::Provisional
                } else {
                    client::Event::Final
                };
                self.step_other(slot, number, state, event, Some(response), turn);
            }
        }
    }

    /// Gives an attempt up, with this verdict.
    pub(super) fn give_up(
        &mut self,
        slot: Slot,
        number: usize,
        outcome: Outcome,
        turn: &mut Turn<'_>,
    ) {
        self.end_attempt(slot, number, outcome, turn);
        let lost = matches!(outcome, Outcome::Lost(_));
        match self.attempts[number].client {
            Client::Invite(state) => {
                let event = match outcome {
                    Outcome::Cancelled => invite_client::Event::Cancel,
                    _ if lost => invite_client::Event::Lost,
                    _ => invite_client::Event::GiveUp,
                };
                self.step_invite(slot, number, state, event, None, turn);
            }
            Client::Other(state) => {
                let event = if lost {
                    client::Event::Lost
                } else {
                    client::Event::GiveUp
                };
                self.step_other(slot, number, state, event, None, turn);
            }
        }
    }

    /// Steps an INVITE attempt's machine and does what it says.
    pub(super) fn step_invite(
        &mut self,
        slot: Slot,
        number: usize,
        state: invite_client::State,
        event: invite_client::Event,
        response: Option<&Message<'_>>,
        turn: &mut Turn<'_>,
    ) {
        use invite_client::{Actions as Do, State};
        let reliable = self.attempts[number].candidate.transport.is_reliable();
        let (next, actions) = invite_client::step(state, event, reliable);
        self.attempts[number].client = Client::Invite(next);
        if actions.has(Do::RESEND) {
            turn.tell(Event::Retransmitted);
            self.with_request(|context, request| context.transmit(slot, number, request, turn));
        }
        if actions.has(Do::ARM_A) {
            let sends = self.attempts[number].sends;
            turn.arm(
                self.resend_after(number),
                Alarm::Context(slot, Ring::Resend(number as u8, sends)),
            );
        }
        if actions.has(Do::ARM_LINGER) {
            let at = turn.now + LINGER;
            if std::mem::replace(&mut self.attempts[number].linger_at, at) <= turn.now {
                turn.arm(LINGER, Alarm::Context(slot, Ring::Linger(number as u8)));
            }
        }
        if actions.has(Do::ARM_DONE) {
            let after = invite_client::done_after(next, reliable);
            if after.is_zero() {
                self.attempts[number].client = Client::Invite(State::Terminated);
            } else {
                turn.arm(after, Alarm::Context(slot, Ring::Done(number as u8)));
            }
        }
        if let Some(response) = response {
            if actions.has(Do::ACK) {
                self.send_ack(slot, number, response, turn);
            }
            if actions.has(Do::CANCEL) && self.attempts[number].cancels == 0 {
                self.send_cancel(slot, number, turn);
            }
            if (state, next) == (State::Calling, State::Proceeding) {
                self.on_trying(slot, number, turn);
            }
            if actions.has(Do::PASS) {
                self.pass(slot, number, response, turn);
            }
            if actions.has(Do::LATE_FAILURE) && !matches!(response.code(), Some(408 | 487 | 503)) {
                turn.observe(self.attempts[number].peer, Evidence::Alive);
            }
            if actions.has(Do::LATE_SUCCESS) {
                self.late_success(slot, number, response, turn);
            }
        } else if actions.has(Do::CANCEL) && self.attempts[number].cancels == 0 {
            self.send_cancel(slot, number, turn);
        }
        if actions.has(Do::FAILED) {
            self.try_next_again(slot, turn);
        }
    }

    /// Steps any other attempt's machine and does what it says.
    pub(super) fn step_other(
        &mut self,
        slot: Slot,
        number: usize,
        state: client::State,
        event: client::Event,
        response: Option<&Message<'_>>,
        turn: &mut Turn<'_>,
    ) {
        use client::{Actions as Do, State};
        let reliable = self.attempts[number].candidate.transport.is_reliable();
        let (next, actions) = client::step(state, event, reliable);
        self.attempts[number].client = Client::Other(next);
        if actions.has(Do::RESEND) {
            turn.tell(Event::Retransmitted);
            self.with_request(|context, request| context.transmit(slot, number, request, turn));
        }
        if actions.has(Do::ARM_E) {
            let sends = self.attempts[number].sends;
            turn.arm(
                self.resend_after(number),
                Alarm::Context(slot, Ring::Resend(number as u8, sends)),
            );
        }
        if actions.has(Do::ARM_K) {
            let after = client::timer_k(reliable);
            if after.is_zero() {
                self.attempts[number].client = Client::Other(State::Terminated);
            } else {
                turn.arm(after, Alarm::Context(slot, Ring::Done(number as u8)));
            }
        }
        if let (true, Some(response)) = (actions.has(Do::PASS), response) {
            self.pass(slot, number, response, turn);
        }
        if actions.has(Do::FAILED) {
            self.try_next_again(slot, turn);
        }
    }

    /// The verdict on an attempt: once, told, and evidence about its candidate.
    pub(super) fn end_attempt(
        &mut self,
        slot: Slot,
        number: usize,
        outcome: Outcome,
        turn: &mut Turn<'_>,
    ) {
        let attempt = &mut self.attempts[number];
        if attempt.verdict.is_some() {
            return;
        }
        let took = turn.now.saturating_duration_since(attempt.began);
        attempt.verdict = Some((outcome, took));
        let (trunk, candidate, peer) = (attempt.trunk, attempt.candidate, attempt.peer);
        turn.engine
            .waiting
            .detach(peer, self.first_hop(&candidate), slot);
        if self.kind == Kind::Call {
            let direction = self.walk.direction();
            turn.tell(Event::AttemptEnded {
                direction,
                trunk,
                peer: candidate.peer(),
                outcome,
                took,
            });
        }
        let evidence = match outcome {
            Outcome::Silent => Evidence::Failed("no response in time"),
            Outcome::NoProgress => Evidence::Failed("no progress after 100"),
            Outcome::Lost(why) => Evidence::Failed(why),
            Outcome::Final(408) => Evidence::Failed("answered 408"),
            Outcome::Final(503) => Evidence::Failed("answered 503"),
            Outcome::Final(_) => Evidence::Alive,
            Outcome::NoAnswer | Outcome::PeerDown | Outcome::Cancelled | Outcome::OutOfTime => {
                if let Some(peer) = peer {
                    turn.engine.health.end_trial(peer);
                }
                return;
            }
        };
        turn.observe(peer, evidence);
    }

    /// Another call found out that this candidate is down: move on, unless there is nowhere to go.
    pub fn peer_down(&mut self, slot: Slot, peer: crate::health::PeerIx, turn: &mut Turn<'_>) {
        let waiting = self
            .attempts
            .iter()
            .position(|it| it.peer == Some(peer) && !it.heard && it.is_pending());
        if let Some(number) = waiting
            && self.has_next(turn.engine, turn.now)
        {
            self.give_up(slot, number, Outcome::PeerDown, turn);
        }
    }

    /// A hop was lost: attempts that wait there for any response fail at once (RFC 3261 §18.4).
    pub fn hop_lost(&mut self, slot: Slot, hop: Hop, why: crate::HopLoss, turn: &mut Turn<'_>) {
        let hit = |attempt: &Attempt| {
            attempt.is_pending()
                && !attempt.rang
                && match (attempt.hop.connection, hop.connection) {
                    // A connection that the peer opened has a port of its own.
                    (Some(mine), Some(lost)) => mine == lost,
                    (None, _) | (_, None) => {
                        attempt.hop.transport == hop.transport && attempt.hop.remote == hop.remote
                    }
                }
        };
        if let Some(number) = self.attempts.iter().position(hit) {
            self.give_up(slot, number, Outcome::Lost(why.word()), turn);
        }
    }
}
