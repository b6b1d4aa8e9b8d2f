//! What a context tells its sender: provisionals, the one final response, and its copies.

use std::time::Duration;

use trunkline_sip::{Message, Method, Name};

use super::{Best, Caller, Context, Kind, Replay, Server};
use crate::{
    Event,
    dialog::{NewCall, NewSide},
    engine::{Alarm, Asker, Engine, Ring, Turn, ack_key},
    event::Outcome,
    forward::{self, Reply},
    heading::record_routes,
    health::{Evidence, PeerIx},
    question::Question,
    recovery::Aftermath,
    settings::Exhausted,
    sweep::Sweep,
    table::Slot,
    tally::Tally,
    transaction::{invite_server, server},
    walk::{Addressed, Walk},
};

impl Context {
    /// A response that belongs to the conversation, not only to its transaction (RFC 3261 §16.7).
    pub(super) fn pass(
        &mut self,
        slot: Slot,
        number: usize,
        response: &Message<'_>,
        turn: &mut Turn<'_>,
    ) {
        match response.code().unwrap_or(0) {
            // RFC 3261 §16.7 step 5: 100 is hop by hop.
            ..=100 => {}
            101..200 => self.on_provisional(number, response, turn),
            200..300 => self.on_success(slot, number, response, turn),
            code => self.on_failure(slot, number, code, response, turn),
        }
    }

    /// The first provisional came: from now on only `progress_timeout` watches over silence.
    pub(super) fn on_trying(&mut self, slot: Slot, number: usize, turn: &mut Turn<'_>) {
        let progress = self
            .limits(number)
            .and_then(|limits| limits.progress_timeout);
        if let (Some(after), true, false) = (progress, self.is_invite(), self.attempts[number].rang)
        {
            turn.arm(after, Alarm::Context(slot, Ring::Progress(number as u8)));
        }
    }

    fn on_provisional(&mut self, number: usize, response: &Message<'_>, turn: &mut Turn<'_>) {
        // RFC 4320 §4.1: a non-INVITE has no provisional but 100.
        if !self.is_invite() || !self.is_waiting() {
            return;
        }
        let attempt = &mut self.attempts[number];
        // Timer C starts again with every provisional but 100 (RFC 3261 §16.7 step 2).
        let patience = attempt.answer_at.saturating_duration_since(attempt.began);
        if !std::mem::replace(&mut attempt.rang, true)
            && let Some(direction) = attempt.further
            && let Some(retries) = self.snapshot.retries(attempt.trunk, direction)
        {
            retries.helped();
        }
        let restart = self
            .recovering
            .as_ref()
            .and_then(|recovering| recovering.ring_timeout())
            .or(self.limits(number).map(|limits| limits.answer_timeout))
            .unwrap_or(patience);
        self.attempts[number].answer_at = turn.now + restart;
        self.first_ring
            .get_or_insert(turn.now.saturating_duration_since(self.began));
        if self.is_reliable() {
            self.send_back(response, turn);
        } else {
            // RFC 3261 §17.2.1: a copy of the INVITE is answered with the latest provisional.
            let is_kept = self.keep_and_send(response, turn);
            if let (true, Replay::Response(sent)) = (is_kept, &mut self.replay)
                && let Some(head) = response.head()
            {
                self.replay = Replay::Ringing(std::mem::take(sent), head);
            }
        }
    }

    pub(super) fn on_success(
        &mut self,
        slot: Slot,
        number: usize,
        response: &Message<'_>,
        turn: &mut Turn<'_>,
    ) {
        let code = response.code().unwrap_or(200);
        match self.caller {
            Caller::Waiting => {
                self.end_attempt(slot, number, Outcome::Final(code), turn);
                self.winner = Some(number as u8);
                let aftermath = self.recovering.as_mut().and_then(|it| it.answered());
                let dialog = self.is_invite().then(|| self.dialog(response, turn.engine));
                if let Some(dialog) = dialog {
                    self.remember(number, response, dialog, aftermath, turn);
                }
                self.refresh(response, turn);
                if let Some(dialog) = dialog {
                    // RFC 6026: copies of the INVITE are swallowed from now on.
                    self.replay = Replay::Nothing;
                    self.send_back(response, turn);
                    let key = ack_key(dialog, response.cseq().map_or(0, |cseq| cseq.number));
                    turn.engine.unacked.insert(key);
                    self.unacked = Some(key);
                } else {
                    self.keep_and_send(response, turn);
                }
                self.finish(slot, code, false, turn);
            }
            // No transaction absorbs these: each copy, and the 2xx of another branch of a fork
            // behind us, goes on (RFC 3261 §16.7 step 5, RFC 6026). Only the first is remembered: a
            // copy may come when its call is over already.
            Caller::Answered(200..300) if self.winner == Some(number as u8) => {
                self.send_back(response, turn);
            }
            Caller::Answered(_) => self.reap(slot, number, response, turn),
        }
    }

