//! Datagrams through real sockets on loopback.

mod support;

use std::{
    net::{SocketAddr, UdpSocket},
    sync::mpsc::channel,
    time::Duration,
};

use support::{PATIENCE, Said, World, echo, hop, udp_peer, wait_until};
use trunkline_net::{BindError, Bound, Command, NetLimits};
use trunkline_proxy::{
    Answer, AskId, Event, HopLoss, Outbox, Question,
    question::{HttpFailure, HttpMethod, HttpRequest},
    settings::Place,
};
use trunkline_sip::Transport;

/// Sends whatever arrives on to `to`, whoever it came from.
fn forward_to(to: SocketAddr) -> impl FnMut(&Said, &mut Outbox) + Send + 'static {
    move |said, out| {
        if let Said::Message(from, bytes) = said {
            let to = hop(Transport::Udp, from.listener.0, to);
            out.send(to, PATIENCE, |arena| arena.extend_from_slice(bytes));
        }
    }
}

fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 65_535];
    let length = socket.recv(&mut buffer).expect("a datagram comes");
    buffer.truncate(length);
    buffer
}

/// A loopback address where nobody listens: its port was given to a socket that is closed again.
fn closed_port(address: &str) -> SocketAddr {
    udp_peer(address).local_addr().expect("bound")
}

#[test]
fn a_datagram_is_handed_over_whole_and_its_answer_goes_back_on_both_families() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let world = World::new(&[(Transport::Udp, address)], NetLimits::default(), echo);
        let peer = udp_peer(address);
        for length in [5, 1_300, 60_000] {
            let bytes = vec![b'x'; length];
            peer.send_to(&bytes, world.addrs[0]).expect("sent");
            assert_eq!(receive(&peer), bytes);
            let from = hop(Transport::Udp, 0, peer.local_addr().expect("bound"));
            assert_eq!(world.hear(), Said::Message(from, bytes));
        }
    }
}

#[test]
fn a_wildcard_listener_answers_on_loopback() {
    for (wildcard, loopback) in [("0.0.0.0:0", "127.0.0.1"), ("[::]:0", "::1")] {
        let world = World::new(&[(Transport::Udp, wildcard)], NetLimits::default(), echo);
        let to = SocketAddr::new(loopback.parse().expect("an address"), world.addrs[0].port());
        let peer = udp_peer(&SocketAddr::new(to.ip(), 0).to_string());
        peer.send_to(b"hello", to).expect("sent");
        assert_eq!(receive(&peer), b"hello");
    }
}

#[test]
fn keep_alives_never_reach_the_brain() {
    let world = World::new(
        &[(Transport::Udp, "127.0.0.1:0")],
        NetLimits::default(),
        echo,
    );
    let peer = udp_peer("127.0.0.1:0");
    for bytes in [&b""[..], b"\r\n\r\n", b"\0\0\0\0", b"real"] {
        peer.send_to(bytes, world.addrs[0]).expect("sent");
    }
    assert!(matches!(world.hear(), Said::Message(_, bytes) if bytes == b"real"));
    assert_eq!(world.stats().keep_alives.get(), 3);
    assert_eq!(world.stats().datagrams_in.get(), 4);
}

#[test]
fn a_closed_port_is_a_lost_hop_at_once() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let nobody = closed_port(address);
        let world = World::new(
            &[(Transport::Udp, address)],
            NetLimits::default(),
            forward_to(nobody),
        );
        let peer = udp_peer(address);
        // Twice: the first error must not deafen the socket to the second.
        for _ in 0..2 {
            peer.send_to(b"anyone?", world.addrs[0]).expect("sent");
            assert!(matches!(world.hear(), Said::Message(..)));
            assert_eq!(
                world.hear(),
                Said::Lost(hop(Transport::Udp, 0, nobody), HopLoss::Unreachable)
            );
        }
        assert!(world.stats().icmp_errors.get() >= 2);
    }
}

