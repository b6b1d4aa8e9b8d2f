//! Forwarded requests, byte for byte.

use trunkline_sip::Transport;

use super::*;
use crate::forward::sample::{VIA_LINE, lines, parse, plan, written};

fn forwarded(message: &[u8], plan: &RequestPlan<'_>) -> String {
    written(|out| request(&parse(message), plan, out).expect("it can be forwarded"))
}

/// Forwards `head` + `tail` and expects `expected` with the same tail.
fn check(what: &str, plan: &RequestPlan<'_>, head: &str, expected: &str) {
    let tail = "From: <sip:a@a.test>;tag=1\r\nTo: <sip:b@b.test>\r\nCall-ID: c\r\n\
                CSeq: 1 INVITE\r\nContent-Length: 3\r\n\r\nabc";
    let got = forwarded(format!("{head}{tail}").as_bytes(), plan);
    assert_eq!(got, lines(format!("{expected}{tail}").as_bytes()), "{what}");
}

/// Nearly everything that may stand in a request and is none of our business.
const ODD: &[u8] = b"INVITE sip:b@b.test;x=%41 SIP/2.0\r\n\
    v :  SIP/2.0/UDP  192.0.2.7:5070 ;branch=z9hG4bKa , SIP/2.0/TCP [2001:db8::1]:5060\r\n\
    \t;branch=z9hG4bKb\r\n\
    X-~Caf!e:  \xff\xfe\x01 \r\n\
    f:\"A, \\\"B\\\" <c>\" <sip:a@a.test>;tag=1\r\n\
    t :<sip:b@b.test>\r\n\
    VIA: SIP/2.0/UDP old.test;branch=z9hG4bKc\r\n\
    SUBJECT: one,\r\n two,\r\n\tthree\r\n\
    i: c\r\n\
    CSEQ:   1    INVITE  \r\n\
    x-empty:\r\n\
    Max-Forwards: 70\r\n\
    k: a,b , c\r\n\
    l: 5\r\n\
    \r\n\
    \x00\xff\r\n\n";

#[test]
fn what_is_not_changed_stays_byte_for_byte() {
    let got = forwarded(ODD, &plan());
    let start = b"INVITE sip:b@b.test;x=%41 SIP/2.0\r\n".len();
    let expected = [&ODD[..start], VIA_LINE.as_bytes(), &ODD[start..]].concat();
    assert_eq!(got, lines(&expected));
}

#[test]
fn a_response_takes_away_exactly_what_the_request_added() {
    let there = {
        let mut out = Vec::new();
        request(&parse(ODD), &plan(), &mut out).expect("it can be forwarded");
        out
    };
    let start = there
        .iter()
        .position(|byte| *byte == b'\n')
        .expect("a start line")
        + 1;
    let back = [b"SIP/2.0 200 OK\r\n", &there[start..]].concat();
    let original = ODD
        .iter()
        .position(|byte| *byte == b'\n')
        .expect("a start line")
        + 1;
    let got = written(|out| crate::forward::response(&parse(&back), false, out).expect("Via"));
    assert_eq!(
        got,
        lines(&[b"SIP/2.0 200 OK\r\n", &ODD[original..]].concat())
    );
}

