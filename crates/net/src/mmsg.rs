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

/// What the system is told of some datagrams, and tells: each header points to the address and the part that
/// stand beside it. That is written once, so all of it stays where it is, and is reached by pointers only.
pub(crate) struct Slots<const N: usize>(NonNull<Table<N>>);

struct Table<const N: usize> {
    addresses: [Address; N],
    parts: [libc::iovec; N],
    headers: [libc::mmsghdr; N],
}

/// One of them.
pub(crate) struct Slot {
    pub(crate) address: *mut Address,
    pub(crate) part: *mut libc::iovec,
    pub(crate) header: *mut libc::mmsghdr,
}

// SAFETY: the memory is theirs alone, and belongs to no thread.
unsafe impl<const N: usize> Send for Slots<N> {}

impl<const N: usize> Slots<N> {
    /// With room for an address each, and no bytes.
    pub(crate) fn new() -> Self {
        // SAFETY: all-zero bytes are a valid value of these plain C structs.
        let table: Box<Table<N>> = Box::new(unsafe { mem::zeroed() });
        let slots = Slots(NonNull::from(Box::leak(table)));
        for index in 0..N {
            // SAFETY: there are so many, and what they point to lives as long as they do.
            unsafe {
                let Slot {
                    address,
                    part,
                    header: at,
                } = slots.at(index);
                *at = header(address, size_of::<Address>(), part);
            }
        }
        slots
    }

    /// One of the slots.
    ///
    /// # Safety
    /// There must be so many.
    #[inline]
    pub(crate) unsafe fn at(&self, index: usize) -> Slot {
        let table = self.0.as_ptr();
        // SAFETY: each of the three has `N`, and `index` is less.
        unsafe {
            Slot {
                address: (&raw mut (*table).addresses).cast::<Address>().add(index),
                part: (&raw mut (*table).parts).cast::<libc::iovec>().add(index),
                header: self.headers().add(index),
            }
        }
    }

    /// All headers, in order.
    #[inline]
    pub(crate) fn headers(&self) -> *mut libc::mmsghdr {
        // SAFETY: it points to what `new` has made.
        unsafe { (&raw mut (*self.0.as_ptr()).headers).cast() }
    }
}

impl<const N: usize> Drop for Slots<N> {
    fn drop(&mut self) {
        // SAFETY: a box that `new` has taken apart, and nobody else has it.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// Where datagrams are read to. Only what was written to takes memory.
pub(crate) struct Inbox {
    /// `BATCH` places of `DATAGRAM_BYTES_MAX` each.
    bytes: NonNull<u8>,
    slots: Slots<BATCH>,
    asked: usize,
    /// Datagrams of the last read; at most `BATCH`.
    received: usize,
    /// There were fewer than were asked for.
    emptied: bool,
}

// SAFETY: the memory is the inbox's alone, and belongs to no thread.
unsafe impl Send for Inbox {}

impl Inbox {
    pub(crate) fn new() -> Self {
        let bytes = vec![0_u8; BATCH * DATAGRAM_BYTES_MAX].into_boxed_slice();
        let bytes = NonNull::from(Box::leak(bytes)).cast::<u8>();
        let slots = Slots::new();
        for index in 0..BATCH {
            // SAFETY: there are `BATCH` slots and places.
            unsafe {
                *slots.at(index).part = libc::iovec {
                    iov_base: bytes.add(index * DATAGRAM_BYTES_MAX).as_ptr().cast(),
                    iov_len: DATAGRAM_BYTES_MAX,
                };
            }
        }
        Inbox {
            bytes,
            slots,
            asked: ASKED_AT_FIRST,
            received: 0,
            emptied: false,
        }
    }

    /// A buffer for something else than datagrams, between two reads.
    pub(crate) fn scratch(&mut self) -> &mut [u8] {
        // SAFETY: the first place, and nobody else has it as long as `self` is borrowed.
        unsafe { slice::from_raw_parts_mut(self.bytes.as_ptr(), DATAGRAM_BYTES_MAX) }
    }

    /// The datagrams of the last read, but for those that come from no Internet address.
    #[inline]
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        (0..self.received).filter_map(|number| {
            // SAFETY: there are `BATCH` slots and places. The system has filled in the first `received` headers, each
            // with the length of the address that it has written, and has written so many bytes to its place; it
            // writes there again when nothing else borrows `self`.
            unsafe {
                let Slot {
                    address, header, ..
                } = self.slots.at(number);
                let from = address::read(address, (*header).msg_hdr.msg_namelen)?;
                let place = self.bytes.add(number * DATAGRAM_BYTES_MAX);
                let length = DATAGRAM_BYTES_MAX.min((*header).msg_len as usize);
                Some((from, slice::from_raw_parts(place.as_ptr(), length)))
            }
        })
    }

    /// Reads some datagrams: how many.
    pub(crate) fn receive(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        for index in 0..mem::take(&mut self.received) {
            // SAFETY: there are `BATCH` headers, and no more were received.
            unsafe {
                (*self.slots.at(index).header).msg_hdr.msg_namelen = size_of::<Address>() as _
            };
        }
        let (asked, headers) = (self.asked, self.slots.headers());
        // SAFETY: `asked` is at most `BATCH`; each header points to room of the length beside it, which
        // lives as long as the inbox.
        let received =
            unsafe { system::recvmmsg(socket.as_fd(), headers, asked, libc::MSG_DONTWAIT) }?;
        self.received = received.min(BATCH);
        self.emptied = received < asked;
        self.asked = if self.emptied {
            ASKED_AT_FIRST.max(received + received / 2)
        } else {
            asked * 2
        }
        .min(BATCH);
        Ok(self.received)
    }

    /// Whether the socket had fewer than were asked for when it was read last.
    #[inline]
    pub(crate) fn emptied(&self) -> bool {
        self.emptied
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let bytes = ptr::slice_from_raw_parts_mut(self.bytes.as_ptr(), BATCH * DATAGRAM_BYTES_MAX);
        // SAFETY: a box that `new` has taken apart, of this length, and nobody else has it.
        drop(unsafe { Box::from_raw(bytes) });
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
            match inbox.receive(socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return (all, reads),
                received => received.expect("the socket is well"),
            };
            let read = inbox.datagrams();
            all.extend(read.map(|(from, bytes)| (from, bytes.to_vec())));
            if inbox.emptied() {
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
        assert_eq!(inbox.receive(&there).expect("two came"), 2);
        assert!(inbox.emptied());
        here.send_to(b"three", to).expect("sent");
        assert_eq!(inbox.receive(&there).expect("one came"), 1);
        let read: Vec<_> = inbox.datagrams().map(|(_, bytes)| bytes).collect();
        assert_eq!(read, [b"three"]);
        inbox.receive(&there).expect_err("none came");
        assert_eq!(inbox.datagrams().count(), 0);
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
