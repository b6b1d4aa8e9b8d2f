//! Whether a shard keeps up, and when it stops taking new calls because it does not.
//!
//! Whoever reads the sockets says how long what is read now has waited. Short waits are what buffers
//! are for; but a wait that stands for [`PATIENCE`] without ever falling below [`LATE`] is a queue that
//! will not go away by itself (as in CoDel, RFC 8289 §3). Then new calls are answered with 503 until
//! the queue is gone. That costs a fraction of what a call costs, so nearly as many calls are set up as
//! the shard can do at all, those that are taken are not late, and what was taken before goes on
//! undisturbed. Sooner is better: once buffers are full, messages are lost, and come again.
//!
//! A long wait that shrinks is the end of a pause (a machine that was away for a moment), and may
//! take until [`CATCH_UP`] before any call is refused for it.

use std::time::Duration;

use crate::Moment;

/// A wait as short as this is no queue.
pub const LATE: Duration = Duration::from_millis(10);
/// For so long the queue has to stand before calls are shed,
pub const PATIENCE: Duration = Duration::from_millis(40);
/// and for so long if it shrinks.
pub const CATCH_UP: Duration = Duration::from_millis(100);

/// See the module's text.
#[derive(Copy, Clone, Default, Debug)]
pub enum Pressure {
    /// It keeps up.
    #[default]
    None,
    /// Something waits.
    Rising {
        /// Since then.
        since: Moment,
        /// What was read then had waited for so long.
        waited: Duration,
    },
    /// New calls are shed.
    Shedding,
}

impl Pressure {
    /// What is read at `now` has waited for `waited`.
    pub fn hear(&mut self, now: Moment, waited: Duration) {
        *self = match *self {
            _ if waited < LATE => Pressure::None,
            Pressure::None => Pressure::Rising { since: now, waited },
            Pressure::Rising {
                since,
                waited: at_first,
            } => {
                let stands_for = now.saturating_duration_since(since);
                let patience = if waited < at_first {
                    CATCH_UP
                } else {
                    PATIENCE
                };
                if stands_for < patience {
                    return;
                }
                Pressure::Shedding
            }
            same => same,
        };
    }

    /// Whether new calls are to be refused.
    pub fn sheds(&self) -> bool {
        matches!(self, Pressure::Shedding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn beginning() -> Moment {
        Moment::EPOCH
    }

    #[test]
    fn only_a_queue_that_stands_sheds_and_it_stops_when_the_queue_is_gone() {
        let start = beginning();
        /// When, in milliseconds, and how long what was read then had waited.
        type Heard = &'static [(u32, u32)];
        let table: [(&str, Heard, bool); 9] = [
            ("nothing waits", &[(0, 0), (100, 0)], false),
            (
                "short waits, however long",
                &[(0, 9), (500, 9), (900, 9)],
                false,
            ),
            (
                "one pause",
                &[(0, 300), (5, 305), (39, 339), (40, 0)],
                false,
            ),
            (
                "a pause that is caught up with",
                &[(0, 300), (50, 200), (99, 50), (100, 9)],
                false,
            ),
            (
                "a pause behind which the queue stands",
                &[(0, 300), (50, 310)],
                true,
            ),
            (
                "a queue that hardly shrinks",
                &[(0, 300), (50, 290), (100, 280)],
                true,
            ),
            (
                "bursts with air between",
                &[(0, 20), (39, 59), (41, 2), (60, 20), (99, 59)],
                false,
            ),
            ("a standing queue", &[(0, 10), (20, 30), (40, 50)], true),
            (
                "a queue that has gone",
                &[(0, 10), (40, 50), (60, 70), (70, 9)],
                false,
            ),
        ];
        for (what, story, sheds) in table {
            let mut pressure = Pressure::default();
            for (at, waited) in story {
                pressure.hear(start + *at * MS, *waited * MS);
            }
            assert_eq!(pressure.sheds(), sheds, "{what}");
        }
    }
}
