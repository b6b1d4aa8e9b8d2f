//! RFC 3263 §4: numeric host, explicit port, NAPTR, SRV, then A and AAAA.
//!
//! All addresses of all records become candidates. The transport is decided once, by the first
//! service that exists: the same hosts over a second transport are no further places to try.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_resolver::proto::rr::{
    Name, RData, RecordType,
    rdata::{NAPTR, SRV},
};
use tokio::task::JoinSet;
use trunkline_proxy::{
    routing::Candidate,
    settings::{Listener, Place},
};
use trunkline_sip::Transport;

use super::{
    Lookup, address,
    client::{Client, Reply},
    listener,
};

/// Records of one SRV answer that are followed.
const SERVICES_MAX: usize = 256;
/// Candidates of one place.
const CANDIDATES_MAX: usize = 1024;

/// Transports in the order a client prefers them when nothing else decides (RFC 3263 §4.1).
const PREFERENCE: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];

/// All candidates of a place.
pub(crate) async fn candidates(
    client: &Arc<Client>,
    place: &Place,
    listeners: &[Listener],
) -> Lookup {
    let mut walk = Walk::new(client, place, listeners);
    match place.host.parse::<IpAddr>() {
        Ok(ip) => walk.literal(ip),
        Err(_) => match client.name(&place.host) {
            Ok(name) => walk.name(&name).await,
            Err(why) => walk.failed.push(why),
        },
    }
    walk.finish()
}

struct Walk<'a> {
    client: &'a Arc<Client>,
    place: &'a Place,
    listeners: &'a [Listener],
    found: Vec<Candidate>,
    ttl: Duration,
    /// Questions without an answer.
    failed: Vec<String>,
    left_out: Vec<String>,
    /// What DNS says is not there.
    missing: Vec<String>,
}

impl<'a> Walk<'a> {
    fn new(client: &'a Arc<Client>, place: &'a Place, listeners: &'a [Listener]) -> Self {
        Walk {
            client,
            place,
            listeners,
            found: Vec::new(),
            ttl: Duration::MAX,
            failed: Vec::new(),
            left_out: Vec::new(),
            missing: Vec::new(),
        }
    }

    /// RFC 3263 §4.1: for a numeric host UDP, or TLS for sips, unless a transport is written.
    /// Where we have no UDP listener in that family, the next transport we do have.
    fn literal(&mut self, ip: IpAddr) {
        let wanted = self.transports();
        let speaks =
            |transport: &&Transport| listener::speaks(self.listeners, **transport, ip.is_ipv6());
        let Some(transport) = wanted.iter().find(speaks).or(wanted.first()).copied() else {
            self.no_listener();
            return;
        };
        let port = self.place.port.unwrap_or(transport.default_port());
        self.add(SocketAddr::new(ip, port), transport, 0, 0);
    }

    async fn name(&mut self, name: &Name) {
        let Some(transport) = self.transports().first().copied() else {
            self.no_listener();
            return;
        };
        // RFC 3263 §4.2: a written port means that exactly this host is meant.
        if let Some(port) = self.place.port {
            return self
                .hosts(transport, [(name.clone(), port, 0, 0)].into())
                .await;
        }
        let mut refused = false;
        for (transport, service) in self.services(name).await {
            match self.ask(&service, RecordType::SRV).await {
                Some(records) if records.is_empty() => {}
                Some(records) => {
                    let records: Vec<SRV> = records.into_iter().filter_map(srv).collect();
                    // RFC 2782: the only target "." says that the service is decidedly not here.
                    if records.iter().all(|srv| srv.target.is_root()) {
                        self.missing
                            .push(format!("{service} says that there is no such service"));
                        refused = true;
                        continue;
                    }
                    let targets = records
                        .into_iter()
                        .filter(|srv| !srv.target.is_root())
                        .take(SERVICES_MAX)
                        .map(|srv| (srv.target, srv.port, srv.priority, srv.weight))
                        .collect();
                    return self.hosts(transport, targets).await;
                }
                None => {}
            }
        }
        if !refused {
            let port = transport.default_port();
            self.hosts(transport, [(name.clone(), port, 0, 0)].into())
                .await;
        }
    }

    /// The SRV names to ask, best first: by NAPTR when nothing is written and the name has rules
    /// we can follow, else by our own preference.
    async fn services(&mut self, name: &Name) -> Vec<(Transport, Name)> {
        if self.place.transport.is_none() && !self.place.secure {
            let rules = self.ask(name, RecordType::NAPTR).await.unwrap_or_default();
            let rules = usable_rules(rules.into_iter().filter_map(naptr), |transport| {
                listener::any_speaks(self.listeners, transport)
            });
            if !rules.is_empty() {
                return rules;
            }
        }
        self.transports()
            .into_iter()
            .filter_map(|transport| Some((transport, service_name(transport, name)?)))
            .collect()
    }

