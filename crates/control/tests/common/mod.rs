//! Settings as the tests need them: plain places, and trunks that name them.
#![allow(dead_code, reason = "every test file uses its own part of this")]

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use trunkline_control::{Lookup, resolve::Pace};
use trunkline_proxy::settings::{
    Access, Attempts, Capacity, CodeSet, Edge, Exhausted, Health, InDialog, Listener, Origination,
    Place, PlaceId, Policy, RequestAddress, Settings, Target, Termination, Trunk, UnknownSource,
};
use trunkline_sip::Transport;

/// Everything that must happen does so well within this.
pub const SOON: Duration = Duration::from_secs(10);

/// Fails instead of hanging.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what)
        .await
        .expect("it should have happened by now")
}

/// A keeper in a hurry.
pub fn fast() -> Pace {
    Pace {
        refresh_min: Duration::from_millis(50),
        refresh_max: Duration::from_secs(3600),
        retry_min: Duration::from_millis(20),
        retry_max: Duration::from_millis(50),
    }
}

pub fn loopback(last: u8) -> SocketAddr {
    ([127, 0, 0, last], 0).into()
}

pub fn listener(transport: Transport, bind: &str) -> Listener {
    Listener {
        name: None,
        transport,
        bind: bind.parse().unwrap(),
        advertise: bind.into(),
    }
}

pub fn usual_listeners() -> Vec<Listener> {
    vec![
        listener(Transport::Udp, "127.0.0.1:5060"),
        listener(Transport::Tcp, "127.0.0.1:5060"),
    ]
}

/// A host with a port written: asked for with A alone.
pub fn host(name: &str) -> Place {
    Place {
        host: name.into(),
        port: Some(5060),
        transport: None,
        secure: false,
        from: None,
    }
}

/// Settings with these places and no trunks.
pub fn settings(places: &[Place]) -> Arc<Settings> {
    Arc::new(Settings {
        node: "test".into(),
        listeners: usual_listeners(),
        access: Access {
            unknown_source: UnknownSource::Drop,
            rate: 0,
        },
        pbx_allow: Vec::new(),
        trunks: Vec::new(),
        routes: Vec::new(),
        places: places.to_vec(),
        drain_timeout: Duration::from_secs(30),
        capacity: Capacity::default(),
    })
}

/// One trunk "acme" whose first edge is `edge` and whose first target is `target`.
pub fn with_trunk(edge: &str, target: &str) -> Arc<Settings> {
    let settings = settings(&[host(edge), host(target)]);
    let mut settings = Arc::unwrap_or_clone(settings);
    let health = Health {
        probe_interval: None,
        probe_timeout: Duration::from_secs(1),
        suspect_after: None,
        fail_after: 2,
        slow_start: Duration::ZERO,
    };
    settings.trunks = vec![Trunk {
        name: "acme".into(),
        allow: Vec::new(),
        hosts: Vec::new(),
        numbers: Vec::new(),
        in_dialog: InDialog::Route,
        termination: Some(Termination {
            edges: vec![Edge {
                address: address(edge),
                place: PlaceId(0),
            }],
            attempts: attempts(),
            cps: 0,
            cps_wait: Duration::ZERO,
            health,
        }),
        origination: Some(Origination {
            policy: Policy::Weighted,
            targets: vec![Target {
                address: address(target),
                place: PlaceId(1),
                priority: 10,
                weight: 10,
                max_calls: 0,
                max_cps: 0,
            }],
            attempts: attempts(),
            health,
        }),
        recovery: None,
    }];
    Arc::new(settings)
}

fn address(host: &str) -> RequestAddress {
    RequestAddress {
        written: format!("sip:{host}:5060").into(),
        scheme: "sip".into(),
        user: None,
        host: host.into(),
        authority: format!("{host}:5060").into(),
        params: "".into(),
    }
}

fn attempts() -> Attempts {
    Attempts {
        response_timeout: Duration::from_secs(4),
        connect_timeout: Duration::from_secs(2),
        progress_timeout: None,
        answer_timeout: Duration::from_secs(180),
        setup_budget: Duration::from_secs(28),
        max_attempts: 9,
        failover: CodeSet::termination(),
        exhausted: Exhausted::Own503,
        retry_after_max: Duration::from_secs(60),
        retry_budget: 20,
    }
}

/// "udp:127.0.1.1:5060 0/0" for each candidate.
pub fn shown(lookup: &Lookup) -> Vec<String> {
    match lookup {
        Lookup::Found { candidates, .. } => candidates
            .iter()
            .map(|c| {
                format!(
                    "{}:{} {}/{}",
                    c.transport.param(),
                    c.addr,
                    c.priority,
                    c.weight
                )
            })
            .collect(),
        Lookup::Absent { .. } => vec!["absent".into()],
        Lookup::Failed(_) => vec!["failed".into()],
    }
}
