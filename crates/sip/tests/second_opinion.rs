//! What `rsip`, a SIP library by others, says of the same bytes. It refuses much that is valid, so
//! it is asked only about what it accepts: there both must see the same message.

mod support;

use rsip::SipMessage;
use rsip::headers::{ToTypedHeader, UntypedHeader};
use rsip::message::{HasHeaders, HeadersExt};
use support::{Dice, corpus};
use trunkline_sip::{Limits, Message, Name, NameAddr, Transport, Uri};

/// A message as an ordinary peer writes it.
fn ordinary(dice: &mut Dice) -> String {
    let method = dice.pick(&[
        "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "UPDATE", "INFO", "MESSAGE",
    ]);
    let start = match dice.below(3) {
        0 => format!(
            "SIP/2.0 {}\r\n",
            dice.pick(&[
                "100 Trying",
                "180 Ringing",
                "200 OK",
                "404 Not Found",
                "603 Decline"
            ])
        ),
        _ => format!("{method} {} SIP/2.0\r\n", uri(dice)),
    };
    let mut text = start;
    for hop in 0..1 + dice.below(3) {
        let port = dice.pick(&["", ":5060", ":65535"]);
        let transport = dice.pick(&["UDP", "TCP", "TLS"]);
        let tail = dice.pick(&["", ";rport", ";received=192.0.2.7;rport=5061", ";ttl=1"]);
        text += &format!(
            "Via: SIP/2.0/{transport} {}{port};branch=z9hG4bK{hop}.x{tail}\r\n",
            host(dice)
        );
    }
    text += &format!("From: {};tag={}\r\n", address(dice), dice.below(10_000));
    text += &format!("To: {}{}\r\n", address(dice), dice.pick(&["", ";tag=to-1"]));
    text += &format!(
        "Call-ID: {}@{}\r\nCSeq: {} {method}\r\n",
        dice.below(99_999),
        host(dice),
        dice.below(1 << 30)
    );
    text += dice.pick(&["", "Max-Forwards: 70\r\n", "Max-Forwards: 0\r\n"]);
    text += &format!(
        "{}: {}\r\n",
        dice.pick(&["Contact", "Route", "Record-Route"]),
        address(dice)
    );
    text += dice.pick(&[
        "",
        "Subject: a, \"b\"; c\r\n",
        "X-Account: id=7;x\r\n",
        "Supported: 100rel, timer\r\n",
    ]);
    let body = dice.pick(&["", "v=0\r\n", "two\r\n\r\nparts"]);
    text + &format!("Content-Length: {}\r\n\r\n{body}", body.len())
}

fn host(dice: &mut Dice) -> &'static str {
    dice.pick(&[
        "example.com",
        "a.b.example.net",
        "192.0.2.1",
        "pbx",
        "10.255.0.254",
    ])
}

fn uri(dice: &mut Dice) -> String {
    let scheme = dice.pick(&["sip", "sips"]);
    let user = dice.pick(&["", "bob@", "+15551234567@", "a.b_c:secret@", "%41lice@"]);
    let tail = dice.pick(&[
        "",
        ":5060",
        ":5080;transport=tcp",
        ";lr",
        ";transport=udp;user=phone",
        ";x=1;lr",
    ]);
    format!("{scheme}:{user}{}{tail}", host(dice))
}

fn address(dice: &mut Dice) -> String {
    let display = dice.pick(&["", "Alice ", "\"Bob Example\" ", "\"sip:x@y\" "]);
    format!("{display}<{}>", uri(dice))
}

#[test]
fn both_see_the_same_ordinary_message() {
    let mut accepted = 0;
    for seed in 0..3_000 {
        let text = ordinary(&mut Dice::new(seed));
        let ours = Message::parse(text.as_bytes(), &Limits::default())
            .unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(ours.check(), Ok(()), "{text}");
        let Ok(theirs) = SipMessage::try_from(text.as_bytes()) else {
            continue;
        };
        accepted += 1;
        same_message(&ours, &theirs, &text);
    }
    assert!(
        accepted > 2_500,
        "a second opinion that says nothing is none: {accepted}"
    );
}

#[test]
fn both_see_the_same_odd_message() {
    let mut accepted = 0;
    for bytes in corpus() {
        let text = bytes.escape_ascii().to_string();
        // Folds, bytes after the body and bytes that are no UTF-8 are beyond it.
        let beyond = std::str::from_utf8(&bytes).map_or(true, |text| {
            text.contains("\r\n ") || text.contains("\r\n\t")
        });
        let Ok(theirs) = SipMessage::try_from(&bytes[..]) else {
            continue;
        };
        let Ok(ours) = Message::parse(&bytes, &Limits::default()) else {
            continue;
        };
        if beyond {
            continue;
        }
        accepted += 1;
        same_headers(&ours, &theirs, &text);
    }
    assert!(
        accepted > 10,
        "a second opinion that says nothing is none: {accepted}"
    );
}

