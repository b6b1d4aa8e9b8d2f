//! BEHAVIOUR 4, from a name to candidates, against a real DNS server on loopback.

mod common;

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use common::{loopback, shown};

use trunkline_control::{
    Lookup, Resolver,
    testdns::{Fault, TestDns},
};
use trunkline_proxy::{
    ListenerId,
    settings::{Listener, Place},
};
use trunkline_sip::Transport::{self, Tcp, Tls, Udp};

const TIMEOUT: Duration = Duration::from_secs(2);

async fn dns() -> (TestDns, Resolver) {
    let dns = TestDns::start(loopback(1)).await.unwrap();
    let resolver = Resolver::new(&[dns.addr()], TIMEOUT).unwrap();
    (dns, resolver)
}

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, last)
}

fn listeners(of: &[(Transport, &str)]) -> Vec<Listener> {
    of.iter()
        .map(|(transport, bind)| Listener {
            name: None,
            transport: *transport,
            bind: bind.parse().unwrap(),
            advertise: (*bind).into(),
        })
        .collect()
}

fn usual() -> Vec<Listener> {
    listeners(&[(Udp, "127.0.0.1:5060"), (Tcp, "127.0.0.1:5060")])
}

fn place(host: &str) -> Place {
    Place {
        host: host.into(),
        port: None,
        transport: None,
        secure: false,
        from: None,
    }
}

#[tokio::test]
async fn every_address_of_a_name_becomes_a_candidate() {
    let (dns, resolver) = dns().await;
    dns.a("edge.test", 600, &[ip(3), ip(1), ip(2)]);
    let lookup = resolver.place(&place("edge.test"), &usual()).await;
    assert_eq!(
        shown(&lookup),
        [
            "udp:127.0.1.1:5060 0/0",
            "udp:127.0.1.2:5060 0/0",
            "udp:127.0.1.3:5060 0/0"
        ]
    );
    let Lookup::Found { ttl, .. } = lookup else {
        panic!("{lookup:?}")
    };
    assert_eq!(
        ttl,
        Duration::from_secs(60),
        "the shortest TTL on the way is NAPTR's and SRV's \"nothing\""
    );
}

#[tokio::test]
async fn what_is_written_decides_what_is_asked() {
    let (dns, resolver) = dns().await;
    dns.naptr(
        "all.test",
        300,
        &[
            (20, 1, "SIP+D2U", "_sip._udp.all.test"),
            (10, 1, "SIP+D2T", "_sip._tcp.all.test"),
        ],
    );
    dns.srv("_sip._tcp.all.test", 300, &[(1, 2, 5070, "host.test")]);
    dns.srv("_sip._udp.all.test", 300, &[(3, 4, 5080, "host.test")]);
    dns.srv("_sips._tcp.all.test", 300, &[(5, 6, 5091, "host.test")]);
    dns.a("host.test", 300, &[ip(1)]);
    dns.a("all.test", 300, &[ip(9)]);
    let with_tls = listeners(&[
        (Udp, "127.0.0.1:5060"),
        (Tcp, "127.0.0.1:5060"),
        (Tls, "127.0.0.1:5061"),
    ]);
    let only_tcp = listeners(&[(Tcp, "127.0.0.1:5060")]);

    let base = place("all.test");
    let cases = [
        (
            "a name alone: NAPTR",
            base.clone(),
            usual(),
            "tcp:127.0.1.1:5070 1/2",
            &["NAPTR", "SRV", "A"][..],
        ),
        (
            "a port: this host and no other",
            Place {
                port: Some(5088),
                ..base.clone()
            },
            usual(),
            "udp:127.0.1.9:5088 0/0",
            &["A"],
        ),
        (
            "a transport: no NAPTR",
            Place {
                transport: Some(Udp),
                ..base.clone()
            },
            usual(),
            "udp:127.0.1.1:5080 3/4",
            &["SRV", "A"],
        ),
        (
            "a port where we only have TCP",
            Place {
                port: Some(5088),
                ..base.clone()
            },
            only_tcp,
            "tcp:127.0.1.9:5088 0/0",
            &["A"],
        ),
        (
            "sips: only TLS",
            Place {
                secure: true,
                ..base.clone()
            },
            with_tls.clone(),
            "tls:127.0.1.1:5091 5/6",
            &["SRV", "A"],
        ),
        (
            "sips over TCP is TLS",
            Place {
                secure: true,
                transport: Some(Tcp),
                port: Some(5061),
                ..base.clone()
            },
            with_tls,
            "tls:127.0.1.9:5061 0/0",
            &["A"],
        ),
    ];
    for (what, place, listeners, want, kinds) in cases {
        let before = dns.asked().len();
        assert_eq!(
            shown(&resolver.place(&place, &listeners).await),
            [want],
            "{what}"
        );
        let asked: Vec<_> = dns
            .asked()
            .drain(before..)
            .map(|asked| asked.kind)
            .collect();
        assert_eq!(asked, kinds, "{what}");
    }
}

