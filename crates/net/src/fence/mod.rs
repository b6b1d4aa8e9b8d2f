//! Floods of strangers, turned away by the system before anybody is woken.
//!
//! A datagram of a stranger is dropped by the brain within a microsecond, but that it is read at all costs
//! eight. So when too many come, a filter at the socket drops them: [`watch`] decides whose, [`program`]
//! and [`filter`] see to it. Nobody is fenced whom the brain would listen to, and whoever we ask something
//! is heard at once. Where the system refuses filters, everything goes on without.
//!
//! What the system drops because a socket's buffer was full stands in the same count of its, so that is read here, too.
//!
//! One shard drops what another one's socket has read, so each tells the others whom it fences, and whom it
//! asks.

mod filter;
mod program;
mod watch;

use std::{net::IpAddr, os::fd::BorrowedFd, time::Duration};

use trunkline_proxy::{Event, Hop, ListenerId, Moment, ShardId, event::Fence};
use trunkline_sip::Transport;

use self::watch::{Busy, Change, SOURCES_MAX, Watch};
use crate::{brain::Brain, sockets::Sockets, stats::NetStats};

/// How often the dropped datagrams of a fence are counted while it stands, and how long after a crowd those that
/// found no room.
const BEAT: Duration = Duration::from_secs(1);

/// The fences of one shard's sockets.
pub(crate) struct Fences {
    shard: ShardId,
    shards: usize,
    /// By listener, as far as there was something to watch.
    gates: Vec<Gate>,
    /// When [`tend`](Self::tend) has something to do; `NEVER`: not by itself.
    due: Option<Moment>,
    /// When it is time to look whether datagrams found a buffer full.
    crowd_over: Option<Moment>,
    /// Some fence stands.
    standing: bool,
    /// The system takes no filters from us.
    refused: bool,
}

/// What others are to hear.
#[derive(Debug)]
pub(crate) enum Word {
    /// The slow side.
    Tell(Event),
    /// The other shards.
    Pass(Order),
}

/// What a shard says to the others.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Order {
    listener: ListenerId,
    source: IpAddr,
    what: Wanted,
}

#[derive(Copy, Clone, Debug)]
enum Wanted {
    /// It floods: so many datagrams a second.
    Fence { rate: u32 },
    /// It was asked something.
    Hear,
}

impl Fences {
    pub(crate) fn new(shard: ShardId, shards: usize) -> Self {
        Fences {
            shard,
            shards,
            gates: Vec::new(),
            due: None,
            crowd_over: None,
            standing: false,
            refused: false,
        }
    }

    /// More has come than is read at once: some of it may have found a socket's buffer full.
    #[cold]
    pub(crate) fn crowd(&mut self, now: Moment) {
        let over = *self.crowd_over.get_or_insert(now + BEAT);
        self.due = Some(self.due.map_or(over, |due| due.min(over)));
    }

    /// The brain says what happened: that it dropped a datagram is what counts here.
    #[inline]
    pub(crate) fn hear(&mut self, now: Moment, event: &Event) {
        if let Event::Dropped { from, .. } = event {
            self.count(now, *from);
        }
    }

    /// Something came from there that nobody wants.
    #[cold]
    pub(crate) fn count(&mut self, now: Moment, from: Hop) {
        if from.transport != Transport::Udp || self.refused {
            return;
        }
        if self
            .gate(now, from.listener)
            .watch
            .count(now, from.remote.ip())
        {
            self.due = Some(now);
        }
    }

    /// Whether some fence stands, so that [`ask`](Self::ask) matters.
    #[inline]
    pub(crate) fn stand(&self) -> bool {
        self.standing
    }

    /// When [`tend`](Self::tend) has something to do.
    #[inline]
    pub(crate) fn deadline(&self) -> Moment {
        self.due.unwrap_or(Moment::NEVER)
    }

