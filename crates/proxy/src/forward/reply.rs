//! Our own responses (RFC 3261 §8.2.6).

use std::net::SocketAddr;

use trunkline_sip::{Header, Message, Name, Via};

use super::{
    splice::{Splice, put_all, put_header, put_number},
    via::{holds, note_source},
};

/// A response of our own to a request.
#[derive(Copy, Clone, Debug)]
pub struct Reply<'p> {
    /// 100 to 699.
    pub code: u16,
    /// The reason phrase; see [`reason_phrase`].
    pub reason: &'p str,
    /// Our To tag, for when the request has none; not used for a 100.
    pub to_tag: &'p [u8],
    /// Where the request came from, to be noted in the top Via.
    pub received: Option<SocketAddr>,
    /// Further headers, name and value.
    pub extra: &'p [(&'p str, &'p [u8])],
}

/// Writes a response of our own: the request's Vias, From, To, Call-ID and CSeq as they came, in this
/// order.
///
/// Works on what [`Message::salvage`] could save of a request: what is not there is left out. But
/// without a readable top Via nobody could be answered; then nothing is written and it says
/// `false`.
pub fn reply(request: &Message<'_>, reply: &Reply<'_>, out: &mut Vec<u8>) -> bool {
    let Ok(top_via) = request.top_via() else {
        return false;
    };
    // What passed all checks holds nothing that would not be ours to say.
    let settled = request.facts().is_some();
    // Without all its Vias a response does not find home.
    if !settled && request.all(Name::Via).any(|via| !is_whole(request, &via)) {
        return false;
    }
    reply.put_status_line(out);
    put_vias(out, request, &top_via, reply.received, settled);
    // RFC 3261 §8.2.6.2: a tag that is there stays as it is; a 100 needs none.
    let needs_tag = reply.code > 100 && request.to_tag().is_none();
    let as_they_stand = request.run_of(&NAMING).filter(|_| settled && !needs_tag);
    if let Some((start, end)) = as_they_stand {
        let lines = request.bytes().get(start as usize..end as usize);
        out.extend_from_slice(lines.unwrap_or_default());
    } else {
        // One each: a request with two of them is answered (400), but not with two of them.
        for name in NAMING {
            let is_there = put_first(out, request, settled, name);
            if name == Name::To && is_there && needs_tag {
                put_tag(out, reply.to_tag);
            }
        }
    }
    if reply.code == 100 {
        // RFC 3261 §8.2.6.1.
        put_first(out, request, settled, Name::Timestamp);
    }
    reply.put_end(out);
    true
}

impl Reply<'_> {
    pub(super) fn put_status_line(&self, out: &mut Vec<u8>) {
        if (self.code, self.reason) == (100, reason_phrase(100)) {
            // One for every call.
            return out.extend_from_slice(b"SIP/2.0 100 Trying\r\n");
        }
        put_all(out, &["SIP/2.0 "]);
        put_number(out, u64::from(self.code));
        put_all(out, &[" ", self.reason, "\r\n"]);
    }

    /// What stands behind the lines that a response repeats.
    pub(super) fn put_end(&self, out: &mut Vec<u8>) {
        for (name, value) in self.extra {
            put_all(out, &[name, ": "]);
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    }
}

/// What names a request beside its Vias, in the order in which it nearly always stands.
const NAMING: [Name; 4] = [Name::From, Name::To, Name::CallId, Name::CSeq];

/// The Vias as they came, with their source noted.
fn put_vias(
    out: &mut Vec<u8>,
    request: &Message<'_>,
    top_via: &Via<'_>,
    received: Option<SocketAddr>,
    settled: bool,
) {
    if let Some((start, end)) = request.run_of_all(Name::Via).filter(|_| settled) {
        let mut splice = Splice::new(request, out);
        splice.skip(start);
        if let Some(source) = received {
            note_source(&mut splice, top_via, source);
        }
        return splice.until(end);
    }
    for via in request.all(Name::Via) {
        match received {
            Some(source) if holds(via.line, top_via) => {
                let mut splice = Splice::new(request, out);
                splice.skip(via.line.0);
                note_source(&mut splice, top_via, source);
                splice.until(via.value_at.1);
                splice.put(b"\r\n");
            }
            Some(_) | None => put_header(out, request, &via),
        }
    }
}

/// Puts a tag at the end of the line that was just written.
fn put_tag(out: &mut Vec<u8>, tag: &[u8]) {
    if tag.is_empty() {
        return;
    }
    out.truncate(out.len() - b"\r\n".len());
    out.extend_from_slice(b";tag=");
    out.extend_from_slice(tag);
    out.extend_from_slice(b"\r\n");
}

