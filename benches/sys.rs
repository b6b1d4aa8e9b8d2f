//! What the system offers and std does not: datagrams in batches, waiting for several sockets, one
//! core for us. Everything `unsafe` of the benches is here.
#![allow(unsafe_code)]

use std::{
    fs, io, mem,
    net::UdpSocket,
    os::fd::{AsRawFd, BorrowedFd},
    process::Child,
    ptr,
    time::Duration,
};

/// Datagrams for one system call.
pub const BATCH: usize = 32;
/// Room for each datagram that is received.
pub const DATAGRAM: usize = 4096;

/// What one call to [`receive`] brought.
pub struct Inbox {
    room: Box<[u8]>,
    lengths: [usize; BATCH],
    filled: usize,
}

impl Default for Inbox {
    fn default() -> Self {
        Inbox {
            room: vec![0; BATCH * DATAGRAM].into_boxed_slice(),
            lengths: [0; BATCH],
            filled: 0,
        }
    }
}

impl Inbox {
    /// The datagrams of the last call.
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        let rooms = self.room.chunks(DATAGRAM);
        rooms
            .zip(self.lengths)
            .take(self.filled)
            .map(|(room, length)| &room[..length])
    }
}

/// Reads what is there, at most [`BATCH`] datagrams, without waiting; how many it was.
pub fn receive(socket: &UdpSocket, inbox: &mut Inbox) -> usize {
    inbox.filled = 0;
    let mut parts = [const { empty_part() }; BATCH];
    // SAFETY: all-zero is a valid `mmsghdr`: no name, no parts, no control data.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
    let rooms = inbox.room.chunks_mut(DATAGRAM);
    for ((header, part), room) in headers.iter_mut().zip(&mut parts).zip(rooms) {
        part.iov_base = room.as_mut_ptr().cast();
        part.iov_len = room.len();
        header.msg_hdr.msg_iov = part;
        header.msg_hdr.msg_iovlen = 1;
    }
    // SAFETY: every header points to one part, every part to its own chunk of `room`; both outlive
    // the call, which writes at most `iov_len` bytes to each.
    let count = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            BATCH as u32,
            libc::MSG_DONTWAIT,
            ptr::null_mut(),
        )
    };
    // An error is nothing to read, or an ICMP error that a lost message will tell of as well.
    inbox.filled = usize::try_from(count).unwrap_or(0);
    for (length, header) in inbox.lengths.iter_mut().zip(&headers).take(inbox.filled) {
        *length = header.msg_len as usize;
    }
    inbox.filled
}

/// Sends datagrams over a connected socket: `bytes` cut at `ends`. How many the system took; the
/// others are lost, as on any line.
pub fn send(socket: &UdpSocket, bytes: &[u8], ends: &[usize]) -> usize {
    let mut taken = 0;
    let mut start = 0;
    for ends in ends.chunks(BATCH) {
        let mut parts = [const { empty_part() }; BATCH];
        // SAFETY: as in `receive`.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        for ((header, part), end) in headers.iter_mut().zip(&mut parts).zip(ends) {
            let datagram = &bytes[start..*end];
            part.iov_base = datagram.as_ptr().cast_mut().cast();
            part.iov_len = datagram.len();
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            start = *end;
        }
        let mut from = 0;
        while from < ends.len() {
            // SAFETY: the headers from `from` to the end of the chunk are filled and point to parts
            // and bytes that outlive the call, which only reads them.
            let count = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    headers.as_mut_ptr().add(from),
                    (ends.len() - from) as u32,
                    libc::MSG_DONTWAIT,
                )
            };
            match usize::try_from(count) {
                Ok(count) => {
                    taken += count;
                    from += count;
                }
                // An ICMP error of an earlier datagram is told once and then gone; what the system
                // has no room for is dropped.
                Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::ConnectionRefused => {
                }
                Err(_) => from += 1,
            }
        }
    }
    taken
}

const fn empty_part() -> libc::iovec {
    libc::iovec {
        iov_base: ptr::null_mut(),
        iov_len: 0,
    }
}

/// Waits until one of these can be read, or so long. Which ones can, in their order.
pub fn wait<'a>(
    sockets: impl Iterator<Item = BorrowedFd<'a>>,
    most: Duration,
    ready: &mut Vec<bool>,
) {
    let mut polled: Vec<libc::pollfd> = sockets
        .map(|socket| libc::pollfd {
            fd: socket.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    let most = libc::timespec {
        tv_sec: most.as_secs() as libc::time_t,
        tv_nsec: libc::c_long::from(most.subsec_nanos()),
    };
    // SAFETY: `polled` is valid for as many entries as it says, and nobody else has it.
    unsafe {
        libc::ppoll(
            polled.as_mut_ptr(),
            polled.len() as libc::nfds_t,
            &most,
            ptr::null(),
        );
    }
    ready.clear();
    ready.extend(polled.iter().map(|entry| entry.revents != 0));
}

/// Keeps this thread on one core.
pub fn pin(core: usize) -> io::Result<()> {
    // SAFETY: an all-zero set is the empty set; `CPU_SET` stays within it by its own check.
    let set = unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(core, &mut set);
        set
    };
    // SAFETY: `set` is a set of the size that is given.
    check(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) })
}

/// While this lives, this process and what it starts come before everything else on the machine, as
/// far as we may decide that.
pub struct Outranking {
    /// Did it work?
    pub granted: bool,
    session_before: Option<String>,
}

/// Nice value of a session as a whole, where the kernel groups tasks by session (`sched(7)`): there
/// the nice value of a process counts only against its own session.
const SESSION: &str = "/proc/self/autogroup";

impl Outranking {
    /// Begins it.
    pub fn begin() -> Outranking {
        // "/autogroup-25 nice 0"
        let session = fs::read_to_string(SESSION).ok();
        let session_before = session.and_then(|it| Some(it.split_whitespace().last()?.to_owned()));
        let session = session_before.is_none() || fs::write(SESSION, "-19").is_ok();
        // SAFETY: plain numbers.
        let process = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -19) == 0 };
        Outranking {
            granted: session && process,
            session_before,
        }
    }
}

impl Drop for Outranking {
    fn drop(&mut self) {
        // The shell that started us is in the same session.
        if let Some(before) = &self.session_before {
            let _ = fs::write(SESSION, before);
        }
    }
}

/// Lets timers of this thread ring when they should, not up to 50 µs later.
pub fn exact_timers() -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) })
}

/// Lets this thread, and what it starts from now on, run whenever it can.
pub fn real_time() -> io::Result<()> {
    // The lowest: before all ordinary processes, after those of the system.
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: `priority` is what the call wants and outlives it.
    check(unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &priority) })
}

/// Asks a child to end.
pub fn terminate(child: &Child) {
    // SAFETY: plain numbers; a child that is borrowed was not waited for to its end by others.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
}

/// Has a process of ours load its configuration again.
pub fn hang_up(process: u32) {
    // SAFETY: plain numbers.
    unsafe { libc::kill(process as libc::pid_t, libc::SIGHUP) };
}

/// Ends what is left of a process group that a child of ours leads, which was not waited for yet: the
/// number is not somebody else's.
pub fn kill_group(leader: u32) {
    // SAFETY: plain numbers.
    unsafe { libc::kill(-(leader as libc::pid_t), libc::SIGKILL) };
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
