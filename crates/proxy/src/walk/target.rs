//! Which target of a trunk comes next.
//!
//! Looking at a target (its health, its limits) costs some hundred instructions, so of many targets only those
//! are looked at that may well be the one.

use std::cell::Cell;

use smallvec::SmallVec;

use super::{Addressed, Step, Terrain, slowed};
use crate::{
    dice::Dice,
    event::Direction,
    health::{Class, PeerIx},
    routing::{Candidate, Tier, target_id},
    select::{self, By, Choice},
    settings::{Origination, Policy, Target, TrunkId},
};

/// So many targets are all looked at when the first one does not fit; of more, some are drawn.
const SCANNED: usize = 8;
/// Draws by weight, or turns by hash, among more than [`SCANNED`] before all are looked at.
const DRAWS: usize = 24;
/// Among more targets than this, the fewest calls are those of the best of [`COMPARED`] drawn by weight.
const COUNTED: usize = 16;
/// How many are compared then: the busiest target is a call or two above the emptiest, and a target that
/// has just come back, with no calls at all, is not the choice of everybody at once.
const COMPARED: usize = 7;
/// A whole share, in thousandths.
const WHOLE: u16 = 1000;

/// The next address of the target that is being tried, or the first of another target.
pub(super) fn step(
    terrain: &Terrain<'_>,
    dice: &mut Dice,
    trunk: TrunkId,
    hash: u64,
    current: &mut Option<u16>,
    panic: bool,
) -> Option<Step> {
    let worst = if panic { Class::Down } else { Class::Suspect };
    let origination = terrain
        .snapshot
        .settings()
        .trunks
        .get(usize::from(trunk.0))?
        .origination
        .as_ref()?;
    if !terrain.may_retry(trunk, Direction::Origination, &origination.attempts) {
        return None;
    }
    if let Some(at) = *current {
        let place = origination.targets.get(usize::from(at))?.place;
        if let Some(step) = terrain.best_of(dice, trunk, Addressed::Target(at), place, worst) {
            return Some(step);
        }
        *current = None;
    }
    let field = Field {
        terrain,
        trunk,
        origination,
    };
    let likely = if panic {
        None
    } else {
        field.likely(dice, hash)
    };
    let at = likely.or_else(|| field.best(dice, hash, worst))?;
    *current = Some(at);
    let place = origination.targets.get(usize::from(at))?.place;
    terrain.best_of(dice, trunk, Addressed::Target(at), place, worst)
}

/// The targets of one trunk, as one call finds them.
struct Field<'f> {
    terrain: &'f Terrain<'f>,
    trunk: TrunkId,
    origination: &'f Origination,
}

/// A target that may be asked.
#[derive(Copy, Clone)]
struct Open {
    /// Of its best address.
    class: Class,
    /// What that address may have of its share, in thousandths.
    share: u16,
    /// Calls it has now.
    active: u32,
}