    /// What the request may travel over: as written, else what we have listeners for.
    fn transports(&self) -> Vec<Transport> {
        let written = match (self.place.secure, self.place.transport) {
            // sips means TLS on every hop (RFC 3261 §26.2.2), whatever it runs over.
            (true, Some(Transport::Ws | Transport::Wss)) => Some(Transport::Wss),
            (true, _) => Some(Transport::Tls),
            (false, written) => written,
        };
        if let Some(transport) = written {
            return vec![transport];
        }
        let named = self
            .place
            .from
            .and_then(|id| self.listeners.get(usize::from(id.0)));
        let mut order: Vec<Transport> = named
            .map(|listener| listener.transport)
            .into_iter()
            .collect();
        order.extend(PREFERENCE.into_iter().filter(|transport| {
            listener::any_speaks(self.listeners, *transport)
                && named.is_none_or(|named| named.transport != *transport)
        }));
        order
    }

    /// Adds every address of these hosts: (host, port, priority, weight).
    async fn hosts(&mut self, transport: Transport, hosts: Vec<(Name, u16, u16, u16)>) {
        let families: Vec<RecordType> = [(RecordType::A, false), (RecordType::AAAA, true)]
            .into_iter()
            .filter(|(_, v6)| listener::speaks(self.listeners, transport, *v6))
            .map(|(kind, _)| kind)
            .collect();
        if families.is_empty() {
            self.left_out.push(format!(
                "{}: no listener speaks {}",
                self.place.host,
                transport.param()
            ));
            return;
        }
        // Several records may name one host; it is asked for once.
        let mut asked: BTreeMap<Name, Vec<IpAddr>> = BTreeMap::new();
        let mut asking = JoinSet::new();
        for (host, ..) in &hosts {
            if asked.insert(host.clone(), Vec::new()).is_none() {
                for kind in families.iter().copied() {
                    let (client, host) = (self.client.clone(), host.clone());
                    asking.spawn(async move { (client.ask(&host, kind).await, host, kind) });
                }
            }
        }
        while let Some(done) = asking.join_next().await {
            match done {
                Ok((Ok(Reply::Records { data, ttl }), host, _)) => {
                    self.ttl = self.ttl.min(ttl);
                    let addresses = data.iter().filter_map(address);
                    asked.entry(host).or_default().extend(addresses);
                }
                Ok((Ok(Reply::Nothing { ttl }), host, kind)) => {
                    self.ttl = self.ttl.min(ttl);
                    self.missing.push(format!("{host} has no {kind} record"));
                }
                Ok((Err(why), ..)) => self.failed.push(why),
                Err(error) => self.failed.push(error.to_string()),
            }
        }
        for (host, port, priority, weight) in hosts {
            for ip in asked.get(&host).into_iter().flatten() {
                self.add(SocketAddr::new(*ip, port), transport, priority, weight);
            }
        }
    }

    fn add(&mut self, addr: SocketAddr, transport: Transport, priority: u16, weight: u16) {
        match listener::choose(self.listeners, self.place.from, transport, addr) {
            Some(listener) => {
                self.found.push(Candidate {
                    priority,
                    weight,
                    transport,
                    addr,
                    listener,
                });
            }
            None => self.left_out.push(format!(
                "{}:{addr}: no {} listener speaks {}",
                transport.param(),
                if addr.is_ipv6() { "IPv6" } else { "IPv4" },
                transport.param()
            )),
        }
    }

    /// `None`: no answer, and it is noted.
    async fn ask(&mut self, name: &Name, kind: RecordType) -> Option<Vec<RData>> {
        match self.client.ask(name, kind).await {
            Ok(Reply::Records { data, ttl }) => {
                self.ttl = self.ttl.min(ttl);
                Some(data)
            }
            Ok(Reply::Nothing { ttl }) => {
                self.ttl = self.ttl.min(ttl);
                Some(Vec::new())
            }
            Err(why) => {
                self.failed.push(why);
                None
            }
        }
    }

    fn no_listener(&mut self) {
        self.left_out.push(format!(
            "{}: there is no listener to speak from",
            self.place.host
        ));
    }

    fn finish(mut self) -> Lookup {
        let candidates = tidy(std::mem::take(&mut self.found));
        let failed = (!self.failed.is_empty()).then(|| self.failed.join("; "));
        match failed {
            Some(why) if candidates.is_empty() => Lookup::Failed(why),
            None if candidates.is_empty() && self.left_out.is_empty() => Lookup::Absent {
                ttl: self.ttl,
                why: self.missing.join("; "),
            },
            incomplete => Lookup::Found {
                candidates,
                ttl: self.ttl,
                left_out: self.left_out,
                incomplete,
            },
        }
    }
}

