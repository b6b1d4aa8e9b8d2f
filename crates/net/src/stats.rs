//! Counters that a shard keeps and anybody may read.

use std::sync::atomic::{AtomicU64, Ordering};

/// One number. Written by one shard, read by whoever shows metrics.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// What it says now.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn add(&self, more: u64) {
        // One thread writes, so nothing is lost between the two, and no other core is asked.
        self.0
            .store(self.get().wrapping_add(more), Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// What went through a shard's sockets, and what was refused or dropped there.
#[derive(Debug, Default)]
pub struct NetStats {
    /// Datagrams received, keep-alives included.
    pub datagrams_in: Count,
    /// Datagrams that the system dropped at our sockets while a fence stood there: those of the fenced, and
    /// such as found the buffer full meanwhile.
    pub datagrams_fenced: Count,
    /// Datagrams that found the receive buffer of a socket full while no fence stood there.
    pub datagrams_overflowed: Count,
    /// Datagrams handed to the system.
    pub datagrams_out: Count,
    /// Whole messages read from streams.
    pub stream_messages_in: Count,
    /// Messages put on streams.
    pub stream_messages_out: Count,
    /// Bytes received, all transports.
    pub bytes_in: Count,
    /// Bytes handed to the system, all transports.
    pub bytes_out: Count,
    /// Keep-alives answered or dropped (RFC 5626).
    pub keep_alives: Count,
    /// ICMP errors read from error queues.
    pub icmp_errors: Count,
    /// Messages that were not sent: a full queue, no route, no such listener.
    pub sends_dropped: Count,
    /// Messages too large for a datagram.
    pub oversize: Count,
    /// Connections open now; a gauge.
    pub connections: Count,
    /// Connections accepted.
    pub connections_accepted: Count,
    /// Connections dialled.
    pub connections_dialled: Count,
    /// Connections not accepted or not dialled because of a limit.
    pub connections_refused: Count,
    /// Connections closed because nothing whole had come by them yet and others needed the room.
    pub connections_evicted: Count,
    /// Connections closed because nothing whole came in time.
    pub connections_idle: Count,
    /// Connections closed because what came could not be read as SIP.
    pub connections_broken: Count,
    /// Connections closed because the peer read too slowly.
    pub connections_stuffed: Count,
    /// Events dropped because the slow side did not keep up.
    pub events_dropped: Count,
    /// Questions failed at once because the slow side did not keep up.
    pub questions_failed: Count,
    /// What went to other shards of this process: messages of their calls, messages for their
    /// connections, losses, health.
    pub posts: Count,
    /// What did not, because the other shard does not keep up.
    pub posts_dropped: Count,
}
