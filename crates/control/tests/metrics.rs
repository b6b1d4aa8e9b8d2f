//! The table of metrics, held against what a scrape shows when everything has happened once.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use common::{soon, with_trunk};
use trunkline_control::{
    NetCounts, View,
    dr::rehearsal::{Report, WebhookReport},
    metrics::{Kind, METRICS, Metrics, Scrape, markdown_table},
    resolve::{Keeper, LookupResult, Pace},
};
use trunkline_proxy::{
    Event, Hop, ListenerId, Routing, ShardId,
    event::{CallNames, CallRecord, Direction, Fence, HealthState, Load, Outcome, Peer},
    question::{Answer, HttpFailure},
    settings::TrunkId,
};
use trunkline_sip::Transport;

fn hop() -> Hop {
    Hop {
        transport: Transport::Udp,
        listener: ListenerId(0),
        remote: ([127, 0, 0, 1], 5060).into(),
        connection: None,
    }
}

fn peer() -> Peer {
    Peer {
        transport: Transport::Udp,
        addr: hop().remote,
        listener: ListenerId(0),
    }
}

fn call(status: u16, own: bool) -> Event {
    Event::CallSetUp(Box::new(CallRecord {
        drill: None,
        names: CallNames::new(b"a", b"b", b"c"),
        source: hop(),
        direction: Direction::Origination,
        trunk: TrunkId(0),
        status,
        own,
        attempts: Default::default(),
        first_ring: Some(Duration::from_millis(300)),
        took: Duration::from_secs(3),
        why: "",
    }))
}

/// Every event there is. A new one that counts nothing shows as a metric without a series.
fn everything() -> Vec<Event> {
    let (direction, trunk, peer) = (Direction::Termination, TrunkId(0), peer());
    vec![
        Event::Rejected {
            from: hop(),
            status: 403,
            why: "acl",
        },
        Event::Dropped {
            from: hop(),
            why: "unknown_source",
        },
        Event::CallStarted { direction, trunk },
        Event::AttemptEnded {
            direction,
            trunk,
            peer,
            outcome: Outcome::Silent,
            took: Duration::from_secs(4),
        },
        call(200, false),
        call(487, false),
        call(503, true),
        call(404, false),
        Event::CallEnded {
            direction,
            trunk,
            lasted: Duration::from_secs(60),
            call_id: "a".into(),
            why: "bye",
        },
        Event::RetryWithheld {
            direction,
            trunk,
            is_first: true,
        },
        Event::LateAnswer {
            trunk,
            peer,
            used: false,
        },
        Event::Health {
            peer,
            was: HealthState::Up,
            is: HealthState::Down,
            why: "silent",
        },
        Event::Probe { peer, status: None },
        Event::Recovery {
            trunk,
            drill: false,
            step: "asked",
            detail: "".into(),
        },
        Event::Retransmitted,
        Event::OversizedDatagram,
        Event::Parked,
        Event::Fence(Box::new(Fence {
            shard: ShardId(0),
            listener: ListenerId(0),
            sources: Box::new([]),
            rate: 0,
            turned_away: 0,
        })),
        load(2, 9),
        load(0, 1),
        load(2, 2),
    ]
}

fn load(shard: u8, calls_active: u32) -> Event {
    let load = Load {
        contexts: 1,
        calls_in_setup: 2,
        calls_active,
        timers: 4,
    };
    Event::Load {
        shard: ShardId(shard),
        load,
    }
}

async fn scraped() -> String {
    let settings = with_trunk("127.0.0.1", "127.0.0.2");
    let resolver =
        trunkline_control::Resolver::new(&[hop().remote], Duration::from_secs(1)).unwrap();
    let (keeper, routing) = soon(Keeper::start(
        settings.clone(),
        resolver,
        Duration::ZERO,
        Pace::default(),
    ))
    .await;
    drop(keeper);
    let routing: Arc<Routing> = routing;
    let view = Arc::new(View::new());
    view.set_routing(routing);
    let mut metrics = Metrics::new();
    metrics.name_trunks(&settings);
    for event in everything() {
        metrics.record(&event);
    }
    for result in LookupResult::ALL {
        metrics.record_lookup(result);
    }
    metrics.record_webhook(
        &Answer::HttpFailed(HttpFailure::Timeout),
        Duration::from_secs(1),
    );
    metrics.record_check(&Report {
        trunk: "acme".into(),
        webhooks: vec![WebhookReport {
            role: "url",
            url: "https://dr.test/".into(),
            exchanges: vec![],
            plan: vec![],
            certificate_expires: Some(1_900_000_000),
            problems: vec!["it is slow".into()],
            warnings: vec![],
        }],
    });
    Scrape::new(&metrics, view, Arc::new(NetCounts::default)).text()
}

/// Name -> (kind, help, the sets of label names of its series).
type Shown = BTreeMap<String, (String, String, BTreeSet<Vec<String>>)>;

fn read(text: &str) -> Shown {
    let mut shown = Shown::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            shown.entry(name.into()).or_default().1 = help.into();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            shown.entry(name.into()).or_default().0 = kind.into();
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            value
                .parse::<f64>()
                .unwrap_or_else(|_| panic!("{line} has no value"));
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.trim_end_matches('}');
            let mut names: Vec<String> = labels
                .split("\",")
                .filter_map(|label| label.split_once('=').map(|(name, _)| name.to_owned()))
                .filter(|name| name != "le")
                .collect();
            names.sort();
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| {
                    name.strip_suffix(end)
                        .filter(|base| shown.contains_key(*base))
                })
                .unwrap_or(name);
            shown.entry(base.into()).or_default().2.insert(names);
        }
    }
    shown
}

