//! Messages as the load needs them: written from templates, read as far as one has to.
//!
//! A load that parses like a product would measure itself. So calls are told apart by 16 hexadecimal
//! digits that stand in every Call-ID, and of a message only the first line, Call-ID, CSeq and, where
//! they matter, Record-Route and Contact are looked at.

use std::net::SocketAddr;

use memchr::memchr;

/// Stands in a template where the number of a call goes.
const HOLE: &[u8] = b"################";

/// Bytes of an INVITE, as in the yardstick.
const INVITE_BYTES: usize = 988;

const SDP: &str = "v=0\r\no=root 1234567 1234567 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                   m=audio 16384 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
                   a=ptime:20\r\n";

/// The methods that occur.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Method {
    /// It begins a call.
    Invite,
    /// Of a 200 or of a failure.
    Ack,
    /// It ends a call.
    Bye,
    /// OPTIONS and what else is answered with 200.
    Other,
}

/// What a message is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A request of this method.
    Request(Method),
    /// A response of this code to such a request.
    Response(u16, Method),
}

/// What [`read`] found.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Request or response.
    pub kind: Kind,
    /// Of which call; none of ours when absent.
    pub call: Option<u64>,
}

/// Reads as much as tells what to do. `None` for what is no SIP message.
pub fn read(bytes: &[u8]) -> Option<Seen> {
    let mut lines = lines(bytes);
    let first = lines.next()?;
    let mut call = None;
    let mut method = None;
    for line in lines {
        if let Some(value) = value(line, b"call-id") {
            call = Some(hexadecimal(value));
        } else if let Some(value) = value(line, b"cseq") {
            let word = value.split(|byte| *byte == b' ').next_back()?;
            method = Some(method_of(word));
        } else {
            continue;
        }
        if call.is_some() && method.is_some() {
            break;
        }
    }
    let kind = match first.strip_prefix(b"SIP/2.0 ") {
        Some(status) => {
            let code = std::str::from_utf8(status.get(..3)?).ok()?.parse().ok()?;
            Kind::Response(code, method?)
        }
        None => Kind::Request(method_of(first.split(|byte| *byte == b' ').next()?)),
    };
    Some(Seen {
        kind,
        call: call.flatten(),
    })
}

fn method_of(word: &[u8]) -> Method {
    match word {
        b"INVITE" => Method::Invite,
        b"ACK" => Method::Ack,
        b"BYE" => Method::Bye,
        _ => Method::Other,
    }
}

/// The header lines and the first line, without their ends; folded lines are not known here.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let end = memchr(b'\n', rest)?;
        let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
        rest = &rest[end + 1..];
        (!line.is_empty()).then_some(line)
    })
}

/// The value of a header line, if it is the header of this name (in small letters).
fn value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    if line.get(name.len()) != Some(&b':') || !line[..name.len()].eq_ignore_ascii_case(name) {
        return None;
    }
    Some(line[name.len() + 1..].trim_ascii())
}

fn hexadecimal(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value.get(..HOLE.len())?).ok()?;
    u64::from_str_radix(digits, 16).ok()
}

/// The route set for the caller (RFC 3261 §12.1.2): Route lines, ready to be written.
pub fn routes(answer: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let recorded: Vec<_> = lines(answer)
        .filter_map(|line| value(line, b"record-route"))
        .collect();
    for route in recorded.iter().rev() {
        out.extend_from_slice(b"Route: ");
        out.extend_from_slice(route);
        out.extend_from_slice(b"\r\n");
    }
}

/// The address in Contact.
pub fn contact(answer: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let contact = lines(answer).find_map(|line| value(line, b"contact"));
    let uri = contact.and_then(|contact| {
        let start = memchr(b'<', contact)? + 1;
        let length = memchr(b'>', &contact[start..])?;
        Some(&contact[start..start + length])
    });
    out.extend_from_slice(uri.unwrap_or_default());
}

/// What stands behind the address in To: the tag.
fn to_params(answer: &[u8]) -> &[u8] {
    let to = lines(answer).find_map(|line| value(line, b"to"));
    let params = to.and_then(|to| Some(&to[memchr(b'>', to)? + 1..]));
    params.unwrap_or_default()
}

/// One message with the number of the call left open.
struct Template {
    text: Vec<u8>,
    holes: Vec<usize>,
}

impl Template {
    fn new(text: String) -> Self {
        let text = text.into_bytes();
        let holes = memchr::memmem::find_iter(&text, HOLE).collect();
        Template { text, holes }
    }

