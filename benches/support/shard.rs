//! The shard under test, with a configuration of one carrier.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use trunkline_net::{Bound, Command, Handles, NetLimits, Threads, owner::Owners, spawn};
use trunkline_proxy::{
    Clock, Hop, Input, ListenerId, Moment, Outbox, Proxy, Routing, Seed, Settings, ShardId, Shared,
    routing::{Candidate, Freshness, Resolved},
    settings::{
        Access, Attempts, Capacity, CodeSet, Edge, Exhausted, Health, InDialog, Listener, Place,
        PlaceId, RequestAddress, Termination, Trunk, UnknownSource,
    },
};
use trunkline_sip::Transport;

/// What decides.
#[derive(Copy, Clone, PartialEq, Eq)]
pub enum Brain {
    /// The product.
    Proxy,
    /// Passes messages on.
    Wire,
}

impl Brain {
    /// For the headline.
    pub fn name(self) -> &'static str {
        match self {
            Brain::Proxy => "the proxy",
            Brain::Wire => "a shard that passes on only",
        }
    }
}

/// A running shard.
pub struct Rig {
    /// Where it listens.
    pub address: SocketAddr,
    commands: Vec<tokio::sync::mpsc::Sender<Command>>,
    shards: Threads,
    reader: JoinHandle<()>,
}

impl Rig {
    /// A shard at 127.0.0.3 between 127.0.0.1, who calls, and the callee.
    pub fn start(brain: Brain, transport: Transport, callee: SocketAddr) -> Rig {
        // The port must be known before the proxy is: it is what Via and Record-Route show.
        let bound = Bound::bind(&[listener(transport, ([127, 0, 0, 3], 0).into())], 1)
            .expect("loopback can be bound");
        let address = bound.local_addrs()[0];
        let (limits, epoch) = (NetLimits::default(), Instant::now());
        let (handles, shards) = if brain == Brain::Proxy {
            let routing = Arc::new(routing(transport, address, callee));
            let seed = Seed {
                cluster: [1; 16],
                process: [2; 16],
            };
            let make = move |clock: Clock| {
                let shared = Shared::new(1, epoch);
                Proxy::new(ShardId(0), clock, routing, seed, shared)
            };
            spawn(bound, Owners::alone(), |_| make.clone(), limits, epoch)
        } else {
            let wire = Wire {
                transport,
                callee,
                caller: None,
            };
            let make = move |_| wire;
            spawn(bound, Owners::alone(), |_| make.clone(), limits, epoch)
        }
        .expect("a shard starts");
        let Handles {
            commands,
            mut events,
            read,
            ..
        } = handles;
        // The slow side, as far as it costs the shard something.
        let reader = thread::spawn(move || {
            while let Some(batch) = events.blocking_recv() {
                // The one shard there is, unless it has enough of them.
                let _ = read[0].try_send(batch);
            }
        });
        Rig {
            address,
            commands,
            shards,
            reader,
        }
    }

    /// Ends it.
    pub fn stop(self) {
        for shard in &self.commands {
            shard.blocking_send(Command::Stop).expect("the shard lives");
        }
        assert!(self.shards.join(), "the shard panicked");
        self.reader.join().expect("it ended with the events");
    }
}

/// Passes what the callee says to whoever spoke last, and everything else to the callee.
#[derive(Clone)]
struct Wire {
    transport: Transport,
    callee: SocketAddr,
    caller: Option<Hop>,
}

impl trunkline_net::Brain for Wire {
    fn handle(&mut self, _now: Moment, input: Input<'_>, out: &mut Outbox) {
        let Input::Message { from, bytes } = input else {
            return;
        };
        let callee = Hop {
            transport: self.transport,
            listener: ListenerId(0),
            remote: self.callee,
            connection: None,
        };
        let to = if from.remote == self.callee {
            self.caller
        } else {
            self.caller = Some(from);
            Some(callee)
        };
        if let Some(to) = to {
            out.send(to, Duration::from_secs(1), |arena| {
                arena.extend_from_slice(bytes)
            });
        }
    }

    fn next_deadline(&self) -> Moment {
        Moment::NEVER
    }

    fn is_idle(&self) -> bool {
        true
    }
}

/// Processor time of the thread of this process with this name. Zero when there is none.
pub fn thread_time(name: &str) -> Duration {
    let nanoseconds = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .find_map(|task| {
            let task = task.ok()?.path();
            let is_it =
                std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name);
            let spent = std::fs::read_to_string(task.join("schedstat")).ok()?;
            is_it.then(|| spent.split(' ').next()?.parse().ok())?
        });
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}

fn listener(transport: Transport, bind: SocketAddr) -> Listener {
    Listener {
        name: None,
        transport,
        bind,
        advertise: bind.to_string().into(),
    }
}

/// One trunk, one edge, one candidate; no probes.
fn routing(transport: Transport, own: SocketAddr, callee: SocketAddr) -> Routing {
    let health = Health {
        probe_interval: None,
        probe_timeout: Duration::from_secs(1),
        suspect_after: None,
        fail_after: 2,
        slow_start: Duration::from_secs(30),
    };
    let attempts = Attempts {
        response_timeout: Duration::from_secs(4),
        connect_timeout: Duration::from_secs(2),
        progress_timeout: None,
        answer_timeout: Duration::from_secs(180),
        setup_budget: Duration::from_secs(28),
        max_attempts: 9,
        failover: CodeSet::termination(),
        exhausted: Exhausted::Own503,
        retry_after_max: Duration::from_secs(60),
        retry_budget: 20,
    };
    let address = RequestAddress {
        written: "carrier.example".into(),
        scheme: "sip".into(),
        user: None,
        host: "carrier.example".into(),
        authority: "carrier.example".into(),
        params: "".into(),
    };
    let trunk = Trunk {
        name: "carrier".into(),
        allow: vec![callee.ip().into()],
        hosts: Vec::new(),
        numbers: Vec::new(),
        in_dialog: InDialog::Route,
        termination: Some(Termination {
            edges: vec![Edge {
                address,
                place: PlaceId(0),
            }],
            attempts,
            cps: 0,
            cps_wait: Duration::from_secs(2),
            health,
        }),
        origination: None,
        recovery: None,
    };
    let place = Place {
        host: "carrier.example".into(),
        port: None,
        transport: Some(transport),
        secure: false,
        from: None,
    };
    let settings = Settings {
        node: "bench".into(),
        listeners: vec![listener(transport, own)],
        access: Access {
            unknown_source: UnknownSource::Drop,
            rate: 0,
        },
        pbx_allow: vec![IpAddr::from(Ipv4Addr::LOCALHOST).into()],
        trunks: vec![trunk],
        routes: Vec::new(),
        places: vec![place],
        drain_timeout: Duration::from_secs(30),
        capacity: Capacity::default(),
    };
    let candidate = Candidate {
        priority: 0,
        weight: 0,
        transport,
        addr: callee,
        listener: ListenerId(0),
    };
    let resolved = Resolved {
        candidates: vec![candidate],
        freshness: Freshness::Fresh,
    };
    Routing::new(Arc::new(settings), vec![Arc::new(resolved)])
}
