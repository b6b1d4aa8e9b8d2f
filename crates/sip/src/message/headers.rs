//! Where the headers are, and which of them are there: one list in message order, and beside it the
//! answer to what is asked most, "the first of that name".

use super::Limits;
use crate::Span;
use crate::error::Malformed;
use crate::name::{Name, NameSet};
use crate::scan::{self, Line, Lines};

/// Headers of a message before any is put on the heap.
const INLINE: usize = 40;

/// The last place that [`Places`] can tell.
const FAR: u8 = u8::MAX;

/// More than there are names, and one bit for each fits.
const NAMES: usize = 64;

const _: () = assert!(Name::COUNT <= NAMES);

/// Where a header is.
#[derive(Copy, Clone)]
pub(super) struct Entry {
    pub start: u32,
    /// These three count from `start`.
    value: u16,
    value_end: u16,
    end: u16,
    pub name_len: u8,
    pub name: Name,
    /// Not 0 when a comma may be in the value: without one there is nothing to split.
    commas: u32,
}

impl Entry {
    /// What stands where no header is yet; all zeros, so that a table of them costs little.
    const NONE: Entry = Entry {
        start: 0,
        value: 0,
        value_end: 0,
        end: 0,
        name_len: 0,
        name: Name::Via,
        commas: 0,
    };

    /// For a line no longer than [`Limits::line_max`](crate::Limits) lets pass, in a message no
    /// longer than [`Limits::message_max`](crate::Limits) does.
    #[inline(always)]
    pub fn new(start: usize, line: &Line) -> Entry {
        debug_assert!(u32::try_from(start).is_ok());
        debug_assert!(u16::try_from(line.end).is_ok());
        Entry {
            start: start as u32,
            // These end before the line does, and names are shorter than 256.
            value: line.value.0 as u16,
            value_end: line.value.1 as u16,
            end: line.end as u16,
            name_len: line.name_end as u8,
            name: line.name,
            commas: 1,
        }
    }

    #[inline]
    pub fn value_at(&self) -> Span {
        (
            self.start + u32::from(self.value),
            self.start + u32::from(self.value_end),
        )
    }

    /// Whether a comma may be in the value.
    #[inline]
    pub fn may_be_list(&self) -> bool {
        self.commas != 0
    }

    /// Whether nothing but the line's end follows the value.
    #[inline]
    fn is_trim(&self) -> bool {
        self.value_end + 2 == self.end
    }

    #[inline]
    pub fn line(&self) -> Span {
        (self.start, self.start + u32::from(self.end))
    }
}

/// See the module's text.
#[derive(Clone)]
pub(super) struct Headers {
    /// The first `len` of these, unless there are more than fit: then all are in `heap`.
    inline: [Entry; INLINE],
    /// How many there are.
    len: usize,
    heap: Vec<Entry>,
    places: Places,
}

/// By name: the places of the first and of the last, counted from 1; 0 where there is none, and
/// [`FAR`] for that place and all behind it.
#[derive(Clone)]
struct Places {
    first: [u8; NAMES],
    last: [u8; NAMES],
    /// Names that are there twice, as bits.
    repeated: u64,
}

impl Places {
    #[inline(always)]
    fn note(&mut self, name: Name, place: u8) {
        self.last[Self::of(name)] = place;
        let first = &mut self.first[Self::of(name)];
        if *first == 0 {
            *first = place;
        } else {
            self.repeated |= Headers::bit(name);
        }
    }

    #[inline]
    fn of(name: Name) -> usize {
        name as usize % NAMES
    }
}

impl Headers {
    /// None yet.
    #[inline]
    pub fn new() -> Self {
        Headers {
            inline: [Entry::NONE; INLINE],
            len: 0,
            heap: Vec::new(),
            places: Places {
                first: [0; NAMES],
                last: [0; NAMES],
                repeated: 0,
            },
        }
    }

