//! Walks the parsed file by hand, so that every fault is found at once and has its place.
//!
//! A reader asks a [`Section`] for its keys and always gets a usable value back: what was written,
//! or the default when it was not or is faulty. The fault is noted aside, and a file with faults is
//! never used.

use std::time::Duration;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    duration,
    nearest::nearest,
    shape::{Given, Key, Kind, Shape},
    source::{Faults, Span},
};

/// Elements of one list or tables of one kind that are read; no real file comes near.
const ITEMS_MAX: usize = 10_000;

/// One table of the file, read against its shape.
pub(crate) struct Section<'w> {
    pub faults: &'w Faults<'w>,
    table: &'w DeTable<'w>,
    /// Its dotted key, with places in lists.
    pub path: String,
    /// What stands for it in the file: the header, or the braces.
    pub at: Span,
    shape: &'static Shape,
}

/// One value of the file, or a default.
#[derive(Clone)]
pub(crate) struct Value<'w> {
    pub faults: &'w Faults<'w>,
    node: &'w DeValue<'w>,
    /// Its dotted key, with places in lists.
    pub path: String,
    /// Where it stands.
    pub at: Span,
}

impl<'w> Section<'w> {
    /// A table to be read as `shape`. Keys that the shape does not know are noted at once.
    pub fn new(
        faults: &'w Faults<'w>,
        table: &'w DeTable<'w>,
        path: String,
        at: Span,
        shape: &'static Shape,
    ) -> Self {
        let section = Section {
            faults,
            table,
            path,
            at,
            shape,
        };
        section.note_unknown_keys();
        section
    }

    /// A table in which nothing is written.
    pub fn of_defaults(faults: &'w Faults<'w>, shape: &'static Shape) -> Self {
        static EMPTY: std::sync::LazyLock<DeTable<'static>> =
            std::sync::LazyLock::new(DeTable::new);
        Section {
            faults,
            table: &EMPTY,
            path: String::new(),
            at: 0..0,
            shape,
        }
    }

