//! A check that nobody saw failing proves nothing: here each promise is broken on purpose, and the
//! check for it must say so.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use trunkline_proxy::{
    Effect, Hop, Input, Outbox, Proxy, Routing, Seed, Sending, ShardId, Shared,
    event::{HealthState, Load, Peer},
    proxy::Clock,
    routing::Resolved,
};
use trunkline_sim::{
    brain::Brain,
    world::{Plan, run},
};

/// How a promise is broken.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Prank {
    SaysNoTrying,
    AnswersTwice,
    SwallowsAnswers,
    LosesCancels,
    LosesAcks,
    LivesTooFast,
    LivesTooSlowly,
    KnowsOneAddressOnly,
    MixesUpEdges,
    LosesByes,
    ChangesHeaders,
    SendsCopiesElsewhere,
    KeepsSomething,
}

const PRANKS: [(Prank, &str); 13] = [
    (Prank::SaysNoTrying, "prompt"),
    (Prank::AnswersTwice, "one final response"),
    (Prank::SwallowsAnswers, "answers arrive"),
    (Prank::LosesCancels, "nobody is left ringing"),
    (Prank::LosesAcks, "failures are acknowledged"),
    (Prank::LivesTooFast, "four seconds"),
    (Prank::LivesTooSlowly, "four seconds"),
    (Prank::KnowsOneAddressOnly, "every candidate"),
    (Prank::MixesUpEdges, "in order"),
    (Prank::LosesByes, "dialogs are routed"),
    (Prank::ChangesHeaders, "hop by hop"),
    (Prank::SendsCopiesElsewhere, "no relay"),
    (Prank::KeepsSomething, "nothing is left"),
];

/// The real proxy with somebody at the door.
struct Saboteur {
    proxy: Proxy,
    prank: Prank,
    born: Instant,
    inner: Outbox,
}

impl Saboteur {
    fn new(
        prank: Prank,
        shard: ShardId,
        clock: Clock,
        routing: &Routing,
        seed: Seed,
        shared: Arc<Shared>,
    ) -> Self {
        let routing = match prank {
            Prank::KnowsOneAddressOnly => narrowed(routing),
            Prank::MixesUpEdges => mixed_up(routing),
            _ => routing.clone(),
        };
        let proxy = Proxy::new(shard, clock, Arc::new(routing), seed, shared);
        Saboteur {
            proxy,
            prank,
            born: clock.at,
            inner: Outbox::new(),
        }
    }

    /// The time the proxy believes in: a tenth more or less has passed than truly has.
    fn believed(&self, now: Instant) -> Instant {
        let passed = now.duration_since(self.born);
        match self.prank {
            Prank::LivesTooFast => self.born + passed * 11 / 10,
            Prank::LivesTooSlowly => self.born + passed * 9 / 10,
            _ => now,
        }
    }

    /// When it is truly as late as the proxy believes.
    fn truly(&self, believed: Instant) -> Instant {
        let passed = believed.duration_since(self.born);
        match self.prank {
            Prank::LivesTooFast => self.born + passed * 10 / 11 + Duration::from_nanos(1),
            Prank::LivesTooSlowly => self.born + passed * 10 / 9 + Duration::from_nanos(2),
            _ => believed,
        }
    }

    fn meddle(&self, to: Hop, bytes: &[u8], out: &mut Outbox) {
        let text = String::from_utf8_lossy(bytes);
        let invite = text.contains(" INVITE\r\n");
        let is = |start: &str| text.starts_with(start);
        let pass = |out: &mut Outbox, to: Hop, text: &str| {
            out.send(to, Duration::from_secs(2), |arena| {
                arena.extend_from_slice(text.as_bytes())
            });
        };
        match self.prank {
            Prank::SaysNoTrying if is("SIP/2.0 100") => {}
            Prank::SwallowsAnswers if is("SIP/2.0 200") && invite => {}
            Prank::LosesCancels if is("CANCEL ") => {}
            Prank::LosesAcks if is("ACK ") => {}
            Prank::LosesByes if is("BYE ") => {}
            Prank::AnswersTwice if is("SIP/2.0 4") || is("SIP/2.0 5") => {
                pass(out, to, &text);
                pass(
                    out,
                    to,
                    &text.replacen("SIP/2.0 4", "SIP/2.0 6", 1).replacen(
                        "SIP/2.0 5",
                        "SIP/2.0 6",
                        1,
                    ),
                );
            }
            Prank::ChangesHeaders => {
                pass(out, to, &text.replace("X-Unknown: kept", "X-Unknown: lost"))
            }
            Prank::SendsCopiesElsewhere if is("INVITE") => {
                pass(out, to, &text);
                pass(
                    out,
                    Hop {
                        remote: ([198, 51, 100, 99], 5060).into(),
                        ..to
                    },
                    &text,
                );
            }
            _ => pass(out, to, &text),
        }
    }
}

/// The same, but of every name only the first address is known.
fn narrowed(routing: &Routing) -> Routing {
    let places = routing.places().iter().map(|place| {
        let candidates = place.candidates.iter().take(1).copied().collect();
        Arc::new(Resolved {
            candidates,
            freshness: place.freshness,
        })
    });
    Routing::new(Arc::clone(routing.settings()), places.collect())
}

/// The same, but the first two edges have each other's addresses.
fn mixed_up(routing: &Routing) -> Routing {
    let mut places = routing.places().to_vec();
    let edges = routing
        .settings()
        .trunks
        .first()
        .and_then(|trunk| trunk.termination.as_ref());
    if let Some([first, second, ..]) = edges.map(|termination| &termination.edges[..]) {
        places.swap(first.place.0 as usize, second.place.0 as usize);
    }
    Routing::new(Arc::clone(routing.settings()), places)
}

impl Brain for Saboteur {
    fn handle(&mut self, now: Instant, input: Input<'_>, out: &mut Outbox) {
        let believed = self.believed(now);
        let mut inner = std::mem::take(&mut self.inner);
        self.proxy.handle(believed, input, &mut inner);
        let (effects, arena) = inner.split();
        for effect in effects {
            match effect {
                Effect::Send(Sending { to, bytes, .. }) => {
                    let bytes = &arena[bytes.start as usize..bytes.end as usize];
                    self.meddle(to, bytes, out);
                }
                Effect::Ask { ask, question } => out.ask(ask, *question),
                Effect::Tell(event) => out.tell(event),
                Effect::Share(news) => out.share(news),
            }
        }
        inner.clear();
        self.inner = inner;
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.proxy
            .next_deadline()
            .map(|believed| self.truly(believed))
    }

    fn load(&self) -> Load {
        let kept = u32::from(self.prank == Prank::KeepsSomething);
        let load = self.proxy.load();
        Load {
            calls_in_setup: load.calls_in_setup + kept,
            ..load
        }
    }

    fn peers(&self) -> Vec<(Peer, HealthState)> {
        self.proxy.peers().collect()
    }
}

#[test]
fn every_broken_promise_is_noticed_by_the_check_for_it() {
    for (prank, check) in PRANKS {
        let maker = |shard, clock, routing: Arc<Routing>, seed, shared| -> Box<dyn Brain> {
            Box::new(Saboteur::new(prank, shard, clock, &routing, seed, shared))
        };
        let noticed: Vec<_> = (1..=60)
            .filter_map(|seed| run(&Plan::draw(seed), &maker, false).broken)
            .collect();
        assert!(
            noticed.iter().any(|broken| broken.check == check),
            "{prank:?} went by unseen: {noticed:?}"
        );
    }
}
