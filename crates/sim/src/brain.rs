//! What the simulator needs of a proxy.
//!
//! Two things implement it: the real [`Proxy`], and the saboteurs in the tests, which break one
//! promise on purpose to show that the check for it bites.

use std::time::Instant;

use trunkline_proxy::{
    Input, Outbox, Proxy,
    event::{HealthState, Load, Peer},
};

/// A proxy as a value: inputs and time in, effects out.
pub trait Brain {
    /// Applies one input; `now` never decreases.
    fn handle(&mut self, now: Instant, input: Input<'_>, out: &mut Outbox);
    /// When it wants `Input::Deadline`.
    fn next_deadline(&self) -> Option<Instant>;
    /// The sizes of its tables.
    fn load(&self) -> Load;
    /// The health of every candidate it knows.
    fn peers(&self) -> Vec<(Peer, HealthState)>;
}

impl Brain for Proxy {
    fn handle(&mut self, now: Instant, input: Input<'_>, out: &mut Outbox) {
        Proxy::handle(self, now, input, out);
    }

    fn next_deadline(&self) -> Option<Instant> {
        Proxy::next_deadline(self)
    }

    fn load(&self) -> Load {
        Proxy::load(self)
    }

    fn peers(&self) -> Vec<(Peer, HealthState)> {
        Proxy::peers(self).collect()
    }
}
