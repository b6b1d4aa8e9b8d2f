//! All requests in work, and the messages that wait for DNS before they are.

use std::collections::HashMap;

use trunkline_sip::Message;

use crate::{
    Event, Hop,
    context::Context,
    engine::{Asker, Turn},
    question::Question,
    reject::Reject,
    settings::Place,
    table::{Slab, Slot},
};

/// Messages that may wait for DNS at a time.
const PARKED_MAX: usize = 1000;

/// Messages that wait for the same next hop, and who sent them.
type Parked = Vec<(Hop, Box<[u8]>)>;

/// See the module's text.
#[derive(Default)]
pub struct Contexts {
    pub(crate) slab: Slab<Context>,
    parked: HashMap<Place, Parked>,
}

impl Contexts {
    /// How many requests are in work, lingering ones included.
    pub fn len(&self) -> u32 {
        self.slab.len()
    }

    /// Whether nothing is in work but what lingers, and nothing waits for DNS.
    pub fn is_idle(&self) -> bool {
        self.parked.is_empty() && !self.slab.iter().any(|(_, context)| context.is_busy())
    }

    /// Works on a context, and forgets it when nothing can happen to it any more.
    pub fn with(
        &mut self,
        slot: Slot,
        turn: &mut Turn<'_>,
        work: impl FnOnce(&mut Context, &mut Turn<'_>),
    ) {
        let Some(context) = self.slab.get_mut(slot) else {
            return;
        };
        work(context, turn);
        if context.is_done() {
            turn.engine.by_key.remove(&context.key);
            if let Some(key) = context.unacked {
                turn.engine.unacked.remove(&key);
            }
            // Held to the end: what is heard late is evidence too.
            let peers = context.attempts.iter().filter_map(|attempt| attempt.peer);
            peers.for_each(|peer| turn.engine.health.release(peer));
            self.slab.remove(slot);
        }
        if self.slab.is_empty() {
            turn.engine.by_key.shrink_to(64);
            turn.engine.release_retired();
        }
    }

    /// Keeps a message until DNS has answered for its next hop.
    pub fn park(&mut self, request: &Message<'_>, from: Hop, place: Place, turn: &mut Turn<'_>) {
        if self.parked() >= PARKED_MAX {
            return turn.reject(request, from, Reject::TooBusy, &[]);
        }
        turn.tell(Event::Parked);
        let waiting = self.parked.entry(place.clone()).or_default();
        if waiting.is_empty() {
            turn.ask(Asker::Parked(place.clone()), Question::Resolve(place));
        }
        // A copy that came while its first waits is the same message.
        if !waiting.iter().any(|(_, bytes)| **bytes == *request.bytes()) {
            waiting.push((from, request.bytes().into()));
        }
    }

    /// How many messages wait for DNS.
    #[allow(clippy::disallowed_methods)] // A sum has no order.
    pub fn parked(&self) -> usize {
        self.parked.values().map(Vec::len).sum()
    }

    /// Takes the messages that waited for this next hop.
    pub fn unpark(&mut self, place: &Place) -> Parked {
        self.parked.remove(place).unwrap_or_default()
    }
}
