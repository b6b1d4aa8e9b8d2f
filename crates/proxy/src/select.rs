//! Which one, of those that may be tried.
//!
//! Owns no state: who is eligible is decided by then (health, limits, what this call has already
//! tried), and a call that fails asks again with what is left. That is how a failed target's
//! share goes to its peers in proportion, and why there is no list to keep in step.

use crate::{dice::Dice, rendezvous};

/// One that may be tried.
#[derive(Copy, Clone, Debug)]
pub struct Choice {
    /// Lowest first.
    pub priority: u16,
    /// Share inside its priority.
    pub weight: u32,
    /// Calls it has now.
    pub active: u32,
    /// The same for the same target on every node and after every reload: a hash of its name.
    pub id: u64,
}

/// How to pick inside one priority.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum By {
    /// In proportion to weight (RFC 2782). All that weigh 0 together share a weight of 1, and are
    /// as likely as each other where nothing else is left.
    Weighted,
    /// The fewest active calls for its weight; among equals, in proportion to weight. One that
    /// weighs 0 stands by for when no other is left.
    LeastCalls,
    /// Always the same for the same hash, in proportion to weight over all hashes. Losing or
    /// gaining a choice moves only that choice's own share (weighted rendezvous). One that weighs
    /// 0 stands by for when no other is left.
    Hash(u64),
}

/// Picks one of `eligible` and returns its place; `None` when there is nothing to pick from.
///
/// Only the lowest priority present counts.
pub fn pick(by: By, eligible: &[Choice], dice: &mut Dice) -> Option<usize> {
    let priority = eligible.iter().map(|choice| choice.priority).min()?;
    let best = Best { eligible, priority };
    match by {
        By::Weighted => best.by_weight(dice, |_| true),
        By::LeastCalls => best.by_calls(dice),
        By::Hash(key) => best.by_hash(key),
    }
}

/// The choices of the lowest priority.
struct Best<'a> {
    eligible: &'a [Choice],
    priority: u16,
}

impl<'a> Best<'a> {
    fn choices(&self) -> impl Iterator<Item = (usize, &'a Choice)> {
        let priority = self.priority;
        self.eligible
            .iter()
            .enumerate()
            .filter(move |(_, choice)| choice.priority == priority)
    }

    fn by_weight(&self, dice: &mut Dice, fits: impl Fn(&Choice) -> bool) -> Option<usize> {
        let fitting = || self.choices().filter(|(_, choice)| fits(choice));
        let total: u64 = fitting().map(|(_, choice)| u64::from(choice.weight)).sum();
        let zeros = fitting().filter(|(_, choice)| choice.weight == 0).count() as u64;

        // RFC 2782 puts the zeros first and draws from 0 to the sum, both included: a zero is
        // taken when 0 is drawn. Here that is one more share of weight 1, and only if there is one.
        let mut drawn = match total + zeros.min(1) {
            0 => return None,
            shares => dice.below(shares),
        };
        if drawn == total {
            let chosen = dice.below(zeros.max(1)) as usize;
            return fitting()
                .filter(|(_, choice)| choice.weight == 0)
                .nth(chosen)
                .map(|(index, _)| index);
        }
        fitting()
            .find(|(_, choice)| {
                let weight = u64::from(choice.weight);
                let found = drawn < weight;
                drawn = drawn.saturating_sub(weight);
                found
            })
            .map(|(index, _)| index)
    }

    fn by_calls(&self, dice: &mut Dice) -> Option<usize> {
        let least = self
            .choices()
            .map(|(_, choice)| Load::of(choice))
            .reduce(|a, b| if b.is_less(a) { b } else { a })?;
        self.by_weight(dice, |choice| !least.is_less(Load::of(choice)))
    }

    fn by_hash(&self, key: u64) -> Option<usize> {
        let weightless = self.choices().all(|(_, choice)| choice.weight == 0);
        let taking_part = || {
            let choices = self.choices();
            choices.filter(|(_, choice)| weightless || choice.weight > 0)
        };
        let at = rendezvous::first(
            key,
            taking_part().map(|(_, choice)| (choice.id, choice.weight)),
        )?;
        taking_part().nth(at).map(|(index, _)| index)
    }
}

/// Active calls over weight, as a fraction: compared without rounding.
#[derive(Copy, Clone)]
struct Load {
    calls: u64,
    weight: u64,
}

impl Load {
    fn of(choice: &Choice) -> Load {
        Load {
            calls: u64::from(choice.active),
            weight: u64::from(choice.weight),
        }
    }

    fn is_less(self, other: Load) -> bool {
        match (self.weight, other.weight) {
            (0, 0) => self.calls < other.calls,
            (0, _) => false,
            (_, 0) => true,
            (_, _) => self.calls * other.weight < other.calls * self.weight,
        }
    }
}

#[cfg(test)]
mod tests;
