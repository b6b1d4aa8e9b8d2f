//! Several shards in one process: whatever lands on the wrong one finds its way.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use support::{PATIENCE, Said, World, hop, udp_peer, wait_until};
use trunkline_net::{Bound, Brain, Command, NetLimits, owner::Owners, spawn};
use trunkline_proxy::{
    Clock, Hop, HopLoss, Input, Moment, Outbox, ShardId,
    event::Peer,
    health::{Evidence, News},
};
use trunkline_sip::Transport;

const LOOPBACK: &str = "127.0.0.1:0";
const SHARDS: u8 = 4;

fn owners(shards: u8) -> Owners {
    Owners::new(shards, *b"0123456789abcdef", |_| None)
}

/// A request of call number `call`, one of a kind, with a body of this many bytes.
fn request(call: usize, body: usize) -> Vec<u8> {
    let mut bytes = format!(
        "OPTIONS sip:a@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP c;branch=z9hG4bK{call}\r\n\
         Call-ID: {call}@test\r\nCSeq: 1 OPTIONS\r\nContent-Length: {body}\r\n\r\n"
    )
    .into_bytes();
    bytes.resize(bytes.len() + body, b'b');
    bytes
}

/// Numbers of calls that this shard owns.
fn calls_of(owners: &Owners, shard: u8) -> impl Iterator<Item = usize> {
    (0..).filter(move |call| owners.of(&request(*call, 0)) == Some(ShardId(shard)))
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&to, PATIENCE).expect("the listener accepts");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout can be set");
    stream
}

fn read(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).expect("the bytes come");
    bytes
}

fn send(out: &mut Outbox, to: Hop, bytes: &[u8]) {
    out.send(to, PATIENCE, |arena| arena.extend_from_slice(bytes));
}

#[test]
fn one_source_keeps_all_shards_busy_and_every_message_reaches_its_owner() {
    let owners = owners(SHARDS);
    let (tell, told) = channel();
    let world = World::of_shards(
        &[(Transport::Udp, LOOPBACK)],
        owners.clone(),
        SHARDS,
        |shard| {
            let tell = tell.clone();
            move |said, out| {
                if let Said::Message(from, bytes) = said {
                    send(out, *from, bytes);
                    let _ = tell.send((shard, bytes.clone()));
                }
            }
        },
    );
    let peer = udp_peer(LOOPBACK);
    let mut buffer = [0; 2_000];
    let mut busy = BTreeMap::new();
    for call in 0..400 {
        peer.send_to(&request(call, 0), world.addrs[0])
            .expect("sent");
        let length = peer.recv(&mut buffer).expect("an answer comes");
        assert_eq!(buffer[..length], request(call, 0));
        let (shard, bytes) = told.recv_timeout(PATIENCE).expect("a shard hears it");
        assert_eq!(Some(shard), owners.of(&bytes));
        *busy.entry(shard.0).or_insert(0) += 1;
    }
    // 100 each; four standard deviations are 35.
    assert!(
        busy.values().all(|heard| (65..135).contains(heard)),
        "{busy:?}"
    );
    assert_eq!(busy.len(), usize::from(SHARDS));
    assert_eq!(world.sum(|stats| &stats.posts_dropped), 0);
}

#[test]
fn what_one_peer_says_in_one_call_is_heard_in_its_order() {
    let (tell, told) = channel();
    let world = World::of_shards(
        &[(Transport::Udp, LOOPBACK)],
        owners(SHARDS),
        SHARDS,
        |_| {
            let tell = tell.clone();
            move |said, _| {
                if let Said::Message(_, bytes) = said {
                    let _ = tell.send(bytes.len());
                }
            }
        },
    );
    // Several peers, since the system may lead any of them to any shard.
    for _ in 0..8 {
        let peer = udp_peer(LOOPBACK);
        for call in 0..50 {
            // As an ACK and a BYE right behind it; how long they are tells them apart.
            let said: Vec<_> = (0..4).map(|more| request(call, 100 * more)).collect();
            for message in &said {
                peer.send_to(message, world.addrs[0]).expect("sent");
            }
            for message in &said {
                let heard = told.recv_timeout(PATIENCE).expect("it is heard");
                assert_eq!(heard, message.len(), "out of order");
            }
        }
    }
}

