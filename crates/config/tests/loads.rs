//! Files that are fine, and what they come to mean.

mod support;

use std::time::Duration;

use support::Memory;
use trunkline_config::{LogFormat, LogLevel};
use trunkline_proxy::{
    hop::ListenerId,
    question::{HttpMethod, Secret},
    settings::{CodeSet, Exhausted, InDialog, Policy, UnknownSource},
};
use trunkline_sip::Transport;

#[test]
fn every_key_of_the_contract_means_what_its_comment_says() {
    let loaded = match Memory::new().parse(include_str!("contract.toml")) {
        Ok(loaded) => loaded,
        Err(report) => panic!("{report}"),
    };
    let (settings, control) = (&loaded.settings, &loaded.control);

    assert_eq!(&*settings.node, "edge-1");
    assert_eq!(control.state_dir.to_str(), Some("/var/lib/trunkline"));
    assert_eq!(control.drain_timeout, Duration::from_secs(30));
    assert_eq!(control.admin, Some("127.0.0.1:8060".parse().unwrap()));
    assert_eq!(control.dns_timeout, Duration::from_secs(2));
    assert_eq!(
        (control.log_format, control.log_level),
        (LogFormat::Text, LogLevel::Info)
    );
    assert_eq!(settings.access.unknown_source, UnknownSource::Drop);
    assert_eq!(settings.access.rate, 200);
    assert_eq!(settings.pbx_allow, ["10.0.1.0/24".parse().unwrap()]);

    let [udp, tcp] = &settings.listeners[..] else {
        panic!("two listeners")
    };
    assert_eq!(
        (udp.name.as_deref(), udp.transport),
        (Some("outside"), Transport::Udp)
    );
    assert_eq!((tcp.name.as_deref(), tcp.transport), (None, Transport::Tcp));
    assert_eq!(&*udp.advertise, "203.0.113.10:5060");

    let [trunk] = &settings.trunks[..] else {
        panic!("one trunk")
    };
    assert_eq!(
        trunk.allow.len(),
        9,
        "Twilio's eight networks and one address"
    );
    assert_eq!(trunk.in_dialog, InDialog::Route);

    let termination = trunk.termination.as_ref().unwrap();
    let written: Vec<&str> = termination
        .edges
        .iter()
        .map(|edge| &*edge.address.written)
        .collect();
    assert_eq!(
        written,
        [
            "acme.pstn.dublin.twilio.com",
            "sip:acme.pstn.frankfurt.twilio.com"
        ]
    );
    let place = |id: trunkline_proxy::settings::PlaceId| &settings.places[id.0 as usize];
    assert_eq!(place(termination.edges[1].place).from, Some(ListenerId(0)));
    let attempts = &termination.attempts;
    assert_eq!(attempts.response_timeout, Duration::from_secs(4));
    assert_eq!(attempts.connect_timeout, Duration::from_secs(2));
    assert_eq!(attempts.progress_timeout, None);
    assert_eq!(attempts.answer_timeout, Duration::from_secs(180));
    assert_eq!(attempts.setup_budget, Duration::from_secs(28));
    assert_eq!(attempts.max_attempts, 9);
    assert_eq!(attempts.failover, CodeSet::termination());
    assert_eq!(attempts.exhausted, Exhausted::Own503);
    assert_eq!(attempts.retry_after_max, Duration::from_secs(60));
    assert_eq!(
        (termination.cps, termination.cps_wait),
        (0, Duration::from_secs(2))
    );
    assert_eq!(
        termination.health.probe_interval,
        Some(Duration::from_secs(30))
    );

    let origination = trunk.origination.as_ref().unwrap();
    assert_eq!(origination.policy, Policy::Weighted);
    assert_eq!(origination.attempts.failover, CodeSet::origination());
    assert_eq!(
        origination.health.probe_interval,
        Some(Duration::from_secs(5))
    );
    assert_eq!(
        origination.health.suspect_after,
        Some(Duration::from_secs(1))
    );
    let numbers = |target: &trunkline_proxy::settings::Target| {
        (
            target.priority,
            target.weight,
            target.max_calls,
            target.max_cps,
        )
    };
    let targets: Vec<_> = origination.targets.iter().map(numbers).collect();
    assert_eq!(targets, [(10, 60, 0, 0), (10, 20, 500, 50), (20, 10, 0, 0)]);
    let third = &origination.targets[2];
    assert_eq!(&*third.address.authority, "10.0.2.9:5060");
    assert_eq!(&*third.address.host, "10.0.2.9");
    assert_eq!(&*third.address.params, ";transport=tcp");
    assert_eq!(place(third.place).transport, Some(Transport::Tcp));
    assert_eq!(place(third.place).port, Some(5060));

    let recovery = trunk.recovery.as_ref().unwrap();
    assert_eq!(&*recovery.url, "https://dr.example.net/voice");
    assert_eq!(
        recovery.fallback_url.as_deref(),
        Some("https://dr.example.org/voice")
    );
    assert_eq!(recovery.method, HttpMethod::Post);
    assert_eq!(
        recovery.auth_token,
        Some(Secret(b"12345".as_slice().into()))
    );

    let [route] = &settings.routes[..] else {
        panic!("one route")
    };
    assert!(route.pattern.matches(b"+15550100") && !route.pattern.matches(b"+44"));
}

/// Run with `TRUNKLINE_WRITE_REFERENCE=1` after a change to `keys`.
#[test]
fn the_reference_in_the_repository_is_the_one_the_program_prints() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/reference.toml");
    let printed = trunkline_config::reference();
    if std::env::var_os("TRUNKLINE_WRITE_REFERENCE").is_some() {
        std::fs::write(file, &printed).unwrap();
    }
    let kept = std::fs::read_to_string(file).unwrap();
    assert!(
        kept == printed,
        "config/reference.toml is old; repeat with TRUNKLINE_WRITE_REFERENCE=1 to print it anew"
    );
}
