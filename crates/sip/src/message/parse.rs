//! Bytes to a message: finds the lines, judges nothing that does not decide where things are.

use super::{Facts, Head, Headers, Limits, Message, Start, span};
use crate::Span;
use crate::error::{Fault, Malformed};
use crate::lex;
use crate::method::Method;
use crate::name::Name;
use crate::scan::{self, Scanned};
use crate::uri::Uri;

use super::walk::{ASKED_OF_ALL, UNSEARCHED};

impl<'a> Message<'a> {
    /// Reads the structure: start line, header lines, and the body by Content-Length.
    ///
    /// CRLFs before the start line are skipped. Bytes beyond Content-Length are cut off; without one
    /// the body is all the rest, as in a datagram (RFC 3261 §18.3). A line end that is not CRLF is
    /// refused, because what we forward might be read differently by the next element.
    ///
    /// Fails with the first fault found. The offset in it counts from the start line.
    pub fn parse(bytes: &'a [u8], limits: &Limits) -> Result<Message<'a>, Malformed> {
        let mut room = None;
        Message::parse_in(&mut room, bytes, limits)?;
        room.ok_or(Malformed::new(Fault::Empty, 0))
    }

    /// As [`parse`](Self::parse), with the message written where the caller keeps it: a message
    /// knows the places of dozens of headers, and to move it costs as much as to read some of them.
    /// After a failure there is none.
    pub fn parse_in<'m>(
        room: &'m mut Option<Message<'a>>,
        bytes: &'a [u8],
        limits: &Limits,
    ) -> Result<&'m mut Message<'a>, Malformed> {
        *room = None;
        let bytes = &bytes[scan::leading_crlf(bytes)..];
        if bytes.is_empty() {
            return Err(Malformed::new(Fault::Empty, 0));
        }
        if bytes.len() > limits.message_max() {
            return Err(Malformed::new(Fault::TooLarge, limits.message_max()));
        }
        let first = match usual_start_line(bytes) {
            Some(first) if first.end <= limits.line_max() => first,
            _ => start_line(bytes, limits.line_max())?,
        };
        let at = first.end;
        Message::begin(room, bytes, first);
        Message::finish(room, at, limits)
    }

