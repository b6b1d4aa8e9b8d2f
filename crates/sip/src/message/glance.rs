//! A request at a glance: what it takes to turn it away, in one walk over its lines and without a note
//! of where everything else is. For those that come faster than anything else could be done with them.

use super::parse::{content_length, usual_request_line};
use super::{Facts, Limits, Start};
use crate::Span;
use crate::header::{CSeq, Party, Via, max_forwards};
use crate::lex;
use crate::method::Method;
use crate::name::Name;
use crate::scan::{self, Lines};
use crate::uri::{Scheme, Uri};

/// A request in which all is as usual, and the lines that an answer to it repeats
/// (RFC 3261 §8.2.6.2).
#[derive(Clone, Debug)]
pub struct Glance<'a> {
    bytes: &'a [u8],
    /// The method: one of those that calls are made of.
    pub method: Method<'a>,
    /// The Request-URI, as written.
    pub request_uri: &'a [u8],
    /// What [`Message::checked`](super::Message::checked) would say.
    pub facts: Facts<'a>,
    vias: Span,
    from: Line,
    to: Line,
    call_id: Line,
    cseq: Line,
}

/// Where one of the headers is that may be there once.
#[derive(Copy, Clone, Debug)]
struct Line {
    start: u32,
    value: u32,
    /// Where the line end is; 0 while the header has not come by.
    end: u32,
}

impl Line {
    const NONE: Line = Line {
        start: 0,
        value: 0,
        end: 0,
    };

    fn value_at(&self) -> Option<Span> {
        (self.end != 0).then_some((self.value, self.end))
    }
}

impl<'a> Glance<'a> {
    /// Reads a request. `None` where something is unusual, all faults included: then a
    /// [`Message`](super::Message) tells what it is.
    pub fn read(bytes: &'a [u8], limits: &Limits) -> Option<Glance<'a>> {
        let first = usual_request_line(bytes)?;
        if bytes.len() > limits.message_max() || first.end > limits.line_max() {
            return None;
        }
        let Start::Request { method, uri } = first.start else {
            return None;
        };
        let (mut top_via, mut vias) = ((0, 0), (0, first.end as u32));
        let (mut from, mut to) = (Line::NONE, Line::NONE);
        let (mut call_id, mut cseq) = (Line::NONE, Line::NONE);
        let (mut hops, mut length) = (Line::NONE, Line::NONE);
        let mut end = first.end;
        let mut room = limits.headers;
        for line in Lines::new(bytes, first.end, first.end + limits.line_max()) {
            room = room.checked_sub(1)?;
            let start = scan::usual_start(bytes.get(line.start..)?)?;
            if *bytes.get(line.end - 1)? <= b' ' {
                return None;
            }
            end = line.end + 2;
            let value = (line.start + start.name_len + 2) as u32;
            let slot = match start.name {
                Name::From => &mut from,
                Name::To => &mut to,
                Name::CallId => &mut call_id,
                Name::CSeq => &mut cseq,
                Name::MaxForwards => &mut hops,
                Name::ContentLength => &mut length,
                Name::Via => {
                    let at = (value, line.end as u32);
                    if top_via.1 == 0 {
                        (top_via, vias.0) = (at, line.start as u32);
                    } else {
                        let below = part(bytes, at)?;
                        let is_list = line.commas != 0 && lex::find(below, 0, b',').is_some();
                        if vias.1 != line.start as u32 || is_list || Via::read(below, at).is_none()
                        {
                            return None;
                        }
                    }
                    vias.1 = end as u32;
                    continue;
                }
                _ => continue,
            };
            if slot.end != 0 {
                return None;
            }
            *slot = Line {
                start: line.start as u32,
                value,
                end: line.end as u32,
            };
        }
        let body = bytes.get(end..)?.strip_prefix(b"\r\n")?;
        if let Some(at) = length.value_at()
            && content_length(part(bytes, at)?, 0, None).ok()? > body.len()
        {
            return None;
        }

        let id = call_id.value_at()?;
        let call_id_text = part(bytes, id)?;
        if lex::has_lws(call_id_text) {
            return None;
        }
        let max_forwards = match hops.value_at() {
            Some(at) => Some(max_forwards::parse(part(bytes, at)?).ok()?),
            None => None,
        };
        let (caller, callee) = (
            Party::read_usual(bytes.get(from.value_at()?.0 as usize..)?)?.0,
            Party::read_usual(bytes.get(to.value_at()?.0 as usize..)?)?.0,
        );
        let number = CSeq::read(part(bytes, cseq.value_at()?)?)?;
        let target = match first.uri {
            Some(target) => target,
            None => Uri::parse_plain(uri, first.uri_is_plain).ok()?,
        };
        if number.method != method || target.scheme == Scheme::Other {
            return None;
        }
        Some(Glance {
            bytes,
            method,
            request_uri: uri,
            facts: Facts {
                via: Via::read_noted(bytes, Some(top_via).filter(|at| at.1 != 0)?)?,
                call_id: call_id_text,
                from_uri: caller.uri,
                to_uri: callee.uri,
                from_tag: caller.tag,
                to_tag: callee.tag,
                cseq: number,
                max_forwards,
                uri: Some(target),
            },
            vias,
            from,
            to,
            call_id,
            cseq,
        })
    }

    /// The lines of all Vias up to `offset`, and from there on. The top one is in the first of them.
    pub fn vias(&self, offset: u32) -> (&'a [u8], &'a [u8]) {
        let (start, end) = self.vias;
        let offset = offset.clamp(start, end);
        (self.part((start, offset)), self.part((offset, end)))
    }

    /// The line of From, with its end.
    pub fn from(&self) -> &'a [u8] {
        self.whole(&self.from)
    }

