//! Which contexts wait on which candidate without having heard anything: those that move on when
//! another call finds out that it is down (BEHAVIOUR 5).

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasherDefault, Hasher},
    net::SocketAddr,
};

use trunkline_sip::Transport;

use crate::{ConnectionId, Hop, health::PeerIx, table::Slot};

type Set = HashSet<u64, BuildHasherDefault<Mixed>>;

/// By candidate; by address for next hops that nobody configured.
#[derive(Default)]
pub struct Waiting {
    configured: Vec<Set>,
    elsewhere: HashMap<(Transport, SocketAddr), Set>,
    /// Those that went by a connection which the peer had opened: it comes from a port that names
    /// nobody.
    by_connection: HashMap<ConnectionId, Set>,
}

impl Waiting {
    /// One more waits.
    pub fn attach(&mut self, peer: Option<PeerIx>, hop: Hop, who: Slot) {
        if let Some(connection) = hop.connection {
            self.by_connection
                .entry(connection)
                .or_default()
                .insert(pack(who));
        }
        let Some(peer) = peer else {
            self.elsewhere
                .entry((hop.transport, hop.remote))
                .or_default()
                .insert(pack(who));
            return;
        };
        let at = peer.0 as usize;
        if self.configured.len() <= at {
            self.configured.resize_with(at + 1, Set::default);
        }
        self.configured[at].insert(pack(who));
    }

    /// It waits no longer; `peer` and `hop` as in [`attach`](Self::attach).
    pub fn detach(&mut self, peer: Option<PeerIx>, hop: Hop, who: Slot) {
        if let Some(connection) = hop.connection
            && let Some(waiting) = self.by_connection.get_mut(&connection)
        {
            waiting.remove(&pack(who));
            if waiting.is_empty() {
                self.by_connection.remove(&connection);
            }
        }
        let Some(peer) = peer else {
            if let Some(waiting) = self.elsewhere.get_mut(&(hop.transport, hop.remote)) {
                waiting.remove(&pack(who));
                if waiting.is_empty() {
                    self.elsewhere.remove(&(hop.transport, hop.remote));
                }
            }
            return;
        };
        if let Some(waiting) = self.configured.get_mut(peer.0 as usize) {
            waiting.remove(&pack(who));
            if waiting.is_empty() && waiting.capacity() > 64 {
                waiting.shrink_to_fit();
            }
        }
    }

    /// How many wait by candidate or address; those by connection are among them.
    pub fn len(&self) -> usize {
        let by_address = self
            .configured
            .iter()
            .chain(self.elsewhere.values())
            .map(Set::len)
            .sum::<usize>();
        by_address.max(self.by_connection.len())
    }

    /// All who wait, oldest first.
    pub fn list(&self, peer: Option<PeerIx>, hop: Hop) -> Vec<Slot> {
        let waiting = match peer {
            Some(peer) => self.configured.get(peer.0 as usize),
            None => self.elsewhere.get(&(hop.transport, hop.remote)),
        };
        let by_connection = hop
            .connection
            .and_then(|connection| self.by_connection.get(&connection));
        let mut all: Vec<u64> = waiting
            .into_iter()
            .chain(by_connection)
            .flatten()
            .copied()
            .collect();
        all.sort_unstable();
        all.dedup();
        all.into_iter().map(unpack).collect()
    }
}

/// The generation leads, so that order is age.
fn pack(slot: Slot) -> u64 {
    u64::from(slot.generation) << 32 | u64::from(slot.index)
}

fn unpack(packed: u64) -> Slot {
    Slot {
        index: packed as u32,
        generation: (packed >> 32) as u32,
    }
}

/// A hasher for our own numbers, which nobody outside can choose.
#[derive(Default)]
pub struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u16(&mut self, value: u16) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29);
    }

    fn write_u128(&mut self, value: u128) {
        self.write_u64(value as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_still_wait_are_listed_oldest_first() {
        let hop = |port| Hop {
            transport: Transport::Udp,
            listener: crate::ListenerId(0),
            remote: SocketAddr::from(([192, 0, 2, 1], port)),
            connection: None,
        };
        let mut waiting = Waiting::default();
        let slots: Vec<Slot> = (0..5)
            .map(|n| Slot {
                index: 9 - n,
                generation: n,
            })
            .collect();
        for peer in [Some(PeerIx(3)), None] {
            slots
                .iter()
                .for_each(|slot| waiting.attach(peer, hop(5060), *slot));
            waiting.detach(peer, hop(5060), slots[2]);
            assert_eq!(
                waiting.list(peer, hop(5060)),
                [slots[0], slots[1], slots[3], slots[4]]
            );
            slots
                .iter()
                .for_each(|slot| waiting.detach(peer, hop(5060), *slot));
        }
        assert!(waiting.elsewhere.is_empty() && waiting.list(None, hop(5061)).is_empty());
    }
}
