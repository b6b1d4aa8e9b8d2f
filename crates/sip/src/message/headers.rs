//! Where the headers are, and which of them are there: one list in message order, and beside it the
//! answer to what is asked most, "the first of that name".

use crate::Span;
use crate::name::{Name, NameSet};
use crate::scan::Line;

/// Headers of a message before any is put on the heap.
const INLINE: usize = 40;

/// Odd ones among them before any is put on the heap.
const FEW: usize = 4;

/// The last place that [`Places`] can tell.
const FAR: u8 = u8::MAX;

/// More than there are names, and one bit for each fits.
const NAMES: usize = 64;

const _: () = assert!(Name::COUNT <= NAMES);

/// Where a header is. There are dozens of them in each message, so each says as little as it can, and
/// [`Headers`] tell the rest.
#[derive(Copy, Clone, Debug)]
pub(super) struct Entry {
    start: u16,
    /// Where the value of a [usual](Self::is_usual) one ends; else its place among the [odd](Odd) ones.
    value_end: u16,
    /// 0 if it is odd.
    name_len: u8,
    pub name: Name,
}

/// What else there is to say of a header that is not usual.
#[derive(Copy, Clone)]
struct Odd {
    name_len: u8,
    value: (u16, u16),
    end: u16,
}

/// All that are odd, in order.
#[derive(Clone)]
struct OddLines {
    few: [Odd; FEW],
    /// Those that come after the few.
    more: Vec<Odd>,
    len: usize,
}

impl OddLines {
    fn push(&mut self, odd: Odd) {
        match self.few.get_mut(self.len) {
            Some(slot) => *slot = odd,
            None => self.more.push(odd),
        }
        self.len += 1;
    }

    fn get(&self, at: usize) -> Option<&Odd> {
        self.few.get(at).or_else(|| self.more.get(at - FEW))
    }
}

impl Odd {
    const NONE: Odd = Odd {
        name_len: 0,
        value: (0, 0),
        end: 0,
    };

    fn value_at(&self) -> Span {
        (u32::from(self.value.0), u32::from(self.value.1))
    }
}

impl Entry {
    /// What stands where no header is yet; all zeros, so that a table of them costs little.
    const NONE: Entry = Entry {
        start: 0,
        value_end: 0,
        name_len: 0,
        name: Name::Via,
    };

    /// For a usual line, in a message no longer than [`Limits::message_max`](crate::Limits) lets
    /// pass; where its value ends, [`end_at`](Self::end_at) says.
    #[inline(always)]
    pub fn begin(&mut self, start: usize, name: Name, name_len: usize) {
        debug_assert!(u16::try_from(start).is_ok() && u8::try_from(name_len).is_ok());
        self.start = start as u16;
        self.name = name;
        self.name_len = name_len as u8;
    }

    /// See [`begin`](Self::begin).
    #[inline(always)]
    pub fn end_at(&mut self, value_end: usize) {
        self.value_end = value_end as u16;
    }

    /// Where its line starts.
    #[inline]
    pub fn start(&self) -> u32 {
        u32::from(self.start)
    }

    /// Whether there are two bytes between its name and its value, a colon and a blank, and two behind
    /// that, the line's end.
    #[inline]
    pub fn is_usual(&self) -> bool {
        self.name_len > 0
    }

    /// Where the value of a usual one starts.
    #[inline]
    fn value(&self) -> u32 {
        self.start() + u32::from(self.name_len) + 2
    }
}

/// See the module's text. The two tables stay apart: what is to be made zeros at once is then short
/// enough to need no call.
#[derive(Clone)]
#[repr(C)]
pub(super) struct Headers {
    /// The first `len` of these, unless there are more than fit: then all are in `heap`.
    inline: [Entry; INLINE],
    heap: Vec<Entry>,
    odd: OddLines,
    /// How many there are.
    len: usize,
    places: Places,
}

/// By name: the place of the first, counted from 1, and that of the last where there are several;
/// 0 where there is none, and [`FAR`] for that place and all behind it.
#[derive(Clone)]
pub(super) struct Places {
    first: [u8; NAMES],
    last: [u8; NAMES],
    /// Names that are there twice, as bits.
    repeated: u64,
}