#[test]
fn an_error_of_one_peer_costs_another_nothing() {
    let nobody = closed_port("127.0.0.1:0");
    let somebody = udp_peer("127.0.0.1:0");
    let to = somebody.local_addr().expect("bound");
    let world = World::new(
        &[(Transport::Udp, "127.0.0.1:0")],
        NetLimits::default(),
        move |said, out| {
            if let Said::Message(_, bytes) = said {
                for remote in [nobody, to] {
                    out.send(hop(Transport::Udp, 0, remote), PATIENCE, |arena| {
                        arena.extend_from_slice(bytes)
                    });
                }
            }
        },
    );
    let peer = udp_peer("127.0.0.1:0");
    for round in 0..50u8 {
        peer.send_to(&[b'x', round, b'x'], world.addrs[0])
            .expect("sent");
        assert_eq!(receive(&somebody), [b'x', round, b'x']);
    }
    let losses = std::iter::from_fn(|| Some(world.hear()))
        .take(100)
        .filter(|said| match said {
            Said::Lost(hop, why) => {
                assert_eq!((hop.remote, *why), (nobody, HopLoss::Unreachable));
                true
            }
            _ => false,
        });
    assert_eq!(losses.count(), 50);
}

#[test]
fn errors_of_many_peers_at_once_cost_another_nothing() {
    let nobodies: Vec<_> = (0..6).map(|_| closed_port("127.0.0.1:0")).collect();
    let somebody = udp_peer("127.0.0.1:0");
    let to = somebody.local_addr().expect("bound");
    let world = World::new(
        &[(Transport::Udp, "127.0.0.1:0")],
        NetLimits::default(),
        move |said, out| {
            if let Said::Message(_, bytes) = said {
                for remote in nobodies.iter().copied().chain([to]) {
                    out.send(hop(Transport::Udp, 0, remote), PATIENCE, |arena| {
                        arena.extend_from_slice(bytes)
                    });
                }
            }
        },
    );
    let peer = udp_peer("127.0.0.1:0");
    for round in 0..50u8 {
        peer.send_to(&[b'x', round, b'x'], world.addrs[0])
            .expect("sent");
        assert_eq!(receive(&somebody), [b'x', round, b'x']);
    }
}

/// In a crowd, what goes to one peer leaves as one: so it is lost as one, and nothing else is.
#[test]
fn a_dead_peer_in_a_crowd_is_told_of_and_costs_the_others_nothing() {
    const CROWD: u8 = 12;
    let nobody = closed_port("127.0.0.1:0");
    let somebody = udp_peer("127.0.0.1:0");
    let to = somebody.local_addr().expect("bound");
    let world = World::new(
        &[(Transport::Udp, "127.0.0.1:0")],
        NetLimits::default(),
        move |said, out| {
            if let Said::Message(_, bytes) = said {
                for number in 0..CROWD {
                    for remote in [nobody, to] {
                        out.send(hop(Transport::Udp, 0, remote), PATIENCE, |arena| {
                            arena.extend_from_slice(bytes);
                            arena.push(number);
                        });
                    }
                }
            }
        },
    );
    let peer = udp_peer("127.0.0.1:0");
    for round in 0..20u8 {
        peer.send_to(&[b'x', round], world.addrs[0]).expect("sent");
        for number in 0..CROWD {
            assert_eq!(receive(&somebody), [b'x', round, number]);
        }
        let lost = std::iter::from_fn(|| Some(world.hear()))
            .find(|said| !matches!(said, Said::Message(..)));
        let Some(Said::Lost(hop, why)) = lost else {
            panic!("{lost:?}");
        };
        assert_eq!((hop.remote, why), (nobody, HopLoss::Unreachable));
    }
}

#[test]
fn a_message_too_large_for_a_datagram_is_a_lost_hop_and_counted() {
    let sink = udp_peer("127.0.0.1:0");
    let to = hop(Transport::Udp, 0, sink.local_addr().expect("bound"));
    let world = World::new(
        &[(Transport::Udp, "127.0.0.1:0")],
        NetLimits::default(),
        move |said, out| {
            if let Said::Message(..) = said {
                out.send(to, PATIENCE, |arena| arena.resize(65_600, b'x'));
            }
        },
    );
    udp_peer("127.0.0.1:0")
        .send_to(b"grow", world.addrs[0])
        .expect("sent");
    assert!(matches!(world.hear(), Said::Message(..)));
    assert_eq!(world.hear(), Said::Lost(to, HopLoss::Limit));
    assert_eq!(world.stats().oversize.get(), 1);
}

