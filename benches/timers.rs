//! What a timer costs, armed and expired, and what health costs for every packet.
//!
//! One iteration is one timer in a steady flow: 10 000 a second over eight durations, as a busy
//! edge arms them. The heap beside it is what the lanes replaced.

use std::{
    cell::RefCell, cmp::Reverse, collections::BinaryHeap, hint::black_box, net::SocketAddr,
    time::Duration,
};

use divan::Bencher;
use trunkline_proxy::{
    ListenerId, Moment, ShardId,
    event::Peer,
    health::{HealthTable, PeerIx},
    settings::Health,
    timer::Lanes,
};
use trunkline_sip::Transport;

fn main() {
    divan::main();
}

/// T1 and its multiples, the four seconds, 64·T1, Timer C.
const DURATIONS_MS: [u64; 8] = [500, 1000, 2000, 4000, 5000, 28_000, 32_000, 180_000];
/// Between two timers.
const STEP: Duration = Duration::from_micros(100);
/// As many as are in flight once the longest has come round.
const WARM_UP: usize = 2_000_000;

#[divan::bench]
fn lanes(bencher: Bencher<'_, '_>) {
    let mut lanes = Lanes::new();
    let mut now = Moment::EPOCH;
    let mut armed = 0usize;
    let mut turn = move || {
        now += STEP;
        armed += 1;
        let after = Duration::from_millis(DURATIONS_MS[armed % DURATIONS_MS.len()]);
        lanes.arm(now, after, (armed, 0u8));
        while let Some(key) = lanes.pop_expired(now) {
            black_box(key);
        }
        lanes.next()
    };
    (0..WARM_UP).for_each(|_| {
        turn();
    });
    bencher.bench_local(turn);
}

#[divan::bench]
fn binary_heap(bencher: Bencher<'_, '_>) {
    let mut heap = BinaryHeap::new();
    let mut now = Moment::EPOCH;
    let mut armed = 0usize;
    let mut turn = move || {
        now += STEP;
        armed += 1;
        let after = Duration::from_millis(DURATIONS_MS[armed % DURATIONS_MS.len()]);
        heap.push(Reverse((now + after, armed, 0u8)));
        while heap.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            black_box(heap.pop());
        }
        heap.peek().map(|Reverse((at, ..))| *at)
    };
    (0..WARM_UP).for_each(|_| {
        turn();
    });
    bencher.bench_local(turn);
}

/// A turn of the shard in which nothing is due.
#[divan::bench]
fn nothing_due(bencher: Bencher<'_, '_>) {
    let mut lanes = Lanes::new();
    let start = Moment::EPOCH;
    for ms in DURATIONS_MS {
        lanes.arm(start, Duration::from_millis(ms), ms);
    }
    let lanes = RefCell::new(lanes);
    bencher.bench_local(|| lanes.borrow_mut().pop_expired(black_box(start)));
}

/// A table with 3000 candidates, a request sent to one of them and its answer heard.
#[divan::bench]
fn health_of_one_exchange(bencher: Bencher<'_, '_>) {
    let (mut table, all, mut now) = table(3000);
    let mut turn = 0usize;
    bencher.bench_local(move || {
        turn += 1;
        now += STEP;
        let ix = all[turn * 7 % all.len()];
        table.sent(now, ix);
        table.heard(now, ix);
        (table.class(ix, now), table.next_deadline())
    });
}

/// Ten minutes of probes to 3000 candidates.
#[divan::bench(sample_count = 10)]
fn health_of_an_idle_table(bencher: Bencher<'_, '_>) {
    bencher
        .with_inputs(|| table(3000))
        .bench_local_values(|(mut table, _, start)| {
            let end = start + Duration::from_secs(600);
            let (mut changes, mut due, mut probes) = (Vec::new(), Vec::new(), 0);
            while let Some(now) = table.next_deadline().filter(|at| *at < end) {
                table.sweep(now, &mut changes);
                table.due_probes(now, &mut due);
                probes += due.len();
                due.clear();
            }
            probes
        });
}

fn table(size: u16) -> (HealthTable, Vec<PeerIx>, Moment) {
    let settings = Health {
        probe_interval: Some(Duration::from_secs(30)),
        probe_timeout: Duration::from_secs(1),
        suspect_after: Some(Duration::from_secs(1)),
        fail_after: 2,
        slow_start: Duration::from_secs(30),
    };
    let now = Moment::EPOCH;
    let mut table = HealthTable::new(ShardId(0), 1);
    let all = (0..size)
        .map(|number| {
            let peer = Peer {
                transport: Transport::Udp,
                addr: SocketAddr::from(([192, 0, 2, 1], number)),
                listener: ListenerId(0),
            };
            table.intern(peer, settings, now)
        })
        .collect();
    (table, all, now)
}
