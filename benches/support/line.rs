//! One peer's way to the shard: whole messages, whatever carries them.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use socket2::{Domain, SockRef, Socket, Type};
use trunkline_sip::{
    Limits, Transport,
    frame::{Frame, Framer},
};

/// How often a thread that waits for messages looks whether it should stop.
const LOOK_UP: Duration = Duration::from_millis(100);

/// A socket that is connected to the shard.
pub enum Line {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Line {
    /// From one of loopback's addresses to the shard.
    pub fn to(transport: Transport, from: &str, shard: SocketAddr) -> Line {
        if transport == Transport::Udp {
            let socket = UdpSocket::bind(from).expect("loopback can be bound");
            socket.connect(shard).expect("loopback is reachable");
            socket
                .set_read_timeout(Some(LOOK_UP))
                .expect("a timeout can be set");
            let buffer = SockRef::from(&socket).set_recv_buffer_size(4 << 20);
            buffer.expect("a buffer can be set");
            Line::Udp(socket)
        } else {
            let from: SocketAddr = from.parse().expect("an address");
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            socket.bind(&from.into()).expect("loopback can be bound");
            socket.connect(&shard.into()).expect("the shard listens");
            Line::tcp(socket.into())
        }
    }

    /// Takes over an accepted connection.
    pub fn tcp(stream: TcpStream) -> Line {
        stream.set_nodelay(true).expect("an option can be set");
        stream
            .set_read_timeout(Some(LOOK_UP))
            .expect("a timeout can be set");
        Line::Tcp(stream)
    }

    /// Our side's address.
    pub fn local(&self) -> SocketAddr {
        match self {
            Line::Udp(socket) => socket.local_addr(),
            Line::Tcp(stream) => stream.local_addr(),
        }
        .expect("it is bound")
    }

    /// Sends one message. What the system does not take is lost, as on any line.
    pub fn send(&self, bytes: &[u8]) {
        match self {
            Line::Udp(socket) => drop(socket.send(bytes)),
            Line::Tcp(stream) => drop((&*stream).write_all(bytes)),
        }
    }

    /// Hands over every message until told to stop.
    pub fn listen(&self, stop: &AtomicBool, mut take: impl FnMut(&[u8])) {
        let mut framer = Framer::new(Limits::default());
        let mut unread = Vec::new();
        let mut buffer = vec![0; 65_536];
        while !stop.load(Ordering::Relaxed) {
            let read = match self {
                Line::Udp(socket) => socket.recv(&mut buffer),
                Line::Tcp(stream) => (&*stream).read(&mut buffer),
            };
            let length = match read {
                Ok(0) => return,
                Ok(length) => length,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    continue;
                }
                // The other side was stopped first.
                Err(_) => return,
            };
            if let Line::Udp(_) = self {
                take(&buffer[..length]);
                continue;
            }
            unread.extend_from_slice(&buffer[..length]);
            let mut used = 0;
            while let Frame::Message { start, end } = framer.next(&unread[used..]) {
                take(&unread[used + start..used + end]);
                used += end;
                framer.consumed();
            }
            unread.drain(..used);
        }
    }
}
