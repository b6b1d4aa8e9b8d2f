//! One received request and everything done for it: its server transaction, its attempts one
//! after the other, and the one final response its sender gets (RFC 3261 §16, "response context").
//!
//! The original request is kept as it came; every message of an attempt is a pure function of it
//! and of the attempt, so nothing is stored twice and a retransmission is the same bytes.

mod attempt;
mod finish;
mod kept;
mod recover;
mod respond;
mod timers;
mod watch;
mod write;

use std::{sync::Arc, time::Duration};

use smallvec::SmallVec;
use trunkline_sip::{Head, Message};

use crate::{
    Hop, Moment,
    branch::BranchText,
    dice::Dice,
    engine::Ticket,
    event::{AttemptRecord, Direction, Outcome},
    health::PeerIx,
    paper::Paper,
    settings::TrunkId,
    snapshot::Snapshot,
    tally::Seat,
    timer::Armed,
    transaction::{client, invite_client, invite_server, server},
    walk::{Addressed, Tried, Walk},
};

pub use finish::RETRY_AFTER;
pub use kept::Kept;
pub use recover::Recovering;
pub use respond::forget_call;

/// Attempts of one call that a branch can tell apart.
pub const ATTEMPTS_MAX: usize = 200;

/// Why a call ended whose caller gave up.
const CANCELLED: &str = "cancelled";

/// What makes a context, found out before it is opened.
pub struct Opening {
    pub key: u64,
    pub kind: Kind,
    pub from: Hop,
    pub back: Hop,
    pub walk: Walk,
    pub in_dialog: Option<InDialog>,
    pub drop_routes: u8,
    pub loop_print: u64,
}

/// What the request is to us.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An INVITE outside a dialog: a call.
    Call,
    /// A re-INVITE.
    ReInvite,
    /// Any other method.
    Other,
}

/// What an in-dialog request carries along.
#[derive(Clone, Debug, Default)]
pub struct InDialog {
    /// The Route that follows is a strict router, or a strict router sent to us.
    pub strict: crate::forward::Strict,
    /// The established call, as its memory names it.
    pub call: Option<u64>,
    /// Whether this request ends it.
    pub ends: bool,
    /// The hop that the side it goes to spoke from.
    pub hop: Option<Hop>,
    /// What hardly any has.
    pub more: Option<Box<MoreInDialog>>,
}

/// What few in-dialog requests carry along.
#[derive(Clone, Debug, Default)]
pub struct MoreInDialog {
    /// The token for the Record-Route of a re-INVITE.
    pub token: Option<TokenBytes>,
    /// Route values to put in, where an endpoint that ignored Record-Route left them out.
    pub routes: Vec<Box<[u8]>>,
}

impl InDialog {
    /// The token for its Record-Route.
    pub fn token(&self) -> Option<&TokenBytes> {
        self.more.as_ref()?.token.as_ref()
    }

    /// Route values to put in.
    pub fn routes(&self) -> &[Box<[u8]>] {
        self.more.as_ref().map_or(&[], |more| &more.routes)
    }
}

/// What the sender of the request has been told.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Caller {
    /// Nothing final.
    Waiting,
    /// This final response.
    Answered(u16),
}

/// A dialog token as text; the longest has 86 characters.
pub type TokenBytes = SmallVec<[u8; 88]>;

/// What a retransmission of the request is answered with.
#[derive(Clone, Debug)]
pub enum Replay {
    /// Nothing.
    Nothing,
    /// Our own 100.
    Trying,
    /// These bytes.
    Response(Box<[u8]>),
    /// These as well, and the next answer most likely begins as they do.
    Ringing(Box<[u8]>, Head),
}

/// The server side's machine.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Server {
    Invite(invite_server::State),
    Other(server::State),
}

/// An attempt's machine.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Client {
    Invite(invite_client::State),
    Other(client::State),
}