    /// Does what is due.
    #[cold]
    pub(crate) fn tend(&mut self, now: Moment, brain: &impl Brain, sockets: &Sockets) -> Vec<Word> {
        let mut words = Vec::new();
        for at in 0..self.gates.len() {
            let listener = ListenerId(at as u16);
            let Some(gate) = self.gates.get_mut(at) else {
                break;
            };
            let is_stranger = |source| brain.is_stranger(now, source);
            let mut found = gate.watch.judge(now, is_stranger);
            words.extend(found.iter().map(|busy| Word::Pass(order(listener, *busy))));
            // The other's snapshot may be older than ours.
            gate.ordered.retain(|busy| is_stranger(busy.source));
            found.append(&mut gate.ordered);
            let change = gate.fence(now, &found);
            self.carry_out(now, listener, change, sockets, &mut words);
            let Some(gate) = self.gates.get_mut(at) else {
                break;
            };
            gate.read_drops_if_due(now, listener, sockets);
            let change = gate.watch.tick(now);
            self.carry_out(now, listener, change, sockets, &mut words);
        }
        if self.crowd_over.take_if(|over| *over <= now).is_some() {
            for at in 0..sockets.listeners() {
                let listener = ListenerId(at as u16);
                if let Some(socket) = sockets.datagram_socket(listener) {
                    self.gate(now, listener).read_drops(socket, sockets.stats());
                }
            }
        }
        self.look_ahead(now);
        words
    }

    /// There is a new snapshot: whoever it knows is heard at once.
    #[cold]
    pub(crate) fn review(
        &mut self,
        now: Moment,
        brain: &impl Brain,
        sockets: &Sockets,
    ) -> Vec<Word> {
        let mut words = Vec::new();
        for at in 0..self.gates.len() {
            let Some(gate) = self.gates.get_mut(at) else {
                break;
            };
            let change = gate
                .watch
                .review(now, |source| brain.is_stranger(now, source));
            self.carry_out(now, ListenerId(at as u16), change, sockets, &mut words);
        }
        self.look_ahead(now);
        words
    }

    /// A request leaves for this hop: its answer is to be heard.
    #[cold]
    pub(crate) fn ask(&mut self, now: Moment, to: Hop, sockets: &Sockets) -> Vec<Word> {
        let source = to.remote.ip();
        let is_fenced = |gate: &Gate| gate.watch.fenced().contains(&source);
        if !self
            .gates
            .get(usize::from(to.listener.0))
            .is_some_and(is_fenced)
        {
            return Vec::new();
        }
        let order = Order {
            listener: to.listener,
            source,
            what: Wanted::Hear,
        };
        let mut words = self.obey(now, order, sockets);
        words.push(Word::Pass(order));
        words
    }

    /// Does what another shard says: fences with the next [`tend`](Self::tend), hears at once.
    #[cold]
    pub(crate) fn obey(&mut self, now: Moment, order: Order, sockets: &Sockets) -> Vec<Word> {
        let mut words = Vec::new();
        if self.refused {
            return words;
        }
        let Order {
            listener, source, ..
        } = order;
        let gate = self.gate(now, listener);
        match order.what {
            Wanted::Fence { rate } => {
                if gate.ordered.len() < SOURCES_MAX {
                    gate.ordered.push(Busy { source, rate });
                    self.due = Some(now);
                }
            }
            Wanted::Hear => {
                let change = gate.watch.ask(now, source);
                self.carry_out(now, listener, change, sockets, &mut words);
                self.look_ahead(now);
            }
        }
        words
    }

    fn gate(&mut self, now: Moment, listener: ListenerId) -> &mut Gate {
        let at = usize::from(listener.0);
        if self.gates.len() <= at {
            let shards = self.shards;
            self.gates.resize_with(at + 1, || Gate::new(now, shards));
        }
        &mut self.gates[at]
    }

    /// Has the socket do what was decided.
    fn carry_out(
        &mut self,
        now: Moment,
        listener: ListenerId,
        change: Option<Change>,
        sockets: &Sockets,
        words: &mut Vec<Word>,
    ) {
        let (Some(change), Some(gate)) = (change, self.gates.get_mut(usize::from(listener.0)))
        else {
            return;
        };
        let Some(socket) = sockets.datagram_socket(listener) else {
            return;
        };
        if let Err(error) = gate.turn(now, change, socket, sockets.stats()) {
            tracing::debug!(%error, "the system takes no filter; floods are read and dropped");
            return self.give_up(sockets, words);
        }
        match change {
            Change::Up | Change::Moved | Change::Gone => {
                words.push(gate.word(self.shard, listener, gate.watch.fenced()));
            }
            Change::Lifted => {}
        }
    }

