//! What every part of the proxy shares while it decides: the tables, the timers, the chance.
//!
//! Contexts are kept apart from it (in [`Proxy`](crate::Proxy)), so that a context can change
//! itself and these at once.

pub mod waiting;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::BuildHasherDefault,
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use trunkline_sip::Message;

use crate::{
    Clock, Event, Hop, Moment, Outbox, Seed, ShardId, Shared,
    branch::{BranchText, BranchToken, Branches},
    dialog::{self, Calls},
    dice::Cup,
    event::{HealthState, Load},
    health::{Change, Evidence, HealthTable, Lesson, News, PeerIx},
    local::Local,
    paper::Papers,
    pressure::Pressure,
    question::{AskId, Question},
    recovery::Aftermath,
    reject::Reject,
    routing::{Candidate, Routing},
    settings::{Place, TrunkId},
    shed::Refusals,
    snapshot::Snapshot,
    spread::Spread,
    sweep::Sweep,
    table::{Slab, Slot, room_after_peak},
    timer::{Armed, Lanes},
    token::Tokens,
};
pub use waiting::Ticket;
use waiting::{Mixed, Waiting};

/// `attempt` of a [`BranchToken`] that names a transaction of our own (probe, BYE).
pub const LOCAL: u8 = u8::MAX;

/// What a timer is for. Hardly any is taken back: when one surfaces, the state of what it names
/// tells whether it still matters.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Alarm {
    /// A context's.
    Context(Slot, Ring),
    /// A transaction of our own.
    Local(Slot, LocalRing),
    /// Established calls that outlived any call.
    Sweep,
}

/// Which timer of a context. RFC 3261's letters, and ours.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Ring {
    /// A or E: send attempt again, if it was sent this often.
    Resend(u8, u8),
    /// No response at all for `response_timeout` (B or F where nothing else is left to try).
    Try(u8),
    /// Only a 100 for `progress_timeout`, or for a while after its candidate turned down.
    Progress(u8),
    /// C: ringing for `answer_timeout`.
    Answer(u8),
    /// D, K or M: the attempt's transaction is over.
    Done(u8),
    /// An abandoned attempt has been silent for 64*T1.
    Linger(u8),
    /// Send the CANCEL again, if it was sent this often.
    Cancel(u8, u8),
    /// G: send our failure again, if it was sent this often.
    Reply(u8),
    /// H, I, J or L: the server transaction is over.
    ServerDone,
    /// H: no ACK came.
    NoAck,
    /// The call's turn in the line for this trunk's carrier (`cps`).
    Turn(TrunkId),
    /// Disaster recovery waits (a retry, a Pause).
    Recovery,
}

/// Which timer of a transaction of our own.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum LocalRing {
    /// E: send it again, if it was sent this often.
    Resend(u8),
    /// F, or a probe's own timeout.
    GiveUp,
}

/// Who asked the slow side.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asker {
    /// A context's disaster recovery.
    Webhook(Slot),
    /// Nobody: a webhook is told something, and its answer changes nothing.
    Nobody,
    /// A context that dials what a webhook named.
    Dial(Slot, Place),
    /// Messages that wait for a next hop.
    Parked(Place),
}

/// Answers of DNS for next hops that nobody configured, and how long they hold.
type Names = HashMap<Place, (Vec<Candidate>, Moment)>;

/// How long an address that a webhook had us dial may speak inside its dialogs.
const GUEST_FOR: Duration = Duration::from_secs(12 * 3600);

/// Names remembered at most; beyond, expired ones go, then all.
const NAMES_MAX: usize = 1024;

