//! What a shard carries messages for.

use std::net::IpAddr;

use trunkline_proxy::{Hop, Input, Moment, Outbox, Proxy};

/// Decides what happens. The product's is [`Proxy`]; the tests of this crate bring small ones of
/// their own, so that sockets are proved without a call.
pub trait Brain {
    /// Applies one input; what should happen as a result is in `out` on return. `now` never
    /// decreases.
    fn handle(&mut self, now: Moment, input: Input<'_>, out: &mut Outbox);
    /// As [`handle`](Self::handle), of a [message](Input::Message): most inputs are one.
    #[inline]
    fn hear(&mut self, now: Moment, from: Hop, bytes: &[u8], out: &mut Outbox) {
        self.handle(now, Input::Message { from, bytes }, out);
    }
    /// When it wants [`Input::Deadline`]; [`Moment::NEVER`]: not at all.
    fn next_deadline(&self) -> Moment;
    /// Whether nothing is in work, so that a drained shard may end.
    fn is_idle(&self) -> bool;
    /// Whether it would drop whatever comes from this address, so that a flood from there need not be read.
    /// Asked rarely.
    fn is_stranger(&self, now: Moment, source: IpAddr) -> bool {
        let _ = (now, source);
        false
    }
}

impl Brain for Proxy {
    #[inline]
    fn handle(&mut self, now: Moment, input: Input<'_>, out: &mut Outbox) {
        Proxy::handle_at(self, now, input, out);
    }

    #[inline]
    fn hear(&mut self, now: Moment, from: Hop, bytes: &[u8], out: &mut Outbox) {
        Proxy::hear_at(self, now, from, bytes, out);
    }

    #[inline]
    fn next_deadline(&self) -> Moment {
        Proxy::next_moment(self)
    }

    fn is_idle(&self) -> bool {
        Proxy::is_idle(self)
    }

    fn is_stranger(&self, now: Moment, source: IpAddr) -> bool {
        Proxy::is_stranger_at(self, now, source)
    }
}
