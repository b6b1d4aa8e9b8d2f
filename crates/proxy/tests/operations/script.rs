//! What one operation does.

use std::time::Duration;

use trunkline_proxy::{
    Answer, AskId, HopLoss, Input, ListenerId,
    event::Peer,
    health::{Evidence, News},
    question::HttpFailure,
    routing::Candidate,
};
use trunkline_sip::Transport;

use super::{
    Script,
    stage::{CARRIERS, PBX, STRANGERS, Said, Stage, US, hop},
};

const METHODS: [&str; 8] = [
    "BYE", "INVITE", "UPDATE", "PRACK", "INFO", "ACK", "CANCEL", "NOTIFY",
];
const OUTSIDE: [&str; 8] = [
    "INVITE",
    "OPTIONS",
    "MESSAGE",
    "REGISTER",
    "SUBSCRIBE",
    "BYE",
    "X-ODD",
    "PRACK",
];
const CODES: [u16; 20] = [
    100, 180, 183, 200, 200, 202, 302, 401, 404, 408, 480, 481, 486, 487, 500, 503, 503, 600, 699,
    299,
];
const CONTACTS: [&str; 7] = [
    "sip:b@10.0.2.1",
    "sip:b@198.51.100.1;transport=tcp",
    "sip:x@192.0.2.66",
    "sip:c@contact.test",
    "sip:us@192.0.2.10",
    "sips:s@203.0.113.9",
    "tel:+1555",
];
const LOSSES: [HopLoss; 6] = [
    HopLoss::Unreachable,
    HopLoss::Refused,
    HopLoss::ConnectTimeout,
    HopLoss::Closed,
    HopLoss::Limit,
    HopLoss::Tls,
];
const BODIES: [&str; 7] = [
    "<Response><Dial><Sip>sip:night@198.51.100.2</Sip><Sip>sip:n@named.test</Sip></Dial></Response>",
    "<Response><Dial timeout=\"2\"><Sip>sip:far@100.64.0.1</Sip></Dial><Reject reason=\"busy\"/></Response>",
    "<Response><Pause length=\"2\"/><Redirect>https://dr.test/again</Redirect></Response>",
    "<Response><Reject/></Response>",
    "<Response><Hangup/></Response>",
    "<Response/>",
    "not <xml",
];

impl Stage {
    /// One operation, whatever it is.
    pub fn operate(&mut self, script: &mut Script<'_>) {
        match script.byte() % 32 {
            0..6 => self.request(script),
            6..15 => self.response(script),
            15..17 => self.again(script),
            17..22 => self.inside(script),
            22 => self.garbage(script),
            23 => self.lost(script),
            24..26 => self.answered(script),
            26 => self.swap(script),
            27 => self.health(script),
            28 if script.rarely(64) => {
                self.draining = true;
                self.put(Input::Drain, None);
            }
            _ => {
                const SPANS: [u64; 8] = [0, 100, 500, 1000, 4000, 6000, 33_000, 190_000];
                let span = Duration::from_millis(SPANS[script.pick(8)]);
                self.wait(if self.is_late() {
                    span.min(Duration::from_secs(1))
                } else {
                    span
                });
            }
        }
    }

    fn somebody(script: &mut Script<'_>) -> &'static str {
        match script.pick(8) {
            0..4 => PBX[script.pick(3)],
            4..7 => CARRIERS[script.pick(4)],
            _ => STRANGERS[script.pick(3)],
        }
    }

    /// A request outside a dialog.
    fn request(&mut self, script: &mut Script<'_>) {
        let from = Self::somebody(script);
        let method = if script.pick(3) > 0 {
            "INVITE"
        } else {
            OUTSIDE[script.pick(8)]
        };
        let uri = script.one(&[
            "sip:+15550100@192.0.2.10",
            "sip:+15550100@192.0.2.10:5060;user=phone",
            "sip:7@one.acme.test",
            "tel:+15550100",
            "sip:192.0.2.10",
            "sips:x@one.other.test",
            "http:nonsense",
            "sip:+4420@192.0.2.10;maddr=192.0.2.66",
        ]);
        let call = script.pick(6);
        let branch = match script.pick(6) {
            0 => String::new(),
            1 => ";branch=old".to_owned(),
            n => format!(";branch=z9hG4bKq{call}{n}{}", script.pick(3)),
        };
        let rport = script.one(&[
            "",
            ";rport",
            ";rport=9",
            ";received=192.0.2.66;maddr=192.0.2.66",
        ]);
        let extra = script.one(&[
            "",
            "",
            "",
            "Route: <sip:192.0.2.10;lr>\r\n",
            "Route: <sip:192.0.2.66;lr>\r\n",
            "Route: <sip:192.0.2.10;lr;r2>, <sip:192.0.2.10;lr;r2>, <sip:198.51.100.2>\r\n",
            "Proxy-Require: x, y\r\n",
            "Record-Route: <sip:192.0.2.66;lr>\r\nX-Odd: ;tl=AAAA\r\n",
            "Via: SIP/2.0/UDP a.test;branch=z9hG4bKa, SIP/2.0/TCP b.test\r\n",
        ]);
        let hops = script.one(&[
            "Max-Forwards: 70\r\n",
            "",
            "Max-Forwards: 0\r\n",
            "Max-Forwards: 1\r\n",
        ]);
        let contact = CONTACTS[script.pick(7)];
        let tag = script.one(&[";tag=f", ";tag=f", ";tag=f", "", ";tag=\"\""]);
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {from}{branch}{rport}\r\n{extra}{hops}From: <sip:a@a.test>{tag}\r\n\
             To: <{uri}>\r\nCall-ID: c{call}\r\nCSeq: {} {method}\r\nContact: <{contact}>\r\nContent-Length: 0\r\n\r\n",
            1 + script.pick(2),
        );
        self.out_with(script, from, text.into_bytes());
    }

