//! One shard's worth of SIP proxy: the one `match` over everything that can happen to it.

use std::{sync::Arc, time::{Duration, Instant}};

use crate::{
    event::{HealthState, Peer},
    hop::{Hop, HopLoss, ShardId},
    outbox::Outbox,
    question::{Answer, AskId},
    routing::Routing,
};

/// Something that happened outside.
#[derive(Debug)]
pub enum Input<'a> {
    /// One whole message: a datagram, or one frame of a stream.
    Message {
        /// Who sent it, and over what.
        from: Hop,
        /// Its bytes.
        bytes: &'a [u8],
    },
    /// A hop cannot be used: refused, reset, unreachable, too slow to connect. For datagrams and
    /// failed connects `connection` is `None`.
    HopLost {
        /// Which.
        hop: Hop,
        /// Why.
        why: HopLoss,
    },
    /// The answer to an [`Effect::Ask`](crate::Effect::Ask).
    Answer {
        /// To which.
        ask: AskId,
        /// What came back.
        answer: Answer,
    },
    /// A new snapshot: file or DNS changed.
    Routing(Arc<Routing>),
    /// Another shard has seen a candidate change.
    PeerHealth {
        /// Which.
        peer: Peer,
        /// What it is now.
        is: HealthState,
    },
    /// Take no new calls, finish what runs.
    Drain,
    /// `now` has reached [`Proxy::next_deadline`].
    Deadline,
}

/// The secrets and the chance of one process.
#[derive(Clone)]
pub struct Seed {
    /// Keys dialog tokens; the same on every node of a cluster and after a restart.
    pub cluster: [u8; 16],
    /// Keys branches and table hashes; new for every process.
    pub process: [u8; 16],
}

/// Ties the monotonic clock to wall time, which tokens carry.
#[derive(Copy, Clone, Debug)]
pub struct Clock {
    /// A moment of the monotonic clock.
    pub at: Instant,
    /// The same moment in seconds since 1970.
    pub unix: u64,
}
/// One shard's worth of SIP proxy. Performs no I/O and owns no clock.
pub struct Proxy { routing: Arc<Routing> }

/// Which timer a deadline belongs to (a label; see `timer`).
pub type Timer = &'static str;

impl Proxy {
    /// A proxy with nothing in work.
    pub fn new(_shard: ShardId, _clock: Clock, routing: Arc<Routing>, _seed: Seed) -> Self { Proxy { routing } }
    /// Applies one input. Everything that should happen as a result is in `out` on return. `now` never decreases.
    pub fn handle(&mut self, _now: Instant, _input: Input<'_>, _out: &mut Outbox) {}
    /// When to call `handle` with [`Input::Deadline`]. Changes only inside `handle`.
    pub fn next_deadline(&self) -> Option<Instant> { None }
    /// Whether nothing is in work: no context, no timer that matters. Established calls do not count.
    pub fn is_idle(&self) -> bool { true }
    /// The sizes of all tables.
    pub fn load(&self) -> crate::event::Load { Default::default() }
    /// The health of every known candidate, for status.
    pub fn peers(&self) -> impl Iterator<Item = (Peer, HealthState)> + '_ { std::iter::empty() }
}
