//! One stream connection: bytes in and out, cut into messages.
//!
//! Holds no buffer while it is idle: bytes are read into the shard's, and only what is left of an
//! unfinished message stays here.

use std::{io, time::Duration};

use bytes::{Buf, BytesMut};
use trunkline_proxy::{Hop, HopLoss, Moment};
use trunkline_sip::frame::{Frame, Framer};

use super::io::Io;
use crate::{
    limits::NetLimits,
    poller::{Entrance, Token},
    stats::NetStats,
};

/// Reads of one connection before the next socket has its turn.
const READS_PER_VISIT: usize = 4;
/// A queue that was larger than this gives its memory back when it is empty.
const QUEUE_BYTES_KEPT: usize = 4 * 1024;
/// The answer to a keep-alive.
const PONG: &[u8] = b"\r\n";
/// How long a connection that we end may take to read our last words. Without it our close would
/// reset the connection and the system throw those words away.
const FAREWELL: Duration = Duration::from_secs(2);

/// What is to become of a connection after it was served.
#[derive(Debug)]
pub(crate) enum Verdict {
    Keep,
    /// It has more to read, but others are waiting.
    Again,
    /// What came is no SIP: it takes our last words and nothing else.
    Broken,
    /// It is over. `None`: its loss was said before.
    Gone(Option<HopLoss>),
}

enum Phase {
    Opening { until: Moment },
    Open { farewell: Option<Farewell> },
}

/// We end the connection: what is queued is written, then the peer may close.
struct Farewell {
    /// Whether the peer knows that nothing more will come.
    said: bool,
    until: Moment,
}

pub(crate) struct Connection {
    /// As messages from it say where they came from: with its number.
    pub(crate) hop: Hop,
    /// Whether the peer opened it.
    pub(crate) accepted: bool,
    /// When [`deadline`](Self::deadline) will be looked at again.
    pub(crate) check_at: Moment,
    io: Io,
    phase: Phase,
    framer: Framer,
    /// The beginning of a message whose end has not come.
    unfinished: Vec<u8>,
    unfinished_since: Option<Moment>,
    /// The peer has closed its side: reads go on to the end.
    closing: bool,
    queue: BytesMut,
    heard_message: bool,
    opened: Moment,
    used: Moment,
}

impl Connection {
    /// Puts itself into the epoll set.
    pub(crate) fn enter(&mut self, entrance: &Entrance, token: Token) -> io::Result<()> {
        self.io.enter(entrance, token)
    }

    pub(crate) fn accepted(now: Moment, hop: Hop, io: Io, limits: &NetLimits) -> Self {
        io.tune();
        Self::new(now, hop, io, Phase::Open { farewell: None }, true, limits)
    }

    pub(crate) fn dialled(
        now: Moment,
        hop: Hop,
        io: Io,
        within: Duration,
        limits: &NetLimits,
    ) -> Self {
        Self::new(
            now,
            hop,
            io,
            Phase::Opening {
                until: now + within,
            },
            false,
            limits,
        )
    }

    fn new(
        now: Moment,
        hop: Hop,
        io: Io,
        phase: Phase,
        accepted: bool,
        limits: &NetLimits,
    ) -> Self {
        let mut connection = Connection {
            hop,
            accepted,
            check_at: now,
            io,
            phase,
            framer: Framer::new(limits.message),
            unfinished: Vec::new(),
            unfinished_since: None,
            closing: false,
            queue: BytesMut::new(),
            heard_message: false,
            opened: now,
            used: now,
        };
        connection.check_at = connection.deadline(limits);
        connection
    }

    /// When it will have to end unless something happens.
    pub(crate) fn deadline(&self, limits: &NetLimits) -> Moment {
        match &self.phase {
            Phase::Opening { until }
            | Phase::Open {
                farewell: Some(Farewell { until, .. }),
            } => *until,
            Phase::Open { farewell: None } => {
                let idle = self.used + limits.idle;
                // Bytes alone keep nothing alive: a peer that sends one a minute must not hold a place.
                let silent = (self.accepted && !self.heard_message)
                    .then(|| self.opened + limits.first_message);
                let slow = self
                    .unfinished_since
                    .map(|since| since + limits.first_message);
                [silent, slow].into_iter().flatten().fold(idle, Moment::min)
            }
        }
    }