    /// As [`parse_in`](Self::parse_in), for who knows the first header of a response, letter by
    /// letter: that is a Via with one value, and this is its line. It is not read again. Nor are the
    /// lines behind it, if they are those of an [earlier](Message::head) answer, which comes along
    /// without its own first header.
    pub fn parse_below<'m>(
        room: &'m mut Option<Message<'a>>,
        bytes: &'a [u8],
        via: Span,
        earlier: Option<(&Head, &[u8])>,
        limits: &Limits,
    ) -> Result<&'m mut Message<'a>, Malformed> {
        let (start, end) = (via.0 as usize, via.1 as usize);
        let fits =
            bytes.len() <= limits.message_max() && end <= limits.line_max() && limits.headers > 0;
        let first = bytes.get(..start).filter(|_| fits);
        let Some(first) = first.and_then(whole_status_line) else {
            return Message::parse_in(room, bytes, limits);
        };
        *room = None;
        let message = Message::begin(room, bytes, first);
        message
            .headers
            .push_usual((start, end), Name::Via, "Via".len());
        let known = earlier.and_then(|(head, earlier)| message.take_up(head, earlier, end, limits));
        Message::finish(room, known.unwrap_or(end), limits)
    }

    /// A message of which the start line is read.
    #[inline(always)]
    pub(super) fn begin<'m>(
        room: &'m mut Option<Message<'a>>,
        bytes: &'a [u8],
        first: First<'a>,
    ) -> &'m mut Message<'a> {
        room.get_or_insert_with(|| Message {
            bytes,
            start: first.start,
            uri_at: first.uri_at,
            uri_is_plain: first.uri_is_plain,
            headers_start: span(first.end, first.end).0,
            headers_end: 0,
            body_start: 0,
            headers: Headers::new(),
            lists: UNSEARCHED,
            length: None,
            contact: None,
            facts: Facts::begin(first.uri),
            is_usual: true,
            is_settled: false,
        })
    }

    /// Reads the rest, from there on. After a failure there is no message.
    #[inline(always)]
    fn finish<'m>(
        room: &'m mut Option<Message<'a>>,
        at: usize,
        limits: &Limits,
    ) -> Result<&'m mut Message<'a>, Malformed> {
        let read = match room {
            Some(message) => message.read_headers(at, limits),
            None => Err(Malformed::new(Fault::Empty, 0)),
        };
        if read.is_err() {
            *room = None;
        }
        read?;
        room.as_mut().ok_or(Malformed::new(Fault::Empty, 0))
    }

    /// Reads the headers from there on, and where the body is.
    #[inline(always)]
    fn read_headers(&mut self, mut at: usize, limits: &Limits) -> Result<(), Malformed> {
        let bytes = self.bytes;
        let line_max = limits.line_max();
        let body_start = loop {
            at = self.walk(at, limits);
            match scan::odd(bytes, at, line_max)? {
                Scanned::Body(body_start) => break body_start,
                Scanned::Header(_) if self.headers.len() == limits.headers => {
                    return Err(Malformed::new(Fault::TooManyHeaders, at));
                }
                Scanned::Header(line) => {
                    self.is_usual &= !ASKED_OF_ALL.has(line.name);
                    self.lists = self.lists.with_list(line.name);
                    match line.name {
                        Name::ContentLength => self.length = None,
                        Name::Contact => self.contact = None,
                        _ => {}
                    }
                    self.headers.push(at, &line);
                    at += line.end;
                }
            }
        };
        let end = match self.content_length()? {
            None => bytes.len(),
            Some(len) if len <= bytes.len() - body_start => body_start + len,
            Some(_) => return Err(Malformed::new(Fault::BodyTooShort, bytes.len())),
        };
        (self.headers_end, self.body_start) = span(at, body_start);
        self.bytes = &bytes[..end];
        Ok(())
    }

    /// The body's length, as far as the headers tell.
    #[inline(always)]
    fn content_length(&self) -> Result<Option<usize>, Malformed> {
        match self.length {
            Some(length) if self.headers.are_single(Headers::bit(Name::ContentLength)) => {
                Ok(Some(length as usize))
            }
            _ => self.content_lengths(),
        }
    }

    /// As [`content_length`](Self::content_length), of none, several, or an unusual one.
    #[cold]
    fn content_lengths(&self) -> Result<Option<usize>, Malformed> {
        let mut length = None;
        for entry in self.headers.all_named(Name::ContentLength) {
            if entry.name == Name::ContentLength {
                let at = self.headers.value_at(entry);
                length = Some(content_length(self.part(at), at.0 as usize, length)?);
            }
        }
        Ok(length)
    }
}

/// Reads a Content-Length value; `known` is what an earlier one said. Two that agree are one.
pub(crate) fn content_length(
    value: &[u8],
    at: usize,
    known: Option<usize>,
) -> Result<usize, Malformed> {
    let length = lex::number(value).and_then(|length| usize::try_from(length).ok());
    match (length, known) {
        (Some(length), None) => Ok(length),
        (Some(length), Some(known)) if length == known => Ok(length),
        _ => Err(Malformed::new(Fault::ContentLength, at)),
    }
}

/// A start line, read.
pub(super) struct First<'a> {
    pub start: Start<'a>,
    uri_at: Span,
    pub uri_is_plain: bool,
    /// The Request-URI, where it could be read on the way.
    pub uri: Option<Uri<'a>>,
    /// Where the headers start.
    pub end: usize,
}

/// A start line that there is nothing to say about.
#[inline(always)]
fn usual_start_line(bytes: &[u8]) -> Option<First<'_>> {
    match bytes {
        [b'S', b'I', b'P', b'/', ..] => usual_status_line(bytes),
        _ => usual_request_line(bytes),
    }
}

/// A status line that there is nothing to say about.
#[inline(always)]
fn usual_status_line(bytes: &[u8]) -> Option<First<'_>> {
    let rest = lex::seek_line_end(bytes).strip_prefix(b"\r\n")?;
    whole_status_line(bytes.get(..bytes.len() - rest.len())?)
}

/// The same, with its end and nothing else.
#[inline(always)]
pub(super) fn whole_status_line(line: &[u8]) -> Option<First<'_>> {
    let text = line.strip_suffix(b"\r\n")?;
    let (
        b"SIP/2.0 ",
        [
            h @ b'1'..=b'6',
            t @ b'0'..=b'9',
            u @ b'0'..=b'9',
            b' ',
            reason @ ..,
        ],
    ) = text.split_first_chunk()?
    else {
        return None;
    };
    let digit = |byte: &u8| u16::from(byte - b'0');
    let start = Start::Response {
        code: digit(h) * 100 + digit(t) * 10 + digit(u),
        reason,
    };
    Some(First {
        start,
        uri_at: (0, 0),
        uri_is_plain: false,
        uri: None,
        end: line.len(),
    })
}

