//! The peers of a scenario and what they lived through: pure, so that they can meet the simulated Trunkline
//! as well as the real one.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{
    Call, Change, Scenario,
    callee::{Callee, Steps},
};
use crate::{
    address::Address,
    text::Text,
    ua::{Identity, Leg},
};

/// What the crowd wants done.
#[derive(Debug)]
pub enum Next {
    /// One of them says this to Trunkline, now.
    Say(Address, Vec<u8>),
    /// This is to happen then.
    Plan(Duration, Happening),
}

/// Something that happens at its time.
#[derive(Copy, Clone, Debug)]
pub enum Happening {
    /// This call is placed.
    Place(usize),
    /// The callee's next step in this call.
    Step(Address, usize),
    /// The caller ends this call.
    HangUp(usize),
    /// The scenario's change with this number.
    Change(usize),
}

/// See the module's text.
pub struct Crowd<'s> {
    scenario: &'s Scenario,
    me: Identity,
    legs: HashMap<usize, Leg>,
    callees: BTreeMap<Address, Callee>,
    calls: Vec<Call>,
    probes: Vec<(Duration, Address)>,
    next: Vec<Next>,
}

/// The Call-ID of a call, and back.
fn call_id(call: usize) -> String {
    format!("{call}@fleet.test")
}

pub(super) fn call_of(text: &Text) -> Option<usize> {
    text.get("Call-ID")?
        .strip_suffix("@fleet.test")?
        .parse()
        .ok()
}

impl<'s> Crowd<'s> {
    /// Before anything has happened; [`take`](Self::take) says what is to.
    pub fn new(scenario: &'s Scenario) -> Self {
        let (from, until, gap) = scenario.calls;
        let count = (until.saturating_sub(from).as_nanos() / gap.as_nanos().max(1)) as usize;
        let first = (count > 0).then_some(Next::Plan(from, Happening::Place(0)));
        let changes = scenario.changes.iter().enumerate();
        let changes = changes.map(|(nth, (at, _))| Next::Plan(*at, Happening::Change(nth)));
        Crowd {
            scenario,
            me: Identity {
                name: "caller".into(),
                says: scenario.caller,
                ignores_record_route: false,
            },
            legs: HashMap::new(),
            callees: BTreeMap::new(),
            calls: vec![Call::default(); count],
            probes: Vec::new(),
            next: first.into_iter().chain(changes).collect(),
        }
    }

    /// What it wants done since the last time, in order.
    pub fn take(&mut self) -> Vec<Next> {
        std::mem::take(&mut self.next)
    }

    /// What was planned happens. A change, for whoever else it concerns.
    pub fn happen(&mut self, now: Duration, what: Happening) -> Option<&'s Change> {
        match what {
            Happening::Place(call) => self.place(now, call),
            Happening::Step(at, call) => {
                let steps = self.callee(at).step(call);
                self.follow(now, at, steps);
            }
            Happening::HangUp(call) => {
                if let Some(leg) = self.legs.get_mut(&call) {
                    let bye = leg.request("BYE", None).write();
                    self.next.push(Next::Say(self.scenario.caller, bye));
                }
            }
            Happening::Change(nth) => {
                let change = &self.scenario.changes[nth].1;
                if let Change::Peer(who, fate) = change {
                    let steps = self.callee(*who).turn(*fate);
                    self.follow(now, *who, steps);
                }
                return Some(change);
            }
        }
        None
    }

    /// Trunkline sends this to somebody, whether he is there to hear it or not.
    pub fn see(&mut self, now: Duration, to: Address, bytes: &[u8]) {
        if bytes.starts_with(b"INVITE ")
            && let Some(call) = Text::read(bytes).as_ref().and_then(call_of)
            && let Some(call) = self.calls.get_mut(call)
        {
            call.first = call.first.or(Some(to));
        }
        if bytes.starts_with(b"OPTIONS ") {
            self.probes.push((now, to));
        }
    }

    /// It comes to him.
    pub fn hear(&mut self, now: Duration, to: Address, bytes: &[u8]) {
        if to == self.scenario.caller {
            return self.on_caller(now, bytes);
        }
        let steps = self.callee(to).hear(bytes);
        self.follow(now, to, steps);
    }

    /// Peers that are in a call which nobody else is in: taken and never ended, although its
    /// caller has another answer or none.
    pub fn orphans(&self) -> usize {
        let taken = self
            .callees
            .iter()
            .flat_map(|(at, callee)| callee.holds().map(move |call| (*at, call)));
        taken
            .filter(|(at, call)| self.calls[*call].answered != Some(*at))
            .count()
    }

    /// The calls in the order in which they were placed, and when whom an OPTIONS was sent to.
    pub fn finish(self) -> (Vec<Call>, Vec<(Duration, Address)>) {
        (self.calls, self.probes)
    }

    fn place(&mut self, now: Duration, call: usize) {
        let mut leg = Leg::caller(&self.me, &call_id(call), &self.scenario.uri);
        let invite = leg.request("INVITE", None).write();
        self.legs.insert(call, leg);
        self.calls[call].placed = now;
        self.next.push(Next::Say(self.scenario.caller, invite));
        if call + 1 < self.calls.len() {
            let (from, _, gap) = self.scenario.calls;
            let at = from + gap * (call as u32 + 1);
            self.next.push(Next::Plan(at, Happening::Place(call + 1)));
        }
    }

    fn on_caller(&mut self, now: Duration, bytes: &[u8]) {
        let Some(text) = Text::read(bytes) else {
            return;
        };
        let (Some(call), Some(code), Some("INVITE")) = (call_of(&text), text.code(), text.about())
        else {
            // The answer to a BYE ends the leg.
            if let (Some(call), Some("BYE")) = (call_of(&text), text.about()) {
                self.legs.remove(&call);
            }
            return;
        };
        let by = text
            .uri_of("Contact")
            .and_then(|uri| uri.split_once('@'))
            .and_then(|(_, at)| Address::parse(at));
        let told = &mut self.calls[call];
        if code > 100 && told.heard.is_none() {
            told.heard = Some(now);
            told.rang = by.filter(|_| code < 300);
        }
        if code < 200 {
            if let Some(leg) = self.legs.get_mut(&call) {
                leg.on_response(&text);
            }
            return;
        }
        told.finals += u32::from(told.answered.is_none() || code >= 300);
        let Some(leg) = self.legs.get_mut(&call) else {
            return;
        };
        leg.on_response(&text);
        let ack = leg.ack(&text).map(|ack| ack.write());
        if code < 300 {
            if told.answered.is_none() {
                told.answered = by;
                let end = now + self.scenario.talks;
                self.next.push(Next::Plan(end, Happening::HangUp(call)));
            }
        } else {
            told.failed = Some((now, code));
            self.legs.remove(&call);
        }
        if let Some(ack) = ack {
            self.next.push(Next::Say(self.scenario.caller, ack));
        }
    }

    fn callee(&mut self, at: Address) -> &mut Callee {
        let (rings, answers) = self.scenario.rings;
        self.callees
            .entry(at)
            .or_insert_with(|| Callee::new(at, rings, answers))
    }

    /// Sends what a callee says, and plans what it does next.
    fn follow(&mut self, now: Duration, at: Address, steps: Steps) {
        for bytes in steps.says {
            self.next.push(Next::Say(at, bytes));
        }
        for (call, after) in steps.next {
            let step = Happening::Step(at, call);
            self.next.push(Next::Plan(now + after, step));
        }
    }
}
