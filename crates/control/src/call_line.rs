//! The one line of a call in the log.
//!
//! It is the only line that traffic writes at the default level, so it is written here by hand, in
//! the form of the others, and many at a time: `tracing` takes twenty times as long for one, and asks
//! the system for each.

use std::{io, time::Duration};

use tracing_subscriber::fmt::{
    format::Writer,
    time::{FormatTime, SystemTime},
};
use trunkline_proxy::event::{AttemptRecord, CallRecord, Direction, Outcome};

use crate::{addresses::Addresses, decimal, mask};

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
    /// Which way, with what stands around it.
    fn direction(direction: Direction) -> &'static str;
    const STATUS: &'static str;
    /// Whether it was our own, with what stands around it.
    fn own(own: bool) -> &'static str;
    /// After the reason, where it rang.
    const RING: &'static str;
    const MS: &'static str;
    /// After the reason, where it did not.
    const NO_RING_MS: &'static str;
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

    fn direction(direction: Direction) -> &'static str {
        match direction {
            Direction::Termination => " direction=\"termination\" trunk=\"",
            Direction::Origination => " direction=\"origination\" trunk=\"",
        }
    }

    const STATUS: &'static str = "\" status=";

    fn own(own: bool) -> &'static str {
        if own {
            " own=true why=\""
        } else {
            " own=false why=\""
        }
    }

    const RING: &'static str = "\" ring_ms=";
    const MS: &'static str = " ms=";
    const NO_RING_MS: &'static str = "\" ms=";
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

    fn direction(direction: Direction) -> &'static str {
        match direction {
            Direction::Termination => "\",\"direction\":\"termination\",\"trunk\":\"",
            Direction::Origination => "\",\"direction\":\"origination\",\"trunk\":\"",
        }
    }

    const STATUS: &'static str = "\",\"status\":";

    fn own(own: bool) -> &'static str {
        if own {
            ",\"own\":true,\"why\":\""
        } else {
            ",\"own\":false,\"why\":\""
        }
    }

    const RING: &'static str = "\",\"ring_ms\":";
    const MS: &'static str = ",\"ms\":";
    const NO_RING_MS: &'static str = "\",\"ms\":";
    const DRILL: &'static str = ",\"drill\":true";
    const ATTEMPTS: &'static str = ",\"attempts\":\"";
    const END: &'static str = "\"}\n";
}

/// What a line has at least room for; most fit.
const LINE_BYTES: usize = 512;

/// Lines of calls, until they are written.
#[derive(Debug)]
pub struct CallLines {
    format: LineFormat,
    /// How all of them begin, with the time: they wait for each other some 50 ms.
    head: String,
    lines: Vec<u8>,
    addresses: Addresses,
}

impl CallLines {
    /// None yet.
    pub fn new(format: LineFormat) -> Self {
        CallLines {
            format,
            head: String::new(),
            lines: Vec::new(),
            addresses: Addresses::default(),
        }
    }

    /// Whether nothing was added since the last time they were written.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Adds the line of a call that has just got its final answer.
    pub fn add(&mut self, call: &CallRecord, trunk: &str) {
        match self.format {
            LineFormat::Text => self.push::<Text>(call, trunk),
            LineFormat::Json => self.push::<Json>(call, trunk),
        }
    }

    #[inline]
    fn push<P: Pieces>(&mut self, call: &CallRecord, trunk: &str) {
        if self.lines.is_empty() {
            self.head.clear();
            self.head.push_str(P::BEFORE_STAMP);
            // Fails only when a String does, and never.
            let _ = SystemTime.format_time(&mut Writer::new(&mut self.head));
            self.head.push_str(P::CALL_ID);
        }
        self.lines.reserve(LINE_BYTES);
        push(&mut self.lines, &self.head);
        push_line::<P>(&mut self.lines, &mut self.addresses, call, trunk);
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

/// What comes after the head.
#[inline]
fn push_line<P: Pieces>(
    out: &mut Vec<u8>,
    addresses: &mut Addresses,
    call: &CallRecord,
    trunk: &str,
) {
    let [call_id, from, to] = call.names.parts();
    push_quoted(out, call_id, Vec::extend_from_slice, mask::printable);
    push(out, P::FROM);
    push_quoted(out, from, mask::push_plain_number, mask::number);
    push(out, P::TO);
    push_quoted(out, to, mask::push_plain_number, mask::number);
    push(out, P::SOURCE);
    addresses.push(out, call.source.transport, call.source.remote);
    push(out, P::direction(call.direction));
    push_quoted(out, trunk.as_bytes(), Vec::extend_from_slice, str::to_owned);
    push(out, P::STATUS);
    decimal::push(out, call.status.into());
    push(out, P::own(call.own));
    if !call.why.is_empty() {
        push(out, call.why);
    }
    if let Some(ring) = call.first_ring {
        push(out, P::RING);
        decimal::push(out, milliseconds(ring));
        push(out, P::MS);
    } else {
        push(out, P::NO_RING_MS);
    }
    decimal::push(out, milliseconds(call.took));
    if call.drill.is_some() {
        push(out, P::DRILL);
    }
    push(out, P::ATTEMPTS);
    push_attempts(out, addresses, &call.attempts);
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
        push_shown(out, value, show);
    }
}

#[cold]
fn push_shown(out: &mut Vec<u8>, value: &[u8], show: impl FnOnce(&str) -> String) {
    push_escaped(out, &show(&String::from_utf8_lossy(value)));
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
#[inline]
fn push_attempts(out: &mut Vec<u8>, addresses: &mut Addresses, attempts: &[AttemptRecord]) {
    for (at, attempt) in attempts.iter().enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        addresses.push(out, attempt.peer.transport, attempt.peer.addr);
        out.push(b'=');
        match attempt.outcome {
            Some(Outcome::Final(code)) => decimal::push(out, code.into()),
            Some(Outcome::Lost(why)) => push(out, why),
            Some(outcome) => push(out, outcome.word()),
            None => push(out, "running"),
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    let whole = duration.as_secs().saturating_mul(1000);
    whole.saturating_add(duration.subsec_millis().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_are_written_as_they_are_called() {
        for way in [Direction::Termination, Direction::Origination] {
            let word = format!("\"{}\"", way.word());
            assert!(Text::direction(way).contains(&word), "{word}");
            assert!(Json::direction(way).contains(&word), "{word}");
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
