//! Requests of our own: CANCEL and ACK of an attempt, ACK and BYE for an answer that came too
//! late, OPTIONS to see who lives.
//!
//! They are written from the request as it came in, which is kept anyway, and from what the
//! attempt changed in it; nothing is stored twice.

use trunkline_sip::{Fault, Header, Malformed, Message, Name, NameAddr, Transport, Uri};

use super::{
    MAX_FORWARDS,
    request::original_uri,
    route::{RouteChange, RouteLines, RouteSlice, Strict, request_uri},
    splice::{Splice, put_all, put_header, put_number},
    via::ViaPlan,
};

/// What an attempt changed in the request that it forwards.
#[derive(Copy, Clone, Debug)]
pub struct Sent<'p> {
    /// As in its [`RequestPlan`](super::RequestPlan); the request's own where that has none.
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
///
/// `false`, and nothing is written, for a request that was not fit to be forwarded.
pub fn cancel(
    original: &Message<'_>,
    sent: &Sent<'_>,
    reason: Option<&str>,
    out: &mut Vec<u8>,
) -> bool {
    hop_by_hop("CANCEL", original, original, sent, reason, out).is_ok()
}

/// Writes the ACK to an attempt's failure (RFC 3261 §17.1.1.3): as [`cancel`], with the To of the
/// response, which carries the tag.
///
/// `false`, and nothing is written, for a request that was not fit to be forwarded.
pub fn ack_failure(
    original: &Message<'_>,
    sent: &Sent<'_>,
    response: &Message<'_>,
    out: &mut Vec<u8>,
) -> bool {
    // A response without To is not worth an ACK less: its sender would repeat it for 32 s.
    let to_of = if response.first(Name::To).is_some() {
        response
    } else {
        original
    };
    hop_by_hop("ACK", original, to_of, sent, None, out).is_ok()
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
    let (from, to) = (first(original, Name::From)?, first(to_of, Name::To)?);
    let call_id = first(original, Name::CallId)?;
    let (uri, _) = original_uri(original)?;
    let routes = RouteChange::new(original, sent.drop_routes, sent.strict)?;
    let rewritten = Some(sent.request_uri).filter(|sent| *sent != uri);
    let (uri_sent, uri_in_route) = routes.uris(uri, rewritten)?;

    put_start(method, uri_sent, &sent.via, out);
    let mut lines = RouteLines::new(original, &routes);
    let mut splice = Splice::new(original, out);
    for header in original.places_of(&[Name::Route]) {
        splice.skip(header.line.0);
        lines.change(&mut splice, &header);
        splice.until(header.line.1);
    }
    if let Some(uri) = uri_in_route {
        put_route_uri(uri, out);
    }
    put_header(out, original, &from);
    put_header(out, to_of, &to);
    put_header(out, original, &call_id);
    put_cseq(number, method, out);
    put_end(reason, out);
    Ok(())
}

/// Writes the ACK to a 2xx that nobody upstream wants any more, as the caller itself would
/// (RFC 3261 §13.2.2.4). `routes`: see [`routes_above`](super::routes_above).
///
/// `false`, and nothing is written, for a 2xx that makes no dialog: it has no Contact, say.
pub fn ack_success(
    response_2xx: &Message<'_>,
    via: &ViaPlan<'_>,
    routes: RouteSlice<'_>,
    out: &mut Vec<u8>,
) -> bool {
    in_dialog("ACK", 0, response_2xx, via, routes, None, out).is_ok()
}

