//! Who is next, and when.

use std::collections::BTreeSet;

use crate::Moment;

/// Moments in order, at most one for each member.
///
/// A member's moment is remembered with the member, so that moving it needs no search.
#[derive(Debug)]
pub(super) struct Agenda {
    moments: BTreeSet<(Moment, u32)>,
    /// The first of them: asked for with every packet. `NEVER`: there is none.
    next: Moment,
}

impl Default for Agenda {
    fn default() -> Self {
        Agenda {
            moments: BTreeSet::new(),
            next: Moment::NEVER,
        }
    }
}

impl Agenda {
    /// Moves `member` from the moment it has to the one it should have.
    pub(super) fn book(&mut self, member: u32, has: &mut Option<Moment>, want: Option<Moment>) {
        if *has == want {
            return;
        }
        if let Some(at) = *has {
            self.moments.remove(&(at, member));
        }
        if let Some(at) = want {
            self.moments.insert((at, member));
        }
        self.next = self.moments.first().map_or(Moment::NEVER, |(at, _)| *at);
        *has = want;
    }

    /// Like [`book`](Self::book), but leaves a booking alone that comes too early: whoever is
    /// woken looks again. So what happens for every packet moves nothing.
    pub(super) fn book_lazily(
        &mut self,
        member: u32,
        has: &mut Option<Moment>,
        want: Option<Moment>,
    ) {
        let early = has.zip(want).is_some_and(|(has, want)| has <= want);
        if !early && want.is_some() {
            self.book(member, has, want);
        }
    }

    /// The member whose moment came first, if it has come. It stays booked.
    pub(super) fn due(&self, now: Moment) -> Option<u32> {
        if now < self.next {
            return None;
        }
        let (at, member) = self.moments.first()?;
        (*at <= now).then_some(*member)
    }

    /// The first moment; `NEVER`: there is none.
    #[inline]
    pub(super) fn next(&self) -> Moment {
        self.next
    }
}
