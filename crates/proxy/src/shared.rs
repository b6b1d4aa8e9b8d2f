//! What the shards of one process share: words that are counted up and down, and no more.
//!
//! Everything else of a shard is its own. These are atomics, so no shard ever waits for another, and
//! one thread that plays all shards (the simulator) sees the same numbers each time.

use std::{sync::Arc, time::Instant};

use crate::{
    Moment,
    rate::Sources,
    retry::Retries,
    tally::{Named, Tallies},
};

/// See the module's text.
#[derive(Debug)]
pub struct Shared {
    shards: u8,
    epoch: Instant,
    pub(crate) sources: Sources,
    pub(crate) tallies: Tallies,
    /// By trunk and direction.
    pub(crate) retries: Named<Retries>,
}

impl Shared {
    /// For a process with so many shards (0 counts as 1). `epoch`: a moment that none of them
    /// comes before.
    pub fn new(shards: u8, epoch: Instant) -> Arc<Self> {
        Arc::new(Shared {
            shards: shards.max(1),
            epoch,
            sources: Sources::default(),
            tallies: Tallies::default(),
            retries: Named::default(),
        })
    }

    /// How many shards there are.
    pub fn shards(&self) -> u8 {
        self.shards
    }

    /// Takes a target or an edge out for all shards at once, or returns it: no new calls go there, those it
    /// has live on. It is named by its trunk and by its URI as the configuration writes it, and stays
    /// drained when the configuration is loaded again; not when the process starts anew.
    pub fn drain(&self, trunk: &str, target: &str, drained: bool) {
        self.tallies.find(trunk, target).drain(drained);
    }

    /// Whether a target or an edge is drained.
    pub fn is_drained(&self, trunk: &str, target: &str) -> bool {
        self.tallies.find(trunk, target).is_drained()
    }

    /// Time as all shards count it.
    pub fn moment(&self, at: Instant) -> Moment {
        match at.checked_duration_since(self.epoch) {
            Some(after) => Moment::EPOCH + after,
            None => Moment::EPOCH - (self.epoch - at),
        }
    }

    /// The same moment as a clock tells it; `None` for one that it cannot tell, and for [`Moment::NEVER`].
    pub fn instant(&self, at: Moment) -> Option<Instant> {
        if at == Moment::NEVER {
            return None;
        }
        match at.checked_duration_since(Moment::EPOCH) {
            Some(after) => self.epoch.checked_add(after),
            None => self.epoch.checked_sub(Moment::EPOCH - at),
        }
    }
}
