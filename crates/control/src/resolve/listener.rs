//! Which of our listeners speaks with a candidate.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use trunkline_proxy::{ListenerId, settings::Listener};
use trunkline_sip::Transport;

/// Whether any listener speaks this transport, in either family.
pub(crate) fn any_speaks(listeners: &[Listener], transport: Transport) -> bool {
    listeners
        .iter()
        .any(|listener| listener.transport == transport)
}

/// Whether any listener speaks this transport in this family.
pub(crate) fn speaks(listeners: &[Listener], transport: Transport, v6: bool) -> bool {
    listeners
        .iter()
        .any(|listener| fits(listener, transport, v6))
}

/// The listener for a candidate (BEHAVIOUR 3): the one named by `from`, else the only one of its
/// transport and family, else the one whose address the system would use to reach it.
pub(crate) fn choose(
    listeners: &[Listener],
    from: Option<ListenerId>,
    transport: Transport,
    candidate: SocketAddr,
) -> Option<ListenerId> {
    let v6 = candidate.is_ipv6();
    let named = from.filter(|id| {
        listeners
            .get(usize::from(id.0))
            .is_some_and(|listener| fits(listener, transport, v6))
    });
    if named.is_some() {
        return named;
    }
    let mut fitting = listeners
        .iter()
        .enumerate()
        .filter(|(_, listener)| fits(listener, transport, v6))
        .map(|(index, listener)| (ListenerId(index as u16), listener));
    let first = fitting.next()?;
    let others: Vec<_> = fitting.collect();
    if others.is_empty() {
        return Some(first.0);
    }
    let source = local_address_for(candidate);
    let all = || std::iter::once(&first).chain(&others);
    all()
        .find(|(_, listener)| Some(listener.bind.ip()) == source)
        .or_else(|| all().find(|(_, listener)| listener.bind.ip().is_unspecified()))
        .or(Some(&first))
        .map(|(id, _)| *id)
}

fn fits(listener: &Listener, transport: Transport, v6: bool) -> bool {
    listener.transport == transport && listener.bind.is_ipv6() == v6
}

/// The source address the routing table gives for a destination. Connecting a UDP socket asks
/// exactly that and sends no packet. `None` when there is no route.
fn local_address_for(destination: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if destination.is_ipv6() {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(destination).ok()?;
    socket.local_addr().ok().map(|addr| addr.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(transport: Transport, bind: &str) -> Listener {
        Listener {
            name: None,
            transport,
            bind: bind.parse().unwrap(),
            advertise: bind.into(),
        }
    }

    #[test]
    fn the_listener_is_the_named_one_then_the_only_one_then_the_one_the_system_would_use() {
        use Transport::{Tcp, Udp};
        let listeners = [
            listener(Udp, "192.0.2.1:5060"),
            listener(Udp, "127.0.0.1:5060"),
            listener(Tcp, "127.0.0.1:5060"),
            listener(Udp, "[::1]:5060"),
        ];
        let cases = [
            (
                None,
                Udp,
                "127.0.0.9:5060",
                Some(1),
                "the system reaches it from 127.0.0.1",
            ),
            (Some(0), Udp, "127.0.0.9:5060", Some(0), "named"),
            (
                Some(2),
                Udp,
                "127.0.0.9:5060",
                Some(1),
                "the named one has another transport",
            ),
            (
                Some(9),
                Udp,
                "127.0.0.9:5060",
                Some(1),
                "the named one is not there",
            ),
            (None, Tcp, "198.51.100.1:5060", Some(2), "the only one"),
            (
                None,
                Udp,
                "[2001:db8::1]:5060",
                Some(3),
                "the only one of its family",
            ),
            (None, Tcp, "[2001:db8::1]:5060", None, "none of its family"),
        ];
        for (from, transport, candidate, want, why) in cases {
            let got = choose(
                &listeners,
                from.map(ListenerId),
                transport,
                candidate.parse().unwrap(),
            );
            assert_eq!(got, want.map(ListenerId), "{why}");
        }
    }

    #[test]
    fn a_wildcard_listener_serves_what_no_bound_address_does() {
        let listeners = [
            listener(Transport::Udp, "192.0.2.1:5060"),
            listener(Transport::Udp, "0.0.0.0:5062"),
        ];
        let got = choose(
            &listeners,
            None,
            Transport::Udp,
            "127.0.0.1:5060".parse().unwrap(),
        );
        assert_eq!(got, Some(ListenerId(1)));
    }
}
