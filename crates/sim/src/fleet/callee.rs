//! A peer that takes calls in a steady way, as its [`Fate`] lets it.

use std::{collections::HashMap, time::Duration};

use super::{Fate, crowd::call_of};
use crate::{
    address::Address,
    text::Text,
    ua::{Identity, Leg, respond},
};

/// What it says now, and in which calls it goes on after so long.
#[derive(Default)]
pub(super) struct Steps {
    pub says: Vec<Vec<u8>>,
    pub next: Vec<(usize, Duration)>,
}

struct Taken {
    invite: Text,
    leg: Leg,
    last: Vec<u8>,
    stage: Stage,
}

#[derive(Copy, Clone, PartialEq, Eq)]
enum Stage {
    Asked,
    Ringing,
    Answered,
    Over,
}

pub(super) struct Callee {
    me: Identity,
    rings: Duration,
    answers: Duration,
    fate: Fate,
    /// What waits for the end of a stall.
    held: Vec<Vec<u8>>,
    held_steps: Vec<usize>,
    calls: HashMap<usize, Taken>,
}

impl Callee {
    pub fn new(at: Address, rings: Duration, answers: Duration) -> Self {
        Callee {
            me: Identity {
                name: "callee".into(),
                says: at,
                ignores_record_route: false,
            },
            rings,
            answers,
            fate: Fate::Well,
            held: Vec::new(),
            held_steps: Vec::new(),
            calls: HashMap::new(),
        }
    }

    /// The calls that it took and nobody ended.
    pub fn holds(&self) -> impl Iterator<Item = usize> {
        self.calls
            .iter()
            .filter(|(_, taken)| taken.stage == Stage::Answered)
            .map(|(call, _)| *call)
    }

    /// Its fate turns; what it held back happens now.
    pub fn turn(&mut self, fate: Fate) -> Steps {
        self.fate = fate;
        let mut steps = Steps::default();
        if fate == Fate::Well {
            for bytes in std::mem::take(&mut self.held) {
                let more = self.hear(&bytes);
                steps.says.extend(more.says);
                steps.next.extend(more.next);
            }
            for call in std::mem::take(&mut self.held_steps) {
                let more = self.step(call);
                steps.says.extend(more.says);
                steps.next.extend(more.next);
            }
        }
        steps
    }

    pub fn hear(&mut self, bytes: &[u8]) -> Steps {
        let mut steps = Steps::default();
        match self.fate {
            Fate::Silent => return steps,
            Fate::Stalls => {
                self.held.push(bytes.to_vec());
                return steps;
            }
            Fate::Well | Fate::Refuses(_) | Fate::OnlyOptions | Fate::NoOptions => {}
        }
        let Some(text) = Text::read(bytes) else {
            return steps;
        };
        let call = call_of(&text);
        match (text.method(), call) {
            (Some("OPTIONS"), _) if self.fate != Fate::NoOptions => {
                steps.says.push(respond(&text, 200).write());
            }
            (Some("INVITE"), Some(call)) => self.on_invite(call, text, &mut steps),
            (Some("CANCEL"), Some(call)) => {
                steps.says.push(respond(&text, 200).write());
                if let Some(taken) = self.calls.get_mut(&call)
                    && matches!(taken.stage, Stage::Asked | Stage::Ringing)
                    && taken.invite.branch() == text.branch()
                {
                    taken.stage = Stage::Over;
                    taken.last = taken.leg.respond(&taken.invite, 487).write();
                    steps.says.push(taken.last.clone());
                }
            }
            (Some("BYE"), Some(call)) => {
                if let Some(taken) = self.calls.get_mut(&call) {
                    taken.stage = Stage::Over;
                }
                steps.says.push(respond(&text, 200).write());
            }
            _ => {}
        }
        steps
    }

    fn on_invite(&mut self, call: usize, invite: Text, steps: &mut Steps) {
        if self.fate == Fate::OnlyOptions {
            return;
        }
        if let Some(taken) = self.calls.get(&call)
            && taken.invite.branch() == invite.branch()
        {
            steps.says.push(taken.last.clone());
            return;
        }
        let Some(leg) = Leg::callee(&self.me, &invite) else {
            return;
        };
        if let Fate::Refuses(code) = self.fate {
            steps.says.push(leg.respond(&invite, code).write());
            return;
        }
        let last = respond(&invite, 100).write();
        steps.says.push(last.clone());
        steps.next.push((call, self.rings));
        let stage = Stage::Asked;
        let taken = Taken {
            invite,
            leg,
            last,
            stage,
        };
        self.calls.insert(call, taken);
    }

    /// The next step of a call: it rings, then it answers.
    pub fn step(&mut self, call: usize) -> Steps {
        let mut steps = Steps::default();
        match self.fate {
            // The dead do not go on where they were.
            Fate::Silent => return steps,
            Fate::Stalls => {
                self.held_steps.push(call);
                return steps;
            }
            Fate::Well | Fate::Refuses(_) | Fate::OnlyOptions | Fate::NoOptions => {}
        }
        let Some(taken) = self.calls.get_mut(&call) else {
            return steps;
        };
        let code = match taken.stage {
            Stage::Asked => {
                taken.stage = Stage::Ringing;
                steps.next.push((call, self.answers));
                180
            }
            Stage::Ringing => {
                taken.stage = Stage::Answered;
                200
            }
            Stage::Answered | Stage::Over => return steps,
        };
        taken.last = taken.leg.respond(&taken.invite, code).write();
        steps.says.push(taken.last.clone());
        steps
    }
}
