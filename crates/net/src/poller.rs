//! What the loop sleeps on: one epoll set for all sockets of a shard, and a bell for others to
//! ring.
//!
//! Plain readiness without an async runtime: a runtime's wakers, lists and timers were half of what
//! a datagram costs this crate in user space, and its interest in room to write woke the loop after
//! every datagram it sent.
//!
//! Readiness is told once, when it begins (edge-triggered). Whoever leaves something unread must
//! come back by himself.

use std::{io, os::fd::AsRawFd, sync::Arc};

use libc::{EPOLLERR, EPOLLHUP, EPOLLRDHUP, c_int, epoll_event};
use mio::{Interest, Poll, Registry, Waker, event::Source, unix::SourceFd};
use trunkline_proxy::{ConnectionId, ListenerId, Moment};

use crate::{alarm::Alarm, clock::ShardClock, system};

/// Sockets told of in one look.
const EVENTS_PER_LOOK: usize = 256;
/// The bell's number; a connection's never comes so far.
const BELL: mio::Token = mio::Token(usize::MAX);
/// The alarm's.
const ALARM: mio::Token = mio::Token(usize::MAX - 1);
/// Numbers below this are listeners', from here on connections'.
pub(crate) const FIRST_CONNECTION: u64 = 1 << 16;

/// An error is queued, or the other side is closed, or both are.
const TO_THE_END: u32 = (EPOLLERR | EPOLLHUP | EPOLLRDHUP) as u32;

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
            Token::Connection(id) => mio::Token(id.number() as usize),
        }
    }
}

impl From<mio::Token> for Token {
    fn from(token: mio::Token) -> Self {
        match u16::try_from(token.0) {
            Ok(listener) => Token::Listener(ListenerId(listener)),
            Err(_) => Token::Connection(ConnectionId::new(token.0 as u64)),
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
    /// What is in it, and by which number.
    poll: Poll,
    events: Box<[epoll_event]>,
    alarm: Alarm,
    clock: ShardClock,
}

impl Poller {
    pub(crate) fn new(clock: ShardClock) -> io::Result<Self> {
        let (poll, alarm) = (Poll::new()?, Alarm::new(clock)?);
        poll.registry()
            .register(&mut SourceFd(&alarm.fd()), ALARM, Interest::READABLE)?;
        Ok(Poller {
            poll,
            events: vec![epoll_event { events: 0, u64: 0 }; EVENTS_PER_LOOK].into(),
            alarm,
            clock,
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

    /// Sleeps until a socket is ready, the bell rings or this time has come (`NEVER`: it does not;
    /// one that is not after `now`: only looks), and tells of each socket. May wake for nothing.
    /// Whether the bell rang.
    ///
    /// `now` was read since the last look; it need not be exact.
    #[inline]
    pub(crate) fn look(&mut self, now: Moment, until: Moment, mut tell: impl FnMut(Ready)) -> bool {
        let patience = self.patience(now, until);
        // An error is a signal (EINTR); everything else would be a set that is not there.
        let told = system::epoll_wait(self.poll.as_raw_fd(), &mut self.events, patience);
        let told = self.events.get(..told.unwrap_or(0)).unwrap_or_default();
        let mut rang = false;
        for event in told {
            // The number that `mio` was given is what the system hands back.
            let number = event.u64 as usize;
            if number == BELL.0 {
                rang = true;
            } else if number != ALARM.0 {
                tell(Ready {
                    token: mio::Token(number).into(),
                    to_the_end: event.events & TO_THE_END != 0,
                });
            }
        }
        rang
    }

    /// What the sleep itself must be limited to, in milliseconds; -1: to nothing.
    #[inline]
    fn patience(&mut self, now: Moment, until: Moment) -> c_int {
        if until == Moment::NEVER {
            return -1;
        }
        if until <= now {
            return 0;
        }
        match self.alarm.ring_by(now, until) {
            Ok(()) => -1,
            Err(_) => {
                let left = until
                    .saturating_duration_since(self.clock.now())
                    .as_millis();
                c_int::try_from(left + 1).unwrap_or(c_int::MAX)
            }
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
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn each_socket_is_told_by_the_number_it_was_put_in_with() {
        let clock = ShardClock::new(Instant::now());
        let mut poller = Poller::new(clock).expect("an epoll set");
        let (bell, entrance) = (poller.bell().expect("a bell"), poller.entrance());
        let entrance = entrance.expect("the set can be shared");
        let tokens = [
            Token::Listener(ListenerId(7)),
            Token::Connection(ConnectionId::new(3 << 56 | FIRST_CONNECTION)),
        ];
        let bind = |_| mio::net::UdpSocket::bind(([127, 0, 0, 1], 0).into()).expect("loopback");
        let mut sockets: Vec<_> = tokens.iter().map(bind).collect();
        for (socket, token) in sockets.iter_mut().zip(tokens) {
            entrance.reading(socket, token).expect("it can be watched");
        }
        let now = clock.now();
        let mut look = |until| {
            let mut told = Vec::new();
            let rang = poller.look(now, until, |ready| told.push(ready));
            (rang, told)
        };
        assert_eq!(look(now), (false, Vec::new()), "nothing has come");
        for (socket, token) in sockets.iter().zip(tokens) {
            let to = socket.local_addr().expect("bound");
            socket.send_to(b"x", to).expect("sent");
            let ready = Ready {
                token,
                to_the_end: false,
            };
            assert_eq!(look(Moment::NEVER), (false, vec![ready]));
        }
        bell.wake().expect("it rings");
        assert_eq!(look(Moment::NEVER), (true, Vec::new()));
        // The alarm ends a sleep, and nobody is told of it.
        let soon = clock.now() + Duration::from_millis(1);
        assert_eq!(look(soon), (false, Vec::new()));
        assert!(clock.now() >= soon);
    }

    #[test]
    fn a_token_is_what_it_was_made_of() {
        for token in [
            Token::Listener(ListenerId(0)),
            Token::Listener(ListenerId(u16::MAX)),
            Token::Connection(ConnectionId::new(FIRST_CONNECTION)),
            Token::Connection(ConnectionId::new(255 << 56 | FIRST_CONNECTION)),
        ] {
            assert_eq!(Token::from(mio::Token::from(token)), token);
            assert_ne!(mio::Token::from(token), BELL);
            assert_ne!(mio::Token::from(token), ALARM);
        }
    }
}
