//! From a next hop in a message to the candidates behind it (RFC 3261 §16.6 step 7, RFC 3263 §4).

use std::net::{IpAddr, SocketAddr};

use trunkline_sip::{Scheme, Transport};

use crate::{
    Moment, engine::Engine, heading::Reached, hop::ListenerId, routing::Candidate, settings::Place,
    snapshot::Snapshot,
};

/// The candidate that a URI names by its address; the outer `None` for one that names a host or none
/// at all, the inner one where no listener of ours speaks with it.
pub fn literal(
    next: &Reached<'_>,
    snapshot: &Snapshot,
    preferred: ListenerId,
) -> Option<Option<Candidate>> {
    let secure = match next.uri.scheme {
        Scheme::Sip => false,
        Scheme::Sips => true,
        Scheme::Tel | Scheme::Other => return None,
    };
    let ip = next.host.ip()?;
    let port = next.uri.port;
    Some(at(ip, port, next.transport, secure, preferred, snapshot))
}

/// An address as a candidate.
fn at(
    ip: IpAddr,
    port: Option<u16>,
    transport: Option<Transport>,
    secure: bool,
    preferred: ListenerId,
    snapshot: &Snapshot,
) -> Option<Candidate> {
    let transport = transport.unwrap_or(if secure {
        Transport::Tls
    } else {
        Transport::Udp
    });
    let addr = SocketAddr::new(ip, port.unwrap_or(transport.default_port()));
    let listener = snapshot.listener_for(transport, ip, preferred)?;
    Some(Candidate {
        priority: 0,
        weight: 0,
        transport,
        addr,
        listener,
    })
}

impl Engine {
    /// The candidates of a next hop as far as they are known without asking; `None`: ask DNS.
    #[inline(never)]
    pub fn lookup(
        &self,
        snapshot: &Snapshot,
        place: &Place,
        preferred: ListenerId,
        now: Moment,
    ) -> Option<Vec<Candidate>> {
        if let Ok(ip) = place.host.parse() {
            let candidate = at(
                ip,
                place.port,
                place.transport,
                place.secure,
                preferred,
                snapshot,
            );
            return Some(candidate.into_iter().collect());
        }
        if let Some(known) = snapshot.routing().known_place(place) {
            let candidates = &snapshot.routing().resolved(known).candidates;
            if !candidates.is_empty() {
                return Some(candidates.clone());
            }
        }
        self.name(place, now).map(<[Candidate]>::to_vec)
    }
}
