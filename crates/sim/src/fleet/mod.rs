//! A steady stream of calls through one proxy while its peers come and go: many calls and few kinds of
//! things that happen, for figures instead of single promises.
//!
//! Wires lose nothing and take a millisecond. Each call rings, is answered, talks and is ended by
//! its caller. What a peer does changes at set times ([`Change`]). The peers themselves are a [`Crowd`], which a
//! bench can let loose on the real thing.

mod callee;
mod crowd;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use trunkline_proxy::{
    Effect, Event, Hop, Input, Outbox, Proxy, Seed, Sending, Settings, ShardId, Shared,
    event::{HealthState, Load},
    hop::ListenerId,
    proxy::Clock,
};

pub use self::crowd::{Crowd, Happening, Next};
use crate::{
    address::Address,
    names::{Names, Record, listener_for},
    settings,
};

/// One way.
const WIRE: Duration = Duration::from_millis(1);
/// After the last call was placed, everything ends within so long: Timer C and what lingers.
const AFTERMATH: Duration = Duration::from_secs(600);
const UNIX_AT_START: u64 = 1_800_000_000;

/// What a peer does.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Rings and answers.
    Well,
    /// Nothing reaches it, and nothing says so.
    Silent,
    /// Everything reaches it late: when it is well again.
    Stalls,
    /// Answers calls with this code; OPTIONS with 200.
    Refuses(u16),
    /// Answers OPTIONS, and calls not at all.
    OnlyOptions,
    /// Rings and answers; OPTIONS not at all.
    NoOptions,
}

/// Something that changes.
#[derive(Clone, Debug)]
pub enum Change {
    /// A peer.
    Peer(Address, Fate),
    /// What DNS says of a name; nothing: no such name.
    Names(String, Vec<Record>),
    /// Lookups of a name fail.
    NamesFail(String),
    /// The configuration is loaded again.
    Reload,
}

/// What is to happen.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// As a user writes it.
    pub config: String,
    /// What DNS says at first.
    pub names: Vec<(String, Vec<Record>)>,
    /// Where all calls come from.
    pub caller: Address,
    /// What they are addressed to.
    pub uri: String,
    /// When calls are placed: from, until, and one each so long.
    pub calls: (Duration, Duration, Duration),
    /// From the INVITE to 180, and from there to 200.
    pub rings: (Duration, Duration),
    /// From the answer to the caller's BYE.
    pub talks: Duration,
    /// In order of time.
    pub changes: Vec<(Duration, Change)>,
}

/// One call, as its caller lived it.
#[derive(Copy, Clone, Default, Debug)]
pub struct Call {
    /// When the INVITE left.
    pub placed: Duration,
    /// Who got it first.
    pub first: Option<Address>,
    /// When the caller heard more than 100.
    pub heard: Option<Duration>,
    /// Who rang first.
    pub rang: Option<Address>,
    /// Whose answer he got.
    pub answered: Option<Address>,
    /// The final failure he got, and when.
    pub failed: Option<(Duration, u16)>,
    /// How many final responses he got.
    pub finals: u32,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// In the order in which they were placed.
    pub calls: Vec<Call>,
    /// Whose health changed, when, and to what.
    pub health: Vec<(Duration, Address, HealthState)>,
    /// OPTIONS that were sent: when and to whom.
    pub probes: Vec<(Duration, Address)>,
    /// When attempts of calls began; those that have ended.
    pub attempts: Vec<Duration>,
    /// Peers that are in a call which nobody else is in: taken and never ended, although its
    /// caller has another answer or none.
    pub orphans: usize,
    /// What the proxy still has in work at the end.
    pub load: Load,
    /// The most it had in work.
    pub contexts_most: u32,
    /// What it thinks of each candidate at the end.
    pub peers: Vec<(Address, HealthState)>,
    /// Inputs it was given.
    pub inputs: u64,
}

enum Due {
    ToTrunkline(Address, Vec<u8>),
    ToPeer(Address, Vec<u8>),
    Crowd(Happening),
}

struct Fleet<'s> {
    scenario: &'s Scenario,
    epoch: Instant,
    now: Duration,
    proxy: Proxy,
    settings: Arc<Settings>,
    names: Names,
    outbox: Outbox,
    agenda: BTreeMap<(Duration, u64), Due>,
    made: u64,
    crowd: Crowd<'s>,
    out: Outcome,
}

/// Lives through a scenario.
///
/// # Errors
/// What is wrong with its configuration.
pub fn run(scenario: &Scenario) -> Result<Outcome, String> {
    let settings = settings::from_toml(&scenario.config, Path::new("fleet.toml"))?;
    let mut fleet = Fleet::new(scenario, settings, scenario.names());
    while fleet.next() {}
    Ok(fleet.finish())
}

impl Scenario {
    /// What DNS says at first.
    pub fn names(&self) -> Names {
        let mut names = Names::default();
        for (name, records) in &self.names {
            names.set(name, records.clone());
        }
        names
    }
}

