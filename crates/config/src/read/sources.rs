//! `allow`: addresses, networks and presets.

use std::collections::HashSet;

use ipnet::IpNet;

use crate::{
    host,
    nearest::nearest,
    preset::{self, Preset},
    read::Context,
    source::Span,
    walk::{Section, Value, shorten},
};

/// One network that may speak, and the entry that says so.
pub(crate) struct Allowed {
    pub net: IpNet,
    pub at: Span,
    pub path: String,
    /// The entry as written: a preset's name, or the network.
    pub written: String,
}

pub(super) struct Sources {
    pub allowed: Vec<Allowed>,
    /// Presets among the entries.
    pub presets: Vec<Preset>,
    seen: HashSet<IpNet>,
}

/// Reads the `allow` of a table. Presets name carriers: PBXs have none.
pub(super) fn read(section: &Section<'_>, context: &Context<'_>, presets: bool) -> Sources {
    let mut sources = Sources {
        allowed: Vec::new(),
        presets: Vec::new(),
        seen: HashSet::new(),
    };
    for value in section.items("allow") {
        let expected = if presets {
            "an address, a network or a preset in quotes"
        } else {
            "an address or a network in quotes"
        };
        let Some(text) = value.element(expected) else {
            continue;
        };
        match text.strip_prefix("preset:") {
            Some(name) if presets => {
                let Some(found) = find(&value, name, context) else {
                    continue;
                };
                found
                    .networks
                    .iter()
                    .for_each(|net| sources.add(*net, &value, text));
                sources.presets.push(found);
            }
            Some(_) => {
                let message = format!("{text:?} names a carrier's addresses");
                value.fault(
                    message,
                    "list the PBXs' own addresses here, and the preset in a trunk's allow",
                );
            }
            None => match host::network(text) {
                Ok(net) => {
                    if net.prefix_len() == 0 {
                        let message = format!("{text:?} allows the whole internet");
                        value.warn(message, "list the networks that are meant; anyone can place calls here otherwise");
                    }
                    sources.add(net, &value, text);
                }
                Err(remedy) => {
                    let message =
                        format!("{:?} is neither an address nor a network", shorten(text));
                    value.fault(message, remedy);
                }
            },
        }
    }
    sources
}

impl Sources {
    /// Adds a network once; a repeat inside one list changes nothing.
    fn add(&mut self, net: IpNet, value: &Value<'_>, written: &str) {
        if self.seen.insert(net) {
            let (at, path, written) = (value.at.clone(), value.path.clone(), written.to_owned());
            self.allowed.push(Allowed {
                net,
                at,
                path,
                written,
            });
        }
    }
}

fn find(value: &Value<'_>, name: &str, context: &Context<'_>) -> Option<Preset> {
    let fit = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let found = if fit {
        preset::find(name, context.presets.as_deref(), context.environment)
    } else {
        Ok(None)
    };
    match found {
        Ok(Some(preset)) => return Some(preset),
        Ok(None) => {
            let known: Vec<&str> = preset::names().collect();
            let remedy = match nearest(name, known.iter().copied()) {
                Some(known) => format!("did you mean \"preset:{known}\"?"),
                None if fit => {
                    format!(
                        "known: {}; or put {name}.toml into node.presets_dir",
                        known.join(", ")
                    )
                }
                None => format!("known: {}", known.join(", ")),
            };
            value.fault(format!("there is no preset {:?}", shorten(name)), remedy);
        }
        Err(fault) => value.fault(
            format!("preset {name:?} cannot be used: {fault}"),
            "repair that file",
        ),
    }
    None
}
