//! One DNS question, put to the name servers until one of them answers it.
//!
//! hickory asks a single server (UDP with EDNS, TCP when the answer was cut, CNAMEs followed);
//! which server, and when to try the next, is decided here: a server that is dead, or that says
//! SERVFAIL, must cost a moment and not the answer. Nothing is cached: the keeper asks exactly
//! when it wants to know.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{Name, RData, RecordType},
    },
    system_conf::read_system_conf,
};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::ResolverError;

/// How long a silent server keeps its lead before the next one is asked as well; a third of the
/// timeout where that is less, so that the next one has time to answer.
const HEAD_START: Duration = Duration::from_millis(300);
/// Questions under way at once; more of them wait.
const QUESTIONS_MAX: usize = 32;
/// For how long "nothing" is believed when the server does not say (RFC 2308 wants it to).
const NEGATIVE_TTL: Duration = Duration::from_secs(60);

/// A good answer.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Records of the kind that was asked for.
    Records { data: Vec<RData>, ttl: Duration },
    /// The name, or the kind, is not there.
    Nothing { ttl: Duration },
}

/// The name servers.
pub(crate) struct Client {
    servers: Vec<Server>,
    /// The server that answered last goes first.
    first: AtomicUsize,
    timeout: Duration,
    permits: Arc<Semaphore>,
    /// Names are complete as written; the system's search list is left out.
    complete: bool,
    /// Why there are no servers, when there are none.
    none: String,
}

#[derive(Clone)]
struct Server {
    addr: SocketAddr,
    resolver: TokioResolver,
}

impl Server {
    async fn ask(&self, name: Name, kind: RecordType) -> Result<Reply, String> {
        let result = self.resolver.lookup(name, kind).await;
        // The resolver follows a few CNAMEs and calls the rest of a longer chain, or of a circle,
        // nothing. A server that means nothing says so in its authority section.
        if let Err(NetError::Dns(DnsError::NoRecordsFound(nothing))) = &result
            && nothing.authorities.is_none()
        {
            let end = nothing.query.name().clone();
            let more = self.resolver.lookup(end.clone(), RecordType::CNAME).await;
            if more.is_ok_and(|more| !more.answers().is_empty()) {
                return Err(format!("CNAMEs without end, {end} among them"));
            }
        }
        read(kind, result)
    }
}

impl Client {
    /// A client of these servers, or of the system's when there are none.
    pub(crate) fn new(servers: &[SocketAddr], timeout: Duration) -> Result<Client, ResolverError> {
        let timeout = timeout.max(Duration::from_millis(10));
        // A machine without DNS can still run a configuration of addresses alone, so the lack is
        // said when somebody asks for a name.
        let mut none = "the system's DNS configuration names no server".to_owned();
        let (config, mut options) = if servers.is_empty() {
            read_system_conf().unwrap_or_else(|error| {
                none = format!("the system's DNS configuration cannot be read ({error})");
                (no_servers(), ResolverOpts::default())
            })
        } else {
            let name_servers = servers.iter().copied().map(name_server).collect();
            (
                ResolverConfig::from_parts(None, Vec::new(), name_servers),
                ResolverOpts::default(),
            )
        };
        options.cache_size = 0;
        // n attempts are n + 1 tries: two, so that one lost datagram costs half the time we have.
        options.attempts = 1;
        options.timeout = timeout / 2;
        options.use_hosts_file = ResolveHosts::Always;
        let (domain, search, name_servers) = config.into_parts();
        let mut list = Vec::new();
        for server in name_servers {
            let port = server
                .connections
                .first()
                .map_or(53, |connection| connection.port);
            let addr = SocketAddr::new(server.ip, port);
            let config = ResolverConfig::from_parts(domain.clone(), search.clone(), vec![server]);
            let resolver =
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
                    .with_options(options.clone())
                    .build()
                    .map_err(|error| ResolverError {
                        server: addr,
                        error: error.to_string(),
                    })?;
            list.push(Server { addr, resolver });
        }
        Ok(Client {
            servers: list,
            first: AtomicUsize::new(0),
            timeout,
            permits: Arc::new(Semaphore::new(QUESTIONS_MAX)),
            complete: !servers.is_empty(),
            none: format!("{none}; name servers in [dns], such as servers = [\"192.0.2.53:53\"]"),
        })
    }

