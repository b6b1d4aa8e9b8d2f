//! `CSeq: 4711 INVITE` (RFC 3261 §20.16).

use crate::error::{Fault, Malformed};
use crate::lex;
use crate::method::Method;
use crate::name::Name;

/// RFC 3261 §8.1.1.5: the number is below 2^31.
const NUMBER_END: u64 = 1 << 31;

/// A CSeq value.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// The sequence number, below 2^31.
    pub number: u32,
    /// The method that the number counts.
    pub method: Method<'a>,
}

impl<'a> CSeq<'a> {
    /// What stands where none was read yet.
    #[inline(always)]
    pub(crate) fn none() -> Self {
        CSeq {
            number: 0,
            method: Method::Other(b""),
        }
    }

    /// Reads a value. Fails on anything but a number below 2^31 and a token.
    pub fn parse(value: &'a [u8]) -> Result<CSeq<'a>, Malformed> {
        Self::read(value).ok_or(Malformed::new(Fault::Bad(Name::CSeq), 0))
    }

    #[inline(never)]
    pub(crate) fn read(value: &'a [u8]) -> Option<CSeq<'a>> {
        let value = lex::trim(value);
        let digits = value.iter().position(|&byte| lex::is_lws(byte))?;
        let number = lex::number(&value[..digits]).filter(|&number| number < NUMBER_END)?;
        let method = lex::trim(&value[digits..]);
        if !lex::is_token(method) {
            return None;
        }
        Some(CSeq {
            number: u32::try_from(number).ok()?,
            method: Method::parse(method),
        })
    }
}

impl<'a> CSeq<'a> {
    /// The value that `text` starts with, and the end of the line right behind it, if nothing about it
    /// is unusual: a few digits, a blank, a method.
    #[inline(always)]
    pub(crate) fn read_usual(text: &'a [u8]) -> Option<(CSeq<'a>, &'a [u8])> {
        let (number, rest) = lex::few_digits(text)?;
        match Method::usual(rest.strip_prefix(b" ")?) {
            Some((method, rest @ [b'\r', ..])) => Some((CSeq { number, method }, rest)),
            _ => Self::read_line(text),
        }
    }

    #[inline(never)]
    fn read_line(text: &'a [u8]) -> Option<(CSeq<'a>, &'a [u8])> {
        let rest = lex::text_end_far(text)?;
        Some((Self::read(lex::before(text, rest)?)?, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cseq_is_a_number_and_a_method() {
        type Row<'a> = (&'a [u8], Option<(u32, &'a [u8])>);
        let table: &[Row<'_>] = &[
            (b"1 INVITE", Some((1, b"INVITE"))),
            (b"0009\r\n  INVITE", Some((9, b"INVITE"))),
            (b"0 ACK", Some((0, b"ACK"))),
            (b"2147483647 BYE", Some((2_147_483_647, b"BYE"))),
            (b"2147483648 BYE", None),
            (b"36893488147419103232 REGISTER", None),
            (b"7 invite", Some((7, b"invite"))),
            (b"7 NEW.method", Some((7, b"NEW.method"))),
            (b"7", None),
            (b"7 ", None),
            (b"INVITE", None),
            (b"INVITE 7", None),
            (b"-1 INVITE", None),
            (b"1INVITE", None),
            (b"1 INVITE INVITE", None),
            (b"1 INV\xffITE", None),
            (b"", None),
        ];
        for (value, expected) in table {
            let read = CSeq::parse(value)
                .ok()
                .map(|cseq| (cseq.number, cseq.method.as_bytes()));
            assert_eq!(read, *expected, "{}", value.escape_ascii());
        }
    }
}
