//! What kinds of byte stream there are. TLS and WebSocket will be further kinds: opened in more
//! steps, read and written like this one.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr},
    time::Duration,
};

use mio::net::TcpStream;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::poller::{Entrance, Token};

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

    /// Puts it into the epoll set.
    pub(crate) fn enter(&mut self, entrance: &Entrance, token: Token) -> io::Result<()> {
        let Io::Tcp(stream) = self;
        entrance.both(stream, token)
    }

    /// Goes on with opening: TCP's handshake, and whatever else comes before the first byte.
    /// `WouldBlock` until it is open.
    pub(crate) fn open(&mut self) -> io::Result<()> {
        let Io::Tcp(stream) = self;
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            Err(error) => Err(error),
        }
    }

    /// Reads some bytes; 0 when the peer has closed, `WouldBlock` when there are none now.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Io::Tcp(stream) = self;
        stream.read(into)
    }

    /// Writes some bytes; `WouldBlock` when the system takes none now.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Io::Tcp(stream) = self;
        stream.write(bytes)
    }

    /// Says that nothing more will be written.
    pub(crate) fn shutdown(&mut self) -> io::Result<()> {
        let Io::Tcp(stream) = self;
        stream.shutdown(Shutdown::Write)
    }
}

/// Begins to open a TCP connection, from the listener's own address unless that is a wildcard:
/// carriers know their customers by address.
pub(crate) fn dial_tcp(from: IpAddr, to: SocketAddr) -> io::Result<Io> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if !from.is_unspecified() {
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    match socket.connect(&to.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    Ok(Io::Tcp(TcpStream::from_std(socket.into())))
}
