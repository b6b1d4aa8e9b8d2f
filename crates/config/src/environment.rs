//! The few things outside the file that its meaning depends on.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::Path,
};

/// What reading a configuration asks of the machine. Tests answer it from memory.
pub trait Environment {
    /// The bytes of a file the configuration names: a secret, a preset.
    ///
    /// # Errors
    /// As reading does; shown to the user.
    fn read_file(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The address the machine would speak from to the world, IPv6 or IPv4.
    fn local_address(&self, ipv6: bool) -> Option<IpAddr>;

    /// The machine's name.
    fn host_name(&self) -> Option<String>;
}

/// The machine we run on.
#[derive(Copy, Clone, Debug, Default)]
pub struct System;

/// Largest file that is read: a secret or a preset has no reason to be longer.
const FILE_BYTES_MAX: u64 = 256 * 1024;

impl Environment for System {
    fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        use io::Read as _;
        let mut bytes = Vec::new();
        std::fs::File::open(path)?
            .take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(io::Error::other(format!(
                "longer than {FILE_BYTES_MAX} bytes"
            )));
        }
        Ok(bytes)
    }

    fn local_address(&self, ipv6: bool) -> Option<IpAddr> {
        // Connecting a datagram socket sends nothing: it only asks the routing table which of our
        // addresses would be used. The far ends are addresses for documentation (RFC 5737, 3849).
        let (here, there): (SocketAddr, SocketAddr) = if ipv6 {
            let there = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
            ((Ipv6Addr::UNSPECIFIED, 0).into(), (there, 5060).into())
        } else {
            (
                (Ipv4Addr::UNSPECIFIED, 0).into(),
                (Ipv4Addr::new(192, 0, 2, 1), 5060).into(),
            )
        };
        let socket = UdpSocket::bind(here).ok()?;
        socket.connect(there).ok()?;
        let address = socket.local_addr().ok()?.ip();
        (!address.is_unspecified()).then_some(address)
    }

    fn host_name(&self) -> Option<String> {
        ["/proc/sys/kernel/hostname", "/etc/hostname"]
            .iter()
            .find_map(|path| std::fs::read_to_string(path).ok())
            .or_else(|| std::env::var("HOSTNAME").ok())
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
    }
}
