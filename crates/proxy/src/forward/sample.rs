//! What the tests of this folder share.

use std::sync::LazyLock;

use trunkline_sip::{Limits, Message, Transport};

use super::{Face, MaxForwards, NewUri, RequestPlan, Strict, ViaPlan};

static FACE: LazyLock<Face> = LazyLock::new(|| Face::new(Transport::Udp, "198.51.100.1:5060"));

/// A Via over UDP.
pub fn via() -> ViaPlan<'static> {
    ViaPlan {
        face: &FACE,
        branch: b"z9hG4bKours",
        alias: false,
    }
}

/// The line that [`via`] makes.
pub const VIA_LINE: &str = "Via: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bKours\r\n";

/// Nothing but our Via.
pub fn plan() -> RequestPlan<'static> {
    RequestPlan {
        request_uri: NewUri::Kept,
        drop_routes: 0,
        strict: Strict::None,
        received: None,
        via: via(),
        record_route: &[],
        max_forwards: MaxForwards::Keep,
        content_length: false,
        append: &[],
        drop: &[],
    }
}

/// Reads a message that must be well-formed.
pub fn parse(bytes: &[u8]) -> Message<'_> {
    match Message::parse(bytes, &Limits::default()) {
        Ok(message) => message,
        Err(why) => panic!("{why}: {}", bytes.escape_ascii()),
    }
}

/// What a writer wrote, in a form that a failed comparison shows well.
pub fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    lines(&out)
}

/// One line a line, everything that is not ASCII escaped.
pub fn lines(bytes: &[u8]) -> String {
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .fold(String::new(), |text, line| {
            text + &line.escape_ascii().to_string() + "\n"
        })
}
