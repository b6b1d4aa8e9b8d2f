//! List headers, value by value (RFC 3261 §7.3.1).

use super::{Entry, Header, Message};
use crate::Span;
use crate::lex;
use crate::name::Name;

/// One value of a header.
#[derive(Copy, Clone, Debug)]
pub struct Value<'a> {
    /// The value without white space at either end. Empty between two commas with nothing in between.
    pub bytes: &'a [u8],
    /// Where it is.
    pub at: Span,
    /// The header line it is on.
    pub line: Span,
    /// Whether it is the only value on its line.
    pub alone: bool,
}

/// See [`Message::values`].
#[derive(Clone)]
pub struct Values<'a, 'm> {
    message: &'m Message<'a>,
    entries: std::slice::Iter<'m, Entry>,
    name: Name,
    current: Option<Split<'a>>,
}

impl<'a, 'm> Values<'a, 'm> {
    pub(super) fn new(message: &'m Message<'a>, name: Name) -> Values<'a, 'm> {
        Values::of(message, name, message.headers.all_named(name))
    }

    /// The values of these lines only.
    pub(super) fn of(message: &'m Message<'a>, name: Name, entries: &'m [Entry]) -> Self {
        Values {
            message,
            entries: entries.iter(),
            name,
            current: None,
        }
    }
}

impl<'a> Iterator for Values<'a, '_> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        loop {
            if let Some(split) = &mut self.current {
                match split.next() {
                    None => self.current = None,
                    value => return value,
                }
            }
            let name = self.name;
            let entry = self.entries.by_ref().find(|entry| entry.name == name)?;
            let headers = &self.message.headers;
            let at = headers.value_at(entry);
            if at.0 < at.1 && !self.message.may_be_list(name) {
                // The usual line, with one value.
                return Some(Value {
                    bytes: self.message.part(at),
                    at,
                    line: headers.line(entry),
                    alone: true,
                });
            }
            self.current = Some(Split::new(&self.message.header(entry)));
        }
    }
}

/// The values of one header line.
#[derive(Clone)]
pub(crate) struct Split<'a> {
    value: &'a [u8],
    value_start: u32,
    line: Span,
    may_be_list: bool,
    /// Where in `value` the next one starts; `None` after the last.
    next: Option<usize>,
}

impl<'a> Split<'a> {
    #[inline(always)]
    pub(crate) fn new(header: &Header<'a>) -> Split<'a> {
        Split {
            value: header.value,
            value_start: header.value_at.0,
            line: header.line,
            may_be_list: header.may_be_list,
            next: (!header.value.is_empty()).then_some(0),
        }
    }
}

impl<'a> Iterator for Split<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        let from = self.next?;
        let comma = match self.may_be_list {
            true => comma(self.value, from),
            false => None,
        };
        self.next = comma.map(|at| at + 1);
        let (start, end) = lex::trim_span(self.value, from, comma.unwrap_or(self.value.len()));
        let (at_start, at_end) = super::span(start, end);
        Some(Value {
            bytes: &self.value[start..end],
            at: (self.value_start + at_start, self.value_start + at_end),
            line: self.line,
            alone: from == 0 && comma.is_none(),
        })
    }
}

/// The next comma from `from` on that separates values. Quotes or a bracket that never close hold
/// all the rest.
pub(crate) fn comma(value: &[u8], from: usize) -> Option<usize> {
    lex::find(value, from, b',')?;
    let mut at = from;
    loop {
        at = lex::find_splitter(value, at)?;
        match value[at] {
            b',' => return Some(at),
            b'"' => at = lex::quoted_end(value, at)?,
            _ => at = lex::find(value, at, b'>')? + 1,
        }
    }
}
