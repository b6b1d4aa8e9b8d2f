//! The proxy of a script, with the clock, the DNS and the webhook around it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use trunkline_proxy::{
    AskId, Effect, Hop, HopLoss, Input, Outbox, Proxy, Question, Seed, Sending, Settings, ShardId,
    Shared,
    drill::{Drill, Drilled},
    hop::{ConnectionId, ListenerId},
    proxy::Clock,
    question::{Answer, HttpFailure, HttpRequest},
    settings::{NumberPattern, TrunkId},
};

use crate::{address::Address, chance::Chance, names::Names};

/// Something that Trunkline sent.
pub(super) enum Output {
    Sip { to: Hop, bytes: Vec<u8> },
    Http(Box<HttpRequest>),
}

struct Ask {
    id: AskId,
    until: Duration,
}

/// More inputs than this at one instant means that the proxy runs in a circle.
const INPUTS_AT_ONCE_MAX: u32 = 100_000;
const UNIX_AT_START: u64 = 1_800_000_000;

pub(super) struct Stage {
    /// What the process's only shard shares with nobody, and an operator changes.
    pub shared: Arc<Shared>,
    epoch: Instant,
    now: Duration,
    proxy: Proxy,
    cluster: [u8; 16],
    chance: Chance,
    settings: Arc<Settings>,
    pub names: Names,
    outbox: Outbox,
    connections: BTreeMap<(ListenerId, SocketAddr), ConnectionId>,
    connections_made: u64,
    /// Peers that never take a connection.
    hanging: BTreeSet<Address>,
    /// Connections that are being opened to them, and until when that is tried.
    dials: BTreeMap<(ListenerId, SocketAddr), Duration>,
    asks: VecDeque<Ask>,
    at_once: u32,
    /// What Trunkline sent and nobody has taken yet.
    pub outputs: VecDeque<(Duration, Output)>,
}

impl Stage {
    pub fn new(settings: Arc<Settings>, names: Names, seed: u64) -> Stage {
        let mut chance = Chance::new(seed);
        let epoch = Instant::now();
        let cluster = chance.key();
        let shared = Shared::new(1, epoch);
        let proxy = born(
            &shared,
            epoch,
            Duration::ZERO,
            &settings,
            &names,
            cluster,
            &mut chance,
        );
        Stage {
            shared,
            epoch,
            now: Duration::ZERO,
            proxy,
            cluster,
            chance,
            settings,
            names,
            outbox: Outbox::new(),
            connections: BTreeMap::new(),
            connections_made: 0,
            hanging: BTreeSet::new(),
            dials: BTreeMap::new(),
            asks: VecDeque::new(),
            at_once: 0,
            outputs: VecDeque::new(),
        }
    }

    pub const fn now(&self) -> Duration {
        self.now
    }

    pub const fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    pub const fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// Applies one input now, and whatever follows from it without delay.
    pub fn input(&mut self, input: Input<'_>) {
        self.proxy
            .handle(self.epoch + self.now, input, &mut self.outbox);
        let mut outbox = std::mem::take(&mut self.outbox);
        let mut answers = Vec::new();
        let (effects, arena) = outbox.split();
        for effect in effects {
            match effect {
                Effect::Send(Sending {
                    to, connect_within, ..
                }) if self.hangs(&to) => {
                    self.dials
                        .entry((to.listener, to.remote))
                        .or_insert(self.now + connect_within);
                }
                Effect::Send(Sending { to, bytes, .. }) => {
                    let bytes = arena
                        .get(bytes.start as usize..bytes.end as usize)
                        .unwrap_or_default();
                    let to = self.follow(to);
                    self.outputs.push_back((
                        self.now,
                        Output::Sip {
                            to,
                            bytes: bytes.to_vec(),
                        },
                    ));
                }
                Effect::Ask { ask, question } => match *question {
                    Question::Resolve(place) => {
                        let found = self.names.resolve(&place, &self.settings.listeners);
                        let ttl = Duration::from_secs(60);
                        answers.push((
                            ask,
                            Answer::Resolved {
                                candidates: found.candidates,
                                ttl,
                            },
                        ));
                    }
                    Question::Http(request) => {
                        self.asks.push_back(Ask {
                            id: ask,
                            until: self.now + request.timeout,
                        });
                        self.outputs
                            .push_back((self.now, Output::Http(Box::new(request))));
                    }
                },
                // One shard has nobody to share with.
                Effect::Tell(_) | Effect::Share(_) => {}
            }
        }
        outbox.clear();
        self.outbox = outbox;
        for (ask, answer) in answers {
            self.input(Input::Answer { ask, answer });
        }
    }

    /// When something is due by itself.
    pub fn next(&self) -> Option<Duration> {
        let deadline = self
            .proxy
            .next_deadline()
            .map(|at| at.saturating_duration_since(self.epoch));
        let ask = self.asks.iter().map(|ask| ask.until).min();
        let dial = self.dials.values().copied().min();
        deadline
            .into_iter()
            .chain(ask)
            .chain(dial)
            .min()
            .map(|at| at.max(self.now))
    }

