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

/// No entry.
const NONE: u32 = u32::MAX;
/// With less room than this, entries are left as they are.
const SHRINK_ABOVE: usize = 1024;

/// One who waits on a candidate that is configured, and its neighbours in that candidate's list.
struct Entry {
    who: Slot,
    before: u32,
    behind: u32,
}

/// What one who waits gives back when it waits no longer.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Ticket {
    /// This entry.
    Entry(u32),
    /// This entry, if there is one, and known by its hop as well.
    ByHop(u32),
}

/// By candidate; by address for next hops that nobody configured. Nearly all calls are answered at
/// once, so to come and to leave must cost little; to be listed is rare.
#[derive(Default)]
pub struct Waiting {
    /// The first entry of each candidate's list.
    configured: Vec<u32>,
    entries: Vec<Entry>,
    /// Entries that are nobody's.
    free: Vec<u32>,
    elsewhere: HashMap<(Transport, SocketAddr), Set>,
    /// Those that went by a connection which the peer had opened: it comes from a port that names
    /// nobody.
    by_connection: HashMap<ConnectionId, Set>,
}

impl Waiting {
    /// One more waits.
    pub fn attach(&mut self, peer: Option<PeerIx>, hop: Hop, who: Slot) -> Ticket {
        match (peer, hop.connection) {
            (Some(peer), None) => Ticket::Entry(self.enter(peer, who)),
            _ => self.attach_by_hop(peer, hop, who),
        }
    }

    fn enter(&mut self, peer: PeerIx, who: Slot) -> u32 {
        let at = peer.0 as usize;
        if self.configured.len() <= at {
            self.configured.resize(at + 1, NONE);
        }
        let entry = |behind| Entry {
            who,
            before: NONE,
            behind,
        };
        let first = &mut self.configured[at];
        let behind = *first;
        match self.free.pop() {
            Some(vacant) => {
                *first = vacant;
                self.entries[vacant as usize] = entry(behind);
            }
            None => {
                *first = self.entries.len() as u32;
                self.entries.push(entry(behind));
            }
        }
        let first = *first;
        if let Some(next) = self.entries.get_mut(behind as usize) {
            next.before = first;
        }
        first
    }

    #[cold]
    fn attach_by_hop(&mut self, peer: Option<PeerIx>, hop: Hop, who: Slot) -> Ticket {
        if let Some(connection) = hop.connection {
            let waiting = self.by_connection.entry(connection).or_default();
            waiting.insert(pack(who));
        }
        if peer.is_none() {
            let address = (hop.transport, hop.remote);
            let waiting = self.elsewhere.entry(address).or_default();
            waiting.insert(pack(who));
        }
        Ticket::ByHop(peer.map_or(NONE, |peer| self.enter(peer, who)))
    }

    /// It waits no longer; `peer`, `hop` and `who` as in [`attach`](Self::attach).
    pub fn detach(
        &mut self,
        ticket: Ticket,
        peer: Option<PeerIx>,
        hop: impl FnOnce() -> Hop,
        who: Slot,
    ) {
        let at = match ticket {
            Ticket::Entry(at) => at,
            Ticket::ByHop(at) => {
                self.detach_by_hop(peer, hop(), who);
                at
            }
        };
        let Some(entry) = self.entries.get(at as usize) else {
            return;
        };
        let (before, behind) = (entry.before, entry.behind);
        if let Some(next) = self.entries.get_mut(behind as usize) {
            next.before = before;
        }
        match self.entries.get_mut(before as usize) {
            Some(one) => one.behind = behind,
            None => {
                let list = peer.and_then(|peer| self.configured.get_mut(peer.0 as usize));
                if let Some(first) = list {
                    *first = behind;
                }
            }
        }
        self.free.push(at);
        if self.free.len() == self.entries.len() && self.free.len() > SHRINK_ABOVE {
            (self.entries, self.free) = (Vec::new(), Vec::new());
        }
    }

    #[cold]
    fn detach_by_hop(&mut self, peer: Option<PeerIx>, hop: Hop, who: Slot) {
        if let Some(connection) = hop.connection
            && let Some(waiting) = self.by_connection.get_mut(&connection)
        {
            waiting.remove(&pack(who));
            if waiting.is_empty() {
                self.by_connection.remove(&connection);
            }
        }
        if peer.is_none()
            && let Some(waiting) = self.elsewhere.get_mut(&(hop.transport, hop.remote))
        {
            waiting.remove(&pack(who));
            if waiting.is_empty() {
                self.elsewhere.remove(&(hop.transport, hop.remote));
            }
        }
    }