/// Everything but the contexts.
pub struct Engine {
    pub shard: ShardId,
    pub shared: Arc<Shared>,
    clock: (Moment, u64),
    pub branches: Branches,
    pub tokens: Tokens,
    pub cup: Cup,
    pub snapshot: Arc<Snapshot>,
    retired: Vec<Arc<Snapshot>>,
    pub health: HealthTable,
    pub waiting: Waiting,
    pub calls: Calls,
    pub lanes: Lanes<Alarm>,
    pub locals: Slab<Local>,
    pub by_key: Spread<Slot>,
    pub asks: HashMap<AskId, Asker>,
    last_ask: AskId,
    names: Names,
    guests: HashMap<IpAddr, Moment>,
    /// By call: what a webhook is told when it is over.
    pub aftermaths: HashMap<u64, Box<Aftermath>>,
    /// Calls whose 2xx went to the caller and whose ACK has not come by yet: see [`ack_key`].
    pub unacked: HashSet<u64, BuildHasherDefault<Mixed>>,
    /// Contexts whose attempt's candidate has just turned down.
    pub stirred: VecDeque<(Slot, PeerIx)>,
    /// INVITEs outside a dialog whose caller still waits.
    pub in_setup: u32,
    pub draining: bool,
    pub pressure: Pressure,
    pub refusals: Refusals,
    pub sweep: Sweep,
    pub papers: Papers,
}

impl Engine {
    pub fn new(
        shard: ShardId,
        clock: Clock,
        routing: Arc<Routing>,
        seed: &Seed,
        shared: Arc<Shared>,
    ) -> Self {
        let began = shared.moment(clock.at);
        let mut health = HealthTable::new(shard, shared.shards());
        let capacity = routing.settings().capacity.of_one(shared.shards());
        let tokens = Tokens::new(seed.cluster);
        let snapshot = Arc::new(Snapshot::new(
            routing,
            None,
            &tokens,
            &mut health,
            &shared,
            began,
        ));
        Engine {
            shard,
            shared,
            clock: (began, clock.unix),
            branches: Branches::new(seed.process),
            tokens,
            cup: Cup::new(&seed.process),
            snapshot,
            retired: Vec::new(),
            health,
            waiting: Waiting::default(),
            calls: Calls::new(capacity.calls),
            lanes: Lanes::new(),
            locals: Slab::default(),
            by_key: Spread::default(),
            asks: HashMap::new(),
            last_ask: AskId::none_yet(shard),
            names: HashMap::new(),
            guests: HashMap::new(),
            aftermaths: HashMap::new(),
            unacked: HashSet::default(),
            stirred: VecDeque::new(),
            in_setup: 0,
            draining: false,
            pressure: Pressure::default(),
            refusals: Refusals::new(Branches::refusal_sums(seed.process)),
            sweep: Sweep::default(),
            papers: Papers::default(),
        }
    }

    /// Swaps the snapshot; calls in work keep theirs.
    pub fn adopt(&mut self, routing: Arc<Routing>, now: Moment) {
        let fresh = Arc::new(Snapshot::new(
            routing,
            Some(&self.snapshot),
            &self.tokens,
            &mut self.health,
            &self.shared,
            now,
        ));
        let old = std::mem::replace(&mut self.snapshot, fresh);
        if !Arc::ptr_eq(old.routing().settings(), self.snapshot.routing().settings()) {
            // Another file: trunks may stand elsewhere in it.
            self.calls
                .renumber(|trunk| old.translate(&self.snapshot, trunk));
        }
        self.retired.push(old);
        self.health.retain_configured(now, self.snapshot.peers());
        self.release_retired();
    }

    /// Lets go of snapshots that no call pins any more.
    pub fn release_retired(&mut self) {
        let health = &mut self.health;
        self.retired.retain(|snapshot| {
            let pinned = Arc::strong_count(snapshot) > 1;
            if !pinned {
                snapshot.release(health);
            }
            pinned
        });
    }

    /// Names a dialog, whichever side speaks: see [`Calls`].
    #[inline]
    pub fn dialog(&self, call_id: &[u8], tag_a: &[u8], tag_b: &[u8]) -> u64 {
        dialog::key(|parts| self.branches.key(parts), call_id, tag_a, tag_b)
    }

