//! Requests of our own: CANCEL and ACK of an attempt, ACK and BYE for an answer that came too
//! late, OPTIONS to see who lives.
//!
//! They are written from the request as it came in, which is kept anyway, and from what the
//! attempt changed in it; nothing is stored twice.

use trunkline_sip::{Fault, Malformed, Message, Name, NameAddr, Transport, Uri};

use super::{
    MAX_FORWARDS,
    route::{RouteChange, RouteLines, RouteSlice, Strict},
    splice::{Splice, put_fmt, put_header},
    via::ViaPlan,
};

/// What an attempt changed in the request that it forwards.
#[derive(Copy, Clone, Debug)]
pub struct Sent<'p> {
    /// The Request-URI as sent; see [`sent_uri`](super::sent_uri).
    pub request_uri: &'p [u8],
    /// As in its [`RequestPlan`](super::RequestPlan).
    pub drop_routes: usize,
    /// As in its [`RequestPlan`](super::RequestPlan).
    pub strict: Strict,
    /// As in its [`RequestPlan`](super::RequestPlan).
    pub via: ViaPlan<'p>,
}

/// Writes the CANCEL of an attempt (RFC 3261 §9.1): its Request-URI, Route and Via, the request's
/// Call-ID, From, To and CSeq number. `reason`: the value of a Reason header (RFC 3326).
pub fn cancel(
    original: &Message<'_>,
    sent: &Sent<'_>,
    reason: Option<&str>,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    hop_by_hop("CANCEL", original, original, sent, reason, out)
}

/// Writes the ACK to an attempt's failure (RFC 3261 §17.1.1.3): as [`cancel`], with the To of the
/// response.
pub fn ack_failure(
    original: &Message<'_>,
    sent: &Sent<'_>,
    response: &Message<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    hop_by_hop("ACK", original, response, sent, None, out)
}

fn hop_by_hop(
    method: &str,
    original: &Message<'_>,
    to_of: &Message<'_>,
    sent: &Sent<'_>,
    reason: Option<&str>,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let number = original.cseq()?.number;
    let to = first(to_of, Name::To)?;
    let (from, call_id) = (first(original, Name::From)?, first(original, Name::CallId)?);
    let (uri, _) = original
        .request_uri()
        .zip(original.request_uri_at())
        .ok_or(NO_URI)?;
    let change = RouteChange::new(original, sent.drop_routes, sent.strict)?;

    put_start(method, sent.request_uri, &sent.via, out);
    let mut lines = RouteLines::new(original, &change);
    let mut splice = Splice::new(original, out);
    for header in original.all(Name::Route) {
        splice.skip(header.line.0);
        lines.copy(&mut splice, header.line);
    }
    // A strict router behind us: the target that went to the end of the Route set. What it was
    // rewritten to is not known any more, and no hop of a dialog's route set rewrites it.
    if let (_, Some(target)) = change.uris(uri, None) {
        put_route_uri(target, out);
    }
    put_header(out, original, &from);
    put_header(out, to_of, &to);
    put_header(out, original, &call_id);
    put_fmt(out, format_args!("CSeq: {number} {method}\r\n"));
    put_end(reason, out);
    Ok(())
}

/// Writes the ACK to a 2xx that nobody upstream wants any more, as the caller itself would
/// (RFC 3261 §13.2.2.4). `routes`: see [`routes_above`](super::routes_above).
pub fn ack_success(
    response_2xx: &Message<'_>,
    via: &ViaPlan<'_>,
    routes: RouteSlice<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    in_dialog("ACK", 0, response_2xx, via, routes, None, out)
}

/// Writes the BYE that follows [`ack_success`] (RFC 3261 §15.1.1), with the next CSeq number.
/// `reason`: the value of a Reason header (RFC 3326).
pub fn bye(
    response_2xx: &Message<'_>,
    via: &ViaPlan<'_>,
    routes: RouteSlice<'_>,
    reason: Option<&str>,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    in_dialog("BYE", 1, response_2xx, via, routes, reason, out)
}

