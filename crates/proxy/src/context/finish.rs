//! How a context ends: nothing left to try, the caller gave up, the record of what happened.

use std::fmt::Write as _;

use smallvec::SmallVec;
use trunkline_sip::{Message, Name, Uri};

use super::{Attempt, CANCELLED, Context, Kind, Server};
use crate::{
    Event,
    engine::{Alarm, Ring, Turn},
    event::{CallRecord, Direction, Outcome},
    table::Slot,
    transaction::server,
    walk::Walk,
};

/// Seconds that a 503 of ours asks for: short, since what failed may be back at once.
pub const RETRY_AFTER: &[u8] = b"5";

/// Why a call ended for which every carrier's line was too long.
const HELD_BACK: &str = "cps";

/// Why a call ended that had somewhere else to go, while such attempts only made things worse.
const WITHHELD: &str = "retry budget";

impl Attempt {
    /// Whether it can never ring any more.
    pub(super) fn is_settled(&self) -> bool {
        use super::Client;
        use crate::transaction::{client, invite_client};
        matches!(
            self.client,
            Client::Invite(invite_client::State::Completed | invite_client::State::Terminated)
                | Client::Other(client::State::Completed | client::State::Terminated)
        )
    }
}

impl Context {
    /// Nothing is left to try.
    #[cold]
    pub(super) fn exhausted(&mut self, slot: Slot, request: &Message<'_>, turn: &mut Turn<'_>) {
        if !self.note_withheld(turn) {
            self.weigh_all(turn);
        }
        if self.recovering.is_some() {
            self.dial_failed(slot, request, turn);
        } else if self.kind == Kind::Call
            && self.walk.direction() == Direction::Origination
            && self.begin_recovery(slot, request, turn)
        {
            // It has been told what to do next.
        } else {
            self.give_up_request(slot, request, turn);
        }
    }

    /// Whether `retry_budget` is what leaves nothing to try; says so then.
    fn note_withheld(&mut self, turn: &mut Turn<'_>) -> bool {
        if self.attempts.len() == self.walk_from || self.is_fixed() {
            return false;
        }
        let Some(trunk) = self.withheld_by(turn.engine, turn.now) else {
            return false;
        };
        if self.kind != Kind::Call {
            return true;
        }
        let direction = self.walk.direction();
        let time = turn.now.since_epoch();
        let retries = self.snapshot.retries(trunk, direction);
        turn.tell(Event::RetryWithheld {
            direction,
            trunk,
            is_first: retries.is_some_and(|retries| retries.is_to_be_told(time)),
        });
        if self.why.is_empty() {
            self.why = WITHHELD;
        }
        true
    }

    fn give_up_request(&mut self, slot: Slot, request: &Message<'_>, turn: &mut Turn<'_>) {
        if let Some(best) = self.best.take() {
            let code = best.code;
            self.keep_and_send_bytes(best.bytes, turn);
            self.finish(slot, code, false, turn);
            return;
        }
        let last = self
            .attempts
            .last()
            .and_then(|attempt| attempt.verdict)
            .map(|(outcome, _)| outcome);
        if self.is_fixed() && !matches!(last, None | Some(Outcome::Lost(_))) {
            if self.is_invite() {
                self.answer(
                    slot,
                    408,
                    crate::forward::reason_phrase(408),
                    &[],
                    request,
                    turn,
                );
            } else {
                // RFC 4320 §4.2: no 408 to a non-INVITE; its sender's Timer F fires with ours.
                self.expire(turn);
            }
            return;
        }
        self.answer_503(slot, request, turn);
    }

    /// Our own 503, with what was met (BEHAVIOUR 5; FACTS F2.6: the code on which every upstream
    /// tries elsewhere).
    pub(super) fn answer_503(&mut self, slot: Slot, request: &Message<'_>, turn: &mut Turn<'_>) {
        if self.why.is_empty() {
            self.why = if self.is_held_back(turn) {
                HELD_BACK
            } else {
                "exhausted"
            };
        }
        let reason = self.reason();
        self.answer(
            slot,
            503,
            crate::forward::reason_phrase(503),
            &[("Retry-After", RETRY_AFTER), ("Reason", reason.as_bytes())],
            request,
            turn,
        );
    }

    /// Whether nothing was tried because of a carrier's `cps`.
    fn is_held_back(&self, turn: &Turn<'_>) -> bool {
        let time = turn.now.since_epoch();
        matches!(self.walk, Walk::Termination { .. })
            && self.attempts.is_empty()
            && self
                .walk
                .trunks()
                .filter_map(|trunk| self.snapshot.carrier(trunk))
                .any(|(termination, tally)| {
                    tally.line(time, termination.cps) > termination.cps_wait
                })
    }

