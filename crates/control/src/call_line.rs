//! The one line of a call in the log.
//!
//! It is the only line that traffic writes at the default level, so it is written here by hand, in
//! the form of the others, and many at a time: `tracing` takes ten times as long for one, and asks
//! the system for each.

use std::{fmt::Write as _, io, net::SocketAddr, time::Duration};

use tracing_subscriber::fmt::{
    format::Writer,
    time::{FormatTime, SystemTime},
};
use trunkline_proxy::event::{CallRecord, Outcome};
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

/// Lines of calls, until they are written.
#[derive(Debug)]
pub struct CallLines {
    format: LineFormat,
    /// The time of all of them: they wait for each other some 50 ms.
    stamp: String,
    lines: String,
}

impl CallLines {
    /// None yet.
    pub fn new(format: LineFormat) -> Self {
        CallLines {
            format,
            stamp: String::new(),
            lines: String::new(),
        }
    }

    /// Adds the line of a call that has just got its final answer.
    pub fn add(&mut self, call: &CallRecord, trunk: &str) {
        if self.lines.is_empty() {
            self.stamp.clear();
            // Fails only when a String does, and never.
            let _ = SystemTime.format_time(&mut Writer::new(&mut self.stamp));
        }
        let (stamp, out) = (&self.stamp, &mut self.lines);
        let mut line = match self.format {
            LineFormat::Text => {
                out.push_str(stamp);
                out.push_str("  INFO call");
                Line { out, json: false }
            }
            LineFormat::Json => {
                out.push_str("{\"timestamp\":\"");
                out.push_str(stamp);
                out.push_str("\",\"level\":\"INFO\",\"message\":\"call\"");
                Line { out, json: true }
            }
        };
        line.text("call_id", |out| {
            mask::push_printable(out, &call.names.call_id())
        });
        line.text("from", |out| mask::push_number(out, &call.names.from()));
        line.text("to", |out| mask::push_number(out, &call.names.to()));
        line.bare("source", |out| {
            push_address(out, call.source.transport, call.source.remote);
        });
        line.text("direction", |out| out.push_str(call.direction.word()));
        line.text("trunk", |out| out.push_str(trunk));
        line.number("status", call.status.into());
        line.word("own", if call.own { "true" } else { "false" });
        line.text("why", |out| out.push_str(call.why));
        if let Some(ring) = call.first_ring {
            line.number("ring_ms", milliseconds(ring));
        }
        line.number("ms", milliseconds(call.took));
        if call.drill.is_some() {
            line.word("drill", "true");
        }
        line.text("attempts", |out| push_attempts(out, call));
        out.push_str(match self.format {
            LineFormat::Text => "\n",
            LineFormat::Json => "}\n",
        });
    }

    /// Writes what was added since the last time. What cannot be written is lost, as other lines
    /// are then: calls go on.
    pub fn flush(&mut self, to: &mut impl io::Write) {
        if !self.lines.is_empty() {
            let _ = to.write_all(self.lines.as_bytes());
            let _ = to.flush();
            self.lines.clear();
        }
    }
}

/// Where it was tried, in order, each with its end.
fn push_attempts(out: &mut String, call: &CallRecord) {
    for (at, attempt) in call.attempts.iter().enumerate() {
        if at > 0 {
            out.push(' ');
        }
        push_address(out, attempt.peer.transport, attempt.peer.addr);
        out.push('=');
        match attempt.outcome {
            Some(Outcome::Final(code)) => push_number(out, code.into()),
            Some(Outcome::Lost(why)) => out.push_str(why),
            Some(outcome) => out.push_str(outcome.word()),
            None => out.push_str("running"),
        }
    }
}

/// "udp:192.0.2.1:5060", as a `Hop` and a `Peer` show themselves.
fn push_address(out: &mut String, transport: Transport, addr: SocketAddr) {
    out.push_str(transport.param());
    let SocketAddr::V4(addr) = addr else {
        // Writing to a String does not fail.
        let _ = write!(out, ":{addr}");
        return;
    };
    for (at, byte) in addr.ip().octets().into_iter().enumerate() {
        out.push(if at == 0 { ':' } else { '.' });
        push_number(out, byte.into());
    }
    out.push(':');
    push_number(out, addr.port().into());
}

fn milliseconds(duration: Duration) -> u64 {
    // No call lasts long enough for the difference.
    duration.as_millis() as u64
}

/// The fields of a line that has begun.
struct Line<'a> {
    out: &'a mut String,
    json: bool,
}

impl Line<'_> {
    fn name(&mut self, name: &str) {
        if self.json {
            self.out.push_str(",\"");
            self.out.push_str(name);
            self.out.push_str("\":");
        } else {
            self.out.push(' ');
            self.out.push_str(name);
            self.out.push('=');
        }
    }

    /// A value in quotes.
    fn text(&mut self, name: &str, push: impl FnOnce(&mut String)) {
        self.name(name);
        self.out.push('"');
        let begin = self.out.len();
        push(self.out);
        escape_from(self.out, begin);
        self.out.push('"');
    }

    /// A value in quotes only where the format wants them: an address.
    fn bare(&mut self, name: &str, push: impl FnOnce(&mut String)) {
        if self.json {
            return self.text(name, push);
        }
        self.name(name);
        push(self.out);
    }

    fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        push_number(self.out, value);
    }

    fn word(&mut self, name: &str, word: &str) {
        self.name(name);
        self.out.push_str(word);
    }
}

/// A quote or backslash that came from outside must not end the value early. Names of trunks may
/// also hold letters of any language; control characters they cannot.
fn escape_from(out: &mut String, begin: usize) {
    let Some(value) = out.get(begin..) else {
        return;
    };
    if memchr::memchr2(b'"', b'\\', value.as_bytes()).is_some() {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
        out.truncate(begin);
        out.push_str(&escaped);
    }
}

fn push_number(out: &mut String, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    // Digits are always text.
    out.push_str(std::str::from_utf8(&digits[at..]).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for value in [0, 7, 10, 65_535, u64::MAX] {
            let mut out = String::new();
            push_number(&mut out, value);
            assert_eq!(out, value.to_string());
        }
    }

    #[test]
    fn addresses_and_outcomes_are_written_as_they_show_themselves() {
        for text in [
            "192.0.2.1:5060",
            "0.0.0.0:0",
            "255.255.255.255:65535",
            "[2001:db8::1]:5060",
        ] {
            let addr = text.parse().expect("an address");
            let mut out = String::new();
            push_address(&mut out, Transport::Tcp, addr);
            assert_eq!(out, format!("tcp:{addr}"));
        }
    }
}