    /// Names the dialog of a message.
    pub fn dialog_of(&self, message: &Message<'_>) -> u64 {
        self.dialog(
            message.call_id().unwrap_or_default(),
            message.from_tag().unwrap_or_default(),
            message.to_tag().unwrap_or_default(),
        )
    }

    /// An ACK has come, or is not waited for any more.
    pub fn forget_unacked(&mut self, key: u64) {
        self.unacked.remove(&key);
        if let Some(room) = room_after_peak(self.unacked.len(), self.unacked.capacity()) {
            self.unacked.shrink_to(room);
        }
    }

    /// Seconds since 1970.
    pub fn unix(&self, at: Moment) -> u64 {
        let (began, unix) = self.clock;
        unix + at.saturating_duration_since(began).as_secs()
    }

    /// Our branch for one attempt of a context, or of a transaction of our own.
    pub fn branch(&self, slot: Slot, attempt: u8, loop_print: u64) -> BranchText {
        let token = BranchToken {
            shard: self.shard,
            slot: slot.index,
            generation: slot.generation,
            attempt,
        };
        self.branches.write(token, loop_print)
    }

    /// The remembered answer for a next hop that is not configured.
    pub fn name(&self, place: &Place, now: Moment) -> Option<&[Candidate]> {
        self.names
            .get(place)
            .filter(|(_, until)| *until > now)
            .map(|(candidates, _)| &candidates[..])
    }

    /// Remembers such an answer.
    pub fn remember_name(
        &mut self,
        place: Place,
        candidates: Vec<Candidate>,
        ttl: Duration,
        now: Moment,
    ) {
        if self.names.len() >= NAMES_MAX {
            self.names.retain(|_, (_, until)| *until > now);
            if self.names.len() >= NAMES_MAX {
                self.names.clear();
            }
        }
        let ttl = ttl.clamp(Duration::from_secs(1), Duration::from_secs(300));
        self.names.insert(place, (candidates, now + ttl));
    }

    /// Whether a source that nobody configured is still within `rate` messages a second.
    pub fn may_speak(&self, now: Moment, source: IpAddr, rate: u32) -> bool {
        let source = match source {
            IpAddr::V4(ip) => self.branches.key(&[b"source", &ip.octets()]),
            IpAddr::V6(ip) => self.branches.key(&[b"source", &ip.octets()]),
        };
        self.shared.sources.take(now.since_epoch(), source, rate)
    }

    /// Whether this address, unknown as it is, takes part in a call that a webhook had us dial.
    pub fn is_guest(&self, ip: IpAddr, now: Moment) -> bool {
        self.guests.get(&ip).is_some_and(|until| *until > now)
    }

    /// Lets an address that a webhook named speak inside its dialogs.
    pub fn invite_guest(&mut self, ip: IpAddr, now: Moment) {
        if self.guests.len() >= NAMES_MAX {
            self.guests.retain(|_, until| *until > now);
        }
        if self.guests.len() < NAMES_MAX {
            self.guests.insert(ip, now + GUEST_FOR);
        }
    }

    /// What is in the tables, for tests.
    pub fn census(&self) -> crate::census::Census {
        let of_snapshots: usize = self
            .retired
            .iter()
            .chain([&self.snapshot])
            .map(|it| it.holds())
            .sum();
        crate::census::Census {
            keys: self.by_key.len(),
            waiting: self.waiting.len(),
            in_setup: self.in_setup as usize,
            calls: self.calls.len(),
            active: self.shared.tallies.calls(),
            locals: self.locals.len() as usize,
            asks: self.asks.len(),
            aftermaths: self.aftermaths.len(),
            timers: self.lanes.len(),
            holds: self.health.holds() - of_snapshots,
            retired: self.retired.len(),
            addresses: self.names.len() + self.guests.len(),
            ..Default::default()
        }
    }

