//! URIs: sip, sips and tel, read without being changed (RFC 3261 §19.1, RFC 3966).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::{Fault, Malformed};
use crate::header::Params;
use crate::lex::{self, class};
use crate::transport::Transport;

mod equal;

/// A URI's scheme.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`, only over TLS (RFC 3261 §26.2.2)
    Sips,
    /// `tel:` (RFC 3966)
    Tel,
    /// Any other; the rest of the URI is not looked into.
    Other,
}

/// A host name or address.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// A name, as written.
    Name(&'a [u8]),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address, written in brackets.
    V6(Ipv6Addr),
}

impl<'a> Host<'a> {
    /// Reads a host: a name, four decimal numbers, or an IPv6 reference in brackets.
    pub fn parse(text: &'a [u8]) -> Option<Host<'a>> {
        if let Some(inside) = text.strip_prefix(b"[") {
            let inside = inside.strip_suffix(b"]")?;
            return std::str::from_utf8(inside).ok()?.parse().ok().map(Host::V6);
        }
        if let Some(address) = lex::v4(text) {
            return Some(Host::V4(address));
        }
        // RFC 3261 forbids `_` in names; networks have them, and nothing else is meant by it.
        if text.is_empty() || !text.iter().all(|&byte| lex::is(byte, class::HOST)) {
            return None;
        }
        Some(Host::Name(text))
    }

    /// The length of the host that `text` starts with. What may not stand in a host ends it.
    #[inline(always)]
    pub(crate) fn prefix_len(text: &[u8]) -> Option<usize> {
        if text.first() == Some(&b'[') {
            return Self::bracketed_len(text);
        }
        // Four decimal numbers, or a name: both are written with the same bytes.
        Some(lex::host_len(text)).filter(|&len| len > 0)
    }

    #[inline(never)]
    fn bracketed_len(text: &[u8]) -> Option<usize> {
        let len = lex::find(text, 0, b']')? + 1;
        Host::parse(&text[..len]).map(|_| len)
    }

    /// Reads what [`prefix_len`](Self::prefix_len) measured, or nothing at all: an empty name.
    #[inline]
    pub(crate) fn of_prefix(text: &'a [u8]) -> Host<'a> {
        Host::parse(text).unwrap_or(Host::Name(text))
    }

    /// The address, when it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Host::Name(_) => None,
            Host::V4(address) => Some(IpAddr::V4(*address)),
            Host::V6(address) => Some(IpAddr::V6(*address)),
        }
    }

    /// Whether `other` writes the same host: names without case, addresses by value. An IPv6
    /// address may come without its brackets.
    pub fn eq_text(&self, other: &[u8]) -> bool {
        match self {
            Host::Name(name) => {
                without_root_dot(name).eq_ignore_ascii_case(without_root_dot(other))
            }
            Host::V4(address) => Host::parse(other) == Some(Host::V4(*address)),
            Host::V6(address) => {
                let bare = other
                    .strip_prefix(b"[")
                    .and_then(|text| text.strip_suffix(b"]"))
                    .unwrap_or(other);
                std::str::from_utf8(bare)
                    .ok()
                    .and_then(|text| text.parse().ok())
                    == Some(*address)
            }
        }
    }
}

/// `example.com.` is `example.com`.
fn without_root_dot(name: &[u8]) -> &[u8] {
    name.strip_suffix(b".").unwrap_or(name)
}

/// A URI, in parts.
#[derive(Copy, Clone, Debug)]
pub struct Uri<'a> {
    /// What comes before the first colon.
    pub scheme: Scheme,
    /// The user, with its password when there is one, as written; the number of a `tel` URI.
    pub user: Option<&'a [u8]>,
    /// The host as written; empty for `tel` and other schemes.
    pub host_raw: &'a [u8],
    /// The port, when written.
    pub port: Option<u16>,
    /// The URI's parameters.
    pub params: Params<'a>,
    /// What follows `?`.
    pub headers: &'a [u8],
}

