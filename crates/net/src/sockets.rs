//! All sockets of one shard: what is ready, what is sent, what was lost.
//!
//! Knows hops and bytes; that the bytes are SIP matters only to the framing of streams.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::BorrowedFd,
    sync::Arc,
    time::Duration,
};

use mio::Waker;
use trunkline_proxy::{Hop, HopLoss, ListenerId, Moment, Sending, ShardId};
use trunkline_sip::Transport;

use crate::{
    bind::{BoundListener, BoundSocket},
    clock::ShardClock,
    limits::NetLimits,
    mmsg::Inbox,
    poller::{Entrance, Poller, Ready, Token},
    stats::NetStats,
    stream::{Acceptor, Loss, Streams},
    udp::Udp,
};

/// Datagrams of one socket before the next has its turn.
const DATAGRAMS_PER_VISIT: usize = 32;

/// One listener at work.
struct Endpoint {
    local: IpAddr,
    kind: EndpointKind,
}

enum EndpointKind {
    Udp(Udp),
    Tcp(Acceptor),
}

pub(crate) struct Sockets {
    /// In the order of the configuration's listeners.
    endpoints: Vec<Endpoint>,
    streams: Streams,
    poller: Poller,
    /// What the system told of, in order, and how many of it had their turn.
    ready: Vec<Ready>,
    visited: usize,
    /// Listeners that had their turn and have something left.
    again: VecDeque<ListenerId>,
    lost: VecDeque<Loss>,
    /// Something may be due, lost or left over. In most turns nothing is: UDP sockets that work, and no
    /// connection; then none of them need be asked.
    stirred: bool,
    inbox: Inbox,
    stats: Arc<NetStats>,
}

impl Sockets {
    /// Takes over what was bound. With the bell that ends [`wait`](Self::wait).
    pub(crate) fn new(
        shard: ShardId,
        listeners: Vec<BoundListener>,
        clock: ShardClock,
        limits: NetLimits,
        stats: Arc<NetStats>,
    ) -> io::Result<(Self, Arc<Waker>)> {
        let poller = Poller::new(clock)?;
        let (bell, entrance) = (poller.bell()?, poller.entrance()?);
        let open = |listener| Endpoint::new(listener, &entrance, limits.datagram_queue);
        let sockets = Sockets {
            endpoints: listeners.into_iter().map(open).collect::<io::Result<_>>()?,
            poller,
            ready: Vec::new(),
            visited: 0,
            again: VecDeque::new(),
            lost: VecDeque::new(),
            stirred: false,
            inbox: Inbox::new(),
            streams: Streams::new(shard, entrance, Arc::clone(&stats), limits),
            stats,
        };
        Ok((sockets, bell))
    }

    /// Sleeps until a socket is ready, the bell rings or this time has come (`NEVER`: it does not;
    /// one that is not after `now`: only looks). Whether the bell rang.
    pub(crate) fn wait(&mut self, now: Moment, until: Moment) -> bool {
        if self.visited < self.ready.len() {
            // Those who were told of and had no turn yet come first.
            return false;
        }
        self.ready.clear();
        self.visited = 0;
        let rang = self.poller.look(now, until, |ready| self.ready.push(ready));
        if self.stirred {
            self.take_turns();
        }
        rang
    }

    /// Those that had their turn and have something left are ready.
    fn take_turns(&mut self) {
        // Behind the others, who have not had a turn.
        let again = |token| Ready {
            token,
            to_the_end: false,
        };
        while let Some(id) = self.again.pop_front() {
            self.ready.push(again(Token::Listener(id)));
        }
        while let Some(id) = self.streams.take_unread() {
            self.ready.push(again(Token::Connection(id)));
        }
    }

    /// The next socket with something to do, if there is one.
    #[inline]
    pub(crate) fn take_ready(&mut self) -> Option<Ready> {
        let ready = *self.ready.get(self.visited)?;
        self.visited += 1;
        Some(ready)
    }

