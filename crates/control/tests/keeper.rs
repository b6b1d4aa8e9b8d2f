//! Names are resolved ahead of need, and a failure of DNS takes nothing away (BEHAVIOUR 4).

mod common;

use std::{
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use common::{fast, host, listener, loopback, settings, soon};
use trunkline_control::{
    Keeper, Resolver,
    resolve::{LookupResult, News},
    testdns::{Fault, TestDns},
};
use trunkline_proxy::{
    Routing, Settings,
    routing::{Freshness, Resolved},
    settings::PlaceId,
};
use trunkline_sip::Transport;

const TIMEOUT: Duration = Duration::from_millis(200);

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, last)
}

async fn keep(dns: &TestDns, settings: &Arc<Settings>) -> (Keeper, Arc<Routing>) {
    let resolver = Resolver::new(&[dns.addr()], TIMEOUT).unwrap();
    soon(Keeper::start(
        settings.clone(),
        resolver,
        TIMEOUT * 2,
        fast(),
    ))
    .await
}

/// The next snapshot.
async fn changed(keeper: &mut Keeper) -> Arc<Routing> {
    soon(async {
        loop {
            match keeper.next().await {
                News::Asked(_) => {}
                News::Changed(_, routing) | News::Settled(routing) => return routing,
            }
        }
    })
    .await
}

/// Waits for a lookup to go like this, and no snapshot before it.
async fn asked(keeper: &mut Keeper, want: LookupResult) {
    soon(async {
        loop {
            match keeper.next().await {
                News::Asked(result) if result == want => return,
                News::Asked(_) => {}
                news => panic!("{news:?}"),
            }
        }
    })
    .await;
}

/// "127.0.1.1,127.0.1.2 Fresh"
fn shown(routing: &Arc<Routing>, place: u32) -> String {
    let Resolved {
        candidates,
        freshness,
    } = routing.resolved(PlaceId(place));
    let addresses: Vec<_> = candidates.iter().map(|c| c.addr.ip().to_string()).collect();
    format!("{} {freshness:?}", addresses.join(","))
}

#[tokio::test]
async fn an_address_in_the_file_needs_no_dns_and_a_silent_name_delays_the_start_by_its_limit_only()
{
    let dns = TestDns::start(loopback(1)).await.unwrap();
    let (_keeper, routing) = keep(&dns, &settings(&[host("127.0.1.7")])).await;
    assert_eq!(shown(&routing, 0), "127.0.1.7 Fresh");
    assert_eq!(dns.asked(), []);

    dns.fault_all(Some(Fault::Silence));
    let began = Instant::now();
    let resolver = Resolver::new(&[dns.addr()], Duration::from_secs(5)).unwrap();
    let places = settings(&[host("127.0.1.7"), host("edge.test")]);
    let (_keeper, routing) = soon(Keeper::start(places, resolver, TIMEOUT, fast())).await;
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(shown(&routing, 0), "127.0.1.7 Fresh");
    assert_eq!(shown(&routing, 1), " Unknown");
}

#[tokio::test]
async fn a_name_that_fails_at_the_start_is_there_as_soon_as_dns_answers() {
    let dns = TestDns::start(loopback(1)).await.unwrap();
    dns.a("edge.test", 600, &[ip(1)]);
    dns.fault_all(Some(Fault::ServFail));
    let (mut keeper, routing) = keep(&dns, &settings(&[host("edge.test")])).await;
    assert_eq!(shown(&routing, 0), " Unknown");
    assert!(
        keeper.status()[0]
            .why
            .as_ref()
            .is_some_and(|why| why.contains("edge.test"))
    );
    dns.fault_all(None);
    assert_eq!(shown(&changed(&mut keeper).await, 0), "127.0.1.1 Fresh");
    assert_eq!(keeper.status()[0].why, None);
}

/// Pain P4: what DNS last said goes on to serve, and it shows.
#[tokio::test]
async fn when_dns_fails_the_last_good_set_serves_and_is_marked_stale() {
    for fault in [
        Fault::ServFail,
        Fault::Silence,
        Fault::Garbage,
        Fault::Foreign,
    ] {
        let dns = TestDns::start(loopback(1)).await.unwrap();
        dns.a("edge.test", 0, &[ip(1), ip(2)]);
        let (mut keeper, routing) = keep(&dns, &settings(&[host("edge.test")])).await;
        assert_eq!(shown(&routing, 0), "127.0.1.1,127.0.1.2 Fresh");
        dns.fault("edge.test", Some(fault));
        assert_eq!(
            shown(&changed(&mut keeper).await, 0),
            "127.0.1.1,127.0.1.2 Stale",
            "{fault:?}"
        );
        // It stays like that, without a new snapshot each time.
        asked(&mut keeper, LookupResult::Failed).await;
        assert!(keeper.status()[0].why.is_some());
        dns.fault("edge.test", None);
        assert_eq!(
            shown(&changed(&mut keeper).await, 0),
            "127.0.1.1,127.0.1.2 Fresh",
            "{fault:?}"
        );
    }
}

