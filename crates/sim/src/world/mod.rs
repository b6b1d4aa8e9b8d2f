//! A world: Trunkline's shards, peers, wires, DNS and a webhook, in one thread and virtual time.
//!
//! It hands each input to the proxy that owns it, carries what that sends, and lets a witness see
//! both. Everything that was drawn comes from the plan, so one seed is one world.

mod links;
mod plan;
mod slow;
mod traffic;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

pub use plan::{Fault, Host, Plan, Webhook};
use slow::Slow;
use trunkline_proxy::{
    AskId, Hop, HopLoss, Input, Outbox, Proxy, Routing, Seed, Settings, ShardId, Shared,
    branch::Branches,
    health::News,
    hop::{ConnectionId, ListenerId},
    proxy::Clock,
    question::Answer,
};

use crate::{
    address::Address,
    brain::Brain,
    chance::Chance,
    check::{Broken, Seen, Witness},
    ladder::print,
    names::Names,
    peer::{Endpoint, Hostile, Key},
    settings,
    text::Text,
    ua::Identity,
    wire::Wire,
};

/// Makes the proxy of one shard.
pub type Maker<'m> = &'m dyn Fn(ShardId, Clock, Arc<Routing>, Seed, Arc<Shared>) -> Box<dyn Brain>;

/// The real one.
pub fn real(
    shard: ShardId,
    clock: Clock,
    routing: Arc<Routing>,
    seed: Seed,
    shared: Arc<Shared>,
) -> Box<dyn Brain> {
    Box::new(Proxy::new(shard, clock, routing, seed, shared))
}

/// How a world ended.
pub struct Outcome {
    /// Every message as a ladder, with faults and health in between; only when asked for.
    pub trace: Vec<String>,
    /// The first promise that was broken.
    pub broken: Option<Broken>,
    /// Each call's attempts in order and what its caller was told: independent of when and where.
    pub stories: Vec<String>,
    /// How often what happened, in the words of Trunkline's events.
    pub sights: BTreeMap<&'static str, u32>,
    /// How many inputs Trunkline was given.
    pub inputs: u64,
}

/// Nothing takes longer: Timer C, then everything that lingers, then a BYE's patience.
const LONGEST: Duration = Duration::from_secs(1200);
/// After rest, so long until even stale timers have passed.
const AFTERMATH: Duration = Duration::from_secs(240);
const UNIX_AT_START: u64 = 1_800_000_000;
/// News between shards takes at most so many milliseconds.
const NEWS_TAKES: u64 = 10;

enum Happening {
    ToTrunkline {
        from: Address,
        bytes: Vec<u8>,
    },
    ToPeer {
        to: Address,
        bytes: Vec<u8>,
    },
    Wake(Address, Key),
    Lost(Hop, HopLoss),
    /// A connection was tried long enough; whether the peer would refuse it.
    Dialled(Hop, bool),
    Answer(usize, AskId, Answer),
    /// What another shard saw reaches this one.
    News(usize, News),
    Fault(usize),
}

impl Happening {
    /// Whether the world cannot be at rest before it: all but OPTIONS, what they are answered and what
    /// shards tell each other of it.
    fn is_work(&self) -> bool {
        match self {
            Happening::ToTrunkline { bytes, .. } | Happening::ToPeer { bytes, .. } => {
                !String::from_utf8_lossy(bytes).contains(" OPTIONS\r\n")
            }
            Happening::News(..) => false,
            Happening::Wake(..)
            | Happening::Lost(..)
            | Happening::Dialled(..)
            | Happening::Answer(..)
            | Happening::Fault(_) => true,
        }
    }
}

enum Nature {
    Good(Box<Endpoint>),
    Evil(Box<Hostile>),
}

struct Inhabitant {
    name: String,
    nature: Nature,
    chance: Chance,
    /// `Some`: nobody is there; whether the network says so.
    dead: Option<bool>,
}

