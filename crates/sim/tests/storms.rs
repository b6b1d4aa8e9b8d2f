//! Everybody is dead or overloaded while calls keep coming: Trunkline must not make it worse
//! (`retry_budget`), and what a death alone costs must stay what it was.

use std::time::Duration;

use trunkline_sim::{
    address::Address,
    fleet::{Call, Change, Fate, Outcome, Scenario, run},
};

const DEATH: Duration = Duration::from_secs(1);
/// By then a full timeout has passed after the death.
const KNOWN: Duration = Duration::from_secs(6);
const RETURN: Duration = Duration::from_secs(10);
const END: Duration = Duration::from_secs(15);

fn pbx(number: usize) -> Address {
    Address::parse(&format!("10.0.2.{number}")).unwrap()
}

/// 1000 calls a second over four PBXs.
fn scenario(budget: &str) -> Scenario {
    let config = format!(
        "[[listen]]\nprotocol = \"udp\"\naddress = \"203.0.113.10:5060\"\n[[trunk]]\nname = \"in\"\n\
         allow = [\"192.0.2.0/24\"]\n[trunk.origination]\ntargets = [\"10.0.2.1\", \"10.0.2.2\", \
         \"10.0.2.3\", \"10.0.2.4\"]\n{budget}\n"
    );
    Scenario {
        config,
        names: Vec::new(),
        caller: Address::parse("192.0.2.1").unwrap(),
        uri: "sip:+15550100@203.0.113.10".into(),
        calls: (Duration::ZERO, END, Duration::from_millis(1)),
        rings: (Duration::from_millis(20), Duration::from_millis(30)),
        talks: Duration::from_secs(1),
        changes: Vec::new(),
    }
}

/// Until then; the first `dying` PBXs take on this fate for a while, or for ever when the calls end
/// before it is over.
fn storm(dying: usize, fate: Fate, until: Duration, budget: &str) -> Outcome {
    let at =
        |when: Duration, fate: Fate| (1..=dying).map(move |n| (when, Change::Peer(pbx(n), fate)));
    let back = at(RETURN, Fate::Well).filter(|_| until > RETURN);
    let mut scenario = scenario(budget);
    scenario.calls.1 = until;
    scenario.changes = at(DEATH, fate).chain(back).collect();
    let outcome = run(&scenario).unwrap();
    assert_eq!(outcome.orphans, 0);
    assert_eq!((outcome.load.contexts, outcome.load.calls_in_setup), (0, 0));
    outcome
}

#[test]
fn when_all_are_dead_attempts_are_a_fifth_more_than_calls() {
    for (what, fate, without) in [
        ("silent", Fate::Silent, 2.0),
        ("overloaded", Fate::Refuses(503), 3.5),
    ] {
        let free = storm(4, fate, RETURN, "retry_budget = 0");
        let held = storm(4, fate, RETURN, "");
        let within = |of: &Outcome, from: Duration| {
            let attempts = of.attempts.iter().filter(|at| (from..RETURN).contains(at));
            let calls = of
                .calls
                .iter()
                .filter(|call| (from..RETURN).contains(&call.placed));
            (attempts.count(), calls.count())
        };
        let a_call = |(attempts, calls): (usize, usize)| attempts as f64 / calls as f64;
        let (all, all_held) = (within(&free, Duration::ZERO), within(&held, Duration::ZERO));
        println!(
            "{what}: {:.3} attempts a call without retry_budget, {:.3} with it",
            a_call(all),
            a_call(all_held)
        );
        assert!(a_call(all) > without, "{what}: {:.3}", a_call(all));
        // Whoever waits when its peer turns down may try each of the others that nobody knows to be down.
        assert!(a_call(all_held) < a_call(all), "{what}");
        let (attempts, calls) = within(&held, KNOWN);
        assert!(
            calls > 1000 && attempts * 5 <= calls * 6 + 15,
            "{what}: {attempts} of {calls}"
        );
    }
}

#[test]
fn after_the_return_every_call_is_taken_and_those_that_still_wait_move() {
    let outcome = storm(4, Fate::Silent, END, "");
    let calls = outcome.calls.iter();
    let lost = calls
        .filter(|call| call.answered.is_none())
        .map(|call| call.placed);
    // Probes of what is down are sent every two seconds.
    let last = lost.max().unwrap();
    assert!(last < RETURN, "one of {last:?} was lost");
    println!(
        "the last call that was lost was placed {:?} before the return",
        RETURN - last
    );
}

#[test]
fn calls_that_a_dying_peer_frees_all_move_on_at_once() {
    for dying in [1, 3] {
        let outcome = storm(dying, Fate::Silent, END, "");
        let lost = outcome.calls.iter().filter(|call| {
            let rang_at_a_dead_one = (1..=dying).any(|n| call.rang == Some(pbx(n)));
            call.answered.is_none() && !rang_at_a_dead_one
        });
        assert_eq!(lost.count(), 0, "{dying} of 4 die");
    }
}

#[test]
fn a_pbx_that_flaps_every_second_loses_no_call_and_slows_few() {
    let who = pbx(1);
    let changes = (0..30u64).flat_map(|nth| {
        let at = |second: u64| Duration::from_secs(5 + second);
        [
            (at(2 * nth), Change::Peer(who, Fate::Silent)),
            (at(2 * nth + 1), Change::Peer(who, Fate::Well)),
        ]
    });
    let outcome = run(&Scenario {
        calls: (
            Duration::ZERO,
            Duration::from_secs(70),
            Duration::from_millis(10),
        ),
        changes: changes.collect(),
        // It dies between its 100 and its 180 as well, and forgets those calls.
        ..scenario("progress_timeout = \"2s\"")
    })
    .unwrap();
    assert_eq!((outcome.orphans, outcome.load.contexts), (0, 0));
    let lost = |call: &&Call| call.answered.is_none() && call.rang != Some(who);
    assert_eq!(outcome.calls.iter().filter(lost).count(), 0);
    let waited = |call: &Call| call.heard.map(|heard| heard - call.placed);
    let slower = |than: u64| {
        let than = Some(Duration::from_millis(than));
        outcome
            .calls
            .iter()
            .filter(|call| waited(call) > than)
            .count()
    };
    println!(
        "of {} calls {} waited for more than 100 ms, {} for more than 2 s",
        outcome.calls.len(),
        slower(100),
        slower(2000)
    );
    // A quarter of the calls would be its own, half of these while it is gone.
    assert!(slower(100) < 6000 / 4 / 2, "{}", slower(100));
    assert!(slower(4100) == 0, "{}", slower(4100));
}
