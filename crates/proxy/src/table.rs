//! A slab whose slots carry generations: what names an entry stops naming it once it is gone.

/// Tables with less room than this are left as they are.
const SHRINK_ABOVE: usize = 1024;

/// The room that a table should shrink to after a peak; `None` leaves it as it is. Less than an eighth
/// must be used, so that as much has left before the next time as is copied this time.
pub fn room_after_peak(len: usize, capacity: usize) -> Option<usize> {
    (capacity > SHRINK_ABOVE && len < capacity / 8).then_some(len * 2)
}

/// Names one entry for as long as it lives.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Slot {
    /// Where.
    pub index: u32,
    /// Which of those that were ever there.
    pub generation: u32,
}

/// Entries found by [`Slot`] in one step.
#[derive(Debug)]
pub struct Slab<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
    len: u32,
    generation: u32,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab {
            entries: Vec::new(),
            free: Vec::new(),
            len: 0,
            generation: 0,
        }
    }
}

impl<T> Slab<T> {
    /// How many live.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether none lives.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts one in.
    pub fn insert(&mut self, value: T) -> Slot {
        // One counter for all slots, so that a slot given back to the allocator and grown again
        // does not repeat itself.
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        self.len += 1;
        // Free slots beyond the end are leftovers of `shrink`.
        while let Some(index) = self.free.pop() {
            if let Some(entry) = self.entries.get_mut(index as usize) {
                entry.generation = generation;
                entry.value = Some(value);
                return Slot { index, generation };
            }
        }
        self.entries.push(Entry {
            generation,
            value: Some(value),
        });
        Slot {
            index: self.entries.len() as u32 - 1,
            generation,
        }
    }

    /// The entry, if it still lives.
    pub fn get(&self, slot: Slot) -> Option<&T> {
        let entry = self.entries.get(slot.index as usize)?;
        match &entry.value {
            Some(value) if entry.generation == slot.generation => Some(value),
            _ => None,
        }
    }

    /// The entry, if it still lives.
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        let entry = self.entries.get_mut(slot.index as usize)?;
        match &mut entry.value {
            Some(value) if entry.generation == slot.generation => Some(value),
            _ => None,
        }
    }

    /// Takes it out.
    pub fn remove(&mut self, slot: Slot) -> Option<T> {
        self.get(slot)?;
        let value = self.entries[slot.index as usize].value.take()?;
        self.is_vacant(slot.index);
        Some(value)
    }

    /// Drops it where it is: what nobody needs any more is not moved.
    pub fn discard(&mut self, slot: Slot) {
        if self.get(slot).is_some() {
            self.entries[slot.index as usize].value = None;
            self.is_vacant(slot.index);
        }
    }

    fn is_vacant(&mut self, index: u32) {
        self.len -= 1;
        self.free.push(index);
        self.shrink();
    }

    /// All that live, in slot order.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &T)> + '_ {
        self.entries
            .iter()
            .enumerate()
            .filter_map(|(index, entry)| {
                let slot = Slot {
                    index: index as u32,
                    generation: entry.generation,
                };
                Some((slot, entry.value.as_ref()?))
            })
    }

    /// Gives memory back after a peak: vacant slots at the end, a step at a time.
    fn shrink(&mut self) {
        while self.entries.pop_if(|entry| entry.value.is_none()).is_some() {}
        if self.entries.capacity() > 64 && self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.len() * 2);
            let end = self.entries.len() as u32;
            self.free.retain(|index| *index < end);
            self.free.shrink_to(self.free.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_shrinks_when_it_is_nearly_empty_and_not_worth_keeping() {
        let table = [
            (0, 1024, None),
            (0, 2048, Some(0)),
            (255, 2048, Some(510)),
            (256, 2048, None),
        ];
        for (len, capacity, room) in table {
            assert_eq!(room_after_peak(len, capacity), room, "{len} of {capacity}");
        }
    }

    #[test]
    fn a_slot_never_names_its_successor() {
        let mut slab = Slab::default();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(first.index, second.index);
        assert_eq!((slab.get(first), slab.get(second)), (None, Some(&"second")));
        assert_eq!(slab.remove(first), None);
        slab.discard(first);
        assert_eq!(slab.len(), 1);
        slab.discard(second);
        assert_eq!((slab.get(second), slab.len()), (None, 0));
        assert_eq!(slab.insert("third").index, second.index);
    }

    #[test]
    fn memory_goes_back_after_a_peak_and_generations_do_not_repeat() {
        let mut slab = Slab::default();
        let slots: Vec<_> = (0..10_000).map(|n| slab.insert(n)).collect();
        for slot in slots.iter().rev() {
            slab.remove(*slot);
        }
        assert!(
            slab.is_empty() && slab.entries.capacity() <= 128,
            "{}",
            slab.entries.capacity()
        );
        assert!(slab.free.len() <= 10_000);
        let again = slab.insert(1);
        assert!(slots.iter().all(|old| slab.get(*old).is_none()));
        assert_eq!(slab.get(again), Some(&1));
    }
}
