//! The side that takes calls (RFC 3261 §13.3, §9.2, §17.2), in the manner it was drawn with.

use std::{collections::BTreeMap, time::Duration};

use super::{Key, Outstanding, PATIENCE, T1, T2, Turn};
use crate::{
    text::Text,
    ua::{Identity, Leg, respond},
};

/// How a callee treats the calls it gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Manner {
    /// Rings, answers, and hangs up after this long unless the caller does.
    Answers {
        /// From the INVITE to the first response, in ms.
        first: (u64, u64),
        /// Whether that is a 180; else straight the final.
        rings: bool,
        /// From ringing to the answer, in ms.
        answer: (u64, u64),
        /// How long it talks, in ms.
        talk: (u64, u64),
    },
    /// Refuses with this code, and this Retry-After.
    Refuses {
        /// The code.
        code: u16,
        /// From the INVITE, in ms.
        after: (u64, u64),
        /// For a 503.
        retry_after: Option<u32>,
    },
    /// Says 100 and nothing more.
    OnlyTrying,
    /// Says nothing at all, to probes neither.
    Silent,
    /// Answers well for so long, is silent for as long, and so on, in ms.
    Flapping(u64),
}

struct Taken {
    invite: Text,
    leg: Leg,
    /// The final response, once there is one.
    done: Option<Text>,
    provisional: Option<Text>,
    sends: u32,
    since: Duration,
    acked: bool,
}

/// See the module's text.
pub struct Callee {
    identity: Identity,
    manner: Manner,
    /// By the branch of the INVITE.
    taken: BTreeMap<String, Taken>,
    /// The established calls, by Call-ID: whether they are over.
    calls: BTreeMap<String, (Leg, bool)>,
    outstanding: Outstanding,
}

const fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

impl Callee {
    /// A callee with no calls.
    pub fn new(identity: Identity, manner: Manner) -> Self {
        let outstanding = Outstanding::new(identity.says.stream);
        Callee {
            identity,
            manner,
            taken: BTreeMap::new(),
            calls: BTreeMap::new(),
            outstanding,
        }
    }

    /// The calls it believes to be in, and whether that is to be believed: one that is silent now
    /// and then misses what ends a call.
    pub fn holds(&self) -> impl Iterator<Item = (&str, bool)> {
        let reliable = !matches!(self.manner, Manner::Flapping(_));
        let known = self
            .calls
            .iter()
            .filter(move |(_, (_, over))| !over || !reliable);
        known.map(move |(call_id, _)| (call_id.as_str(), reliable))
    }

    fn is_silent(&self, now: Duration) -> bool {
        match self.manner {
            Manner::Silent => true,
            Manner::Flapping(period) => !(now.as_millis() as u64 / period.max(1)).is_multiple_of(2),
            Manner::Answers { .. } | Manner::Refuses { .. } | Manner::OnlyTrying => false,
        }
    }

    /// Takes in what Trunkline sent.
    pub fn hear(&mut self, text: &Text, turn: &mut Turn<'_>) {
        if self.is_silent(turn.now) {
            return;
        }
        let Some(method) = text.method() else {
            self.outstanding.answered(text);
            return;
        };
        let call_id = text.get("Call-ID").unwrap_or("").to_string();
        let branch = text.branch().unwrap_or("").to_string();
        match method {
            "INVITE" => self.on_invite(text, branch, turn),
            "ACK" => self.on_ack(text, &call_id, turn),
            "CANCEL" => self.on_cancel(text, &branch, turn),
            "BYE" => {
                let known = self.calls.get_mut(&call_id);
                let code = if known.map(|(_, over)| *over = true).is_some() {
                    200
                } else {
                    481
                };
                turn.send(&respond(text, code));
            }
            _ => turn.send(&respond(text, 200)),
        }
    }

    fn on_invite(&mut self, invite: &Text, branch: String, turn: &mut Turn<'_>) {
        if let Some(taken) = self.taken.get(&branch) {
            if let Some(last) = taken.done.as_ref().or(taken.provisional.as_ref()) {
                turn.send(last);
            }
            return;
        }
        let Some(leg) = Leg::callee(&self.identity, invite) else {
            return;
        };
        let taken = Taken {
            invite: invite.clone(),
            leg,
            done: None,
            provisional: None,
            sends: 0,
            since: turn.now,
            acked: false,
        };
        self.taken.insert(branch.clone(), taken);
        if invite.tag("To").is_some() {
            // A re-INVITE inside a call: agreed at once.
            turn.wake(ms(20), Key::Answer(branch));
            return;
        }
        if turn.chance.percent(70) {
            turn.send(&respond(invite, 100));
        }
        let mut draw = |(low, high): (u64, u64)| ms(turn.chance.between(low, high));
        match self.manner.clone() {
            Manner::Answers {
                first,
                rings,
                answer,
                ..
            } => {
                let (first, answer) = (draw(first), draw(answer));
                if rings {
                    turn.wake(first, Key::Ring(branch.clone()));
                    turn.wake(first + answer, Key::Answer(branch));
                } else {
                    turn.wake(first, Key::Answer(branch));
                }
            }
            Manner::Flapping(_) => turn.wake(ms(500), Key::Answer(branch)),
            Manner::Refuses { after, .. } => {
                let after = draw(after);
                turn.wake(after, Key::Answer(branch));
            }
            Manner::OnlyTrying | Manner::Silent => {}
        }
    }

