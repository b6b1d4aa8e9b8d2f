//! The INVITE server transaction: RFC 3261 figure 7 (§17.2.1) with the Accepted state of RFC 6026
//! §8.5.

use std::time::Duration;

use super::{LINGER, T2, T4, doubled};

/// Where the caller's INVITE stands.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// No final response yet.
    Proceeding,
    /// A failure went out and waits for its ACK.
    Completed,
    /// The ACK to the failure came; copies of it are swallowed.
    Confirmed,
    /// A 2xx went out; copies of the INVITE are swallowed (RFC 6026).
    Accepted,
    /// To be forgotten.
    Terminated,
}

/// What can happen to it.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    /// A copy of the INVITE.
    Request,
    /// An ACK that matches (RFC 3261 §17.2.3).
    Ack,
    /// There is a 1xx to send.
    SendProvisional,
    /// There is a 2xx to send.
    SendSuccess,
    /// There is a 3xx to 6xx to send.
    SendFailure,
    /// Time to send the failure again.
    TimerG,
    /// Nobody acknowledged the failure.
    TimerH,
    /// No more copies of the ACK are to be expected.
    TimerI,
    /// No more copies of the INVITE, and no more 2xx, are to be expected.
    TimerL,
}

actions! {
    /// Send the response that the event brought.
    SEND,
    /// Send the last response again.
    REPLAY,
    /// The ACK is the callee's: forward it (RFC 6026 §8.5).
    PASS_ACK,
    /// Arm Timer G anew: see [`timer_g`].
    ARM_G,
    /// Arm Timer H: [`LINGER`].
    ARM_H,
    /// Arm Timer I: see [`timer_i`].
    ARM_I,
    /// Arm Timer L: [`LINGER`].
    ARM_L,
    /// The caller never acknowledged; nothing to be done but to count it.
    UNACKNOWLEDGED,
    /// Forget the transaction.
    TERMINATE,
}

/// One step of the machine. `reliable`: the transport repeats what was lost.
pub const fn step(state: State, event: Event, reliable: bool) -> (State, Actions) {
    use Actions as Do;
    match state {
        State::Proceeding => match event {
            Event::Request => (state, Do::REPLAY),
            Event::SendProvisional => (state, Do::SEND),
            Event::SendSuccess => (State::Accepted, Do::SEND.and(Do::ARM_L)),
            Event::SendFailure if reliable => (State::Completed, Do::SEND.and(Do::ARM_H)),
            Event::SendFailure => (State::Completed, Do::SEND.and(Do::ARM_G).and(Do::ARM_H)),
            Event::Ack | Event::TimerG | Event::TimerH | Event::TimerI | Event::TimerL => {
                (state, Do::NONE)
            }
        },
        State::Completed => match event {
            Event::Request => (state, Do::REPLAY),
            Event::TimerG if reliable => (state, Do::NONE),
            Event::TimerG => (state, Do::REPLAY.and(Do::ARM_G)),
            Event::Ack => (State::Confirmed, Do::ARM_I),
            Event::TimerH => (State::Terminated, Do::UNACKNOWLEDGED.and(Do::TERMINATE)),
            // The caller has its final response (RFC 3261 §17.2.1): a 2xx that comes now is
            // answered by us (BEHAVIOUR 5, late answers), all else is too late.
            Event::SendProvisional
            | Event::SendSuccess
            | Event::SendFailure
            | Event::TimerI
            | Event::TimerL => (state, Do::NONE),
        },
        State::Confirmed => match event {
            Event::TimerI => (State::Terminated, Do::TERMINATE),
            Event::Request
            | Event::Ack
            | Event::SendProvisional
            | Event::SendSuccess
            | Event::SendFailure
            | Event::TimerG
            | Event::TimerH
            | Event::TimerL => (state, Do::NONE),
        },
        State::Accepted => match event {
            Event::SendSuccess => (state, Do::SEND),
            Event::Ack => (state, Do::PASS_ACK),
            Event::TimerL => (State::Terminated, Do::TERMINATE),
            Event::Request
            | Event::SendProvisional
            | Event::SendFailure
            | Event::TimerG
            | Event::TimerH
            | Event::TimerI => (state, Do::NONE),
        },
        State::Terminated => (state, Do::NONE),
    }
}

