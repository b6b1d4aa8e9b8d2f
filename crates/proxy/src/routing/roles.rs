//! Who a source address is, and which trunk its calls belong to.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use ipnet::IpNet;
use smallvec::SmallVec;
use trunkline_sip::Host;

use super::{
    Resolved,
    numbers::Numbers,
    ranges::{Ranges, canonical},
};
use crate::settings::{Settings, TrunkId};

/// Who a source address is.
#[derive(Clone, Debug, Default)]
pub struct Role {
    /// May place outbound calls.
    pub pbx: bool,
    /// Trunks whose carrier it may be, in the file's order.
    pub trunks: Vec<TrunkId>,
    claims: Arc<Claims>,
}

impl Role {
    /// Nobody allowed it.
    pub fn is_unknown(&self) -> bool {
        !self.pbx && self.trunks.is_empty()
    }

    /// Whether it may be this trunk's carrier.
    pub fn carries(&self, trunk: TrunkId) -> bool {
        self.trunks.binary_search(&trunk).is_ok()
    }

    /// Whether any of its trunks takes calls.
    pub fn takes_calls(&self) -> bool {
        self.claims.takes_calls
    }

    /// The first of its trunks one of whose `hosts` or `numbers` names the request.
    pub fn named(&self, host: Host<'_>, number: &[u8]) -> Option<TrunkId> {
        // A host is more particular than a number (BEHAVIOUR 2).
        self.claims.by_host(host).or_else(|| {
            self.claims
                .numbers
                .find(number)
                .map(|id| TrunkId(id as u16))
        })
    }

    /// The first of its trunks that has neither: it takes what others do not name.
    pub fn nameless(&self) -> Option<TrunkId> {
        self.claims.nameless
    }
}

/// What a set of trunks says about which calls are whose: looked up, however many they are.
#[derive(Debug, Default)]
struct Claims {
    /// Hosts in lower case, without the root's dot.
    names: HashMap<Box<[u8]>, TrunkId>,
    ips: HashMap<IpAddr, TrunkId>,
    numbers: Numbers,
    nameless: Option<TrunkId>,
    takes_calls: bool,
}

impl Claims {
    fn new(settings: &Settings, trunks: &[TrunkId]) -> Claims {
        let mut claims = Claims::default();
        for id in trunks {
            let Some(trunk) = settings.trunks.get(usize::from(id.0)) else {
                continue;
            };
            for host in &trunk.hosts {
                claims
                    .names
                    .entry(plain(host.as_bytes()).as_slice().into())
                    .or_insert(*id);
                if let Some(ip) = Host::parse(host.as_bytes()).and_then(|host| host.ip()) {
                    claims.ips.entry(ip).or_insert(*id);
                }
            }
            for pattern in &trunk.numbers {
                claims.numbers.insert(pattern, u32::from(id.0));
            }
            if trunk.hosts.is_empty() && trunk.numbers.is_empty() {
                claims.nameless.get_or_insert(*id);
            }
            claims.takes_calls |= trunk.origination.is_some();
        }
        claims
    }

    fn by_host(&self, host: Host<'_>) -> Option<TrunkId> {
        if self.names.is_empty() {
            return None;
        }
        match host {
            Host::Name(name) => self.names.get(plain(name).as_slice()),
            Host::V4(ip) => self.ips.get(&ip.into()),
            Host::V6(ip) => self.ips.get(&ip.into()),
        }
        .copied()
    }
}

/// A host name as all of its spellings have it.
fn plain(name: &[u8]) -> SmallVec<[u8; 64]> {
    let name = name.strip_suffix(b".").unwrap_or(name);
    name.iter().map(u8::to_ascii_lowercase).collect()
}

/// All sources that somebody allowed.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources {
    ranges: Ranges,
    roles: Vec<Role>,
    nobody: Role,
}

impl Sources {
    pub(super) fn new(settings: &Settings, places: &[Arc<Resolved>]) -> Self {
        let mut known = Known::default();
        for net in &settings.pbx_allow {
            known.role(*net).pbx = true;
        }
        for (index, trunk) in settings.trunks.iter().enumerate() {
            let id = TrunkId(index as u16);
            for net in &trunk.allow {
                let role = known.role(*net);
                if role.trunks.last() != Some(&id) {
                    role.trunks.push(id);
                }
            }
            let targets = trunk
                .origination
                .iter()
                .flat_map(|origination| &origination.targets);
            let resolved = targets.filter_map(|target| places.get(target.place.0 as usize));
            for candidate in resolved.flat_map(|resolved| &resolved.candidates) {
                known.role(IpNet::from(candidate.addr.ip())).pbx = true;
            }
        }
        let mut roles = known.roles;
        // Many networks have the same trunks: one carrier's.
        let mut claims: HashMap<Vec<TrunkId>, Arc<Claims>> = HashMap::new();
        for role in roles.iter_mut().filter(|role| !role.trunks.is_empty()) {
            let same = claims.entry(role.trunks.clone());
            let claims = same.or_insert_with(|| Arc::new(Claims::new(settings, &role.trunks)));
            role.claims = Arc::clone(claims);
        }
        Sources {
            ranges: Ranges::new(known.by_network),
            roles,
            nobody: Role::default(),
        }
    }

    pub(super) fn find(&self, source: IpAddr) -> &Role {
        let found = self.ranges.find(source);
        found
            .and_then(|at| self.roles.get(at as usize))
            .unwrap_or(&self.nobody)
    }
}

/// Roles while networks are added.
#[derive(Default)]
struct Known {
    by_network: HashMap<IpNet, u32>,
    roles: Vec<Role>,
}

impl Known {
    fn role(&mut self, network: IpNet) -> &mut Role {
        let at = *self
            .by_network
            .entry(canonical(network))
            .or_insert_with(|| {
                self.roles.push(Role::default());
                self.roles.len() as u32 - 1
            });
        &mut self.roles[at as usize]
    }
}
