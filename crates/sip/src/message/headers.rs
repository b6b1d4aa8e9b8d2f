//! Where the headers are, and which of them are there: one list in message order, and beside it the
//! answer to what is asked most, "the first of that name".

use crate::Span;
use crate::name::{Name, NameSet};
use crate::scan::Line;

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
    value: u32,
    value_end: u32,
    /// The line's end and what blanks are before it.
    tail: u16,
    pub name_len: u8,
    pub name: Name,
}

impl Entry {
    /// What stands where no header is yet; all zeros, so that a table of them costs little.
    const NONE: Entry = Entry {
        start: 0,
        value: 0,
        value_end: 0,
        tail: 0,
        name_len: 0,
        name: Name::Via,
    };

    /// For a line no longer than [`Limits::line_max`](crate::Limits) lets pass, in a message no
    /// longer than [`Limits::message_max`](crate::Limits) does.
    #[inline(always)]
    pub fn new(start: usize, line: &Line) -> Entry {
        debug_assert!(u32::try_from(start + line.end).is_ok());
        debug_assert!(u16::try_from(line.end).is_ok());
        Entry {
            start: start as u32,
            value: (start + line.value.0) as u32,
            value_end: (start + line.value.1) as u32,
            // A line is shorter than that, and so are names shorter than 256.
            tail: (line.end - line.value.1) as u16,
            name_len: line.name_end as u8,
            name: line.name,
        }
    }

    /// For a line with one blank before its value and nothing but its end behind it; where that is,
    /// [`end_at`](Self::end_at) says.
    #[inline(always)]
    pub fn begun(start: usize, name: Name, name_len: usize) -> Entry {
        Entry {
            start: start as u32,
            value: (start + name_len + 2) as u32,
            value_end: 0,
            tail: 2,
            name_len: name_len as u8,
            name,
        }
    }

    /// See [`begun`](Self::begun).
    #[inline(always)]
    pub fn end_at(&mut self, value_end: usize) {
        self.value_end = value_end as u32;
    }

    #[inline]
    pub fn value_at(&self) -> Span {
        (self.value, self.value_end)
    }

    /// Whether nothing but the line's end follows the value.
    #[inline]
    fn is_trim(&self) -> bool {
        self.tail == 2
    }

    #[inline]
    pub fn line(&self) -> Span {
        (self.start, self.value_end + u32::from(self.tail))
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
        last.start as usize
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
        let last_of = |name: usize| self.places.last(name % NAMES);
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

/// From the first line of them to the last.
fn around(run: &[Entry]) -> Option<Span> {
    let (first, last) = (run.first()?, run.last()?);
    Some((first.start, last.line().1))
}
