//! Streams through real sockets on loopback.

mod support;

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};
use support::{PATIENCE, Said, World, echo, hop, wait_until};
use trunkline_net::{Bound, Command, NetLimits};
use trunkline_proxy::{Hop, HopLoss, Outbox};
use trunkline_sip::Transport;

const LOOPBACK: &str = "127.0.0.1:0";

/// A whole message with a body of this many bytes; the number makes it one of a kind.
fn message(number: usize, body: usize) -> Vec<u8> {
    let mut bytes = format!(
        "OPTIONS sip:a@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP c;branch=z9hG4bK{number}\r\n\
         CSeq: {number} OPTIONS\r\nContent-Length: {body}\r\n\r\n"
    )
    .into_bytes();
    bytes.resize(bytes.len() + body, b'b');
    bytes
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&to, PATIENCE).expect("the listener accepts");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout can be set");
    stream.set_nodelay(true).expect("an option can be set");
    stream
}

fn read(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).expect("the bytes come");
    bytes
}

/// Reads until the end; a reset is an end too.
fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => bytes,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => bytes,
        Err(error) => panic!("the connection does not end: {error}"),
    }
}

/// The message that the brain hears next, and its hop.
fn hear_message(world: &World) -> (Hop, Vec<u8>) {
    match world.hear() {
        Said::Message(from, bytes) => (from, bytes),
        other => panic!("no message: {other:?}"),
    }
}

fn tcp(limits: NetLimits, brain: impl FnMut(&Said, &mut Outbox) + Send + 'static) -> World {
    World::new(&[(Transport::Tcp, LOOPBACK)], limits, brain)
}

/// Sends each message on to `to`, on a connection of the shard's choice.
fn forward_to(to: SocketAddr, within: Duration) -> impl FnMut(&Said, &mut Outbox) + Send + 'static {
    move |said, out| {
        if let Said::Message(from, bytes) = said
            && from.remote != to
        {
            let to = hop(Transport::Tcp, 0, to);
            out.send(to, within, |arena| arena.extend_from_slice(bytes));
        }
    }
}

/// An address of loopback where nobody listens.
fn closed_port() -> SocketAddr {
    TcpListener::bind(LOOPBACK)
        .and_then(|listener| listener.local_addr())
        .expect("loopback can be bound")
}

#[test]
fn a_message_is_answered_on_the_connection_it_came_by_on_both_families() {
    for address in [LOOPBACK, "[::1]:0"] {
        let world = World::new(&[(Transport::Tcp, address)], NetLimits::default(), echo);
        let mut peer = connect(world.addrs[0]);
        for (number, body) in [(1, 0), (2, 1_300), (3, 60_000)] {
            let sent = message(number, body);
            peer.write_all(&sent).expect("written");
            let (from, heard) = hear_message(&world);
            assert!(heard == sent);
            assert_eq!(from.remote, peer.local_addr().expect("connected"));
            assert!(from.connection.is_some());
            assert!(read(&mut peer, sent.len()) == sent);
        }
    }
}

#[test]
fn messages_are_found_however_the_bytes_are_cut() {
    let world = tcp(NetLimits::default(), echo);
    let all: Vec<u8> = (0..5)
        .flat_map(|number| message(number, number * 50))
        .collect();
    for piece in [1, 2, 3, 7, 100, all.len()] {
        let mut peer = connect(world.addrs[0]);
        for bytes in all.chunks(piece) {
            peer.write_all(bytes).expect("written");
        }
        for number in 0..5 {
            assert_eq!(
                hear_message(&world).1,
                message(number, number * 50),
                "pieces of {piece}"
            );
        }
        assert_eq!(read(&mut peer, all.len()), all);
        drop(peer);
        assert!(matches!(world.hear(), Said::Lost(_, HopLoss::Closed)));
    }
}

#[test]
fn a_large_message_in_one_byte_segments_costs_no_more_than_its_bytes() {
    let world = tcp(NetLimits::default(), |_, _| {});
    let mut peer = connect(world.addrs[0]);
    let sent = message(1, 20_000);
    let began = Instant::now();
    for byte in sent.chunks(1) {
        peer.write_all(byte).expect("written");
    }
    assert!(hear_message(&world).1 == sent);
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}

