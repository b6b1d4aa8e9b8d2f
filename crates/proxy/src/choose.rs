//! Which way a request outside any dialog goes, and whose it is.
//!
//! Everything is looked up (`routing`): the cost is the same for one trunk and for thousands.

use std::sync::Arc;

use trunkline_sip::{Facts, Uri};

use crate::{
    Hop,
    engine::Engine,
    event::Direction,
    reject::Reject,
    routing::Role,
    settings::{HashKey, TrunkId},
    snapshot::Snapshot,
    walk::{Walk, hash_key},
};

/// Which way a request goes, and along which candidates.
pub fn choose_walk(
    from: Hop,
    role: &Role,
    facts: &Facts<'_>,
    snapshot: &Snapshot,
    engine: &Engine,
) -> Result<Walk, Reject> {
    let uri = facts.uri.ok_or(Reject::NoRoute)?;
    let number = called_number(&uri);
    match direction(role, from, &uri, number, snapshot) {
        Direction::Origination => {
            let id = carrier_trunk(role, &uri, number).ok_or(Reject::NoRoute)?;
            let trunk = snapshot
                .settings()
                .trunks
                .get(usize::from(id.0))
                .ok_or(Reject::NoRoute)?;
            let origination = trunk.origination.as_ref().ok_or(Reject::NoRoute)?;
            let hash = match hash_key(origination) {
                Some(HashKey::CallId) => Some(facts.call_id),
                Some(HashKey::From) => Some(user_of(facts.from_uri)),
                Some(HashKey::To) => Some(user_of(facts.to_uri)),
                None => None,
            };
            Ok(Walk::Origination {
                trunk: id,
                hash: hash.map_or(0, |hash| engine.tokens.hash(&[b"target", hash])),
                current: None,
            })
        }
        Direction::Termination => {
            let named = snapshot.routing().trunk_of_edge(uri.host_raw);
            let trunks = snapshot.routing().trunks_for(number);
            if named.is_none() && trunks.is_empty() {
                return Err(Reject::NoRoute);
            }
            Ok(Walk::Termination {
                named,
                trunks: Arc::clone(trunks),
            })
        }
    }
}

fn user_of(uri: &[u8]) -> &[u8] {
    Uri::parse(uri).map_or(b"", |uri| called_number(&uri))
}

/// The called number: the user part, without its parameters and password.
fn called_number<'a>(uri: &Uri<'a>) -> &'a [u8] {
    let user = uri.user.unwrap_or_default();
    // Hardly any has either.
    match memchr::memchr2(b';', b':', user) {
        Some(end) => &user[..end],
        None => user,
    }
}

/// A source that is both PBX and carrier (one machine, or a test): what the request itself names
/// decides, then the exact address, and carrier where nothing does.
fn direction(
    role: &Role,
    from: Hop,
    uri: &Uri<'_>,
    number: &[u8],
    snapshot: &Snapshot,
) -> Direction {
    if role.trunks.is_empty() {
        return Direction::Termination;
    }
    if !role.pbx {
        return Direction::Origination;
    }
    let names_edge = snapshot.routing().trunk_of_edge(uri.host_raw).is_some();
    let names_trunk = || role.named(uri.host(), number).is_some();
    if names_edge
        || (snapshot.routing().is_target(from.remote) && !names_trunk())
        || !role.takes_calls()
    {
        Direction::Termination
    } else {
        Direction::Origination
    }
}

/// The trunk a carrier's call belongs to: among several with the same source, by host, then by
/// number, else the first (BEHAVIOUR 2).
fn carrier_trunk(role: &Role, uri: &Uri<'_>, number: &[u8]) -> Option<TrunkId> {
    let first = role.trunks.first().copied();
    if role.trunks.len() < 2 {
        return first;
    }
    role.named(uri.host(), number)
        // One that names nothing takes what others do not name.
        .or_else(|| role.nameless())
        .or(first)
}