    /// What its end by [`deadline`](Self::deadline) means.
    pub(crate) fn expired(&self) -> Option<HopLoss> {
        match self.phase {
            Phase::Opening { .. } => Some(HopLoss::ConnectTimeout),
            Phase::Open { farewell: None } => Some(HopLoss::Closed),
            Phase::Open { farewell: Some(_) } => None,
        }
    }

    /// The hop to name when it is lost: one that never opened has no number that anyone has seen.
    pub(crate) fn lost_hop(&self) -> Hop {
        match self.phase {
            Phase::Opening { .. } => Hop {
                connection: None,
                ..self.hop
            },
            Phase::Open { .. } => self.hop,
        }
    }

    /// Whether a whole message came by it.
    pub(crate) fn has_spoken(&self) -> bool {
        self.heard_message
    }

    /// Whether it still takes messages to send.
    pub(crate) fn is_writable(&self) -> bool {
        !matches!(
            self.phase,
            Phase::Open {
                farewell: Some(Farewell { said: true, .. }),
                ..
            }
        )
    }

    /// Whether nothing waits to be written.
    pub(crate) fn is_flushed(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes waiting to be written.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Puts a message behind what waits. Goes out with [`flush`](Self::flush).
    pub(crate) fn queue(&mut self, now: Moment, bytes: &[u8]) {
        self.queue.extend_from_slice(bytes);
        self.used = now;
    }

    /// Ends an open one after what is queued: no more is taken from the peer.
    pub(crate) fn close(&mut self, now: Moment) {
        self.unfinished = Vec::new();
        self.unfinished_since = None;
        if let Phase::Open { farewell, .. } = &mut self.phase {
            farewell.get_or_insert(Farewell {
                said: false,
                until: now + FAREWELL,
            });
        }
    }

    /// Does what can be done now: opens, writes, reads, hands whole messages to `take`.
    ///
    /// `to_the_end`: the peer has closed its side, or the connection failed, so a short read is not
    /// the last one.
    pub(crate) fn serve(
        &mut self,
        now: Moment,
        to_the_end: bool,
        buffer: &mut [u8],
        stats: &NetStats,
        take: &mut dyn FnMut(Hop, &[u8]),
    ) -> Verdict {
        self.closing |= to_the_end;
        if let Phase::Opening { .. } = self.phase {
            match self.io.open() {
                Ok(()) => {
                    self.io.tune();
                    self.phase = Phase::Open { farewell: None };
                    self.used = now;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Verdict::Keep,
                Err(error) => return Verdict::Gone(Some(why_not_opened(&error))),
            }
        }
        // Reads first: what the peer said before it closed counts even if it no longer listens.
        let verdict = self.read(now, buffer, stats, take);
        match verdict {
            Verdict::Keep | Verdict::Again => match self.flush(stats) {
                Verdict::Keep => verdict,
                gone => gone,
            },
            Verdict::Broken | Verdict::Gone(_) => verdict,
        }
    }

    /// Writes what is queued, as far as the peer takes it.
    pub(crate) fn flush(&mut self, stats: &NetStats) -> Verdict {
        let Phase::Open { farewell } = &mut self.phase else {
            return Verdict::Keep;
        };
        let loss = farewell.is_none().then_some(HopLoss::Closed);
        while !self.queue.is_empty() {
            match self.io.write(&self.queue) {
                Ok(written) if written > 0 => {
                    stats.bytes_out.add(written as u64);
                    self.queue.advance(written);
                }
                // Told when there is room again.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Verdict::Keep,
                Ok(_) | Err(_) => return Verdict::Gone(loss),
            }
        }
        if self.queue.capacity() > QUEUE_BYTES_KEPT {
            self.queue = BytesMut::new();
        }
        if let Some(farewell) = farewell.as_mut().filter(|farewell| !farewell.said) {
            match self.io.shutdown() {
                Ok(()) => farewell.said = true,
                Err(_) => return Verdict::Gone(None),
            }
        }
        Verdict::Keep
    }

    fn read(
        &mut self,
        now: Moment,
        buffer: &mut [u8],
        stats: &NetStats,
        take: &mut dyn FnMut(Hop, &[u8]),
    ) -> Verdict {
        for _ in 0..READS_PER_VISIT {
            let Phase::Open { farewell } = &mut self.phase else {
                return Verdict::Keep;
            };
            let ending = farewell.is_some();
            match self.io.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Verdict::Keep,
                Ok(0) | Err(_) => {
                    return Verdict::Gone((!ending).then_some(HopLoss::Closed));
                }
                Ok(length) => {
                    stats.bytes_in.add(length as u64);
                    if !ending && !self.cut(now, &buffer[..length], stats, take) {
                        return Verdict::Broken;
                    }
                    // That was all; of what comes from now on we are told. Not so the end, which
                    // may have come with it.
                    if length < buffer.len() && !self.closing {
                        return Verdict::Keep;
                    }
                }
            }
        }
        Verdict::Again
    }

    /// Cuts bytes into messages; false when that is not possible any more.
    fn cut(
        &mut self,
        now: Moment,
        bytes: &[u8],
        stats: &NetStats,
        take: &mut dyn FnMut(Hop, &[u8]),
    ) -> bool {
        let result = if self.unfinished.is_empty() {
            self.frames(now, bytes, stats, take)
                .map(|used| self.unfinished.extend_from_slice(&bytes[used..]))
        } else {
            let mut all = std::mem::take(&mut self.unfinished);
            all.extend_from_slice(bytes);
            self.frames(now, &all, stats, take).map(|used| {
                all.drain(..used);
                self.unfinished = if all.is_empty() { Vec::new() } else { all };
            })
        };
        self.unfinished_since = match self.unfinished_since {
            _ if self.unfinished.is_empty() => None,
            None => Some(now),
            since => since,
        };
        result.is_some()
    }

    /// Hands over every whole message at the front; how many bytes they took, `None` when the rest
    /// cannot be cut.
    fn frames(
        &mut self,
        now: Moment,
        bytes: &[u8],
        stats: &NetStats,
        take: &mut dyn FnMut(Hop, &[u8]),
    ) -> Option<usize> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            match self.framer.next(rest) {
                Frame::NeedMore => return Some(used),
                Frame::KeepAlive { consumed, pings } => {
                    // RFC 5626 §4.4.1: a double CRLF is a ping, a single one its pong. Who reads
                    // none of them gets no more of them.
                    let room = QUEUE_BYTES_KEPT.saturating_sub(self.queue.len()) / PONG.len();
                    (0..pings.min(room)).for_each(|_| self.queue.extend_from_slice(PONG));
                    stats.keep_alives.add(pings as u64);
                    used += consumed;
                }
                Frame::Message { start, end } => {
                    stats.stream_messages_in.add(1);
                    self.heard_message = true;
                    take(self.hop, &rest[start..end]);
                    used += end;
                }
                Frame::Broken(fault) => {
                    // Perhaps enough is there to be told what is wrong with it.
                    tracing::debug!(from = %self.hop, %fault, "stream cannot be read as SIP");
                    take(self.hop, rest);
                    return None;
                }
            }
            // What is left begins a new frame, and began to arrive just now.
            self.framer.consumed();
            self.used = now;
            self.unfinished_since = None;
        }
    }
}

fn why_not_opened(error: &io::Error) -> HopLoss {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => HopLoss::Refused,
        io::ErrorKind::TimedOut => HopLoss::ConnectTimeout,
        _ => HopLoss::Unreachable,
    }
}
