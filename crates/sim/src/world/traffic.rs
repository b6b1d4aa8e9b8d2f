//! What passes between Trunkline and the world: inputs to the shard that owns them, and what a
//! shard sends to the peer it is for.

use std::{net::SocketAddr, time::Duration};

use trunkline_proxy::{
    Effect, Event, Hop, HopLoss, Input,
    hop::{ConnectionId, ListenerId},
};

use super::{Happening, Nature, World, address_of};
use crate::{
    address::Address,
    check::{Broken, Seen},
    ladder::print,
    names::listener_for,
    peer::{Turn, Want},
    text::Text,
};

impl World<'_> {
    /// A peer's turn, and what it wants.
    pub(super) fn turn(&mut self, who: Address, act: impl FnOnce(&mut Nature, &mut Turn<'_>)) {
        let Some(inhabitant) = self.inhabitants.get_mut(&who) else {
            return;
        };
        let mut turn = Turn {
            now: self.now,
            chance: &mut inhabitant.chance,
            wants: Vec::new(),
        };
        act(&mut inhabitant.nature, &mut turn);
        for want in turn.wants {
            match want {
                Want::Wake(after, key) => {
                    self.plan_for(self.now + after, Happening::Wake(who, key))
                }
                Want::Send(bytes) => {
                    for at in self.wire.arrivals(self.now, who, false) {
                        self.plan_for(
                            at,
                            Happening::ToTrunkline {
                                from: who,
                                bytes: bytes.clone(),
                            },
                        );
                    }
                }
            }
        }
    }

    pub(super) fn deliver(&mut self, from: Address, bytes: &[u8]) -> Result<(), Broken> {
        let ipv4 = from.socket.is_ipv4();
        let Some(listener) = listener_for(&self.settings.listeners, from.transport(), ipv4, None)
        else {
            return Ok(());
        };
        let connection = from.stream.then(|| self.connect(listener, from.socket));
        let hop = Hop {
            transport: from.transport(),
            listener,
            remote: from.socket,
            connection,
        };
        let text = Text::read(bytes);
        self.trace_message(true, from, text.as_ref());
        let shard = self.owner(bytes, text.as_ref());
        let good = self
            .inhabitants
            .get(&from)
            .is_some_and(|peer| matches!(peer.nature, Nature::Good(_)));
        let seen = Seen::Message {
            from,
            text: text.filter(|_| good),
        };
        self.input(shard, Input::Message { from: hop, bytes }, seen)
    }

    fn connect(&mut self, listener: ListenerId, remote: SocketAddr) -> ConnectionId {
        self.made += 1;
        *self
            .connections
            .entry((listener, remote))
            .or_insert(ConnectionId(self.made))
    }

    /// Which shard these bytes belong to (DESIGN 1.5): a response by its branch, a request by its
    /// Call-ID.
    fn owner(&self, bytes: &[u8], text: Option<&Text>) -> usize {
        let branch = trunkline_sip::peek::is_response(bytes)
            .then(|| trunkline_sip::peek::top_branch(bytes))
            .flatten();
        let named = branch.and_then(|branch| self.branches.read(branch));
        let shard = named.map_or_else(
            || {
                let call_id = text.and_then(|text| text.get("Call-ID")).unwrap_or("");
                self.branches.hash(&[call_id.as_bytes()]) as usize
            },
            |(token, _)| usize::from(token.shard.0),
        );
        shard % self.brains.len()
    }

    /// One input to one shard, and everything that follows from it.
    pub(super) fn input(
        &mut self,
        shard: usize,
        input: Input<'_>,
        seen: Seen,
    ) -> Result<(), Broken> {
        self.inputs += 1;
        // What others have learned already is not passed on again: it would go round for ever.
        let passes_on = !matches!(seen, Seen::Health);
        self.witness.begin(self.now, seen);
        let mut outbox = std::mem::take(&mut self.outbox);
        self.brains[shard].handle(self.epoch + self.now, input, &mut outbox);
        let mut learned = Vec::new();
        let (effects, arena) = outbox.split();
        for effect in effects {
            match effect {
                Effect::Send {
                    to,
                    bytes,
                    connect_within,
                } => {
                    let bytes = arena
                        .get(bytes.start as usize..bytes.end as usize)
                        .unwrap_or_default();
                    self.carry(to, bytes, connect_within);
                }
                Effect::Ask { ask, question } => {
                    self.witness.asked(&question);
                    let (after, answer) =
                        self.slow
                            .answer(&question, &self.names, &self.settings.listeners);
                    self.plan_for(self.now + after, Happening::Answer(shard, ask, answer));
                }
                Effect::Tell(event) => {
                    self.witness.told(&event);
                    if let Event::Health { peer, is, why, .. } = event {
                        let at = print::seconds(self.now);
                        self.say(format!(
                            "{at:>8}  shard {shard}: {peer} is {}: {why}",
                            is.word()
                        ));
                        learned.push((peer, is));
                    }
                }
            }
        }
        outbox.clear();
        self.outbox = outbox;
        let brain = &self.brains[shard];
        self.witness.end(&self.names, &|| brain.peers())?;
        for (peer, is) in learned.into_iter().filter(|_| passes_on) {
            for other in (0..self.brains.len()).filter(|other| *other != shard) {
                self.input(other, Input::PeerHealth { peer, is }, Seen::Health)?;
            }
        }
        Ok(())
    }

    /// Takes what Trunkline sends to its peer, or brings back that nobody is there.
    fn carry(&mut self, to: Hop, bytes: &[u8], connect_within: Duration) {
        let living = self
            .connections
            .iter()
            .find(|(_, id)| Some(**id) == to.connection);
        let to = Hop {
            remote: living.map_or(to.remote, |((_, remote), _)| *remote),
            ..to
        };
        let address = address_of(&to);
        let text = Text::read(bytes);
        self.trace_message(false, address, text.as_ref());
        self.witness.sent(address, bytes, text);
        let dead = self
            .inhabitants
            .get(&address)
            .map_or(Some(false), |peer| peer.dead);
        let lost = Hop {
            connection: None,
            ..to
        };
        match (dead, address.stream) {
            (None, true) => {
                self.connect(to.listener, to.remote);
            }
            (None, false) => {}
            (Some(true), true) => {
                return self.plan_for(
                    self.now + Duration::from_millis(2),
                    Happening::Lost(lost, HopLoss::Refused),
                );
            }
            (Some(false), true) => {
                return self.plan_for(
                    self.now + connect_within,
                    Happening::Lost(lost, HopLoss::ConnectTimeout),
                );
            }
            (Some(true), false) => {
                return self.plan_for(
                    self.now + Duration::from_millis(2),
                    Happening::Lost(lost, HopLoss::Unreachable),
                );
            }
            (Some(false), false) => return,
        }
        for at in self.wire.arrivals(self.now, address, true) {
            self.plan_for(
                at,
                Happening::ToPeer {
                    to: address,
                    bytes: bytes.to_vec(),
                },
            );
        }
    }
}
