//! Many datagrams read in one system call: `recvmmsg(2)`, which std does not have.
//!
//! Beside the calls saved, a read that brings less than was asked for is known to be the last one,
//! which saves the read that would only have said so.
#![allow(unsafe_code)]

use std::{
    io, mem,
    net::SocketAddr,
    os::fd::AsFd,
    ptr::{self, NonNull},
    slice,
};

use crate::{
    address::{self, Address},
    system,
};

/// Datagrams read at once.
pub(crate) const BATCH: usize = 32;
/// The largest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Datagrams asked for at first.
const ASKED_AT_FIRST: usize = 4;

/// Where datagrams are read to. Only what was written to takes memory.
pub(crate) struct Inbox {
    /// `BATCH` places of `DATAGRAM_BYTES_MAX` each.
    bytes: NonNull<u8>,
    slots: NonNull<Slots>,
    asked: usize,
    /// Datagrams of the last read; at most `BATCH`.
    received: usize,
}

/// What the system is told of the places. Written once: each header points to what stands beside it and
/// to its place, so all of it stays where it is, and is reached by pointers only.
struct Slots {
    from: [Address; BATCH],
    parts: [libc::iovec; BATCH],
    headers: [libc::mmsghdr; BATCH],
}

// SAFETY: both pieces of memory are the inbox's alone, and belong to no thread.
unsafe impl Send for Inbox {}

impl Inbox {
    pub(crate) fn new() -> Self {
        let bytes = vec![0_u8; BATCH * DATAGRAM_BYTES_MAX].into_boxed_slice();
        let bytes = NonNull::from(Box::leak(bytes)).cast::<u8>();
        // SAFETY: all-zero bytes are a valid value of these plain C structs.
        let slots: Box<Slots> = Box::new(unsafe { mem::zeroed() });
        let slots = NonNull::from(Box::leak(slots));
        let at = slots.as_ptr();
        for index in 0..BATCH {
            // SAFETY: `at` points to what was just made, and there are `BATCH` places.
            unsafe {
                (*at).parts[index] = libc::iovec {
                    iov_base: bytes.add(index * DATAGRAM_BYTES_MAX).as_ptr().cast(),
                    iov_len: DATAGRAM_BYTES_MAX,
                };
                let (from, part) = (&raw mut (*at).from[index], &raw mut (*at).parts[index]);
                (*at).headers[index] = header(from, size_of::<Address>(), part);
            }
        }
        Inbox {
            bytes,
            slots,
            asked: ASKED_AT_FIRST,
            received: 0,
        }
    }

    /// A buffer for something else than datagrams, between two reads.
    pub(crate) fn scratch(&mut self) -> &mut [u8] {
        // SAFETY: the first place, and nobody else has it as long as `self` is borrowed.
        unsafe { slice::from_raw_parts_mut(self.bytes.as_ptr(), DATAGRAM_BYTES_MAX) }
    }

    /// A datagram of the last read, by its number; none when it comes from no Internet address.
    #[inline]
    pub(crate) fn datagram(&self, number: usize) -> Option<(SocketAddr, &[u8])> {
        if number >= self.received {
            return None;
        }
        let slots = self.slots.as_ptr();
        // SAFETY: the system has filled in the first `received` headers, each with the length of the address
        // that it has written, and has written so many bytes to its place; it writes there again when
        // nothing else borrows `self`.
        unsafe {
            let header = (&raw const (*slots).headers)
                .cast::<libc::mmsghdr>()
                .add(number);
            let from = (&raw const (*slots).from).cast::<Address>().add(number);
            let from = address::read(from, (*header).msg_hdr.msg_namelen)?;
            let place = self.bytes.add(number * DATAGRAM_BYTES_MAX);
            let length = DATAGRAM_BYTES_MAX.min((*header).msg_len as usize);
            Some((from, slice::from_raw_parts(place.as_ptr(), length)))
        }
    }

    /// Reads some datagrams: how many, and whether the socket had fewer than were asked for.
    pub(crate) fn receive(&mut self, socket: &impl AsFd) -> io::Result<(usize, bool)> {
        let (asked, slots) = (self.asked, self.slots.as_ptr());
        for index in 0..mem::take(&mut self.received) {
            // SAFETY: there are `BATCH` headers, and no more were received.
            unsafe { (*slots).headers[index].msg_hdr.msg_namelen = size_of::<Address>() as _ };
        }
        // SAFETY: `asked` is at most `BATCH`; each header points to room of the length beside it, which
        // lives as long as the inbox.
        let received = unsafe {
            let headers = (&raw mut (*slots).headers).cast();
            system::recvmmsg(socket.as_fd(), headers, asked, libc::MSG_DONTWAIT)
        }?;
        let all = received < asked;
        self.received = received.min(BATCH);
        self.asked = if all {
            ASKED_AT_FIRST.max(received + received / 2)
        } else {
            asked * 2
        }
        .min(BATCH);
        Ok((received, all))
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let bytes = ptr::slice_from_raw_parts_mut(self.bytes.as_ptr(), BATCH * DATAGRAM_BYTES_MAX);
        // SAFETY: both are boxes that `new` has taken apart, of these lengths, and nobody else has them.
        unsafe {
            drop(Box::from_raw(bytes));
            drop(Box::from_raw(self.slots.as_ptr()));
        }
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
            let read = (0..count).filter_map(|number| inbox.datagram(number));
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
    fn a_read_has_no_datagram_of_the_one_before() {
        let (here, there) = pair("127.0.0.1:0");
        there.set_nonblocking(true).expect("an option can be set");
        let to = there.local_addr().expect("bound");
        let mut inbox = Inbox::new();
        for bytes in [&b"one"[..], b"two"] {
            here.send_to(bytes, to).expect("sent");
        }
        assert_eq!(inbox.receive(&there).expect("two came"), (2, true));
        here.send_to(b"three", to).expect("sent");
        assert_eq!(inbox.receive(&there).expect("one came"), (1, true));
        assert_eq!(inbox.datagram(0).expect("one came").1, b"three");
        assert_eq!(inbox.datagram(1), None);
        inbox.receive(&there).expect_err("none came");
        assert_eq!(inbox.datagram(0), None);
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
