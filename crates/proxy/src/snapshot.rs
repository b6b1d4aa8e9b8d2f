//! A shard's view of [`Routing`]: the same data with what is looked up for every message found
//! beforehand.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use memchr::memmem::Finder;
use trunkline_sip::{Header, Host, Transport, Uri};

use crate::{
    Moment,
    event::Direction,
    forward::Face,
    health::{HealthTable, PeerIx},
    hop::ListenerId,
    retry::Retries,
    routing::{Candidate, Resolved, Routing},
    settings::{Listener, PlaceId, Settings, Target, Termination, Trunk, TrunkId},
    shared::Shared,
    tally::Tally,
    token::Tokens,
};

/// A host that is us.
#[derive(Clone, PartialEq, Eq, Debug)]
enum OwnHost {
    Name(Box<str>),
    Ip(IpAddr),
}

impl OwnHost {
    fn new(text: &str) -> Self {
        text.parse()
            .map_or_else(|_| OwnHost::Name(text.into()), OwnHost::Ip)
    }

    fn is(&self, host: Host<'_>) -> bool {
        match (self, host) {
            (OwnHost::Ip(ip), host) => host.ip() == Some(*ip),
            (OwnHost::Name(name), host) => host.eq_text(name.as_bytes()),
        }
    }
}

/// What is counted of one trunk.
#[derive(Debug)]
struct TrunkTallies {
    carrier: Arc<Tally>,
    edges: Vec<Arc<Tally>>,
    targets: Vec<Arc<Tally>>,
    retries: [Arc<Retries>; 2],
}

impl TrunkTallies {
    fn new(trunk: &Trunk, shared: &Shared) -> Self {
        let edges = trunk.termination.iter().flat_map(|it| &it.edges);
        let targets = trunk.origination.iter().flat_map(|it| &it.targets);
        TrunkTallies {
            edges: edges
                .map(|edge| shared.tallies.find(&trunk.name, &edge.address.written))
                .collect(),
            carrier: shared.tallies.find(&trunk.name, ""),
            targets: targets
                .map(|target| shared.tallies.find(&trunk.name, &target.address.written))
                .collect(),
            retries: [Direction::Termination, Direction::Origination]
                .map(|direction| shared.retries.find(&trunk.name, direction.word())),
        }
    }
}

/// What a shard makes of one file, whatever its names resolve to.
#[derive(Debug)]
struct File {
    /// Our own names and addresses, with their ports.
    own: Vec<(OwnHost, u16, ListenerId)>,
    /// By listener: what we write of it.
    faces: Vec<Face>,
    /// That of a listener that is not there.
    faceless: Face,
    /// The hosts of our Vias, as we write them.
    advertised: Vec<Finder<'static>>,
    /// By trunk: the hash of its name that tokens carry.
    trunk_hashes: Vec<u32>,
    trunks_of_hashes: HashMap<u32, TrunkId, foldhash::fast::RandomState>,
    /// By trunk: what is counted of it over all shards.
    tallies: Vec<TrunkTallies>,
}

impl File {
    fn new(settings: &Settings, tokens: &Tokens, shared: &Shared) -> Self {
        let names = settings.trunks.iter().map(|trunk| trunk.name.as_bytes());
        let trunk_hashes: Vec<u32> = names.map(|name| tokens.name_hash(name)).collect();
        let mut trunks_of_hashes = HashMap::default();
        for (index, hash) in trunk_hashes.iter().enumerate() {
            trunks_of_hashes
                .entry(*hash)
                .or_insert(TrunkId(index as u16));
        }
        let listeners = &settings.listeners;
        let trunks = settings.trunks.iter();
        File {
            own: listeners.iter().enumerate().flat_map(own_names).collect(),
            faces: listeners
                .iter()
                .map(|listener| Face::new(listener.transport, &listener.advertise))
                .collect(),
            faceless: Face::new(Transport::Udp, ""),
            advertised: listeners
                .iter()
                .map(|listener| Finder::new(listener.advertise.as_bytes()).into_owned())
                .collect(),
            trunk_hashes,
            trunks_of_hashes,
            tallies: trunks
                .map(|trunk| TrunkTallies::new(trunk, shared))
                .collect(),
        }
    }
}

