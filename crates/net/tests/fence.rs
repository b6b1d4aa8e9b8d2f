//! A flood of strangers against a running proxy: the system drops it, and everybody else is heard.

mod support;

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use support::{PATIENCE, Said, hop, listener, once, udp_peer};
use trunkline_net::{Bound, Command, Handles, NetLimits, Threads, owner::Owners, spawn};
use trunkline_proxy::{
    Clock, Event, Proxy, Routing, Seed, Settings, ShardId, Shared,
    event::Fence,
    settings::{Access, Capacity, UnknownSource},
};
use trunkline_sip::Transport;

const PROCESS: [u8; 16] = [2; 16];

/// A proxy at one address, stopped when dropped.
struct Edge {
    settings: Settings,
    addr: SocketAddr,
    handles: Handles,
    threads: Option<Threads>,
}

fn owners(shards: u8) -> Owners {
    Owners::new(shards, PROCESS, |_| None)
}

impl Edge {
    fn start(address: &str, shards: u8, unknown_source: UnknownSource, allow: &str) -> Edge {
        let mut listener = listener(Transport::Udp, address);
        let bound = Bound::bind(std::slice::from_ref(&listener), shards).expect("loopback");
        let addr = bound.local_addrs()[0];
        (listener.bind, listener.advertise) = (addr, addr.to_string().into());
        let settings = Settings {
            node: "test".into(),
            listeners: vec![listener],
            access: Access {
                unknown_source,
                rate: 25,
            },
            pbx_allow: vec![allow.parse().expect("a network")],
            trunks: Vec::new(),
            routes: Vec::new(),
            places: Vec::new(),
            drain_timeout: PATIENCE,
            capacity: Capacity::default(),
        };
        let routing = Arc::new(Routing::new(Arc::new(settings.clone()), Vec::new()));
        let epoch = Instant::now();
        let shared = Shared::new(shards, epoch);
        let make = |shard| {
            let (routing, shared) = (Arc::clone(&routing), Arc::clone(&shared));
            let seed = Seed {
                cluster: [1; 16],
                process: PROCESS,
            };
            move |clock: Clock| Proxy::new(shard, clock, routing, seed, shared)
        };
        let (handles, threads) =
            spawn(bound, owners(shards), make, NetLimits::default(), epoch).expect("shards start");
        Edge {
            settings,
            addr,
            handles,
            threads: Some(threads),
        }
    }

    /// The configuration lists these as well from now on.
    fn allow(&self, network: &str) {
        let mut settings = self.settings.clone();
        settings.pbx_allow.push(network.parse().expect("a network"));
        let routing = Arc::new(Routing::new(Arc::new(settings), Vec::new()));
        for shard in &self.handles.commands {
            let command = Command::Routing(Arc::clone(&routing));
            shard.blocking_send(command).expect("the shard lives");
        }
    }

    /// The fences told since the last time.
    fn told(&mut self) -> Vec<Fence> {
        let batches = std::iter::from_fn(|| self.handles.events.try_recv().ok());
        let fences = batches
            .flat_map(|batch| batch.events)
            .filter_map(|event| match event {
                Event::Fence(fence) => Some(*fence),
                _ => None,
            });
        fences.collect()
    }

    fn sum(&self, count: fn(&trunkline_net::NetStats) -> &trunkline_net::Count) -> u64 {
        let counts = self.handles.stats.iter().map(|stats| count(stats).get());
        counts.sum()
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        for shard in &self.handles.commands {
            let _ = shard.blocking_send(Command::Stop);
        }
        if let Some(threads) = self.threads.take() {
            threads.join();
        }
    }
}

