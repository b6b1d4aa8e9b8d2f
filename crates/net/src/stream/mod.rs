//! The stream connections of one shard: which there are, who may have more, when they end.

mod acceptor;
mod connection;
mod io;

pub(crate) use acceptor::Acceptor;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use mio::net::TcpStream;
use trunkline_proxy::{ConnectionId, Hop, HopLoss, ListenerId, Moment, ShardId};
use trunkline_sip::Transport;

use self::{
    connection::{Connection, Verdict},
    io::{Io, dial_tcp},
};
use crate::{
    limits::NetLimits,
    poller::{Entrance, FIRST_CONNECTION, Token},
    stats::NetStats,
};

/// Where a connection leads, whoever opened it.
type Line = (Transport, ListenerId, SocketAddr);

/// Where in a connection's number the shard stands.
const SHARD_BITS: u32 = 56;

/// Which shard has a connection.
pub(crate) fn shard_of(connection: ConnectionId) -> ShardId {
    ShardId((connection.number() >> SHARD_BITS) as u8)
}

/// A hop that cannot be used any more, and why.
pub(crate) type Loss = (Hop, HopLoss);

pub(crate) struct Streams {
    next: ConnectionId,
    entries: HashMap<ConnectionId, Connection>,
    /// The newest connection of each line: what a message without a connection of its own takes.
    lines: HashMap<Line, ConnectionId>,
    /// Accepted connections that have not brought a whole message yet, the oldest first: who gives
    /// way when the table is full.
    silent: BTreeSet<ConnectionId>,
    /// Accepted connections by source.
    sources: HashMap<IpAddr, usize>,
    /// One entry for each connection: when to look at its deadline. The deadline itself moves
    /// with every message; this does not.
    checks: BTreeSet<(Moment, ConnectionId)>,
    /// Connections with something new to write.
    unwritten: Vec<ConnectionId>,
    /// Connections with something left to read: they had their turn.
    unread: VecDeque<ConnectionId>,
    /// Connections that ended, until the shard tells its brain.
    pub(crate) lost: Vec<Loss>,
    entrance: Entrance,
    stats: Arc<NetStats>,
    limits: NetLimits,
}

impl Streams {
    pub(crate) fn new(
        shard: ShardId,
        entrance: Entrance,
        stats: Arc<NetStats>,
        limits: NetLimits,
    ) -> Self {
        Streams {
            // Numbers of one process never meet, and each says whose it is.
            next: ConnectionId::new(u64::from(shard.0) << SHARD_BITS | FIRST_CONNECTION),
            entries: HashMap::new(),
            lines: HashMap::new(),
            silent: BTreeSet::new(),
            sources: HashMap::new(),
            checks: BTreeSet::new(),
            unwritten: Vec::new(),
            unread: VecDeque::new(),
            lost: Vec::new(),
            entrance,
            stats,
            limits,
        }
    }

    /// Takes in an accepted connection, or closes it when a limit is reached.
    pub(crate) fn accept(
        &mut self,
        now: Moment,
        listener: ListenerId,
        (stream, remote): (TcpStream, SocketAddr),
    ) {
        let source = source(remote.ip());
        let of_source = self.sources.get(&source).copied().unwrap_or_default();
        if of_source >= self.limits.connections_per_source || !self.has_room(now) {
            self.stats.connections_refused.add(1);
            tracing::debug!(%remote, of_source, open = self.entries.len(), "connection refused: limit reached");
            return;
        }
        let hop = self.number(Transport::Tcp, listener, remote);
        let connection = Connection::accepted(now, hop, Io::Tcp(stream), &self.limits);
        // What came before it was in the set is told as well.
        match self.insert(connection) {
            Ok(id) => {
                self.silent.insert(id);
                self.stats.connections_accepted.add(1);
                *self.sources.entry(source).or_default() += 1;
            }
            Err(error) => {
                tracing::warn!(%remote, %error, "connection refused: the system cannot watch it");
            }
        }
    }

    /// Whether a message for this hop has a connection here to go by.
    pub(crate) fn reaches(&self, to: &Hop) -> bool {
        to.connection
            .is_some_and(|id| self.entries.contains_key(&id))
            || self.lines.contains_key(&line(to))
    }