/// Copies the first header of that name that is fit to be copied, if there is one. `settled`: each is.
fn put_first(out: &mut Vec<u8>, request: &Message<'_>, settled: bool, name: Name) -> bool {
    let first = match settled {
        true => request.first(name),
        false => request.all(name).find(|header| is_whole(request, header)),
    };
    let Some(header) = first else { return false };
    put_header(out, request, &header);
    true
}

/// Whether every line end in a header is a fold. In what was salvaged it may not be so, and what
/// comes from a stranger must not become a line of its own in our answer.
fn is_whole(message: &Message<'_>, header: &Header<'_>) -> bool {
    let span = header.line.0 as usize..header.value_at.1 as usize;
    let text = message.bytes().get(span).unwrap_or_default();
    if memchr::memchr2(b'\r', b'\n', text).is_none() {
        return true;
    }
    text.iter().enumerate().all(|(at, byte)| match byte {
        b'\r' => text.get(at + 1) == Some(&b'\n'),
        b'\n' => {
            let before = at.checked_sub(1).and_then(|before| text.get(before));
            before == Some(&b'\r') && matches!(text.get(at + 1), Some(b' ' | b'\t'))
        }
        _ => true,
    })
}

/// What RFC 3261 §21 and its extensions call a code that we may send; the class's name for others.
pub const fn reason_phrase(code: u16) -> &'static str {
    match code {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        380 => "Alternative Service",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        430 => "Flow Failed",
        433 => "Anonymity Disallowed",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        493 => "Undecipherable",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        580 => "Precondition Failure",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        607 => "Unwanted",
        608 => "Rejected",
        _ => match code / 100 {
            1 => "Session Progress",
            2 => "OK",
            3 => "Redirection",
            4 => "Bad Request",
            5 => "Server Internal Error",
            _ => "Global Failure",
        },
    }
}

#[cfg(test)]
mod tests {
    use trunkline_sip::Limits;

    use super::*;
    use crate::forward::sample::{lines, parse, written};

