//! Somebody whom no server knows, and who sends what he likes.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
};

use super::{message::CallerScript, udp};
use crate::sys;

/// Whom no `allow` lists.
const ADDRESS: [u8; 4] = [127, 0, 0, 66];
/// Datagrams at once; then the calls have their turn.
const AT_ONCE: u64 = 64;

/// His socket, and all he ever says: some of it again and again.
pub struct Stranger {
    socket: UdpSocket,
    all: Vec<Vec<u8>>,
    sent: u64,
}

impl Stranger {
    /// Opposite this server.
    pub fn new(server: SocketAddr) -> io::Result<Stranger> {
        let socket = udp((ADDRESS, 0).into())?;
        socket.connect(server)?;
        let script = CallerScript::new(socket.local_addr()?, server, "udp");
        let all = (0..AT_ONCE).map(|number| {
            let mut bytes = Vec::new();
            match number % 4 {
                // A call, as a scanner places it.
                0 | 1 => script.invite(number, &mut bytes),
                // An answer to nothing, with a branch that nobody gave out.
                2 => {
                    bytes.extend_from_slice(b"SIP/2.0 200 OK\r\n");
                    script.ack(number, b"", b"", &mut bytes);
                }
                // No SIP at all.
                _ => bytes.extend((0..200_u8).map(|at| at.wrapping_mul(167) ^ number as u8)),
            }
            bytes
        });
        Ok(Stranger {
            socket,
            all: all.collect(),
            sent: 0,
        })
    }

    /// Sends what is due of `total` datagrams in all, or as much as goes at once; how many it was.
    pub fn flood(&mut self, total: u64) -> u64 {
        if total < self.sent {
            self.sent = 0;
        }
        let count = (total - self.sent).min(AT_ONCE);
        self.sent += count;
        let due: Vec<&[u8]> = self.all[..count as usize]
            .iter()
            .map(Vec::as_slice)
            .collect();
        // As of many strangers: one by one.
        sys::send(&self.socket, &due, false) as u64
    }
}
