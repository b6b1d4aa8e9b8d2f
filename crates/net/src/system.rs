//! The system calls of every turn, asked of the system itself, and its clock.
//!
//! The C library's functions of their names are points at which a thread may be cancelled
//! (`pthread_cancel(3)`), so in a process with several threads they enter and leave that state around
//! every call: forty instructions, for what nobody does here.
#![allow(unsafe_code)]

use std::{
    io, mem,
    os::fd::{AsRawFd, BorrowedFd, RawFd},
    ptr,
};

use libc::{c_int, c_long};

/// Reads datagrams: how many (`recvmmsg(2)`). Of no time limit.
///
/// # Safety
/// There must be `count` initialised headers, each pointing to room of the length beside it.
#[inline]
pub(crate) unsafe fn recvmmsg(
    socket: BorrowedFd<'_>,
    headers: *mut libc::mmsghdr,
    count: usize,
    flags: c_int,
) -> io::Result<usize> {
    let nothing = ptr::null_mut::<libc::timespec>();
    // SAFETY: as the caller says; the arguments are those of the call, each as wide as a register.
    let received = unsafe {
        libc::syscall(
            libc::SYS_recvmmsg,
            c_long::from(socket.as_raw_fd()),
            headers,
            count,
            c_long::from(flags),
            nothing,
        )
    };
    counted(received)
}

/// Sends datagrams: how many went out (`sendmmsg(2)`).
///
/// # Safety
/// There must be `count` initialised headers, each pointing to an address, parts and a control message of the
/// lengths beside them, or to none.
#[inline]
pub(crate) unsafe fn sendmmsg(
    socket: BorrowedFd<'_>,
    headers: *mut libc::mmsghdr,
    count: usize,
    flags: c_int,
) -> io::Result<usize> {
    // SAFETY: as for `recvmmsg`.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_sendmmsg,
            c_long::from(socket.as_raw_fd()),
            headers,
            count,
            c_long::from(flags),
        )
    };
    counted(sent)
}

/// Waits for events of an epoll set, this long (milliseconds; less than 0: until there are some): how many there are
/// (`epoll_pwait(2)`).
#[inline]
pub(crate) fn epoll_wait(
    set: RawFd,
    events: &mut [libc::epoll_event],
    patience: c_int,
) -> io::Result<usize> {
    // All signals as they are.
    let mask = ptr::null::<libc::sigset_t>();
    // SAFETY: there is room for as many events as are said; of no mask, the size says nothing.
    let told = unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait,
            c_long::from(set),
            events.as_mut_ptr(),
            events.len(),
            c_long::from(patience),
            mask,
            0_usize,
        )
    };
    counted(told)
}

/// What the system's clock shows that never runs back (`CLOCK_MONOTONIC`, as for an
/// [`Instant`](std::time::Instant)), in nanoseconds.
#[inline]
pub(crate) fn monotonic() -> u64 {
    // SAFETY: all-zero bytes are a valid value of this plain C struct.
    let mut time: libc::timespec = unsafe { mem::zeroed() };
    // SAFETY: the time lives until the call ends. There is such a clock, and nothing else can be wrong.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    // Neither is less than zero, and nobody waits for 584 years.
    (time.tv_sec as u64).wrapping_mul(1_000_000_000) + time.tv_nsec as u64
}

/// What a call counted, or why it failed.
#[inline]
fn counted(result: c_long) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
