//! The few lexical rules that every header shares: tokens, white space, quoted strings.

use std::net::Ipv4Addr;

use wide::u8x16;

/// What a byte may be part of (RFC 3261 §25.1).
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(byte as u8,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9'
            | b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~');
        byte += 1;
    }
    table
};

/// Bits of [`CLASS`].
pub(crate) mod class {
    /// What a host name or an IPv4 address is written with.
    pub(crate) const HOST: u8 = 1;
    /// What ends the name of a parameter.
    pub(crate) const NAME_END: u8 = 2;
}

/// What a byte means in several places, one bit each.
static CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        let mut bits = 0;
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_') {
            bits |= class::HOST;
        }
        if matches!(byte, b';' | b'=') {
            bits |= class::NAME_END;
        }
        table[at] = bits;
        at += 1;
    }
    table
};

/// Whether a byte is of a [`class`].
#[inline]
pub(crate) fn is(byte: u8, class: u8) -> bool {
    CLASS[usize::from(byte)] & class != 0
}

/// The first byte of a [`class`].
#[inline]
pub(crate) fn find_class(bytes: &[u8], class: u8) -> Option<usize> {
    bytes.iter().position(|&byte| is(byte, class))
}

/// Which of sixteen bytes are `wanted`.
#[inline(always)]
fn eq(bytes: u8x16, wanted: u8) -> u8x16 {
    bytes.cmp_eq(u8x16::splat(wanted))
}

/// Which of sixteen bytes are `most` or less.
#[inline(always)]
fn up_to(bytes: u8x16, most: u8) -> u8x16 {
    bytes.min(u8x16::splat(most)).cmp_eq(bytes)
}

/// Which of sixteen bytes are from `first` to `last`.
#[inline(always)]
fn between(bytes: u8x16, first: u8, last: u8) -> u8x16 {
    up_to(bytes - u8x16::splat(first), last - first)
}

/// Which of sixteen bytes are white space, as [`is_lws`] says.
#[inline(always)]
fn any_lws(bytes: u8x16) -> u8x16 {
    eq(bytes, b' ') | eq(bytes, b'\t') | eq(bytes, b'\r') | eq(bytes, b'\n')
}

/// Which of sixteen bytes are of a kind, one bit each, the first byte's lowest.
#[inline(always)]
fn hits(bytes: [u8; 16], is: impl Fn(u8x16) -> u8x16) -> u32 {
    is(u8x16::new(bytes)).move_mask() as u32
}

/// The first byte at or after `from` of a kind. Written out because what is searched is short: for
/// a line of 50 bytes a call to the best of libraries costs more than the search.
#[inline(always)]
fn search(bytes: &[u8], from: usize, is: impl Fn(u8x16) -> u8x16) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let (chunks, odd) = rest.as_chunks::<16>();
    let mut at = from;
    for chunk in chunks {
        let hits = hits(*chunk, &is);
        if hits != 0 {
            return Some(at + hits.trailing_zeros() as usize);
        }
        at += 16;
    }
    if odd.is_empty() {
        return None;
    }
    // Sixteen bytes that end where the text does: those among them that were looked at before hit
    // nothing now either. In a shorter text, what there is.
    let (at, hits) = match rest.last_chunk::<16>() {
        Some(last) => (bytes.len() - 16, hits(*last, &is)),
        None => (
            from,
            hits(short(odd).to_le_bytes(), &is) & !(u32::MAX << odd.len()),
        ),
    };
    (hits != 0).then(|| at + hits.trailing_zeros() as usize)
}

/// What `text` is from the first byte of a kind on; nothing where there is none. For places in a
/// message, behind which nearly always some more of it comes.
#[inline(always)]
fn seek(text: &[u8], is: impl Fn(u8x16) -> u8x16) -> &[u8] {
    let mut rest = text;
    while let Some((chunk, next)) = rest.split_first_chunk() {
        let hits = hits(*chunk, &is);
        if hits != 0 {
            return &rest[hits.trailing_zeros() as usize % 16..];
        }
        rest = next;
    }
    seek_in_few(rest, is)
}

/// As [`seek`], in less than sixteen bytes.
#[inline(never)]
fn seek_in_few(rest: &[u8], is: impl Fn(u8x16) -> u8x16) -> &[u8] {
    let hits = hits(short(rest).to_le_bytes(), is) | 1 << rest.len();
    rest.get(hits.trailing_zeros() as usize..)
        .unwrap_or_default()
}