impl<'s> Fleet<'s> {
    fn new(scenario: &'s Scenario, settings: Arc<Settings>, names: Names) -> Self {
        let epoch = Instant::now();
        let clock = Clock {
            at: epoch,
            unix: UNIX_AT_START,
        };
        let seed = Seed {
            cluster: *b"one key for many",
            process: *b"and one for each",
        };
        let proxy = Proxy::new(
            ShardId(0),
            clock,
            names.snapshot(&settings),
            seed,
            Shared::new(1, epoch),
        );
        let load = proxy.load();
        let mut fleet = Fleet {
            scenario,
            epoch,
            now: Duration::ZERO,
            proxy,
            settings,
            names,
            outbox: Outbox::new(),
            agenda: BTreeMap::new(),
            made: 0,
            crowd: Crowd::new(scenario),
            out: Outcome {
                calls: Vec::new(),
                health: Vec::new(),
                probes: Vec::new(),
                attempts: Vec::new(),
                orphans: 0,
                load,
                contexts_most: 0,
                peers: Vec::new(),
                inputs: 0,
            },
        };
        fleet.follow();
        fleet
    }

    fn plan(&mut self, at: Duration, what: Due) {
        self.made += 1;
        self.agenda.insert((at, self.made), what);
    }

    /// The next thing that happens. Whether there was one.
    fn next(&mut self) -> bool {
        let (_, until, _) = self.scenario.calls;
        let deadline = self.proxy.next_deadline();
        let deadline = deadline.map(|at| at.saturating_duration_since(self.epoch));
        let agenda = self.agenda.first_key_value().map(|(key, _)| key.0);
        let last = self.scenario.changes.last().map_or(until, |(at, _)| *at);
        let next = deadline.into_iter().chain(agenda).min();
        let Some(at) = next.filter(|at| *at <= until.max(last) + AFTERMATH) else {
            return false;
        };
        self.now = self.now.max(at);
        if agenda.is_none_or(|agenda| deadline.is_some_and(|deadline| deadline <= agenda)) {
            self.input(Input::Deadline);
        } else if let Some((_, what)) = self.agenda.pop_first() {
            self.happen(what);
        }
        true
    }

    fn happen(&mut self, what: Due) {
        match what {
            Due::ToTrunkline(from, bytes) => {
                let hop = self.hop(from);
                self.input(Input::Message {
                    from: hop,
                    bytes: &bytes,
                });
            }
            Due::ToPeer(to, bytes) => self.crowd.hear(self.now, to, &bytes),
            Due::Crowd(what) => {
                if let Some(change) = self.crowd.happen(self.now, what) {
                    self.change(change);
                }
            }
        }
        self.follow();
    }

    /// Does what the crowd wants.
    fn follow(&mut self) {
        for next in self.crowd.take() {
            match next {
                Next::Say(from, bytes) => {
                    self.plan(self.now + WIRE, Due::ToTrunkline(from, bytes));
                }
                Next::Plan(at, what) => self.plan(at, Due::Crowd(what)),
            }
        }
    }

    fn change(&mut self, change: &Change) {
        match change {
            // The crowd's own.
            Change::Peer(..) => return,
            Change::Names(name, records) => self.names.set(name, records.clone()),
            Change::NamesFail(name) => self.names.fail(name),
            Change::Reload => {
                // Another file, though it says the same.
                self.settings = Arc::new(Settings::clone(&self.settings));
            }
        }
        self.input(Input::Routing(self.names.snapshot(&self.settings)));
    }

    fn hop(&self, peer: Address) -> Hop {
        let listeners = &self.settings.listeners;
        let ipv4 = peer.socket.is_ipv4();
        Hop {
            transport: peer.transport(),
            listener: listener_for(listeners, peer.transport(), ipv4, None)
                .unwrap_or(ListenerId(0)),
            remote: peer.socket,
            connection: None,
        }
    }

    fn input(&mut self, input: Input<'_>) {
        self.out.inputs += 1;
        self.proxy
            .handle(self.epoch + self.now, input, &mut self.outbox);
        let mut outbox = std::mem::take(&mut self.outbox);
        let (effects, arena) = outbox.split();
        for effect in effects {
            match effect {
                Effect::Send(Sending { to, bytes, .. }) => {
                    let bytes = arena
                        .get(bytes.start as usize..bytes.end as usize)
                        .unwrap_or_default();
                    self.sent(&to, bytes);
                }
                Effect::Tell(Event::Health { peer, is, .. }) => {
                    let who = Address {
                        stream: peer.transport.is_reliable(),
                        socket: peer.addr,
                    };
                    self.out.health.push((self.now, who, is));
                }
                Effect::Tell(Event::AttemptEnded { took, .. }) => {
                    self.out.attempts.push(self.now.saturating_sub(took));
                }
                _ => {}
            }
        }
        outbox.clear();
        self.outbox = outbox;
        let contexts = self.proxy.load().contexts;
        self.out.contexts_most = self.out.contexts_most.max(contexts);
    }

    fn sent(&mut self, to: &Hop, bytes: &[u8]) {
        let to = Address {
            stream: to.transport.is_reliable(),
            socket: to.remote,
        };
        self.crowd.see(self.now, to, bytes);
        self.plan(self.now + WIRE, Due::ToPeer(to, bytes.to_vec()));
    }

    fn finish(mut self) -> Outcome {
        self.out.orphans = self.crowd.orphans();
        self.out.load = self.proxy.load();
        self.out.peers = self
            .proxy
            .peers()
            .map(|(peer, state)| {
                let stream = peer.transport.is_reliable();
                let socket = peer.addr;
                (Address { stream, socket }, state)
            })
            .collect();
        (self.out.calls, self.out.probes) = self.crowd.finish();
        self.out
    }
}