impl Places {
    #[inline(always)]
    pub fn note(&mut self, name: Name, place: u8) {
        let first = &mut self.first[Self::of(name)];
        if *first == 0 {
            *first = place;
        } else {
            self.last[Self::of(name)] = place;
            self.repeated |= Headers::bit(name);
        }
    }

    /// The place of a header that comes again: there are not two of it.
    fn forget(&mut self, name: Name, place: u8) {
        let first = &mut self.first[Self::of(name)];
        if *first == place {
            *first = 0;
        }
    }

    /// Whether there is one of that name.
    #[inline]
    pub fn has(&self, name: Name) -> bool {
        self.first[Self::of(name)] != 0
    }

    /// The place of the last.
    #[inline]
    fn last(&self, at: usize) -> u8 {
        self.first[at].max(self.last[at])
    }

    #[inline]
    fn of(name: Name) -> usize {
        name as usize % NAMES
    }
}

impl Headers {
    /// None yet.
    #[inline(always)]
    pub fn new() -> Self {
        Headers {
            inline: [Entry::NONE; INLINE],
            len: 0,
            heap: Vec::new(),
            odd: OddLines {
                few: [Odd::NONE; FEW],
                more: Vec::new(),
                len: 0,
            },
            places: Places {
                first: [0; NAMES],
                last: [0; NAMES],
                repeated: 0,
            },
        }
    }

    /// Room for the next ones up to so many, before any is put on the heap: [`Places`] is to hear of
    /// each that is put there, and [`take`](Self::take) how many they are.
    #[inline(always)]
    pub fn room(&mut self, most: usize) -> (&mut Places, &mut [Entry]) {
        let room = self.inline.get_mut(self.len..INLINE.min(most));
        (&mut self.places, room.unwrap_or_default())
    }

    /// Takes up so many more of what was put in the [room](Self::room).
    #[inline(always)]
    pub fn take(&mut self, count: usize) {
        self.len += count;
    }

    /// So many from the second on; none that is usual where there are not as many.
    #[inline(always)]
    pub fn behind_first<const COUNT: usize>(&self) -> [Entry; COUNT] {
        const { assert!(COUNT < INLINE) }
        match self.inline[1..].first_chunk() {
            Some(entries) => *entries,
            None => [Entry::NONE; COUNT],
        }
    }

    /// Adds usual ones of another message, so many bytes further on in this one; no more than there is
    /// [room](Self::room) for.
    #[inline(always)]
    pub fn take_up(&mut self, entries: &[Entry], further: u16) {
        let Headers {
            inline,
            len,
            places,
            ..
        } = self;
        let room = inline.get_mut(*len..).unwrap_or_default();
        for (slot, entry) in room.iter_mut().zip(entries) {
            *slot = Entry {
                start: entry.start.wrapping_add(further),
                value_end: entry.value_end.wrapping_add(further),
                ..*entry
            };
            *len += 1;
            places.note(entry.name, *len as u8);
        }
    }

    /// Takes the last one out, which [`push`](Self::push) is to put there again as what it is, and says
    /// where it starts.
    #[cold]
    pub fn give_back(&mut self) -> usize {
        let Some(last) = self.all().last().copied() else {
            return 0;
        };
        self.places
            .forget(last.name, self.len.min(usize::from(FAR)) as u8);
        self.len -= 1;
        usize::from(last.start)
    }

    /// One more, behind those that are there: a line that starts there, no longer than
    /// [`Limits::line_max`](crate::Limits) lets pass.
    pub fn push(&mut self, start: usize, line: &Line) {
        let mut entry = Entry::NONE;
        if line.value.0 == line.name_end + 2 && line.end == line.value.1 + 2 {
            entry.begin(start, line.name, line.name_end);
            entry.end_at(start + line.value.1);
        } else {
            entry.begin(start, line.name, 0);
            entry.end_at(self.odd.len);
            self.odd.push(Odd {
                name_len: line.name_end as u8,
                value: ((start + line.value.0) as u16, (start + line.value.1) as u16),
                end: (start + line.end) as u16,
            });
        }
        self.push_entry(entry);
    }