    const TRYING: Reply<'static> = Reply {
        code: 100,
        reason: reason_phrase(100),
        to_tag: b"ours",
        received: None,
        extra: &[],
    };
    const BUSY: Reply<'static> = Reply {
        code: 486,
        reason: reason_phrase(486),
        ..TRYING
    };

    const INVITE: &str = "INVITE sip:b@b.test SIP/2.0\r\n\
        Timestamp: 54.1\r\n\
        v: SIP/2.0/UDP 10.0.0.1;rport;branch=z9hG4bKa,\r\n SIP/2.0/UDP z;branch=z9hG4bKz\r\n\
        f:\"A\r\n B\" <sip:a@a.test>;tag=1\r\n\
        Record-Route: <sip:p;lr>\r\n\
        Via: SIP/2.0/UDP y\r\n\
        To:   <sip:b@b.test> \r\n\
        Call-ID: c\r\n\
        CSEQ: 1  INVITE\r\n\
        X: y\r\n\
        Content-Length: 3\r\n\r\nabc";

    #[test]
    fn a_reply_repeats_what_names_the_request() {
        // RFC 3261 §8.2.6.2, and §8.2.6.1 for Timestamp.
        let vias =
            "v: SIP/2.0/UDP 10.0.0.1;rport;branch=z9hG4bKa,\r\n SIP/2.0/UDP z;branch=z9hG4bKz\r\n";
        let noted = "v: SIP/2.0/UDP 10.0.0.1;rport=5070;branch=z9hG4bKa;received=192.0.2.7,\r\n \
                     SIP/2.0/UDP z;branch=z9hG4bKz\r\n";
        let from = "f:\"A\r\n B\" <sip:a@a.test>;tag=1\r\n";
        let below = "Via: SIP/2.0/UDP y\r\n";
        let end = "Call-ID: c\r\nCSEQ: 1  INVITE\r\n";
        let empty = "Content-Length: 0\r\n\r\n";
        let received = Some("192.0.2.7:5070".parse().expect("an address"));
        let table: &[(Reply<'_>, String)] = &[
            (
                TRYING,
                format!(
                    "SIP/2.0 100 Trying\r\n{vias}{below}{from}\
                     To:   <sip:b@b.test>\r\n{end}Timestamp: 54.1\r\n{empty}"
                ),
            ),
            (
                Reply { received, ..BUSY },
                format!(
                    "SIP/2.0 486 Busy Here\r\n{noted}{below}{from}\
                     To:   <sip:b@b.test>;tag=ours\r\n{end}{empty}"
                ),
            ),
            (
                Reply {
                    extra: &[("Retry-After", b"5"), ("Reason", b"SIP;cause=503")],
                    ..BUSY
                },
                format!(
                    "SIP/2.0 486 Busy Here\r\n{vias}{below}{from}\
                     To:   <sip:b@b.test>;tag=ours\r\n{end}\
                     Retry-After: 5\r\nReason: SIP;cause=503\r\n{empty}"
                ),
            ),
        ];
        for (with, expected) in table {
            let got = written(|out| assert!(reply(&parse(INVITE.as_bytes()), with, out)));
            assert_eq!(got, lines(expected.as_bytes()));
        }
    }

    #[test]
    fn a_tag_that_is_there_stays_alone() {
        // RFC 3261 §8.2.6.2; without brackets the parameters are the header's (§20.10).
        let table: &[(&str, &str)] = &[
            ("To: <sip:b@b.test>;tag=x", "To: <sip:b@b.test>;tag=x"),
            ("t: <sip:b@b.test>;x;TAG=x", "t: <sip:b@b.test>;x;TAG=x"),
            ("To: sip:b@b.test;tag=x", "To: sip:b@b.test;tag=x"),
            (
                "To: <sip:b@b.test;tag=x>",
                "To: <sip:b@b.test;tag=x>;tag=ours",
            ),
            ("To: sip:b@b.test", "To: sip:b@b.test;tag=ours"),
            (
                "To: \"tag=1;tag=2\"\r\n <sip:b@b.test>\r\n ",
                "To: \"tag=1;tag=2\"\r\n <sip:b@b.test>;tag=ours",
            ),
        ];
        for (came, leaves) in table {
            let text = format!("BYE sip:b SIP/2.0\r\nVia: SIP/2.0/UDP a\r\n{came}\r\n\r\n");
            let got = written(|out| assert!(reply(&parse(text.as_bytes()), &BUSY, out)));
            let expected = format!(
                "SIP/2.0 486 Busy Here\r\nVia: SIP/2.0/UDP a\r\n{leaves}\r\nContent-Length: 0\r\n\r\n"
            );
            assert_eq!(got, lines(expected.as_bytes()));
        }
    }

    #[test]
    fn a_message_that_could_not_be_parsed_still_gets_its_400() {
        let bad = Reply {
            code: 400,
            reason: "Bad Request",
            ..TRYING
        };
        let table: &[(&str, &str)] = &[
            (
                "INVITE sip:b SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nTo: <sip:b>\r\n\
                 To: <sip:c>\r\nCall-ID: c\r\nContent-Length: 99\r\nCSeq: 1 INVITE\r\n\r\nabc",
                "Via: SIP/2.0/UDP a;branch=z9hG4bK1\r\nTo: <sip:b>;tag=ours\r\nCall-ID: c\r\n\
                 CSeq: 1 INVITE\r\n",
            ),
            (
                "INVITE sip:b SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nTo: \"b <sip:b>\r\n\
                 Content-Length: 99\r\n\r\n",
                "Via: SIP/2.0/UDP a;branch=z9hG4bK1\r\nTo: \"b <sip:b>;tag=ours\r\n",
            ),
        ];
        for (text, expected) in table {
            assert!(Message::parse(text.as_bytes(), &Limits::default()).is_err());
            let saved = Message::salvage(text.as_bytes(), &Limits::default());
            let got = written(|out| assert!(reply(&saved.expect("it can be saved"), &bad, out)));
            let expected =
                format!("SIP/2.0 400 Bad Request\r\n{expected}Content-Length: 0\r\n\r\n");
            assert_eq!(got, lines(expected.as_bytes()));
        }
    }

    #[test]
    fn a_tag_goes_into_to_and_nowhere_else() {
        let text = "BYE sip:b SIP/2.0\r\nVia: SIP/2.0/UDP a\r\nFrom: <sip:a@a.test>;tag=1\r\n\r\n";
        let got = written(|out| assert!(reply(&parse(text.as_bytes()), &BUSY, out)));
        let expected = "SIP/2.0 486 Busy Here\r\nVia: SIP/2.0/UDP a\r\nFrom: <sip:a@a.test>;tag=1\r\n\
                        Content-Length: 0\r\n\r\n";
        assert_eq!(got, lines(expected.as_bytes()));
    }

    #[test]
    fn nobody_is_answered_without_a_via() {
        for via in [
            "",
            "Via: \r\n",
            "Via: nonsense\r\n",
            "Via: SIP/2.0/UDP \r\n",
        ] {
            let text = format!("INVITE sip:b SIP/2.0\r\n{via}To: <sip:b>\r\n\r\n");
            let mut out = Vec::new();
            assert!(!reply(&parse(text.as_bytes()), &BUSY, &mut out), "{via}");
            assert!(out.is_empty());
        }
    }

    #[test]
    fn every_code_has_a_phrase() {
        for code in 100..700 {
            let phrase = reason_phrase(code);
            assert!(!phrase.is_empty() && phrase.is_ascii(), "{code}");
        }
        assert_eq!(reason_phrase(487), "Request Terminated");
        assert_eq!(
            reason_phrase(499),
            "Bad Request",
            "RFC 3261 §8.1.3.2: as x00 of its class"
        );
    }
}
