//! The proxy, its clock, and the checks of what it sends.

use std::{
    collections::{BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use trunkline_proxy::{
    Answer, AskId, Clock, ConnectionId, Effect, Hop, Input, ListenerId, Outbox, Proxy, Question,
    Routing, Seed, Sending, ShardId, Shared,
    routing::{Candidate, Freshness, Resolved},
};
use trunkline_sip::{Limits, Message, Transport};

use super::Script;

/// Addresses that hosts of the files below resolve to, and where our messages come from.
pub const PBX: [&str; 3] = ["10.0.2.1:5060", "10.0.2.2:5060", "10.0.1.5:5060"];
pub const CARRIERS: [&str; 4] = [
    "198.51.100.1:5060",
    "198.51.100.2:5060",
    "203.0.113.9:5060",
    "198.18.5.1:5080",
];
pub const STRANGERS: [&str; 3] = ["192.0.2.66:5060", "100.64.0.1:5060", "[2001:db8::66]:5060"];
/// Our own two listeners.
pub const US: &str = "192.0.2.10:5060";

const HEAD: &str = r#"
[[listen]]
protocol = "udp"
address = "192.0.2.10:5060"
[[listen]]
protocol = "tcp"
address = "192.0.2.10:5060"
[pbx]
allow = ["10.0.1.0/24"]
"#;

const ACME: &str = r#"
[[trunk]]
name = "acme"
allow = ["198.51.100.0/24"]
[trunk.termination]
edges = ["one.acme.test", "two.acme.test", "sip:three.acme.test;transport=tcp"]
progress_timeout = "6s"
[trunk.origination]
targets = [
  { uri = "sip:10.0.2.1", priority = 10, weight = 10, max_calls = 3 },
  { uri = "sip:10.0.2.2;transport=tcp", priority = 10, weight = 0, max_cps = 2 },
]
[trunk.disaster_recovery]
url = "https://dr.test/voice"
fallback_url = "https://dr2.test/voice"
"#;

const OTHER: &str = r#"
[[trunk]]
name = "other"
allow = ["203.0.113.0/24", "198.18.5.1"]
in_dialog = "peer"
[trunk.termination]
edges = ["one.other.test"]
exhausted = "best"
[trunk.origination]
policy = "least_calls"
targets = [{ uri = "sip:pbx.test", priority = 1, weight = 1 }]
"#;

/// Many kinds of files; a run begins with one of them and may swap to others.
const FILES: [&[&str]; 5] = [
    &[
        HEAD,
        ACME,
        OTHER,
        "[health]\nprobe_interval = \"off\"\ntarget_probe_interval = \"off\"\n",
    ],
    &[
        HEAD,
        ACME,
        OTHER,
        "[access]\nunknown_source = \"drop\"\nrate = 3\n",
    ],
    &[
        HEAD,
        OTHER,
        "[[route]]\nmatch = \"+1*\"\ntrunks = [\"other\"]\n",
    ],
    &[
        HEAD,
        OTHER,
        ACME,
        "[[route]]\nmatch = \"*\"\ntrunks = [\"acme\", \"other\"]\n",
    ],
    &[HEAD, ACME],
];

/// What a name of the files resolves to; the fourth variant has no answers at all.
const NAMES: [(&str, [&str; 3]); 5] = [
    (
        "one.acme.test",
        [
            "198.51.100.1:5060 198.51.100.2:5060",
            "198.51.100.3:5060",
            "",
        ],
    ),
    (
        "two.acme.test",
        ["198.51.100.2:5060", "", "198.51.100.9:5060"],
    ),
    (
        "three.acme.test",
        ["198.51.100.1:5060", "198.51.100.1:5070", ""],
    ),
    (
        "one.other.test",
        ["203.0.113.9:5060 198.18.5.1:5080", "203.0.113.9:5060", ""],
    ),
    (
        "pbx.test",
        [
            "10.0.2.2:5060",
            "10.0.2.1:5060 10.0.2.7:5060",
            "10.0.2.8:5060",
        ],
    ),
];

/// The rings of what was said last, to be said again.
const REMEMBERED: usize = 48;

const LIMITS: Limits = Limits {
    message: 65_535,
    headers: 256,
    line: 8192,
};

/// A message that was put in, or came out.
#[derive(Clone)]
pub struct Said {
    pub hop: Hop,
    pub bytes: Arc<[u8]>,
}

pub struct Stage {
    start: Instant,
    pub now: Instant,
    proxy: Proxy,
    out: Outbox,
    routing: Arc<Routing>,
    /// What went in, and what came out, newest last.
    pub heard: VecDeque<Said>,
    pub sent: VecDeque<Said>,
    pub asked: Vec<(AskId, Question)>,
    /// Addresses that answers of ours named: a webhook or DNS led there.
    invited: BTreeSet<IpAddr>,
    /// Addresses that any snapshot so far knew.
    known: BTreeSet<IpAddr>,
    pub draining: bool,
}

impl Stage {
    pub fn new(script: &mut Script<'_>) -> Self {
        let routing = routing(script.pick(FILES.len()), 0);
        #[allow(clippy::disallowed_methods)] // Where virtual time begins; it is never read again.
        let start = Instant::now();
        let seed = Seed {
            cluster: [7; 16],
            process: [9; 16],
        };
        let proxy = Proxy::new(
            ShardId(0),
            Clock {
                at: start,
                unix: 1_800_000_000,
            },
            Arc::clone(&routing),
            seed,
            Shared::new(1, start),
        );
        let mut stage = Stage {
            start,
            now: start,
            proxy,
            out: Outbox::new(),
            routing,
            heard: VecDeque::new(),
            sent: VecDeque::new(),
            asked: Vec::new(),
            invited: BTreeSet::new(),
            known: BTreeSet::new(),
            draining: false,
        };
        stage.learn_addresses();
        stage
    }

    /// Another snapshot.
    pub fn swap(&mut self, script: &mut Script<'_>) {
        self.routing = routing(script.pick(FILES.len()), script.pick(4));
        self.learn_addresses();
        self.put(Input::Routing(Arc::clone(&self.routing)), None);
    }

    fn learn_addresses(&mut self) {
        let all = self
            .routing
            .places()
            .iter()
            .flat_map(|place| &place.candidates);
        self.known.extend(all.map(|candidate| candidate.addr.ip()));
        let named = PBX
            .iter()
            .chain(&CARRIERS)
            .map(|addr| addr.parse::<SocketAddr>().unwrap().ip());
        let routing = &self.routing;
        self.known
            .extend(named.filter(|ip| !routing.role(*ip).is_unknown()));
    }

    /// A message comes in.
    pub fn say(&mut self, hop: Hop, bytes: &[u8]) {
        self.heard.push_back(Said {
            hop,
            bytes: bytes.into(),
        });
        if self.heard.len() > REMEMBERED {
            self.heard.pop_front();
        }
        self.put(Input::Message { from: hop, bytes }, Some(hop));
    }

    /// An answer of the slow side.
    pub fn answer(&mut self, ask: AskId, answer: Answer) {
        if let Answer::Resolved { candidates, .. } = &answer {
            // Only what DNS says for a webhook's Dial invites; a message's own next hop does not.
            self.invited
                .extend(candidates.iter().map(|candidate| candidate.addr.ip()));
        }
        if let Answer::Http { body, .. } = &answer {
            // The bodies of the script name these literally.
            let text = String::from_utf8_lossy(body).into_owned();
            let words = text.split(|c: char| !(c.is_ascii_digit() || c == '.'));
            self.invited
                .extend(words.filter_map(|word| word.parse::<IpAddr>().ok()));
        }
        self.put(Input::Answer { ask, answer }, None);
    }

    /// Anything goes in; what comes out is looked at.
    pub fn put(&mut self, input: Input<'_>, speaker: Option<Hop>) {
        self.proxy.handle(self.now, input, &mut self.out);
        let effects: Vec<Effect> = self.out.drain().collect();
        for effect in effects {
            match effect {
                Effect::Send(Sending { to, bytes, .. }) => {
                    let bytes: Arc<[u8]> = self.out.bytes(&bytes).into();
                    self.check_sent(to, &bytes, speaker);
                    self.sent.push_back(Said { hop: to, bytes });
                    if self.sent.len() > REMEMBERED {
                        self.sent.pop_front();
                    }
                }
                Effect::Ask { ask, question } => self.asked.push((ask, *question)),
                Effect::Tell(_) => {}
                Effect::Share(news) => unreachable!("{news:?} for nobody: there is one shard"),
            }
        }
        self.out.clear();
        self.check_sizes();
    }

    fn check_sent(&self, to: Hop, bytes: &[u8], speaker: Option<Hop>) {
        let text = || String::from_utf8_lossy(bytes).into_owned();
        let message = Message::parse(bytes, &LIMITS)
            .unwrap_or_else(|error| panic!("what goes to {to} is not SIP: {error:?}\n{}", text()));
        let ours = message
            .top_via()
            .ok()
            .and_then(|via| via.branch())
            .map(<[u8]>::len)
            == Some(39)
            && message
                .top_via()
                .is_ok_and(|via| format!("{:?}", via.host()).contains("192.0.2.10"));
        if message.is_request() {
            message
                .check()
                .unwrap_or_else(|error| panic!("to {to}: {error:?}\n{}", text()));
            assert!(ours, "a request without our Via to {to}:\n{}", text());
        }
        let ip = to.remote.ip();
        let welcome = self.known.contains(&ip)
            || self.invited.contains(&ip)
            || !self.routing.role(ip).is_unknown();
        assert!(
            welcome,
            "a stranger is sent to at {to} after {speaker:?}:\n{}",
            text()
        );
        assert!(to.remote.to_string() != US, "to ourselves:\n{}", text());
    }

    fn check_sizes(&self) {
        let census = self.proxy.census();
        assert!(
            census.contexts <= 4096 && census.parked <= 1000 && census.addresses <= 70_000,
            "{census:?}"
        );
        assert!(
            census.keys <= census.contexts && census.in_setup <= census.contexts,
            "{census:?}"
        );
        assert!(
            census.waiting <= census.contexts && census.active <= census.calls + census.contexts,
            "{census:?}"
        );
        // A context or transaction of our own has so many timers at most, and a few outlive it.
        assert!(census.timers <= 20_000, "{census:?}");
    }

    /// Whether so much time has passed that probes would soon be most of what happens.
    pub fn is_late(&self) -> bool {
        self.now - self.start > Duration::from_secs(1200)
    }

    /// Time passes; what is due happens.
    pub fn wait(&mut self, span: Duration) {
        let end = self.now + span;
        let mut same = 0;
        while let Some(due) = self.proxy.next_deadline().filter(|due| *due <= end) {
            same = if due > self.now { 0 } else { same + 1 };
            assert!(
                same < 10_000,
                "time stands still at {:?}",
                self.now - self.start
            );
            self.now = due.max(self.now);
            self.put(Input::Deadline, None);
        }
        self.now = end;
    }

    /// Nobody speaks any more; questions have had their answers.
    pub fn rest(&mut self, span: Duration) {
        // Probes alone would take most of the time from here on.
        self.routing = routing(0, 3);
        self.put(Input::Routing(Arc::clone(&self.routing)), None);
        for _ in 0..32 {
            for (ask, question) in std::mem::take(&mut self.asked) {
                let answer = match question {
                    Question::Resolve(_) => Answer::ResolveFailed,
                    Question::Http(_) => {
                        Answer::HttpFailed(trunkline_proxy::question::HttpFailure::Timeout)
                    }
                };
                self.answer(ask, answer);
            }
            self.wait(Duration::from_secs(10));
        }
        assert!(
            self.asked.is_empty(),
            "questions without end: {:?}",
            self.asked
        );
        self.wait(span);
        self.put(Input::Routing(Arc::clone(&self.routing)), None);
        let census = self.proxy.census();
        let left = trunkline_proxy::census::Census {
            addresses: census.addresses,
            ..Default::default()
        };
        assert_eq!(census, left, "something is left");
        assert!(self.proxy.is_idle());
    }
}

/// A hop of one of the addresses above, or any other.
pub fn hop(addr: &str, tcp: bool, connection: Option<u64>) -> Hop {
    Hop {
        transport: if tcp { Transport::Tcp } else { Transport::Udp },
        listener: ListenerId(u16::from(tcp)),
        remote: addr.parse().unwrap(),
        connection: connection.filter(|_| tcp).map(ConnectionId::new),
    }
}

/// Snapshots are costly to make, so each is made once a thread.
fn routing(file: usize, names: usize) -> Arc<Routing> {
    thread_local! {
        static MADE: Vec<Vec<Arc<Routing>>> =
            (0..FILES.len()).map(|file| (0..4).map(|names| make(file, names)).collect()).collect();
    }
    MADE.with(|made| Arc::clone(&made[file][names]))
}

fn make(file: usize, names: usize) -> Arc<Routing> {
    let text = FILES[file].concat();
    let loaded = trunkline_config::parse(&text, Path::new("t.toml"), &trunkline_config::System)
        .unwrap_or_else(|report| panic!("{report}"));
    let mut settings = (*loaded.settings).clone();
    // Small enough to be reached.
    settings.capacity.calls = 8;
    settings.capacity.contexts = 48;
    let places = settings.places.iter().map(|place| {
        let literal = || format!("{}:{}", place.host, place.port.unwrap_or(5060));
        let found = NAMES.iter().find(|(name, _)| *name == &*place.host);
        let text = match found {
            Some((_, variants)) => variants.get(names).copied().unwrap_or("").to_owned(),
            None => literal(),
        };
        let candidates = text
            .split(' ')
            .filter(|addr| !addr.is_empty())
            .map(|addr| Candidate {
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
    let places = places.collect();
    Arc::new(Routing::new(Arc::new(settings), places))
}
