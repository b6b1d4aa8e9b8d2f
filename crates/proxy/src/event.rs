//! What happened, in the domain's words, for metrics, logs and records.
//!
//! Small and `Copy` where it is said for every message; boxed where it is said once a call.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use smallvec::SmallVec;
use trunkline_sip::Transport;

use crate::{
    hop::{Hop, ListenerId, ShardId},
    settings::TrunkId,
};

/// One thing that happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A request ended here with our own final response.
    Rejected {
        /// Who sent it.
        from: Hop,
        /// The code we answered.
        status: u16,
        /// Why, as a metric label.
        why: &'static str,
    },
    /// A message was dropped without an answer.
    Dropped {
        /// Who sent it.
        from: Hop,
        /// Why, as a metric label.
        why: &'static str,
    },
    /// An INVITE outside a dialog was admitted.
    CallStarted {
        /// Which way.
        direction: Direction,
        /// The trunk it first goes to or came from.
        trunk: TrunkId,
    },
    /// An attempt of a call has its verdict.
    AttemptEnded {
        /// Which way.
        direction: Direction,
        /// The trunk.
        trunk: TrunkId,
        /// The candidate.
        peer: Peer,
        /// The verdict.
        outcome: Outcome,
        /// From its first byte sent to the verdict.
        took: Duration,
    },
    /// The caller has a final response, or gave up.
    CallSetUp(Box<CallRecord>),
    /// An established call is over (BYE, or forgotten after its longest life).
    CallEnded {
        /// Which way.
        direction: Direction,
        /// The trunk.
        trunk: TrunkId,
        /// From the 2xx to its end.
        lasted: Duration,
        /// The call's name on the wire.
        call_id: WireText,
        /// "bye"; "expired", "session_expired" (RFC 4028): forgotten without one.
        why: &'static str,
    },
    /// A 2xx came for a call that was over; we sent ACK and BYE.
    LateAnswer {
        /// The trunk.
        trunk: TrunkId,
        /// Who answered late.
        peer: Peer,
        /// Whether the caller still waited, so that the answer was used.
        used: bool,
    },
    /// A candidate's health changed.
    Health {
        /// The candidate.
        peer: Peer,
        /// What it was.
        was: HealthState,
        /// What it is.
        is: HealthState,
        /// The evidence, for a person.
        why: &'static str,
    },
    /// An OPTIONS of ours has its verdict.
    Probe {
        /// The candidate.
        peer: Peer,
        /// A status code, or `None` for silence or a lost hop.
        status: Option<u16>,
    },
    /// A step of disaster recovery.
    Recovery {
        /// The trunk.
        trunk: TrunkId,
        /// Whether the call is part of a drill.
        drill: bool,
        /// "asked", "answered", "passed_over" (what cannot be carried out), "detail" (what is
        /// left out of what is), "failed", "fallback", "dial", "reject", "hangup",
        /// "redirect", "last_resort", "exhausted".
        step: &'static str,
        /// What exactly, for a person: a status, an error with its place.
        detail: Box<str>,
    },
    /// A call had somewhere else to go and was not tried there: most attempts beyond a call's first
    /// fail at this trunk, and `retry_budget` is used up.
    RetryWithheld {
        /// Which way.
        direction: Direction,
        /// The trunk.
        trunk: TrunkId,
        /// The first in a while.
        is_first: bool,
    },
    /// A request or response was sent again by a timer.
    Retransmitted,
    /// A request larger than [`UDP_SAFE_BYTES`](crate::UDP_SAFE_BYTES) was sent by UDP all the same.
    OversizedDatagram,
    /// A message waited for DNS (a next hop that is not in the configuration).
    Parked,
    /// Whom the sockets keep out before anybody reads it has changed, or nobody is kept out any more. Told
    /// by whoever has the sockets.
    Fence(Box<Fence>),
    /// A shard's table sizes: once a second while they change, when all is at rest, and with
    /// every snapshot.
    Load {
        /// Whose.
        shard: ShardId,
        /// The sizes.
        load: Load,
    },
}

/// What happened at one shard, in order. Whoever has read it sends it back whole, so that its memory, and that
/// of the records in it, is used again where it came from.
#[derive(PartialEq, Debug)]
pub struct Batch {
    /// Where.
    pub shard: ShardId,
    /// What.
    pub events: Vec<Event>,
}

/// Strangers whose datagrams the system drops for us, since they flood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fence {
    /// Whose socket: each shard has one of each listener.
    pub shard: ShardId,
    /// Of which listener.
    pub listener: ListenerId,
    /// Who is kept out, the busiest first. Empty: the flood is over.
    pub sources: Box<[IpAddr]>,
    /// Of the busiest when it was found, datagrams a second.
    pub rate: u32,
    /// Since there was no fence at this socket, datagrams.
    pub turned_away: u64,
}

