//! One of many targets by weight or by hash, without asking all of them whether they can take the call.
//!
//! By weight: a target is drawn by its weight among all of its priority, and asked; one that cannot is drawn
//! no more than the next. What comes out has the very shares that `select` gives among those that can:
//! drawing again until one fits is drawing among those that fit.
//!
//! By hash: one after the other in their turn. The first that can take the call has the turn among those that can.

use std::collections::BTreeMap;

use crate::{
    dice::Chance,
    rendezvous::Columns,
    settings::{Policy, Target},
};

/// A whole share, in thousandths.
const WHOLE: u64 = 1000;

/// The targets of one trunk that come first: those of the lowest priority.
#[derive(Clone, Debug, Default)]
pub struct Tier {
    /// Those that have a weight, and the sum of weights up to and with each.
    weighty: Vec<u16>,
    sums: Vec<u64>,
    /// Those that weigh nothing.
    weightless: Vec<u16>,
    /// Where the policy is a hash: those of them that take part.
    hashed: Columns,
}

impl Tier {
    /// The first tier.
    pub fn first(targets: &[Target], policy: Policy) -> Tier {
        let mut by_priority: BTreeMap<u16, Tier> = BTreeMap::new();
        for (at, target) in targets.iter().enumerate() {
            let tier = by_priority.entry(target.priority).or_default();
            tier.add(at as u16, target.weight);
        }
        let mut tier = by_priority
            .pop_first()
            .map(|(_, tier)| tier)
            .unwrap_or_default();
        if matches!(policy, Policy::Hash(_)) {
            let takes_part = tier.takes_part().iter();
            let targets = takes_part.filter_map(|at| targets.get(usize::from(*at)));
            let names = targets.map(|target| (target_id(target), u32::from(target.weight)));
            tier.hashed = Columns::new(names);
        }
        tier
    }

    /// Those that are there while all are: one that weighs nothing stands by.
    fn takes_part(&self) -> &[u16] {
        if self.weighty.is_empty() {
            &self.weightless
        } else {
            &self.weighty
        }
    }

    /// Whose turn it is by this hash, of those that `fits` says something of: what it says. Gives up after so many
    /// `turns`, and at once where the policy is another.
    pub fn in_turn<T>(
        &self,
        turns: usize,
        hash: u64,
        fits: impl Fn(u16) -> Option<T>,
    ) -> Option<(u16, T)> {
        let mut in_turn = self.hashed.in_turn(hash);
        (0..turns).find_map(|_| {
            let at = *self.takes_part().get(in_turn.next()?)?;
            Some((at, fits(at)?))
        })
    }

    fn add(&mut self, at: u16, weight: u16) {
        if weight == 0 {
            self.weightless.push(at);
        } else {
            self.weighty.push(at);
            self.sums.push(self.total() + u64::from(weight));
        }
    }

    fn total(&self) -> u64 {
        self.sums.last().copied().unwrap_or(0)
    }

    /// Draws one in proportion to its weight times the thousandths of it that `share` says it may have;
    /// `None`: it cannot take the call. Gives up after `draws`.
    pub fn draw(
        &self,
        draws: usize,
        dice: &mut impl Chance,
        share: impl Fn(u16) -> Option<u16>,
    ) -> Option<u16> {
        (0..draws).find_map(|_| self.draw_once(dice, &share))
    }

    fn draw_once(&self, dice: &mut impl Chance, share: impl Fn(u16) -> Option<u16>) -> Option<u16> {
        // As in `select`: all that weigh nothing share one part beside the thousandths of the others.
        let parts = self.total() * WHOLE;
        let all = parts + u64::from(!self.weightless.is_empty());
        if all == 0 {
            return None;
        }
        let drawn = dice.below(all);
        if drawn < parts {
            let weight = drawn / WHOLE;
            let at = self.sums.partition_point(|sum| *sum <= weight);
            let at = *self.weighty.get(at)?;
            // What is left of the draw is as good as another one.
            let left = drawn % WHOLE;
            return share(at).filter(|it| left < u64::from(*it)).map(|_| at);
        }
        if parts == 0 {
            let at = dice.below(self.weightless.len() as u64) as usize;
            return self
                .weightless
                .get(at)
                .copied()
                .filter(|at| share(*at).is_some());
        }
        // So rare that looking at all of them costs nothing.
        let fitting = || self.weightless.iter().filter(|at| share(**at).is_some());
        let count = fitting().count() as u64;
        let chosen = (count > 0).then(|| dice.below(count) as usize)?;
        fitting().nth(chosen).copied()
    }
}

