//! What the names and addresses of the file stand for, found by them: made once by the slow side, so that no shard
//! has to stop for it.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
};

use super::Resolved;
use crate::settings::{Health, Place, PlaceId, Settings, TrunkId};

/// See the module's text.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    /// Trunks by the hosts of their edges.
    edges: HashMap<Box<str>, TrunkId>,
    /// Addresses of PBX targets.
    targets: HashSet<SocketAddr>,
    /// Places by what names them, where they are spoken to from left out.
    places: HashMap<Place, PlaceId>,
    /// By place: how the health of its candidates is kept, where it is.
    cares: Vec<Option<Health>>,
}

impl Lookup {
    pub(super) fn new(settings: &Settings, resolved: &[Arc<Resolved>]) -> Self {
        let mut lookup = Lookup {
            edges: HashMap::new(),
            targets: HashSet::new(),
            places: HashMap::with_capacity(settings.places.len()),
            cares: vec![None; settings.places.len()],
        };
        for (index, trunk) in settings.trunks.iter().enumerate() {
            if let Some(termination) = &trunk.termination {
                for edge in &termination.edges {
                    let host = edge.address.host.clone();
                    lookup.edges.entry(host).or_insert(TrunkId(index as u16));
                    lookup.care_for(edge.place, termination.health);
                }
            }
            if let Some(origination) = &trunk.origination {
                for target in &origination.targets {
                    lookup.care_for(target.place, origination.health);
                    let resolved = resolved.get(target.place.0 as usize);
                    let candidates = resolved.iter().flat_map(|it| &it.candidates);
                    lookup.targets.extend(candidates.map(|it| it.addr));
                }
            }
        }
        for (index, place) in settings.places.iter().enumerate() {
            let id = PlaceId(index as u32);
            lookup.places.entry(anywhere(place)).or_insert(id);
        }
        lookup
    }

    /// The first to care for a place says how.
    fn care_for(&mut self, place: PlaceId, health: Health) {
        if let Some(care) = self.cares.get_mut(place.0 as usize) {
            care.get_or_insert(health);
        }
    }

    /// How the health of a place's candidates is kept: by what the first edge or target there says.
    pub(super) fn care(&self, place: PlaceId) -> Option<Health> {
        self.cares.get(place.0 as usize).copied().flatten()
    }

    pub(super) fn edge(&self, host: &[u8]) -> Option<TrunkId> {
        let host = std::str::from_utf8(host).ok()?.to_ascii_lowercase();
        self.edges.get(host.as_str()).copied()
    }

    pub(super) fn is_target(&self, addr: SocketAddr) -> bool {
        self.targets.contains(&addr)
    }

    pub(super) fn place(&self, wanted: &Place) -> Option<PlaceId> {
        let known = match wanted.from {
            None => self.places.get(wanted),
            Some(_) => self.places.get(&anywhere(wanted)),
        };
        known.copied()
    }
}

/// A place, wherever it is spoken to from.
fn anywhere(place: &Place) -> Place {
    Place {
        from: None,
        ..place.clone()
    }
}
