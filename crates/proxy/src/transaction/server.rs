//! The non-INVITE server transaction: RFC 3261 figure 8 (§17.2.2) with the corrections of
//! RFC 4320: no 408, no provisional but 100, and that one not early.

use std::time::Duration;

use super::{LINGER, T1, T2};

/// Where a request stands.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// No response yet.
    Trying,
    /// A 100 went out.
    Proceeding,
    /// A final response went out; copies of the request get it again.
    Completed,
    /// To be forgotten.
    Terminated,
}

/// What can happen to it.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    /// A copy of the request.
    Request,
    /// [`trying_after`] has passed.
    TryingDue,
    /// A provisional came from downstream.
    SendProvisional,
    /// There is a final response to send.
    SendFinal,
    /// Nobody answered in time.
    Expired,
    /// No more copies of the request are to be expected.
    TimerJ,
}

actions! {
    /// Send the response that the event brought.
    SEND,
    /// Send our own 100.
    SEND_TRYING,
    /// Send the last response again.
    REPLAY,
    /// Arm Timer J: see [`timer_j`].
    ARM_J,
    /// Forget the transaction.
    TERMINATE,
}

/// One step of the machine.
pub const fn step(state: State, event: Event) -> (State, Actions) {
    use Actions as Do;
    match state {
        State::Trying => match event {
            Event::TryingDue => (State::Proceeding, Do::SEND_TRYING),
            Event::SendFinal => (State::Completed, Do::SEND.and(Do::ARM_J)),
            // RFC 4320 §4.2: no 408; the client's own Timer F tells it the same.
            Event::Expired => (State::Terminated, Do::TERMINATE),
            // RFC 4320 §4.1: none but 100 may be sent, and our own says as much.
            Event::SendProvisional => (state, Do::NONE),
            Event::Request | Event::TimerJ => (state, Do::NONE),
        },
        State::Proceeding => match event {
            Event::Request => (state, Do::REPLAY),
            Event::SendFinal => (State::Completed, Do::SEND.and(Do::ARM_J)),
            Event::Expired => (State::Terminated, Do::TERMINATE),
            Event::SendProvisional | Event::TryingDue | Event::TimerJ => (state, Do::NONE),
        },
        State::Completed => match event {
            Event::Request => (state, Do::REPLAY),
            Event::TimerJ => (State::Terminated, Do::TERMINATE),
            Event::TryingDue | Event::SendProvisional | Event::SendFinal | Event::Expired => {
                (state, Do::NONE)
            }
        },
        State::Terminated => (state, Do::NONE),
    }
}

/// When a request without a response gets its 100: after the time in which a client's Timer E
/// reaches T2 (RFC 4320 §4.1: not before on UDP, and about then on any transport).
pub const fn trying_after() -> Duration {
    // T1 + 2*T1 + 4*T1: the next pause would be 8*T1 = T2.
    let mut pause = T1.as_millis() as u64;
    let mut after = 0;
    while pause < T2.as_millis() as u64 {
        after += pause;
        pause *= 2;
    }
    Duration::from_millis(after)
}

/// How long Timer J waits: 64*T1, nothing on a stream.
pub const fn timer_j(reliable: bool) -> Duration {
    if reliable { Duration::ZERO } else { LINGER }
}

#[cfg(test)]
mod tests {
    use super::{Actions as Do, Event::*, State::*, *};

    const STATES: [State; 4] = [Trying, Proceeding, Completed, Terminated];
    const EVENTS: [Event; 6] = [
        Request,
        TryingDue,
        SendProvisional,
        SendFinal,
        Expired,
        TimerJ,
    ];

    /// Every pair that does something; every pair that is not here must do nothing.
    const TABLE: [(State, Event, State, Actions, &str); 8] = [
        (
            Trying,
            TryingDue,
            Proceeding,
            Do::SEND_TRYING,
            "RFC 4320 §4.1",
        ),
        (
            Trying,
            SendFinal,
            Completed,
            Do::SEND.and(Do::ARM_J),
            "figure 8, 200-699 from TU",
        ),
        (Trying, Expired, Terminated, Do::TERMINATE, "RFC 4320 §4.2"),
        (
            Proceeding,
            Request,
            Proceeding,
            Do::REPLAY,
            "RFC 3261 figure 8, request",
        ),
        (
            Proceeding,
            SendFinal,
            Completed,
            Do::SEND.and(Do::ARM_J),
            "figure 8, 200-699",
        ),
        (
            Proceeding,
            Expired,
            Terminated,
            Do::TERMINATE,
            "RFC 4320 §4.2",
        ),
        (
            Completed,
            Request,
            Completed,
            Do::REPLAY,
            "figure 8, request",
        ),
        (
            Completed,
            TimerJ,
            Terminated,
            Do::TERMINATE,
            "figure 8, Timer J",
        ),
    ];

    #[test]
    fn every_state_and_event_does_what_the_figure_says() {
        for state in STATES {
            for event in EVENTS {
                let row = TABLE.iter().find(|row| row.0 == state && row.1 == event);
                let (next, actions, why) = row
                    .map_or((state, Do::NONE, "does not belong here"), |row| {
                        (row.2, row.3, row.4)
                    });
                assert_eq!(
                    step(state, event),
                    (next, actions),
                    "{state:?} {event:?}: {why}"
                );
            }
        }
    }

    #[test]
    fn the_early_100_of_rfc_4320_waits_three_and_a_half_seconds() {
        assert_eq!(trying_after(), Duration::from_millis(3500));
    }

    #[test]
    fn timer_j_is_for_datagrams() {
        assert_eq!(timer_j(false), LINGER);
        assert_eq!(timer_j(true), Duration::ZERO);
    }
}
