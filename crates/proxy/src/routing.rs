//! The immutable snapshot that every decision reads: the settings, what their names resolve to
//! now, and who may speak.

mod lookup;
mod numbers;
mod outbound;
mod ranges;
mod roles;
mod tiers;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use trunkline_sip::Transport;

use self::{lookup::Lookup, outbound::Outbound, roles::Sources};
pub use self::{
    roles::Role,
    tiers::{Tier, target_id},
};

use crate::{
    drill::Drill,
    event::Peer,
    hop::{Hop, ListenerId},
    settings::{Health, Place, PlaceId, Settings, Trunk, TrunkId},
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

/// The snapshot. Made by the slow side whenever the file or DNS changes; swapped whole.
#[derive(Clone, Debug)]
pub struct Routing {
    settings: Arc<Settings>,
    places: Vec<Arc<Resolved>>,
    sources: Sources,
    outbound: Outbound,
    lookup: Lookup,
    /// By trunk: the targets that come first.
    tiers: Vec<Tier>,
    drills: Arc<[Drill]>,
}

impl Routing {
    /// Joins settings with what their places resolve to: `places[i]` for `settings.places[i]`;
    /// missing ones count as not resolved yet.
    pub fn new(settings: Arc<Settings>, mut places: Vec<Arc<Resolved>>) -> Self {
        places.resize_with(settings.places.len(), Arc::default);
        let sources = Sources::new(&settings, &places);
        let outbound = Outbound::new(&settings);
        let lookup = Lookup::new(&settings, &places);
        let targets = |trunk: &Trunk| match &trunk.origination {
            Some(origination) => Tier::first(&origination.targets, origination.policy),
            None => Tier::default(),
        };
        let tiers = settings.trunks.iter().map(targets).collect();
        Routing {
            settings,
            places,
            sources,
            outbound,
            lookup,
            tiers,
            drills: Arc::default(),
        }
    }

    /// The same snapshot with these drills in place of its own.
    pub fn with_drills(&self, drills: Arc<[Drill]>) -> Self {
        Routing {
            drills,
            ..self.clone()
        }
    }

    /// The drills that run, or ran until now.
    pub fn drills(&self) -> &[Drill] {
        &self.drills
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

    /// The trunks for an outbound call to this number, in order: those of the first `[[route]]` that
    /// matches, or all where there is none at all; always such that have edges.
    pub fn trunks_for(&self, number: &[u8]) -> &Arc<[TrunkId]> {
        self.outbound.find(number)
    }

    /// The trunk one of whose edges has this host.
    pub fn trunk_of_edge(&self, host: &[u8]) -> Option<TrunkId> {
        self.lookup.edge(host)
    }

    /// Whether a PBX target is reached at exactly this address.
    pub fn is_target(&self, addr: SocketAddr) -> bool {
        self.lookup.is_target(addr)
    }

    /// A configured place for a next hop that was found in a message.
    pub fn known_place(&self, wanted: &Place) -> Option<PlaceId> {
        self.lookup.place(wanted)
    }

    /// How the health of a place's candidates is kept: by what the first edge or target there says; `None` for
    /// a place of neither.
    pub(crate) fn care(&self, place: PlaceId) -> Option<Health> {
        self.lookup.care(place)
    }

    /// The targets of a trunk that come first.
    pub fn tier(&self, trunk: TrunkId) -> Option<&Tier> {
        self.tiers.get(usize::from(trunk.0))
    }
}
