//! Names laid out so that thousands of them cost a key little.
//!
//! A draw divided by the weight, in whole numbers and rounded down, is the *bound* of a time: no time is below
//! its bound. Times are made only for those whose bound is not above the first time yet. Bounds are plain
//! arithmetic on eight lanes of 16 bits, which every processor does at once: one instruction a name.

use smallvec::SmallVec;
use wide::{CmpGt, i16x8, u16x8};

use super::{First, Key, Name};

/// Names that are worked on at once.
const LANES: usize = 8;
/// So many of those one after the other are a group.
const ROWS: usize = 4;
/// Names in a group.
const GROUP: usize = ROWS * LANES;
/// Of so many names all times are made.
const FEW: usize = 8;
/// The least bound is kept for each of so many blocks of groups: who has it is then sought in one of them.
const BLOCKS: usize = 16;
/// What a draw may be multiplied by, in 65536ths: bounds are below [`OVER`].
const FACTOR_MAX: f64 = 32767.0;
/// Above every bound. They are signed, because the oldest x86-64 knows the minimum of signed words only.
const OVER: i16 = i16::MAX;
/// Names that are lighter than the mean by more than this have bounds as if they were not, or those of the heavy
/// ones would all be 0. So a time is made in vain for every so many keys at most.
const LIGHTER: f64 = 2.0;
/// Names that were passed, before they need memory.
const PASSED: usize = 24;

/// Some names.
#[derive(Copy, Clone, Debug)]
struct Group([Row; ROWS]);

#[derive(Copy, Clone, Debug)]
struct Row {
    halves: [u16x8; 2],
    /// What a draw is multiplied by to be a bound, in 65536ths.
    factors: u16x8,
}

impl Group {
    /// Not more than a group. What is over repeats the last name: it changes no minimum.
    fn of(names: &[Name], scale: f64) -> Group {
        let lanes = |row: usize, of: &dyn Fn(&Name) -> u16| {
            let at = |lane: usize| (row * LANES + lane).min(names.len() - 1);
            u16x8::new(std::array::from_fn(|lane| of(&names[at(lane)])))
        };
        let factor = |name: &Name| (scale / name.rate).min(FACTOR_MAX) as u16;
        Group(std::array::from_fn(|row| Row {
            halves: [0, 1].map(|half| lanes(row, &|name| name.halves()[half])),
            factors: lanes(row, &factor),
        }))
    }
}

/// The words of a key, in every lane.
#[derive(Copy, Clone, Debug)]
struct Words([u16x8; 3]);

impl Words {
    fn of(key: &Key) -> Words {
        Words(key.words.map(u16x8::splat))
    }

    /// Draws as [`Key::draw`] does.
    #[inline(always)]
    fn bounds(&self, row: &Row) -> i16x8 {
        let [start, spread, again] = self.0;
        let [one, other] = row.halves;
        let draw = (((one ^ start) * spread) ^ other) * again;
        let bounds = draw.mul_keep_high(row.factors).to_array();
        i16x8::new(bounds.map(|bound| bound as i16))
    }

    #[inline(always)]
    fn least_lanes(&self, Group([first, others @ ..]): &Group) -> i16x8 {
        let others = others.iter();
        others.fold(self.bounds(first), |least, row| least.min(self.bounds(row)))
    }

    #[inline(always)]
    fn least(&self, groups: &[Group]) -> i16 {
        let lanes = groups.iter().map(|group| self.least_lanes(group));
        lanes.fold(i16x8::splat(OVER), i16x8::min).reduce_min()
    }
}

/// Names with their weights, for many keys.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    names: Vec<Name>,
    /// None where names are few.
    groups: Vec<Group>,
    /// Groups in a block.
    block: usize,
    /// What a time is multiplied by to be compared with bounds.
    scale: f64,
}

impl Columns {
    /// Of hashes of names with their weights. A weight of 0 is as good as 1.
    pub fn new(names: impl Iterator<Item = (u64, u32)>) -> Columns {
        let names: Vec<Name> = names.map(|(id, weight)| Name::new(id, weight)).collect();
        if names.len() <= FEW {
            return Columns {
                names,
                ..Columns::default()
            };
        }
        let rates = || names.iter().map(|name| name.rate);
        let lightest = rates().fold(f64::INFINITY, f64::min);
        let mean = rates().sum::<f64>() / names.len() as f64;
        let scale = FACTOR_MAX * lightest.max(mean / LIGHTER);
        let groups: Vec<Group> = names
            .chunks(GROUP)
            .map(|names| Group::of(names, scale))
            .collect();
        let block = groups.len().div_ceil(BLOCKS);
        Columns {
            names,
            groups,
            block,
            scale,
        }
    }

    /// Their places in the order of their turns for this hash.
    pub fn in_turn(&self, hash: u64) -> InTurn<'_> {
        let key = Key::new(hash);
        let mut least = [OVER; BLOCKS];
        if !self.groups.is_empty() {
            let words = Words::of(&key);
            let mut blocks = self.groups.chunks(self.block);
            for least in &mut least {
                let Some(block) = blocks.next() else { break };
                *least = words.least(block);
            }
        }
        InTurn {
            columns: self,
            key,
            least,
            passed: SmallVec::new(),
        }
    }
}

