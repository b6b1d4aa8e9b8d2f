//! What only shows when the whole file has been read: who else may speak from the same address,
//! which route can never match, what nothing leads to.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use ipnet::IpNet;
use trunkline_proxy::{
    Settings,
    settings::{Trunk, TrunkId},
};

use crate::{
    duration::show,
    read::{Allowed, Notes},
    walk::Section,
};

/// Warns about what was hardly meant.
pub(crate) fn judge(root: &Section<'_>, settings: &Settings, notes: &Notes) {
    Overlaps::new(root, settings, notes).judge();
    note_hidden_routes(root, settings, notes);
    note_unreached_trunks(root, settings, notes);
    note_unused_trunks(root, settings, notes);
    note_nobody_outbound(root, settings, notes);
}

/// Whose `allow` an entry stands in.
#[derive(Copy, Clone, PartialEq, Eq, Hash)]
enum Owner {
    Pbx,
    Trunk(usize),
}

/// Addresses that several lists allow.
struct Overlaps<'a> {
    root: &'a Section<'a>,
    trunks: &'a [Trunk],
    by_net: HashMap<IpNet, Vec<(Owner, &'a Allowed)>>,
    /// Prefix lengths that occur, so that a wider network is found without trying all.
    lengths: Vec<u8>,
    entries: Vec<(Owner, &'a Allowed)>,
    /// One warning for two lists is enough.
    told: HashSet<(Owner, Owner)>,
}

impl<'a> Overlaps<'a> {
    fn new(root: &'a Section<'a>, settings: &'a Settings, notes: &'a Notes) -> Self {
        let pbx = notes.pbx_allow.iter().map(|allowed| (Owner::Pbx, allowed));
        let trunks = notes.trunks.iter().enumerate();
        let trunks = trunks.flat_map(|(index, trunk)| {
            trunk
                .allow
                .iter()
                .map(move |allowed| (Owner::Trunk(index), allowed))
        });
        let entries: Vec<(Owner, &Allowed)> = pbx.chain(trunks).collect();
        let mut by_net: HashMap<IpNet, Vec<(Owner, &Allowed)>> = HashMap::new();
        for (owner, allowed) in &entries {
            by_net
                .entry(allowed.net)
                .or_default()
                .push((*owner, allowed));
        }
        let mut lengths: Vec<u8> = entries
            .iter()
            .map(|(_, allowed)| allowed.net.prefix_len())
            .collect();
        lengths.sort_unstable();
        lengths.dedup();
        Overlaps {
            root,
            trunks: &settings.trunks,
            by_net,
            lengths,
            entries,
            told: HashSet::new(),
        }
    }

    fn judge(mut self) {
        for (owner, allowed) in std::mem::take(&mut self.entries) {
            let same = self
                .by_net
                .get(&allowed.net)
                .and_then(|all| all.first())
                .copied();
            if let Some((first, other)) = same.filter(|(first, _)| *first != owner) {
                self.note_same(first, other, owner, allowed);
            }
            for wider in self.wider(allowed.net) {
                if let Some((whose, other)) =
                    self.by_net.get(&wider).and_then(|all| all.first()).copied()
                {
                    self.note_narrower(owner, allowed, whose, other);
                }
            }
        }
    }

    fn wider(&self, net: IpNet) -> Vec<IpNet> {
        let shorter = self
            .lengths
            .iter()
            .filter(|length| **length < net.prefix_len());
        shorter
            .filter_map(|length| IpNet::new(net.addr(), *length).ok())
            .map(|net| net.trunc())
            .collect()
    }

    /// The same network in two lists.
    fn note_same(&mut self, first: Owner, other: &Allowed, owner: Owner, allowed: &Allowed) {
        let line = self.line(other);
        let (message, remedy) = match (first, owner) {
            (Owner::Trunk(first), Owner::Trunk(second)) => {
                if self.told_apart(first, second) {
                    return;
                }
                let message = format!(
                    "{:?} may also bring calls of trunk {:?} (line {line}), and nothing tells the two apart",
                    allowed.written,
                    self.name(first)
                );
                (
                    message,
                    "give one of them hosts = [...] or numbers = [...]; the first in the file takes all otherwise",
                )
            }
            (Owner::Pbx, Owner::Trunk(_))
            | (Owner::Trunk(_), Owner::Pbx)
            | (Owner::Pbx, Owner::Pbx) => {
                let message = format!(
                    "{:?} is a carrier here and a PBX in pbx.allow (line {line})",
                    allowed.written
                );
                (message, "list it on one side only")
            }
        };
        self.tell(first, owner, allowed, message, remedy);
    }

    /// A network inside one of another list: the longest prefix decides alone.
    fn note_narrower(&mut self, owner: Owner, allowed: &Allowed, wider: Owner, other: &Allowed) {
        let listed_there = self
            .by_net
            .get(&allowed.net)
            .is_some_and(|all| all.iter().any(|(owner, _)| *owner == wider));
        if owner == wider || listed_there {
            return;
        }
        let whose = |owner: Owner| match owner {
            Owner::Pbx => "pbx.allow".to_owned(),
            Owner::Trunk(index) => format!("trunk {:?}", self.name(index)),
        };
        let message = format!(
            "{:?} lies inside {:?} of {} (line {}): it belongs to {} alone, because the narrower network decides",
            allowed.written,
            other.written,
            whose(wider),
            self.line(other),
            whose(owner)
        );
        let remedy =
            "list it there too if both are meant, or take the address out of the wider network";
        self.tell(wider, owner, allowed, message, remedy);
    }

    /// Whether Request-URI hosts or called numbers decide between two trunks.
    fn told_apart(&self, first: usize, second: usize) -> bool {
        let (Some(first), Some(second)) = (self.trunks.get(first), self.trunks.get(second)) else {
            return true;
        };
        first.hosts != second.hosts || first.numbers != second.numbers
    }

    fn tell(&mut self, first: Owner, second: Owner, at: &Allowed, message: String, remedy: &str) {
        if self.told.insert((first, second)) {
            self.root.faults.warning(&at.at, &at.path, message, remedy);
        }
    }

    fn line(&self, allowed: &Allowed) -> usize {
        self.root.faults.source().position(allowed.at.start).0
    }

    fn name(&self, trunk: usize) -> &str {
        self.trunks.get(trunk).map_or("", |trunk| &*trunk.name)
    }
}

/// A route that an earlier one always takes the calls of.
fn note_hidden_routes(root: &Section<'_>, settings: &Settings, notes: &Notes) {
    // By what they begin with, so that ten thousand routes are not compared two by two.
    let mut prefixes: HashMap<&str, usize> = HashMap::new();
    let mut exact: HashMap<&str, usize> = HashMap::new();
    for (index, route) in settings.routes.iter().enumerate() {
        let text = &*route.pattern.text;
        let starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        let covering = starts
            .filter_map(|end| prefixes.get(text.get(..end)?))
            .chain(exact.get(text).filter(|_| !route.pattern.prefix))
            .min();
        if let (Some(covering), Some((at, path))) = (covering, notes.routes.get(index)) {
            let (line, _) = root
                .faults
                .source()
                .position(notes.routes.get(*covering).map_or(0, |(at, _)| at.start));
            let message =
                format!("this route never matches: the one of line {line} takes all its calls");
            root.faults
                .warning(at, path, message, "put it before that one, or remove it");
        }
        let seen = if route.pattern.prefix {
            &mut prefixes
        } else {
            &mut exact
        };
        seen.entry(text).or_insert(index);
    }
}

/// A trunk of a route that a caller does not live to see when all before it are silent. The limits of the
/// first trunk hold for the whole call.
fn note_unreached_trunks(root: &Section<'_>, settings: &Settings, notes: &Notes) {
    for (route, (at, path)) in settings.routes.iter().zip(&notes.routes) {
        let termination = |id: TrunkId| {
            let trunk = settings.trunks.get(usize::from(id.0))?;
            Some((&*trunk.name, &trunk.termination.as_ref()?.attempts))
        };
        let addresses = |id: TrunkId| {
            let notes = notes.trunks.get(usize::from(id.0))?;
            Some(notes.termination.as_ref()?.walk.addresses())
        };
        let Some((first, limits)) = route.trunks.first().and_then(|id| termination(*id)) else {
            continue;
        };
        let (mut before, mut silence) = (0u32, Duration::ZERO);
        for (id, next) in route.trunks.iter().zip(route.trunks.iter().skip(1)) {
            let (Some((_, attempts)), Some(count), Some((name, _))) =
                (termination(*id), addresses(*id), termination(*next))
            else {
                break;
            };
            before = before.saturating_add(count);
            silence = silence.saturating_add(attempts.response_timeout.saturating_mul(count));
            let (why, remedy) = if silence >= limits.setup_budget {
                (
                    format!(
                        "{before} silent addresses take {}, and setup_budget of trunk {first:?} is {}",
                        show(silence),
                        show(limits.setup_budget)
                    ),
                    "lower response_timeout, or list fewer edges; or leave it: addresses known to be down are skipped",
                )
            } else if before >= u32::from(limits.max_attempts) {
                (
                    format!(
                        "{before} addresses stand before it, and max_attempts of trunk {first:?} is {}",
                        limits.max_attempts
                    ),
                    "raise max_attempts there, or list fewer edges",
                )
            } else {
                continue;
            };
            let message = format!(
                "trunk {name:?} is never tried on this route when all before it fail: {why}"
            );
            root.faults.warning(at, path, message, remedy);
            break;
        }
    }
}

/// A trunk whose edges no route leads to.
fn note_unused_trunks(root: &Section<'_>, settings: &Settings, notes: &Notes) {
    if settings.routes.is_empty() {
        return;
    }
    let used: HashSet<TrunkId> = settings
        .routes
        .iter()
        .flat_map(|route| &route.trunks)
        .copied()
        .collect();
    for ((trunk, id), note) in settings.trunks.iter().zip(0u16..).zip(&notes.trunks) {
        if trunk.termination.is_some() && !used.contains(&TrunkId(id)) {
            let message = format!(
                "no route leads to trunk {:?}: it gets no outbound calls",
                trunk.name
            );
            root.faults.warning(
                &note.at,
                &note.path,
                message,
                "name it in a [[route]], or remove its [trunk.termination]",
            );
        }
    }
}

/// Edges, but nobody who could place a call to them.
fn note_nobody_outbound(root: &Section<'_>, settings: &Settings, notes: &Notes) {
    let targets = settings
        .trunks
        .iter()
        .filter_map(|trunk| trunk.origination.as_ref());
    let somebody = !settings.pbx_allow.is_empty()
        || targets
            .into_iter()
            .any(|origination| !origination.targets.is_empty());
    let outbound = settings
        .trunks
        .iter()
        .position(|trunk| trunk.termination.is_some());
    if let Some(note) = outbound
        .filter(|_| !somebody)
        .and_then(|index| notes.trunks.get(index))
    {
        let message = "nobody may place outbound calls: there is no [pbx] and there are no targets";
        root.faults.warning(
            &note.at,
            &note.path,
            message,
            "write [pbx] with allow = [\"10.0.1.0/24\"]",
        );
    }
}
