//! As much of a broken message as it takes to answer it.

use super::{Facts, Headers, Limits, Message, Start, parse, span};
use crate::Span;
use crate::lex;
use crate::method::Method;
use crate::name::{Name, NameSet};
use crate::scan::{self, Line};

impl<'a> Message<'a> {
    /// For bytes that [`Message::parse`] refused: the start line, and every header that can be read
    /// up to the first empty line or the limits. There is no body. Lines may end in a lone LF here,
    /// since nothing of this is forwarded; a header with a lone CR or LF in its value is left out.
    ///
    /// `None` when the first line is not even roughly SIP: such bytes get no answer.
    pub fn salvage(bytes: &'a [u8], limits: &Limits) -> Option<Message<'a>> {
        let bytes = &bytes[scan::leading_crlf(bytes)..];
        let bytes = &bytes[..bytes.len().min(limits.message_max())];
        let first = line(bytes, 0)?;
        if first.end > limits.line_max() {
            return None;
        }
        let (start, uri_at) = start_line(&bytes[..first.text_end])?;
        let mut headers = Headers::new();
        let mut at = first.end;
        let headers_end = loop {
            let Some(header) = folded_line(bytes, at) else {
                break at;
            };
            if header.text_end == at || headers.len() == limits.headers {
                break at;
            }
            if header.end - at <= limits.line_max() {
                read(bytes, at, &header)
                    .iter()
                    .for_each(|line| headers.push(at, line));
            }
            at = header.end;
        };
        let (headers_start, headers_end) = span(first.end, headers_end);
        Some(Message {
            bytes: &bytes[..headers_end as usize],
            start,
            uri_at,
            headers_start,
            headers_end,
            body_start: headers_end,
            headers,
            uri_is_plain: false,
            lists: NameSet::LISTS,
            length: None,
            contact: None,
            facts: Facts::begin(None),
            is_usual: false,
            is_settled: false,
        })
    }
}

/// A line from some offset on: where its text ends, and where the next line starts.
struct Extent {
    text_end: usize,
    end: usize,
}

fn line(bytes: &[u8], from: usize) -> Option<Extent> {
    let end = from + memchr::memchr(b'\n', bytes.get(from..)?)? + 1;
    let text = bytes[from..end - 1]
        .strip_suffix(b"\r")
        .map_or(end - 1 - from, <[u8]>::len);
    Some(Extent {
        text_end: from + text,
        end,
    })
}

/// A line with the folds that follow it.
fn folded_line(bytes: &[u8], from: usize) -> Option<Extent> {
    let mut extent = line(bytes, from)?;
    while extent.text_end > from && matches!(bytes.get(extent.end), Some(b' ' | b'\t')) {
        extent = line(bytes, extent.end)?;
    }
    Some(extent)
}

fn read(bytes: &[u8], start: usize, extent: &Extent) -> Option<Line> {
    let (name_end, colon) = scan::name(bytes, start)
        .ok()
        .filter(|&(_, colon)| colon < extent.text_end)?;
    let value = lex::trim_span(bytes, colon + 1, extent.text_end);
    if has_lone_line_end(&bytes[value.0..value.1]) {
        return None;
    }
    let name = Name::parse(&bytes[start..name_end]);
    Some(Line {
        name,
        name_end: name_end - start,
        value: (value.0 - start, value.1 - start),
        end: extent.end - start,
    })
}

/// A CR or LF in a value that is no part of a CRLF: an answer that copied it would be as broken.
fn has_lone_line_end(value: &[u8]) -> bool {
    let mut at = 0;
    while let Some(next) = value
        .get(at..)
        .and_then(|rest| memchr::memchr2(b'\r', b'\n', rest))
    {
        at += next;
        if !value[at..].starts_with(b"\r\n") {
            return true;
        }
        at += 2;
    }
    false
}

/// A method and some SIP version, or a status line that is whole.
fn start_line(line: &[u8]) -> Option<(Start<'_>, Span)> {
    if parse::is_status_line(line) {
        return Some((parse::status_line(line).ok()?, (0, 0)));
    }
    let method_end = lex::token_len(line);
    let version_start = memchr::memrchr(b' ', lex::trim(line))? + 1;
    if method_end == 0 || !parse::is_status_line(&line[version_start..]) {
        return None;
    }
    let (uri_start, uri_end) = lex::trim_span(line, method_end, version_start.max(method_end));
    let method = Method::parse(&line[..method_end]);
    Some((
        Start::Request {
            method,
            uri: &line[uri_start..uri_end],
        },
        span(uri_start, uri_end),
    ))
}