fn same_message(ours: &Message<'_>, theirs: &SipMessage, text: &str) {
    match theirs {
        SipMessage::Request(request) => {
            let method = request.method.to_string();
            assert_eq!(
                ours.method().map(|method| method.as_bytes()),
                Some(method.as_bytes()),
                "{text}"
            );
            same_uri(ours.request_uri().unwrap(), &request.uri);
        }
        SipMessage::Response(response) => {
            assert_eq!(ours.code(), Some(response.status_code.code()), "{text}");
        }
    }
    assert_eq!(ours.body(), theirs.body(), "{text}");
    same_headers(ours, theirs, text);

    let cseq = theirs.cseq_header().unwrap().typed().unwrap();
    assert_eq!(ours.cseq().unwrap().number, cseq.seq, "{text}");
    assert_eq!(
        ours.cseq().unwrap().method.as_bytes(),
        cseq.method.to_string().as_bytes(),
        "{text}"
    );
    assert_eq!(
        ours.call_id().unwrap(),
        theirs.call_id_header().unwrap().value().as_bytes(),
        "{text}"
    );

    // It cannot read a display name with a URI in it; then it has no opinion on the address.
    if let Ok(from) = theirs.from_header().unwrap().typed() {
        let tag = from.tag().map(|tag| tag.value());
        same_address(
            &ours.from().unwrap(),
            from.display_name.as_deref(),
            &from.uri,
            tag,
        );
    }
    if let Ok(to) = theirs.to_header().unwrap().typed() {
        let tag = to.tag().map(|tag| tag.value());
        same_address(
            &ours.to().unwrap(),
            to.display_name.as_deref(),
            &to.uri,
            tag,
        );
    }

    let (our_via, via) = (
        ours.top_via().unwrap(),
        theirs.via_header().unwrap().typed().unwrap(),
    );
    assert_eq!(
        our_via.transport,
        via.transport.to_string().as_bytes(),
        "{text}"
    );
    assert_eq!(
        our_via.host_raw(),
        via.uri.host_with_port.host.to_string().as_bytes(),
        "{text}"
    );
    assert_eq!(
        our_via.port,
        via.uri.port().map(|port| *port.value()),
        "{text}"
    );
    assert_eq!(
        our_via.branch(),
        via.branch().map(|branch| branch.value().as_bytes()),
        "{text}"
    );
    assert_eq!(our_via.received(), via.received().unwrap(), "{text}");

    if let Ok(hops) = theirs.max_forwards_header() {
        assert_eq!(
            ours.max_forwards().unwrap().map(u32::from),
            hops.num().ok(),
            "{text}"
        );
    }
}

/// Every header line: its name and its value.
fn same_headers(ours: &Message<'_>, theirs: &SipMessage, text: &str) {
    let our_lines: Vec<_> = ours
        .headers()
        .map(|header| {
            let name = match header.name {
                Name::Other => String::from_utf8_lossy(header.raw_name).to_ascii_lowercase(),
                known => known.canonical().to_ascii_lowercase(),
            };
            (name, String::from_utf8_lossy(header.value).into_owned())
        })
        .collect();
    let their_lines: Vec<_> = theirs
        .headers()
        .iter()
        .map(|header| {
            let line = header.to_string();
            let (name, value) = line.split_once(':').unwrap();
            let name = match Name::parse(name.as_bytes()) {
                Name::Other => name.to_ascii_lowercase(),
                known => known.canonical().to_ascii_lowercase(),
            };
            (name, value.trim().to_owned())
        })
        .collect();
    assert_eq!(our_lines, their_lines, "{text}");
}

fn same_address(ours: &NameAddr<'_>, display: Option<&str>, uri: &rsip::Uri, tag: Option<&str>) {
    let our_display = String::from_utf8_lossy(ours.display);
    assert_eq!(
        our_display.trim_matches('"'),
        display.unwrap_or_default().trim().trim_matches('"')
    );
    same_uri(ours.uri, uri);
    assert_eq!(ours.tag(), tag.map(str::as_bytes));
}

fn same_uri(ours: &[u8], theirs: &rsip::Uri) {
    let uri = Uri::parse(ours).unwrap();
    let text = ours.escape_ascii();
    assert_eq!(Some(uri.is_sips()), theirs.is_sips().ok(), "{text}");
    let user = theirs.auth.as_ref().map(ToString::to_string);
    assert_eq!(
        uri.user,
        user.as_ref().map(|user| user.as_bytes()),
        "{text}"
    );
    assert_eq!(
        uri.host_raw,
        theirs.host_with_port.host.to_string().as_bytes(),
        "{text}"
    );
    assert_eq!(uri.port, theirs.port().map(|port| *port.value()), "{text}");
    let transport = theirs
        .transport()
        .and_then(|transport| Transport::parse(transport.to_string().as_bytes()));
    assert_eq!(uri.transport(), transport, "{text}");
    assert_eq!(
        uri.has_lr(),
        theirs.params.contains(&rsip::Param::Lr),
        "{text}"
    );
    assert_eq!(uri.params.iter().count(), theirs.params.len(), "{text}");
}