    /// A 2xx from an attempt that was given up (BEHAVIOUR 5, late answers).
    pub(super) fn late_success(
        &mut self,
        slot: Slot,
        number: usize,
        response: &Message<'_>,
        turn: &mut Turn<'_>,
    ) {
        let attempt = &self.attempts[number];
        let used = self.is_waiting();
        turn.tell(Event::LateAnswer {
            trunk: attempt.trunk,
            peer: attempt.hop.peer(),
            used,
        });
        if let (Some(peer), true) = (attempt.peer, attempt.verdict.is_some()) {
            turn.observe(Some(peer), Evidence::Alive);
        }
        self.on_success(slot, number, response, turn);
    }

    /// The callee took a call that nobody holds any more: ACK, and BYE once. After a re-INVITE there
    /// is a call that both hold: it gets its ACK and goes on.
    #[cold]
    fn reap(&mut self, slot: Slot, number: usize, response: &Message<'_>, turn: &mut Turn<'_>) {
        if !self.is_invite() {
            return;
        }
        let bye =
            !std::mem::replace(&mut self.attempts[number].reaped, true) && self.kind == Kind::Call;
        let attempt = &self.attempts[number];
        crate::local::hang_up(
            turn,
            slot,
            number as u8,
            &self.snapshot,
            attempt.hop,
            response,
            bye,
        );
    }

    #[inline(never)]
    fn on_failure(
        &mut self,
        slot: Slot,
        number: usize,
        code: u16,
        response: &Message<'_>,
        turn: &mut Turn<'_>,
    ) {
        let pause = (code == 503)
            .then(|| self.pause(number, response))
            .flatten();
        self.end_attempt(slot, number, Outcome::Final(code), turn);
        if let Some(pause) = pause {
            let peer = self.attempts[number].peer;
            turn.observe(peer, Evidence::Pause(pause));
        }
        if !self.is_waiting() {
            return;
        }
        // A webhook's Dial and a next hop with several addresses move on by rules of their own.
        let (moves_on, keep) = match (&self.recovering, &self.walk) {
            (Some(_), _) => (true, false),
            (None, Walk::Fixed { .. }) => (code == 503, true),
            (None, Walk::Termination { .. } | Walk::Origination { .. }) => {
                let limits = self.limits(number);
                (
                    limits.is_some_and(|limits| limits.failover.contains(code)),
                    limits.is_some_and(|limits| limits.exhausted == Exhausted::Best),
                )
            }
        };
        // No double ringing: what has rung has spoken (BEHAVIOUR 5).
        if !moves_on || (self.attempts[number].rang && self.recovering.is_none()) {
            self.keep_and_send(response, turn);
            self.finish(slot, code, false, turn);
            return;
        }
        if keep {
            self.keep_best(code, response);
        }
        self.try_next_again(slot, turn);
    }

    fn pause(&self, number: usize, response: &Message<'_>) -> Option<Duration> {
        let most = self
            .limits(number)
            .map_or(Duration::from_secs(60), |limits| limits.retry_after_max);
        crate::local::retry_after(response).map(|asked| asked.min(most))
    }

    /// RFC 3261 §16.7 step 6: 6xx first, else the lowest class, preferring some of 4xx.
    fn keep_best(&mut self, code: u16, response: &Message<'_>) {
        let rank = |code: u16| match code {
            600.. => (0, 0, code),
            401 | 407 | 415 | 420 | 484 => (4, 0, code),
            _ => (code / 100, 1, code),
        };
        if self
            .best
            .as_ref()
            .is_some_and(|best| rank(best.code) <= rank(code))
        {
            return;
        }
        let mut bytes = Vec::new();
        if forward::response(response, self.back.transport.is_reliable(), &mut bytes).is_ok() {
            self.best = Some(Box::new(Best {
                code,
                bytes: bytes.into(),
            }));
        }
    }

