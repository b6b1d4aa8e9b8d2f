//! The few lexical rules that every header shares: tokens, white space, quoted strings.

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

/// The length of the token that `bytes` starts with.
#[inline]
pub(crate) fn token_len(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .position(|&byte| !TOKEN[usize::from(byte)])
        .unwrap_or(bytes.len())
}

/// Whether all of `bytes` is one token.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && token_len(bytes) == bytes.len()
}

/// White space inside a header: blanks, and the line ends of folds (RFC 3261 §25.1 LWS).
#[inline]
pub(crate) const fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
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
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2; // what a backslash protects, a quote or not
    }
}

/// A number of decimal digits only; `None` for anything else and for more than `u64` holds.
pub(crate) fn number(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    bytes.iter().try_fold(0u64, |sum, &byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        sum.checked_mul(10)?.checked_add(u64::from(digit))
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
