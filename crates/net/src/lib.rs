//! Sockets: the only code that speaks SIP over the wire.
//!
//! A shard ([`spawn`]) is one thread that owns a [`Proxy`](trunkline_proxy::Proxy), its sockets and
//! its connections; with other shards it talks by mail. It carries bytes in, carries effects out and decides
//! nothing about a call; of a message it reads only what [`owner`] needs.
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

mod address;
mod alarm;
mod bind;
mod brain;
mod bundle;
mod clock;
mod fence;
mod grid;
mod hands;
mod icmp;
mod limits;
mod mailbox;
mod mmsg;
pub mod owner;
mod poller;
mod shard;
mod sockets;
mod spawn;
mod stats;
mod stream;
mod system;
mod teller;
mod thrift;
mod udp;

pub use bind::{BindError, Bound};
pub use brain::Brain;
pub use limits::NetLimits;
pub use shard::Command;
pub use spawn::{Handles, SpawnError, Threads, spawn};
pub use stats::{Count, NetStats};
