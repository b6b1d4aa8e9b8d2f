//! `Via: SIP/2.0/UDP host:5060;branch=z9hG4bK…` (RFC 3261 §20.42, RFC 3581, RFC 5118).

use std::net::IpAddr;

use crate::Span;
use crate::error::{Fault, Malformed};
use crate::header::Params;
use crate::lex;
use crate::message::span;
use crate::name::Name;
use crate::uri::Host;

/// One Via value.
#[derive(Copy, Clone, Debug)]
pub struct Via<'a> {
    /// The transport as written, such as `b"UDP"`.
    pub transport: &'a [u8],
    /// The port of `sent-by`, when written.
    pub port: Option<u16>,
    /// What follows `sent-by`.
    pub params: Params<'a>,
    /// Where the whole value is in the message.
    pub at: Span,
    host_raw: &'a [u8],
    /// The parameters that are asked for most, where they were looked for.
    noted: Option<Noted>,
}

/// Where the values are, counted from the first byte of the parameters; 0 where there is none.
#[derive(Copy, Clone, Debug, Default)]
struct Noted {
    branch: (u16, u16),
    rport: (u16, u16),
    received: (u16, u16),
}

impl Noted {
    /// The parameters that `text` starts with, and what follows them: the end of the line. `None` where
    /// quotes, commas, white space or the same name twice make it harder than that.
    #[inline(always)]
    fn read(text: &[u8]) -> Option<(Noted, &[u8])> {
        Noted::read_usual(text).or_else(|| Noted::read_any(text))
    }

    /// As [`read`](Self::read), of what nearly all send: a branch, and a plain `rport` or nothing.
    #[inline(always)]
    fn read_usual(text: &[u8]) -> Option<(Noted, &[u8])> {
        const BRANCH: &[u8] = b";branch=";
        const RPORT: &[u8] = b";rport";
        let branch = text.strip_prefix(BRANCH)?;
        let behind = lex::seek_param_end(branch);
        let branch_end = u16::try_from(text.len() - behind.len()).ok()?;
        let (rport, rest) = match behind.strip_prefix(RPORT) {
            Some(rest) => {
                let end = branch_end.checked_add(RPORT.len() as u16)?;
                ((end, end), rest)
            }
            None => ((0, 0), behind),
        };
        let noted = Noted {
            branch: (BRANCH.len() as u16, branch_end),
            rport,
            received: (0, 0),
        };
        (rest.first() == Some(&b'\r')).then_some((noted, rest))
    }

    /// As [`read`](Self::read), in one walk from semicolon to semicolon.
    #[inline(never)]
    fn read_any(text: &[u8]) -> Option<(Noted, &[u8])> {
        let mut noted = Noted::default();
        let mut rest = text;
        while let [b';', param @ ..] = rest {
            rest = lex::seek_param_end(param);
            let this = lex::before(param, rest)?;
            let (slot, value) = if this.starts_with(b"branch=") {
                (&mut noted.branch, 7)
            } else if this == b"rport" {
                (&mut noted.rport, 5)
            } else {
                match noted.slot(this) {
                    Some(known) => known,
                    None => continue,
                }
            };
            // The first of two counts; who wants to change one looks at both.
            if *slot != (0, 0) {
                return None;
            }
            let start = text.len() - param.len();
            *slot = ((start + value) as u16, (start + this.len()) as u16);
        }
        let fits = text.len() - rest.len() <= usize::from(u16::MAX);
        (fits && rest.first() == Some(&b'\r')).then_some((noted, rest))
    }

    /// The place for a parameter, and where its value starts.
    #[inline(never)]
    fn slot(&mut self, param: &[u8]) -> Option<(&mut (u16, u16), usize)> {
        if let Some(value) = value_of(param, b"branch") {
            return Some((&mut self.branch, value));
        }
        if let Some(value) = value_of(param, b"rport") {
            return Some((&mut self.rport, value));
        }
        value_of(param, b"received").map(|value| (&mut self.received, value))
    }
}

/// Where the value of a parameter starts, if it has this name.
#[inline(always)]
fn value_of(param: &[u8], name: &[u8]) -> Option<usize> {
    let (known, value) = param.split_at_checked(name.len())?;
    if known != name && !known.eq_ignore_ascii_case(name) {
        return None;
    }
    match value.first() {
        None => Some(name.len()),
        Some(b'=') => Some(name.len() + 1),
        Some(_) => None,
    }
}