/// Writes the BYE that follows [`ack_success`] (RFC 3261 §15.1.1), with the next CSeq number.
/// `reason`: the value of a Reason header (RFC 3326). `false` as there.
pub fn bye(
    response_2xx: &Message<'_>,
    via: &ViaPlan<'_>,
    routes: RouteSlice<'_>,
    reason: Option<&str>,
    out: &mut Vec<u8>,
) -> bool {
    in_dialog("BYE", 1, response_2xx, via, routes, reason, out).is_ok()
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
    let target = request_uri(response.contact().ok_or(no_contact)?.uri)?;

    // A first hop without `lr` is a strict router: it wants itself in the Request-URI, and the
    // target at the end of the Route set.
    let strict = routes
        .split_first()
        .and_then(|(first, rest)| Some((NameAddr::parse(first).ok()?.uri, rest)))
        .filter(|(uri, _)| Uri::parse(uri).is_ok_and(|uri| !uri.has_lr()));
    let (uri, rest) = strict.unwrap_or((target, routes));
    let uri = request_uri(uri)?;
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
    put_cseq(number, method, out);
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
    put_all(out, &["From: <sip:ping@", &via.face.authority, ">;tag="]);
    out.extend_from_slice(from_tag);
    out.extend_from_slice(b"\r\nTo: <");
    out.extend_from_slice(place_uri);
    out.extend_from_slice(b">\r\nCall-ID: ");
    out.extend_from_slice(call_id);
    out.extend_from_slice(b"\r\n");
    put_cseq(cseq, "OPTIONS", out);
    put_all(out, &["Contact: <sip:ping@", &via.face.authority]);
    if via.face.transport != Transport::Udp {
        put_all(out, &[";transport=", via.face.transport.param()]);
    }
    out.extend_from_slice(b">\r\nAccept: application/sdp\r\n");
    put_end(None, out);
}

fn first<'a>(message: &Message<'a>, name: Name) -> Result<Header<'a>, Malformed> {
    message.first(name).ok_or(Malformed {
        fault: Fault::Missing(name),
        at: 0,
    })
}

fn put_start(method: &str, uri: &[u8], via: &ViaPlan<'_>, out: &mut Vec<u8>) {
    put_all(out, &[method, " "]);
    out.extend_from_slice(uri);
    out.extend_from_slice(b" SIP/2.0\r\n");
    via.write(out);
    put_all(out, &["Max-Forwards: "]);
    put_number(out, u64::from(MAX_FORWARDS));
    put_all(out, &["\r\n"]);
}

fn put_cseq(number: u32, method: &str, out: &mut Vec<u8>) {
    put_all(out, &["CSeq: "]);
    put_number(out, u64::from(number));
    put_all(out, &[" ", method, "\r\n"]);
}

fn put_route_uri(uri: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"Route: <");
    out.extend_from_slice(uri);
    out.extend_from_slice(b">\r\n");
}

