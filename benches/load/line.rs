//! One socket of the load: a caller's or a callee's, whatever carries the messages.

use std::{
    cmp::Reverse,
    io::{self, ErrorKind, Read, Write},
    iter,
    net::{SocketAddr, TcpStream, UdpSocket},
    os::fd::{AsFd, BorrowedFd},
};

use trunkline_sip::{
    Limits,
    frame::{Frame, Framer},
};

use crate::sys::{self, Inbox};

/// Whose a line is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Role {
    Caller,
    /// Which target.
    Callee(usize),
}

/// A socket that is connected to the server.
pub struct Line {
    pub role: Role,
    carrier: Carrier,
    out: Out,
    /// Datagrams that the system had no room for.
    pub unsent: u64,
}

enum Carrier {
    Udp(UdpSocket, Box<Inbox>),
    Tcp(TcpStream, Unread),
}

/// What a stream has brought and nobody has taken.
struct Unread {
    bytes: Vec<u8>,
    framer: Framer,
    open: bool,
}

/// So many datagrams that leave together are sent in bundles.
const CROWD: usize = 8;

/// Messages that wait to be sent together.
#[derive(Default)]
pub struct Out {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Out {
    /// All of them; in a crowd those of one length side by side, the longest first: a call's 180 is longer than its 200, and
    /// its ACK as long as its BYE, so each call's messages keep their order.
    fn datagrams(&self) -> Vec<&[u8]> {
        let starts = iter::once(&0).chain(&self.ends);
        let each = starts
            .zip(&self.ends)
            .map(|(start, end)| &self.bytes[*start..*end]);
        let mut all: Vec<_> = each.collect();
        if all.len() >= CROWD {
            all.sort_by_key(|datagram| Reverse(datagram.len()));
        }
        all
    }

    /// One more.
    pub fn message(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }
}

impl Line {
    /// Of datagrams.
    pub fn udp(role: Role, socket: UdpSocket) -> Line {
        Line::new(role, Carrier::Udp(socket, Box::default()))
    }

    /// Over a stream.
    pub fn tcp(role: Role, stream: TcpStream) -> io::Result<Line> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let unread = Unread {
            bytes: Vec::new(),
            framer: Framer::new(Limits::default()),
            open: true,
        };
        Ok(Line::new(role, Carrier::Tcp(stream, unread)))
    }

    fn new(role: Role, carrier: Carrier) -> Line {
        Line {
            role,
            carrier,
            out: Out::default(),
            unsent: 0,
        }
    }

    /// To wait for.
    pub fn socket(&self) -> BorrowedFd<'_> {
        match &self.carrier {
            Carrier::Udp(socket, _) => socket.as_fd(),
            Carrier::Tcp(stream, _) => stream.as_fd(),
        }
    }

    /// Our end.
    pub fn local(&self) -> io::Result<SocketAddr> {
        match &self.carrier {
            Carrier::Udp(socket, _) => socket.local_addr(),
            Carrier::Tcp(stream, _) => stream.local_addr(),
        }
    }

    /// False once the other side has closed it.
    pub fn is_open(&self) -> bool {
        match &self.carrier {
            Carrier::Udp(..) => true,
            Carrier::Tcp(_, unread) => unread.open,
        }
    }

    /// Where messages to send go.
    pub fn out(&mut self) -> &mut Out {
        &mut self.out
    }

    /// Is something of it still to be sent?
    pub fn holds_back(&self) -> bool {
        !self.out.bytes.is_empty()
    }

    /// Takes what is there, without waiting, and hands over each message together with where its
    /// answers go. True when there was something.
    pub fn receive(&mut self, mut take: impl FnMut(&[u8], &mut Out)) -> bool {
        match &mut self.carrier {
            Carrier::Udp(socket, inbox) => {
                let count = sys::receive(socket, inbox);
                for datagram in inbox.datagrams() {
                    take(datagram, &mut self.out);
                }
                count > 0
            }
            Carrier::Tcp(stream, unread) => unread.read(stream, |bytes| take(bytes, &mut self.out)),
        }
    }

    /// Sends what waits.
    pub fn flush(&mut self) {
        if self.out.ends.is_empty() && self.out.bytes.is_empty() {
            return;
        }
        match &mut self.carrier {
            Carrier::Udp(socket, _) => {
                let datagrams = self.out.datagrams();
                let taken = sys::send(socket, &datagrams, datagrams.len() >= CROWD);
                self.unsent += (datagrams.len() - taken) as u64;
                self.out.bytes.clear();
            }
            Carrier::Tcp(stream, unread) => match stream.write(&self.out.bytes) {
                Ok(taken) => drop(self.out.bytes.drain(..taken)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => {
                    unread.open = false;
                    self.unsent += self.out.ends.len() as u64;
                    self.out.bytes.clear();
                }
            },
        }
        self.out.ends.clear();
    }
}

impl Unread {
    fn read(&mut self, stream: &mut TcpStream, mut take: impl FnMut(&[u8])) -> bool {
        let mut buffer = [0; 65_536];
        match stream.read(&mut buffer) {
            Ok(0) => self.open = false,
            Ok(length) => self.bytes.extend_from_slice(&buffer[..length]),
            Err(error) => {
                self.open &= error.kind() == ErrorKind::WouldBlock;
                return false;
            }
        }
        let mut used = 0;
        loop {
            match self.framer.next(&self.bytes[used..]) {
                Frame::NeedMore => break,
                Frame::KeepAlive { consumed, .. } => used += consumed,
                Frame::Message { start, end } => {
                    take(&self.bytes[used + start..used + end]);
                    used += end;
                }
                Frame::Broken(_) => {
                    self.open = false;
                    break;
                }
            }
            self.framer.consumed();
        }
        self.bytes.drain(..used);
        self.open
    }
}
