//! Webhook addresses: absolute http and https URLs, and references against them (RFC 3986 §5).
//!
//! Only what a webhook needs: no file URLs, no repair of what is not a URL. What a person writes
//! in a TwiML document ends up here, so every refusal says what to write instead. A name and
//! password before the host (`https://user:password@host/`) are taken out of the text: they
//! travel as HTTP Basic authentication, and no log or other server ever sees them.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use crate::question::Secret;

/// Bytes of a URL, fragment included.
pub const URL_BYTES_MAX: usize = 2048;

/// An absolute http or https URL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Url {
    /// Without name and password, without the fragment.
    text: String,
    /// "name:password", decoded.
    credentials: Option<Secret>,
    /// What stood after `#`; never sent.
    fragment: Option<String>,
    /// Where the authority begins: after `://`.
    authority: usize,
    /// Where the path begins (and the authority ends).
    path: usize,
    /// Where the query begins, or the end of the text.
    query: usize,
}

/// Why a text is no webhook address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UrlFault {
    /// Nothing there.
    #[error("it is empty; write an absolute URL or a path")]
    Empty,
    /// Longer than [`URL_BYTES_MAX`].
    #[error("it is longer than {URL_BYTES_MAX} bytes")]
    TooLong,
    /// A space, a control character or something beyond ASCII.
    #[error("it has a character that a URL cannot have; percent-encode it")]
    Character,
    /// `ftp:`, `javascript:`, ...
    #[error("its scheme is not one that can be asked; use https or http")]
    Scheme,
    /// No host.
    #[error("it names no host; write https://host/path")]
    Host,
    /// A port that is no number below 65536.
    #[error("its port is not a number from 1 to 65535")]
    Port,
}

impl Url {
    /// Reads an absolute URL.
    pub fn parse(text: &str) -> Result<Url, UrlFault> {
        let text = checked(text)?;
        let scheme = scheme_of(text).ok_or(UrlFault::Scheme)?;
        if !["http", "https"]
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known))
        {
            return Err(UrlFault::Scheme);
        }
        let after = &text[scheme.len() + 1..];
        let rest = after.strip_prefix("//").ok_or(UrlFault::Host)?;
        let (rest, fragment) = split_fragment(rest);
        let authority_len = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, after) = rest.split_at(authority_len);
        let (user, host_port) = match authority.rsplit_once('@') {
            Some((user, host_port)) => (Some(user), host_port),
            None => (None, authority),
        };
        check_host_port(host_port)?;

        let scheme = scheme.to_ascii_lowercase();
        let authority = scheme.len() + "://".len();
        let path = authority + host_port.len();
        let mut text = format!("{scheme}://{host_port}{after}");
        if !text[path..].starts_with('/') {
            // RFC 3986 §6.2.3: an empty path is "/".
            text.insert(path, '/');
        }
        let query = text[path..].find('?').map_or(text.len(), |at| path + at);
        let credentials = user.map(|user| Secret(percent_decoded(user).into()));
        let fragment = fragment.map(str::to_owned);
        Ok(Url {
            text,
            credentials,
            fragment,
            authority,
            path,
            query,
        })
    }

    /// Reads a URL as it stands in a document that came from `self`: absolute, or relative to it
    /// (RFC 3986 §5.2). A fragment is the reference's own, never inherited; name and password stay
    /// for the same host only.
    pub fn resolve(&self, reference: &str) -> Result<Url, UrlFault> {
        let reference = checked(reference)?;
        if scheme_of(reference).is_some() {
            return Url::parse(reference);
        }
        let scheme_end = self.authority - "//".len();
        if reference.starts_with("//") {
            return Url::parse(&format!("{}{reference}", &self.text[..scheme_end]));
        }
        let (relative, fragment) = split_fragment(reference);
        let (path, query) = relative
            .split_once('?')
            .map_or((relative, None), |(path, query)| (path, Some(query)));
        let merged = match path {
            "" => self.text[self.path..self.query].to_owned(),
            path if path.starts_with('/') => without_dots(path),
            path => {
                let base = &self.text[self.path..self.query];
                let folder = base.rfind('/').map_or("/", |slash| &base[..=slash]);
                without_dots(&format!("{folder}{path}"))
            }
        };
        let query = match query {
            Some(query) => format!("?{query}"),
            None if path.is_empty() => self.text[self.query..].to_owned(),
            None => String::new(),
        };
        let fragment = fragment
            .map(|fragment| format!("#{fragment}"))
            .unwrap_or_default();
        let authority = &self.text[..self.path];
        let url = Url::parse(&format!("{authority}{merged}{query}{fragment}"))?;
        Ok(Url {
            credentials: self.credentials.clone(),
            ..url
        })
    }

    /// What is requested and signed: everything but the fragment, name and password.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What stood after `#`, or "".
    pub fn fragment(&self) -> &str {
        self.fragment.as_deref().unwrap_or("")
    }

    /// The `Authorization` header's value, when the URL had a name and password.
    pub fn authorization(&self) -> Option<String> {
        self.credentials
            .as_ref()
            .map(|Secret(pair)| format!("Basic {}", BASE64.encode(pair)))
    }

    /// For logs: without the query, which may hold secrets.
    pub fn shown(&self) -> &str {
        &self.text[..self.query]
    }
}