#[test]
fn a_double_crlf_is_answered_by_one_and_the_brain_hears_nothing() {
    let world = tcp(NetLimits::default(), echo);
    let mut peer = connect(world.addrs[0]);
    peer.write_all(b"\r\n\r\n").expect("written");
    assert_eq!(read(&mut peer, 2), b"\r\n");
    // A single one is a pong of the peer's: no answer. Then a message, with CRLF before it.
    let sent = [b"\r\n".to_vec(), message(1, 0)].concat();
    peer.write_all(&sent).expect("written");
    assert_eq!(hear_message(&world).1, message(1, 0));
    assert_eq!(read(&mut peer, sent.len() - 2), message(1, 0));
    assert!(world.stats().keep_alives.get() >= 1);
}

#[test]
fn a_peer_that_only_pings_and_never_reads_takes_no_memory() {
    let world = tcp(NetLimits::default(), echo);
    let mut peer = connect(world.addrs[0]);
    // More pings than sockets and queue hold pongs; all of them are read nevertheless.
    let pings = b"\r\n\r\n".repeat(256 * 1024);
    for _ in 0..8 {
        peer.write_all(&pings).expect("the shard goes on reading");
    }
    let sent = (pings.len() * 8) as u64;
    wait_until(|| world.stats().bytes_in.get() == sent);
    assert_eq!(world.stats().connections.get(), 1);
}

#[test]
fn what_is_no_sip_is_handed_over_once_answered_and_closed() {
    // Two different lengths: nobody can tell where the next message starts.
    let broken = b"OPTIONS sip:a@b SIP/2.0\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!";
    let world = tcp(NetLimits::default(), |said, out| {
        if let Said::Message(from, _) = said {
            out.send(*from, PATIENCE, |arena| {
                arena.extend_from_slice(b"SIP/2.0 400 Bad\r\n\r\n")
            });
        }
    });
    let mut peer = connect(world.addrs[0]);
    peer.write_all(broken).expect("written");
    let (from, heard) = hear_message(&world);
    assert_eq!(heard, broken);
    assert_eq!(world.hear(), Said::Lost(from, HopLoss::Closed));
    // More of the same must not turn our farewell into a reset.
    peer.write_all(broken).expect("written");
    assert_eq!(read_to_end(&mut peer), b"SIP/2.0 400 Bad\r\n\r\n");
    assert!(world.silent_for(Duration::from_millis(50)));
    drop(peer);
    wait_until(|| world.stats().connections.get() == 0);
    assert_eq!(world.stats().connections_broken.get(), 1);
}

#[test]
fn garbage_from_a_stranger_ends_its_connection_without_a_word() {
    let world = tcp(NetLimits::default(), |_, _| {});
    let mut peer = connect(world.addrs[0]);
    peer.write_all(&[0xff; 3_000]).expect("written");
    assert_eq!(read_to_end(&mut peer), b"");
    drop(peer);
    wait_until(|| world.stats().connections.get() == 0);
}

#[test]
fn a_message_without_end_is_not_collected_for_ever() {
    let limits = NetLimits::default();
    let most = limits.message.message;
    let world = tcp(limits, |_, _| {});
    let mut peer = connect(world.addrs[0]);
    // Header after header, never an empty line. The shard closes; writing then fails.
    let header = format!("X: {}\r\n", "y".repeat(997));
    let mut written = 0;
    if peer.write_all(b"OPTIONS sip:a@b SIP/2.0\r\n").is_ok() {
        while written < 4 * most && peer.write_all(header.as_bytes()).is_ok() {
            written += header.len();
        }
    }
    let (_, heard) = hear_message(&world);
    assert!(heard.len() <= 2 * most, "{} bytes were kept", heard.len());
    assert!(matches!(world.hear(), Said::Lost(_, HopLoss::Closed)));
}

#[test]
fn a_dialled_connection_carries_many_messages_and_their_answers() {
    let carrier = TcpListener::bind(LOOPBACK).expect("loopback can be bound");
    let to = carrier.local_addr().expect("bound");
    let world = tcp(NetLimits::default(), forward_to(to, PATIENCE));
    let mut pbx = connect(world.addrs[0]);
    for number in 0..3 {
        pbx.write_all(&message(number, 10)).expect("written");
    }
    let (mut line, from) = carrier.accept().expect("the shard dials");
    assert_eq!(
        from.ip(),
        world.addrs[0].ip(),
        "dialled from the listener's address"
    );
    for number in 0..3 {
        hear_message(&world);
        let sent = message(number, 10);
        assert_eq!(read(&mut line, sent.len()), sent);
    }
    // The carrier answers on the same connection; the brain hears which.
    line.write_all(&message(9, 0)).expect("written");
    let (from, heard) = hear_message(&world);
    assert_eq!((from.remote, heard), (to, message(9, 0)));
    assert!(from.connection.is_some());
    assert_eq!(world.stats().connections_dialled.get(), 1);
}

