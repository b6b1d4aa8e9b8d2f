//! The INVITE client transaction: RFC 3261 figure 5 (§17.1.1.2), the Accepted state of RFC 6026
//! §8.4, and `Abandoned`, which is ours: we have moved on, but the callee may still wake up.

use std::time::Duration;

use super::{LINGER, TIMER_D, doubled};

/// Where an attempt stands.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// Sent; nothing heard.
    Calling,
    /// A provisional came, be it only a 100.
    Proceeding,
    /// Given up or cancelled; its final response is still awaited, for a while.
    Abandoned,
    /// A failure came and has its ACK; copies of it get theirs.
    Completed,
    /// A 2xx came; copies of it go on to the caller (RFC 6026).
    Accepted,
    /// To be forgotten.
    Terminated,
}

/// What can happen to an attempt.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    /// Time to send the INVITE again.
    TimerA,
    /// No patience left: our own timers for silence, progress and answer, Timer B among them.
    GiveUp,
    /// A 1xx.
    Provisional,
    /// A 2xx.
    Success,
    /// A 3xx to 6xx.
    Failure,
    /// The hop cannot be used (RFC 3261 §17.1.4).
    Lost,
    /// The caller gave up, or another attempt won.
    Cancel,
    /// Timer D or M, or the end of an abandoned attempt's remembrance.
    TimerDone,
}

actions! {
    /// Send the INVITE again, byte for byte.
    RESEND,
    /// Arm Timer A anew: see [`timer_a`].
    ARM_A,
    /// Hand the response to the response context.
    PASS,
    /// The context hears of a provisional from an attempt it has left.
    LATE_PROVISIONAL,
    /// The context hears of a 2xx from an attempt it has left: it is used, or ended by ACK and BYE.
    LATE_SUCCESS,
    /// The context hears of a failure from an attempt it has left: nothing waits for this one now.
    LATE_FAILURE,
    /// Send the ACK that ends at the next hop (RFC 3261 §17.1.1.3).
    ACK,
    /// Send a CANCEL (RFC 3261 §9.1), or, when there is one on its way, leave it at that.
    CANCEL,
    /// The attempt has failed: the context moves on.
    FAILED,
    /// [`Event::TimerDone`] after [`LINGER`].
    ARM_LINGER,
    /// [`Event::TimerDone`] after [`done_after`] of the new state.
    ARM_DONE,
    /// Forget the attempt.
    TERMINATE,
}

/// One step of the machine. `reliable`: the transport repeats what was lost.
pub const fn step(state: State, event: Event, reliable: bool) -> (State, Actions) {
    use Actions as Do;
    match state {
        State::Calling => match event {
            Event::TimerA if reliable => (state, Do::NONE),
            Event::TimerA => (state, Do::RESEND.and(Do::ARM_A)),
            // RFC 3261 §9.1: no CANCEL before a provisional; `Abandoned` remembers it instead.
            Event::GiveUp => (State::Abandoned, Do::FAILED.and(Do::ARM_LINGER)),
            Event::Cancel => (State::Abandoned, Do::ARM_LINGER),
            Event::Provisional => (State::Proceeding, Do::PASS),
            Event::Success => (State::Accepted, Do::PASS.and(Do::ARM_DONE)),
            Event::Failure => (State::Completed, Do::PASS.and(Do::ACK).and(Do::ARM_DONE)),
            // A lost hop does not prove that no copy arrived: the callee may yet ring.
            Event::Lost => (State::Abandoned, Do::FAILED.and(Do::ARM_LINGER)),
            Event::TimerDone => (state, Do::NONE),
        },
        State::Proceeding => match event {
            Event::GiveUp => (
                State::Abandoned,
                Do::CANCEL.and(Do::FAILED).and(Do::ARM_LINGER),
            ),
            Event::Cancel => (State::Abandoned, Do::CANCEL.and(Do::ARM_LINGER)),
            Event::Provisional => (state, Do::PASS),
            Event::Success => (State::Accepted, Do::PASS.and(Do::ARM_DONE)),
            Event::Failure => (State::Completed, Do::PASS.and(Do::ACK).and(Do::ARM_DONE)),
            // The callee has the INVITE and may ring: a lost connection is no reason to leave it
            // ringing, so the CANCEL tries a new one, and a late 2xx still finds its attempt.
            Event::Lost => (
                State::Abandoned,
                Do::CANCEL.and(Do::FAILED).and(Do::ARM_LINGER),
            ),
            Event::TimerA | Event::TimerDone => (state, Do::NONE),
        },
        State::Abandoned => match event {
            Event::Provisional => (
                state,
                Do::LATE_PROVISIONAL.and(Do::CANCEL).and(Do::ARM_LINGER),
            ),
            Event::Success => (State::Accepted, Do::LATE_SUCCESS.and(Do::ARM_DONE)),
            Event::Failure => (
                State::Completed,
                Do::LATE_FAILURE.and(Do::ACK).and(Do::ARM_DONE),
            ),
            Event::TimerDone => (State::Terminated, Do::TERMINATE),
            // Lost: the verdict is in already, and the callee may yet answer by another way.
            Event::TimerA | Event::GiveUp | Event::Lost | Event::Cancel => (state, Do::NONE),
        },
        State::Completed => match event {
            Event::Failure => (state, Do::ACK),
            // The RFC's machine drops a 2xx after a failure of the same branch and leaves the
            // callee in a call that nobody holds.
            Event::Success => (State::Accepted, Do::LATE_SUCCESS.and(Do::ARM_DONE)),
            // Figure 5, "Transport Err.": the ACK could not be sent.
            Event::Lost | Event::TimerDone => (State::Terminated, Do::TERMINATE),
            Event::TimerA | Event::GiveUp | Event::Provisional | Event::Cancel => (state, Do::NONE),
        },
        State::Accepted => match event {
            Event::Success => (state, Do::PASS),
            Event::TimerDone => (State::Terminated, Do::TERMINATE),
            Event::TimerA
            | Event::GiveUp
            | Event::Provisional
            | Event::Failure
            | Event::Lost
            | Event::Cancel => (state, Do::NONE),
        },
        State::Terminated => (state, Do::NONE),
    }
}

