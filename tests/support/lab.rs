//! A laboratory: 250 loopback addresses and a folder that no other test has.

use std::{
    fs,
    io::ErrorKind,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::runtime::Runtime;
use trunkline_control::testdns::TestDns;

/// The address that a laboratory keeps bound, so that no other one takes its block.
const KEEPER: &str = "@254:5060";

/// One test's part of 127.0.0.0/8, and its folder.
///
/// In every text that a laboratory takes, `@7` is its seventh address: 127.x.y.7.
#[derive(Debug)]
pub struct Lab {
    block: String,
    folder: PathBuf,
    runtime: Runtime,
    _keeper: UdpSocket,
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    /// Takes a free block of addresses and makes an empty folder.
    ///
    /// # Panics
    /// When there is none.
    pub fn new() -> Lab {
        let (block, keeper) = free_block();
        let folder =
            std::env::temp_dir().join(format!("trunkline-{}", block.trim_end_matches('.')));
        // One that a killed test left behind is of no use to anybody.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder for the test");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime for the test's own servers");
        Lab {
            block,
            folder,
            runtime,
            _keeper: keeper,
        }
    }

    /// A text with every `@7` made an address. Other `@` stay: `sip:alice@@7` is Alice there.
    pub fn text(&self, template: &str) -> String {
        let mut parts = template.split('@');
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let number = part.starts_with(|first: char| first.is_ascii_digit());
            text += if number { &self.block } else { "@" };
            text += part;
        }
        text
    }

    /// An address such as `@1:5060`.
    ///
    /// # Panics
    /// When it is none.
    pub fn addr(&self, template: &str) -> SocketAddr {
        self.text(template).parse().expect("an address and a port")
    }

    /// An address such as `@1`, without a port.
    ///
    /// # Panics
    /// When it is none.
    pub fn ip(&self, template: &str) -> Ipv4Addr {
        self.text(template).parse().expect("an address")
    }

    /// The test's own folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a file into the folder, `@` replaced.
    ///
    /// # Panics
    /// When that fails.
    pub fn write(&self, name: &str, template: &str) -> PathBuf {
        let file = self.folder.join(name);
        fs::write(&file, self.text(template)).expect("the test's folder can be written to");
        file
    }

    /// Something at a UDP address that takes every packet and says nothing, until dropped.
    ///
    /// # Panics
    /// When the address is taken.
    pub fn silence(&self, at: &str) -> UdpSocket {
        UdpSocket::bind(self.addr(at)).expect("the address is free")
    }

    /// Ports of ::1 that are free for UDP; `None` where there is no IPv6, which is said. There is
    /// one such address for everybody, so these are taken from below where the system takes its
    /// own, by the number of the block.
    ///
    /// # Panics
    /// When nothing is free.
    pub fn ports_at_ipv6_loopback<const N: usize>(&self) -> Option<[SocketAddr; N]> {
        if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
            eprintln!("NOT TESTED: this machine has no IPv6 address ::1");
            return None;
        }
        let octets = self.block.split('.').skip(1).take(2);
        let number = octets.fold(0, |sum, octet| (sum << 8) | octet.parse().unwrap_or(0));
        let mut port = 10_000 + number % 20_000;
        Some(std::array::from_fn(|_| {
            loop {
                port += 1;
                let addr = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
                match UdpSocket::bind(addr) {
                    Ok(_free) => return addr,
                    Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                    Err(error) => panic!("{addr}: {error}"),
                }
            }
        }))
    }

    /// A DNS server.
    ///
    /// # Panics
    /// When the address is taken.
    pub fn dns(&self, at: &str) -> TestDns {
        self.runtime
            .block_on(TestDns::start(self.addr(at)))
            .expect("the address is free")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("what the test left: {}", self.folder.display());
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// "127.x.y." and the socket that says it is taken. Tests of one run, and several runs at once,
/// must not meet; who comes second goes elsewhere.
fn free_block() -> (String, UdpSocket) {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.subsec_nanos());
    for _ in 0..1000 {
        let taken = TAKEN.fetch_add(1, Ordering::Relaxed);
        let mixed = (process::id() ^ nanos)
            .wrapping_add(taken)
            .wrapping_mul(0x9E37_79B1);
        // 127.0 is everybody's.
        let block = format!("127.{}.{}.", 1 + (mixed >> 24) % 254, (mixed >> 16) & 0xff);
        if let Ok(keeper) = UdpSocket::bind(KEEPER.replace('@', &block)) {
            return (block, keeper);
        }
    }
    panic!("no free block of loopback addresses: are there hundreds of tests running?");
}