/// One client transaction to one candidate.
#[derive(Debug)]
pub struct Attempt {
    pub trunk: TrunkId,
    pub addressed: Addressed,
    /// Its candidate, and the connection it goes by where one is already known.
    pub hop: Hop,
    /// The branch of our Via in its request: an answer with any other is none to it.
    pub branch: BranchText,
    /// The Request-URI it was sent with, where no edge or target says.
    pub request_uri: Arc<[u8]>,
    pub peer: Option<PeerIx>,
    /// The request had tried its trunk before; where its end counts.
    pub further: Option<Direction>,
    /// Its candidate was known to be down when it began.
    pub doubted: bool,
    /// Counts the call for its target until there is a verdict.
    pub seat: Option<Seat>,
    pub client: Client,
    /// How often the request went out.
    pub sends: u8,
    /// How often the CANCEL went out.
    pub cancels: u8,
    /// The CANCEL has its answer, or needs no more copies.
    pub cancel_done: bool,
    /// It is in the list of those that wait on its candidate, under the hop it began with.
    pub waits: Option<Ticket>,
    /// Its Timer A or E, to be taken back when it has its final response: nearly always before it surfaces.
    pub resend: Option<Armed>,
    /// Any response came.
    pub heard: bool,
    /// A provisional above 100 came.
    pub rang: bool,
    /// Its 2xx was ended by ACK and BYE.
    pub reaped: bool,
    pub began: Moment,
    /// When its silence has lasted too long.
    pub silent_at: Moment,
    /// Timer C: moved here by each provisional, and armed when somebody still rings.
    pub answer_at: Moment,
    /// End of an abandoned attempt's remembrance: armed once, moved here.
    pub linger_at: Moment,
    pub verdict: Option<(Outcome, Duration)>,
}

/// Where a call is in the line for a carrier with `cps`.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Line {
    /// In none.
    #[default]
    Outside,
    /// Until its [`Ring::Turn`](crate::engine::Ring::Turn); nothing is tried until then.
    Standing,
    /// Its turn for the carrier of this trunk has come.
    Done(TrunkId),
}

/// The best failure so far (RFC 3261 §16.7.6), ready to be sent upstream.
#[derive(Clone, Debug)]
pub struct Best {
    pub code: u16,
    pub bytes: Box<[u8]>,
}

/// See the module's text.
pub struct Context {
    pub snapshot: Arc<Snapshot>,
    pub key: u64,
    pub kind: Kind,
    /// Who sent the request.
    pub from: Hop,
    /// Where its responses go (RFC 3261 §18.2.2).
    pub back: Hop,
    pub request: Paper,
    pub kept: Kept,
    pub began: Moment,
    pub server: Server,
    /// How often our failure went out.
    pub replies: u8,
    pub replay: Replay,
    pub caller: Caller,
    pub walk: Walk,
    pub dice: Dice,
    pub attempts: SmallVec<[Attempt; 1]>,
    pub best: Option<Box<Best>>,
    pub in_dialog: Option<InDialog>,
    pub recovering: Option<Box<Recovering>>,
    pub drop_routes: u8,
    pub loop_print: u64,
    /// Attempts that the current walk has nothing to do with: those before a webhook's Dial.
    pub walk_from: usize,
    pub first_ring: Option<Duration>,
    /// Names this call among [those whose ACK is awaited](crate::engine::Engine::unacked).
    pub unacked: Option<u64>,
    pub line: Line,
    /// Nobody waits for it any more; it lingers in case a copy comes.
    pub settled: bool,
    /// The attempt whose 2xx the caller has.
    pub winner: Option<u8>,
    /// Why the call ended, when it was not an attempt's answer.
    pub why: &'static str,
    /// The trunk whose drill has taken the call.
    pub drilled: Option<TrunkId>,
}

impl Attempt {
    /// Whether its final response may still come.
    pub fn is_pending(&self) -> bool {
        match self.client {
            Client::Invite(state) => matches!(
                state,
                invite_client::State::Calling | invite_client::State::Proceeding
            ),
            Client::Other(state) => {
                matches!(state, client::State::Trying | client::State::Proceeding)
            }
        }
    }

    fn is_over(&self) -> bool {
        matches!(
            self.client,
            Client::Invite(invite_client::State::Terminated)
                | Client::Other(client::State::Terminated)
        )
    }

