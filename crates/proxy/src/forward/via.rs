//! Our own Via, and what we note in the one below it.

use std::net::{IpAddr, SocketAddr, SocketAddrV4};

use trunkline_sip::{Span, Via};

use crate::branch::TEXT_BYTES as BRANCH_BYTES;

use super::{
    face::Face,
    splice::{Splice, put_ip, put_source},
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
        if self.alias {
            out.extend_from_slice(b";alias");
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// A Via line that stands as [`ViaPlan`] writes it: a peer that has nothing to note in it gives it back
/// letter by letter.
#[derive(Copy, Clone, Debug)]
pub struct OwnVia<'a> {
    /// What stands where we write our branch: whether it is one, others must see.
    pub branch: &'a [u8; BRANCH_BYTES],
    /// The whole line.
    pub line: Span,
}

impl<'a> OwnVia<'a> {
    /// Reads the line that starts there, if it is one of a listener with this face.
    #[inline]
    pub fn read(message: &'a [u8], start: usize, face: &Face) -> Option<Self> {
        let rest = message.get(start..)?.strip_prefix(&*face.via)?;
        let (branch, rest) = rest.split_first_chunk()?;
        let end = start + face.via.len() + BRANCH_BYTES + b"\r\n".len();
        let is_over = matches!(rest, [b'\r', b'\n', next, ..] if !matches!(next, b' ' | b'\t'));
        is_over.then_some(OwnVia {
            branch,
            line: (start as u32, end as u32),
        })
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
        if let (Some(end), IpAddr::V4(v4)) = (asked, ip)
            && end == via.at.1
        {
            // Nearly all who ask do so at the end.
            splice.until(end);
            return put_source(splice.out(), SocketAddrV4::new(v4, source.port()));
        }
        if let Some(end) = asked {
            splice.until(end);
            splice.put(b"=");
            splice.put_port(source.port());
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
            splice.put_port(source.port());
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