struct World<'p> {
    plan: &'p Plan,
    epoch: Instant,
    now: Duration,
    settings: Arc<Settings>,
    names: Names,
    maker: Maker<'p>,
    /// What outlives a restart.
    cluster: [u8; 16],
    chance: Chance,
    brains: Vec<Box<dyn Brain>>,
    branches: Branches,
    agenda: BTreeMap<(Duration, u64), (bool, Happening)>,
    /// How much of the agenda is more than probes and their answers, which never end.
    busy: usize,
    made: u64,
    inhabitants: BTreeMap<Address, Inhabitant>,
    connections: BTreeMap<(ListenerId, SocketAddr), ConnectionId>,
    /// What waits for a connection that is being opened.
    dialling: BTreeMap<(ListenerId, SocketAddr), Vec<Vec<u8>>>,
    wire: Wire,
    slow: Slow,
    witness: Witness,
    trace: Option<Vec<String>>,
    outbox: Outbox,
    inputs: u64,
}

/// Lives through a world.
pub fn run<'p>(plan: &'p Plan, maker: Maker<'p>, traced: bool) -> Outcome {
    let settings = match settings::from_toml(&plan.config, Path::new("world.toml")) {
        Ok(settings) => settings,
        Err(what) => {
            let broken = Broken {
                check: "configuration",
                at: Duration::ZERO,
                what,
            };
            return Outcome {
                trace: Vec::new(),
                broken: Some(broken),
                stories: Vec::new(),
                sights: BTreeMap::new(),
                inputs: 0,
            };
        }
    };
    let mut world = World::new(plan, settings, maker, traced);
    let broken = world.live().err();
    if let (Some(broken), true) = (&broken, traced) {
        world.say(format!("*** {broken}"));
    }
    Outcome {
        trace: world.trace.take().unwrap_or_default(),
        broken,
        stories: world.witness.stories(),
        sights: world.witness.sights().clone(),
        inputs: world.inputs,
    }
}

impl<'p> World<'p> {
    fn new(plan: &'p Plan, settings: Arc<Settings>, maker: Maker<'p>, traced: bool) -> Self {
        let mut chance = Chance::new(plan.seed ^ 0x5eed);
        let epoch = Instant::now();
        let cluster = chance.key();
        let mut names = Names::default();
        for (name, records) in &plan.names {
            names.set(name, records.clone());
        }
        let mut world = World {
            epoch,
            now: Duration::ZERO,
            maker,
            cluster,
            brains: Vec::new(),
            branches: Branches::new([0; 16]),
            agenda: BTreeMap::new(),
            busy: 0,
            made: 0,
            inhabitants: BTreeMap::new(),
            connections: BTreeMap::new(),
            dialling: BTreeMap::new(),
            wire: Wire::new(plan.quality.clone(), chance.fork()),
            slow: Slow::new(plan.webhook.clone()),
            witness: Witness::new(&settings, plan),
            chance: Chance::new(0),
            trace: traced.then(Vec::new),
            outbox: Outbox::new(),
            inputs: 0,
            names,
            settings,
            plan,
        };
        world.chance = chance.fork();
        world.start();
        for host in &plan.hosts {
            world.settle(host, chance.fork());
        }
        for (nth, (at, _)) in plan.faults.iter().enumerate() {
            world.plan_for(*at, Happening::Fault(nth));
        }
        world
    }

    /// Starts Trunkline, the first time or again: only the cluster's secret is the same.
    fn start(&mut self) {
        let routing = self.names.snapshot(&self.settings);
        let clock = Clock {
            at: self.epoch + self.now,
            unix: UNIX_AT_START + self.now.as_secs(),
        };
        let seed = Seed {
            cluster: self.cluster,
            process: self.chance.key(),
        };
        let shared = Shared::new(self.plan.shards, clock.at);
        self.branches = Branches::new(seed.process);
        self.brains = (0..self.plan.shards)
            .map(|shard| {
                let (routing, shared) = (Arc::clone(&routing), Arc::clone(&shared));
                (self.maker)(ShardId(shard), clock, routing, seed.clone(), shared)
            })
            .collect();
    }

    /// The process dies and is started again: what it had asked for and was opening is gone.
    fn restart(&mut self) {
        self.forget(|what| {
            matches!(
                what,
                Happening::Answer(..)
                    | Happening::Dialled(..)
                    | Happening::Lost(..)
                    | Happening::News(..)
            )
        });
        self.connections.clear();
        self.dialling.clear();
        self.witness.restarted();
        self.start();
    }