    /// How many wait by candidate or address; those by connection are among them.
    pub fn len(&self) -> usize {
        let configured = self.entries.len() - self.free.len();
        let by_address = self.elsewhere.values().map(Set::len).sum::<usize>();
        (configured + by_address).max(self.by_connection.len())
    }

    /// All who wait, oldest first.
    pub fn list(&self, peer: Option<PeerIx>, hop: Hop) -> Vec<Slot> {
        let first = match peer {
            Some(peer) => self.configured.get(peer.0 as usize),
            None => None,
        };
        let entry = |at: u32| self.entries.get(at as usize);
        let configured =
            std::iter::successors(first.and_then(|at| entry(*at)), |one| entry(one.behind));
        let elsewhere = match peer {
            Some(_) => None,
            None => self.elsewhere.get(&(hop.transport, hop.remote)),
        };
        let by_connection = hop
            .connection
            .and_then(|connection| self.by_connection.get(&connection));
        let by_hop = elsewhere.into_iter().chain(by_connection).flatten();
        let mut all: Vec<u64> = configured
            .map(|one| pack(one.who))
            .chain(by_hop.copied())
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
            let tickets: Vec<Ticket> = slots
                .iter()
                .map(|slot| waiting.attach(peer, hop(5060), *slot))
                .collect();
            let other = waiting.attach(Some(PeerIx(1)), hop(5070), slots[0]);
            let detach = |waiting: &mut Waiting, at: usize| {
                waiting.detach(tickets[at], peer, || hop(5060), slots[at]);
            };
            // From the middle, and from both ends.
            let mut left = vec![0, 1, 2, 3, 4];
            for (leaves, len) in [(2, 5), (4, 4), (0, 3), (3, 2), (1, 1)] {
                let there: Vec<Slot> = left.iter().map(|at| slots[*at]).collect();
                assert_eq!(waiting.list(peer, hop(5060)), there);
                assert_eq!(waiting.len(), len + 1);
                detach(&mut waiting, leaves);
                left.retain(|at| *at != leaves);
            }
            assert_eq!(waiting.list(Some(PeerIx(1)), hop(5070)), [slots[0]]);
            waiting.detach(other, Some(PeerIx(1)), || hop(5070), slots[0]);
            assert_eq!(waiting.len(), 0);
        }
        assert!(waiting.elsewhere.is_empty() && waiting.list(None, hop(5061)).is_empty());
    }

    #[test]
    fn whoever_came_by_a_connection_is_found_by_it_and_by_its_candidate_once() {
        let hop = Hop {
            transport: Transport::Tcp,
            listener: crate::ListenerId(0),
            remote: SocketAddr::from(([192, 0, 2, 1], 5060)),
            connection: Some(ConnectionId::new(7)),
        };
        let who = Slot {
            index: 1,
            generation: 2,
        };
        for peer in [Some(PeerIx(0)), None] {
            let mut waiting = Waiting::default();
            let ticket = waiting.attach(peer, hop, who);
            assert_eq!(waiting.list(peer, hop), [who]);
            waiting.detach(ticket, peer, || hop, who);
            assert_eq!((waiting.len(), waiting.list(peer, hop).len()), (0, 0));
        }
    }

    #[test]
    fn memory_of_a_peak_goes_back() {
        let mut waiting = Waiting::default();
        let hop = Hop {
            transport: Transport::Udp,
            listener: crate::ListenerId(0),
            remote: SocketAddr::from(([192, 0, 2, 1], 5060)),
            connection: None,
        };
        let slot = |generation| Slot {
            index: 0,
            generation,
        };
        let peer = Some(PeerIx(0));
        let tickets: Vec<Ticket> = (0..5000)
            .map(|at| waiting.attach(peer, hop, slot(at)))
            .collect();
        for (at, ticket) in tickets.into_iter().enumerate() {
            waiting.detach(ticket, peer, || hop, slot(at as u32));
        }
        assert_eq!(
            (waiting.entries.capacity(), waiting.free.capacity()),
            (0, 0)
        );
    }
}
