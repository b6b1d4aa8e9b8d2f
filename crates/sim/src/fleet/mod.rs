//! A steady stream of calls through one proxy while its peers come and go: many calls and few kinds of
//! things that happen, for figures instead of single promises.
//!
//! Wires lose nothing and take a millisecond. Each call rings, is answered, talks and is ended by
//! its caller. What a peer does changes at set times ([`Change`]).

mod callee;

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use trunkline_proxy::{
    Effect, Event, Hop, Input, Outbox, Proxy, Seed, Settings, ShardId, Shared,
    event::{HealthState, Load},
    hop::ListenerId,
    proxy::Clock,
};

use self::callee::Callee;
use crate::{
    address::Address,
    names::{Names, Record, listener_for},
    settings,
    text::Text,
    ua::{Identity, Leg},
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

enum Happening {
    Place(usize),
    ToTrunkline(Address, Vec<u8>),
    ToPeer(Address, Vec<u8>),
    /// The callee's next step in this call.
    Step(Address, usize),
    HangUp(usize),
    Change(usize),
}

struct Fleet<'s> {
    scenario: &'s Scenario,
    epoch: Instant,
    now: Duration,
    proxy: Proxy,
    settings: Arc<Settings>,
    names: Names,
    outbox: Outbox,
    agenda: BTreeMap<(Duration, u64), Happening>,
    made: u64,
    me: Identity,
    legs: HashMap<usize, Leg>,
    callees: BTreeMap<Address, Callee>,
    out: Outcome,
}

/// Lives through a scenario.
///
/// # Errors
/// What is wrong with its configuration.
pub fn run(scenario: &Scenario) -> Result<Outcome, String> {
    let settings = settings::from_toml(&scenario.config, Path::new("fleet.toml"))?;
    let mut names = Names::default();
    for (name, records) in &scenario.names {
        names.set(name, records.clone());
    }
    let mut fleet = Fleet::new(scenario, settings, names);
    while fleet.next() {}
    Ok(fleet.finish())
}

/// The Call-ID of a call, and back.
fn call_id(call: usize) -> String {
    format!("{call}@fleet.test")
}

