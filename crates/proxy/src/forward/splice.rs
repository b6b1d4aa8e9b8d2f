//! Copying with changes on the way.

use std::{
    io::Write,
    net::{IpAddr, SocketAddrV4},
};

use trunkline_sip::{Header, Message};

/// Copies a message into the arena front to back; whoever drives it names where it stops to leave
/// something out or to put something in. Offsets must not go back.
pub(super) struct Splice<'a, 'o> {
    message: &'o Message<'a>,
    bytes: &'a [u8],
    at: usize,
    out: &'o mut Vec<u8>,
}

/// What forwarding adds at most in the usual case: a Via, two Record-Routes with tokens, a new
/// Request-URI. Reserved at once, so that the arena grows once or not at all.
const USUAL_GROWTH: usize = 768;

impl<'a, 'o> Splice<'a, 'o> {
    pub fn new(message: &'o Message<'a>, out: &'o mut Vec<u8>) -> Self {
        let bytes = message.bytes();
        out.reserve(bytes.len() + USUAL_GROWTH);
        Splice {
            message,
            bytes,
            at: 0,
            out,
        }
    }

    /// Copies everything before `offset`.
    #[inline]
    pub fn until(&mut self, offset: u32) {
        let end = offset as usize;
        debug_assert!(self.at <= end, "changes are made in order");
        self.out
            .extend_from_slice(self.bytes.get(self.at..end).unwrap_or_default());
        self.at = end.max(self.at);
    }

    /// Leaves out everything before `offset` that is not copied yet.
    #[inline]
    pub fn skip(&mut self, offset: u32) {
        self.at = self.at.max(offset as usize);
    }

    /// Writes something new.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Writes a small number in digits.
    #[inline]
    pub fn put_octet(&mut self, number: u8) {
        put_octet(self.out, number);
    }

    /// Writes a port in digits.
    #[inline]
    pub fn put_port(&mut self, number: u16) {
        put_port(self.out, number);
    }

    /// Writes a number in digits.
    pub fn put_number(&mut self, number: u64) {
        put_number(self.out, number);
    }

    /// The arena, for what writes whole lines.
    pub fn out(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// The original bytes of a span.
    pub fn original(&self, at: (u32, u32)) -> &'a [u8] {
        self.bytes
            .get(at.0 as usize..at.1 as usize)
            .unwrap_or_default()
    }

    /// Where a part of the message stands in it.
    pub fn span(&self, part: &[u8]) -> Option<(u32, u32)> {
        self.message.span_of(part)
    }

    /// Copies the rest.
    pub fn finish(mut self) {
        self.until(self.bytes.len() as u32);
    }
}

/// Writes several texts one after the other. Formatting would cost more than all the rest of
/// forwarding.
pub(super) fn put_all(out: &mut Vec<u8>, texts: &[&str]) {
    texts
        .iter()
        .for_each(|text| out.extend_from_slice(text.as_bytes()));
}

/// Writes a number in digits.
pub(super) fn put_number(out: &mut Vec<u8>, number: u64) {
    match (u8::try_from(number), u16::try_from(number)) {
        (Ok(small), _) => put_octet(out, small),
        (_, Ok(small)) => put_port(out, small),
        // Writing to a Vec does not fail.
        _ => drop(write!(out, "{number}")),
    }
}

/// As [`put_number`], for what is counted in bytes.
#[inline(always)]
pub(super) fn put_octet(out: &mut Vec<u8>, number: u8) {
    let (digits, count) = OCTETS[usize::from(number)];
    put_some(out, digits, usize::from(count));
}

/// As [`put_number`], for what is small now and then only.
#[inline(always)]
pub(super) fn put_port(out: &mut Vec<u8>, number: u16) {
    let (digits, len) = digits_of_port(number);
    put_some(out, digits, len);
}

/// The digits of a number, and how many they are.
#[inline(always)]
fn digits_of_port(number: u16) -> ([u8; 8], usize) {
    let number = usize::from(number);
    let (hundreds, rest) = (number / 100, number % 100);
    let mut text = [0; 8];
    if hundreds == 0 {
        let (digits, count) = OCTETS[rest];
        text[..3].copy_from_slice(&digits);
        return (text, count.into());
    }
    let (digits, count) = HUNDREDS[hundreds];
    let count = usize::from(count);
    text[..3].copy_from_slice(&digits);
    text[count..count + 2].copy_from_slice(&PAIRS[rest]);
    (text, count + 2)
}

