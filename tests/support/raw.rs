//! A peer that sends single messages and reads what comes back, byte for byte.

use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use crate::Lab;

/// What an answer may take that should be there at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// One UDP address that speaks by hand.
#[derive(Debug)]
pub struct Phone {
    socket: UdpSocket,
    server: SocketAddr,
    sent: u32,
}

impl Phone {
    /// A phone at `at` that speaks with `server`.
    ///
    /// # Panics
    /// When the address is taken.
    pub fn new(lab: &Lab, at: &str, server: &str) -> Phone {
        let socket = UdpSocket::bind(lab.addr(at)).expect("the address is free");
        Phone {
            socket,
            server: lab.addr(server),
            sent: 0,
        }
    }

    /// Where it is.
    ///
    /// # Panics
    /// Never: it is bound.
    pub fn addr(&self) -> SocketAddr {
        self.socket.local_addr().expect("bound")
    }

    /// Sends a request outside a dialog, with the headers every request needs.
    ///
    /// # Panics
    /// When the system cannot send.
    pub fn send(&mut self, method: &str, uri: &str) {
        self.sent += 1;
        let (here, number) = (self.addr(), self.sent);
        self.send_bytes(
            format!(
                "{method} {uri} SIP/2.0\r\n\
                 Via: SIP/2.0/UDP {here};branch=z9hG4bK-by-hand-{number}\r\n\
                 Max-Forwards: 70\r\n\
                 From: <sip:hand@{here}>;tag=hand\r\n\
                 To: <{uri}>\r\n\
                 Call-ID: by-hand-{number}@{here}\r\n\
                 CSeq: 1 {method}\r\n\
                 Contact: <sip:hand@{here}>\r\n\
                 Content-Length: 0\r\n\r\n"
            )
            .as_bytes(),
        );
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// When the system cannot send.
    pub fn send_bytes(&self, bytes: &[u8]) {
        self.socket
            .send_to(bytes, self.server)
            .expect("loopback takes a datagram");
    }

    /// The next message that comes, if any comes within `patience`.
    pub fn hear_within(&self, patience: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(patience)).ok()?;
        let mut datagram = [0; 65536];
        let length = self.socket.recv(&mut datagram).ok()?;
        Some(String::from_utf8_lossy(&datagram[..length]).into_owned())
    }

    /// The next final answer.
    ///
    /// # Panics
    /// When none comes.
    pub fn answer(&self) -> String {
        loop {
            let heard = self.hear_within(PATIENCE).expect("an answer");
            if heard.starts_with("SIP/2.0 ") && !heard.starts_with("SIP/2.0 1") {
                return heard;
            }
        }
    }
}