    /// Says it, perhaps with a few bytes changed.
    fn out_with(&mut self, script: &mut Script<'_>, from: &str, mut bytes: Vec<u8>) {
        if script.rarely(8) {
            for _ in 0..=script.pick(4) {
                let at = script.pick(bytes.len().max(1));
                match script.pick(4) {
                    0 if at < bytes.len() => bytes[at] = script.byte(),
                    1 => bytes.insert(at, script.byte()),
                    2 if at < bytes.len() => drop(bytes.remove(at)),
                    3 if script.rarely(4) => bytes.truncate(at),
                    _ => {}
                }
            }
        }
        let tcp = script.rarely(3);
        let connection = tcp.then(|| script.pick(3) as u64);
        self.say(hop(from, tcp, connection), &bytes);
    }

    /// A response to something that was sent.
    fn response(&mut self, script: &mut Script<'_>) {
        let requests: Vec<Said> = self
            .sent
            .iter()
            .filter(|said| !said.bytes.starts_with(b"SIP/"))
            .cloned()
            .collect();
        if requests.is_empty() {
            return self.request(script);
        }
        // The newest are the likely ones.
        let back = if script.rarely(4) {
            script.pick(requests.len())
        } else {
            script.pick(requests.len().min(2))
        };
        let to = &requests[requests.len() - 1 - back];
        let text = String::from_utf8_lossy(&to.bytes).into_owned();
        let code = CODES[script.pick(CODES.len())];
        let tag = script.one(&["t1", "t2", ""]);
        let mut answer = format!("SIP/2.0 {code} Some\r\n");
        for line in text
            .split("\r\n")
            .skip(1)
            .take_while(|line| !line.is_empty())
        {
            match line.split(':').next().unwrap_or_default() {
                "To" if !tag.is_empty() && !line.contains(";tag=") => {
                    answer += &format!("{line};tag={tag}\r\n")
                }
                "CSeq" if script.rarely(16) => answer += "CSeq: 1 OPTIONS\r\n",
                "Via" | "From" | "To" | "Call-ID" | "CSeq" | "Record-Route" => {
                    answer += &format!("{line}\r\n")
                }
                _ => {}
            }
        }
        let retry = script.one(&[
            "",
            "",
            "",
            "Retry-After: 0\r\n",
            "Retry-After: 7 (soon);duration=3\r\n",
            "Retry-After: 99999999999999999999\r\n",
            "Record-Route: <sip:192.0.2.66;lr>, <sip:198.51.100.2>\r\n",
        ]);
        let contact = CONTACTS[script.pick(7)];
        answer += &format!("{retry}Contact: <{contact}>\r\nContent-Length: 0\r\n\r\n");
        let from = if script.rarely(8) {
            Self::somebody(script).to_owned()
        } else {
            to.hop.remote.to_string()
        };
        self.out_with(script, &from, answer.into_bytes());
    }

    /// Something that was said before, perhaps by somebody else.
    fn again(&mut self, script: &mut Script<'_>) {
        let loops = script.rarely(6);
        let heap = if loops { &self.sent } else { &self.heard };
        if heap.is_empty() {
            return;
        }
        let said = heap[script.pick(heap.len())].clone();
        let hop = if loops || script.rarely(6) {
            hop(Self::somebody(script), false, None)
        } else {
            said.hop
        };
        self.say(hop, &said.bytes);
    }

