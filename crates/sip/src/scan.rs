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
}

pub(crate) enum Scanned {
    Header(Line),
    /// The empty line; the body starts here.
    Body(usize),
}

/// How many bytes of CRLF pairs come before the start line (RFC 3261 §7.5).
#[inline(always)]
pub(crate) fn leading_crlf(bytes: &[u8]) -> usize {
    match bytes {
        [b'\r', ..] => all_leading_crlf(bytes),
        _ => 0,
    }
}

#[cold]
fn all_leading_crlf(bytes: &[u8]) -> usize {
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

/// The header that `rest` starts with, as nearly all are: as [`usual_start`] says, some text that
/// ends in no blank, and no fold.
#[inline(always)]
fn usual(rest: &[u8], line_max: usize) -> Option<Line> {
    let UsualStart {
        name,
        name_len: name_end,
        ..
    } = usual_start(rest)?;
    let end = lex::find_line_end(rest, name_end + 3)?;
    let [last, cr, lf, next] = *rest.get(end - 1..)?.first_chunk()?;
    if (cr, lf) != (b'\r', b'\n') || last <= b' ' {
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
    })
}

/// The start of a header as nearly all write it.
pub(crate) struct UsualStart<'a> {
    pub name: Name,
    pub name_len: usize,
    /// The value, and all that follows.
    pub value: &'a [u8],
}

/// The name that a header starts with, if a colon comes right behind it, then one blank, and then
/// something else.
#[inline(always)]
pub(crate) fn usual_start(line: &[u8]) -> Option<UsualStart<'_>> {
    let start: &[u8; 20] = line.first_chunk()?;
    let Some((name, len)) = Name::quick(start.first_chunk()?) else {
        let (name, name_len) = unknown(line)?;
        return Some(UsualStart {
            name,
            name_len,
            value: line.get(name_len + 2..)?,
        });
    };
    let name_len = len % 16; // as all that are known at a glance
    (start[name_len + 1] == b' ' && start[name_len + 2] > b' ').then(|| UsualStart {
        name,
        name_len,
        value: &line[name_len + 2..],
    })
}

/// As [`usual_start`], for every name, and its length.
#[inline(never)]
fn unknown(line: &[u8]) -> Option<(Name, usize)> {
    // The headers' end, most often.
    if line.first() == Some(&b'\r') {
        return None;
    }
    let name_len = lex::name_len(line);
    let value = line.get(name_len..)?.strip_prefix(b": ")?;
    let is_usual = (1..=NAME_MAX).contains(&name_len) && *value.first()? > b' ';
    is_usual.then(|| (Name::parse(&line[..name_len]), name_len))
}

/// Lines one after the other, their line ends not included, up to the first that is not just text
/// and CRLF: one with a control in it, or a fold behind it, or the last before the empty line.
///
/// Reads in blocks of 64 bytes: lines are short, and to begin a search anew in each costs more than
/// to search.
pub(crate) struct Lines<'a> {
    bytes: &'a [u8],
    /// Where the next line starts.
    start: usize,
    /// The blocks to come, and how many bytes there are behind them.
    blocks: std::slice::Iter<'a, [u8; 64]>,
    behind: usize,
    /// Where the block in hand starts.
    block: usize,
    /// Bytes in it that may end a line, those before which there is no other.
    ends: u64,
    /// Whether the last byte of the block before was one.
    in_run: u64,
    /// Not 0 if there is a comma in this block, and in any since the line began.
    commas: u32,
    commas_in_line: u32,
}

/// Where a line is.
pub(crate) struct Extent {
    pub start: usize,
    /// Where its CRLF is.
    pub end: usize,
    /// Not 0 when a comma may be in it.
    pub commas: u32,
}

impl<'a> Lines<'a> {
    /// The lines from `start` on, as far as they end before `until`.
    #[inline(always)]
    pub fn new(bytes: &'a [u8], start: usize, until: usize) -> Lines<'a> {
        let bytes = bytes.get(..until).unwrap_or(bytes);
        let rest = match bytes.get(start..) {
            Some(rest) if rest.first() > Some(&b' ') => rest,
            _ => &[],
        };
        let (blocks, behind) = rest.as_chunks();
        Lines {
            bytes,
            start,
            blocks: blocks.iter(),
            behind: behind.len(),
            block: start.wrapping_sub(64),
            ends: 0,
            in_run: 0,
            commas: 0,
            commas_in_line: 0,
        }
    }

    /// Takes up the next block.
    #[inline(always)]
    fn advance(&mut self) -> Option<()> {
        let (low, commas) = match self.blocks.next() {
            Some(block) => lex::line_ends_and_commas(block),
            None => last_block(self.bytes, std::mem::take(&mut self.behind))?,
        };
        self.commas = commas;
        self.commas_in_line |= commas;
        self.block = self.block.wrapping_add(64);
        self.ends = low & !(low << 1 | self.in_run);
        self.in_run = low >> 63;
        Some(())
    }
}

/// As [`lex::line_ends_and_commas`], in the last few bytes. In less than 64 bytes none is found.
#[inline(never)]
fn last_block(bytes: &[u8], few: usize) -> Option<(u64, u32)> {
    let (ends, commas) = lex::line_ends_and_commas(bytes.last_chunk()?);
    (1..64).contains(&few).then(|| (ends >> (64 - few), commas))
}

impl Iterator for Lines<'_> {
    type Item = Extent;

    #[inline(always)]
    fn next(&mut self) -> Option<Extent> {
        while self.ends == 0 {
            self.advance()?;
        }
        let (start, end) = (self.start, self.block + self.ends.trailing_zeros() as usize);
        self.ends &= self.ends - 1;
        let [cr, lf, next] = *self.bytes.get(end..)?.first_chunk()?;
        if u16::from_le_bytes([cr, lf]) != u16::from_le_bytes(*b"\r\n") {
            return None;
        }
        if next <= b' ' {
            (self.ends, self.blocks, self.behind) = (0, [].iter(), 0);
            if next != b'\r' {
                return None;
            }
        }
        self.start = end + 2;
        let commas = std::mem::replace(&mut self.commas_in_line, self.commas);
        Some(Extent { start, end, commas })
    }
}

/// The header at `at` in whatever form, or the end of the headers.
pub(crate) fn odd(bytes: &[u8], at: usize, line_max: usize) -> Result<Scanned, Malformed> {
    if bytes[at..].starts_with(b"\r\n") {
        return Ok(Scanned::Body(at + 2));
    }
    header(bytes, at, line_max).map(Scanned::Header)
}

/// The header at `at` in whatever form.
#[inline(never)]
pub(crate) fn header(bytes: &[u8], at: usize, line_max: usize) -> Result<Line, Malformed> {
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
    Ok(Line {
        name,
        name_end: name_end - at,
        value: (value.0 - at, value.1 - at),
        end: end - at,
    })
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
