//! One shard's worth of SIP proxy: the one `match` over everything that can happen to it.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use memchr::memmem;
use trunkline_sip::{Head, Limits, Malformed, Message, Name, peek};

use crate::{
    Event, Moment,
    branch::BranchToken,
    context::{self, Context},
    contexts::Contexts,
    engine::{Alarm, Asker, Engine, LOCAL, Turn},
    event::{HealthState, Load, Peer},
    forward::OwnVia,
    health::{Evidence, News},
    hop::{Hop, HopLoss, ShardId},
    local,
    outbox::Outbox,
    question::{Answer, AskId},
    reject::Reject,
    request::Source,
    routing::{Candidate, Routing},
    settings::{Place, UnknownSource},
    shared::Shared,
    shed,
    table::Slot,
};

/// What we read at most (BEHAVIOUR 9).
pub(crate) const LIMITS: Limits = Limits {
    message: 65_535,
    headers: 256,
    line: 8192,
};
/// How often the sizes of the tables are told at most.
const LOAD_EVERY: Duration = Duration::from_secs(1);
/// Calls that one look for those that are over forgets; the rest follow soon, after packets.
const CALLS_PER_SWEEP: usize = 1000;
/// How soon.
const SWEEP_AGAIN: Duration = Duration::from_millis(20);
/// Longer than this no call is remembered; its BYE still travels by its token.
const CALL_LIFE_MAX: Duration = Duration::from_secs(12 * 3600);
/// Timers that one [`Input::Deadline`] works off; the rest follow in the next turn, after packets.
const ALARMS_PER_TURN: usize = 512;

/// Something that happened outside.
#[derive(Debug)]
pub enum Input<'a> {
    /// One whole message: a datagram, or one frame of a stream.
    Message {
        /// Who sent it, and over what.
        from: Hop,
        /// Its bytes.
        bytes: &'a [u8],
    },
    /// A hop cannot be used: refused, reset, unreachable, too slow to connect. For datagrams and
    /// failed connects `connection` is `None`.
    HopLost {
        /// Which.
        hop: Hop,
        /// Why.
        why: HopLoss,
    },
    /// The answer to an [`Effect::Ask`](crate::Effect::Ask).
    Answer {
        /// To which.
        ask: AskId,
        /// What came back.
        answer: Answer,
    },
    /// A new snapshot: file or DNS changed.
    Routing(Arc<Routing>),
    /// Another shard has seen something of a candidate: its [`Effect::Share`](crate::Effect::Share).
    PeerHealth(News),
    /// How long what is read now has waited, as well as whoever reads can tell: for one, since all
    /// sockets were last found empty. Said once a turn at most, and once more when it is zero
    /// again. See [`pressure`](crate::pressure).
    Backlog(Duration),
    /// Take no new calls, finish what runs.
    Drain,
    /// `now` has reached [`Proxy::next_deadline`].
    Deadline,
}

/// The secrets and the chance of one process.
#[derive(Clone)]
pub struct Seed {
    /// Keys dialog tokens; the same on every node of a cluster and after a restart.
    pub cluster: [u8; 16],
    /// Keys branches and table hashes; new for every process.
    pub process: [u8; 16],
}

/// Ties the monotonic clock to wall time, which tokens carry.
#[derive(Copy, Clone, Debug)]
pub struct Clock {
    /// A moment of the monotonic clock.
    pub at: Instant,
    /// The same moment in seconds since 1970.
    pub unix: u64,
}

/// One shard's worth of SIP proxy. Performs no I/O and owns no clock.
pub struct Proxy {
    contexts: Contexts,
    engine: Engine,
    due: Vec<crate::health::PeerIx>,
    /// What was told of the tables last, and when.
    load_told: (Moment, Load),
}

impl Proxy {
    /// A proxy with nothing in work.
    ///
    /// `shared` is the same for all shards of a process.
    pub fn new(
        shard: ShardId,
        clock: Clock,
        routing: Arc<Routing>,
        seed: Seed,
        shared: Arc<Shared>,
    ) -> Self {
        let began = shared.moment(clock.at);
        Proxy {
            contexts: Contexts::default(),
            engine: Engine::new(shard, clock, routing, &seed, shared),
            due: Vec::new(),
            load_told: (began, Load::default()),
        }
    }

