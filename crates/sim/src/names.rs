//! The simulated DNS: a table of names that can change and fail while a script or a world runs.
//!
//! It answers what the product's resolver would have made of the records: candidates.

use std::{collections::BTreeMap, sync::Arc};

use trunkline_proxy::{
    Routing, Settings,
    hop::ListenerId,
    routing::{Candidate, Freshness, Resolved},
    settings::{Listener, Place},
};
use trunkline_sip::Transport;

use crate::address::Address;

/// One record: an address with its SRV priority and weight.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Where.
    pub address: Address,
    /// SRV priority, 0 without SRV.
    pub priority: u16,
    /// SRV weight, 0 without SRV.
    pub weight: u16,
}

impl Record {
    /// Reads `192.0.2.1`, `tcp:192.0.2.1:5070`, or either with `@priority/weight` behind it.
    pub fn parse(text: &str) -> Option<Record> {
        let (address, srv) = text.split_once('@').unwrap_or((text, "0/0"));
        let (priority, weight) = srv.split_once('/')?;
        Some(Record {
            address: Address::parse(address)?,
            priority: priority.parse().ok()?,
            weight: weight.parse().ok()?,
        })
    }
}

#[derive(Clone, Debug, Default)]
struct Entry {
    records: Vec<Record>,
    failing: bool,
}

/// All names that there are.
#[derive(Clone, Debug, Default)]
pub struct Names(BTreeMap<String, Entry>);

impl Names {
    /// Gives a name these records from now on; without any, it exists no more.
    pub fn set(&mut self, name: &str, records: Vec<Record>) {
        self.0.insert(
            name.to_ascii_lowercase(),
            Entry {
                records,
                failing: false,
            },
        );
    }

    /// Lets lookups of a name fail from now on. What it was stays known, as with a real resolver.
    pub fn fail(&mut self, name: &str) {
        self.0.entry(name.to_ascii_lowercase()).or_default().failing = true;
    }

    /// What a place resolves to, with a listener for each candidate.
    pub fn resolve(&self, place: &Place, listeners: &[Listener]) -> Resolved {
        if let Some(literal) = Address::parse(&place.host) {
            let record = Record {
                address: literal,
                priority: 0,
                weight: 0,
            };
            let candidates = candidate(place, &record, listeners).into_iter().collect();
            return Resolved {
                candidates,
                freshness: Freshness::Fresh,
            };
        }
        let Some(entry) = self.0.get(&*place.host) else {
            return Resolved {
                candidates: Vec::new(),
                freshness: Freshness::Absent,
            };
        };
        let mut candidates: Vec<Candidate> = entry
            .records
            .iter()
            .filter_map(|record| candidate(place, record, listeners))
            .collect();
        candidates.sort_unstable();
        candidates.dedup();
        let freshness = match (entry.failing, candidates.is_empty()) {
            (true, true) => Freshness::Unknown,
            (true, false) => Freshness::Stale,
            (false, true) => Freshness::Absent,
            (false, false) => Freshness::Fresh,
        };
        Resolved {
            candidates,
            freshness,
        }
    }

    /// The snapshot that the product's slow side would push now.
    pub fn snapshot(&self, settings: &Arc<Settings>) -> Arc<Routing> {
        let places = settings
            .places
            .iter()
            .map(|place| Arc::new(self.resolve(place, &settings.listeners)))
            .collect();
        Arc::new(Routing::new(Arc::clone(settings), places))
    }
}

/// What is written in the place wins over what the record says (RFC 3263 §4).
fn candidate(place: &Place, record: &Record, listeners: &[Listener]) -> Option<Candidate> {
    let transport = place.transport.unwrap_or(record.address.transport());
    let mut addr = record.address.socket;
    if let Some(port) = place.port {
        addr.set_port(port);
    }
    let listener = listener_for(listeners, transport, addr.is_ipv4(), place.from)?;
    Some(Candidate {
        priority: record.priority,
        weight: record.weight,
        transport,
        addr,
        listener,
    })
}

/// The listener that speaks this transport and family; the wished one if it does.
pub fn listener_for(
    listeners: &[Listener],
    transport: Transport,
    ipv4: bool,
    wished: Option<ListenerId>,
) -> Option<ListenerId> {
    let fits =
        |listener: &Listener| listener.transport == transport && listener.bind.is_ipv4() == ipv4;
    let wished = wished.filter(|id| listeners.get(usize::from(id.0)).is_some_and(fits));
    wished.or_else(|| {
        listeners
            .iter()
            .position(fits)
            .map(|at| ListenerId(at as u16))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(transport: Transport, bind: &str) -> Listener {
        Listener {
            name: None,
            transport,
            bind: bind.parse().unwrap(),
            advertise: bind.into(),
        }
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

    #[test]
    fn every_address_of_a_name_becomes_a_candidate_from_a_listener_that_can_reach_it() {
        let listeners = [
            listener(Transport::Udp, "203.0.113.10:5060"),
            listener(Transport::Tcp, "203.0.113.10:5060"),
            listener(Transport::Udp, "[2001:db8::10]:5060"),
        ];
        let mut names = Names::default();
        let records = [
            "192.0.2.1",
            "192.0.2.2:5080",
            "[2001:db8::1]",
            "tcp:[2001:db8::1]",
        ];
        names.set(
            "A.test",
            records
                .iter()
                .filter_map(|text| Record::parse(text))
                .collect(),
        );
        let found = names.resolve(&place("a.test"), &listeners);
        assert_eq!(found.freshness, Freshness::Fresh);
        let seen: Vec<_> = found
            .candidates
            .iter()
            .map(|c| (c.addr.to_string(), c.listener.0))
            .collect();
        assert_eq!(
            seen,
            [
                ("192.0.2.1:5060".into(), 0),
                ("192.0.2.2:5080".into(), 0),
                ("[2001:db8::1]:5060".into(), 2)
            ],
            "no listener speaks TCP over IPv6"
        );
        let tcp = names.resolve(
            &Place {
                transport: Some(Transport::Tcp),
                ..place("192.0.2.9")
            },
            &listeners,
        );
        assert_eq!(tcp.candidates[0].listener, ListenerId(1));
    }

    #[test]
    fn failing_names_keep_what_they_had_and_absent_ones_have_nothing() {
        let listeners = [listener(Transport::Udp, "203.0.113.10:5060")];
        let mut names = Names::default();
        assert_eq!(
            names.resolve(&place("a.test"), &listeners).freshness,
            Freshness::Absent
        );
        names.set("a.test", vec![Record::parse("192.0.2.1@10/60").unwrap()]);
        names.fail("a.test");
        let stale = names.resolve(&place("a.test"), &listeners);
        assert_eq!(
            (stale.freshness, stale.candidates.len()),
            (Freshness::Stale, 1)
        );
        assert_eq!(
            (stale.candidates[0].priority, stale.candidates[0].weight),
            (10, 60)
        );
        names.set("a.test", Vec::new());
        assert_eq!(
            names.resolve(&place("a.test"), &listeners).freshness,
            Freshness::Absent
        );
    }
}