    /// Takes out of the agenda what will not happen after all.
    fn forget(&mut self, gone: impl Fn(&Happening) -> bool) {
        let busy = &mut self.busy;
        self.agenda.retain(|_, (work, what)| {
            let gone = gone(what);
            *busy -= usize::from(gone && *work);
            !gone
        });
    }

    fn settle(&mut self, host: &Host, chance: Chance) {
        let identity = Identity {
            name: host.name.clone(),
            says: host.at,
            ignores_record_route: host.ignores_record_route,
        };
        let nature = match &host.manner {
            Some(manner) => Nature::Good(Box::new(Endpoint::new(
                identity,
                host.calls.clone(),
                manner.clone(),
            ))),
            None => Nature::Evil(Box::new(Hostile::new(identity, Duration::from_secs(30)))),
        };
        self.inhabitants.insert(
            host.at,
            Inhabitant {
                name: host.name.clone(),
                nature,
                chance,
                dead: None,
            },
        );
        self.turn(host.at, |nature, turn| match nature {
            Nature::Good(endpoint) => endpoint.begin(turn),
            Nature::Evil(hostile) => hostile.begin(turn),
        });
    }

    fn plan_for(&mut self, at: Duration, what: Happening) {
        self.made += 1;
        let work = what.is_work();
        self.busy += usize::from(work);
        self.agenda.insert((at, self.made), (work, what));
    }

    /// Until everybody is at rest.
    fn live(&mut self) -> Result<(), Broken> {
        let mut rested = None;
        while self.now < LONGEST {
            let loads = || self.brains.iter().map(|brain| brain.load());
            let rests = self.busy == 0 && loads().all(|load| load.contexts == 0);
            rested = if rests {
                rested.or(Some(self.now))
            } else {
                None
            };
            let stale: u32 = loads().map(|load| load.timers).sum();
            if rested.is_some_and(|since| {
                stale <= self.witness.timers_allowed() || self.now >= since + AFTERMATH
            }) || !self.next()?
            {
                break;
            }
        }
        let loads: Vec<_> = self.brains.iter().map(|brain| brain.load()).collect();
        self.witness.at_rest(self.now, &loads)?;
        self.both_hold_a_call_or_none()
    }

    /// What no border shows: at rest, nobody is in a call that the other side is not in. Only where
    /// nobody died, since the dead hold what they held.
    fn both_hold_a_call_or_none(&self) -> Result<(), Broken> {
        let deadly = |fault: &Fault| matches!(fault, Fault::Dies(..) | Fault::Restart);
        if self.plan.faults.iter().any(|(_, fault)| deadly(fault)) {
            return Ok(());
        }
        let (mut placed, mut taken, mut unsure) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for inhabitant in self.inhabitants.values() {
            if let Nature::Good(endpoint) = &inhabitant.nature {
                let (as_caller, as_callee) = endpoint.holds();
                placed.extend(as_caller);
                // Calls of those who mean harm have only one honest side.
                for (call_id, sure) in as_callee.filter(|(call_id, _)| call_id.starts_with("call-"))
                {
                    if sure {
                        taken.insert(call_id)
                    } else {
                        unsure.insert(call_id)
                    };
                }
            }
        }
        let mut alone = placed
            .symmetric_difference(&taken)
            .filter(|call_id| !unsure.contains(*call_id));
        match alone.next() {
            None => Ok(()),
            Some(call_id) => Err(Broken {
                check: "both or none",
                at: self.now,
                what: format!("only one side is still in {call_id}"),
            }),
        }
    }

    fn deadline(&self) -> Option<(Duration, usize)> {
        let deadlines = self.brains.iter().enumerate().filter_map(|(shard, brain)| {
            Some((
                brain.next_deadline()?.saturating_duration_since(self.epoch),
                shard,
            ))
        });
        deadlines.min()
    }

    /// The next thing that happens. Whether there was one.
    fn next(&mut self) -> Result<bool, Broken> {
        let deadline = self.deadline();
        let agenda = self.agenda.first_key_value().map(|(key, _)| key.0);
        match (deadline, agenda) {
            (None, None) => Ok(false),
            (Some((at, shard)), agenda) if agenda.is_none_or(|agenda| at <= agenda) => {
                self.now = self.now.max(at);
                self.input(shard, Input::Deadline, Seen::Deadline)?;
                Ok(true)
            }
            _ => {
                if let Some(((at, _), (work, what))) = self.agenda.pop_first() {
                    self.busy -= usize::from(work);
                    self.now = self.now.max(at);
                    self.happen(what)?;
                }
                Ok(true)
            }
        }
    }

