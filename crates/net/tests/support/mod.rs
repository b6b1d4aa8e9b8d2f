//! A shard with a brain made of a closure, and what tests say to it.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::{
    net::{SocketAddr, UdpSocket},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use trunkline_net::{Bound, Brain, Command, Handles, NetLimits, spawn};
use trunkline_proxy::{Hop, Input, ListenerId, Outbox, ShardId, settings::Listener};
use trunkline_sip::Transport;

/// Nothing here takes this long unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A brain that is one function. It is idle until it says otherwise, and wants no deadline.
pub struct Fake<F>(pub F);

impl<F: FnMut(Instant, Input<'_>, &mut Outbox)> Brain for Fake<F> {
    fn handle(&mut self, now: Instant, input: Input<'_>, out: &mut Outbox) {
        (self.0)(now, input, out);
    }

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn is_idle(&self) -> bool {
        true
    }
}

/// What the shard told its brain, said by value.
#[derive(Clone, PartialEq, Debug)]
pub enum Said {
    Message(Hop, Vec<u8>),
    Lost(Hop, trunkline_proxy::HopLoss),
    Answer(u64, trunkline_proxy::Answer),
    Drain,
    Other,
}

impl From<&Input<'_>> for Said {
    fn from(input: &Input<'_>) -> Self {
        match input {
            Input::Message { from, bytes } => Said::Message(*from, bytes.to_vec()),
            Input::HopLost { hop, why } => Said::Lost(*hop, *why),
            Input::Answer { ask, answer } => Said::Answer(ask.0, answer.clone()),
            Input::Drain => Said::Drain,
            Input::Routing(_) | Input::PeerHealth(_) | Input::Backlog(_) | Input::Deadline => {
                Said::Other
            }
        }
    }
}

/// A running shard. Stopped and joined when dropped.
pub struct World {
    pub addrs: Vec<SocketAddr>,
    pub handles: Handles,
    said: std::sync::mpsc::Receiver<Said>,
    thread: Option<JoinHandle<()>>,
}

impl World {
    /// Listeners on free ports of these addresses; `brain` decides, everything it hears is kept.
    pub fn new(
        listeners: &[(Transport, &str)],
        limits: NetLimits,
        brain: impl FnMut(&Said, &mut Outbox) + Send + 'static,
    ) -> World {
        let listeners: Vec<_> = listeners
            .iter()
            .map(|(transport, address)| listener(*transport, address))
            .collect();
        let bound = Bound::bind(&listeners).expect("loopback can be bound");
        World::with(bound, limits, brain)
    }

    /// The same for listeners that are bound already.
    pub fn with(
        bound: Bound,
        limits: NetLimits,
        mut brain: impl FnMut(&Said, &mut Outbox) + Send + 'static,
    ) -> World {
        let addrs = bound.local_addrs();
        let (tell, said) = std::sync::mpsc::channel();
        let make = move |_clock| {
            Fake(move |_now: Instant, input: Input<'_>, out: &mut Outbox| {
                let word = Said::from(&input);
                brain(&word, out);
                let _ = tell.send(word);
            })
        };
        let (handles, thread) = spawn(ShardId(0), bound, make, limits).expect("a shard starts");
        World {
            addrs,
            handles,
            said,
            thread: Some(thread),
        }
    }

    /// The next thing the brain hears.
    pub fn hear(&self) -> Said {
        self.said
            .recv_timeout(PATIENCE)
            .expect("the brain hears something")
    }

    /// Whether the brain hears nothing for this long. For promises of silence only.
    pub fn silent_for(&self, time: Duration) -> bool {
        self.said.recv_timeout(time).is_err()
    }

    pub fn command(&self, command: Command) {
        self.handles
            .commands
            .blocking_send(command)
            .expect("the shard lives");
    }

    /// Waits for the end of the thread.
    pub fn join(mut self) {
        let thread = self.thread.take().expect("joined once");
        wait_until(|| thread.is_finished());
        thread.join().expect("the shard did not panic");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = self.handles.commands.blocking_send(Command::Stop);
            let _ = thread.join();
        }
    }
}

pub fn listener(transport: Transport, address: &str) -> Listener {
    let bind = address.parse().expect("an address");
    Listener {
        name: None,
        transport,
        bind,
        advertise: address.into(),
    }
}

/// Polls a condition that something else brings about.
pub fn wait_until(condition: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "it did not happen in time");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A peer's UDP socket.
pub fn udp_peer(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).expect("loopback can be bound");
    socket
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout can be set");
    socket
}

/// A hop that has no connection yet.
pub fn hop(transport: Transport, listener: u16, remote: SocketAddr) -> Hop {
    Hop {
        transport,
        listener: ListenerId(listener),
        remote,
        connection: None,
    }
}

/// Sends the same bytes back to where they came from.
pub fn echo(said: &Said, out: &mut Outbox) {
    if let Said::Message(from, bytes) = said {
        out.send(*from, Duration::from_secs(1), |to| {
            to.extend_from_slice(bytes)
        });
    }
}