impl<'a> Uri<'a> {
    /// Reads a URI. One with a scheme unknown here is fine, and left unread.
    ///
    /// Fails when there is no scheme, when a byte is one that URIs must escape, and when host, port
    /// or number cannot be read.
    pub fn parse(uri: &'a [u8]) -> Result<Uri<'a>, Malformed> {
        Self::parse_plain(uri, false)
    }

    /// The user part of a URI: what [`parse`](Self::parse) says. But of a sip URI whose user can be
    /// read the rest is not looked at, and may be wrong.
    pub fn user_of(uri: &'a [u8]) -> Option<&'a [u8]> {
        let [b's', b'i', b'p', b':', rest @ ..] = uri else {
            return Self::parse(uri).ok()?.user;
        };
        let user = &rest[..lex::find(rest, 0, b'@')?];
        (!user.is_empty() && lex::find_escaped(user).is_none()).then_some(user)
    }

    /// As [`parse`](Self::parse). `is_plain`: nothing that needs an escape is in it.
    #[inline]
    pub(crate) fn parse_plain(uri: &'a [u8], is_plain: bool) -> Result<Uri<'a>, Malformed> {
        let (scheme, colon) = scheme_of(uri).ok_or(Malformed::new(Fault::Uri, 0))?;
        // Bytes above ASCII are let through: software that forgets to escape them is common, and
        // they confuse nobody.
        if !is_plain && let Some(at) = lex::find_escaped(uri) {
            return Err(Malformed::new(Fault::Uri, at));
        }
        let rest = &uri[colon + 1..];
        let read = match scheme {
            Scheme::Sip | Scheme::Sips => Self::read_sip(scheme, rest),
            Scheme::Tel => Self::read_tel(rest),
            Scheme::Other => Some(Self::hostless(Scheme::Other, None, b"")),
        };
        read.ok_or(Malformed::new(Fault::Uri, colon + 1))
    }

    /// The URI that `text` starts with, and what follows it, if nothing about it is unusual: a sip URI
    /// with a user and no headers, in which nothing needs an escape.
    #[inline(always)]
    pub(crate) fn read_usual(text: &'a [u8]) -> Option<(Uri<'a>, &'a [u8])> {
        let user = text.strip_prefix(b"sip:")?;
        let [b'@', host @ ..] = lex::seek_escaped_or::<b'@'>(user) else {
            return None;
        };
        let user = user.get(..user.len() - host.len() - 1)?;
        let (host_raw, rest) = host.split_at_checked(Host::prefix_len(host)?)?;
        let (port, params) = match rest {
            [b':', digits @ ..] => {
                let (port, rest) = lex::usual_port(digits)?;
                (Some(port), rest)
            }
            _ => (None, rest),
        };
        let rest = match params {
            [b';', ..] => lex::seek_escaped_or::<b'?'>(params),
            _ => params,
        };
        let uri = Uri {
            scheme: Scheme::Sip,
            user: Some(user),
            host_raw,
            port,
            params: Params(lex::before(params, rest)?),
            headers: b"",
        };
        (!user.is_empty() && rest.first() == Some(&b' ')).then_some((uri, rest))
    }

    #[inline(always)]
    fn read_sip(scheme: Scheme, rest: &'a [u8]) -> Option<Uri<'a>> {
        // RFC 3261 §25.1: a user may hold `;` and `?`, but never an unescaped `@`; the first ends it.
        let (user, rest) = match lex::find(rest, 0, b'@') {
            Some(0) => return None,
            Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
            None => (None, rest),
        };
        let (host_raw, rest) = rest.split_at(Host::prefix_len(rest)?);
        let (port, rest) = match rest {
            [b':', digits @ ..] => {
                let (port, len) = lex::port_prefix(digits)?;
                (Some(port), &digits[len..])
            }
            _ => (None, rest),
        };
        let (params, headers) = match rest {
            [] => (rest, rest),
            [b';' | b'?', ..] => {
                let question = lex::find(rest, 0, b'?').unwrap_or(rest.len());
                let (params, headers) = rest.split_at(question);
                (params, headers.strip_prefix(b"?").unwrap_or(headers))
            }
            _ => return None,
        };
        Some(Uri {
            scheme,
            user,
            host_raw,
            port,
            params: Params(params),
            headers,
        })
    }

    fn read_tel(rest: &'a [u8]) -> Option<Uri<'a>> {
        let end = lex::find(rest, 0, b';').unwrap_or(rest.len());
        let (number, params) = rest.split_at(end);
        // RFC 3966 §3: phone digits, `*`, `#`, and separators that only please the eye.
        let digit = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b'*' | b'#');
        let allowed = |byte: &u8| digit(byte) || matches!(byte, b'+' | b'-' | b'.' | b'(' | b')');
        if !number.iter().any(digit) || !number.iter().all(allowed) {
            return None;
        }
        Some(Self::hostless(Scheme::Tel, Some(number), params))
    }

    fn hostless(scheme: Scheme, user: Option<&'a [u8]>, params: &'a [u8]) -> Uri<'a> {
        Uri {
            scheme,
            user,
            host_raw: b"",
            port: None,
            params: Params(params),
            headers: b"",
        }
    }

    /// The host; an empty name for `tel` and other schemes.
    pub fn host(&self) -> Host<'a> {
        Host::of_prefix(self.host_raw)
    }

    /// The `transport` parameter, when it names one known here.
    pub fn transport(&self) -> Option<Transport> {
        self.params.get("transport").and_then(Transport::parse)
    }

    /// Where a request to it is sent, as far as it says: `maddr`, else its host, and `transport`.
    /// [`maddr`](Self::maddr) and [`transport`](Self::transport) in one go.
    pub fn reach(&self) -> (Host<'a>, Option<Transport>) {
        if let Some(transport) = self.only_transport() {
            return (self.host(), transport);
        }
        let (mut maddr, mut transport) = (None, None);
        for (name, value) in self.params {
            let value = value.unwrap_or_default();
            if maddr.is_none() && lex::same_word(name, b"maddr") {
                maddr = Some(Host::parse(value));
            } else if transport.is_none() && lex::same_word(name, b"transport") {
                transport = Some(Transport::parse(value));
            }
        }
        let host = maddr.flatten().unwrap_or_else(|| self.host());
        (host, transport.flatten())
    }

    /// The `transport` parameter, if there is no other, or `None` where there is none at all: nearly
    /// all say no more than this.
    #[inline]
    fn only_transport(&self) -> Option<Option<Transport>> {
        match self.params.0 {
            b"" => Some(None),
            b";transport=udp" => Some(Some(Transport::Udp)),
            b";transport=tcp" => Some(Some(Transport::Tcp)),
            b";transport=tls" => Some(Some(Transport::Tls)),
            _ => None,
        }
    }

    /// Whether it has `lr`: the proxy it names is no strict router (RFC 3261 §16.12).
    #[inline]
    pub fn has_lr(&self) -> bool {
        self.only_transport().is_none() && self.params.has("lr")
    }

    /// The `maddr` parameter, when it can be read.
    pub fn maddr(&self) -> Option<Host<'a>> {
        self.params.get("maddr").and_then(Host::parse)
    }

    /// Whether both name the same resource (RFC 3261 §19.1.4; for `tel`, RFC 3966 §4). URIs of
    /// schemes unknown here are equal to none.
    pub fn equals(&self, other: &Uri<'_>) -> bool {
        equal::equal(self, other)
    }

    /// Whether it demands TLS all the way.
    pub fn is_sips(&self) -> bool {
        self.scheme == Scheme::Sips
    }
}

/// The scheme, in any case, and where its colon is; `None` where there is none.
#[inline]
fn scheme_of(uri: &[u8]) -> Option<(Scheme, usize)> {
    if let [b's', b'i', b'p', b':', ..] = uri {
        return Some((Scheme::Sip, 3));
    }
    odd_scheme_of(uri)
}

#[inline(never)]
fn odd_scheme_of(uri: &[u8]) -> Option<(Scheme, usize)> {
    let starts = |name: &[u8]| {
        uri.get(..name.len())
            .is_some_and(|it| it.eq_ignore_ascii_case(name))
    };
    if starts(b"sip:") {
        return Some((Scheme::Sip, 3));
    }
    if starts(b"sips:") {
        return Some((Scheme::Sips, 4));
    }
    if starts(b"tel:") {
        return Some((Scheme::Tel, 3));
    }
    let colon = lex::find(uri, 0, b':').filter(|&colon| is_scheme(&uri[..colon]))?;
    Some((Scheme::Other, colon))
}

/// RFC 3986 §3.1.
fn is_scheme(name: &[u8]) -> bool {
    name.first().is_some_and(u8::is_ascii_alphabetic)
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn what_is_read_on_the_way_is_what_a_closer_look_finds() {
        let (mut usual, mut unusual) = (0, 0);
        for uri in [
            "sip:+15551234567@192.0.2.1:5060;user=phone",
            "sip:a;b=c@example.com",
            "sip:a@[::1]:50600;lr",
            "sip:a@b?x=y",
            "sips:a@b",
        ] {
            for at in 0..uri.len() {
                for byte in *b"\0\r\n :;,\"<>=?@a0Z[]\x7f\x80\xff" {
                    let mut text = format!("{uri} SIP/2.0\r\nMax-Forwards: 70\r\n").into_bytes();
                    text[at] = byte;
                    let Some((read, rest)) = Uri::read_usual(&text) else {
                        unusual += 1;
                        continue;
                    };
                    usual += 1;
                    let whole = lex::before(&text, rest).unwrap();
                    let found = Uri::parse(whole).expect("no closer look finds a fault");
                    assert_eq!(format!("{read:?}"), format!("{found:?}"));
                    assert_eq!(lex::find_escaped(whole), None, "{}", whole.escape_ascii());
                }
            }
        }
        assert!(usual > 500 && unusual > 500, "{usual} {unusual}");
    }

    #[test]
    fn a_sip_uri_comes_apart_as_the_grammar_says() {
        // uri, user, host, port, params, headers
        type Row<'a> = (
            &'a str,
            Option<&'a str>,
            &'a str,
            Option<u16>,
            &'a str,
            &'a str,
        );
        let table: &[Row<'_>] = &[
            ("sip:a@b", Some("a"), "b", None, "", ""),
            ("SIP:host", None, "host", None, "", ""),
            (
                "sips:a:pw@b.c:5061;lr?x=y",
                Some("a:pw"),
                "b.c",
                Some(5061),
                ";lr",
                "x=y",
            ),
            ("sip:;@127.0.0.1", Some(";"), "127.0.0.1", None, "", ""),
            (
                "sip:user;par=u%40example.net@example.com",
                Some("user;par=u%40example.net"),
                "example.com",
                None,
                "",
                "",
            ),
            ("sip:u?q@h;p?h=1?2", Some("u?q"), "h", None, ";p", "h=1?2"),
            (
                "sip:[2001:db8::10]:5070;transport=tcp",
                None,
                "[2001:db8::10]",
                Some(5070),
                ";transport=tcp",
                "",
            ),
            (
                "sip:[2001:db8::10:5070]",
                None,
                "[2001:db8::10:5070]",
                None,
                "",
                "",
            ),
            (
                "sip:[::ffff:192.0.2.10]",
                None,
                "[::ffff:192.0.2.10]",
                None,
                "",
                "",
            ),
            ("sip:h?a=b", None, "h", None, "", "a=b"),
            (
                "sip:null-%00-null@example.com",
                Some("null-%00-null"),
                "example.com",
                None,
                "",
                "",
            ),
            ("sip:a@b;x=c@d", Some("a"), "b", None, ";x=c@d", ""),
        ];
        for (uri, user, host, port, params, headers) in table {
            let read = Uri::parse(uri.as_bytes()).unwrap_or_else(|error| panic!("{uri}: {error}"));
            assert_eq!(read.user.map(text), *user, "{uri}");
            assert_eq!(Uri::user_of(uri.as_bytes()), read.user, "{uri}");
            assert_eq!(text(read.host_raw), *host, "{uri}");
            assert_eq!(read.port, *port, "{uri}");
            assert_eq!(text(read.params.0), *params, "{uri}");
            assert_eq!(text(read.headers), *headers, "{uri}");
        }
    }