impl<'a> Via<'a> {
    /// What stands where none was read yet.
    #[inline(always)]
    pub(crate) fn none() -> Self {
        Via {
            transport: b"",
            port: None,
            params: Params(b""),
            at: (0, 0),
            host_raw: b"",
            noted: None,
        }
    }

    /// Reads a value by itself; `at` then counts from its first byte.
    pub fn parse(value: &'a [u8]) -> Result<Via<'a>, Malformed> {
        Self::parse_at(value, 0)
    }

    pub(crate) fn parse_at(value: &'a [u8], base: usize) -> Result<Via<'a>, Malformed> {
        let (start, end) = lex::trim_span(value, 0, value.len());
        Self::read(&value[start..end], span(base + start, base + end))
            .ok_or(Malformed::new(Fault::Bad(Name::Via), base))
    }

    /// The value at a place in a message, if nothing about it is unusual, with a note of the
    /// parameters that will be asked for.
    pub(crate) fn read_noted(bytes: &'a [u8], at: Span) -> Option<Via<'a>> {
        let (via, _) = Via::read_usual(bytes.get(at.0 as usize..)?, at.0)?;
        (via.at == at).then_some(via)
    }

    /// The value that `text` starts with, as [`read_noted`](Self::read_noted), and the end of the line
    /// right behind it. `start`: where it is in the message.
    #[inline(always)]
    pub(crate) fn read_usual(text: &'a [u8], start: u32) -> Option<(Via<'a>, &'a [u8])> {
        let sent_by = SentBy::read_usual(text)?;
        let (noted, rest) = Noted::read(sent_by.rest)?;
        let via = Via {
            transport: sent_by.transport,
            port: sent_by.port,
            params: Params(lex::before(sent_by.rest, rest)?),
            at: (start, start + (text.len() - rest.len()) as u32),
            host_raw: sent_by.host_raw,
            noted: Some(noted),
        };
        Some((via, rest))
    }

    /// As [`parse_at`](Self::parse_at), for a value without white space at either end.
    #[inline(always)]
    pub(crate) fn read(value: &'a [u8], at: Span) -> Option<Via<'a>> {
        let (transport, rest) = match usual_transport(value) {
            Some(usual) => usual,
            None => any_transport(value)?,
        };
        let (host_raw, rest) = rest.split_at(Host::prefix_len(rest)?);
        let rest = skip_lws(rest);
        let (port, rest) = match rest.strip_prefix(b":") {
            None => (None, rest),
            Some(rest) => {
                let rest = skip_lws(rest);
                let (port, len) = lex::port_prefix(rest)?;
                (Some(port), skip_lws(&rest[len..]))
            }
        };
        // The whole value ends in no white space, and so do they.
        if !matches!(rest.first(), None | Some(b';')) {
            return None;
        }
        Some(Via {
            transport,
            port,
            params: Params(rest),
            at,
            host_raw,
            noted: None,
        })
    }

    /// The host of `sent-by`.
    pub fn host(&self) -> Host<'a> {
        Host::of_prefix(self.host_raw)
    }

    /// The `branch` parameter, when it has a value.
    #[inline]
    pub fn branch(&self) -> Option<&'a [u8]> {
        let branch = self.param(|noted| noted.branch, "branch");
        branch.filter(|branch| !branch.is_empty())
    }

    /// The `received` parameter (RFC 3261 §18.2.1). An IPv6 address is read with and without
    /// brackets (RFC 5118 §4.5).
    pub fn received(&self) -> Option<IpAddr> {
        let text = self.param(|noted| noted.received, "received")?;
        let bare = text
            .strip_prefix(b"[")
            .and_then(|text| text.strip_suffix(b"]"))
            .unwrap_or(text);
        std::str::from_utf8(bare).ok()?.parse().ok()
    }

    /// The `rport` parameter (RFC 3581 §3): `Some(None)` when it is asked for and not filled in.
    pub fn rport(&self) -> Option<Option<u16>> {
        let text = self.param(|noted| noted.rport, "rport");
        text.map(lex::port)
    }

    /// Where in the message an `rport` ends that waits to be filled in (RFC 3581 §4), the inner `None`
    /// without `rport`. The outer one: whoever fills it in must look at each parameter, since there is
    /// a `received`, or more than a plain flag, or nobody has looked yet.
    #[inline]
    pub fn rport_to_fill(&self) -> Option<Option<u32>> {
        let noted = self.noted.as_ref()?;
        match (noted.rport, noted.received) {
            ((0, 0), (0, 0)) => Some(None),
            ((start, end), (0, 0)) if start == end => {
                let params = self.params.0;
                let is_flag = params.get(usize::from(end).checked_sub(1)?) != Some(&b'=');
                let behind = params.len().checked_sub(usize::from(end))?;
                is_flag.then_some(Some(self.at.1 - behind as u32))
            }
            _ => None,
        }
    }

    /// A parameter's value, by the note when there is one.
    #[inline]
    fn param(&self, place: impl Fn(&Noted) -> (u16, u16), name: &str) -> Option<&'a [u8]> {
        match self.noted.as_ref().map(place) {
            Some((0, 0)) => None,
            Some((start, end)) => self.params.0.get(usize::from(start)..usize::from(end)),
            None => self.params.get(name),
        }
    }

    /// The host as written, brackets and case included.
    pub fn host_raw(&self) -> &'a [u8] {
        self.host_raw
    }
}