    /// As [`push`](Self::push), for the line of a usual one.
    #[inline(always)]
    pub fn push_usual(&mut self, line: (usize, usize), name: Name, name_len: usize) {
        let mut entry = Entry::NONE;
        entry.begin(line.0, name, name_len);
        entry.end_at(line.1.saturating_sub(2));
        self.push_entry(entry);
    }

    #[inline(always)]
    fn push_entry(&mut self, entry: Entry) {
        let place = self.len.saturating_add(1).min(usize::from(FAR));
        self.places.note(entry.name, place as u8);
        match self.inline.get_mut(self.len) {
            Some(slot) => *slot = entry,
            None => self.push_far(entry),
        }
        self.len += 1;
    }

    #[cold]
    fn push_far(&mut self, entry: Entry) {
        if self.heap.is_empty() {
            self.heap.extend_from_slice(&self.inline);
        }
        self.heap.push(entry);
    }

    /// Where the value is.
    #[inline]
    pub fn value_at(&self, entry: &Entry) -> Span {
        match entry.is_usual() {
            true => (entry.value(), u32::from(entry.value_end)),
            false => self.odd(entry).value_at(),
        }
    }

    /// Where the line is, its end included.
    #[inline]
    pub fn line(&self, entry: &Entry) -> Span {
        let end = match entry.is_usual() {
            true => u32::from(entry.value_end) + 2,
            false => u32::from(self.odd(entry).end),
        };
        (entry.start(), end)
    }

    /// Where the name is.
    #[inline]
    pub fn name_at(&self, entry: &Entry) -> Span {
        let len = match entry.is_usual() {
            true => entry.name_len,
            false => self.odd(entry).name_len,
        };
        (entry.start(), entry.start() + u32::from(len))
    }

    #[cold]
    fn odd(&self, entry: &Entry) -> Odd {
        let found = self.odd.get(usize::from(entry.value_end));
        found.copied().unwrap_or(Odd::NONE)
    }

    /// Whether nothing but the line's end follows the value.
    fn is_trim(&self, entry: &Entry) -> bool {
        entry.is_usual() || self.value_at(entry).1 + 2 == self.line(entry).1
    }

    /// From the first line of these to the last.
    fn around(&self, run: &[Entry]) -> Option<Span> {
        let (first, last) = (run.first()?, run.last()?);
        Some((first.start(), self.line(last).1))
    }

    /// How many there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// All, in order.
    #[inline]
    pub fn all(&self) -> &[Entry] {
        self.inline.get(..self.len).unwrap_or(&self.heap)
    }

    /// The first of that name.
    #[inline]
    pub fn first(&self, name: Name) -> Option<&Entry> {
        let place = usize::from(self.places.first[Places::of(name)]).checked_sub(1)?;
        match self.inline.get(place) {
            Some(entry) => Some(entry),
            None => self.first_far(name),
        }
    }

    #[cold]
    fn first_far(&self, name: Name) -> Option<&Entry> {
        let mut from_there = self.all().get(INLINE..)?.iter();
        from_there.find(|entry| entry.name == name)
    }

    /// The first of that name, if there is no other.
    #[inline]
    pub fn only(&self, name: Name) -> Option<&Entry> {
        match self.are_single(Self::bit(name)) {
            true => self.first(name),
            false => None,
        }
    }

    /// From the first of that name on, as far as there may be more of them.
    #[inline]
    pub fn all_named(&self, name: Name) -> &[Entry] {
        let Some(first) = usize::from(self.places.first[Places::of(name)]).checked_sub(1) else {
            return &[];
        };
        let all = self.all();
        let end = match self.places.last(Places::of(name)) {
            FAR => all.len(),
            last => usize::from(last),
        };
        all.get(first..end).unwrap_or_default()
    }

