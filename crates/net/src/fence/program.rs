//! The filter itself: a classic BPF program that drops the datagrams of some addresses.
//!
//! The system runs it for each datagram of a socket before anybody is woken. It reads the source
//! address from the network header and compares it with one address after the other; what it
//! returns is how many bytes may pass.

use std::net::IpAddr;

use libc::{
    BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SKF_NET_OFF, c_int, sock_filter,
};

/// Where the source address is in an IPv4 header (RFC 791 §3.1).
const V4_SOURCE: c_int = 12;
/// The words of the source address in an IPv6 header (RFC 8200 §3).
const V6_SOURCE: [c_int; 4] = [8, 12, 16, 20];
/// What [`v6`] takes for one address.
const V6_OPS: u8 = 9;

const PASS: sock_filter = op(BPF_RET | BPF_K, u32::MAX);
const DROP: sock_filter = op(BPF_RET | BPF_K, 0);

/// Drops what these addresses send and passes everything else. They are of one family, as all
/// peers of a socket are, and at most [`SOURCES_MAX`](super::watch::SOURCES_MAX).
pub(super) fn program(sources: &[IpAddr]) -> Vec<sock_filter> {
    let (mut v4s, mut v6s) = (Vec::new(), Vec::new());
    for source in sources {
        match source {
            IpAddr::V4(ip) => v4s.push(ip.to_bits()),
            IpAddr::V6(ip) => v6s.push(ip.segments()),
        }
    }
    if v4s.is_empty() { v6(&v6s) } else { v4(&v4s) }
}

fn v4(sources: &[u32]) -> Vec<sock_filter> {
    let mut ops = vec![load(V4_SOURCE)];
    // A match jumps over the comparisons that are left, and over PASS.
    let left = (1..=sources.len() as u8).rev();
    ops.extend(
        sources
            .iter()
            .zip(left)
            .map(|(ip, left)| equals(*ip, left, 0)),
    );
    ops.extend([PASS, DROP]);
    ops
}

fn v6(sources: &[[u16; 8]]) -> Vec<sock_filter> {
    let [first, second, third, last] = V6_SOURCE;
    // The last word is what differs most, so it is looked at first, and is at hand at the begin of each
    // address: most take one comparison.
    let mut ops = vec![load(last)];
    for segments in sources {
        let word = |at: usize| u32::from(segments[at]) << 16 | u32::from(segments[at + 1]);
        ops.extend([
            equals(word(6), 0, V6_OPS - 1),
            load(first),
            equals(word(0), 0, 5),
            load(second),
            equals(word(2), 0, 3),
            load(third),
            equals(word(4), 0, 1),
            DROP,
            load(last),
        ]);
    }
    ops.push(PASS);
    ops
}

/// Loads a word of the network header.
const fn load(offset: c_int) -> sock_filter {
    op(BPF_LD | BPF_W | BPF_ABS, (SKF_NET_OFF + offset) as u32)
}

/// Skips so many operations if what was loaded last is this, or is not.
const fn equals(value: u32, if_so: u8, if_not: u8) -> sock_filter {
    sock_filter {
        jt: if_so,
        jf: if_not,
        ..op(BPF_JMP | BPF_JEQ | BPF_K, value)
    }
}

const fn op(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fence::watch::SOURCES_MAX;

    /// What the system does with a program: how many bytes of a datagram with this network header pass.
    fn run(program: &[sock_filter], header: &[u8]) -> u32 {
        let (mut at, mut loaded) = (0, 0);
        loop {
            let op = program[at];
            at += 1;
            match u32::from(op.code) {
                code if code == BPF_LD | BPF_W | BPF_ABS => {
                    let from = (op.k as i32 - SKF_NET_OFF) as usize;
                    let word = header[from..from + 4].try_into().expect("four bytes");
                    loaded = u32::from_be_bytes(word);
                }
                code if code == BPF_JMP | BPF_JEQ | BPF_K => {
                    at += usize::from(if loaded == op.k { op.jt } else { op.jf });
                }
                code if code == BPF_RET | BPF_K => return op.k,
                code => panic!("the system would refuse operation {code:#x}"),
            }
        }
    }

    fn header(source: IpAddr) -> Vec<u8> {
        // What is not the source is such that it would match a wrong offset.
        match source {
            IpAddr::V4(ip) => [&[0x7f; 12][..], &ip.octets(), &[0x7f; 4]].concat(),
            IpAddr::V6(ip) => [&[0xfd; 8][..], &ip.octets(), &[0xfd; 16]].concat(),
        }
    }

    #[test]
    fn exactly_the_sources_named_are_dropped_however_many_there_are() {
        let v4 = |n: u32| IpAddr::from(std::net::Ipv4Addr::from_bits(0x7f00_0100 + 3 * n));
        let v6 = |n: u128| {
            // Neighbours that differ in one word only, in each word in turn.
            let differs = (1 + n / 4) << (32 * (n % 4));
            IpAddr::from(std::net::Ipv6Addr::from_bits((0xfd << 120) ^ differs))
        };
        for count in [1, 2, 3, 5, SOURCES_MAX] {
            let families: [Vec<IpAddr>; 2] = [
                (0..2 * count as u32).map(v4).collect(),
                (0..2 * count as u128).map(v6).collect(),
            ];
            for sources in families {
                let (fenced, free) = sources.split_at(count);
                let program = program(fenced);
                assert!(program.len() <= 4096, "the system takes no more");
                for source in fenced {
                    assert_eq!(run(&program, &header(*source)), 0, "{source} of {count}");
                }
                for source in free {
                    assert_eq!(run(&program, &header(*source)), u32::MAX, "{source}");
                }
            }
        }
    }
}
