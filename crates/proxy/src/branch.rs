//! The value in our Via, which leads a response straight home.
//!
//! A branch is `z9hG4bK` and 32 characters of base64: ten bytes that say which attempt it is, six
//! of loop fingerprint, eight of keyed tag over both. Each attempt keeps its branch, so a response
//! that nobody asked for is seen by a comparison and dropped without a search; so is every answer to
//! an earlier life of the process, whose key was another. Where none is kept, the tag tells.

use siphasher::{
    sip::{SipHasher13, SipHasher24},
    sip128::SipHasher24 as SipHasher24x128,
};

use crate::{
    hop::ShardId,
    letters,
    quick::{Quick, Running},
    table::Slot,
};

/// RFC 3261 §8.1.1.7: what tells a branch of our time from one of RFC 2543.
const COOKIE: &[u8; 7] = b"z9hG4bK";
const NAME_BYTES: usize = 10;
const PRINT_BYTES: usize = 6;
const TAG_BYTES: usize = 8;
const RAW_BYTES: usize = NAME_BYTES + PRINT_BYTES + TAG_BYTES;
/// How long a branch of ours is.
pub const TEXT_BYTES: usize = COOKIE.len() + letters::letters_of(RAW_BYTES);
/// The bits of a loop fingerprint that a branch carries.
const PRINT_MASK: u64 = (1 << (8 * PRINT_BYTES)) - 1;

/// Names one attempt of one request on this process.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct BranchToken {
    /// Whose context it is.
    pub shard: ShardId,
    /// The context's place in its shard's slab.
    pub slot: u32,
    /// How often that place had been used before.
    pub generation: u32,
    /// Which attempt of the context.
    pub attempt: u8,
}

impl BranchToken {
    /// What a branch says that it names, if it is as long as one of ours. Whether we wrote it, only
    /// [`Branches::read`] can tell, and who has kept that attempt's branch.
    #[inline]
    pub fn claimed(branch: &[u8]) -> Option<BranchToken> {
        let text = letters_in(branch)?;
        // The name and some of the fingerprint: as much as one step reads.
        let mut start = [0; letters::RUN_BYTES];
        letters::read(text.first_chunk::<{ letters::RUN }>()?, &mut start)?;
        start.first_chunk().map(BranchToken::of)
    }

    /// The context, or the transaction of our own.
    pub fn named(&self) -> Slot {
        Slot {
            index: self.slot,
            generation: self.generation,
        }
    }

    fn of(name: &[u8; NAME_BYTES]) -> BranchToken {
        let [shard, attempt, s, t, u, v, g, h, i, j] = *name;
        BranchToken {
            shard: ShardId(shard),
            slot: u32::from_be_bytes([s, t, u, v]),
            generation: u32::from_be_bytes([g, h, i, j]),
            attempt,
        }
    }
}

/// A branch as it stands in a Via. Letters, digits, `-` and `_` only.
#[derive(Copy, Clone, PartialEq, Eq)]
pub struct BranchText([u8; TEXT_BYTES]);

impl AsRef<[u8]> for BranchText {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for BranchText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

/// What a branch is for. Part of the tag, so that one can never pass for the other.
#[derive(Copy, Clone)]
enum Kind {
    Transaction = 0,
    Stateless = 1,
}

/// Writes and reads the branches of one process, and hashes for its tables.
#[derive(Clone)]
pub struct Branches {
    tag_key: [u8; 16],
    hash_key: [u8; 16],
    keys: Quick,
    prints: Quick,
}

impl Branches {
    /// With the key of this process: [`Seed::process`](crate::Seed::process).
    pub fn new(process_key: [u8; 16]) -> Self {
        let derive = |purpose: &[u8]| hash128(&process_key, &[purpose]);
        Branches {
            tag_key: derive(b"branch tag").to_le_bytes(),
            hash_key: derive(b"names").to_le_bytes(),
            keys: quick(&process_key, b"table keys"),
            prints: quick(&process_key, b"loop prints"),
        }
    }