#[test]
fn an_answer_goes_out_by_the_connection_that_asked_whichever_shard_has_it() {
    let world = World::of_shards(
        &[(Transport::Tcp, LOOPBACK)],
        owners(SHARDS),
        SHARDS,
        |_| support::echo,
    );
    let mut peers: Vec<_> = (0..16).map(|_| connect(world.addrs[0])).collect();
    for call in 0..160 {
        let peer = &mut peers[call % 16];
        peer.write_all(&request(call, 100)).expect("written");
        assert_eq!(read(peer, request(call, 100).len()), request(call, 100));
    }
    let accepted: Vec<_> = world
        .handles
        .stats
        .iter()
        .map(|stats| stats.connections_accepted.get())
        .collect();
    assert_eq!(accepted.iter().sum::<u64>(), 16);
    assert!(
        accepted.iter().filter(|count| **count > 0).count() > 1,
        "{accepted:?}"
    );
    assert_eq!(world.sum(|stats| &stats.connections_dialled), 0);
}

#[test]
fn all_shards_share_one_connection_to_a_peer() {
    let listener = TcpListener::bind(LOOPBACK).expect("loopback can be bound");
    let callee = listener.local_addr().expect("bound");
    let world = World::of_shards(
        &[(Transport::Udp, LOOPBACK), (Transport::Tcp, LOOPBACK)],
        owners(SHARDS),
        SHARDS,
        |_| {
            move |said, out| {
                if let Said::Message(_, bytes) = said {
                    send(out, hop(Transport::Tcp, 1, callee), bytes);
                }
            }
        },
    );
    let caller = udp_peer(LOOPBACK);
    let mut missing: BTreeSet<_> = (0..100).map(|call| request(call, 0)).collect();
    for bytes in &missing {
        caller.send_to(bytes, world.addrs[0]).expect("sent");
    }
    let (mut stream, _) = listener.accept().expect("somebody dials");
    let mut unread = Vec::new();
    while !missing.is_empty() {
        let mut buffer = [0; 65_536];
        let length = stream.read(&mut buffer).expect("bytes come");
        assert!(length > 0, "{} are missing at the end", missing.len());
        unread.extend_from_slice(&buffer[..length]);
        while let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
            let message: Vec<_> = unread.drain(..end + 4).collect();
            assert!(missing.remove(&message), "twice, or broken");
        }
    }
    assert_eq!(world.sum(|stats| &stats.connections_dialled), 1);
}

/// Sends one message of each shard on to where nobody is, and waits until every shard has heard
/// that.
fn everybody_hears(transport: Transport, nobody: SocketAddr, expected: HopLoss) {
    let (tell, told) = channel();
    let owners = owners(SHARDS);
    let world = World::of_shards(
        &[(Transport::Udp, LOOPBACK), (Transport::Tcp, LOOPBACK)],
        owners.clone(),
        SHARDS,
        |shard| {
            let tell = tell.clone();
            move |said, out| match said {
                Said::Message(_, bytes) => {
                    let listener = u16::from(transport != Transport::Udp);
                    send(out, hop(transport, listener, nobody), bytes);
                }
                Said::Lost(hop, why) => {
                    let _ = tell.send((shard.0, hop.remote, *why));
                }
                _ => {}
            }
        },
    );
    let caller = udp_peer(LOOPBACK);
    for shard in 0..SHARDS {
        let call = calls_of(&owners, shard).next().expect("there is one");
        caller
            .send_to(&request(call, 0), world.addrs[0])
            .expect("sent");
    }
    let mut heard = BTreeSet::new();
    while heard.len() < usize::from(SHARDS) {
        let (shard, remote, why) = told.recv_timeout(PATIENCE).expect("every shard hears");
        assert_eq!((remote, why), (nobody, expected));
        heard.insert(shard);
    }
}

#[test]
fn a_refused_connection_is_told_to_every_shard_whichever_dialled() {
    let listener = TcpListener::bind(LOOPBACK).expect("loopback can be bound");
    let nobody = listener.local_addr().expect("bound");
    drop(listener);
    everybody_hears(Transport::Tcp, nobody, HopLoss::Refused);
}

#[test]
fn an_icmp_error_is_told_to_every_shard_whichever_socket_it_came_to() {
    let nobody = udp_peer(LOOPBACK).local_addr().expect("bound");
    everybody_hears(Transport::Udp, nobody, HopLoss::Unreachable);
}