    /// Lets time pass up to the next thing that is due, at most to `to`, and does that thing.
    /// Whether there was one.
    pub fn step(&mut self, to: Duration) -> bool {
        let Some(at) = self.next().filter(|at| *at <= to) else {
            self.now = self.now.max(to);
            return false;
        };
        self.at_once = if at > self.now { 0 } else { self.at_once + 1 };
        assert!(
            self.at_once < INPUTS_AT_ONCE_MAX,
            "at {at:?} the deadline comes again and again"
        );
        self.now = at;
        let given_up = self.dials.iter().find(|(_, until)| **until <= at);
        if let Some((&(listener, socket), _)) = given_up {
            self.dials.remove(&(listener, socket));
            let stream = true;
            let peer = Address { stream, socket };
            self.lose(peer, listener, HopLoss::ConnectTimeout);
        } else if let Some(late) = self.asks.iter().position(|ask| ask.until <= at)
            && let Some(ask) = self.asks.remove(late)
        {
            self.input(Input::Answer {
                ask: ask.id,
                answer: Answer::HttpFailed(HttpFailure::Timeout),
            });
        } else {
            self.input(Input::Deadline);
        }
        true
    }

    /// Answers the webhook's oldest question. Whether there was one.
    pub fn answer(&mut self, answer: Answer) -> bool {
        let Some(ask) = self.asks.pop_front() else {
            return false;
        };
        self.input(Input::Answer {
            ask: ask.id,
            answer,
        });
        true
    }

    /// The hop of a message that a peer sends to this listener.
    pub fn hop(&mut self, peer: Address, listener: ListenerId) -> Hop {
        let connection = peer.stream.then(|| self.connection(listener, peer.socket));
        Hop {
            transport: peer.transport(),
            listener,
            remote: peer.socket,
            connection,
        }
    }

    fn connection(&mut self, listener: ListenerId, remote: SocketAddr) -> ConnectionId {
        *self
            .connections
            .entry((listener, remote))
            .or_insert_with(|| {
                self.connections_made += 1;
                ConnectionId::new(self.connections_made)
            })
    }

    /// Where a message really goes: by its connection while that lives, else to its address.
    fn follow(&mut self, to: Hop) -> Hop {
        if !to.transport.is_reliable() {
            return to;
        }
        let living = self
            .connections
            .iter()
            .find(|(_, id)| Some(**id) == to.connection);
        let remote = living.map_or(to.remote, |((_, remote), _)| *remote);
        self.connection(to.listener, remote);
        Hop { remote, ..to }
    }

    /// From now on this peer never takes a connection.
    pub fn hang(&mut self, peer: Address) {
        self.hanging.insert(peer);
    }

    fn hangs(&self, to: &Hop) -> bool {
        let peer = Address {
            stream: to.transport.is_reliable(),
            socket: to.remote,
        };
        peer.stream && self.hanging.contains(&peer)
    }

    /// The network says that a peer cannot be reached; an open connection to it is gone then.
    pub fn lose(&mut self, peer: Address, listener: ListenerId, why: HopLoss) {
        let lost = self.connections.remove(&(listener, peer.socket));
        let connection = lost.filter(|_| why == HopLoss::Closed);
        let hop = Hop {
            transport: peer.transport(),
            listener,
            remote: peer.socket,
            connection,
        };
        self.input(Input::HopLost { hop, why });
    }

    /// A new configuration, or the old one with what DNS says now.
    pub fn reload(&mut self, settings: Arc<Settings>) {
        self.settings = settings;
        let routing = self.names.snapshot(&self.settings);
        self.input(Input::Routing(routing));
    }

    /// Some calls of a trunk behave as if every PBX were down.
    pub fn drill(&mut self, trunk: &str, number: &str, seconds: u64) -> Result<(), String> {
        let mut names = self.settings.trunks.iter().map(|it| &*it.name);
        let at = names
            .position(|name| name == trunk)
            .ok_or_else(|| format!("no trunk is named {trunk}"))?;
        let pattern = NumberPattern::parse(number)
            .ok_or_else(|| format!("{number} is no number and no prefix with *"))?;
        let drill = Drill {
            trunk: TrunkId(at as u16),
            calls: Drilled::Number(pattern),
            until: self.epoch + self.now + Duration::from_secs(seconds),
        };
        let routing = self
            .names
            .snapshot(&self.settings)
            .with_drills([drill].into());
        self.input(Input::Routing(Arc::new(routing)));
        Ok(())
    }

    /// A new process: the same cluster secret, nothing else of the old one.
    pub fn restart(&mut self) {
        self.shared = Shared::new(1, self.epoch);
        self.proxy = born(
            &self.shared,
            self.epoch,
            self.now,
            &self.settings,
            &self.names,
            self.cluster,
            &mut self.chance,
        );
        self.connections.clear();
        self.dials.clear();
        self.asks.clear();
    }

    /// Whether nothing is in work, here and at the webhook.
    pub fn is_at_rest(&self) -> bool {
        let load = self.proxy.load();
        self.asks.is_empty()
            && self.proxy.is_idle()
            && (load.contexts, load.calls_in_setup) == (0, 0)
    }
}

fn born(
    shared: &Arc<Shared>,
    epoch: Instant,
    now: Duration,
    settings: &Arc<Settings>,
    names: &Names,
    cluster: [u8; 16],
    chance: &mut Chance,
) -> Proxy {
    let clock = Clock {
        at: epoch + now,
        unix: UNIX_AT_START + now.as_secs(),
    };
    let seed = Seed {
        cluster,
        process: chance.key(),
    };
    let routing = names.snapshot(settings);
    Proxy::new(ShardId(0), clock, routing, seed, Arc::clone(shared))
}
