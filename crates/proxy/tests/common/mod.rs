//! A proxy without a network: what goes in, what comes out, and a clock that stands until it is told.
#![allow(dead_code)] // Each test file uses its part.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use trunkline_proxy::{
    Clock, Effect, Event, Hop, Input, ListenerId, Outbox, Proxy, Question, Routing, Seed, Sending,
    ShardId, Shared,
    health::News,
    routing::{Candidate, Freshness, Resolved},
};
use trunkline_sip::Transport;

pub const PBX: &str = "10.0.1.5:5060";
pub const CARRIER: &str = "198.51.100.7:5060";

pub const FILE: &str = r#"
[[listen]]
protocol = "udp"
address = "192.0.2.10:5060"
[[listen]]
protocol = "tcp"
address = "192.0.2.10:5060"
[pbx]
allow = ["10.0.1.0/24"]
[[trunk]]
name = "acme"
allow = ["198.51.100.0/24"]
[trunk.termination]
edges = ["one.carrier.test", "two.carrier.test"]
[trunk.origination]
targets = [
  { uri = "sip:10.0.2.1", priority = 10, weight = 10 },
  { uri = "sip:10.0.2.2", priority = 20, weight = 10 },
]
[trunk.disaster_recovery]
url = "https://dr.test/voice"
[health]
probe_interval = "off"
target_probe_interval = "off"
"#;

pub struct World {
    pub start: Instant,
    pub now: Instant,
    pub proxy: Proxy,
    pub out: Outbox,
    pub asked: Vec<(trunkline_proxy::AskId, Question)>,
    pub events: Vec<Event>,
    /// What the other shards are to hear.
    pub news: Vec<News>,
}

/// What a file means, every place resolved: names by the table, addresses to themselves.
pub fn snapshot(
    file: &str,
    names: impl Fn(&mut Vec<(&'static str, &'static str)>),
    tune: impl Fn(&mut trunkline_proxy::Settings),
) -> Arc<Routing> {
    let mut table = vec![
        ("one.carrier.test", "203.0.113.1:5060 203.0.113.2:5060"),
        ("two.carrier.test", "203.0.113.9:5060"),
    ];
    names(&mut table);
    let loaded = trunkline_config::parse(file, Path::new("t.toml"), &trunkline_config::System)
        .unwrap_or_else(|report| panic!("{report}"));
    let mut settings = (*loaded.settings).clone();
    tune(&mut settings);
    let settings = Arc::new(settings);
    let places = settings.places.iter().map(|place| {
        let addresses = table
            .iter()
            .find(|(name, _)| *name == &*place.host)
            .map(|(_, it)| (*it).to_owned());
        let addresses =
            addresses.unwrap_or_else(|| format!("{}:{}", place.host, place.port.unwrap_or(5060)));
        let candidates = addresses.split(' ').map(|addr| Candidate {
            priority: 0,
            weight: 0,
            transport: place.transport.unwrap_or(Transport::Udp),
            addr: addr.parse().unwrap(),
            listener: ListenerId(u16::from(place.transport == Some(Transport::Tcp))),
        });
        Arc::new(Resolved {
            candidates: candidates.collect(),
            freshness: Freshness::Fresh,
        })
    });
    Arc::new(Routing::new(Arc::clone(&settings), places.collect()))
}

/// Where virtual time begins.
pub fn began() -> Instant {
    #[allow(clippy::disallowed_methods)] // It is never read again.
    Instant::now()
}

impl World {
    pub fn new() -> Self {
        Self::with(FILE, |_| {})
    }

    pub fn with(file: &str, names: impl Fn(&mut Vec<(&'static str, &'static str)>)) -> Self {
        Self::tuned(file, names, |_| {})
    }

    /// With settings that no file can say.
    pub fn tuned(
        file: &str,
        names: impl Fn(&mut Vec<(&'static str, &'static str)>),
        tune: impl Fn(&mut trunkline_proxy::Settings),
    ) -> Self {
        let start = began();
        let shared = Shared::new(1, start);
        Self::of_shard(ShardId(0), shared, start, snapshot(file, names, tune))
    }

    /// One shard of several.
    pub fn of_shard(
        shard: ShardId,
        shared: Arc<Shared>,
        start: Instant,
        routing: Arc<Routing>,
    ) -> Self {
        let clock = Clock {
            at: start,
            unix: 1_800_000_000,
        };
        let seed = Seed {
            cluster: [7; 16],
            process: [9; 16],
        };
        let proxy = Proxy::new(shard, clock, routing, seed, shared);
        World {
            start,
            now: start,
            proxy,
            out: Outbox::new(),
            asked: Vec::new(),
            events: Vec::new(),
            news: Vec::new(),
        }
    }

