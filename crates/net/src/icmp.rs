//! ICMP errors of UDP sockets, from the system's error queue (`ip(7)`, `IP_RECVERR`).
//!
//! Without it a datagram to a host that is not there is silence, and failover waits for a timer.
//! The queue is read by `recvmsg`, which std does not have.
#![allow(unsafe_code)]

use std::{
    io, mem,
    mem::MaybeUninit,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use libc::{c_int, c_void};

use crate::address::{self, Address};

/// ICMP "destination unreachable" (RFC 792).
const V4_UNREACHABLE: u8 = 3;
/// Its code "fragmentation needed": the host is there, the datagram was too large.
const V4_FRAGMENTATION_NEEDED: u8 = 4;
/// ICMPv6 "destination unreachable" (RFC 4443).
const V6_UNREACHABLE: u8 = 1;

/// One entry of an error queue.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Report {
    /// Host, network or port cannot be reached: nobody will answer from there.
    Unreachable(SocketAddr),
    /// Something else, that says nothing about the peer (too large, TTL exceeded).
    Other,
}

/// Asks the system to keep the socket's ICMP errors, each with the address it is about.
pub(crate) fn report_errors(socket: &impl AsFd, address: SocketAddr) -> io::Result<()> {
    let fd = socket.as_fd();
    match address {
        SocketAddr::V4(_) => {
            set_option(fd, libc::IPPROTO_IP, libc::IP_RECVERR, 1)?;
            // Let routers fragment: a large INVITE over a path with a smaller MTU would otherwise
            // be lost, and a SIP message cannot be cut in two by us.
            set_option(
                fd,
                libc::IPPROTO_IP,
                libc::IP_MTU_DISCOVER,
                libc::IP_PMTUDISC_DONT,
            )
        }
        SocketAddr::V6(_) => set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1),
    }
}

fn set_option(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: `fd` is open for the borrow; the value is a c_int and its size is passed with it.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const value).cast::<c_void>(),
            size_of::<c_int>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Room for one control message of `sock_extended_err` with the offender's address, aligned as
/// `cmsghdr` must be.
#[repr(C, align(8))]
struct Control([u8; 256]);

/// Takes one entry out of the socket's error queue; `None` when it is empty.
pub(crate) fn next_report(socket: &impl AsFd) -> Option<Report> {
    let fd = socket.as_fd();
    // SAFETY: all-zero bytes are a valid value of this plain C struct.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    let mut peer = MaybeUninit::<Address>::uninit();
    let mut control = Control([0; 256]);
    let mut quoted = [0u8; 64];
    let mut part = libc::iovec {
        iov_base: quoted.as_mut_ptr().cast(),
        iov_len: quoted.len(),
    };
    message.msg_name = peer.as_mut_ptr().cast();
    message.msg_namelen = size_of::<Address>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;

    // SAFETY: every pointer in `message` points to a live local of the length given beside it, and
    // `fd` is open for the borrow. MSG_DONTWAIT: the queue is never waited for.
    let read = unsafe {
        libc::recvmsg(
            fd.as_raw_fd(),
            &raw mut message,
            libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT,
        )
    };
    if read < 0 {
        return None;
    }
    // SAFETY: the system has written an address of this length there.
    let peer = unsafe { address::read(peer.as_ptr(), message.msg_namelen) };
    match (extended_error(&message), peer) {
        (Some(error), Some(peer)) if is_unreachable(&error) => Some(Report::Unreachable(peer)),
        _ => Some(Report::Other),
    }
}

/// Finds the error among the control messages that `recvmsg` has written.
fn extended_error(message: &libc::msghdr) -> Option<libc::sock_extended_err> {
    // SAFETY: `message` was filled in by recvmsg, its control buffer is alive and aligned, and
    // msg_controllen says how much of it is used; the CMSG macros stay inside that.
    let mut control = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !control.is_null() {
        // SAFETY: not null, so it points to a whole header inside the control buffer.
        let header = unsafe { *control };
        let ours = matches!(
            (header.cmsg_level, header.cmsg_type),
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
        );
        // SAFETY: CMSG_LEN only computes.
        let needed =
            unsafe { libc::CMSG_LEN(size_of::<libc::sock_extended_err>() as u32) } as usize;
        if ours && header.cmsg_len as usize >= needed {
            // SAFETY: the header says that the data is at least one sock_extended_err long; it may
            // be unaligned, so it is copied out.
            return Some(unsafe {
                libc::CMSG_DATA(control)
                    .cast::<libc::sock_extended_err>()
                    .read_unaligned()
            });
        }
        // SAFETY: as for CMSG_FIRSTHDR.
        control = unsafe { libc::CMSG_NXTHDR(message, control) };
    }
    None
}

/// Whether the error means that nobody is there.
fn is_unreachable(error: &libc::sock_extended_err) -> bool {
    match error.ee_origin {
        libc::SO_EE_ORIGIN_ICMP => {
            error.ee_type == V4_UNREACHABLE && error.ee_code != V4_FRAGMENTATION_NEEDED
        }
        libc::SO_EE_ORIGIN_ICMP6 => error.ee_type == V6_UNREACHABLE,
        // This machine's own verdict: neighbour discovery failed, the route went away.
        libc::SO_EE_ORIGIN_LOCAL => {
            matches!(
                error.ee_errno as c_int,
                libc::EHOSTUNREACH | libc::ENETUNREACH | libc::ECONNREFUSED
            )
        }
        _ => false,
    }
}
