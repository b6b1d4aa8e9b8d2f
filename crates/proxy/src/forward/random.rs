//! Properties of forwarding that hold for whatever comes in.

use proptest::{collection::vec, prelude::*, sample::select};
use trunkline_sip::{Limits, Message, Name, Transport};

use super::{
    Face, MaxForwards, NewUri, RecordRoute, Reply, RequestPlan, Sent, Strict, cancel, reply,
    request, response,
    sample::{parse, plan, via},
};

const VIAS: &[&str] = &[
    "Via: SIP/2.0/UDP a.test;branch=z9hG4bKa\r\n",
    "v:SIP/2.0/TCP [2001:db8::1]:5070 ;rport;branch=z9hG4bKb , SIP/2.0/UDP b\r\n",
    "VIA :\r\n SIP/2.0/TLS c.test\r\n ;received=192.0.2.1;rport=1;x=\"a,b;rport\"\r\n",
];

const ROUTES: &[&str] = &[
    "Route: <sip:p1;lr>\r\n",
    "route:<sip:p2;lr>,<sip:p3>\r\n",
    "Route : \"a, <b>\" <sip:[2001:db8::2]:5060;lr> ,\r\n\t<sip:p4;lr;x=%41>;y=\"<,>\"\r\n",
];

const OTHERS: &[&[u8]] = &[
    b"Max-Forwards: 70\r\n",
    b"Via: \r\n",
    b"Route:\r\n",
    b"max-forwards:\t 1 \r\n",
    b"Record-Route: <sip:r1;lr>\r\n",
    b"record-route: <sip:r2;lr>,\r\n <sip:r3;lr>\r\n",
    b"X-Odd:  \xff\xfe\x00 \r\n",
    b"Subject: one\r\n two\r\n\r\r\n",
    b"s:\r\n",
    b"Contact: <sip:a@10.0.0.1>,<sip:b@[::1]>;q=0.5\r\n",
    b"Date: Sat, 13 Nov 2010 23:29:00 GMT\r\n",
    b"k: 100rel, timer\r\n",
    b"Accept-Language: da, en-gb;q=0.8\r\n",
    b"Identity: abc,def\r\n",
    b"content-length: 3\r\n",
];

/// A request of shuffled headers; not always a sensible one, but always one that parses.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let via = vec(select(VIAS), 1..4);
    let routes = vec(select(ROUTES), 0..4);
    let others = vec(select(OTHERS), 0..8);
    let fixed = [
        "From: \"A\" <sip:a@a.test>;tag=1\r\n",
        "t: <sip:b@b.test>\r\n",
        "i: c@a.test\r\n",
        "CSeq: 1 INVITE\r\n",
    ];
    let lines = (via, routes, others).prop_map(move |(via, routes, others)| {
        let texts = via
            .into_iter()
            .chain(routes)
            .chain(fixed)
            .map(str::as_bytes);
        texts.chain(others).collect::<Vec<_>>()
    });
    lines
        .prop_shuffle()
        .prop_map(|lines| {
            [
                b"INVITE sip:b@b.test SIP/2.0\r\n",
                &*lines.concat(),
                b"\r\nabc",
            ]
            .concat()
        })
        .prop_filter("it parses", |bytes| {
            Message::parse(bytes, &Limits::default()).is_ok()
        })
}

fn stricts() -> impl Strategy<Value = Strict> {
    select(
        &[
            Strict::None,
            Strict::TakeLastRoute,
            Strict::SwapNext,
            Strict::TakeLastThenSwap,
        ][..],
    )
}

/// The headers that forwarding may touch.
fn is_ours(name: Name) -> bool {
    matches!(
        name,
        Name::Via | Name::Route | Name::RecordRoute | Name::MaxForwards | Name::ContentLength
    )
}

/// Headers that are not ours, whole lines, in order.
fn untouched(message: &Message<'_>) -> Vec<Vec<u8>> {
    let lines = message
        .headers()
        .filter(|header| !is_ours(header.name))
        .map(|header| header.line);
    lines
        .map(|at| message.bytes()[at.0 as usize..at.1 as usize].to_vec())
        .collect()
}

fn values(message: &Message<'_>, name: Name) -> Vec<Vec<u8>> {
    message
        .values(name)
        .map(|value| value.bytes.to_vec())
        .collect()
}