fn call_of(text: &Text) -> Option<usize> {
    text.get("Call-ID")?
        .strip_suffix("@fleet.test")?
        .parse()
        .ok()
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
        let (from, until, gap) = scenario.calls;
        let count = (until.saturating_sub(from).as_nanos() / gap.as_nanos().max(1)) as usize;
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
            me: Identity {
                name: "caller".into(),
                says: scenario.caller,
                ignores_record_route: false,
            },
            legs: HashMap::new(),
            callees: BTreeMap::new(),
            out: Outcome {
                calls: vec![Call::default(); count],
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
        if count > 0 {
            fleet.plan(from, Happening::Place(0));
        }
        for (nth, (at, _)) in scenario.changes.iter().enumerate() {
            fleet.plan(*at, Happening::Change(nth));
        }
        fleet
    }

    fn plan(&mut self, at: Duration, what: Happening) {
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

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Place(call) => self.place(call),
            Happening::ToTrunkline(from, bytes) => {
                let hop = self.hop(from);
                self.input(Input::Message {
                    from: hop,
                    bytes: &bytes,
                });
            }
            Happening::ToPeer(to, bytes) if to == self.scenario.caller => self.on_caller(&bytes),
            Happening::ToPeer(to, bytes) => {
                let steps = self.callee(to).hear(&bytes);
                self.follow(to, steps);
            }
            Happening::Step(at, call) => {
                let steps = self.callee(at).step(call);
                self.follow(at, steps);
            }
            Happening::HangUp(call) => {
                if let Some(leg) = self.legs.get_mut(&call) {
                    let bye = leg.request("BYE", None).write();
                    self.deliver(self.scenario.caller, bye);
                }
            }
            Happening::Change(nth) => self.change(nth),
        }
    }

    fn change(&mut self, nth: usize) {
        let scenario = self.scenario;
        match &scenario.changes[nth].1 {
            Change::Peer(who, fate) => {
                let steps = self.callee(*who).turn(*fate);
                return self.follow(*who, steps);
            }
            Change::Names(name, records) => self.names.set(name, records.clone()),
            Change::NamesFail(name) => self.names.fail(name),
            Change::Reload => {
                // Another file, though it says the same.
                self.settings = Arc::new(Settings::clone(&self.settings));
            }
        }
        self.input(Input::Routing(self.names.snapshot(&self.settings)));
    }

    fn place(&mut self, call: usize) {
        let mut leg = Leg::caller(&self.me, &call_id(call), &self.scenario.uri);
        let invite = leg.request("INVITE", None).write();
        self.legs.insert(call, leg);
        self.out.calls[call].placed = self.now;
        self.deliver(self.scenario.caller, invite);
        if call + 1 < self.out.calls.len() {
            let (from, _, gap) = self.scenario.calls;
            self.plan(from + gap * (call as u32 + 1), Happening::Place(call + 1));
        }
    }

    fn on_caller(&mut self, bytes: &[u8]) {
        let Some(text) = Text::read(bytes) else {
            return;
        };
        let (Some(call), Some(code), Some("INVITE")) = (call_of(&text), text.code(), text.about())
        else {
            // The answer to a BYE ends the leg.
            if let (Some(call), Some("BYE")) = (call_of(&text), text.about()) {
                self.legs.remove(&call);
            }
            return;
        };
        let now = self.now;
        let by = text
            .uri_of("Contact")
            .and_then(|uri| uri.split_once('@'))
            .and_then(|(_, at)| Address::parse(at));
        let told = &mut self.out.calls[call];
        if code > 100 && told.heard.is_none() {
            told.heard = Some(now);
            told.rang = by.filter(|_| code < 300);
        }
        if code < 200 {
            if let Some(leg) = self.legs.get_mut(&call) {
                leg.on_response(&text);
            }
            return;
        }
        told.finals += u32::from(told.answered.is_none() || code >= 300);
        let Some(leg) = self.legs.get_mut(&call) else {
            return;
        };
        leg.on_response(&text);
        let ack = leg.ack(&text).map(|ack| ack.write());
        if code < 300 {
            if told.answered.is_none() {
                told.answered = by;
                let end = self.now + self.scenario.talks;
                self.plan(end, Happening::HangUp(call));
            }
        } else {
            told.failed = Some((now, code));
            self.legs.remove(&call);
        }
        if let Some(ack) = ack {
            self.deliver(self.scenario.caller, ack);
        }
    }

    fn callee(&mut self, at: Address) -> &mut Callee {
        let (rings, answers) = self.scenario.rings;
        self.callees
            .entry(at)
            .or_insert_with(|| Callee::new(at, rings, answers))
    }

    /// Sends what a callee says, and plans what it does next.
    fn follow(&mut self, at: Address, steps: callee::Steps) {
        for bytes in steps.says {
            self.deliver(at, bytes);
        }
        for (call, after) in steps.next {
            self.plan(self.now + after, Happening::Step(at, call));
        }
    }

    fn deliver(&mut self, from: Address, bytes: Vec<u8>) {
        self.plan(self.now + WIRE, Happening::ToTrunkline(from, bytes));
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
                Effect::Send { to, bytes, .. } => {
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
        if bytes.starts_with(b"INVITE ")
            && let Some(call) = Text::read(bytes).as_ref().and_then(call_of)
            && let Some(call) = self.out.calls.get_mut(call)
        {
            call.first = call.first.or(Some(to));
        }
        if bytes.starts_with(b"OPTIONS ") {
            self.out.probes.push((self.now, to));
        }
        self.plan(self.now + WIRE, Happening::ToPeer(to, bytes.to_vec()));
    }

    fn finish(mut self) -> Outcome {
        let calls = &self.out.calls;
        let taken = self
            .callees
            .iter()
            .flat_map(|(at, callee)| callee.holds().map(move |call| (*at, call)));
        self.out.orphans = taken
            .filter(|(at, call)| calls[*call].answered != Some(*at))
            .count();
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
        self.out
    }
}
