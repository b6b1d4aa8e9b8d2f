//! Presets: a carrier's published addresses, as dated files that a user can read and replace.

use std::{path::Path, time::Duration};

use ipnet::IpNet;
use toml::de::{DeTable, DeValue};

use crate::{duration, environment::Environment, host, source::Source};

/// Presets that come with the program.
const BUILT_IN: [(&str, &str); 3] = [
    (
        "twilio",
        include_str!("../../../config/presets/twilio.toml"),
    ),
    (
        "telnyx",
        include_str!("../../../config/presets/telnyx.toml"),
    ),
    (
        "vonage",
        include_str!("../../../config/presets/vonage.toml"),
    ),
];

/// One carrier's published facts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Preset {
    /// Its name, "twilio".
    pub name: String,
    /// Every signalling network.
    pub networks: Vec<IpNet>,
    /// Host names of its edges end in one of these.
    pub domains: Vec<String>,
    /// Probing faster than this is not welcome.
    pub probe_interval_min: Option<Duration>,
    /// A carrier that hears nothing at all from us for so long tries elsewhere.
    pub gives_up_after: Option<Duration>,
}

impl Preset {
    /// Whether a host belongs to this carrier.
    pub fn owns(&self, host: &str) -> bool {
        self.domains.iter().any(|domain| {
            host.strip_suffix(domain.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    }
}

/// Names of the presets that come with the program.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(name, _)| *name)
}

/// All presets that come with the program.
pub(crate) fn built_in() -> impl Iterator<Item = Preset> {
    BUILT_IN
        .iter()
        .filter_map(|(name, text)| parse(name, text).ok())
}

/// Finds a preset: a file of the user's own first, then a built-in one. `Ok(None)`: there is none.
/// The error tells what is wrong with the user's file, and where.
pub(crate) fn find(
    name: &str,
    folder: Option<&Path>,
    environment: &dyn Environment,
) -> Result<Option<Preset>, String> {
    if let Some(file) = folder.map(|folder| folder.join(format!("{name}.toml"))) {
        match environment.read_file(&file) {
            Ok(bytes) => {
                let text = String::from_utf8(bytes)
                    .map_err(|_| format!("{} is not UTF-8", file.display()))?;
                return parse(name, &text)
                    .map(Some)
                    .map_err(|fault| format!("{}:{fault}", file.display()));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("cannot read {}: {error}", file.display())),
        }
    }
    BUILT_IN
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, text)| parse(name, text))
        .transpose()
}

/// Reads a preset file. The error begins with the place: "3:7: ...".
fn parse(name: &str, text: &str) -> Result<Preset, String> {
    let source = Source::new(text);
    let told = |at: usize, what: String| {
        let (line, column) = source.position(at);
        format!("{line}:{column}: {what}")
    };
    let table = DeTable::parse(text).map_err(|error| {
        told(
            error.span().map_or(0, |span| span.start),
            error.message().replace('\n', ", "),
        )
    })?;
    let mut preset = Preset {
        name: name.to_owned(),
        networks: Vec::new(),
        domains: Vec::new(),
        probe_interval_min: None,
        gives_up_after: None,
    };
    for (key, value) in table.get_ref().iter() {
        let at = value.span().start;
        let text_or = |value: &DeValue<'_>| match value {
            DeValue::String(text) => Ok(text.to_string()),
            _ => Err(told(at, format!("{} needs text in quotes", key.get_ref()))),
        };
        match (&**key.get_ref(), value.get_ref()) {
            ("networks", DeValue::Array(items)) => {
                for item in items.iter() {
                    let written = text_or(item.get_ref())?;
                    let net = host::network(&written).map_err(|remedy| {
                        told(
                            item.span().start,
                            format!("{written:?} is no network; {remedy}"),
                        )
                    })?;
                    preset.networks.push(net);
                }
            }
            ("domains", DeValue::Array(items)) => {
                for item in items.iter() {
                    preset
                        .domains
                        .push(text_or(item.get_ref())?.to_ascii_lowercase());
                }
            }
            (name @ ("probe_interval_min" | "gives_up_after"), value) => {
                let read = duration::parse(&text_or(value)?).map_err(|remedy| told(at, remedy))?;
                if name == "gives_up_after" {
                    preset.gives_up_after = Some(read);
                } else {
                    preset.probe_interval_min = Some(read);
                }
            }
            // For the reader: who says so, and when it was last compared.
            ("source" | "dated" | "note", DeValue::String(_)) => {}
            (unknown, _) => {
                let known = "a preset has source, dated, note, networks, domains, probe_interval_min, \
                     gives_up_after";
                return Err(told(
                    key.span().start,
                    format!("{unknown:?} does not belong here; {known}"),
                ));
            }
        }
    }
    if preset.networks.is_empty() {
        return Err(told(
            0,
            "it lists no networks; write networks = [\"192.0.2.0/24\"]".to_owned(),
        ));
    }
    Ok(preset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_preset_can_be_read() {
        for (name, text) in BUILT_IN {
            let preset = parse(name, text).unwrap();
            assert!(preset.networks.len() >= 8, "{name}");
            assert!(
                text.contains("dated = \"20") && text.contains("source = \"https://"),
                "{name}"
            );
        }
        assert_eq!(built_in().count(), BUILT_IN.len());
    }

    #[test]
    fn a_carriers_hosts_are_known_by_their_ending() {
        let twilio = built_in().find(|preset| preset.name == "twilio").unwrap();
        assert!(twilio.owns("acme.pstn.dublin.twilio.com"));
        assert!(!twilio.owns("nottwilio.com"));
    }

    #[test]
    fn a_faulty_preset_names_its_place() {
        for (text, told) in [
            (
                "networks = [\"10.0.0.0/99\"]",
                "1:13: \"10.0.0.0/99\" is no network",
            ),
            ("\nnetwork = []", "2:1: \"network\" does not belong here"),
            ("dated = \"2026-01-01\"", "lists no networks"),
            ("networks = [7]", "needs text"),
            ("networks = [", "1:"),
            (
                "networks = [\"::1\"]\nprobe_interval_min = \"4\"",
                "has no unit",
            ),
        ] {
            let error = parse("x", text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