/// Less than sixteen bytes as a number, zeros behind them.
#[inline]
fn short(bytes: &[u8]) -> u128 {
    // Two halves may overlap: both then have the same bytes there.
    if let (Some(head), Some(tail)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let tail = u128::from(u64::from_le_bytes(*tail)) << (8 * (bytes.len() - 8));
        return u128::from(u64::from_le_bytes(*head)) | tail;
    }
    if let (Some(head), Some(tail)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let tail = u64::from(u32::from_le_bytes(*tail)) << (8 * (bytes.len() - 4));
        return u128::from(u64::from(u32::from_le_bytes(*head)) | tail);
    }
    let bytes = bytes.iter().rev();
    u128::from(bytes.fold(0u32, |sum, &byte| sum << 8 | u32::from(byte)))
}

/// The first `wanted` at or after `from`.
#[inline]
pub(crate) fn find(bytes: &[u8], from: usize, wanted: u8) -> Option<usize> {
    search(bytes, from, |bytes| eq(bytes, wanted))
}

/// The first of two bytes at or after `from`.
#[inline]
pub(crate) fn find_either(bytes: &[u8], from: usize, one: u8, other: u8) -> Option<usize> {
    search(bytes, from, |bytes| eq(bytes, one) | eq(bytes, other))
}

/// The first byte at or after `from` that may be part of a line's end: CR, LF, and the controls
/// below them, which are as rare as they are harmless.
#[inline]
pub(crate) fn find_line_end(bytes: &[u8], from: usize) -> Option<usize> {
    search(bytes, from, |bytes| up_to(bytes, b'\r'))
}

/// Which of 64 bytes may be part of a line's end, as [`find_line_end`] says: one bit each, the first
/// byte's lowest. And whether there is a comma among them: then it is not 0.
#[inline(always)]
pub(crate) fn line_ends_and_commas(block: &[u8; 64]) -> (u64, u32) {
    let (quarters, _) = block.as_chunks();
    let (mut ends, mut commas) = (0, u8x16::ZERO);
    for quarter in quarters.iter().rev() {
        ends = ends << 16 | u64::from(hits(*quarter, |bytes| up_to(bytes, b'\r')));
        commas |= eq(u8x16::new(*quarter), b',');
    }
    (ends, commas.move_mask() as u32)
}

/// How many bytes of a host name or an IPv4 address `bytes` starts with.
#[inline(always)]
pub(crate) fn host_len(bytes: &[u8]) -> usize {
    // Nearly every host on the wire is an address.
    if let Some(first) = bytes.first_chunk::<16>()
        && first[0].is_ascii_digit()
    {
        let others = hits(*first, |bytes| {
            !between(bytes, b'.', b'9') | eq(bytes, b'/')
        });
        let len = others.trailing_zeros() as usize;
        if let Some(&next) = first.get(len)
            && !is(next, class::HOST)
        {
            return len;
        }
    }
    any_host_len(bytes)
}

/// As [`host_len`], of whatever host.
#[inline(never)]
fn any_host_len(bytes: &[u8]) -> usize {
    search(bytes, 0, is_no_host).unwrap_or(bytes.len())
}

/// Which of sixteen bytes no host is written with; all others may be in a token.
#[inline(always)]
fn is_no_host(bytes: u8x16) -> u8x16 {
    let letters = between(bytes | u8x16::splat(0x20), b'a', b'z');
    let rest = between(bytes, b'-', b'.') | between(bytes, b'0', b'9') | eq(bytes, b'_');
    !(letters | rest)
}

/// `text` from the first byte on that may be part of a line's end, as [`find_line_end`] says. As all
/// that follow here, for places in a message: see [`seek`].
#[inline(always)]
pub(crate) fn seek_line_end(text: &[u8]) -> &[u8] {
    seek(text, |bytes| up_to(bytes, b'\r'))
}

/// As [`seek_line_end`], unless a blank comes before it.
#[inline(always)]
pub(crate) fn seek_text_end(text: &[u8]) -> Option<&[u8]> {
    let end = seek_line_end(text);
    ends_in_text(text, end).then_some(end)
}

/// As [`seek_text_end`], where that hardly ever comes by.
#[inline(never)]
pub(crate) fn text_end_far(text: &[u8]) -> Option<&[u8]> {
    seek_text_end(text)
}

/// Whether what of `text` stands before `end` ends in no blank.
#[inline(always)]
pub(crate) fn ends_in_text(text: &[u8], end: &[u8]) -> bool {
    text.get((text.len() - end.len()).wrapping_sub(1)) > Some(&b' ')
}

