//! SIP messages as the demo's phones write them (RFC 3261 §8, §12).

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use trunkline_sip::{Message, Name};

/// One side of one call.
#[derive(Clone, Debug)]
pub struct Dialog {
    call_id: String,
    /// Our From, with our tag.
    local: String,
    /// Their To, with their tag.
    remote: String,
    /// Their Contact.
    target: String,
    /// Nearest first.
    routes: Vec<String>,
    cseq: u32,
}

impl Dialog {
    /// The caller's side, from the answer. `None`: the answer lacks what a dialog needs.
    pub fn of_caller(answer: &Message<'_>) -> Option<Dialog> {
        let mut routes = values(answer, Name::RecordRoute);
        routes.reverse();
        Some(Dialog {
            call_id: value(answer, Name::CallId)?,
            local: value(answer, Name::From)?,
            remote: value(answer, Name::To)?,
            target: text(answer.contact()?.uri),
            routes,
            cseq: answer.cseq().ok()?.number,
        })
    }

    /// The called side's, from the INVITE and the tag it was answered with.
    pub fn of_called(invite: &Message<'_>, tag: &str) -> Option<Dialog> {
        Some(Dialog {
            call_id: value(invite, Name::CallId)?,
            local: format!("{};tag={tag}", value(invite, Name::To)?),
            remote: value(invite, Name::From)?,
            target: text(invite.contact()?.uri),
            routes: values(invite, Name::RecordRoute),
            cseq: 0,
        })
    }

    /// The host and port that the other side gave as its own.
    pub fn peer(&self) -> Option<SocketAddr> {
        let authority = self
            .target
            .rsplit_once('@')
            .map_or(self.target.as_str(), |(_, host)| host);
        authority.split(';').next()?.parse().ok()
    }

    /// The ACK of the answer: a transaction of its own, with the INVITE's number.
    pub fn ack(&self, own: SocketAddr) -> Vec<u8> {
        self.write("ACK", self.cseq, own).0
    }

    /// A BYE and its branch.
    pub fn bye(&mut self, own: SocketAddr) -> (Vec<u8>, String) {
        self.cseq += 1;
        self.write("BYE", self.cseq, own)
    }

    fn write(&self, method: &str, cseq: u32, own: SocketAddr) -> (Vec<u8>, String) {
        let branch = branch();
        let routes: String = self
            .routes
            .iter()
            .map(|route| format!("Route: {route}\r\n"))
            .collect();
        let bytes = format!(
            "{method} {} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {own};rport;branch={branch}\r\n\
             {routes}\
             Max-Forwards: 70\r\n\
             From: {}\r\n\
             To: {}\r\n\
             Call-ID: {}\r\n\
             CSeq: {cseq} {method}\r\n\
             Content-Length: 0\r\n\r\n",
            self.target, self.local, self.remote, self.call_id
        );
        (bytes.into_bytes(), branch)
    }
}

/// A new call's INVITE and its branch.
pub fn invite(number: &str, call_id: &str, own: SocketAddr, to: SocketAddr) -> (Vec<u8>, String) {
    let branch = branch();
    let sdp = session(own);
    let bytes = format!(
        "INVITE sip:{number}@{to} SIP/2.0\r\n\
         Via: SIP/2.0/UDP {own};rport;branch={branch}\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:+35315550199@{own}>;tag={}\r\n\
         To: <sip:{number}@{to}>\r\n\
         Call-ID: {call_id}\r\n\
         CSeq: 1 INVITE\r\n\
         Contact: <sip:demo@{own}>\r\n\
         User-Agent: trunkline-demo\r\n\
         Content-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{sdp}",
        unique(),
        sdp.len()
    );
    (bytes.into_bytes(), branch)
}

/// The ACK of a failure: it belongs to the INVITE's transaction (RFC 3261 §17.1.1.3).
pub fn ack_of_failure(invite: &Message<'_>, failure: &Message<'_>) -> Option<Vec<u8>> {
    let bytes = format!(
        "ACK {} SIP/2.0\r\n\
         Via: {}\r\n\
         Max-Forwards: 70\r\n\
         From: {}\r\n\
         To: {}\r\n\
         Call-ID: {}\r\n\
         CSeq: {} ACK\r\n\
         Content-Length: 0\r\n\r\n",
        text(invite.request_uri()?),
        value(invite, Name::Via)?,
        value(invite, Name::From)?,
        value(failure, Name::To)?,
        value(invite, Name::CallId)?,
        invite.cseq().ok()?.number,
    );
    Some(bytes.into_bytes())
}

