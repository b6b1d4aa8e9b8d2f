//! The peers of a world: endpoints that follow RFC 3261 as far as a proxy can see, and some that do
//! not. Like the proxy, a peer is a value: it hears bytes and wakes at times, and says what it wants.

mod callee;
mod caller;
mod hostile;
mod outstanding;

use std::time::Duration;

pub use callee::{Callee, Manner};
pub use caller::{CallPlan, Caller};
pub use hostile::Hostile;
use outstanding::Outstanding;

use crate::{chance::Chance, text::Text, ua::Identity};

/// RFC 3261's T1.
const T1: Duration = Duration::from_millis(500);
/// RFC 3261's T2.
const T2: Duration = Duration::from_secs(4);
/// 64*T1: how long anybody tries.
const PATIENCE: Duration = Duration::from_secs(32);

/// Something a peer wants to be woken for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Key {
    /// Place this call of the plan.
    Place(usize),
    /// Give this call up, if it has no final answer yet.
    GiveUp(String),
    /// Hang this call up.
    HangUp(String),
    /// Say something inside this call: a re-INVITE or an INFO.
    Speak(String),
    /// Send this request again, if it was sent this often.
    Resend(String, u32),
    /// Ring on the INVITE with this branch.
    Ring(String),
    /// Answer the INVITE with this branch.
    Answer(String),
    /// Send the final response again, if it was sent this often.
    Repeat(String, u32),
    /// Do something that no endpoint should.
    Mischief,
}

/// What a peer wants.
#[derive(Debug)]
pub enum Want {
    /// Send this to Trunkline.
    Send(Vec<u8>),
    /// Wake me after so long.
    Wake(Duration, Key),
}

/// One thing that happens to a peer.
pub struct Turn<'t> {
    /// Now, from the world's start.
    pub now: Duration,
    /// The peer's own chance.
    pub chance: &'t mut Chance,
    /// What it wants done.
    pub wants: Vec<Want>,
}

impl Turn<'_> {
    fn send(&mut self, text: &Text) {
        self.wants.push(Want::Send(text.write()));
    }

    fn wake(&mut self, after: Duration, key: Key) {
        self.wants.push(Want::Wake(after, key));
    }
}

/// An endpoint at one address: it places calls and takes them.
pub struct Endpoint {
    /// Who it is.
    pub identity: Identity,
    caller: Caller,
    callee: Callee,
}

impl Endpoint {
    /// An endpoint with nothing going on.
    pub fn new(identity: Identity, plans: Vec<CallPlan>, manner: Manner) -> Self {
        Endpoint {
            caller: Caller::new(identity.clone(), plans),
            callee: Callee::new(identity.clone(), manner),
            identity,
        }
    }

    /// What it wants at the start of the world.
    pub fn begin(&self, turn: &mut Turn<'_>) {
        self.caller.begin(turn);
    }

    /// The calls it believes to be in: those it placed, and those it took, with whether it can know.
    pub fn holds(
        &self,
    ) -> (
        impl Iterator<Item = &str>,
        impl Iterator<Item = (&str, bool)>,
    ) {
        (self.caller.holds(), self.callee.holds())
    }

    /// Takes in what Trunkline sent.
    pub fn hear(&mut self, bytes: &[u8], turn: &mut Turn<'_>) {
        let Some(text) = Text::read(bytes) else {
            return;
        };
        if self.caller.knows(&text) {
            self.caller.hear(&text, turn);
        } else {
            self.callee.hear(&text, turn);
        }
    }

    /// It is time for something it wanted.
    pub fn wake(&mut self, key: Key, turn: &mut Turn<'_>) {
        match key {
            Key::Place(_) | Key::GiveUp(_) => self.caller.wake(key, turn),
            Key::Ring(_) | Key::Answer(_) | Key::Repeat(..) => self.callee.wake(key, turn),
            Key::HangUp(_) | Key::Speak(_) | Key::Resend(..) => {
                self.caller.wake(key.clone(), turn);
                self.callee.wake(key, turn);
            }
            Key::Mischief => {}
        }
    }
}