/// Bytes changed or put in, half of them such as mean something.
type Damage = Vec<(prop::sample::Index, u8, bool)>;

fn damage() -> impl Strategy<Value = Damage> {
    vec(any::<(prop::sample::Index, u8, bool)>(), 1..6)
}

fn damaged(mut bytes: Vec<u8>, damage: Damage) -> Vec<u8> {
    for (at, byte, insert) in damage {
        let byte = if byte & 1 == 0 {
            b"\r\n\",;:<> \0"[usize::from(byte) % 10]
        } else {
            byte
        };
        let at = at.index(bytes.len());
        if insert {
            bytes.insert(at, byte);
        } else {
            bytes[at] = byte;
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() })]

    #[test]
    fn forwarding_changes_what_is_ours_and_nothing_else(
        bytes in requests(),
        strict in stricts(),
        drop_routes in 0..3usize,
        records in 0..3usize,
        stream in any::<bool>(),
        rewritten in any::<bool>(),
    ) {
        let face = Face::new(Transport::Tcp, "us:5060");
        let record = RecordRoute { face: &face, token: Some(b"T") };
        let came = parse(&bytes);
        let plan = RequestPlan {
            request_uri: if rewritten { NewUri::Is(b"sip:b@edge.test") } else { NewUri::Kept },
            strict,
            drop_routes,
            received: Some("192.0.2.7:5070".parse().unwrap()),
            record_route: &[record, record][..records],
            max_forwards: match came.max_forwards() {
                Ok(Some(hops)) => MaxForwards::Set(hops.saturating_sub(1)),
                Ok(None) | Err(_) => MaxForwards::Insert70,
            },
            content_length: stream,
            ..plan()
        };
        let mut out = b"before".to_vec();
        if request(&came, &plan, &mut out).is_err() {
            // Only a strict router's demand on an empty Route set cannot be met.
            prop_assert!(strict != Strict::None && came.routes().next().is_none());
            prop_assert_eq!(out, b"before");
            return Ok(());
        }
        let sent = out.strip_prefix(b"before".as_slice()).unwrap();
        let leaves = parse(sent);
        prop_assert_eq!(untouched(&leaves), untouched(&came));
        prop_assert_eq!(leaves.body(), came.body());

        // Via grows by one; below the top two, nothing changed.
        let (vias, before) = (values(&leaves, Name::Via), values(&came, Name::Via));
        prop_assert_eq!(vias.len(), before.len() + 1);
        prop_assert_eq!(leaves.top_via().unwrap().branch(), Some(via().branch));
        prop_assert_eq!(&vias[2..], &before[1..]);
        let noted = leaves.vias().nth(1).unwrap().unwrap();
        prop_assert_eq!(noted.received(), Some("192.0.2.7".parse().unwrap()));
        let asked = came.top_via().unwrap().rport().is_some();
        prop_assert_eq!(noted.rport(), asked.then_some(Some(5070)));
        prop_assert_eq!(noted.branch(), came.top_via().unwrap().branch());

        // Max-Forwards falls by one, or is there now.
        let hops = came.max_forwards().unwrap().map_or(70, |hops| hops - 1);
        prop_assert_eq!(leaves.max_forwards().unwrap(), Some(hops));

        // Our Record-Route values stand on top of the others.
        let (records_out, records_in) =
            (values(&leaves, Name::RecordRoute), values(&came, Name::RecordRoute));
        prop_assert_eq!(&records_out[records..], &records_in[..]);

        // Route: by the book, said another way than the code does it (RFC 3261 §16.4, §16.6.6).
        let mut set: Vec<Vec<u8>> =
            came.routes().map(|route| route.unwrap().uri.to_vec()).collect();
        let mut target = came.request_uri().unwrap().to_vec();
        if matches!(strict, Strict::TakeLastRoute | Strict::TakeLastThenSwap) {
            target = set.pop().unwrap();
        }
        if rewritten {
            target = b"sip:b@edge.test".to_vec();
        }
        set.drain(..drop_routes.min(set.len()));
        if matches!(strict, Strict::SwapNext | Strict::TakeLastThenSwap) && !set.is_empty() {
            set.push(target);
            target = set.remove(0);
        }
        let routes: Vec<Vec<u8>> =
            leaves.routes().map(|route| route.unwrap().uri.to_vec()).collect();
        prop_assert_eq!(routes, set);
        prop_assert_eq!(leaves.request_uri().unwrap(), target);

        if stream {
            prop_assert_eq!(leaves.first(Name::ContentLength).unwrap().value, b"3");
        }

        // The CANCEL of the attempt goes the same way.
        let mut cancelled = Vec::new();
        let as_sent = Sent {
            request_uri: match plan.request_uri { NewUri::Is(uri) => uri, _ => b"sip:b@b.test" },
            drop_routes,
            strict,
            via: via(),
        };
        prop_assert!(cancel(&came, &as_sent, None, &mut cancelled));
        let cancelled = parse(&cancelled);
        prop_assert_eq!(cancelled.request_uri(), leaves.request_uri());
        prop_assert_eq!(values(&cancelled, Name::Route), values(&leaves, Name::Route));
    }

    #[test]
    fn a_response_goes_back_as_it_came_but_for_our_via(bytes in requests(), stream in any::<bool>()) {
        let start = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let bytes = [b"SIP/2.0 180 Ringing\r\n", &bytes[start..]].concat();
        let came = parse(&bytes);
        let mut out = Vec::new();
        response(&came, stream, &mut out).unwrap();
        let leaves = parse(&out);
        prop_assert_eq!(untouched(&leaves), untouched(&came));
        prop_assert_eq!(leaves.body(), came.body());
        prop_assert_eq!(&values(&leaves, Name::Via)[..], &values(&came, Name::Via)[1..]);
        for name in [Name::Route, Name::RecordRoute, Name::MaxForwards] {
            prop_assert_eq!(values(&leaves, name), values(&came, name));
        }
        if stream {
            prop_assert_eq!(leaves.first(Name::ContentLength).unwrap().value, b"3");
        }
    }

    #[test]
    fn damaged_requests_that_still_parse_are_forwarded_as_requests_that_parse(
        bytes in requests(),
        damage in damage(),
        strict in stricts(),
        drop_routes in 0..3usize,
    ) {
        let bytes = damaged(bytes, damage);
        let Ok(came) = Message::parse(&bytes, &Limits::default()) else { return Ok(()) };
        let received = Some("192.0.2.7:5070".parse().unwrap());
        let plan = RequestPlan { strict, drop_routes, received, content_length: true, ..plan() };
        let mut out = Vec::new();
        if request(&came, &plan, &mut out).is_err() {
            prop_assert!(out.is_empty());
            return Ok(());
        }
        let leaves = Message::parse(&out, &Limits::default());
        prop_assert!(leaves.is_ok(), "{:?}: {}", leaves, out.escape_ascii());
        let leaves = leaves.unwrap();
        prop_assert_eq!(untouched(&leaves), untouched(&came));
        prop_assert_eq!(leaves.vias().count(), came.vias().count() + 1, "{}", bytes.escape_ascii());
        let sent = Sent {
            request_uri: came.request_uri().unwrap_or_default(),
            drop_routes,
            strict,
            via: via(),
        };
        let mut cancelled = Vec::new();
        if cancel(&came, &sent, None, &mut cancelled) {
            let cancelled = parse(&cancelled);
            prop_assert_eq!(cancelled.vias().count(), 1);
            prop_assert_eq!(values(&cancelled, Name::Route), values(&leaves, Name::Route));
        }
    }

    #[test]
    fn damaged_requests_are_answered_with_something_that_can_be_read(
        bytes in requests(),
        damage in damage(),
    ) {
        let bytes = damaged(bytes, damage);
        let Some(saved) = Message::salvage(&bytes, &Limits::default()) else { return Ok(()) };
        let received = Some("[2001:db8::7]:5070".parse().unwrap());
        let with = Reply { code: 400, reason: "Bad Request", to_tag: b"t", received, extra: &[] };
        let mut out = Vec::new();
        if reply(&saved, &with, &mut out) {
            let answer = Message::parse(&out, &Limits::default());
            prop_assert!(answer.is_ok(), "{:?}: {}", answer, out.escape_ascii());
            prop_assert_eq!(answer.unwrap().code(), Some(400));
        } else {
            prop_assert!(out.is_empty());
        }
    }
}
