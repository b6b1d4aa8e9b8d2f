//! Whole calls through the proxy without a network, message by message: INVITE, 180, 200, ACK, BYE,
//! 200, and the timers that they leave behind.
//!
//! Calls follow each other at [`RATE`], long enough for every table and lane to be in its steady
//! state. `cargo bench -p trunkline-benches --bench call -- [CALLS [WARM_UP]]` prints time and heap
//! allocations of each step. For instructions, each step is a function of its own that nothing inlines:
//!
//! ```text
//! valgrind --tool=callgrind --collect-atstart=no --toggle-collect='call::invite' BENCH 500 2000
//! ```

use std::time::{Duration, Instant};

use allocation_counter::measure;
use trunkline_benches::{call_of, carrier_hop, routing};
use trunkline_proxy::{Clock, Hop, Input, Outbox, Proxy, Seed, ShardId, Shared};

/// Calls a second.
const RATE: u32 = 100;

/// Calls that come before any is measured: Timer C, the longest that a call leaves, lasts 180 s.
const WARM_UP: u64 = 200 * RATE as u64;

fn main() {
    let calls: u64 = std::env::args()
        .skip(1)
        .find_map(|word| word.parse().ok())
        .unwrap_or(20_000);
    let warm_up: u64 = std::env::args()
        .skip(2)
        .find_map(|word| word.parse().ok())
        .unwrap_or(WARM_UP);
    let mut world = World::new();
    for _ in 0..warm_up {
        world.call(&mut |_, world, input| world.proxy.handle(world.now, input, &mut world.out));
    }
    let mut sums = [(Duration::ZERO, 0u64); Step::ALL.len()];
    for _ in 0..calls {
        world.call(&mut |step, world, input| {
            let (time, allocations) = &mut sums[step as usize];
            let mut took = Duration::ZERO;
            let info = measure(|| {
                let start = Instant::now();
                step.run(world, input);
                took = start.elapsed();
            });
            *time += took;
            *allocations += info.count_total;
        });
    }
    let mut whole = Duration::ZERO;
    println!("{calls} calls; a step takes µs, and allocates so often");
    for step in Step::ALL {
        let (time, allocations) = sums[step as usize];
        whole += time;
        println!(
            "{:<10} {:>7.3} {:>7.3}",
            step.word(),
            time.as_secs_f64() * 1e6 / calls as f64,
            allocations as f64 / calls as f64
        );
    }
    println!(
        "{:<10} {:>7.3}",
        "call",
        whole.as_secs_f64() * 1e6 / calls as f64
    );
}

/// What happens in a call, in order.
#[derive(Copy, Clone)]
enum Step {
    Invite,
    Ringing,
    Answer,
    Ack,
    Bye,
    ByeAnswer,
    Timers,
}

impl Step {
    const ALL: [Step; 7] = [
        Step::Invite,
        Step::Ringing,
        Step::Answer,
        Step::Ack,
        Step::Bye,
        Step::ByeAnswer,
        Step::Timers,
    ];

    const fn word(self) -> &'static str {
        match self {
            Step::Invite => "INVITE",
            Step::Ringing => "180",
            Step::Answer => "200",
            Step::Ack => "ACK",
            Step::Bye => "BYE",
            Step::ByeAnswer => "200 (BYE)",
            Step::Timers => "timers",
        }
    }

    fn run(self, world: &mut World, input: Input<'_>) {
        match self {
            Step::Invite => invite(world, input),
            Step::Ringing => ringing(world, input),
            Step::Answer => answer(world, input),
            Step::Ack => ack(world, input),
            Step::Bye => bye(world, input),
            Step::ByeAnswer => bye_answer(world, input),
            Step::Timers => timers(world, input),
        }
    }
}

macro_rules! steps {
    ($($name:ident)*) => {
        $(#[inline(never)]
        fn $name(world: &mut World, input: Input<'_>) {
            // Without a name of its own in it, the compiler would make all of them one.
            std::hint::black_box(stringify!($name));
            world.proxy.handle(world.now, input, &mut world.out);
        })*
    };
}

steps! { invite ringing answer ack bye bye_answer timers }

struct World {
    proxy: Proxy,
    out: Outbox,
    now: Instant,
    number: u64,
    text: Vec<u8>,
}

impl World {
    fn new() -> Self {
        let start = Instant::now();
        let clock = Clock {
            at: start,
            unix: 1_800_000_000,
        };
        let seed = Seed {
            cluster: [1; 16],
            process: [2; 16],
        };
        World {
            proxy: Proxy::new(ShardId(0), clock, routing(), seed, Shared::new(1, start)),
            out: Outbox::new(),
            now: start,
            number: 0,
            text: Vec::new(),
        }
    }