/// A URL for logs: without its query, which may hold secrets.
pub fn shown(url: &str) -> &str {
    url.split('?').next().unwrap_or_default()
}

/// Trimmed, of a bearable length, and of characters that cannot end a request line early.
fn checked(text: &str) -> Result<&str, UrlFault> {
    let text = text.trim();
    if text.is_empty() {
        return Err(UrlFault::Empty);
    }
    if text.len() > URL_BYTES_MAX {
        return Err(UrlFault::TooLong);
    }
    let fits = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\');
    if text.bytes().all(fits) {
        Ok(text)
    } else {
        Err(UrlFault::Character)
    }
}

/// RFC 3986 §3.1. A path with a colon in its first segment must be written `./a:b` (§4.2).
fn scheme_of(text: &str) -> Option<&str> {
    let scheme = &text[..text.find([':', '/', '?', '#'])?];
    let known = text[scheme.len()..].starts_with(':')
        && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    known.then_some(scheme)
}

fn split_fragment(text: &str) -> (&str, Option<&str>) {
    text.split_once('#')
        .map_or((text, None), |(text, fragment)| (text, Some(fragment)))
}

/// RFC 3986 §2.1; a lone "%" stands for itself.
pub(super) fn percent_decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let hex = |at: usize| {
        bytes
            .get(at)
            .and_then(|&digit| char::from(digit).to_digit(16))
    };
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match (byte, hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

fn check_host_port(host_port: &str) -> Result<(), UrlFault> {
    let (host, port) = match host_port.strip_prefix('[') {
        Some(v6) => {
            let (address, after) = v6.split_once(']').ok_or(UrlFault::Host)?;
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(UrlFault::Host);
            }
            (address, after)
        }
        None => host_port.split_at(host_port.find(':').unwrap_or(host_port.len())),
    };
    if host.is_empty() {
        return Err(UrlFault::Host);
    }
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok(()),
        // "host:" is allowed and means the default port (RFC 3986 §3.2.3).
        Some("") => Ok(()),
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => match digits.parse::<u16>() {
            Ok(1..) => Ok(()),
            Ok(0) | Err(_) => Err(UrlFault::Port),
        },
        None | Some(_) => Err(UrlFault::Port),
    }
}

