//! Weighted rendezvous: whose turn a key is, among names with weights.
//!
//! For a key every name has a time, drawn from an exponential distribution whose rate is its weight, and the
//! first one has the turn. So each wins in proportion to its weight, whoever else takes part; who comes or goes
//! moves only its own turns; and everybody who knows the names agrees, in whatever order they stand.
//!
//! A time is made of a *draw*, of 16 bits, and of a finer part that is only made for who may be first. A draw is
//! so simple that eight names are drawn for at once ([`Columns`]).

mod columns;

pub use self::columns::Columns;

/// A name and its weight.
#[derive(Copy, Clone, PartialEq, Debug)]
struct Name {
    /// Its hash, mixed, so that names that are alike have nothing in common.
    id: u64,
    /// Turns it has in proportion to those of others.
    rate: f64,
}

impl Name {
    fn new(id: u64, weight: u32) -> Name {
        Name {
            id: mixed(id),
            rate: f64::from(weight.max(1)),
        }
    }

    /// What its draws are made of.
    fn halves(self) -> [u16; 2] {
        [(self.id >> 48) as u16, (self.id >> 32) as u16]
    }
}

/// Something to be given to one of them, as its draws need it.
#[derive(Copy, Clone, Debug)]
struct Key {
    hash: u64,
    words: [u16; 3],
}

impl Key {
    fn new(hash: u64) -> Key {
        let words = mixed(hash);
        Key {
            hash,
            // Only by odd numbers is multiplying a permutation.
            words: [
                (words >> 48) as u16,
                (words >> 32) as u16 | 1,
                (words >> 16) as u16 | 1,
            ],
        }
    }

    /// The draw of a name for this key, from its halves: lowest first. Over all keys every draw is as likely as
    /// each other: the first word makes it so, and what follows are permutations.
    ///
    /// Multiplying keeps the low bits that two names have in common, so of some ten million pairs of names one is
    /// low together too often: among thousands, once in some tens of sets, two have an eighth less than their
    /// share. A third part would end that, for 400 instructions more among 3000.
    #[inline]
    fn draw(&self, [one, other]: [u16; 2]) -> u16 {
        let [start, spread, again] = self.words;
        ((one ^ start).wrapping_mul(spread) ^ other).wrapping_mul(again)
    }

    /// The time of a name, unless it is not before another time.
    fn time_before(&self, name: Name, other: f64) -> Option<f64> {
        let draw = u64::from(!self.draw(name.halves())) << 48;
        let bits = draw | (mixed(self.hash ^ name.id) >> 16);
        // 53 bits fill a double; with a half more it is never 0, which has no logarithm.
        let chance = ((bits >> 11).cast_signed() as f64 + 0.5) / (1u64 << 53) as f64;
        // -ln x is never below 1 - x: most are too late without a logarithm.
        if 1.0 - chance > other * name.rate {
            return None;
        }
        let time = -chance.ln() / name.rate;
        (time < other).then_some(time)
    }
}

/// The first of all times yet, and whose it is.
#[derive(Copy, Clone, Debug)]
struct First {
    time: f64,
    at: Option<usize>,
}

impl First {
    const NONE: First = First {
        time: f64::INFINITY,
        at: None,
    };

    /// Whether it is now this one.
    fn is_now(&mut self, key: &Key, at: usize, name: Name) -> bool {
        let time = key.time_before(name, self.time);
        if let Some(time) = time {
            *self = First { time, at: Some(at) };
        }
        time.is_some()
    }
}

/// The place of the one whose turn it is for this hash, among hashes of names with their weights. A weight of
/// 0 is as good as 1.
pub fn first(hash: u64, names: impl Iterator<Item = (u64, u32)>) -> Option<usize> {
    let key = Key::new(hash);
    let mut first = First::NONE;
    for (at, (id, weight)) in names.enumerate() {
        first.is_now(&key, at, Name::new(id, weight));
    }
    first.at
}

/// Every bit of it depends on every bit of `number`, as at the end of MurmurHash3.
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let number = (number ^ (number >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ (number >> 33)
}

#[cfg(test)]
mod tests;
