//! What peers write, word by word: for benches that play both sides of a call.
//!
//! Nothing here is read by the product's own parser, so that a fault in it cannot hide itself.

use std::fmt::Write;

/// Where a call is placed from and to, as its messages write it.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The carrier, "host:port".
    pub caller: String,
    /// Our listener, "host:port".
    pub edge: String,
    /// The called number.
    pub number: String,
}

impl Default for Scene {
    /// The addresses of [`INVITE`](crate::INVITE).
    fn default() -> Self {
        Scene {
            caller: "54.172.60.1:5060".into(),
            edge: "203.0.113.5:5060".into(),
            number: "+15551234567".into(),
        }
    }
}

impl Scene {
    /// The INVITE of call number `number`: 1 kB.
    pub fn invite(&self, number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        crate::call_of(number, &mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        let text = text
            .replace("54.172.60.1:5060", &self.caller)
            .replace("203.0.113.5:5060", &self.edge)
            .replace("+15551234567", &self.number);
        text.into_bytes()
    }

    /// A request outside any dialog, to the edge itself.
    pub fn options(&self, number: u64) -> Vec<u8> {
        let Scene { caller, edge, .. } = self;
        format!(
            "OPTIONS sip:{edge} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {caller};branch=z9hG4bKoptions{number:08x};rport\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:monitor@pstn.example.com>;tag={number:08x}\r\n\
             To: <sip:{edge}>\r\n\
             Call-ID: options-{number:08x}@{caller}\r\n\
             CSeq: 1 OPTIONS\r\n\
             Content-Length: 0\r\n\r\n"
        )
        .into_bytes()
    }

    /// An ACK, a BYE or another request inside the dialog that this 2xx made.
    pub fn within(&self, method: &str, cseq: u32, answer: &[u8]) -> Vec<u8> {
        let text = String::from_utf8_lossy(answer);
        let contact = value(&text, "Contact").unwrap_or_default();
        let uri = contact.trim_start_matches('<').split('>').next();
        let mut request = format!("{method} {} SIP/2.0\r\n", uri.unwrap_or_default());
        let call_id = value(&text, "Call-ID").unwrap_or_default();
        let key = call_id.split('-').next().unwrap_or_default();
        let mut line = |text: std::fmt::Arguments<'_>| {
            let _ = request.write_fmt(text);
            request.push_str("\r\n");
        };
        line(format_args!(
            "Via: SIP/2.0/UDP {};branch=z9hG4bK{method}{cseq}.{key};rport",
            self.caller
        ));
        line(format_args!("Max-Forwards: 70"));
        // What stands before us in the route set, the carrier's own proxies have taken off.
        let ours = |route: &&str| route.contains(&self.edge);
        for route in values(&text, "Record-Route").filter(ours) {
            line(format_args!("Route: {route}"));
        }
        for name in ["From", "To", "Call-ID"] {
            line(format_args!(
                "{name}: {}",
                value(&text, name).unwrap_or_default()
            ));
        }
        line(format_args!("CSeq: {cseq} {method}"));
        line(format_args!("User-Agent: Example Gateway"));
        line(format_args!("Content-Length: 0"));
        request.push_str("\r\n");
        request.into_bytes()
    }
}

/// A callee's answer to a request: "180 Ringing", "200 OK". One to an INVITE has a Contact, and a 2xx a
/// session description.
pub fn answer(request: &[u8], status: &str, contact: &str) -> Vec<u8> {
    const SDP: &str = "v=0\r\no=root 7654321 7654321 IN IP4 10.0.2.1\r\ns=-\r\nc=IN IP4 10.0.2.1\r\nt=0 0\r\n\
                       m=audio 12000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\n";
    let text = String::from_utf8_lossy(request);
    let mut response = format!("SIP/2.0 {status}\r\n");
    for line in text.split("\r\n").take_while(|line| !line.is_empty()) {
        let copied = ["Via:", "From:", "Call-ID:", "CSeq:", "Record-Route:"];
        if copied.iter().any(|name| line.starts_with(name)) {
            let _ = write!(response, "{line}\r\n");
        } else if line.starts_with("To:") {
            let tag = if line.contains(";tag=") {
                ""
            } else {
                ";tag=callee"
            };
            let _ = write!(response, "{line}{tag}\r\n");
        }
    }
    let invited = request.starts_with(b"INVITE ");
    if invited {
        let _ = write!(response, "Contact: <sip:+15551234567@{contact}>\r\n");
    }
    if invited && status.starts_with('2') {
        let length = SDP.len();
        let _ = write!(
            response,
            "Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{SDP}"
        );
    } else {
        response.push_str("Content-Length: 0\r\n\r\n");
    }
    response.into_bytes()
}

/// The ACK to a failure, as who sent the INVITE writes it (RFC 3261 §17.1.1.3).
pub fn acknowledge(invite: &[u8], failure: &[u8]) -> Vec<u8> {
    let (invite, failure) = (
        String::from_utf8_lossy(invite),
        String::from_utf8_lossy(failure),
    );
    let uri = invite.split(' ').nth(1).unwrap_or_default();
    let of = |text| move |name| value(text, name).unwrap_or_default();
    let (sent, to) = (of(&invite), of(&failure)("To"));
    let mut ack = format!("ACK {uri} SIP/2.0\r\nVia: {}\r\n", sent("Via"));
    for route in values(&invite, "Route") {
        let _ = write!(ack, "Route: {route}\r\n");
    }
    let _ = write!(
        ack,
        "Max-Forwards: 70\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\n\
         Content-Length: 0\r\n\r\n",
        sent("From"),
        sent("Call-ID"),
        sent("CSeq").replace("INVITE", "ACK"),
    );
    ack.into_bytes()
}

/// The first value of a header.
pub fn value<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    values(text, name).next()
}

/// All values of a header, one for each line.
fn values<'t>(text: &'t str, name: &str) -> impl Iterator<Item = &'t str> {
    text.split("\r\n")
        .take_while(|line| !line.is_empty())
        .filter_map(move |line| line.strip_prefix(name)?.strip_prefix(": "))
}