    /// Forwards a response without keeping it.
    fn send_back(&mut self, response: &Message<'_>, turn: &mut Turn<'_>) {
        let stream = self.back.transport.is_reliable();
        turn.send(self.back, |out| {
            // On an error nothing is written, and nothing is sent.
            let _ = forward::response(response, stream, out);
        });
    }

    /// Forwards a response and keeps it for copies of the request; says whether it is kept.
    fn keep_and_send(&mut self, response: &Message<'_>, turn: &mut Turn<'_>) -> bool {
        let stream = self.back.transport.is_reliable();
        self.keep_what_is_sent(turn, |out| {
            // On an error nothing is written, and nothing is kept.
            let _ = forward::response(response, stream, out);
        })
    }

    /// Sends what `write` writes, if anything, and keeps it for copies of the request; says whether
    /// there was anything.
    fn keep_what_is_sent(&mut self, turn: &mut Turn<'_>, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut sent = None;
        turn.send(self.back, |out| {
            let start = out.len();
            write(out);
            sent = out.get(start..).filter(|it| !it.is_empty()).map(Box::from);
        });
        let is_kept = sent.is_some();
        if let Some(sent) = sent {
            self.replies = 1;
            self.replay = Replay::Response(sent);
        }
        is_kept
    }

    pub(super) fn keep_and_send_bytes(&mut self, bytes: Box<[u8]>, turn: &mut Turn<'_>) {
        turn.send(self.back, |out| out.extend_from_slice(&bytes));
        self.replies = 1;
        self.replay = Replay::Response(bytes);
    }

    /// Our own final response.
    pub(super) fn answer(
        &mut self,
        slot: Slot,
        code: u16,
        reason: &str,
        extra: &[(&str, &[u8])],
        request: &Message<'_>,
        turn: &mut Turn<'_>,
    ) {
        let tag = crate::reply::to_tag(turn.engine, request);
        let received = Some(self.from.remote);
        self.keep_what_is_sent(turn, |out| {
            forward::reply(
                request,
                &Reply {
                    code,
                    reason,
                    to_tag: &tag,
                    received,
                    extra,
                },
                out,
            );
        });
        self.finish(slot, code, true, turn);
    }

    /// Our own 100 (RFC 3261 §16.2), and its copies.
    pub fn send_trying(&mut self, request: &Message<'_>, turn: &mut Turn<'_>) {
        self.replay = Replay::Trying;
        let received = Some(self.from.remote);
        turn.send(self.back, |out| {
            forward::reply(
                request,
                &Reply {
                    code: 100,
                    reason: forward::reason_phrase(100),
                    to_tag: b"",
                    received,
                    extra: &[],
                },
                out,
            );
        });
    }

    /// A copy of the request.
    pub fn on_retransmission(
        &mut self,
        request: &Message<'_>,
        from: crate::Hop,
        turn: &mut Turn<'_>,
    ) {
        let replay = match self.server {
            Server::Invite(state) => {
                let (_, actions) =
                    invite_server::step(state, invite_server::Event::Request, self.is_reliable());
                actions.has(invite_server::Actions::REPLAY)
            }
            Server::Other(state) => server::step(state, server::Event::Request)
                .1
                .has(server::Actions::REPLAY),
        };
        if from.connection.is_some() {
            // A stream's peer came back by another connection: answers follow it.
            self.back.connection = from.connection;
        }
        match (&self.replay, replay) {
            (Replay::Trying, true) => self.send_trying(request, turn),
            (Replay::Response(bytes) | Replay::Ringing(bytes, _), true) => {
                turn.send(self.back, |out| out.extend_from_slice(bytes))
            }
            (Replay::Nothing, _) | (_, false) => {}
        }
    }

    /// Whether the transport to the sender repeats what is lost.
    pub(super) fn is_reliable(&self) -> bool {
        self.back.transport.is_reliable()
    }

