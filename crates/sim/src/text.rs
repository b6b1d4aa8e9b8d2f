//! SIP messages as the simulated peers read and write them: owned, line by line.
//!
//! Deliberately not `trunkline-sip`: a mistake of the product's parser must not be hidden by a
//! simulator that makes the same one. It reads what the peers and the proxy write, not torture.

use std::fmt::Write as _;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The start line.
    pub start: String,
    /// Names as written and trimmed values, in order.
    pub headers: Vec<(String, String)>,
    /// What follows the blank line.
    pub body: String,
}

const COMPACT: [(&str, &str); 9] = [
    ("v", "Via"),
    ("f", "From"),
    ("t", "To"),
    ("m", "Contact"),
    ("i", "Call-ID"),
    ("l", "Content-Length"),
    ("c", "Content-Type"),
    ("k", "Supported"),
    ("s", "Subject"),
];

fn same_name(written: &str, asked: &str) -> bool {
    let long = COMPACT
        .iter()
        .find(|(compact, _)| written.eq_ignore_ascii_case(compact))
        .map_or(written, |(_, long)| long);
    long.eq_ignore_ascii_case(asked)
}

/// Method and Request-URI of a request's start line, whose version is compared without case
/// (RFC 3261 §7.1).
fn request_line(start: &str) -> Option<&str> {
    let (line, version) = start.rsplit_once(' ')?;
    version.eq_ignore_ascii_case("SIP/2.0").then_some(line)
}

impl Text {
    /// A request without headers.
    pub fn request(method: &str, uri: &str) -> Text {
        Text {
            start: format!("{method} {uri} SIP/2.0"),
            headers: Vec::new(),
            body: String::new(),
        }
    }

    /// Reads one; `None` for what has no start line of SIP.
    pub fn read(bytes: &[u8]) -> Option<Text> {
        let all = String::from_utf8_lossy(bytes);
        let (head, body) = all.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let start = lines.next()?.to_string();
        if !start.starts_with("SIP/2.0 ") && request_line(&start).is_none() {
            return None;
        }
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in lines {
            if line.starts_with([' ', '\t']) {
                headers.last_mut()?.1.push_str(&format!(" {}", line.trim()));
            } else {
                let (name, value) = line.split_once(':')?;
                headers.push((name.trim().to_string(), value.trim().to_string()));
            }
        }
        Some(Text {
            start,
            headers,
            body: body.to_string(),
        })
    }

    /// As it goes over the wire, with a Content-Length unless one was set.
    pub fn write(&self) -> Vec<u8> {
        let mut out = format!("{}\r\n", self.start);
        for (name, value) in &self.headers {
            let _ = write!(out, "{name}: {value}\r\n");
        }
        if self.get("Content-Length").is_none() {
            let _ = write!(out, "Content-Length: {}\r\n", self.body.len());
        }
        out.push_str("\r\n");
        out.push_str(&self.body);
        out.into_bytes()
    }

    /// The method of a request.
    pub fn method(&self) -> Option<&str> {
        request_line(&self.start)?.split(' ').next()
    }

    /// The Request-URI of a request.
    pub fn uri(&self) -> Option<&str> {
        request_line(&self.start)?.split(' ').nth(1)
    }

    /// The code of a response.
    pub fn code(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// The first header of that name, its compact form included.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All headers of that name.
    pub fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.headers
            .iter()
            .filter(move |(written, _)| same_name(written, name))
            .map(|(_, value)| value.as_str())
    }

