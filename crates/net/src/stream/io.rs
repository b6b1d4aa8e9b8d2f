//! What kinds of byte stream there are. TLS and WebSocket will be further kinds: opened by a
//! future of their own, read and written like this one.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream},
};

/// Silence of the network before the system asks whether the peer is still there.
const PROBE_AFTER: Duration = Duration::from_secs(60);
/// Between two such questions.
const PROBE_EVERY: Duration = Duration::from_secs(15);
/// Sent bytes that the peer's system has not acknowledged for so long mean that the way to it is
/// gone (a NAT or firewall that forgot the connection): the next call dials anew. The system alone
/// would try for a quarter of an hour, and every call meanwhile would wait in vain.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(5);

/// An open byte stream.
pub(crate) enum Io {
    Tcp(TcpStream),
}

/// A stream that is being opened: TCP's handshake, and whatever else comes before the first byte.
pub(crate) type Opening = Pin<Box<dyn Future<Output = io::Result<Io>> + Send>>;

impl Io {
    /// Sets what every stream of ours has. Best effort: a stream without it still carries calls.
    pub(crate) fn tune(&self) {
        let Io::Tcp(stream) = self;
        let _ = stream.set_nodelay(true);
        let socket = SockRef::from(stream);
        let _ = socket.set_tcp_keepalive(
            &TcpKeepalive::new()
                .with_time(PROBE_AFTER)
                .with_interval(PROBE_EVERY),
        );
        let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX));
    }

    /// Reads some bytes; 0 when the peer has closed.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut into = ReadBuf::new(into);
        let Io::Tcp(stream) = self;
        Pin::new(stream)
            .poll_read(cx, &mut into)
            .map_ok(|()| into.filled().len())
    }

    /// Writes some bytes.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Io::Tcp(stream) = self;
        Pin::new(stream).poll_write(cx, bytes)
    }

    /// Says that nothing more will be written.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Io::Tcp(stream) = self;
        Pin::new(stream).poll_shutdown(cx)
    }
}

/// Opens a TCP connection, from the listener's own address unless that is a wildcard: carriers
/// know their customers by address.
pub(crate) fn dial_tcp(from: IpAddr, to: SocketAddr) -> io::Result<Opening> {
    let socket = if to.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if !from.is_unspecified() {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    Ok(Box::pin(
        async move { socket.connect(to).await.map(Io::Tcp) },
    ))
}
