//! What the phones and the webhook sent and received, for the ladders.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// One message at one participant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// When.
    pub at: Instant,
    /// At whom.
    pub who: &'static str,
    /// Which way.
    pub way: Way,
    /// "INVITE", "180 Ringing".
    pub what: String,
    /// The call it belongs to.
    pub call_id: String,
    /// The same for a message that is sent again.
    pub print: u64,
}

/// Which way a message goes.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Way {
    /// To Trunkline.
    In,
    /// From Trunkline.
    Out,
}

/// The record. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Tape(Arc<Mutex<Option<Vec<Seen>>>>);

impl Tape {
    /// A running one.
    pub fn new() -> Tape {
        Tape(Arc::new(Mutex::new(Some(Vec::new()))))
    }

    /// Adds a message, unless the tape was stopped.
    pub fn add(&self, who: &'static str, way: Way, what: String, call_id: &str, bytes: &[u8]) {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let (at, print) = (Instant::now(), hasher.finish());
        if let Some(seen) = self.lock().as_mut() {
            seen.push(Seen {
                at,
                who,
                way,
                what,
                call_id: call_id.into(),
                print,
            });
        }
    }

    /// Everything of one call, in order.
    pub fn of(&self, call_id: &str) -> Vec<Seen> {
        let tape = self.lock();
        tape.iter()
            .flatten()
            .filter(|seen| seen.call_id == call_id)
            .cloned()
            .collect()
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.lock().as_ref().map_or(0, Vec::len)
    }

    /// Forgets everything and records nothing more: whoever stays for days needs no tape.
    pub fn stop(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Seen>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
