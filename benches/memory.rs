//! What a call costs in memory: in setup, established, and when it is over.
//!
//! Bytes allocated, divided by the calls: tables with their spare room and timers are part of it; and the
//! memory the process really has from the system, which shows what goes back after a peak.
//! `cargo bench -p trunkline-benches --bench memory -- [CALLS]`.

use std::time::{Duration, Instant};

use cap::Cap;
use trunkline_benches::{call_of, carrier_hop, cpu, routing};
use trunkline_proxy::{Clock, Hop, Input, Outbox, Proxy, Seed, ShardId, Shared, event::Load};

#[global_allocator]
static ALLOCATED: Cap<std::alloc::System> = Cap::new(std::alloc::System, usize::MAX);

fn main() {
    let calls: u64 = std::env::args()
        .skip(1)
        .find_map(|word| word.parse().ok())
        .unwrap_or(50_000);
    // On a thread of its own, as a shard: the allocator keeps such threads' memory apart.
    let shard = std::thread::spawn(move || measure(calls));
    if shard.join().is_err() {
        std::process::exit(1);
    }
}

fn measure(calls: u64) {
    let start = Instant::now();
    let clock = Clock {
        at: start,
        unix: 1_800_000_000,
    };
    let mut world = World {
        proxy: Proxy::new(
            ShardId(0),
            clock,
            routing(),
            Seed {
                cluster: [1; 16],
                process: [2; 16],
            },
            Shared::new(1, start),
        ),
        out: Outbox::new(),
        now: start,
        text: Vec::new(),
    };
    world.call(u64::MAX);
    let empty = held();
    println!("resident: {} MiB before", resident_mib());
    println!("{calls} calls, a 1 kB INVITE each; allocated bytes beyond an empty proxy's:");
    for number in 0..calls {
        world.call(number);
    }
    report(
        "in setup (nobody has answered)",
        calls,
        empty,
        &world.proxy.load(),
        4096,
    );
    world.answer();
    report(
        "just answered (transactions linger 32 s)",
        calls,
        empty,
        &world.proxy.load(),
        4096,
    );
    world.pass(Duration::from_secs(70));
    report("established", calls, empty, &world.proxy.load(), 512);
    for number in 0..calls {
        world.hang_up(number);
    }
    // Timer C of the last attempt is the timer that lasts longest.
    world.pass(Duration::from_secs(200));
    report("over, at rest", calls, empty, &world.proxy.load(), 0);
}

fn report(what: &str, calls: u64, empty: u64, load: &Load, budget: u64) {
    let more = held().saturating_sub(empty);
    println!(
        "{what:<42} {:>6} bytes a call (budget {budget}), resident {} MiB; contexts {}, calls {}, timers {}",
        more / calls,
        resident_mib(),
        load.contexts,
        load.calls_active,
        load.timers
    );
}

/// What the process has from the system now.
fn resident_mib() -> u64 {
    cpu::resident(std::process::id()) >> 20
}

/// Bytes that are allocated now.
fn held() -> u64 {
    ALLOCATED.allocated() as u64
}

struct World {
    proxy: Proxy,
    out: Outbox,
    now: Instant,
    text: Vec<u8>,
}

impl World {
    fn put(&mut self, from: Hop, text: &[u8]) -> Vec<(Hop, Vec<u8>)> {
        self.proxy.handle(
            self.now,
            Input::Message { from, bytes: text },
            &mut self.out,
        );
        let (sends, arena) = self.out.sends();
        let sends = sends.iter().map(|it| (it.to, it.within(arena).to_vec()));
        let sends = sends.collect();
        self.out.clear();
        sends
    }

    fn call(&mut self, number: u64) -> Vec<(Hop, Vec<u8>)> {
        let mut text = std::mem::take(&mut self.text);
        call_of(number & 0xffff_ffff, &mut text);
        let sends = self.put(carrier_hop(), &text);
        self.text = text;
        sends
    }

    /// Answers every open attempt, when Timer A brings its INVITE by once more.
    fn answer(&mut self) {
        let end = self.now + Duration::from_millis(600);
        while let Some(due) = self.proxy.next_deadline().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.proxy.handle(self.now, Input::Deadline, &mut self.out);
            let (sends, arena) = self.out.sends();
            let invites: Vec<(Hop, Vec<u8>)> = sends
                .iter()
                .map(|it| (it.to, it.within(arena)))
                .filter(|(_, bytes)| bytes.starts_with(b"INVITE"))
                .map(|(to, bytes)| (to, bytes.to_vec()))
                .collect();
            self.out.clear();
            for (callee, invite) in invites {
                let ok = answer_to(&invite);
                self.put(callee, &ok);
            }
        }
    }

    fn hang_up(&mut self, number: u64) {
        call_of(number, &mut self.text);
        let text = String::from_utf8_lossy(&self.text).into_owned();
        let bye = text
            .replacen("INVITE sip:", "BYE sip:", 1)
            .replacen("1 INVITE", "2 BYE", 1)
            .replacen("z9hG4bK", "z9hG4bKbye", 1)
            .replacen(
                "To: <sip:+15551234567@203.0.113.5;user=phone>",
                "To: <sip:+15551234567@203.0.113.5;user=phone>;tag=callee",
                1,
            )
            .replacen("Contact", "X-Contact", 1);
        for (callee, request) in self.put(carrier_hop(), bye.as_bytes()) {
            if request.starts_with(b"BYE") {
                let ok = answer_to(&request);
                self.put(callee, &ok);
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.proxy.next_deadline().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.proxy.handle(self.now, Input::Deadline, &mut self.out);
            self.out.clear();
        }
        self.now = end;
    }
}

/// A 200 to a request, as a PBX writes it.
fn answer_to(request: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(request);
    let mut ok = String::from("SIP/2.0 200 OK\r\n");
    for line in text.split("\r\n").take_while(|line| !line.is_empty()) {
        let copied = ["Via:", "From:", "Call-ID:", "CSeq:", "Record-Route:"];
        if copied.iter().any(|name| line.starts_with(name)) {
            ok += &format!("{line}\r\n");
        } else if line.starts_with("To:") {
            let tag = if line.contains(";tag=") {
                ""
            } else {
                ";tag=callee"
            };
            ok += &format!("{line}{tag}\r\n");
        }
    }
    ok += "Contact: <sip:+15551234567@10.0.2.1:5060>\r\nContent-Length: 0\r\n\r\n";
    ok.into_bytes()
}
