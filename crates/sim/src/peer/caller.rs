//! The side that places calls (RFC 3261 §13.2, §9.1, §15).

use std::{collections::BTreeMap, time::Duration};

use super::{Key, Outstanding, Turn};
use crate::{
    text::Text,
    ua::{Identity, Leg},
};

/// One call that a peer will place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallPlan {
    /// When.
    pub at: Duration,
    /// Its name on the wire.
    pub call_id: String,
    /// The Request-URI.
    pub uri: String,
    /// When the caller loses patience, from the INVITE; never, for most.
    pub cancel_after: Option<Duration>,
    /// How long it talks before it hangs up; `None`: the callee does.
    pub talk: Option<Duration>,
    /// What it says in between, and when.
    pub speaks: Option<(Duration, &'static str)>,
}

struct Call {
    plan: CallPlan,
    leg: Leg,
    heard: bool,
    wants_cancel: bool,
    cancelled: bool,
    answered: bool,
    over: bool,
    /// The ACK of each 2xx, by its To and CSeq.
    acks: BTreeMap<String, Text>,
}

/// See the module's text.
pub struct Caller {
    identity: Identity,
    plans: Vec<CallPlan>,
    calls: BTreeMap<String, Call>,
    outstanding: Outstanding,
}

impl Caller {
    /// A caller with these plans.
    pub fn new(identity: Identity, plans: Vec<CallPlan>) -> Self {
        let outstanding = Outstanding::new(identity.says.stream);
        Caller {
            identity,
            plans,
            calls: BTreeMap::new(),
            outstanding,
        }
    }

    /// Wants to be woken for each of its calls.
    pub fn begin(&self, turn: &mut Turn<'_>) {
        for (nth, plan) in self.plans.iter().enumerate() {
            turn.wake(plan.at, Key::Place(nth));
        }
    }

    /// The calls it believes to be in.
    pub fn holds(&self) -> impl Iterator<Item = &str> {
        let held = self
            .calls
            .iter()
            .filter(|(_, call)| call.answered && !call.over);
        held.map(|(call_id, _)| call_id.as_str())
    }

    /// Whether the message belongs to one of its calls.
    pub fn knows(&self, text: &Text) -> bool {
        text.get("Call-ID")
            .is_some_and(|call_id| self.calls.contains_key(call_id))
    }

    /// Takes in what Trunkline sent.
    pub fn hear(&mut self, text: &Text, turn: &mut Turn<'_>) {
        let Some(call) = text
            .get("Call-ID")
            .and_then(|call_id| self.calls.get_mut(call_id))
        else {
            return;
        };
        if let Some(method) = text.method() {
            if method == "ACK" {
                return;
            }
            call.over |= method == "BYE";
            let response = call.leg.respond(text, 200);
            turn.send(&response);
            return;
        }
        self.outstanding.answered(text);
        let (Some(code), Some((_, "INVITE"))) = (text.code(), text.cseq()) else {
            return;
        };
        match code {
            ..200 => {
                call.heard = true;
                if call.wants_cancel {
                    give_up(call, &mut self.outstanding, turn);
                }
            }
            200..300 => on_answer(call, text, turn),
            300.. => {
                call.over |= !call.answered;
                if let Some(ack) = call.leg.ack(text) {
                    turn.send(&ack);
                }
            }
        }
    }

    /// It is time for something.
    pub fn wake(&mut self, key: Key, turn: &mut Turn<'_>) {
        match key {
            Key::Place(nth) => self.place(nth, turn),
            Key::Resend(key, sends) => self.outstanding.resend(key, sends, turn),
            Key::GiveUp(call_id) => {
                if let Some(call) = self.calls.get_mut(&call_id) {
                    call.wants_cancel = true;
                    give_up(call, &mut self.outstanding, turn);
                }
            }
            Key::HangUp(call_id) => {
                if let Some(call) = self.calls.get_mut(&call_id).filter(|call| !call.over) {
                    call.over = true;
                    self.outstanding.send(&call.leg.request("BYE", None), turn);
                }
            }
            Key::Speak(call_id) => {
                if let Some(call) = self.calls.get_mut(&call_id).filter(|call| !call.over)
                    && let Some((_, method)) = call.plan.speaks
                {
                    self.outstanding.send(&call.leg.request(method, None), turn);
                }
            }
            Key::Ring(_) | Key::Answer(_) | Key::Repeat(..) | Key::Mischief => {}
        }
    }

    fn place(&mut self, nth: usize, turn: &mut Turn<'_>) {
        let Some(plan) = self.plans.get(nth).cloned() else {
            return;
        };
        let mut leg = Leg::caller(&self.identity, &plan.call_id, &plan.uri);
        let mut invite = leg.request("INVITE", None);
        invite.push("X-Unknown", format!("kept, as \"it, is\";n={nth}"));
        invite.push("Content-Type", "application/sdp");
        invite.body = format!("v=0\r\ns={}\r\n", plan.call_id);
        leg.sent_invite(&invite);
        if let Some(after) = plan.cancel_after {
            turn.wake(after, Key::GiveUp(plan.call_id.clone()));
        }
        self.outstanding.send(&invite, turn);
        let call = Call {
            leg,
            heard: false,
            wants_cancel: false,
            cancelled: false,
            answered: false,
            over: false,
            acks: BTreeMap::new(),
            plan,
        };
        self.calls.insert(call.plan.call_id.clone(), call);
    }
}

/// CANCEL, once something was heard and nothing final (§9.1).
fn give_up(call: &mut Call, outstanding: &mut Outstanding, turn: &mut Turn<'_>) {
    if !call.heard || call.cancelled || call.answered || call.over {
        return;
    }
    call.cancelled = true;
    if let Some(cancel) = call.leg.cancel() {
        outstanding.send(&cancel, turn);
    }
}

fn on_answer(call: &mut Call, response: &Text, turn: &mut Turn<'_>) {
    let dialog = format!("{:?} {:?}", response.get("To"), response.get("CSeq"));
    if let Some(ack) = call.acks.get(&dialog) {
        turn.send(ack);
        return;
    }
    call.leg.on_response(response);
    if let Some(ack) = call.leg.ack(response) {
        turn.send(&ack);
        call.acks.insert(dialog, ack);
    }
    if std::mem::replace(&mut call.answered, true) {
        return;
    }
    let call_id = call.plan.call_id.clone();
    if call.cancelled {
        turn.wake(Duration::ZERO, Key::HangUp(call_id));
        return;
    }
    if let Some((after, _)) = call.plan.speaks {
        turn.wake(after, Key::Speak(call_id.clone()));
    }
    if let Some(talk) = call.plan.talk {
        turn.wake(talk, Key::HangUp(call_id));
    }
}
