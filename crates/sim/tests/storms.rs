//! Everybody is dead or overloaded while calls keep coming: Trunkline must not make it worse
//! (`retry_budget`), and what a death alone costs must stay what it was.

use std::time::Duration;

use trunkline_sim::{
    address::Address,
    fleet::{Change, Fate, Outcome, Scenario, run},
};

const DEATH: Duration = Duration::from_secs(2);
const RETURN: Duration = Duration::from_secs(14);
const END: Duration = Duration::from_secs(20);

fn pbx(number: usize) -> Address {
    Address::parse(&format!("10.0.2.{number}")).unwrap()
}

/// 1000 calls a second until then over four PBXs, of which the first `dying` take on this fate for a
/// while, or for ever when the calls end before it is over.
fn storm(dying: usize, fate: Fate, until: Duration, budget: &str) -> Outcome {
    let config = format!(
        "[[listen]]\nprotocol = \"udp\"\naddress = \"203.0.113.10:5060\"\n[[trunk]]\nname = \"in\"\n\
         allow = [\"192.0.2.0/24\"]\n[trunk.origination]\ntargets = [\"10.0.2.1\", \"10.0.2.2\", \
         \"10.0.2.3\", \"10.0.2.4\"]\n{budget}\n"
    );
    let at =
        |when: Duration, fate: Fate| (1..=dying).map(move |n| (when, Change::Peer(pbx(n), fate)));
    let back = at(RETURN, Fate::Well).filter(|_| until > RETURN);
    let scenario = Scenario {
        config,
        names: Vec::new(),
        caller: Address::parse("192.0.2.1").unwrap(),
        uri: "sip:+15550100@203.0.113.10".into(),
        calls: (Duration::ZERO, until, Duration::from_millis(1)),
        rings: (Duration::from_millis(20), Duration::from_millis(30)),
        talks: Duration::from_secs(1),
        changes: at(DEATH, fate).chain(back).collect(),
    };
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
        let attempts = |of: &Outcome| of.attempts.iter().filter(|at| **at <= RETURN).count();
        let a_call = |of: &Outcome| attempts(of) as f64 / of.calls.len() as f64;
        println!(
            "{what}: {:.3} attempts a call without retry_budget, {:.3} with it",
            a_call(&free),
            a_call(&held)
        );
        assert!(a_call(&free) > without, "{what}: {:.3}", a_call(&free));
        assert!(attempts(&held) * 5 <= held.calls.len() * 6 + 15, "{what}");
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
    for dying in 1..=3 {
        let outcome = storm(dying, Fate::Silent, END, "");
        let lost = outcome.calls.iter().filter(|call| {
            let rang_at_a_dead_one = (1..=dying).any(|n| call.rang == Some(pbx(n)));
            call.answered.is_none() && !rang_at_a_dead_one
        });
        assert_eq!(lost.count(), 0, "{dying} of 4 die");
    }
}