    pub fn collect(&mut self) -> Vec<(String, String)> {
        let mut sent = Vec::new();
        let (effects, _) = { (self.out.drain().collect::<Vec<_>>(), ()) };
        for effect in effects {
            match effect {
                Effect::Send(Sending { to, bytes, .. }) => {
                    sent.push((
                        to.remote.to_string(),
                        String::from_utf8_lossy(self.out.bytes(&bytes)).into_owned(),
                    ));
                }
                Effect::Ask { ask, question } => self.asked.push((ask, *question)),
                Effect::Tell(event) => self.events.push(event),
                Effect::Share(news) => self.news.push(news),
            }
        }
        self.out.clear();
        sent
    }

    pub fn hop(addr: &str) -> Hop {
        let remote: SocketAddr = addr.parse().unwrap();
        Hop {
            transport: Transport::Udp,
            listener: ListenerId(0),
            remote,
            connection: None,
        }
    }

    pub fn message(&mut self, from: &str, text: &str) -> Vec<(String, String)> {
        let bytes = text.as_bytes();
        self.proxy.handle(
            self.now,
            Input::Message {
                from: Self::hop(from),
                bytes,
            },
            &mut self.out,
        );
        self.collect()
    }

    /// Runs virtual time on to `millis` after the start; gives what was sent, with when.
    pub fn until(&mut self, millis: u64) -> Vec<(u64, String, String)> {
        let end = self.start + Duration::from_millis(millis);
        let mut sent = Vec::new();
        while let Some(due) = self.proxy.next_deadline().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.proxy.handle(self.now, Input::Deadline, &mut self.out);
            let at = (self.now - self.start).as_millis() as u64;
            sent.extend(self.collect().into_iter().map(|(to, text)| (at, to, text)));
        }
        self.now = end;
        sent
    }
}

pub fn invite(uri: &str, call: &str, from: &str) -> String {
    format!(
        "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{call};rport\r\nMax-Forwards: 70\r\n\
         From: \"A\" <sip:+15550001@a.test>;tag=f{call}\r\nTo: <{uri}>\r\nCall-ID: {call}\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:a@{from}>\r\nX-Odd:  kept   as is\r\nContent-Length: 0\r\n\r\n"
    )
}

pub fn respond(request: &str, code: u16, tag: &str, contact: &str) -> String {
    let mut text = format!("SIP/2.0 {code} X\r\n");
    for line in request
        .split("\r\n")
        .skip(1)
        .take_while(|line| !line.is_empty())
    {
        let name = line.split(':').next().unwrap();
        match name {
            "Via" | "From" | "Call-ID" | "CSeq" | "Record-Route" => text += &format!("{line}\r\n"),
            "To" if code > 100 => text += &format!("{line};tag={tag}\r\n"),
            "To" => text += &format!("{line}\r\n"),
            _ => {}
        }
    }
    if !contact.is_empty() {
        text += &format!("Contact: <sip:b@{contact}>\r\n");
    }
    text + "Content-Length: 0\r\n\r\n"
}

pub fn line<'t>(text: &'t str, name: &str) -> &'t str {
    text.split("\r\n")
        .find(|line| line.starts_with(name))
        .unwrap_or_default()
}

/// What was sent to `to`, by its first word or its status.
pub fn heads(sent: &[(String, String)]) -> Vec<String> {
    let head = |text: &str| {
        let mut words = text.split(' ');
        let first = words.next().unwrap_or_default();
        if first == "SIP/2.0" {
            words.next().unwrap_or_default().to_owned()
        } else {
            first.to_owned()
        }
    };
    sent.iter().map(|(_, text)| head(text)).collect()
}

/// A request inside the dialog of `invite(.., call, ..)`, from the caller's side.
pub fn inside(method: &str, uri: &str, call: &str, tag: &str, number: u32, route: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {PBX};branch=z9hG4bKin{method}{number};rport\r\n{route}Max-Forwards: 70\r\n\
         From: \"A\" <sip:+15550001@a.test>;tag=f{call}\r\nTo: <sip:+15550100@192.0.2.10>{tag}\r\nCall-ID: {call}\r\n\
         CSeq: {number} {method}\r\nContact: <sip:a@{PBX}>\r\nContent-Length: 0\r\n\r\n"
    )
}

/// A call out that is answered: who answered, and the Route our token travels in.
pub fn answered(world: &mut World, call: &str) -> (String, String) {
    let sent = world.message(PBX, &invite("sip:+15550100@192.0.2.10", call, PBX));
    let (to, out) = sent[1].clone();
    let ok = world.message(&to, &respond(&out, 200, "t1", &to));
    assert_eq!(heads(&ok), ["200"]);
    let route = format!(
        "{}\r\n",
        line(&out, "Record-Route").replace("Record-Route", "Route")
    );
    (to, route)
}