    /// Queues a message: on the connection it names, else on any to the same peer, else on a new
    /// one from `local`. A loss says that the message will not be sent.
    pub(crate) fn send(
        &mut self,
        now: Moment,
        local: IpAddr,
        to: Hop,
        bytes: &[u8],
        connect_within: Duration,
    ) -> Result<(), HopLoss> {
        let named = to
            .connection
            .filter(|id| self.entries.get(id).is_some_and(Connection::is_writable));
        let id = match named.or_else(|| self.lines.get(&line(&to)).copied()) {
            Some(id) => id,
            None => self.dial(now, local, to, connect_within)?,
        };
        let Some(connection) = self.entries.get_mut(&id) else {
            return Err(HopLoss::Closed);
        };
        if connection.queued() + bytes.len() > self.limits.connection_queue {
            // Perhaps it only has not been asked yet in this turn.
            let verdict = connection.flush(&self.stats);
            let stuffed = connection.queued() + bytes.len() > self.limits.connection_queue;
            if stuffed || !matches!(verdict, Verdict::Keep) {
                self.stats.connections_stuffed.add(u64::from(stuffed));
                self.stats.sends_dropped.add(1);
                let why = if stuffed {
                    HopLoss::Limit
                } else {
                    HopLoss::Closed
                };
                self.settle(now, id, Verdict::Gone(Some(why)));
                return Err(why);
            }
        }
        if connection.is_flushed() {
            self.unwritten.push(id);
        }
        connection.queue(now, bytes);
        self.stats.stream_messages_out.add(1);
        Ok(())
    }

    fn dial(
        &mut self,
        now: Moment,
        local: IpAddr,
        to: Hop,
        within: Duration,
    ) -> Result<ConnectionId, HopLoss> {
        if !self.has_room(now) {
            self.stats.connections_refused.add(1);
            return Err(HopLoss::Limit);
        }
        let io = match to.transport {
            Transport::Tcp => dial_tcp(local, to.remote),
            // No listener of this build speaks these, so no candidate should have them.
            Transport::Udp | Transport::Tls | Transport::Ws | Transport::Wss => {
                return Err(HopLoss::Unreachable);
            }
        };
        let failed = |error| {
            tracing::debug!(%to, %error, "cannot open a connection");
            HopLoss::Unreachable
        };
        let io = io.map_err(failed)?;
        self.stats.connections_dialled.add(1);
        let hop = self.number(to.transport, to.listener, to.remote);
        let connection = Connection::dialled(now, hop, io, within, &self.limits);
        self.insert(connection).map_err(failed)
    }

    /// The next connection that had its turn and has something left to read.
    pub(crate) fn take_unread(&mut self) -> Option<ConnectionId> {
        self.unread.pop_front()
    }

    /// Whether there is one.
    pub(crate) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Serves a connection that is ready.
    pub(crate) fn serve(
        &mut self,
        now: Moment,
        id: ConnectionId,
        to_the_end: bool,
        buffer: &mut [u8],
        take: &mut dyn FnMut(Hop, &[u8]),
    ) {
        // It may have gone since it was told of.
        let Some(connection) = self.entries.get_mut(&id) else {
            return;
        };
        let verdict = connection.serve(now, to_the_end, buffer, &self.stats, take);
        if connection.has_spoken() {
            self.silent.remove(&id);
        }
        self.settle(now, id, verdict);
        self.recheck(id);
    }

    /// Whether something was queued since the last time.
    pub(crate) fn has_unwritten(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// Writes what was queued since the last time.
    pub(crate) fn flush(&mut self, now: Moment) {
        let mut unwritten = std::mem::take(&mut self.unwritten);
        for id in unwritten.drain(..) {
            let Some(connection) = self.entries.get_mut(&id) else {
                continue;
            };
            let verdict = connection.flush(&self.stats);
            self.settle(now, id, verdict);
        }
        self.unwritten = unwritten;
    }

    /// Ends the connections whose time is over.
    pub(crate) fn expire(&mut self, now: Moment) {
        while let Some(&(check_at, id)) = self.checks.first().filter(|(at, _)| *at <= now) {
            self.checks.remove(&(check_at, id));
            let Some(connection) = self.entries.get_mut(&id) else {
                continue;
            };
            let deadline = connection.deadline(&self.limits);
            if deadline > now {
                connection.check_at = deadline;
                self.checks.insert((deadline, id));
                continue;
            }
            let expired = connection.expired();
            if expired == Some(HopLoss::Closed) {
                self.stats.connections_idle.add(1);
            }
            self.settle(now, id, Verdict::Gone(expired));
        }
    }

    /// When [`expire`](Self::expire) should be called.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.checks.first().map(|(at, _)| *at)
    }

