//! A large table that grows and shrinks in small steps.
//!
//! A hash table that is full moves everything it has into one of twice the size, at once: with 230 000
//! requests in work that took 9 ms, for which every packet waited. Here many small tables share the
//! entries by chance, so each move is a small one, and no two need come together.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    ops::Range,
};

/// Parts, as a power of two.
const PART_BITS: u32 = 6;
/// Parts with less room than this are left as they are.
const SHRINK_ABOVE: usize = 32;

/// Values by keys that are keyed hashes, so that nobody outside can aim at one place, nor at another's
/// key: of a million that are there, one new key in 10^13 meets any.
#[derive(Debug)]
pub struct Spread<V> {
    parts: Box<[HashMap<u64, V, BuildHasherDefault<Itself>>]>,
    len: usize,
}

impl<V> Default for Spread<V> {
    fn default() -> Self {
        Spread {
            parts: (0..Self::PARTS).map(|_| HashMap::default()).collect(),
            len: 0,
        }
    }
}

/// The low bits choose the place in a part, and the seven highest tell apart who share it: those below
/// them are left to choose the part.
fn part_of(key: u64) -> usize {
    (key >> (u64::BITS - 7 - PART_BITS)) as usize % (1 << PART_BITS)
}

impl<V> Spread<V> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of a key.
    pub fn get(&self, key: u64) -> Option<&V> {
        self.parts[part_of(key)].get(&key)
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: u64) -> Option<&mut V> {
        self.parts[part_of(key)].get_mut(&key)
    }

    /// Puts a value in; gives back the one that had its key.
    pub fn insert(&mut self, key: u64, value: V) -> Option<V> {
        let before = self.parts[part_of(key)].insert(key, value);
        self.len += usize::from(before.is_none());
        before
    }

    /// Takes a value out, and gives memory back when a peak has passed.
    pub fn remove(&mut self, key: u64) -> Option<V> {
        let part = &mut self.parts[part_of(key)];
        let value = part.remove(&key)?;
        self.len -= 1;
        // An eighth full and not half, so that a load that swings a little copies nothing.
        if part.capacity() > SHRINK_ABOVE && part.len() < part.capacity() / 8 {
            part.shrink_to(part.len() * 2);
        }
        Some(value)
    }

    /// The room that all parts together really have: each is at most 7/8 full.
    #[cfg(test)]
    pub fn slots(&self) -> usize {
        let capacities = self.parts.iter().map(HashMap::capacity);
        capacities
            .filter(|capacity| *capacity > 0)
            .map(|capacity| (capacity * 8 / 7).next_power_of_two())
            .sum()
    }

    /// How many parts there are.
    pub const PARTS: usize = 1 << PART_BITS;

    /// What is in these parts, in an order that means nothing.
    #[allow(clippy::disallowed_methods)] // Said in the name of the caller, who must sort.
    pub fn iter(&self, parts: Range<usize>) -> impl Iterator<Item = (u64, &V)> {
        let entries = self.parts.get(parts).unwrap_or_default().iter().flatten();
        entries.map(|(key, value)| (*key, value))
    }

    /// All of them, in an order that means nothing.
    #[allow(clippy::disallowed_methods)] // As in `iter`.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.parts.iter_mut().flat_map(HashMap::values_mut)
    }
}

/// A key that is a hash already serves as well as another hash of it.
#[derive(Debug, Default)]
struct Itself(u64);

impl Hasher for Itself {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Not reached for u64; right all the same.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys as hashes give them: any bit may be set.
    fn key(number: u64) -> u64 {
        let mixed = (number ^ (number >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    #[test]
    fn what_was_put_in_is_found_until_it_is_taken_out() {
        let mut table = Spread::default();
        let numbers = 0..10_000;
        for number in numbers.clone() {
            assert_eq!(table.insert(key(number), number), None);
        }
        assert_eq!(table.insert(key(7), 8), Some(7));
        assert_eq!(table.get(key(7)), Some(&8));
        *table.get_mut(key(7)).expect("it is there") = 7;
        table.values_mut().for_each(|number| *number += 1);
        let mut all: Vec<_> = table
            .iter(0..Spread::<u64>::PARTS)
            .map(|(key, number)| (*number, key))
            .collect();
        all.sort_unstable();
        let expected: Vec<_> = numbers.clone().map(|it| (it + 1, key(it))).collect();
        assert_eq!(all, expected);
        for number in numbers {
            assert_eq!(table.remove(key(number)), Some(number + 1));
            assert_eq!(table.remove(key(number)), None);
            assert_eq!(table.len() as u64, 9_999 - number);
        }
        assert!(table.is_empty() && table.get(key(7)).is_none());
    }

    #[test]
    fn no_step_moves_more_than_a_small_share_and_memory_comes_back() {
        let mut table = Spread::default();
        let room =
            |table: &Spread<u64>| -> Vec<_> { table.parts.iter().map(HashMap::capacity).collect() };
        let mut largest = 0;
        let mut before = room(&table);
        for number in 0..20_000 {
            table.insert(key(number), number);
            let after = room(&table);
            let moved = before.iter().zip(&after).filter(|(old, new)| old != new);
            largest = largest.max(moved.map(|(old, _)| *old).sum());
            before = after;
        }
        assert!(largest <= 20_000 / 32, "{largest} were moved at once");
        for number in 0..20_000 {
            table.remove(key(number));
        }
        let left: usize = room(&table).iter().sum();
        assert!(left <= SHRINK_ABOVE << PART_BITS, "{left}");
    }
}