    /// Applies one input. Everything that should happen as a result is in `out` on return.
    /// `now` never decreases from one call to the next.
    pub fn handle(&mut self, now: Instant, input: Input<'_>, out: &mut Outbox) {
        self.handle_at(self.engine.shared.moment(now), input, out);
    }

    /// [`handle`](Self::handle) for who counts time as we do: in moments since the epoch of [`Shared`].
    #[inline]
    pub fn handle_at(&mut self, now: Moment, input: Input<'_>, out: &mut Outbox) {
        match input {
            Input::Message { from, bytes } => self.hear_at(now, from, bytes, out),
            rare => self.handle_rare(now, rare, out),
        }
    }

    /// What a message is not: far rarer, and longer to tell apart.
    #[inline(never)]
    fn handle_rare(&mut self, now: Moment, input: Input<'_>, out: &mut Outbox) {
        match input {
            Input::Message { from, bytes } => return self.hear_at(now, from, bytes, out),
            Input::HopLost { hop, why } => self.on_hop_lost(now, hop, why, out),
            Input::Answer { ask, answer } => self.on_answer(now, ask, answer, out),
            Input::Routing(routing) => self.on_routing(now, routing, out),
            Input::PeerHealth(news) => self.on_peer_health(now, news, out),
            Input::Backlog(waited) => return self.engine.pressure.hear(now, waited),
            Input::Drain => self.engine.draining = true,
            Input::Deadline => self.on_deadline(now, out),
        }
        self.settle(now, out);
    }

    /// [`handle_at`](Self::handle_at) of a [message](Input::Message): most inputs are one.
    #[inline]
    pub fn hear_at(&mut self, now: Moment, from: Hop, bytes: &[u8], out: &mut Outbox) {
        self.on_message(now, from, bytes, out);
        self.settle(now, out);
    }

    /// What an input may have left to do.
    fn settle(&mut self, now: Moment, out: &mut Outbox) {
        self.stir(now, out);
        self.tell_load(now, out);
    }

    /// Says how full the tables are: once a second while that changes, and when the last request
    /// is forgotten, so that what is shown of an idle proxy is true.
    fn tell_load(&mut self, now: Moment, out: &mut Outbox) {
        let is_early = now < self.load_told.0 + LOAD_EVERY;
        if is_early && (self.contexts.len() > 0 || self.load_told.1.contexts == 0) {
            return;
        }
        let load = self.load();
        if load != self.load_told.1 {
            let shard = self.engine.shard;
            out.tell(Event::Load { shard, load });
        }
        self.load_told = (now, load);
    }