    fn is_dead(&self) -> bool {
        match self.verdict {
            Some((outcome, _)) => match outcome {
                Outcome::Silent | Outcome::NoProgress | Outcome::Lost(_) | Outcome::PeerDown => {
                    true
                }
                Outcome::Final(_) | Outcome::NoAnswer | Outcome::Cancelled | Outcome::OutOfTime => {
                    false
                }
            },
            None => false,
        }
    }

    fn record(&self, call_began: Moment, now: Moment) -> AttemptRecord {
        let (outcome, took) = match self.verdict {
            Some((outcome, took)) => (Some(outcome), took),
            None => (None, now.saturating_duration_since(self.began)),
        };
        AttemptRecord {
            trunk: self.trunk,
            peer: self.hop.peer(),
            outcome,
            began: self.began.saturating_duration_since(call_began),
            took,
        }
    }
}

impl Context {
    /// A context with nothing tried yet. `paper`: the request's bytes.
    pub fn new(
        opening: Opening,
        snapshot: Arc<Snapshot>,
        request: &Message<'_>,
        paper: Paper,
        dice: Dice,
        now: Moment,
    ) -> Self {
        Context {
            snapshot,
            key: opening.key,
            kind: opening.kind,
            from: opening.from,
            back: opening.back,
            request: paper,
            kept: match opening.kind {
                Kind::Call => Kept::of(request),
                Kind::ReInvite | Kind::Other => Kept::default(),
            },
            began: now,
            server: match opening.kind {
                Kind::Call | Kind::ReInvite => Server::Invite(invite_server::State::Proceeding),
                Kind::Other => Server::Other(server::State::Trying),
            },
            replies: 0,
            replay: Replay::Nothing,
            caller: Caller::Waiting,
            walk: opening.walk,
            dice,
            attempts: SmallVec::new(),
            best: None,
            in_dialog: opening.in_dialog,
            recovering: None,
            drop_routes: opening.drop_routes,
            loop_print: opening.loop_print,
            walk_from: 0,
            first_ring: None,
            unacked: None,
            line: Line::Outside,
            settled: false,
            winner: None,
            why: "",
            drilled: None,
        }
    }

    /// Whether nothing can happen to it any more.
    pub fn is_done(&self) -> bool {
        let served = matches!(
            self.server,
            Server::Invite(invite_server::State::Terminated)
                | Server::Other(server::State::Terminated)
        );
        served && self.recovering.is_none() && self.attempts.iter().all(Attempt::is_over)
    }

    /// Whether somebody waits for it: its sender, a callee that may still ring, or we for the ACK
    /// to our failure.
    pub fn is_busy(&self) -> bool {
        let unacknowledged = self.server == Server::Invite(invite_server::State::Completed);
        let may_ring = |attempt: &Attempt| {
            attempt.is_pending()
                || attempt.client == Client::Invite(invite_client::State::Abandoned)
        };
        self.is_waiting() || unacknowledged || self.attempts.iter().any(may_ring)
    }

    /// What the next answer most likely begins with, and the one that began so.
    pub fn earlier(&self) -> Option<(&Head, &[u8])> {
        match &self.replay {
            Replay::Ringing(bytes, head) => Some((head, bytes)),
            Replay::Response(_) | Replay::Trying | Replay::Nothing => None,
        }
    }

    /// Whether the sender still waits for a final response.
    pub fn is_waiting(&self) -> bool {
        self.caller == Caller::Waiting
    }

    /// That attempt, if its final response may still come.
    fn pending(&self, number: usize) -> Option<&Attempt> {
        self.attempts
            .get(number)
            .filter(|attempt| attempt.is_pending())
    }

    fn is_invite(&self) -> bool {
        matches!(self.kind, Kind::Call | Kind::ReInvite)
    }

    fn is_fixed(&self) -> bool {
        matches!(self.walk, Walk::Fixed { .. })
    }

    /// Puts what the current walk has tried into an empty list: one of that length is not moved.
    fn list_tried(&self, list: &mut SmallVec<[Tried; 8]>) {
        let attempts = self.attempts[self.walk_from..].iter();
        list.extend(attempts.map(|attempt| Tried {
            trunk: attempt.trunk,
            addressed: attempt.addressed,
            addr: attempt.hop.remote,
            dead: attempt.is_dead(),
        }));
    }
}
