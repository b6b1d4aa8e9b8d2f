//! All sockets of one shard: what is ready, what is sent, what was lost.
//!
//! Knows hops and bytes; that the bytes are SIP matters only to the framing of streams.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use trunkline_proxy::{Hop, HopLoss, ListenerId, ShardId};
use trunkline_sip::Transport;

use crate::{
    bind::{Bound, BoundListener, BoundSocket},
    limits::NetLimits,
    ready::{Bells, ReadyList, Token},
    stats::NetStats,
    stream::{Acceptor, Loss, Streams},
    udp::Udp,
};

/// Datagrams, or error queue entries, of one socket before the next has its turn.
const DATAGRAMS_PER_VISIT: usize = 32;
/// The largest datagram there is; also what is read from a stream at once.
const BUFFER_BYTES: usize = 65_535;

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
    ready: ReadyList,
    lost: VecDeque<Loss>,
    buffer: Box<[u8]>,
    stats: Arc<NetStats>,
}

impl Sockets {
    /// Takes over what was bound. Needs the runtime's context.
    pub(crate) fn new(
        shard: ShardId,
        bound: Bound,
        limits: NetLimits,
        stats: Arc<NetStats>,
    ) -> io::Result<Self> {
        let ready = ReadyList::new();
        let bells = ready.bells();
        let open = |listener| Endpoint::new(listener, &bells, limits.datagram_queue);
        Ok(Sockets {
            endpoints: bound
                .listeners
                .into_iter()
                .map(open)
                .collect::<io::Result<_>>()?,
            ready,
            lost: VecDeque::new(),
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            streams: Streams::new(shard, bells, Arc::clone(&stats), limits),
            stats,
        })
    }

    /// The next socket with something to do, if there is one.
    pub(crate) fn take_ready(&mut self) -> Option<Token> {
        self.ready.take()
    }

    /// The same; wakes the caller when there is one.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Token> {
        self.ready.poll_take(cx)
    }

    /// Serves one socket and hands every whole message that it had to `take`.
    pub(crate) fn visit(&mut self, now: Instant, token: Token, mut take: impl FnMut(Hop, &[u8])) {
        match token {
            Token::Datagrams(id) => {
                let Some(EndpointKind::Udp(udp)) = kind(&mut self.endpoints, id) else {
                    return;
                };
                udp.receive(
                    &mut self.buffer,
                    DATAGRAMS_PER_VISIT,
                    &self.stats,
                    |remote, bytes| {
                        take(datagram_hop(id, remote), bytes);
                    },
                );
            }
            Token::Errors(id) => {
                let Some(EndpointKind::Udp(udp)) = kind(&mut self.endpoints, id) else {
                    return;
                };
                udp.read_errors(DATAGRAMS_PER_VISIT, &self.stats, |remote| {
                    self.lost
                        .push_back((datagram_hop(id, remote), HopLoss::Unreachable));
                });
            }
            Token::Accept(id) => {
                let Some(EndpointKind::Tcp(acceptor)) = kind(&mut self.endpoints, id) else {
                    return;
                };
                acceptor.accept(now, |accepted| self.streams.accept(now, id, accepted));
            }
            Token::Connection(id) => self.streams.serve(now, id, &mut self.buffer, &mut take),
        }
    }

    /// Sends one message, or takes note that its hop is lost.
    pub(crate) fn send(&mut self, now: Instant, to: Hop, bytes: &[u8], connect_within: Duration) {
        let Some(endpoint) = self.endpoints.get_mut(usize::from(to.listener.0)) else {
            return self.cannot_send(to, "there is no such listener");
        };
        let sent = match (to.transport, &mut endpoint.kind) {
            (Transport::Udp, EndpointKind::Udp(udp)) => {
                udp.send(now, to.remote, bytes, &self.stats)
            }
            (Transport::Udp, EndpointKind::Tcp(_)) => {
                return self.cannot_send(to, "its listener speaks another protocol");
            }
            (Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss, _) => self
                .streams
                .send(now, endpoint.local, to, bytes, connect_within),
        };
        if let Err(why) = sent {
            self.lost.push_back((to, why));
        }
    }

    /// Writes what was queued on streams since the last time.
    pub(crate) fn flush(&mut self, now: Instant) {
        self.streams.flush(now);
    }

    /// Does what is due by time: second tries, timeouts.
    pub(crate) fn tick(&mut self, now: Instant) {
        for (index, endpoint) in self.endpoints.iter_mut().enumerate() {
            match &mut endpoint.kind {
                EndpointKind::Udp(udp) => udp.retry(now, &self.stats, |remote, why| {
                    self.lost
                        .push_back((datagram_hop(ListenerId(index as u16), remote), why));
                }),
                EndpointKind::Tcp(acceptor) => acceptor.resume(now),
            }
        }
        self.streams.expire(now);
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let endpoints = self
            .endpoints
            .iter()
            .filter_map(|endpoint| match &endpoint.kind {
                EndpointKind::Udp(udp) => udp.retry_at(),
                EndpointKind::Tcp(acceptor) => acceptor.paused_until(),
            });
        endpoints.chain(self.streams.deadline()).min()
    }

    /// The next hop that was lost.
    pub(crate) fn next_loss(&mut self) -> Option<Loss> {
        self.lost.extend(self.streams.lost.drain(..));
        self.lost.pop_front()
    }

    /// Whether there is something to do before anything happens outside.
    pub(crate) fn has_more(&self) -> bool {
        !self.ready.is_empty() || !self.lost.is_empty() || !self.streams.lost.is_empty()
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
    fn cannot_send(&mut self, to: Hop, why: &'static str) {
        tracing::debug!(%to, listener = to.listener.0, why, "message not sent");
        self.stats.sends_dropped.add(1);
        self.lost.push_back((to, HopLoss::Unreachable));
    }
}

impl Endpoint {
    fn new(listener: BoundListener, bells: &Bells, datagram_queue: usize) -> io::Result<Self> {
        let id = listener.id;
        let kind = match listener.socket {
            BoundSocket::Udp(socket) => {
                EndpointKind::Udp(Udp::new(id, socket, bells, datagram_queue)?)
            }
            BoundSocket::Tcp(socket) => EndpointKind::Tcp(Acceptor::new(id, socket, bells)?),
        };
        Ok(Endpoint {
            local: listener.local.ip(),
            kind,
        })
    }
}

fn kind(endpoints: &mut [Endpoint], id: ListenerId) -> Option<&mut EndpointKind> {
    endpoints
        .get_mut(usize::from(id.0))
        .map(|endpoint| &mut endpoint.kind)
}

fn datagram_hop(listener: ListenerId, remote: SocketAddr) -> Hop {
    Hop {
        transport: Transport::Udp,
        listener,
        remote,
        connection: None,
    }
}
