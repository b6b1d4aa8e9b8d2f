//! The one line of a call in the log.
//!
//! It is the only line that traffic writes at the default level, so it is written here by hand, in
//! the form of the others, and many at a time: `tracing` takes twenty times as long for one, and asks
//! the system for each.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    time::Duration,
};

use tracing_subscriber::fmt::{
    format::Writer,
    time::{FormatTime, SystemTime},
};
use trunkline_proxy::event::{AttemptRecord, CallRecord, Outcome};
use trunkline_sip::Transport;

use crate::mask;

/// How log lines look.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum LineFormat {
    /// For people: `INFO call call_id="..." ...`.
    #[default]
    Text,
    /// For machines: one flat object a line.
    Json,
}

/// A line in one of the formats: what stands between its values, in order. Whatever is not a number
/// or a known word stands in quotes.
trait Pieces {
    const BEFORE_STAMP: &'static str;
    const CALL_ID: &'static str;
    const FROM: &'static str;
    const TO: &'static str;
    const SOURCE: &'static str;
    const DIRECTION: &'static str;
    const TRUNK: &'static str;
    const STATUS: &'static str;
    const OWN: &'static str;
    const WHY: &'static str;
    const AFTER_WHY: &'static str;
    const RING: &'static str;
    const MS: &'static str;
    const DRILL: &'static str;
    const ATTEMPTS: &'static str;
    const END: &'static str;
}

struct Text;

impl Pieces for Text {
    const BEFORE_STAMP: &'static str = "";
    const CALL_ID: &'static str = "  INFO call call_id=\"";
    const FROM: &'static str = "\" from=\"";
    const TO: &'static str = "\" to=\"";
    const SOURCE: &'static str = "\" source=";
    const DIRECTION: &'static str = " direction=\"";
    const TRUNK: &'static str = "\" trunk=\"";
    const STATUS: &'static str = "\" status=";
    const OWN: &'static str = " own=";
    const WHY: &'static str = " why=\"";
    const AFTER_WHY: &'static str = "\"";
    const RING: &'static str = " ring_ms=";
    const MS: &'static str = " ms=";
    const DRILL: &'static str = " drill=true";
    const ATTEMPTS: &'static str = " attempts=\"";
    const END: &'static str = "\"\n";
}

struct Json;

impl Pieces for Json {
    const BEFORE_STAMP: &'static str = "{\"timestamp\":\"";
    const CALL_ID: &'static str = "\",\"level\":\"INFO\",\"message\":\"call\",\"call_id\":\"";
    const FROM: &'static str = "\",\"from\":\"";
    const TO: &'static str = "\",\"to\":\"";
    const SOURCE: &'static str = "\",\"source\":\"";
    const DIRECTION: &'static str = "\",\"direction\":\"";
    const TRUNK: &'static str = "\",\"trunk\":\"";
    const STATUS: &'static str = "\",\"status\":";
    const OWN: &'static str = ",\"own\":";
    const WHY: &'static str = ",\"why\":\"";
    const AFTER_WHY: &'static str = "\"";
    const RING: &'static str = ",\"ring_ms\":";
    const MS: &'static str = ",\"ms\":";
    const DRILL: &'static str = ",\"drill\":true";
    const ATTEMPTS: &'static str = ",\"attempts\":\"";
    const END: &'static str = "\"}\n";
}

/// Lines of calls, until they are written.
#[derive(Debug)]
pub struct CallLines {
    format: LineFormat,
    /// The time of all of them: they wait for each other some 50 ms.
    stamp: String,
    lines: Vec<u8>,
}

impl CallLines {
    /// None yet.
    pub fn new(format: LineFormat) -> Self {
        CallLines {
            format,
            stamp: String::new(),
            lines: Vec::new(),
        }
    }

    /// Whether nothing was added since the last time they were written.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Adds the line of a call that has just got its final answer.
    pub fn add(&mut self, call: &CallRecord, trunk: &str) {
        if self.lines.is_empty() {
            self.stamp.clear();
            // Fails only when a String does, and never.
            let _ = SystemTime.format_time(&mut Writer::new(&mut self.stamp));
        }
        let (out, stamp) = (&mut self.lines, &*self.stamp);
        match self.format {
            LineFormat::Text => push_line::<Text>(out, stamp, call, trunk),
            LineFormat::Json => push_line::<Json>(out, stamp, call, trunk),
        }
    }

    /// Writes what was added since the last time. What cannot be written is lost, as other lines
    /// are then: calls go on.
    pub fn flush(&mut self, to: &mut impl io::Write) {
        if !self.lines.is_empty() {
            let _ = to.write_all(&self.lines);
            let _ = to.flush();
            self.lines.clear();
        }
    }
}

fn push_line<P: Pieces>(out: &mut Vec<u8>, stamp: &str, call: &CallRecord, trunk: &str) {
    let [call_id, from, to] = call.names.parts();
    push(out, P::BEFORE_STAMP);
    push(out, stamp);
    push(out, P::CALL_ID);
    push_quoted(out, call_id, Vec::extend_from_slice, mask::printable);
    push(out, P::FROM);
    push_quoted(out, from, mask::push_plain_number, mask::number);
    push(out, P::TO);
    push_quoted(out, to, mask::push_plain_number, mask::number);
    push(out, P::SOURCE);
    push_address(out, call.source.transport, call.source.remote);
    push(out, P::DIRECTION);
    push(out, call.direction.word());
    push(out, P::TRUNK);
    push_quoted(out, trunk.as_bytes(), Vec::extend_from_slice, str::to_owned);
    push(out, P::STATUS);
    push_decimal(out, call.status.into());
    push(out, P::OWN);
    push(out, if call.own { "true" } else { "false" });
    push(out, P::WHY);
    push(out, call.why);
    push(out, P::AFTER_WHY);
    if let Some(ring) = call.first_ring {
        push(out, P::RING);
        push_decimal(out, milliseconds(ring));
    }
    push(out, P::MS);
    push_decimal(out, milliseconds(call.took));
    if call.drill.is_some() {
        push(out, P::DRILL);
    }
    push(out, P::ATTEMPTS);
    push_attempts(out, &call.attempts);
    push(out, P::END);
}

