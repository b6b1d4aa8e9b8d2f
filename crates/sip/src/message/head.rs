//! What the answers to one request have in common: a 200 begins with the lines that the 180 before it
//! began with, most likely (RFC 3261 §8.2.6.2). Those that were read once are compared.

use super::headers::Entry;
use super::walk::UNSEARCHED;
use super::{Limits, Message};
use crate::header::CSeq;
use crate::method::Method;
use crate::name::{Name, NameSet};

/// So many lines at most.
const LINES: usize = 8;

/// The headers that an answer has once each.
const ONCE: NameSet = NameSet::of(&[Name::From, Name::To, Name::CallId, Name::CSeq]);

/// All that answers take from their request, some of them with the same addition each time.
const TAKEN: NameSet = ONCE.with(Name::Via).with(Name::RecordRoute);

/// A part of the message.
type Part = (u16, u16);

/// Where the lines are that the answers to an INVITE have in common, in one of them, and what was read
/// of them.
#[derive(Clone, Debug)]
pub struct Head {
    /// What is written before the first header: the status line.
    status: u16,
    /// All these lines.
    at: Part,
    count: u8,
    /// The first `count` of these.
    entries: [Entry; LINES],
    call_id: Part,
    from_uri: Part,
    from_tag: Part,
    to_uri: Part,
    to_tag: Part,
    number: u32,
}

impl Head {
    /// The lines, in the message that they were read in without its first header.
    #[inline(always)]
    fn lines<'e>(&self, earlier: &'e [u8]) -> Option<&'e [u8]> {
        let len = self.at.1.checked_sub(self.at.0)?;
        earlier
            .get(usize::from(self.status)..)?
            .get(..usize::from(len))
    }
}

impl<'a> Message<'a> {
    /// The lines behind the first header that another answer to the same INVITE will have as well.
    /// `None` where something about them is unusual, or this is no answer that was
    /// [settled](Self::settle).
    pub fn head(&self) -> Option<Head> {
        let facts = self.facts()?;
        let first = self.headers.all().first()?;
        let is_usual = self.is_usual && self.lists == UNSEARCHED && first.name == Name::Via;
        if !is_usual || self.is_request() || facts.cseq.method != Method::Invite {
            return None;
        }
        let entries = self.headers.behind_first::<LINES>();
        let is_taken = |entry: &&Entry| TAKEN.has(entry.name) && entry.is_usual();
        let (mut names, mut count, mut last) = (NameSet::NONE, 0, first);
        for entry in entries.iter().take_while(is_taken) {
            (names, count, last) = (names.with(entry.name), count + 1, entry);
        }
        // Of each of these there is one, and so it is here that they were read.
        if ONCE.without(names) != NameSet::NONE {
            return None;
        }
        // They are parts of this message, which is shorter than 64 KiB.
        let base = self.bytes.as_ptr() as usize;
        let part = |text: &[u8]| {
            let start = (text.as_ptr() as usize).wrapping_sub(base);
            (start as u16, (start + text.len()) as u16)
        };
        Some(Head {
            status: self.headers_start as u16,
            at: (
                self.headers.line(first).1 as u16,
                self.headers.line(last).1 as u16,
            ),
            count,
            entries,
            call_id: part(facts.call_id),
            from_uri: part(facts.from_uri),
            from_tag: part(facts.from_tag?),
            to_uri: part(facts.to_uri),
            to_tag: part(facts.to_tag?),
            number: facts.cseq.number,
        })
    }

    /// Takes up the lines from `at` on, if they are those, and tells where they end. `earlier`: the
    /// message that they were read in without its first header.
    #[inline(always)]
    pub(super) fn take_up(
        &mut self,
        head: &Head,
        earlier: &[u8],
        at: usize,
        limits: &Limits,
    ) -> Option<usize> {
        let behind = self.bytes.get(at..)?.strip_prefix(head.lines(earlier)?)?;
        let end = self.bytes.len() - behind.len();
        let entries = head.entries.get(..usize::from(head.count))?;
        // What starts with a blank would go on with the last of them.
        if *behind.first()? <= b' '
            || end > limits.line_max()
            || self.headers.len() + entries.len() > limits.headers
        {
            return None;
        }
        let further = (at as u16).wrapping_sub(head.at.0);
        let part = |(start, end): Part| {
            let at = |place: u16| usize::from(place.wrapping_add(further));
            self.bytes.get(at(start)..at(end))
        };
        self.facts.call_id = part(head.call_id)?;
        self.facts.from_uri = part(head.from_uri)?;
        self.facts.to_uri = part(head.to_uri)?;
        self.facts.from_tag = part(head.from_tag);
        self.facts.to_tag = part(head.to_tag);
        self.facts.cseq = CSeq {
            number: head.number,
            method: Method::Invite,
        };
        self.headers.take_up(entries, further);
        Some(end)
    }
}