#[test]
fn what_one_shard_learns_of_a_candidate_the_others_hear_within_10_ms() {
    let news = News {
        peer: Peer {
            transport: Transport::Udp,
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 5060)),
            listener: hop(
                Transport::Udp,
                0,
                SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            )
            .listener,
        },
        evidence: Evidence::Failed("silent"),
    };
    let (tell, told) = channel();
    let world = World::of_shards(
        &[(Transport::Udp, LOOPBACK)],
        owners(SHARDS),
        SHARDS,
        |shard| {
            let tell = tell.clone();
            move |said, out| match said {
                Said::Message(..) => {
                    out.share(news);
                    let _ = tell.send((shard, None, Instant::now()));
                }
                Said::News(heard) => {
                    let _ = tell.send((shard, Some(*heard), Instant::now()));
                }
                _ => {}
            }
        },
    );
    let peer = udp_peer(LOOPBACK);
    // On a machine that does other things as well, the best of some tries is what we promise.
    let tries = (0..20).map(|call| {
        peer.send_to(&request(call, 0), world.addrs[0])
            .expect("sent");
        let heard: Vec<_> = (0..SHARDS)
            .map(|_| told.recv_timeout(PATIENCE).expect("every shard speaks"))
            .collect();
        let shards: BTreeSet<_> = heard.iter().map(|(shard, ..)| shard.0).collect();
        assert_eq!(
            shards.len(),
            usize::from(SHARDS),
            "nobody hears his own news"
        );
        let said = heard.iter().filter_map(|(_, news, _)| *news);
        assert!(said.eq([news; 3]));
        let times = || heard.iter().map(|(.., at)| *at);
        times().max().expect("four") - times().min().expect("four")
    });
    let best = tries.min().expect("some");
    assert!(best < Duration::from_millis(10), "{best:?}");
}

/// Two shards. The first stands still at its first message until the test lets it go on, and says
/// how many it has heard.
struct Stalled {
    /// First, so that a test that fails lets go before it waits for the threads.
    let_go: Sender<()>,
    world: World,
    heard: Arc<AtomicU64>,
    arrived: Receiver<()>,
}

impl Stalled {
    fn new(transport: Transport) -> Stalled {
        let (let_go, gate) = channel();
        let (arrive, arrived) = channel();
        let heard = Arc::new(AtomicU64::new(0));
        let mut gate = Some(gate);
        let world = World::of_shards(&[(transport, LOOPBACK)], owners(2), 2, |shard| {
            let gate = if shard.0 == 0 { gate.take() } else { None };
            let (arrive, heard) = (arrive.clone(), Arc::clone(&heard));
            let mut stood = false;
            move |said: &Said, _: &mut Outbox| {
                let (Said::Message(..), Some(gate)) = (said, &gate) else {
                    return;
                };
                if !stood {
                    stood = true;
                    let _ = arrive.send(());
                    let _ = gate.recv();
                }
                heard.fetch_add(1, Ordering::Relaxed);
            }
        });
        Stalled {
            let_go,
            world,
            heard,
            arrived,
        }
    }
}

#[test]
fn datagrams_for_a_shard_that_stands_still_are_dropped_beyond_a_limit_and_counted() {
    let stalled = Stalled::new(Transport::Udp);
    let world = &stalled.world;
    let owners = owners(2);
    // One that the system leads to the second shard.
    let other = request(calls_of(&owners, 1).next().expect("there is one"), 0);
    let landed = |shard: usize| world.handles.stats[shard].datagrams_in.get();
    let peer = (1..=100).find_map(|sent| {
        let peer = udp_peer(LOOPBACK);
        let before = landed(1);
        peer.send_to(&other, world.addrs[0]).expect("sent");
        wait_until(|| landed(0) + landed(1) == sent);
        (landed(1) > before).then_some(peer)
    });
    let peer = peer.expect("half of all peers");
    let mut calls = calls_of(&owners, 0);
    let mut next = || request(calls.next().expect("there is one"), 0);
    peer.send_to(&next(), world.addrs[0]).expect("sent");
    stalled
        .arrived
        .recv_timeout(PATIENCE)
        .expect("the first shard stands");
    // As many as the other can hand over before it must drop some; the system drops none, since
    // the sender waits for what has landed there.
    let dropped = || world.sum(|stats| &stats.posts_dropped);
    let until = Instant::now() + PATIENCE;
    while dropped() == 0 {
        assert!(Instant::now() < until, "nothing is ever dropped");
        for _ in 0..64 {
            peer.send_to(&next(), world.addrs[0]).expect("sent");
        }
    }
    stalled.let_go.send(()).expect("it waits");
    // What was not dropped is heard: all of it went by mail.
    let posted = || world.handles.stats[1].posts.get();
    let heard = || stalled.heard.load(Ordering::Relaxed);
    let mut before = 0;
    wait_until(|| {
        thread::sleep(Duration::from_millis(20));
        std::mem::replace(&mut before, posted()) == posted() && heard() == posted()
    });
    assert!(posted() >= 128, "{}", posted());
    // And from now on everything is.
    let (before, lost) = (heard(), dropped());
    for sent in 1..=20 {
        peer.send_to(&next(), world.addrs[0]).expect("sent");
        wait_until(|| heard() == before + sent);
    }
    assert_eq!(dropped(), lost);
}