    /// What was written for a key of a table inside this one, whatever that table's shape.
    pub fn written_in(&self, table: &str, name: &str) -> Option<Value<'w>> {
        let DeValue::Table(inner) = self.table.get(table)?.get_ref() else {
            return None;
        };
        let value = inner.get(name)?;
        Some(Value {
            faults: self.faults,
            node: value.get_ref(),
            path: format!("{}.{name}", self.path_of(table)),
            at: value.span(),
        })
    }

    /// Whether something stands here that the shape does not know.
    pub fn has_unknown_keys(&self) -> bool {
        let mut keys = self.table.keys();
        keys.any(|key| self.shape.key(key.get_ref()).is_none())
    }

    fn note_unknown_keys(&self) {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if self.shape.key(name).is_some() || self.may_hold_echoes() {
                continue;
            }
            let path = self.path_of(name);
            let message = format!("unknown key {:?} in {}", shorten(name), self.shape.title);
            if let Some(instead) = secret_instead(self.shape, name) {
                let remedy = format!(
                    "no secret stands in this file: put it into a file of its own and name that with {instead}"
                );
                self.faults
                    .error_unquoted(&key.span(), &path, message, remedy);
                continue;
            }
            let remedy = match nearest(name, self.shape.keys().map(|key| key.name)) {
                Some(known) => format!("did you mean \"{known}\"?"),
                None => {
                    let known: Vec<&str> = self.shape.keys().map(|key| key.name).collect();
                    format!("known here: {}", known.join(", "))
                }
            };
            self.faults.error(&key.span(), &path, message, remedy);
        }
    }

    /// Whether keys may only seem to stand here: below a header that could not be read, they fall
    /// to the top of the file.
    fn may_hold_echoes(&self) -> bool {
        self.faults.torn && self.path.is_empty()
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    fn key(&self, name: &str) -> &'static Key {
        let key = self.shape.key(name);
        debug_assert!(key.is_some(), "{} has no key {name}", self.shape.title);
        // A key that a reader asks for and the shape does not have is our own mistake, which every
        // test of that reader finds; in a release it reads as absent text.
        static ABSENT: Key = Key {
            name: "",
            kind: Kind::Text,
            given: Given::Nested,
            note: "",
        };
        key.unwrap_or(&ABSENT)
    }

    /// What was written for a key.
    pub fn written(&self, name: &str) -> Option<Value<'w>> {
        let value = self.table.get(name)?;
        Some(Value {
            faults: self.faults,
            node: value.get_ref(),
            path: self.path_of(name),
            at: value.span(),
        })
    }

    /// What was written for a key that must be: a fault when it is missing.
    pub fn required(&self, name: &str) -> Option<Value<'w>> {
        let written = self.written(name);
        if written.is_none() {
            let example = match self.key(name).given {
                Given::Default(text)
                | Given::Optional(text)
                | Given::Shown(text)
                | Given::Required(text) => text,
                Given::Nested => "...",
            };
            // Of a list over several lines, its first entry is example enough.
            let example = match example.lines().nth(1) {
                Some(entry) => format!("[{}]", entry.trim().trim_end_matches(',')),
                None => example.to_owned(),
            };
            let message = format!("{} has no {name}", self.shape.title);
            let remedy = format!("write {name} = {example}");
            self.faults
                .missing(&self.at, &self.path_of(name), message, remedy);
        }
        written
    }

    /// Reads what was written, else the default of the shape.
    fn read<T>(&self, name: &str, reader: impl Fn(&Value<'_>, &Key) -> Option<T>) -> Option<T> {
        let key = self.key(name);
        if let Some(found) = self.written(name).and_then(|value| reader(&value, key)) {
            return Some(found);
        }
        let Given::Default(text) = key.given else {
            return None;
        };
        let parsed = DeValue::parse(text).ok()?;
        let value = Value {
            faults: self.faults,
            node: parsed.get_ref(),
            path: String::new(),
            at: 0..0,
        };
        reader(&value, key)
    }

    /// A duration; zero when it is optional and absent.
    pub fn duration(&self, name: &str) -> Duration {
        self.duration_or_off(name).unwrap_or_default()
    }

    /// A duration, `None` for "off".
    pub fn duration_or_off(&self, name: &str) -> Option<Duration> {
        self.read(name, |value, key| value.duration(key)).flatten()
    }

    /// A whole number; 0 when it is optional and absent.
    pub fn number(&self, name: &str) -> u64 {
        self.read(name, |value, key| value.number(key))
            .unwrap_or_default()
    }

    /// A number that its range keeps within 32 bits.
    pub fn number_u32(&self, name: &str) -> u32 {
        u32::try_from(self.number(name)).unwrap_or(u32::MAX)
    }

    /// A number that its range keeps within 16 bits.
    pub fn number_u16(&self, name: &str) -> u16 {
        u16::try_from(self.number(name)).unwrap_or(u16::MAX)
    }

    /// One of the words the shape lists; "" when it is required and absent.
    pub fn word(&self, name: &str) -> &'static str {
        self.read(name, |value, key| value.word(key))
            .unwrap_or_default()
    }

    /// A string.
    pub fn text(&self, name: &str) -> Option<String> {
        self.read(name, |value, key| value.text(&key.kind).map(str::to_owned))
    }

    /// The elements of a list; none when it is absent.
    pub fn items(&self, name: &str) -> Vec<Value<'w>> {
        self.written(name)
            .map(|value| value.items(&self.key(name).kind))
            .unwrap_or_default()
    }

    /// `[name]`, when it is written.
    pub fn section(&self, name: &str) -> Option<Section<'w>> {
        let key = self.key(name);
        let value = self.written(name)?;
        let Kind::Table(shape) = &key.kind else {
            return None;
        };
        value.section(shape)
    }

    /// `[name]`, or one whose keys all have their defaults.
    pub fn section_or_empty(&self, name: &str) -> Section<'w> {
        match (&self.key(name).kind, self.section(name)) {
            (_, Some(section)) => section,
            (Kind::Table(shape), None) => Section::of_defaults(self.faults, shape),
            (_, None) => Section::of_defaults(self.faults, self.shape),
        }
    }

    /// All `[[name]]`.
    pub fn sections(&self, name: &str) -> Vec<Section<'w>> {
        let key = self.key(name);
        let (Some(value), Kind::Tables(shape)) = (self.written(name), &key.kind) else {
            return Vec::new();
        };
        if value.is_table() {
            let message = format!("{name} is one table, and there can be several");
            value.fault(message, format!("double the brackets: {}", shape.title));
            return Vec::new();
        }
        let items = value.items(&key.kind);
        items
            .iter()
            .filter_map(|item| item.section(shape))
            .collect()
    }
}

impl<'w> Value<'w> {
    /// Notes an error at this value.
    pub fn fault(&self, message: impl Into<String>, remedy: impl Into<String>) {
        self.faults.error(&self.at, &self.path, message, remedy);
    }

    /// Notes a warning at this value.
    pub fn warn(&self, message: impl Into<String>, remedy: impl Into<String>) {
        self.faults.warning(&self.at, &self.path, message, remedy);
    }

    /// The last part of its key, without a place in a list.
    pub fn name(&self) -> &str {
        let last = self.path.rsplit('.').next().unwrap_or_default();
        last.split('[').next().unwrap_or_default()
    }

    fn wrong_type(&self, expected: &impl std::fmt::Display) {
        let message = format!("{} is {}", self.name(), self.what());
        self.fault(message, format!("expected {expected}"));
    }

    /// What stands there, for a message.
    fn what(&self) -> String {
        match self.node {
            DeValue::String(text) => format!("the text {:?}", shorten(text)),
            DeValue::Integer(number) => format!("the number {number}"),
            DeValue::Float(number) => format!("the number {number}"),
            DeValue::Boolean(flag) => format!("{flag}"),
            DeValue::Datetime(_) => "a date".to_owned(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        }
    }

    pub fn is_table(&self) -> bool {
        matches!(self.node, DeValue::Table(_))
    }

    pub fn is_empty_list(&self) -> bool {
        matches!(self.node, DeValue::Array(items) if items.is_empty())
    }

    /// A string; anything else is a fault that tells `expected`.
    pub fn text(&self, expected: &Kind) -> Option<&'w str> {
        match self.node {
            DeValue::String(text) => Some(text),
            _ => {
                self.wrong_type(expected);
                None
            }
        }
    }