#[test]
fn a_hop_that_no_socket_can_reach_is_lost() {
    let world = World::new(
        &[(Transport::Udp, "127.0.0.1:0")],
        NetLimits::default(),
        forward_to("[::1]:5060".parse().expect("an address")),
    );
    udp_peer("127.0.0.1:0")
        .send_to(b"wrong family", world.addrs[0])
        .expect("sent");
    assert!(matches!(world.hear(), Said::Message(..)));
    assert!(matches!(world.hear(), Said::Lost(_, HopLoss::Unreachable)));
}

#[test]
fn a_question_reaches_the_slow_side_and_its_answer_comes_back() {
    let mut world = World::new(
        &[(Transport::Udp, "127.0.0.1:0")],
        NetLimits::default(),
        |said, out| {
            if let Said::Message(..) = said {
                out.ask(AskId(7), Question::Resolve(place()));
            }
        },
    );
    udp_peer("127.0.0.1:0")
        .send_to(b"where?", world.addrs[0])
        .expect("sent");
    let (ask, question) = world.handles.questions.blocking_recv().expect("a question");
    assert_eq!((ask, *question), (AskId(7), Question::Resolve(place())));
    world.command(Command::Answer {
        ask,
        answer: Answer::ResolveFailed,
    });
    assert!(matches!(world.hear(), Said::Message(..)));
    assert_eq!(world.hear(), Said::Answer(7, Answer::ResolveFailed));
}

#[test]
fn a_slow_side_that_does_not_keep_up_costs_events_and_answers_but_no_call() {
    let limits = NetLimits {
        events: 1,
        questions: 1,
        ..NetLimits::default()
    };
    let world = World::new(&[(Transport::Udp, "127.0.0.1:0")], limits, |said, out| {
        if let Said::Message(..) = said {
            for _ in 0..3 {
                out.tell(Event::Retransmitted);
            }
            out.ask(AskId(1), Question::Http(webhook()));
            out.ask(AskId(2), Question::Resolve(place()));
            out.ask(AskId(3), Question::Http(webhook()));
        }
        echo(said, out);
    });
    let peer = udp_peer("127.0.0.1:0");
    peer.send_to(b"busy", world.addrs[0]).expect("sent");
    assert_eq!(receive(&peer), b"busy");
    assert!(matches!(world.hear(), Said::Message(..)));
    assert_eq!(world.hear(), Said::Answer(2, Answer::ResolveFailed));
    assert_eq!(
        world.hear(),
        Said::Answer(3, Answer::HttpFailed(HttpFailure::Busy))
    );
    assert_eq!(world.stats().questions_failed.get(), 2);
    // Those of the first message go together, and there is no room behind them.
    wait_until(|| !world.handles.events.is_empty());
    peer.send_to(b"busier", world.addrs[0]).expect("sent");
    assert_eq!(receive(&peer), b"busier");
    wait_until(|| world.stats().events_dropped.get() == 3);
}

#[test]
fn events_arrive_in_order_even_those_of_the_last_moment() {
    let mut world = World::new(
        &[(Transport::Udp, "127.0.0.1:0")],
        NetLimits::default(),
        |said, out| match said {
            Said::Message(..) => (0..600).for_each(|_| out.tell(Event::Retransmitted)),
            Said::Drain => out.tell(Event::Parked),
            _ => {}
        },
    );
    udp_peer("127.0.0.1:0")
        .send_to(b"tell", world.addrs[0])
        .expect("sent");
    assert!(matches!(world.hear(), Said::Message(..)));
    world.command(Command::Drain);
    let batches = std::iter::from_fn(|| world.handles.events.blocking_recv());
    let events: Vec<Event> = batches.flat_map(|batch| batch.events).collect();
    let (last, others) = events.split_last().expect("some were told");
    assert_eq!(*last, Event::Parked);
    assert_eq!(others, vec![Event::Retransmitted; 600]);
}

#[test]
fn calls_go_on_when_the_slow_side_is_gone() {
    let mut world = World::new(
        &[(Transport::Udp, "127.0.0.1:0")],
        NetLimits::default(),
        |said, out| {
            out.tell(Event::Retransmitted);
            echo(said, out);
        },
    );
    // Its ends of events and questions; the commands stay so that the test can stop the shard.
    world.handles.events.close();
    world.handles.questions.close();
    let peer = udp_peer("127.0.0.1:0");
    for _ in 0..3 {
        peer.send_to(b"still there?", world.addrs[0]).expect("sent");
        assert_eq!(receive(&peer), b"still there?");
    }
}

