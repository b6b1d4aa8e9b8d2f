//! Where the headers are, and which of them are there: one list in message order, and beside it the
//! answer to what is asked most, "the first of that name".

use smallvec::SmallVec;

use crate::Span;
use crate::name::Name;
use crate::scan::Line;

/// Headers of a message before any is put on the heap.
const INLINE: usize = 40;

/// One bit for each name must fit.
const _: () = assert!(Name::COUNT <= 64);

/// Where a header is, in 12 bytes: a message is moved now and then, with dozens of these in it.
#[derive(Copy, Clone)]
pub(super) struct Entry {
    pub start: u32,
    /// These three count from `start`.
    value: u16,
    value_end: u16,
    end: u16,
    pub name_len: u8,
    pub name: Name,
}

impl Entry {
    /// `None` for a line longer than [`Limits::line_max`](crate::Limits) lets pass.
    #[inline]
    pub fn new(line: &Line) -> Option<Entry> {
        // What else is counted ends before the line does, and names are shorter than 256.
        let within = |offset: usize| (offset - line.start) as u16;
        Some(Entry {
            start: u32::try_from(line.start).ok()?,
            value: within(line.value.0),
            value_end: within(line.value.1),
            end: u16::try_from(line.end - line.start).ok()?,
            name_len: (line.name_end - line.start) as u8,
            name: line.name,
        })
    }

    #[inline]
    pub fn value_at(&self) -> Span {
        (
            self.start + u32::from(self.value),
            self.start + u32::from(self.value_end),
        )
    }

    #[inline]
    pub fn line(&self) -> Span {
        (self.start, self.start + u32::from(self.end))
    }
}

/// See the module's text.
#[derive(Clone)]
pub(super) struct Headers {
    entries: SmallVec<[Entry; INLINE]>,
    /// By name: the place of the first, where `seen` says that there is one.
    first: [u16; Name::COUNT],
    seen: u64,
    repeated: u64,
}

impl Headers {
    /// None yet.
    #[inline]
    pub fn new() -> Self {
        Headers {
            entries: SmallVec::new(),
            first: [0; Name::COUNT],
            seen: 0,
            repeated: 0,
        }
    }

    /// One more, behind those that are there.
    #[inline]
    pub fn push(&mut self, entry: Entry) {
        let bit = Self::bit(entry.name);
        if self.seen & bit == 0 {
            // Messages are at most 64 KiB long or so, and a header takes four bytes.
            self.first[entry.name as usize] = self.entries.len() as u16;
        }
        self.repeated |= self.seen & bit;
        self.seen |= bit;
        self.entries.push(entry);
    }

    /// All, in order.
    #[inline]
    pub fn all(&self) -> &[Entry] {
        &self.entries
    }

    /// The first of that name.
    #[inline]
    pub fn first(&self, name: Name) -> Option<&Entry> {
        if self.seen & Self::bit(name) == 0 {
            return None;
        }
        self.entries.get(usize::from(self.first[name as usize]))
    }

    /// From the first of that name on, as far as there may be more of them.
    #[inline]
    pub fn all_named(&self, name: Name) -> &[Entry] {
        let bit = Self::bit(name);
        if self.seen & bit == 0 {
            return &[];
        }
        let first = usize::from(self.first[name as usize]);
        let end = if self.repeated & bit == 0 {
            first + 1
        } else {
            self.entries.len()
        };
        self.entries.get(first..end).unwrap_or_default()
    }

    /// Whether each of these is there, and none of them or of `at_most_once` twice.
    #[inline]
    pub fn are_single(&self, once: u64, at_most_once: u64) -> bool {
        self.seen & once == once && self.repeated & (once | at_most_once) == 0
    }

    #[cfg(test)]
    pub fn spilled(&self) -> bool {
        self.entries.spilled()
    }

    /// The bit of a name, for [`are_single`](Self::are_single).
    #[inline]
    pub const fn bit(name: Name) -> u64 {
        1 << name as u64
    }
}