/// Sorted, each address once: two records for one address in one priority add their weights, as
/// they would in a draw between them; in two priorities the better one stays.
fn tidy(mut found: Vec<Candidate>) -> Vec<Candidate> {
    let mut merged: Vec<Candidate> = Vec::with_capacity(found.len());
    found.sort_unstable_by_key(|c| (c.transport, c.addr, c.listener, c.priority, c.weight));
    for candidate in found {
        match merged.last_mut() {
            Some(last)
                if (last.transport, last.addr, last.listener)
                    == (candidate.transport, candidate.addr, candidate.listener) =>
            {
                if last.priority == candidate.priority {
                    last.weight = last.weight.saturating_add(candidate.weight);
                }
            }
            _ => merged.push(candidate),
        }
    }
    merged.sort_unstable();
    merged.truncate(CANDIDATES_MAX);
    merged
}

/// The NAPTR rules a SIP client follows (RFC 3263 §4.1), in order: terminal rules to SRV, for
/// transports we have.
fn usable_rules(
    rules: impl Iterator<Item = NAPTR>,
    have: impl Fn(Transport) -> bool,
) -> Vec<(Transport, Name)> {
    let mut usable: Vec<(u16, u16, Transport, Name)> = rules
        .filter(|rule| rule.flags.eq_ignore_ascii_case(b"s") && rule.regexp.is_empty())
        .filter_map(|rule| {
            let transport = match rule.services.to_ascii_uppercase().as_slice() {
                b"SIP+D2U" => Transport::Udp,
                b"SIP+D2T" => Transport::Tcp,
                b"SIPS+D2T" => Transport::Tls,
                _ => return None,
            };
            have(transport).then_some((rule.order, rule.preference, transport, rule.replacement))
        })
        .collect();
    usable.sort();
    usable
        .into_iter()
        .map(|(_, _, transport, name)| (transport, name))
        .collect()
}

/// "_sip._udp.example.com" and the like; `None` for transports without one (RFC 7118 §6).
fn service_name(transport: Transport, name: &Name) -> Option<Name> {
    let (service, protocol) = match transport {
        Transport::Udp => ("_sip", "_udp"),
        Transport::Tcp => ("_sip", "_tcp"),
        Transport::Tls => ("_sips", "_tcp"),
        Transport::Ws | Transport::Wss => return None,
    };
    // Fails only for a name that is already as long as a name may be; it has no services then.
    name.prepend_label(protocol)
        .and_then(|name| name.prepend_label(service))
        .ok()
}

fn srv(data: RData) -> Option<SRV> {
    match data {
        RData::SRV(srv) => Some(srv),
        _ => None,
    }
}

fn naptr(data: RData) -> Option<NAPTR> {
    match data {
        RData::NAPTR(naptr) => Some(naptr),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use trunkline_proxy::ListenerId;

    use super::*;

    fn rule(order: u16, preference: u16, flags: &str, service: &str, to: &str) -> NAPTR {
        let bytes = |text: &str| text.as_bytes().into();
        let to = Name::from_ascii(to).unwrap();
        NAPTR::new(
            order,
            preference,
            bytes(flags),
            bytes(service),
            bytes(""),
            to,
        )
    }

    #[test]
    fn naptr_rules_come_in_order_and_only_those_we_can_follow() {
        let rules = [
            rule(20, 1, "s", "SIP+D2U", "late."),
            rule(10, 2, "S", "sip+d2t", "second."),
            rule(10, 1, "s", "SIP+D2U", "first."),
            rule(1, 1, "s", "SIPS+D2T", "no-tls-here."),
            rule(1, 1, "u", "E2U+sip", "enum."),
            rule(1, 1, "a", "SIP+D2U", "not-a-service."),
        ];
        let got = usable_rules(rules.into_iter(), |transport| transport != Transport::Tls);
        let names: Vec<_> = got
            .iter()
            .map(|(t, name)| (t.param(), name.to_ascii()))
            .collect();
        let want = [("udp", "first."), ("tcp", "second."), ("udp", "late.")];
        assert_eq!(
            names,
            want.map(|(transport, name)| (transport, name.to_owned()))
        );
    }

    #[test]
    fn an_address_in_several_records_is_one_candidate() {
        let candidate = |priority, weight, last: u8| Candidate {
            priority,
            weight,
            transport: Transport::Udp,
            addr: ([127, 0, 0, last], 5060).into(),
            listener: ListenerId(0),
        };
        let got = tidy(vec![
            candidate(20, 5, 1),
            candidate(10, 60, 2),
            candidate(10, 40, 1),
            candidate(10, 20, 2),
        ]);
        assert_eq!(got, [candidate(10, 40, 1), candidate(10, 80, 2)]);
    }
}
