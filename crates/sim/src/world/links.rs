//! Links between Trunkline and its peers: datagrams that nobody takes, and connections that are
//! opened, refused, too slow, or reset.

use std::{net::SocketAddr, time::Duration};

use trunkline_proxy::{
    Hop, HopLoss,
    hop::{ConnectionId, ListenerId},
};

use super::{Happening, World, address_of};
use crate::{address::Address, text::Text};

/// How long the network takes to say that nobody is there.
const REFUSAL: Duration = Duration::from_millis(2);

impl World<'_> {
    /// Takes what Trunkline sends to its peer, or brings back that nobody is there.
    pub(super) fn carry(&mut self, to: Hop, bytes: &[u8], connect_within: Duration) {
        let to = self.follow(to);
        let address = address_of(&to);
        let text = Text::read(bytes);
        self.trace_message(false, address, text.as_ref());
        self.witness.sent(address, bytes, text);
        let dead = self.dead(address);
        match (address.stream, dead) {
            (false, None) => self.transmit(address, bytes),
            (false, Some(true)) => {
                let lost = Happening::Lost(
                    Hop {
                        connection: None,
                        ..to
                    },
                    HopLoss::Unreachable,
                );
                self.plan_for(self.now + REFUSAL, lost);
            }
            (false, Some(false)) => {}
            (true, dead) => self.stream(to, bytes, dead, connect_within),
        }
    }

    /// Where a message goes: by its connection while that lives, else to its address.
    fn follow(&self, to: Hop) -> Hop {
        let living = self
            .connections
            .iter()
            .find(|(_, id)| Some(**id) == to.connection);
        Hop {
            remote: living.map_or(to.remote, |((_, remote), _)| *remote),
            ..to
        }
    }

    /// `Some`: nobody is there; whether the network says so.
    fn dead(&self, address: Address) -> Option<bool> {
        self.inhabitants
            .get(&address)
            .map_or(Some(false), |peer| peer.dead)
    }

    fn transmit(&mut self, to: Address, bytes: &[u8]) {
        for at in self.wire.arrivals(self.now, to, true) {
            self.plan_for(
                at,
                Happening::ToPeer {
                    to,
                    bytes: bytes.to_vec(),
                },
            );
        }
    }

    /// Over the connection there is; what is sent while one is being opened waits for it, and is
    /// lost with it.
    fn stream(&mut self, to: Hop, bytes: &[u8], dead: Option<bool>, connect_within: Duration) {
        let key = (to.listener, to.remote);
        if let Some(queue) = self.dialling.get_mut(&key) {
            queue.push(bytes.to_vec());
        } else if let Some(refuses) = dead {
            self.dialling.insert(key, vec![bytes.to_vec()]);
            let after = if refuses { REFUSAL } else { connect_within };
            self.plan_for(self.now + after, Happening::Dialled(to, refuses));
        } else {
            self.connect(to.listener, to.remote);
            self.transmit(address_of(&to), bytes);
        }
    }

    /// A connection has been tried for as long as it may take.
    pub(super) fn dialled(&mut self, to: Hop, refused: bool) -> Option<HopLoss> {
        let queue = self
            .dialling
            .remove(&(to.listener, to.remote))
            .unwrap_or_default();
        if self.dead(address_of(&to)).is_some() {
            return Some(if refused {
                HopLoss::Refused
            } else {
                HopLoss::ConnectTimeout
            });
        }
        self.connect(to.listener, to.remote);
        for bytes in queue {
            self.transmit(address_of(&to), &bytes);
        }
        None
    }

    /// The connection to this peer, a new one if there is none.
    pub(super) fn connect(&mut self, listener: ListenerId, remote: SocketAddr) -> ConnectionId {
        self.made += 1;
        *self
            .connections
            .entry((listener, remote))
            .or_insert(ConnectionId::new(self.made))
    }

    /// Somebody dies or returns. With a peer its connections go, and what is under way on them.
    pub(super) fn set_dead(&mut self, who: Address, dead: Option<bool>) {
        if let Some(inhabitant) = self.inhabitants.get_mut(&who) {
            inhabitant.dead = dead;
        }
        if dead.is_none() || !who.stream {
            return;
        }
        self.forget(|what| match what {
            Happening::ToTrunkline { from: peer, .. } | Happening::ToPeer { to: peer, .. } => {
                *peer == who
            }
            Happening::Wake(..)
            | Happening::Lost(..)
            | Happening::Dialled(..)
            | Happening::Answer(..)
            | Happening::News(..)
            | Happening::Fault(_) => false,
        });
        let its = |(_, remote): &&(ListenerId, SocketAddr)| *remote == who.socket;
        let keys: Vec<_> = self.connections.keys().filter(its).copied().collect();
        for (listener, remote) in keys {
            let connection = self.connections.remove(&(listener, remote));
            let hop = Hop {
                transport: who.transport(),
                listener,
                remote,
                connection,
            };
            self.plan_for(self.now, Happening::Lost(hop, HopLoss::Closed));
        }
    }
}
