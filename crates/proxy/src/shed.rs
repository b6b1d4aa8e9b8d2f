//! Calls that are refused because the shard does not keep up, and the ACKs of those refusals, on a road
//! as short as it gets: then there are more of them than of everything else, and each takes time from
//! a call that was taken.
//!
//! What it says is what [`reply::stateless`] would say; whatever is unusual goes there.
//!
//! The To tag of a refusal is made of the branch, so that nothing has to be remembered to know it again. No
//! other answer has such a tag, ours with state included, so an ACK with it acknowledges a
//! refusal and belongs to no call, whatever else is in it.

use memchr::{memchr, memmem, memrchr};
use trunkline_sip::{Glance, Method, peek};

use crate::{
    Event, Hop, Moment,
    engine::Turn,
    forward::{self, Reply},
    proxy::LIMITS,
    quick::Quick,
    reject::Reject,
    reply,
    request::server_key,
    transaction::LINGER,
};

/// What the To tags of refusals begin with: most others can be told from them at a glance.
const MARK: &[u8; 6] = b"tl503-";
const TAG_BYTES: usize = MARK.len() + 16;
/// What is looked for in an ACK.
const TAGGED: &[u8; 11] = b";tag=tl503-";

/// The To tag of a refusal.
pub type RefusalTag = [u8; TAG_BYTES];

/// Makes the To tags of refusals and knows them again.
pub struct Refusals {
    sums: Quick,
    marks: memmem::Finder<'static>,
    /// When the last call was refused.
    last: Option<Moment>,
}

impl Refusals {
    /// `sums`: under keys used for nothing else. They may be found out by who reads enough tags and
    /// means to; what comes of it is a forged ACK that goes nowhere.
    pub fn new(sums: Quick) -> Self {
        Refusals {
            sums,
            marks: memmem::Finder::new(TAGGED),
            last: None,
        }
    }

    /// The To tag for the refusal of a request with this branch.
    pub fn tag(&self, branch: &[u8]) -> RefusalTag {
        let sum = self.sums.hash(&[branch]);
        // A letter from a to p for each four bits; in which order they come is all the same.
        const EACH: u64 = u64::MAX / 0xff;
        let letters = |bits: u64| ((bits & (EACH * 0x0f)) + EACH * u64::from(b'a')).to_le_bytes();
        let mut tag = [0; TAG_BYTES];
        tag[..6].copy_from_slice(MARK);
        tag[6..14].copy_from_slice(&letters(sum));
        tag[14..].copy_from_slice(&letters(sum >> 4));
        tag
    }

    /// Whether an ACK with this To tag and branch acknowledges a refusal.
    pub fn gave(&self, to_tag: &[u8], branch: &[u8]) -> bool {
        to_tag.starts_with(MARK) && to_tag == self.tag(branch)
    }

    /// A call is refused.
    pub fn note(&mut self, now: Moment) {
        self.last = Some(now);
    }

    /// Whether ACKs of refusals may still come.
    fn may_be_acknowledged(&self, now: Moment) -> bool {
        self.last
            .is_some_and(|last| now.saturating_duration_since(last) < LINGER)
    }

    /// Whether this is the ACK of a refusal; `false` also for one that takes a closer look.
    fn is_acknowledged_by(&self, ack: &[u8]) -> bool {
        let Some(param) = self.marks.find(ack) else {
            return false;
        };
        let line = memrchr(b'\n', &ack[..param]).map_or(0, |end| end + 1);
        // All of To but the tag, and no fold behind that: it is the tag and no part of something else.
        let is_to = match &ack[line..param] {
            [b'T', b'o', b':', b' ', address @ .., b'>'] => memchr(b'>', address).is_none(),
            _ => false,
        };
        let tag = param + TAGGED.len() - MARK.len();
        let is_last = match ack.get(tag + TAG_BYTES..) {
            Some([b'\r', b'\n', next, ..]) => !matches!(next, b' ' | b'\t'),
            Some(_) | None => false,
        };
        let Some(tag) = ack.get(tag..tag + TAG_BYTES).filter(|_| is_to && is_last) else {
            return false;
        };
        self.gave(tag, peek::top_branch(ack).unwrap_or_default())
    }
}

/// Deals with a request from a source that is known, if it is a new call to be refused or the ACK of
/// a refusal, and nothing about it is unusual. Whether it did.
#[inline]
pub fn is_dealt_with(turn: &mut Turn<'_>, from: Hop, bytes: &[u8]) -> bool {
    // Most shards never refused anything.
    let engine = &turn.engine;
    (engine.pressure.sheds() || engine.refusals.last.is_some()) && deal_with(turn, from, bytes)
}

#[inline(never)]
fn deal_with(turn: &mut Turn<'_>, from: Hop, bytes: &[u8]) -> bool {
    if bytes.starts_with(b"ACK ") {
        let refusals = &turn.engine.refusals;
        return refusals.may_be_acknowledged(turn.now) && refusals.is_acknowledged_by(bytes);
    }
    turn.engine.pressure.sheds() && bytes.starts_with(b"INVITE ") && refuse(turn, from, bytes)
}

fn refuse(turn: &mut Turn<'_>, from: Hop, bytes: &[u8]) -> bool {
    let Some(invite) = Glance::read(bytes, &LIMITS) else {
        return false;
    };
    let facts = &invite.facts;
    let to = reply::back(from, &facts.via);
    let key = server_key(turn.engine, facts, invite.request_uri, Method::Invite);
    // What belongs to a call that was taken is never refused.
    if facts.to_tag.is_some() || turn.engine.by_key.get(key).is_some() {
        return false;
    }
    let tag = turn
        .engine
        .refusals
        .tag(facts.via.branch().unwrap_or_default());
    let (status, reason) = (Reject::Overload.status(), Reject::Overload.reason());
    let reply = Reply {
        code: status,
        reason,
        to_tag: &tag,
        received: Some(from.remote),
        extra: &[reply::OVERLOAD_PAUSE],
    };
    let mut is_written = false;
    turn.send(to, |out| {
        is_written = forward::reply_at_a_glance(&invite, &reply, out);
    });
    if is_written {
        let why = Reject::Overload.word();
        turn.tell(Event::Rejected { from, status, why });
        turn.engine.refusals.note(turn.now);
    }
    is_written
}
