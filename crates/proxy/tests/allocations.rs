//! How often a message makes the proxy ask for memory once its tables have the room they need.

mod common;

use std::time::Duration;

use trunkline_proxy::Input;

use common::{CARRIER, World, inside, invite, line, respond};

/// Calls that come before any is counted: at ten a second, longer than any timer of a call.
const WARM_UP: u32 = 2000;

/// Calls that are counted.
const COUNTED: u32 = 200;

/// What each message may ask for: to be kept (the request itself, an answer for its copies, a call
/// that stands), or to be told (the line of a call, its end).
const STEPS: [(&str, u64); 9] = [
    ("INVITE", 1),
    ("INVITE again", 0),
    ("180", 1),
    ("200", 6),
    ("200 again", 0),
    ("ACK", 0),
    ("BYE", 3),
    ("200 to BYE", 2),
    ("timers", 0),
];

#[test]
fn in_steady_state_only_what_is_kept_or_told_is_allocated() {
    let mut world = World::new();
    let mut sums = [0; STEPS.len()];
    for number in 0..WARM_UP {
        call(&mut world, number, &mut sums);
    }
    sums = [0; STEPS.len()];
    for number in WARM_UP..WARM_UP + COUNTED {
        call(&mut world, number, &mut sums);
    }
    for ((step, at_most), sum) in STEPS.into_iter().zip(sums) {
        // A table that gives room back after a peak may take it again now and then.
        let slack = u64::from(COUNTED / 20);
        assert!(
            sum <= at_most * u64::from(COUNTED) + slack,
            "{step}: {sum} allocations in {COUNTED} calls; {at_most} each are declared"
        );
    }
}

/// One call, from its INVITE to the next; adds up what each step allocated.
fn call(world: &mut World, number: u32, sums: &mut [u64; STEPS.len()]) {
    let id = format!("c{number}");
    let request = invite("sip:+15550100@192.0.2.10", &id, CARRIER);
    let mut put = |world: &mut World, step: usize, from: &str, text: &str| {
        let (now, hop) = (world.now, World::hop(from));
        let input = Input::Message {
            from: hop,
            bytes: text.as_bytes(),
        };
        let mut input = Some(input);
        let counted = allocation_counter::measure(|| {
            if let Some(input) = input.take() {
                world.proxy.handle(now, input, &mut world.out);
            }
        });
        sums[step] += counted.count_total;
        let sent = world.collect();
        world.events.clear();
        sent.last().cloned()
    };
    let (callee, sent) = put(world, 0, CARRIER, &request).expect("it goes to a target");
    put(world, 1, CARRIER, &request).expect("a copy hears 100 again");
    let ringing = respond(&sent, 180, "t1", &callee);
    put(world, 2, &callee, &ringing).expect("it rings");
    let ok = respond(&sent, 200, "t1", &callee);
    put(world, 3, &callee, &ok).expect("it is answered");
    put(world, 4, &callee, &ok).expect("a copy of a 2xx goes on");
    let route = line(&sent, "Record-Route").replace("Record-Route", "Route") + "\r\n";
    let within = |method: &str, number| {
        let text = inside(
            method,
            &format!("sip:b@{callee}"),
            &id,
            ";tag=t1",
            number,
            &route,
        );
        text.replace("z9hG4bKin", &format!("z9hG4bK{id}"))
    };
    put(world, 5, CARRIER, &within("ACK", 1)).expect("the ACK goes on");
    let (callee, sent) = put(world, 6, CARRIER, &within("BYE", 2)).expect("the BYE goes on");
    put(world, 7, &callee, &respond(&sent, 200, "", &callee)).expect("it is over");
    world.now += Duration::from_millis(100);
    while world
        .proxy
        .next_deadline()
        .is_some_and(|due| due <= world.now)
    {
        let now = world.now;
        let counted = allocation_counter::measure(|| {
            world.proxy.handle(now, Input::Deadline, &mut world.out);
        });
        sums[8] += counted.count_total;
        world.collect();
        world.events.clear();
    }
}
