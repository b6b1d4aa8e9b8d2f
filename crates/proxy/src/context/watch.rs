//! Who watches over an attempt: one timer at a time, and the next only when it is needed.
//!
//! Nearly every attempt is answered at once, and a timer that surfaces for one that is over costs
//! as much as a useful one, most of it for bringing back memory that nobody has touched for
//! seconds. So Timer A (or E) arms the watch over silence where the attempt still waits by then, and
//! that arms Timer C where it still rings.

use std::time::Duration;

use super::{Client, Context, Kind};
use crate::{
    Moment,
    engine::{Alarm, Ring, Turn},
    event::Outcome,
    settings::TrunkId,
    table::Slot,
    transaction::{LINGER, T1, client, invite_client},
};

/// Timer C where no trunk says (RFC 3261 §16.6 step 11: more than three minutes).
const ANSWER_TIMEOUT: Duration = Duration::from_secs(180);

/// How long an attempt may take.
#[derive(Copy, Clone)]
pub(super) struct Patience {
    /// Without any answer. Where nothing else can be tried, the RFC's own patience holds (Timers B
    /// and F).
    silent: Duration,
    /// With nothing but provisional answers.
    pub(super) ringing: Duration,
}

impl Context {
    /// How long an attempt at this trunk may take.
    #[inline]
    pub(super) fn patience(&self, trunk: TrunkId) -> Patience {
        let limits = self.walk.attempts(&self.snapshot, trunk);
        let recovering = self.recovering.as_ref();
        Patience {
            silent: match limits {
                Some(limits) if !self.is_fixed() || recovering.is_some() => limits.response_timeout,
                Some(_) | None => LINGER,
            },
            ringing: recovering
                .and_then(|recovering| recovering.ring_timeout())
                .or(limits.map(|limits| limits.answer_timeout))
                .unwrap_or(ANSWER_TIMEOUT),
        }
    }

    /// What `setup_budget` leaves; `None` for a request without one.
    fn budget_left(&self, now: Moment) -> Option<Duration> {
        if self.kind != Kind::Call || self.recovering.is_some() {
            return None;
        }
        let limits = self
            .walk
            .attempts(&self.snapshot, self.walk.first_trunk())?;
        let spent = now.saturating_duration_since(self.began);
        Some(limits.setup_budget.saturating_sub(spent))
    }

    /// When an attempt that begins now has been silent for too long.
    pub(super) fn silent_at(&self, patience: Patience, now: Moment) -> Moment {
        let patience = patience.silent;
        now + self
            .budget_left(now)
            .map_or(patience, |left| patience.min(left))
    }

    /// The attempt has just begun.
    pub(super) fn watch(
        &mut self,
        slot: Slot,
        number: usize,
        usual: Patience,
        turn: &mut Turn<'_>,
    ) {
        let attempt = &self.attempts[number];
        let patience = attempt.silent_at.saturating_duration_since(turn.now);
        let resends = !attempt.hop.transport.is_reliable();
        if resends {
            self.watch_copy(slot, number, turn);
        }
        if !resends || patience <= T1 {
            self.watch_silence(slot, number, Duration::ZERO, turn);
        }
        if self.is_invite() && usual.ringing <= usual.silent {
            self.watch_ringing(slot, number, Duration::ZERO, turn);
        }
    }

    /// Timer A or E: a copy of the request goes out unless there is an answer by then.
    #[inline]
    pub(super) fn watch_copy(&mut self, slot: Slot, number: usize, turn: &mut Turn<'_>) {
        let attempt = &mut self.attempts[number];
        let after = match attempt.client {
            Client::Invite(_) => invite_client::timer_a(attempt.sends),
            Client::Other(state) => client::timer_e(state, attempt.sends),
        };
        let alarm = Alarm::Context(slot, Ring::Resend(number as u8, attempt.sends));
        attempt.resend = turn.arm_for_now(after, alarm);
    }

    /// The first Timer A or E of an attempt: whoever still waits is watched over from now on.
    pub(super) fn watch_on(&self, slot: Slot, number: usize, turn: &mut Turn<'_>) {
        let waits = self
            .pending(number)
            .is_some_and(|it| it.silent_at > it.began + T1);
        if waits {
            self.watch_silence(slot, number, T1, turn);
        }
    }

    /// `passed`: how much of the attempt's time is over.
    fn watch_silence(&self, slot: Slot, number: usize, passed: Duration, turn: &mut Turn<'_>) {
        let attempt = &self.attempts[number];
        let usual = self.patience(attempt.trunk).silent;
        let alarm = Alarm::Context(slot, Ring::Try(number as u8));
        if attempt.silent_at == attempt.began + usual {
            turn.arm(usual.saturating_sub(passed), alarm);
        } else {
            turn.engine.lanes.arm_once(attempt.silent_at, alarm);
        }
    }

    fn watch_ringing(&self, slot: Slot, number: usize, passed: Duration, turn: &mut Turn<'_>) {
        let attempt = &self.attempts[number];
        let usual = self.patience(attempt.trunk).ringing.saturating_sub(passed);
        let alarm = Alarm::Context(slot, Ring::Answer(number as u8));
        if turn.now + usual <= attempt.answer_at {
            turn.arm(usual, alarm);
        } else {
            turn.engine.lanes.arm_once(attempt.answer_at, alarm);
        }
    }

    /// Silence for `response_timeout`, or till the end of `setup_budget`: no response at all; a 100
    /// is one.
    pub(super) fn on_try(&mut self, slot: Slot, number: usize, turn: &mut Turn<'_>) {
        let Some(attempt) = self.pending(number) else {
            return;
        };
        let waits = match attempt.client {
            Client::Invite(state) => state == invite_client::State::Calling,
            // Timer F ends a non-INVITE whatever provisionals came (RFC 3261 §17.1.2.2).
            Client::Other(_) => true,
        };
        let patience = self.patience(attempt.trunk);
        let waited = turn.now.saturating_duration_since(attempt.began);
        if waits && !attempt.heard {
            let outcome = if waited < patience.silent {
                self.why = "setup budget";
                Outcome::OutOfTime
            } else {
                Outcome::Silent
            };
            self.give_up(slot, number, outcome, turn);
        } else if waits {
            let left = LINGER.saturating_sub(waited);
            if left.is_zero() {
                self.give_up(slot, number, Outcome::NoAnswer, turn);
            } else {
                let alarm = Alarm::Context(slot, Ring::Try(number as u8));
                turn.engine.lanes.arm_once(turn.now + left, alarm);
            }
        } else if patience.ringing > patience.silent {
            self.watch_ringing(slot, number, patience.silent, turn);
        }
    }
}
