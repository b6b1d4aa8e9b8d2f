//! Lookups that calls wait for: next hops that are not in the configuration.
//!
//! One question for any number of askers, a short memory for its answer, and a limit on both, so
//! that an outage of DNS costs one timeout and not one a call.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use trunkline_proxy::{question::Answer, settings::Place};

use crate::resolve::Lookup;

/// Places remembered or being asked for.
const PLACES_MAX: usize = 1024;
/// Askers that wait for one place.
const WAITING_MAX: usize = 1024;
/// An answer is used again for at most this.
const TTL_MAX: Duration = Duration::from_secs(300);
/// A failure is believed for this, so that what follows it at once does not wait again.
const FAILED_TTL: Duration = Duration::from_secs(1);

/// What is known, and who waits for what is not.
pub(crate) struct Lookups<K> {
    known: HashMap<Place, (Instant, Answer)>,
    waiting: HashMap<Place, Vec<K>>,
}

/// What to do for an asker.
#[derive(PartialEq, Debug)]
pub(crate) enum Next {
    /// Tell it this.
    Answer(Answer),
    /// Ask DNS; the asker waits.
    Ask,
    /// Somebody has asked already; the asker waits too.
    Wait,
}

impl<K> Lookups<K> {
    pub(crate) fn new() -> Self {
        Lookups {
            known: HashMap::new(),
            waiting: HashMap::new(),
        }
    }

    /// Somebody wants to know.
    pub(crate) fn ask(&mut self, now: Instant, asker: K, place: &Place) -> Next {
        match self.known.get(place) {
            Some((until, answer)) if now < *until => return Next::Answer(answer.clone()),
            Some(_) => drop(self.known.remove(place)),
            None => {}
        }
        if let Some(waiting) = self.waiting.get_mut(place) {
            if waiting.len() == WAITING_MAX {
                return Next::Answer(Answer::ResolveFailed);
            }
            waiting.push(asker);
            return Next::Wait;
        }
        if self.waiting.len() == PLACES_MAX {
            return Next::Answer(Answer::ResolveFailed);
        }
        self.waiting.insert(place.clone(), vec![asker]);
        Next::Ask
    }

    /// DNS has answered: what to tell, and whom.
    pub(crate) fn answered(
        &mut self,
        now: Instant,
        place: &Place,
        lookup: Lookup,
    ) -> (Answer, Vec<K>) {
        let (answer, ttl) = match lookup {
            Lookup::Found {
                candidates,
                ttl,
                incomplete,
                ..
            } => {
                // What is missing may be there the next time.
                let most = if incomplete.is_some() {
                    FAILED_TTL
                } else {
                    TTL_MAX
                };
                let ttl = ttl.min(most);
                (Answer::Resolved { candidates, ttl }, ttl)
            }
            Lookup::Absent { ttl, .. } => {
                let ttl = ttl.min(TTL_MAX);
                (
                    Answer::Resolved {
                        candidates: Vec::new(),
                        ttl,
                    },
                    ttl,
                )
            }
            Lookup::Failed(_) => (Answer::ResolveFailed, FAILED_TTL),
        };
        if self.known.len() >= PLACES_MAX {
            self.known.retain(|_, (until, _)| now < *until);
        }
        if self.known.len() < PLACES_MAX {
            self.known
                .insert(place.clone(), (now + ttl, answer.clone()));
        }
        (answer, self.waiting.remove(place).unwrap_or_default())
    }

    /// Listeners have changed, and with them what a candidate is.
    pub(crate) fn forget(&mut self) {
        self.known.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> Place {
        Place {
            host: name.into(),
            port: None,
            transport: None,
            secure: false,
            from: None,
        }
    }

    fn found(seconds: u64) -> Lookup {
        let ttl = Duration::from_secs(seconds);
        Lookup::Found {
            candidates: Vec::new(),
            ttl,
            left_out: Vec::new(),
            incomplete: None,
        }
    }

    #[test]
    fn many_askers_make_one_question_and_all_get_the_answer() {
        let (now, mut lookups) = (Instant::now(), Lookups::new());
        assert_eq!(lookups.ask(now, 1, &place("a")), Next::Ask);
        assert_eq!(lookups.ask(now, 2, &place("a")), Next::Wait);
        assert_eq!(lookups.ask(now, 3, &place("b")), Next::Ask);
        let (answer, told) = lookups.answered(now, &place("a"), found(10));
        assert_eq!(told, [1, 2]);
        let soon = now + Duration::from_secs(9);
        assert_eq!(lookups.ask(soon, 4, &place("a")), Next::Answer(answer));
        assert_eq!(
            lookups.ask(now + Duration::from_secs(10), 5, &place("a")),
            Next::Ask
        );
    }

    #[test]
    fn a_failure_is_believed_for_a_second_and_ttl_zero_not_at_all() {
        let (now, mut lookups) = (Instant::now(), Lookups::new());
        lookups.ask(now, 1, &place("a"));
        lookups.answered(now, &place("a"), Lookup::Failed("no answer".into()));
        assert_eq!(
            lookups.ask(now, 2, &place("a")),
            Next::Answer(Answer::ResolveFailed)
        );
        assert_eq!(lookups.ask(now + FAILED_TTL, 3, &place("a")), Next::Ask);
        lookups.answered(now, &place("a"), found(0));
        assert_eq!(lookups.ask(now, 4, &place("a")), Next::Ask);
    }

    #[test]
    fn a_literal_address_holds_for_the_longest_and_half_an_answer_for_the_shortest_time() {
        let (now, mut lookups) = (Instant::now(), Lookups::new());
        let half = Lookup::Found {
            candidates: Vec::new(),
            ttl: TTL_MAX,
            left_out: Vec::new(),
            incomplete: Some("no answer".into()),
        };
        let endless = found(u64::MAX);
        for (lookup, want) in [(endless, TTL_MAX), (half, FAILED_TTL)] {
            lookups.ask(now, 1, &place("a"));
            let (answer, _) = lookups.answered(now, &place("a"), lookup);
            assert_eq!(
                answer,
                Answer::Resolved {
                    candidates: Vec::new(),
                    ttl: want
                }
            );
            lookups.forget();
        }
    }

    #[test]
    fn a_flood_of_names_ends_at_the_limit() {
        let (now, mut lookups) = (Instant::now(), Lookups::new());
        for n in 0..PLACES_MAX {
            assert_eq!(lookups.ask(now, n, &place(&n.to_string())), Next::Ask);
        }
        assert_eq!(
            lookups.ask(now, 0, &place("more")),
            Next::Answer(Answer::ResolveFailed)
        );
        lookups.answered(now, &place("0"), found(10));
        assert_eq!(lookups.ask(now, 0, &place("more")), Next::Ask);
    }
}