/// `text` from the first byte on that is no part of one tag: as [`find_separator`], and semicolons,
/// equal signs and controls, so that no line is too long to find one.
#[inline(always)]
pub(crate) fn seek_tag_end(text: &[u8]) -> &[u8] {
    seek_past_marks(text, |bytes| {
        up_to(bytes, b',') | between(bytes, b';', b'>')
    })
}

/// `text` from the first byte on that ends a parameter of one value among several, or makes it one to
/// look at closer: a semicolon, a comma, a quote, white space, a control.
#[inline(always)]
pub(crate) fn seek_param_end(text: &[u8]) -> &[u8] {
    seek_past_marks(text, |bytes| up_to(bytes, b',') | eq(bytes, b';'))
}

/// As [`seek`], for all bytes up to the comma and some more, of which the marks among them are
/// passed by: hardly anybody uses them, and to look for so many at once is quicker than for a few.
#[inline(always)]
fn seek_past_marks(text: &[u8], is: impl Fn(u8x16) -> u8x16) -> &[u8] {
    let mut rest = seek(text, &is);
    while let Some(b'!'..=b'+') = rest.first() {
        rest = match rest {
            [b'!' | b'#'.., next @ ..] => seek_slowly(next, &is),
            _ => return rest,
        };
    }
    rest
}

/// As [`seek`], where that hardly ever comes by.
#[inline(never)]
fn seek_slowly(text: &[u8], is: impl Fn(u8x16) -> u8x16) -> &[u8] {
    seek(text, is)
}

/// `text` from the first blank or control on.
#[inline(always)]
pub(crate) fn seek_blank(text: &[u8]) -> &[u8] {
    seek(text, |bytes| up_to(bytes, b' '))
}

/// `text` from the first `WANTED` or `OTHER` or part of a line's end on.
#[inline(always)]
pub(crate) fn seek_in_line<const WANTED: u8, const OTHER: u8>(text: &[u8]) -> &[u8] {
    seek(text, |bytes| {
        up_to(bytes, b'\r') | eq(bytes, WANTED) | eq(bytes, OTHER)
    })
}

/// What of `text` stands before `rest`, which is the end of it.
#[inline(always)]
pub(crate) fn before<'a>(text: &'a [u8], rest: &[u8]) -> Option<&'a [u8]> {
    text.get(..text.len().wrapping_sub(rest.len()))
}

/// The first byte at or after `from` that splits a list, or hides what does.
#[inline]
pub(crate) fn find_splitter(bytes: &[u8], from: usize) -> Option<usize> {
    search(bytes, from, |bytes| {
        eq(bytes, b',') | eq(bytes, b'"') | eq(bytes, b'<')
    })
}

/// The first byte at or after `from` that tells where the URI of an address is, or hides it.
#[inline]
pub(crate) fn find_opener(bytes: &[u8], from: usize) -> Option<usize> {
    search(bytes, from, |bytes| {
        eq(bytes, b'<') | eq(bytes, b'"') | eq(bytes, b';')
    })
}

/// The first byte that URIs must escape.
#[inline]
pub(crate) fn find_escaped(bytes: &[u8]) -> Option<usize> {
    search(bytes, 0, must_be_escaped)
}

#[inline(always)]
fn must_be_escaped(bytes: u8x16) -> u8x16 {
    up_to(bytes, b' ') | eq(bytes, b'<') | eq(bytes, b'>') | eq(bytes, b'"') | eq(bytes, 0x7f)
}

/// As [`find_escaped`], for places in a message; controls are among them.
#[inline(always)]
pub(crate) fn seek_escaped(text: &[u8]) -> &[u8] {
    seek(text, must_be_escaped)
}

/// `text` from the first such byte on, or `WANTED`, as [`seek_escaped`].
#[inline(always)]
pub(crate) fn seek_escaped_or<const WANTED: u8>(text: &[u8]) -> &[u8] {
    seek(text, |bytes| must_be_escaped(bytes) | eq(bytes, WANTED))
}

/// The first byte that no Request-URI can hold, since it would end the line or the word.
#[inline]
pub(crate) fn find_break(bytes: &[u8]) -> Option<usize> {
    search(bytes, 0, |bytes| {
        up_to(bytes, b' ') | eq(bytes, b'<') | eq(bytes, b'>')
    })
}