/// How long Timer A waits after the INVITE went out `sends` times: 500 ms, 1 s, 2 s, ...
pub const fn timer_a(sends: u8) -> Duration {
    doubled(sends, LINGER)
}

/// What [`Actions::ARM_DONE`] waits for: Timer D in `Completed` (none on a stream, RFC 3261
/// §17.1.1.2), Timer M in `Accepted` (RFC 6026 §8.4).
pub const fn done_after(state: State, reliable: bool) -> Duration {
    match state {
        State::Completed if reliable => Duration::ZERO,
        State::Completed => TIMER_D,
        State::Accepted
        | State::Calling
        | State::Proceeding
        | State::Abandoned
        | State::Terminated => LINGER,
    }
}

#[cfg(test)]
mod tests {
    use super::{Actions as Do, Event::*, State::*, *};

    const STATES: [State; 6] = [
        Calling, Proceeding, Abandoned, Completed, Accepted, Terminated,
    ];
    const EVENTS: [Event; 8] = [
        TimerA,
        GiveUp,
        Provisional,
        Success,
        Failure,
        Lost,
        Cancel,
        TimerDone,
    ];

    /// Every pair that does something; every pair that is not here must do nothing.
    fn table() -> Vec<(State, Event, State, Actions, &'static str)> {
        vec![
            (
                Calling,
                TimerA,
                Calling,
                Do::RESEND | Do::ARM_A,
                "RFC 3261 figure 5, Timer A",
            ),
            (
                Calling,
                GiveUp,
                Abandoned,
                Do::FAILED | Do::ARM_LINGER,
                "§9.1, §17.1.1.2 Timer B",
            ),
            (Calling, Cancel, Abandoned, Do::ARM_LINGER, "§9.1"),
            (Calling, Provisional, Proceeding, Do::PASS, "figure 5, 1xx"),
            (
                Calling,
                Success,
                Accepted,
                Do::PASS | Do::ARM_DONE,
                "RFC 6026 §8.4",
            ),
            (
                Calling,
                Failure,
                Completed,
                Do::PASS | Do::ACK | Do::ARM_DONE,
                "figure 5, 300-699",
            ),
            (
                Calling,
                Lost,
                Abandoned,
                Do::FAILED | Do::ARM_LINGER,
                "BEHAVIOUR 5, late answers: a lost hop proves nothing about the copies before it",
            ),
            (
                Proceeding,
                GiveUp,
                Abandoned,
                Do::CANCEL | Do::FAILED | Do::ARM_LINGER,
                "§16.8",
            ),
            (
                Proceeding,
                Cancel,
                Abandoned,
                Do::CANCEL | Do::ARM_LINGER,
                "§9.1, §16.10",
            ),
            (
                Proceeding,
                Provisional,
                Proceeding,
                Do::PASS,
                "figure 5, 1xx",
            ),
            (
                Proceeding,
                Success,
                Accepted,
                Do::PASS | Do::ARM_DONE,
                "RFC 6026 §8.4",
            ),
            (
                Proceeding,
                Failure,
                Completed,
                Do::PASS | Do::ACK | Do::ARM_DONE,
                "figure 5",
            ),
            (
                Proceeding,
                Lost,
                Abandoned,
                Do::CANCEL | Do::FAILED | Do::ARM_LINGER,
                "ours",
            ),
            (
                Abandoned,
                Provisional,
                Abandoned,
                Do::LATE_PROVISIONAL | Do::CANCEL | Do::ARM_LINGER,
                "BEHAVIOUR 5, late answers",
            ),
            (
                Abandoned,
                Success,
                Accepted,
                Do::LATE_SUCCESS | Do::ARM_DONE,
                "BEHAVIOUR 5",
            ),
            (
                Abandoned,
                Failure,
                Completed,
                Do::LATE_FAILURE | Do::ACK | Do::ARM_DONE,
                "§17.1.1.3",
            ),
            (
                Abandoned,
                TimerDone,
                Terminated,
                Do::TERMINATE,
                "64*T1 after its last message",
            ),
            (
                Completed,
                Failure,
                Completed,
                Do::ACK,
                "figure 5, 300-699 in Completed",
            ),
            (
                Completed,
                Success,
                Accepted,
                Do::LATE_SUCCESS | Do::ARM_DONE,
                "BEHAVIOUR 5",
            ),
            (
                Completed,
                Lost,
                Terminated,
                Do::TERMINATE,
                "figure 5, Transport Err.",
            ),
            (
                Completed,
                TimerDone,
                Terminated,
                Do::TERMINATE,
                "figure 5, Timer D",
            ),
            (
                Accepted,
                Success,
                Accepted,
                Do::PASS,
                "RFC 6026 §8.4: every copy goes on",
            ),
            (
                Accepted,
                TimerDone,
                Terminated,
                Do::TERMINATE,
                "RFC 6026 §8.4, Timer M",
            ),
        ]
    }

