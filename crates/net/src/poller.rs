//! What the loop sleeps on: one epoll set for all sockets of a shard, and a bell for others to
//! ring.
//!
//! Plain readiness without an async runtime: a runtime's wakers, lists and timers were half of what
//! a datagram costs this crate in user space, and its interest in room to write woke the loop after
//! every datagram it sent.
//!
//! Readiness is told once, when it begins (edge-triggered). Whoever leaves something unread must
//! come back by himself.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Registry, Waker, event::Source, unix::SourceFd};
use trunkline_proxy::{ConnectionId, ListenerId};

use crate::{alarm::Alarm, clock};

/// Sockets told of in one look.
const EVENTS_PER_LOOK: usize = 256;
/// The bell's number; a connection's never comes so far.
const BELL: mio::Token = mio::Token(usize::MAX);
/// The alarm's.
const ALARM: mio::Token = mio::Token(usize::MAX - 1);
/// Numbers below this are listeners', from here on connections'.
pub(crate) const FIRST_CONNECTION: u64 = 1 << 16;

/// What has something to do.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Token {
    /// A UDP socket can be read or has errors, or a stream listener has connections to accept.
    Listener(ListenerId),
    /// A connection opened, can be read or can be written.
    Connection(ConnectionId),
}

impl From<Token> for mio::Token {
    fn from(token: Token) -> Self {
        match token {
            Token::Listener(id) => mio::Token(id.0.into()),
            Token::Connection(id) => mio::Token(id.0 as usize),
        }
    }
}

impl From<mio::Token> for Token {
    fn from(token: mio::Token) -> Self {
        match u16::try_from(token.0) {
            Ok(listener) => Token::Listener(ListenerId(listener)),
            Err(_) => Token::Connection(ConnectionId(token.0 as u64)),
        }
    }
}

/// One socket that is ready.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ready {
    pub(crate) token: Token,
    /// An error is queued, or the peer has closed its side: a read that brings less than it could
    /// have is not yet the end.
    pub(crate) to_the_end: bool,
}

/// The epoll set.
pub(crate) struct Poller {
    poll: Poll,
    events: Events,
    alarm: Alarm,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let (poll, alarm) = (Poll::new()?, Alarm::new()?);
        poll.registry()
            .register(&mut SourceFd(&alarm.fd()), ALARM, Interest::READABLE)?;
        Ok(Poller {
            poll,
            events: Events::with_capacity(EVENTS_PER_LOOK),
            alarm,
        })
    }

    /// Wakes the loop from any thread; costs a system call.
    pub(crate) fn bell(&self) -> io::Result<Arc<Waker>> {
        Waker::new(self.poll.registry(), BELL).map(Arc::new)
    }

    /// Where sockets are put in.
    pub(crate) fn entrance(&self) -> io::Result<Entrance> {
        self.poll.registry().try_clone().map(Entrance)
    }

    /// Sleeps until a socket is ready, the bell rings or this time has come (`None`: it never does;
    /// one that is not after `now`: only looks), and tells of each socket. May wake for nothing.
    /// Whether the bell rang.
    ///
    /// `now` was read since the last look; it need not be exact.
    pub(crate) fn look(
        &mut self,
        now: Instant,
        until: Option<Instant>,
        mut tell: impl FnMut(Ready),
    ) -> bool {
        let patience = until.and_then(|until| self.patience(now, until));
        if self.poll.poll(&mut self.events, patience).is_err() {
            // A signal (EINTR); everything else would be a set that is not there.
            return false;
        }
        let mut rang = false;
        for event in &self.events {
            match event.token() {
                BELL => {
                    rang = true;
                    continue;
                }
                ALARM => continue,
                _ => {}
            }
            tell(Ready {
                token: event.token().into(),
                to_the_end: event.is_error() || event.is_read_closed() || event.is_write_closed(),
            });
        }
        rang
    }

    /// What the sleep itself must be limited to.
    fn patience(&mut self, now: Instant, until: Instant) -> Option<Duration> {
        if until <= now {
            return Some(Duration::ZERO);
        }
        match self.alarm.ring_by(now, until) {
            Ok(()) => None,
            Err(_) => Some(until.saturating_duration_since(clock::now())),
        }
    }
}

/// The way into the epoll set. Sockets leave it when they are closed.
pub(crate) struct Entrance(Registry);

impl Entrance {
    /// Tells of bytes, connections or errors to read. Not of room to write: a UDP socket would wake
    /// us with that after every datagram.
    pub(crate) fn reading(&self, socket: &mut impl Source, token: Token) -> io::Result<()> {
        self.0.register(socket, token.into(), Interest::READABLE)
    }

    /// Tells of room to write as well.
    pub(crate) fn both(&self, socket: &mut impl Source, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.0.register(socket, token.into(), interest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_it_was_made_of() {
        for token in [
            Token::Listener(ListenerId(0)),
            Token::Listener(ListenerId(u16::MAX)),
            Token::Connection(ConnectionId(FIRST_CONNECTION)),
            Token::Connection(ConnectionId(255 << 56 | FIRST_CONNECTION)),
        ] {
            assert_eq!(Token::from(mio::Token::from(token)), token);
            assert_ne!(mio::Token::from(token), BELL);
            assert_ne!(mio::Token::from(token), ALARM);
        }
    }
}
