//! Internet addresses as the system reads and writes them.
#![allow(unsafe_code)]

use std::{
    mem::MaybeUninit,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
};

use libc::c_int;

/// Room for an address of either family.
#[repr(C)]
pub(crate) union Address {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

/// Writes an address for the system: its length.
#[inline]
pub(crate) fn write(into: &mut MaybeUninit<Address>, address: &SocketAddr) -> usize {
    match address {
        SocketAddr::V4(v4) => {
            into.write(Address {
                v4: libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr {
                        s_addr: v4.ip().to_bits().to_be(),
                    },
                    sin_zero: [0; 8],
                },
            });
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            into.write(Address {
                v6: libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr {
                        s6_addr: v6.ip().octets(),
                    },
                    sin6_scope_id: v6.scope_id(),
                },
            });
            size_of::<libc::sockaddr_in6>()
        }
    }
}

/// Reads an address that the system wrote; `None` when it is not of the Internet.
///
/// # Safety
/// `at` must point to `length` bytes of an address, or `length` must be 0.
#[inline]
pub(crate) unsafe fn read(at: *const Address, length: libc::socklen_t) -> Option<SocketAddr> {
    if (length as usize) < size_of::<libc::sockaddr_in>() {
        return None;
    }
    // SAFETY: both structs begin with the family, and at least one of them was written whole.
    let v4 = unsafe { (*at).v4 };
    if c_int::from(v4.sin_family) == libc::AF_INET {
        return Some(SocketAddr::V4(SocketAddrV4::new(
            Ipv4Addr::from_bits(u32::from_be(v4.sin_addr.s_addr)),
            u16::from_be(v4.sin_port),
        )));
    }
    // SAFETY: as the caller says.
    unsafe { read_v6(at, length) }
}

/// # Safety
/// As for [`read`], and there must be a family.
#[inline(never)]
unsafe fn read_v6(at: *const Address, length: libc::socklen_t) -> Option<SocketAddr> {
    // SAFETY: as the caller says.
    let family = unsafe { (*at).v4.sin_family };
    if c_int::from(family) != libc::AF_INET6 || (length as usize) < size_of::<libc::sockaddr_in6>()
    {
        return None;
    }
    // SAFETY: the family says what it is, and the length that it is whole.
    let v6 = unsafe { (*at).v6 };
    Some(SocketAddr::V6(SocketAddrV6::new(
        Ipv6Addr::from(v6.sin6_addr.s6_addr),
        u16::from_be(v6.sin6_port),
        0,
        v6.sin6_scope_id,
    )))
}
