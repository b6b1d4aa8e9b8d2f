//! What a context does when one of its timers surfaces.

use super::{CANCELLED, Client, Context, Server};
use crate::{
    Event,
    engine::{Alarm, Ring, Turn},
    event::{HealthState, Outcome},
    forward,
    table::Slot,
    transaction::{LINGER, client, invite_client, invite_server},
};

impl Context {
    /// A timer of this context is due; most of them no longer matter by then.
    pub fn on_ring(&mut self, slot: Slot, ring: Ring, turn: &mut Turn<'_>) {
        match ring {
            Ring::Resend(number, sends) => self.on_resend(slot, usize::from(number), sends, turn),
            Ring::Try(number) => self.on_try(slot, usize::from(number), turn),
            Ring::Progress(number) => self.on_progress(slot, usize::from(number), turn),
            Ring::Answer(number) => self.on_answer_timeout(slot, usize::from(number), turn),
            Ring::Done(number) => self.on_done(slot, usize::from(number), turn),
            Ring::Linger(number) => self.on_linger(slot, usize::from(number), turn),
            Ring::Cancel(number, cancels) => {
                self.on_cancel_again(slot, usize::from(number), cancels, turn)
            }
            Ring::Reply(replies) => self.on_reply_again(slot, replies, turn),
            Ring::ServerDone => self.on_server_done(slot, turn),
            Ring::NoAck => self.on_no_ack(),
            Ring::Turn(trunk) => self.on_turn(slot, trunk, turn),
            Ring::Recovery => self.on_recovery_timer(slot, turn),
        }
    }

    fn on_resend(&mut self, slot: Slot, number: usize, sends: u8, turn: &mut Turn<'_>) {
        if sends == 1 {
            self.watch_on(slot, number, turn);
        }
        let Some(attempt) = self
            .attempts
            .get(number)
            .filter(|attempt| attempt.sends == sends)
        else {
            return;
        };
        match attempt.client {
            Client::Invite(state) => self.step_invite(
                slot,
                number,
                state,
                invite_client::Event::TimerA,
                None,
                turn,
            ),
            Client::Other(state) => {
                self.step_other(slot, number, state, client::Event::TimerE, None, turn)
            }
        }
    }

    /// Only a 100 for so long: for `progress_timeout`, or since its candidate turned down.
    fn on_progress(&mut self, slot: Slot, number: usize, turn: &mut Turn<'_>) {
        let Some(attempt) = self.pending(number).filter(|attempt| !attempt.rang) else {
            return;
        };
        let waited = turn.now.saturating_duration_since(attempt.began);
        let down = attempt
            .peer
            .is_some_and(|peer| turn.engine.health.state(peer) == HealthState::Down);
        let limit = self
            .limits(number)
            .and_then(|limits| limits.progress_timeout);
        if limit.is_some_and(|limit| waited >= limit) {
            self.give_up(slot, number, Outcome::NoProgress, turn);
        } else if down && self.has_next(turn.engine, turn.now) {
            self.give_up(slot, number, Outcome::PeerDown, turn);
        }
    }

    /// Timer C (RFC 3261 §16.8): CANCEL downstream, 408 upstream.
    fn on_answer_timeout(&mut self, slot: Slot, number: usize, turn: &mut Turn<'_>) {
        let Some(attempt) = self.pending(number) else {
            return;
        };
        if attempt.answer_at > turn.now {
            turn.engine.lanes.arm_once(
                attempt.answer_at,
                Alarm::Context(slot, Ring::Answer(number as u8)),
            );
            return;
        }
        if self.recovering.is_some() {
            // The time that a Dial allows is over: the next target, or the next verb.
            self.give_up(slot, number, Outcome::NoAnswer, turn);
            return;
        }
        self.end_attempt(slot, number, Outcome::NoAnswer, turn);
        self.why = "no answer";
        self.with_request(|context, request| {
            context.answer(slot, 408, forward::reason_phrase(408), &[], request, turn);
        });
    }

    fn on_done(&mut self, slot: Slot, number: usize, turn: &mut Turn<'_>) {
        let Some(attempt) = self.attempts.get(number) else {
            return;
        };
        match attempt.client {
            Client::Invite(state) => self.step_invite(
                slot,
                number,
                state,
                invite_client::Event::TimerDone,
                None,
                turn,
            ),
            Client::Other(state) => {
                self.step_other(slot, number, state, client::Event::TimerK, None, turn)
            }
        }
    }