/// Writes what a Via that ends in `;rport` waits for: port, and address as another parameter.
pub(super) fn put_source(out: &mut Vec<u8>, source: SocketAddrV4) {
    const RECEIVED: &[u8; 10] = b";received=";
    let mut text = [b'='; 1 + 8 + RECEIVED.len() + 4 * 4];
    let (digits, count) = digits_of_port(source.port());
    text[1..9].copy_from_slice(&digits);
    let mut len = 1 + count;
    text[len..len + RECEIVED.len()].copy_from_slice(RECEIVED);
    len += RECEIVED.len();
    for octet in source.ip().octets() {
        let (digits, count) = DOTTED[usize::from(octet)];
        text[len..len + 4].copy_from_slice(&digits);
        len += usize::from(count);
    }
    put_some(out, text, len - 1);
}

/// Writes the first `len` of a few bytes: all of them, which takes no loop, and then back.
#[inline(always)]
fn put_some<const N: usize>(out: &mut Vec<u8>, text: [u8; N], len: usize) {
    let start = out.len();
    out.extend_from_slice(&text);
    out.truncate(start + len);
}

/// Writes an address as a Via has it: IPv6 without brackets (RFC 5118 §4.5).
pub(super) fn put_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(v4) => {
            let mut text = [0; 4 * 4];
            let mut len = 0;
            for octet in v4.octets() {
                let (digits, count) = DOTTED[usize::from(octet)];
                text[len..len + 4].copy_from_slice(&digits);
                len += usize::from(count);
            }
            put_some(out, text, len - 1);
        }
        // Its short form is not worth writing twice, and writing to a Vec does not fail.
        IpAddr::V6(v6) => {
            let _ = write!(out, "{v6}");
        }
    }
}

/// An octet's digits, and how many they are.
static OCTETS: [([u8; 3], u8); 256] = digits();

/// The same, of the hundreds of a port.
static HUNDREDS: [([u8; 3], u8); 656] = digits();

/// The two digits of each number below a hundred.
static PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut value = 0;
    while value < pairs.len() {
        pairs[value] = [digit(value / 10), digit(value)];
        value += 1;
    }
    pairs
};

/// The same as [`OCTETS`], with a dot behind them.
static DOTTED: [([u8; 4], u8); 256] = {
    let mut table = [([0; 4], 0); 256];
    let mut octet = 0;
    while octet < table.len() {
        let ([a, b, c], count) = OCTETS[octet];
        let mut text = [a, b, c, 0];
        text[count as usize] = b'.';
        table[octet] = (text, count + 1);
        octet += 1;
    }
    table
};

const fn digit(value: usize) -> u8 {
    b'0' + (value % 10) as u8
}

const fn digits<const N: usize>() -> [([u8; 3], u8); N] {
    let mut table = [([0; 3], 0); N];
    let mut value = 0;
    while value < N {
        table[value] = match value {
            0..10 => ([digit(value), 0, 0], 1),
            10..100 => ([digit(value / 10), digit(value), 0], 2),
            _ => ([digit(value / 100), digit(value / 10), digit(value)], 3),
        };
        value += 1;
    }
    table
}

/// Writes one header of a message as it stands there, folds included. The line end is ours: that
/// of a message which is not well-formed may be missing.
#[inline]
pub(super) fn put_header(out: &mut Vec<u8>, message: &Message<'_>, header: &Header<'_>) {
    let bytes = message.bytes();
    let (start, end) = (header.line.0 as usize, header.value_at.1 as usize);
    if bytes.get(end..header.line.1 as usize) == Some(b"\r\n") {
        return out.extend_from_slice(bytes.get(start..end + 2).unwrap_or_default());
    }
    out.extend_from_slice(bytes.get(start..end).unwrap_or_default());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_addresses_are_written_as_the_library_would() {
        for number in [
            0,
            1,
            9,
            10,
            70,
            99,
            100,
            255,
            256,
            999,
            1000,
            1001,
            9999,
            10_000,
            12_345,
            65535,
            65536,
            u64::from(u32::MAX),
            u64::MAX,
        ] {
            let mut out = Vec::new();
            put_number(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
        for source in ["0.0.0.0:0", "192.0.2.1:5060", "255.255.255.255:65535"] {
            let source: SocketAddrV4 = source.parse().expect("an address");
            let mut out = Vec::new();
            put_source(&mut out, source);
            let expected = format!("={};received={}", source.port(), source.ip());
            assert_eq!(out, expected.as_bytes());
        }
        for ip in [
            "0.0.0.0",
            "10.0.0.1",
            "1.22.100.99",
            "255.255.255.255",
            "::",
            "2001:db8::7",
            "fe80::1",
        ] {
            let mut out = Vec::new();
            put_ip(&mut out, ip.parse().expect("an address"));
            assert_eq!(out, ip.as_bytes());
        }
    }
}
