//! A proxy between peers that do as they are told, without sockets and clock.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use trunkline_proxy::{Clock, Hop, Input, Outbox, Proxy, Routing, Seed, ShardId, Shared};

use crate::peers::{Scene, answer};

/// What callgrind is told to count inside of.
pub const COUNTED_FUNCTION: &str = "*trunkline_benches::world::counted*";

/// Messages and where they went.
pub type Sent = Vec<(Hop, Vec<u8>)>;

/// [`Proxy::handle`], where instructions are counted.
#[inline(never)]
fn counted(proxy: &mut Proxy, now: Instant, input: Input<'_>, out: &mut Outbox) {
    proxy.handle(now, input, out);
    // Not a tail call: a jump would leave the counted function before its work is done.
    black_box(());
}

/// One proxy, and the time it is told.
pub struct World {
    /// The proxy.
    pub proxy: Proxy,
    /// Now, for it.
    pub now: Instant,
    /// How long it has worked on inputs that count.
    pub inside: Duration,
    out: Outbox,
}

impl World {
    /// A proxy with nothing in work; its chance is always the same.
    pub fn new(routing: Arc<Routing>) -> World {
        let now = Instant::now();
        let clock = Clock {
            at: now,
            unix: 1_800_000_000,
        };
        let seed = Seed {
            cluster: [1; 16],
            process: [2; 16],
        };
        World {
            proxy: Proxy::new(ShardId(0), clock, routing, seed, Shared::new(1, now)),
            now,
            inside: Duration::ZERO,
            out: Outbox::new(),
        }
    }

    /// Gives the proxy one message, a millisecond after what was before; what it sends.
    pub fn put(&mut self, counts: bool, from: Hop, bytes: &[u8]) -> Sent {
        self.now += Duration::from_millis(1);
        self.handle(counts, Input::Message { from, bytes })
    }

    /// Lets time pass, with every timer that is due; what they send.
    pub fn pass(&mut self, counts: bool, until: Instant) -> Sent {
        let mut sent = Sent::new();
        while let Some(due) = self.proxy.next_deadline().filter(|due| *due <= until) {
            self.now = due.max(self.now);
            sent.extend(self.handle(counts, Input::Deadline));
        }
        self.now = until.max(self.now);
        sent
    }

    /// Gives the proxy one input; what it sends.
    pub fn handle(&mut self, counts: bool, input: Input<'_>) -> Sent {
        if counts {
            let begin = Instant::now();
            counted(&mut self.proxy, self.now, input, &mut self.out);
            self.inside += begin.elapsed();
        } else {
            self.proxy.handle(self.now, input, &mut self.out);
        }
        let (sends, arena) = self.out.sends();
        let sent = sends.iter().map(|it| (it.to, it.within(arena).to_vec()));
        let sent = sent.collect();
        self.out.clear();
        sent
    }

    /// One call that goes well, from the INVITE to the answer to its BYE; its timers are not waited for.
    ///
    /// # Panics
    /// When the proxy does not forward what it should.
    pub fn call(&mut self, counts: bool, carrier: Hop, scene: &Scene, number: u64) {
        let ok = self.set_up(counts, carrier, scene, number);
        let sent = self.put(counts, carrier, &scene.within("BYE", 2, &ok));
        let (target, bye) = forwarded(&sent);
        self.put(counts, target, &answer(&bye, "200 OK", "10.0.2.1:5060"));
    }

    /// The first half of one: up to the ACK. The 200 as the caller got it.
    ///
    /// # Panics
    /// When the proxy does not forward what it should.
    pub fn set_up(&mut self, counts: bool, carrier: Hop, scene: &Scene, number: u64) -> Vec<u8> {
        let sent = self.put(counts, carrier, &scene.invite(number));
        let (target, invite) = forwarded(&sent);
        let contact = target.remote.to_string();
        self.put(counts, target, &answer(&invite, "180 Ringing", &contact));
        let sent = self.put(counts, target, &answer(&invite, "200 OK", &contact));
        let [(_, ok)] = &sent[..] else {
            panic!("a 200 is forwarded, and nothing else is said");
        };
        self.put(counts, carrier, &scene.within("ACK", 1, ok));
        ok.clone()
    }
}

/// The one forwarded request among what was sent, and where it went.
///
/// # Panics
/// When there is none.
pub fn forwarded(sent: &[(Hop, Vec<u8>)]) -> (Hop, Vec<u8>) {
    let is_request = |bytes: &[u8]| bytes.starts_with(b"INVITE ") || bytes.starts_with(b"BYE ");
    let found = sent.iter().find(|(_, bytes)| is_request(bytes));
    found.cloned().expect("a request is forwarded")
}