    /// Serves one socket and hands every whole message that it had to `take`; for a keep-alive by datagram,
    /// nothing.
    pub(crate) fn visit(&mut self, now: Moment, ready: Ready, mut take: impl FnMut(Hop, &[u8])) {
        let id = match ready.token {
            Token::Listener(id) => id,
            Token::Connection(id) => {
                self.stirred = true;
                let buffer = self.inbox.scratch();
                return self
                    .streams
                    .serve(now, id, ready.to_the_end, buffer, &mut take);
            }
        };
        let Some(endpoint) = self.endpoints.get_mut(usize::from(id.0)) else {
            return;
        };
        let has_more = match &mut endpoint.kind {
            EndpointKind::Udp(udp) => {
                let has_more = udp.receive(
                    &mut self.inbox,
                    DATAGRAMS_PER_VISIT,
                    ready.to_the_end,
                    &self.stats,
                    |remote, bytes| take(datagram_hop(id, remote), bytes),
                );
                self.stirred |= has_more || udp.has_errors();
                has_more
            }
            EndpointKind::Tcp(acceptor) => {
                self.stirred = true;
                acceptor.accept(now, |accepted| self.streams.accept(now, id, accepted))
            }
        };
        if has_more {
            self.again.push_back(id);
        }
    }

    /// Sends messages of this arena by one listener.
    #[inline]
    pub(crate) fn send_datagrams(
        &mut self,
        now: Moment,
        id: ListenerId,
        sends: &mut [Sending],
        arena: &[u8],
    ) {
        if let Some(Endpoint {
            kind: EndpointKind::Udp(udp),
            ..
        }) = self.endpoints.get_mut(usize::from(id.0))
        {
            let sent = udp.send(now, sends, arena, &self.stats, |remote, why| {
                self.lost.push_back((datagram_hop(id, remote), why));
            });
            self.stirred |= !sent;
        } else {
            for it in sends {
                self.cannot_send(it.to, "it has no such listener");
            }
        }
    }

    /// Puts one message on a connection; it is written by [`flush`](Self::flush).
    pub(crate) fn send_stream(
        &mut self,
        now: Moment,
        to: Hop,
        bytes: &[u8],
        connect_within: Duration,
    ) {
        let Some(endpoint) = self.endpoints.get(usize::from(to.listener.0)) else {
            return self.cannot_send(to, "there is no such listener");
        };
        let local = endpoint.local;
        self.stirred = true;
        if let Err(why) = self.streams.send(now, local, to, bytes, connect_within) {
            self.lose(to, why);
        }
    }