    /// Adds the headers from `at` on, as long as nothing about their lines is unusual, and tells where
    /// it stopped. Whoever goes on from there finds what it is: the end, or a line that is folded, or
    /// too long, or one too many.
    ///
    /// Fails with the first fault in these lines.
    #[inline(always)]
    pub fn read_usual(
        &mut self,
        bytes: &[u8],
        at: usize,
        limits: &Limits,
    ) -> Result<usize, Malformed> {
        let line_max = limits.line_max();
        let room = self.inline.get_mut(self.len..INLINE.min(limits.headers));
        let room = room.unwrap_or_default();
        let most = room.len();
        // First all lines, then all names: what either needs stays at hand. None is too long.
        let mut lines = Lines::new(bytes, at, at + line_max);
        let mut slots = room.iter_mut();
        while let Some(line) = lines.next()
            && let Some(slot) = slots.next()
        {
            slot.start = line.start as u32;
            slot.value_end = (line.end - line.start) as u16;
            slot.commas = line.commas;
        }
        let found = most - slots.len();
        let new = room.get_mut(..found).unwrap_or_default();
        let mut end = at;
        for (place, entry) in (self.len + 1..).zip(new) {
            let start = entry.start as usize;
            let text_end = start + usize::from(entry.value_end);
            end = text_end + 2;
            match bytes.get(start..).and_then(scan::usual_start) {
                Some((name, name_end)) if bytes.get(text_end - 1) > Some(&b' ') => {
                    entry.value = name_end as u16 + 2;
                    entry.end = entry.value_end + 2;
                    entry.name_len = name_end as u8;
                    entry.name = name;
                }
                _ => *entry = Entry::new(start, &scan::header(bytes, start, line_max)?),
            }
            self.places.note(entry.name, place as u8);
        }
        self.len += found;
        Ok(end)
    }

    /// One more, behind those that are there.
    #[inline]
    pub fn push(&mut self, entry: Entry) {
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

    /// From the first of that name on, as far as there may be more of them.
    #[inline]
    pub fn all_named(&self, name: Name) -> &[Entry] {
        let Some(first) = usize::from(self.places.first[Places::of(name)]).checked_sub(1) else {
            return &[];
        };
        let all = self.all();
        let end = match self.places.last[Places::of(name)] {
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
        let fits = |(entry, name): (&Entry, &Name)| entry.name == *name && entry.is_trim();
        run.iter().zip(names).all(fits).then(|| around(run))?
    }

    /// Where all of that name stand, if no other is between them and nothing but the line's end
    /// follows any of their values.
    pub fn run_of_all(&self, name: Name) -> Option<Span> {
        let run = self.all_named(name);
        let fits = |entry: &Entry| entry.name == name && entry.is_trim();
        run.iter().all(fits).then(|| around(run))?
    }

    /// All headers up to the last of these names: there are no more of them behind it.
    #[inline]
    pub fn up_to_last(&self, names: NameSet) -> &[Entry] {
        let last_of = |name: usize| self.places.last[name % NAMES];
        match names.places().map(last_of).max() {
            Some(last) if last != FAR => self.all().get(..usize::from(last)).unwrap_or_default(),
            Some(_) => self.all(),
            None => &[],
        }
    }

    /// All headers from the first of that name on.
    #[inline]
    fn all_from(&self, name: Name) -> Option<&[Entry]> {
        let first = usize::from(self.places.first[Places::of(name)]).checked_sub(1)?;
        self.all().get(first..)
    }

    /// Whether each of these is there.
    #[inline]
    pub fn has_all(&self, names: &[Name]) -> bool {
        names
            .iter()
            .all(|&name| self.places.first[Places::of(name)] != 0)
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

/// From the first line of them to the last.
fn around(run: &[Entry]) -> Option<Span> {
    let (first, last) = (run.first()?, run.last()?);
    Some((first.start, last.line().1))
}