/// The first byte that in a tag would make two values of it.
#[inline]
pub(crate) fn find_separator(bytes: &[u8]) -> Option<usize> {
    search(bytes, 0, |bytes| {
        any_lws(bytes) | eq(bytes, b',') | eq(bytes, b'<') | eq(bytes, b'>') | eq(bytes, b'"')
    })
}

/// The length of the token that `bytes` starts with.
#[inline]
pub(crate) fn token_len(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .position(|&byte| !TOKEN[usize::from(byte)])
        .unwrap_or(bytes.len())
}

/// As [`token_len`], for the name of a header: hardly any has more than letters, digits and dashes.
#[inline]
pub(crate) fn name_len(line: &[u8]) -> usize {
    match seek(line, is_no_host) {
        [b':', rest @ ..] => line.len() - rest.len() - 1,
        _ => token_len(line),
    }
}

/// Whether there is white space in it.
#[inline]
pub(crate) fn has_lws(bytes: &[u8]) -> bool {
    search(bytes, 0, |bytes| up_to(bytes, b' '))
        .is_some_and(|at| bytes[at..].iter().any(|&byte| is_lws(byte)))
}

/// Whether all of `bytes` is one token.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && token_len(bytes) == bytes.len()
}

/// White space inside a header: blanks, and the line ends of folds (RFC 3261 §25.1 LWS).
#[inline]
pub(crate) const fn is_lws(byte: u8) -> bool {
    (byte == b' ') | (byte == b'\t') | (byte == b'\r') | (byte == b'\n')
}

/// How much white space `bytes` starts with.
#[inline]
pub(crate) fn lws_len(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .position(|&byte| !is_lws(byte))
        .unwrap_or(bytes.len())
}

/// Cuts `start..end` down to what is not white space at either end.
#[inline]
pub(crate) fn trim_span(bytes: &[u8], start: usize, end: usize) -> (usize, usize) {
    // Nearly always there is nothing to trim.
    match bytes.get(start..end) {
        Some([first, .., last]) if *first > b' ' && *last > b' ' => (start, end),
        Some([]) => (start, end),
        _ => trim_slowly(bytes, start, end),
    }
}

#[inline(never)]
fn trim_slowly(bytes: &[u8], mut start: usize, mut end: usize) -> (usize, usize) {
    while start < end && is_lws(bytes[start]) {
        start += 1;
    }
    while start < end && is_lws(bytes[end - 1]) {
        end -= 1;
    }
    (start, end)
}

/// `bytes` without white space behind it.
#[inline]
pub(crate) fn trim_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., last] = bytes
        && is_lws(*last)
    {
        bytes = rest;
    }
    bytes
}

/// Whether both are the same word, whatever the case of their letters.
#[inline]
pub(crate) fn same_word(word: &[u8], other: &[u8]) -> bool {
    // Nearly all that differ do so in length or in the first letter.
    word.len() == other.len()
        && match (word.first(), other.first()) {
            (Some(a), Some(b)) if (a ^ b) & !0x20 != 0 => false,
            _ => word.eq_ignore_ascii_case(other),
        }
}

/// `bytes` without white space at either end.
#[inline]
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    let (start, end) = trim_span(bytes, 0, bytes.len());
    &bytes[start..end]
}

/// The offset after the quoted string whose opening quote is at `open`; `None` when it never closes.
pub(crate) fn quoted_end(bytes: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    loop {
        at = find_either(bytes, at, b'"', b'\\')?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2; // what a backslash protects, a quote or not
    }
}

/// Four decimal numbers up to 255, without leading zeros, as `Ipv4Addr` itself reads them. Written
/// out because nearly every host on the wire is one.
pub(crate) fn v4(text: &[u8]) -> Option<Ipv4Addr> {
    if !(7..=15).contains(&text.len()) {
        return None;
    }
    let bytes = short(text).to_le_bytes();
    let all = u8x16::new(bytes);
    let mut dots = eq(all, b'.').move_mask() as u32;
    let digits = between(all, b'0', b'9').move_mask() as u32;
    if (dots | digits) != (1 << text.len()) - 1 {
        return None;
    }
    // A last dot behind them all ends the last number as the others are.
    dots |= 1 << text.len();
    let (mut octets, mut start) = ([0; 4], 0);
    for octet in &mut octets {
        let end = dots.trailing_zeros() as usize;
        dots &= dots.wrapping_sub(1);
        let digit = |at: usize| u32::from(bytes[(start + at) % 16] ^ b'0');
        // Without leading zeros, and nothing at all where no dot was left.
        let number = match (end.wrapping_sub(start), digit(0)) {
            (1, ones) => ones,
            (2, tens @ 1..) => tens * 10 + digit(1),
            (3, hundreds @ 1..) => hundreds * 100 + digit(1) * 10 + digit(2),
            _ => return None,
        };
        *octet = u8::try_from(number).ok()?;
        start = end + 1;
    }
    (dots == 0).then(|| Ipv4Addr::from(octets))
}

