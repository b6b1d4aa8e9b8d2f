//! Answers that need no transaction: the same request gets the same answer each time.

use std::net::SocketAddr;

use trunkline_sip::{Message, Method, Name, Via};

use crate::{
    Event, Hop,
    context::RETRY_AFTER,
    engine::{Engine, Turn},
    forward::{self, Reply},
    reject::Reject,
};

/// How long a call that is refused for overload is to wait. It is over in a moment: who asks again after
/// five seconds has been away for too long.
pub const OVERLOAD_PAUSE: (&str, &[u8]) = ("Retry-After", b"1");

/// Where the responses to a request go (RFC 3261 §18.2.2, RFC 3581 §4).
#[inline]
pub fn back(from: Hop, via: &Via<'_>) -> Hop {
    let port = match via.rport() {
        Some(_) if !from.transport.is_reliable() => from.remote.port(),
        _ => via.port.unwrap_or_else(|| from.transport.default_port()),
    };
    Hop {
        remote: SocketAddr::new(from.remote.ip(), port),
        ..from
    }
}

/// The To tag of our own finals: the same for every copy of a request.
pub fn to_tag(engine: &Engine, request: &Message<'_>) -> [u8; 16] {
    let branch = request
        .top_via()
        .ok()
        .and_then(|via| via.branch())
        .unwrap_or_default();
    let hash = engine
        .branches
        .hash(&[b"tag", request.call_id().unwrap_or_default(), branch]);
    let mut tag = [0; 16];
    for (at, digit) in tag.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(hash >> (at * 4) & 15) as usize];
    }
    tag
}

/// Whether an ACK acknowledges a final that [`stateless`] gave: its To tag is one that only we
/// could have made of its Call-ID and branch.
pub fn acknowledges_us(engine: &Engine, ack: &Message<'_>, to_tag: &[u8]) -> bool {
    // Most tags can be told from ours without a hash.
    let alike = to_tag.len() == 16
        && to_tag
            .iter()
            .all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
    alike && to_tag == crate::reply::to_tag(engine, ack)
}

/// Answers with one of our own codes. ACK is never answered.
pub fn stateless(
    turn: &mut Turn<'_>,
    request: &Message<'_>,
    from: Hop,
    reject: Reject,
    extra: &[(&str, &[u8])],
) {
    if request.method() == Some(Method::Ack) {
        return turn.tell(Event::Dropped {
            from,
            why: reject.word(),
        });
    }
    turn.tell(Event::Rejected {
        from,
        status: reject.status(),
        why: reject.word(),
    });
    let mut headers: smallvec::SmallVec<[(&str, &[u8]); 4]> = smallvec::SmallVec::from_slice(extra);
    match reject {
        Reject::MethodNotAllowed => headers.push(("Allow", forward::ALLOW.as_bytes())),
        Reject::Draining | Reject::TooBusy => headers.push(("Retry-After", RETRY_AFTER)),
        Reject::Overload => headers.push(OVERLOAD_PAUSE),
        Reject::Malformed(_)
        | Reject::NotAllowed
        | Reject::TooManyHops
        | Reject::Loop
        | Reject::BadExtension
        | Reject::NoSuchTransaction
        | Reject::NotARelay
        | Reject::NoRoute
        | Reject::Unresolvable => {}
    }
    let (status, reason) = (reject.status(), reject.reason());
    if reject == Reject::Overload {
        let branch = request.top_via().ok().and_then(|via| via.branch());
        let tag = turn.engine.refusals.tag(branch.unwrap_or_default());
        turn.engine.refusals.note(turn.now);
        return send_tagged(turn, request, from, &tag, (status, reason), &headers);
    }
    send(turn, request, from, status, reason, &headers);
}

/// Answers OPTIONS that ask about us (RFC 3261 §11.2): 200, or 503 when calls would fail.
pub fn options(turn: &mut Turn<'_>, request: &Message<'_>, from: Hop, usable: bool) {
    if usable {
        let headers: [(&str, &[u8]); 3] = [
            ("Allow", forward::ALLOW.as_bytes()),
            ("Accept", b"application/sdp"),
            ("Supported", b""),
        ];
        send(
            turn,
            request,
            from,
            200,
            forward::reason_phrase(200),
            &headers,
        );
    } else {
        let why = if turn.engine.draining {
            "Shutting Down"
        } else {
            "Nothing Usable Behind"
        };
        turn.tell(Event::Rejected {
            from,
            status: 503,
            why: "options_unusable",
        });
        send(
            turn,
            request,
            from,
            503,
            why,
            &[("Retry-After", RETRY_AFTER)],
        );
    }
}

/// Answers a CANCEL (RFC 3261 §9.2).
pub fn cancel_ok(turn: &mut Turn<'_>, request: &Message<'_>, from: Hop) {
    send(turn, request, from, 200, forward::reason_phrase(200), &[]);
}

fn send(
    turn: &mut Turn<'_>,
    request: &Message<'_>,
    from: Hop,
    code: u16,
    reason: &str,
    extra: &[(&str, &[u8])],
) {
    let tag = to_tag(turn.engine, request);
    send_tagged(turn, request, from, &tag, (code, reason), extra);
}

fn send_tagged(
    turn: &mut Turn<'_>,
    request: &Message<'_>,
    from: Hop,
    to_tag: &[u8],
    (code, reason): (u16, &str),
    extra: &[(&str, &[u8])],
) {
    if request.method() == Some(Method::Ack) {
        return;
    }
    let Ok(via) = request.top_via() else { return };
    turn.send(back(from, &via), |out| {
        forward::reply(
            request,
            &Reply {
                code,
                reason,
                to_tag,
                received: Some(from.remote),
                extra,
            },
            out,
        );
    });
}

/// The option tags that a Proxy-Require lists; we support none.
pub fn proxy_require<'a>(request: &Message<'a>) -> smallvec::SmallVec<[&'a [u8]; 4]> {
    request
        .values(Name::ProxyRequire)
        .map(|value| value.bytes)
        .filter(|tag| !tag.is_empty())
        .collect()
}
