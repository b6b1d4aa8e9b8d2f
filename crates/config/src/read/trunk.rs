//! `[[trunk]]` and its two directions.

use std::{collections::HashMap, sync::Arc};

use trunkline_proxy::settings::{
    CodeSet, Edge, HashKey, InDialog, NumberPattern, Origination, Policy, RequestAddress, Target,
    Termination, Trunk,
};

use crate::{
    duration::show,
    host, keys,
    preset::{self, Preset},
    read::{
        Context, DirectionNotes, TrunkNotes,
        attempts::{self, Walk},
        fit_name, health, place, recovery,
        route::number_pattern,
        sources,
    },
    shape::Kind,
    walk::{Section, Value, shorten},
};

/// Carriers' names resolve to this many addresses at most, as far as the arithmetic of `check` goes
/// (Twilio: three or four).
const ADDRESSES_OF_AN_EDGE: u32 = 4;

pub(super) fn read(root: &Section<'_>, context: &mut Context<'_>) -> (Vec<Trunk>, Vec<TrunkNotes>) {
    let sections = root.sections("trunk");
    if sections.is_empty() && root.written("trunk").is_none() {
        let remedy =
            "write [[trunk]] with a name, and [trunk.termination], [trunk.origination] or both";
        root.faults.absent(
            "trunk",
            "there is no [[trunk]]: no call could go anywhere",
            remedy,
        );
    }
    note_repeated_names(&sections);
    sections
        .iter()
        .map(|section| trunk(section, context))
        .unzip()
}