    fn on_ack(&mut self, ack: &Text, call_id: &str, turn: &mut Turn<'_>) {
        let number = ack.cseq().map(|(number, _)| number);
        let mut first = false;
        for taken in self.taken.values_mut().filter(|taken| {
            taken.invite.get("Call-ID") == Some(call_id)
                && taken.invite.cseq().map(|(number, _)| number) == number
        }) {
            let answered = taken
                .done
                .as_ref()
                .and_then(Text::code)
                .is_some_and(|code| code < 300);
            let tag = taken.done.as_ref().and_then(|done| done.tag("To"));
            if tag == ack.tag("To") {
                first |= answered && !taken.acked && taken.invite.tag("To").is_none();
                taken.acked = true;
            }
        }
        if let (true, Manner::Answers { talk, .. }) = (first, &self.manner) {
            let talk = ms(turn.chance.between(talk.0, talk.1));
            turn.wake(talk, Key::HangUp(call_id.to_string()));
        }
    }

    fn on_cancel(&mut self, cancel: &Text, branch: &str, turn: &mut Turn<'_>) {
        let Some(taken) = self.taken.get_mut(branch) else {
            turn.send(&respond(cancel, 481));
            return;
        };
        turn.send(&taken.leg.respond(cancel, 200));
        if taken.done.is_none() {
            self.finish(branch, 487, turn);
        }
    }

    /// The final response, sent until it is acknowledged.
    fn finish(&mut self, branch: &str, code: u16, turn: &mut Turn<'_>) {
        let Some(taken) = self
            .taken
            .get_mut(branch)
            .filter(|taken| taken.done.is_none())
        else {
            return;
        };
        let mut response = taken.leg.respond(&taken.invite, code);
        if let (
            503,
            Manner::Refuses {
                retry_after: Some(seconds),
                ..
            },
        ) = (code, &self.manner)
        {
            response.push("Retry-After", seconds.to_string());
        }
        if code < 300 {
            response.push("Content-Type", "application/sdp");
            response.body = "v=0\r\n".into();
            let call_id = taken.leg.call_id().to_string();
            self.calls
                .entry(call_id)
                .or_insert_with(|| (taken.leg.clone(), false));
        }
        taken.since = turn.now;
        taken.sends = 1;
        turn.send(&response);
        taken.done = Some(response);
        // A 2xx is sent again on streams too: its ACK comes from the far end (§13.3.1.4).
        if code < 300 || !self.identity.says.stream {
            turn.wake(T1, Key::Repeat(branch.to_string(), 1));
        }
    }

    /// It is time for something.
    pub fn wake(&mut self, key: Key, turn: &mut Turn<'_>) {
        if self.is_silent(turn.now) {
            return;
        }
        match key {
            Key::Ring(branch) => {
                if let Some(taken) = self
                    .taken
                    .get_mut(&branch)
                    .filter(|taken| taken.done.is_none())
                {
                    let ringing = taken.leg.respond(&taken.invite, 180);
                    turn.send(&ringing);
                    taken.provisional = Some(ringing);
                }
            }
            Key::Answer(branch) => {
                let again = self
                    .taken
                    .get(&branch)
                    .is_some_and(|taken| taken.invite.tag("To").is_some());
                let code = match self.manner {
                    Manner::Refuses { code, .. } if !again => code,
                    _ => 200,
                };
                self.finish(&branch, code, turn);
            }
            Key::Repeat(branch, sends) => self.repeat(&branch, sends, turn),
            Key::Resend(key, sends) => self.outstanding.resend(key, sends, turn),
            Key::HangUp(call_id) => {
                if let Some((leg, over)) = self.calls.get_mut(&call_id).filter(|(_, over)| !over) {
                    *over = true;
                    self.outstanding.send(&leg.request("BYE", None), turn);
                }
            }
            Key::Place(_) | Key::GiveUp(_) | Key::Speak(_) | Key::Mischief => {}
        }
    }

    fn repeat(&mut self, branch: &str, sends: u32, turn: &mut Turn<'_>) {
        let Some(taken) = self
            .taken
            .get_mut(branch)
            .filter(|taken| taken.sends == sends && !taken.acked)
        else {
            return;
        };
        let Some(done) = &taken.done else { return };
        if turn.now.saturating_sub(taken.since) >= PATIENCE {
            if done.code().is_some_and(|code| code < 300) {
                // §13.3.1.4: no ACK ever came, so the call is ended.
                turn.wake(Duration::ZERO, Key::HangUp(taken.leg.call_id().to_string()));
            }
            return;
        }
        turn.send(done);
        taken.sends += 1;
        let after = T2.min(T1 * 2_u32.saturating_pow(taken.sends - 1));
        turn.wake(after, Key::Repeat(branch.to_string(), taken.sends));
    }
}
