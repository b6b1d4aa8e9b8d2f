//! What passes between Trunkline and the world: the turns of peers, and each input to the shard that
//! owns it with everything that follows.

use std::time::Duration;

use trunkline_proxy::{Effect, Event, Hop, Input, Sending};

use super::{Happening, NEWS_TAKES, Nature, World};
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
        self.witness.begin(self.now, seen);
        let mut outbox = std::mem::take(&mut self.outbox);
        self.brains[shard].handle(self.epoch + self.now, input, &mut outbox);
        let (effects, arena) = outbox.split();
        for effect in effects {
            match effect {
                Effect::Send(Sending {
                    to,
                    bytes,
                    connect_within,
                }) => {
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
                    }
                }
                Effect::Share(news) => {
                    for other in (0..self.brains.len()).filter(|other| *other != shard) {
                        let takes = self.chance.between(0, NEWS_TAKES);
                        let at = self.now + Duration::from_millis(takes);
                        self.plan_for(at, Happening::News(other, news));
                    }
                }
            }
        }
        outbox.clear();
        self.outbox = outbox;
        let brain = &self.brains[shard];
        self.witness.end(&self.names, &|| brain.peers())
    }
}