/// One snapshot, pinned by every call that began under it.
#[derive(Debug)]
pub struct Snapshot {
    routing: Arc<Routing>,
    file: Arc<File>,
    /// The health entries of all candidates, place by place in their order.
    peers: Vec<PeerIx>,
    /// By place: where its candidates begin among them. One more than there are places.
    pools: Vec<u32>,
}

impl Snapshot {
    /// Interns every candidate in the health table and holds it until [`release`](Self::release). `before`: the
    /// snapshot that this one follows; what has not changed since is taken from there, for every packet waits
    /// meanwhile.
    pub fn new(
        routing: Arc<Routing>,
        before: Option<&Snapshot>,
        tokens: &Tokens,
        health: &mut HealthTable,
        shared: &Shared,
        now: Moment,
    ) -> Self {
        let before = before.filter(|before| before.is_of_file(&routing));
        let file = match before {
            Some(before) => Arc::clone(&before.file),
            None => Arc::new(File::new(routing.settings(), tokens, shared)),
        };
        let count = routing.places().len();
        let mut peers = Vec::with_capacity(before.map_or(count, |before| before.peers.len()));
        let mut pools = Vec::with_capacity(count + 1);
        pools.push(0);
        for (at, resolved) in routing.places().iter().enumerate() {
            let place = PlaceId(at as u32);
            match before.and_then(|before| before.unchanged(place, resolved)) {
                Some(same) => peers.extend_from_slice(same),
                None => {
                    if let Some(care) = routing.care(place) {
                        let candidates = resolved.candidates.iter();
                        peers.extend(candidates.map(|it| health.intern(it.peer(), care, now)));
                    }
                }
            }
            pools.push(peers.len() as u32);
        }
        for ix in &peers {
            health.hold(*ix);
        }
        Snapshot {
            routing,
            file,
            peers,
            pools,
        }
    }

    /// Whether it differs from this one in DNS only.
    fn is_of_file(&self, routing: &Routing) -> bool {
        Arc::ptr_eq(self.routing.settings(), routing.settings())
    }

    /// The health entries of a place that is known to have the very candidates it had.
    fn unchanged(&self, place: PlaceId, resolved: &Arc<Resolved>) -> Option<&[PeerIx]> {
        let known = self.routing.places().get(place.0 as usize)?;
        Arc::ptr_eq(known, resolved).then(|| self.pool_of(place))
    }

    fn pool_of(&self, place: PlaceId) -> &[PeerIx] {
        let at = place.0 as usize;
        let (Some(start), Some(end)) = (self.pools.get(at), self.pools.get(at + 1)) else {
            return &[];
        };
        let pool = self.peers.get(*start as usize..*end as usize);
        pool.unwrap_or_default()
    }

    /// Lets go of the health entries; the snapshot is not used again.
    pub fn release(&self, health: &mut HealthTable) {
        for ix in &self.peers {
            health.release(*ix);
        }
    }

    /// How many holds it has on health entries.
    pub fn holds(&self) -> usize {
        self.peers.len()
    }

    /// The snapshot itself.
    pub fn routing(&self) -> &Arc<Routing> {
        &self.routing
    }

    /// Its settings.
    pub fn settings(&self) -> &Settings {
        self.routing.settings()
    }

