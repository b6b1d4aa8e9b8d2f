//! Opening the listeners: before privileges are dropped and before any thread starts.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use trunkline_proxy::{ListenerId, settings::Listener};
use trunkline_sip::Transport;

use crate::icmp;

/// Bytes the system should keep for us between two turns: about 3 000 INVITEs, so that a burst
/// outlives a pause of the scheduler. The system may grant less (`net.core.rmem_max`).
const DATAGRAM_BUFFER_BYTES: usize = 4 << 20;

/// Connections the system completes before we accept them.
const BACKLOG: i32 = 1024;

/// All listeners of a configuration, bound: each of them once for every shard.
#[derive(Debug)]
pub struct Bound {
    /// The same listeners in each.
    pub(crate) shards: Vec<Vec<BoundListener>>,
}

#[derive(Debug)]
pub(crate) struct BoundListener {
    pub(crate) id: ListenerId,
    pub(crate) local: SocketAddr,
    pub(crate) socket: BoundSocket,
}

#[derive(Debug)]
pub(crate) enum BoundSocket {
    Udp(UdpSocket),
    Tcp(TcpListener),
}

impl Bound {
    /// Binds every listener for this many shards (0 counts as 1); the first that fails undoes the
    /// rest. Port 0 lets the system choose.
    pub fn bind(listeners: &[Listener], shards: u8) -> Result<Bound, BindError> {
        let mut bound = Bound {
            shards: (0..shards.max(1)).map(|_| Vec::new()).collect(),
        };
        for (index, listener) in listeners.iter().enumerate() {
            let sockets = bind(index, listener, bound.shards.len())?;
            for (shard, (local, socket)) in bound.shards.iter_mut().zip(sockets) {
                shard.push(BoundListener {
                    id: ListenerId(index as u16),
                    local,
                    socket,
                });
            }
        }
        Ok(bound)
    }

    /// How many shards there are sockets for.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// The addresses bound, in the order of the listeners.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        let first = self.shards.first().into_iter().flatten();
        first.map(|listener| listener.local).collect()
    }
}

/// A listener that could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The system refused.
    #[error("listener {listener}: cannot listen on {transport} {address}: {source}; {}", remedy(.source))]
    Refused {
        /// Its name, or its number in the file counted from 1.
        listener: String,
        /// "udp", "tcp".
        transport: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A protocol this build cannot listen on.
    #[error(
        "listener {listener}: protocol \"{transport}\" is not in this build; use \"udp\" or \"tcp\" for {address}"
    )]
    NotInThisBuild {
        /// Its name, or its number in the file counted from 1.
        listener: String,
        /// "tls", "ws", "wss".
        transport: &'static str,
        /// Where.
        address: SocketAddr,
    },
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program, or another listener of this file, has this address: stop it or choose another port"
        }
        io::ErrorKind::AddrNotAvailable => {
            "no interface of this machine has this address: use one that it has, or 0.0.0.0 or [::] for all"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE: grant it or use a higher port"
        }
        _ => "check the address and the limits of this process",
    }
}

fn bind(
    index: usize,
    listener: &Listener,
    shards: usize,
) -> Result<Vec<(SocketAddr, BoundSocket)>, BindError> {
    let name = listener
        .name
        .as_deref()
        .map_or_else(|| format!("#{}", index + 1), |name| format!("\"{name}\""));
    let transport = listener.transport.param();
    let address = listener.bind;
    let opened = match listener.transport {
        Transport::Udp => group(address, shards, udp),
        Transport::Tcp => group(address, shards, tcp),
        Transport::Tls | Transport::Ws | Transport::Wss => {
            return Err(BindError::NotInThisBuild {
                listener: name,
                transport,
                address,
            });
        }
    };
    opened.map_err(|source| BindError::Refused {
        listener: name,
        transport,
        address,
        source,
    })
}

/// One socket for each shard, all on one address.
///
/// The system picks among them by the peer's address, so what one peer sends is read in its order,
/// and mailboxes keep it: a BYE must not overtake the ACK before it. (A filter that picks by chance
/// would spread the reading too, and was seen to do just that.)
fn group(
    address: SocketAddr,
    shards: usize,
    open: fn(SocketAddr, bool) -> io::Result<(SocketAddr, BoundSocket)>,
) -> io::Result<Vec<(SocketAddr, BoundSocket)>> {
    // Alone, so that another program that has the address is noticed even if it shares it.
    let first = open(address, false)?;
    if shards == 1 {
        return Ok(vec![first]);
    }
    let address = first.0;
    drop(first);
    (0..shards).map(|_| open(address, true)).collect()
}

fn udp(address: SocketAddr, shared: bool) -> io::Result<(SocketAddr, BoundSocket)> {
    let socket = socket(address, Type::DGRAM, Protocol::UDP)?;
    socket.set_reuse_port(shared)?;
    // Best effort: the system caps both, and calls flow with less.
    let _ = socket.set_recv_buffer_size(DATAGRAM_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(DATAGRAM_BUFFER_BYTES);
    if let Ok(granted) = socket.recv_buffer_size()
        && granted < DATAGRAM_BUFFER_BYTES
    {
        tracing::info!(
            %address,
            granted,
            wanted = DATAGRAM_BUFFER_BYTES,
            "the system keeps fewer datagrams for us than a burst may bring; raise net.core.rmem_max"
        );
    }
    icmp::report_errors(&socket, address)?;
    socket.bind(&SockAddr::from(address))?;
    let socket = UdpSocket::from(socket);
    Ok((socket.local_addr()?, BoundSocket::Udp(socket)))
}

fn tcp(address: SocketAddr, shared: bool) -> io::Result<(SocketAddr, BoundSocket)> {
    let socket = socket(address, Type::STREAM, Protocol::TCP)?;
    // Else a restart must wait until the last connection's TIME_WAIT is over.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    let socket = TcpListener::from(socket);
    Ok((socket.local_addr()?, BoundSocket::Tcp(socket)))
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        // So that 0.0.0.0 and [::] can both be bound, and a peer's address has one form.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}
