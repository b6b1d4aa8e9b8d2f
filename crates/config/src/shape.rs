//! How the description of a key is written down. `keys` holds the descriptions themselves.

use std::{fmt, time::Duration};

use crate::duration;

/// One table of the file: which keys it may have.
pub(crate) struct Shape {
    /// As messages call it: its header, "[trunk.termination]", or "an edge" for one in braces.
    pub title: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Its keys. Tables that share keys share a slice.
    pub keys: &'static [&'static [Key]],
}

impl Shape {
    pub fn keys(&self) -> impl Iterator<Item = &'static Key> {
        self.keys.iter().flat_map(|keys| keys.iter())
    }

    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys().find(|key| key.name == name)
    }
}

/// One key.
pub(crate) struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub given: Given,
    /// One line for the reference.
    pub note: &'static str,
}

/// What a key holds.
pub(crate) enum Kind {
    /// A string.
    Text,
    /// The name of a file or folder; relative ones start at the configuration's folder.
    File,
    /// A string of an address and a port.
    Address,
    /// A duration inside a range.
    Duration {
        least: Duration,
        most: Duration,
        off: bool,
    },
    /// A whole number inside a range.
    Number { least: u64, most: u64 },
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list; the text says of what.
    List(&'static str),
    /// A list whose elements may be inline tables.
    Items(&'static Shape),
    /// `[name]`.
    Table(&'static Shape),
    /// `[[name]]`, any number of times.
    Tables(&'static Shape),
}

/// What happens when the key is not written. Values are TOML.
pub(crate) enum Given {
    /// This holds.
    Default(&'static str),
    /// Nothing, or what the note says; the reference shows this example commented out.
    Optional(&'static str),
    /// Nothing, or what the note says; the reference shows this example in use.
    Shown(&'static str),
    /// It must be written; the reference shows this example.
    Required(&'static str),
    /// A table: its own keys say.
    Nested,
}

impl fmt::Display for Kind {
    /// As in "expected ...".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Text => f.write_str("a string"),
            Kind::File => f.write_str("a file name in quotes"),
            Kind::Address => {
                f.write_str("an address and a port in quotes, such as \"192.0.2.1:5060\"")
            }
            Kind::Duration { off, .. } => {
                f.write_str("a duration in quotes, such as \"4s\" or \"250ms\"")?;
                f.write_str(if *off { ", or \"off\"" } else { "" })
            }
            Kind::Number { least, most } => write!(f, "a whole number from {least} to {most}"),
            Kind::Word(words) => f.write_str(&one_of(words)),
            Kind::List(of) => write!(f, "a list of {of} in [ ]"),
            Kind::Items(shape) => write!(f, "a list of {} in [ ]", shape.about),
            Kind::Table(shape) => write!(f, "the table {}", shape.title),
            Kind::Tables(shape) => write!(f, "the tables {}", shape.title),
        }
    }
}

impl Kind {
    /// The range for the reference, when there is one.
    pub fn range(&self) -> Option<String> {
        match self {
            Kind::Duration { least, most, off } => {
                let off = if *off { ", or \"off\"" } else { "" };
                Some(format!(
                    "{} to {}{off}",
                    duration::show(*least),
                    duration::show(*most)
                ))
            }
            Kind::Number { least, most } => Some(format!("{least} to {most}")),
            Kind::Word(words) => Some(one_of(words)),
            Kind::Text
            | Kind::File
            | Kind::Address
            | Kind::List(_)
            | Kind::Items(_)
            | Kind::Table(_)
            | Kind::Tables(_) => None,
        }
    }
}

/// `"a", "b" or "c"`.
pub(crate) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}