    /// The branch of an attempt. The low 48 bits of `loop_print` travel in it (RFC 5393).
    pub fn write(&self, token: BranchToken, loop_print: u64) -> BranchText {
        let mut name = [0; NAME_BYTES];
        name[0] = token.shard.0;
        name[1] = token.attempt;
        name[2..6].copy_from_slice(&token.slot.to_be_bytes());
        name[6..].copy_from_slice(&token.generation.to_be_bytes());
        self.seal(Kind::Transaction, &name, loop_print)
    }

    /// The attempt and the loop fingerprint of a branch that [`write`](Self::write) made with the
    /// same key; `None` for any other bytes.
    pub fn read(&self, branch: &[u8]) -> Option<(BranchToken, u64)> {
        let raw = decode(branch)?;
        let loop_print = self.open(Kind::Transaction, &raw)?;
        let (name, _) = raw.split_first_chunk()?;
        Some((BranchToken::of(name), loop_print))
    }

    /// The branch of a request that is forwarded without state, an ACK to a 2xx for instance.
    ///
    /// The same seed gives the same branch, as RFC 3261 §16.11 demands for retransmissions. No
    /// response can come back to it: [`read`](Self::read) gives `None`.
    pub fn stateless(&self, seed: u64, loop_print: u64) -> BranchText {
        let mut name = [0; NAME_BYTES];
        name[..8].copy_from_slice(&seed.to_be_bytes());
        self.seal(Kind::Stateless, &name, loop_print)
    }

    /// The loop fingerprint of a branch of ours, of either kind.
    pub fn loop_print(&self, branch: &[u8]) -> Option<u64> {
        let raw = decode(branch)?;
        self.open(Kind::Transaction, &raw)
            .or_else(|| self.open(Kind::Stateless, &raw))
    }

    /// A keyed hash, for names that others see and nobody else may make. Where one part ends and
    /// the next begins counts: `["ab", "c"]` and `["a", "bc"]` differ.
    pub fn hash(&self, parts: &[&[u8]]) -> u64 {
        hash(&self.hash_key, parts)
    }

    /// A fingerprint to be carried in a branch, of parts that come one by one: the branch's own tag is
    /// what protects it.
    pub fn running_print(&self) -> Running<'_> {
        self.prints.running()
    }

    /// For tags that others see: under keys that nothing else depends on.
    pub fn refusal_sums(process_key: [u8; 16]) -> Quick {
        quick(&process_key, b"refusals")
    }

    /// A table's key, which nobody ever sees.
    #[inline]
    pub fn key(&self, parts: &[&[u8]]) -> u64 {
        self.keys.hash(parts)
    }

    /// As [`key`](Self::key), of parts and a number.
    #[inline]
    pub fn key_with(&self, number: u64, parts: &[&[u8]]) -> u64 {
        self.keys.hash_with(number, parts)
    }

    fn seal(&self, kind: Kind, name: &[u8; NAME_BYTES], loop_print: u64) -> BranchText {
        let mut raw = [0; RAW_BYTES];
        raw[..NAME_BYTES].copy_from_slice(name);
        raw[NAME_BYTES..NAME_BYTES + PRINT_BYTES]
            .copy_from_slice(&loop_print.to_be_bytes()[8 - PRINT_BYTES..]);
        let tag = self.tag(kind, &raw);
        raw[RAW_BYTES - TAG_BYTES..].copy_from_slice(&tag.to_be_bytes());
        let mut text = [0; TEXT_BYTES];
        text[..COOKIE.len()].copy_from_slice(COOKIE);
        letters::write(&raw, &mut text[COOKIE.len()..]);
        BranchText(text)
    }