    /// All values of a header that lists them, in order.
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.all(name).flat_map(split_list).collect()
    }

    /// Adds a header at the end.
    pub fn push(&mut self, name: &str, value: impl Into<String>) {
        self.headers.push((name.to_string(), value.into()));
    }

    /// Puts a header in place of all of that name.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let at = self
            .headers
            .iter()
            .position(|(written, _)| same_name(written, name));
        self.remove(name);
        let at = at.unwrap_or(self.headers.len());
        self.headers.insert(at, (name.to_string(), value.into()));
    }

    /// Takes all headers of that name out.
    pub fn remove(&mut self, name: &str) {
        self.headers
            .retain(|(written, _)| !same_name(written, name));
    }

    /// The number and method of CSeq.
    pub fn cseq(&self) -> Option<(u32, &str)> {
        let (number, method) = self.get("CSeq")?.split_once(' ')?;
        Some((number.parse().ok()?, method.trim()))
    }

    /// The method that a request has, or that a response answers.
    pub fn about(&self) -> Option<&str> {
        self.method()
            .or_else(|| self.cseq().map(|(_, method)| method))
    }

    /// The branch of the top Via.
    pub fn branch(&self) -> Option<&str> {
        param(self.values("Via").first()?, "branch")
    }

    /// The tag of From or To.
    pub fn tag(&self, name: &str) -> Option<&str> {
        let value = self.get(name)?;
        param(
            value.rsplit_once('>').map_or(value, |(_, params)| params),
            "tag",
        )
    }

    /// The URI inside the first value of a header such as Contact.
    pub fn uri_of(&self, name: &str) -> Option<&str> {
        self.values(name).first().map(|value| uri_in(value))
    }
}

/// The URI of `"name" <uri>;params` or of a bare one.
pub fn uri_in(value: &str) -> &str {
    value
        .split_once('<')
        .and_then(|(_, rest)| rest.split_once('>'))
        .map_or_else(
            || value.split(';').next().unwrap_or(value).trim(),
            |(uri, _)| uri,
        )
}

/// A parameter of a header value or URI.
pub fn param<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    value.split(';').skip(1).find_map(|part| {
        let (written, value) = part.split_once('=').unwrap_or((part, ""));
        written
            .trim()
            .eq_ignore_ascii_case(name)
            .then(|| value.trim())
    })
}

/// Splits at commas outside quotes and angle brackets.
fn split_list(line: &str) -> Vec<&str> {
    let (mut quoted, mut bracketed, mut from) = (false, false, 0);
    let mut values = Vec::new();
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'<' if !quoted => bracketed = true,
            b'>' if !quoted => bracketed = false,
            b',' if !quoted && !bracketed => {
                values.push(line[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    values.push(line[from..].trim());
    values
}

/// The usual reason phrase, for codes that peers here answer.
pub const fn reason(code: u16) -> &'static str {
    match code {
        100 => "Trying",
        180 => "Ringing",
        183 => "Session Progress",
        200 => "OK",
        302 => "Moved Temporarily",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        481 => "Call/Transaction Does Not Exist",
        486 => "Busy Here",
        487 => "Request Terminated",
        500 => "Server Internal Error",
        503 => "Service Unavailable",
        603 => "Decline",
        _ => "Whatever",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &[u8] = b"INVITE sip:bob@b.test SIP/2.0\r\n\
        v: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKa , SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKb\r\n\
        From: \"a, b\" <sip:a@a.test;x=1>;tag=t1\r\nTo: sip:b@b.test\r\nCall-ID: c\r\n\
        CSeq: 7 INVITE\r\nContact: <sip:a@10.0.0.1>\r\nSubject: folded\r\n over lines\r\n\
        Content-Length: 2\r\n\r\nhi";

    #[test]
    fn what_a_peer_needs_of_a_message_is_read() {
        let text = Text::read(INVITE).unwrap();
        assert_eq!(
            (text.method(), text.uri(), text.code()),
            (Some("INVITE"), Some("sip:bob@b.test"), None)
        );
        assert_eq!(text.values("Via").len(), 2);
        assert_eq!(text.branch(), Some("z9hG4bKa"));
        assert_eq!((text.tag("From"), text.tag("To")), (Some("t1"), None));
        assert_eq!(text.cseq(), Some((7, "INVITE")));
        assert_eq!(text.uri_of("Contact"), Some("sip:a@10.0.0.1"));
        assert_eq!(text.get("s"), None, "asked by long name only");
        assert_eq!(text.get("Subject"), Some("folded over lines"));
        assert_eq!(text.body, "hi");
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let text = Text::read(INVITE).unwrap();
        assert_eq!(Text::read(&text.write()), Some(text));
    }

    #[test]
    fn bytes_that_are_not_sip_are_none() {
        for bytes in [
            &b""[..],
            b"\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"INVITE x SIP/2.0\r\nnocolon\r\n\r\n",
        ] {
            assert_eq!(Text::read(bytes), None);
        }
    }
}
