//! One UDP socket: datagrams in, datagrams out, and the errors that come back.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    os::fd::{AsFd as _, BorrowedFd},
    time::Duration,
};

use mio::net::UdpSocket;
use trunkline_proxy::{HopLoss, ListenerId, Moment, Sending};

use crate::{
    bundle::Bundles,
    icmp::{self, Report},
    mmsg::Inbox,
    poller::{Entrance, Token},
    stats::NetStats,
};

/// Datagrams longer than this are not looked at as keep-alives.
const KEEP_ALIVE_BYTES_MAX: usize = 4;

/// A socket that takes no more is tried again after this pause. Its readiness is not waited for:
/// that would wake us after every datagram.
const RETRY_PAUSE: Duration = Duration::from_millis(1);

/// Entries of the error queue read before the next socket has its turn.
const ERRORS_PER_VISIT: usize = 32;

pub(crate) struct Udp {
    socket: UdpSocket,
    /// The error queue may have something.
    failed: bool,
    bundles: Bundles,
    /// What the socket had no room for.
    waiting: VecDeque<(SocketAddr, Box<[u8]>)>,
    waiting_max: usize,
    retry_at: Option<Moment>,
}

impl Udp {
    /// Takes over a bound, non-blocking socket.
    pub(crate) fn new(
        id: ListenerId,
        socket: std::net::UdpSocket,
        entrance: &Entrance,
        waiting_max: usize,
    ) -> io::Result<Self> {
        let mut socket = UdpSocket::from_std(socket);
        entrance.reading(&mut socket, Token::Listener(id))?;
        Ok(Udp {
            bundles: Bundles::new(&socket),
            socket,
            failed: false,
            waiting: VecDeque::new(),
            waiting_max,
            retry_at: None,
        })
    }

