//! The attempts of a context: choosing, sending, hearing, giving up.

use std::{sync::Arc, time::Duration};

use smallvec::SmallVec;
use trunkline_sip::Message;

use super::{ATTEMPTS_MAX, Attempt, Client, Context, Kind, Line};
use crate::{
    Event, Hop, Moment,
    engine::{Alarm, Engine, Ring, Turn},
    event::{Direction, Outcome},
    health::Evidence,
    in_dialog::speaks_over,
    settings::{Attempts, TrunkId},
    table::Slot,
    tally::{Seat, Tally},
    transaction::{LINGER, client, invite_client},
    walk::{Addressed, Step, Terrain, Walk},
};

/// How often a call asks its walk again when other shards took what it had chosen.
const CLAIMS_MAX: usize = 8;

/// What the limits of a step's target or carrier say.
enum Claim {
    /// Now; counted by this.
    Go(Option<Seat>),
    /// After so long.
    Wait(Duration),
    /// Not at all.
    Full,
}

impl Context {
    /// Begins the next attempt of the walk, or ends the request when nothing is left.
    pub fn try_next(&mut self, slot: Slot, request: &Message<'_>, turn: &mut Turn<'_>) {
        if !self.is_waiting() || self.line == Line::Standing {
            return;
        }
        for _ in 0..CLAIMS_MAX {
            let Some(step) = self.next_step(turn.engine, turn.now) else {
                break;
            };
            match self.claim(&step, turn) {
                Claim::Go(seat) if self.may_begin(&step, turn) => {
                    return self.begin(slot, step, seat, request, turn);
                }
                Claim::Go(_) => self.walk.leave_target(),
                Claim::Wait(wait) => {
                    self.line = Line::Standing;
                    let alarm = Alarm::Context(slot, Ring::Turn(step.trunk));
                    return turn.engine.lanes.arm_once(turn.now + wait, alarm);
                }
                // Another shard was faster: what it filled is passed by the next time.
                Claim::Full => self.walk.leave_target(),
            }
        }
        self.exhausted(slot, request, turn);
    }

    /// The call's turn in the line for a carrier has come.
    pub(super) fn on_turn(&mut self, slot: Slot, trunk: TrunkId, turn: &mut Turn<'_>) {
        self.line = Line::Done(trunk);
        self.try_next_again(slot, turn);
    }

    /// Whether this is the request's first attempt at its trunk, or one that `retry_budget` allows.
    fn may_begin(&self, step: &Step, turn: &Turn<'_>) -> bool {
        let Some(direction) = direction_of(step.addressed) else {
            return true;
        };
        let (retries, limits) = (
            self.snapshot.retries(step.trunk, direction),
            self.walk.attempts(&self.snapshot, step.trunk),
        );
        let (Some(retries), Some(limits)) = (retries, limits) else {
            return true;
        };
        let time = turn.now.since_epoch();
        if self.is_further(step.trunk) {
            return retries.take(time, limits.retry_budget.into());
        }
        if self.attempts.len() > self.walk_from {
            self.weigh_all(turn);
        }
        retries.first(time);
        true
    }

    fn is_further(&self, trunk: TrunkId) -> bool {
        let mut tried = self.attempts[self.walk_from..].iter();
        tried.any(|attempt| attempt.trunk == trunk)
    }

    /// Counts this call for the target or the carrier of a step; requests other than calls are not
    /// counted.
    fn claim(&mut self, step: &Step, turn: &Turn<'_>) -> Claim {
        if self.kind != Kind::Call {
            return Claim::Go(None);
        }
        let time = turn.now.since_epoch();
        match step.addressed {
            Addressed::Target(at) => self.claim_target(step.trunk, at, time),
            Addressed::Edge(_) => self.claim_carrier(step.trunk, time),
            Addressed::Fixed => Claim::Go(None),
        }
    }