#[test]
fn a_hop_without_a_connection_uses_the_one_the_peer_opened() {
    let world = tcp(NetLimits::default(), |said, out| {
        if let Said::Message(from, bytes) = said {
            let to = Hop {
                connection: None,
                ..*from
            };
            out.send(to, PATIENCE, |arena| arena.extend_from_slice(bytes));
        }
    });
    let mut peer = connect(world.addrs[0]);
    peer.write_all(&message(1, 0)).expect("written");
    assert_eq!(read(&mut peer, message(1, 0).len()), message(1, 0));
    assert_eq!(world.stats().connections_dialled.get(), 0);
}

#[test]
fn a_hop_whose_connection_is_gone_is_dialled_again() {
    let carrier = TcpListener::bind(LOOPBACK).expect("loopback can be bound");
    let to = carrier.local_addr().expect("bound");
    let (tell, told) = std::sync::mpsc::channel::<Hop>();
    let world = tcp(NetLimits::default(), move |said, out| {
        if let Said::Message(from, bytes) = said
            && from.remote != to
        {
            let to = told.try_recv().unwrap_or(hop(Transport::Tcp, 0, to));
            out.send(to, PATIENCE, |arena| arena.extend_from_slice(bytes));
        }
    });
    let mut pbx = connect(world.addrs[0]);
    pbx.write_all(&message(1, 0)).expect("written");
    hear_message(&world);
    let (mut first, _) = carrier.accept().expect("the shard dials");
    first.write_all(&message(2, 0)).expect("written");
    let (line, _) = hear_message(&world);
    drop(first);
    // Bytes were unread, so this may be a reset.
    assert_eq!(world.hear(), Said::Lost(line, HopLoss::Closed));
    tell.send(line).expect("the brain lives");
    pbx.write_all(&message(3, 0)).expect("written");
    let (mut second, _) = carrier.accept().expect("the shard dials again");
    second
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout can be set");
    assert_eq!(read(&mut second, message(3, 0).len()), message(3, 0));
}

#[test]
fn a_refused_connection_is_a_lost_hop_at_once() {
    let nobody = closed_port();
    let world = tcp(NetLimits::default(), forward_to(nobody, PATIENCE));
    let mut pbx = connect(world.addrs[0]);
    pbx.write_all(&message(1, 0)).expect("written");
    hear_message(&world);
    assert_eq!(
        world.hear(),
        Said::Lost(hop(Transport::Tcp, 0, nobody), HopLoss::Refused)
    );
}