#[test]
fn only_what_the_plan_says_changes() {
    let uri = RequestPlan {
        request_uri: NewUri::Is(b"sip:b@edge.test"),
        ..plan()
    };
    let [udp, tcp, tls] = [
        (Transport::Udp, "198.51.100.1:5060"),
        (Transport::Tcp, "[2001:db8::9]:5060"),
        (Transport::Tls, "198.51.100.1:5060"),
    ]
    .map(|(transport, authority)| Face::new(transport, authority));
    let token = Some(&b"TOKEN"[..]);
    let with_tls = ViaPlan {
        face: &tls,
        alias: true,
        ..plan().via
    };
    let udp = RecordRoute { face: &udp, token };
    let tcp = RecordRoute { face: &tcp, token };
    let bare = RecordRoute { token: None, ..udp };
    let one = RequestPlan {
        record_route: &[bare],
        ..plan()
    };
    let two = RequestPlan {
        record_route: &[tcp, udp],
        ..plan()
    };
    let hops = RequestPlan {
        max_forwards: MaxForwards::Set(9),
        ..plan()
    };
    let seventy = RequestPlan {
        max_forwards: MaxForwards::Insert70,
        ..plan()
    };
    let appended = RequestPlan {
        append: &[("X-A", b"1"), ("X-B", b"\xff")],
        ..plan()
    };
    let alias = RequestPlan {
        via: with_tls,
        ..plan()
    };
    let all = RequestPlan {
        record_route: &[bare],
        max_forwards: MaxForwards::Insert70,
        ..uri
    };
    let invite = "INVITE sip:b@b.test SIP/2.0\r\n";
    let via = "Via: SIP/2.0/UDP a;branch=z9hG4bKa\r\n";
    let ours = VIA_LINE;
    let rr = "Record-Route: <sip:198.51.100.1:5060;lr>\r\n";
    let rr2 = "Record-Route: <sip:[2001:db8::9]:5060;transport=tcp;lr;r2;tl=TOKEN>\r\n\
               Record-Route: <sip:198.51.100.1:5060;lr;r2;tl=TOKEN>\r\n";
    let tls = "Via: SIP/2.0/TLS 198.51.100.1:5060;branch=z9hG4bKours;alias\r\n";
    let theirs = "record-route: <sip:p1.test;lr>,\r\n <sip:p0.test;lr>\r\n";
    let table: &[(&str, &RequestPlan<'_>, String, String)] = &[
        (
            "RFC 3261 §16.6 step 2: the Request-URI",
            &uri,
            format!("{invite}{via}"),
            format!("INVITE sip:b@edge.test SIP/2.0\r\n{ours}{via}"),
        ),
        (
            "step 4: Record-Route below the Vias where there is none",
            &one,
            format!("{invite}{via}v: SIP/2.0/UDP b\r\nX: y\r\n"),
            format!("{invite}{ours}{via}v: SIP/2.0/UDP b\r\n{rr}X: y\r\n"),
        ),
        (
            "step 4: Record-Route before the others, wherever they stand",
            &one,
            format!("{invite}{via}X: y\r\n{theirs}{theirs}"),
            format!("{invite}{ours}{via}X: y\r\n{rr}{theirs}{theirs}"),
        ),
        (
            "step 4: even above the Vias",
            &one,
            format!("{invite}{theirs}{via}"),
            format!("{invite}{rr}{theirs}{ours}{via}"),
        ),
        (
            "both sides when they differ",
            &two,
            format!("{invite}{via}{theirs}"),
            format!("{invite}{ours}{via}{rr2}{theirs}"),
        ),
        (
            "step 3: Max-Forwards in its place",
            &hops,
            format!("{invite}max-forwards:\t10 \r\n{via}"),
            format!("{invite}max-forwards:\t9 \r\n{ours}{via}"),
        ),
        (
            "step 3: Max-Forwards where there is none",
            &seventy,
            format!("{invite}{via}"),
            format!("{invite}{ours}{via}Max-Forwards: 70\r\n"),
        ),
        (
            "step 3: one that is there is not doubled",
            &seventy,
            format!("{invite}{via}Max-Forwards: 3\r\n"),
            format!("{invite}{ours}{via}Max-Forwards: 3\r\n"),
        ),
        (
            "RFC 5923: alias",
            &alias,
            format!("{invite}{via}"),
            format!("{invite}{tls}{via}"),
        ),
        (
            "several at once, in the order of the RFC",
            &all,
            format!("{invite}{via}"),
            format!("INVITE sip:b@edge.test SIP/2.0\r\n{ours}{via}{rr}Max-Forwards: 70\r\n"),
        ),
    ];
    for (what, plan, head, expected) in table {
        check(what, plan, head, expected);
    }

    let got = forwarded(
        b"MESSAGE sip:b SIP/2.0\r\nVia: SIP/2.0/UDP a\r\nX: y\r\n\r\nbody",
        &appended,
    );
    let head = format!("MESSAGE sip:b SIP/2.0\r\n{ours}Via: SIP/2.0/UDP a\r\nX: y\r\n");
    let expected = [head.as_bytes(), b"X-A: 1\r\nX-B: \xff\r\n\r\nbody"].concat();
    assert_eq!(got, lines(&expected), "what is appended stands last");
}

#[test]
fn the_source_is_noted_as_rfc_3581_says() {
    let v4 = "192.0.2.7:5070";
    let v6 = "[2001:db8::7]:5070";
    let mapped = "[::ffff:192.0.2.7]:5070";
    // Source, the top Via as it came, the same as it leaves.
    let table: &[(&str, &str, &str)] = &[
        (
            v4,
            "SIP/2.0/UDP 192.0.2.7:5060;branch=b",
            "SIP/2.0/UDP 192.0.2.7:5060;branch=b",
        ),
        (
            mapped,
            "SIP/2.0/UDP 192.0.2.7;branch=b",
            "SIP/2.0/UDP 192.0.2.7;branch=b",
        ),
        (
            v4,
            "SIP/2.0/UDP 10.0.0.1;branch=b",
            "SIP/2.0/UDP 10.0.0.1;branch=b;received=192.0.2.7",
        ),
        (
            v4,
            "SIP/2.0/UDP pbx.test ;branch=b",
            "SIP/2.0/UDP pbx.test ;branch=b;received=192.0.2.7",
        ),
        (
            v4,
            "SIP/2.0/UDP 192.0.2.7;rport;branch=b",
            "SIP/2.0/UDP 192.0.2.7;rport=5070;branch=b;received=192.0.2.7",
        ),
        (
            mapped,
            "SIP/2.0/UDP pbx.test;RPort=;branch=b",
            "SIP/2.0/UDP pbx.test;RPort=5070;branch=b;received=192.0.2.7",
        ),
        (
            v4,
            "SIP/2.0/UDP pbx.test;rport=9 ;branch=b",
            "SIP/2.0/UDP pbx.test;rport=5070 ;branch=b;received=192.0.2.7",
        ),
        (
            v4,
            "SIP/2.0/UDP pbx.test;received=203.0.113.1;branch=b;rport",
            "SIP/2.0/UDP pbx.test;received=192.0.2.7;branch=b;rport=5070",
        ),
        (
            v4,
            "SIP/2.0/UDP 192.0.2.7;received=203.0.113.1",
            "SIP/2.0/UDP 192.0.2.7;received=192.0.2.7",
        ),
        (
            v4,
            "SIP/2.0/UDP a;received=1\"2;rport=\"5,6\"",
            "SIP/2.0/UDP a;received=1\"2;rport=\"5,6\"",
        ),
        (
            v6,
            "SIP/2.0/UDP [2001:DB8:0::7]:5060;branch=b",
            "SIP/2.0/UDP [2001:DB8:0::7]:5060;branch=b",
        ),
        (
            v6,
            "SIP/2.0/UDP [2001:db8::1];branch=b;rport",
            "SIP/2.0/UDP [2001:db8::1];branch=b;rport=5070;received=2001:db8::7",
        ),
        (
            v4,
            "SIP/2.0/UDP a\r\n ;rport\r\n ;branch=b, SIP/2.0/UDP z;rport",
            "SIP/2.0/UDP a\r\n ;rport=5070\r\n ;branch=b;received=192.0.2.7, SIP/2.0/UDP z;rport",
        ),
    ];
    for (source, came, leaves) in table {
        let plan = RequestPlan {
            received: Some(source.parse().expect("an address")),
            ..plan()
        };
        let below = "v: SIP/2.0/UDP x;rport\r\n";
        check(
            came,
            &plan,
            &format!("INVITE sip:b SIP/2.0\r\nVia: {came} \r\n{below}"),
            &format!("INVITE sip:b SIP/2.0\r\n{VIA_LINE}Via: {leaves} \r\n{below}"),
        );
    }
}

#[test]
fn our_own_routes_leave_and_the_others_stay() {
    let invite = "INVITE sip:b@b.test SIP/2.0\r\n";
    let via = "Via: SIP/2.0/UDP a;branch=z9hG4bKa\r\n";
    // How many leave, the Route headers as they came, the same as they leave.
    let table: &[(usize, &str, &str)] = &[
        (
            0,
            "Route: <sip:us;lr>,<sip:p;lr>\r\n",
            "Route: <sip:us;lr>,<sip:p;lr>\r\n",
        ),
        (1, "Route: <sip:us;lr>\r\nX: y\r\n", "X: y\r\n"),
        (
            1,
            "route :  <sip:us;lr>, <sip:p;lr> \r\n",
            "route :  <sip:p;lr> \r\n",
        ),
        (
            2,
            "Route: <sip:us;lr>,<sip:us;lr>,\r\n <sip:p;lr>\r\n",
            "Route: <sip:p;lr>\r\n",
        ),
        (2, "Route: <sip:us;lr>,<sip:us;lr>\r\n", ""),
        (
            2,
            "Route: <sip:us;lr>\r\nX: y\r\nRoute: <sip:us;r2;lr>,<sip:p;lr>,<sip:q;lr>\r\n",
            "X: y\r\nRoute: <sip:p;lr>,<sip:q;lr>\r\n",
        ),
        (
            1,
            "Route: \"us, <us>\" <sip:us;lr>;a=\",\" , <sip:p;lr>\r\nRoute: <sip:q;lr>\r\n",
            "Route: <sip:p;lr>\r\nRoute: <sip:q;lr>\r\n",
        ),
        (
            1,
            "Route:\r\n <sip:us;lr>\r\n ,\r\n <sip:p;lr>\r\n",
            "Route:\r\n <sip:p;lr>\r\n",
        ),
        (5, "Route: <sip:us;lr>,<sip:us;lr>\r\n", ""),
    ];
    for (drop_routes, came, leaves) in table {
        check(
            came,
            &RequestPlan {
                drop_routes: *drop_routes,
                ..plan()
            },
            &format!("{invite}{via}{came}"),
            &format!("{invite}{VIA_LINE}{via}{leaves}"),
        );
    }
}

/// A Request-URI and the Route headers.
type Lines<'t> = (&'t str, &'t str);

#[test]
fn strict_routers_get_what_they_expect() {
    let via = "Via: SIP/2.0/UDP a;branch=z9hG4bKa\r\n";
    // What, routes that leave, Request-URI and Route as they came, the same as they leave.
    let table: &[(Strict, usize, Option<&str>, Lines<'_>, Lines<'_>)] = &[
        // RFC 3261 §16.4: the element before us is a strict router.
        (
            Strict::TakeLastRoute,
            0,
            None,
            ("sip:us;lr", "Route: <sip:p;lr>,<sip:b@b.test>\r\n"),
            ("sip:b@b.test", "Route: <sip:p;lr>\r\n"),
        ),
        (
            Strict::TakeLastRoute,
            0,
            None,
            (
                "sip:us;lr",
                "Route: <sip:p;lr>\r\nRoute: <sip:b@b.test;x>\r\n",
            ),
            ("sip:b@b.test;x", "Route: <sip:p;lr>\r\n"),
        ),
        (
            Strict::TakeLastRoute,
            0,
            None,
            ("sip:us;lr", "Route: <sip:b@b.test>\r\n"),
            ("sip:b@b.test", ""),
        ),
        (
            Strict::TakeLastRoute,
            1,
            None,
            (
                "sip:us;lr",
                "Route: <sip:us;lr;r2>, <sip:p;lr>, <sip:b@b.test>\r\n",
            ),
            ("sip:b@b.test", "Route: <sip:p;lr>\r\n"),
        ),
        (
            Strict::TakeLastRoute,
            0,
            Some("sip:b@peer.test"),
            ("sip:us;lr", "Route: <sip:b@b.test>\r\n"),
            ("sip:b@peer.test", ""),
        ),
        // RFC 3261 §16.6 step 6: the element behind us is one.
        (
            Strict::SwapNext,
            1,
            None,
            (
                "sip:b@b.test",
                "Route: <sip:us;lr>,<sip:old>,<sip:p;lr>\r\n",
            ),
            ("sip:old", "Route: <sip:p;lr>\r\nRoute: <sip:b@b.test>\r\n"),
        ),
        (
            Strict::SwapNext,
            1,
            None,
            ("sip:b@b.test", "Route: <sip:us;lr>,<sip:old>\r\n"),
            ("sip:old", "Route: <sip:b@b.test>\r\n"),
        ),
        (
            Strict::SwapNext,
            0,
            Some("sip:b@edge.test"),
            ("sip:b@b.test", "Route: <sip:old>\r\nRoute: <sip:p;lr>\r\n"),
            (
                "sip:old",
                "Route: <sip:p;lr>\r\nRoute: <sip:b@edge.test>\r\n",
            ),
        ),
        (
            Strict::SwapNext,
            1,
            None,
            ("sip:b@b.test", "Route: <sip:us;lr>\r\n"),
            ("sip:b@b.test", ""),
        ),
        // Both, as in the second example of RFC 3261 §16.12.1.2 seen from the middle.
        (
            Strict::TakeLastThenSwap,
            0,
            None,
            (
                "sip:us;lr",
                "Route: <sip:old>,<sip:p;lr>,<sip:b@b.test>\r\n",
            ),
            ("sip:old", "Route: <sip:p;lr>\r\nRoute: <sip:b@b.test>\r\n"),
        ),
        (
            Strict::TakeLastThenSwap,
            0,
            None,
            ("sip:us;lr", "Route: <sip:b@b.test>\r\n"),
            ("sip:b@b.test", ""),
        ),
    ];
    for (strict, drop_routes, rewritten, came, leaves) in table {
        let plan = RequestPlan {
            strict: *strict,
            drop_routes: *drop_routes,
            request_uri: rewritten.map_or(NewUri::Kept, |uri: &str| NewUri::Is(uri.as_bytes())),
            ..plan()
        };
        check(
            &format!("{strict:?} {came:?}"),
            &plan,
            &format!("INVITE {} SIP/2.0\r\n{via}{}", came.0, came.1),
            &format!("INVITE {} SIP/2.0\r\n{VIA_LINE}{via}{}", leaves.0, leaves.1),
        );
    }
}

#[test]
fn a_request_uri_for_an_address_is_the_same_whichever_way_it_is_written() {
    let address = RequestAddress {
        written: "sip:edge.test".into(),
        scheme: "sip".into(),
        user: None,
        host: "edge.test".into(),
        authority: "edge.test:5080".into(),
        params: ";transport=tcp".into(),
    };
    let made = b"sip:b@edge.test:5080;x=y;transport=tcp";
    let bytes = b"INVITE sip:b@us.test;x=y;lr?h=v SIP/2.0\r\n\
        Via: SIP/2.0/UDP a;branch=z9hG4bKa\r\nFrom: <sip:a@a.test>;tag=1\r\n\
        To: <sip:b@us.test>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\
        Route: <sip:one.test;lr>\r\nRoute: <sip:two.test>\r\n\r\n";
    let came = parse(bytes);
    let mut settled = came.clone();
    settled.settle().expect("nothing is wrong with it");
    for strict in [
        Strict::None,
        Strict::TakeLastRoute,
        Strict::SwapNext,
        Strict::TakeLastThenSwap,
    ] {
        let sent = |message: &Message<'_>, request_uri| {
            let plan = RequestPlan {
                strict,
                request_uri,
                ..plan()
            };
            written(|out| request(message, &plan, out).expect("it can be forwarded"))
        };
        let expected = sent(&came, NewUri::Is(made));
        assert_ne!(expected, sent(&came, NewUri::Kept), "{strict:?}");
        for message in [&came, &settled] {
            assert_eq!(sent(message, NewUri::To(&address)), expected, "{strict:?}");
        }
    }
}