    /// The loop fingerprint, if the tag is right. Comparing one word takes the same time whether
    /// little or much of it is wrong.
    fn open(&self, kind: Kind, raw: &[u8; RAW_BYTES]) -> Option<u64> {
        let tail = |end: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&raw[end - 8..end]);
            u64::from_be_bytes(word)
        };
        let print = tail(NAME_BYTES + PRINT_BYTES) & PRINT_MASK;
        (tail(RAW_BYTES) == self.tag(kind, raw)).then_some(print)
    }

    fn tag(&self, kind: Kind, raw: &[u8; RAW_BYTES]) -> u64 {
        // The kind stands where the tag will.
        let mut signed = [0; RAW_BYTES - TAG_BYTES + 1];
        signed[..RAW_BYTES - TAG_BYTES].copy_from_slice(&raw[..RAW_BYTES - TAG_BYTES]);
        signed[RAW_BYTES - TAG_BYTES] = kind as u8;
        // One round a word, where tokens have two: this key lives as long as the process, and an answer's
        // branch is compared with the one that its attempt has kept as well.
        SipHasher13::new_with_key(&self.tag_key).hash(&signed)
    }
}

impl std::fmt::Debug for Branches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Branches(..)")
    }
}

/// The quick hasher for one purpose.
pub(crate) fn quick(process_key: &[u8; 16], purpose: &[u8]) -> Quick {
    let half = |half: &[u8]| hash128(process_key, &[purpose, half]);
    Quick::new([half(b"shared"), half(b"seeds")])
}

/// The bytes of something as long as a branch of ours and in its letters.
fn decode(branch: &[u8]) -> Option<[u8; RAW_BYTES]> {
    let mut raw = [0; RAW_BYTES];
    let read = letters::read(letters_in(branch)?, &mut raw)?;
    (read == RAW_BYTES).then_some(raw)
}

/// What follows the cookie in a branch as long as ours.
fn letters_in(branch: &[u8]) -> Option<&[u8; TEXT_BYTES - COOKIE.len()]> {
    branch.strip_prefix(COOKIE)?.try_into().ok()
}

/// SipHash-2-4 of the parts, each with its length before it.
pub(crate) fn hash(key: &[u8; 16], parts: &[&[u8]]) -> u64 {
    in_one_run(parts, |run| SipHasher24::new_with_key(key).hash(run))
}

/// [`hash`] at twice the length.
pub(crate) fn hash128(key: &[u8; 16], parts: &[&[u8]]) -> u128 {
    in_one_run(parts, |run| SipHasher24x128::new_with_key(key).hash(run)).as_u128()
}

/// What is hashed without asking for memory: more than nearly every message makes us hash.
const RUN_MAX: usize = 384;