#[test]
fn a_connection_that_is_not_accepted_in_time_is_a_lost_hop() {
    // A listener whose backlog is full: the system drops further attempts in silence.
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    full.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .expect("loopback can be bound");
    full.listen(0).expect("it listens");
    let to = full
        .local_addr()
        .ok()
        .and_then(|address| address.as_socket())
        .expect("bound");
    let mut fillers = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&to, Duration::from_millis(100)) {
        fillers.push(stream);
        assert!(fillers.len() < 64, "the backlog does not fill");
    }

    let world = tcp(
        NetLimits::default(),
        forward_to(to, Duration::from_millis(150)),
    );
    let mut pbx = connect(world.addrs[0]);
    pbx.write_all(&message(1, 0)).expect("written");
    hear_message(&world);
    let began = Instant::now();
    assert_eq!(
        world.hear(),
        Said::Lost(hop(Transport::Tcp, 0, to), HopLoss::ConnectTimeout)
    );
    assert!(
        began.elapsed() >= Duration::from_millis(100),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_peer_that_reads_nothing_loses_its_connection_and_nobody_else_does() {
    let limits = NetLimits {
        connection_queue: 64 * 1024,
        ..NetLimits::default()
    };
    let world = tcp(limits, |said, out| {
        if let Said::Message(from, bytes) = said {
            // Much more out than in, so that the peer's own writes never block.
            let copies = if bytes.len() > 2_000 { 1_000 } else { 1 };
            for _ in 0..copies {
                out.send(*from, PATIENCE, |arena| arena.extend_from_slice(bytes));
            }
        }
    });
    let mut deaf = connect(world.addrs[0]);
    let mut good = connect(world.addrs[0]);
    deaf.write_all(&message(1, 60_000)).expect("written");
    let (from, _) = hear_message(&world);
    let lost = world.hear();
    assert_eq!(lost, Said::Lost(from, HopLoss::Limit));
    assert!(world.stats().connections_stuffed.get() >= 1);
    good.write_all(&message(2, 0)).expect("written");
    assert_eq!(read(&mut good, message(2, 0).len()), message(2, 0));
}

#[test]
fn a_peer_that_reads_late_gets_everything_in_order() {
    let world = tcp(NetLimits::default(), |said, out| {
        if let Said::Message(from, _) = said {
            for number in 0..15 {
                out.send(*from, PATIENCE, |arena| {
                    arena.extend_from_slice(&message(number, 60_000))
                });
            }
        }
    });
    let mut peer = connect(world.addrs[0]);
    peer.write_all(&message(1, 0)).expect("written");
    hear_message(&world);
    for number in 0..15 {
        let expected = message(number, 60_000);
        assert!(
            read(&mut peer, expected.len()) == expected,
            "message {number}"
        );
    }
}

#[test]
fn a_full_table_makes_room_by_the_oldest_connection_that_never_spoke() {
    let callee = TcpListener::bind(LOOPBACK).expect("loopback can be bound");
    let to = hop(Transport::Tcp, 0, callee.local_addr().expect("bound"));
    let limits = NetLimits {
        connections: 3,
        ..NetLimits::default()
    };
    let world = tcp(limits, move |said, out| {
        if let Said::Message(from, bytes) = said {
            // Once there and once back.
            for hop in [to, *from] {
                out.send(hop, PATIENCE, |arena| arena.extend_from_slice(bytes));
            }
        }
    });
    let mut silent: Vec<_> = (1..=3)
        .map(|open| {
            let stream = connect(world.addrs[0]);
            wait_until(|| world.stats().connections.get() == open);
            stream
        })
        .collect();
    silent[0].write_all(b"OPTIONS sip:").expect("written");
    // In comes a peer, and out goes a connection to another.
    let mut peer = connect(world.addrs[0]);
    assert_eq!(read_to_end(&mut silent[0]), b"", "half a message is none");
    peer.write_all(&message(1, 0)).expect("written");
    assert_eq!(read(&mut peer, message(1, 0).len()), message(1, 0));
    let (mut dialled, _) = callee.accept().expect("it is dialled");
    assert_eq!(read(&mut dialled, message(1, 0).len()), message(1, 0));
    assert_eq!(read_to_end(&mut silent[1]), b"");
    assert_eq!(world.stats().connections_evicted.get(), 2);
    assert_eq!(world.stats().connections_refused.get(), 0);
    assert_eq!(world.stats().connections.get(), 3);
}

#[test]
fn connections_over_the_limits_are_refused_and_those_within_live() {
    let limits = NetLimits {
        connections: 3,
        connections_per_source: 2,
        ..NetLimits::default()
    };
    let world = tcp(limits, echo);
    let mut kept: Vec<_> = (0..2).map(|_| connect(world.addrs[0])).collect();
    wait_until(|| world.stats().connections.get() == 2);
    // The third of one source.
    assert_eq!(read_to_end(&mut connect(world.addrs[0])), b"");
    // Another source fills the table, and then it is too late for that one too.
    let from = |address: [u8; 4]| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket
            .bind(&SocketAddr::from((address, 0)).into())
            .expect("loopback can be bound");
        socket
            .connect(&world.addrs[0].into())
            .expect("the system accepts");
        let stream = TcpStream::from(socket);
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout can be set");
        stream
    };
    kept.push(from([127, 0, 0, 2]));
    for peer in &mut kept {
        peer.write_all(&message(1, 0)).expect("written");
        assert_eq!(read(peer, message(1, 0).len()), message(1, 0));
    }
    assert_eq!(read_to_end(&mut from([127, 0, 0, 3])), b"");
    assert_eq!(world.stats().connections_refused.get(), 2);
    for peer in &mut kept {
        peer.write_all(&message(1, 0)).expect("written");
        assert_eq!(read(peer, message(1, 0).len()), message(1, 0));
    }
    // Who leaves makes room.
    drop(kept);
    wait_until(|| world.stats().connections.get() == 0);
    let mut next = connect(world.addrs[0]);
    next.write_all(&message(1, 0)).expect("written");
    assert_eq!(read(&mut next, message(1, 0).len()), message(1, 0));
}