/// Names a target for hashing: the same on every node and after a reload.
pub fn target_id(target: &Target) -> u64 {
    // FNV-1a: only told apart here, mixed strongly by `rendezvous`.
    target
        .address
        .written
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dice::Dice,
        select::{self, By, Choice},
        settings::{HashKey, PlaceId, RequestAddress},
    };

    fn target(priority: u16, weight: u16) -> Target {
        let address = RequestAddress {
            written: "".into(),
            scheme: "sip".into(),
            user: None,
            host: "".into(),
            authority: "".into(),
            params: "".into(),
        };
        Target {
            address,
            place: PlaceId(0),
            priority,
            weight,
            max_calls: 0,
            max_cps: 0,
        }
    }

    /// How often each comes in so many calls, drawn here and by looking at all.
    fn shares(targets: &[Target], share: impl Fn(u16) -> Option<u16>) -> Vec<(u32, u32)> {
        let tier = Tier::first(targets, Policy::Weighted);
        let mut counts = vec![(0, 0); targets.len()];
        let lowest = targets.iter().map(|target| target.priority).min();
        let first = |at: &usize| Some(targets[*at].priority) == lowest;
        let open: Vec<usize> = (0..targets.len())
            .filter(first)
            .filter(|at| share(*at as u16).is_some())
            .collect();
        let choices: Vec<Choice> = open
            .iter()
            .map(|at| Choice {
                priority: 0,
                weight: u32::from(targets[*at].weight) * u32::from(share(*at as u16).unwrap()),
                active: 0,
                id: 0,
            })
            .collect();
        for call in 0..20_000u32 {
            let mut dice = Dice::for_call(&[7; 16], &call.to_be_bytes());
            if let Some(at) = tier.draw(24, &mut dice, &share) {
                counts[usize::from(at)].0 += 1;
            }
            if let Some(at) = select::pick(By::Weighted, &choices, &mut dice) {
                counts[open[at]].1 += 1;
            }
        }
        counts
    }

    fn assert_same(counts: &[(u32, u32)]) {
        for (at, (drawn, picked)) in counts.iter().enumerate() {
            // Five standard deviations of the difference.
            let room = 5.0 * f64::from(drawn + picked).sqrt() + 1.0;
            let apart = f64::from(*drawn) - f64::from(*picked);
            assert!(apart.abs() <= room, "target {at}: {counts:?}");
        }
    }

    #[test]
    fn drawing_gives_the_shares_that_looking_at_all_gives() {
        let weighty: Vec<Target> = [60, 20, 20, 5, 0, 1]
            .map(|weight| target(10, weight))
            .into_iter()
            .chain([target(20, 1000)])
            .collect();
        let all = |_| Some(1000);
        assert_same(&shares(&weighty, all));
        // One cannot take calls, one comes back slowly.
        let some = |at| match at {
            0 => None,
            1 => Some(250),
            _ => Some(1000),
        };
        assert_same(&shares(&weighty, some));
        let weightless: Vec<Target> = (0..5).map(|_| target(1, 0)).collect();
        assert_same(&shares(&weightless, |at| (at != 2).then_some(1000)));
    }

    #[test]
    fn a_hash_names_whom_looking_at_all_names() {
        let weights: [&[u16]; 3] = [&[60, 20, 0, 5, 1, 1, 300], &[0, 0, 0], &[7]];
        for weights in weights {
            let mut targets: Vec<Target> = weights.iter().map(|it| target(10, *it)).collect();
            targets.push(target(20, 1000));
            for (at, target) in targets.iter_mut().enumerate() {
                target.address.written = format!("sip:10.0.2.{at}").into();
            }
            let first = &targets[..weights.len()];
            let choices: Vec<Choice> = first
                .iter()
                .map(|target| Choice {
                    priority: 0,
                    weight: u32::from(target.weight),
                    active: 0,
                    id: target_id(target),
                })
                .collect();
            let policy = Policy::Hash(HashKey::CallId);
            let tier = Tier::first(&targets, policy);
            let mut dice = Dice::for_call(&[7; 16], b"a call");
            for _ in 0..1000 {
                let key = dice.next_u64();
                let picked = select::pick(By::Hash(key), &choices, &mut dice);
                assert_eq!(
                    tier.in_turn(1, key, |at| Some(usize::from(at)))
                        .map(|it| it.1),
                    picked,
                    "{weights:?}"
                );
            }
        }
    }

    #[test]
    fn who_has_the_first_turn_and_can_is_the_one_among_all_that_can() {
        let mut targets: Vec<Target> = (0..300).map(|at| target(10, 1 + at % 4)).collect();
        for (at, target) in targets.iter_mut().enumerate() {
            target.address.written = format!("sip:10.0.2.{at}").into();
        }
        let tier = Tier::first(&targets, Policy::Hash(HashKey::CallId));
        let mut dice = Dice::for_call(&[7; 16], b"a call");
        // So many of a thousand are dead or full.
        for closed in [0, 10, 300, 700, 990] {
            let mut given_up = 0;
            for _ in 0..200 {
                let open: Vec<bool> = targets.iter().map(|_| dice.below(1000) >= closed).collect();
                let places: Vec<usize> = (0..targets.len()).filter(|at| open[*at]).collect();
                let choices: Vec<Choice> = places
                    .iter()
                    .map(|at| Choice {
                        priority: 0,
                        weight: u32::from(targets[*at].weight),
                        active: 0,
                        id: target_id(&targets[*at]),
                    })
                    .collect();
                let key = dice.next_u64();
                let fits = |at: u16| open[usize::from(at)].then_some(());
                match tier.in_turn(24, key, fits) {
                    Some((at, ())) => {
                        let picked = select::pick(By::Hash(key), &choices, &mut dice);
                        let picked = picked.map(|at| places[at]);
                        assert_eq!(Some(usize::from(at)), picked, "{closed}");
                    }
                    None => given_up += 1,
                }
            }
            // Where a third is left, 24 turns are enough.
            assert!(closed > 700 || given_up == 0, "{closed}: {given_up}");
        }
    }

    #[test]
    fn where_nobody_can_take_the_call_it_gives_up() {
        let targets = [target(1, 3), target(1, 0)];
        let mut dice = Dice::for_call(&[7; 16], b"a call");
        assert_eq!(
            Tier::first(&targets, Policy::Weighted).draw(24, &mut dice, |_| None),
            None
        );
        assert_eq!(Tier::default().draw(24, &mut dice, |_| Some(1000)), None);
    }
}