#[tokio::test]
async fn an_address_asks_nobody() {
    let (dns, resolver) = dns().await;
    let both = listeners(&[
        (Udp, "127.0.0.1:5060"),
        (Tcp, "[::1]:5060"),
        (Tls, "127.0.0.1:5061"),
    ]);
    let cases = [
        (place("127.0.1.7"), "udp:127.0.1.7:5060 0/0"),
        (
            Place {
                port: Some(5099),
                ..place("127.0.1.7")
            },
            "udp:127.0.1.7:5099 0/0",
        ),
        (place("::1"), "tcp:[::1]:5060 0/0"),
        (
            Place {
                secure: true,
                ..place("127.0.1.7")
            },
            "tls:127.0.1.7:5061 0/0",
        ),
    ];
    for (place, want) in cases {
        let lookup = resolver.place(&place, &both).await;
        assert_eq!(shown(&lookup), [want]);
        assert!(matches!(
            lookup,
            Lookup::Found {
                ttl: Duration::MAX,
                ..
            }
        ));
    }
    assert_eq!(dns.asked(), []);
}

#[tokio::test]
async fn without_records_for_services_a_name_is_its_addresses() {
    let (dns, resolver) = dns().await;
    dns.a("plain.test", 600, &[ip(1)]);
    let cases = [
        (place("plain.test"), "udp:127.0.1.1:5060 0/0"),
        (
            Place {
                transport: Some(Tcp),
                ..place("plain.test")
            },
            "tcp:127.0.1.1:5060 0/0",
        ),
        // `from` names the TCP listener: that is the transport meant.
        (
            Place {
                from: Some(ListenerId(1)),
                ..place("plain.test")
            },
            "tcp:127.0.1.1:5060 0/0",
        ),
    ];
    for (place, want) in cases {
        assert_eq!(shown(&resolver.place(&place, &usual()).await), [want]);
    }
}

#[tokio::test]
async fn both_families_are_candidates_where_we_have_listeners_for_both() {
    let (dns, resolver) = dns().await;
    dns.a("dual.test", 600, &[ip(1)]);
    dns.aaaa("dual.test", 600, &[Ipv6Addr::LOCALHOST]);
    let place = Place {
        port: Some(5060),
        ..place("dual.test")
    };
    let both = listeners(&[(Udp, "127.0.0.1:5060"), (Udp, "[::1]:5060")]);
    let lookup = resolver.place(&place, &both).await;
    assert_eq!(
        shown(&lookup),
        ["udp:127.0.1.1:5060 0/0", "udp:[::1]:5060 0/0"]
    );
    let Lookup::Found { candidates, .. } = lookup else {
        panic!("{lookup:?}")
    };
    let spoken_from: Vec<_> = candidates
        .iter()
        .map(|candidate| candidate.listener.0)
        .collect();
    assert_eq!(spoken_from, [0, 1]);
    assert_eq!(
        shown(&resolver.place(&place, &usual()).await),
        ["udp:127.0.1.1:5060 0/0"]
    );
}

#[tokio::test]
async fn what_no_listener_reaches_is_left_out_and_said() {
    let (_dns, resolver) = dns().await;
    let cases = [
        (
            Place {
                secure: true,
                ..place("127.0.0.9")
            },
            "speaks tls",
        ),
        (
            Place {
                transport: Some(Tls),
                ..place("edge.test")
            },
            "speaks tls",
        ),
        (place("::1"), "no IPv6 listener"),
    ];
    for (place, want) in cases {
        match resolver.place(&place, &usual()).await {
            Lookup::Found {
                candidates,
                left_out,
                ..
            } => {
                assert_eq!(candidates, []);
                assert!(
                    left_out.iter().any(|said| said.contains(want)),
                    "{left_out:?}"
                );
            }
            Lookup::Absent { .. } | Lookup::Failed(_) => panic!("{place:?} needs a listener"),
        }
    }
}