/// What comes before the parameters.
pub(crate) struct SentBy<'a> {
    transport: &'a [u8],
    host_raw: &'a [u8],
    port: Option<u16>,
    /// What follows: the parameters, or the end of the line.
    pub rest: &'a [u8],
}

impl<'a> SentBy<'a> {
    /// Reads what `text` starts with, if nothing about it is unusual.
    #[inline(always)]
    pub(crate) fn read_usual(text: &'a [u8]) -> Option<SentBy<'a>> {
        let (transport, rest) = usual_transport(text)?;
        let (host_raw, rest) = rest.split_at_checked(Host::prefix_len(rest)?)?;
        let (port, rest) = match rest {
            [b':', rest @ ..] => {
                let (port, rest) = lex::usual_port(rest)?;
                (Some(port), rest)
            }
            _ => (None, rest),
        };
        matches!(rest, [b';' | b'\r', ..]).then_some(SentBy {
            transport,
            host_raw,
            port,
            rest,
        })
    }
}

/// The transport and what follows the blank behind it, as nearly all write them.
#[inline(always)]
fn usual_transport(value: &[u8]) -> Option<(&[u8], &[u8])> {
    const USUAL: [u32; 3] = [
        u32::from_le_bytes(*b"UDP "),
        u32::from_le_bytes(*b"TCP "),
        u32::from_le_bytes(*b"TLS "),
    ];
    let rest = value.strip_prefix(b"SIP/2.0/")?;
    let (transport, host) = rest.split_first_chunk()?;
    let is_usual = USUAL.contains(&u32::from_le_bytes(*transport)) && *host.first()? > b' ';
    is_usual.then_some((&transport[..3], host))
}

/// The transport and what follows the white space behind it.
fn any_transport(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = after_slash(after_slash(value)?)?;
    let (transport, rest) = rest.split_at(lex::token_len(rest));
    let blank = lex::lws_len(rest);
    (!transport.is_empty() && blank > 0).then(|| (transport, &rest[blank..]))
}

/// Behind the white space that `bytes` starts with, hardly ever any.
#[inline]
fn skip_lws(bytes: &[u8]) -> &[u8] {
    match bytes.first() {
        Some(b'!'..) | None => bytes,
        Some(_) => &bytes[lex::lws_len(bytes)..],
    }
}

/// What follows `token "/"`, with white space wherever RFC 3261 §25.1 lets it be.
fn after_slash(value: &[u8]) -> Option<&[u8]> {
    let (token, rest) = value.split_at(lex::token_len(value));
    let rest = rest[lex::lws_len(rest)..].strip_prefix(b"/")?;
    (!token.is_empty()).then(|| &rest[lex::lws_len(rest)..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_via_is_read_in_all_its_forms() {
        // value, transport, host as written, port, branch
        type Row<'a> = (&'a str, &'a str, &'a str, Option<u16>, Option<&'a str>);
        let table: &[Row<'_>] = &[
            ("SIP/2.0/UDP 10.0.0.1", "UDP", "10.0.0.1", None, None),
            (
                "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK1",
                "UDP",
                "10.0.0.1",
                Some(5060),
                Some("z9hG4bK1"),
            ),
            (
                "SIP/2.0/TLS host.example.com;Branch=b;rport",
                "TLS",
                "host.example.com",
                None,
                Some("b"),
            ),
            (
                "SIP  / 2.0\r\n /UDP\r\n    10.0.0.2 : 7 ;branch = x",
                "UDP",
                "10.0.0.2",
                Some(7),
                Some("x"),
            ),
            (
                "SIP/2.0/TCP [2001:db8::9:1];branch=q",
                "TCP",
                "[2001:db8::9:1]",
                None,
                Some("q"),
            ),
            (
                "SIP/2.0/TCP [::1]:5070 ;branch=q",
                "TCP",
                "[::1]",
                Some(5070),
                Some("q"),
            ),
            ("SIP/2.0/UNKNOWN x;branch=", "UNKNOWN", "x", None, None),
            (
                "SIP/2.0/UDP under_score.local;branch=1",
                "UDP",
                "under_score.local",
                None,
                Some("1"),
            ),
        ];
        for (value, transport, host, port, branch) in table {
            let via =
                Via::parse(value.as_bytes()).unwrap_or_else(|error| panic!("{value}: {error}"));
            assert_eq!(via.transport, transport.as_bytes(), "{value}");
            assert_eq!(via.host_raw(), host.as_bytes(), "{value}");
            assert_eq!(via.port, *port, "{value}");
            assert_eq!(via.branch(), branch.map(str::as_bytes), "{value}");
            assert_eq!(via.at, (0, u32::try_from(value.len()).unwrap()), "{value}");
        }
    }

    #[test]
    fn what_is_no_via_is_refused() {
        for value in [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP ",
            "SIP/2.0 host",
            "SIP/2.0/ host",
            "/2.0/UDP host",
            "SIP/2.0/UDP host:",
            "SIP/2.0/UDP host:x",
            "SIP/2.0/UDP host:0",
            "SIP/2.0/UDP host:65536",
            "SIP/2.0/UDP host junk",
            "SIP/2.0/UDP host, SIP/2.0/UDP b",
            "SIP/2.0/UDP 2001:db8::9",
            "SIP/2.0/UDP [2001:db8::9",
            "SIP/2.0/UDP [nonsense]",
            "SIP/2.0/UDP ;branch=1",
            ";;",
        ] {
            let error = Via::parse(value.as_bytes()).expect_err(value);
            assert_eq!(error.fault, Fault::Bad(Name::Via), "{value}");
        }
    }

    #[test]
    fn an_rport_waits_to_be_filled_in_where_nothing_else_needs_care() {
        // The parameters, and how many bytes stand behind the flag.
        let table: &[(&str, Option<Option<u32>>)] = &[
            ("", Some(None)),
            (";branch=b;x", Some(None)),
            (";rport", Some(Some(0))),
            (";rport;branch=b", Some(Some(9))),
            (";branch=b;RPORT;x=y", Some(Some(4))),
            (";rport=", None),
            (";rport=5060", None),
            (";rport;rport", None),
            (";rport;received=192.0.2.1", None),
            (";received;rport", None),
            ("; rport", None),
            (";rport ;branch=b", None),
            (";x=\"y\";rport", None),
        ];
        for (params, behind) in table {
            let value = format!("SIP/2.0/UDP a{params}");
            let via = Via::parse_at(value.as_bytes(), 100).expect(params);
            assert_eq!(via.rport_to_fill(), None, "nobody has looked: {params}");
            let end = 100 + value.len() as u32;
            let message = format!("{:100}{value}\r\n\r\n", "");
            let via = Via::read_noted(message.as_bytes(), (100, end));
            let expected = behind.map(|behind| behind.map(|behind| end - behind));
            assert_eq!(
                via.and_then(|via| via.rport_to_fill()),
                expected,
                "{params}"
            );
        }
    }

    #[test]
    fn where_to_answer_is_read_from_received_and_rport() {
        type Row<'a> = (&'a str, Option<&'a str>, Option<Option<u16>>);
        let table: &[Row<'_>] = &[
            ("SIP/2.0/UDP a", None, None),
            ("SIP/2.0/UDP a;rport", None, Some(None)),
            ("SIP/2.0/UDP a;rport=", None, Some(None)),
            ("SIP/2.0/UDP a;rport=no", None, Some(None)),
            (
                "SIP/2.0/UDP a;received=192.0.2.1;rport=9988",
                Some("192.0.2.1"),
                Some(Some(9988)),
            ),
            (
                "SIP/2.0/UDP a;received=2001:db8::9:255",
                Some("2001:db8::9:255"),
                None,
            ),
            (
                "SIP/2.0/UDP a;received=[2001:db8::9:255]",
                Some("2001:db8::9:255"),
                None,
            ),
            ("SIP/2.0/UDP a;received=example.com", None, None),
        ];
        for (value, received, rport) in table {
            let via = Via::parse(value.as_bytes()).expect(value);
            assert_eq!(
                via.received(),
                received.map(|text| text.parse().unwrap()),
                "{value}"
            );
            assert_eq!(via.rport(), *rport, "{value}");
        }
    }
}
