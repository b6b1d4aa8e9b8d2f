//! The one walk over the header lines of a usual message: where each is, and what is asked of every
//! message read on the way, as [`Message::checked`] would. Whatever takes a closer look is left to
//! the parser, if it is a line, and to [`Message::checked`], if it is a value.

use super::{Facts, Limits, Message, Start};
use crate::header::{CSeq, Party, SentBy, Via, max_forwards, usual_uri};
use crate::lex;
use crate::name::{Name, NameSet};
use crate::scan;
use crate::uri::{Scheme, Uri};

/// The headers that [`Facts`] are read from.
pub(super) const ASKED_OF_ALL: NameSet = NameSet::of(&[
    Name::Via,
    Name::From,
    Name::To,
    Name::CallId,
    Name::CSeq,
    Name::MaxForwards,
]);

/// The list headers in which a walk looks for a comma: those that a proxy asks for values.
const SEARCHED: NameSet = NameSet::of(&[Name::Via, Name::Route, Name::RecordRoute, Name::Contact]);

/// The others.
pub(super) const UNSEARCHED: NameSet = NameSet::LISTS.without(SEARCHED);

impl<'a> Message<'a> {
    /// Adds the headers from `at` on, as long as nothing about their lines is unusual, and tells where
    /// it stopped. Whoever goes on from there finds what it is: the end, or a line that is folded, or
    /// too long, or one too many.
    #[inline(always)]
    pub(super) fn walk(&mut self, mut at: usize, limits: &Limits) -> usize {
        let is_request = self.is_request();
        let Message {
            headers,
            facts,
            lists,
            length,
            contact,
            ..
        } = self;
        // No line in here is too long.
        let bytes = self.bytes.get(..limits.line_max()).unwrap_or(self.bytes);
        let mut rest = bytes.get(at..).unwrap_or_default();
        let before = headers.len();
        let mut count = before;
        let (places, room) = headers.room(limits.headers);
        for slot in room {
            let Some(line) = scan::usual_start(rest) else {
                break;
            };
            let value = line.value;
            slot.begin(at, line.name, line.name_len);
            let end = match line.name {
                Name::Via if places.has(Name::Via) => via_below(value),
                Name::Via if is_request => {
                    facts.read_top_via(value, (at + line.name_len + 2) as u32)
                }
                // Who waits for a response knows its top Via when it comes.
                Name::Via => only_value(value),
                Name::From => facts.read_from(value),
                Name::To => facts.read_to(value),
                Name::CallId => facts.read_call_id(value),
                Name::CSeq => facts.read_cseq(value),
                Name::MaxForwards => facts.read_max_forwards(value),
                Name::ContentLength => lex::few_digits(value).map(|(read, end)| {
                    *length = Some(read);
                    end
                }),
                Name::Contact if !places.has(Name::Contact) => read_contact(value, contact),
                Name::Route | Name::RecordRoute | Name::Contact => only_value(value),
                _ => lex::seek_text_end(value),
            };
            let end = match end {
                Some(end) => end,
                None => {
                    self.is_usual &= !ASKED_OF_ALL.has(line.name);
                    *lists = lists.with_list(line.name);
                    match lex::text_end_far(value) {
                        Some(end) => end,
                        None => break,
                    }
                }
            };
            let Some(behind) = end.strip_prefix(b"\r\n") else {
                break;
            };
            at = bytes.len() - behind.len();
            slot.end_at(at - 2);
            count += 1;
            places.note(slot.name, count as u8);
            rest = behind;
        }
        headers.take(count - before);
        match self.bytes.get(at) {
            // Only here it shows that the last line is a folded one.
            Some(b' ' | b'\t') if count > before => self.headers.give_back(),
            _ => at,
        }
    }

    /// Settles the message by what was read on the way, where that is all that [`checked`](Self::checked)
    /// would say; `None` where it takes a closer look. `top_is_known`: see
    /// [`settle_below`](Self::settle_below).
    #[inline(never)]
    pub(super) fn settle_usual(&mut self, top_is_known: bool) -> Option<()> {
        let via = self.headers.first(Name::Via)?;
        if !self.is_usual || !self.has_usual_counts() {
            return None;
        }
        if let Start::Request { method, uri } = self.start {
            if method != self.facts.cseq.method {
                return None;
            }
            if self.facts.uri.is_none() {
                let read = Uri::parse_plain(uri, self.uri_is_plain).ok();
                self.facts.uri = Some(read.filter(|uri| uri.scheme != Scheme::Other)?);
            }
        } else if !top_is_known {
            self.facts.via = Via::read_noted(self.bytes, self.headers.value_at(via))?;
        }
        self.is_settled = true;
        Some(())
    }
}

impl<'a> Facts<'a> {
    #[inline(always)]
    fn read_top_via(&mut self, value: &'a [u8], at: u32) -> Option<&'a [u8]> {
        let rest;
        (self.via, rest) = Via::read_usual(value, at)?;
        Some(rest)
    }

    #[inline(always)]
    fn read_from(&mut self, value: &'a [u8]) -> Option<&'a [u8]> {
        let (party, rest) = Party::read_usual(value)?;
        (self.from_uri, self.from_tag) = (party.uri, party.tag);
        Some(rest)
    }

    #[inline(always)]
    fn read_to(&mut self, value: &'a [u8]) -> Option<&'a [u8]> {
        let (party, rest) = Party::read_usual(value)?;
        (self.to_uri, self.to_tag) = (party.uri, party.tag);
        Some(rest)
    }

    #[inline(always)]
    fn read_call_id(&mut self, value: &'a [u8]) -> Option<&'a [u8]> {
        let rest = lex::seek_blank(value);
        self.call_id = lex::before(value, rest)?;
        Some(rest)
    }

    #[inline(always)]
    fn read_cseq(&mut self, value: &'a [u8]) -> Option<&'a [u8]> {
        let rest;
        (self.cseq, rest) = CSeq::read_usual(value)?;
        Some(rest)
    }

    #[inline(always)]
    fn read_max_forwards(&mut self, value: &'a [u8]) -> Option<&'a [u8]> {
        let (hops, rest) = max_forwards::read_usual(value)?;
        self.max_forwards = Some(hops);
        Some(rest)
    }
}

/// The URI of the first Contact and the end of its line, if that is all it holds but for parameters.
#[inline(always)]
fn read_contact<'a>(value: &'a [u8], contact: &mut Option<&'a [u8]>) -> Option<&'a [u8]> {
    let (uri, rest) = usual_uri(value)?;
    let end = match rest {
        [b'\r', ..] => rest,
        [b';', ..] => only_value(rest)?,
        _ => return None,
    };
    *contact = Some(uri);
    Some(end)
}

/// The end of a Via that is only passed by, if it can be read.
#[inline(always)]
fn via_below(value: &[u8]) -> Option<&[u8]> {
    match SentBy::read_usual(value)?.rest {
        end @ [b'\r', ..] => Some(end),
        params => only_value(params),
    }
}

/// The end of the line, if no comma comes before it, and no blank right before it.
#[inline(always)]
fn only_value(text: &[u8]) -> Option<&[u8]> {
    let end = lex::seek_in_line::<b',', b','>(text);
    (end.first() != Some(&b',') && lex::ends_in_text(text, end)).then_some(end)
}