#[test]
fn who_says_nothing_whole_in_time_is_closed() {
    let limits = NetLimits {
        first_message: Duration::from_millis(200),
        ..NetLimits::default()
    };
    let world = tcp(limits, echo);
    let mut silent = connect(world.addrs[0]);
    let mut pinging = connect(world.addrs[0]);
    let mut slow = connect(world.addrs[0]);
    let mut good = connect(world.addrs[0]);
    good.write_all(&message(1, 0)).expect("written");
    assert_eq!(read(&mut good, message(1, 0).len()), message(1, 0));
    // The slow one was whole once: its second message must be, too.
    slow.write_all(&[message(2, 0), b"OPTIONS".to_vec()].concat())
        .expect("written");
    pinging.write_all(b"\r\n\r\n").expect("written");

    let began = Instant::now();
    assert_eq!(read_to_end(&mut silent), b"");
    assert_eq!(read_to_end(&mut pinging), b"\r\n");
    assert_eq!(read_to_end(&mut slow), message(2, 0));
    assert!(began.elapsed() < PATIENCE / 2);
    assert_eq!(world.stats().connections_idle.get(), 3);
    // The good one has no such hurry.
    good.write_all(&message(3, 0)).expect("written");
    assert_eq!(read(&mut good, message(3, 0).len()), message(3, 0));
}

#[test]
fn an_idle_connection_is_closed_and_one_in_use_is_not() {
    let idle = Duration::from_millis(300);
    let world = tcp(
        NetLimits {
            idle,
            ..NetLimits::default()
        },
        echo,
    );
    let (mut unused, mut used) = (connect(world.addrs[0]), connect(world.addrs[0]));
    let began = Instant::now();
    for peer in [&mut unused, &mut used] {
        peer.write_all(&message(1, 0)).expect("written");
        assert_eq!(read(peer, message(1, 0).len()), message(1, 0));
    }
    unused
        .set_read_timeout(Some(Duration::from_millis(50)))
        .expect("a timeout can be set");
    while unused.read(&mut [0; 16]).is_err() {
        // The read's timeout is the pause between two messages of the used one.
        used.write_all(&message(2, 0)).expect("written");
        assert_eq!(read(&mut used, message(2, 0).len()), message(2, 0));
        assert!(began.elapsed() < PATIENCE);
    }
    assert!(began.elapsed() >= idle);
    assert_eq!(world.stats().connections.get(), 1);
}

#[test]
fn a_stream_hop_of_a_protocol_not_in_this_build_is_lost() {
    let world = tcp(NetLimits::default(), |said, out| {
        if let Said::Message(from, bytes) = said {
            let to = Hop {
                transport: Transport::Tls,
                connection: None,
                ..*from
            };
            out.send(to, PATIENCE, |arena| arena.extend_from_slice(bytes));
        }
    });
    let mut peer = connect(world.addrs[0]);
    peer.write_all(&message(1, 0)).expect("written");
    hear_message(&world);
    assert!(matches!(world.hear(), Said::Lost(_, HopLoss::Unreachable)));
}

#[test]
fn udp_and_tcp_share_an_address_and_a_message_may_change_between_them() {
    // A port that is free for UDP may be taken for TCP: not every try succeeds.
    let bound = (0..100).find_map(|_| {
        let address = closed_port().to_string();
        let both = [Transport::Udp, Transport::Tcp];
        Bound::bind(
            &both.map(|transport| support::listener(transport, &address)),
            1,
        )
        .ok()
    });
    let sink = support::udp_peer(LOOPBACK);
    let to = hop(Transport::Udp, 0, sink.local_addr().expect("bound"));
    let bound = bound.expect("one port in a hundred is free for both");
    let world = World::with(bound, NetLimits::default(), move |said, out| {
        if let Said::Message(_, bytes) = said {
            out.send(to, PATIENCE, |arena| arena.extend_from_slice(bytes));
        }
    });
    assert_eq!(world.addrs[0], world.addrs[1]);
    let mut peer = connect(world.addrs[1]);
    peer.write_all(&message(1, 0)).expect("written");
    let mut buffer = [0; 2_000];
    let length = sink.recv(&mut buffer).expect("a datagram comes");
    assert_eq!(buffer[..length], message(1, 0));
    assert_eq!(hear_message(&world).0.listener.0, 1);
}

#[test]
fn a_drained_shard_writes_its_last_words_first() {
    let world = tcp(NetLimits::default(), |said, out| {
        if let Said::Message(from, bytes) = said {
            out.send(*from, PATIENCE, |arena| arena.extend_from_slice(bytes));
        }
    });
    let mut peer = connect(world.addrs[0]);
    // More than the system takes at once, so that much is queued when the drain begins.
    let sent = message(1, 60_000);
    for _ in 0..10 {
        peer.write_all(&sent).expect("written");
        assert_eq!(hear_message(&world).1.len(), sent.len());
    }
    world.command(Command::Drain);
    for _ in 0..10 {
        assert!(read(&mut peer, sent.len()) == sent);
    }
    world.join();
    assert_eq!(read_to_end(&mut peer), b"");
}
