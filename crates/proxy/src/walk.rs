//! The order in which one call tries its candidates.
//!
//! A walk is a pure function of snapshot, health, chance and what was tried: it keeps no list of
//! its own, so what is learned while the call waits counts for its next step.

mod target;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use smallvec::SmallVec;

use crate::{
    Moment,
    dice::Dice,
    event::Direction,
    health::{Class, HealthTable, PeerIx},
    routing::Candidate,
    select::{self, By, Choice},
    settings::{Attempts, HashKey, InDialog, Origination, Policy, RequestAddress, Target, TrunkId},
    snapshot::Snapshot,
};

/// Where a call may go.
#[derive(Clone, Debug)]
pub enum Walk {
    /// Out: these trunks in order, each edge by edge.
    Termination {
        /// The one whose edge the Request-URI names comes before all others.
        named: Option<TrunkId>,
        /// In order; all have edges.
        trunks: Arc<[TrunkId]>,
    },
    /// In: the targets of this trunk.
    Origination {
        /// The trunk.
        trunk: TrunkId,
        /// What `policy = "hash"` hashes of this call.
        hash: u64,
        /// The target that is being tried: all its addresses before the next target.
        current: Option<u16>,
    },
    /// To addresses that the message itself or a webhook names.
    Fixed {
        /// Whose settings hold, and how it is counted.
        trunk: TrunkId,
        /// Which way the call went when it was set up.
        direction: Direction,
        /// In order.
        candidates: SmallVec<[Candidate; 1]>,
        /// A new Request-URI, or empty: the request's own.
        request_uri: Arc<[u8]>,
    },
}

/// How the Request-URI of an attempt is made.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Addressed {
    /// This edge of the trunk.
    Edge(u16),
    /// This target of the trunk.
    Target(u16),
    /// As the walk says.
    Fixed,
}

/// The next step of a walk.
#[derive(Copy, Clone, Debug)]
pub struct Step {
    /// Whose candidate.
    pub trunk: TrunkId,
    /// How to address it.
    pub addressed: Addressed,
    /// Where to send.
    pub candidate: Candidate,
    /// Its health entry; `None` for addresses nobody configured.
    pub peer: Option<PeerIx>,
}

/// What a walk needs to know of an attempt that was made.
#[derive(Copy, Clone, Debug)]
pub struct Tried {
    /// Whose.
    pub trunk: TrunkId,
    /// How it was addressed.
    pub addressed: Addressed,
    /// Where it went.
    pub addr: SocketAddr,
    /// Whether nobody was heard there: silence or a lost hop.
    pub dead: bool,
}

/// What a step reads.
pub struct Terrain<'t> {
    /// The call's snapshot.
    pub snapshot: &'t Snapshot,
    /// Health now.
    pub health: &'t HealthTable,
    /// Now.
    pub now: Moment,
    /// Now, as all shards count it.
    pub time: Duration,
    /// Whether this is a call, which has to stand in line for a carrier with `cps`.
    pub shaped: bool,
    /// The trunk whose line it has stood in already.
    pub turn_of: Option<TrunkId>,
    /// Whether `retry_budget` holds.
    pub budgeted: bool,
    /// What was tried.
    pub tried: &'t [Tried],
}

impl Walk {
    /// The next candidate, or `None` when nothing is left.
    ///
    /// Candidates that are down are passed by, unless nobody alive is left to ask: every
    /// candidate is down or was dead to this very call. Then they are all tried, since a stale
    /// health report must not fail a live call (BEHAVIOUR 6, FACTS P10).
    pub fn next(&mut self, terrain: &Terrain<'_>, dice: &mut Dice) -> Option<Step> {
        self.step(terrain, dice, false).or_else(|| {
            let panic = self.nobody_alive(terrain);
            if panic {
                self.step(terrain, dice, true)
            } else {
                None
            }
        })
    }

    fn step(&mut self, terrain: &Terrain<'_>, dice: &mut Dice, panic: bool) -> Option<Step> {
        match self {
            Walk::Termination { .. } => self
                .trunks()
                .find_map(|trunk| edge_step(terrain, dice, trunk, panic)),
            Walk::Origination {
                trunk,
                hash,
                current,
            } => target::step(terrain, dice, *trunk, *hash, current, panic),
            Walk::Fixed {
                trunk, candidates, ..
            } => {
                let trunk = *trunk;
                let mut left = candidates
                    .iter()
                    .filter(|it| !terrain.was_tried(trunk, Addressed::Fixed, it.addr));
                left.next().map(|candidate| Step {
                    trunk,
                    addressed: Addressed::Fixed,
                    candidate: *candidate,
                    peer: terrain.health.lookup(&candidate.peer()),
                })
            }
        }
    }

