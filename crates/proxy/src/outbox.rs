//! What one turn of the proxy wants done. The caller owns and reuses it, so that a packet costs
//! no allocation and a batch of inputs leaves in one go.

use std::{mem, ops::Range, time::Duration};

use crate::{
    Event, Hop,
    event::CallRecord,
    health::News,
    question::{AskId, Question},
};

/// One thing for the world outside to do.
#[derive(Debug)]
pub enum Effect {
    /// Send these bytes of the arena (see [`Outbox::bytes`]): one whole message.
    Send(Sending),
    /// Find something out; comes back as [`Input::Answer`](crate::Input::Answer) with the same id.
    Ask {
        /// Names the answer.
        ask: AskId,
        /// What to find out.
        question: Box<Question>,
    },
    /// Something happened: metrics, logs and records want to know. No answer.
    Tell(Event),
    /// Every other shard of the process is to hear this, as
    /// [`Input::PeerHealth`](crate::Input::PeerHealth). Never said where there is one shard.
    Share(News),
}

/// One whole message to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sending {
    /// To whom.
    pub to: Hop,
    /// Where in the arena.
    pub bytes: Range<u32>,
    /// For a stream that must be opened first: how long that may take.
    pub connect_within: Duration,
}

impl Sending {
    /// Its bytes in the arena of its outbox; none in another's.
    #[inline]
    pub fn within<'a>(&self, arena: &'a [u8]) -> &'a [u8] {
        arena
            .get(self.bytes.start as usize..self.bytes.end as usize)
            .unwrap_or_default()
    }
}

/// Bytes of the arena that an ordinary turn may fill, and messages in it.
const ARENA_KEPT: usize = 256 * 1024;
const SENDS_KEPT: usize = 1024;
/// Boxes of records that have come back and wait for the next calls.
const RECORDS_KEPT: usize = 256;

/// The effects of one or more inputs, those of each kind in order, and the arena that the bytes of messages live
/// in. What is sent and what is told have nothing to do with each other: the one leaves at once, the other may
/// stay for more to come.
#[derive(Debug, Default)]
pub struct Outbox {
    arena: Vec<u8>,
    sends: Vec<Sending>,
    events: Vec<Event>,
    /// Asked and shared: rare.
    rest: Vec<Effect>,
    /// Read by whoever they were for.
    #[expect(clippy::vec_box, reason = "the box is what is kept, not the record")]
    records: Vec<Box<CallRecord>>,
}

impl Outbox {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// The messages to be sent, and the arena that their bytes are in. Whoever sends them may do so in another order
    /// where that does not matter to those who get them.
    #[inline]
    pub fn sends(&mut self) -> (&mut [Sending], &[u8]) {
        (&mut self.sends, &self.arena)
    }

    /// Forgets messages and their bytes, and keeps the memory, but for most of what one crowded turn took.
    #[inline]
    pub fn sent(&mut self) {
        if self.arena.capacity() > ARENA_KEPT {
            self.shrink();
        }
        self.arena.clear();
        self.sends.clear();
    }

    #[cold]
    fn shrink(&mut self) {
        if self.arena.len() < self.arena.capacity() / 8 {
            self.arena.clear();
            self.arena.shrink_to(ARENA_KEPT);
            self.sends.clear();
            self.sends.shrink_to(SENDS_KEPT);
        }
    }

    /// What was told and not yet [taken](Self::take_events).
    #[inline]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Takes all that was told. What was read of earlier comes back for it: more is told into its memory, and the
    /// boxes of its records, as far as they may be needed, are those of the next calls.
    pub fn take_events(&mut self, mut read: Vec<Event>) -> Vec<Event> {
        for event in &mut read {
            if matches!(event, Event::CallSetUp(_))
                && self.records.len() < RECORDS_KEPT
                && let Event::CallSetUp(record) = mem::replace(event, Event::Parked)
            {
                self.records.push(record);
            }
        }
        read.clear();
        mem::replace(&mut self.events, read)
    }

    /// Takes what is neither sent nor told: questions, and what is shared.
    #[inline]
    pub fn take_rest(&mut self) -> Option<std::vec::Drain<'_, Effect>> {
        (!self.rest.is_empty()).then(|| self.rest.drain(..))
    }

    /// Takes everything out, kind by kind; the arena stays until [`clear`](Self::clear).
    pub fn drain(&mut self) -> impl Iterator<Item = Effect> + '_ {
        self.split().0
    }

    /// Everything, kind by kind, and the arena beside it, for a caller that sends while it drains.
    pub fn split(&mut self) -> (impl Iterator<Item = Effect> + '_, &[u8]) {
        let sends = self.sends.drain(..).map(Effect::Send);
        let events = self.events.drain(..).map(Effect::Tell);
        (sends.chain(self.rest.drain(..)).chain(events), &self.arena)
    }

    /// The bytes of a [`Sending`]; empty for a range that is not of this outbox.
    pub fn bytes(&self, at: &Range<u32>) -> &[u8] {
        self.arena
            .get(at.start as usize..at.end as usize)
            .unwrap_or_default()
    }

    /// Forgets everything and keeps the memory, but for most of what one crowded turn took.
    pub fn clear(&mut self) {
        self.sent();
        self.events.clear();
        self.rest.clear();
    }

    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.sends.is_empty() && self.events.is_empty() && self.rest.is_empty()
    }

    /// Sends what `write` appends to the arena; nothing when it appends nothing.
    pub fn send(&mut self, to: Hop, connect_within: Duration, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.arena.len() as u32;
        write(&mut self.arena);
        let bytes = start..self.arena.len() as u32;
        if bytes.is_empty() {
            return;
        }
        self.sends.push(Sending {
            to,
            bytes,
            connect_within,
        });
    }

    /// Asks the slow side.
    pub fn ask(&mut self, ask: AskId, question: Question) {
        self.rest.push(Effect::Ask {
            ask,
            question: Box::new(question),
        });
    }

    /// Tells whoever keeps count.
    pub fn tell(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Tells the line of a call, in a box that has [come back](Self::take_events) where there is one: `fill` is to write
    /// everything in it, for it may be another call's.
    pub fn tell_call(&mut self, fill: impl FnOnce(&mut CallRecord)) {
        let record = self.records.pop();
        let mut record = record.unwrap_or_else(|| Box::new(CallRecord::blank()));
        fill(&mut record);
        self.tell(Event::CallSetUp(record));
    }

    /// Tells the other shards.
    pub fn share(&mut self, news: News) {
        self.rest.push(Effect::Share(news));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_crowded_turn_goes_back_with_the_next_ordinary_one() {
        let mut out = Outbox::new();
        let fill = |out: &mut Outbox, bytes| out.arena.resize(bytes, 0);
        fill(&mut out, 100);
        out.clear();
        let ordinary = out.arena.capacity();
        fill(&mut out, 4 * ARENA_KEPT);
        out.clear();
        assert!(
            out.arena.capacity() >= 4 * ARENA_KEPT,
            "crowded turns come in rows"
        );
        fill(&mut out, 100);
        out.clear();
        assert!((ordinary..=ARENA_KEPT).contains(&out.arena.capacity()));
    }
}
