//! [`Message::settle`] for messages in which all is as usual: each part is read once, and written
//! where it stays. Whatever takes a closer look is left to [`Message::checked`], faults too.

use super::{Facts, Headers, Message, Start};
use crate::Span;
use crate::header::{CSeq, Party, Via, max_forwards};
use crate::lex;
use crate::name::Name;
use crate::uri::{Scheme, Uri};

impl<'a> Message<'a> {
    /// What [`Message::checked`] would say, kept; `None` where something is unusual, and then what is
    /// kept means nothing. `top_is_known`: see [`Message::settle_below`].
    #[inline(never)]
    pub(super) fn settle_usual(&mut self, top_is_known: bool) -> Option<()> {
        if !self.has_usual_counts() {
            return None;
        }
        let (bytes, headers) = (self.bytes, &self.headers);
        let facts = self.facts.insert(Facts::NONE);

        // The top one, and a look at those below; one loop, so that the code for it is there once.
        let (mut is_top, mut below) = (true, Via::NONE);
        for entry in headers.all_named(Name::Via) {
            if entry.name != Name::Via {
                continue;
            }
            if is_top && top_is_known {
                is_top = false;
                continue;
            }
            let slot = if is_top { &mut facts.via } else { &mut below };
            let at = entry.value_at();
            *slot = Via::read(part(bytes, at)?, at)?;
            if is_top {
                slot.note(bytes)?;
            } else if entry.may_be_list() {
                return None;
            }
            is_top = false;
        }
        if is_top {
            return None;
        }

        let at = place(headers, Name::CallId)?;
        // A blank would end what is looked for in all of the message before the value ends.
        if at.0 == at.1 || lex::seek_or_blank(bytes, at.0 as usize, b' ') != at.1 as usize {
            return None;
        }
        facts.call_id = part(bytes, at)?;

        for name in &[Name::From, Name::To] {
            let (uri, tag) = match name {
                Name::From => (&mut facts.from_uri, &mut facts.from_tag),
                _ => (&mut facts.to_uri, &mut facts.to_tag),
            };
            let party = Party::read_usual(bytes, place(headers, *name)?)?;
            (*uri, *tag) = (party.uri, party.tag);
        }

        facts.cseq = CSeq::read(part(bytes, place(headers, Name::CSeq)?)?)?;
        if let Some(at) = place(headers, Name::MaxForwards) {
            facts.max_forwards = Some(max_forwards::parse(part(bytes, at)?).ok()?);
        }
        if let Start::Request { method, uri } = self.start {
            let uri = Uri::parse_plain(uri, self.uri_is_plain).ok()?;
            if method != facts.cseq.method || uri.scheme == Scheme::Other {
                return None;
            }
            facts.uri = Some(uri);
        }
        Some(())
    }
}

/// Where the value of the first header of that name is.
#[inline(always)]
fn place(headers: &Headers, name: Name) -> Option<Span> {
    headers.first(name).map(|entry| entry.value_at())
}

#[inline(always)]
fn part(bytes: &[u8], at: Span) -> Option<&[u8]> {
    bytes.get(at.0 as usize..at.1 as usize)
}
