//! The same crowd on real sockets: a thread for each shard, loopback, the clock on the wall.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, UdpSocket},
    os::fd::AsFd as _,
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use trunkline_benches::sys::{self, Inbox};
use trunkline_net::{Bound, Command, Handles, NetLimits, owner::Owners, spawn};
use trunkline_proxy::{
    Clock, Event, Proxy, Seed, ShardId, Shared, branch::Branches, event::Load, settings::Listener,
};
use trunkline_sim::{
    address::Address,
    fleet::{Crowd, Happening, Next, Outcome, Scenario},
    settings,
};
use trunkline_sip::{Transport, peek};

/// After the last call and the last change.
const AFTERMATH: Duration = Duration::from_secs(6);
/// Peers that are later than this had too little of the machine.
const LATE: Duration = Duration::from_millis(50);
const KEY: [u8; 16] = *b"and one for each";

/// Sockets for Trunkline and everybody around it, before anything is configured.
pub struct Place {
    bound: Bound,
    trunkline: SocketAddr,
    peers: Vec<(Address, UdpSocket)>,
}

/// An INVITE that arrived, once for each attempt.
#[derive(Copy, Clone, Debug)]
pub struct Invited {
    pub at: Duration,
    pub to: Address,
    /// Who sent it.
    pub shard: ShardId,
    /// Its number.
    pub call: u64,
}

impl Place {
    /// Trunkline at 127.0.0.3, the caller at 127.0.0.1, so many others from 127.0.0.11 on.
    pub fn new(shards: u8, others: u8) -> std::io::Result<Place> {
        let listener = Listener {
            name: None,
            transport: Transport::Udp,
            bind: ([127, 0, 0, 3], 0).into(),
            advertise: "".into(),
        };
        let bound = Bound::bind(&[listener], shards).map_err(std::io::Error::other)?;
        let trunkline = bound.local_addrs()[0];
        let hosts = std::iter::once(1).chain((0..others).map(|nth| 11 + nth));
        let peers = hosts.map(|host| {
            let socket = UdpSocket::bind(SocketAddr::from(([127, 0, 0, host], 0)))?;
            socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20)?;
            socket.connect(trunkline)?;
            let address = Address {
                stream: false,
                socket: socket.local_addr()?,
            };
            Ok((address, socket))
        });
        Ok(Place {
            bound,
            trunkline,
            peers: peers.collect::<std::io::Result<_>>()?,
        })
    }

    /// Where Trunkline listens.
    pub fn trunkline(&self) -> SocketAddr {
        self.trunkline
    }

    /// The caller, then the others.
    pub fn addresses(&self) -> Vec<Address> {
        self.peers.iter().map(|(address, _)| *address).collect()
    }

    /// Lives through a scenario; what came of it, and every attempt.
    ///
    /// # Errors
    /// What is wrong with its configuration or the machine.
    pub fn run(self, scenario: &Scenario) -> Result<(Outcome, Vec<Invited>), String> {
        let settings = settings::from_toml(&scenario.config, Path::new("loopback.toml"))?;
        let routing = scenario.names().snapshot(&settings);
        let shards = self.bound.shards() as u8;
        let seed = Seed {
            cluster: *b"one key for many",
            process: KEY,
        };
        let start = Instant::now();
        let shared = Shared::new(shards, start);
        let owners = Owners::new(shards, KEY, |branch| {
            let (token, _) = Branches::new(KEY).read(branch)?;
            Some(token.shard)
        });
        let make = |shard: ShardId| {
            let (routing, seed, shared) = (Arc::clone(&routing), seed.clone(), Arc::clone(&shared));
            move |clock: Clock| Proxy::new(shard, clock, routing, seed, shared)
        };
        let (handles, threads) = spawn(self.bound, owners, make, NetLimits::default(), start)
            .map_err(|error| error.to_string())?;
        let Handles {
            commands,
            mut events,
            questions: _questions,
            read: _read,
            stats: _stats,
        } = handles;
        let told = Arc::new(Mutex::new(Vec::new()));
        let reader = thread::spawn({
            let told = Arc::clone(&told);
            move || {
                let is_wanted =
                    |it: &Event| matches!(it, Event::Health { .. } | Event::AttemptEnded { .. });
                while let Some(batch) = events.blocking_recv() {
                    let at = start.elapsed();
                    let wanted = batch.events.into_iter().filter(is_wanted);
                    if let Ok(mut told) = told.lock() {
                        told.extend(wanted.map(|event| (at, event)));
                    }
                }
            }
        });
        let mut stage = Stage {
            start,
            peers: &self.peers,
            crowd: Crowd::new(scenario),
            agenda: BTreeMap::new(),
            made: 0,
            invited: Vec::new(),
            late: Duration::ZERO,
            branches: Branches::new(KEY),
        };
        let last = scenario
            .changes
            .last()
            .map_or(Duration::ZERO, |(at, _)| *at);
        stage.play(scenario.calls.1.max(last) + AFTERMATH);
        for shard in &commands {
            shard
                .blocking_send(Command::Stop)
                .map_err(|_| "a shard is gone".to_owned())?;
        }
        if !threads.join() || reader.join().is_err() {
            return Err("a thread panicked".into());
        }
        let mut outcome = Outcome {
            calls: Vec::new(),
            health: Vec::new(),
            probes: Vec::new(),
            attempts: Vec::new(),
            orphans: stage.crowd.orphans(),
            load: Load::default(),
            contexts_most: 0,
            peers: Vec::new(),
            inputs: 0,
        };
        for (at, event) in told.lock().map_err(|_| "a thread panicked")?.drain(..) {
            match event {
                Event::Health { peer, is, .. } => {
                    let socket = peer.addr;
                    let who = Address {
                        stream: false,
                        socket,
                    };
                    outcome.health.push((at, who, is));
                }
                Event::AttemptEnded { took, .. } => {
                    outcome.attempts.push(at.saturating_sub(took));
                }
                _ => {}
            }
        }
        let invited = std::mem::take(&mut stage.invited);
        if stage.late > LATE {
            println!(
                "(the peers of the next row were up to {:?} late)",
                stage.late
            );
        }
        (outcome.calls, outcome.probes) = stage.crowd.finish();
        Ok((outcome, invited))
    }
}

