//! The admin server's pages, and what hostile requests get.

mod common;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use common::{fast, loopback, soon, with_trunk};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    task::JoinHandle,
};
use trunkline_control::{
    Control, ControlHandle, ControlSettings, LineFormat, NetCounts, testdns::TestDns,
};
use trunkline_proxy::{
    AskId, Event, Hop, ListenerId, Routing, ShardId, Shared,
    event::{AttemptRecord, Batch, CallNames, CallRecord, Direction, HealthState, Outcome, Peer},
    routing::Candidate,
    settings::{PlaceId, TrunkId},
};
use trunkline_sip::Transport;

struct Running {
    dns: TestDns,
    handle: ControlHandle,
    admin: SocketAddr,
    events: mpsc::Sender<Batch>,
    routing: Arc<Routing>,
    _questions: mpsc::Sender<(AskId, Box<trunkline_proxy::Question>)>,
    task: JoinHandle<()>,
}

async fn running() -> Running {
    let dns = TestDns::start(loopback(1)).await.unwrap();
    dns.a(
        "edge.test",
        600,
        &[[127, 0, 1, 1].into(), [127, 0, 1, 2].into()],
    );
    dns.a("pbx.test", 600, &[[127, 0, 2, 1].into()]);
    let settings = ControlSettings {
        admin: Some(loopback(1)),
        dns_servers: vec![dns.addr()],
        dns_timeout: Duration::from_millis(500),
        pace: fast(),
        line_format: LineFormat::default(),
    };
    let (control, routing) = soon(Control::new(settings, with_trunk("edge.test", "pbx.test")))
        .await
        .unwrap();
    let (handle, admin) = (control.handle(), control.admin_addr().unwrap());
    let (questions, asked) = mpsc::channel(8);
    let (events, told) = mpsc::channel(64);
    let net = || NetCounts {
        datagrams_in: 7,
        connections_evicted: 3,
        ..NetCounts::default()
    };
    let task = tokio::spawn(control.run(asked, told, |_: AskId, _| {}, |_| {}, drop, net));
    Running {
        dns,
        handle,
        admin,
        events,
        routing,
        _questions: questions,
        task,
    }
}

