//! A message as a view of its bytes: what is where. Reading a header reads the bytes again, so
//! nothing is kept that was not asked for.
//!
//! - `parse`: bytes to a view; structure only.
//! - `check`: what every message must keep before anyone acts on it.
//! - `walk`: line by line as long as nothing is unusual, with what is asked of every message read on
//!   the way.
//! - `glance`: both at once for what is to be turned away.
//! - `head`: what one answer to a request has in common with the next.
//! - `salvage`: as much of a broken message as an answer needs.
//! - `values`: list headers, value by value.

use crate::Span;
use crate::error::{Fault, Malformed};
use crate::header::{CSeq, NameAddr, Via, max_forwards};
use crate::lex;
use crate::method::Method;
use crate::name::{Name, NameSet};
use crate::uri::Uri;

mod check;
mod glance;
mod head;
mod headers;
mod parse;
mod salvage;
mod values;
mod walk;

pub use check::Facts;
pub use glance::Glance;
pub use head::Head;
use headers::{Chosen, Entry, Headers};
pub(crate) use parse::{content_length, is_status_line};
pub(crate) use values::{Split, comma};
pub use values::{Value, Values};

/// How much of a stranger's message is looked at.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a whole message. More than 65535 is 65535.
    pub message: usize,
    /// Header lines, folds not counted.
    pub headers: usize,
    /// Bytes of the start line, or of one header with its folds. More than 65535 is 65535.
    pub line: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            message: 65_535,
            headers: 256,
            line: 8192,
        }
    }
}

impl Limits {
    /// Offsets are kept in 16 bits.
    pub(crate) fn message_max(&self) -> usize {
        self.message.min(usize::from(u16::MAX))
    }

    /// As [`message_max`](Self::message_max).
    pub(crate) fn line_max(&self) -> usize {
        self.line.min(usize::from(u16::MAX))
    }
}

/// A start line, read.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Start<'a> {
    /// A request line.
    Request {
        /// Its method.
        method: Method<'a>,
        /// Its Request-URI, as written.
        uri: &'a [u8],
    },
    /// A status line.
    Response {
        /// 100 to 699.
        code: u16,
        /// The reason phrase; may be empty.
        reason: &'a [u8],
    },
}

/// One header of a message.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// Which one it is, compact forms folded in.
    pub name: Name,
    /// The name as written.
    pub raw_name: &'a [u8],
    /// The value without white space at either end; folds inside are kept.
    pub value: &'a [u8],
    /// The whole header, its folds and its last line end included.
    pub line: Span,
    /// Where the value is.
    pub value_at: Span,
    /// Whether commas may separate values in it.
    pub(crate) may_be_list: bool,
}

/// Where one header of a message is; [`Message::at`] has the rest.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Which one it is, compact forms folded in.
    pub name: Name,
    /// As [`Header::line`].
    pub line: Span,
    /// As [`Header::value_at`].
    pub value_at: Span,
    /// As [`Header::is_single`].
    pub is_single: bool,
}

impl Header<'_> {
    /// Whether it is known to hold no more than one value. In a list header there may be several
    /// otherwise; a comma decides.
    pub fn is_single(&self) -> bool {
        !self.may_be_list
    }
}

/// Where some headers of a message are, in order: see [`Message::places_in`].
#[derive(Clone)]
pub struct Places<'m> {
    headers: &'m Headers,
    entries: Chosen<'m>,
    lists: NameSet,
}

impl Iterator for Places<'_> {
    type Item = Place;

    #[inline]
    fn next(&mut self) -> Option<Place> {
        let entry = self.entries.next()?;
        Some(Place {
            name: entry.name,
            line: self.headers.line(entry),
            value_at: self.headers.value_at(entry),
            is_single: !self.lists.has(entry.name),
        })
    }
}

/// A SIP message, read but not copied.
#[derive(Clone)]
pub struct Message<'a> {
    bytes: &'a [u8],
    start: Start<'a>,
    /// Where the Request-URI is; empty for a response.
    uri_at: Span,
    /// Whether it is known that no byte of the Request-URI needs an escape.
    uri_is_plain: bool,
    headers_start: u32,
    /// The offset of the empty line.
    headers_end: u32,
    body_start: u32,
    headers: Headers,
    /// List headers in which a comma may separate values.
    lists: NameSet,
    /// The last Content-Length that was read on the way.
    length: Option<u32>,
    /// The URI of the first Contact, where it was read on the way.
    contact: Option<&'a [u8]>,
    /// What was read of them on the way; for others only when [settled](Self::settle).
    facts: Facts<'a>,
    /// Whether all that the facts are read from was as usual so far.
    is_usual: bool,
    is_settled: bool,
}

