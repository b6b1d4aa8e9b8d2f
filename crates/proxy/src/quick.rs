//! Keyed hashes for our own tables: quick, and never shown to anyone.
//!
//! SipHash keeps its promise even to who sees the hashes and chooses what is hashed; it costs a
//! hundred instructions for a line of text. A table key never leaves the process, so what has to hold
//! is less: that nobody who does not know the seeds can find two names that meet. Foldhash keeps that
//! at a tenth of the price. What does leave (branches, tags, tokens) is made with
//! [`branch::hash`](crate::branch::hash), under other keys; the tags of [refusals](crate::shed) are not,
//! since nothing is gained by whoever can make one.

use std::hash::Hasher as _;

use foldhash::{SharedSeed, quality::FoldHasher};

/// Hashes of 64 bits under seeds of this process.
#[derive(Clone, Debug)]
pub struct Quick {
    shared: SharedSeed,
    seed: u64,
}

impl Quick {
    /// `keys`: secret, and used for nothing else.
    pub fn new(keys: [u128; 2]) -> Self {
        Quick {
            shared: SharedSeed::from_u64(keys[0] as u64),
            seed: keys[1] as u64,
        }
    }

    /// Where one part ends and the next begins counts: `["ab", "c"]` and `["a", "bc"]` differ. The
    /// hasher sees to that by itself, it turns its state by each part's length.
    #[inline]
    pub fn hash(&self, parts: &[&[u8]]) -> u64 {
        let mut running = self.running();
        parts.iter().for_each(|part| running.add(part));
        running.finish()
    }

    /// As [`hash`](Self::hash), of parts and a number: what is short costs least as that.
    #[inline]
    pub fn hash_with(&self, number: u64, parts: &[&[u8]]) -> u64 {
        let mut running = self.running();
        running.add_number(number);
        parts.iter().for_each(|part| running.add(part));
        running.finish()
    }

    /// As [`hash`](Self::hash), of parts that come one by one.
    #[inline]
    pub fn running(&self) -> Running<'_> {
        Running(FoldHasher::with_seed(self.seed, &self.shared))
    }
}

/// See [`Quick::running`].
pub struct Running<'q>(FoldHasher<'q>);

impl Running<'_> {
    /// The next part.
    #[inline]
    pub fn add(&mut self, part: &[u8]) {
        self.0.write(part);
    }

    /// The next part, a number. Use it for the same ones of all that are compared: numbers are
    /// gathered, and do not tell between which other parts they came.
    #[inline]
    pub fn add_number(&mut self, number: u64) {
        self.0.write_u64(number);
    }

    /// The hash of all of them.
    #[inline]
    pub fn finish(self) -> u64 {
        self.0.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_knows_its_key_and_where_its_parts_end() {
        let quick = Quick::new([1, 2]);
        assert_eq!(quick.hash(&[b"ab"]), Quick::new([1, 2]).hash(&[b"ab"]));
        for other in [[1, 3], [2, 2]] {
            assert_ne!(quick.hash(&[b"ab"]), Quick::new(other).hash(&[b"ab"]));
        }
        assert_ne!(quick.hash_with(1, &[b"ab"]), quick.hash_with(2, &[b"ab"]));
        let long = [7; 600];
        let table: [&[&[u8]]; 8] = [
            &[],
            &[b""],
            &[b"ab", b"c"],
            &[b"a", b"bc"],
            &[b"abc"],
            &[b"abc", b""],
            &[&long[..300], &long[..300]],
            &[&long[..299], &long[..301]],
        ];
        for (at, parts) in table.iter().enumerate() {
            for other in &table[at + 1..] {
                assert_ne!(quick.hash(parts), quick.hash(other), "{parts:?} {other:?}");
            }
        }
    }
}