    fn claim_target(&self, trunk: TrunkId, at: u16, time: Duration) -> Claim {
        let Some((target, tally)) = self.snapshot.target(trunk, at) else {
            return Claim::Go(None);
        };
        match Tally::seat(tally, target.max_calls) {
            Some(seat) if tally.spend(time, target.max_cps) => Claim::Go(Some(seat)),
            Some(_) | None => Claim::Full,
        }
    }

    /// Every attempt towards a carrier takes its turn: one that says 503 for the rate of calls is
    /// not helped by more of them at its other addresses.
    fn claim_carrier(&mut self, trunk: TrunkId, time: Duration) -> Claim {
        if std::mem::take(&mut self.line) == Line::Done(trunk) {
            return Claim::Go(None);
        }
        let Some((termination, tally)) = self.snapshot.carrier(trunk) else {
            return Claim::Go(None);
        };
        match tally.stand(time, termination.cps, termination.cps_wait) {
            Some(Duration::ZERO) => Claim::Go(None),
            Some(wait) => Claim::Wait(wait),
            None => Claim::Full,
        }
    }

    /// As [`try_next`](Self::try_next), when the request must be read again first.
    pub fn try_next_again(&mut self, slot: Slot, turn: &mut Turn<'_>) {
        self.with_request(|context, request| context.try_next(slot, request, turn));
    }

