//! Which trunks an outbound call may take.

use std::sync::Arc;

use super::numbers::Numbers;
use crate::settings::{Settings, TrunkId};

/// `[[route]]` by number, with the trunks of each as a call keeps them.
#[derive(Clone, Debug)]
pub(super) struct Outbound {
    routes: Numbers,
    /// Of each route, in the file's order.
    trunks: Vec<Arc<[TrunkId]>>,
    /// For a number that no route matches: all, if there is no route at all.
    others: Arc<[TrunkId]>,
}

impl Outbound {
    pub(super) fn new(settings: &Settings) -> Self {
        let has_edges = |id: &TrunkId| {
            let trunk = settings.trunks.get(usize::from(id.0));
            trunk.is_some_and(|trunk| trunk.termination.is_some())
        };
        let mut routes = Numbers::default();
        for (rank, route) in settings.routes.iter().enumerate() {
            routes.insert(&route.pattern, rank as u32);
        }
        let trunks = settings.routes.iter();
        let trunks = trunks.map(|route| route.trunks.iter().copied().filter(has_edges).collect());
        let all = (0..settings.trunks.len()).map(|at| TrunkId(at as u16));
        Outbound {
            routes,
            trunks: trunks.collect(),
            others: match settings.routes.is_empty() {
                true => all.filter(has_edges).collect(),
                false => Arc::default(),
            },
        }
    }

    pub(super) fn find(&self, number: &[u8]) -> &Arc<[TrunkId]> {
        let route = self.routes.find(number);
        route
            .and_then(|rank| self.trunks.get(rank as usize))
            .unwrap_or(&self.others)
    }
}
