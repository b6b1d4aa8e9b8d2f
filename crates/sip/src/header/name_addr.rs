//! Addresses: `"Alice" <sip:alice@example.com>;tag=1` in From, To, Contact, Route and Record-Route
//! (RFC 3261 §20.10, §20.20, §20.39, §20.34, §20.30).

use crate::Span;
use crate::error::{Fault, Malformed};
use crate::header::Params;
use crate::lex;
use crate::message::span;
use crate::name::Name;

/// An address with its header parameters.
#[derive(Copy, Clone, Debug)]
pub struct NameAddr<'a> {
    /// The display name as written, with its quotes; `b""` when there is none.
    pub display: &'a [u8],
    /// The URI, not yet looked into. `b"*"` is possible in a Contact.
    pub uri: &'a [u8],
    /// The header's parameters. Without angle brackets every parameter is the header's, none the
    /// URI's (RFC 3261 §20.10).
    pub params: Params<'a>,
    /// Where the whole value is in the message.
    pub at: Span,
    /// Whether the URI was written in angle brackets.
    pub in_brackets: bool,
}

impl<'a> NameAddr<'a> {
    /// Reads a value by itself; `at` then counts from its first byte.
    ///
    /// Fails when quotes or brackets do not close, when there is no URI, or when a URI without
    /// brackets has what only brackets may hold (`,` and `?`).
    pub fn parse(value: &'a [u8]) -> Result<NameAddr<'a>, Malformed> {
        Self::parse_at(value, 0, Fault::Uri)
    }

    pub(crate) fn parse_at(
        value: &'a [u8],
        base: usize,
        fault: Fault,
    ) -> Result<NameAddr<'a>, Malformed> {
        let (start, end) = lex::trim_span(value, 0, value.len());
        Self::read(&value[start..end], span(base + start, base + end))
            .ok_or(Malformed::new(fault, base))
    }

    /// As [`parse_at`](Self::parse_at), for a value without white space at either end.
    #[inline(always)]
    pub(crate) fn read(value: &'a [u8], at: Span) -> Option<NameAddr<'a>> {
        let open = match value.first() {
            Some(b'<') => 0,
            _ => match open_bracket(value)? {
                Some(open) => open,
                None => return Self::read_bare(value, at),
            },
        };
        let close = lex::find(value, open, b'>')?;
        let (uri, params) = (value.get(open + 1..close)?, value.get(close + 1..)?);
        let (uri, params) = match (uri, params) {
            // Nothing to trim, and all is there.
            ([b's', b'i', b'p', b':', .., last], [] | [b';', ..]) if *last > b' ' => (uri, params),
            _ => Self::read_slowly(uri, params)?,
        };
        let display = match open {
            0 => b"",
            _ => lex::trim_end(&value[..open]),
        };
        Some(NameAddr {
            display,
            uri,
            params: Params(params),
            at,
            in_brackets: true,
        })
    }

    /// The URI and the parameters, with white space around them.
    #[inline(never)]
    fn read_slowly(uri: &'a [u8], params: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let (uri, params) = (lex::trim(uri), lex::trim(params));
        (has_scheme(uri) && matches!(params.first(), None | Some(b';'))).then_some((uri, params))
    }

    #[inline(never)]
    fn read_bare(value: &'a [u8], at: Span) -> Option<NameAddr<'a>> {
        let uri_end = lex::find(value, 0, b';').unwrap_or(value.len());
        let uri = lex::trim(&value[..uri_end]);
        let only_in_brackets =
            |byte: &u8| matches!(byte, b',' | b'?' | b'"' | b'>') || lex::is_lws(*byte);
        if uri != b"*" && (!has_scheme(uri) || uri.iter().any(only_in_brackets)) {
            return None;
        }
        Some(NameAddr {
            display: b"",
            uri,
            params: Params(&value[uri_end..]),
            at,
            in_brackets: false,
        })
    }

    /// The `tag` parameter, when it has a value (RFC 3261 §19.3).
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.params.get("tag").filter(|tag| !tag.is_empty())
    }

    /// As [`tag`](Self::tag). Fails when the tag would be two values in a header that holds one.
    /// Other bytes that are no token are let through: old devices put base64 there, and it confuses
    /// nobody.
    pub(crate) fn single_tag(&self, name: Name) -> Result<Option<&'a [u8]>, Malformed> {
        match self.tag() {
            Some(tag) if lex::find_separator(tag).is_some() => {
                Err(Malformed::new(Fault::Bad(name), self.at.0 as usize))
            }
            tag => Ok(tag),
        }
    }
}

