//! From a next hop in a message to the candidates behind it (RFC 3261 §16.6 step 7, RFC 3263 §4).

use std::{net::SocketAddr, time::Instant};

use trunkline_sip::Transport;

use crate::{
    engine::Engine, hop::ListenerId, routing::Candidate, settings::Place, snapshot::Snapshot,
};

impl Engine {
    /// The candidates of a next hop as far as they are known without asking; `None`: ask DNS.
    pub fn lookup(
        &self,
        snapshot: &Snapshot,
        place: &Place,
        preferred: ListenerId,
        now: Instant,
    ) -> Option<Vec<Candidate>> {
        if let Ok(ip) = place.host.parse() {
            let transport = place.transport.unwrap_or(if place.secure {
                Transport::Tls
            } else {
                Transport::Udp
            });
            let addr = SocketAddr::new(ip, place.port.unwrap_or(transport.default_port()));
            let listener = snapshot.listener_for(transport, ip, preferred);
            let candidate = listener.map(|listener| Candidate {
                priority: 0,
                weight: 0,
                transport,
                addr,
                listener,
            });
            return Some(candidate.into_iter().collect());
        }
        if let Some(known) = snapshot.known_place(place) {
            let candidates = &snapshot.routing().resolved(known).candidates;
            if !candidates.is_empty() {
                return Some(candidates.clone());
            }
        }
        self.name(place, now).map(<[Candidate]>::to_vec)
    }
}
