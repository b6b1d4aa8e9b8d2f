//! What one shard's sockets may hold.

use std::time::Duration;

use trunkline_sip::Limits;

/// Limits of one shard. Reaching one is counted in [`NetStats`](crate::NetStats).
#[derive(Clone, Debug)]
pub struct NetLimits {
    /// Of one message. On streams a longer one ends the connection.
    pub message: Limits,
    /// Stream connections, accepted and dialled.
    pub connections: usize,
    /// Accepted connections from one address.
    pub connections_per_source: usize,
    /// A connection over which no whole message came or went for so long is closed.
    pub idle: Duration,
    /// An accepted connection must bring its first whole message within this time, and every
    /// later message must be whole this long after its first byte.
    pub first_message: Duration,
    /// Bytes waiting to be written to one connection; beyond it the connection is closed.
    pub connection_queue: usize,
    /// Datagrams waiting in a socket that takes no more; beyond it they are dropped.
    pub datagram_queue: usize,
    /// Events on their way to the slow side; beyond it they are dropped.
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