/// Sends bytes and reads until the server closes.
async fn raw(admin: SocketAddr, bytes: &[u8]) -> String {
    soon(async {
        let mut stream = TcpStream::connect(admin).await.unwrap();
        // The server may have said no, and closed, before it had it all.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    })
    .await
}

/// (status, body)
async fn get(admin: SocketAddr, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
    let answer = raw(admin, request.as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole response");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .expect("a status");
    (status, body.to_owned())
}

/// Waits until a page says so; events take a moment to arrive.
async fn until(admin: SocketAddr, path: &str, holds: impl Fn(u16, &str) -> bool) -> String {
    soon(async {
        loop {
            let (status, body) = get(admin, path).await;
            if holds(status, &body) {
                return body;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

fn peer(candidate: &Candidate) -> Peer {
    Peer {
        transport: candidate.transport,
        addr: candidate.addr,
        listener: candidate.listener,
    }
}

fn batch(event: Event) -> Batch {
    Batch {
        shard: ShardId(0),
        events: vec![event],
    }
}

fn health(routing: &Routing, place: u32, index: usize, is: HealthState) -> Batch {
    let candidate = &routing.resolved(PlaceId(place)).candidates[index];
    batch(Event::Health {
        peer: peer(candidate),
        was: HealthState::Up,
        is,
        why: "4 s without an answer",
    })
}

fn call(number: &str, peer: Peer) -> Batch {
    batch(Event::CallSetUp(Box::new(CallRecord {
        drill: None,
        names: CallNames::new(
            "abc\r\nX: y@host".as_bytes(),
            "+12349013030".as_bytes(),
            number.as_bytes(),
        ),
        source: Hop {
            transport: Transport::Udp,
            listener: ListenerId(0),
            remote: ([10, 0, 1, 5], 5060).into(),
            connection: None,
        },
        direction: Direction::Termination,
        trunk: TrunkId(0),
        status: 200,
        own: false,
        attempts: [AttemptRecord {
            trunk: TrunkId(0),
            peer,
            outcome: Some(Outcome::Final(200)),
            began: Duration::ZERO,
            took: Duration::from_millis(1500),
        }]
        .into_iter()
        .collect(),
        first_ring: Some(Duration::from_millis(250)),
        took: Duration::from_millis(1500),
        why: "",
    })))
}

#[tokio::test]
async fn readiness_follows_listeners_candidates_and_the_drain() {
    let Running {
        handle,
        admin,
        events,
        routing,
        ..
    } = running().await;
    assert_eq!(get(admin, "/healthz").await, (200, "ok\n".into()));
    let (status, why) = get(admin, "/readyz").await;
    assert_eq!((status, why.contains("listeners")), (503, true), "{why}");
    handle.listening();
    assert_eq!(get(admin, "/readyz").await, (200, "ready\n".into()));

    // One of two edges down is no reason; both are.
    events
        .send(health(&routing, 0, 0, HealthState::Down))
        .await
        .unwrap();
    until(admin, "/targets", |_, body| body.contains("\"down\"")).await;
    assert_eq!(get(admin, "/readyz").await.0, 200);
    events
        .send(health(&routing, 0, 1, HealthState::Paused))
        .await
        .unwrap();
    let why = until(admin, "/readyz", |status, _| status == 503).await;
    assert!(
        why.contains("termination") && why.contains("all 2"),
        "{why}"
    );
    // A suspect one still gets calls when nothing better is there.
    events
        .send(health(&routing, 0, 1, HealthState::Suspect))
        .await
        .unwrap();
    until(admin, "/readyz", |status, _| status == 200).await;
    // The other direction counts for itself.
    events
        .send(health(&routing, 1, 0, HealthState::Down))
        .await
        .unwrap();
    let why = until(admin, "/readyz", |status, _| status == 503).await;
    assert!(why.contains("origination"), "{why}");
    events
        .send(health(&routing, 1, 0, HealthState::Up))
        .await
        .unwrap();
    until(admin, "/readyz", |status, _| status == 200).await;

    handle.draining();
    let (status, why) = get(admin, "/readyz").await;
    assert_eq!((status, why.contains("draining")), (503, true), "{why}");
    assert_eq!(get(admin, "/healthz").await.0, 200);
}

/// Pain P3: failure is kept with the address. A call that fails changes nothing about the name.
#[tokio::test]
async fn targets_show_every_address_with_its_own_health() {
    let Running {
        dns: _dns,
        admin,
        events,
        routing,
        ..
    } = running().await;
    events
        .send(health(&routing, 0, 0, HealthState::Down))
        .await
        .unwrap();
    let body = until(admin, "/targets", |_, body| body.contains("\"down\"")).await;
    let shown: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(shown[0]["trunk"], "acme");
    assert_eq!(shown[0]["role"], "edge");
    assert_eq!(shown[0]["written"], "sip:edge.test:5060");
    assert_eq!(shown[0]["freshness"], "fresh");
    let candidates = shown[0]["candidates"].as_array().unwrap();
    let states: Vec<_> = candidates
        .iter()
        .map(|c| {
            (
                c["address"].as_str().unwrap(),
                c["health"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        states,
        [("127.0.1.1:5060", "down"), ("127.0.1.2:5060", "up")]
    );
    assert_eq!(candidates[0]["why"], "4 s without an answer");
    assert_eq!(shown[1]["role"], "target");
}

#[tokio::test]
async fn calls_are_the_last_hundred_newest_first_and_no_number_is_whole() {
    let Running {
        admin,
        events,
        routing,
        ..
    } = running().await;
    let candidate = &routing.resolved(PlaceId(0)).candidates[0];
    for n in 0..105 {
        events
            .send(call(&format!("+15550{n:03}"), peer(candidate)))
            .await
            .unwrap();
    }
    let body = until(admin, "/calls", |_, body| body.contains("+15****04")).await;
    let shown: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(shown.as_array().unwrap().len(), 100);
    assert_eq!(shown[0]["to"], "+15****04");
    assert_eq!(shown[0]["from"], "+12*******30");
    assert_eq!(shown[0]["call_id"], "abc??X: y@host");
    assert_eq!(shown[0]["trunk"], "acme");
    assert_eq!(shown[0]["attempts"][0]["peer"], "udp:127.0.1.1:5060");
    assert_eq!(shown[0]["attempts"][0]["outcome"], "200");
    assert!(!body.contains("9013030"), "{body}");
}

#[tokio::test]
async fn metrics_show_the_sockets_and_the_candidates() {
    let Running {
        admin,
        handle,
        events: _alive,
        ..
    } = running().await;
    handle.listening();
    let (status, text) = get(admin, "/metrics").await;
    assert_eq!(status, 200);
    for want in [
        "trunkline_datagrams_total{direction=\"in\"} 7",
        "trunkline_connections_over_limit_total{result=\"evicted\"} 3",
        "trunkline_ready 1",
        "trunkline_candidate_state{transport=\"udp\",address=\"127.0.1.1:5060\",listener=\"127.0.0.1:5060\",state=\"up\"} 1",
        "trunkline_dns_places{freshness=\"fresh\"} 2",
    ] {
        assert!(
            text.lines().any(|line| line == want),
            "{want} is not in\n{text}"
        );
    }
}

#[tokio::test]
async fn hostile_requests_get_an_answer_or_a_closed_door_and_nobody_else_suffers() {
    let Running {
        admin,
        events: _alive,
        ..
    } = running().await;
    let long = "x".repeat(100_000);
    let many = "X: y\r\n".repeat(1000);
    let cases = [
        ("GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(), "404"),
        ("GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(), "404"),
        ("GET /healthz?x=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(), "200"),
        ("HEAD /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(), "200"),
        ("GET /healthz HTTP/1.0\r\n\r\n".to_owned(), "200"),
        ("POST /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello".to_owned(), "405"),
        ("DELETE /calls HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(), "405"),
        ("POST /dr/drills HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}".to_owned(), "415"),
        ("POST /dr/drills HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}".to_owned(), "400"),
        ("POST /dr/drills HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 27\r\n\r\n{\"trunk\":\"x\",\"seconds\":100}".to_owned(), "409"),
        (format!("POST /dr/drills HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{long}"), "400"),
        ("DELETE /dr/drills/7 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(), "404"),
        ("DELETE /dr/drills HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(), "405"),
        ("GET /dr/drills HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(), "200"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n".to_owned(), "400"),
        ("INVITE sip:a@b SIP/2.0\r\n\r\n".to_owned(), "400"),
        ("\u{0}\u{1}\u{2}garbage\r\n\r\n".to_owned(), "400"),
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), "4"),
        (format!("GET / HTTP/1.1\r\nHost: {long}\r\n\r\n"), "4"),
        (format!("GET / HTTP/1.1\r\n{many}\r\n"), "4"),
    ];
    for (request, want) in cases {
        let answer = raw(admin, request.as_bytes()).await;
        let status = answer
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..5))
            .unwrap_or("closed");
        assert!(
            status == "closed" || status.starts_with(want),
            "{:.60} got {answer:.300}",
            format!("{request:?}")
        );
        assert!(
            want == "4" || status != "closed",
            "{:.60} got nothing",
            format!("{request:?}")
        );
        assert_eq!(get(admin, "/healthz").await.0, 200);
    }
    let (status, body) = get(admin, "/nothing").await;
    assert_eq!(status, 404);
    for path in [
        "/healthz", "/readyz", "/metrics", "/targets", "/calls", "/fences",
    ] {
        assert!(body.contains(path), "{body}");
    }
}

#[tokio::test]
async fn connections_that_say_nothing_are_closed_and_make_room() {
    let Running {
        admin,
        events: _alive,
        ..
    } = running().await;
    let mut silent = Vec::new();
    for n in 0..64 {
        let mut stream = soon(TcpStream::connect(admin)).await.unwrap();
        // Some are slow, some say nothing.
        if n % 2 == 0 {
            stream.write_all(b"GET /hea").await.unwrap();
        }
        silent.push(stream);
    }
    // All places are taken: this one waits until the silent ones are sent away after 5 s.
    assert_eq!(get(admin, "/healthz").await.0, 200);
}

#[tokio::test]
async fn a_reload_shows_when_its_names_are_known_and_the_end_of_the_shards_is_the_end_of_control() {
    let Running {
        dns,
        handle,
        admin,
        events,
        _questions,
        task,
        ..
    } = running().await;
    dns.a("new.test", 600, &[[127, 0, 3, 1].into()]);
    assert!(handle.reload(with_trunk("new.test", "pbx.test")).await);
    let body = until(admin, "/targets", |_, body| body.contains("new.test")).await;
    assert!(
        body.contains("127.0.3.1:5060"),
        "a new place shows once it has addresses: {body}"
    );
    drop((events, _questions));
    soon(task).await.unwrap();
    assert!(!handle.reload(with_trunk("edge.test", "pbx.test")).await);
}

#[tokio::test]
async fn an_admin_address_in_use_is_named_with_what_to_do() {
    let Running {
        admin,
        events: _alive,
        ..
    } = running().await;
    let settings = ControlSettings {
        admin: Some(admin),
        ..ControlSettings::default()
    };
    let error = soon(Control::new(settings, common::settings(&[])))
        .await
        .err()
        .unwrap();
    let text = error.to_string();
    assert!(
        text.contains(&admin.to_string()) && text.contains("Choose another"),
        "{text}"
    );
}

async fn post(admin: SocketAddr, path: &str, extra: &str) -> (String, String) {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: admin\r\n{extra}Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let answer = raw(admin, request.as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole response");
    let status = head.split(' ').nth(1).expect("a status");
    (status.to_owned(), body.to_owned())
}

#[tokio::test]
async fn a_target_is_drained_and_returned_and_nothing_else_gives_orders() {
    let Running {
        dns: _dns,
        handle,
        admin,
        events: _events,
        ..
    } = running().await;
    let which = "?trunk=acme&target=sip%3Apbx.test:5060";
    let drain = format!("/targets/drain{which}");
    assert_eq!(post(admin, &drain, "").await.0, "404", "no shard runs yet");
    let shared = Shared::new(2, std::time::Instant::now());
    handle.view().set_shared(Arc::clone(&shared));

    assert_eq!(
        post(admin, &drain, "").await,
        ("200".into(), "drained\n".into())
    );
    assert!(shared.is_drained("acme", "sip:pbx.test:5060"));
    let shown = get(admin, "/targets").await.1;
    assert_eq!(shown.matches("\"drained\": true").count(), 1, "{shown}");

    let edge = "?trunk=acme&target=sip%3Aedge.test:5060";
    assert_eq!(
        post(admin, &format!("/targets/drain{edge}"), "").await.0,
        "200"
    );
    assert!(shared.is_drained("acme", "sip:edge.test:5060"));
    assert_eq!(
        post(admin, &format!("/targets/return{edge}"), "").await.0,
        "200"
    );

    let back = format!("/targets/return{which}");
    for (path, extra, status, says) in [
        (&*back, "Origin: https://evil.test\r\n", "403", "web pages"),
        ("/targets/return", "", "400", "?trunk=NAME&target=URI"),
        (
            "/targets/return?trunk=acme&target=%f",
            "",
            "400",
            "say which",
        ),
        (
            "/targets/return?trunk=x&target=y",
            "",
            "404",
            "there is acme",
        ),
        (
            "/targets/return?trunk=acme&target=y",
            "",
            "404",
            "it has sip:pbx.test:5060",
        ),
        ("/targets", "", "405", "use GET"),
    ] {
        let (found, body) = post(admin, path, extra).await;
        assert!(
            found == status && body.contains(says),
            "{path}: {found} {body}"
        );
    }
    assert_eq!(get(admin, &back).await.0, 405);
    assert!(shared.is_drained("acme", "sip:pbx.test:5060"), "still");

    assert_eq!(post(admin, &back, "").await.0, "200");
    assert!(!shared.is_drained("acme", "sip:pbx.test:5060"));
    assert!(!get(admin, "/targets").await.1.contains("drained"));
}
