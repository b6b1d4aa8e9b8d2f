//! Places calls by the clock and ends each as soon as it is answered.

use std::{
    fmt::Write,
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use trunkline_sip::{Limits, Message, Method, Name};

use super::line::Line;

/// The caller's side of all calls of one rate.
pub struct Caller {
    line: Line,
    own: SocketAddr,
    began: Instant,
    /// When each INVITE left, in nanoseconds from `began`; 0 before.
    placed: Vec<AtomicU64>,
    /// Calls whose BYE was answered.
    pub done: AtomicU64,
}

impl Caller {
    /// A caller for this many calls.
    pub fn new(line: Line, calls: usize) -> Self {
        Caller {
            own: line.local(),
            line,
            began: Instant::now(),
            placed: (0..calls).map(|_| AtomicU64::new(0)).collect(),
            done: AtomicU64::new(0),
        }
    }

    /// Sends one INVITE of about 1 kB.
    pub fn place(&self, call: usize) {
        let body = "v=0\r\no=root 1234567 1234567 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                    m=audio 16384 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
                    a=ptime:20\r\n";
        let own = self.own;
        let invite = format!(
            "INVITE sip:+15551234567@carrier.example SIP/2.0\r\n{}\
             Max-Forwards: 70\r\n\
             Contact: <sip:caller@{own};transport={}>\r\n\
             Allow: INVITE,ACK,CANCEL,OPTIONS,BYE,UPDATE,INFO,REFER,NOTIFY\r\n\
             Supported: timer,100rel,replaces\r\n\
             Session-Expires: 1800;refresher=uac\r\n\
             User-Agent: Example Gateway 1.2.3\r\n\
             P-Asserted-Identity: \"Alice Example\" <sip:+15557654321@pbx.example>\r\n\
             X-Account: 0123456789abcdef0123456789abcdef\r\n\
             Content-Type: application/sdp\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.head(call, 1, "INVITE", ""),
            self.transport(),
            body.len()
        );
        self.placed[call].store(self.began.elapsed().as_nanos() as u64, Ordering::Relaxed);
        self.line.send(invite.as_bytes());
    }

    /// Follows all calls until told to stop; the delays from INVITE to 180, in microseconds.
    pub fn listen(&self, stop: &AtomicBool) -> Vec<u32> {
        let mut delays = Vec::with_capacity(self.placed.len());
        let mut rang = vec![false; self.placed.len()];
        self.line.listen(stop, |bytes| {
            let now = self.began.elapsed().as_nanos() as u64;
            let Ok(response) = Message::parse(bytes, &Limits::default()) else {
                return;
            };
            let Some(call) = call_of(&response).filter(|call| *call < rang.len()) else {
                return;
            };
            let Ok(cseq) = response.cseq() else { return };
            match (response.code(), cseq.method) {
                (Some(180), Method::Invite) if !rang[call] => {
                    rang[call] = true;
                    let placed = self.placed[call].load(Ordering::Relaxed);
                    delays.push((now.saturating_sub(placed) / 1_000) as u32);
                }
                (Some(200), Method::Invite) => self.hang_up(call, &response),
                (Some(200), Method::Bye) => {
                    self.done.fetch_add(1, Ordering::Relaxed);
                }
                _ => {}
            }
        });
        delays
    }

    /// ACK, and BYE right behind it.
    fn hang_up(&self, call: usize, answer: &Message<'_>) {
        let mut routes: Vec<_> = answer.values(Name::RecordRoute).collect();
        routes.reverse();
        let contact = answer.contact().map_or_else(String::new, |contact| {
            String::from_utf8_lossy(contact.uri).into()
        });
        for (number, method) in [(1, "ACK"), (2, "BYE")] {
            let mut request = format!(
                "{method} {contact} SIP/2.0\r\n{}",
                self.head(call, number, method, ";tag=callee")
            );
            for route in &routes {
                let _ = write!(
                    request,
                    "Route: {}\r\n",
                    String::from_utf8_lossy(route.bytes)
                );
            }
            request.push_str("Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n");
            self.line.send(request.as_bytes());
        }
    }

    /// The headers that every request of a call has.
    fn head(&self, call: usize, number: u32, method: &str, to_tag: &str) -> String {
        let own = self.own;
        format!(
            "Via: SIP/2.0/{} {own};branch=z9hG4bK{method}{call};rport\r\n\
             From: \"Alice Example\" <sip:+15557654321@pbx.example>;tag=caller{call}\r\n\
             To: <sip:+15551234567@carrier.example>{to_tag}\r\n\
             Call-ID: {call}@{own}\r\n\
             CSeq: {number} {method}\r\n",
            self.transport().to_ascii_uppercase()
        )
    }

    fn transport(&self) -> &'static str {
        match self.line {
            Line::Udp(_) => "udp",
            Line::Tcp(_) => "tcp",
        }
    }
}

/// The number in front of the "@" of the Call-ID.
fn call_of(message: &Message<'_>) -> Option<usize> {
    let call_id = message.call_id().ok()?;
    let digits = call_id.split(|byte| *byte == b'@').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// What one rate came to.
pub struct Score {
    /// Calls placed.
    pub placed: u64,
    /// Calls that went all the way to the answer to their BYE.
    pub done: u64,
    /// How long placing them took.
    pub took: Duration,
    /// Processor time of the shard's thread.
    pub shard: Duration,
    delays: Vec<u32>,
}

impl Score {
    /// Sorts the delays.
    pub fn new(
        placed: u64,
        done: u64,
        took: Duration,
        shard: Duration,
        mut delays: Vec<u32>,
    ) -> Self {
        delays.sort_unstable();
        Score {
            placed,
            done,
            took,
            shard,
            delays,
        }
    }

    /// A percentile of the delays from INVITE to 180, in microseconds.
    pub fn percentile(&self, percent: usize) -> u32 {
        let at = self.delays.len() * percent / 100;
        self.delays
            .get(at)
            .or(self.delays.last())
            .copied()
            .unwrap_or_default()
    }
}