    /// The target that is being tried takes no more: others come before its other addresses.
    pub fn leave_target(&mut self) {
        match self {
            Walk::Origination { current, .. } => *current = None,
            Walk::Termination { .. } | Walk::Fixed { .. } => {}
        }
    }

    fn nobody_alive(&self, terrain: &Terrain<'_>) -> bool {
        let dead = |trunk: TrunkId, addressed: Addressed, candidate: &Candidate, peer: PeerIx| {
            terrain.health.class(peer, terrain.now) == Class::Down
                || terrain.tried.iter().any(|tried| {
                    tried.dead
                        && tried.addr == candidate.addr
                        && tried.trunk == trunk
                        && tried.addressed == addressed
                })
        };
        match self {
            Walk::Termination { .. } => self.trunks().all(|trunk| {
                edges(terrain, trunk).all(|(at, place)| {
                    terrain.snapshot.is_edge_drained(trunk, at)
                        || terrain
                            .snapshot
                            .pool(place)
                            .all(|(it, peer)| dead(trunk, Addressed::Edge(at), it, peer))
                })
            }),
            Walk::Origination { trunk, .. } => {
                targets(terrain, *trunk).enumerate().all(|(at, target)| {
                    let addressed = Addressed::Target(at as u16);
                    let tally = terrain.snapshot.tally(*trunk, at as u16);
                    tally.is_some_and(|tally| tally.is_drained())
                        || terrain
                            .snapshot
                            .pool(target.place)
                            .all(|(it, peer)| dead(*trunk, addressed, it, peer))
                })
            }
            Walk::Fixed { .. } => false,
        }
    }

    /// The trunk that the walk begins with.
    pub fn first_trunk(&self) -> TrunkId {
        self.trunks().next().unwrap_or(TrunkId(0))
    }

    /// The trunks it may take, in order.
    pub fn trunks(&self) -> impl Iterator<Item = TrunkId> + '_ {
        let (first, others) = match self {
            Walk::Termination { named, trunks } => (*named, &trunks[..]),
            Walk::Origination { trunk, .. } | Walk::Fixed { trunk, .. } => (Some(*trunk), &[][..]),
        };
        let others = others.iter().copied().filter(move |id| Some(*id) != first);
        first.into_iter().chain(others)
    }

    /// Which way.
    pub fn direction(&self) -> Direction {
        match self {
            Walk::Termination { .. } => Direction::Termination,
            Walk::Origination { .. } => Direction::Origination,
            Walk::Fixed { direction, .. } => *direction,
        }
    }

    /// The timers that hold for attempts at a trunk in this walk.
    pub fn attempts<'s>(&self, snapshot: &'s Snapshot, trunk: TrunkId) -> Option<&'s Attempts> {
        let trunk = snapshot.settings().trunks.get(usize::from(trunk.0))?;
        match self.direction() {
            Direction::Termination => trunk.termination.as_ref().map(|it| &it.attempts),
            Direction::Origination => trunk.origination.as_ref().map(|it| &it.attempts),
        }
    }
}

/// The address an attempt's Request-URI is rewritten to; `None` where the walk itself says.
pub fn request_address(
    snapshot: &Snapshot,
    trunk: TrunkId,
    addressed: Addressed,
) -> Option<&RequestAddress> {
    let trunk = snapshot.settings().trunks.get(usize::from(trunk.0))?;
    match addressed {
        Addressed::Edge(at) => trunk
            .termination
            .as_ref()?
            .edges
            .get(usize::from(at))
            .map(|it| &it.address),
        Addressed::Target(at) => trunk
            .origination
            .as_ref()?
            .targets
            .get(usize::from(at))
            .map(|it| &it.address),
        Addressed::Fixed => None,
    }
}

/// What `policy = "hash"` reads of a request.
pub fn hash_key(origination: &Origination) -> Option<HashKey> {
    match origination.policy {
        Policy::Hash(key) => Some(key),
        Policy::Weighted | Policy::LeastCalls => None,
    }
}

/// Whether in-dialog requests towards this trunk's carrier go to the recorded peer.
pub fn keeps_to_peer(snapshot: &Snapshot, trunk: TrunkId) -> bool {
    snapshot
        .settings()
        .trunks
        .get(usize::from(trunk.0))
        .is_some_and(|it| it.in_dialog == InDialog::Peer)
}