    /// Runs `work` with the request parsed. It was parsed before, so it parses again.
    pub(super) fn with_request(&mut self, work: impl FnOnce(&mut Context, &Message<'_>)) {
        let bytes = self.request.clone();
        if let Ok(request) = Message::parse(&bytes, &crate::proxy::LIMITS) {
            work(self, &request);
        }
    }

    /// The step that [`try_next`](Self::try_next) would take now.
    fn next_step(&mut self, engine: &Engine, now: Moment) -> Option<Step> {
        self.step_within(engine, now, true)
    }

    /// The trunk whose `retry_budget` alone keeps this call from another attempt.
    pub(super) fn withheld_by(&mut self, engine: &Engine, now: Moment) -> Option<TrunkId> {
        let (walk, dice) = (self.walk.clone(), self.dice.clone());
        let found = self.step_within(engine, now, false);
        (self.walk, self.dice) = (walk, dice);
        found.map(|step| step.trunk)
    }

    fn step_within(&mut self, engine: &Engine, now: Moment, budgeted: bool) -> Option<Step> {
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
        if self.recovering.is_some() && self.target_has_spoken() {
            return None;
        }
        let mut tried = SmallVec::new();
        self.list_tried(&mut tried);
        let terrain = Terrain {
            snapshot: &self.snapshot,
            health: &engine.health,
            now,
            time: now.since_epoch(),
            shaped: self.kind == Kind::Call,
            turn_of: match self.line {
                Line::Done(trunk) => Some(trunk),
                Line::Outside | Line::Standing => None,
            },
            budgeted,
            tried: &tried,
        };
        self.walk.next(&terrain, &mut self.dice)
    }

    /// Whether there is anything left to try; changes nothing.
    pub(super) fn has_next(&mut self, engine: &Engine, now: Moment) -> bool {
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

    fn begin(
        &mut self,
        slot: Slot,
        step: Step,
        seat: Option<Seat>,
        request: &Message<'_>,
        turn: &mut Turn<'_>,
    ) {
        let now = turn.now;
        let number = self.attempts.len();
        let patience = self.patience(step.trunk);
        if let Some(peer) = step.peer {
            turn.sent_to(peer);
        }
        let hop = self.first_hop(step.candidate.hop());
        let waits = turn.engine.waiting.attach(step.peer, hop, slot);
        let request_uri = match &self.walk {
            Walk::Fixed { request_uri, .. } => Arc::clone(request_uri),
            Walk::Termination { .. } | Walk::Origination { .. } => {
                self.dialled_uri(step.trunk, step.addressed)
            }
        };
        let further = direction_of(step.addressed).filter(|_| self.is_further(step.trunk));
        let doubted = further.is_some()
            && step
                .peer
                .is_some_and(|peer| turn.engine.health.is_down(peer));
        self.attempts.push(Attempt {
            trunk: step.trunk,
            addressed: step.addressed,
            hop,
            branch: turn.engine.branch(slot, number as u8, self.loop_print),
            request_uri,
            peer: step.peer,
            further,
            doubted,
            seat,
            client: if self.is_invite() {
                Client::Invite(invite_client::State::Calling)
            } else {
                Client::Other(client::State::Trying)
            },
            sends: 0,
            cancels: 0,
            cancel_done: false,
            waits: Some(waits),
            resend: None,
            heard: false,
            rang: false,
            reaped: false,
            began: now,
            silent_at: self.silent_at(patience, now),
            answer_at: now + patience.ringing,
            linger_at: now,
            verdict: None,
        });
        self.transmit(number, request, turn);
        self.watch(slot, number, patience, turn);
    }

    /// What the first copy goes by: the connection that a dialog's side had opened, if it had.
    fn first_hop(&self, hop: Hop) -> Hop {
        let side = self.in_dialog.as_ref().and_then(|dialog| dialog.hop);
        let side = side.filter(|side| speaks_over(side, &hop));
        Hop {
            connection: side.and_then(|side| side.connection),
            ..hop
        }
    }

    /// Whether its candidate turns down is of no interest to the attempt any more.
    #[inline]
    fn wait_no_more(&mut self, slot: Slot, number: usize, turn: &mut Turn<'_>) {
        let attempt = &mut self.attempts[number];
        let Some(ticket) = attempt.waits.take() else {
            return;
        };
        let attempt = &self.attempts[number];
        let first_hop = || self.first_hop(attempt.hop);
        let waiting = &mut turn.engine.waiting;
        waiting.detach(ticket, attempt.peer, first_hop, slot);
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
        let client = attempt.client;
        if code > 100 {
            self.wait_no_more(slot, number, turn);
        }
        if code >= 200
            && let Some(resend) = self.attempts[number].resend.take()
        {
            turn.engine.lanes.disarm(resend);
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
        let reliable = self.attempts[number].hop.transport.is_reliable();
        let (next, actions) = invite_client::step(state, event, reliable);
        self.attempts[number].client = Client::Invite(next);
        if actions.has(Do::RESEND) {
            turn.tell(Event::Retransmitted);
            self.with_request(|context, request| context.transmit(number, request, turn));
        }
        if actions.has(Do::ARM_A) {
            self.watch_copy(slot, number, turn);
        }
        if actions.has(Do::ARM_LINGER) {
            let at = turn.now + LINGER;
            if std::mem::replace(&mut self.attempts[number].linger_at, at) <= turn.now {
                turn.arm(LINGER, Alarm::Context(slot, Ring::Linger(number as u8)));
            }
        }
        if actions.has(Do::ARM_DONE) {
            let after = invite_client::done_after(next, reliable);
            // The winner's Timer M is the caller's Timer L: they begin and end together.
            let wins = next == State::Accepted && self.is_waiting();
            if after.is_zero() {
                self.attempts[number].client = Client::Invite(State::Terminated);
            } else if !wins {
                turn.arm(after, Alarm::Context(slot, Ring::Done(number as u8)));
            }
        }
        if let Some(response) = response {
            if actions.has(Do::ACK) {
                self.send_ack(number, response, turn);
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
        let reliable = self.attempts[number].hop.transport.is_reliable();
        let (next, actions) = client::step(state, event, reliable);
        self.attempts[number].client = Client::Other(next);
        if actions.has(Do::RESEND) {
            turn.tell(Event::Retransmitted);
            self.with_request(|context, request| context.transmit(number, request, turn));
        }
        if actions.has(Do::ARM_E) {
            self.watch_copy(slot, number, turn);
        }
        if actions.has(Do::ARM_K) {
            let after = client::timer_k(reliable);
            // While Timer J keeps the answer for copies of the request, copies of the answer may
            // as well be swallowed: nothing is gained by a Timer K before it.
            let succeeds = response
                .and_then(Message::code)
                .is_some_and(|code| code < 300);
            let kept = succeeds && self.is_waiting() && !self.is_reliable();
            if after.is_zero() {
                self.attempts[number].client = Client::Other(State::Terminated);
            } else if !kept {
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
        // A call that was answered takes another, for as long as it lasts.
        attempt.seat = None;
        let (trunk, hop, peer) = (attempt.trunk, attempt.hop, attempt.peer);
        self.wait_no_more(slot, number, turn);
        if self.kind == Kind::Call {
            let direction = self.walk.direction();
            turn.tell(Event::AttemptEnded {
                direction,
                trunk,
                peer: hop.peer(),
                outcome,
                took,
            });
        }
        self.weigh(number, outcome, turn);
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

    /// What an attempt that was not its call's first at a trunk says of further ones there. One that
    /// rang has helped already; one that failed at a candidate which was thought well says nothing
    /// yet, since the next may help ([`weigh_all`](Self::weigh_all)).
    fn weigh(&self, number: usize, outcome: Outcome, turn: &Turn<'_>) {
        let attempt = &self.attempts[number];
        let (Some(direction), false) = (attempt.further, attempt.rang) else {
            return;
        };
        let Some(retries) = self.snapshot.retries(attempt.trunk, direction) else {
            return;
        };
        if has_failed(outcome) {
            if attempt.doubted {
                retries.failed(turn.now.since_epoch());
            }
        } else if let Outcome::Final(_) = outcome {
            retries.helped();
        }
    }

    /// The trunk that was tried last took the call nowhere: now its further attempts count that could
    /// still have helped, as one. They count only now, because an edge that is gone must not use up
    /// what leads to the next one, however many calls find out at once; and as one, because it is
    /// worth three attempts that fail when the fourth saves most calls.
    #[cold]
    pub(super) fn weigh_all(&self, turn: &Turn<'_>) {
        let walked = self.attempts.get(self.walk_from..).unwrap_or_default();
        let Some(trunk) = walked.last().map(|attempt| attempt.trunk) else {
            return;
        };
        let missed = walked.iter().find_map(|attempt| {
            let (outcome, _) = attempt.verdict?;
            let counts = attempt.trunk == trunk && !attempt.doubted && has_failed(outcome);
            attempt.further.filter(|_| counts)
        });
        if let Some(direction) = missed
            && let Some(retries) = self.snapshot.retries(trunk, direction)
        {
            retries.failed(turn.now.since_epoch());
        }
    }

    /// Another call found out that this candidate is down: move on, unless there is nowhere to go.
    ///
    /// Who has had a 100 gets `response_timeout` more: a phone may be about to ring. Without
    /// that it would wait for Timer C, since nobody is there who could refuse it.
    pub fn peer_down(&mut self, slot: Slot, peer: crate::health::PeerIx, turn: &mut Turn<'_>) {
        let waiting = self
            .attempts
            .iter()
            .position(|it| it.peer == Some(peer) && !it.rang && it.is_pending());
        let Some(number) = waiting else { return };
        if !self.attempts[number].heard {
            if self.has_next(turn.engine, turn.now) {
                self.give_up(slot, number, Outcome::PeerDown, turn);
            }
        } else if let (Some(limits), true) = (self.limits(number), self.is_invite()) {
            let after = limits.response_timeout;
            turn.arm(after, Alarm::Context(slot, Ring::Progress(number as u8)));
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

/// Whether an end like this says that trying elsewhere has not helped.
fn has_failed(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Silent
        | Outcome::NoProgress
        | Outcome::Lost(_)
        | Outcome::PeerDown
        | Outcome::OutOfTime
        | Outcome::Final(408 | 500..600) => true,
        Outcome::Final(_) | Outcome::NoAnswer | Outcome::Cancelled => false,
    }
}

/// Which of a trunk's two sides an attempt goes to; `None` for an address that no trunk lists.
fn direction_of(addressed: Addressed) -> Option<Direction> {
    match addressed {
        Addressed::Edge(_) => Some(Direction::Termination),
        Addressed::Target(_) => Some(Direction::Origination),
        Addressed::Fixed => None,
    }
}