/// Finds each next one when it is asked for.
#[derive(Clone, Debug)]
pub struct InTurn<'c> {
    columns: &'c Columns,
    key: Key,
    /// The least bound in each block, of those that were not passed.
    least: [i16; BLOCKS],
    /// Who had their turn.
    passed: SmallVec<[usize; PASSED]>,
}

impl Iterator for InTurn<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let at = if self.columns.groups.is_empty() {
            self.first_of_few()
        } else {
            self.first_of_many()
        }?;
        self.passed.push(at);
        Some(at)
    }
}

impl InTurn<'_> {
    fn first_of_few(&self) -> Option<usize> {
        let mut first = First::NONE;
        for (at, name) in self.columns.names.iter().enumerate() {
            if self.passed.is_empty() || !self.passed.contains(&at) {
                first.is_now(&self.key, at, *name);
            }
        }
        first.at
    }

    fn first_of_many(&mut self) -> Option<usize> {
        if let Some(last) = self.passed.last() {
            let block = last / GROUP / self.columns.block;
            self.least[block] = self.least_left(block);
        }
        let least = self
            .least_lanes()
            .fold(i16x8::splat(OVER), i16x8::min)
            .reduce_min();
        // Nearly always the first of all is among those that have the least bound, or a little more.
        let near = least.saturating_add(least / 8);
        let mut first = First::NONE;
        let limit = self.look(near, &mut first);
        if limit > near {
            self.look(limit, &mut first);
        }
        first.at
    }

    /// Makes the times of those whose bound is not above `limit`, and with each first one less. What comes back
    /// is the highest bound that who is before the first one may have.
    fn look(&self, mut limit: i16, first: &mut First) -> i16 {
        let Columns { names, scale, .. } = self.columns;
        let mut blocks = self.blocks_within(limit);
        while blocks != 0 {
            let block = blocks.trailing_zeros() as usize;
            blocks &= blocks - 1;
            limit = self.below(block, limit, |at, _, limit| {
                if first.is_now(&self.key, at, names[at]) {
                    (first.time * scale) as i16
                } else {
                    limit
                }
            });
        }
        limit
    }

    fn least_lanes(&self) -> impl DoubleEndedIterator<Item = i16x8> + '_ {
        let lanes = self.least.as_chunks::<LANES>().0;
        lanes.iter().map(|lanes| i16x8::new(*lanes))
    }

    /// Those whose least bound is not above `limit`, as bits.
    fn blocks_within(&self, limit: i16) -> u32 {
        let limit = i16x8::splat(limit);
        let above = |lanes: i16x8| lanes.cmp_gt(limit).move_mask() as u32;
        // Where there are no more than 32, the others are above as well.
        let above = self
            .least_lanes()
            .rev()
            .fold(u32::MAX, |bits, lanes| bits << LANES | above(lanes));
        !above
    }

    /// The least bound in a block, of those that were not passed.
    fn least_left(&self, block: usize) -> i16 {
        let mut least = OVER;
        self.below(block, OVER, |_, bound, _| {
            least = bound;
            bound - 1
        });
        least
    }

    /// Tells of those in a block who were not passed and whose bound is not above `limit`: their place, their
    /// bound, the limit. The answer is the limit from then on.
    fn below(
        &self,
        block: usize,
        mut limit: i16,
        mut tell: impl FnMut(usize, i16, i16) -> i16,
    ) -> i16 {
        let words = Words::of(&self.key);
        let Columns { names, groups, .. } = self.columns;
        let groups = groups.chunks(self.columns.block).nth(block);
        let starts = (block * self.columns.block * GROUP..).step_by(GROUP);
        for (group, start) in groups.unwrap_or_default().iter().zip(starts) {
            if words.least_lanes(group).cmp_gt(i16x8::splat(limit)).all() {
                continue;
            }
            for (row, start) in group.0.iter().zip((start..).step_by(LANES)) {
                let bounds = words.bounds(row);
                if bounds.cmp_gt(i16x8::splat(limit)).all() {
                    continue;
                }
                for (at, bound) in (start..names.len()).zip(bounds.to_array()) {
                    if bound <= limit && !self.passed.contains(&at) {
                        limit = tell(at, bound, limit);
                    }
                }
            }
        }
        limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_draws_at_once_are_those_of_eight_names() {
        let names: Vec<Name> = (1..=29).map(|at| Name::new(at, at as u32)).collect();
        let Group(rows) = Group::of(&names, FACTOR_MAX * 2.0);
        for hash in 0..1000 {
            let key = Key::new(hash);
            let words = Words::of(&key);
            let bounds = rows.iter().flat_map(|row| words.bounds(row).to_array());
            let repeated = names.iter().chain([&names[28]; 3]);
            for (bound, name) in bounds.zip(repeated) {
                let factor = (FACTOR_MAX * 2.0 / name.rate).min(FACTOR_MAX).floor();
                let expected = (f64::from(key.draw(name.halves())) * factor / 65536.0).floor();
                assert_eq!(f64::from(bound), expected, "{hash} {name:?}");
            }
        }
    }
}