    /// Candidates of a place beside their health entries.
    pub fn pool(&self, place: PlaceId) -> impl ExactSizeIterator<Item = (&Candidate, PeerIx)> + '_ {
        let peers = self.pool_of(place);
        self.routing
            .resolved(place)
            .candidates
            .iter()
            .zip(peers.iter().copied())
    }

    /// The health entries of every candidate of edges and targets.
    pub fn peers(&self) -> &[PeerIx] {
        &self.peers
    }

    /// A listener.
    pub fn listener(&self, id: ListenerId) -> Option<&Listener> {
        self.settings().listeners.get(usize::from(id.0))
    }

    /// What peers see of a listener.
    pub fn face(&self, id: ListenerId) -> &Face {
        self.file
            .faces
            .get(usize::from(id.0))
            .unwrap_or(&self.file.faceless)
    }

    /// All listeners beside what peers see of them.
    pub fn faces(&self) -> impl Iterator<Item = (ListenerId, &Face)> {
        (0..).map(ListenerId).zip(&self.file.faces)
    }

    /// Whether one of ours may be in a Via header: what we write into one is there letter
    /// by letter.
    #[inline]
    pub fn may_be_our_via(&self, header: &Header<'_>) -> bool {
        match sent_by_of_only(header) {
            Some(sent_by) => self.file.faces.iter().any(|face| {
                let authority = face.authority.as_bytes();
                let start = sent_by.get(..authority.len());
                // The end of the host and the port tell most, in one step.
                start.is_some_and(|start| {
                    start.last_chunk::<8>() == authority.last_chunk() && start == authority
                })
            }),
            None => self
                .file
                .advertised
                .iter()
                .any(|name| name.find(header.value).is_some()),
        }
    }

    /// Which of our listeners a host and port name, if any.
    pub fn own(
        &self,
        host: Host<'_>,
        port: Option<u16>,
        transport: Option<Transport>,
    ) -> Option<ListenerId> {
        let port = port.unwrap_or_else(|| transport.unwrap_or(Transport::Udp).default_port());
        let mut named = self
            .file
            .own
            .iter()
            .filter(|(name, at, _)| *at == port && name.is(host));
        let (_, _, first) = named.clone().next()?;
        let same = named.find(|(_, _, id)| {
            transport.is_none_or(|transport| {
                self.listener(*id)
                    .is_some_and(|it| it.transport == transport)
            })
        });
        Some(same.map_or(*first, |(_, _, id)| *id))
    }

    /// Which of our listeners a URI names, if any (RFC 3261 §16.4); `maddr` counts.
    pub fn own_uri(&self, uri: &Uri<'_>) -> Option<ListenerId> {
        let (host, transport) = uri.reach();
        self.own(host, uri.port, transport.or(Some(Transport::Udp)))
    }

    /// What is counted of a target, over all shards.
    pub fn tally(&self, trunk: TrunkId, target: u16) -> Option<&Arc<Tally>> {
        let trunk = self.file.tallies.get(usize::from(trunk.0))?;
        trunk.targets.get(usize::from(target))
    }

    /// A target and what is counted of it.
    pub fn target(&self, trunk: TrunkId, at: u16) -> Option<(&Target, &Arc<Tally>)> {
        let origination = self
            .settings()
            .trunks
            .get(usize::from(trunk.0))?
            .origination
            .as_ref()?;
        Some((
            origination.targets.get(usize::from(at))?,
            self.tally(trunk, at)?,
        ))
    }

    /// What holds towards a trunk's carrier, and what is counted of it over all shards.
    pub fn carrier(&self, trunk: TrunkId) -> Option<(&Termination, &Arc<Tally>)> {
        let at = usize::from(trunk.0);
        let termination = self.settings().trunks.get(at)?.termination.as_ref()?;
        Some((termination, &self.file.tallies.get(at)?.carrier))
    }

    /// Whether an operator has taken an edge of a trunk out.
    pub fn is_edge_drained(&self, trunk: TrunkId, at: u16) -> bool {
        let trunk = self.file.tallies.get(usize::from(trunk.0));
        let edge = trunk.and_then(|trunk| trunk.edges.get(usize::from(at)));
        edge.is_some_and(|edge| edge.is_drained())
    }

    /// What a trunk's further attempts in one direction are held to.
    pub fn retries(&self, trunk: TrunkId, direction: Direction) -> Option<&Retries> {
        let tallies = self.file.tallies.get(usize::from(trunk.0))?;
        let [termination, origination] = &tallies.retries;
        Some(match direction {
            Direction::Termination => termination,
            Direction::Origination => origination,
        })
    }

    /// Where a trunk stands in another snapshot, by its name: a reload may reorder them. `None`
    /// where it is no more.
    pub fn translate(&self, to: &Snapshot, trunk: TrunkId) -> Option<TrunkId> {
        if Arc::ptr_eq(self.routing.settings(), to.routing.settings()) {
            return Some(trunk);
        }
        to.trunk_of_hash(self.trunk_hash(trunk))
    }

    /// What tokens call a trunk: the same on every node and after a reload.
    pub fn trunk_hash(&self, trunk: TrunkId) -> u32 {
        self.file
            .trunk_hashes
            .get(usize::from(trunk.0))
            .copied()
            .unwrap_or(0)
    }

    /// The trunk that tokens call so.
    pub fn trunk_of_hash(&self, hash: u32) -> Option<TrunkId> {
        self.file.trunks_of_hashes.get(&hash).copied()
    }

    /// The listener that speaks this transport with this address, `preferred` if it does.
    pub fn listener_for(
        &self,
        transport: Transport,
        ip: IpAddr,
        preferred: ListenerId,
    ) -> Option<ListenerId> {
        let fits = |listener: &Listener| {
            listener.transport == transport && listener.bind.is_ipv4() == ip.is_ipv4()
        };
        if self.listener(preferred).is_some_and(fits) {
            return Some(preferred);
        }
        let at = self.settings().listeners.iter().position(fits)?;
        Some(ListenerId(at as u16))
    }
}

