//! One stream listener.

use std::{io, net::SocketAddr, time::Duration};

use mio::net::{TcpListener, TcpStream};
use trunkline_proxy::{ListenerId, Moment};

use crate::poller::{Entrance, Token};

/// Connections accepted before the next socket has its turn.
const ACCEPTS_PER_VISIT: usize = 16;
/// The process has no room for another connection: it is worth asking again after this pause. The
/// system keeps those who wait.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(100);

pub(crate) struct Acceptor {
    socket: TcpListener,
    paused_until: Option<Moment>,
}

impl Acceptor {
    /// Takes over a listening, non-blocking socket.
    pub(crate) fn new(
        id: ListenerId,
        socket: std::net::TcpListener,
        entrance: &Entrance,
    ) -> io::Result<Self> {
        let mut socket = TcpListener::from_std(socket);
        entrance.reading(&mut socket, Token::Listener(id))?;
        Ok(Acceptor {
            socket,
            paused_until: None,
        })
    }

    /// Takes in those who wait; whether there may be more of them.
    pub(crate) fn accept(
        &mut self,
        now: Moment,
        mut take: impl FnMut((TcpStream, SocketAddr)),
    ) -> bool {
        for _ in 0..ACCEPTS_PER_VISIT {
            match self.socket.accept() {
                Ok(accepted) => take(accepted),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if is_full(&error) => {
                    tracing::warn!(%error, "no room for another connection; raise the limit on open files");
                    self.paused_until = Some(now + NO_ROOM_PAUSE);
                    return false;
                }
                // This one gave up while it waited.
                Err(_) => {}
            }
        }
        true
    }

    /// When [`resume`](Self::resume) should be called.
    pub(crate) fn paused_until(&self) -> Option<Moment> {
        self.paused_until
    }

    /// Whether a pause has ended: who waited through it is not told of again.
    pub(crate) fn resume(&mut self, now: Moment) -> bool {
        self.paused_until.take_if(|until| *until <= now).is_some()
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}