/// CNAMEs that lead in a circle lead nowhere: a fault in the zone, and no word that the name is gone.
#[tokio::test]
async fn a_circle_of_cnames_is_a_failure_and_takes_nothing_away() {
    for circle in [
        &["edge.test"][..],
        &["edge.test", "two.test"],
        &["edge.test", "two.test", "three.test", "four.test"],
    ] {
        let dns = TestDns::start(loopback(1)).await.unwrap();
        dns.a("edge.test", 0, &[ip(1)]);
        let (mut keeper, _) = keep(&dns, &settings(&[host("edge.test")])).await;
        dns.a("edge.test", 0, &[]);
        for (at, name) in circle.iter().enumerate() {
            dns.cname(name, 0, circle[(at + 1) % circle.len()]);
        }
        assert_eq!(
            shown(&changed(&mut keeper).await, 0),
            "127.0.1.1 Stale",
            "{circle:?}"
        );
        let why = keeper.status()[0].why.clone();
        assert!(why.is_some_and(|why| why.contains("CNAME")), "{circle:?}");
    }
}

#[tokio::test]
async fn a_name_that_alternates_between_two_sets_is_followed_each_time() {
    let dns = TestDns::start(loopback(1)).await.unwrap();
    dns.a("edge.test", 0, &[ip(1), ip(2)]);
    let (mut keeper, _) = keep(&dns, &settings(&[host("edge.test")])).await;
    for _ in 0..3 {
        dns.a("edge.test", 0, &[ip(3), ip(4)]);
        assert_eq!(
            shown(&changed(&mut keeper).await, 0),
            "127.0.1.3,127.0.1.4 Fresh"
        );
        dns.a("edge.test", 0, &[ip(1), ip(2)]);
        assert_eq!(
            shown(&changed(&mut keeper).await, 0),
            "127.0.1.1,127.0.1.2 Fresh"
        );
    }
}

#[tokio::test]
async fn no_such_name_and_no_records_empty_the_set() {
    let dns = TestDns::start(loopback(1)).await.unwrap();
    dns.negative_ttl(0);
    dns.a("edge.test", 0, &[ip(1)]);
    let (mut keeper, _) = keep(&dns, &settings(&[host("edge.test")])).await;
    dns.fault("edge.test", Some(Fault::NxDomain));
    assert_eq!(shown(&changed(&mut keeper).await, 0), " Absent");
    dns.fault("edge.test", None);
    assert_eq!(shown(&changed(&mut keeper).await, 0), "127.0.1.1 Fresh");
    dns.a("edge.test", 0, &[]);
    assert_eq!(shown(&changed(&mut keeper).await, 0), " Absent");
    // A failure after that brings nothing back.
    dns.fault("edge.test", Some(Fault::ServFail));
    asked(&mut keeper, LookupResult::Failed).await;
    assert_eq!(shown(&keeper.snapshot(), 0), " Absent");
}

#[tokio::test]
async fn a_name_is_asked_again_before_its_ttl_ends() {
    let dns = TestDns::start(loopback(1)).await.unwrap();
    dns.a("edge.test", 1, &[ip(1)]);
    let (mut keeper, _) = keep(&dns, &settings(&[host("edge.test")])).await;
    let answered = Instant::now();
    dns.a("edge.test", 1, &[ip(2)]);
    assert_eq!(shown(&changed(&mut keeper).await, 0), "127.0.1.2 Fresh");
    let took = answered.elapsed();
    assert!(
        took > Duration::from_millis(600),
        "asked again after {took:?} of a TTL of 1 s"
    );
    assert!(
        took < Duration::from_millis(1000),
        "asked again after {took:?} of a TTL of 1 s"
    );
}