    fn happen(&mut self, what: Happening) -> Result<(), Broken> {
        match what {
            Happening::ToTrunkline { from, bytes } => self.deliver(from, &bytes),
            Happening::ToPeer { to, bytes } => {
                if self
                    .inhabitants
                    .get(&to)
                    .is_some_and(|peer| peer.dead.is_none())
                {
                    self.turn(to, |nature, turn| match nature {
                        Nature::Good(endpoint) => endpoint.hear(&bytes, turn),
                        Nature::Evil(hostile) => hostile.hear(&bytes, turn),
                    });
                }
                Ok(())
            }
            Happening::Wake(who, key) => {
                if self
                    .inhabitants
                    .get(&who)
                    .is_some_and(|peer| peer.dead.is_none())
                {
                    self.turn(who, |nature, turn| match nature {
                        Nature::Good(endpoint) => endpoint.wake(key, turn),
                        Nature::Evil(hostile) => hostile.wake(key, turn),
                    });
                }
                Ok(())
            }
            Happening::Dialled(hop, refused) => match self.dialled(hop, refused) {
                None => Ok(()),
                Some(why) => self.happen(Happening::Lost(
                    Hop {
                        connection: None,
                        ..hop
                    },
                    why,
                )),
            },
            Happening::Lost(hop, why) => {
                self.say_line(
                    "net",
                    "trunkline",
                    &format!("{} {}", why.word().to_uppercase(), hop.remote),
                );
                for shard in 0..self.brains.len() {
                    self.input(
                        shard,
                        Input::HopLost { hop, why },
                        Seen::Lost(address_of(&hop)),
                    )?;
                }
                Ok(())
            }
            Happening::Answer(shard, ask, answer) => {
                self.input(shard, Input::Answer { ask, answer }, Seen::Answer)
            }
            Happening::News(shard, news) => {
                self.input(shard, Input::PeerHealth(news), Seen::Health)
            }
            Happening::Fault(nth) => self.strike(nth),
        }
    }

    fn strike(&mut self, nth: usize) -> Result<(), Broken> {
        let Some((_, fault)) = self.plan.faults.get(nth) else {
            return Ok(());
        };
        self.say(format!("{:>8}  {fault:?}", print::seconds(self.now)));
        match fault {
            Fault::Dies(who, told) => self.set_dead(*who, Some(*told)),
            Fault::Returns(who) => self.set_dead(*who, None),
            Fault::Names(name, records) => self.names.set(name, records.clone()),
            Fault::NamesFail(name) => self.names.fail(name),
            Fault::Drain => {
                for shard in 0..self.brains.len() {
                    self.input(shard, Input::Drain, Seen::Drain)?;
                }
            }
            Fault::Restart => self.restart(),
            Fault::Reload => {}
        }
        if matches!(
            fault,
            Fault::Names(..) | Fault::NamesFail(_) | Fault::Reload
        ) {
            let routing = self.names.snapshot(&self.settings);
            for shard in 0..self.brains.len() {
                self.input(shard, Input::Routing(Arc::clone(&routing)), Seen::Routing)?;
            }
        }
        Ok(())
    }

    fn trace_message(&mut self, inward: bool, peer: Address, text: Option<&Text>) {
        if self.trace.is_none() {
            return;
        }
        let name = self
            .inhabitants
            .get(&peer)
            .map_or_else(|| peer.to_string(), |peer| peer.name.clone());
        let what = text.map_or_else(
            || "something that is not SIP".into(),
            crate::ladder::summary,
        );
        if inward {
            self.say_line(&name, "trunkline", &what);
        } else {
            self.say_line("trunkline", &name, &what);
        }
    }

    fn say_line(&mut self, from: &str, to: &str, what: &str) {
        if self.trace.is_some() {
            self.say(print::line(self.now, from, to, what));
        }
    }

    fn say(&mut self, line: String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line);
        }
    }
}

const fn address_of(hop: &Hop) -> Address {
    Address {
        stream: hop.transport.is_reliable(),
        socket: hop.remote,
    }
}