impl Terrain<'_> {
    fn was_tried(&self, trunk: TrunkId, addressed: Addressed, addr: SocketAddr) -> bool {
        self.tried
            .iter()
            .any(|it| it.addr == addr && it.trunk == trunk && it.addressed == addressed)
    }

    /// Whether the line for a trunk's carrier is short enough. One that is not is passed by, not
    /// failed, as a full target is.
    fn may_queue(&self, trunk: TrunkId) -> bool {
        if !self.shaped || self.turn_of == Some(trunk) {
            return true;
        }
        self.snapshot
            .carrier(trunk)
            .is_none_or(|(termination, tally)| {
                tally.line(self.time, termination.cps) <= termination.cps_wait
            })
    }

    /// Whether a trunk that this call has tried before may see it again.
    fn may_retry(&self, trunk: TrunkId, direction: Direction, attempts: &Attempts) -> bool {
        !self.budgeted
            || self.tried.iter().all(|tried| tried.trunk != trunk)
            || self
                .snapshot
                .retries(trunk, direction)
                .is_none_or(|retries| retries.has(self.time, attempts.retry_budget.into()))
    }

    /// The best untried candidate of one name: usable before suspect before (in a panic) down;
    /// inside a class by SRV priority, then weight, then chance (BEHAVIOUR 4).
    fn best_of(
        &self,
        dice: &mut Dice,
        trunk: TrunkId,
        addressed: Addressed,
        place: crate::settings::PlaceId,
        worst: Class,
    ) -> Option<Step> {
        let fits = |candidate: &Candidate, class: Class| {
            class <= worst && !self.was_tried(trunk, addressed, candidate.addr)
        };
        let mut pool = self.snapshot.pool(place);
        if pool.len() == 1 {
            // Nearly every name has one address.
            let (candidate, peer) = pool.next()?;
            return fits(candidate, self.health.class(peer, self.now)).then_some(Step {
                trunk,
                addressed,
                candidate: *candidate,
                peer: Some(peer),
            });
        }
        let mut best: Option<(Class, u16)> = None;
        let mut among: SmallVec<[(Candidate, PeerIx); 8]> = SmallVec::new();
        for (candidate, peer) in pool {
            let rank = (self.health.class(peer, self.now), candidate.priority);
            if !fits(candidate, rank.0) {
                continue;
            }
            if best.is_none_or(|best| rank < best) {
                best = Some(rank);
                among.clear();
            }
            if best == Some(rank) {
                among.push((*candidate, peer));
            }
        }
        if let [(candidate, peer)] = among[..] {
            return Some(Step {
                trunk,
                addressed,
                candidate,
                peer: Some(peer),
            });
        }
        let choices: SmallVec<[Choice; 8]> = among
            .iter()
            .map(|(candidate, peer)| Choice {
                priority: 0,
                weight: slowed(
                    candidate.weight.max(1),
                    self.health.slow_start_share(*peer, self.now),
                ),
                active: 0,
                id: 0,
            })
            .collect();
        let at = select::pick(By::Weighted, &choices, dice)?;
        let (candidate, peer) = among[at];
        Some(Step {
            trunk,
            addressed,
            candidate,
            peer: Some(peer),
        })
    }
}

fn edges<'t>(
    terrain: &'t Terrain<'_>,
    trunk: TrunkId,
) -> impl Iterator<Item = (u16, crate::settings::PlaceId)> + 't {
    let trunk = terrain.snapshot.settings().trunks.get(usize::from(trunk.0));
    let edges = trunk
        .and_then(|trunk| trunk.termination.as_ref())
        .map_or(&[][..], |it| &it.edges);
    edges
        .iter()
        .enumerate()
        .map(|(at, edge)| (at as u16, edge.place))
}

fn targets<'t>(terrain: &'t Terrain<'_>, trunk: TrunkId) -> impl Iterator<Item = &'t Target> + 't {
    let trunk = terrain.snapshot.settings().trunks.get(usize::from(trunk.0));
    trunk
        .and_then(|trunk| trunk.origination.as_ref())
        .map_or(&[][..], |it| &it.targets)
        .iter()
}

fn edge_step(terrain: &Terrain<'_>, dice: &mut Dice, trunk: TrunkId, panic: bool) -> Option<Step> {
    if !terrain.may_queue(trunk) {
        return None;
    }
    let termination = terrain.snapshot.carrier(trunk);
    if termination
        .is_some_and(|(it, _)| !terrain.may_retry(trunk, Direction::Termination, &it.attempts))
    {
        return None;
    }
    let worst = if panic { Class::Down } else { Class::Suspect };
    edges(terrain, trunk)
        .filter(|(at, _)| !terrain.snapshot.is_edge_drained(trunk, *at))
        .find_map(|(at, place)| terrain.best_of(dice, trunk, Addressed::Edge(at), place, worst))
}

/// A weight times the share of it that a returning candidate gets, in 1/1000.
fn slowed(weight: u16, share: u16) -> u32 {
    u32::from(weight) * u32::from(share.min(1000))
}
