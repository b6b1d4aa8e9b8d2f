//! Answers to the questions a socket loop has before it parses anything: which shard owns this, and
//! whom does it count against.
//!
//! Built on the parser's own scanner, so that for every message that parses both say the same.

use crate::header::Params;
use crate::lex;
use crate::message::{comma, is_status_line};
use crate::name::Name;
use crate::scan::{self, Scanned};

/// Whether the bytes start like a response.
#[inline]
pub fn is_response(bytes: &[u8]) -> bool {
    match bytes {
        [b'S', b'I', b'P', b'/', ..] => true,
        // Those that a response in another spelling, or behind line ends, starts with.
        [b'S' | b's' | b'\r', ..] => is_odd_response(bytes),
        _ => false,
    }
}

fn is_odd_response(bytes: &[u8]) -> bool {
    is_status_line(&bytes[scan::leading_crlf(bytes)..])
}

/// The value of the first Call-ID.
pub fn call_id(bytes: &[u8]) -> Option<&[u8]> {
    first(bytes, Name::CallId, |_| true)
}

/// Where the first header starts, behind a start line that nothing comes before.
#[inline]
pub fn first_header(bytes: &[u8]) -> Option<usize> {
    let end = lex::find_line_end(bytes, 0)?;
    let header = end + b"\r\n".len();
    bytes.get(end..header)?.eq(b"\r\n").then_some(header)
}

/// The `branch` of the first Via value.
pub fn top_branch(bytes: &[u8]) -> Option<&[u8]> {
    match usual_top_branch(bytes) {
        None => any_top_branch(bytes),
        branch => branch,
    }
}

/// As nearly all write it: first of all headers, and first of its parameters.
fn usual_top_branch(bytes: &[u8]) -> Option<&[u8]> {
    let value = lex::seek_line_end(bytes).strip_prefix(b"\r\nVia: ")?;
    if *value.first()? <= b' ' {
        return None;
    }
    // A value that ends before its first semicolon ends the search as well.
    let branch = lex::seek_in_line::<b';', b','>(value).strip_prefix(b";branch=")?;
    let rest = lex::seek_param_end(branch);
    let text = lex::before(branch, rest)?;
    let is_over = match rest {
        [b';', ..] => true,
        // A comma behind a bracket does not separate values.
        [b',', ..] => lex::find(text, 0, b'<').is_none(),
        [b'\r', b'\n', next, ..] => !matches!(next, b' ' | b'\t'),
        _ => false,
    };
    (is_over && !text.is_empty()).then_some(text)
}

#[inline(never)]
fn any_top_branch(bytes: &[u8]) -> Option<&[u8]> {
    // A line without a value names nobody; the parser passes it by as well.
    let value = first(bytes, Name::Via, |value| !value.is_empty())?;
    let end = comma(value, 0).unwrap_or(value.len());
    let params = lex::find(&value[..end], 0, b';')?;
    Params(&value[params..end])
        .get("branch")
        .filter(|branch| !branch.is_empty())
}

/// The value of the first header of that name that fits.
#[inline]
fn first(bytes: &[u8], name: Name, fits: impl Fn(&[u8]) -> bool) -> Option<&[u8]> {
    let bytes = &bytes[scan::leading_crlf(bytes)..];
    let mut at = scan::line_end(bytes, 0).ok()? + 2;
    loop {
        match scan::next(bytes, at, usize::MAX).ok()? {
            Scanned::Body(_) => return None,
            Scanned::Header(line) => {
                let value = &bytes[at + line.value.0..at + line.value.1];
                if line.name == name && fits(value) {
                    return Some(value);
                }
                at += line.end;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peek_finds_what_the_parser_would() {
        let text = b"\r\nSIP/2.0 200 OK\r\nX: y\r\nv: SIP/2.0/UDP a\r\n ;x=\",;branch=no\";Branch=z9hG4bK1, SIP/2.0/UDP b;branch=2\r\n\
            Via: SIP/2.0/UDP c;branch=3\r\ni:\r\n abc@d \r\n\r\ni: body";
        assert!(is_response(text));
        for (start, is) in [
            ("SIP/2.0 200", true),
            ("sIp/2.0 200", true),
            ("\r\n\r\nsip/9", true),
            ("SIP", false),
            ("SUBSCRIBE sip:a", false),
            ("INVITE sip:a", false),
            ("\r\nACK sip:a", false),
            ("\nSIP/2.0", false),
            ("", false),
        ] {
            assert_eq!(is_response(start.as_bytes()), is, "{start}");
        }
        let empty = b"SIP/2.0 200 OK\r\nv: \r\nVia: SIP/2.0/UDP c;branch=3\r\n\r\n";
        assert_eq!(top_branch(empty), Some(&b"3"[..]));
        assert_eq!(call_id(text), Some(&b"abc@d"[..]));
        assert_eq!(top_branch(text), Some(&b"z9hG4bK1"[..]));
    }

    #[test]
    fn a_branch_is_the_same_wherever_it_stands() {
        let table = [
            ("SIP/2.0/UDP a;branch=z9", Some("z9")),
            ("SIP/2.0/UDP a;branch=z9;rport", Some("z9")),
            ("SIP/2.0/UDP a;branch=z9,SIP/2.0/UDP b", Some("z9")),
            ("SIP/2.0/UDP a;branch=z9 ;rport", Some("z9")),
            ("SIP/2.0/UDP a;branch=z9\r\n ;rport", Some("z9")),
            ("SIP/2.0/UDP a;branch=z9\r\n\tx", Some("z9\r\n\tx")),
            ("SIP/2.0/UDP a;Branch=z9", Some("z9")),
            ("SIP/2.0/UDP a;rport;branch=z9", Some("z9")),
            ("SIP/2.0/UDP a,SIP/2.0/UDP b;branch=z9", None),
            ("SIP/2.0/UDP a;branch=", None),
            ("SIP/2.0/UDP a;branch=;branch=z9", None),
            ("SIP/2.0/UDP a;branch=\"z;9\"", Some("\"z;9\"")),
            ("SIP/2.0/UDP a;branch=z<9,x y", Some("z<9,x y")),
            ("SIP/2.0/UDP a;branch=z<9,x>y;rport", Some("z<9,x>y")),
            ("SIP/2.0/UDP a", None),
        ];
        for (via, branch) in table {
            let text = format!("SIP/2.0 200 OK\r\nVia: {via}\r\nFrom: x;branch=no\r\n\r\n");
            let branch = branch.map(str::as_bytes);
            assert_eq!(top_branch(text.as_bytes()), branch, "{via}");
            assert_eq!(any_top_branch(text.as_bytes()), branch, "{via}");
        }
    }

    #[test]
    fn a_peek_into_garbage_finds_nothing() {
        for text in [
            "",
            "\r\n",
            "SIP/",
            "INVITE",
            "INVITE x\r\n",
            "INVITE x\r\n\r\ni: 1\r\n",
            "A\r\nb\r\ni: 1\r\n",
        ] {
            assert_eq!(
                (call_id(text.as_bytes()), top_branch(text.as_bytes())),
                (None, None),
                "{text:?}"
            );
        }
        assert!(!is_response(b"INVITE sip:a SIP/2.0\r\n"));
        assert!(is_response(b"sip/2.0 200"));
    }
}
