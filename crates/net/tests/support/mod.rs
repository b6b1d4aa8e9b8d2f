//! A shard with a brain made of a closure, and what tests say to it.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::mpsc::{Sender, channel},
    time::{Duration, Instant},
};

use trunkline_net::{
    Bound, Brain, Command, Count, Handles, NetLimits, NetStats, Threads, owner::Owners, spawn,
};
use trunkline_proxy::{
    Clock, Hop, Input, ListenerId, Moment, Outbox, ShardId, health::News, settings::Listener,
};
use trunkline_sip::Transport;

/// Nothing here takes this long unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A brain that is one function. It is idle until it says otherwise, and wants no deadline.
pub struct Fake<F>(pub F);

impl<F: FnMut(Moment, Input<'_>, &mut Outbox)> Brain for Fake<F> {
    fn handle(&mut self, now: Moment, input: Input<'_>, out: &mut Outbox) {
        (self.0)(now, input, out);
    }

    fn next_deadline(&self) -> Moment {
        Moment::NEVER
    }

    fn is_idle(&self) -> bool {
        true
    }
}

/// A brain that is one function and knows one stranger.
pub struct Doorman<F> {
    pub stranger: IpAddr,
    pub hear: F,
}

impl<F: FnMut(&Said, &mut Outbox)> Brain for Doorman<F> {
    fn handle(&mut self, _now: Moment, input: Input<'_>, out: &mut Outbox) {
        (self.hear)(&Said::from(&input), out);
    }

    fn next_deadline(&self) -> Moment {
        Moment::NEVER
    }

    fn is_idle(&self) -> bool {
        true
    }

    fn is_stranger(&self, _now: Moment, source: IpAddr) -> bool {
        source == self.stranger
    }
}

/// What the shard told its brain, said by value.
#[derive(Clone, PartialEq, Debug)]
pub enum Said {
    Message(Hop, Vec<u8>),
    Lost(Hop, trunkline_proxy::HopLoss),
    Answer(u64, trunkline_proxy::Answer),
    News(News),
    Backlog(Duration),
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
            Input::PeerHealth(news) => Said::News(*news),
            Input::Backlog(backlog) => Said::Backlog(*backlog),
            Input::Routing(_) | Input::Deadline => Said::Other,
        }
    }
}

/// A running shard. Stopped and joined when dropped.
pub struct World {
    pub addrs: Vec<SocketAddr>,
    pub handles: Handles,
    said: std::sync::mpsc::Receiver<Said>,
    threads: Option<Threads>,
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
        let bound = Bound::bind(&listeners, 1).expect("loopback can be bound");
        World::with(bound, limits, brain)
    }

    /// The same for listeners that are bound already.
    pub fn with(
        bound: Bound,
        limits: NetLimits,
        brain: impl FnMut(&Said, &mut Outbox) + Send + 'static,
    ) -> World {
        let addrs = bound.local_addrs();
        let (tell, said) = channel();
        let maker = once(move |_clock: Clock| {
            let mut brain = brain;
            fake(tell, move |_, said, out| brain(said, out))
        });
        let (handles, threads) =
            spawn(bound, Owners::alone(), maker, limits, Instant::now()).expect("a shard starts");
        World {
            addrs,
            handles,
            said,
            threads: Some(threads),
        }
    }

    /// Several shards, with a brain for each.
    pub fn of_shards<F: FnMut(&Said, &mut Outbox) + Send + 'static>(
        listeners: &[(Transport, &str)],
        owners: Owners,
        shards: u8,
        mut brain: impl FnMut(ShardId) -> F,
    ) -> World {
        let listeners: Vec<_> = listeners
            .iter()
            .map(|(transport, address)| listener(*transport, address))
            .collect();
        let bound = Bound::bind(&listeners, shards).expect("loopback can be bound");
        let addrs = bound.local_addrs();
        let (tell, said) = channel();
        let maker = |shard| {
            let (tell, mut brain) = (tell.clone(), brain(shard));
            move |_clock: Clock| fake(tell, move |_, said, out| brain(said, out))
        };
        let (handles, threads) = spawn(bound, owners, maker, NetLimits::default(), Instant::now())
            .expect("shards start");
        World {
            addrs,
            handles,
            said,
            threads: Some(threads),
        }
    }

    /// The counters of the first shard.
    pub fn stats(&self) -> &NetStats {
        &self.handles.stats[0]
    }

    /// A counter summed over all shards.
    pub fn sum(&self, count: fn(&NetStats) -> &Count) -> u64 {
        let counts = self.handles.stats.iter().map(|stats| count(stats).get());
        counts.sum()
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
        for shard in &self.handles.commands {
            shard
                .blocking_send(command.clone())
                .expect("the shard lives");
        }
    }

    /// Waits for the end of the threads.
    pub fn join(mut self) {
        let threads = self.threads.take().expect("joined once");
        wait_until(|| threads.are_finished());
        assert!(threads.join(), "a shard panicked");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            for shard in &self.handles.commands {
                let _ = shard.blocking_send(Command::Stop);
            }
            threads.join();
        }
    }
}

/// A brain that says what it hears.
fn fake(
    tell: Sender<Said>,
    mut brain: impl FnMut(Moment, &Said, &mut Outbox),
) -> Fake<impl FnMut(Moment, Input<'_>, &mut Outbox)> {
    Fake(move |now: Moment, input: Input<'_>, out: &mut Outbox| {
        let word = Said::from(&input);
        brain(now, &word, out);
        let _ = tell.send(word);
    })
}

/// For a process with one shard: makes what can be made only once.
pub fn once<M>(make: M) -> impl FnMut(ShardId) -> M {
    let mut make = Some(make);
    move |_shard| make.take().expect("there is one shard")
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
pub fn wait_until(mut condition: impl FnMut() -> bool) {
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