#[test]
fn nothing_is_written_for_what_cannot_be_forwarded() {
    let missing = RequestPlan {
        strict: Strict::TakeLastRoute,
        ..plan()
    };
    let via = "Via: SIP/2.0/UDP a;branch=z9hG4bKa\r\n";
    let folded = RequestPlan {
        request_uri: NewUri::Is(b"sip:b\r\n @b.test"),
        ..plan()
    };
    let table: &[(&RequestPlan<'_>, String, Fault)] = &[
        (
            &missing,
            format!("INVITE sip:b SIP/2.0\r\n{via}Route: <sip:x\r\n y:z>\r\n\r\n"),
            Fault::RequestUri,
        ),
        (
            &folded,
            format!("INVITE sip:b SIP/2.0\r\n{via}\r\n"),
            Fault::RequestUri,
        ),
        (
            &plan(),
            format!("SIP/2.0 200 OK\r\n{via}\r\n"),
            Fault::RequestUri,
        ),
        (
            &plan(),
            "INVITE sip:b SIP/2.0\r\nX: y\r\n\r\n".into(),
            Fault::Missing(Name::Via),
        ),
        (
            &missing,
            format!("INVITE sip:b SIP/2.0\r\n{via}\r\n"),
            Fault::Missing(Name::Route),
        ),
        (
            &missing,
            format!("INVITE sip:b SIP/2.0\r\n{via}Route: <sip:x\r\n\r\n"),
            Fault::Bad(Name::Route),
        ),
    ];
    for (plan, text, fault) in table {
        let mut out = b"before".to_vec();
        let error = request(&parse(text.as_bytes()), plan, &mut out).expect_err(text);
        assert_eq!(
            (error.fault, out.as_slice()),
            (*fault, b"before".as_slice()),
            "{text}"
        );
    }
}

#[test]
fn content_length_is_right_on_a_stream() {
    let stream = RequestPlan {
        content_length: true,
        ..plan()
    };
    let head = "MESSAGE sip:b SIP/2.0\r\n";
    let via = "Via: SIP/2.0/UDP a;branch=z9hG4bKa\r\n";
    // RFC 3261 §18.3: a datagram may be longer than its Content-Length, or have none.
    let table: &[(&str, &str)] = &[
        ("\r\nabc", "Content-Length: 3\r\n\r\nabc"),
        ("\r\n", "Content-Length: 0\r\n\r\n"),
        ("X: y\r\n\r\nabc", "X: y\r\nContent-Length: 3\r\n\r\nabc"),
        (
            "Content-Length: 2\r\n\r\nabc",
            "Content-Length: 2\r\n\r\nab",
        ),
        ("l: 3\r\nX: y\r\n\r\nabc", "l: 3\r\nX: y\r\n\r\nabc"),
        ("l :  003 \r\n\r\nabc", "l :  003 \r\n\r\nabc"),
    ];
    for (came, leaves) in table {
        let got = forwarded(format!("{head}{via}{came}").as_bytes(), &stream);
        assert_eq!(
            got,
            lines(format!("{head}{VIA_LINE}{via}{leaves}").as_bytes())
        );
    }
    let datagram = forwarded(format!("{head}{via}\r\nabc").as_bytes(), &plan());
    assert_eq!(
        datagram,
        lines(format!("{head}{VIA_LINE}{via}\r\nabc").as_bytes())
    );
}

#[test]
fn a_content_length_that_is_wrong_is_made_right() {
    let text = b"MESSAGE sip:b SIP/2.0\r\nContent-Length: 3\r\n\r\nabc";
    let message = parse(text);
    let header = message.first(Name::ContentLength).expect("it is there");
    let got = written(|out| {
        let mut splice = Splice::new(&message, out);
        right_length(&mut splice, header.value_at, 17);
        splice.finish();
    });
    assert_eq!(
        got,
        lines(b"MESSAGE sip:b SIP/2.0\r\nContent-Length: 17\r\n\r\nabc")
    );
}
