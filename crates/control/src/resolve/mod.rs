//! From a written place to candidates, and keeping them fresh.
//!
//! DNS says where a name is; whether anybody answers there is kept with the address, elsewhere.
//! So nothing here knows of calls or health, and one failed call can spoil no name.

mod client;
mod keeper;
mod listener;
mod rfc3263;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_resolver::proto::rr::{RData, RecordType};
use trunkline_proxy::{
    routing::Candidate,
    settings::{Listener, Place},
};

use client::{Client, Reply};
pub use keeper::{Keeper, LookupResult, News, Pace, PlaceStatus};

/// A name server cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("[dns] servers: cannot use {server}: {error}; write \"ip:port\" of a server that answers")]
pub struct ResolverError {
    /// As configured.
    pub server: SocketAddr,
    /// What is wrong with it.
    pub error: String,
}

/// What a place resolves to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lookup {
    /// The name is there.
    Found {
        /// Sorted, without repeats; every address of every record that a listener can reach.
        candidates: Vec<Candidate>,
        /// How long that may be believed; [`Duration::MAX`] for a literal address.
        ttl: Duration,
        /// What is not among them because no listener speaks to it, each as a sentence.
        left_out: Vec<String>,
        /// What could not be found out: there may be more candidates than these.
        incomplete: Option<String>,
    },
    /// DNS says that there is no such name, service or address. An answer, not a failure.
    Absent {
        /// How long that may be believed.
        ttl: Duration,
        /// What exactly is missing.
        why: String,
    },
    /// DNS gave no answer: servers and name are in the text.
    Failed(String),
}

/// Finds the candidates of places (RFC 3263). Cheap to clone; keeps no answers.
#[derive(Clone)]
pub struct Resolver {
    client: Arc<Client>,
}

impl Resolver {
    /// A resolver that asks these servers, or the system's when there are none. Each question has
    /// `timeout`, whatever the number of servers.
    ///
    /// # Errors
    /// When one of the servers cannot be used at all. That the system has none is no error here:
    /// lookups say so, and literal addresses need no DNS.
    pub fn new(servers: &[SocketAddr], timeout: Duration) -> Result<Self, ResolverError> {
        Ok(Resolver {
            client: Arc::new(Client::new(servers, timeout)?),
        })
    }

    /// All candidates of a place, each with the listener that speaks to it. A literal address
    /// asks nobody.
    pub async fn place(&self, place: &Place, listeners: &[Listener]) -> Lookup {
        rfc3263::candidates(&self.client, place, listeners).await
    }

    /// All addresses of a plain host name, IPv6 first when both are there.
    ///
    /// # Errors
    /// A sentence that says why there are none.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        if let Ok(ip) = host.trim_start_matches('[').trim_end_matches(']').parse() {
            return Ok(vec![ip]);
        }
        let name = self.client.name(host)?;
        let (v6, v4) = tokio::join!(
            self.client.ask(&name, RecordType::AAAA),
            self.client.ask(&name, RecordType::A)
        );
        let mut found = Vec::new();
        let mut why = format!("{host} has no address");
        for reply in [v6, v4] {
            match reply {
                Ok(Reply::Records { data, .. }) => found.extend(data.iter().filter_map(address)),
                Ok(Reply::Nothing { .. }) => {}
                Err(error) => why = error,
            }
        }
        if found.is_empty() {
            Err(why)
        } else {
            Ok(found)
        }
    }
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
        _ => None,
    }
}