/// A number of decimal digits only; `None` for anything else and for more than `u64` holds.
pub(crate) fn number(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    // Nineteen digits always fit; most have one to five.
    let safe = bytes.len() <= 19;
    bytes.iter().try_fold(0u64, |sum, &byte| {
        let digit = byte.wrapping_sub(b'0');
        match (digit, safe) {
            (10.., _) => None,
            (_, true) => Some(sum * 10 + u64::from(digit)),
            (_, false) => sum.checked_mul(10)?.checked_add(u64::from(digit)),
        }
    })
}

/// The decimal digits that `bytes` starts with: how many they are, and the number, which means
/// something for up to nine.
#[inline]
pub(crate) fn digits(bytes: &[u8]) -> (usize, u32) {
    if let Some((four, rest)) = bytes.split_first_chunk()
        && let Some(number) = four_digits(*four)
    {
        match rest {
            [fifth @ b'0'..=b'9', rest @ ..] if !starts_with_digit(rest) => {
                return (5, number * 10 + u32::from(fifth - b'0'));
            }
            rest if !starts_with_digit(rest) => return (4, number),
            _ => {}
        }
    }
    let (mut len, mut sum) = (0, 0u32);
    while let Some(&byte) = bytes.get(len) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        sum = sum.wrapping_mul(10).wrapping_add(u32::from(digit));
        len += 1;
    }
    (len, sum)
}

/// The number that the one to nine decimal digits are that `text` starts with, and what follows.
#[inline(always)]
pub(crate) fn few_digits(text: &[u8]) -> Option<(u32, &[u8])> {
    let (mut sum, mut rest) = (0, text);
    while let [digit @ b'0'..=b'9', next @ ..] = rest {
        // More could be too many for the sum.
        if text.len() - rest.len() == 9 {
            return None;
        }
        sum = sum * 10 + u32::from(digit - b'0');
        rest = next;
    }
    (rest.len() < text.len()).then_some((sum, rest))
}

#[inline(always)]
fn starts_with_digit(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(u8::is_ascii_digit)
}

/// The number that four digits are, as most ports begin.
#[inline(always)]
fn four_digits(digits: [u8; 4]) -> Option<u32> {
    const EACH: u32 = 0x0101_0101;
    let digits = u32::from_le_bytes(digits) ^ (EACH * u32::from(b'0'));
    // What is above 9, and so no digit, gets its top bit by the sum, or has it.
    let sums = (digits & (EACH * 0x7f)) + EACH * 0x76;
    if (sums | digits) & (EACH * 0x80) != 0 {
        return None;
    }
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff;
    Some((pairs & 0xff) * 100 + (pairs >> 16))
}

/// The port that `text` starts with, and what follows.
#[inline(always)]
pub(crate) fn usual_port(text: &[u8]) -> Option<(u16, &[u8])> {
    if let Some((four, rest)) = text.split_first_chunk()
        && let Some(number @ 1..) = four_digits(*four)
    {
        match rest {
            [fifth @ b'0'..=b'9', rest @ ..] => {
                let number = number * 10 + u32::from(fifth - b'0');
                if number <= u32::from(u16::MAX) && !starts_with_digit(rest) {
                    return Some((number as u16, rest));
                }
            }
            _ => return Some((number as u16, rest)),
        }
    }
    let (port, len) = port_prefix(text)?;
    Some((port, text.get(len..)?))
}

/// The port that `bytes` starts with, and how many digits it has.
#[inline]
pub(crate) fn port_prefix(bytes: &[u8]) -> Option<(u16, usize)> {
    let (len, number) = digits(bytes);
    match (len, u16::try_from(number)) {
        (1..=9, Ok(1..)) => Some((number as u16, len)),
        (1..=9, _) => None,
        _ => Some((port(&bytes[..len])?, len)),
    }
}

/// A port, 1 to 65535.
pub(crate) fn port(bytes: &[u8]) -> Option<u16> {
    number(bytes)
        .and_then(|port| u16::try_from(port).ok())
        .filter(|&port| port != 0)
}

#[cfg(test)]
mod tests;