    /// A name as it is asked for. The error says what is wrong with it.
    pub(crate) fn name(&self, text: &str) -> Result<Name, String> {
        let mut name = Name::from_ascii(text)
            .map_err(|error| format!("\"{text}\" is not a domain name: {error}"))?;
        if self.complete {
            name.set_fqdn(true);
        }
        Ok(name)
    }

    /// Asks. The error names the question and what each server did.
    pub(crate) async fn ask(&self, name: &Name, kind: RecordType) -> Result<Reply, String> {
        if self.servers.is_empty() {
            return Err(format!("{kind} {name}: {}", self.none));
        }
        let _permit = self.permits.acquire().await;
        let mut faults = Vec::new();
        match timeout(self.timeout, self.race(name, kind, &mut faults)).await {
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Err(format!("{kind} {name}: {}", faults.join(", "))),
            Err(_) => {
                let all = self.servers.iter().map(|server| server.addr.to_string());
                faults.push(format!(
                    "no answer within {:?} from {}",
                    self.timeout,
                    all.collect::<Vec<_>>().join(", ")
                ));
                Err(format!("{kind} {name}: {}", faults.join(", ")))
            }
        }
    }

    /// The first good answer wins; a server that fails or stays silent lets the next one start.
    async fn race(&self, name: &Name, kind: RecordType, faults: &mut Vec<String>) -> Option<Reply> {
        let lead = self.first.load(Ordering::Relaxed);
        let count = self.servers.len();
        let mut waiting = (0..count).map(|step| (lead + step) % count);
        let mut racing = JoinSet::new();
        let start = |racing: &mut JoinSet<_>, index: usize| {
            let (server, name) = (self.servers[index].clone(), name.clone());
            racing.spawn(async move { (index, server.ask(name, kind).await) });
        };
        start(&mut racing, waiting.next()?);
        loop {
            tokio::select! {
                done = racing.join_next() => {
                    match done {
                        Some(Ok((index, result))) => match result {
                            Ok(reply) => {
                                self.first.store(index, Ordering::Relaxed);
                                return Some(reply);
                            }
                            Err(why) => faults.push(format!("{} says {why}", self.servers[index].addr)),
                        },
                        Some(Err(error)) => faults.push(error.to_string()),
                        None => return None,
                    }
                    if let Some(next) = waiting.next() {
                        start(&mut racing, next);
                    }
                }
                () = sleep(HEAD_START.min(self.timeout / 3)), if waiting.len() > 0 => {
                    if let Some(next) = waiting.next() {
                        start(&mut racing, next);
                    }
                }
            }
        }
    }
}

fn no_servers() -> ResolverConfig {
    ResolverConfig::from_parts(None, Vec::new(), Vec::new())
}

fn name_server(addr: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = addr.port();
        connection
    });
    NameServerConfig::new(addr.ip(), true, connections.into())
}

/// NXDOMAIN and an empty answer are answers; whatever else is not records is a failure.
fn read(
    kind: RecordType,
    result: Result<hickory_resolver::lookup::Lookup, NetError>,
) -> Result<Reply, String> {
    match result {
        Ok(lookup) => {
            let code = lookup.message().metadata.response_code;
            if !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
                return Err(code.to_string());
            }
            // CNAMEs on the way count for the TTL: when one of them changes, so does the answer.
            let ttl = lookup
                .answers()
                .iter()
                .map(|record| record.ttl)
                .min()
                .unwrap_or_default();
            let ttl = Duration::from_secs(ttl.into());
            let data: Vec<RData> = lookup
                .answers()
                .iter()
                .filter(|record| record.record_type() == kind)
                .map(|record| record.data.clone())
                .collect();
            Ok(if data.is_empty() {
                Reply::Nothing { ttl }
            } else {
                Reply::Records { data, ttl }
            })
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(nothing))) => match nothing.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => {
                let ttl = nothing
                    .negative_ttl
                    .map_or(NEGATIVE_TTL, |ttl| Duration::from_secs(ttl.into()));
                Ok(Reply::Nothing { ttl })
            }
            code => Err(code.to_string()),
        },
        Err(error) => Err(error.to_string()),
    }
}