/// RFC 3261 §12.2.1.1, with the dialog as the 2xx made it.
fn in_dialog(
    method: &str,
    later: u32,
    response: &Message<'_>,
    via: &ViaPlan<'_>,
    routes: RouteSlice<'_>,
    reason: Option<&str>,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let number = response.cseq()?.number.saturating_add(later);
    let (from, to) = (first(response, Name::From)?, first(response, Name::To)?);
    let call_id = first(response, Name::CallId)?;
    let no_contact = Malformed {
        fault: Fault::Missing(Name::Contact),
        at: 0,
    };
    let target = response.contact().ok_or(no_contact)?.uri;

    // A first hop without `lr` is a strict router: it wants itself in the Request-URI, and the
    // target at the end of the Route set.
    let strict = routes
        .split_first()
        .and_then(|(first, rest)| Some((NameAddr::parse(first).ok()?.uri, rest)))
        .filter(|(uri, _)| Uri::parse(uri).is_ok_and(|uri| !uri.has_lr()));
    let (uri, rest) = strict.unwrap_or((target, routes));
    put_start(method, uri, via, out);
    for route in rest {
        out.extend_from_slice(b"Route: ");
        out.extend_from_slice(route);
        out.extend_from_slice(b"\r\n");
    }
    if strict.is_some() {
        put_route_uri(target, out);
    }
    put_header(out, response, &from);
    put_header(out, response, &to);
    put_header(out, response, &call_id);
    put_fmt(out, format_args!("CSeq: {number} {method}\r\n"));
    put_end(reason, out);
    Ok(())
}

/// Writes an OPTIONS that asks whether `place_uri` lives (RFC 3261 §11.1).
pub fn options(
    place_uri: &[u8],
    via: &ViaPlan<'_>,
    from_tag: &[u8],
    call_id: &[u8],
    cseq: u32,
    out: &mut Vec<u8>,
) {
    put_start("OPTIONS", place_uri, via, out);
    put_fmt(out, format_args!("From: <sip:ping@{}>;tag=", via.sent_by));
    out.extend_from_slice(from_tag);
    out.extend_from_slice(b"\r\nTo: <");
    out.extend_from_slice(place_uri);
    out.extend_from_slice(b">\r\nCall-ID: ");
    out.extend_from_slice(call_id);
    put_fmt(
        out,
        format_args!(
            "\r\nCSeq: {cseq} OPTIONS\r\nContact: <sip:ping@{}",
            via.sent_by
        ),
    );
    if via.transport != Transport::Udp {
        put_fmt(out, format_args!(";transport={}", via.transport.param()));
    }
    out.extend_from_slice(b">\r\nAccept: application/sdp\r\n");
    put_end(None, out);
}

const NO_URI: Malformed = Malformed {
    fault: Fault::RequestUri,
    at: 0,
};

fn first<'a>(message: &Message<'a>, name: Name) -> Result<trunkline_sip::Header<'a>, Malformed> {
    message.first(name).ok_or(Malformed {
        fault: Fault::Missing(name),
        at: 0,
    })
}

fn put_start(method: &str, uri: &[u8], via: &ViaPlan<'_>, out: &mut Vec<u8>) {
    put_fmt(out, format_args!("{method} "));
    out.extend_from_slice(uri);
    out.extend_from_slice(b" SIP/2.0\r\n");
    via.write(out);
    put_fmt(out, format_args!("Max-Forwards: {MAX_FORWARDS}\r\n"));
}

fn put_route_uri(uri: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"Route: <");
    out.extend_from_slice(uri);
    out.extend_from_slice(b">\r\n");
}

fn put_end(reason: Option<&str>, out: &mut Vec<u8>) {
    if let Some(reason) = reason {
        put_fmt(out, format_args!("Reason: {reason}\r\n"));
    }
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
}
