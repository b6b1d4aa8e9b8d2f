//! All requests in work, and the messages that wait for DNS before they are.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use trunkline_sip::Message;

use crate::{
    Event, Hop, Moment,
    context::Context,
    engine::{Asker, Turn},
    question::Question,
    reject::Reject,
    settings::Place,
    table::{Slab, Slot},
};

/// Messages that may wait for DNS at a time.
const PARKED_MAX: usize = 1000;

/// A request that lingers is kept for so long however many others come.
const SETTLED_MIN: Duration = Duration::from_secs(5);

/// Messages that wait for the same next hop, and who sent them.
type Parked = Vec<(Hop, Box<[u8]>)>;

/// See the module's text.
#[derive(Default)]
pub struct Contexts {
    pub(crate) slab: Slab<Context>,
    /// Those that only linger, and since when: the first have lingered longest. Some have gone.
    settled: VecDeque<(Slot, Moment)>,
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
            self.forget(slot, turn);
        } else if !context.settled && !context.is_busy() {
            context.settled = true;
            self.settled.push_back((slot, turn.now));
        }
    }

    /// Whether there is room for one more request. When `most` are in work, the one that has lingered
    /// longest goes, if it is [`SETTLED_MIN`] ago that anybody waited for it: a copy that comes as late as
    /// that is rarer than a caller is dear.
    pub fn make_room(&mut self, most: u32, turn: &mut Turn<'_>) -> bool {
        if self.len() < most {
            return true;
        }
        while let Some((slot, since)) = self.settled.front().copied() {
            if turn.now.saturating_duration_since(since) < SETTLED_MIN {
                return false;
            }
            self.settled.pop_front();
            // A late answer may have brought it to life again.
            match self.slab.get_mut(slot) {
                Some(context) if context.is_busy() => context.settled = false,
                Some(_) => {
                    self.forget(slot, turn);
                    return true;
                }
                None => {}
            }
        }
        false
    }

    fn forget(&mut self, slot: Slot, turn: &mut Turn<'_>) {
        let Some(context) = self.slab.get_mut(slot) else {
            return;
        };
        turn.engine.by_key.remove(context.key);
        if let Some(key) = context.unacked {
            turn.engine.forget_unacked(key);
        }
        // Held to the end: what is heard late is evidence too.
        let peers = context.attempts.iter().filter_map(|attempt| attempt.peer);
        peers.for_each(|peer| turn.engine.health.release(peer));
        let paper = std::mem::take(&mut context.request);
        turn.engine.papers.take_back(paper);
        self.slab.discard(slot);
        while let Some((slot, _)) = self.settled.front() {
            if self.slab.get_mut(*slot).is_some() {
                break;
            }
            self.settled.pop_front();
        }
        if self.slab.is_empty() {
            self.settled.shrink_to(64);
            turn.engine.release_retired();
        }
    }

    /// Keeps a message until DNS has answered for its next hop.
    #[cold]
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