#[test]
fn a_drained_shard_ends_when_its_brain_is_idle() {
    let world = World::new(
        &[(Transport::Udp, "127.0.0.1:0")],
        NetLimits::default(),
        echo,
    );
    world.command(Command::Drain);
    assert_eq!(world.hear(), Said::Drain);
    world.join();
}

#[test]
fn a_stopped_shard_ends_at_once() {
    let world = World::new(
        &[(Transport::Udp, "127.0.0.1:0")],
        NetLimits::default(),
        echo,
    );
    world.command(Command::Stop);
    world.join();
}

#[test]
fn a_listener_that_cannot_be_bound_says_which_and_what_to_do() {
    let taken = udp_peer("127.0.0.1:0");
    let address = taken.local_addr().expect("bound").to_string();
    let error = Bound::bind(&[support::listener(Transport::Udp, &address)], 1)
        .expect_err("the port is taken");
    let text = error.to_string();
    assert!(
        text.contains("listener #1")
            && text.contains(&address)
            && text.contains("choose another port"),
        "{text}"
    );

    let mut named = support::listener(Transport::Tls, "127.0.0.1:0");
    named.name = Some("outside".into());
    let error = Bound::bind(&[named], 1).expect_err("no TLS yet");
    assert!(matches!(error, BindError::NotInThisBuild { .. }));
    assert!(
        error.to_string().contains("\"outside\"")
            && error.to_string().contains("not in this build"),
        "{error}"
    );
}

#[test]
fn ipv4_and_ipv6_wildcards_share_a_port() {
    // Another program may have the port in the other family: not every try succeeds.
    let shared = (0..100).any(|_| {
        let first =
            Bound::bind(&[support::listener(Transport::Udp, "0.0.0.0:0")], 1).expect("bound");
        let other = format!("[::]:{}", first.local_addrs()[0].port());
        Bound::bind(&[support::listener(Transport::Udp, &other)], 1).is_ok()
    });
    assert!(shared);
}

#[test]
fn a_shard_that_is_behind_says_how_long_and_when_it_has_caught_up() {
    const SLOW: Duration = Duration::from_millis(1);
    let (tell, told) = channel();
    let world = World::new(
        &[(Transport::Udp, "127.0.0.1:0")],
        NetLimits::default(),
        move |said, _| match said {
            Said::Message(..) => std::thread::sleep(SLOW),
            Said::Backlog(backlog) => drop(tell.send(*backlog)),
            _ => {}
        },
    );
    let peer = udp_peer("127.0.0.1:0");
    for _ in 0..150 {
        peer.send_to(b"burst", world.addrs[0]).expect("sent");
    }
    let mut told = std::iter::from_fn(|| told.recv_timeout(PATIENCE).ok());
    let grown: Vec<_> = told
        .by_ref()
        .take_while(|backlog| !backlog.is_zero())
        .collect();
    assert!(grown.is_sorted(), "{grown:?}");
    // Four visits of 32 before the last.
    assert!(grown.last() >= Some(&(64 * SLOW)), "{grown:?}");
    assert_eq!(world.stats().datagrams_in.get(), 150);
    // One at a time leaves nothing behind.
    peer.send_to(b"alone", world.addrs[0]).expect("sent");
    wait_until(|| world.stats().datagrams_in.get() == 151);
    world.command(Command::Stop);
    world.join();
    assert_eq!(told.next(), None);
}

#[test]
fn a_burst_larger_than_a_visit_is_read_to_its_end() {
    let world = World::new(
        &[(Transport::Udp, "127.0.0.1:0")],
        NetLimits::default(),
        |_, _| {},
    );
    let peer = udp_peer("127.0.0.1:0");
    for _ in 0..100 {
        peer.send_to(b"burst", world.addrs[0]).expect("sent");
    }
    wait_until(|| world.stats().datagrams_in.get() == 100);
}

fn place() -> Place {
    Place {
        host: "pbx.example.net".into(),
        port: None,
        transport: None,
        secure: false,
        from: None,
    }
}

fn webhook() -> HttpRequest {
    HttpRequest {
        method: HttpMethod::Post,
        connect_timeout: PATIENCE,
        timeout: PATIENCE,
        ..HttpRequest::get("http://127.0.0.1/")
    }
}
