//! Broken bytes by the ten thousand, on the stable compiler: the torture messages, damaged at
//! random and the same way each time. The fuzz targets do the same with coverage to guide them.

mod support;

use support::{Dice, corpus, invariants};

/// What damage is made of: bytes that mean something somewhere in SIP.
const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\r",
    b"\n",
    b"\r\n\r\n",
    b"\r\n ",
    b",",
    b";",
    b"\"",
    b"\\",
    b"<",
    b">",
    b":",
    b"@",
    b"?",
    b"=",
    b"/",
    b"[",
    b"]",
    b" ",
    b"\t",
    b"\0",
    b"\xff",
    b"%",
    b"%00",
    b"*",
    b"SIP/2.0",
    b"Via: ",
    b"v:",
    b"l: 0\r\n",
    b"Content-Length: 18446744073709551616\r\n",
    b"Route: ,,\r\n",
    b"2147483648",
    b"-1",
    b"branch=",
    b"sip:",
    b"tel:",
];

fn damage(bytes: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    let at = dice.below(bytes.len() + 1);
    let len = dice.below(40).min(bytes.len() - at);
    match dice.below(7) {
        0 => drop(bytes.drain(at..at + len)),
        1 => drop(bytes.splice(at..at, dice.pick(PIECES).iter().copied())),
        2 => drop(bytes.splice(at..at + len.min(3), dice.pick(PIECES).iter().copied())),
        3 => bytes.truncate(at),
        4 => {
            let again = bytes[at..at + len].to_vec();
            let to = dice.below(bytes.len() + 1);
            drop(bytes.splice(to..to, again));
        }
        5 => {
            let from = dice.below(other.len() + 1);
            let until = other.len().min(from + dice.below(200));
            drop(bytes.splice(at..at + len, other[from..until].iter().copied()));
        }
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = u8::try_from(dice.below(256)).unwrap();
            }
        }
    }
}

#[test]
fn no_damage_makes_the_parser_panic_or_lose_a_byte() {
    let corpus = corpus();
    for seed in 0..20_000 {
        let mut dice = Dice::new(seed);
        let mut bytes = corpus[dice.below(corpus.len())].clone();
        let other = &corpus[dice.below(corpus.len())];
        for _ in 0..1 + dice.below(4) {
            damage(&mut bytes, other, &mut dice);
        }
        let bytes_at_hand = bytes.clone();
        let outcome = std::panic::catch_unwind(|| {
            invariants::message(&bytes);
            invariants::uri(&bytes);
        });
        assert!(
            outcome.is_ok(),
            "seed {seed}: {}",
            bytes_at_hand.escape_ascii()
        );
    }
}

#[test]
fn no_damage_makes_a_stream_depend_on_its_segments() {
    let corpus = corpus();
    for seed in 0..2_000 {
        let mut dice = Dice::new(seed);
        let mut stream = Vec::new();
        for _ in 0..1 + dice.below(4) {
            stream.extend_from_slice(&corpus[dice.below(corpus.len())]);
            stream.extend_from_slice(dice.pick(&[&b""[..], b"\r\n", b"\r\n\r\n"]));
        }
        let other = &corpus[dice.below(corpus.len())];
        damage(&mut stream, other, &mut dice);
        let steps = [1, 1 + dice.below(9), 1 + dice.below(300)];
        let at_hand = stream.clone();
        let outcome = std::panic::catch_unwind(|| invariants::frame(&stream, &steps));
        assert!(
            outcome.is_ok(),
            "seed {seed}, steps {steps:?}: {}",
            at_hand.escape_ascii()
        );
    }
}
