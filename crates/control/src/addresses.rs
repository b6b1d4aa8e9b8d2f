//! Peers' addresses as lines of calls show them. Calls come from few and go to few, so what was written
//! for one is kept for the next.

use std::{
    io::Write as _,
    net::{SocketAddr, SocketAddrV4},
};

use trunkline_sip::Transport;

use crate::decimal;

/// Places for addresses; two that share one take turns.
const PLACES: usize = 256;
/// "tcp:255.255.255.255:65535" has 25 letters.
const TEXT_BYTES: usize = 32;

/// Addresses that were written, each at its place.
#[derive(Debug)]
pub(crate) struct Addresses(Box<[Written; PLACES]>);

#[derive(Copy, Clone, Debug)]
struct Written {
    /// Address, port and transport; 0 is nobody's.
    of: u64,
    text: [u8; TEXT_BYTES],
    length: u8,
}

impl Default for Addresses {
    fn default() -> Self {
        let nobody = Written {
            of: 0,
            text: [0; TEXT_BYTES],
            length: 0,
        };
        Addresses(Box::new([nobody; PLACES]))
    }
}

impl Addresses {
    /// "udp:192.0.2.1:5060", as a `Hop` and a `Peer` show themselves, at the end of a line.
    #[inline]
    pub(crate) fn push(&mut self, out: &mut Vec<u8>, transport: Transport, addr: SocketAddr) {
        let SocketAddr::V4(addr) = addr else {
            // Writing to a Vec does not fail.
            let _ = write!(out, "{}:{addr}", transport.param());
            return;
        };
        let [ip, port] = [addr.ip().to_bits(), addr.port().into()];
        let of = u64::from(ip) << 32 | u64::from(port) << 16 | (transport as u64 + 1);
        // The upper bits of a product depend on all others (Fibonacci hashing).
        let place = (ip ^ port.rotate_left(16)).wrapping_mul(0x9e37_79b9) >> 24;
        let written = &mut self.0[place as usize % PLACES];
        if written.of != of {
            *written = write(of, transport, addr);
        }
        // Always so many, which is two steps, and then less.
        let end = out.len() + usize::from(written.length);
        out.extend_from_slice(&written.text);
        out.truncate(end);
    }
}

#[inline(never)]
fn write(of: u64, transport: Transport, addr: SocketAddrV4) -> Written {
    let mut text = Vec::with_capacity(TEXT_BYTES);
    text.extend_from_slice(transport.param().as_bytes());
    for (octet, before) in addr.ip().octets().into_iter().zip(*b":...") {
        text.push(before);
        decimal::push(&mut text, octet.into());
    }
    text.push(b':');
    decimal::push(&mut text, addr.port().into());
    let length = text.len() as u8;
    text.resize(TEXT_BYTES, 0);
    let mut written = Written {
        of,
        text: [0; TEXT_BYTES],
        length,
    };
    written.text.copy_from_slice(&text);
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_they_show_themselves() {
        for text in [
            "192.0.2.1:5060",
            "0.0.0.0:0",
            "255.255.255.255:65535",
            "10.9.99.100:999",
            "[2001:db8::1]:5060",
        ] {
            let addr: SocketAddr = text.parse().expect("an address");
            let mut out = Vec::new();
            Addresses::default().push(&mut out, Transport::Tcp, addr);
            assert_eq!(out, format!("tcp:{addr}").as_bytes());
        }
    }

    #[test]
    fn whoever_shares_a_place_is_not_written_for_another() {
        let mut addresses = Addresses::default();
        // Far more than there are places, each twice, with either transport.
        let all: Vec<SocketAddr> = (0..1000_u16)
            .map(|number| ([192, 0, 2, (number % 7) as u8], 5060 + number / 3).into())
            .chain((0..9).map(|port| (std::net::Ipv6Addr::LOCALHOST, port).into()))
            .collect();
        for addr in all {
            for transport in [Transport::Udp, Transport::Udp, Transport::Wss] {
                let mut out = b"source=".to_vec();
                addresses.push(&mut out, transport, addr);
                let want = format!("source={}:{addr}", transport.param());
                assert_eq!(out, want.as_bytes());
            }
        }
    }
}