/// Sizes of one shard's tables.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Load {
    /// Requests in work, lingering ones included.
    pub contexts: u32,
    /// INVITEs outside a dialog without a final response.
    pub calls_in_setup: u32,
    /// Established calls remembered.
    pub calls_active: u32,
    /// Entries in all timer lanes.
    pub timers: u32,
}

impl<'l> std::iter::Sum<&'l Load> for Load {
    fn sum<I: Iterator<Item = &'l Load>>(loads: I) -> Load {
        loads.fold(Load::default(), |sum, load| Load {
            contexts: sum.contexts.saturating_add(load.contexts),
            calls_in_setup: sum.calls_in_setup.saturating_add(load.calls_in_setup),
            calls_active: sum.calls_active.saturating_add(load.calls_active),
            timers: sum.timers.saturating_add(load.timers),
        })
    }
}

/// Which way a call goes.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// From the PBX side out to a carrier.
    Termination,
    /// From a carrier in to the PBX side.
    Origination,
}

impl Direction {
    /// The metric label and log word.
    pub const fn word(self) -> &'static str {
        match self {
            Direction::Termination => "termination",
            Direction::Origination => "origination",
        }
    }
}

/// A candidate as an event names it: what health is kept by.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Peer {
    /// How we speak.
    pub transport: Transport,
    /// With whom.
    pub addr: SocketAddr,
    /// From where.
    pub listener: ListenerId,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.transport.param(), self.addr)
    }
}

/// How an attempt ended (BEHAVIOUR 5).
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// This final response.
    Final(u16),
    /// No response at all within `response_timeout`.
    Silent,
    /// Only 100 within `progress_timeout`.
    NoProgress,
    /// Rang longer than `answer_timeout`.
    NoAnswer,
    /// The hop was lost: the word of a [`HopLoss`](crate::HopLoss).
    Lost(&'static str),
    /// Another call found out that the candidate is down.
    PeerDown,
    /// The caller gave up, or another attempt won.
    Cancelled,
    /// The setup budget ran out.
    OutOfTime,
}

impl Outcome {
    /// The metric label: bounded in number.
    pub const fn word(self) -> &'static str {
        match self {
            Outcome::Final(code) => match code / 100 {
                2 => "answered",
                3 => "3xx",
                4 => "4xx",
                5 => "5xx",
                _ => "6xx",
            },
            Outcome::Silent => "silent",
            Outcome::NoProgress => "no_progress",
            Outcome::NoAnswer => "no_answer",
            Outcome::Lost(_) => "lost",
            Outcome::PeerDown => "peer_down",
            Outcome::Cancelled => "cancelled",
            Outcome::OutOfTime => "out_of_time",
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Outcome::Final(code) => write!(f, "{code}"),
            Outcome::Lost(why) => f.write_str(why),
            Outcome::Silent
            | Outcome::NoProgress
            | Outcome::NoAnswer
            | Outcome::PeerDown
            | Outcome::Cancelled
            | Outcome::OutOfTime => f.write_str(self.word()),
        }
    }
}

/// Text as it came, which need not be UTF-8: whoever shows it makes it so, not the data path. Most fits here, so that
/// no memory goes from thread to thread for it.
#[derive(Clone, Default)]
pub struct WireText(SmallVec<[u8; 48]>);

impl WireText {
    /// This text.
    #[inline]
    pub(crate) fn new(text: &[u8]) -> Self {
        WireText(SmallVec::from_slice(text))
    }

    /// For a person, with U+FFFD for what is no UTF-8. Control characters are still in it.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl PartialEq for WireText {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl From<&str> for WireText {
    fn from(text: &str) -> Self {
        WireText::new(text.as_bytes())
    }
}

impl std::fmt::Debug for WireText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&self.text(), f)
    }
}

/// Bytes of names that need no memory of their own.
const SHORT_NAMES: usize = 96;

/// What a call is called, and between whom it is: in one run of bytes, as they came.
#[derive(Clone)]
pub struct CallNames {
    /// Where most fit, so that a call's record is one piece of memory and not two.
    short: [u8; SHORT_NAMES],
    /// The others; else empty.
    long: Box<[u8]>,
    /// Where Call-ID, caller and called number end.
    ends: [u16; 3],
}

impl Default for CallNames {
    fn default() -> Self {
        CallNames {
            short: [0; SHORT_NAMES],
            long: Box::default(),
            ends: [0; 3],
        }
    }
}

impl PartialEq for CallNames {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for CallNames {}

impl CallNames {
    /// Call-ID, the user part of From, the called number. Together at most 64 KiB, as every message
    /// is; what is longer is cut.
    pub fn new(call_id: &[u8], from: &[u8], to: &[u8]) -> Self {
        let mut names = CallNames::default();
        names.set(call_id, from, to);
        names
    }