/// A response. `tag` goes into To unless there is one; `contact` makes it one that forms a dialog.
pub fn response(
    request: &Message<'_>,
    code: u16,
    tag: &str,
    contact: Option<SocketAddr>,
) -> Option<Vec<u8>> {
    let mut head = format!("SIP/2.0 {code} {}\r\n", reason(code));
    for via in request.all(Name::Via) {
        head += &format!("Via: {}\r\n", text(via.value));
    }
    for route in request.all(Name::RecordRoute).filter(|_| contact.is_some()) {
        head += &format!("Record-Route: {}\r\n", text(route.value));
    }
    let to = value(request, Name::To)?;
    let to = if request.to_tag().is_some() {
        to
    } else {
        format!("{to};tag={tag}")
    };
    head += &format!(
        "From: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\n",
        value(request, Name::From)?,
        value(request, Name::CallId)?,
        value(request, Name::CSeq)?
    );
    if let Some(own) = contact {
        head += &format!("Contact: <sip:demo@{own}>\r\n");
    }
    let body = match contact {
        Some(own) if code / 100 == 2 => session(own),
        Some(_) | None => String::new(),
    };
    if !body.is_empty() {
        head += "Content-Type: application/sdp\r\n";
    }
    head += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    Some(head.into_bytes())
}

/// What a ladder calls a message.
pub fn what(message: &Message<'_>) -> String {
    let about = |method: &[u8]| match method {
        b"INVITE" => String::new(),
        method => format!(" ({})", text(method)),
    };
    match (message.method(), message.code()) {
        (Some(method), _) => text(method.as_bytes()),
        (None, Some(code)) => {
            let method = message
                .cseq()
                .map(|cseq| about(cseq.method.as_bytes()))
                .unwrap_or_default();
            format!("{code} {}{method}", reason(code))
        }
        (None, None) => String::from("?"),
    }
}

/// A branch that no other request of this process has.
pub fn branch() -> String {
    format!("z9hG4bK-demo-{}", unique())
}

/// A word that nobody else in this process gets.
pub fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!(
        "{:x}-{:x}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// Bytes as text, for what is shown or sent back.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn value(message: &Message<'_>, name: Name) -> Option<String> {
    message.first(name).map(|header| text(header.value))
}

fn values(message: &Message<'_>, name: Name) -> Vec<String> {
    message
        .values(name)
        .map(|value| text(value.bytes))
        .collect()
}

/// A session that nobody sends media to.
fn session(own: SocketAddr) -> String {
    let ip = own.ip();
    format!(
        "v=0\r\no=demo 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio 40000 RTP/AVP 8\r\na=inactive\r\n"
    )
}

const fn reason(code: u16) -> &'static str {
    match code {
        100 => "Trying",
        180 => "Ringing",
        200 => "OK",
        481 => "Call Does Not Exist",
        486 => "Busy Here",
        487 => "Request Terminated",
        500 => "Server Internal Error",
        503 => "Service Unavailable",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use trunkline_sip::Limits;

    use super::*;

    fn read(bytes: &[u8]) -> Message<'_> {
        let message = Message::parse(bytes, &Limits::default()).unwrap();
        message.check().unwrap();
        message
    }

    #[test]
    fn both_sides_of_a_call_route_through_whoever_recorded_it() {
        let (caller, called) = (([127, 0, 8, 1], 5060).into(), ([127, 0, 7, 1], 5060).into());
        let (invite, _) = invite("+1555", "c1", caller, ([127, 0, 6, 1], 5060).into());
        let recorded =
            text(&invite).replacen("Max-", "Record-Route: <sip:b;lr>, <sip:a;lr>\r\nMax-", 1);
        let invite = read(recorded.as_bytes());
        let answer = response(&invite, 200, "t2", Some(called)).unwrap();
        let answer = read(&answer);

        let mut near = Dialog::of_caller(&answer).unwrap();
        assert_eq!(near.peer(), Some(called));
        let ack = text(&near.ack(caller));
        assert!(
            ack.starts_with("ACK sip:demo@127.0.7.1:5060 SIP/2.0\r\n"),
            "{ack}"
        );
        assert!(
            ack.contains("Route: <sip:a;lr>\r\nRoute: <sip:b;lr>\r\n")
                && ack.contains("CSeq: 1 ACK"),
            "{ack}"
        );
        assert!(text(&near.bye(caller).0).contains("CSeq: 2 BYE"));

        let mut far = Dialog::of_called(&invite, "t2").unwrap();
        let bye = text(&far.bye(called).0);
        assert!(
            bye.starts_with("BYE sip:demo@127.0.8.1:5060 SIP/2.0\r\n"),
            "{bye}"
        );
        assert!(
            bye.contains("Route: <sip:b;lr>\r\nRoute: <sip:a;lr>\r\n"),
            "{bye}"
        );
        assert!(bye.contains(";tag=t2\r\nTo: <sip:+35315550199@"), "{bye}");
    }

    #[test]
    fn a_refused_call_is_acknowledged_in_its_own_transaction() {
        let own = ([127, 0, 8, 1], 5060).into();
        let (invite, branch) = invite("+1555", "c1", own, own);
        let invite = read(&invite);
        let failure = response(&invite, 486, "t2", None).unwrap();
        let ack = text(&ack_of_failure(&invite, &read(&failure)).unwrap());
        assert!(
            ack.contains(&branch) && ack.contains(";tag=t2") && ack.contains("CSeq: 1 ACK"),
            "{ack}"
        );
        assert_eq!(what(&read(&failure)), "486 Busy Here");
    }
}