    #[test]
    fn every_state_and_event_does_what_the_figure_says() {
        for reliable in [false, true] {
            for state in STATES {
                for event in EVENTS {
                    let row = table()
                        .into_iter()
                        .find(|row| row.0 == state && row.1 == event);
                    let (next, actions, why) = match row {
                        // Figure 5: Timer A is for unreliable transports only.
                        Some(_) if reliable && event == TimerA => (state, Do::NONE, "reliable"),
                        Some((.., next, actions, why)) => (next, actions, why),
                        None => (state, Do::NONE, "does not belong here"),
                    };
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
    fn no_cancel_ever_goes_out_before_a_provisional() {
        // RFC 3261 §9.1. Walks every sequence of four events from the start.
        fn walk(state: State, heard: bool, depth: u8) {
            if depth == 0 {
                return;
            }
            for event in EVENTS {
                let (next, actions) = step(state, event, false);
                let heard = heard || event == Provisional;
                assert!(heard || !actions.has(Do::CANCEL), "{state:?} {event:?}");
                walk(next, heard, depth - 1);
            }
        }
        walk(Calling, false, 4);
    }

    #[test]
    fn whoever_enters_a_lingering_state_arms_its_timer() {
        for reliable in [false, true] {
            for state in STATES {
                for event in EVENTS {
                    let (next, actions) = step(state, event, reliable);
                    if next == state {
                        continue;
                    }
                    let armed = (actions.has(Do::ARM_DONE), actions.has(Do::ARM_LINGER));
                    let expected = match next {
                        Completed | Accepted => (true, false),
                        Abandoned => (false, true),
                        Calling | Proceeding | Terminated => (false, false),
                    };
                    assert_eq!(armed, expected, "{state:?} {event:?}");
                    assert_eq!(actions.has(Do::TERMINATE), next == Terminated);
                }
            }
        }
    }

    #[test]
    fn timers_last_as_long_as_the_rfc_says() {
        let sent_at = (1..=7).scan(0, |at, sends| {
            *at += timer_a(sends).as_millis();
            Some(*at)
        });
        // RFC 3261 §17.1.1.2: copies at 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 s; Timer B comes at 32 s.
        assert_eq!(
            sent_at.collect::<Vec<_>>()[..6],
            [500, 1500, 3500, 7500, 15_500, 31_500]
        );
        assert_eq!(done_after(Completed, false), TIMER_D);
        assert_eq!(done_after(Completed, true), Duration::ZERO);
        assert_eq!(done_after(Accepted, true), LINGER);
        assert_eq!(done_after(Accepted, false), LINGER);
    }

    #[test]
    fn actions_print_their_names() {
        assert_eq!(format!("{:?}", Do::PASS | Do::ACK), r#"{"PASS", "ACK"}"#);
        assert!(Do::NONE.is_empty());
    }
}
