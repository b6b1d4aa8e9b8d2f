//! Many datagrams sent with few trips through the system: `sendmmsg(2)`, and *bundles*.
//!
//! Most of what a datagram costs is its way down the system's layers, and over loopback up again. Datagrams of one
//! length to one peer can take that way as one (`UDP_SEGMENT`, see udp(7)): the system, or the network card, cuts them
//! apart at its end, and what the peer gets is the same. Bundles are made in a crowd only, where they pay: whoever
//! captures packets on this machine may see a bundle uncut, and with few calls captures are looked at.
#![allow(unsafe_code)]

use std::{
    io,
    mem::MaybeUninit,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd},
    ptr,
};

use libc::{UDP_SEGMENT, c_int, c_uint};

use crate::{
    address::{self, Address},
    mmsg::{self, Slots},
    system,
};

/// Datagrams sent at once. No more than a bundle may have (`UDP_MAX_SEGMENTS`).
pub(crate) const BATCH: usize = 64;
/// So many that leave together are a crowd.
const CROWD: usize = 8;
/// The longest datagram that is bundled: what an Ethernet takes whole. Longer ones are cut by IP, and a bundle of them
/// is refused.
const LONGEST: usize = 1452;
/// Bytes of a bundle: what one datagram could have.
const BUNDLE_BYTES_MAX: usize = 65_000;

/// How datagrams of one socket can be bundled.
pub(crate) struct Bundles {
    /// The longest datagram that may be in one; 0: there are none.
    longest: usize,
    slots: Slots<BATCH>,
}

/// Says how long the datagrams of a bundle are.
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    length: u16,
}

/// Why the first bundle was not sent.
struct Refused {
    error: io::Error,
    /// Of its datagrams, if there are several.
    length: Option<usize>,
}

impl Bundles {
    /// As the system lets this socket.
    pub(crate) fn new(socket: &impl AsFd) -> Self {
        let mut length: c_int = 0;
        let mut size = size_of::<c_int>() as libc::socklen_t;
        // SAFETY: the option is an int, and there is room for one of the size beside it.
        let known = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_UDP,
                UDP_SEGMENT,
                ptr::from_mut(&mut length).cast(),
                &mut size,
            )
        };
        // A system that does not know it would send a bundle as one datagram.
        let longest = if known == 0 { LONGEST } else { 0 };
        Bundles {
            longest,
            slots: Slots::new(),
        }
    }

    /// Puts what goes to one peer side by side, in its order, where that makes bundles: whether it does.
    #[inline]
    pub(crate) fn gather<T>(&self, leaving: &mut [T], to: impl Fn(&T) -> SocketAddr) -> bool {
        let gathers = leaving.len() >= CROWD && self.longest > 0;
        if gathers {
            sort(leaving, to);
        }
        gathers
    }

    /// Sends the first of these datagrams, at most [`BATCH`]: how many went out. An error is about the first of
    /// them, and nothing was sent.
    #[inline]
    pub(crate) fn send<'a>(
        &mut self,
        socket: &impl AsFd,
        datagrams: impl Iterator<Item = (&'a SocketAddr, &'a [u8])> + Clone,
        bundled: bool,
    ) -> io::Result<usize> {
        if bundled {
            self.send_bundled(socket, datagrams)
        } else {
            self.send_each(socket, datagrams)
        }
    }

    #[inline(never)]
    fn send_bundled<'a>(
        &mut self,
        socket: &impl AsFd,
        datagrams: impl Iterator<Item = (&'a SocketAddr, &'a [u8])> + Clone,
    ) -> io::Result<usize> {
        loop {
            let Refused { error, length } = match send(socket, datagrams.clone(), self.longest) {
                Ok(sent) => return Ok(sent),
                Err(refused) => refused,
            };
            let Some(length) = length else {
                return Err(error);
            };
            // The first datagram is not bundled next time, so there is one next time.
            self.longest = match error.raw_os_error() {
                // The way to that peer is a narrow one.
                Some(libc::EMSGSIZE) => length.saturating_sub(1),
                // A network card that cannot; older systems say EINVAL of a narrow way, too.
                Some(libc::EIO | libc::EINVAL | libc::EOPNOTSUPP) => 0,
                _ => return Err(error),
            };
            tracing::debug!(%error, longest = self.longest, "datagrams not bundled");
        }
    }

    /// Sends the first of these datagrams, each by itself: how many went out.
    #[inline]
    fn send_each<'a>(
        &mut self,
        socket: &impl AsFd,
        datagrams: impl Iterator<Item = (&'a SocketAddr, &'a [u8])>,
    ) -> io::Result<usize> {
        let mut count = 0;
        for (to, bytes) in datagrams {
            if count == BATCH {
                break;
            }
            // SAFETY: there are `BATCH` slots, and `count` is less. Nothing else points to them now, and any bytes of an
            // address may be written over.
            unsafe {
                let slot = self.slots.at(count);
                let length = address::write(&mut *slot.address.cast(), to);
                (*slot.header).msg_hdr.msg_namelen = length as libc::socklen_t;
                *slot.part = part_of(bytes);
            }
            count += 1;
        }
        // SAFETY: the first `count` headers were written, and each points to an address of the length
        // beside it and to a part with bytes that live until the end of this function.
        unsafe {
            let headers = self.slots.headers();
            system::sendmmsg(socket.as_fd(), headers, count, libc::MSG_DONTWAIT)
        }
    }
}

