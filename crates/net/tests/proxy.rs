//! The product's own brain behind real sockets: what only both together can get wrong.

mod support;

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    sync::Arc,
    time::Duration,
};

use support::{PATIENCE, listener, udp_peer};
use trunkline_net::{Bound, Command, Handles, NetLimits, Threads, owner::Owners, spawn};
use trunkline_proxy::{
    Clock, Proxy, Routing, Seed, Settings, ShardId, Shared,
    settings::{Access, Capacity, UnknownSource},
};
use trunkline_sip::Transport;

struct Product {
    addrs: Vec<SocketAddr>,
    handles: Handles,
    threads: Threads,
}

impl Product {
    /// UDP and TCP on loopback; 127.0.0.1 is a PBX, everybody else a stranger.
    fn start() -> Product {
        let listeners: Vec<_> = [Transport::Udp, Transport::Tcp]
            .into_iter()
            .map(|transport| listener(transport, "127.0.0.1:0"))
            .collect();
        let bound = Bound::bind(&listeners, 1).expect("loopback can be bound");
        let addrs = bound.local_addrs();
        let listeners = std::iter::zip(listeners, &addrs).map(|(mut listener, addr)| {
            listener.bind = *addr;
            listener.advertise = addr.to_string().into();
            listener
        });
        let settings = Settings {
            node: "test".into(),
            listeners: listeners.collect(),
            access: Access {
                unknown_source: UnknownSource::Drop,
                rate: 0,
            },
            pbx_allow: vec!["127.0.0.1/32".parse().expect("a network")],
            trunks: Vec::new(),
            routes: Vec::new(),
            places: Vec::new(),
            drain_timeout: PATIENCE,
            capacity: Capacity::default(),
        };
        let routing = Arc::new(Routing::new(Arc::new(settings), Vec::new()));
        let seed = Seed {
            cluster: [1; 16],
            process: [2; 16],
        };
        let epoch = std::time::Instant::now();
        let make = move |clock: Clock| {
            let shared = Shared::new(1, epoch);
            Proxy::new(ShardId(0), clock, routing, seed, shared)
        };
        let (handles, threads) = spawn(
            bound,
            Owners::alone(),
            support::once(make),
            NetLimits::default(),
            epoch,
        )
        .expect("a shard starts");
        Product {
            addrs,
            handles,
            threads,
        }
    }

    fn drain(self) {
        let Product {
            handles, threads, ..
        } = self;
        handles.commands[0]
            .blocking_send(Command::Drain)
            .expect("the shard lives");
        support::wait_until(|| threads.are_finished());
        assert!(threads.join(), "the shard panicked");
    }
}

fn options(number: usize, transport: Transport, own: SocketAddr, to: SocketAddr) -> String {
    format!(
        "OPTIONS sip:{to} SIP/2.0\r\n\
         Via: SIP/2.0/{} {own};branch=z9hG4bK{number};rport\r\n\
         From: <sip:pbx@{own}>;tag={number}\r\n\
         To: <sip:{to}>\r\n\
         Call-ID: {number}@{own}\r\n\
         CSeq: {number} OPTIONS\r\n\
         Max-Forwards: 70\r\n\
         Content-Length: 0\r\n\r\n",
        transport.via_name()
    )
}

/// Asks and reads the answer.
fn ask_udp(peer: &UdpSocket, number: usize, to: SocketAddr) -> String {
    let own = peer.local_addr().expect("bound");
    let request = options(number, Transport::Udp, own, to);
    peer.send_to(request.as_bytes(), to).expect("sent");
    let mut buffer = [0; 4_096];
    let length = peer.recv(&mut buffer).expect("an answer comes");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

fn ask_tcp(peer: &mut TcpStream, number: usize) -> String {
    let (own, to) = (
        peer.local_addr().expect("connected"),
        peer.peer_addr().expect("connected"),
    );
    let request = options(number, Transport::Tcp, own, to);
    peer.write_all(request.as_bytes()).expect("written");
    let mut answer = Vec::new();
    let mut buffer = [0; 4_096];
    while !answer.ends_with(b"\r\n\r\n") {
        let length = peer.read(&mut buffer).expect("an answer comes");
        assert_ne!(length, 0, "closed instead of an answer");
        answer.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).expect("the listener accepts");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout can be set");
    stream
}

#[test]
fn it_answers_by_udp_and_tcp_and_ends_when_drained() {
    let product = Product::start();
    let udp = udp_peer("127.0.0.1:0");
    let mut tcp = connect(product.addrs[1]);
    for number in 1..20 {
        for answer in [
            ask_udp(&udp, number, product.addrs[0]),
            ask_tcp(&mut tcp, number),
        ] {
            assert!(answer.starts_with("SIP/2.0 "), "{answer}");
            assert!(
                answer.contains(&format!("CSeq: {number} OPTIONS")),
                "{answer}"
            );
        }
    }
    product.drain();
}

#[test]
fn a_stranger_hears_nothing() {
    let product = Product::start();
    let stranger = udp_peer("127.0.0.9:0");
    let own = stranger.local_addr().expect("bound");
    let request = options(1, Transport::Udp, own, product.addrs[0]);
    stranger
        .send_to(request.as_bytes(), product.addrs[0])
        .expect("sent");
    stranger
        .set_read_timeout(Some(Duration::from_millis(100)))
        .expect("a timeout can be set");
    assert!(stranger.recv(&mut [0; 4_096]).is_err());
    product.drain();
}

#[test]
fn a_stream_that_cannot_be_framed_is_told_why_and_closed() {
    let product = Product::start();
    let mut peer = connect(product.addrs[1]);
    let own = peer.local_addr().expect("connected");
    let request = options(1, Transport::Tcp, own, product.addrs[1]);
    let request = request.replace("Content-Length: 0", "Content-Length: -1");
    peer.write_all(request.as_bytes()).expect("written");
    let mut answer = Vec::new();
    peer.read_to_end(&mut answer).expect("a farewell, no reset");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("SIP/2.0 400 "), "{answer:?}");
    assert!(answer.contains("Content-Length"), "{answer}");
    product.drain();
}

#[test]
fn garbage_of_every_length_disturbs_nobody() {
    let product = Product::start();
    let good = udp_peer("127.0.0.1:0");
    let bad = udp_peer("127.0.0.1:0");
    let own = bad.local_addr().expect("bound");
    let whole = options(7, Transport::Udp, own, product.addrs[0]);
    // A generator of our own: the bytes are the same on every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..500 {
        let mut bytes = whole.clone().into_bytes();
        for _ in 0..=random() % 8 {
            let at = random() as usize % bytes.len();
            bytes[at] = random() as u8;
        }
        bytes.truncate(random() as usize % (bytes.len() + 1));
        bad.send_to(&bytes, product.addrs[0]).expect("sent");
        if round % 10 == 0 {
            let mut stream = connect(product.addrs[1]);
            // It may be closed before all is written.
            if let Err(error) = stream.write_all(&bytes) {
                assert!(matches!(
                    error.kind(),
                    ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
                ));
            }
        }
    }
    let answer = ask_udp(&good, 1, product.addrs[0]);
    assert!(answer.contains("CSeq: 1 OPTIONS"), "{answer}");
    support::wait_until(|| product.handles.stats[0].connections.get() == 0);
    product.drain();
}