    fn write(&self, call: u64, out: &mut Vec<u8>) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let start = out.len();
        out.extend_from_slice(&self.text);
        let mut digits = [0; HOLE.len()];
        for (at, digit) in digits.iter_mut().rev().enumerate() {
            *digit = DIGITS[(call >> (4 * at) & 15) as usize];
        }
        for hole in &self.holes {
            out[start + hole..][..HOLE.len()].copy_from_slice(&digits);
        }
    }
}

/// What one caller writes.
pub struct CallerScript {
    invite: Template,
    /// ACK of a failure: it belongs to the INVITE's transaction, and has the failure's tag in To, where
    /// the one part ends and the other begins (RFC 3261 §17.1.1.3).
    ack_failure: [Template; 2],
    /// From Via to CSeq.
    ack: Template,
    bye: Template,
}

impl CallerScript {
    /// For a caller at `own` who calls at `server`.
    pub fn new(own: SocketAddr, server: SocketAddr, transport: &str) -> Self {
        let upper = transport.to_ascii_uppercase();
        let head = |letter: char, number: u32, method: &str, to_tag: &str| {
            format!(
                "Via: SIP/2.0/{upper} {own};branch=z9hG4bK{letter}################;rport\r\n\
                 From: \"Alice Example\" <sip:+15557654321@carrier.example>;tag=a################\r\n\
                 To: <sip:+15551234567@{server}>{to_tag}\r\n\
                 Call-ID: ################@{own}\r\n\
                 CSeq: {number} {method}\r\n"
            )
        };
        let invite = |padding: &str| {
            format!(
                "INVITE sip:+15551234567@{server} SIP/2.0\r\n{}\
                 Max-Forwards: 70\r\n\
                 Contact: <sip:caller@{own};transport={transport}>\r\n\
                 Allow: INVITE,ACK,CANCEL,OPTIONS,BYE,UPDATE,INFO,REFER,NOTIFY\r\n\
                 Supported: timer,100rel,replaces\r\n\
                 Session-Expires: 1800;refresher=uac\r\n\
                 User-Agent: Example Gateway 1.2.3\r\n\
                 P-Asserted-Identity: \"Alice Example\" <sip:+15557654321@carrier.example>\r\n\
                 X-Account: {padding}\r\n\
                 Content-Type: application/sdp\r\n\
                 Content-Length: {}\r\n\r\n{SDP}",
                head('i', 1, "INVITE", ""),
                SDP.len(),
            )
        };
        let padding = INVITE_BYTES.saturating_sub(invite("").len());
        let ack_failure = format!(
            "ACK sip:+15551234567@{server} SIP/2.0\r\n{}Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
            head('i', 1, "ACK", "|")
        );
        let (before_tag, after_tag) = ack_failure.split_once('|').unwrap_or_default();
        CallerScript {
            invite: Template::new(invite(&"0".repeat(padding))),
            ack_failure: [before_tag, after_tag].map(|part| Template::new(part.to_owned())),
            ack: Template::new(head('a', 1, "ACK", ";tag=callee")),
            bye: Template::new(head('b', 2, "BYE", ";tag=callee")),
        }
    }

    /// The INVITE of a call.
    pub fn invite(&self, call: u64, out: &mut Vec<u8>) {
        self.invite.write(call, out);
    }

    /// The ACK to a failure of it.
    pub fn ack_failure(&self, call: u64, failure: &[u8], out: &mut Vec<u8>) {
        let [before_tag, after_tag] = &self.ack_failure;
        before_tag.write(call, out);
        out.extend_from_slice(to_params(failure));
        after_tag.write(call, out);
    }

    /// The ACK to its 200, along `contact` and `routes`.
    pub fn ack(&self, call: u64, contact: &[u8], routes: &[u8], out: &mut Vec<u8>) {
        in_dialog(b"ACK ", &self.ack, call, contact, routes, out);
    }

    /// The BYE that ends it.
    pub fn bye(&self, call: u64, contact: &[u8], routes: &[u8], out: &mut Vec<u8>) {
        in_dialog(b"BYE ", &self.bye, call, contact, routes, out);
    }
}

fn in_dialog(
    method: &[u8],
    head: &Template,
    call: u64,
    contact: &[u8],
    routes: &[u8],
    out: &mut Vec<u8>,
) {
    for part in [method, contact, b" SIP/2.0\r\n"] {
        out.extend_from_slice(part);
    }
    head.write(call, out);
    for part in [routes, b"Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"] {
        out.extend_from_slice(part);
    }
}

