//! The four transaction machines of RFC 3261 §17 as tables: a state and an event go in, a state
//! and a set of actions come out. No timer runs here and nothing is sent: whoever owns the
//! transaction does what the actions say, in the order in which they are declared.
//!
//! A timer that an action arms replaces the one of the same kind armed before. Events of timers
//! that no longer matter are harmless: every table ignores them where they do not belong.

use std::time::Duration;

/// RFC 3261 §17.1.1.1: an estimate of the round-trip time.
pub const T1: Duration = Duration::from_millis(500);
/// RFC 3261 §17.1.2.2: the longest pause between two copies of a non-INVITE request or of a
/// final response to an INVITE.
pub const T2: Duration = Duration::from_secs(4);
/// RFC 3261 §17.1.2.2: how long the network may hold on to a message.
pub const T4: Duration = Duration::from_secs(5);

/// 64*T1: timers B, F, H, J (UDP), L and M, and how long an abandoned attempt is remembered.
pub const LINGER: Duration = Duration::from_secs(32);
/// Timer D on UDP: at least 32 s (RFC 3261 §17.1.1.2).
pub const TIMER_D: Duration = Duration::from_secs(32);

/// The pause before copy number `sends` + 1 when each pause is twice the one before:
/// T1, 2*T1, 4*T1, ... up to `most`. `sends` counts what went out so far, the first included.
pub(crate) const fn doubled(sends: u8, most: Duration) -> Duration {
    let exponent = match sends {
        0 | 1 => 0,
        // 2^10 * T1 is more than any timer here lasts.
        2..=10 => sends - 1,
        _ => 10,
    };
    let millis = (T1.as_millis() as u64) << exponent;
    let most = most.as_millis() as u64;
    Duration::from_millis(if millis < most { millis } else { most })
}

/// A bit set with names. Each machine has its own, so that an action of one cannot be asked of
/// another.
macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// What to do now: a set, carried out in the order of the constants.
        #[derive(Copy, Clone, PartialEq, Eq, Default)]
        pub struct Actions(u16);

        #[allow(non_camel_case_types, clippy::upper_case_acronyms)] // Only to number the constants.
        enum Bit { $($name,)+ }

        impl Actions {
            /// Nothing to do.
            pub const NONE: Actions = Actions(0);
            $($(#[$doc])* pub const $name: Actions = Actions(1 << Bit::$name as u16);)+

            /// Both sets together.
            #[must_use]
            pub const fn and(self, other: Actions) -> Actions {
                Actions(self.0 | other.0)
            }

            /// Whether everything in `other` is to be done.
            pub const fn has(self, other: Actions) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether nothing is to be done.
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }
        }

        impl std::ops::BitOr for Actions {
            type Output = Actions;

            fn bitor(self, other: Actions) -> Actions {
                self.and(other)
            }
        }

        impl std::fmt::Debug for Actions {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let names = [$((Actions::$name, stringify!($name)),)+];
                f.debug_set()
                    .entries(names.iter().filter(|(bit, _)| self.has(*bit)).map(|(_, name)| name))
                    .finish()
            }
        }
    };
}

pub mod client;
pub mod invite_client;
pub mod invite_server;
pub mod server;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses = |most| {
            (1..=8)
                .map(|sends| doubled(sends, most).as_millis())
                .collect::<Vec<_>>()
        };
        // RFC 3261 §17.1.2.2: "500 ms, 1 s, 2 s, 4 s, 4 s, 4 s, etc."
        assert_eq!(pauses(T2), [500, 1000, 2000, 4000, 4000, 4000, 4000, 4000]);
        // RFC 3261 §17.1.1.2: Timer A doubles without a bound of its own; B ends it.
        assert_eq!(
            pauses(LINGER),
            [500, 1000, 2000, 4000, 8000, 16000, 32000, 32000]
        );
        assert_eq!(doubled(u8::MAX, LINGER), LINGER);
        assert_eq!(doubled(0, T2), T1);
    }

    #[test]
    fn sixty_four_t1_is_what_it_says() {
        assert_eq!(LINGER, T1 * 64);
    }
}
