//! One UDP socket: datagrams in, datagrams out, and the errors that come back.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{io::Interest, net::UdpSocket};
use trunkline_proxy::{HopLoss, ListenerId};

use crate::{
    icmp::{self, Report},
    ready::{Bell, Bells, Token},
    stats::NetStats,
};

/// Datagrams longer than this are not looked at as keep-alives.
const KEEP_ALIVE_BYTES_MAX: usize = 4;

/// A socket that takes no more is tried again after this pause. Its readiness cannot be waited
/// for: once an ICMP error has come, epoll calls the socket writable for ever.
const RETRY_PAUSE: Duration = Duration::from_millis(1);

pub(crate) struct Udp {
    socket: Arc<UdpSocket>,
    readable: Bell,
    failed: Bell,
    failure: Pin<Box<dyn Future<Output = ()> + Send>>,
    waiting: VecDeque<(SocketAddr, Box<[u8]>)>,
    waiting_max: usize,
    retry_at: Option<Instant>,
}

impl Udp {
    /// Takes over a bound, non-blocking socket. Needs the runtime's context.
    pub(crate) fn new(
        id: ListenerId,
        socket: std::net::UdpSocket,
        bells: &Bells,
        waiting_max: usize,
    ) -> io::Result<Self> {
        let socket = Arc::new(UdpSocket::from_std(socket)?);
        Ok(Udp {
            readable: bells.bell(Token::Datagrams(id)),
            failed: bells.bell(Token::Errors(id)),
            failure: Box::pin(failure(Arc::clone(&socket))),
            waiting: VecDeque::new(),
            waiting_max,
            retry_at: None,
            socket,
        })
    }

    /// Reads at most `budget` datagrams and hands each to `take`, keep-alives excepted.
    pub(crate) fn receive(
        &mut self,
        buffer: &mut [u8],
        budget: usize,
        stats: &NetStats,
        mut take: impl FnMut(SocketAddr, &[u8]),
    ) {
        let mut cx = self.readable.answer();
        for _ in 0..budget {
            match self.socket.try_recv_from(buffer) {
                Ok((length, from)) => {
                    let bytes = &buffer[..length];
                    stats.datagrams_in.add(1);
                    stats.bytes_in.add(length as u64);
                    if is_keep_alive(bytes) {
                        stats.keep_alives.add(1);
                    } else {
                        take(from, bytes);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.socket.poll_recv_ready(&mut cx).is_pending() {
                        return;
                    }
                }
                // An ICMP error of something sent before. The error queue says whose.
                Err(_) => self.failed.ring(),
            }
        }
        self.readable.ring();
    }

    /// Sends one datagram, or keeps it for a moment when the socket takes no more.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        to: SocketAddr,
        bytes: &[u8],
        stats: &NetStats,
    ) -> Result<(), HopLoss> {
        if self.waiting.is_empty() {
            match self.try_send(to, bytes, stats)? {
                Sent::Yes => return Ok(()),
                Sent::NotNow => self.retry_at = Some(now + RETRY_PAUSE),
            }
        }
        if self.waiting.len() < self.waiting_max {
            self.waiting.push_back((to, bytes.into()));
        } else {
            // Nobody is told: SIP repeats what UDP loses.
            stats.sends_dropped.add(1);
        }
        Ok(())
    }

