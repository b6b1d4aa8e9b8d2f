//! `Max-Forwards: 70` (RFC 3261 §20.22).

use crate::error::{Fault, Malformed};
use crate::lex;
use crate::name::Name;

/// Reads a value. More than 255 is 255: it is a limit on hops, and nobody needs more.
///
/// Fails on anything but digits.
#[inline]
pub fn parse(value: &[u8]) -> Result<u8, Malformed> {
    if let [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] = value {
        return Ok((tens - b'0') * 10 + (ones - b'0'));
    }
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Malformed::new(Fault::Bad(Name::MaxForwards), 0));
    }
    Ok(value.iter().fold(0u8, |sum, digit| {
        sum.saturating_mul(10).saturating_add(digit - b'0')
    }))
}

/// The value that `text` starts with, and the end of the line right behind it.
#[inline(always)]
pub(crate) fn read_usual(text: &[u8]) -> Option<(u8, &[u8])> {
    let (hops, rest) = lex::few_digits(text)?;
    matches!(rest, [b'\r', ..]).then_some((u8::try_from(hops).unwrap_or(u8::MAX), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_left_are_a_number_that_saturates() {
        let table: &[(&str, Option<u8>)] = &[
            ("70", Some(70)),
            ("0", Some(0)),
            ("0068", Some(68)),
            ("255", Some(255)),
            ("256", Some(255)),
            ("300", Some(255)),
            ("99999999999999999999999999", Some(255)),
            ("", None),
            ("-1", None),
            ("7 0", None),
            ("70;x", None),
            ("seventy", None),
        ];
        for (value, expected) in table {
            assert_eq!(parse(value.as_bytes()).ok(), *expected, "{value}");
        }
    }
}
