//! The immutable snapshot that every decision reads: the settings, what their names resolve to
//! now, and who may speak.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;
use smallvec::SmallVec;
use trunkline_sip::Transport;

use crate::{
    event::Peer,
    hop::{Hop, ListenerId},
    settings::{PlaceId, Settings, TrunkId},
};

/// One address that a name resolves to.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Candidate {
    /// SRV priority, 0 without SRV. Lowest first.
    pub priority: u16,
    /// SRV weight, 0 without SRV.
    pub weight: u16,
    /// How to speak.
    pub transport: Transport,
    /// With whom.
    pub addr: SocketAddr,
    /// From where.
    pub listener: ListenerId,
}

impl Candidate {
    /// The hop a request to it takes.
    pub fn hop(&self) -> Hop {
        Hop {
            transport: self.transport,
            listener: self.listener,
            remote: self.addr,
            connection: None,
        }
    }

    /// What its health is kept by.
    pub fn peer(&self) -> Peer {
        Peer {
            transport: self.transport,
            addr: self.addr,
            listener: self.listener,
        }
    }
}

/// What a place resolves to now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Resolved {
    /// Sorted, without repeats; every address of every record.
    pub candidates: Vec<Candidate>,
    /// How good the answer is.
    pub freshness: Freshness,
}

/// How good a DNS answer is.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Freshness {
    /// Not asked yet, or never answered.
    #[default]
    Unknown,
    /// Within its TTL, or a literal address.
    Fresh,
    /// DNS fails; this is the last good answer (RFC 8767).
    Stale,
    /// DNS says that there is no such name or record.
    Absent,
}

/// Who a source address is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Role {
    /// May place outbound calls.
    pub pbx: bool,
    /// Trunks whose carrier it may be.
    pub trunks: SmallVec<[TrunkId; 2]>,
}

impl Role {
    /// Nobody allowed it.
    pub fn is_unknown(&self) -> bool {
        !self.pbx && self.trunks.is_empty()
    }
}

/// The snapshot. Made by the slow side whenever the file or DNS changes; swapped whole.
#[derive(Clone, Debug)]
pub struct Routing {
    settings: Arc<Settings>,
    places: Vec<Arc<Resolved>>,
    sources: Sources,
}

impl Routing {
    /// Joins settings with what their places resolve to: `places[i]` for `settings.places[i]`;
    /// missing ones count as not resolved yet.
    pub fn new(settings: Arc<Settings>, mut places: Vec<Arc<Resolved>>) -> Self {
        places.resize_with(settings.places.len(), Arc::default);
        let sources = Sources::new(&settings, &places);
        Routing {
            settings,
            places,
            sources,
        }
    }

    /// The settings.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// What a place resolves to.
    pub fn resolved(&self, place: PlaceId) -> &Resolved {
        static NOTHING: Resolved = Resolved {
            candidates: Vec::new(),
            freshness: Freshness::Unknown,
        };
        self.places
            .get(place.0 as usize)
            .map_or(&NOTHING, |resolved| resolved)
    }

    /// All places, in the settings' order.
    pub fn places(&self) -> &[Arc<Resolved>] {
        &self.places
    }

    /// Who speaks from this address: the longest prefix that allows it.
    pub fn role(&self, source: IpAddr) -> &Role {
        self.sources.find(source)
    }
}

/// Longest prefix match, one table a prefix length: the cost does not grow with the list.
#[derive(Clone, Debug, Default)]
struct Sources {
    /// By prefix length (IPv4 mapped into IPv6), longest first.
    lengths: Vec<(u8, HashMap<u128, Role>)>,
    nobody: Role,
}

impl Sources {
    fn new(settings: &Settings, places: &[Arc<Resolved>]) -> Self {
        let mut sources = Sources::default();
        for net in &settings.pbx_allow {
            sources.entry(*net).pbx = true;
        }
        for (index, trunk) in settings.trunks.iter().enumerate() {
            let id = TrunkId(index as u16);
            for net in &trunk.allow {
                let role = sources.entry(*net);
                if !role.trunks.contains(&id) {
                    role.trunks.push(id);
                }
            }
            let targets = trunk
                .origination
                .iter()
                .flat_map(|origination| &origination.targets);
            for candidate in targets
                .filter_map(|target| places.get(target.place.0 as usize))
                .flat_map(|resolved| &resolved.candidates)
            {
                sources.entry(IpNet::from(candidate.addr.ip())).pbx = true;
            }
        }
        sources
            .lengths
            .sort_by_key(|(length, _)| std::cmp::Reverse(*length));
        sources
    }

    fn entry(&mut self, net: IpNet) -> &mut Role {
        let (bits, length) = match net {
            IpNet::V4(net) => (widen(IpAddr::V4(net.network())), net.prefix_len() + 96),
            IpNet::V6(net) => (widen(IpAddr::V6(net.network())), net.prefix_len()),
        };
        let at = self
            .lengths
            .iter()
            .position(|(have, _)| *have == length)
            .unwrap_or_else(|| {
                self.lengths.push((length, HashMap::new()));
                self.lengths.len() - 1
            });
        self.lengths[at].1.entry(bits).or_default()
    }

    fn find(&self, source: IpAddr) -> &Role {
        let bits = widen(source);
        // An IPv6 prefix as short as ::/0 must not let IPv4 in.
        let shortest = if source.is_ipv4() { 96 } else { 0 };
        self.lengths
            .iter()
            .filter(|(length, _)| *length >= shortest)
            .find_map(|(length, roles)| roles.get(&(bits & mask(*length))))
            .unwrap_or(&self.nobody)
    }
}

fn widen(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => Ipv6Addr::to_bits(v6),
    }
}

const fn mask(length: u8) -> u128 {
    match length {
        0 => 0,
        1..=127 => !(u128::MAX >> length),
        _ => u128::MAX,
    }
}