#[tokio::test]
async fn a_scrape_shows_the_table_and_nothing_else() {
    let text = scraped().await;
    let shown = read(&text);
    for metric in METRICS {
        let (kind, help, labels) = shown
            .get(metric.name)
            .unwrap_or_else(|| panic!("{} is not in\n{text}", metric.name));
        assert_eq!(kind, metric.kind.word(), "{}", metric.name);
        assert_eq!(help, metric.help, "{}", metric.name);
        let mut want: Vec<String> = metric.labels.iter().map(|label| (*label).into()).collect();
        want.sort();
        assert_eq!(labels, &BTreeSet::from([want]), "{}", metric.name);
    }
    for name in shown.keys() {
        assert!(
            METRICS.iter().any(|metric| metric.name == name),
            "{name} is not in the table"
        );
    }
}

#[tokio::test]
async fn what_happened_is_counted_under_its_own_words() {
    let text = scraped().await;
    for want in [
        "trunkline_requests_rejected_total{status=\"403\",why=\"acl\"} 1",
        "trunkline_calls_total{direction=\"origination\",trunk=\"acme\",outcome=\"answered\"} 1",
        "trunkline_calls_total{direction=\"origination\",trunk=\"acme\",outcome=\"cancelled\"} 1",
        "trunkline_calls_total{direction=\"origination\",trunk=\"acme\",outcome=\"failed\"} 1",
        "trunkline_calls_total{direction=\"origination\",trunk=\"acme\",outcome=\"4xx\"} 1",
        "trunkline_attempts_total{direction=\"termination\",trunk=\"acme\",outcome=\"silent\"} 1",
        "trunkline_attempt_duration_seconds_bucket{direction=\"termination\",le=\"2\"} 0",
        "trunkline_attempt_duration_seconds_bucket{direction=\"termination\",le=\"4\"} 1",
        "trunkline_call_seconds_total{direction=\"termination\",trunk=\"acme\"} 60",
        "trunkline_late_answers_total{trunk=\"acme\",used=\"no\"} 1",
        "trunkline_probes_total{result=\"silent\"} 1",
        "trunkline_probes_total{result=\"alive\"} 0",
        "trunkline_webhook_exchanges_total{result=\"timeout\"} 1",
        "trunkline_dns_lookups_total{result=\"failed\"} 1",
        // What each shard told last, together.
        "trunkline_calls_active 3",
        "trunkline_recovery_check_ok{trunk=\"acme\"} 0",
        "trunkline_webhook_certificate_expiry_time_seconds{trunk=\"acme\",webhook=\"url\"} 1900000000",
    ] {
        assert!(
            text.lines().any(|line| line == want),
            "{want} is not in\n{text}"
        );
    }
}

/// A scrape with one series twice is refused whole.
#[tokio::test]
async fn one_address_spoken_to_from_two_listeners_is_two_series() {
    let mut settings = Arc::unwrap_or_clone(with_trunk("127.0.0.1", "127.0.0.1"));
    settings
        .listeners
        .push(common::listener(Transport::Udp, "127.0.0.3:5060"));
    settings.listeners[0].name = Some("a \"quoted\" name".into());
    settings.places[0].from = Some(ListenerId(0));
    settings.places[1].from = Some(ListenerId(2));
    let resolver =
        trunkline_control::Resolver::new(&[hop().remote], Duration::from_secs(1)).unwrap();
    let started = Keeper::start(
        Arc::new(settings),
        resolver,
        Duration::ZERO,
        Pace::default(),
    );
    let (_keeper, routing) = soon(started).await;
    let view = Arc::new(View::new());
    view.set_routing(routing);
    let text = Scrape::new(&Metrics::new(), view, Arc::new(NetCounts::default)).text();
    let series: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("trunkline_candidate_state{") && line.contains("\"up\""))
        .collect();
    assert_eq!(
        series,
        [
            "trunkline_candidate_state{transport=\"udp\",address=\"127.0.0.1:5060\",listener=\"a \\\"quoted\\\" name\",state=\"up\"} 1",
            "trunkline_candidate_state{transport=\"udp\",address=\"127.0.0.1:5060\",listener=\"127.0.0.3:5060\",state=\"up\"} 1",
        ]
    );
}

#[test]
fn names_follow_the_rule_and_the_page_has_a_row_for_each() {
    let table = markdown_table();
    let mut names = BTreeSet::new();
    for metric in METRICS {
        let name = metric.name;
        assert!(names.insert(name), "{name} is there twice");
        assert!(name.starts_with("trunkline_"), "{name}");
        assert!(
            name.bytes().all(|c| c.is_ascii_lowercase() || c == b'_'),
            "{name}"
        );
        assert_eq!(
            name.ends_with("_total"),
            metric.kind == Kind::Counter,
            "{name}"
        );
        assert_eq!(
            name.ends_with("duration_seconds") || name.ends_with("delay_seconds"),
            metric.kind == Kind::Histogram,
            "{name}"
        );
        assert!(
            metric.help.ends_with('.') && !metric.help.contains(['|', '\n']),
            "{name}"
        );
        assert!(
            table.contains(&format!("| `{name}` | {} |", metric.kind.word())),
            "{name}"
        );
    }
}