    #[test]
    fn a_user_is_told_without_its_host_but_never_a_wrong_one() {
        for (uri, user) in [
            ("sip:a@b:x", Some("a")),
            ("SIP:a@b:x", None),
            ("tel:+1555;x=y", Some("+1555")),
            ("sip:b", None),
            ("sip:@b", None),
            ("sip:a b@c", None),
            ("sip:a\r\n @c", None),
            ("", None),
        ] {
            assert_eq!(Uri::user_of(uri.as_bytes()).map(text), user, "{uri}");
        }
    }

    #[test]
    fn what_is_no_uri_is_refused() {
        for uri in [
            "",
            "sip",
            "sip:",
            ":a@b",
            "1sip:a@b",
            "sip:@b",
            "sip:a@",
            "sip:a@b:",
            "sip:a@b:x",
            "sip:a@b:0",
            "sip:a@b:65536",
            "sip:a b@c",
            "sip:a@b c",
            "<sip:a@b>",
            "sip:a@b@c",
            "sip:2001:db8::10",
            "sip:[2001:db8::10",
            "sip:[2001:db8:::192.0.2.1]",
            "sip:[::1]x",
            "sip:a@[::1%25eth0]",
            "sip:a@b/c",
            "tel:",
            "tel:-",
            "tel:call-me",
            "sip:a@b\r\n",
            "sip:\"a\"@b",
        ] {
            assert!(Uri::parse(uri.as_bytes()).is_err(), "{uri}");
        }
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        let table: &[(&str, Option<Host<'_>>)] = &[
            ("example.com", Some(Host::Name(b"example.com"))),
            ("192.0.2.1", Some(Host::V4(Ipv4Addr::new(192, 0, 2, 1)))),
            ("192.0.2.256", Some(Host::Name(b"192.0.2.256"))),
            ("[::1]", Some(Host::V6(Ipv6Addr::LOCALHOST))),
            ("::1", None),
            ("[]", None),
            ("a b", None),
            ("", None),
        ];
        for (written, host) in table {
            assert_eq!(Host::parse(written.as_bytes()), *host, "{written}");
        }
    }

    #[test]
    fn a_host_equals_what_means_the_same() {
        assert!(Host::Name(b"Example.COM").eq_text(b"example.com."));
        assert!(!Host::Name(b"example.com").eq_text(b"example.org"));
        assert!(Host::V6(Ipv6Addr::LOCALHOST).eq_text(b"[0:0:0:0:0:0:0:1]"));
        assert!(Host::V6(Ipv6Addr::LOCALHOST).eq_text(b"::1"));
        assert!(Host::V4(Ipv4Addr::LOCALHOST).eq_text(b"127.0.0.1"));
        assert!(!Host::V4(Ipv4Addr::LOCALHOST).eq_text(b"localhost"));
    }

    #[test]
    fn an_ipv4_address_is_what_the_standard_library_says() {
        for text in [
            "1.2.3.4",
            "0.0.0.0",
            "255.255.255.255",
            "256.1.1.1",
            "01.2.3.4",
            "1.2.3",
            "1.2.3.4.5",
            "1..3.4",
            "1.2.3.",
            ".1.2.3",
            "1.2.3.4a",
            "1.2.3.00",
            "1.2.3.0",
            "10.20.30.400",
            "1111.1.1.1",
            "",
            "1",
        ] {
            assert_eq!(lex::v4(text.as_bytes()), text.parse().ok(), "{text}");
        }
    }

    #[test]
    fn parameters_that_route_are_understood() {
        let uri = Uri::parse(b"sip:h;Transport=TCP;LR;maddr=[::1]").unwrap();
        assert_eq!(uri.transport(), Some(Transport::Tcp));
        assert!(uri.has_lr() && !uri.is_sips());
        assert_eq!(uri.maddr(), Some(Host::V6(Ipv6Addr::LOCALHOST)));
        for text in [
            "sip:h;Transport=TCP;LR;maddr=[::1]",
            "sip:a@b",
            "sip:b;maddr=;transport=x;maddr=c;transport=tcp",
            "sip:a@b;transport=udp",
            "sip:a@b;transport=tcp",
            "sip:a@b;transport=tls",
            "sip:a@b;transport=ws",
            "sip:a@b;transport=udp;lr",
        ] {
            let uri = Uri::parse(text.as_bytes()).unwrap();
            let apart = (uri.maddr().unwrap_or(uri.host()), uri.transport());
            assert_eq!(uri.reach(), apart, "{text}");
        }
        let tel = Uri::parse(b"tel:+1(201)555-0123;phone-context=x").unwrap();
        assert_eq!(
            (tel.scheme, tel.user),
            (Scheme::Tel, Some(&b"+1(201)555-0123"[..]))
        );
        assert_eq!(
            Uri::parse(b"soap.beep://192.0.2.103:3002").unwrap().scheme,
            Scheme::Other
        );
        assert_eq!(
            Uri::parse(b"urn:service:sos").unwrap().scheme,
            Scheme::Other
        );
    }
}