/// What is asked of From and To.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Party<'a> {
    pub uri: &'a [u8],
    pub tag: Option<&'a [u8]>,
}

impl<'a> Party<'a> {
    /// What [`NameAddr::read`] and [`NameAddr::single_tag`] say of the value that `text` starts with,
    /// if nothing about it is unusual: a display name or none, `<sip:…>`, and `;tag=` first or nothing.
    /// And the end of the line, after other parameters or none.
    #[inline(always)]
    pub(crate) fn read_usual(text: &'a [u8]) -> Option<(Party<'a>, &'a [u8])> {
        // No step goes past the end of the line, since what is searched includes that.
        let text = match text {
            [b'"', name @ ..] => match lex::seek_in_line::<b'"', b'\\'>(name) {
                [b'"', b' ', bracket @ ..] => bracket,
                _ => return None,
            },
            _ => text,
        };
        let (uri, rest) = usual_uri(text)?;
        let Some(tag) = rest.strip_prefix(b";tag=") else {
            let party = Party { uri, tag: None };
            return (*rest.first()? == b'\r').then_some((party, rest));
        };
        let rest = lex::seek_tag_end(tag);
        match (lex::before(tag, rest)?, rest) {
            ([], _) => None,
            (tag, [b'\r', ..]) => Some((
                Party {
                    uri,
                    tag: Some(tag),
                },
                rest,
            )),
            (tag, [b';', ..]) => Some((
                Party {
                    uri,
                    tag: Some(tag),
                },
                lex::text_end_far(rest)?,
            )),
            _ => None,
        }
    }
}

/// The sip URI in brackets that `text` starts with, and what follows the bracket.
#[inline(always)]
pub(crate) fn usual_uri(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let [b'<', text @ ..] = text else {
        return None;
    };
    let rest = lex::seek_in_line::<b'>', b'>'>(text);
    match (lex::before(text, rest)?, rest) {
        (uri @ [b's', b'i', b'p', b':', .., last], [b'>', rest @ ..]) if *last > b' ' => {
            Some((uri, rest))
        }
        _ => None,
    }
}

/// The `<` that opens the URI: `Some(None)` when the form has no brackets, `None` when a quoted
/// display name never closes.
fn open_bracket(value: &[u8]) -> Option<Option<usize>> {
    let mut from = match value.first() {
        Some(b'"') => lex::quoted_end(value, 0)?,
        _ => 0,
    };
    while let Some(at) = lex::find_opener(value, from) {
        match value.get(at) {
            Some(b'<') => return Some(Some(at)),
            Some(b'"') => from = lex::quoted_end(value, at)?,
            // Parameters have begun: what stood before them was a bare URI.
            _ => return Some(None),
        }
    }
    Some(None)
}