    /// The socket of a listener, if it is one for datagrams.
    pub(crate) fn datagram_socket(&self, id: ListenerId) -> Option<BorrowedFd<'_>> {
        match &self.endpoints.get(usize::from(id.0))?.kind {
            EndpointKind::Udp(udp) => Some(udp.socket()),
            EndpointKind::Tcp(_) => None,
        }
    }

    /// How many listeners there are.
    pub(crate) fn listeners(&self) -> usize {
        self.endpoints.len()
    }

    /// What they count.
    pub(crate) fn stats(&self) -> &NetStats {
        &self.stats
    }

    /// Takes note that a hop is lost.
    pub(crate) fn lose(&mut self, hop: Hop, why: HopLoss) {
        self.lost.push_back((hop, why));
        self.stirred = true;
    }

    /// Puts sockets back that were taken as ready and not visited.
    pub(crate) fn again(&mut self, ready: &mut Vec<Ready>) {
        self.ready.append(ready);
    }

    /// Writes what was queued on streams since the last time.
    #[inline]
    pub(crate) fn flush(&mut self, now: Moment) {
        if self.streams.has_unwritten() {
            self.streams.flush(now);
        }
    }

    /// Whether a message for this hop has a connection here to go by.
    pub(crate) fn reaches(&self, to: &Hop) -> bool {
        self.streams.reaches(to)
    }

    /// Reads error queues, and does what is due by time: second tries, timeouts.
    pub(crate) fn tick(&mut self, now: Moment) {
        if self.stirred {
            self.tick_all(now);
            self.stirred = self.has_more() || self.deadline() != Moment::NEVER;
        }
    }

    fn tick_all(&mut self, now: Moment) {
        for (index, endpoint) in self.endpoints.iter_mut().enumerate() {
            let id = ListenerId(index as u16);
            match &mut endpoint.kind {
                EndpointKind::Udp(udp) => {
                    udp.retry(now, &self.stats, |remote, why| {
                        self.lost.push_back((datagram_hop(id, remote), why));
                    });
                    udp.read_errors(&self.stats, |remote| {
                        self.lost
                            .push_back((datagram_hop(id, remote), HopLoss::Unreachable));
                    });
                }
                EndpointKind::Tcp(acceptor) => {
                    if acceptor.resume(now) {
                        self.again.push_back(id);
                    }
                }
            }
        }
        self.streams.expire(now);
    }

    /// When [`tick`](Self::tick) has something to do; `NEVER`: not by itself.
    #[inline]
    pub(crate) fn deadline(&self) -> Moment {
        if self.stirred {
            self.next_deadline().unwrap_or(Moment::NEVER)
        } else {
            Moment::NEVER
        }
    }

    fn next_deadline(&self) -> Option<Moment> {
        let endpoints = self
            .endpoints
            .iter()
            .filter_map(|endpoint| match &endpoint.kind {
                EndpointKind::Udp(udp) => udp.retry_at(),
                EndpointKind::Tcp(acceptor) => acceptor.paused_until(),
            });
        endpoints.chain(self.streams.deadline()).min()
    }

    /// Whether there can be something to do for [`tick`](Self::tick) or [`flush`](Self::flush), or a
    /// [`next_loss`](Self::next_loss).
    #[inline]
    pub(crate) fn is_stirred(&self) -> bool {
        self.stirred
    }

    /// The next hop that was lost.
    pub(crate) fn next_loss(&mut self) -> Option<Loss> {
        if !self.streams.lost.is_empty() {
            self.lost.extend(self.streams.lost.drain(..));
        }
        self.lost.pop_front()
    }

    /// Whether there is something to do before anything happens outside.
    #[inline]
    pub(crate) fn has_more(&self) -> bool {
        self.visited < self.ready.len() || (self.stirred && self.has_left_over())
    }

    fn has_left_over(&self) -> bool {
        !self.again.is_empty()
            || !self.lost.is_empty()
            || !self.streams.lost.is_empty()
            || self.streams.has_unread()
            || self.endpoints.iter().any(|endpoint| match &endpoint.kind {
                EndpointKind::Udp(udp) => udp.has_errors(),
                EndpointKind::Tcp(_) => false,
            })
    }

    /// Whether everything that was to be sent has left.
    pub(crate) fn is_flushed(&self) -> bool {
        self.streams.is_flushed()
            && self.endpoints.iter().all(|endpoint| match &endpoint.kind {
                EndpointKind::Udp(udp) => udp.is_flushed(),
                EndpointKind::Tcp(_) => true,
            })
    }

    /// The routing snapshot and the sockets disagree, or a candidate has a family or protocol that
    /// its listener has not.
    #[cold]
    fn cannot_send(&mut self, to: Hop, why: &'static str) {
        tracing::debug!(%to, listener = to.listener.0, why, "message not sent");
        self.stats.sends_dropped.add(1);
        self.lose(to, HopLoss::Unreachable);
    }
}

impl Endpoint {
    fn new(
        listener: BoundListener,
        entrance: &Entrance,
        datagram_queue: usize,
    ) -> io::Result<Self> {
        let id = listener.id;
        let kind = match listener.socket {
            BoundSocket::Udp(socket) => {
                EndpointKind::Udp(Udp::new(id, socket, entrance, datagram_queue)?)
            }
            BoundSocket::Tcp(socket) => EndpointKind::Tcp(Acceptor::new(id, socket, entrance)?),
        };
        Ok(Endpoint {
            local: listener.local.ip(),
            kind,
        })
    }
}

fn datagram_hop(listener: ListenerId, remote: SocketAddr) -> Hop {
    Hop {
        transport: Transport::Udp,
        listener,
        remote,
        connection: None,
    }
}
