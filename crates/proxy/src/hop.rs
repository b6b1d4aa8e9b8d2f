//! Where a message came from or goes to.

use std::{fmt, net::SocketAddr, num::NonZeroU64};

use trunkline_sip::Transport;

use crate::event::Peer;

/// One data-path thread. Part of every branch we write, so that a response finds its way home.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardId(pub u8);

/// A listener: its place in [`Settings::listeners`](crate::Settings::listeners).
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ListenerId(pub u16);

/// One stream connection of the net layer. Numbers are not used again while the process lives.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(NonZeroU64);

impl ConnectionId {
    /// The connection of this number. None has 0, so that a hop without a connection is no longer than one with: 0
    /// counts as the last one.
    pub const fn new(number: u64) -> Self {
        ConnectionId(match NonZeroU64::new(number) {
            Some(number) => number,
            None => NonZeroU64::MAX,
        })
    }

    /// Its number.
    #[inline]
    pub const fn number(self) -> u64 {
        self.0.get()
    }
}

/// One next or previous hop: a peer's address and the listener of ours that speaks with it.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Hop {
    /// The protocol between us.
    pub transport: Transport,
    /// Which of our listeners.
    pub listener: ListenerId,
    /// The peer's address.
    pub remote: SocketAddr,
    /// For streams: this connection if it still lives, else (and for `None`) any connection from
    /// `listener` to `remote`, opened when there is none (RFC 3261 §18.2.2).
    pub connection: Option<ConnectionId>,
}

impl Hop {
    /// What the health of who is there is kept by.
    pub fn peer(&self) -> Peer {
        Peer {
            transport: self.transport,
            addr: self.remote,
            listener: self.listener,
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.param(), self.remote)
    }
}

/// Why a hop cannot be used.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum HopLoss {
    /// ICMP says that host, network or port is unreachable (UDP).
    Unreachable,
    /// The peer refused the connection.
    Refused,
    /// The peer did not accept the connection within the connect timeout.
    ConnectTimeout,
    /// An open connection was reset or closed.
    Closed,
    /// A limit of ours (connections, bytes waiting to be written) was reached.
    Limit,
    /// TLS could not be agreed.
    Tls,
}

impl HopLoss {
    /// For logs and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            HopLoss::Unreachable => "unreachable",
            HopLoss::Refused => "refused",
            HopLoss::ConnectTimeout => "connect_timeout",
            HopLoss::Closed => "closed",
            HopLoss::Limit => "limit",
            HopLoss::Tls => "tls",
        }
    }
}
