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

/// Sends datagrams over a connected socket, those of one length that stand side by side as one *bundle* (`UDP_SEGMENT`,
/// see udp(7)): the system cuts it apart, and what the other side reads is the same. How many the system took; the
/// others are lost, as on any line.
pub fn send(socket: &UdpSocket, datagrams: &[&[u8]], bundled: bool) -> usize {
    let mut taken = 0;
    for datagrams in datagrams.chunks(BATCH) {
        let mut parts = [const { empty_part() }; BATCH];
        for (part, datagram) in parts.iter_mut().zip(datagrams) {
            part.iov_base = datagram.as_ptr().cast_mut().cast();
            part.iov_len = datagram.len();
        }
        // SAFETY: all-zero is a valid `mmsghdr`: no name, no parts, no control data.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        let mut controls = [Segments::of(0); BATCH];
        let mut counts = [0; BATCH];
        let bundles = datagrams.chunk_by(|one, next| {
            bundled && one.len() == next.len() && (1..=BUNDLED_MAX).contains(&next.len())
        });
        let slots = headers.iter_mut().zip(&mut controls).zip(&mut counts);
        let (mut filled, mut part) = (0, parts.as_mut_ptr());
        for (((header, control), count), bundle) in slots.zip(bundles) {
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = bundle.len();
            if bundle.len() > 1 {
                *control = Segments::of(bundle[0].len() as u16);
                header.msg_hdr.msg_control = ptr::from_mut(control).cast();
                header.msg_hdr.msg_controllen = size_of::<Segments>();
            }
            *count = bundle.len();
            part = part.wrapping_add(bundle.len());
            filled += 1;
        }
        let mut from = 0;
        while from < filled {
            // SAFETY: the headers from `from` to `filled` are filled, and point to parts, bytes and control data that
            // outlive the call, which only reads them.
            let sent = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    headers.as_mut_ptr().add(from),
                    (filled - from) as u32,
                    libc::MSG_DONTWAIT,
                )
            };
            match usize::try_from(sent) {
                Ok(sent) => {
                    taken += counts[from..from + sent].iter().sum::<usize>();
                    from += sent;
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

/// The longest datagram of a bundle: so that [`BATCH`] of them are one datagram's worth for the system.
const BUNDLED_MAX: usize = 65_000 / BATCH;

/// Says how long the datagrams of a bundle are.
#[repr(C)]
#[derive(Copy, Clone)]
struct Segments {
    header: libc::cmsghdr,
    length: u16,
}

impl Segments {
    fn of(length: u16) -> Self {
        // SAFETY: all-zero is a valid `cmsghdr`, and `CMSG_LEN` only computes.
        let mut header: libc::cmsghdr = unsafe { mem::zeroed() };
        header.cmsg_len = unsafe { libc::CMSG_LEN(size_of::<u16>() as u32) } as usize;
        header.cmsg_level = libc::SOL_UDP;
        header.cmsg_type = libc::UDP_SEGMENT;
        Segments { header, length }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_arrive_as_the_datagrams_that_they_were_made_of() {
        let bind = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let (here, there) = (bind(), bind());
        here.connect(there.local_addr().unwrap()).unwrap();
        let lengths = [988, 988, 988, 1500, 1500, 430, 430, 424, 0, 0, 7];
        let all: Vec<Vec<u8>> = (0u8..44)
            .map(|number| vec![number; lengths[usize::from(number) % lengths.len()]])
            .collect();
        let datagrams: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
        for bundled in [false, true] {
            assert_eq!(send(&here, &datagrams, bundled), all.len());
            let mut inbox = Inbox::default();
            let mut came = Vec::new();
            // All of it is there before `send` returns: loopback keeps nothing back.
            while receive(&there, &mut inbox) > 0 {
                came.extend(inbox.datagrams().map(<[u8]>::to_vec));
            }
            assert!(came == all, "{} came, bundled: {bundled}", came.len());
        }
    }
}
