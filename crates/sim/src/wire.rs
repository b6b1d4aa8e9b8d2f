//! The wires between Trunkline and its peers: what they lose, delay, double and put out of order.

use std::{collections::BTreeMap, time::Duration};

use crate::{address::Address, chance::Chance};

/// How bad the wires of a world are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quality {
    /// Datagrams lost, in percent.
    pub loss: u64,
    /// Datagrams that arrive twice, in percent.
    pub doubled: u64,
    /// Shortest and longest time under way, in ms; different ones reorder datagrams.
    pub delay: (u64, u64),
}

/// The wires, with their chance.
pub struct Wire {
    quality: Quality,
    chance: Chance,
    /// When the last bytes of each stream arrive: streams keep their order. True: to the peer.
    streams: BTreeMap<(Address, bool), Duration>,
}

impl Wire {
    /// Wires of this quality.
    pub const fn new(quality: Quality, chance: Chance) -> Self {
        Wire {
            quality,
            chance,
            streams: BTreeMap::new(),
        }
    }

    fn delay(&mut self) -> Duration {
        Duration::from_millis(
            self.chance
                .between(self.quality.delay.0, self.quality.delay.1),
        )
    }

    /// When a message that is sent now arrives: not at all, once, or twice.
    pub fn arrivals(&mut self, now: Duration, peer: Address, to_peer: bool) -> Vec<Duration> {
        let first = now + self.delay();
        if peer.stream {
            let last = self.streams.entry((peer, to_peer)).or_default();
            *last = first.max(*last);
            return vec![*last];
        }
        if self.chance.percent(self.quality.loss) {
            return Vec::new();
        }
        let mut arrivals = vec![first];
        if self.chance.percent(self.quality.doubled) {
            arrivals.push(now + self.delay());
        }
        arrivals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_lose_nothing_and_keep_their_order_and_datagrams_do_neither() {
        let quality = Quality {
            loss: 20,
            doubled: 10,
            delay: (1, 300),
        };
        let mut wire = Wire::new(quality, Chance::new(1));
        let count = |wire: &mut Wire, address: &str| {
            let peer = Address::parse(address).unwrap();
            (0..500)
                .map(|nth| wire.arrivals(Duration::from_millis(nth * 10), peer, true))
                .collect::<Vec<_>>()
        };
        let stream = count(&mut wire, "tcp:192.0.2.1");
        assert!(stream.iter().all(|arrivals| arrivals.len() == 1));
        assert!(stream.is_sorted());
        let datagrams = count(&mut wire, "192.0.2.1");
        let lost = datagrams
            .iter()
            .filter(|arrivals| arrivals.is_empty())
            .count();
        let doubled = datagrams
            .iter()
            .filter(|arrivals| arrivals.len() == 2)
            .count();
        assert!(
            (60..140).contains(&lost) && (15..70).contains(&doubled),
            "{lost} {doubled}"
        );
        assert!(!datagrams.concat().is_sorted());
    }
}
