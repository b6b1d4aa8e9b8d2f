//! Name servers that lie, break, fall silent or are not there (BEHAVIOUR 4, FACTS P22).

mod common;

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use common::{host, loopback, shown, usual_listeners as usual};
use trunkline_control::{
    Lookup, Resolver,
    testdns::{Fault, TestDns},
};
use trunkline_proxy::settings::Place;
use trunkline_sip::Transport::Udp;

const TIMEOUT: Duration = Duration::from_secs(2);

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, last)
}

/// A name without a port: its services are asked for.
fn place(name: &str) -> Place {
    Place {
        port: None,
        ..host(name)
    }
}

#[tokio::test]
async fn no_such_name_is_an_answer_and_everything_else_is_a_failure() {
    let dns = TestDns::start(loopback(1)).await.unwrap();
    let resolver = Resolver::new(&[dns.addr()], Duration::from_millis(300)).unwrap();
    dns.a("edge.test", 600, &[ip(1)]);
    dns.aaaa("empty.test", 600, &[Ipv6Addr::LOCALHOST]);
    dns.cname("loop.test", 600, "loop.test");
    let cases = [
        ("edge.test", None, "udp:127.0.1.1:5060 0/0"),
        ("edge.test", Some(Fault::NxDomain), "absent"),
        ("nobody.test", None, "absent"),
        ("empty.test", None, "absent"),
        ("edge.test", Some(Fault::ServFail), "failed"),
        ("edge.test", Some(Fault::Silence), "failed"),
        ("edge.test", Some(Fault::Garbage), "failed"),
        ("edge.test", Some(Fault::Foreign), "failed"),
        ("not a name", None, "failed"),
    ];
    for (name, fault, want) in cases {
        dns.fault(name, fault);
        let place = Place {
            port: Some(5060),
            ..place(name)
        };
        let began = Instant::now();
        assert_eq!(
            shown(&resolver.place(&place, &usual()).await),
            [want],
            "{name} {fault:?}"
        );
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{name} {fault:?} took {:?}",
            began.elapsed()
        );
        dns.fault(name, None);
    }
    let loops = Place {
        port: Some(5060),
        ..place("loop.test")
    };
    let lookup = resolver.place(&loops, &usual()).await;
    assert!(!matches!(lookup, Lookup::Found { .. }), "{lookup:?}");
}

#[tokio::test]
async fn a_failure_names_the_question_and_the_server() {
    let dns = TestDns::start(loopback(1)).await.unwrap();
    let resolver = Resolver::new(&[dns.addr()], TIMEOUT).unwrap();
    dns.fault_all(Some(Fault::ServFail));
    match resolver.place(&place("edge.test"), &usual()).await {
        Lookup::Failed(why) => {
            assert!(why.contains("A edge.test."), "{why}");
            assert!(why.contains(&dns.addr().to_string()), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_first_name_server_that_is_dead_or_broken_costs_a_moment_and_not_the_answer() {
    let place = Place {
        port: Some(5060),
        ..place("edge.test")
    };
    let cases = [
        (Fault::Silence, 2, TIMEOUT),
        (Fault::ServFail, 2, TIMEOUT),
        (Fault::Garbage, 2, TIMEOUT),
        // The timeout is shorter than the head start.
        (Fault::Silence, 2, Duration::from_millis(250)),
        // One address, two ports.
        (Fault::Silence, 1, TIMEOUT),
        (Fault::ServFail, 1, TIMEOUT),
    ];
    for (fault, last, timeout) in cases {
        let good = TestDns::start(loopback(1)).await.unwrap();
        let bad = TestDns::start(loopback(last)).await.unwrap();
        good.a("edge.test", 600, &[ip(1)]);
        bad.fault_all(Some(fault));
        let resolver = Resolver::new(&[bad.addr(), good.addr()], timeout).unwrap();
        let began = Instant::now();
        let shown_first = shown(&resolver.place(&place, &usual()).await);
        assert_eq!(
            shown_first,
            ["udp:127.0.1.1:5060 0/0"],
            "{fault:?} {last} {timeout:?}"
        );
        assert!(
            began.elapsed() < Duration::from_secs(1),
            "{fault:?} took {:?}",
            began.elapsed()
        );
        // From now on the good one is asked first, and the bad one not at all.
        let before = bad.asked().len();
        assert_eq!(
            shown(&resolver.place(&place, &usual()).await),
            ["udp:127.0.1.1:5060 0/0"]
        );
        assert_eq!(bad.asked().len(), before, "{fault:?}");
    }
}

#[tokio::test]
async fn the_systems_own_dns_is_no_condition_for_addresses() {
    let resolver = Resolver::new(&[], TIMEOUT).unwrap();
    let lookup = resolver.place(&place("127.0.1.7"), &usual()).await;
    assert_eq!(shown(&lookup), ["udp:127.0.1.7:5060 0/0"]);
}

/// A name server whose answers are true ones with a few bytes changed, at random but repeatably.
async fn liar(seed: u64) -> SocketAddr {
    let truth = TestDns::start(loopback(1)).await.unwrap();
    truth.a("edge.test", 600, &[ip(1), ip(2)]);
    truth.srv("_sip._udp.edge.test", 600, &[(1, 1, 5060, "edge.test")]);
    let socket = tokio::net::UdpSocket::bind(loopback(3)).await.unwrap();
    let addr = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let upstream = tokio::net::UdpSocket::bind(loopback(1)).await.unwrap();
        upstream.connect(truth.addr()).await.unwrap();
        let (mut question, mut answer, mut dice) = ([0; 4096], [0; 4096], seed | 1);
        let mut roll = move |sides: usize| {
            // Xorshift: any few bits will do.
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            (dice % sides as u64) as usize
        };
        while let Ok((length, from)) = socket.recv_from(&mut question).await {
            upstream.send(&question[..length]).await.unwrap();
            let length = upstream.recv(&mut answer).await.unwrap();
            // The id stays, so that the lie is looked at.
            for _ in 0..=roll(4) {
                answer[2 + roll(length - 2)] = roll(256) as u8;
            }
            let cut = if roll(4) == 0 {
                2 + roll(length - 2)
            } else {
                length
            };
            let _ = socket.send_to(&answer[..cut], from).await;
        }
    });
    addr
}

#[tokio::test]
async fn answers_with_wrong_bytes_cost_a_timeout_at_most_and_never_more() {
    let timeout = Duration::from_millis(150);
    let mut lookups = tokio::task::JoinSet::new();
    for seed in 1..=60u64 {
        let server = liar(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)).await;
        let resolver = Resolver::new(&[server], timeout).unwrap();
        lookups.spawn(async move {
            let udp = Place {
                transport: Some(Udp),
                ..place("edge.test")
            };
            let began = Instant::now();
            let lookup = resolver.place(&udp, &usual()).await;
            (seed, lookup, began.elapsed())
        });
    }
    let mut results = std::collections::BTreeSet::new();
    while let Some(done) = lookups.join_next().await {
        let (seed, lookup, took) = done.expect("no lookup panics");
        assert!(
            took < Duration::from_secs(5),
            "seed {seed} took {took:?}: {lookup:?}"
        );
        results.insert(trunkline_control::resolve::LookupResult::of(&lookup).word());
    }
    assert!(results.contains("failed"), "{results:?}");
}