    /// Has no fence any more, anywhere.
    fn give_up(&mut self, sockets: &Sockets, words: &mut Vec<Word>) {
        self.refused = true;
        for (at, gate) in std::mem::take(&mut self.gates).into_iter().enumerate() {
            let listener = ListenerId(at as u16);
            if let (Some(_), Some(socket)) = (gate.beat, sockets.datagram_socket(listener)) {
                // It may have one of before; one that cannot be taken off cannot be helped.
                let _ = filter::detach(socket);
                words.push(gate.word(self.shard, listener, &[]));
            }
        }
    }

    fn look_ahead(&mut self, now: Moment) {
        self.standing = self.gates.iter().any(|gate| gate.beat.is_some());
        let dues = self
            .gates
            .iter()
            .flat_map(|gate| [gate.watch.deadline(), gate.beat, gate.ordered_at(now)]);
        self.due = dues.flatten().chain(self.crowd_over).min();
    }
}

fn order(listener: ListenerId, busy: Busy) -> Order {
    Order {
        listener,
        source: busy.source,
        what: Wanted::Fence { rate: busy.rate },
    }
}

/// One listener's fence, and what it has turned away.
struct Gate {
    watch: Watch,
    /// Whom other shards want to be fenced.
    ordered: Vec<Busy>,
    /// Of the busiest that was found, datagrams a second.
    rate: u32,
    /// Since there was no fence, datagrams.
    turned_away: u64,
    /// What the system said last of all that it dropped at the socket; it goes round.
    drops: u32,
    /// When it is asked again; `None` when the fence does not stand.
    beat: Option<Moment>,
}

impl Gate {
    fn new(now: Moment, shards: usize) -> Self {
        Gate {
            watch: Watch::new(now, shards),
            ordered: Vec::new(),
            rate: 0,
            turned_away: 0,
            drops: 0,
            beat: None,
        }
    }

    fn ordered_at(&self, now: Moment) -> Option<Moment> {
        (!self.ordered.is_empty()).then_some(now)
    }

    fn fence(&mut self, now: Moment, found: &[Busy]) -> Option<Change> {
        let change = self
            .watch
            .fence(now, found.iter().map(|busy| busy.source))?;
        if change == Change::Up {
            (self.rate, self.turned_away) = (0, 0);
        }
        let fastest = found.iter().map(|busy| busy.rate).max();
        self.rate = self.rate.max(fastest.unwrap_or_default());
        Some(change)
    }

    fn turn(
        &mut self,
        now: Moment,
        change: Change,
        socket: BorrowedFd<'_>,
        stats: &NetStats,
    ) -> std::io::Result<()> {
        match change {
            Change::Up | Change::Moved => {
                self.read_drops(socket, stats);
                self.beat.get_or_insert(now + BEAT);
                filter::attach(socket, self.watch.fenced())
            }
            Change::Lifted => {
                let done = filter::detach(socket);
                self.read_drops(socket, stats);
                self.beat = None;
                done
            }
            Change::Gone => Ok(()),
        }
    }

    /// What the slow side is told of it.
    fn word(&self, shard: ShardId, listener: ListenerId, sources: &[IpAddr]) -> Word {
        Word::Tell(Event::Fence(Box::new(Fence {
            shard,
            listener,
            sources: sources.into(),
            rate: self.rate,
            turned_away: self.turned_away,
        })))
    }

    fn read_drops_if_due(&mut self, now: Moment, listener: ListenerId, sockets: &Sockets) {
        if self.beat.is_some_and(|beat| beat <= now)
            && let Some(socket) = sockets.datagram_socket(listener)
        {
            self.read_drops(socket, sockets.stats());
            self.beat = Some(now + BEAT);
        }
    }

    /// Counts what the system has dropped since the last time: the fence's part while it stands.
    fn read_drops(&mut self, socket: BorrowedFd<'_>, stats: &NetStats) {
        let Some(now) = filter::drops(socket) else {
            return;
        };
        let dropped = u64::from(now.wrapping_sub(self.drops));
        self.drops = now;
        if self.beat.is_some() {
            self.turned_away += dropped;
            stats.datagrams_fenced.add(dropped);
        } else {
            stats.datagrams_overflowed.add(dropped);
        }
    }
}