    /// A string, for elements of lists; `expected` says of what kind.
    pub fn element(&self, expected: &str) -> Option<&'w str> {
        match self.node {
            DeValue::String(text) => Some(text),
            _ => {
                let message = format!("{} holds {}", self.name(), self.what());
                self.fault(message, format!("expected {expected}"));
                None
            }
        }
    }

    /// A whole number, when it is one.
    pub fn as_number(&self) -> Option<u64> {
        match self.node {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        }
    }

    /// A string, when it is one.
    pub fn as_text(&self) -> Option<&'w str> {
        match self.node {
            DeValue::String(text) => Some(text),
            _ => None,
        }
    }

    fn duration(&self, key: &Key) -> Option<Option<Duration>> {
        let Kind::Duration { least, most, off } = &key.kind else {
            return None;
        };
        if let Some(number) = self.as_number() {
            let message = format!("{} is the number {number}, which has no unit", key.name);
            self.fault(
                message,
                format!("write \"{number}s\" or \"{number}ms\", with quotes"),
            );
            return None;
        }
        let text = self.text(&key.kind)?;
        if text == "off" {
            if *off {
                return Some(None);
            }
            let message = format!("{} cannot be \"off\"", key.name);
            self.fault(
                message,
                format!("write {}", key.kind.range().unwrap_or_default()),
            );
            return None;
        }
        match duration::parse(text) {
            Err(remedy) => {
                self.fault(
                    format!("{} = {:?} is no duration", key.name, shorten(text)),
                    remedy,
                );
                None
            }
            // Where "off" is allowed, no time at all means the same.
            Ok(Duration::ZERO) if *off => Some(None),
            Ok(duration) if (*least..=*most).contains(&duration) => Some(Some(duration)),
            Ok(_) => {
                let message = format!("{} = {text:?} is out of range", key.name);
                self.fault(
                    message,
                    format!("write {}", key.kind.range().unwrap_or_default()),
                );
                None
            }
        }
    }

    fn number(&self, key: &Key) -> Option<u64> {
        let Kind::Number { least, most } = key.kind else {
            return None;
        };
        let DeValue::Integer(written) = self.node else {
            self.wrong_type(&key.kind);
            return None;
        };
        match self.as_number() {
            Some(number) if (least..=most).contains(&number) => Some(number),
            _ => {
                let message = format!(
                    "{} = {} is out of range",
                    key.name,
                    shorten(&written.to_string())
                );
                self.fault(
                    message,
                    format!("write a whole number from {least} to {most}"),
                );
                None
            }
        }
    }

    fn word(&self, key: &Key) -> Option<&'static str> {
        let Kind::Word(words) = key.kind else {
            return None;
        };
        // Codes such as 503 are numbers to a person; both spellings are fine.
        let text = match self.as_number() {
            Some(number) => number.to_string(),
            None => self.text(&key.kind)?.to_owned(),
        };
        let found = words.iter().find(|word| **word == text);
        if found.is_none() {
            let remedy = match nearest(&text, words.iter().copied()) {
                Some(known) => format!("did you mean \"{known}\"?"),
                None => format!("write {}", key.kind),
            };
            self.fault(
                format!("{} = {:?} is unknown", key.name, shorten(&text)),
                remedy,
            );
        }
        found.copied()
    }

    /// The elements of a list. A fault when it is none.
    pub fn items(&self, expected: &Kind) -> Vec<Value<'w>> {
        let DeValue::Array(items) = self.node else {
            self.wrong_type(expected);
            return Vec::new();
        };
        if items.len() > ITEMS_MAX {
            let message = format!("{} has {} entries", self.name(), items.len());
            self.fault(message, format!("at most {ITEMS_MAX} are read"));
        }
        let item = |(index, item): (usize, &'w Spanned<DeValue<'w>>)| Value {
            faults: self.faults,
            node: item.get_ref(),
            path: format!("{}[{index}]", self.path),
            at: item.span(),
        };
        items.iter().enumerate().take(ITEMS_MAX).map(item).collect()
    }

    /// A table to be read as `shape`. A fault when it is none.
    pub fn section(&self, shape: &'static Shape) -> Option<Section<'w>> {
        let DeValue::Table(table) = self.node else {
            self.wrong_type(&Kind::Table(shape));
            return None;
        };
        Some(Section::new(
            self.faults,
            table,
            self.path.clone(),
            self.at.clone(),
            shape,
        ))
    }
}

/// Long values are shown by their beginning.
pub(crate) fn shorten(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    match text.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The key that names a file for what someone was about to write here in the open.
fn secret_instead(shape: &Shape, name: &str) -> Option<&'static str> {
    let secret = [
        "secret",
        "token",
        "password",
        "auth_token",
        "shared_secret",
        "key",
    ];
    if !secret.contains(&name.to_ascii_lowercase().as_str()) {
        return None;
    }
    shape
        .keys()
        .map(|key| key.name)
        .find(|known| known.ends_with("_file"))
}
