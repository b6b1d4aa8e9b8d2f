//! Deadlines: never early, hardly late, and nothing at all when none is wanted.

mod support;

use std::{
    sync::mpsc::{Sender, channel},
    time::{Duration, Instant},
};

use support::PATIENCE;
use trunkline_net::{Bound, Brain, Command, NetLimits, owner::Owners, spawn};
use trunkline_proxy::{Clock, Input, Moment, Outbox};
use trunkline_sip::Transport;

/// Wants one deadline after another and says when each was due and when it came. Every message
/// makes it wait for its last one instead.
struct Sleeper {
    due: Vec<Moment>,
    tell: Sender<(Moment, Moment)>,
}

impl Brain for Sleeper {
    fn handle(&mut self, now: Moment, input: Input<'_>, _out: &mut Outbox) {
        match input {
            Input::Deadline => {
                let due = self.due.remove(0);
                let _ = self.tell.send((due, now));
            }
            Input::Message { .. } => {
                self.due.drain(..self.due.len() - 1);
            }
            Input::HopLost { .. }
            | Input::Answer { .. }
            | Input::Routing(_)
            | Input::PeerHealth(_)
            | Input::Backlog(_)
            | Input::Drain => {}
        }
    }

    fn next_deadline(&self) -> Moment {
        self.due.first().copied().unwrap_or(Moment::NEVER)
    }

    fn is_idle(&self) -> bool {
        self.due.is_empty()
    }
}

/// How much later than due a deadline may come on a busy machine.
const LATE_MAX: Duration = Duration::from_millis(500);

#[test]
fn deadlines_come_in_time_and_once_and_a_drain_waits_for_them() {
    let bound = Bound::bind(&[support::listener(Transport::Udp, "127.0.0.1:0")], 1).expect("bound");
    let (tell, told) = channel();
    let (epoch, start) = (Instant::now(), Moment::EPOCH);
    let due: Vec<_> = [0, 20, 20, 45, 200]
        .map(|after| start + Duration::from_millis(after))
        .into();
    let brain_due = due.clone();
    let make = move |_clock: Clock| Sleeper {
        due: brain_due,
        tell,
    };
    let (handles, threads) = spawn(
        bound,
        Owners::alone(),
        support::once(make),
        NetLimits::default(),
        epoch,
    )
    .expect("a shard starts");
    handles.commands[0]
        .blocking_send(Command::Drain)
        .expect("the shard lives");
    for expected in due {
        let (due, came) = told.recv_timeout(PATIENCE).expect("a deadline comes");
        assert_eq!(due, expected);
        assert!(came >= due, "{:?} early", due - came);
        assert!(came - due < LATE_MAX, "{:?} late", came - due);
    }
    assert!(threads.join());
    assert!(told.recv_timeout(PATIENCE).is_err(), "nothing else came");
}

#[test]
fn a_deadline_that_moves_away_is_not_told_early() {
    let bound = Bound::bind(&[support::listener(Transport::Udp, "127.0.0.1:0")], 1).expect("bound");
    let address = bound.local_addrs()[0];
    let (tell, told) = channel();
    let (epoch, start) = (Instant::now(), Moment::EPOCH);
    let (soon, later) = (
        start + Duration::from_millis(150),
        start + Duration::from_millis(300),
    );
    let make = move |_clock: Clock| Sleeper {
        due: vec![soon, later],
        tell,
    };
    let (handles, threads) = spawn(
        bound,
        Owners::alone(),
        support::once(make),
        NetLimits::default(),
        epoch,
    )
    .expect("a shard starts");
    support::udp_peer("127.0.0.1:0")
        .send_to(b"not so soon", address)
        .expect("sent");
    let (due, came) = told.recv_timeout(PATIENCE).expect("a deadline comes");
    assert_eq!(due, later);
    assert!(came >= later);
    handles.commands[0]
        .blocking_send(Command::Stop)
        .expect("the shard lives");
    assert!(threads.join());
}