#[inline(never)]
fn sort<T>(leaving: &mut [T], to: impl Fn(&T) -> SocketAddr) {
    leaving.sort_by_key(|it| place(to(it)));
}

/// Where a peer stands among others. Two may share a place: a bundle looks at the whole address.
fn place(to: SocketAddr) -> u64 {
    let ip = match to.ip() {
        IpAddr::V4(ip) => u64::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits() as u64,
    };
    ip.rotate_left(16) ^ u64::from(to.port())
}

/// What is known of a bundle that is being made.
struct Open {
    to: SocketAddr,
    /// Of each of its datagrams, but for the last, which may be shorter.
    length: usize,
    bytes: usize,
}

impl Open {
    /// Whether this datagram can be its next.
    fn takes(&self, to: &SocketAddr, bytes: &[u8], longest: usize) -> bool {
        let whole = self.bytes.is_multiple_of(self.length.max(1));
        self.length <= longest
            && (1..=self.length).contains(&bytes.len())
            && whole
            && self.bytes + bytes.len() <= BUNDLE_BYTES_MAX
            && self.to == *to
    }
}

fn part_of(bytes: &[u8]) -> libc::iovec {
    libc::iovec {
        // The system only reads from there.
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}

/// Sends the first of these datagrams, those up to `longest` in bundles: how many went out.
fn send<'a>(
    socket: &impl AsFd,
    datagrams: impl Iterator<Item = (&'a SocketAddr, &'a [u8])>,
    longest: usize,
) -> Result<usize, Refused> {
    let mut to = [const { MaybeUninit::<Address>::uninit() }; BATCH];
    let mut parts = [const { MaybeUninit::<libc::iovec>::uninit() }; BATCH];
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH];
    let mut controls = [const { MaybeUninit::<Control>::uninit() }; BATCH];
    // A bundle's parts stand side by side, so that all pointers to them come from here.
    let parts = parts.as_mut_ptr().cast::<libc::iovec>();
    // How many datagrams each bundle has.
    let mut counts = [0u8; BATCH];
    let mut bundles = 0;
    let mut open: Option<Open> = None;
    for (at, (address, bytes)) in datagrams.take(BATCH).enumerate() {
        // SAFETY: there are `BATCH` places, and `at` is less.
        let part = unsafe {
            parts.add(at).write(part_of(bytes));
            parts.add(at)
        };
        if let Some(open) = &mut open
            && open.takes(address, bytes, longest)
        {
            open.bytes += bytes.len();
            // SAFETY: there is an open bundle, so the last header was written.
            let header = unsafe { headers[bundles - 1].assume_init_mut() };
            if counts[bundles - 1] == 1 {
                let control = controls[bundles - 1].write(control(open.length));
                header.msg_hdr.msg_control = ptr::from_mut(control).cast();
                header.msg_hdr.msg_controllen = size_of::<Control>() as _;
            }
            header.msg_hdr.msg_iovlen += 1;
            counts[bundles - 1] += 1;
            continue;
        }
        let length = address::write(&mut to[bundles], address);
        headers[bundles].write(mmsg::header(to[bundles].as_mut_ptr(), length, part));
        counts[bundles] = 1;
        bundles += 1;
        open = Some(Open {
            to: *address,
            length: bytes.len(),
            bytes: bytes.len(),
        });
    }
    // SAFETY: the first `bundles` headers are initialised, and each points to an address, to parts with
    // bytes, and where it has more than one to a control message, all of the lengths and numbers beside them; they live until
    // the end of this function.
    let sent = unsafe {
        let headers = headers.as_mut_ptr().cast();
        system::sendmmsg(socket.as_fd(), headers, bundles, libc::MSG_DONTWAIT)
    };
    match sent {
        Ok(sent) => Ok(counts
            .iter()
            .take(sent)
            .map(|&count| usize::from(count))
            .sum()),
        Err(error) => {
            // SAFETY: the first bundle begins with the first part, which was written.
            let length = (counts[0] > 1).then(|| unsafe { (*parts).iov_len });
            Err(Refused { error, length })
        }
    }
}

