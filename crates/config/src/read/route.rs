//! `[[route]]`.

use std::collections::HashMap;

use trunkline_proxy::settings::{NumberPattern, Route, Trunk, TrunkId};

use crate::{
    nearest::nearest,
    source::Span,
    walk::{Section, Value, shorten},
};

pub(super) fn read(root: &Section<'_>, trunks: &[Trunk]) -> (Vec<Route>, Vec<(Span, String)>) {
    let ids: HashMap<&str, TrunkId> = trunks
        .iter()
        .zip(0u16..)
        .map(|(trunk, id)| (&*trunk.name, TrunkId(id)))
        .collect();
    let sections = root.sections("route");
    let routes = sections
        .iter()
        .map(|section| route(section, trunks, &ids))
        .collect();
    let notes = sections
        .into_iter()
        .map(|section| (section.at, section.path))
        .collect();
    (routes, notes)
}

fn route(section: &Section<'_>, trunks: &[Trunk], ids: &HashMap<&str, TrunkId>) -> Route {
    let pattern = section
        .required("match")
        .zip(section.text("match"))
        .and_then(|(value, text)| number_pattern(&value, &text))
        .unwrap_or(NumberPattern {
            text: "".into(),
            prefix: true,
        });
    let mut named = Vec::new();
    if let Some(list) = section.required("trunks") {
        let items = section.items("trunks");
        if items.is_empty() && !list.is_table() {
            list.fault(
                "trunks is empty: calls that match would go nowhere",
                "name at least one trunk",
            );
        }
        for item in &items {
            let Some(id) = trunk(item, trunks, ids) else {
                continue;
            };
            if named.contains(&id) {
                item.warn("this trunk is named twice", "remove one");
            } else {
                named.push(id);
            }
        }
    }
    Route {
        pattern,
        trunks: named,
    }
}

fn trunk(item: &Value<'_>, trunks: &[Trunk], ids: &HashMap<&str, TrunkId>) -> Option<TrunkId> {
    let name = item.element("a trunk's name in quotes")?;
    let Some(id) = ids.get(name) else {
        let remedy = match nearest(name, ids.keys().copied()) {
            Some(known) => format!("did you mean \"{known}\"?"),
            None => {
                let known: Vec<&str> = trunks.iter().map(|trunk| &*trunk.name).take(10).collect();
                format!("trunks here: {}", known.join(", "))
            }
        };
        item.fault(format!("there is no trunk {:?}", shorten(name)), remedy);
        return None;
    };
    if trunks
        .get(usize::from(id.0))
        .is_some_and(|trunk| trunk.termination.is_none())
    {
        let message = format!("trunk {name:?} takes no outbound calls");
        item.fault(
            message,
            "give it a [trunk.termination] with edges, or leave it out here",
        );
    }
    Some(*id)
}

/// A called number or how it begins. A fault when it is neither.
pub(super) fn number_pattern(value: &Value<'_>, text: &str) -> Option<NumberPattern> {
    let found = NumberPattern::parse(text)
        .filter(|_| !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control()));
    if found.is_none() {
        let message = format!("{:?} is neither a number nor how one begins", shorten(text));
        value.fault(
            message,
            "write \"+15550100\", \"+1555*\" or \"*\"; the star only stands at the end",
        );
    }
    found
}