    /// A request that belongs, or claims to belong, to a dialog or transaction that was seen.
    fn inside(&mut self, script: &mut Script<'_>) {
        let method = METHODS[script.pick(8)];
        let by_caller = script.pick(2) == 0;
        // The caller knows the responses it got, the callee the INVITEs it got.
        let from_response = |said: &&Said| said.bytes.starts_with(b"SIP/") == by_caller;
        let known: Vec<Said> = self.sent.iter().filter(from_response).cloned().collect();
        if known.is_empty() {
            return self.request(script);
        }
        let said = &known[script.pick(known.len())];
        let text = String::from_utf8_lossy(&said.bytes).into_owned();
        let lines = |name: &str| -> Vec<String> {
            let prefix = format!("{name}: ");
            text.split("\r\n")
                .filter_map(|line| line.strip_prefix(&prefix))
                .map(str::to_owned)
                .collect()
        };
        let first = |name: &str| lines(name).into_iter().next().unwrap_or_default();
        let mut routes = lines("Record-Route");
        if by_caller {
            routes.reverse();
        }
        let routes = match script.pick(6) {
            0 => String::new(),
            1 => "Route: <sip:192.0.2.66;lr>\r\n".to_owned(),
            2 => format!("Route: <sip:{US};lr>\r\nRoute: <sip:192.0.2.66;lr>\r\n"),
            _ => routes
                .iter()
                .map(|route| format!("Route: {route}\r\n"))
                .collect(),
        };
        let (mine, theirs) = if by_caller {
            ("From", "To")
        } else {
            ("To", "From")
        };
        let mut from = first(mine);
        if !by_caller && !from.contains(";tag=") {
            from += script.one(&[";tag=t1", ";tag=t2", ""]);
        }
        let uri = script.one(&[
            "sip:b@198.51.100.1",
            "sip:b@10.0.2.1",
            "sip:x@192.0.2.66",
            "sip:x@contact.test",
            "sip:us@192.0.2.10",
            "sip:a@10.0.1.5",
            "sip:b@203.0.113.9;transport=tcp",
        ]);
        // CANCEL and the ACK to a failure have the Via of the INVITE.
        let via = if by_caller && script.pick(2) == 0 {
            format!("Via: {}\r\n", first("Via"))
        } else {
            format!(
                "Via: SIP/2.0/UDP {};branch=z9hG4bKi{method}{};rport\r\n",
                said.hop.remote,
                script.pick(4)
            )
        };
        let request = format!(
            "{method} {uri} SIP/2.0\r\n{via}{routes}Max-Forwards: 70\r\nFrom: {from}\r\nTo: {}\r\nCall-ID: {}\r\n\
             CSeq: {} {method}\r\nContact: <{}>\r\nContent-Length: 0\r\n\r\n",
            first(theirs),
            first("Call-ID"),
            1 + script.pick(3),
            CONTACTS[script.pick(7)],
        );
        let speaker = if script.rarely(6) {
            Self::somebody(script).to_owned()
        } else {
            said.hop.remote.to_string()
        };
        self.out_with(script, &speaker, request.into_bytes());
    }

    fn garbage(&mut self, script: &mut Script<'_>) {
        let bytes: Vec<u8> = (0..script.pick(64)).map(|_| script.byte()).collect();
        let from = Self::somebody(script);
        self.say(hop(from, false, None), &bytes);
    }

    fn lost(&mut self, script: &mut Script<'_>) {
        let mut lost = match self.sent.len() {
            0 => hop(Self::somebody(script), false, None),
            len => self.sent[len - 1 - script.pick(len.min(4))].hop,
        };
        if script.rarely(2) {
            lost.connection = hop(PBX[0], true, Some(script.pick(3) as u64)).connection;
        }
        let why = LOSSES[script.pick(6)];
        self.put(Input::HopLost { hop: lost, why }, None);
    }

    fn answered(&mut self, script: &mut Script<'_>) {
        if self.asked.is_empty() || script.rarely(8) {
            let ask = AskId(script.pick(20) as u64);
            if self.asked.iter().any(|(known, _)| *known == ask) {
                return;
            }
            return self.answer(ask, Answer::ResolveFailed);
        }
        let (ask, _) = self.asked.swap_remove(script.pick(self.asked.len()));
        let answer = match script.pick(6) {
            0 | 1 => Answer::Http {
                status: [200, 200, 200, 404, 503][script.pick(5)],
                content_type: "text/xml".into(),
                body: BODIES[script.pick(7)].into(),
            },
            2 => Answer::HttpFailed(
                [
                    HttpFailure::Connect,
                    HttpFailure::Timeout,
                    HttpFailure::TooLarge,
                ][script.pick(3)],
            ),
            3 => Answer::ResolveFailed,
            _ => Answer::Resolved {
                candidates: (0..script.pick(3)).map(|_| candidate(script)).collect(),
                ttl: Duration::from_secs(script.pick(1000) as u64),
            },
        };
        self.answer(ask, answer);
    }

    fn health(&mut self, script: &mut Script<'_>) {
        let Candidate {
            transport,
            addr,
            listener,
            ..
        } = candidate(script);
        let evidence = [
            Evidence::Alive,
            Evidence::Silent,
            Evidence::Failed("said another shard"),
            Evidence::Pause(Duration::from_secs(60)),
            Evidence::Trial,
        ][script.pick(5)];
        let peer = Peer {
            transport,
            addr,
            listener,
        };
        self.put(Input::PeerHealth(News { peer, evidence }), None);
    }
}

fn candidate(script: &mut Script<'_>) -> Candidate {
    let tcp = script.pick(2) == 1;
    let addr = [PBX[0], PBX[1], CARRIERS[0], CARRIERS[2]][script.pick(4)]
        .parse()
        .unwrap();
    let transport = if tcp { Transport::Tcp } else { Transport::Udp };
    Candidate {
        priority: 0,
        weight: 0,
        transport,
        addr,
        listener: ListenerId(u16::from(tcp)),
    }
}