fn note_repeated_names(sections: &[Section<'_>]) {
    let mut names: HashMap<String, usize> = HashMap::new();
    for section in sections {
        let Some(value) = section.written("name") else {
            continue;
        };
        let Some(name) = value.as_text() else {
            continue;
        };
        let (line, _) = section.faults.source().position(section.at.start);
        if let Some(first) = names.get(name) {
            let message = format!(
                "the trunk of line {first} is also named {:?}",
                shorten(name)
            );
            value.fault(message, "give each trunk its own name");
        }
        names.entry(name.to_owned()).or_insert(line);
    }
}

fn trunk(section: &Section<'_>, context: &mut Context<'_>) -> (Trunk, TrunkNotes) {
    let name = section
        .required("name")
        .zip(section.text("name"))
        .filter(|(value, name)| fit_name(value, name))
        .map(|(_, name)| name);
    let sources = sources::read(section, context, true);
    let termination = section
        .section("termination")
        .map(|table| termination(&table, &sources.presets, context));
    let (termination, out_notes) = termination.unzip();
    let origination = section
        .section("origination")
        .map(|table| origination(&table, context));
    let (origination, in_notes) = origination.unzip();
    let recovery = section.section("disaster_recovery");
    if section.written("termination").is_none() && section.written("origination").is_none() {
        let message = "this trunk has neither [trunk.termination] nor [trunk.origination]: no call can use it";
        section.faults.missing(
            &section.at,
            &section.path,
            message,
            "add one of them, or both",
        );
    }
    if let Some(table) = recovery
        .as_ref()
        .filter(|_| section.written("origination").is_none())
    {
        let message = "[trunk.disaster_recovery] without [trunk.origination] is never asked";
        let remedy = "add [trunk.origination] with targets, or remove this table";
        table
            .faults
            .missing(&table.at, &table.path, message, remedy);
    }
    if sources.allowed.is_empty()
        && origination.is_some()
        && section
            .written("allow")
            .is_none_or(|allow| allow.is_empty_list())
        // Perhaps one of them was to be `allow`.
        && !section.has_unknown_keys()
    {
        let message = "nobody may bring calls to these targets: allow is empty";
        section.faults.warning(
            &section.at,
            &section.path,
            message,
            "write allow = [\"preset:twilio\"] or the carrier's addresses",
        );
    }
    let trunk = Trunk {
        name: name.as_deref().unwrap_or_default().into(),
        allow: sources.allowed.iter().map(|allowed| allowed.net).collect(),
        hosts: section
            .items("hosts")
            .iter()
            .filter_map(request_host)
            .collect(),
        numbers: section
            .items("numbers")
            .iter()
            .filter_map(called_number)
            .collect(),
        in_dialog: match section.word("in_dialog") {
            "peer" => InDialog::Peer,
            _ => InDialog::Route,
        },
        termination,
        origination,
        recovery: recovery.map(|table| {
            let trunk = name.as_deref().unwrap_or_default();
            Arc::new(recovery::read(&table, trunk, context))
        }),
    };
    let notes = TrunkNotes {
        at: section.at.clone(),
        path: section.path.clone(),
        allow: sources.allowed,
        gives_up: sources.presets.iter().find_map(|preset| {
            let after = preset.gives_up_after?;
            Some((preset.name.clone(), after))
        }),
        termination: out_notes,
        origination: in_notes,
    };
    (trunk, notes)
}

fn request_host(value: &Value<'_>) -> Option<Box<str>> {
    let text = value.element("a host name in quotes")?;
    match host::host(text) {
        Ok(host) => Some(host.into()),
        Err(what) => {
            value.fault(
                what,
                "write the host of the Request-URI alone, without scheme and port",
            );
            None
        }
    }
}

fn called_number(value: &Value<'_>) -> Option<NumberPattern> {
    let text = value.element("a number in quotes")?;
    number_pattern(value, text)
}

fn termination(
    section: &Section<'_>,
    presets: &[Preset],
    context: &mut Context<'_>,
) -> (Termination, DirectionNotes) {
    let list = section.required("edges");
    let values = section.items("edges");
    if let Some(list) = list.filter(|list| list.is_empty_list()) {
        list.fault(
            "edges is empty: no outbound call could go anywhere",
            "name the carrier's termination host",
        );
    }
    let edges: Vec<Edge> = values
        .iter()
        .filter_map(|value| edge(value, context))
        .collect();
    note_repeats(
        &values,
        &edges
            .iter()
            .map(|edge| edge.address.written.as_ref())
            .collect::<Vec<_>>(),
    );
    let attempts = attempts::read(section, CodeSet::termination());
    let health = health::own(section, context.health.termination);
    let walk = walk(
        edges.iter().map(|edge| &edge.address),
        "edge",
        ADDRESSES_OF_AN_EDGE,
    );
    attempts::judge(section, &attempts, &walk);
    note_hasty_probes(section, &edges, presets, health.probe_interval);
    let notes = DirectionNotes::new(section, walk);
    let termination = Termination {
        edges,
        attempts,
        cps: section.number_u32("cps"),
        cps_wait: section.duration("cps_wait"),
        health,
    };
    (termination, notes)
}

fn edge(value: &Value<'_>, context: &mut Context<'_>) -> Option<Edge> {
    if !value.is_table() {
        let text =
            value.element("a host or SIP URI in quotes, or { uri = \"...\", from = \"...\" }")?;
        let (address, place) = place::read(value, text, None, context)?;
        return Some(Edge { address, place });
    }
    let table = value.section(&keys::EDGE)?;
    let (uri, from) = (table.required("uri"), table.written("from"));
    let uri = uri?;
    let (address, place) = place::read(&uri, uri.text(&Kind::Text)?, from.as_ref(), context)?;
    Some(Edge { address, place })
}

fn origination(section: &Section<'_>, context: &mut Context<'_>) -> (Origination, DirectionNotes) {
    let list = section.required("targets");
    let values = section.items("targets");
    if let Some(list) = list.filter(|list| list.is_empty_list()) {
        list.fault(
            "targets is empty: no inbound call could go anywhere",
            "name a PBX: targets = [\"sip:pbx1.example.net\"]",
        );
    }
    let targets: Vec<Target> = values
        .iter()
        .filter_map(|value| target(value, context))
        .collect();
    note_repeats(
        &values,
        &targets
            .iter()
            .map(|target| target.address.written.as_ref())
            .collect::<Vec<_>>(),
    );
    let attempts = attempts::read(section, CodeSet::origination());
    let mut in_order: Vec<&Target> = targets.iter().collect();
    in_order.sort_by_key(|target| target.priority);
    let walk = walk(in_order.iter().map(|target| &target.address), "target", 1);
    attempts::judge(section, &attempts, &walk);
    let notes = DirectionNotes::new(section, walk);
    let origination = Origination {
        policy: policy(section),
        targets,
        attempts,
        health: health::own(section, context.health.origination),
    };
    (origination, notes)
}

fn policy(section: &Section<'_>) -> Policy {
    let key = match section.word("hash_on") {
        "from" => HashKey::From,
        "to" => HashKey::To,
        _ => HashKey::CallId,
    };
    let policy = match section.word("policy") {
        "least_calls" => Policy::LeastCalls,
        "hash" => Policy::Hash(key),
        _ => Policy::Weighted,
    };
    if let Some(value) = section
        .written("hash_on")
        .filter(|_| !matches!(policy, Policy::Hash(_)) && key != HashKey::CallId)
    {
        value.warn(
            "hash_on has no effect without policy = \"hash\"",
            "write policy = \"hash\", or remove hash_on",
        );
    }
    policy
}

fn target(value: &Value<'_>, context: &mut Context<'_>) -> Option<Target> {
    let table = if value.is_table() {
        value.section(&keys::TARGET)?
    } else {
        Section::of_defaults(value.faults, &keys::TARGET)
    };
    let (uri, from) = if value.is_table() {
        (table.required("uri"), table.written("from"))
    } else {
        (Some(value.clone()), None)
    };
    let (priority, weight) = (table.number_u16("priority"), table.number_u16("weight"));
    let (max_calls, max_cps) = (table.number_u32("max_calls"), table.number_u32("max_cps"));
    let uri = uri?;
    let text = uri
        .element("a host or SIP URI in quotes, or { uri = \"...\", priority = 10, weight = 10 }")?;
    let (address, place) = place::read(&uri, text, from.as_ref(), context)?;
    Some(Target {
        address,
        place,
        priority,
        weight,
        max_calls,
        max_cps,
    })
}

/// Warns about an entry that stands in its list twice.
fn note_repeats(values: &[Value<'_>], written: &[&str]) {
    if values.len() != written.len() {
        // Some are faulty; repeats can wait until they are repaired.
        return;
    }
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (value, text) in values.iter().zip(written) {
        let (line, _) = value.faults.source().position(value.at.start);
        if let Some(first) = seen.get(text) {
            let message = format!(
                "{:?} already stands in line {first}: it would be tried twice",
                shorten(text)
            );
            value.warn(message, "remove one of the two");
        }
        seen.entry(text).or_insert(line);
    }
}

/// The walk through these addresses, where a name has `of_a_name` of them.
fn walk<'a>(entries: impl Iterator<Item = &'a RequestAddress>, word: &str, of_a_name: u32) -> Walk {
    let literal = |host: &str| host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
    let (mut names, mut literals) = (0u32, 0u32);
    let mut walk = Walk::default();
    for entry in entries {
        let addresses = if literal(&entry.host) {
            literals = literals.saturating_add(1);
            1
        } else {
            names = names.saturating_add(1);
            of_a_name
        };
        walk.entries.push((entry.written.to_string(), addresses));
    }
    let plural = |n: u32| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    walk.counted = match (names, literals) {
        (0, _) => plural(literals),
        (_, 0) if of_a_name == 1 => plural(names),
        (_, 0) => format!("{} of up to {of_a_name} addresses each", plural(names)),
        (_, _) if of_a_name == 1 => plural(names.saturating_add(literals)),
        (_, _) => format!(
            "{} of up to {of_a_name} addresses each and {} by address",
            plural(names),
            plural(literals)
        ),
    };
    walk
}

/// Carriers ban those who ask too often.
fn note_hasty_probes(
    section: &Section<'_>,
    edges: &[Edge],
    presets: &[Preset],
    interval: Option<std::time::Duration>,
) {
    let Some(interval) = interval else { return };
    let known: Vec<Preset> = preset::built_in()
        .filter(|known| presets.iter().all(|own| own.name != known.name))
        .collect();
    let hasty = presets.iter().chain(&known).find(|preset| {
        preset.probe_interval_min.is_some_and(|min| interval < min)
            && edges.iter().any(|edge| preset.owns(&edge.address.host))
    });
    let Some((preset, min)) =
        hasty.and_then(|preset| preset.probe_interval_min.map(|min| (preset, min)))
    else {
        return;
    };
    let own = section
        .section("health")
        .and_then(|health| health.written("probe_interval"));
    let (at, path) = match own {
        Some(value) => (value.at, value.path),
        None => (
            section.at.clone(),
            format!("{}.health.probe_interval", section.path),
        ),
    };
    let message = format!(
        "probe_interval {} is faster than {} allows ({})",
        show(interval),
        preset.name,
        show(min)
    );
    let remedy = format!(
        "write probe_interval = \"{}\" or more under [trunk.termination.health]; faster ones may be banned",
        show(min)
    );
    section.faults.warning(&at, &path, message, remedy);
}
