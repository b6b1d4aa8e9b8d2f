//! A request on its way to the next hop (RFC 3261 §16.6).

use std::net::SocketAddr;

use trunkline_sip::{Fault, Malformed, Message, Name, NameSet, Place, Span};

use super::{
    MAX_FORWARDS,
    face::Face,
    route::{RouteChange, RouteLines, Strict},
    splice::Splice,
    uri::{UriText, request_uri},
    via::{ViaPlan, holds, note_source},
};
use crate::settings::RequestAddress;

/// Everything that changes in a request when it is forwarded.
#[derive(Copy, Clone, Debug)]
pub struct RequestPlan<'p> {
    /// What becomes of the Request-URI.
    pub request_uri: NewUri<'p>,
    /// How many Route values at the top are ours and leave (RFC 3261 §16.4).
    pub drop_routes: usize,
    /// What strict routers make necessary.
    pub strict: Strict,
    /// Where the request came from, to be noted in the top Via (RFC 3261 §18.2.1, RFC 3581 §4).
    pub received: Option<SocketAddr>,
    /// Our own Via.
    pub via: ViaPlan<'p>,
    /// Our Record-Route values, top first: none, one, or two when the two sides differ in
    /// transport or address family.
    pub record_route: &'p [RecordRoute<'p>],
    /// What becomes of Max-Forwards.
    pub max_forwards: MaxForwards,
    /// The next hop is a stream: Content-Length must be there and right (RFC 3261 §16.6 step 9).
    pub content_length: bool,
    /// Further headers, name and value, at the end.
    pub append: &'p [(&'p str, &'p [u8])],
    /// Headers that go, by their names as they are written in full.
    pub drop: &'p [&'p str],
}

/// What becomes of the Request-URI (RFC 3261 §16.6 step 2).
#[derive(Copy, Clone, Debug)]
pub enum NewUri<'p> {
    /// It stays, or is what `strict` says.
    Kept,
    /// It is this one.
    Is(&'p [u8]),
    /// It leads here, see [`request_uri`](super::request_uri()).
    To(&'p RequestAddress),
}

/// What becomes of Max-Forwards (RFC 3261 §16.6 step 3).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum MaxForwards {
    /// Nothing.
    Keep,
    /// This value; put in when there is none.
    Set(u8),
    /// There is none: put in 70.
    Insert70,
}

/// One Record-Route value of ours (RFC 3261 §16.6 step 4).
#[derive(Copy, Clone, Debug)]
pub struct RecordRoute<'p> {
    /// How that side reaches us.
    pub face: &'p Face,
    /// What an in-dialog request must tell us.
    pub token: Option<&'p [u8]>,
}

/// Writes a request as it leaves for the next hop. On an error nothing is written.
pub fn request(
    message: &Message<'_>,
    plan: &RequestPlan<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let (uri, uri_at) = original_uri(message)?;
    let unsettled;
    let top_via = match message.facts() {
        Some(facts) => &facts.via,
        None => {
            unsettled = message.top_via()?;
            &unsettled
        }
    };
    let routes = RouteChange::new(message, plan.drop_routes, plan.strict)?;
    // Checked when it came, and nothing of it moves into a Route: written where it goes.
    let checked = message.facts().and_then(|facts| facts.uri.as_ref());
    let to = match plan.request_uri {
        NewUri::To(address) if plan.strict == Strict::None => checked.zip(Some(address)),
        _ => None,
    };
    let mut made = UriText::new();
    let (uri_sent, mut uri_in_route) = match (to, plan.request_uri) {
        (Some(_), _) => (None, None),
        (None, NewUri::Kept) if checked.is_some() && plan.strict == Strict::None => (None, None),
        (None, new) => {
            let (sent, in_route) = routes.uris(uri, new.text(message, &mut made))?;
            (Some(sent), in_route)
        }
    };

    let last_route = match uri_in_route {
        Some(_) => message.all(Name::Route).last().map(|header| header.line),
        None => None,
    };
    let mut lines = RouteLines::new(message, &routes);
    let mut splice = Splice::new(message, out);
    if let Some((old, address)) = to {
        splice.until(uri_at.0);
        request_uri(old, address, |text| splice.put(text));
        splice.skip(uri_at.1);
    } else if let Some(sent) = uri_sent {
        splice.until(uri_at.0);
        splice.put(sent);
        splice.skip(uri_at.1);
    }

    let mut to_add = Additions::new(message, plan);
    // What goes below the Vias, which stay together and on top for who reads no further.
    let below = match to_add.waits_on_top() {
        true => message.run_end(Name::Via).unwrap_or(uri_at.1),
        false => u32::MAX,
    };
    let mut via_written = false;
    let of_interest = match (plan.drop.is_empty(), plan.content_length) {
        (true, false) => message.places_of(&CHANGING),
        (true, true) => message.places_of(&CHANGING_TO_STREAM),
        (false, _) => message.places_in(NameSet::ALL),
    };
    for header in of_interest {
        if header.line.0 >= below && to_add.waits_on_top() {
            to_add.write_top(plan, below, &mut splice);
        }
        match header.name {
            Name::Via => {
                if !via_written {
                    splice.until(header.line.0);
                    plan.via.write(splice.out());
                    via_written = true;
                }
                if let Some(source) = plan.received.filter(|_| holds(header.line, top_via)) {
                    note_source(&mut splice, top_via, source);
                }
            }
            Name::RecordRoute => to_add.write_record_route(plan, header.line.0, &mut splice),
            Name::Route => {
                if !routes.is_identity() {
                    lines.change(&mut splice, &header);
                }
                if let Some(uri) = uri_in_route.take_if(|_| Some(header.line) == last_route) {
                    splice.until(header.line.1);
                    splice.put(b"Route: <");
                    splice.put(uri);
                    splice.put(b">\r\n");
                }
            }
            Name::MaxForwards => {
                if let MaxForwards::Set(value) = plan.max_forwards {
                    splice.until(header.value_at.0);
                    splice.put_octet(value);
                    splice.skip(header.value_at.1);
                }
            }
            Name::ContentLength if plan.content_length => {
                right_length(&mut splice, header.value_at, message.body().len());
            }
            _ if plan.drop.is_empty() => {}
            _ => drop_named(&mut splice, message, &header, plan.drop),
        }
    }
    if to_add.waits_on_top() {
        to_add.write_top(plan, below, &mut splice);
    }
    if plan.content_length || !plan.append.is_empty() {
        splice.until(message.headers_end());
        for (name, value) in plan.append {
            splice.put(name.as_bytes());
            splice.put(b": ");
            splice.put(value);
            splice.put(b"\r\n");
        }
        if plan.content_length {
            missing_length(&mut splice, message);
        }
    }
    splice.finish();
    Ok(())
}