/// A callee's answer: what must be copied, a tag in To, our Contact.
pub fn answer(request: &[u8], status: &str, own: SocketAddr, transport: &str, out: &mut Vec<u8>) {
    use std::io::Write;

    out.extend_from_slice(b"SIP/2.0 ");
    out.extend_from_slice(status.as_bytes());
    out.extend_from_slice(b"\r\n");
    for line in lines(request).skip(1) {
        let is = |name| value(line, name).is_some();
        let to = is(b"to");
        let copied = to
            || [&b"via"[..], b"record-route", b"from", b"call-id", b"cseq"]
                .into_iter()
                .any(is);
        if !copied {
            continue;
        }
        out.extend_from_slice(line);
        if to && memchr::memmem::find(line, b";tag=").is_none() {
            out.extend_from_slice(b";tag=callee");
        }
        out.extend_from_slice(b"\r\n");
    }
    // Writing to memory cannot fail.
    let _ = write!(
        out,
        "Contact: <sip:callee@{own};transport={transport}>\r\nContent-Length: 0\r\n\r\n"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script() -> CallerScript {
        let address = |text: &str| text.parse().unwrap();
        CallerScript::new(address("127.0.0.1:40001"), address("127.0.0.3:5060"), "udp")
    }

    #[test]
    fn an_invite_has_the_length_of_the_yardstick_and_says_whose_it_is() {
        let mut invite = Vec::new();
        script().invite(0xfeed_0001, &mut invite);
        assert_eq!(invite.len(), INVITE_BYTES);
        let seen = Seen {
            kind: Kind::Request(Method::Invite),
            call: Some(0xfeed_0001),
        };
        assert_eq!(read(&invite), Some(seen));
        let limits = trunkline_sip::Limits::default();
        trunkline_sip::Message::parse(&invite, &limits)
            .and_then(|message| message.checked().map(drop))
            .unwrap();
    }

    #[test]
    fn answers_and_what_follows_are_sip_and_keep_the_number() {
        let mut invite = Vec::new();
        script().invite(7, &mut invite);
        let text = String::from_utf8(invite).unwrap().replacen(
            "From:",
            "Record-Route: <sip:one;lr>\r\nRecord-Route: <sip:two;lr>\r\nFrom:",
            1,
        );
        let mut ok = Vec::new();
        let own = "127.0.0.11:5080".parse().unwrap();
        answer(text.as_bytes(), "200 OK", own, "udp", &mut ok);
        let kind = Kind::Response(200, Method::Invite);
        assert_eq!(
            read(&ok),
            Some(Seen {
                kind,
                call: Some(7)
            })
        );

        let mut ack = Vec::new();
        script().ack_failure(7, &ok, &mut ack);
        let limits = trunkline_sip::Limits::default();
        let parsed = trunkline_sip::Message::parse(&ack, &limits).unwrap();
        let tag = "the tag is the answer's (RFC 3261 §17.1.1.3)";
        assert_eq!(parsed.to_tag(), Some(&b"callee"[..]), "{tag}");
        assert_eq!(parsed.cseq().unwrap().method.as_bytes(), b"ACK");

        let (mut routes_found, mut contact_found) = (Vec::new(), Vec::new());
        routes(&ok, &mut routes_found);
        contact(&ok, &mut contact_found);
        assert_eq!(
            routes_found,
            b"Route: <sip:two;lr>\r\nRoute: <sip:one;lr>\r\n"
        );
        let mut bye = Vec::new();
        script().bye(7, &contact_found, &routes_found, &mut bye);
        let limits = trunkline_sip::Limits::default();
        let parsed = trunkline_sip::Message::parse(&bye, &limits).unwrap();
        assert_eq!(parsed.to_tag(), Some(&b"callee"[..]));
        let mut ack = Vec::new();
        script().ack(7, &contact_found, &routes_found, &mut ack);
        let why = "a bundle keeps the order of what is of one length";
        assert_eq!(ack.len(), bye.len(), "{why}");
        assert!(bye.starts_with(b"BYE sip:callee@127.0.0.11:5080;transport=udp SIP/2.0\r\n"));
    }

    #[test]
    fn what_is_no_message_is_not_read() {
        for bytes in [
            &b""[..],
            b"\r\n\r\n",
            b"SIP/2.0 2",
            b"SIP/2.0 200 OK\r\n\r\n",
        ] {
            assert_eq!(read(bytes), None, "{bytes:?}");
        }
    }
}
