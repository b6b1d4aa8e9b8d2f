//! Everything the demo needs, started: name server, phones, webhook, and the real router.

use std::{
    error::Error,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use trunkline_config::System;
use trunkline_control::{Pace, testdns::TestDns, view::CallShown};
use trunkline_proxy::Seed;

use super::{
    cast::{
        CARRIER, DNS, DUBLIN, EMERGENCY, EMERGENCY_PHONE, FRANKFURT, PBXS, Ports, Role, TRUNKLINE,
        WEBHOOK,
    },
    config::{self, Probing},
    message,
    phone::Phone,
    tape::Tape,
    webhook::Webhook,
};
use crate::{
    run::{Service, StartError},
    secrets,
};

/// How long an answer of the demo's DNS may be believed, in seconds.
const TTL: u32 = 300;
/// Everybody has been probed by then.
const PROBED: Duration = Duration::from_secs(5);

/// The demo's world. Everything in it ends when it is dropped; the router is drained by
/// [`end`](World::end).
pub struct World {
    /// The ports in use.
    pub ports: Ports,
    /// In the order of [`CARRIER`].
    pub carrier: Vec<Phone>,
    /// In the order of [`PBXS`].
    pub pbxs: Vec<Phone>,
    /// The emergency phone.
    pub emergency: Phone,
    /// The web server.
    pub webhook: Webhook,
    /// The name server.
    pub dns: TestDns,
    /// What everybody saw.
    pub tape: Tape,
    /// Where the router's configuration would be if it was a file.
    pub config_path: PathBuf,
    /// The router.
    pub service: Service,
}

impl World {
    /// Starts everything, on the first ports that are free.
    ///
    /// # Errors
    /// What could not be started.
    pub async fn start() -> Result<World, StartError> {
        let mut taken = None;
        for ports in Ports::CHOICES {
            match World::at(ports).await {
                Err(error) if is_in_use(&*error) => taken = Some(error),
                other => return other,
            }
        }
        let tried: Vec<String> = Ports::CHOICES
            .iter()
            .map(|ports| ports.sip.to_string())
            .collect();
        let last = taken.map(|error| error.to_string()).unwrap_or_default();
        Err(format!(
            "every port of {} is taken by something ({last}); free one of them",
            tried.join(", ")
        )
        .into())
    }

    async fn at(ports: Ports) -> Result<World, StartError> {
        let tape = Tape::new();
        let carrier = phones(ports, &CARRIER, &tape).await?;
        let pbxs = phones(ports, &PBXS.map(|target| target.role), &tape).await?;
        let emergency = phone(ports, EMERGENCY_PHONE, &tape).await?;
        let webhook = Webhook::start(WEBHOOK, tape.clone()).await?;
        let dns = TestDns::start(SocketAddr::from((DNS, 0))).await?;
        fill(&dns, ports);

        let folder = std::env::temp_dir().join(format!("trunkline-demo-{}", std::process::id()));
        let config_path = folder.join("trunkline.toml");
        let config = text(ports, &dns, &webhook, &config_path, Probing::ForTheScenes);
        let loaded = trunkline_config::parse(&config, &config_path, &System)
            .map_err(|report| report.to_string())?;
        // The demo leaves nothing behind, so its secrets live no longer than it does.
        let seed = Seed {
            cluster: secrets::random()?,
            process: secrets::random()?,
        };
        let service =
            Service::start_with(loaded.settings, loaded.control, seed, Pace::default()).await?;
        Ok(World {
            ports,
            carrier,
            pbxs,
            emergency,
            webhook,
            dns,
            tape,
            config_path,
            service,
        })
    }

    /// Waits until every address of the carrier has answered a probe, so that what a scene shows
    /// does not depend on how early it comes.
    pub async fn settle(&self) {
        let end = Instant::now() + PROBED;
        while Instant::now() < end && self.carrier.iter().any(|phone| phone.probes() == 0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The router's configuration as a file says it.
    pub fn config(&self, probing: Probing) -> String {
        text(
            self.ports,
            &self.dns,
            &self.webhook,
            &self.config_path,
            probing,
        )
    }

    /// The folder of the configuration.
    pub fn folder(&self) -> &Path {
        folder(&self.config_path)
    }

    /// A name for the next call.
    pub fn call_id(&self) -> String {
        format!("demo-{}", message::unique())
    }

    /// What Trunkline says about a call that had its final answer just now.
    pub async fn record(&self, call_id: &str) -> Option<CallShown> {
        for _ in 0..300 {
            let calls = self.service.view().calls();
            if let Some(call) = calls.into_iter().find(|call| call.call_id == call_id) {
                return Some(call);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        None
    }

    /// Drains the router. True when nothing had to be cut off.
    pub async fn end(self) -> bool {
        self.service.drain(Duration::from_secs(2)).await
    }
}

async fn phones(ports: Ports, roles: &[Role], tape: &Tape) -> io::Result<Vec<Phone>> {
    let mut phones = Vec::with_capacity(roles.len());
    for role in roles {
        phones.push(phone(ports, *role, tape).await?);
    }
    Ok(phones)
}

async fn phone(ports: Ports, role: Role, tape: &Tape) -> io::Result<Phone> {
    Phone::open(
        role.label,
        ports.sip_at(role.ip),
        ports.sip_at(TRUNKLINE),
        tape.clone(),
    )
    .await
}

/// SRV records, because they can say the port. Dublin's first address comes before its second,
/// so that it is known whom a call meets first.
fn fill(dns: &TestDns, ports: Ports) {
    let [first, second, other] = CARRIER;
    let srv = |name: &str, hosts: &[&str]| {
        let services: Vec<_> = (10..)
            .step_by(10)
            .zip(hosts)
            .map(|(at, host)| (at, 0, ports.sip, *host))
            .collect();
        dns.srv(&format!("_sip._udp.{name}"), TTL, &services);
    };
    srv(DUBLIN, &[first.host, second.host]);
    srv(FRANKFURT, &[other.host]);
    // Asked for without SRV by whoever dials the name by hand.
    dns.a(DUBLIN, TTL, &[first.ip, second.ip]);
    dns.a(FRANKFURT, TTL, &[other.ip]);
    for role in CARRIER {
        dns.a(role.host, TTL, &[role.ip]);
    }
    for role in PBXS.map(|target| target.role) {
        srv(role.host, &[role.host]);
        dns.a(role.host, TTL, &[role.ip]);
    }
    srv(EMERGENCY, &[EMERGENCY]);
    dns.a(EMERGENCY, TTL, &[EMERGENCY_PHONE.ip]);
}

/// Whether an error comes down to an address that is taken.
fn is_in_use(error: &(dyn Error + 'static)) -> bool {
    let taken = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
    error.downcast_ref().is_some_and(taken) || error.source().is_some_and(is_in_use)
}

fn text(ports: Ports, dns: &TestDns, webhook: &Webhook, path: &Path, probing: Probing) -> String {
    config::text(
        ports,
        dns.addr(),
        webhook.addr(),
        &folder(path).join("state"),
        probing,
    )
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}
