//! Where the headers are, and which of them are there: one list in message order, and beside it the
//! answer to what is asked most, "the first of that name".

use super::Limits;
use crate::Span;
use crate::name::Name;
use crate::scan::{self, Line};

/// Headers of a message before any is put on the heap.
const INLINE: usize = 40;

/// The last place that `Headers::first` can tell.
const FAR: u8 = u8::MAX;

/// One bit for each name must fit.
const _: () = assert!(Name::COUNT <= 64);

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
    commas: u16,
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
            commas: line.commas,
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
    /// By name: the place of the first, where `seen` says that there is one; [`FAR`] or any place
    /// behind is [`FAR`].
    first: [u8; Name::COUNT],
    seen: u64,
    repeated: u64,
}

impl Headers {
    /// None yet.
    #[inline]
    pub fn new() -> Self {
        Headers {
            inline: [Entry::NONE; INLINE],
            len: 0,
            heap: Vec::new(),
            first: [0; Name::COUNT],
            seen: 0,
            repeated: 0,
        }
    }

    /// Adds the headers from `at` on, as long as there is nothing to say about them, and tells where
    /// it stopped. Whoever goes on from there finds what it is: the end, or a header that is written
    /// in another way, or too long, or one too many.
    #[inline(always)]
    pub fn read_usual(&mut self, bytes: &[u8], at: usize, limits: &Limits) -> usize {
        let line_max = limits.line_max();
        let room = &mut self.inline[..INLINE.min(limits.headers)];
        let mut rest = bytes.get(at..).unwrap_or_default();
        // Counted in places of their own: these two are asked at every line.
        let (mut count, mut seen) = (self.len, self.seen);
        while let Some(slot) = room.get_mut(count)
            && let Some(line) = scan::usual(rest, line_max)
            && let Some(next) = rest.get(line.end..)
        {
            *slot = Entry::new(bytes.len() - rest.len(), &line);
            let bit = Self::bit(line.name);
            if seen & bit == 0 {
                self.first[line.name as usize] = count as u8;
            } else {
                self.repeated |= bit;
            }
            seen |= bit;
            count += 1;
            rest = next;
        }
        (self.len, self.seen) = (count, seen);
        bytes.len() - rest.len()
    }

    /// One more, behind those that are there.
    #[inline]
    pub fn push(&mut self, entry: Entry) {
        let bit = Self::bit(entry.name);
        if self.seen & bit == 0 {
            self.seen |= bit;
            self.first[entry.name as usize] = self.len.min(usize::from(FAR)) as u8;
        } else {
            self.repeated |= bit;
        }
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
        if self.seen & Self::bit(name) == 0 {
            return None;
        }
        match self.inline.get(usize::from(self.first[name as usize])) {
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
        let bit = Self::bit(name);
        if self.seen & bit == 0 {
            return &[];
        }
        let first = usize::from(self.first[name as usize]);
        let all = self.all();
        let end = if self.repeated & bit == 0 && first < usize::from(FAR) {
            first + 1
        } else {
            all.len()
        };
        all.get(first..end).unwrap_or_default()
    }

    /// Whether each of these is there, and none of them or of `at_most_once` twice.
    #[inline]
    pub fn are_single(&self, once: u64, at_most_once: u64) -> bool {
        self.seen & once == once && self.repeated & (once | at_most_once) == 0
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