/// Lays the parts one after the other, each with its length before it: a hasher takes one long run at
/// a fraction of what many short ones cost it.
fn in_one_run<R>(parts: &[&[u8]], hash: impl FnOnce(&[u8]) -> R) -> R {
    let len = parts.iter().map(|part| 8 + part.len()).sum();
    let mut short = [0; RUN_MAX];
    let mut long = Vec::new();
    let run = match short.get_mut(..len) {
        Some(run) => run,
        None => {
            long.resize(len, 0);
            &mut long[..]
        }
    };
    let mut rest = &mut *run;
    for part in parts {
        let (here, behind) = rest.split_at_mut(8 + part.len());
        let (length, text) = here.split_at_mut(8);
        length.copy_from_slice(&(part.len() as u64).to_le_bytes());
        text.copy_from_slice(part);
        rest = behind;
    }
    hash(run)
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher as _;

    use proptest::prelude::*;

    use super::*;

    fn branches() -> Branches {
        Branches::new(*b"one process' key")
    }

    fn token(shard: u8, slot: u32, generation: u32, attempt: u8) -> BranchToken {
        BranchToken {
            shard: ShardId(shard),
            slot,
            generation,
            attempt,
        }
    }

    #[test]
    fn a_branch_is_short_and_fits_a_via() {
        let text = branches().write(token(255, u32::MAX, u32::MAX, 255), u64::MAX);
        assert_eq!(text.as_ref().len(), 39);
        assert!(text.as_ref().starts_with(b"z9hG4bK"));
        assert!(
            text.as_ref()
                .iter()
                .all(|c| c.is_ascii_alphanumeric() || b"-_".contains(c))
        );
    }

    #[test]
    fn a_changed_bit_reads_as_none() {
        let branches = branches();
        let text = branches.write(token(1, 7, 3, 2), 0x1234);
        for at in 0..text.as_ref().len() {
            for bit in 0..8 {
                let mut forged = text.as_ref().to_vec();
                forged[at] ^= 1 << bit;
                assert_eq!(branches.read(&forged), None, "byte {at}, bit {bit}");
                assert_eq!(branches.loop_print(&forged), None, "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn an_answer_to_an_earlier_life_reads_as_none() {
        let text = Branches::new(*b"another life key").write(token(0, 1, 1, 0), 9);
        assert_eq!(branches().read(text.as_ref()), None);
    }

    #[test]
    fn what_others_write_reads_as_none() {
        let long = format!("z9hG4bK{}", "a".repeat(33));
        let same = format!("z9hG4bK{}", "a".repeat(32));
        let padded = format!("z9hG4bK{}==", "a".repeat(30));
        for text in [
            "",
            "z9hG4bK",
            "1",
            "z9hG4bK776asdhds",
            &long,
            &same,
            &padded,
        ] {
            assert_eq!(branches().read(text.as_bytes()), None, "{text}");
            let claims = text.len() == TEXT_BYTES;
            let claimed = BranchToken::claimed(text.as_bytes());
            assert_eq!(claimed.is_some(), claims, "{text}");
            assert_eq!(branches().loop_print(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_stateless_branch_is_the_same_for_a_retransmission_and_leads_nowhere() {
        let branches = branches();
        let text = branches.stateless(0xfeed, 0xbeef);
        assert_eq!(text, branches.stateless(0xfeed, 0xbeef));
        assert_ne!(text, branches.stateless(0xfeee, 0xbeef));
        assert_eq!(branches.read(text.as_ref()), None);
        assert_eq!(branches.loop_print(text.as_ref()), Some(0xbeef));
    }

    #[test]
    fn a_hash_is_that_of_its_parts_one_after_the_other() {
        let long = [7; 600];
        let table: [&[&[u8]]; 5] = [
            &[],
            &[b""],
            &[b"ab", b"", b"cde"],
            &[b"ab", &long, b"c"],
            &[&long[..300], &long[..300], b"x"],
        ];
        for parts in table {
            let mut hasher = SipHasher24::new_with_key(&[9; 16]);
            for part in parts {
                hasher.write(&(part.len() as u64).to_le_bytes());
                hasher.write(part);
            }
            assert_eq!(hash(&[9; 16], parts), hasher.finish());
        }
    }

    #[test]
    fn a_hash_knows_where_its_parts_end() {
        let branches = branches();
        assert_ne!(branches.hash(&[b"ab", b"c"]), branches.hash(&[b"a", b"bc"]));
        assert_ne!(
            branches.hash(&[b"ab"]),
            Branches::new([0; 16]).hash(&[b"ab"])
        );
    }

    proptest! {
        #[test]
        fn every_token_comes_back(
            shard: u8, slot: u32, generation: u32, attempt: u8, print: u64,
        ) {
            let token = token(shard, slot, generation, attempt);
            let text = branches().write(token, print);
            prop_assert_eq!(branches().read(text.as_ref()), Some((token, print & PRINT_MASK)));
            prop_assert_eq!(branches().loop_print(text.as_ref()), Some(print & PRINT_MASK));
            prop_assert_eq!(BranchToken::claimed(text.as_ref()), Some(token));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(branches().read(&bytes), None);
            let mut ours = COOKIE.to_vec();
            ours.extend(bytes);
            prop_assert_eq!(branches().read(&ours), None);
        }
    }
}