fn options(call: u32, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    format!(
        "OPTIONS sip:{to} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{call}\r\n\
         From: <sip:a@{from}>;tag=a\r\nTo: <sip:{to}>\r\nCall-ID: {call}@test\r\n\
         CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

/// Sends again and again until `done`, a thousand a moment at most.
fn flood_until(
    flooder: &UdpSocket,
    to: SocketAddr,
    bytes: impl Fn(u32) -> Vec<u8>,
    mut done: impl FnMut() -> bool,
) {
    let end = Instant::now() + PATIENCE;
    let mut number = 0;
    while !done() {
        assert!(Instant::now() < end, "it did not happen in time");
        for _ in 0..100 {
            number += 1;
            flooder.send_to(&bytes(number), to).expect("sent");
        }
    }
}

/// Whether an OPTIONS gets its answer, before anybody would repeat it more than once.
fn is_heard(peer: &UdpSocket, to: SocketAddr) -> bool {
    static CALLS: AtomicUsize = AtomicUsize::new(1_000_000);
    let from = peer.local_addr().expect("bound");
    let mut answer = [0; 2048];
    peer.set_read_timeout(Some(Duration::from_secs(1)))
        .expect("a timeout can be set");
    let call = CALLS.fetch_add(1, Ordering::Relaxed) as u32;
    (0..2).any(|_| {
        peer.send_to(&options(call, from, to), to).expect("sent");
        peer.recv(&mut answer)
            .is_ok_and(|length| answer[..length].starts_with(b"SIP/2.0 200"))
    })
}

#[test]
fn a_flood_is_dropped_unread_peers_are_heard_and_who_becomes_one_is_heard_at_once() {
    for (address, stranger, peer) in [
        ("127.0.0.1:0", "127.0.0.9:0", "127.0.0.2:0"),
        // There is one address of loopback: nobody else can speak.
        ("[::1]:0", "[::1]:0", ""),
    ] {
        let mut edge = Edge::start(address, 1, UnknownSource::Drop, "127.0.0.2/32");
        let (flooder, to) = (udp_peer(stranger), edge.addr);
        let from = flooder.local_addr().expect("bound");
        let scan = |number| options(number, from, to);
        let mut fences = Vec::new();
        flood_until(&flooder, to, scan, || {
            fences.extend(edge.told());
            !fences.is_empty()
        });
        assert_eq!(*fences[0].sources, [from.ip()]);
        assert!(fences[0].rate >= 100, "{fences:?}");

        let flood_for = |count: u64| {
            let fenced = edge.sum(|stats| &stats.datagrams_fenced) + count;
            flood_until(&flooder, to, scan, || {
                edge.sum(|stats| &stats.datagrams_fenced) >= fenced
            });
        };
        // What had come before the fence stood is read by then.
        flood_for(1);
        let read = edge.sum(|stats| &stats.datagrams_in);
        flood_for(1_000);
        assert_eq!(edge.sum(|stats| &stats.datagrams_in), read);
        assert!(!is_heard(&flooder, to));
        assert!(peer.is_empty() || is_heard(&udp_peer(peer), to));

        edge.allow(&format!(
            "{}/{}",
            from.ip(),
            if from.is_ipv4() { 32 } else { 128 }
        ));
        assert!(is_heard(&flooder, to), "before the fence would be lifted");
    }
}

#[test]
fn nobody_is_fenced_where_strangers_are_to_be_answered() {
    let mut edge = Edge::start("127.0.0.1:0", 1, UnknownSource::Reject, "127.0.0.2/32");
    let flooder = udp_peer("127.0.0.9:0");
    let (from, to) = (flooder.local_addr().expect("bound"), edge.addr);
    let scan = |number| options(number, from, to);
    flood_until(&flooder, to, scan, || {
        edge.sum(|stats| &stats.datagrams_in) >= 10_000
    });
    assert!(edge.told().is_empty());
    assert_eq!(edge.sum(|stats| &stats.datagrams_fenced), 0);
}

#[test]
fn a_peer_that_floods_is_not_fenced_nor_is_a_flood_of_keep_alives_overheard() {
    let mut edge = Edge::start("127.0.0.1:0", 1, UnknownSource::Drop, "127.0.0.2/32");
    let to = edge.addr;
    let peer = udp_peer("127.0.0.2:0");
    flood_until(
        &peer,
        to,
        |_| b"no SIP at all".to_vec(),
        || edge.sum(|stats| &stats.datagrams_in) >= 10_000,
    );
    assert!(edge.told().is_empty());

    let flooder = udp_peer("127.0.0.9:0");
    let mut fences = Vec::new();
    flood_until(
        &flooder,
        to,
        |_| b"\r\n\r\n".to_vec(),
        || {
            fences.extend(edge.told());
            !fences.is_empty()
        },
    );
    let flooder: IpAddr = flooder.local_addr().expect("bound").ip();
    assert_eq!(*fences[0].sources, [flooder]);
    assert!(is_heard(&peer, to));
}

#[test]
fn the_socket_that_hears_a_flood_is_fenced_whichever_shard_owns_what_it_says() {
    for owner in [0, 1] {
        let edge = Edge::start("127.0.0.1:0", 2, UnknownSource::Drop, "127.0.0.2/32");
        let flooder = udp_peer("127.0.0.9:0");
        let (from, to) = (flooder.local_addr().expect("bound"), edge.addr);
        let call = (0..)
            .find(|call| owners(2).of(&options(*call, from, to)) == Some(ShardId(owner)))
            .expect("there is one");
        flood_until(
            &flooder,
            to,
            |_| options(call, from, to),
            || edge.sum(|stats| &stats.datagrams_fenced) >= 1_000,
        );
        assert!(is_heard(&udp_peer("127.0.0.2:0"), to));
    }
}

#[test]
fn the_answer_of_a_stranger_who_was_asked_comes_through_his_fence() {
    let stranger = udp_peer("127.0.0.9:0");
    let peer = udp_peer("127.0.0.2:0");
    let from = stranger.local_addr().expect("bound");
    let bound = Bound::bind(&[listener(Transport::Udp, "127.0.0.1:0")], 1).expect("loopback");
    let to = bound.local_addrs()[0];
    let (tell, heard) = std::sync::mpsc::channel();
    // Drops what the stranger says, and passes to him what the peer says.
    let make = once(move |_clock: Clock| support::Doorman {
        stranger: from.ip(),
        hear: move |said: &Said, out: &mut trunkline_proxy::Outbox| {
            if let Said::Message(whose, bytes) = said {
                if whose.remote == from {
                    out.tell(Event::Dropped {
                        from: *whose,
                        why: "unknown_source",
                    });
                    if bytes == b"SIP/2.0 200 OK" {
                        let _ = tell.send(());
                    }
                } else {
                    let to = hop(Transport::Udp, 0, from);
                    out.send(to, PATIENCE, |arena| arena.extend_from_slice(bytes));
                }
            }
        },
    });
    let (handles, threads) = spawn(
        bound,
        Owners::alone(),
        make,
        NetLimits::default(),
        Instant::now(),
    )
    .expect("a shard starts");
    let fenced = || handles.stats[0].datagrams_fenced.get();
    flood_until(&stranger, to, |_| b"scan".to_vec(), || fenced() > 0);
    let mut buffer = [0; 64];
    // A response leaves him where he is.
    for (said, is_heard) in [
        (&b"SIP/2.0 200 OK"[..], false),
        (b"BYE sip:a@b SIP/2.0", true),
    ] {
        peer.send_to(said, to).expect("sent");
        assert_eq!(stranger.recv(&mut buffer).ok(), Some(said.len()));
        stranger.send_to(b"SIP/2.0 200 OK", to).expect("sent");
        let wait = if is_heard {
            PATIENCE
        } else {
            Duration::from_millis(300)
        };
        assert_eq!(heard.recv_timeout(wait).is_ok(), is_heard);
    }
    handles.commands[0]
        .blocking_send(Command::Stop)
        .expect("the shard lives");
    assert!(threads.join());
}

#[test]
fn what_found_the_buffer_full_is_counted_to_the_last_datagram() {
    let peer = udp_peer("127.0.0.2:0");
    let bound = Bound::bind(&[listener(Transport::Udp, "127.0.0.1:0")], 1).expect("loopback");
    let to = bound.local_addrs()[0];
    let (busy, is_busy) = std::sync::mpsc::channel();
    let (go_on, wait) = std::sync::mpsc::channel();
    // Busy with the first message until it is told to go on, and slow with the others: there is a backlog.
    let make = once(move |_clock: Clock| support::Doorman {
        stranger: IpAddr::from([127, 0, 0, 9]),
        hear: move |_: &Said, _: &mut trunkline_proxy::Outbox| {
            if busy.send(()).is_ok() {
                let _ = wait.recv_timeout(PATIENCE);
            } else {
                std::thread::sleep(Duration::from_micros(100));
            }
        },
    });
    let (handles, threads) = spawn(
        bound,
        Owners::alone(),
        make,
        NetLimits::default(),
        Instant::now(),
    )
    .expect("a shard starts");
    peer.send_to(b"first", to).expect("sent");
    is_busy.recv_timeout(PATIENCE).expect("it is read");
    drop(is_busy);
    let (many, large) = (1_000, vec![b'x'; 60_000]);
    for _ in 0..many {
        peer.send_to(&large, to).expect("sent");
    }
    go_on.send(()).expect("it waits");
    let stats = &handles.stats[0];
    let counted = || stats.datagrams_in.get() + stats.datagrams_overflowed.get();
    support::wait_until(|| counted() > many);
    assert_eq!(counted(), many + 1);
    assert!(stats.datagrams_overflowed.get() > 0);
    assert_eq!(stats.datagrams_fenced.get(), 0);
    handles.commands[0]
        .blocking_send(Command::Stop)
        .expect("the shard lives");
    assert!(threads.join());
}