    /// When [`retry`](Self::retry) should be called.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Whether datagrams wait for room.
    pub(crate) fn is_flushed(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Sends what waited, as far as the socket takes it.
    pub(crate) fn retry(
        &mut self,
        now: Instant,
        stats: &NetStats,
        mut lost: impl FnMut(SocketAddr, HopLoss),
    ) {
        if self.retry_at.is_none_or(|at| now < at) {
            return;
        }
        self.retry_at = None;
        while let Some((to, bytes)) = self.waiting.pop_front() {
            match self.try_send(to, &bytes, stats) {
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

    /// Reads at most `budget` entries of the error queue; tells of each peer that is unreachable.
    pub(crate) fn read_errors(
        &mut self,
        budget: usize,
        stats: &NetStats,
        mut lost: impl FnMut(SocketAddr),
    ) {
        let mut cx = self.failed.answer();
        while self.failure.as_mut().poll(&mut cx).is_ready() {
            self.failure = Box::pin(failure(Arc::clone(&self.socket)));
        }
        for _ in 0..budget {
            let Some(report) = icmp::next_report(&*self.socket) else {
                return;
            };
            stats.icmp_errors.add(1);
            match report {
                Report::Unreachable(peer) => lost(peer),
                Report::Other => {}
            }
        }
        self.failed.ring();
    }

    fn try_send(&self, to: SocketAddr, bytes: &[u8], stats: &NetStats) -> Result<Sent, HopLoss> {
        let mut tries = 0;
        let error = loop {
            let error = match self.send_once(to, bytes, stats) {
                Ok(sent) => return Ok(sent),
                Err(error) => error,
            };
            tries += 1;
            if !is_reported_late(&error) || tries == LATE_ERRORS_MAX {
                break error;
            }
            // Perhaps it is about another peer, to whom we sent before. The queue will tell; the
            // system has forgotten it now, and the next try speaks of the next, or of this one.
            self.failed.ring();
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

    fn send_once(&self, to: SocketAddr, bytes: &[u8], stats: &NetStats) -> io::Result<Sent> {
        match self.socket.try_send_to(bytes, to) {
            Ok(_) => {
                stats.datagrams_out.add(1);
                stats.bytes_out.add(bytes.len() as u64);
                Ok(Sent::Yes)
            }
            Err(error) if is_transient(&error) => Ok(Sent::NotNow),
            Err(error) => Err(error),
        }
    }
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

/// Ends when the error queue has something. Marks it as seen, so that the next one ends only with
/// the next error.
async fn failure(socket: Arc<UdpSocket>) {
    // Fails only when the runtime goes away.
    let _ = socket.ready(Interest::ERROR).await;
    let _ = socket.try_io(Interest::ERROR, || {
        Err::<(), _>(io::ErrorKind::WouldBlock.into())
    });
}

/// What NAT keep-alives of SIP endpoints look like: line ends, zeros, or nothing (RFC 5626 §3.5).
fn is_keep_alive(bytes: &[u8]) -> bool {
    bytes.len() <= KEEP_ALIVE_BYTES_MAX
        && bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

#[cfg(test)]
mod tests {
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

    /// Before the runtime has looked at a new socket once, it counts as full: the same path as a
    /// send buffer that is.
    #[test]
    fn a_full_socket_keeps_some_datagrams_in_order_and_drops_the_rest() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let ready = crate::ready::ReadyList::new();
        let stats = NetStats::default();
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback can be bound");
        peer.set_read_timeout(Some(Duration::from_secs(5)))
            .expect("a timeout can be set");
        let to = peer.local_addr().expect("bound");
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback can be bound");
        socket.set_nonblocking(true).expect("an option can be set");
        let mut udp = {
            let _context = runtime.enter();
            Udp::new(ListenerId(0), socket, &ready.bells(), 3).expect("it is registered")
        };

        let start = Instant::now();
        for number in 0..5 {
            assert_eq!(udp.send(start, to, &[number], &stats), Ok(()));
        }
        assert!(!udp.is_flushed());
        assert_eq!(stats.sends_dropped.get(), 2);
        assert_eq!(udp.retry_at(), Some(start + RETRY_PAUSE));

        runtime.block_on(async { udp.socket.writable().await.expect("it has room") });
        udp.retry(start, &stats, |_, _| {});
        assert!(!udp.is_flushed(), "too early");
        udp.retry(start + RETRY_PAUSE, &stats, |_, _| {});
        assert!(udp.is_flushed());
        assert_eq!(udp.retry_at(), None);
        let mut buffer = [0; 8];
        for number in 0..3 {
            assert_eq!(peer.recv(&mut buffer).expect("a datagram comes"), 1);
            assert_eq!(buffer[0], number);
        }
    }
}