/// A method that calls are made of, and a Request-URI in which nothing needs an escape.
#[inline(always)]
pub(super) fn usual_request_line(bytes: &[u8]) -> Option<First<'_>> {
    let (method, [b' ', behind @ ..]) = Method::usual(bytes)? else {
        return None;
    };
    let (uri, rest) = match Uri::read_usual(behind) {
        Some((uri, rest)) => (Some(uri), rest),
        None => (None, lex::seek_escaped(behind)),
    };
    let text = lex::before(behind, rest)?;
    const BEHIND: &[u8] = b" SIP/2.0\r\n";
    let end = bytes.len() - rest.len();
    (!text.is_empty() && rest.starts_with(BEHIND)).then_some(First {
        start: Start::Request { method, uri: text },
        uri_at: span(end - text.len(), end),
        uri_is_plain: true,
        uri,
        end: end + BEHIND.len(),
    })
}

#[inline(never)]
fn start_line(bytes: &[u8], line_max: usize) -> Result<First<'_>, Malformed> {
    let end = scan::line_end(bytes, 0).map_err(|error| match error.fault {
        Fault::HeaderLine => Malformed::new(Fault::StartLine, error.at),
        fault => Malformed::new(fault, error.at),
    })?;
    if end + 2 > line_max {
        return Err(Malformed::new(Fault::LineTooLong, 0));
    }
    let line = &bytes[..end];
    let (start, uri_at) = if is_status_line(line) {
        (status_line(line)?, (0, 0))
    } else {
        request_line(line)?
    };
    Ok(First {
        start,
        uri_at,
        uri_is_plain: false,
        uri: None,
        end: end + 2,
    })
}

/// No method has a slash, so the first four bytes tell (RFC 3261 §25.1).
pub(crate) fn is_status_line(bytes: &[u8]) -> bool {
    bytes
        .get(..4)
        .is_some_and(|word| word.eq_ignore_ascii_case(b"SIP/"))
}

/// `SIP/2.0 200 OK`. The blank before an empty reason phrase may be missing.
pub(super) fn status_line(line: &[u8]) -> Result<Start<'_>, Malformed> {
    let (version, rest) = line.split_at(memchr::memchr(b' ', line).unwrap_or(line.len()));
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        return Err(Malformed::new(Fault::Version, 0));
    }
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    let (digits, reason) = rest.split_at(memchr::memchr(b' ', rest).unwrap_or(rest.len()));
    let code = lex::number(digits)
        .filter(|code| digits.len() == 3 && (100..700).contains(code))
        .and_then(|code| u16::try_from(code).ok())
        .ok_or(Malformed::new(Fault::StatusCode, version.len() + 1))?;
    Ok(Start::Response {
        code,
        reason: reason.strip_prefix(b" ").unwrap_or(reason),
    })
}

/// `INVITE sip:bob@example.com SIP/2.0`, with exactly one blank between the words.
fn request_line(line: &[u8]) -> Result<(Start<'_>, Span), Malformed> {
    let method_end = lex::token_len(line);
    if line.get(method_end) != Some(&b' ') {
        let words = memchr::memchr(b' ', line).is_some();
        return Err(Malformed::new(
            if words {
                Fault::Method
            } else {
                Fault::StartLine
            },
            method_end,
        ));
    }
    if method_end == 0 {
        return Err(Malformed::new(Fault::Method, 0));
    }
    let uri_start = method_end + 1;
    let uri_end = memchr::memrchr(b' ', line).unwrap_or(method_end);
    if uri_end <= method_end {
        return Err(Malformed::new(Fault::StartLine, line.len()));
    }
    let version = &line[uri_end + 1..];
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        let fault = if is_status_line(version) {
            Fault::Version
        } else {
            Fault::StartLine
        };
        return Err(Malformed::new(fault, uri_end + 1));
    }
    let uri = &line[uri_start..uri_end];
    if uri.is_empty() || lex::find_break(uri).is_some() {
        return Err(Malformed::new(Fault::RequestUri, uri_start));
    }
    Ok((
        Start::Request {
            method: Method::parse(&line[..method_end]),
            uri,
        },
        span(uri_start, uri_end),
    ))
}
