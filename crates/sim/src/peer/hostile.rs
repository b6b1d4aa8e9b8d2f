//! A peer that wants to do harm: bytes that are no SIP, responses nobody asked for, requests that
//! are broken, replayed or aimed at others. It learns from what it hears.

use std::time::Duration;

use super::{Key, Turn, Want};
use crate::{
    text::Text,
    ua::{Identity, Leg, respond},
};

/// See the module's text.
pub struct Hostile {
    identity: Identity,
    /// Until when it goes on.
    until: Duration,
    heard: Vec<Vec<u8>>,
    said: u32,
}

impl Hostile {
    /// One that goes on until then.
    pub const fn new(identity: Identity, until: Duration) -> Self {
        Hostile {
            identity,
            until,
            heard: Vec::new(),
            said: 0,
        }
    }

    /// Starts at once.
    pub fn begin(&self, turn: &mut Turn<'_>) {
        turn.wake(Duration::from_millis(10), Key::Mischief);
    }

    /// Remembers what it can abuse.
    pub fn hear(&mut self, bytes: &[u8], _: &mut Turn<'_>) {
        if self.heard.len() < 16 {
            self.heard.push(bytes.to_vec());
        }
    }

    /// The next prank.
    pub fn wake(&mut self, _: Key, turn: &mut Turn<'_>) {
        self.said += 1;
        let bytes = self.prank(turn);
        turn.wants.push(Want::Send(bytes));
        if turn.now < self.until {
            let pause = turn.chance.between(20, 800);
            turn.wake(Duration::from_millis(pause), Key::Mischief);
        }
    }

    fn prank(&self, turn: &mut Turn<'_>) -> Vec<u8> {
        let call_id = format!("evil-{}-{}", self.identity.name, self.said);
        let mut leg = Leg::caller(&self.identity, &call_id, "sip:+15550666@203.0.113.10");
        match turn.chance.below(9) {
            0 => (0..turn.chance.between(1, 900))
                .map(|_| turn.chance.below(256) as u8)
                .collect(),
            1 => damaged(leg.request("INVITE", None).write(), turn),
            2 => {
                // An answer to a question that was never asked.
                let mut answer = respond(&leg.request("INVITE", None), 200);
                answer.set(
                    "Via",
                    "SIP/2.0/UDP 203.0.113.10:5060;branch=z9hG4bKAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                );
                answer.write()
            }
            3 => leg.request("ACK", None).write(),
            4 => {
                let mut bye = leg.request("BYE", Some("sip:victim@198.51.100.77"));
                bye.set("To", "<sip:x@y.test>;tag=1");
                bye.push(
                    "Route",
                    "<sip:203.0.113.10:5060;lr;tl=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA>",
                );
                bye.write()
            }
            5 => {
                let mut cancel = leg.request("CANCEL", None);
                cancel.set("CSeq", "1 CANCEL");
                cancel.write()
            }
            6 => match turn.chance.pick(&self.heard) {
                Some(heard) => self.twisted(heard, turn),
                None => b"\r\n\r\n".to_vec(),
            },
            7 => match turn.chance.pick(&self.heard).cloned() {
                Some(heard) => damaged(heard, turn),
                None => Vec::new(),
            },
            _ => {
                let mut huge = leg.request("OPTIONS", None);
                for nth in 0..turn.chance.between(1, 400) {
                    huge.push("X-Filler", format!("{nth};{}", "a".repeat(40)));
                }
                huge.write()
            }
        }
    }

    /// What it heard, sent back or answered in a way that makes no sense.
    fn twisted(&self, heard: &[u8], turn: &mut Turn<'_>) -> Vec<u8> {
        let Some(text) = Text::read(heard) else {
            return heard.to_vec();
        };
        if text.method().is_none() || turn.chance.percent(20) {
            return heard.to_vec();
        }
        let code = turn
            .chance
            .pick(&[100, 180, 200, 299, 302, 481, 503, 606, 699])
            .copied()
            .unwrap_or(200);
        let mut answer = respond(&text, code);
        if turn.chance.percent(30) {
            answer.remove("To");
        }
        if turn.chance.percent(30) {
            answer.push("Retry-After", "99999999999999999999");
        }
        if turn.chance.percent(30) {
            answer.set("CSeq", "4294967296 INVITE");
        }
        answer.write()
    }
}

/// A few bytes changed, lost or doubled.
fn damaged(mut bytes: Vec<u8>, turn: &mut Turn<'_>) -> Vec<u8> {
    for _ in 0..turn.chance.between(1, 6) {
        if bytes.is_empty() {
            break;
        }
        let at = turn.chance.below(bytes.len() as u64) as usize;
        match turn.chance.below(4) {
            0 => bytes[at] = turn.chance.below(256) as u8,
            1 => {
                bytes.remove(at);
            }
            2 => bytes.insert(at, bytes[at]),
            _ => bytes.truncate(at),
        }
    }
    bytes
}