#[tokio::test]
async fn a_ttl_of_zero_is_asked_for_at_the_lowest_pace_and_not_faster() {
    let dns = TestDns::start(loopback(1)).await.unwrap();
    dns.a("edge.test", 0, &[ip(1)]);
    let (mut keeper, _) = keep(&dns, &settings(&[host("edge.test")])).await;
    let began = Instant::now();
    for _ in 0..4 {
        asked(&mut keeper, LookupResult::Found).await;
    }
    assert!(
        began.elapsed() >= fast().refresh_min * 3,
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn another_order_of_the_same_records_is_no_change() {
    let dns = TestDns::start(loopback(1)).await.unwrap();
    dns.a("edge.test", 0, &[ip(1), ip(2), ip(3)]);
    let (mut keeper, _) = keep(&dns, &settings(&[host("edge.test")])).await;
    dns.a("edge.test", 0, &[ip(3), ip(1), ip(2)]);
    for _ in 0..3 {
        asked(&mut keeper, LookupResult::Found).await;
    }
}

#[tokio::test]
async fn half_an_answer_takes_nothing_away() {
    let dns = TestDns::start(loopback(1)).await.unwrap();
    let srv = trunkline_proxy::settings::Place {
        port: None,
        transport: Some(Transport::Udp),
        ..host("edge.test")
    };
    dns.srv(
        "_sip._udp.edge.test",
        0,
        &[(1, 1, 5060, "one.test"), (1, 1, 5060, "two.test")],
    );
    dns.a("one.test", 0, &[ip(1)]);
    dns.a("two.test", 0, &[ip(2)]);
    let (mut keeper, routing) = keep(&dns, &settings(&[srv])).await;
    assert_eq!(shown(&routing, 0), "127.0.1.1,127.0.1.2 Fresh");
    dns.fault("two.test", Some(Fault::ServFail));
    assert_eq!(
        shown(&changed(&mut keeper).await, 0),
        "127.0.1.1,127.0.1.2 Stale"
    );
    // A new address is used at once all the same.
    dns.a("one.test", 0, &[ip(1), ip(3)]);
    assert_eq!(
        shown(&changed(&mut keeper).await, 0),
        "127.0.1.1,127.0.1.2,127.0.1.3 Stale"
    );
    dns.fault("two.test", None);
    dns.a("two.test", 0, &[]);
    assert_eq!(
        shown(&changed(&mut keeper).await, 0),
        "127.0.1.1,127.0.1.3 Fresh"
    );
}

#[tokio::test]
async fn a_reload_keeps_what_is_known_and_asks_only_for_what_is_new() {
    let dns = TestDns::start(loopback(1)).await.unwrap();
    dns.a("old.test", 600, &[ip(1)]);
    dns.a("new.test", 600, &[ip(2)]);
    let (mut keeper, _) = keep(&dns, &settings(&[host("old.test"), host("gone.test")])).await;
    let before = dns.asked().len();
    keeper
        .replace(settings(&[host("new.test"), host("old.test")]), TIMEOUT)
        .await;
    let routing = changed(&mut keeper).await;
    assert_eq!(shown(&routing, 0), "127.0.1.2 Fresh");
    assert_eq!(shown(&routing, 1), "127.0.1.1 Fresh");
    let names: Vec<_> = dns
        .asked()
        .drain(before..)
        .map(|asked| asked.name)
        .collect();
    assert_eq!(names, ["new.test"]);

    // While DNS is silent, the old names still serve in the new settings.
    dns.fault_all(Some(Fault::Silence));
    keeper
        .replace(settings(&[host("old.test"), host("newest.test")]), TIMEOUT)
        .await;
    let routing = changed(&mut keeper).await;
    assert_eq!(shown(&routing, 0), "127.0.1.1 Fresh");
    assert_eq!(shown(&routing, 1), " Unknown");
}

#[tokio::test]
async fn a_reload_with_other_listeners_finds_the_listener_of_each_candidate_anew() {
    let dns = TestDns::start(loopback(1)).await.unwrap();
    dns.a("edge.test", 600, &[ip(1)]);
    let first = settings(&[host("edge.test"), host("127.0.1.9")]);
    let (mut keeper, routing) = keep(&dns, &first).await;
    assert_eq!(
        routing.resolved(PlaceId(0)).candidates[0].transport,
        Transport::Udp
    );
    let mut second = Arc::unwrap_or_clone(first);
    second.listeners = vec![listener(Transport::Tcp, "127.0.0.1:5070")];
    keeper.replace(Arc::new(second), TIMEOUT).await;
    let routing = changed(&mut keeper).await;
    for place in [0, 1] {
        assert_eq!(
            routing.resolved(PlaceId(place)).candidates[0].transport,
            Transport::Tcp
        );
    }
}

#[tokio::test]
async fn fifty_names_are_there_at_the_start_whatever_one_of_them_does() {
    let dns = TestDns::start(loopback(1)).await.unwrap();
    let names: Vec<String> = (0..50).map(|n| format!("edge-{n}.test")).collect();
    for (name, n) in names.iter().zip(1..) {
        dns.a(name, 600, &[ip(n)]);
    }
    dns.fault("edge-7.test", Some(Fault::Silence));
    let places: Vec<_> = names.iter().map(|name| host(name)).collect();
    let (_keeper, routing) = keep(&dns, &settings(&places)).await;
    let fresh = routing
        .places()
        .iter()
        .filter(|place| place.freshness == Freshness::Fresh)
        .count();
    assert_eq!(fresh, 49);
}
