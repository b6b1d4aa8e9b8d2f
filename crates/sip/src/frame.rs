//! Stream bytes to whole messages (RFC 3261 §18.3, RFC 5626 §4.4.1).

use crate::error::{Fault, Malformed};
use crate::lex;
use crate::message::{Limits, content_length};
use crate::name::Name;
use crate::scan::{self, Scanned};

/// What the start of a stream's unread bytes is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Part of a message, or nothing.
    NeedMore,
    /// Line ends between messages.
    KeepAlive {
        /// How many bytes they are.
        consumed: usize,
        /// How many double CRLFs: each is answered with one CRLF.
        pings: usize,
    },
    /// A whole message.
    Message {
        /// Its first byte.
        start: usize,
        /// After its last byte.
        end: usize,
    },
    /// Where the next message starts can no longer be told: answer with what
    /// [`Message::salvage`](crate::Message::salvage) finds, then close.
    Broken(Malformed),
}

/// Cuts one stream into messages. Remembers how far it has looked, so that a byte is looked at
/// once, however small the segments are.
#[derive(Clone, Debug)]
pub struct Framer {
    limits: Limits,
    progress: Progress,
    /// A ping's first CRLF has been consumed already.
    half_ping: bool,
}

#[derive(Clone, Debug)]
enum Progress {
    /// The end of the headers is not in the first `scanned` bytes.
    Headers { scanned: usize },
    /// The message ends at `end`.
    Body { end: usize },
}

impl Framer {
    /// For a new stream.
    pub fn new(limits: Limits) -> Self {
        Framer {
            limits,
            progress: Progress::Headers { scanned: 0 },
            half_ping: false,
        }
    }

    /// Looks at the stream's unconsumed bytes. After [`Frame::KeepAlive`] or [`Frame::Message`] the
    /// caller drops those bytes and calls [`Framer::consumed`].
    pub fn next(&mut self, buffer: &[u8]) -> Frame {
        let scanned = match self.progress {
            Progress::Body { end } => return Self::body(buffer, end),
            Progress::Headers { scanned } => scanned.min(buffer.len()),
        };
        if scanned == 0 {
            let blank = scan::leading_crlf(buffer);
            if blank > 0 {
                return self.keep_alive(blank);
            }
            match buffer {
                [] | [b'\r'] => return Frame::NeedMore,
                [first, ..] if !lex::is_token(&[*first]) => {
                    return Frame::Broken(Malformed::new(Fault::StartLine, 0));
                }
                _ => self.half_ping = false,
            }
        }
        self.headers(buffer, scanned)
    }

    /// The caller has dropped what the last frame covered.
    pub fn consumed(&mut self) {
        self.progress = Progress::Headers { scanned: 0 };
    }

    fn keep_alive(&mut self, blank: usize) -> Frame {
        let line_ends = blank / 2 + usize::from(self.half_ping);
        self.half_ping = line_ends % 2 == 1;
        Frame::KeepAlive {
            consumed: blank,
            pings: line_ends / 2,
        }
    }

    fn headers(&mut self, buffer: &[u8], scanned: usize) -> Frame {
        let Some(headers_end) = end_of_headers(buffer, scanned) else {
            // The last three bytes may be the start of the mark.
            self.progress = Progress::Headers {
                scanned: buffer.len().saturating_sub(3).max(1),
            };
            return self.unfinished(buffer, scanned);
        };
        let length = match body_len(&buffer[..headers_end], self.limits.line_max()) {
            Ok(length) => length,
            Err(error) => return Frame::Broken(error),
        };
        match headers_end
            .checked_add(length)
            .filter(|&end| end <= self.limits.message_max())
        {
            Some(end) => {
                self.progress = Progress::Body { end };
                Self::body(buffer, end)
            }
            None => Frame::Broken(Malformed::new(Fault::TooLarge, headers_end)),
        }
    }

    fn body(buffer: &[u8], end: usize) -> Frame {
        if buffer.len() < end {
            Frame::NeedMore
        } else {
            Frame::Message { start: 0, end }
        }
    }

    /// Whether it is worth waiting for the rest.
    fn unfinished(&self, buffer: &[u8], scanned: usize) -> Frame {
        if buffer.len() >= self.limits.message_max() {
            return Frame::Broken(Malformed::new(Fault::TooLarge, buffer.len()));
        }
        // What has no line end for so long is no SIP; asked once, when the bytes pass the limit.
        let line_max = self.limits.line_max();
        if scanned < line_max
            && buffer.len() >= line_max
            && memchr::memchr(b'\n', &buffer[..line_max]).is_none()
        {
            return Frame::Broken(Malformed::new(Fault::LineTooLong, line_max));
        }
        Frame::NeedMore
    }
}

/// The offset after the empty line, looked for from `from` on.
fn end_of_headers(buffer: &[u8], from: usize) -> Option<usize> {
    memchr::memmem::find(buffer.get(from..)?, b"\r\n\r\n").map(|at| from + at + 4)
}

/// The body's length by the headers, which end with the empty line. Headers that cannot be read for
/// other reasons are passed over: the parser will tell the sender about them, and the stream lives.
fn body_len(head: &[u8], line_max: usize) -> Result<usize, Malformed> {
    let mut at = scan::line_end(head, 0)? + 2;
    if at > line_max {
        // As `unfinished` says of it when it comes in small pieces.
        return Err(Malformed::new(Fault::LineTooLong, line_max));
    }
    let mut length = None;
    loop {
        match scan::next(head, at, usize::MAX) {
            Ok(Scanned::Body(_)) => break,
            Ok(Scanned::Header(line)) => {
                if line.name == Name::ContentLength {
                    length = Some(content_length(
                        &head[at + line.value.0..at + line.value.1],
                        at + line.value.0,
                        length,
                    )?);
                }
                at += line.end;
            }
            Err(Malformed {
                fault: Fault::HeaderName,
                ..
            }) => at = scan::line_end(head, at)? + 2,
            Err(error) => return Err(error),
        }
    }
    length.ok_or(Malformed::new(Fault::Missing(Name::ContentLength), at))
}

#[cfg(test)]
mod tests;