fn control(length: usize) -> Control {
    // SAFETY: all-zero bytes are a valid value of this plain C struct.
    let mut header: libc::cmsghdr = unsafe { std::mem::zeroed() };
    // SAFETY: it only computes.
    header.cmsg_len = unsafe { libc::CMSG_LEN(size_of::<u16>() as c_uint) } as _;
    header.cmsg_level = libc::SOL_UDP;
    header.cmsg_type = UDP_SEGMENT;
    // No longer than `LONGEST`.
    Control {
        header,
        length: length as u16,
    }
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, time::Duration};

    use super::*;

    fn bind(address: &str) -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind(address).expect("loopback can be bound");
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("a timeout can be set");
        let address = socket.local_addr().expect("bound");
        (socket, address)
    }

    fn set(socket: &UdpSocket, level: c_int, option: c_int, value: c_int) {
        // SAFETY: the option is an int, of the size beside it.
        let set = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                level,
                option,
                ptr::from_ref(&value).cast(),
                size_of::<c_int>() as libc::socklen_t,
            )
        };
        assert_eq!(set, 0, "{}", io::Error::last_os_error());
    }

    type Datagrams = Vec<(SocketAddr, Vec<u8>)>;

    /// Sends all of them as a socket's flush does.
    fn send_all(bundles: &mut Bundles, socket: &UdpSocket, datagrams: &Datagrams) {
        let mut leaving = datagrams.clone();
        let bundled = bundles.gather(&mut leaving, |(to, _)| *to);
        let mut rest = &leaving[..];
        while !rest.is_empty() {
            let now = rest.iter().map(|(to, bytes)| (to, &bytes[..]));
            let sent = bundles.send(socket, now, bundled);
            let sent = sent.expect("loopback takes it");
            assert!((1..=BATCH).contains(&sent), "{sent}");
            rest = &rest[sent..];
        }
    }

    /// Each of these peers has got what was for it, whole and in order.
    fn assert_arrived(peers: &[(UdpSocket, SocketAddr)], datagrams: &Datagrams, what: &str) {
        let mut buffer = vec![0; 70_000];
        for (peer, address) in peers {
            let own = datagrams.iter().filter(|(to, _)| to == address);
            for (at, (_, bytes)) in own.enumerate() {
                let length = peer.recv(&mut buffer).expect("a datagram comes");
                assert!(buffer[..length] == bytes[..], "{what}: datagram {at}");
            }
        }
    }

    #[test]
    fn every_peer_gets_its_datagrams_whole_and_in_its_order() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (socket, _) = bind(address);
            let peers: Vec<_> = (0..3).map(|_| bind(address)).collect();
            let mut bundles = Bundles::new(&socket);
            // Lengths and peers by chance, with runs of both, and some longer than any bundle takes.
            let mut chance = 7u64;
            let mut draw = |below: u64| {
                chance = chance
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (chance >> 33) % below
            };
            for count in [1, 7, 8, 40, 90] {
                let datagrams: Datagrams = (0..count)
                    .map(|number| {
                        let length = [0, 1, 300, 300, 300, 700, 1452, 1453, 2000][draw(9) as usize];
                        (peers[draw(3) as usize].1, vec![number as u8; length])
                    })
                    .collect();
                send_all(&mut bundles, &socket, &datagrams);
                assert_arrived(&peers, &datagrams, &format!("{count} to {address}"));
            }
            assert_eq!(bundles.longest, LONGEST, "loopback can bundle");
        }
    }

    #[test]
    fn in_a_crowd_datagrams_of_one_length_to_one_peer_leave_as_one() {
        let (socket, _) = bind("127.0.0.1:0");
        let (peer, to) = bind("127.0.0.1:0");
        let (_other, elsewhere) = bind("127.0.0.1:0");
        // This peer takes bundles uncut, so that they can be seen.
        set(&peer, libc::SOL_UDP, libc::UDP_GRO, 1);
        let mut bundles = Bundles::new(&socket);
        let mut send = |lengths: &[usize]| {
            // Between them what goes elsewhere.
            let pair = |length: &usize| [(to, vec![b'x'; *length]), (elsewhere, vec![b'y'; 9])];
            let datagrams: Datagrams = lengths.iter().flat_map(pair).collect();
            send_all(&mut bundles, &socket, &datagrams);
        };
        let arrived = |count: usize| -> Vec<usize> {
            let mut buffer = vec![0; 70_000];
            let next = |_| peer.recv(&mut buffer).expect("a datagram comes");
            (0..count).map(next).collect()
        };
        send(&[500, 500, 500, 500, 200, 200, 500, 500]);
        assert_eq!(arrived(3), [2200, 200, 1000]);
        send(&[500; 3]);
        assert_eq!(arrived(3), [500; 3], "no crowd");
        send(&[1453; 4]);
        assert_eq!(arrived(4), [1453; 4], "too long for an Ethernet");
    }

    #[test]
    fn where_bundles_are_refused_every_datagram_is_sent_by_itself() {
        // Without checksums there are no bundles.
        let (socket, _) = bind("127.0.0.1:0");
        set(&socket, libc::SOL_SOCKET, libc::SO_NO_CHECK, 1);
        let (peer, to) = bind("127.0.0.1:0");
        let peers = [(peer, to)];
        let datagrams: Datagrams = vec![(to, vec![b'x'; 500]); 20];
        let mut bundles = Bundles::new(&socket);
        for turn in 0..2 {
            send_all(&mut bundles, &socket, &datagrams);
            assert_arrived(&peers, &datagrams, &format!("turn {turn}"));
        }
        assert_eq!(bundles.longest, 0);
        assert!(
            !bundles.gather(&mut datagrams.clone(), |(to, _)| *to),
            "nothing to gather for"
        );

        // A narrow way, as through a tunnel: what is short enough is bundled all the same.
        let (socket, _) = bind("[::1]:0");
        set(&socket, libc::IPPROTO_IPV6, libc::IPV6_MTU, 1280);
        let (peer, to) = bind("[::1]:0");
        let peers = [(peer, to)];
        let datagrams: Datagrams = [1400, 1400, 1400, 1400, 900, 900, 900, 900]
            .map(|length| (to, vec![b'x'; length]))
            .into();
        let mut bundles = Bundles::new(&socket);
        send_all(&mut bundles, &socket, &datagrams);
        assert_arrived(&peers, &datagrams, "a narrow way");
        assert!(bundles.longest < 1400, "{}", bundles.longest);
    }

    #[test]
    fn an_error_is_about_the_first_and_what_stands_before_it_is_sent() {
        let (socket, _) = bind("127.0.0.1:0");
        let (peer, to) = bind("127.0.0.1:0");
        let too_large = vec![0; 70_000];
        let batch = [
            (to, &b"fits"[..]),
            (to, b"also"),
            (to, &too_large),
            (to, b"next"),
        ];
        let batch = || batch.iter().map(|(to, bytes)| (to, *bytes));
        let mut bundles = Bundles::new(&socket);
        for bundled in [false, true] {
            let sent = bundles.send(&socket, batch(), bundled);
            assert_eq!(sent.expect("the first ones fit"), 2);
            let error = bundles.send(&socket, batch().skip(2), bundled);
            let error = error.expect_err("no datagram is so large");
            assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
            let mut buffer = [0; 16];
            for expected in [b"fits", b"also"] {
                let length = peer.recv(&mut buffer).expect("a datagram comes");
                assert_eq!(&buffer[..length], expected);
            }
            assert_eq!(bundles.longest, LONGEST, "no bundle was refused");
        }
    }
}