    /// Where these stand, if each follows the one before and nothing but the line's end follows its
    /// value.
    pub fn run_of(&self, names: &[Name]) -> Option<Span> {
        let from_there = self.all_from(*names.first()?)?;
        let run = from_there.get(..names.len())?;
        let fits = |(entry, name): (&Entry, &Name)| entry.name == *name && self.is_trim(entry);
        run.iter().zip(names).all(fits).then(|| self.around(run))?
    }

    /// Where all of that name stand, if no other is between them and nothing but the line's end
    /// follows any of their values.
    pub fn run_of_all(&self, name: Name) -> Option<Span> {
        let run = self.all_named(name);
        let fits = |entry: &Entry| entry.name == name && self.is_trim(entry);
        run.iter().all(fits).then(|| self.around(run))?
    }

    /// Those of these names.
    #[inline(always)]
    pub fn chosen(&self, names: &[Name]) -> Chosen<'_> {
        let set = NameSet::of(names);
        if self.len > INLINE {
            return self.chosen_in(set);
        }
        let firsts = names.iter().fold(0, |bits, name| {
            // A name that is not there sets the bit that leaves.
            bits | 1u64.wrapping_shl(self.places.first[Places::of(*name)].into())
        });
        let mut bits = firsts >> 1;
        for name in names {
            if !self.are_single(Self::bit(*name)) {
                bits |= self.all_bits(*name);
            }
        }
        Chosen {
            entries: self.all(),
            bits,
            names: set,
        }
    }

    /// As [`bits_of`], for one name that is there.
    #[inline(never)]
    fn all_bits(&self, name: Name) -> u64 {
        let run = self.all_named(name);
        bits_of(run, NameSet::of(&[name])) << (self.places.first[Places::of(name)].max(1) - 1)
    }

    /// Those of these names, each looked at.
    #[inline(never)]
    pub fn chosen_in(&self, names: NameSet) -> Chosen<'_> {
        let entries = self.all();
        Chosen {
            entries,
            bits: bits_of(entries, names),
            names,
        }
    }

    /// All headers from the first of that name on.
    #[inline]
    fn all_from(&self, name: Name) -> Option<&[Entry]> {
        let first = usize::from(self.places.first[Places::of(name)]).checked_sub(1)?;
        self.all().get(first..)
    }

    /// Whether there is one of that name.
    #[inline]
    pub fn has(&self, name: Name) -> bool {
        self.places.has(name)
    }

    /// Whether each of these is there.
    #[inline]
    pub fn has_all(&self, names: &[Name]) -> bool {
        names.iter().all(|&name| self.has(name))
    }

    /// Whether none of these, as bits, is there twice.
    #[inline]
    pub fn are_single(&self, names: u64) -> bool {
        self.places.repeated & names == 0
    }

    #[cfg(test)]
    pub fn spilled(&self) -> bool {
        !self.heap.is_empty()
    }

    /// The bit of a name, for [`are_single`](Self::are_single).
    #[inline]
    pub const fn bit(name: Name) -> u64 {
        1 << name as u64
    }
}

/// Some headers of a message, in order.
#[derive(Clone)]
pub(super) struct Chosen<'h> {
    /// Those that `bits` is about come first.
    entries: &'h [Entry],
    /// A bit for each that is still to come, among the first 64.
    bits: u64,
    names: NameSet,
}

impl<'h> Iterator for Chosen<'h> {
    type Item = &'h Entry;

    #[inline]
    fn next(&mut self) -> Option<&'h Entry> {
        while self.bits == 0 {
            // Hardly any message has so many.
            self.entries = self.entries.get(64..)?;
            self.bits = bits_of(self.entries, self.names);
        }
        let place = self.bits.trailing_zeros() as usize;
        self.bits &= self.bits - 1;
        self.entries.get(place)
    }
}

/// Which of the first 64 have one of these names.
fn bits_of(entries: &[Entry], names: NameSet) -> u64 {
    let bit = |(at, entry): (usize, &Entry)| u64::from(names.has(entry.name)) << at;
    entries.iter().take(64).enumerate().map(bit).sum()
}
