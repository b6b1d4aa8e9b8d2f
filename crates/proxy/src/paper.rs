//! What requests in work are kept on, used again by the next ones: an INVITE is just too long for
//! the lists from which an allocator serves and takes back quickly.

use std::{ops::Deref, sync::Arc};

/// So many wait for their next request at most.
const STACK_MAX: usize = 32;
/// One with more room than this is not kept: what is long is rare.
const ROOM_MAX: usize = 4096;

/// The bytes of one request, or none. A copy is the same paper.
#[derive(Clone, Debug, Default)]
pub struct Paper(Option<Arc<Vec<u8>>>);

impl Deref for Paper {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |bytes| bytes)
    }
}

/// Those that nobody needs at present.
#[derive(Debug, Default)]
pub struct Papers(Vec<Arc<Vec<u8>>>);

impl Papers {
    /// Keeps these bytes.
    pub fn keep(&mut self, bytes: &[u8]) -> Paper {
        if let Some(mut paper) = self.0.pop()
            && let Some(room) = Arc::get_mut(&mut paper)
        {
            room.clear();
            room.extend_from_slice(bytes);
            return Paper(Some(paper));
        }
        Paper(Some(Arc::new(bytes.to_vec())))
    }

    /// Takes one back, unless somebody else has a copy of it.
    pub fn take_back(&mut self, paper: Paper) {
        if let Some(mut paper) = paper.0
            && self.0.len() < STACK_MAX
            && Arc::get_mut(&mut paper).is_some_and(|room| room.capacity() <= ROOM_MAX)
        {
            self.0.push(paper);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_needs_serves_the_next() {
        let mut papers = Papers::default();
        let first = papers.keep(b"a long request");
        let at = first.as_ptr();
        papers.take_back(first);
        let second = papers.keep(b"a short one");
        assert_eq!((&second[..], second.as_ptr()), (&b"a short one"[..], at));
        assert_ne!(papers.keep(b"another").as_ptr(), at);
    }

    #[test]
    fn what_somebody_still_reads_is_not_written_on() {
        let mut papers = Papers::default();
        let first = papers.keep(b"first");
        let copy = first.clone();
        papers.take_back(first);
        assert_eq!(&papers.keep(b"other")[..], b"other");
        assert_eq!(&copy[..], b"first");
    }

    #[test]
    fn only_so_many_and_so_long_ones_are_kept() {
        let mut papers = Papers::default();
        let many: Vec<Paper> = (0..2 * STACK_MAX).map(|_| papers.keep(b"x")).collect();
        many.into_iter().for_each(|paper| papers.take_back(paper));
        assert_eq!(papers.0.len(), STACK_MAX);

        let mut papers = Papers::default();
        let long = papers.keep(&[0; ROOM_MAX + 1]);
        papers.take_back(long);
        papers.take_back(Paper::default());
        assert!(papers.0.is_empty());
    }
}
