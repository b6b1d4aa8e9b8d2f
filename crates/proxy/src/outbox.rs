//! What one turn of the proxy wants done. The caller owns and reuses it, so that a packet costs
//! no allocation and a batch of inputs leaves in one go.

use std::{ops::Range, time::Duration};

use crate::{
    Event, Hop,
    health::News,
    question::{AskId, Question},
};

/// One thing for the world outside to do.
#[derive(Debug)]
pub enum Effect {
    /// Send these bytes of the arena (see [`Outbox::bytes`]): one whole message.
    Send {
        /// To whom.
        to: Hop,
        /// Where in the arena.
        bytes: Range<u32>,
        /// For a stream that must be opened first: how long that may take.
        connect_within: Duration,
    },
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

/// The effects of one or more inputs, in order, and the arena their bytes live in.
#[derive(Debug, Default)]
pub struct Outbox {
    arena: Vec<u8>,
    effects: Vec<Effect>,
}

impl Outbox {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// The effects in the order in which they must happen.
    pub fn effects(&self) -> &[Effect] {
        &self.effects
    }

    /// Takes the effects out; the arena stays until [`clear`](Self::clear).
    pub fn drain(&mut self) -> impl Iterator<Item = Effect> + '_ {
        self.effects.drain(..)
    }

    /// Effects and arena side by side, for a caller that sends while it drains.
    pub fn split(&mut self) -> (std::vec::Drain<'_, Effect>, &[u8]) {
        (self.effects.drain(..), &self.arena)
    }

    /// The bytes of a [`Effect::Send`]; empty for a range that is not of this outbox.
    pub fn bytes(&self, at: &Range<u32>) -> &[u8] {
        self.arena
            .get(at.start as usize..at.end as usize)
            .unwrap_or_default()
    }

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.effects.clear();
    }

    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.effects.is_empty()
    }

    /// Sends what `write` appends to the arena; nothing when it appends nothing.
    pub fn send(&mut self, to: Hop, connect_within: Duration, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.arena.len() as u32;
        write(&mut self.arena);
        let bytes = start..self.arena.len() as u32;
        if bytes.is_empty() {
            return;
        }
        self.effects.push(Effect::Send {
            to,
            bytes,
            connect_within,
        });
    }

    /// Asks the slow side.
    pub fn ask(&mut self, ask: AskId, question: Question) {
        self.effects.push(Effect::Ask {
            ask,
            question: Box::new(question),
        });
    }

    /// Tells whoever keeps count.
    pub fn tell(&mut self, event: Event) {
        self.effects.push(Effect::Tell(event));
    }

    /// Tells the other shards.
    pub fn share(&mut self, news: News) {
        self.effects.push(Effect::Share(news));
    }
}
