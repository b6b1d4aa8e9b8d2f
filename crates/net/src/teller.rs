//! Events on their way to the slow side, a few at a time.
//!
//! Waking another thread costs as much as sending a datagram, and one call has half a dozen
//! events. So they wait a moment for each other, and go to the slow side as one. What it has read comes
//! back: memory that one thread allocates and another frees is dear for both, and never in a cache.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};

use tokio::sync::mpsc::{self, error::TrySendError};
use trunkline_proxy::{Event, Moment, Outbox, ShardId, event::Batch};

use crate::stats::NetStats;

/// How long an event waits for others: nothing for a person, a long time for a shard.
const TOGETHER_FOR: Duration = Duration::from_millis(50);
/// So many do not wait.
pub(crate) const TOGETHER_MAX: usize = 256;
/// Batches that were read and wait to be filled again; of more than that, the memory goes.
const READ_MAX: usize = 4;

pub(crate) struct Teller {
    shard: ShardId,
    events: mpsc::Sender<Batch>,
    /// Of those that wait in the outbox, so many were looked at.
    heard: usize,
    read: Receiver<Batch>,
    /// When they have waited long enough; `NEVER`: none waits.
    due: Moment,
    stats: Arc<NetStats>,
}

impl Teller {
    /// The other end of what comes back takes each batch once it was read.
    pub(crate) fn new(
        shard: ShardId,
        events: mpsc::Sender<Batch>,
        read: Receiver<Batch>,
        stats: Arc<NetStats>,
    ) -> Self {
        Teller {
            shard,
            events,
            heard: 0,
            read,
            due: Moment::NEVER,
            stats,
        }
    }

    /// How many of those that wait were [heard](Self::hear).
    #[inline]
    pub(crate) fn heard(&self) -> usize {
        self.heard
    }

    /// All that waits: what is new of it.
    #[inline]
    pub(crate) fn hear<'e>(&mut self, now: Moment, waiting: &'e [Event]) -> &'e [Event] {
        let new = waiting.get(self.heard..).unwrap_or_default();
        if !new.is_empty() {
            self.heard = waiting.len();
            self.due = self.due.min(now + TOGETHER_FOR);
        }
        new
    }

    /// When [`tick`](Self::tick) has something to do; `NEVER`: not by itself.
    #[inline]
    pub(crate) fn deadline(&self) -> Moment {
        self.due
    }

    /// Passes on what has waited long enough.
    #[inline]
    pub(crate) fn tick(&mut self, now: Moment, out: &mut Outbox) {
        if self.due <= now {
            self.flush(out);
        }
    }

    /// Passes on everything that was told. The telephone outranks the bookkeeping: a full channel costs these
    /// events, no call.
    pub(crate) fn flush(&mut self, out: &mut Outbox) {
        (self.due, self.heard) = (Moment::NEVER, 0);
        let waiting = out.events().len();
        if waiting == 0 {
            return;
        }
        let room = match self.read.try_recv() {
            Ok(Batch { events, .. }) => events,
            // As many as now will be there next time.
            Err(_) => Vec::with_capacity(waiting),
        };
        let batch = Batch {
            shard: self.shard,
            events: out.take_events(room),
        };
        if let Err(TrySendError::Full(lost) | TrySendError::Closed(lost)) =
            self.events.try_send(batch)
        {
            self.stats.events_dropped.add(lost.events.len() as u64);
            out.take_events(lost.events);
        }
    }
}

/// The way back of batches that were read.
pub(crate) fn way_back() -> (SyncSender<Batch>, Receiver<Batch>) {
    sync_channel(READ_MAX)
}

#[cfg(test)]
mod tests {
    use trunkline_proxy::{
        Hop, ListenerId,
        event::{CallRecord, Direction},
        settings::TrunkId,
    };
    use trunkline_sip::Transport;

    use super::*;

    fn record(status: u16) -> CallRecord {
        CallRecord {
            names: Default::default(),
            source: Hop {
                transport: Transport::Udp,
                listener: ListenerId(0),
                remote: ([127, 0, 0, 1], 5060).into(),
                connection: None,
            },
            direction: Direction::Origination,
            trunk: TrunkId(0),
            status,
            own: false,
            attempts: Default::default(),
            first_ring: None,
            took: Duration::ZERO,
            why: "",
            drill: None,
        }
    }

    /// The record of a batch, and where it and the batch are.
    fn seen(batch: &Batch) -> (u16, [*const (); 2]) {
        let Some(Event::CallSetUp(record)) = batch.events.first() else {
            panic!("{batch:?} has no record");
        };
        let at = [
            batch.events.as_ptr().cast(),
            std::ptr::from_ref(&**record).cast(),
        ];
        (record.status, at)
    }

    #[test]
    fn what_was_read_is_the_memory_of_what_comes_next() {
        let (events, mut told) = mpsc::channel(2);
        let (read, way_back) = way_back();
        let mut teller = Teller::new(ShardId(3), events, way_back, Arc::default());
        let mut out = Outbox::new();
        let now = Moment::EPOCH;
        let mut places = Vec::new();
        for status in 200..206 {
            out.tell_call(|it| *it = record(status));
            assert_eq!(teller.hear(now, out.events()).len(), 1);
            teller.tick(now + TOGETHER_FOR, &mut out);
            let batch = told.try_recv().expect("it was time");
            let (code, place) = seen(&batch);
            assert_eq!((batch.shard, code), (ShardId(3), status));
            places.push(place);
            read.try_send(batch).expect("there is room");
        }
        // What the first ones bring is there when the next but one is filled.
        assert_eq!(places[2..4], places[4..6]);
    }

    #[test]
    fn a_full_channel_costs_events_and_no_memory() {
        let (events, _told) = mpsc::channel(1);
        let (_read, way_back) = way_back();
        let stats = Arc::new(NetStats::default());
        let mut teller = Teller::new(ShardId(0), events, way_back, Arc::clone(&stats));
        let (now, mut out) = (Moment::EPOCH, Outbox::new());
        for status in 200..203 {
            out.tell_call(|it| *it = record(status));
            teller.hear(now, out.events());
            let told: *const Event = out.events().as_ptr();
            teller.flush(&mut out);
            out.tell(Event::Parked);
            // The first batch waits to be read, those that were lost are the memory of the next.
            assert_eq!(out.events().as_ptr() == told, status > 200);
            out.clear();
        }
        assert_eq!(stats.events_dropped.get(), 2);
    }
}
