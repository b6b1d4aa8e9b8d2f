//! The non-INVITE client transaction: RFC 3261 figure 6 (§17.1.2.2).

use std::time::Duration;

use super::{LINGER, T2, T4, doubled};

/// Where a request stands.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// Sent; nothing heard.
    Trying,
    /// A provisional came.
    Proceeding,
    /// A final response came; copies of it are swallowed.
    Completed,
    /// To be forgotten.
    Terminated,
}

/// What can happen to it.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    /// Time to send the request again.
    TimerE,
    /// 64*T1 have passed.
    TimerF,
    /// Our own patience is over, before Timer F.
    GiveUp,
    /// A 1xx.
    Provisional,
    /// A 2xx to 6xx.
    Final,
    /// The hop cannot be used (RFC 3261 §17.1.4).
    Lost,
    /// No more copies of the final response are to be expected.
    TimerK,
}

actions! {
    /// Send the request again, byte for byte.
    RESEND,
    /// Arm Timer E anew: see [`timer_e`].
    ARM_E,
    /// Hand the response to the response context.
    PASS,
    /// The attempt has failed: the context moves on.
    FAILED,
    /// Arm Timer K: see [`timer_k`].
    ARM_K,
    /// Forget the attempt.
    TERMINATE,
}

/// One step of the machine. `reliable`: the transport repeats what was lost.
pub const fn step(state: State, event: Event, reliable: bool) -> (State, Actions) {
    use Actions as Do;
    match state {
        State::Trying | State::Proceeding => match event {
            Event::TimerE if reliable => (state, Do::NONE),
            Event::TimerE => (state, Do::RESEND.and(Do::ARM_E)),
            Event::TimerF | Event::GiveUp | Event::Lost => {
                (State::Terminated, Do::FAILED.and(Do::TERMINATE))
            }
            Event::Provisional => (State::Proceeding, Do::PASS),
            Event::Final => (State::Completed, Do::PASS.and(Do::ARM_K)),
            Event::TimerK => (state, Do::NONE),
        },
        State::Completed => match event {
            Event::TimerK => (State::Terminated, Do::TERMINATE),
            Event::TimerE
            | Event::TimerF
            | Event::GiveUp
            | Event::Provisional
            | Event::Final
            | Event::Lost => (state, Do::NONE),
        },
        State::Terminated => (state, Do::NONE),
    }
}

/// How long Timer E waits after the request went out `sends` times: 500 ms, 1 s, 2 s, 4 s, 4 s, ...
/// until a provisional has come, then T2.
pub const fn timer_e(state: State, sends: u8) -> Duration {
    match state {
        State::Proceeding => T2,
        State::Trying | State::Completed | State::Terminated => doubled(sends, T2),
    }
}

/// Timer F.
pub const TIMER_F: Duration = LINGER;

/// How long Timer K waits: T4, nothing on a stream.
pub const fn timer_k(reliable: bool) -> Duration {
    if reliable { Duration::ZERO } else { T4 }
}

#[cfg(test)]
mod tests {
    use super::{Actions as Do, Event::*, State::*, *};

    const STATES: [State; 4] = [Trying, Proceeding, Completed, Terminated];
    const EVENTS: [Event; 7] = [TimerE, TimerF, GiveUp, Provisional, Final, Lost, TimerK];

    /// Every pair that does something; every pair that is not here must do nothing.
    fn table(reliable: bool) -> Vec<(State, Event, State, Actions, &'static str)> {
        let resend = if reliable {
            Do::NONE
        } else {
            Do::RESEND | Do::ARM_E
        };
        let failed = Do::FAILED | Do::TERMINATE;
        vec![
            (Trying, TimerE, Trying, resend, "RFC 3261 figure 6, Timer E"),
            (Trying, TimerF, Terminated, failed, "figure 6, Timer F"),
            (
                Trying,
                GiveUp,
                Terminated,
                failed,
                "BEHAVIOUR 5, response_timeout",
            ),
            (Trying, Lost, Terminated, failed, "figure 6, Transport Err."),
            (Trying, Provisional, Proceeding, Do::PASS, "figure 6, 1xx"),
            (
                Trying,
                Final,
                Completed,
                Do::PASS | Do::ARM_K,
                "figure 6, 200-699",
            ),
            (Proceeding, TimerE, Proceeding, resend, "figure 6, Timer E"),
            (Proceeding, TimerF, Terminated, failed, "figure 6, Timer F"),
            (
                Proceeding,
                GiveUp,
                Terminated,
                failed,
                "BEHAVIOUR 5, progress_timeout",
            ),
            (
                Proceeding,
                Lost,
                Terminated,
                failed,
                "figure 6, Transport Err.",
            ),
            (
                Proceeding,
                Provisional,
                Proceeding,
                Do::PASS,
                "figure 6, 1xx",
            ),
            (
                Proceeding,
                Final,
                Completed,
                Do::PASS | Do::ARM_K,
                "figure 6, 200-699",
            ),
            (
                Completed,
                TimerK,
                Terminated,
                Do::TERMINATE,
                "figure 6, Timer K",
            ),
        ]
    }

    #[test]
    fn every_state_and_event_does_what_the_figure_says() {
        for reliable in [false, true] {
            let table = table(reliable);
            for state in STATES {
                for event in EVENTS {
                    let row = table.iter().find(|row| row.0 == state && row.1 == event);
                    let (next, actions, why) = row
                        .map_or((state, Do::NONE, "does not belong here"), |row| {
                            (row.2, row.3, row.4)
                        });
                    let got = step(state, event, reliable);
                    assert_eq!(
                        got,
                        (next, actions),
                        "{state:?} {event:?} {reliable}: {why}"
                    );
                }
            }
        }
    }

    #[test]
    fn timers_last_as_long_as_the_rfc_says() {
        let pauses = |state| {
            (1..=5)
                .map(|n| timer_e(state, n).as_millis())
                .collect::<Vec<_>>()
        };
        assert_eq!(pauses(Trying), [500, 1000, 2000, 4000, 4000]);
        assert_eq!(pauses(Proceeding), [4000; 5]);
        assert_eq!(timer_k(false), T4);
        assert_eq!(timer_k(true), Duration::ZERO);
        assert_eq!(TIMER_F, super::super::T1 * 64);
    }
}