#[test]
fn streams_for_a_shard_that_stands_still_are_held_back_and_lose_nothing() {
    const MESSAGES: u64 = 400;
    let stalled = Stalled::new(Transport::Tcp);
    let world = &stalled.world;
    let owners = owners(2);
    // Some of them are the second shard's.
    let mut peers: Vec<_> = (0..8).map(|_| connect(world.addrs[0])).collect();
    wait_until(|| world.sum(|stats| &stats.connections_accepted) == 8);
    assert!(world.handles.stats[1].connections_accepted.get() > 0);
    let writers: Vec<_> = peers
        .drain(..)
        .map(|mut peer| {
            let calls = calls_of(&owners, 0).take(MESSAGES as usize);
            let messages: Vec<_> = calls.map(|call| request(call, 50_000)).collect();
            thread::spawn(move || {
                for message in messages {
                    peer.write_all(&message).expect("written");
                }
                peer
            })
        })
        .collect();
    stalled
        .arrived
        .recv_timeout(PATIENCE)
        .expect("the first shard stands");
    // The second one hands over what the mailbox takes, and then reads no more.
    let read = || world.handles.stats[1].bytes_in.get();
    let mut before = u64::MAX;
    wait_until(|| {
        let now = read();
        thread::sleep(Duration::from_millis(50));
        std::mem::replace(&mut before, now) == now && now > 0
    });
    let held_back = read();
    stalled.let_go.send(()).expect("it waits");
    wait_until(|| stalled.heard.load(Ordering::Relaxed) == 8 * MESSAGES);
    assert!(read() > held_back, "nothing was held back");
    assert_eq!(world.sum(|stats| &stats.posts_dropped), 0);
    for writer in writers {
        writer.join().expect("all was written");
    }
}

/// Idle when told so.
struct Busy {
    idle: Arc<AtomicBool>,
}

impl Brain for Busy {
    fn handle(&mut self, _now: Moment, input: Input<'_>, out: &mut Outbox) {
        if let Input::Message { from, bytes } = input {
            send(out, from, bytes);
            self.idle.store(true, Ordering::Relaxed);
        }
    }

    fn next_deadline(&self) -> Moment {
        Moment::NEVER
    }

    fn is_idle(&self) -> bool {
        self.idle.load(Ordering::Relaxed)
    }
}

#[test]
fn a_drain_ends_no_shard_before_the_last_has_finished() {
    let bound = Bound::bind(&[support::listener(Transport::Udp, LOOPBACK)], SHARDS).expect("bound");
    let address = bound.local_addrs()[0];
    let owners = owners(SHARDS);
    let call = calls_of(&owners, 2).next().expect("there is one");
    let maker = |shard: ShardId| {
        let idle = Arc::new(AtomicBool::new(shard.0 != 2));
        move |_: Clock| Busy { idle }
    };
    let (handles, threads) =
        spawn(bound, owners, maker, NetLimits::default(), Instant::now()).expect("shards start");
    for shard in &handles.commands {
        shard
            .blocking_send(Command::Drain)
            .expect("the shard lives");
    }
    // Whoever has nothing to do is still needed: the message may land on any of them.
    thread::sleep(Duration::from_millis(50));
    assert!(handles.commands.iter().all(|shard| !shard.is_closed()));
    let peer = udp_peer(LOOPBACK);
    peer.send_to(&request(call, 0), address).expect("sent");
    assert!(peer.recv(&mut [0; 2_000]).is_ok(), "an answer comes");
    wait_until(|| threads.are_finished());
    assert!(threads.join());
}

#[test]
fn a_stop_ends_all_shards_at_once() {
    let world = World::of_shards(
        &[(Transport::Udp, LOOPBACK)],
        owners(SHARDS),
        SHARDS,
        |_| |_: &Said, _: &mut Outbox| {},
    );
    world.command(Command::Stop);
    world.join();
}

#[test]
fn a_port_that_another_process_shares_is_taken_all_the_same() {
    let listeners = [support::listener(Transport::Udp, LOOPBACK)];
    let first = Bound::bind(&listeners, 2).expect("bound");
    let taken = first.local_addrs()[0].to_string();
    assert!(Bound::bind(&[support::listener(Transport::Udp, &taken)], 2).is_err());
}