    /// One call from its INVITE to its end, and what time brings until the next begins.
    fn call(&mut self, run: &mut dyn FnMut(Step, &mut World, Input<'_>)) {
        self.number += 1;
        let mut text = std::mem::take(&mut self.text);
        call_of(self.number, &mut text);
        let (callee, invite) = self.put(Step::Invite, carrier_hop(), &text, run);
        self.put(
            Step::Ringing,
            callee,
            &response(&invite, "180 Ringing"),
            run,
        );
        let ok = response(&invite, "200 OK");
        self.put(Step::Answer, callee, &ok, run);
        self.put(Step::Ack, carrier_hop(), &inside(&ok, "ACK", 1), run);
        let (callee, bye) = self.put(Step::Bye, carrier_hop(), &inside(&ok, "BYE", 2), run);
        self.put(Step::ByeAnswer, callee, &response(&bye, "200 OK"), run);
        self.text = text;
        self.now += Duration::from_secs(1) / RATE;
        while self
            .proxy
            .next_deadline()
            .is_some_and(|due| due <= self.now)
        {
            run(Step::Timers, self, Input::Deadline);
            self.out.clear();
        }
    }

    /// The last message that is sent because of this one.
    fn put(
        &mut self,
        step: Step,
        from: Hop,
        bytes: &[u8],
        run: &mut dyn FnMut(Step, &mut World, Input<'_>),
    ) -> (Hop, Vec<u8>) {
        run(step, self, Input::Message { from, bytes });
        let (sends, arena) = self.out.sends();
        let sent = sends.last().map(|it| (it.to, it.within(arena).to_vec()));
        self.out.clear();
        sent.unwrap_or_else(|| panic!("{} went nowhere", step.word()))
    }
}

/// The header lines of a message, start line left out.
fn headers(message: &str) -> impl Iterator<Item = &str> {
    message
        .split("\r\n")
        .skip(1)
        .take_while(|line| !line.is_empty())
}

/// What a PBX answers.
fn response(request: &[u8], status: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(request);
    let mut out = format!("SIP/2.0 {status}\r\n");
    for line in headers(&text) {
        let copied = ["Via:", "From:", "To:", "Call-ID:", "CSeq:", "Record-Route:"];
        if copied.iter().any(|name| line.starts_with(name)) {
            out += line;
            if line.starts_with("To:") && !line.contains(";tag=") {
                out += ";tag=as58f4a9d2";
            }
            out += "\r\n";
        }
    }
    out += "Contact: <sip:+15551234567@10.0.2.1:5060>\r\nServer: Example PBX 18.2\r\n\
        Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY, INFO\r\nSupported: replaces, timer\r\n";
    let body = "v=0\r\no=- 4711 4711 IN IP4 10.0.2.1\r\ns=pbx\r\nc=IN IP4 10.0.2.1\r\nt=0 0\r\n\
        m=audio 18000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\na=sendrecv\r\n";
    if status.starts_with("200") && text.starts_with("INVITE") {
        out += &format!(
            "Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
    } else {
        out += "Content-Length: 0\r\n\r\n";
    }
    out.into_bytes()
}

/// What the caller sends inside the dialog that this 200 began: along its Record-Route.
fn inside(ok: &[u8], method: &str, number: u32) -> Vec<u8> {
    let text = String::from_utf8_lossy(ok);
    let mut out = format!("{method} sip:+15551234567@10.0.2.1:5060 SIP/2.0\r\n");
    let call_id = headers(&text).find_map(|line| line.strip_prefix("Call-ID: "));
    let call_id = call_id.unwrap_or_default();
    out += &format!(
        "Via: SIP/2.0/UDP 54.172.60.1:5060;branch=z9hG4bK{number}{call_id};rport\r\n\
         Via: SIP/2.0/UDP 172.18.33.210:5060;rport=5060;branch=z9hG4bK{number}89ef\r\n\
         Max-Forwards: 69\r\n"
    );
    for line in headers(&text) {
        // The carrier's own Record-Route is below ours, and behind whom the request comes from.
        if let Some(route) = line
            .strip_prefix("Record-Route:")
            .filter(|route| route.contains(";tl="))
        {
            out += &format!("Route:{route}\r\n");
        } else if ["From:", "To:", "Call-ID:"]
            .iter()
            .any(|name| line.starts_with(name))
        {
            out += &format!("{line}\r\n");
        }
    }
    out += &format!(
        "CSeq: {number} {method}\r\nUser-Agent: Example Gateway\r\nContent-Length: 0\r\n\r\n"
    );
    out.into_bytes()
}
