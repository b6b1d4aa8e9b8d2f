//! Finds header lines. The one place that decides where a line, a name and a value end, so that
//! the parser, the framer and the peeks cannot disagree.

use crate::error::{Fault, Malformed};
use crate::lex;
use crate::name::Name;

/// The longest name; lets a header's index entry stay small.
const NAME_MAX: usize = u8::MAX as usize;

/// Where the parts of one header are, counted from the first byte of its name.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Line {
    pub name: Name,
    pub name_end: usize,
    /// Without white space at either end; folds inside are kept.
    pub value: (usize, usize),
    /// After the line end of the last fold.
    pub end: usize,
    /// Not 0 when a comma may be in the value.
    pub commas: u16,
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
#[inline(always)]
pub(crate) fn line_end(bytes: &[u8], from: usize) -> Result<usize, Malformed> {
    // Nearly every byte below 14 is one of a line's end.
    match lex::find_line_end(bytes, from) {
        Some(at) if matches!(bytes.get(at..), Some([b'\r', b'\n', ..])) => Ok(at),
        first => odd_line_end(bytes, first),
    }
}

/// As [`line_end`], from the first byte on that may be part of one; tabs and stray controls are
/// passed by.
#[cold]
fn odd_line_end(bytes: &[u8], first: Option<usize>) -> Result<usize, Malformed> {
    let mut found = first;
    while let Some(at) = found {
        match (bytes[at], bytes.get(at + 1)) {
            (b'\r', Some(b'\n')) => return Ok(at),
            (b'\r', None) => break,
            (b'\r' | b'\n', _) => return Err(Malformed::new(Fault::HeaderLine, at)),
            _ => found = lex::find_line_end(bytes, at + 1),
        }
    }
    Err(Malformed::new(Fault::NoEndOfHeaders, bytes.len()))
}

/// The header at `at`, or the end of the headers. `at` is the start of a line.
#[inline]
pub(crate) fn next(bytes: &[u8], at: usize, line_max: usize) -> Result<Scanned, Malformed> {
    match bytes.get(at..).and_then(|rest| usual(rest, line_max)) {
        Some(line) => Ok(Scanned::Header(line)),
        None => odd(bytes, at, line_max),
    }
}

/// The header that `rest` starts with, as nearly all are: a colon right behind the name, one blank,
/// some text that ends in no blank, and no fold.
#[inline(always)]
pub(crate) fn usual(rest: &[u8], line_max: usize) -> Option<Line> {
    let (name, name_end) = match Name::quick(rest) {
        Some(known) => known,
        None => unknown(rest)?,
    };
    let (end, commas) = lex::find_line_end_and_commas(rest, name_end + 1)?;
    let [blank, first] = *rest.get(name_end + 1..)?.first_chunk()?;
    let [last, cr, lf, next] = *rest.get(end - 1..)?.first_chunk()?;
    if (cr, lf) != (b'\r', b'\n') || blank != b' ' || first <= b' ' || last <= b' ' {
        return None;
    }
    if matches!(next, b' ' | b'\t') || end + 2 > line_max {
        return None;
    }
    Some(Line {
        name,
        name_end,
        value: (name_end + 2, end),
        end: end + 2,
        commas,
    })
}

/// As [`Name::quick`], for every name.
#[inline(never)]
fn unknown(line: &[u8]) -> Option<(Name, usize)> {
    let len = lex::token_len(line);
    let is_name = line.get(len) == Some(&b':') && (1..=NAME_MAX).contains(&len);
    is_name.then(|| (Name::parse(&line[..len]), len))
}

/// The header at `at` in whatever form, or the end of the headers.
#[inline(never)]
pub(crate) fn odd(bytes: &[u8], at: usize, line_max: usize) -> Result<Scanned, Malformed> {
    if bytes[at..].starts_with(b"\r\n") {
        return Ok(Scanned::Body(at + 2));
    }
    let (name_end, colon) = name(bytes, at)?;
    let name = Name::parse(&bytes[at..name_end]);
    let mut text_end = line_end(bytes, colon + 1)?;
    while matches!(bytes.get(text_end + 2), Some(b' ' | b'\t')) {
        text_end = line_end(bytes, text_end + 2)?;
    }
    let end = text_end + 2;
    if end - at > line_max {
        return Err(Malformed::new(Fault::LineTooLong, at));
    }
    let value = lex::trim_span(bytes, colon + 1, text_end);
    Ok(Scanned::Header(Line {
        name,
        name_end: name_end - at,
        value: (value.0 - at, value.1 - at),
        end: end - at,
        commas: 1,
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
