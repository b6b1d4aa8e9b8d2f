//! What is counted inside the proxy: a call's messages one by one, and what else may come.

use std::time::Duration;

use trunkline_benches::{
    carrier_hop,
    peers::{Scene, acknowledge, answer},
    routing,
    world::{Sent, World, forwarded},
};
use trunkline_proxy::{
    Hop, Input,
    pressure::{LATE, PATIENCE},
};

/// Calls before the counted ones. One every [`EVERY`], so that by then every table has its room and
/// the first calls' longest timer (C, 180 s) has surfaced.
const WARM_UP: u64 = 200;

/// Calls counted.
pub const COUNTED: u64 = 300;

/// From one call to the next.
const EVERY: Duration = Duration::from_secs(1);

/// One input of a call's life, or beside it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Step {
    Invite,
    Ringing,
    Answer,
    Ack,
    Bye,
    ByeAnswer,
    Deadline,
    Retransmission,
    Failover,
    Options,
    Stranger,
    StrayResponse,
    Refused,
    RefusedAck,
}

/// One figure: the sum of these steps, for one call.
pub struct Row {
    pub name: &'static str,
    pub steps: &'static [Step],
}

/// All of them.
pub const ROWS: &[Row] = &[
    Row {
        name: "call",
        steps: &[
            Step::Invite,
            Step::Ringing,
            Step::Answer,
            Step::Ack,
            Step::Bye,
            Step::ByeAnswer,
            Step::Deadline,
        ],
    },
    row("invite", &[Step::Invite]),
    row("ringing", &[Step::Ringing]),
    row("answer", &[Step::Answer]),
    row("ack", &[Step::Ack]),
    row("bye", &[Step::Bye]),
    row("bye_answer", &[Step::ByeAnswer]),
    row("timers", &[Step::Deadline]),
    row("retransmission", &[Step::Retransmission]),
    row("failover", &[Step::Failover]),
    row("options", &[Step::Options]),
    row("stranger", &[Step::Stranger]),
    row("stray_response", &[Step::StrayResponse]),
    row("refused", &[Step::Refused, Step::RefusedAck]),
    row("refused_ack", &[Step::RefusedAck]),
];

const fn row(name: &'static str, steps: &'static [Step]) -> Row {
    Row { name, steps }
}

/// Plays all calls of one row: run under callgrind, which counts the steps of this row only.
pub fn play(row: &'static Row) {
    let mut play = Play {
        row,
        counts: false,
        scene: Scene::default(),
        world: World::new(routing()),
    };
    for number in 0..WARM_UP + COUNTED {
        play.counts = number >= WARM_UP;
        play.call(number);
    }
}

struct Play {
    row: &'static Row,
    counts: bool,
    scene: Scene,
    world: World,
}

impl Play {
    /// One call from its INVITE to the time of the next.
    fn call(&mut self, number: u64) {
        let next = self.world.now + EVERY;
        let carrier = carrier_hop();
        let invite = self.scene.invite(number);
        let mut sent = self.put(Step::Invite, carrier, &invite);
        if self.plays(Step::Failover) {
            let (target, invite) = forwarded(&sent);
            let contact = target.remote.to_string();
            let busy = answer(&invite, "503 Service Unavailable", &contact);
            sent = self.put(Step::Failover, target, &busy);
        }
        let (target, received) = forwarded(&sent);
        let contact = target.remote.to_string();
        let ringing = answer(&received, "180 Ringing", &contact);
        self.put(Step::Ringing, target, &ringing);
        self.beside(number, &invite);
        let ok = answer(&received, "200 OK", &contact);
        let [(_, ok)] = &self.put(Step::Answer, target, &ok)[..] else {
            panic!("a 200 is forwarded, and nothing else is said");
        };
        self.put(Step::Ack, carrier, &self.scene.within("ACK", 1, ok));
        let sent = self.put(Step::Bye, carrier, &self.scene.within("BYE", 2, ok));
        let (target, bye) = forwarded(&sent);
        let sent = self.put(Step::ByeAnswer, target, &answer(&bye, "200 OK", &contact));
        assert_eq!(sent.len(), 1, "the answer to a BYE is forwarded");
        let counts = self.counts && self.plays(Step::Deadline);
        self.world.pass(counts, next);
    }

    /// What is no part of a call that goes well.
    fn beside(&mut self, number: u64, invite: &[u8]) {
        let carrier = carrier_hop();
        let stranger = Hop {
            remote: ([192, 0, 2, 200], 5060).into(),
            ..carrier
        };
        if self.plays(Step::Retransmission) {
            let sent = self.put(Step::Retransmission, carrier, invite);
            assert_eq!(
                sent.len(),
                1,
                "a copy is answered with the latest provisional"
            );
        }
        if self.plays(Step::Options) {
            let sent = self.put(Step::Options, carrier, &self.scene.options(number));
            assert!(
                sent[0].1.starts_with(b"SIP/2.0 200 "),
                "OPTIONS has its 200"
            );
        }
        if self.plays(Step::Stranger) {
            let sent = self.put(
                Step::Stranger,
                stranger,
                &self.scene.invite(u64::MAX - number),
            );
            assert!(sent.is_empty(), "a stranger hears nothing");
        }
        if self.plays(Step::RefusedAck) {
            self.refuse(number);
        }
        if self.plays(Step::StrayResponse) {
            let stray = format!(
                "SIP/2.0 200 OK\r\n\
                 Via: SIP/2.0/UDP 203.0.113.5:5060;branch=z9hG4bKAAAAAAAAAAAAAAAAAAAAAAAA{number:08}\r\n\
                 From: <sip:a@b>;tag=1\r\nTo: <sip:b@c>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\
                 Content-Length: 0\r\n\r\n"
            );
            let sent = self.put(Step::StrayResponse, carrier, stray.as_bytes());
            assert!(sent.is_empty(), "a stray response goes nowhere");
        }
    }

    /// A call that comes while the shard does not keep up, and the ACK to its refusal.
    fn refuse(&mut self, number: u64) {
        let carrier = carrier_hop();
        for (after, waited) in [(0, LATE), (1, PATIENCE)] {
            self.world.now += PATIENCE * after;
            self.world.handle(false, Input::Backlog(waited));
        }
        let invite = self.scene.invite(u64::MAX / 2 - number);
        let sent = self.put(Step::Refused, carrier, &invite);
        let [(_, refusal)] = &sent[..] else {
            panic!("a call that is refused has one answer");
        };
        assert!(refusal.starts_with(b"SIP/2.0 503 "), "it has its 503");
        let ack = acknowledge(&invite, refusal);
        let sent = self.put(Step::RefusedAck, carrier, &ack);
        assert!(sent.is_empty(), "the ACK ends here");
        self.world.handle(false, Input::Backlog(Duration::ZERO));
    }

    fn plays(&self, step: Step) -> bool {
        self.row.steps.contains(&step)
    }

    fn put(&mut self, step: Step, from: Hop, bytes: &[u8]) -> Sent {
        self.world.put(self.counts && self.plays(step), from, bytes)
    }
}