/// How long Timer G waits after the failure went out `sends` times: 500 ms, 1 s, 2 s, 4 s, 4 s, ...
pub const fn timer_g(sends: u8) -> Duration {
    doubled(sends, T2)
}

/// Timer H and Timer L.
pub const TIMER_H: Duration = LINGER;
/// See [`TIMER_H`].
pub const TIMER_L: Duration = LINGER;

/// How long Timer I waits: T4, nothing on a stream.
pub const fn timer_i(reliable: bool) -> Duration {
    if reliable { Duration::ZERO } else { T4 }
}

#[cfg(test)]
mod tests {
    use super::{Actions as Do, Event::*, State::*, *};

    const STATES: [State; 5] = [Proceeding, Completed, Confirmed, Accepted, Terminated];
    const EVENTS: [Event; 9] = [
        Request,
        Ack,
        SendProvisional,
        SendSuccess,
        SendFailure,
        TimerG,
        TimerH,
        TimerI,
        TimerL,
    ];

    /// Every pair that does something; every pair that is not here must do nothing.
    fn table(reliable: bool) -> Vec<(State, Event, State, Actions, &'static str)> {
        let g = if reliable { Do::NONE } else { Do::ARM_G };
        let resend = if reliable {
            Do::NONE
        } else {
            Do::REPLAY | Do::ARM_G
        };
        vec![
            (
                Proceeding,
                Request,
                Proceeding,
                Do::REPLAY,
                "RFC 3261 figure 7, INVITE",
            ),
            (
                Proceeding,
                SendProvisional,
                Proceeding,
                Do::SEND,
                "figure 7, 101-199 from TU",
            ),
            (
                Proceeding,
                SendSuccess,
                Accepted,
                Do::SEND | Do::ARM_L,
                "RFC 6026 §8.5",
            ),
            (
                Proceeding,
                SendFailure,
                Completed,
                Do::SEND | g | Do::ARM_H,
                "figure 7, 300-699",
            ),
            (
                Completed,
                Request,
                Completed,
                Do::REPLAY,
                "figure 7, INVITE",
            ),
            (Completed, TimerG, Completed, resend, "figure 7, Timer G"),
            (Completed, Ack, Confirmed, Do::ARM_I, "figure 7, ACK"),
            (
                Completed,
                TimerH,
                Terminated,
                Do::UNACKNOWLEDGED | Do::TERMINATE,
                "figure 7, Timer H",
            ),
            (
                Confirmed,
                TimerI,
                Terminated,
                Do::TERMINATE,
                "figure 7, Timer I",
            ),
            (
                Accepted,
                SendSuccess,
                Accepted,
                Do::SEND,
                "RFC 6026 §8.5, 2xx from TU",
            ),
            (
                Accepted,
                Ack,
                Accepted,
                Do::PASS_ACK,
                "RFC 6026 §8.5, ACK to TU",
            ),
            (
                Accepted,
                TimerL,
                Terminated,
                Do::TERMINATE,
                "RFC 6026 §8.5, Timer L",
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
    fn a_caller_with_a_final_response_never_gets_another_kind() {
        // RFC 3261 §17.2.1 and RFC 6026: walks every sequence of five events.
        fn walk(state: State, sent: Option<Event>, depth: u8) {
            if depth == 0 {
                return;
            }
            for event in EVENTS {
                let (next, actions) = step(state, event, false);
                let mut now = sent;
                if actions.has(Do::SEND) && event != SendProvisional {
                    assert!(
                        sent.is_none_or(|sent| sent == event),
                        "{sent:?} then {event:?}"
                    );
                    assert!(sent != Some(SendFailure), "a failure went out twice");
                    now = Some(event);
                }
                assert!(!(actions.has(Do::SEND) && event == SendProvisional && sent.is_some()));
                walk(next, now, depth - 1);
            }
        }
        walk(Proceeding, None, 5);
    }

    #[test]
    fn timers_last_as_long_as_the_rfc_says() {
        let pauses = (1..=5)
            .map(|sends| timer_g(sends).as_millis())
            .collect::<Vec<_>>();
        assert_eq!(pauses, [500, 1000, 2000, 4000, 4000]);
        assert_eq!(timer_i(false), T4);
        assert_eq!(timer_i(true), Duration::ZERO);
        assert_eq!(TIMER_H, TIMER_L);
    }
}