/// RFC 3986 §5.2.4, for a path that begins with a slash.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." if last => kept.push(""),
            "." => {}
            ".." => {
                kept.pop();
                if last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absolute_url_is_read_and_anything_else_says_what_to_write() {
        let cases: &[(&str, Result<&str, UrlFault>)] = &[
            (
                "https://dr.example.net/voice",
                Ok("https://dr.example.net/voice"),
            ),
            (
                "  https://dr.example.net/voice\n",
                Ok("https://dr.example.net/voice"),
            ),
            ("HTTPS://dr.example.net", Ok("https://dr.example.net/")),
            (
                "http://127.0.0.1:8080/a?b=c#rc=3",
                Ok("http://127.0.0.1:8080/a?b=c"),
            ),
            ("http://[::1]:8080/a", Ok("http://[::1]:8080/a")),
            ("http://host:/a", Ok("http://host:/a")),
            ("http://host?a=b", Ok("http://host/?a=b")),
            ("https://user:secret@host/a", Ok("https://host/a")),
            ("", Err(UrlFault::Empty)),
            ("ftp://host/a", Err(UrlFault::Scheme)),
            ("javascript:alert(1)", Err(UrlFault::Scheme)),
            ("/voice", Err(UrlFault::Scheme)),
            ("http:/host", Err(UrlFault::Host)),
            ("http://", Err(UrlFault::Host)),
            ("http://@/a", Err(UrlFault::Host)),
            ("http://[::g]/a", Err(UrlFault::Host)),
            ("http://[::1/a", Err(UrlFault::Host)),
            ("http://host:99999/", Err(UrlFault::Port)),
            ("http://host:0/", Err(UrlFault::Port)),
            ("http://host:8o/", Err(UrlFault::Port)),
            ("http://[::1]x/", Err(UrlFault::Port)),
            ("http://host/a b", Err(UrlFault::Character)),
            ("http://host/a\r\nX-Injected: 1", Err(UrlFault::Character)),
            ("http://höst/", Err(UrlFault::Character)),
        ];
        for (text, expected) in cases {
            let got = Url::parse(text);
            assert_eq!(
                got.as_ref().map(Url::as_str),
                expected.as_ref().copied(),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_relative_reference_resolves_against_the_url_that_gave_the_document() {
        // RFC 3986 §5.4, on http instead of "http://a/b/c/d;p?q" with its dotted leftovers.
        let base = Url::parse("http://a/b/c/d;p?q#rc=1").unwrap();
        let cases = [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g/"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("g#s", "http://a/b/c/g"),
            ("g?y#s", "http://a/b/c/g?y"),
            (";x", "http://a/b/c/;x"),
            (".", "http://a/b/c/"),
            ("./", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../g", "http://a/g"),
            ("../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            ("..g", "http://a/b/c/..g"),
            ("./../g", "http://a/b/g"),
            ("g/./h", "http://a/b/c/g/h"),
            ("g/../h", "http://a/b/c/h"),
            ("g;x=1/../y", "http://a/b/c/y"),
            ("https://other/x", "https://other/x"),
        ];
        for (reference, expected) in cases {
            assert_eq!(
                base.resolve(reference).unwrap().as_str(),
                expected,
                "{reference}"
            );
        }
        assert_eq!(
            base.resolve("g").unwrap().fragment(),
            "",
            "a fragment is never inherited"
        );
        assert_eq!(base.resolve("g#rt=900").unwrap().fragment(), "rt=900");
        assert_eq!(base.resolve("mailto:x@y"), Err(UrlFault::Scheme));
        assert_eq!(base.resolve("  "), Err(UrlFault::Empty));
    }

    #[test]
    fn a_log_never_shows_a_password_or_a_query() {
        let url = Url::parse("https://user:p4%3Ass@host:8443/voice?key=k#rc=1").unwrap();
        assert_eq!(url.shown(), "https://host:8443/voice");
        assert_eq!(shown(url.as_str()), url.shown());
        assert!(!format!("{url:?}").contains("p4"), "{url:?}");
    }

    #[test]
    fn a_name_and_password_become_basic_authentication_for_that_host_only() {
        // RFC 7617 §2: "Aladdin" and "open sesame".
        let url = Url::parse("https://Aladdin:open%20sesame@host/voice").unwrap();
        let basic = Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(url.authorization().as_deref(), basic);
        assert_eq!(
            url.resolve("next").unwrap().authorization().as_deref(),
            basic
        );
        assert_eq!(url.resolve("//other/next").unwrap().authorization(), None);
        assert_eq!(
            url.resolve("https://other/next").unwrap().authorization(),
            None
        );
        let odd = Url::parse("https://a%:%zz%4@host/").unwrap();
        assert_eq!(
            odd.authorization(),
            Some(format!("Basic {}", BASE64.encode("a%:%zz%4")))
        );
    }
}