    /// The sender has its final response: end what still runs, arm what lingers, tell.
    pub(super) fn finish(&mut self, slot: Slot, code: u16, own: bool, turn: &mut Turn<'_>) {
        self.caller = Caller::Answered(code);
        self.recovering = None;
        self.best = None;
        let reliable = self.is_reliable();
        match self.server {
            Server::Invite(state) => {
                use invite_server::{Actions as Do, Event as Server2};
                let event = if code < 300 {
                    Server2::SendSuccess
                } else {
                    Server2::SendFailure
                };
                let (next, actions) = invite_server::step(state, event, reliable);
                self.server = Server::Invite(next);
                if actions.has(Do::ARM_G) {
                    turn.arm(
                        invite_server::timer_g(self.replies),
                        Alarm::Context(slot, Ring::Reply(self.replies)),
                    );
                }
                if actions.has(Do::ARM_H) {
                    turn.arm(
                        crate::transaction::LINGER,
                        Alarm::Context(slot, Ring::NoAck),
                    );
                }
                if actions.has(Do::ARM_L) {
                    turn.arm(
                        crate::transaction::LINGER,
                        Alarm::Context(slot, Ring::ServerDone),
                    );
                }
            }
            Server::Other(state) => {
                let (next, actions) = server::step(state, server::Event::SendFinal);
                self.server = Server::Other(next);
                if actions.has(server::Actions::ARM_J) {
                    self.arm_server_done(slot, server::timer_j(reliable), turn);
                }
            }
        }
        self.cancel_pending(slot, turn);
        self.hang_up_if_ended(code, turn);
        if self.kind == Kind::Call {
            turn.engine.in_setup = turn.engine.in_setup.saturating_sub(1);
            self.tell_record(code, own, turn);
        }
        // What still may ring needs its CANCEL; all others never need the request again.
        if code < 300
            && self
                .attempts
                .iter()
                .enumerate()
                .all(|(at, it)| self.winner == Some(at as u8) || it.is_settled())
        {
            turn.engine
                .papers
                .take_back(std::mem::take(&mut self.request));
            self.in_dialog = None;
        }
    }

    /// Ends the attempts that may still ring (RFC 3261 §16.7 step 10).
    pub(super) fn cancel_pending(&mut self, slot: Slot, turn: &mut Turn<'_>) {
        for number in 0..self.attempts.len() {
            if self.winner != Some(number as u8)
                && self.is_invite()
                && self.attempts[number].is_pending()
            {
                self.give_up(slot, number, Outcome::Cancelled, turn);
            }
        }
    }

    fn hang_up_if_ended(&mut self, code: u16, turn: &mut Turn<'_>) {
        let Some(dialog) = &self.in_dialog else {
            return;
        };
        // RFC 3261 §15: whatever the answer to a BYE, the dialog is over; a challenge alone has
        // it sent once more.
        let ends = dialog.ends && code >= 200 && !matches!(code, 401 | 407);
        if let (true, Some(key)) = (ends, dialog.call) {
            forget_call(turn, key, "bye");
        }
    }

    /// A session refresh was answered (RFC 4028 §7.2).
    fn refresh(&self, response: &Message<'_>, turn: &mut Turn<'_>) {
        let refreshes = response
            .cseq()
            .is_ok_and(|cseq| matches!(cseq.method, Method::Invite | Method::Update));
        if let (true, Some(key)) = (refreshes, self.in_dialog.as_ref().and_then(|it| it.call)) {
            turn.engine
                .calls
                .refresh(key, turn.now, session_of(response));
        }
    }

    /// Names the dialog that a 2xx belongs to.
    fn dialog(&self, response: &Message<'_>, engine: &Engine) -> u64 {
        let request = self.kept.in_bytes(&self.request);
        let to_tag = response.to_tag().unwrap_or_default();
        engine.dialog(request.call_id(), request.caller_tag(), to_tag)
    }