    fn on_linger(&mut self, slot: Slot, number: usize, turn: &mut Turn<'_>) {
        let Some(attempt) = self.attempts.get(number) else {
            return;
        };
        let Client::Invite(state) = attempt.client else {
            return;
        };
        if state != invite_client::State::Abandoned {
            return;
        }
        if attempt.linger_at > turn.now {
            turn.engine.lanes.arm_once(
                attempt.linger_at,
                Alarm::Context(slot, Ring::Linger(number as u8)),
            );
            return;
        }
        self.step_invite(
            slot,
            number,
            state,
            invite_client::Event::TimerDone,
            None,
            turn,
        );
    }

    /// Timer E of a CANCEL, until it is answered or the INVITE is.
    fn on_cancel_again(&mut self, slot: Slot, number: usize, cancels: u8, turn: &mut Turn<'_>) {
        let Some(attempt) = self.attempts.get(number) else {
            return;
        };
        let waits = attempt.client == Client::Invite(invite_client::State::Abandoned);
        // 500 ms, 1 s, 2 s, 4 s and on: eleven copies fill 64*T1 (RFC 3261 §17.1.2.2, Timer F).
        if waits && !attempt.cancel_done && attempt.cancels == cancels && cancels < 11 {
            turn.tell(Event::Retransmitted);
            self.send_cancel(slot, number, turn);
        }
    }

    fn on_reply_again(&mut self, slot: Slot, replies: u8, turn: &mut Turn<'_>) {
        let Server::Invite(state) = self.server else {
            return;
        };
        if replies != self.replies {
            return;
        }
        let (next, actions) =
            invite_server::step(state, invite_server::Event::TimerG, self.is_reliable());
        self.server = Server::Invite(next);
        if let (true, super::Replay::Response(bytes)) =
            (actions.has(invite_server::Actions::REPLAY), &self.replay)
        {
            turn.tell(Event::Retransmitted);
            turn.send(self.back, |out| out.extend_from_slice(bytes));
        }
        if actions.has(invite_server::Actions::ARM_G) {
            self.replies = self.replies.saturating_add(1);
            turn.arm(
                invite_server::timer_g(self.replies),
                Alarm::Context(slot, Ring::Reply(self.replies)),
            );
        }
    }

    fn on_no_ack(&mut self) {
        if let Server::Invite(state) = self.server {
            self.server = Server::Invite(
                invite_server::step(state, invite_server::Event::TimerH, self.is_reliable()).0,
            );
        }
    }

    fn on_server_done(&mut self, slot: Slot, turn: &mut Turn<'_>) {
        use crate::transaction::server;
        // Timer M of the attempt that won, and Timer K, where they were not armed for themselves.
        if let Some(winner) = self.winner {
            self.on_done(slot, usize::from(winner), turn);
        }
        self.server = match self.server {
            Server::Invite(state) => {
                let event = match state {
                    invite_server::State::Confirmed => invite_server::Event::TimerI,
                    _ => invite_server::Event::TimerL,
                };
                Server::Invite(invite_server::step(state, event, self.is_reliable()).0)
            }
            Server::Other(state) => Server::Other(server::step(state, server::Event::TimerJ).0),
        };
    }

    /// The ACK to our failure; `true`: it is one to a 2xx, and goes on to the callee.
    pub fn on_ack(&mut self, slot: Slot, turn: &mut Turn<'_>) -> bool {
        let Server::Invite(state) = self.server else {
            return false;
        };
        let (next, actions) =
            invite_server::step(state, invite_server::Event::Ack, self.is_reliable());
        self.server = Server::Invite(next);
        if actions.has(invite_server::Actions::ARM_I) {
            // The CANCEL's own transaction answers copies for Timer J, by way of this context.
            let cancelled = self.why == CANCELLED && !self.is_reliable();
            let after = if cancelled {
                LINGER
            } else {
                invite_server::timer_i(self.is_reliable())
            };
            if after.is_zero() {
                self.server = Server::Invite(invite_server::State::Terminated);
            } else {
                turn.arm(after, Alarm::Context(slot, Ring::ServerDone));
            }
        }
        actions.has(invite_server::Actions::PASS_ACK)
    }
}
