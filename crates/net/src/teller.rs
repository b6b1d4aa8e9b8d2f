//! Events on their way to the slow side, a few at a time.
//!
//! Waking another thread costs as much as sending a datagram, and one call has half a dozen
//! events. So they wait a moment for each other, and go to the slow side as one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc::{self, error::TrySendError};
use trunkline_proxy::Event;

use crate::stats::NetStats;

/// How long an event waits for others: nothing for a person, a long time for a shard.
const TOGETHER_FOR: Duration = Duration::from_millis(50);
/// So many do not wait.
pub(crate) const TOGETHER_MAX: usize = 256;

pub(crate) struct Teller {
    events: mpsc::Sender<Vec<Event>>,
    waiting: Vec<Event>,
    due: Option<Instant>,
    stats: Arc<NetStats>,
}

impl Teller {
    pub(crate) fn new(events: mpsc::Sender<Vec<Event>>, stats: Arc<NetStats>) -> Self {
        Teller {
            events,
            waiting: Vec::new(),
            due: None,
            stats,
        }
    }

    pub(crate) fn tell(&mut self, now: Instant, event: Event) {
        self.waiting.push(event);
        if self.waiting.len() >= TOGETHER_MAX {
            self.flush();
        } else {
            self.due.get_or_insert_with(|| now + TOGETHER_FOR);
        }
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Passes on what has waited long enough.
    pub(crate) fn tick(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.flush();
        }
    }

    /// Passes on everything. The telephone outranks the bookkeeping: a full channel costs these
    /// events, no call.
    pub(crate) fn flush(&mut self) {
        self.due = None;
        if self.waiting.is_empty() {
            return;
        }
        // As many as now will be there next time.
        let room = Vec::with_capacity(self.waiting.len());
        let batch = std::mem::replace(&mut self.waiting, room);
        if let Err(TrySendError::Full(lost) | TrySendError::Closed(lost)) =
            self.events.try_send(batch)
        {
            self.stats.events_dropped.add(lost.len() as u64);
        }
    }
}