    /// The socket itself.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads about `budget` datagrams and hands each to `take`; of a keep-alive, that there was one: no
    /// bytes. Whether there may be more of them.
    ///
    /// `to_the_end`: errors are queued. Then a short read may end at one of them instead of at the
    /// end of what has come.
    pub(crate) fn receive(
        &mut self,
        inbox: &mut Inbox,
        budget: usize,
        mut to_the_end: bool,
        stats: &NetStats,
        mut take: impl FnMut(SocketAddr, &[u8]),
    ) -> bool {
        self.failed |= to_the_end;
        let mut read = 0;
        while read < budget {
            match inbox.receive(&self.socket) {
                Ok(count) => {
                    // Before anybody can tell that they came.
                    stats.datagrams_in.add(count as u64);
                    let mut bytes_in = 0;
                    for (from, bytes) in inbox.datagrams() {
                        bytes_in += bytes.len() as u64;
                        if is_keep_alive(bytes) {
                            stats.keep_alives.add(1);
                            take(from, &[]);
                        } else {
                            take(from, bytes);
                        }
                    }
                    stats.bytes_in.add(bytes_in);
                    if inbox.emptied() && !to_the_end {
                        return false;
                    }
                    // An empty read counts too: nobody may keep us here for ever.
                    read += count.max(1);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // An ICMP error of something sent before. The error queue says whose.
                Err(_) => {
                    (self.failed, to_the_end) = (true, true);
                    read += 1;
                }
            }
        }
        true
    }

    /// Sends these, what goes to one peer in its order, or keeps them for a moment when the socket takes no
    /// more. Whether all of it left.
    #[inline]
    pub(crate) fn send(
        &mut self,
        now: Moment,
        sends: &mut [Sending],
        arena: &[u8],
        stats: &NetStats,
        lost: impl FnMut(SocketAddr, HopLoss),
    ) -> bool {
        let bundled = self.bundles.gather(sends, |it| it.to.remote);
        let mut sent = Ok(0);
        if self.waiting.is_empty() {
            let datagrams = sends.iter().map(|it| (&it.to.remote, it.within(arena)));
            sent = self.bundles.send(&self.socket, datagrams, bundled);
            if matches!(sent, Ok(sent) if sent == sends.len()) {
                count(sends, stats);
                return true;
            }
        }
        self.send_rest(now, sends, arena, stats, sent, bundled, lost);
        false
    }

    /// As [`send`](Self::send), after the first try.
    #[expect(
        clippy::too_many_arguments,
        reason = "those of `send`, and what it did"
    )]
    #[inline(never)]
    fn send_rest(
        &mut self,
        now: Moment,
        mut rest: &[Sending],
        arena: &[u8],
        stats: &NetStats,
        mut sent: io::Result<usize>,
        bundled: bool,
        mut lost: impl FnMut(SocketAddr, HopLoss),
    ) {
        loop {
            match sent {
                Ok(sent) => {
                    let (gone, left) = rest.split_at(sent.min(rest.len()));
                    count(gone, stats);
                    rest = left;
                }
                Err(_) => {
                    // It is about the first, or about something sent long ago.
                    let (to, bytes) = (rest[0].to.remote, rest[0].within(arena));
                    match self.send_one(to, bytes, stats) {
                        Ok(Sent::Yes) => {}
                        Ok(Sent::NotNow) => self.wait(now, to, bytes, stats),
                        Err(why) => lost(to, why),
                    }
                    rest = &rest[1..];
                }
            }
            if rest.is_empty() || !self.waiting.is_empty() {
                break;
            }
            let datagrams = rest.iter().map(|it| (&it.to.remote, it.within(arena)));
            sent = self.bundles.send(&self.socket, datagrams, bundled);
        }
        for it in rest {
            self.wait(now, it.to.remote, it.within(arena), stats);
        }
    }

    fn wait(&mut self, now: Moment, to: SocketAddr, bytes: &[u8], stats: &NetStats) {
        self.retry_at.get_or_insert(now + RETRY_PAUSE);
        if self.waiting.len() < self.waiting_max {
            self.waiting.push_back((to, bytes.into()));
        } else {
            // Nobody is told: SIP repeats what UDP loses.
            stats.sends_dropped.add(1);
        }
    }

    /// When [`retry`](Self::retry) should be called.
    pub(crate) fn retry_at(&self) -> Option<Moment> {
        self.retry_at
    }

    /// Whether no datagram waits for room.
    pub(crate) fn is_flushed(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Sends what waited, as far as the socket takes it.
    pub(crate) fn retry(
        &mut self,
        now: Moment,
        stats: &NetStats,
        mut lost: impl FnMut(SocketAddr, HopLoss),
    ) {
        if self.retry_at.is_none_or(|at| now < at) {
            return;
        }
        self.retry_at = None;
        while let Some((to, bytes)) = self.waiting.pop_front() {
            match self.send_one(to, &bytes, stats) {
                Ok(Sent::Yes) => {}
                Ok(Sent::NotNow) => {
                    self.waiting.push_front((to, bytes));
                    self.retry_at = Some(now + RETRY_PAUSE);
                    return;
                }
                Err(why) => lost(to, why),
            }
        }
    }

    /// Whether [`read_errors`](Self::read_errors) has something to do.
    pub(crate) fn has_errors(&self) -> bool {
        self.failed
    }

    /// Reads the error queue, as far as the budget goes; tells of each peer that is unreachable.
    pub(crate) fn read_errors(&mut self, stats: &NetStats, mut lost: impl FnMut(SocketAddr)) {
        if !self.failed {
            return;
        }
        for _ in 0..ERRORS_PER_VISIT {
            let Some(report) = icmp::next_report(&self.socket) else {
                self.failed = false;
                return;
            };
            stats.icmp_errors.add(1);
            match report {
                Report::Unreachable(peer) => lost(peer),
                Report::Other => {}
            }
        }
    }

    fn send_one(
        &mut self,
        to: SocketAddr,
        bytes: &[u8],
        stats: &NetStats,
    ) -> Result<Sent, HopLoss> {
        let mut tries = 0;
        let error = loop {
            let error = match self.socket.send_to(bytes, to) {
                Ok(_) => {
                    stats.datagrams_out.add(1);
                    stats.bytes_out.add(bytes.len() as u64);
                    return Ok(Sent::Yes);
                }
                Err(error) if is_transient(&error) => return Ok(Sent::NotNow),
                Err(error) => error,
            };
            tries += 1;
            if !is_reported_late(&error) || tries == LATE_ERRORS_MAX {
                break error;
            }
            // Perhaps it is about another peer, to whom we sent before. The queue will tell; the
            // system has forgotten it now, and the next try speaks of the next, or of this one.
            self.failed = true;
        };
        stats.sends_dropped.add(1);
        if error.raw_os_error() == Some(libc::EMSGSIZE) {
            stats.oversize.add(1);
            return Err(HopLoss::Limit);
        }
        tracing::debug!(%to, %error, "datagram not sent");
        if error.raw_os_error() == Some(libc::ECONNREFUSED) {
            // Only ICMP says so, and never at once: it was others who refused. SIP repeats this.
            return Ok(Sent::Yes);
        }
        Err(HopLoss::Unreachable)
    }
}

/// These have left.
#[inline]
fn count(sends: &[Sending], stats: &NetStats) {
    let bytes = sends.iter().map(|it| it.bytes.len() as u64);
    stats.datagrams_out.add(sends.len() as u64);
    stats.bytes_out.add(bytes.sum());
}

/// Late errors of other peers that one send puts up with.
const LATE_ERRORS_MAX: u32 = 16;

enum Sent {
    Yes,
    NotNow,
}

/// The system has no room now; later it will.
fn is_transient(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
        || matches!(
            error.raw_os_error(),
            Some(libc::ENOBUFS | libc::ENOMEM | libc::EINTR)
        )
}