fn has_scheme(uri: &[u8]) -> bool {
    lex::find(uri, 0, b':').is_some_and(|colon| colon > 0 && colon + 1 < uri.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_in_all_its_forms() {
        // value, display, uri, tag
        let table: &[(&str, &str, &str, Option<&str>)] = &[
            ("<sip:a@b>", "", "sip:a@b", None),
            ("<sip:a@b>;tag=1", "", "sip:a@b", Some("1")),
            (
                "<sip:a@b;tag=in>;TAG=out",
                "",
                "sip:a@b;tag=in",
                Some("out"),
            ),
            (
                r#""A. \"B\" <c>" <sip:a@b> ;tag=x"#,
                r#""A. \"B\" <c>""#,
                "sip:a@b",
                Some("x"),
            ),
            ("Alice Smith <sips:a@b>", "Alice Smith", "sips:a@b", None),
            (
                "Alice\r\n <sip:a@b>\r\n ;tag=1",
                "Alice",
                "sip:a@b",
                Some("1"),
            ),
            ("sip:a@b", "", "sip:a@b", None),
            ("sip:a@b;tag=9;lr", "", "sip:a@b", Some("9")),
            ("tel:+15551234;tag=9", "", "tel:+15551234", Some("9")),
            ("sip:a@b ; tag = 7", "", "sip:a@b", Some("7")),
            ("< sip:a@b >", "", "sip:a@b", None),
            (
                "<sip:a@b?Replaces=1%3Bto>",
                "",
                "sip:a@b?Replaces=1%3Bto",
                None,
            ),
            (
                "<sip:a@[2001:db8::1]:5060>;tag=",
                "",
                "sip:a@[2001:db8::1]:5060",
                None,
            ),
            ("*", "", "*", None),
            ("\"\\\0\" <sip:a@b>", "\"\\\0\"", "sip:a@b", None),
            ("sip:a@b;x=\"<\"", "", "sip:a@b", None),
        ];
        for (value, display, uri, tag) in table {
            let read = NameAddr::parse(value.as_bytes())
                .unwrap_or_else(|error| panic!("{value}: {error}"));
            assert_eq!(read.display, display.as_bytes(), "{value}");
            assert_eq!(read.uri, uri.as_bytes(), "{value}");
            assert_eq!(read.tag(), tag.map(str::as_bytes), "{value}");
            assert_eq!(
                read.in_brackets,
                value.contains("<sip") || value.contains("< sip"),
                "{value}"
            );
        }
    }

    #[test]
    fn a_tag_is_one_value() {
        // parameters, tag; none where it would be two
        let table: &[(&str, Option<Option<&str>>)] = &[
            ("", Some(None)),
            (";tag=", Some(None)),
            (";tag", Some(None)),
            (";tag=1", Some(Some("1"))),
            (";TAG=1;x=,", Some(Some("1"))),
            (";tag=1;x=,", Some(Some("1"))),
            (";tag=1 ;x", Some(Some("1"))),
            (";tag= 1", Some(Some("1"))),
            (";tag=;tag=2", Some(None)),
            (";x;tag=2", Some(Some("2"))),
            (";tag=a=b", Some(Some("a=b"))),
            (";tag=a/+\u{1}", Some(Some("a/+\u{1}"))),
            (";tag=1,2", None),
            (";tag=1 2", None),
            (";tag=<1", None),
            (";tag=a\"b;c\"", None),
            (";tag=\"a;b\"", None),
        ];
        for (params, tag) in table {
            let address = format!("<sip:a@b>{params}");
            let address = NameAddr::parse(address.as_bytes()).expect(params);
            let read = address.single_tag(Name::From).ok();
            // In a message, as a line of it; what looks usual is the same on the short way.
            for behind in ["\r\n", " \r\nNext: one", "\r\n \"<>;tag=2\r\n\r\n"] {
                for before in ["", "\"A B\" ", "\"A\\\"B\" ", "\"A\r\n B\" ", "A "] {
                    let message = format!("{before}<sip:a@b>{params}{behind}");
                    let value = &message.as_bytes()[..message.len() - behind.len()];
                    let Some((usual, _)) = Party::read_usual(message.as_bytes()) else {
                        continue;
                    };
                    let address = NameAddr::parse(value).expect(params);
                    assert_eq!(usual.uri, address.uri, "{message}");
                    assert_eq!(Ok(usual.tag), address.single_tag(Name::From), "{message}");
                }
            }
            assert_eq!(read, tag.map(|tag| tag.map(str::as_bytes)), "{params}");
            if let Some(tag) = read {
                assert_eq!(tag, address.tag(), "{params}");
            }
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for value in [
            "",
            "<>",
            "\"\" <> ;",
            "<sip:a@b",
            "\"Mr. J. User <sip:a@b>",
            "<sip:a@b> tail",
            "sip:a@b?x=y",
            "sip:a@b,sip:c@d",
            "nobody",
            "<nobody>",
            ":a",
            "sip:",
            "Bob sip:a@b",
        ] {
            let error = NameAddr::parse(value.as_bytes()).expect_err(value);
            assert_eq!(error.fault, Fault::Uri, "{value}");
        }
    }
}
