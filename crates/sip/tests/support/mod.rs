//! What the tests of this folder share: a corpus, and chance that repeats.

#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::fs;
use std::path::Path;

pub mod invariants;

/// All torture messages, plain INVITEs and a 200 with what a carrier's have.
pub fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/torture");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "sip"))
        .collect();
    paths.sort();
    let mut corpus: Vec<_> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    corpus.push(INVITE.as_bytes().to_vec());
    corpus.push(USUAL.as_bytes().to_vec());
    corpus.push(ANSWER.as_bytes().to_vec());
    corpus
}

pub const INVITE: &str = "INVITE sip:+15551234567@203.0.113.5:5060;user=phone SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa.1;rport,SIP/2.0/TCP [2001:db8::1];branch=z9hG4bKb\r\n\
    Max-Forwards: 66\r\n\
    Record-Route: <sip:192.0.2.1;lr>\r\n\
    Route: <sip:203.0.113.5;lr>, \"b, b\" <sip:203.0.113.6;lr>\r\n\
    From: \"Alice\" <sip:+15557654321@pstn.example.com>;tag=f1\r\n\
    To: <sip:+15551234567@203.0.113.5>\r\n\
    Call-ID: 5b2a1f60@192.0.2.1\r\n\
    CSeq: 1 INVITE\r\n\
    Contact: <sip:+15557654321@192.0.2.1:5060;transport=udp>\r\n\
    Supported: timer,100rel\r\n\
    Content-Type: application/sdp\r\n\
    Content-Length: 7\r\n\
    \r\n\
    v=0\r\ns=";

/// One in which nothing is unusual.
pub const USUAL: &str = "INVITE sip:+15551234567@203.0.113.5;user=phone SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa.1;rport\r\n\
    Via: SIP/2.0/TCP [2001:db8::1];branch=z9hG4bKb\r\n\
    From: \"Alice\" <sip:+15557654321@pstn.example.com>;tag=f1\r\n\
    To: <sip:+15551234567@203.0.113.5>\r\n\
    Call-ID: 5b2a1f60@192.0.2.1\r\n\
    CSeq: 1 INVITE\r\n\
    Max-Forwards: 66\r\n\
    X-Odd: \"kept, as <is\r\n\
    Content-Length: 7\r\n\
    \r\n\
    v=0\r\ns=";

pub const ANSWER: &str = "SIP/2.0 200 OK\r\n\
    v: SIP/2.0/UDP 203.0.113.5:5060;branch=z9hG4bKc;received=203.0.113.5;rport=5060\r\n\
    v: SIP/2.0/UDP 192.0.2.1:5060\r\n  ;branch=z9hG4bKa.1\r\n\
    f: \"Alice\" <sip:+15557654321@pstn.example.com>;tag=f1\r\n\
    t: <sip:+15551234567@203.0.113.5>;tag=t1\r\n\
    i: 5b2a1f60@192.0.2.1\r\n\
    CSeq: 1 INVITE\r\n\
    m: <sip:203.0.113.20>\r\n\
    l: 0\r\n\
    \r\n";

/// Numbers that look random and are the same for the same seed (xorshift64*).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let mixed = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(mixed).unwrap() % end
    }

    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}
