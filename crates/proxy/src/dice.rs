//! Chance for one call.
//!
//! Owns nothing but a counter: the numbers are a keyed hash of it, under a key made of the
//! process's secret and the Call-ID. So what is drawn for a call depends neither on the number of
//! shards nor on the order in which calls arrive, a replay draws the same, and whoever sees some
//! of the numbers (tags travel on the wire) can neither guess nor steer the others.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::{branch, quick::Quick};

/// The letters of a tag. Lower case only: some peers compare tags without regard to case.
const TAG_LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Where the dice of all calls come from: the secret of a process. What is made of it here stays
/// here, so a [quick](crate::quick) hash is enough; what is seen of it are numbers that another hash
/// makes of that.
#[derive(Clone, Debug)]
pub struct Cup {
    calls: Quick,
    /// What the keys of all calls have in common.
    common: [u8; 8],
}

impl Cup {
    /// With the key of this process.
    pub fn new(key: &[u8; 16]) -> Cup {
        Cup {
            calls: branch::quick(key, b"dice"),
            common: branch::hash(key, &[b"all dice"]).to_le_bytes(),
        }
    }

    /// The dice of the call with this Call-ID. The same key and Call-ID always give the same dice.
    pub fn dice(&self, call_id: &[u8]) -> Dice {
        let mut key = [0; 16];
        let (own, common) = key.split_at_mut(8);
        own.copy_from_slice(&self.calls.hash(&[call_id]).to_le_bytes());
        common.copy_from_slice(&self.common);
        Dice { key, drawn: 0 }
    }
}

/// The random numbers of one call, in order.
#[derive(Clone, Debug, Default)]
pub struct Dice {
    key: [u8; 16],
    drawn: u64,
}

impl Dice {
    /// The dice of one call, from a [`Cup`] of its own.
    pub fn for_call(key: &[u8; 16], call_id: &[u8]) -> Dice {
        Cup::new(key).dice(call_id)
    }

    /// The next number, any of the 2^64.
    pub fn next_u64(&mut self) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write_u64(self.drawn.to_le());
        self.drawn = self.drawn.wrapping_add(1);
        hasher.finish()
    }

    /// A number from 0 up to but not including `bound`, each as likely as the next.
    ///
    /// A bound of 0 is taken as 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        uniform(bound, || self.next_u64())
    }

    /// Numbers for many draws that cost little: all of them follow from the next one of these.
    pub fn spray(&mut self) -> Spray {
        Spray(self.next_u64())
    }

    /// A To or From tag: more than 51 bits of chance, where RFC 3261 §19.3 wants 32.
    pub fn tag(&mut self) -> [u8; 10] {
        let mut rest = self.below(36u64.pow(10));
        std::array::from_fn(|_| {
            let letter = TAG_LETTERS[(rest % 36) as usize];
            rest /= 36;
            letter
        })
    }
}

/// Where numbers below a bound come from.
pub trait Chance {
    /// As [`Dice::below`].
    fn below(&mut self, bound: u64) -> u64;
}

impl Chance for Dice {
    fn below(&mut self, bound: u64) -> u64 {
        Dice::below(self, bound)
    }
}

/// Numbers that follow from one of a call's (SplitMix64, Steele and others 2014). Nobody outside sees them: who
/// saw one could tell the next.
#[derive(Debug)]
pub struct Spray(u64);

impl Chance for Spray {
    fn below(&mut self, bound: u64) -> u64 {
        uniform(bound, || {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ mixed >> 31
        })
    }
}

/// A number from 0 up to but not including `bound` (0 is taken as 1), each as likely as the next.
#[inline]
fn uniform(bound: u64, mut next: impl FnMut() -> u64) -> u64 {
    debug_assert!(bound >= 1, "there is no number below 0");
    let bound = bound.max(1);
    // Lemire's method: the high half of a product is uniform once the few low halves that
    // would come up once too often are drawn again.
    let surplus = bound.wrapping_neg() % bound;
    loop {
        let product = u128::from(next()) * u128::from(bound);
        if product as u64 >= surplus {
            return (product >> 64) as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const KEY: [u8; 16] = *b"sixteen key byte";

    fn first(key: &[u8; 16], call_id: &[u8], count: usize) -> Vec<u64> {
        let mut dice = Dice::for_call(key, call_id);
        (0..count).map(|_| dice.next_u64()).collect()
    }

    #[test]
    fn a_spray_follows_from_its_dice_and_each_number_is_as_likely_as_the_next() {
        let spray = |call_id: &[u8]| Dice::for_call(&KEY, call_id).spray();
        let few = |mut spray: Spray| [(); 8].map(|()| spray.below(1 << 40));
        assert_eq!(few(spray(b"a")), few(spray(b"a")));
        assert_ne!(few(spray(b"a")), few(spray(b"b")));
        let mut counts = [0_u32; 7];
        for call in 0..5000_u32 {
            let mut spray = spray(&call.to_be_bytes());
            (0..7).for_each(|_| counts[spray.below(7) as usize] += 1);
        }
        // Five standard deviations around 5000 (65 each).
        assert!(
            counts.iter().all(|it| it.abs_diff(5000) < 330),
            "{counts:?}"
        );
    }

    #[test]
    fn a_call_draws_the_same_whatever_was_drawn_for_others() {
        let alone = first(&KEY, b"a@example.com", 8);
        let mut other = Dice::for_call(&KEY, b"b@example.com");
        let mut again = Dice::for_call(&KEY, b"a@example.com");
        let mixed: Vec<u64> = (0..8)
            .map(|_| {
                other.next_u64();
                again.next_u64()
            })
            .collect();
        assert_eq!(alone, mixed);
    }

    #[test]
    fn another_call_or_another_key_draws_something_else() {
        let here = first(&KEY, b"a@example.com", 4);
        assert_ne!(here, first(&KEY, b"b@example.com", 4));
        assert_ne!(here, first(b"another key here", b"a@example.com", 4));
    }

    #[test]
    fn numbers_below_a_bound_are_even() {
        const ROLLS: u64 = 60_000;
        let mut dice = Dice::for_call(&KEY, b"even");
        let mut seen = [0u64; 6];
        (0..ROLLS).for_each(|_| seen[dice.below(6) as usize] += 1);
        let mean = (ROLLS / 6) as f64;
        // Four standard deviations of a binomial.
        let slack = 4.0 * (mean * 5.0 / 6.0).sqrt();
        assert!(
            seen.iter().all(|n| (*n as f64 - mean).abs() < slack),
            "{seen:?}"
        );
    }

    #[test]
    fn tags_are_lower_case_and_do_not_repeat() {
        let tags: HashSet<[u8; 10]> = (0..10_000u32)
            .map(|call| Dice::for_call(&KEY, &call.to_le_bytes()).tag())
            .collect();
        assert_eq!(tags.len(), 10_000);
        assert!(
            tags.iter()
                .flatten()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        );
    }

    proptest! {
        #[test]
        fn nothing_drawn_reaches_its_bound(bound in 1u64.., call in any::<[u8; 4]>()) {
            let mut dice = Dice::for_call(&KEY, &call);
            for _ in 0..16 {
                prop_assert!(dice.below(bound) < bound);
            }
        }
    }
}