#[inline]
fn push(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// A value that stands in quotes and came from outside, or is a name of a trunk: those may hold letters
/// of any language, but no control characters. `show` has what is not plain.
#[inline]
fn push_quoted(
    out: &mut Vec<u8>,
    value: &[u8],
    push_plain: impl FnOnce(&mut Vec<u8>, &[u8]),
    show: impl FnOnce(&str) -> String,
) {
    if mask::is_plain(value) {
        push_plain(out, value);
    } else {
        push_escaped(out, &show(&String::from_utf8_lossy(value)));
    }
}

/// A quote or a backslash must not end the value early.
fn push_escaped(out: &mut Vec<u8>, value: &str) {
    for byte in value.bytes() {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
}

/// Where it was tried, in order, each with its end.
fn push_attempts(out: &mut Vec<u8>, attempts: &[AttemptRecord]) {
    for (at, attempt) in attempts.iter().enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        push_address(out, attempt.peer.transport, attempt.peer.addr);
        out.push(b'=');
        match attempt.outcome {
            Some(Outcome::Final(code)) => push_decimal(out, code.into()),
            Some(Outcome::Lost(why)) => push(out, why),
            Some(outcome) => push(out, outcome.word()),
            None => push(out, "running"),
        }
    }
}

/// "udp:192.0.2.1:5060", as a `Hop` and a `Peer` show themselves.
fn push_address(out: &mut Vec<u8>, transport: Transport, addr: SocketAddr) {
    push(out, transport.param());
    let SocketAddr::V4(addr) = addr else {
        // Writing to a Vec does not fail.
        let _ = write!(out, ":{addr}");
        return;
    };
    // ":255.255.255.255:" at most, and room for three digits wherever one begins.
    let (mut text, mut at) = ([b':'; 20], 1);
    for (octet, after) in addr.ip().octets().into_iter().zip(*b"...:") {
        let [digits @ .., count] = SHORT[usize::from(octet)];
        text[at..at + 3].copy_from_slice(&digits);
        at += usize::from(count);
        text[at] = after;
        at += 1;
    }
    out.extend_from_slice(&text[..at]);
    push_decimal(out, addr.port().into());
}

fn milliseconds(duration: Duration) -> u64 {
    let whole = duration.as_secs().saturating_mul(1000);
    whole.saturating_add(duration.subsec_millis().into())
}

/// The digits of each number below a thousand, and how many they are.
static SHORT: [[u8; 4]; 1000] = {
    let mut short = [[0; 4]; 1000];
    let mut value = 0;
    while value < 1000 {
        let [a, b, c] = [value / 100, value / 10 % 10, value % 10];
        let [a, b, c] = [b'0' + a as u8, b'0' + b as u8, b'0' + c as u8];
        short[value] = match value {
            0..=9 => [c, 0, 0, 1],
            10..=99 => [b, c, 0, 2],
            _ => [a, b, c, 3],
        };
        value += 1;
    }
    short
};

#[inline]
fn push_decimal(out: &mut Vec<u8>, value: u64) {
    if value < 1000 {
        push_short(out, value as usize);
    } else {
        push_long(out, value);
    }
}

/// Of less than a thousand.
#[inline]
fn push_short(out: &mut Vec<u8>, value: usize) {
    let [digits @ .., count] = SHORT[value];
    // Always three, which is one step, and then less.
    let end = out.len() + usize::from(count);
    out.extend_from_slice(&digits);
    out.truncate(end);
}

fn push_long(out: &mut Vec<u8>, value: u64) {
    let (thousands, rest) = (value / 1000, (value % 1000) as u32);
    if thousands < 1000 {
        push_short(out, thousands as usize);
    } else {
        push_long(out, thousands);
    }
    let digit = |value: u32| b'0' + (value % 10) as u8;
    out.extend_from_slice(&[digit(rest / 100), digit(rest / 10), digit(rest)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for value in (0..2100).chain([65_535, 1_000_000, 1_002_030, u64::MAX]) {
            let mut out = Vec::new();
            push_decimal(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
        }
    }

    #[test]
    fn addresses_and_outcomes_are_written_as_they_show_themselves() {
        for text in [
            "192.0.2.1:5060",
            "0.0.0.0:0",
            "255.255.255.255:65535",
            "10.9.99.100:999",
            "[2001:db8::1]:5060",
        ] {
            let addr: SocketAddr = text.parse().expect("an address");
            let mut out = Vec::new();
            push_address(&mut out, Transport::Tcp, addr);
            assert_eq!(out, format!("tcp:{addr}").as_bytes());
        }
    }

    #[test]
    fn no_value_ends_its_quotes_early() {
        for (value, shown) in [
            ("a\"b", "a\\\"b"),
            ("\\", "\\\\"),
            ("\\\"", "\\\\\\\""),
            ("zürich", "zürich"),
            ("", ""),
        ] {
            let mut out = b"x=\"".to_vec();
            let value = value.as_bytes();
            push_quoted(&mut out, value, Vec::extend_from_slice, str::to_owned);
            assert_eq!(out, format!("x=\"{shown}").as_bytes());
        }
    }
}
