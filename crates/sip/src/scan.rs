//! Finds header lines. The one place that decides where a line, a name and a value end, so that
//! the parser, the framer and the peeks cannot disagree.

use crate::error::{Fault, Malformed};
use crate::lex;
use crate::name::Name;

/// The longest name; lets a header's index entry stay small.
const NAME_MAX: usize = u8::MAX as usize;

/// Where the parts of one header are.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Line {
    pub name: Name,
    pub start: usize,
    pub name_end: usize,
    /// Without white space at either end; folds inside are kept.
    pub value: (usize, usize),
    /// After the line end of the last fold.
    pub end: usize,
}

pub(crate) enum Scanned {
    Header(Line),
    /// The empty line; the body starts here.
    Body(usize),
}

/// How many bytes of CRLF pairs come before the start line (RFC 3261 §7.5).
pub(crate) fn leading_crlf(bytes: &[u8]) -> usize {
    let mut at = 0;
    while bytes[at..].starts_with(b"\r\n") {
        at += 2;
    }
    at
}

/// The offset of the CRLF that ends the line at `from`.
#[inline]
pub(crate) fn line_end(bytes: &[u8], from: usize) -> Result<usize, Malformed> {
    let rest = bytes.get(from..).unwrap_or_default();
    let Some(at) = memchr::memchr2(b'\r', b'\n', rest) else {
        return Err(Malformed::new(Fault::NoEndOfHeaders, bytes.len()));
    };
    match (rest[at], rest.get(at + 1)) {
        (b'\r', Some(b'\n')) => Ok(from + at),
        (b'\r', None) => Err(Malformed::new(Fault::NoEndOfHeaders, bytes.len())),
        _ => Err(Malformed::new(Fault::HeaderLine, from + at)),
    }
}

/// The header at `at`, or the end of the headers. `at` is the start of a line.
#[inline]
pub(crate) fn next(bytes: &[u8], at: usize, line_max: usize) -> Result<Scanned, Malformed> {
    if bytes[at..].starts_with(b"\r\n") {
        return Ok(Scanned::Body(at + 2));
    }
    let (name_end, colon) = name(bytes, at)?;
    let mut end = line_end(bytes, colon + 1)? + 2;
    while matches!(bytes.get(end), Some(b' ' | b'\t')) {
        end = line_end(bytes, end)? + 2;
    }
    if end - at > line_max {
        return Err(Malformed::new(Fault::LineTooLong, at));
    }
    Ok(Scanned::Header(Line {
        name: Name::parse(&bytes[at..name_end]),
        start: at,
        name_end,
        value: lex::trim_span(bytes, colon + 1, end),
        end,
    }))
}

/// The end of the name that starts at `at`, and the colon after it.
#[inline]
pub(crate) fn name(bytes: &[u8], at: usize) -> Result<(usize, usize), Malformed> {
    let name_end = at + lex::token_len(&bytes[at..]);
    let mut colon = name_end;
    while matches!(bytes.get(colon), Some(b' ' | b'\t')) {
        colon += 1;
    }
    match bytes.get(colon) {
        Some(b':') if name_end == at || name_end - at > NAME_MAX => {
            Err(Malformed::new(Fault::HeaderName, at))
        }
        Some(b':') => Ok((name_end, colon)),
        Some(b'\r') if colon + 1 == bytes.len() => {
            Err(Malformed::new(Fault::NoEndOfHeaders, bytes.len()))
        }
        Some(b'\r' | b'\n') => Err(Malformed::new(Fault::HeaderLine, at)),
        Some(_) => Err(Malformed::new(Fault::HeaderName, at)),
        None => Err(Malformed::new(Fault::NoEndOfHeaders, bytes.len())),
    }
}
