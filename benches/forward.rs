//! One INVITE through the whole proxy: parse, admit, plan, edit, write out.
//!
//! The budget is 3 µs and 4 heap allocations for a 1 kB INVITE (`benches/README.md`). The 100
//! Trying that answers it is written in the same turn and is part of the figure.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use divan::{AllocProfiler, Bencher, counter::ItemsCount};
use trunkline_benches::{call_of, carrier_hop, routing};
use trunkline_proxy::{Clock, Input, Outbox, Proxy, Seed, ShardId, Shared};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

fn proxy(start: Instant) -> Proxy {
    let clock = Clock {
        at: start,
        unix: 1_800_000_000,
    };
    Proxy::new(
        ShardId(0),
        clock,
        routing(),
        Seed {
            cluster: [1; 16],
            process: [2; 16],
        },
        Shared::new(1, start),
    )
}

/// In steady state: the tables and arenas have the room they need, as they have after the first
/// seconds of traffic, and calls come to rest as fast as they begin.
#[divan::bench(sample_size = 512, sample_count = 100)]
fn invite(bencher: Bencher<'_, '_>) {
    let start = Instant::now();
    let world = RefCell::new(World {
        proxy: proxy(start),
        out: Outbox::new(),
        now: start,
        number: 0,
    });
    bencher
        .counter(ItemsCount::new(1u32))
        .with_inputs(|| {
            let mut world = world.borrow_mut();
            // The inputs of a sample are made before its time is taken.
            if world.number.is_multiple_of(512) {
                world.rest();
            }
            world.number += 1;
            let mut text = Vec::new();
            call_of(world.number, &mut text);
            text
        })
        .bench_local_values(|text| {
            let World {
                proxy, out, now, ..
            } = &mut *world.borrow_mut();
            proxy.handle(
                *now,
                Input::Message {
                    from: carrier_hop(),
                    bytes: &text,
                },
                out,
            );
            out.clear();
            text
        });
}

struct World {
    proxy: Proxy,
    out: Outbox,
    now: Instant,
    number: u64,
}

impl World {
    /// Lets every call end: nobody answers, the caller hears 503, everything is forgotten.
    fn rest(&mut self) {
        while let (false, Some(due)) = (self.proxy.is_idle(), self.proxy.next_deadline()) {
            self.now = due.max(self.now);
            self.proxy.handle(self.now, Input::Deadline, &mut self.out);
            self.out.clear();
        }
        self.now += Duration::from_secs(400);
        self.proxy.handle(self.now, Input::Deadline, &mut self.out);
        self.out.clear();
    }
}

/// A stray response: what a flood of forged branches costs.
#[divan::bench]
fn stray_response(bencher: Bencher<'_, '_>) {
    let start = Instant::now();
    let mut proxy = proxy(start);
    let mut out = Outbox::new();
    let text = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n\
        From: <sip:a@b>;tag=1\r\nTo: <sip:b@c>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";
    bencher.bench_local(|| {
        proxy.handle(
            start,
            Input::Message {
                from: carrier_hop(),
                bytes: text,
            },
            &mut out,
        );
        out.clear();
    });
}

/// A packet from a source that nobody allowed: at most 1/20 of a routed call.
#[divan::bench]
fn unknown_source(bencher: Bencher<'_, '_>) {
    let start = Instant::now();
    let mut proxy = proxy(start);
    let mut out = Outbox::new();
    let mut text = Vec::new();
    call_of(1, &mut text);
    let from = trunkline_proxy::Hop {
        remote: ([192, 0, 2, 200], 5060).into(),
        ..carrier_hop()
    };
    bencher.bench_local(|| {
        proxy.handle(start, Input::Message { from, bytes: &text }, &mut out);
        out.clear();
    });
}
