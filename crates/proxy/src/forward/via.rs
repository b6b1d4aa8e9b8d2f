//! Our own Via, and what we note in the one below it.

use std::net::SocketAddr;

use trunkline_sip::{Span, Via};

use super::{
    face::Face,
    splice::{Splice, put_ip},
};

/// The Via of one attempt.
#[derive(Copy, Clone, Debug)]
pub struct ViaPlan<'p> {
    /// The listener that it is sent from.
    pub face: &'p Face,
    /// The whole branch, cookie included.
    pub branch: &'p [u8],
    /// Offer to take requests over the same connection (RFC 5923 §4).
    pub alias: bool,
}

impl ViaPlan<'_> {
    /// Writes the whole header line.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.face.via);
        out.extend_from_slice(self.branch);
        out.extend_from_slice(self.end());
    }

    /// Whether a header line is the one that [`write`](Self::write) wrote: a peer that has nothing to
    /// note in it gives it back as it is.
    pub fn is_line(&self, line: &[u8]) -> bool {
        let behind = line.strip_prefix(&*self.face.via);
        behind.and_then(|rest| rest.strip_prefix(self.branch)) == Some(self.end())
    }

    fn end(&self) -> &'static [u8] {
        if self.alias { b";alias\r\n" } else { b"\r\n" }
    }
}

/// Whether a value stands in the line of a header. The top one is not always in the first: that may be empty.
pub(super) fn holds(line: Span, via: &Via<'_>) -> bool {
    (line.0..line.1).contains(&via.at.0)
}

/// Copies up to the end of the top Via value and notes in it where the request really came from:
/// `received` when sent-by is not that address or the client asked for `rport`, and `rport` when
/// it asked (RFC 3261 §18.2.1, RFC 3581 §4).
pub(super) fn note_source(splice: &mut Splice<'_, '_>, via: &Via<'_>, source: SocketAddr) {
    let ip = source.ip().to_canonical();
    if let Some(asked) = via.rport_to_fill() {
        if let Some(end) = asked {
            splice.until(end);
            splice.put(b"=");
            splice.put_number(u64::from(source.port()));
        }
        splice.until(via.at.1);
        if asked.is_some() || via.host().ip() != Some(ip) {
            splice.put(b";received=");
            put_ip(splice.out(), ip);
        }
        return;
    }
    let mut asked = false;
    let differs = via.host().ip().map(|host| host.to_canonical()) != Some(ip);
    let mut noted = false;
    for (name, value) in via.params.iter() {
        let is_received = name.eq_ignore_ascii_case(b"received");
        let is_rport = name.eq_ignore_ascii_case(b"rport");
        asked |= is_rport;
        let Some((_, end)) = splice.span(name).filter(|_| is_received || is_rport) else {
            continue;
        };
        if !value.unwrap_or_default().iter().all(is_plain) {
            // No address and no port. Quotes and brackets pair up over the whole header: with one
            // gone, other commas would separate its values. Answers go by the source all the same.
            noted |= is_received;
            continue;
        }
        splice.until(end);
        if is_rport {
            splice.put(b"=");
            splice.put_number(u64::from(source.port()));
        } else {
            // One that a client wrote itself is no evidence of anything.
            splice.put(b"=");
            put_ip(splice.out(), ip);
            noted = true;
        }
        splice.skip(value_end(splice, end, value, via.at.1));
    }
    splice.until(via.at.1);
    if !noted && (asked || differs) {
        splice.put(b";received=");
        put_ip(splice.out(), ip);
    }
}

/// What addresses and ports are written with.
fn is_plain(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b':' | b'[' | b']' | b'-' | b'%')
}

/// Where a parameter ends whose name ends at `name_end`.
fn value_end(splice: &Splice<'_, '_>, name_end: u32, value: Option<&[u8]>, via_end: u32) -> u32 {
    let Some(value) = value else {
        return name_end;
    };
    if let Some((_, end)) = splice.span(value).filter(|(start, _)| *start > name_end) {
        return end;
    }
    // "rport=" with nothing behind it: up to the next parameter.
    let rest = splice.original((name_end, via_end));
    let len = rest
        .iter()
        .position(|byte| *byte == b';')
        .unwrap_or(rest.len());
    name_end + len as u32
}
