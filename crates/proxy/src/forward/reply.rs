//! Our own responses (RFC 3261 §8.2.6).

use std::net::SocketAddr;

use trunkline_sip::{Message, Name};

use super::{
    splice::{Splice, put_fmt, put_header},
    via::note_source,
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

/// Writes a response of our own: the request's Vias, From, To, Call-ID and CSeq as they came.
///
/// Works on what [`Message::salvage`] could save of a request: what is not there is left out. But
/// without a readable top Via nobody could be answered; then nothing is written and it says
/// `false`.
pub fn reply(request: &Message<'_>, reply: &Reply<'_>, out: &mut Vec<u8>) -> bool {
    let Ok(top_via) = request.top_via() else {
        return false;
    };
    put_fmt(
        out,
        format_args!("SIP/2.0 {} {}\r\n", reply.code, reply.reason),
    );
    let mut via_seen = false;
    // One each: a request with two of them is answered (400), but not with two of them.
    let mut seen: [Option<Name>; 4] = [None; 4];
    for header in request.headers() {
        match header.name {
            Name::Via if !via_seen => {
                via_seen = true;
                let mut splice = Splice::new(request, out);
                splice.skip(header.line.0);
                if let Some(source) = reply.received {
                    note_source(&mut splice, &top_via, source);
                }
                splice.until(header.value_at.1);
                splice.put(b"\r\n");
            }
            Name::Via => put_header(out, request, &header),
            Name::From | Name::To | Name::CallId | Name::CSeq => {
                if seen.contains(&Some(header.name)) {
                    continue;
                }
                if let Some(free) = seen.iter_mut().find(|slot| slot.is_none()) {
                    *free = Some(header.name);
                }
                put_header(out, request, &header);
                // RFC 3261 §8.2.6.2: a tag that is there stays as it is; a 100 needs none.
                if header.name == Name::To && reply.code > 100 && request.to_tag().is_none() {
                    put_tag(out, reply.to_tag);
                }
            }
            // RFC 3261 §8.2.6.1: a 100 repeats it.
            Name::Other if reply.code == 100 && is_timestamp(header.raw_name) => {
                put_header(out, request, &header);
            }
            _ => {}
        }
    }
    for (name, value) in reply.extra {
        put_fmt(out, format_args!("{name}: "));
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    true
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

fn is_timestamp(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"Timestamp")
}

/// What RFC 3261 §21 and its extensions call a code that we may send; the class's name for others.
pub fn reason_phrase(code: u16) -> &'static str {
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
        101..=199 => "Session Progress",
        201..=299 => "OK",
        300..=399 => "Redirection",
        400..=499 => "Bad Request",
        500..=599 => "Server Internal Error",
        _ => "Global Failure",
    }
}
