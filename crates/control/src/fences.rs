//! Whom the sockets keep out, over all shards: one line when a flood begins, one when it is over.

use std::{collections::BTreeMap, net::IpAddr};

use serde::Serialize;
use tracing::{info, warn};
use trunkline_proxy::{ListenerId, Settings, ShardId, event::Fence};

use crate::view::listener_name;

/// What every shard told last.
#[derive(Default)]
pub struct Fences(BTreeMap<ListenerId, Flood>);

/// The fences of one listener.
#[derive(Default)]
struct Flood {
    standing: BTreeMap<ShardId, Fence>,
    /// What those turned away that are gone.
    turned_away: u64,
}

/// A fence as `/fences` shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FenceShown {
    /// Its listener: the name, else the address.
    pub listener: String,
    /// Whose datagrams are dropped, the busiest first.
    pub sources: Vec<IpAddr>,
    /// Of the busiest when it was found, datagrams a second.
    pub rate: u32,
    /// Datagrams that were dropped so far.
    pub turned_away: u64,
}

impl Fences {
    /// A shard says what its fence is now. The first of a listener is worth a line, and so is the end of the
    /// last.
    pub fn record(&mut self, fence: &Fence, settings: &Settings) {
        let listener = || listener_name(settings, fence.listener);
        if let Some(busiest) = fence.sources.first() {
            let flood = self.0.entry(fence.listener).or_default();
            if flood.standing.is_empty() {
                warn!(
                    listener = listener(),
                    sources = fence.sources.len(),
                    %busiest,
                    rate = fence.rate,
                    "strangers flood: what they send is dropped before it is read"
                );
            }
            flood.standing.insert(fence.shard, fence.clone());
            return;
        }
        let Some(flood) = self.0.get_mut(&fence.listener) else {
            return;
        };
        flood.standing.remove(&fence.shard);
        flood.turned_away += fence.turned_away;
        if flood.standing.is_empty() {
            info!(
                listener = listener(),
                turned_away = flood.turned_away,
                "the flood of strangers is over"
            );
            self.0.remove(&fence.listener);
        }
    }

    /// All that stand.
    pub fn shown(&self, settings: &Settings) -> Vec<FenceShown> {
        let show = |(listener, flood): (&ListenerId, &Flood)| {
            let standing = || flood.standing.values();
            let mut sources: Vec<IpAddr> = Vec::new();
            for source in standing().flat_map(|fence| &fence.sources) {
                if !sources.contains(source) {
                    sources.push(*source);
                }
            }
            let now: u64 = standing().map(|fence| fence.turned_away).sum();
            FenceShown {
                listener: listener_name(settings, *listener),
                sources,
                rate: standing().map(|fence| fence.rate).max().unwrap_or_default(),
                turned_away: flood.turned_away + now,
            }
        };
        self.0.iter().map(show).collect()
    }
}