impl Field<'_> {
    /// One that is usable and has nobody before it, found without looking at all; `None` where that cannot be
    /// told so cheaply.
    fn likely(&self, dice: &mut Dice, hash: u64) -> Option<u16> {
        let tier = self.terrain.snapshot.routing().tier(self.trunk)?;
        let many = self.origination.targets.len();
        let draws = if many > SCANNED { DRAWS } else { 1 };
        match self.origination.policy {
            Policy::Weighted => tier.draw(draws, dice, |at| Some(self.usable(at)?.share)),
            Policy::LeastCalls if many > COUNTED => self.emptiest_drawn(tier, dice),
            Policy::LeastCalls => None,
            Policy::Hash(_) => {
                let (at, open) = tier.in_turn(draws, hash, |at| self.usable(at))?;
                // One that has but a share of its turns may come after others.
                (open.share >= WHOLE).then_some(at)
            }
        }
    }

    /// The one with the fewest calls for its weight, of some that are drawn by weight.
    fn emptiest_drawn(&self, tier: &Tier, dice: &mut Dice) -> Option<u16> {
        let mut drawn: SmallVec<[u16; COMPARED]> = SmallVec::new();
        let mut choices: SmallVec<[Choice; COMPARED]> = SmallVec::new();
        let mut spray = dice.spray();
        for _ in 0..COMPARED {
            let seen = Cell::new(None);
            let drawn_one = tier.draw(1, &mut spray, |at| {
                seen.set(self.usable(at));
                seen.get().map(|open| open.share)
            });
            if let (Some(at), Some(open)) = (drawn_one, seen.get())
                && let Some(target) = self.target(at)
            {
                drawn.push(at);
                choices.push(self.as_choice(target, open));
            }
        }
        // Their weights have had their say.
        let at = select::pick(By::LeastCalls, &choices, dice)?;
        drawn.get(at).copied()
    }

    /// The best of all: lowest priority first; inside it, usable ones before suspect ones.
    fn best(&self, dice: &mut Dice, hash: u64, worst: Class) -> Option<u16> {
        let mut best: Option<(u16, Class)> = None;
        let mut choices: SmallVec<[Choice; SCANNED]> = SmallVec::new();
        let mut places: SmallVec<[u16; SCANNED]> = SmallVec::new();
        for (at, target) in self.origination.targets.iter().enumerate() {
            let at = at as u16;
            // What cannot be better need not be looked at.
            if best.is_some_and(|(priority, _)| target.priority > priority) {
                continue;
            }
            let Some(open) = self.open(at) else {
                continue;
            };
            let rank = (target.priority, open.class);
            if open.class > worst || best.is_some_and(|best| rank > best) {
                continue;
            }
            if best.is_none_or(|best| rank < best) {
                best = Some(rank);
                choices.clear();
                places.clear();
            }
            choices.push(self.as_choice(target, open));
            places.push(at);
        }
        let by = match self.origination.policy {
            Policy::Weighted => By::Weighted,
            Policy::LeastCalls => By::LeastCalls,
            Policy::Hash(_) => By::Hash(hash),
        };
        let at = select::pick(by, &choices, dice)?;
        places.get(at).copied()
    }

    fn as_choice(&self, target: &Target, open: Open) -> Choice {
        Choice {
            priority: 0,
            weight: slowed(target.weight, open.share),
            active: open.active,
            id: match self.origination.policy {
                Policy::Hash(_) => target_id(target),
                Policy::Weighted | Policy::LeastCalls => 0,
            },
        }
    }

    fn target(&self, at: u16) -> Option<&Target> {
        self.origination.targets.get(usize::from(at))
    }

    /// A target that has no better one of its priority before it.
    fn usable(&self, at: u16) -> Option<Open> {
        self.open(at).filter(|open| open.class == Class::Usable)
    }

    /// A target as this call finds it; `None` when it is full, or all its addresses were tried.
    fn open(&self, at: u16) -> Option<Open> {
        let (terrain, trunk) = (self.terrain, self.trunk);
        let target = self.target(at)?;
        let addressed = Addressed::Target(at);
        let mut candidates = terrain.snapshot.pool(target.place);
        let standing = |(candidate, peer): (&Candidate, PeerIx)| {
            let health = (
                terrain.health.class(peer, terrain.now),
                terrain.health.slow_start_share(peer, terrain.now),
            );
            (!terrain.was_tried(trunk, addressed, candidate.addr)).then_some(health)
        };
        let (class, share) = if candidates.len() == 1 {
            // Nearly every name has one address.
            standing(candidates.next()?)?
        } else {
            candidates
                .filter_map(standing)
                .min_by_key(|(class, share)| (*class, std::cmp::Reverse(*share)))?
        };
        let tally = terrain.snapshot.tally(trunk, at);
        let active = tally.map_or(0, |tally| tally.calls());
        let full = target.max_calls != 0 && active >= target.max_calls;
        let paced = tally.is_none_or(|tally| tally.has_pace(terrain.time, target.max_cps));
        let drained = tally.is_some_and(|tally| tally.is_drained());
        (!full && !drained && paced).then_some(Open {
            class,
            share,
            active,
        })
    }
}