impl<'a> Message<'a> {
    /// The message: without the line ends before it, and without what follows the body.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Where a part of the message stands in it; `None` for what is no part of it.
    pub fn span_of(&self, part: &[u8]) -> Option<Span> {
        let start = (part.as_ptr() as usize).checked_sub(self.bytes.as_ptr() as usize)?;
        let end = start.checked_add(part.len())?;
        (end <= self.bytes.len()).then(|| span(start, end))
    }

    /// The start line.
    pub fn start(&self) -> Start<'a> {
        self.start
    }

    /// Whether it is a request.
    pub fn is_request(&self) -> bool {
        matches!(self.start, Start::Request { .. })
    }

    /// The method of a request.
    pub fn method(&self) -> Option<Method<'a>> {
        match self.start {
            Start::Request { method, .. } => Some(method),
            Start::Response { .. } => None,
        }
    }

    /// The status code of a response.
    pub fn code(&self) -> Option<u16> {
        match self.start {
            Start::Request { .. } => None,
            Start::Response { code, .. } => Some(code),
        }
    }

    /// The Request-URI, as written.
    pub fn request_uri(&self) -> Option<&'a [u8]> {
        match self.start {
            Start::Request { uri, .. } => Some(uri),
            Start::Response { .. } => None,
        }
    }

    /// The Request-URI, read; `None` when it cannot be, and for a response.
    pub fn uri(&self) -> Option<Uri<'a>> {
        match self.facts() {
            Some(facts) => facts.uri,
            None => Uri::parse(self.request_uri()?).ok(),
        }
    }

    /// What [`settle`](Self::settle) read, if it was called and found no fault.
    #[inline]
    pub fn facts(&self) -> Option<&Facts<'a>> {
        self.is_settled.then_some(&self.facts)
    }

    /// Where the Request-URI is.
    pub fn request_uri_at(&self) -> Option<Span> {
        self.is_request().then_some(self.uri_at)
    }

    /// All headers, in order.
    #[inline]
    pub fn headers(&self) -> impl Iterator<Item = Header<'a>> + '_ {
        self.headers.all().iter().map(|entry| self.header(entry))
    }

    /// The headers of these names, in order.
    #[inline]
    pub fn headers_in(&self, names: NameSet) -> impl Iterator<Item = Header<'a>> + '_ {
        self.headers
            .all()
            .iter()
            .filter(move |entry| names.has(entry.name))
            .map(|entry| self.header(entry))
    }

    /// Where the headers of these names stand, in order.
    pub fn places_in(&self, names: NameSet) -> Places<'_> {
        Places {
            headers: &self.headers,
            entries: self.headers.chosen_in(names),
            lists: self.lists,
        }
    }

    /// As [`places_in`](Self::places_in), for a few names that are known when this is compiled.
    #[inline(always)]
    pub fn places_of(&self, names: &[Name]) -> Places<'_> {
        Places {
            headers: &self.headers,
            entries: self.headers.chosen(names),
            lists: self.lists,
        }
    }

    /// Whether that header is there once, with one value.
    #[inline]
    pub fn is_single(&self, name: Name) -> bool {
        self.headers.has(name)
            && self.headers.are_single(NameSet::of(&[name]).bits())
            && !self.may_be_list(name)
    }

    /// Where the first header of that name ends, and those of the same name that follow it without
    /// another between.
    pub fn run_end(&self, name: Name) -> Option<u32> {
        let run = self.headers.all_named(name);
        let len = run.iter().take_while(|entry| entry.name == name).count();
        let last = run.get(len.checked_sub(1)?)?;
        Some(self.headers.line(last).1)
    }

    /// Where the first headers of these names stand, if each follows the one before in this order, and
    /// nothing but the line's end follows its value. `None` too where it is not known.
    pub fn run_of(&self, names: &[Name]) -> Option<Span> {
        self.headers.run_of(names)
    }

    /// Where all headers of that name stand, if no other is between them and nothing but the line's
    /// end follows any of their values. `None` too where it is not known.
    pub fn run_of_all(&self, name: Name) -> Option<Span> {
        self.headers.run_of_all(name)
    }

    /// The first header of that name.
    #[inline]
    pub fn first(&self, name: Name) -> Option<Header<'a>> {
        self.headers.first(name).map(|entry| self.header(entry))
    }

    /// All headers of that name, in order.
    #[inline]
    pub fn all(&self, name: Name) -> impl Iterator<Item = Header<'a>> + '_ {
        self.headers
            .all_named(name)
            .iter()
            .filter(move |entry| entry.name == name)
            .map(|entry| self.header(entry))
    }

    /// The first header of that name, in any case. A name that [`Name`] knows is found in its
    /// compact form too.
    pub fn named(&self, name: &str) -> Option<Header<'a>> {
        match Name::parse(name.as_bytes()) {
            Name::Other => self
                .all(Name::Other)
                .find(|header| header.raw_name.eq_ignore_ascii_case(name.as_bytes())),
            known => self.first(known),
        }
    }

    /// The values of all headers of that name, in order. Where [`Name::is_list`] says so, commas
    /// outside quotes and angle brackets separate them; an empty header has none.
    pub fn values(&self, name: Name) -> Values<'a, '_> {
        Values::new(self, name)
    }

    /// The value of the only header of that name, where it is known to hold just one. `None` too where
    /// that is not known: [`values`](Self::values) tells.
    #[inline]
    pub fn only_value(&self, name: Name) -> Option<&'a [u8]> {
        let entry = self.headers.only(name)?;
        let value = self.part(self.headers.value_at(entry));
        (!self.may_be_list(name) && !value.is_empty()).then_some(value)
    }

    /// The body.
    pub fn body(&self) -> &'a [u8] {
        self.bytes
            .get(self.body_start as usize..)
            .unwrap_or_default()
    }

    /// The Call-ID. Fails when it is missing, empty, or has white space in it.
    #[inline]
    pub fn call_id(&self) -> Result<&'a [u8], Malformed> {
        if let Some(facts) = self.facts() {
            return Ok(facts.call_id);
        }
        self.read_call_id()
    }

    #[inline(never)]
    fn read_call_id(&self) -> Result<&'a [u8], Malformed> {
        let (value, at) = self.required(Name::CallId)?;
        if value.is_empty() || lex::has_lws(value) {
            return Err(Malformed::new(Fault::Bad(Name::CallId), at.0 as usize));
        }
        Ok(value)
    }

    /// The CSeq. Fails when it is missing or cannot be read.
    #[inline]
    pub fn cseq(&self) -> Result<CSeq<'a>, Malformed> {
        if let Some(facts) = self.facts() {
            return Ok(facts.cseq);
        }
        self.read_cseq()
    }

    #[inline(never)]
    fn read_cseq(&self) -> Result<CSeq<'a>, Malformed> {
        let (value, at) = self.required(Name::CSeq)?;
        CSeq::read(value).ok_or(Malformed::new(Fault::Bad(Name::CSeq), at.0 as usize))
    }

    /// From. Fails when it is missing or cannot be read.
    pub fn from(&self) -> Result<NameAddr<'a>, Malformed> {
        self.read_address(Name::From)
    }

    /// To. Fails when it is missing or cannot be read.
    pub fn to(&self) -> Result<NameAddr<'a>, Malformed> {
        self.read_address(Name::To)
    }

    /// The tag of From, when there is one that can be read.
    #[inline]
    pub fn from_tag(&self) -> Option<&'a [u8]> {
        match self.facts() {
            Some(facts) => facts.from_tag,
            None => self.read_tag(Name::From),
        }
    }

    /// The tag of To, when there is one that can be read.
    #[inline]
    pub fn to_tag(&self) -> Option<&'a [u8]> {
        match self.facts() {
            Some(facts) => facts.to_tag,
            None => self.read_tag(Name::To),
        }
    }

    #[inline(never)]
    fn read_tag(&self, name: Name) -> Option<&'a [u8]> {
        self.read_address(name).ok()?.tag()
    }

    /// The topmost Via value. Fails when there is none or it cannot be read.
    pub fn top_via(&self) -> Result<Via<'a>, Malformed> {
        match self.facts() {
            Some(facts) if facts.via.at.1 > 0 => Ok(facts.via),
            Some(_) | None => self.read_top_via(),
        }
    }

    fn read_top_via(&self) -> Result<Via<'a>, Malformed> {
        self.vias().next().unwrap_or(Err(Malformed::new(
            Fault::Missing(Name::Via),
            self.headers_start as usize,
        )))
    }

    /// All Via values, top first.
    pub fn vias(&self) -> impl Iterator<Item = Result<Via<'a>, Malformed>> + '_ {
        self.values(Name::Via)
            .map(|value| Via::parse_at(value.bytes, value.at.0 as usize))
    }

    /// All Route values, in order.
    pub fn routes(&self) -> impl Iterator<Item = Result<NameAddr<'a>, Malformed>> + '_ {
        self.addresses(Name::Route)
    }

    /// All Record-Route values, in order.
    pub fn record_routes(&self) -> impl Iterator<Item = Result<NameAddr<'a>, Malformed>> + '_ {
        self.addresses(Name::RecordRoute)
    }

    /// The first Contact value, when it can be read.
    pub fn contact(&self) -> Option<NameAddr<'a>> {
        self.addresses(Name::Contact).next()?.ok()
    }

    /// The URI of [`contact`](Self::contact).
    #[inline]
    pub fn contact_uri(&self) -> Option<&'a [u8]> {
        match self.contact {
            None => self.read_contact_uri(),
            noted => noted,
        }
    }

    #[inline(never)]
    fn read_contact_uri(&self) -> Option<&'a [u8]> {
        self.contact().map(|contact| contact.uri)
    }

    /// Max-Forwards, `None` when there is none. Fails on what is no number; above 255 is 255.
    #[inline]
    pub fn max_forwards(&self) -> Result<Option<u8>, Malformed> {
        if let Some(facts) = self.facts() {
            return Ok(facts.max_forwards);
        }
        self.read_max_forwards()
    }

    #[inline(never)]
    fn read_max_forwards(&self) -> Result<Option<u8>, Malformed> {
        let Some(entry) = self.headers.first(Name::MaxForwards) else {
            return Ok(None);
        };
        let at = self.headers.value_at(entry);
        max_forwards::parse(self.part(at))
            .map(Some)
            .map_err(|error| Malformed::new(error.fault, at.0 as usize))
    }

    /// The value of the first header of that name, and where it is.
    #[inline(always)]
    fn required(&self, name: Name) -> Result<(&'a [u8], Span), Malformed> {
        match self.headers.first(name) {
            Some(entry) => {
                let at = self.headers.value_at(entry);
                Ok((self.part(at), at))
            }
            None => Err(Malformed::new(
                Fault::Missing(name),
                self.headers_start as usize,
            )),
        }
    }

    fn read_address(&self, name: Name) -> Result<NameAddr<'a>, Malformed> {
        let (value, at) = self.required(name)?;
        NameAddr::read(value, at).ok_or(Malformed::new(Fault::Bad(name), at.0 as usize))
    }

    fn addresses(&self, name: Name) -> impl Iterator<Item = Result<NameAddr<'a>, Malformed>> + '_ {
        self.values(name).map(move |value| {
            NameAddr::parse_at(value.bytes, value.at.0 as usize, Fault::Bad(name))
        })
    }

    #[inline]
    fn header(&self, entry: &Entry) -> Header<'a> {
        let (line, value_at) = (self.headers.line(entry), self.headers.value_at(entry));
        Header {
            name: entry.name,
            raw_name: self.part(self.headers.name_at(entry)),
            value: self.part(value_at),
            line,
            value_at,
            may_be_list: self.may_be_list(entry.name),
        }
    }

    /// Whether commas may separate values of that header.
    #[inline]
    fn may_be_list(&self, name: Name) -> bool {
        self.lists.has(name)
    }

    /// The bytes of a span. Spans come from the parser and lie inside; a foreign one gives nothing.
    #[inline]
    pub(crate) fn part(&self, at: Span) -> &'a [u8] {
        self.bytes
            .get(at.0 as usize..at.1 as usize)
            .unwrap_or_default()
    }

    pub(crate) fn headers_start(&self) -> u32 {
        self.headers_start
    }

    /// Where the headers end: the offset of the empty line.
    pub fn headers_end(&self) -> u32 {
        self.headers_end
    }

    /// The header at a place.
    pub fn at(&self, place: &Place) -> Option<Header<'a>> {
        self.header_at(place.line.0)
    }

    /// The header whose line starts at `start`.
    pub(crate) fn header_at(&self, start: u32) -> Option<Header<'a>> {
        let entries = self.headers.all();
        let index = entries.binary_search_by_key(&start, Entry::start).ok()?;
        entries.get(index).map(|entry| self.header(entry))
    }
}

impl std::fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Message({})", self.bytes.escape_ascii())
    }
}

/// Offsets as a span. Messages are never longer than 32 bits count, see [`Limits::message_max`].
pub(crate) fn span(start: usize, end: usize) -> Span {
    let narrow = |offset| u32::try_from(offset).unwrap_or(u32::MAX);
    (narrow(start), narrow(end))
}

#[cfg(test)]
mod tests;
