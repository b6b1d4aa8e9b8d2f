//! Prints the description of every key as a file that can be used.

use crate::{
    keys,
    shape::{Given, Key, Kind, Shape},
};

const HEAD: &str = "\
# Every key of Trunkline's configuration: what it is for, its range, its default.
# Printed from the description that the program itself reads files by; a test compares the two.
#
# A key without a default is shown as an example, and commented out (\"#key\") where it may be absent.
# Durations are a whole number and a unit in quotes: \"250ms\", \"4s\", \"3m\", \"1h\".
# Relative file names start at the folder of this file.
";

/// `config/reference.toml`: every key with its default and what it is for.
pub fn reference() -> String {
    print(&usual)
}

/// A key as the reference shows it; a table's keys speak for themselves.
fn usual(key: &Key) -> Option<String> {
    match key.given {
        Given::Nested => None,
        Given::Default(value) | Given::Shown(value) | Given::Required(value) => {
            Some(format!("{} = {value}", key.name))
        }
        Given::Optional(value) => Some(format!("#{} = {value}", key.name)),
    }
}

fn print(show: &dyn Fn(&Key) -> Option<String>) -> String {
    let mut out = HEAD.to_owned();
    children(&keys::ROOT, show, &mut out);
    out
}

fn table(shape: &Shape, show: &dyn Fn(&Key) -> Option<String>, out: &mut String) {
    out.push_str(&format!("\n# {}\n{}\n", shape.about, shape.title));
    for key in shape.keys() {
        let Some(line) = show(key) else { continue };
        out.push_str(&format!("# {}{}\n", key.note, range(key)));
        if let Kind::Items(shape) = key.kind {
            shape.keys().for_each(|part| out.push_str(&item_key(part)));
        }
        out.push_str(&line);
        out.push('\n');
    }
    children(shape, show, out);
}

/// Tables come after a table's own keys: TOML would take later keys for theirs.
fn children(shape: &Shape, show: &dyn Fn(&Key) -> Option<String>, out: &mut String) {
    for key in shape.keys() {
        if let Kind::Table(shape) | Kind::Tables(shape) = key.kind {
            table(shape, show, out);
        }
    }
}

fn range(key: &Key) -> String {
    key.kind
        .range()
        .map(|range| format!(" ({range})"))
        .unwrap_or_default()
}

/// One line about a key of a table in braces.
fn item_key(key: &Key) -> String {
    let default = match key.given {
        Given::Default(value) => format!(" Default: {value}."),
        Given::Optional(_) | Given::Shown(_) | Given::Required(_) | Given::Nested => String::new(),
    };
    format!("#   {:<10}{}{}{default}\n", key.name, key.note, range(key))
}

#[cfg(test)]
mod tests {
    use std::{io, net::IpAddr, path::Path};

    use super::*;
    use crate::{Environment, Loaded, Report};

    struct Nowhere;

    impl Environment for Nowhere {
        fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
            match path.extension() {
                Some(end) if end == "pem" => {
                    Ok(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_vec())
                }
                Some(_) if !path.ends_with("twilio.toml") => Ok(b"a secret of many bytes".to_vec()),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        }

        fn local_address(&self, _: bool) -> Option<IpAddr> {
            None
        }

        fn host_name(&self) -> Option<String> {
            Some("edge-1".to_owned())
        }
    }

    fn load(show: &dyn Fn(&Key) -> Option<String>) -> Result<Loaded, Report> {
        crate::parse(&print(show), Path::new("reference.toml"), &Nowhere)
    }

    #[test]
    fn the_reference_shows_the_defaults_that_hold() {
        let without_defaults = |key: &Key| match key.given {
            Given::Default(_) => None,
            _ => usual(key),
        };
        let (shown, bare) = (load(&usual).unwrap(), load(&without_defaults).unwrap());
        assert_eq!(shown.settings, bare.settings);
        assert_eq!(shown.control, bare.control);
    }

    #[test]
    fn every_example_of_a_key_can_be_used() {
        let all = |key: &Key| usual(key).map(|line| line.trim_start_matches('#').to_owned());
        if let Err(report) = load(&all) {
            panic!("{report}");
        }
    }

    #[test]
    fn every_default_can_be_read_by_its_own_kind() {
        fn check(shape: &'static Shape) {
            for key in shape.keys() {
                match key.kind {
                    Kind::Table(inner) | Kind::Tables(inner) => check(inner),
                    Kind::Items(inner) => check(inner),
                    _ => {}
                }
                if let Given::Default(text)
                | Given::Optional(text)
                | Given::Shown(text)
                | Given::Required(text) = key.given
                {
                    assert!(
                        toml::de::DeValue::parse(text).is_ok(),
                        "{} {}",
                        shape.title,
                        key.name
                    );
                    assert!(!key.note.is_empty(), "{} {}", shape.title, key.name);
                }
            }
        }
        check(&keys::ROOT);
    }
}
