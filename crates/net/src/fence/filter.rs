//! The socket's side of a fence: filter on, filter off, and how many datagrams the system dropped.
#![allow(unsafe_code)]

use std::{
    io,
    net::IpAddr,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use libc::socklen_t;
use socket2::{SockFilter, SockRef};

use super::program::program;

/// `SO_MEMINFO`'s count of dropped datagrams.
const DROPS: usize = libc::SK_MEMINFO_DROPS as usize;
/// How many counts there are at most; the system fills in what it has.
const COUNTS: usize = 16;

/// Has the system drop what these sources send, and nothing else, from now on.
pub(super) fn attach(socket: BorrowedFd<'_>, sources: &[IpAddr]) -> io::Result<()> {
    let ops = program(sources);
    let filter: Vec<_> = ops
        .iter()
        .map(|op| SockFilter::new(op.code, op.jt, op.jf, op.k))
        .collect();
    SockRef::from(&socket).attach_filter(&filter)
}

/// Lets everything in again. Where there is no filter, there is nothing to do.
pub(super) fn detach(socket: BorrowedFd<'_>) -> io::Result<()> {
    match SockRef::from(&socket).detach_filter() {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        done => done,
    }
}

/// Datagrams that the system has dropped at this socket since it was opened: those of a filter, and those
/// that found its buffer full. It goes round. `None` where the system does not say.
pub(super) fn drops(socket: BorrowedFd<'_>) -> Option<u32> {
    let mut counts = [0u32; COUNTS];
    let mut length = size_of_val(&counts) as socklen_t;
    // SAFETY: the descriptor is open for the borrow; the system writes at most `length` bytes into
    // `counts`, and how many it were into `length`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            counts.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let known = length as usize / size_of::<u32>();
    (result == 0 && known > DROPS).then_some(counts[DROPS])
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_fenced_source_is_dropped_and_counted_and_heard_again_on_both_families() {
        for (here, there, also) in [
            ("127.0.0.1:0", "127.0.0.9:0", "127.0.0.10:0"),
            ("[::1]:0", "[::1]:0", ""),
        ] {
            let bind = |address| {
                let socket = UdpSocket::bind(address).expect("loopback can be bound");
                socket.set_nonblocking(true).expect("an option can be set");
                socket
            };
            let (here, fenced) = (bind(here), bind(there));
            let to = here.local_addr().expect("bound");
            let mut buffer = [0; 8];
            // Loopback delivers before `send_to` returns.
            let mut say = |from: &UdpSocket| {
                from.send_to(b"hello", to).expect("sent");
                here.recv(&mut buffer).is_ok()
            };
            assert!(say(&fenced));
            let before = drops(here.as_fd()).expect("the system says");
            attach(here.as_fd(), &[fenced.local_addr().expect("bound").ip()])
                .expect("the system takes a filter");
            assert!(!say(&fenced));
            assert!(!say(&fenced));
            if !also.is_empty() {
                assert!(say(&bind(also)), "everybody else is heard");
            }
            let after = drops(here.as_fd()).expect("the system says");
            assert_eq!(after.wrapping_sub(before), 2);
            detach(here.as_fd()).expect("a filter can be taken off");
            assert!(say(&fenced));
        }
    }

    #[test]
    fn the_largest_filter_is_taken_by_the_system() {
        let most = crate::fence::watch::SOURCES_MAX as u32;
        for here in ["127.0.0.1:0", "[::1]:0"] {
            let here = UdpSocket::bind(here).expect("loopback can be bound");
            let sources: Vec<IpAddr> = (1..=most)
                .map(|number| match here.local_addr().expect("bound") {
                    std::net::SocketAddr::V4(_) => {
                        std::net::Ipv4Addr::from_bits(0x7f01_0000 + number).into()
                    }
                    std::net::SocketAddr::V6(_) => {
                        std::net::Ipv6Addr::from_bits(number.into()).into()
                    }
                })
                .collect();
            attach(here.as_fd(), &sources).expect("the system takes it");
        }
    }
}
