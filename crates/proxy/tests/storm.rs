//! A thousand calls a second whose every PBX is dead, with a webhook that takes three seconds: nothing
//! grows beyond what three seconds of calls hold, and everything is let go at the end.

mod common;

use std::{collections::VecDeque, time::Duration};

use common::{CARRIER, World, invite, respond};
use trunkline_proxy::{Answer, AskId, Input, Question};

const RATE: u64 = 1000;
const SECONDS: u64 = 10;
const WEBHOOK: Duration = Duration::from_secs(3);

#[test]
fn a_thousand_calls_a_second_wait_for_a_slow_webhook_and_nothing_else_grows() {
    let mut world = World::new();
    let mut waiting = VecDeque::new();
    let (mut most_asks, mut most_contexts, mut answered) = (0, 0, 0_u64);
    for number in 0..RATE * SECONDS {
        let at = Duration::from_micros(number * 1_000_000 / RATE);
        world.now = world.start + at;
        // What is due in the proxy, then what the webhook answers, then the next call.
        // (Nobody acknowledges the answers, so they are repeated; a copy is no answer more.)
        world.until(at.as_millis() as u64);
        while waiting.front().is_some_and(|(due, _)| *due <= at) {
            if let Some((_, ask)) = waiting.pop_front() {
                answered += answer(&mut world, ask);
            }
        }
        let call = format!("storm{number}");
        let sent = world.message(CARRIER, &invite("sip:+15550100@192.0.2.10", &call, CARRIER));
        // Every PBX says no at once.
        let mut open: VecDeque<(String, String)> = sent.into();
        while let Some((to, text)) = open.pop_front() {
            if text.starts_with("INVITE ") {
                let no = respond(&text, 503, "x", "");
                open.extend(world.message(&to, &no));
            }
        }
        for (ask, question) in world.asked.drain(..) {
            assert!(matches!(question, Question::Http(_)), "{question:?}");
            waiting.push_back((at + WEBHOOK, ask));
        }
        world.events.clear();
        let census = world.proxy.census();
        most_asks = most_asks.max(census.asks);
        most_contexts = most_contexts.max(census.in_setup);
    }
    let three_seconds = (RATE * WEBHOOK.as_secs()) as usize;
    assert!(
        most_asks <= three_seconds + 1,
        "{most_asks} questions at once"
    );
    assert!(
        most_contexts <= three_seconds + 1,
        "{most_contexts} calls at once"
    );
    assert_eq!(answered, RATE * SECONDS - three_seconds as u64);
    for (_, ask) in waiting {
        answered += answer(&mut world, ask);
    }
    assert_eq!(answered, RATE * SECONDS);
    world.until(200_000);
    let left = world.proxy.census();
    assert_eq!((left.contexts, left.in_setup), (0, 0), "{left:?}");
}

/// The webhook refuses the call; gives how many callers hear so.
fn answer(world: &mut World, ask: AskId) -> u64 {
    let answer = Answer::Http {
        status: 200,
        content_type: "text/xml".into(),
        body: b"<Response><Reject/></Response>".to_vec(),
    };
    let input = Input::Answer { ask, answer };
    world.proxy.handle(world.now, input, &mut world.out);
    let sent = world.collect();
    let to_caller = sent.iter().filter(|(to, _)| to == CARRIER);
    to_caller
        .filter(|(_, text)| text.starts_with("SIP/2.0 404"))
        .count() as u64
}