fn put_end(reason: Option<&str>, out: &mut Vec<u8>) {
    if let Some(reason) = reason {
        put_all(out, &["Reason: ", reason, "\r\n"]);
    }
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::{
        Face, NewUri, RequestPlan, request,
        sample::{VIA_LINE, lines, parse, plan, via, written},
    };

    const INVITE: &str = "INVITE sip:b@proxy.test SIP/2.0\r\n\
        v: SIP/2.0/UDP a.test;branch=z9hG4bKa\r\n\
        Route: <sip:us;lr>,\r\n <sip:p;lr>\r\n\
        route: <sip:q;lr>\r\n\
        Max-Forwards: 9\r\n\
        f: \"A\"\r\n <sip:a@a.test>;tag=1\r\n\
        TO:<sip:b@b.test>\r\n\
        i: c@a.test\r\n\
        CSeq: 007 INVITE\r\n\
        Contact: <sip:a@10.0.0.1>\r\n\
        Proxy-Require: x\r\n\
        Content-Length: 3\r\n\r\nabc";

    fn sent() -> Sent<'static> {
        Sent {
            request_uri: b"sip:b@edge.test",
            drop_routes: 1,
            strict: Strict::None,
            via: via(),
        }
    }

    #[test]
    fn a_cancel_repeats_what_its_attempt_said() {
        let got = written(|out| {
            let reason = Some("SIP;cause=200;text=\"Call completed elsewhere\"");
            assert!(cancel(&parse(INVITE.as_bytes()), &sent(), reason, out));
        });
        // RFC 3261 §9.1: one Via, no Proxy-Require, no body; RFC 3326: why.
        let expected = format!(
            "CANCEL sip:b@edge.test SIP/2.0\r\n{VIA_LINE}Max-Forwards: 70\r\n\
             Route: <sip:p;lr>\r\nroute: <sip:q;lr>\r\n\
             f: \"A\"\r\n <sip:a@a.test>;tag=1\r\nTO:<sip:b@b.test>\r\ni: c@a.test\r\n\
             CSeq: 7 CANCEL\r\nReason: SIP;cause=200;text=\"Call completed elsewhere\"\r\n\
             Content-Length: 0\r\n\r\n"
        );
        assert_eq!(got, lines(expected.as_bytes()));
    }

    #[test]
    fn the_ack_to_a_failure_has_its_to() {
        // RFC 3261 §17.1.1.3.
        let failure = "SIP/2.0 486 Busy\r\nv: SIP/2.0/UDP x\r\nt: <sip:b@b.test>;tag=9\r\n\r\n";
        let without = "SIP/2.0 486 Busy\r\nv: SIP/2.0/UDP x\r\n\r\n";
        for (response, to) in [
            (failure, "t: <sip:b@b.test>;tag=9"),
            (without, "TO:<sip:b@b.test>"),
        ] {
            let got = written(|out| {
                let response = parse(response.as_bytes());
                assert!(ack_failure(
                    &parse(INVITE.as_bytes()),
                    &sent(),
                    &response,
                    out
                ));
            });
            let expected = format!(
                "ACK sip:b@edge.test SIP/2.0\r\n{VIA_LINE}Max-Forwards: 70\r\n\
                 Route: <sip:p;lr>\r\nroute: <sip:q;lr>\r\n\
                 f: \"A\"\r\n <sip:a@a.test>;tag=1\r\n{to}\r\ni: c@a.test\r\n\
                 CSeq: 7 ACK\r\nContent-Length: 0\r\n\r\n"
            );
            assert_eq!(got, lines(expected.as_bytes()));
        }
    }

    #[test]
    fn an_attempt_and_its_cancel_agree_under_every_kind_of_routing() {
        let stricts = [
            Strict::None,
            Strict::TakeLastRoute,
            Strict::SwapNext,
            Strict::TakeLastThenSwap,
        ];
        for strict in stricts {
            for drop_routes in 0..4 {
                for request_uri in [None, Some(b"sip:b@edge.test".as_slice())] {
                    let plan = RequestPlan {
                        strict,
                        drop_routes,
                        request_uri: request_uri.map_or(NewUri::Kept, NewUri::Is),
                        ..plan()
                    };
                    let message = parse(INVITE.as_bytes());
                    let sent = Sent {
                        request_uri: request_uri.unwrap_or(b"sip:b@proxy.test"),
                        drop_routes,
                        strict,
                        via: via(),
                    };
                    let (mut forwarded, mut cancelled) = (Vec::new(), Vec::new());
                    request(&message, &plan, &mut forwarded).expect("it can be forwarded");
                    assert!(cancel(&message, &sent, None, &mut cancelled));
                    let (forwarded, cancelled) = (parse(&forwarded), parse(&cancelled));
                    let what = format!("{strict:?} {drop_routes} {request_uri:?}");
                    assert_eq!(forwarded.request_uri(), cancelled.request_uri(), "{what}");
                    let routes = |message: &Message<'_>| {
                        message
                            .routes()
                            .map(|route| route.map(|it| it.uri.to_vec()))
                            .collect::<Vec<_>>()
                    };
                    assert_eq!(routes(&forwarded), routes(&cancelled), "{what}");
                    assert_eq!(
                        forwarded
                            .top_via()
                            .map(|via| via.branch().map(<[u8]>::to_vec)),
                        cancelled
                            .top_via()
                            .map(|via| via.branch().map(<[u8]>::to_vec)),
                    );
                    assert_eq!(cancelled.vias().count(), 1, "RFC 3261 §9.1: one Via");
                    assert_eq!(cancelled.check(), Ok(()));
                }
            }
        }
    }

    const ANSWER: &str = "SIP/2.0 200 OK\r\nv: SIP/2.0/UDP x\r\n\
        f: <sip:a@a.test>;tag=1\r\nt: <sip:b@b.test>;tag=9\r\ni: c\r\nCSeq: 7 INVITE\r\n\
        m: \"B\" <sip:b@10.0.0.2;x=y>;expires=1\r\nContent-Length: 0\r\n\r\n";

    #[test]
    fn a_late_answer_is_hung_up_as_the_caller_would() {
        // RFC 3261 §13.2.2.4, §15.1.1 and §12.2.1.1. Routes, then the Request-URI and Routes sent.
        let table: &[(&[&[u8]], &str, &str)] = &[
            (&[], "sip:b@10.0.0.2;x=y", ""),
            (
                &[b"<sip:p;lr>", b"\"Q\" <sip:q;lr>;z"],
                "sip:b@10.0.0.2;x=y",
                "Route: <sip:p;lr>\r\nRoute: \"Q\" <sip:q;lr>;z\r\n",
            ),
            (
                &[b"<sip:old;transport=udp>", b"<sip:q;lr>"],
                "sip:old;transport=udp",
                "Route: <sip:q;lr>\r\nRoute: <sip:b@10.0.0.2;x=y>\r\n",
            ),
        ];
        for (routes, uri, sent) in table {
            let answer = parse(ANSWER.as_bytes());
            let head = |method: &str| {
                format!("{method} {uri} SIP/2.0\r\n{VIA_LINE}Max-Forwards: 70\r\n{sent}")
            };
            let dialog = "f: <sip:a@a.test>;tag=1\r\nt: <sip:b@b.test>;tag=9\r\ni: c\r\n";
            let got = written(|out| assert!(ack_success(&answer, &via(), routes, out)));
            let end = "CSeq: 7 ACK\r\nContent-Length: 0\r\n\r\n";
            assert_eq!(
                got,
                lines(format!("{}{dialog}{end}", head("ACK")).as_bytes())
            );
            let reason = Some("SIP;cause=487");
            let got = written(|out| assert!(bye(&answer, &via(), routes, reason, out)));
            let end = "CSeq: 8 BYE\r\nReason: SIP;cause=487\r\nContent-Length: 0\r\n\r\n";
            assert_eq!(
                got,
                lines(format!("{}{dialog}{end}", head("BYE")).as_bytes())
            );
        }
    }

    #[test]
    fn what_cannot_be_written_is_not_begun() {
        let answer = ANSWER.replace("m:", "x-m:");
        let mut out = Vec::new();
        // A fold in a URI is one line in a header and two in a start line.
        let folded = ANSWER.replace("sip:b@10", "sip:b\r\n @10");
        assert!(!bye(&parse(folded.as_bytes()), &via(), &[], None, &mut out));
        assert!(!ack_success(
            &parse(answer.as_bytes()),
            &via(),
            &[],
            &mut out
        ));
        assert!(!bye(&parse(answer.as_bytes()), &via(), &[], None, &mut out));
        assert!(!cancel(
            &parse(b"INVITE sip:b SIP/2.0\r\n\r\n"),
            &sent(),
            None,
            &mut out
        ));
        assert!(!cancel(&parse(ANSWER.as_bytes()), &sent(), None, &mut out));
        assert!(out.is_empty());
    }

    #[test]
    fn a_probe_is_a_whole_request() {
        let face = Face::new(Transport::Tcp, "198.51.100.1:5060");
        let via = ViaPlan {
            face: &face,
            ..via()
        };
        let got = written(|out| options(b"sip:pbx.test", &via, b"f1", b"id@us", 3, out));
        let expected = "OPTIONS sip:pbx.test SIP/2.0\r\n\
             Via: SIP/2.0/TCP 198.51.100.1:5060;branch=z9hG4bKours\r\nMax-Forwards: 70\r\n\
             From: <sip:ping@198.51.100.1:5060>;tag=f1\r\nTo: <sip:pbx.test>\r\n\
             Call-ID: id@us\r\nCSeq: 3 OPTIONS\r\n\
             Contact: <sip:ping@198.51.100.1:5060;transport=tcp>\r\n\
             Accept: application/sdp\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(got, lines(expected.as_bytes()));
        assert_eq!(parse(expected.as_bytes()).check(), Ok(()));
    }
}