/// What follows the protocol in a Via header as nearly all are written: with one value, and one blank
/// before its host. `None` for any other.
#[inline]
fn sent_by_of_only<'a>(header: &Header<'a>) -> Option<&'a [u8]> {
    let rest = header.value.strip_prefix(b"SIP/2.0/")?;
    let sent_by = match rest.split_first_chunk()? {
        (b"UDP " | b"TCP " | b"TLS ", sent_by) => sent_by,
        _ => &rest[rest.iter().position(|byte| *byte == b' ')? + 1..],
    };
    (header.is_single() && *sent_by.first()? > b' ').then_some(sent_by)
}

fn own_names((index, listener): (usize, &Listener)) -> Vec<(OwnHost, u16, ListenerId)> {
    let id = ListenerId(index as u16);
    let mut names = Vec::new();
    if let Some((host, port)) = split_authority(&listener.advertise) {
        names.push((
            OwnHost::new(host),
            port.unwrap_or(listener.transport.default_port()),
            id,
        ));
    }
    if !listener.bind.ip().is_unspecified() {
        names.push((OwnHost::Ip(listener.bind.ip()), listener.bind.port(), id));
    }
    names
}

/// "host:port" or "[v6]:port" in two parts; the host without brackets.
fn split_authority(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port.parse().ok()?))),
            None => Some((host, None)),
        };
    }
    match text.split_once(':') {
        Some((host, port)) => Some((host, Some(port.parse().ok()?))),
        None => Some((text, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_splits_with_and_without_port_and_brackets() {
        for (text, wanted) in [
            (
                "edge.example.net:5060",
                Some(("edge.example.net", Some(5060))),
            ),
            ("192.0.2.1", Some(("192.0.2.1", None))),
            ("[2001:db8::1]:5070", Some(("2001:db8::1", Some(5070)))),
            ("[::1]", Some(("::1", None))),
            ("host:port", None),
        ] {
            assert_eq!(split_authority(text), wanted, "{text}");
        }
    }
}