    /// Other names, in the same place.
    #[inline]
    pub fn set(&mut self, call_id: &[u8], from: &[u8], to: &[u8]) {
        let ends = [call_id.len(), call_id.len() + from.len()];
        let end = ends[1] + to.len();
        let Some(run) = self.short.get_mut(..end) else {
            return self.set_long(call_id, from, to);
        };
        // Each is a part of it.
        let (names, called) = run.split_at_mut(ends[1]);
        let (name, caller) = names.split_at_mut(ends[0]);
        name.copy_from_slice(call_id);
        caller.copy_from_slice(from);
        called.copy_from_slice(to);
        self.ends = [ends[0] as u16, ends[1] as u16, end as u16];
        if !self.long.is_empty() {
            self.long = Box::default();
        }
    }

    #[cold]
    #[inline(never)]
    fn set_long(&mut self, call_id: &[u8], from: &[u8], to: &[u8]) {
        let mut run = Vec::with_capacity(call_id.len() + from.len() + to.len());
        for (text, end) in [call_id, from, to].into_iter().zip(&mut self.ends) {
            let room = usize::from(u16::MAX) - run.len();
            run.extend_from_slice(&text[..text.len().min(room)]);
            *end = run.len() as u16;
        }
        self.long = run.into_boxed_slice();
    }

    /// Call-ID, caller and called number as they came: of any bytes.
    pub fn parts(&self) -> [&[u8]; 3] {
        let run = match &*self.long {
            [] => &self.short,
            long => long,
        };
        let [call_id, from, to] = self.ends.map(usize::from);
        let part = |range| run.get(range).unwrap_or_default();
        [part(0..call_id), part(call_id..from), part(from..to)]
    }

    /// The call's name on the wire. Control characters are still in it.
    pub fn call_id(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.parts()[0])
    }

    /// The user part of From. Mask it before it reaches a log.
    pub fn from(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.parts()[1])
    }

    /// The called number. Mask it before it reaches a log.
    pub fn to(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.parts()[2])
    }
}

impl std::fmt::Debug for CallNames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?} {:?}", self.call_id(), self.from(), self.to())
    }
}

/// One call's setup: the line in the log.
#[derive(Clone, PartialEq, Debug)]
pub struct CallRecord {
    /// Its name and its parties.
    pub names: CallNames,
    /// Who sent the INVITE.
    pub source: Hop,
    /// Which way.
    pub direction: Direction,
    /// The trunk that took it, else the first tried.
    pub trunk: TrunkId,
    /// The final response the caller got; 487 when it gave up.
    pub status: u16,
    /// Whether that response was made by Trunkline.
    pub own: bool,
    /// The attempts in order.
    pub attempts: SmallVec<[AttemptRecord; 1]>,
    /// From the INVITE to the first provisional above 100, or the final.
    pub first_ring: Option<Duration>,
    /// From the INVITE to the final response.
    pub took: Duration,
    /// What decided the end when it was not an attempt: "exhausted", "cancelled", "recovery", ...
    pub why: &'static str,
    /// The trunk whose drill it was part of.
    pub drill: Option<TrunkId>,
}

impl CallRecord {
    /// One of no call, to be filled.
    pub(crate) fn blank() -> Self {
        CallRecord {
            names: CallNames::default(),
            source: Hop {
                transport: Transport::Udp,
                listener: ListenerId(0),
                remote: (Ipv4Addr::UNSPECIFIED, 0).into(),
                connection: None,
            },
            direction: Direction::Origination,
            trunk: TrunkId(0),
            status: 0,
            own: false,
            attempts: SmallVec::new(),
            first_ring: None,
            took: Duration::ZERO,
            why: "",
            drill: None,
        }
    }
}

/// One attempt of a call.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct AttemptRecord {
    /// The trunk.
    pub trunk: TrunkId,
    /// The candidate.
    pub peer: Peer,
    /// How it ended; `None` while it runs.
    pub outcome: Option<Outcome>,
    /// When it began, from the INVITE.
    pub began: Duration,
    /// How long it took to its verdict.
    pub took: Duration,
}

/// A candidate's health (BEHAVIOUR 7).
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum HealthState {
    /// Gets calls.
    Up,
    /// Gets calls when nothing better is there; probed at once.
    Suspect,
    /// Gets none, unless every candidate of the walk is down.
    Down,
    /// Asked for a pause by 503 with Retry-After; like down until it is over.
    Paused,
}

impl HealthState {
    /// The metric label and log word.
    pub const fn word(self) -> &'static str {
        match self {
            HealthState::Up => "up",
            HealthState::Suspect => "suspect",
            HealthState::Down => "down",
            HealthState::Paused => "paused",
        }
    }
}
