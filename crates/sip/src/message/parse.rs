//! Bytes to a message: finds the lines, judges nothing that does not decide where things are.

use super::{Entry, Headers, Limits, Message, Start, span};
use crate::Span;
use crate::error::{Fault, Malformed};
use crate::lex;
use crate::method::Method;
use crate::name::Name;
use crate::scan::{self, Scanned};

impl<'a> Message<'a> {
    /// Reads the structure: start line, header lines, and the body by Content-Length.
    ///
    /// CRLFs before the start line are skipped. Bytes beyond Content-Length are cut off; without one
    /// the body is all the rest, as in a datagram (RFC 3261 §18.3). A line end that is not CRLF is
    /// refused, because what we forward might be read differently by the next element.
    ///
    /// Fails with the first fault found. The offset in it counts from the start line.
    pub fn parse(bytes: &'a [u8], limits: &Limits) -> Result<Message<'a>, Malformed> {
        let bytes = &bytes[scan::leading_crlf(bytes)..];
        if bytes.is_empty() {
            return Err(Malformed::new(Fault::Empty, 0));
        }
        if bytes.len() > limits.message_max() {
            return Err(Malformed::new(Fault::TooLarge, limits.message_max()));
        }
        let (start, uri_at, headers_start) = start_line(bytes, limits.line_max())?;
        // Filled where it stands: with dozens of headers in it, a message is not for moving.
        let mut message = Message {
            bytes,
            start,
            uri_at,
            headers_start: span(headers_start, headers_start).0,
            headers_end: 0,
            body_start: 0,
            headers: Headers::new(),
            top: None,
            facts: None,
        };
        let mut body_len = None;
        let mut at = headers_start;
        let body_start = loop {
            match scan::next(bytes, at, limits.line_max())? {
                Scanned::Body(body_start) => break body_start,
                Scanned::Header(line) => {
                    if message.headers.all().len() == limits.headers {
                        return Err(Malformed::new(Fault::TooManyHeaders, at));
                    }
                    if line.name == Name::ContentLength {
                        body_len = Some(content_length(
                            &bytes[line.value.0..line.value.1],
                            line.value.0,
                            body_len,
                        )?);
                    }
                    let Some(entry) = Entry::new(&line) else {
                        return Err(Malformed::new(Fault::LineTooLong, at));
                    };
                    message.headers.push(entry);
                    at = line.end;
                }
            }
        };
        let end = match body_len {
            None => bytes.len(),
            Some(len) if len <= bytes.len() - body_start => body_start + len,
            Some(_) => return Err(Malformed::new(Fault::BodyTooShort, bytes.len())),
        };
        message.headers_end = span(headers_start, at).1;
        message.body_start = span(body_start, end).0;
        message.bytes = &bytes[..end];
        message.read_top_via();
        Ok(message)
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

/// The start line, where its Request-URI is, and where the headers start.
fn start_line(bytes: &[u8], line_max: usize) -> Result<(Start<'_>, Span, usize), Malformed> {
    let end = scan::line_end(bytes, 0).map_err(|error| match error.fault {
        Fault::HeaderLine => Malformed::new(Fault::StartLine, error.at),
        fault => Malformed::new(fault, error.at),
    })?;
    if end + 2 > line_max {
        return Err(Malformed::new(Fault::LineTooLong, 0));
    }
    let line = &bytes[..end];
    if is_status_line(line) {
        let start = status_line(line)?;
        return Ok((start, (0, 0), end + 2));
    }
    let (start, uri_at) = request_line(line)?;
    Ok((start, uri_at, end + 2))
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
