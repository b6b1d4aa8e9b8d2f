//! The few lexical rules that every header shares: tokens, white space, quoted strings.

use std::net::Ipv4Addr;

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
    /// What begins the tail of a URI: parameters or headers.
    pub(crate) const TAIL: u8 = 4;
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
        if matches!(byte, b';' | b'?') {
            bits |= class::TAIL;
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

/// Every byte of a word.
const ONES: u64 = u64::MAX / 255;
/// The top bit of every byte of a word.
const TOPS: u64 = ONES << 7;

/// Whether a byte is of that kind. No early end: so the compiler compares all at once.
#[inline(always)]
fn any<const N: usize>(bytes: &[u8; N], is: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(false, |any, &byte| any | is(byte))
}

/// The first byte at or after `from` of a kind: `is` tells of one byte, `hits` of eight by the top
/// bit of each. Written out because what is searched is short: for a line of 50 bytes a call to the
/// best of libraries costs more than the search.
#[inline(always)]
fn search(
    bytes: &[u8],
    from: usize,
    hits: impl Fn(u64) -> u64,
    is: impl Fn(u8) -> bool,
) -> Option<usize> {
    let first = |bytes: u128| {
        let (low, high) = (hits(bytes as u64), hits((bytes >> 64) as u64));
        // The lowest top bit that is set is right; those above it may be a borrow's.
        match (low & TOPS, high & TOPS) {
            (0, hits) => 8 + (hits.trailing_zeros() / 8) as usize,
            (hits, _) => (hits.trailing_zeros() / 8) as usize,
        }
    };
    let (chunks, rest) = bytes.get(from..)?.as_chunks::<16>();
    let mut at = from;
    for chunk in chunks {
        if any(chunk, &is) {
            return Some(at + first(u128::from_le_bytes(*chunk)));
        }
        at += 16;
    }
    // Sixteen bytes that end where the text does, without those that were looked at; in a shorter
    // text, what there is.
    let last = match bytes.last_chunk::<16>() {
        _ if rest.is_empty() => return None,
        Some(last) => u128::from_le_bytes(*last) >> (8 * (16 - rest.len())),
        None => short(rest),
    };
    let more = first(last);
    (more < rest.len()).then_some(at + more)
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

/// As [`search`], for what is hardly ever there.
#[inline(always)]
fn search_rare(bytes: &[u8], is: impl Fn(u8) -> bool) -> Option<usize> {
    let (chunks, _) = bytes.as_chunks::<16>();
    let clean = match (bytes.last_chunk::<16>(), bytes.last_chunk::<8>()) {
        (Some(last), _) => !chunks.iter().any(|chunk| any(chunk, &is)) && !any(last, &is),
        (None, Some(last)) => {
            !any(last, &is)
                && bytes
                    .first_chunk::<8>()
                    .is_some_and(|first| !any(first, &is))
        }
        (None, None) => false,
    };
    if clean {
        return None;
    }
    bytes.iter().position(|&byte| is(byte))
}

/// The bytes of a word that are `wanted`, see [`search`].
#[inline(always)]
fn equal(word: u64, wanted: u8) -> u64 {
    let differ = word ^ (ONES * u64::from(wanted));
    differ.wrapping_sub(ONES) & !differ
}

/// The first `wanted` at or after `from`.
#[inline]
pub(crate) fn find(bytes: &[u8], from: usize, wanted: u8) -> Option<usize> {
    search(
        bytes,
        from,
        |word| equal(word, wanted),
        |byte| byte == wanted,
    )
}

/// The first of two bytes at or after `from`.
#[inline]
pub(crate) fn find_either(bytes: &[u8], from: usize, one: u8, other: u8) -> Option<usize> {
    search(
        bytes,
        from,
        |word| equal(word, one) | equal(word, other),
        |byte| (byte == one) | (byte == other),
    )
}

/// The first byte below `limit` (at most 128) at or after `from`.
#[inline]
pub(crate) fn find_below(bytes: &[u8], from: usize, limit: u8) -> Option<usize> {
    let pattern = ONES * u64::from(limit);
    let hits = |word: u64| word.wrapping_sub(pattern) & !word;
    search(bytes, from, hits, |byte| byte < limit)
}

/// The first byte at or after `from` that splits a list, or hides what does.
#[inline]
pub(crate) fn find_splitter(bytes: &[u8], from: usize) -> Option<usize> {
    search(
        bytes,
        from,
        |word| equal(word, b',') | equal(word, b'"') | equal(word, b'<'),
        |byte| (byte == b',') | (byte == b'"') | (byte == b'<'),
    )
}

/// The first byte that URIs must escape.
#[inline]
pub(crate) fn find_escaped(bytes: &[u8]) -> Option<usize> {
    search_rare(bytes, |byte| {
        (byte <= b' ') | (byte == b'<') | (byte == b'>') | (byte == b'"') | (byte == 0x7f)
    })
}

/// The first byte that no Request-URI can hold, since it would end the line or the word.
#[inline]
pub(crate) fn find_break(bytes: &[u8]) -> Option<usize> {
    search_rare(bytes, |byte| {
        (byte <= b' ') | (byte == b'<') | (byte == b'>')
    })
}

/// The first byte that in a tag would make two values of it.
#[inline]
pub(crate) fn find_separator(bytes: &[u8]) -> Option<usize> {
    search_rare(bytes, |byte| {
        (byte == b',') | (byte == b'<') | (byte == b'>') | (byte == b'"') | is_lws(byte)
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

/// Whether there is white space in it.
#[inline]
pub(crate) fn has_lws(bytes: &[u8]) -> bool {
    find_below(bytes, 0, b' ' + 1).is_some_and(|at| bytes[at..].iter().any(|&byte| is_lws(byte)))
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
pub(crate) fn trim_span(bytes: &[u8], mut start: usize, mut end: usize) -> (usize, usize) {
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
pub(crate) fn trim_end(bytes: &[u8]) -> &[u8] {
    match bytes.last() {
        Some(last) if is_lws(*last) => &bytes[..trim_span(bytes, 0, bytes.len()).1],
        _ => bytes,
    }
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

/// As many decimal digits as `bytes` starts with, up to 255 and without leading zeros, and how many.
#[inline]
fn octet(bytes: &[u8]) -> Option<(u8, usize)> {
    let digit = |at: usize| {
        let digit = bytes.get(at)?.wrapping_sub(b'0');
        (digit < 10).then_some(u16::from(digit))
    };
    let first = digit(0)?;
    let Some(second) = digit(1) else {
        return Some((first as u8, 1));
    };
    let two = first * 10 + second;
    let Some(third) = digit(2) else {
        return (first != 0).then_some((two as u8, 2));
    };
    let three = two * 10 + third;
    (first != 0 && three < 256 && digit(3).is_none()).then_some((three as u8, 3))
}

/// Four decimal numbers up to 255, without leading zeros, as `Ipv4Addr` itself reads them. Written
/// out because nearly every host on the wire is one, and it is read several times a message.
pub(crate) fn v4(text: &[u8]) -> Option<Ipv4Addr> {
    v4_prefix(text)
        .filter(|(_, len)| *len == text.len())
        .map(|(address, _)| address)
}

/// The address that `text` starts with, and its length; nothing of a name may follow it.
pub(crate) fn v4_prefix(text: &[u8]) -> Option<(Ipv4Addr, usize)> {
    let mut octets = [0; 4];
    let mut at = 0;
    for (place, value) in octets.iter_mut().enumerate() {
        if place > 0 {
            if text.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
        let (octet, len) = octet(text.get(at..)?)?;
        *value = octet;
        at += len;
    }
    let ends = text.get(at).is_none_or(|&next| !is(next, class::HOST));
    ends.then(|| (Ipv4Addr::from(octets), at))
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

/// A port, 1 to 65535.
pub(crate) fn port(bytes: &[u8]) -> Option<u16> {
    number(bytes)
        .and_then(|port| u16::try_from(port).ok())
        .filter(|&port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_finds_the_first_wherever_it_stands() {
        // Neighbours of what is searched, and bytes whose bits borrow from each other.
        let fill = [0x80, 0xff, 0x3b, 0x39, 0x01, 0x20, 0x0e, 0x8d];
        for len in 0..40 {
            for at in 0..len {
                for filler in fill {
                    let mut bytes = vec![filler; len];
                    bytes[at] = b':';
                    for from in 0..=len {
                        let first = (from..len).find(|&at| bytes[at] == b':');
                        assert_eq!(find(&bytes, from, b':'), first);
                        let low = (from..len).find(|&at| bytes[at] < 0x0e);
                        assert_eq!(find_below(&bytes, from, 0x0e), low);
                        assert_eq!(find_either(&bytes, from, b'A', b':'), first);
                    }
                }
            }
        }
        assert_eq!(find(b"abc", 4, b'a'), None);
    }

    #[test]
    fn what_is_rare_is_found_wherever_it_stands() {
        type Row = (fn(&[u8]) -> Option<usize>, fn(u8) -> bool);
        let table: [Row; 3] = [
            (find_escaped, |byte| {
                matches!(byte, 0..=b' ' | b'<' | b'>' | b'"' | 0x7f)
            }),
            (find_break, |byte| matches!(byte, 0..=b' ' | b'<' | b'>')),
            (find_separator, |byte| {
                matches!(
                    byte,
                    b',' | b'<' | b'>' | b'"' | b' ' | b'\t' | b'\r' | b'\n'
                )
            }),
        ];
        for (search, is_wanted) in table {
            for len in 1..40 {
                for at in 0..len {
                    for byte in 0..=255 {
                        let mut bytes = vec![b'a'; len];
                        bytes[at] = byte;
                        let found = is_wanted(byte).then_some(at);
                        assert_eq!(search(&bytes), found, "{byte} at {at} of {len}");
                    }
                }
            }
            assert_eq!(search(b""), None);
        }
    }

    #[test]
    fn a_quoted_string_ends_at_its_own_quote() {
        let table: &[(&str, Option<usize>)] = &[
            (r#""a""#, Some(3)),
            (r#""""#, Some(2)),
            (r#""a\"b" <"#, Some(6)),
            (r#""a\\" "#, Some(5)),
            (r#""a"#, None),
            (r#""a\"#, None),
            (r#""a\""#, None),
        ];
        for (text, end) in table {
            assert_eq!(quoted_end(text.as_bytes(), 0), *end, "{text}");
        }
    }

    #[test]
    fn a_number_is_digits_and_fits() {
        let table: &[(&str, Option<u64>)] = &[
            ("0", Some(0)),
            ("0009", Some(9)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1 ", None),
            ("0x1", None),
        ];
        for (text, value) in table {
            assert_eq!(number(text.as_bytes()), *value, "{text}");
        }
    }

    #[test]
    fn trimming_takes_folds_too() {
        assert_eq!(trim(b" \t a b\r\n \t"), b"a b");
        assert_eq!(trim(b" \r\n "), b"");
    }
}