    /// The line of To, without its end: a tag may follow.
    pub fn to(&self) -> &'a [u8] {
        self.part((self.to.start, self.to.end))
    }

    /// The line of Call-ID, with its end.
    pub fn call_id(&self) -> &'a [u8] {
        self.whole(&self.call_id)
    }

    /// The line of CSeq, with its end.
    pub fn cseq(&self) -> &'a [u8] {
        self.whole(&self.cseq)
    }

    fn whole(&self, line: &Line) -> &'a [u8] {
        self.part((line.start, line.end + 2))
    }

    fn part(&self, at: Span) -> &'a [u8] {
        part(self.bytes, at).unwrap_or_default()
    }
}

#[inline(always)]
fn part(bytes: &[u8], at: Span) -> Option<&[u8]> {
    bytes.get(at.0 as usize..at.1 as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &str = "INVITE sip:b@b.test SIP/2.0\r\n\
        Via: SIP/2.0/UDP a.test:5070;rport;branch=z9hG4bKa\r\n\
        Via: SIP/2.0/TCP z;branch=z9hG4bKz\r\n\
        Record-Route: <sip:p;lr>,<sip:q;lr>\r\n\
        From: \"A, B\" <sip:a@a.test>;tag=1\r\n\
        To: <sip:b@b.test>\r\n\
        Call-ID: c@a.test\r\n\
        CSeq: 1 INVITE\r\n\
        Max-Forwards: 9\r\n\
        X-Odd: ,; and some more text\r\n\
        Content-Length: 3\r\n\r\nabc";

    fn is_read(text: &str) -> bool {
        Glance::read(text.as_bytes(), &Limits::default()).is_some()
    }

    #[test]
    fn a_glance_is_enough_for_what_calls_are_made_of() {
        // What is changed, by what: all of it is still as usual.
        for (from, to) in [
            ("", ""),
            ("Via:", "v:"),
            ("Content-Length: 3\r\n", ""),
            ("Content-Length: 3", "Content-Length: 2"),
            ("Max-Forwards: 9\r\n", ""),
            ("Record-Route: <sip:p;lr>,<sip:q;lr>\r\n", ""),
            ("To: <sip:b@b.test>", "To: <sip:b@b.test>;tag=x"),
            ("INVITE", "ACK"),
            ("sip:b@b.test SIP", "tel:+1555 SIP"),
            ("Via: SIP/2.0/TCP z;branch=z9hG4bKz\r\n", ""),
        ] {
            assert!(is_read(&INVITE.replace(from, to)), "{from} {to}");
        }
        let glance = Glance::read(INVITE.as_bytes(), &Limits::default()).unwrap();
        let (before, behind) = glance.vias(glance.facts.via.at.1);
        assert_eq!(
            before,
            b"Via: SIP/2.0/UDP a.test:5070;rport;branch=z9hG4bKa"
        );
        assert_eq!(behind, b"\r\nVia: SIP/2.0/TCP z;branch=z9hG4bKz\r\n");
        assert_eq!(glance.to(), b"To: <sip:b@b.test>");
        assert_eq!(glance.cseq(), b"CSeq: 1 INVITE\r\n");
    }

    #[test]
    fn whatever_is_faulty_or_unusual_takes_a_closer_look() {
        assert!(is_read(INVITE));
        for (from, to) in [
            ("INVITE sip", "\r\nINVITE sip"),
            ("INVITE", "MESSAGE"),
            ("CSeq: 1 INVITE", "CSeq: 1 ACK"),
            ("CSeq: 1 INVITE", "CSeq: x INVITE"),
            ("sip:b@b.test SIP", "http://b.test SIP"),
            ("SIP/2.0\r\nVia", "SIP/3.0\r\nVia"),
            ("To: <sip:b@b.test>\r\n", ""),
            ("To: <sip:b@b.test>", "To: \"b <sip:b@b.test>"),
            ("To: <sip:b@b.test>", "To: <sip:b@b.test> "),
            ("To: <sip:b@b.test>", "To: <sip:b@b.test>\r\n ;x"),
            ("Call-ID: c@a.test", "Call-ID: c d"),
            ("Call-ID: c@a.test", "Call-ID: c\r\nCall-ID: c"),
            ("Via: SIP/2.0/TCP z", "Via: nonsense"),
            ("Via: SIP/2.0/UDP a.test", "Via: nonsense"),
            (";rport;", ";rport;rport;"),
            ("branch=z9hG4bKz\r\n", "branch=z9hG4bKz, SIP/2.0/UDP y\r\n"),
            ("X-Odd: ,; and some more text\r\n", "Via: SIP/2.0/UDP y\r\n"),
            ("X-Odd: ,;", "X-Odd ,;"),
            ("X-Odd: ,;", "X-Odd: \u{1}"),
            ("Content-Length: 3", "Content-Length: 4"),
            (
                "Content-Length: 3",
                "Content-Length: 3\r\nContent-Length: 3",
            ),
            ("Max-Forwards: 9", "Max-Forwards: nine"),
            ("\r\n\r\nabc", ""),
            ("\r\n\r\nabc", "\r\n"),
        ] {
            let text = INVITE.replacen(from, to, 1);
            assert_ne!(text, INVITE, "{from}");
            assert!(!is_read(&text), "{from} {to}");
        }
        let many = "X-Odd: 1\r\n".repeat(300);
        assert!(!is_read(
            &INVITE.replace("X-Odd: ,; and some more text\r\n", &many)
        ));
        assert!(!is_read(
            &INVITE.replace("X-Odd: ,;", &format!("X: {}", "y".repeat(9000)))
        ));
    }
}