    /// When to call `handle` with [`Input::Deadline`]. Changes only inside `handle`.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.engine.shared.instant(self.next_moment())
    }

    /// [`next_deadline`](Self::next_deadline) as a moment; [`Moment::NEVER`] where there is none.
    #[inline]
    pub fn next_moment(&self) -> Moment {
        let health = if self.engine.draining {
            None
        } else {
            self.engine.health.next_deadline()
        };
        let timers = self.engine.lanes.next().unwrap_or(Moment::NEVER);
        health.map_or(timers, |health| health.min(timers))
    }

    /// Whether nobody waits for anything, ACKs included. Established calls do not count: they live in
    /// their tokens; nor do transactions that only linger in case a copy comes.
    pub fn is_idle(&self) -> bool {
        self.contexts.is_idle()
            && self.engine.unacked.is_empty()
            && !local::is_busy(&self.engine.locals)
    }

    /// The sizes of all tables.
    pub fn load(&self) -> Load {
        self.engine.load(self.contexts.len())
    }

    /// What is left in every table: for tests.
    #[doc(hidden)]
    pub fn census(&self) -> crate::census::Census {
        let census = self.engine.census();
        crate::census::Census {
            contexts: self.contexts.len() as usize,
            parked: self.contexts.parked(),
            ..census
        }
    }

    /// The health of every known candidate, for status.
    pub fn peers(&self) -> impl Iterator<Item = (Peer, HealthState)> + '_ {
        self.engine
            .health
            .iter()
            .map(|(_, peer, state)| (peer, state))
    }

    fn on_message(&mut self, now: Moment, from: Hop, bytes: &[u8], out: &mut Outbox) {
        if peek::is_response(bytes) {
            return self.on_response(now, from, bytes, out);
        }
        let snapshot = Arc::clone(&self.engine.snapshot);
        let role = snapshot.routing().role(from.remote.ip());
        let known = !role.is_unknown();
        if !known && !self.may_speak(now, from, bytes, out) {
            return;
        }
        let mut turn = Turn {
            now,
            engine: &mut self.engine,
            out,
        };
        if known && shed::is_dealt_with(&mut turn, from, bytes) {
            return;
        }
        let mut room = None;
        match Message::parse_in(&mut room, bytes, &LIMITS) {
            Ok(message) => {
                let source = Source { from, role };
                self.contexts
                    .on_request(message, source, &snapshot, &mut turn)
            }
            Err(malformed) => on_malformed(&mut turn, from, known, bytes, malformed),
        }
    }

    /// Whether somebody allowed this source.
    fn knows(&self, from: Hop) -> bool {
        let routing = self.engine.snapshot.routing();
        !routing.role(from.remote.ip()).is_unknown()
    }

    /// Whether nobody would miss what comes from this address: no configuration and no name that it mentions leads
    /// there, no webhook did, and what comes is dropped without an answer.
    pub fn is_stranger(&self, now: Instant, source: IpAddr) -> bool {
        self.is_stranger_at(self.engine.shared.moment(now), source)
    }

    /// [`is_stranger`](Self::is_stranger) for who counts time as we do.
    pub fn is_stranger_at(&self, now: Moment, source: IpAddr) -> bool {
        let routing = self.engine.snapshot.routing();
        let mut candidates = routing.places().iter().flat_map(|it| &it.candidates);
        routing.settings().access.unknown_source == UnknownSource::Drop
            && routing.role(source).is_unknown()
            && !self.engine.is_guest(source, now)
            && !candidates.any(|candidate| candidate.addr.ip() == source)
    }

    /// Whether a request from a source that nobody allowed is looked at any further: only one
    /// that may belong to a dialog of ours is, and only so often.
    #[inline(never)]
    fn may_speak(&mut self, now: Moment, from: Hop, bytes: &[u8], out: &mut Outbox) -> bool {
        let access = self.engine.snapshot.settings().access;
        let why = if !self.engine.may_speak(now, from.remote.ip(), access.rate) {
            "rate"
        } else if memmem::find(bytes, b";tl=").is_some()
            || self.engine.is_guest(from.remote.ip(), now)
        {
            return true;
        } else {
            "unknown_source"
        };
        let mut turn = Turn {
            now,
            engine: &mut self.engine,
            out,
        };
        match access.unknown_source {
            UnknownSource::Reject if why == "unknown_source" => {
                match Message::parse(bytes, &LIMITS) {
                    Ok(message) if message.is_request() => {
                        turn.reject(&message, from, Reject::NotAllowed, &[])
                    }
                    Ok(_) | Err(_) => turn.tell(Event::Dropped { from, why }),
                }
            }
            UnknownSource::Reject | UnknownSource::Drop => turn.tell(Event::Dropped { from, why }),
        }
        false
    }

    fn on_response(&mut self, now: Moment, from: Hop, bytes: &[u8], out: &mut Outbox) {
        // Nearly all bring our line back as it was: it need not be looked for.
        let own = peek::first_header(bytes).and_then(|at| {
            let mut faces = self.engine.snapshot.faces();
            faces.find_map(|(_, face)| OwnVia::read(bytes, at, face))
        });
        let branch = match &own {
            Some(own) => Some(&own.branch[..]),
            None => peek::top_branch(bytes),
        };
        let Some(token) = branch.and_then(|branch| self.asked_with(branch)) else {
            return self.on_stray(from, bytes, out);
        };
        let mut room = None;
        let read = match &own {
            Some(own) => {
                let earlier = self.earlier(&token);
                Message::parse_below(&mut room, bytes, own.line, earlier, &LIMITS)
            }
            None => Message::parse_in(&mut room, bytes, &LIMITS),
        };
        let response = match read {
            // Those to what we asked ourselves are not checked any further.
            Ok(response) if token.attempt != LOCAL || response.top_via().is_ok() => response,
            Ok(_) | Err(_) => return self.on_stray(from, bytes, out),
        };
        let slot = token.named();
        let mut turn = Turn {
            now,
            engine: &mut self.engine,
            out,
        };
        if token.attempt == LOCAL {
            return local::on_response(&mut turn, slot, response);
        }
        // What is wrong in it would be wrong in our ACK and our BYE, and upstream.
        let settled = match (own, response.first(Name::Via)) {
            (Some(own), Some(via)) if via.line == own.line => response.settle_below(),
            _ => response.settle(),
        };
        if let Err(malformed) = settled {
            return turn.tell(Event::Dropped {
                from,
                why: malformed.fault.word(),
            });
        }
        let response = &*response;
        self.contexts.with(slot, &mut turn, |context, turn| {
            context.on_response(slot, usize::from(token.attempt), from, response, turn);
        });
    }

    /// Whose request has this branch, if it is one of ours that is still known: the attempt has kept it
    /// as it was written. The tag in it is 64 bits that nobody else can make.
    fn asked_with(&self, branch: &[u8]) -> Option<BranchToken> {
        let token = BranchToken::claimed(branch)?;
        let is_ours = if token.attempt == LOCAL {
            self.engine.branches.read(branch).is_some()
        } else {
            let context = self.contexts.slab.get(token.named())?;
            let attempt = context.attempts.get(usize::from(token.attempt))?;
            attempt.branch.as_ref() == branch
        };
        (is_ours && token.shard == self.engine.shard).then_some(token)
    }

    /// What was read of an answer before this one.
    #[inline]
    fn earlier(&self, token: &BranchToken) -> Option<(&Head, &[u8])> {
        if token.attempt == LOCAL {
            return None;
        }
        self.contexts.slab.get(token.named())?.earlier()
    }

    /// RFC 6026 §7.3: a response that nobody asked for goes nowhere, and a stranger's not even to the
    /// parser.
    #[cold]
    fn on_stray(&self, from: Hop, bytes: &[u8], out: &mut Outbox) {
        let mut room = None;
        let fault = match self.knows(from) {
            true => Message::parse_in(&mut room, bytes, &LIMITS).err(),
            false => None,
        };
        out.tell(Event::Dropped {
            from,
            why: fault.map_or("stray_response", |malformed| malformed.fault.word()),
        });
    }

    #[inline(never)]
    fn on_hop_lost(&mut self, now: Moment, hop: Hop, why: HopLoss, out: &mut Outbox) {
        let peer = self.engine.health.lookup(&hop.peer());
        let waiting = self.engine.waiting.list(peer, hop);
        let mut turn = Turn {
            now,
            engine: &mut self.engine,
            out,
        };
        local::hop_lost(&mut turn, hop, why.word());
        for slot in waiting {
            self.contexts.with(slot, &mut turn, |context, turn| {
                context.hop_lost(slot, hop, why, turn)
            });
        }
    }

    #[inline(never)]
    fn on_answer(&mut self, now: Moment, ask: AskId, answer: Answer, out: &mut Outbox) {
        let Some(asker) = self.engine.asks.remove(&ask) else {
            return;
        };
        match asker {
            Asker::Nobody => {}
            Asker::Webhook(slot) => self.with_context(now, slot, out, |context, turn| {
                context.on_webhook(slot, answer, turn);
            }),
            Asker::Dial(slot, place) => {
                let candidates = self.learn(now, place, answer);
                self.with_context(now, slot, out, |context, turn| {
                    context.on_dial_resolved(slot, candidates, turn);
                });
            }
            Asker::Parked(place) => {
                let parked = self.contexts.unpark(&place);
                self.learn(now, place, answer);
                for (from, bytes) in parked {
                    self.on_message(now, from, &bytes, out);
                }
            }
        }
    }

    /// Remembers what a name resolves to. A failure is remembered too, for a second, so that the
    /// messages that waited are answered and do not wait again.
    fn learn(&mut self, now: Moment, place: Place, answer: Answer) -> Vec<Candidate> {
        let (candidates, ttl) = match answer {
            Answer::Resolved { candidates, ttl } => (candidates, ttl),
            Answer::ResolveFailed | Answer::Http { .. } | Answer::HttpFailed(_) => {
                (Vec::new(), Duration::ZERO)
            }
        };
        self.engine
            .remember_name(place, candidates.clone(), ttl, now);
        candidates
    }

    #[inline(never)]
    fn on_routing(&mut self, now: Moment, routing: Arc<Routing>, out: &mut Outbox) {
        self.engine.adopt(routing, now);
        let (shard, load) = (self.engine.shard, self.load());
        self.load_told = (now, load);
        out.tell(Event::Load { shard, load });
    }

    #[inline(never)]
    fn on_peer_health(&mut self, now: Moment, news: News, out: &mut Outbox) {
        // One that is not configured here, or no more, is nobody's business.
        let Some(ix) = self.engine.health.lookup(&news.peer) else {
            return;
        };
        if let Some(change) = self.engine.health.learn(now, ix, news.evidence) {
            Turn {
                now,
                engine: &mut self.engine,
                out,
            }
            .changed(change);
        }
    }

    fn on_deadline(&mut self, now: Moment, out: &mut Outbox) {
        for _ in 0..ALARMS_PER_TURN {
            let Some(alarm) = self.engine.lanes.pop_expired(now) else {
                break;
            };
            match alarm {
                Alarm::Context(slot, ring) => self.with_context(now, slot, out, |context, turn| {
                    context.on_ring(slot, ring, turn);
                }),
                Alarm::Local(slot, ring) => {
                    local::on_ring(
                        &mut Turn {
                            now,
                            engine: &mut self.engine,
                            out,
                        },
                        slot,
                        ring,
                    );
                }
                Alarm::Sweep => self.sweep_calls(now, out),
            }
            self.stir(now, out);
        }
        self.watch_health(now, out);
    }

    /// What time alone changes in the health of candidates, and the probes that are due.
    fn watch_health(&mut self, now: Moment, out: &mut Outbox) {
        if self.engine.draining
            || self
                .engine
                .health
                .next_deadline()
                .is_none_or(|due| due > now)
        {
            return;
        }
        let mut lessons = Vec::new();
        self.engine.health.sweep(now, &mut lessons);
        let mut turn = Turn {
            now,
            engine: &mut self.engine,
            out,
        };
        for (ix, lesson) in lessons {
            turn.learned(ix, lesson, Evidence::Silent);
        }
        let mut due = std::mem::take(&mut self.due);
        turn.engine.health.due_probes(now, &mut due);
        for ix in due.drain(..) {
            let timeout = turn.engine.health.settings(ix).probe_timeout;
            local::probe(&mut turn, ix, timeout);
        }
        self.due = due;
    }

    #[inline(never)]
    fn sweep_calls(&mut self, now: Moment, out: &mut Outbox) {
        let mut turn = Turn {
            now,
            engine: &mut self.engine,
            out,
        };
        let calls = &turn.engine.calls;
        let parts = turn.engine.sweep.parts(calls.len());
        let overdue = calls.overdue(parts, now, CALL_LIFE_MAX, CALLS_PER_SWEEP);
        let is_all = overdue.len() < CALLS_PER_SWEEP;
        for (key, why) in overdue {
            context::forget_call(&mut turn, key, why);
        }
        let left = turn.engine.calls.len();
        turn.engine.sweep.armed = left > 0;
        if left > 0 {
            let after = if is_all {
                turn.engine.sweep.done(left)
            } else {
                SWEEP_AGAIN
            };
            turn.arm(after, Alarm::Sweep);
        }
    }

    /// Moves the calls on that waited on a candidate which has just turned down.
    #[inline]
    fn stir(&mut self, now: Moment, out: &mut Outbox) {
        if !self.engine.stirred.is_empty() {
            self.stir_all(now, out);
        }
    }

    #[inline(never)]
    fn stir_all(&mut self, now: Moment, out: &mut Outbox) {
        // Each round can only take a further candidate down, so it ends.
        while let Some((slot, peer)) = self.engine.stirred.pop_front() {
            self.with_context(now, slot, out, |context, turn| {
                context.peer_down(slot, peer, turn)
            });
        }
    }

    fn with_context(
        &mut self,
        now: Moment,
        slot: Slot,
        out: &mut Outbox,
        work: impl FnOnce(&mut Context, &mut Turn<'_>),
    ) {
        self.contexts.with(
            slot,
            &mut Turn {
                now,
                engine: &mut self.engine,
                out,
            },
            work,
        );
    }
}

/// What cannot be read: a source that somebody allowed hears 400, as far as it can be answered.
#[cold]
fn on_malformed(turn: &mut Turn<'_>, from: Hop, known: bool, bytes: &[u8], malformed: Malformed) {
    match Message::salvage(bytes, &LIMITS).filter(|message| message.is_request()) {
        Some(message) if known => turn.reject(&message, from, Reject::from(malformed), &[]),
        Some(_) | None => turn.tell(Event::Dropped {
            from,
            why: malformed.fault.word(),
        }),
    }
}