struct Stage<'s> {
    start: Instant,
    peers: &'s [(Address, UdpSocket)],
    crowd: Crowd<'s>,
    agenda: BTreeMap<(Duration, u64), Happening>,
    made: u64,
    invited: Vec<Invited>,
    /// The latest that anything happened after its time.
    late: Duration,
    branches: Branches,
}

impl Stage<'_> {
    fn play(&mut self, until: Duration) {
        let mut inbox = Inbox::default();
        let mut ready = Vec::new();
        self.follow();
        loop {
            let now = self.start.elapsed();
            if now >= until {
                return;
            }
            while let Some(entry) = self.agenda.first_entry().filter(|it| it.key().0 <= now) {
                let (at, what) = (entry.key().0, entry.remove());
                self.late = self.late.max(now - at);
                self.crowd.happen(self.start.elapsed(), what);
                self.follow();
            }
            let next = self
                .agenda
                .first_key_value()
                .map_or(until, |(key, _)| key.0);
            let most = next.min(until).saturating_sub(self.start.elapsed());
            sys::wait(
                self.peers.iter().map(|(_, it)| it.as_fd()),
                most,
                &mut ready,
            );
            for at in 0..self.peers.len() {
                if ready.get(at).is_some_and(|ready| *ready) {
                    self.read(at, &mut inbox);
                }
            }
        }
    }

    fn read(&mut self, at: usize, inbox: &mut Inbox) {
        let (to, socket) = &self.peers[at];
        sys::receive(socket, inbox);
        let now = self.start.elapsed();
        for bytes in inbox.datagrams() {
            if bytes.starts_with(b"INVITE ")
                && let Some(invited) = self.invited(now, *to, bytes)
            {
                self.invited.push(invited);
            }
            self.crowd.see(now, *to, bytes);
            self.crowd.hear(now, *to, bytes);
            self.follow();
        }
    }

    fn invited(&self, at: Duration, to: Address, bytes: &[u8]) -> Option<Invited> {
        let (token, _) = self.branches.read(peek::top_branch(bytes)?)?;
        let digits = peek::call_id(bytes)?.split(|byte| *byte == b'@').next()?;
        Some(Invited {
            at,
            to,
            shard: token.shard,
            call: std::str::from_utf8(digits).ok()?.parse().ok()?,
        })
    }

    fn follow(&mut self) {
        for next in self.crowd.take() {
            match next {
                Next::Say(from, bytes) => {
                    let socket = self.peers.iter().find(|(address, _)| *address == from);
                    if let Some((_, socket)) = socket {
                        // What the system has no room for is lost, as on any line.
                        let _ = socket.send(&bytes);
                    }
                }
                Next::Plan(at, what) => {
                    self.made += 1;
                    self.agenda.insert((at, self.made), what);
                }
            }
        }
    }
}
