//! Many datagrams read in one system call: `recvmmsg(2)`, which std does not have.
//!
//! Beside the calls saved, a read that brings less than was asked for is known to be the last one,
//! which saves the read that would only have said so.
#![allow(unsafe_code)]

use std::{
    io,
    mem::{self, MaybeUninit},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::{AsFd, AsRawFd},
    ptr,
};

use libc::c_uint;

use crate::address::{self, Address};

/// Datagrams read at once.
pub(crate) const BATCH: usize = 32;
/// The largest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Datagrams asked for at first. Most looks bring one or two, and each place costs setting up.
const ASKED_AT_FIRST: usize = 4;

/// Where datagrams are read to. Only what was written to takes memory.
pub(crate) struct Inbox {
    bytes: Box<[u8]>,
    asked: usize,
    read: [(SocketAddr, usize); BATCH],
}

impl Inbox {
    pub(crate) fn new() -> Self {
        let nobody = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
        Inbox {
            bytes: vec![0; BATCH * DATAGRAM_BYTES_MAX].into_boxed_slice(),
            asked: ASKED_AT_FIRST,
            read: [(nobody, 0); BATCH],
        }
    }

    /// A buffer for something else than datagrams, between two reads.
    pub(crate) fn scratch(&mut self) -> &mut [u8] {
        &mut self.bytes[..DATAGRAM_BYTES_MAX]
    }

    /// The first `count` datagrams of the last read.
    pub(crate) fn datagrams(&self, count: usize) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        let places = self.bytes.chunks_exact(DATAGRAM_BYTES_MAX);
        let read = self.read.iter().zip(places).take(count);
        read.map(|((from, length), place)| (*from, &place[..*length]))
    }

    /// Reads some [datagrams](Self::datagrams): how many, and whether the socket had fewer than were asked for. What
    /// comes from no Internet address is left out.
    pub(crate) fn receive(&mut self, socket: &impl AsFd) -> io::Result<(usize, bool)> {
        let asked = self.asked;
        let mut from = [const { MaybeUninit::<Address>::uninit() }; BATCH];
        let mut parts = [const { MaybeUninit::<libc::iovec>::uninit() }; BATCH];
        let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH];
        let places = self.bytes.chunks_exact_mut(DATAGRAM_BYTES_MAX);
        let slots = places.zip(&mut from).zip(&mut parts).zip(&mut headers);
        for (((place, from), part), slot) in slots.take(asked) {
            let part = part.write(libc::iovec {
                iov_base: place.as_mut_ptr().cast(),
                iov_len: place.len(),
            });
            slot.write(header(from.as_mut_ptr(), size_of::<Address>(), part));
        }
        // SAFETY: the first `asked` headers are initialised, and each points to room of the length
        // beside it that lives until the end of this function. No timeout.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                headers.as_mut_ptr().cast(),
                asked as c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        let Ok(received) = usize::try_from(received) else {
            return Err(io::Error::last_os_error());
        };
        let mut kept = 0;
        for index in 0..received {
            // SAFETY: the system has filled in the first `received` headers; all of them were
            // initialised above.
            let header = unsafe { headers[index].assume_init_ref() };
            // SAFETY: the system has written an address of this length there.
            let from = unsafe { address::read(from[index].as_ptr(), header.msg_hdr.msg_namelen) };
            let Some(from) = from else { continue };
            if kept != index {
                let start = index * DATAGRAM_BYTES_MAX;
                let end = start + header.msg_len as usize;
                self.bytes
                    .copy_within(start..end, kept * DATAGRAM_BYTES_MAX);
            }
            self.read[kept] = (from, header.msg_len as usize);
            kept += 1;
        }
        let all = received < asked;
        self.asked = if all {
            ASKED_AT_FIRST.max(received + received / 2)
        } else {
            asked * 2
        }
        .min(BATCH);
        Ok((kept, all))
    }
}

/// For one datagram from or to an address.
pub(crate) fn header(
    address: *mut Address,
    length: usize,
    part: *mut libc::iovec,
) -> libc::mmsghdr {
    // SAFETY: all-zero bytes are a valid value of this plain C struct.
    let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
    header.msg_hdr.msg_name = address.cast();
    header.msg_hdr.msg_namelen = length as libc::socklen_t;
    header.msg_hdr.msg_iov = part;
    header.msg_hdr.msg_iovlen = 1;
    header
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    fn pair(address: &str) -> (UdpSocket, UdpSocket) {
        let bind = || UdpSocket::bind(address).expect("loopback can be bound");
        (bind(), bind())
    }

    /// Everything the socket has, in order, and how many reads it took to know.
    fn drain(inbox: &mut Inbox, socket: &UdpSocket) -> (Vec<(SocketAddr, Vec<u8>)>, usize) {
        let (mut all, mut reads) = (Vec::new(), 0);
        loop {
            reads += 1;
            let (count, last) = match inbox.receive(socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (0, true),
                received => received.expect("the socket is well"),
            };
            let read = inbox.datagrams(count);
            all.extend(read.map(|(from, bytes)| (from, bytes.to_vec())));
            if last {
                return (all, reads);
            }
        }
    }

    #[test]
    fn a_single_datagram_takes_one_read_and_a_burst_takes_few() {
        let (here, there) = pair("127.0.0.1:0");
        let to = there.local_addr().expect("bound");
        let mut inbox = Inbox::new();
        for (burst, reads) in [(1, 1), (3, 1), (60, 5), (1, 1)] {
            for _ in 0..burst {
                here.send_to(b"x", to).expect("sent");
            }
            let (arrived, took) = drain(&mut inbox, &there);
            assert_eq!(arrived.len(), burst);
            assert!(took <= reads, "{burst}: {took} reads");
        }
    }

    #[test]
    fn the_largest_datagram_fits() {
        let (here, there) = pair("127.0.0.1:0");
        let to = there.local_addr().expect("bound");
        let largest = vec![7; 65_507];
        for bytes in [&largest[..], b"next", b""] {
            here.send_to(bytes, to).expect("loopback takes it");
        }
        let (arrived, _) = drain(&mut Inbox::new(), &there);
        let lengths: Vec<_> = arrived.iter().map(|(_, bytes)| bytes.len()).collect();
        assert_eq!(lengths, [65_507, 4, 0]);
        assert!(arrived[0].1 == largest);
    }

    #[test]
    fn what_arrives_is_read_whole_and_in_order_on_both_families() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (here, there) = pair(address);
            let to = there.local_addr().expect("bound");
            let from = here.local_addr().expect("bound");
            let datagrams: Vec<_> = (0..60u8)
                .map(|number| (from, vec![number; usize::from(number) * 20]))
                .collect();
            for (_, bytes) in &datagrams {
                here.send_to(bytes, to).expect("loopback takes it");
            }
            let (arrived, _) = drain(&mut Inbox::new(), &there);
            assert!(arrived == datagrams, "{address}: {} arrived", arrived.len());
        }
    }
}