/// Errors that ICMP brings, and that the system gives to whatever call comes next.
fn is_reported_late(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNREFUSED
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::EACCES
                | libc::EMSGSIZE
        )
    )
}

/// What NAT keep-alives of SIP endpoints look like: line ends, zeros, or nothing (RFC 5626 §3.5).
#[inline]
fn is_keep_alive(bytes: &[u8]) -> bool {
    bytes.len() <= KEEP_ALIVE_BYTES_MAX
        && bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use trunkline_proxy::Hop;
    use trunkline_sip::Transport;

    use super::*;

    #[test]
    fn only_short_runs_of_line_ends_and_zeros_are_keep_alives() {
        for (bytes, expected) in [
            (&b""[..], true),
            (b"\r\n", true),
            (b"\r\n\r\n", true),
            (b"\0\0\0\0", true),
            (b"\0", true),
            (b"\r\n\r\n\r\n", false),
            (b"BYE", false),
            (b"\r\nB", false),
        ] {
            assert_eq!(is_keep_alive(bytes), expected, "{bytes:?}");
        }
    }

    fn udp(waiting_max: usize) -> (Udp, std::net::UdpSocket, SocketAddr) {
        let bind = || std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback can be bound");
        let (socket, peer) = (bind(), bind());
        socket.set_nonblocking(true).expect("an option can be set");
        peer.set_read_timeout(Some(Duration::from_secs(5)))
            .expect("a timeout can be set");
        let clock = crate::clock::ShardClock::new(std::time::Instant::now());
        let entrance = crate::poller::Poller::new(clock)
            .and_then(|poller| poller.entrance())
            .expect("an epoll set");
        let udp = Udp::new(ListenerId(0), socket, &entrance, waiting_max).expect("registered");
        let to = peer.local_addr().expect("bound");
        (udp, peer, to)
    }

    fn sending(remote: SocketAddr, bytes: Range<u32>) -> Sending {
        let to = Hop {
            transport: Transport::Udp,
            listener: ListenerId(0),
            remote,
            connection: None,
        };
        Sending {
            to,
            bytes,
            connect_within: Duration::ZERO,
        }
    }

    /// Sends datagrams of one byte each.
    fn send(udp: &mut Udp, now: Moment, to: SocketAddr, bytes: &[u8], stats: &NetStats) {
        let mut sends: Vec<_> = (0..bytes.len() as u32)
            .map(|at| sending(to, at..at + 1))
            .collect();
        udp.send(now, &mut sends, bytes, stats, |to, why| {
            panic!("{to}: {why:?}")
        });
    }

    #[test]
    fn datagrams_behind_some_that_wait_keep_their_order_and_those_beyond_the_limit_are_dropped() {
        let (mut udp, peer, to) = udp(3);
        let stats = NetStats::default();
        let start = Moment::EPOCH;
        // As if the socket had taken no more just now.
        udp.wait(start, to, &[0], &stats);
        send(&mut udp, start, to, &[1, 2, 3, 4], &stats);
        assert!(!udp.is_flushed());
        assert_eq!(stats.sends_dropped.get(), 2);
        assert_eq!(udp.retry_at(), Some(start + RETRY_PAUSE));

        let nothing_lost = |to: SocketAddr, why| panic!("{to}: {why:?}");
        udp.retry(start, &stats, nothing_lost);
        assert!(!udp.is_flushed(), "too early");
        udp.retry(start + RETRY_PAUSE, &stats, nothing_lost);
        assert!(udp.is_flushed());
        assert_eq!(udp.retry_at(), None);
        send(&mut udp, start, to, &[5], &stats);
        let mut buffer = [0; 8];
        for number in [0, 1, 2, 5] {
            assert_eq!(peer.recv(&mut buffer).expect("a datagram comes"), 1);
            assert_eq!(buffer[0], number);
        }
        assert_eq!(stats.datagrams_out.get(), 4);
    }

    #[test]
    fn one_datagram_that_cannot_be_sent_costs_those_around_it_nothing() {
        let (mut udp, peer, to) = udp(3);
        let stats = NetStats::default();
        let arena = vec![b'x'; 70_000];
        // More than one system call sends, with a datagram too large in the middle.
        let mut sends: Vec<_> = (0..100)
            .map(|at| sending(to, 0..if at == 40 { 70_000 } else { at + 1 }))
            .collect();
        let mut lost = Vec::new();
        udp.send(Moment::EPOCH, &mut sends, &arena, &stats, |to, why| {
            lost.push((to, why))
        });
        assert_eq!(lost, [(to, HopLoss::Limit)]);
        let mut buffer = [0; 128];
        for at in (0..100).filter(|at| *at != 40) {
            assert_eq!(peer.recv(&mut buffer).expect("a datagram comes"), at + 1);
        }
        assert_eq!(stats.datagrams_out.get(), 99);
    }
}