    /// One Reason value, since RFC 3326 allows one for each protocol: the code met last, and all
    /// of them in words.
    fn reason(&self) -> String {
        let mut cause = 503;
        let mut counts: Vec<(String, u32)> = Vec::new();
        for (outcome, _) in self.attempts.iter().filter_map(|attempt| attempt.verdict) {
            cause = match outcome {
                Outcome::Final(code) => code,
                Outcome::Silent | Outcome::NoProgress | Outcome::NoAnswer => 408,
                Outcome::Lost(_) | Outcome::PeerDown | Outcome::Cancelled | Outcome::OutOfTime => {
                    503
                }
            };
            let word = outcome.to_string();
            match counts.iter_mut().find(|(known, _)| *known == word) {
                Some((_, count)) => *count += 1,
                None => counts.push((word, 1)),
            }
        }
        let mut text = format!("SIP;cause={cause};text=\"");
        if counts.is_empty() {
            text.push_str(if self.why == HELD_BACK {
                "no turn within cps_wait"
            } else {
                "no candidate to try"
            });
        }
        for (at, (word, count)) in counts.iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = write!(text, "{}{count} {word}", if at == 0 { "" } else { ", " });
        }
        if self.why == WITHHELD {
            text.push_str("; no more tries, since most of them fail");
        }
        text.push('"');
        text
    }

    /// A non-INVITE that nobody answered in its sender's time.
    fn expire(&mut self, turn: &mut Turn<'_>) {
        if let Server::Other(state) = self.server {
            self.server = Server::Other(server::step(state, server::Event::Expired).0);
        }
        if let Some(key) = self
            .in_dialog
            .as_ref()
            .filter(|dialog| dialog.ends)
            .and_then(|dialog| dialog.call)
        {
            super::respond::forget_call(turn, key, "bye");
        }
    }

    pub(super) fn arm_server_done(
        &mut self,
        slot: Slot,
        after: std::time::Duration,
        turn: &mut Turn<'_>,
    ) {
        if after.is_zero() {
            self.server = Server::Other(server::State::Terminated);
        } else {
            turn.arm(after, Alarm::Context(slot, Ring::ServerDone));
        }
    }

    /// The caller's CANCEL (RFC 3261 §16.10): the caller hears 487 at once, so that nobody waits
    /// for a callee that is silent; what the callees still say is dealt with as late.
    pub fn on_cancel(&mut self, slot: Slot, turn: &mut Turn<'_>) {
        if !self.is_waiting() {
            return;
        }
        self.why = CANCELLED;
        self.with_request(|context, request| {
            context.answer(
                slot,
                487,
                crate::forward::reason_phrase(487),
                &[],
                request,
                turn,
            );
        });
    }

    /// Tells the line of this call.
    pub(super) fn tell_record(&mut self, code: u16, own: bool, turn: &mut Turn<'_>) {
        let request = self.kept.in_bytes(&self.request);
        let caller = Uri::user_of(request.caller_uri());
        let winner = self
            .winner
            .and_then(|at| self.attempts.get(usize::from(at)));
        let trunk = winner
            .or(self.attempts.first())
            .map_or(self.walk.first_trunk(), |attempt| attempt.trunk);
        turn.out.tell_call(|record| {
            let CallRecord {
                names,
                source,
                direction,
                trunk: took_it,
                status,
                own: is_own,
                attempts,
                first_ring,
                took,
                why,
                drill,
            } = record;
            let caller = caller.unwrap_or_default();
            names.set(request.call_id(), caller, request.called());
            *source = self.from;
            *direction = self.walk.direction();
            *took_it = trunk;
            *status = code;
            *is_own = own;
            let end = |attempt: &Attempt| attempt.record(self.began, turn.now);
            *attempts = match &self.attempts[..] {
                [only] => SmallVec::from_buf([end(only)]),
                all => all.iter().map(end).collect(),
            };
            *first_ring = self.first_ring;
            *took = turn.now.saturating_duration_since(self.began);
            *why = match (self.why, own) {
                ("", false) => "answered",
                ("", true) => "own",
                (why, _) => why,
            };
            *drill = self.drilled;
        });
    }

    /// The `X-` headers of the request, for a webhook.
    pub(super) fn x_headers(request: &Message<'_>) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        request
            .headers()
            .filter(|header| header.name == Name::Other && header.raw_name.len() > 2)
            .filter(|header| header.raw_name[..2].eq_ignore_ascii_case(b"x-"))
            .map(|header| (text(header.raw_name), text(header.value)))
            .take(32)
            .collect()
    }
}
