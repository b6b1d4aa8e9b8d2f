//! Drills: for a while, some calls of a trunk behave as if every PBX were down, so that disaster
//! recovery is seen to work before it is needed. All other calls notice nothing.

use std::{sync::Arc, time::Instant};

use smallvec::SmallVec;
use trunkline_sip::{Message, Uri};

use crate::{
    Moment,
    engine::Engine,
    event::Direction,
    settings::{NumberPattern, TrunkId},
    snapshot::Snapshot,
    walk::Walk,
};

/// Parts of all calls that a share counts in: a share of 100 is 1 %.
pub const WHOLE: u16 = 10_000;

/// One drill.
#[derive(Clone, PartialEq, Debug)]
pub struct Drill {
    /// Whose inbound calls.
    pub trunk: TrunkId,
    /// Which of them.
    pub calls: Drilled,
    /// From then on it takes no more calls, whether or not anybody ends it.
    pub until: Instant,
}

/// Which calls a drill takes.
#[derive(Clone, PartialEq, Debug)]
pub enum Drilled {
    /// Those from or to this number.
    Number(NumberPattern),
    /// So many of [`WHOLE`], by chance.
    Share(u16),
}

/// The walk of a call that a drill takes: nobody to try. `None` for every other call.
pub fn walk(
    walk: &Walk,
    request: &Message<'_>,
    snapshot: &Snapshot,
    engine: &Engine,
    now: Moment,
) -> Option<Walk> {
    let drills = snapshot.routing().drills();
    if drills.is_empty() || walk.direction() != Direction::Origination {
        return None;
    }
    let trunk = walk.first_trunk();
    let takes = |drill: &Drill| {
        drill.trunk == trunk
            && engine.shared.moment(drill.until) > now
            && fits(&drill.calls, request, engine)
    };
    let recovers = snapshot
        .settings()
        .trunks
        .get(usize::from(trunk.0))
        .is_some_and(|it| it.recovery.is_some());
    (recovers && drills.iter().any(takes)).then(|| Walk::Fixed {
        trunk,
        direction: Direction::Origination,
        candidates: SmallVec::new(),
        request_uri: Arc::default(),
    })
}

fn fits(calls: &Drilled, request: &Message<'_>, engine: &Engine) -> bool {
    match calls {
        Drilled::Number(pattern) => {
            let from = request.from().ok().map(|from| from.uri);
            let mut numbers = [from, request.request_uri()].into_iter().flatten();
            numbers.any(|uri| {
                let user = Uri::parse(uri).ok().and_then(|uri| uri.user);
                user.is_some_and(|user| pattern.matches(user))
            })
        }
        Drilled::Share(share) => {
            // Keyed, so that nobody outside can choose to be in or out of it.
            let call_id = request.call_id().unwrap_or_default();
            engine.tokens.hash(&[b"drill", call_id]) % u64::from(WHOLE) < u64::from(*share)
        }
    }
}