    /// Remembers the call that this 2xx to an INVITE establishes. `key`: see [`dialog`](Self::dialog).
    /// `aftermath`: what its end is to be told to.
    fn remember(
        &mut self,
        number: usize,
        response: &Message<'_>,
        key: u64,
        aftermath: Option<Box<Aftermath>>,
        turn: &mut Turn<'_>,
    ) {
        let attempt = &self.attempts[number];
        if let Some(key) = self.in_dialog.as_ref().and_then(|dialog| dialog.call) {
            // A re-INVITE refreshes the targets of both sides (RFC 3261 §12.2.1.2).
            self.with_request(|_, request| {
                let callee = contact_of(response);
                let caller = contact_of(request);
                let from_tag = request.from_tag().unwrap_or_default();
                let speaks = turn.engine.calls.get(key);
                let speaks = speaks.map(|call| call.speaker(from_tag));
                for (party, contact) in speaks
                    .into_iter()
                    .flat_map(|party| [(party, caller), (party.other(), callee)])
                {
                    if !contact.is_empty() {
                        turn.engine.calls.update_contact(key, party, contact);
                    }
                }
            });
            return;
        }
        if self.kind != Kind::Call {
            return;
        }
        let tally = match attempt.addressed {
            Addressed::Target(at) => self.snapshot.tally(attempt.trunk, at),
            Addressed::Edge(_) | Addressed::Fixed => None,
        };
        // It is there already: no limit can send it away.
        let seat = tally.and_then(|tally| Tally::seat(tally, 0));
        let hop = attempt.hop;
        // The call began under this snapshot and is remembered under the present one.
        let there = self
            .snapshot
            .translate(&turn.engine.snapshot, attempt.trunk);
        let trunk = there.unwrap_or(attempt.trunk);
        let peer = attempt.peer.unwrap_or(PeerIx(u32::MAX));
        let direction = self.walk.direction();
        let request = self.kept.in_bytes(&self.request);
        let (from_tag, to_tag) = (request.caller_tag(), response.to_tag().unwrap_or_default());
        let call_id = request.call_id();
        let engine = &mut *turn.engine;
        if engine.calls.has(key) {
            return;
        }
        let caller_routes: smallvec::SmallVec<[&[u8]; 4]> = request.record_routes().collect();
        let (callee_routes, token) = record_routes(response, &self.snapshot);
        let call = NewCall {
            trunk,
            direction,
            peer,
            began: turn.now,
            session: session_of(response),
            call_id,
            token: token.unwrap_or_default(),
            caller: NewSide {
                hop: self.from,
                contact: sip_uri(request.contact()),
                routes: &caller_routes,
                tag: from_tag,
            },
            callee: NewSide {
                hop,
                contact: contact_of(response),
                routes: &callee_routes,
                tag: to_tag,
            },
        };
        if engine.calls.remember(key, call, seat) {
            if let Some(aftermath) = aftermath {
                engine.aftermaths.insert(key, aftermath);
            }
            if !std::mem::replace(&mut engine.sweep.armed, true) {
                let pause = Sweep::pause(engine.calls.len());
                turn.arm(pause, Alarm::Sweep);
            }
        }
    }
}

/// A Contact that requests can be sent to; empty without one.
fn contact_of<'a>(message: &Message<'a>) -> &'a [u8] {
    sip_uri(message.contact_uri().unwrap_or_default())
}

/// A URI of a scheme that requests can be sent to; empty for another. The rest of it is read when
/// somebody needs it, which is seldom.
fn sip_uri(uri: &[u8]) -> &[u8] {
    let is = |scheme: &[u8]| {
        let starts = uri.get(..scheme.len());
        starts.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    // Nearly all write it like this.
    if uri.starts_with(b"sip:") || is(b"sip:") || is(b"sips:") {
        uri
    } else {
        b""
    }
}

/// How long a session lasts without a refresh; `None` without a session timer.
fn session_of(response: &Message<'_>) -> Option<Duration> {
    response.first(Name::SessionExpires)?;
    let value = response.values(Name::SessionExpires).next()?.bytes;
    let digits = value
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(value.len());
    let seconds: u32 = std::str::from_utf8(value.get(..digits)?)
        .ok()?
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds.into()))
}

/// Forgets an established call and says so.
pub fn forget_call(turn: &mut Turn<'_>, key: u64, why: &'static str) {
    let Some(ended) = turn.engine.calls.forget(key) else {
        return;
    };
    let lasted = turn.now.saturating_duration_since(ended.began);
    // Hardly any call has one, and to hash a name costs more than to see that none has.
    if !turn.engine.aftermaths.is_empty()
        && let Some(aftermath) = turn.engine.aftermaths.remove(&key)
    {
        let told = Question::Http(aftermath.request(lasted));
        turn.ask(Asker::Nobody, told);
    }
    turn.tell(Event::CallEnded {
        direction: ended.direction,
        trunk: ended.trunk,
        lasted,
        call_id: ended.call_id,
        why,
    });
}
