//! What the sockets of a process may hold.

use std::time::Duration;

use trunkline_sip::Limits;

/// Fewer connections than this from one address are refused by no shard of several: the system does
/// not spread them evenly.
const PER_SOURCE_MIN: usize = 64;

/// Limits of a process. Reaching one is counted in [`NetStats`](crate::NetStats).
#[derive(Clone, Debug)]
pub struct NetLimits {
    /// Of one message. On streams a longer one ends the connection.
    pub message: Limits,
    /// Stream connections, accepted and dialled. Each shard may have an equal share of them. When it
    /// is used up, the oldest accepted one that never brought a whole message makes room.
    pub connections: usize,
    /// Accepted connections from one address; shared out as well.
    pub connections_per_source: usize,
    /// A connection over which no whole message came or went for so long is closed.
    pub idle: Duration,
    /// An accepted connection must bring its first whole message within this time, and every
    /// later message must be whole this long after its first byte.
    pub first_message: Duration,
    /// Bytes waiting to be written to one connection; beyond it the connection is closed.
    pub connection_queue: usize,
    /// Datagrams waiting in one socket that takes no more; beyond it they are dropped.
    pub datagram_queue: usize,
    /// Events on their way to the slow side; beyond it they are dropped. They go some 250 at a time, or
    /// fewer every 50 ms.
    pub events: usize,
    /// Questions on their way to the slow side; beyond it they fail at once.
    pub questions: usize,
}

impl Default for NetLimits {
    fn default() -> Self {
        NetLimits {
            message: Limits::default(),
            connections: 10_000,
            connections_per_source: 1_000,
            idle: Duration::from_secs(600),
            first_message: Duration::from_secs(30),
            connection_queue: 1 << 20,
            datagram_queue: 1_024,
            events: 65_536,
            questions: 4_096,
        }
    }
}

impl NetLimits {
    /// What one of so many shards may hold.
    pub(crate) fn share(&self, shards: usize) -> NetLimits {
        let per_source = self.connections_per_source.div_ceil(shards);
        NetLimits {
            connections: self.connections.div_ceil(shards),
            connections_per_source: per_source
                .max(PER_SOURCE_MIN)
                .min(self.connections_per_source),
            ..self.clone()
        }
    }
}