    /// Whether nothing waits to be written.
    pub(crate) fn is_flushed(&self) -> bool {
        self.entries.values().all(Connection::is_flushed)
    }

    /// Whether one more may be opened. In a full table the connection that has said nothing for
    /// longest makes room: strangers who only hold a place must not keep peers out.
    fn has_room(&mut self, now: Moment) -> bool {
        if self.entries.len() < self.limits.connections {
            return true;
        }
        let Some(&oldest) = self.silent.first() else {
            return false;
        };
        self.stats.connections_evicted.add(1);
        self.settle(now, oldest, Verdict::Gone(Some(HopLoss::Limit)));
        true
    }

    fn settle(&mut self, now: Moment, id: ConnectionId, verdict: Verdict) {
        let Some(connection) = self.entries.get_mut(&id) else {
            return;
        };
        let hop = connection.lost_hop();
        match verdict {
            Verdict::Keep => {}
            Verdict::Again => self.unread.push_back(id),
            Verdict::Broken => {
                self.stats.connections_broken.add(1);
                connection.close(now);
                // Its farewell goes out after the answer, which the brain may be writing just now;
                // what the peer still sends is read and thrown away.
                self.unwritten.push(id);
                self.unread.push_back(id);
                self.forget_line(id, line(&hop));
                self.lost.push((hop, HopLoss::Closed));
            }
            Verdict::Gone(why) => {
                self.remove(id);
                self.lost.extend(why.map(|why| (hop, why)));
            }
        }
    }

    /// An unfinished message, or a farewell, leaves less time than was there before.
    fn recheck(&mut self, id: ConnectionId) {
        let Some(connection) = self.entries.get_mut(&id) else {
            return;
        };
        let deadline = connection.deadline(&self.limits);
        if deadline < connection.check_at {
            self.checks.remove(&(connection.check_at, id));
            connection.check_at = deadline;
            self.checks.insert((deadline, id));
        }
    }

    fn number(&mut self, transport: Transport, listener: ListenerId, remote: SocketAddr) -> Hop {
        let id = self.next;
        self.next = ConnectionId::new(id.number() + 1);
        Hop {
            transport,
            listener,
            remote,
            connection: Some(id),
        }
    }

    fn insert(&mut self, mut connection: Connection) -> std::io::Result<ConnectionId> {
        let hop = connection.hop;
        // Made by `number`, which always gives one.
        let id = hop.connection.unwrap_or(self.next);
        connection.enter(&self.entrance, Token::Connection(id))?;
        self.lines.insert(line(&hop), id);
        self.checks.insert((connection.check_at, id));
        self.entries.insert(id, connection);
        self.stats.connections.set(self.entries.len() as u64);
        Ok(id)
    }

    fn remove(&mut self, id: ConnectionId) {
        let Some(connection) = self.entries.remove(&id) else {
            return;
        };
        self.checks.remove(&(connection.check_at, id));
        self.silent.remove(&id);
        self.forget_line(id, line(&connection.hop));
        if connection.accepted {
            let source = source(connection.hop.remote.ip());
            if let Some(count) = self.sources.get_mut(&source) {
                *count -= 1;
                if *count == 0 {
                    self.sources.remove(&source);
                }
            }
        }
        self.stats.connections.set(self.entries.len() as u64);
    }

    fn forget_line(&mut self, id: ConnectionId, line: Line) {
        if self.lines.get(&line) == Some(&id) {
            self.lines.remove(&line);
        }
    }
}

/// Whom a connection counts against. One IPv6 host has a whole /64 to speak from.
fn source(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
    }
}

fn line(hop: &Hop) -> Line {
    (hop.transport, hop.listener, hop.remote)
}
