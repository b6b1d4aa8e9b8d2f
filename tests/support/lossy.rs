//! A bad network between Trunkline and one peer: it loses datagrams, the same ones for the same seed.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use crate::Lab;

/// Stands at the address that Trunkline knows the peer by, and hands on what it does not lose.
/// Works to the end of the process.
#[derive(Debug)]
pub struct Lossy {
    lost: Arc<AtomicU32>,
    passed: Arc<AtomicU32>,
}

impl Lossy {
    /// Starts one at `at`, between `trunkline` and `peer`; `percent` of all datagrams get lost.
    ///
    /// # Panics
    /// When the address is taken.
    pub fn start(
        lab: &Lab,
        at: &str,
        trunkline: &str,
        peer: &str,
        percent: u32,
        seed: u32,
    ) -> Lossy {
        let socket = UdpSocket::bind(lab.addr(at)).expect("the address is free");
        let (trunkline, peer) = (lab.addr(trunkline), lab.addr(peer));
        let relay = Lossy {
            lost: Arc::default(),
            passed: Arc::default(),
        };
        let (lost, passed) = (Arc::clone(&relay.lost), Arc::clone(&relay.passed));
        thread::spawn(move || {
            let mut dice = Dice(seed);
            let mut datagram = [0; 65536];
            loop {
                // An error is the ICMP report of a peer that is not there yet, or no more.
                let Ok((length, from)) = socket.recv_from(&mut datagram) else {
                    continue;
                };
                if dice.percent() < percent {
                    lost.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                let to: SocketAddr = if from == trunkline { peer } else { trunkline };
                passed.fetch_add(1, Ordering::Relaxed);
                let _ = socket.send_to(&datagram[..length], to);
            }
        });
        relay
    }

    /// Datagrams lost so far, and passed on.
    pub fn counts(&self) -> (u32, u32) {
        (
            self.lost.load(Ordering::Relaxed),
            self.passed.load(Ordering::Relaxed),
        )
    }
}

/// Numbers that look random, the same for the same seed.
struct Dice(u32);

impl Dice {
    /// 0 to 99.
    fn percent(&mut self) -> u32 {
        // A linear congruence; its high bits are good enough for weather.
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 16) % 100
    }
}