/// Pain P2 and P23: every record of a long SRV answer counts, and it comes over TCP.
#[tokio::test]
async fn fifty_srv_records_come_over_tcp_and_all_count() {
    let (dns, resolver) = dns().await;
    let names: Vec<String> = (0..50)
        .map(|n| format!("a-rather-long-host-name-{n}.test"))
        .collect();
    let records: Vec<_> = names
        .iter()
        .zip(0u16..)
        .map(|(name, n)| (n / 10, n, 5060 + n, name.as_str()))
        .collect();
    dns.srv("_sip._udp.big.test", 600, &records);
    for (name, n) in names.iter().zip(0u8..) {
        dns.a(name, 600, &[ip(n + 1)]);
    }
    let lookup = resolver.place(&place("big.test"), &usual()).await;
    let shown = shown(&lookup);
    assert_eq!(shown.len(), 50, "{lookup:?}");
    assert_eq!(shown[0], "udp:127.0.1.1:5060 0/0");
    assert_eq!(shown[49], "udp:127.0.1.50:5109 4/49");
    let srv: Vec<bool> = dns
        .asked()
        .iter()
        .filter(|asked| asked.kind == "SRV")
        .map(|asked| asked.tcp)
        .collect();
    assert_eq!(srv, [false, true], "cut over UDP, whole over TCP");
}

#[tokio::test]
async fn a_cut_answer_without_tcp_is_a_failure_and_no_half_set() {
    let (dns, resolver) = dns().await;
    dns.a("edge.test", 600, &[ip(1)]);
    dns.fault("edge.test", Some(Fault::TruncateWithoutTcp));
    let place = Place {
        port: Some(5060),
        ..place("edge.test")
    };
    assert_eq!(shown(&resolver.place(&place, &usual()).await), ["failed"]);
    dns.fault("edge.test", Some(Fault::Truncate));
    assert_eq!(
        shown(&resolver.place(&place, &usual()).await),
        ["udp:127.0.1.1:5060 0/0"]
    );
}

#[tokio::test]
async fn a_host_in_several_records_is_asked_for_once_and_a_missing_one_costs_nothing() {
    let (dns, resolver) = dns().await;
    dns.srv(
        "_sip._udp.many.test",
        600,
        &[
            (10, 60, 5060, "one.test"),
            (10, 20, 5061, "one.test"),
            (20, 1, 5060, "gone.test"),
            (30, 1, 5060, "one.test"),
        ],
    );
    dns.a("one.test", 600, &[ip(1)]);
    let lookup = resolver.place(&place("many.test"), &usual()).await;
    assert_eq!(
        shown(&lookup),
        ["udp:127.0.1.1:5061 10/20", "udp:127.0.1.1:5060 10/60"]
    );
    assert!(
        matches!(
            lookup,
            Lookup::Found {
                incomplete: None,
                ..
            }
        ),
        "NXDOMAIN is an answer"
    );
    let one = dns
        .asked()
        .iter()
        .filter(|asked| asked.name == "one.test")
        .count();
    assert_eq!(one, 1);
}

#[tokio::test]
async fn a_service_that_is_decidedly_absent_is_not_looked_for_elsewhere() {
    let (dns, resolver) = dns().await;
    dns.srv("_sip._udp.no.test", 600, &[(0, 0, 0, ".")]);
    dns.a("no.test", 600, &[ip(1)]);
    let udp = Place {
        transport: Some(Udp),
        ..place("no.test")
    };
    assert_eq!(shown(&resolver.place(&udp, &usual()).await), ["absent"]);
    // Another transport that is offered is still used.
    dns.srv("_sip._tcp.no.test", 600, &[(1, 1, 5060, "no.test")]);
    assert_eq!(
        shown(&resolver.place(&place("no.test"), &usual()).await),
        ["tcp:127.0.1.1:5060 1/1"]
    );
}

#[tokio::test]
async fn a_cname_is_followed_and_its_ttl_counts() {
    let (dns, resolver) = dns().await;
    dns.cname("alias.test", 30, "middle.test");
    dns.cname("middle.test", 300, "real.test");
    dns.a("real.test", 600, &[ip(1), ip(2)]);
    let place = Place {
        port: Some(5060),
        ..place("alias.test")
    };
    let lookup = resolver.place(&place, &usual()).await;
    assert_eq!(
        shown(&lookup),
        ["udp:127.0.1.1:5060 0/0", "udp:127.0.1.2:5060 0/0"]
    );
    let Lookup::Found { ttl, .. } = lookup else {
        panic!("{lookup:?}")
    };
    assert_eq!(ttl, Duration::from_secs(30));
}

/// One target of many that cannot be looked up must not hide that there may be more.
#[tokio::test]
async fn an_incomplete_answer_says_so() {
    let (dns, resolver) = dns().await;
    dns.srv(
        "_sip._udp.half.test",
        600,
        &[(1, 1, 5060, "good.test"), (1, 1, 5060, "bad.test")],
    );
    dns.a("good.test", 600, &[ip(1)]);
    dns.fault("bad.test", Some(Fault::ServFail));
    match resolver.place(&place("half.test"), &usual()).await {
        Lookup::Found {
            candidates,
            incomplete: Some(why),
            ..
        } => {
            assert_eq!(candidates.len(), 1);
            assert!(why.contains("bad.test"), "{why}");
        }
        other => panic!("{other:?}"),
    }
}
