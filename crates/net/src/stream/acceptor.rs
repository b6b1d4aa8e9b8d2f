//! One stream listener.

use std::{
    io,
    net::SocketAddr,
    task::Poll,
    time::{Duration, Instant},
};

use tokio::net::{TcpListener, TcpStream};
use trunkline_proxy::ListenerId;

use crate::ready::{Bell, Bells, Token};

/// Connections accepted before the next socket has its turn.
const ACCEPTS_PER_VISIT: usize = 16;
/// The process has no room for another connection: it is worth asking again after this pause. The
/// system keeps those who wait.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(100);

pub(crate) struct Acceptor {
    socket: TcpListener,
    bell: Bell,
    paused_until: Option<Instant>,
}

impl Acceptor {
    /// Takes over a listening, non-blocking socket. Needs the runtime's context.
    pub(crate) fn new(
        id: ListenerId,
        socket: std::net::TcpListener,
        bells: &Bells,
    ) -> io::Result<Self> {
        Ok(Acceptor {
            socket: TcpListener::from_std(socket)?,
            bell: bells.bell(Token::Accept(id)),
            paused_until: None,
        })
    }

    /// Takes in those who wait.
    pub(crate) fn accept(&mut self, now: Instant, mut take: impl FnMut((TcpStream, SocketAddr))) {
        let mut cx = self.bell.answer();
        for _ in 0..ACCEPTS_PER_VISIT {
            match self.socket.poll_accept(&mut cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(accepted)) => take(accepted),
                Poll::Ready(Err(error)) if is_full(&error) => {
                    tracing::warn!(%error, "no room for another connection; raise the limit on open files");
                    self.paused_until = Some(now + NO_ROOM_PAUSE);
                    return;
                }
                // This one gave up while it waited.
                Poll::Ready(Err(_)) => {}
            }
        }
        self.bell.ring();
    }

    /// When [`resume`](Self::resume) should be called.
    pub(crate) fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Rings again after a pause.
    pub(crate) fn resume(&mut self, now: Instant) {
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
            self.bell.ring();
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}