    /// Sizes of all tables.
    pub fn load(&self, contexts: u32) -> Load {
        Load {
            contexts,
            calls_in_setup: self.in_setup,
            calls_active: self.calls.len() as u32,
            timers: self.lanes.len() as u32,
        }
    }
}

/// What an ACK and the 2xx that it answers have in common: their dialog, by its
/// [key](Engine::dialog), and the number of the INVITE.
pub fn ack_key(dialog: u64, cseq: u32) -> u64 {
    dialog.wrapping_add(u64::from(cseq))
}

/// One input being worked on: the time, the shared tables, and where effects go.
pub struct Turn<'t> {
    pub now: Moment,
    pub engine: &'t mut Engine,
    pub out: &'t mut Outbox,
}

/// How long a stream to a peer may take to open when no trunk says.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

impl Turn<'_> {
    /// Sends one message.
    pub fn send(&mut self, to: Hop, write: impl FnOnce(&mut Vec<u8>)) {
        self.out.send(to, CONNECT_WITHIN, write);
    }

    /// Tells what happened.
    pub fn tell(&mut self, event: Event) {
        self.out.tell(event);
    }

    /// Arms a timer.
    pub fn arm(&mut self, after: Duration, alarm: Alarm) {
        self.arm_for_now(after, alarm);
    }

    /// Arms a timer that most likely will be taken back.
    pub fn arm_for_now(&mut self, after: Duration, alarm: Alarm) -> Option<Armed> {
        self.engine.lanes.arm(self.now, after, alarm)
    }

    /// Asks the slow side.
    pub fn ask(&mut self, who: Asker, question: Question) -> AskId {
        self.engine.last_ask.0 += 1;
        let id = self.engine.last_ask;
        self.engine.asks.insert(id, who);
        self.out.ask(id, question);
        id
    }

    /// Evidence about a candidate.
    pub fn observe(&mut self, peer: Option<PeerIx>, evidence: Evidence) {
        let Some(peer) = peer else { return };
        let lesson = self.engine.health.observe(self.now, peer, evidence);
        self.learned(peer, lesson, evidence);
    }

    /// What evidence of our own came to: the other shards hear of it before anybody acts on it.
    pub fn learned(&mut self, ix: PeerIx, lesson: Lesson, evidence: Evidence) {
        if lesson.is_news {
            let peer = self.engine.health.peer(ix);
            self.out.share(News { peer, evidence });
        }
        if let Some(change) = lesson.change {
            self.changed(change);
        }
    }

    /// An attempt of a call is sent to a candidate.
    pub fn sent_to(&mut self, ix: PeerIx) {
        self.engine.health.hold(ix);
        if self.engine.health.sent(self.now, ix) {
            let peer = self.engine.health.peer(ix);
            let evidence = Evidence::Trial;
            self.out.share(News { peer, evidence });
        }
    }

    /// A candidate's health changed: the shard that tends it says so, and every shard stirs those
    /// who wait on it.
    pub fn changed(&mut self, change: Change) {
        let peer = self.engine.health.peer(change.ix);
        if self.engine.health.tends(change.ix) {
            self.tell(Event::Health {
                peer,
                was: change.was,
                is: change.is,
                why: change.why,
            });
        }
        if change.is == HealthState::Down {
            let hop = Hop {
                transport: peer.transport,
                listener: peer.listener,
                remote: peer.addr,
                connection: None,
            };
            let waiting = self.engine.waiting.list(Some(change.ix), hop);
            self.engine
                .stirred
                .extend(waiting.into_iter().map(|slot| (slot, change.ix)));
        }
    }

    /// Answers a request without any state (its retransmission is answered in the same way).
    pub fn reject(
        &mut self,
        request: &Message<'_>,
        from: Hop,
        reject: Reject,
        extra: &[(&str, &[u8])],
    ) {
        crate::reply::stateless(self, request, from, reject, extra);
    }
}