impl<'p> NewUri<'p> {
    /// Its text, made in `room` where there is none; `None` for the request's own, and where that
    /// cannot be read.
    #[inline(never)]
    pub fn text<'t>(self, message: &Message<'_>, room: &'t mut UriText) -> Option<&'t [u8]>
    where
        'p: 't,
    {
        match self {
            NewUri::Kept => None,
            NewUri::Is(text) => Some(text),
            NewUri::To(address) => {
                request_uri(&message.uri()?, address, |text| {
                    room.extend_from_slice(text)
                });
                Some(room)
            }
        }
    }
}

/// The headers that forwarding may change.
const CHANGING: [Name; 4] = [Name::Via, Name::RecordRoute, Name::Route, Name::MaxForwards];

/// The same, where the next hop is a stream.
const CHANGING_TO_STREAM: [Name; 5] = {
    let [via, record_route, route, max_forwards] = CHANGING;
    [via, record_route, route, max_forwards, Name::ContentLength]
};

/// The Request-URI and where it stands.
pub(super) fn original_uri<'a>(message: &Message<'a>) -> Result<(&'a [u8], (u32, u32)), Malformed> {
    message
        .request_uri()
        .zip(message.request_uri_at())
        .ok_or(Malformed {
            fault: Fault::RequestUri,
            at: 0,
        })
}

/// Lines that go in where there are none of their kind.
struct Additions {
    record_route: bool,
    /// No Record-Route in the request: ours goes below the Vias.
    record_route_on_top: bool,
    max_forwards: Option<u8>,
}

impl Additions {
    fn new(message: &Message<'_>, plan: &RequestPlan<'_>) -> Self {
        let missing = message.first(Name::MaxForwards).is_none();
        let max_forwards = match plan.max_forwards {
            MaxForwards::Set(value) if missing => Some(value),
            MaxForwards::Insert70 if missing => Some(MAX_FORWARDS),
            MaxForwards::Set(_) | MaxForwards::Insert70 | MaxForwards::Keep => None,
        };
        let record_route = !plan.record_route.is_empty();
        let record_route_on_top = record_route && message.first(Name::RecordRoute).is_none();
        Additions {
            record_route,
            record_route_on_top,
            max_forwards,
        }
    }

    /// Whether there is anything for [`write_top`](Self::write_top).
    fn waits_on_top(&self) -> bool {
        self.record_route_on_top || self.max_forwards.is_some()
    }

    /// What goes below the Vias, which stay together and on top for who reads no further.
    fn write_top(&mut self, plan: &RequestPlan<'_>, at: u32, splice: &mut Splice<'_, '_>) {
        if std::mem::take(&mut self.record_route_on_top) {
            self.write_record_route(plan, at, splice);
        }
        if let Some(value) = self.max_forwards.take() {
            splice.until(at);
            splice.put(b"Max-Forwards: ");
            splice.put_octet(value);
            splice.put(b"\r\n");
        }
    }

    fn write_record_route(&mut self, plan: &RequestPlan<'_>, at: u32, splice: &mut Splice<'_, '_>) {
        if std::mem::take(&mut self.record_route) {
            splice.until(at);
            let double = plan.record_route.len() > 1;
            for value in plan.record_route {
                let RecordRoute { face, token } = value;
                face.write_record_route(double, *token, splice.out());
            }
        }
    }
}

/// Leaves a header out if it has one of these names.
#[cold]
fn drop_named(splice: &mut Splice<'_, '_>, message: &Message<'_>, at: &Place, names: &[&str]) {
    let Some(header) = message.at(at) else { return };
    let is = |name: &&str| header.raw_name.eq_ignore_ascii_case(name.as_bytes());
    if names.iter().any(is) {
        splice.until(header.line.0);
        splice.skip(header.line.1);
    }
}

/// Makes a Content-Length right; one that is right already stays as it is written.
pub(super) fn right_length(splice: &mut Splice<'_, '_>, (start, end): Span, body: usize) {
    let written = std::str::from_utf8(splice.original((start, end)))
        .ok()
        .and_then(|text| text.parse().ok());
    if written != Some(body) {
        splice.until(start);
        splice.put_number(body as u64);
        splice.skip(end);
    }
}

/// Puts in a Content-Length at the end of the headers when there is none.
pub(super) fn missing_length(splice: &mut Splice<'_, '_>, message: &Message<'_>) {
    if message.first(Name::ContentLength).is_none() {
        splice.put(b"Content-Length: ");
        splice.put_number(message.body().len() as u64);
        splice.put(b"\r\n");
    }
}

#[cfg(test)]
mod tests;
