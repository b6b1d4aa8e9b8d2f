//! Several shards of one process: what one finds out moves the calls of all, and limits count over all.

mod common;

use std::{sync::Arc, time::Instant};

use common::{CARRIER, FILE, World, heads, invite, respond, snapshot};
use trunkline_proxy::{Event, HopLoss, Input, ShardId, Shared, event::HealthState};

const US: &str = "sip:+15550100@192.0.2.10";

fn process(shards: u8, tune: impl Fn(&mut trunkline_proxy::Settings)) -> Vec<World> {
    #[allow(clippy::disallowed_methods)] // Where virtual time begins; it is never read again.
    let start = Instant::now();
    let shared = Shared::new(shards, start);
    let routing = snapshot(FILE, |_| {}, tune);
    (0..shards)
        .map(|shard| {
            let (shared, routing) = (Arc::clone(&shared), Arc::clone(&routing));
            World::of_shard(ShardId(shard), shared, start, routing)
        })
        .collect()
}

/// Brings each shard what the others told it; what they then sent.
fn gossip(shards: &mut [World]) -> Vec<Vec<(String, String)>> {
    let told: Vec<_> = shards
        .iter_mut()
        .map(|shard| std::mem::take(&mut shard.news))
        .collect();
    let mut sent = vec![Vec::new(); shards.len()];
    for (from, news) in told.into_iter().enumerate() {
        for news in news {
            for (at, shard) in shards.iter_mut().enumerate().filter(|(at, _)| *at != from) {
                let input = Input::PeerHealth(news);
                shard.proxy.handle(shard.now, input, &mut shard.out);
                sent[at].extend(shard.collect());
            }
        }
    }
    assert!(
        shards.iter().all(|shard| shard.news.is_empty()),
        "what was learned is not told on"
    );
    sent
}

#[test]
fn a_target_that_one_shard_finds_down_frees_the_calls_that_wait_on_all() {
    let mut shards = process(8, |_| {});
    for (at, shard) in shards.iter_mut().enumerate() {
        let sent = shard.message(CARRIER, &invite(US, &format!("c{at}"), CARRIER));
        assert_eq!(sent[1].0, "10.0.2.1:5060", "the better priority");
    }
    // Two failures in a row, which no shard has seen for itself alone.
    for at in [3, 6] {
        let hop = World::hop("10.0.2.1:5060");
        let why = HopLoss::Unreachable;
        let shard = &mut shards[at];
        let input = Input::HopLost { hop, why };
        shard.proxy.handle(shard.now, input, &mut shard.out);
        let sent = shard.collect();
        assert_eq!(sent[0].0, "10.0.2.2:5060");
    }
    let moved = gossip(&mut shards);
    for (at, sent) in moved.iter().enumerate() {
        if at == 3 || at == 6 {
            assert!(sent.is_empty(), "it has moved on already: {sent:?}");
        } else {
            assert_eq!(heads(sent), ["INVITE"], "shard {at}");
            assert_eq!(sent[0].0, "10.0.2.2:5060");
        }
    }
    let told: Vec<_> = shards
        .iter()
        .flat_map(|shard| &shard.events)
        .filter_map(|event| match event {
            Event::Health { is, .. } => Some(*is),
            _ => None,
        })
        .collect();
    assert_eq!(told, [HealthState::Suspect, HealthState::Down], "each once");
}

#[test]
fn max_calls_holds_for_all_shards_together_and_for_calls_that_still_ring() {
    let mut shards = process(4, |settings| {
        let origination = settings.trunks[0].origination.as_mut().unwrap();
        origination.targets[0].max_calls = 3;
    });
    let mut open = Vec::new();
    for number in 0..12 {
        let shard = number % 4;
        let call = format!("c{number}");
        let sent = shards[shard].message(CARRIER, &invite(US, &call, CARRIER));
        if sent[1].0 == "10.0.2.1:5060" {
            open.push((shard, sent[1].clone()));
        }
    }
    assert_eq!(open.len(), 3);
    // One is answered and lasts, one is refused: there is room for one.
    for (which, code) in [(0, 200), (1, 486)] {
        let (shard, (to, text)) = &open[which];
        shards[*shard].message(to, &respond(text, code, "t1", to));
    }
    for (number, expected) in [(20, "10.0.2.1:5060"), (21, "10.0.2.2:5060")] {
        let shard = &mut shards[number % 4];
        let sent = shard.message(CARRIER, &invite(US, &format!("c{number}"), CARRIER));
        assert_eq!(sent[1].0, expected, "c{number}");
    }
}

#[test]
fn a_strangers_rate_holds_for_all_shards_together() {
    let mut shards = process(4, |settings| settings.access.rate = 10);
    for number in 0..100 {
        let stranger = "203.0.113.99:5060";
        shards[number % 4].message(stranger, &invite(US, "c", stranger));
    }
    let why = |wanted: &str| {
        let events = shards.iter().flat_map(|shard| &shard.events);
        events
            .filter(|event| matches!(event, Event::Dropped { why, .. } if *why == wanted))
            .count()
    };
    assert_eq!((why("unknown_source"), why("rate")), (20, 80));
}
