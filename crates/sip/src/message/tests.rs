//! The view as a whole: what is where, for messages in all their forms.

use super::*;
use crate::scan::{self, Scanned};

mod head;

const INVITE: &str = "INVITE sip:bob@example.com SIP/2.0\r\n\
    Via: SIP/2.0/UDP a.example.com;branch=z9hG4bKa, SIP/2.0/TCP b.example.com;branch=z9hG4bKb\r\n\
    v: SIP/2.0/UDP c.example.com\r\n ;branch=z9hG4bKc\r\n\
    Max-Forwards: 70\r\n\
    f: \"A, \\\"B\\\"\" <sip:a@example.com>;tag=1\r\n\
    To: <sip:bob@example.com>\r\n\
    i: call-1@example.com\r\n\
    CSeq: 7 INVITE\r\n\
    X-Odd:\r\n\
    Content-Length: 4\r\n\
    \r\n\
    bodyjunk";

fn parse(text: &str) -> Message<'_> {
    Message::parse(text.as_bytes(), &Limits::default())
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn each_part_is_found_where_it_is() {
    let message = parse(INVITE);
    assert_eq!(
        message.start(),
        Start::Request {
            method: Method::Invite,
            uri: b"sip:bob@example.com"
        }
    );
    assert_eq!(message.call_id().unwrap(), b"call-1@example.com");
    assert_eq!(
        message.cseq().unwrap(),
        CSeq {
            number: 7,
            method: Method::Invite
        }
    );
    assert_eq!(message.from_tag(), Some(&b"1"[..]));
    assert_eq!(message.to_tag(), None);
    assert_eq!(message.max_forwards().unwrap(), Some(70));
    assert_eq!(message.body(), b"body");
    assert_eq!(message.named("x-odd").unwrap().value, b"");
    assert_eq!(message.named("call-id").unwrap().raw_name, b"i");
    let branches: Vec<_> = message
        .vias()
        .map(|via| via.unwrap().branch().unwrap())
        .collect();
    assert_eq!(branches, [b"z9hG4bKa", b"z9hG4bKb", b"z9hG4bKc"]);
    message.check().unwrap();
}

/// Offsets in `message` must lead to exactly the bytes that the parts have.
fn assert_spans_agree(message: &Message<'_>) {
    for header in message.headers() {
        assert_eq!(message.part(header.value_at), header.value);
        assert!(message.part(header.line).starts_with(header.raw_name));
        assert!(message.part(header.line).ends_with(b"\r\n"));
    }
    for value in message.values(Name::Via) {
        assert_eq!(message.part(value.at), value.bytes);
    }
    if let (Some(at), Some(uri)) = (message.request_uri_at(), message.request_uri()) {
        assert_eq!(message.part(at), uri);
    }
}

#[test]
fn spans_count_from_the_start_line() {
    assert_spans_agree(&parse(INVITE));
    let after_line_ends = format!("\r\n\r\n\r\n{INVITE}");
    let message = parse(&after_line_ends);
    assert_spans_agree(&message);
    assert_eq!(
        message.bytes(),
        INVITE.strip_suffix("junk").unwrap().as_bytes()
    );
}

#[test]
fn a_message_is_small_enough_for_any_stack() {
    assert!(
        size_of::<Message<'_>>() <= 1408,
        "{}",
        size_of::<Message<'_>>()
    );
}

#[test]
fn a_response_is_read() {
    let table: &[(&str, u16, &str)] = &[
        ("SIP/2.0 200 OK", 200, "OK"),
        ("SIP/2.0 100 ", 100, ""),
        ("SIP/2.0 183", 183, ""),
        ("sip/2.0 699 Not  Now", 699, "Not  Now"),
        (
            "SIP/2.0 200 = 2**3 * 5**2 \u{43d}\u{43e} ",
            200,
            "= 2**3 * 5**2 \u{43d}\u{43e} ",
        ),
    ];
    for (line, code, reason) in table {
        let text = format!("{line}\r\nVia: SIP/2.0/UDP a;branch=1\r\n\r\n");
        let message = parse(&text);
        assert_eq!(
            message.start(),
            Start::Response {
                code: *code,
                reason: reason.as_bytes()
            }
        );
        assert_eq!((message.code(), message.method()), (Some(*code), None));
        assert_eq!(
            (message.request_uri(), message.request_uri_at()),
            (None, None)
        );
    }
}

#[test]
fn a_broken_start_line_is_named() {
    let table: &[(&str, Fault)] = &[
        ("", Fault::Empty),
        ("\r\n\r\n", Fault::Empty),
        ("\n\n", Fault::StartLine),
        ("\0\0\0\0", Fault::NoEndOfHeaders),
        ("\0\0\0\0\r\n\r\n", Fault::StartLine),
        ("INVITE\r\n\r\n", Fault::StartLine),
        ("INVITE \r\n\r\n", Fault::StartLine),
        ("INVITE sip:a@b\r\n\r\n", Fault::StartLine),
        ("INVITE sip:a@b SIP/2.0 \r\n\r\n", Fault::StartLine),
        ("GET / HTTP/1.1\r\n\r\n", Fault::StartLine),
        (" INVITE sip:a@b SIP/2.0\r\n\r\n", Fault::Method),
        ("INV(TE sip:a@b SIP/2.0\r\n\r\n", Fault::Method),
        ("INVITE sip:a@b SIP/7.0\r\n\r\n", Fault::Version),
        ("INVITE sip:a@b SIP/2.00\r\n\r\n", Fault::Version),
        ("SIP/3.0 200 OK\r\n\r\n", Fault::Version),
        ("INVITE  SIP/2.0\r\n\r\n", Fault::RequestUri),
        ("INVITE  sip:a@b SIP/2.0\r\n\r\n", Fault::RequestUri),
        ("INVITE sip:a@b  SIP/2.0\r\n\r\n", Fault::RequestUri),
        ("INVITE <sip:a@b> SIP/2.0\r\n\r\n", Fault::RequestUri),
        ("INVITE sip:a b@c SIP/2.0\r\n\r\n", Fault::RequestUri),
        ("INVITE sip:a\tb@c SIP/2.0\r\n\r\n", Fault::RequestUri),
        ("SIP/2.0 99 Low\r\n\r\n", Fault::StatusCode),
        ("SIP/2.0 099 Low\r\n\r\n", Fault::StatusCode),
        ("SIP/2.0 700 High\r\n\r\n", Fault::StatusCode),
        ("SIP/2.0 4294967301 Huge\r\n\r\n", Fault::StatusCode),
        ("SIP/2.0  200 OK\r\n\r\n", Fault::StatusCode),
        ("SIP/2.0 2xx OK\r\n\r\n", Fault::StatusCode),
        ("SIP/2.0\r\n\r\n", Fault::StatusCode),
    ];
    for (text, fault) in table {
        let error = Message::parse(text.as_bytes(), &Limits::default()).expect_err(text);
        assert_eq!(error.fault, *fault, "{text:?}");
    }
}

#[test]
fn a_broken_header_is_named() {
    let table: &[(&str, Fault)] = &[
        ("", Fault::NoEndOfHeaders),
        ("A: b", Fault::NoEndOfHeaders),
        ("A: b\r", Fault::NoEndOfHeaders),
        ("A: b\r\n", Fault::NoEndOfHeaders),
        ("A: b\r\n\r", Fault::NoEndOfHeaders),
        ("A", Fault::NoEndOfHeaders),
        ("A b\r\n\r\n", Fault::HeaderName),
        ("A\r\n\r\n", Fault::HeaderLine),
        (": b\r\n\r\n", Fault::HeaderName),
        (" A: folded under nothing\r\n\r\n", Fault::HeaderName),
        ("A(: b\r\n\r\n", Fault::HeaderName),
        ("A: b\nRoute: <sip:evil>\r\n\r\n", Fault::HeaderLine),
        ("A: b\rRoute: <sip:evil>\r\n\r\n", Fault::HeaderLine),
        ("A: b\n\n", Fault::HeaderLine),
        ("\nA: b\r\n\r\n", Fault::HeaderLine),
        ("Content-Length: \r\n\r\n", Fault::ContentLength),
        ("Content-Length: -1\r\n\r\n", Fault::ContentLength),
        ("Content-Length: 1 2\r\n\r\nabc", Fault::ContentLength),
        ("Content-Length: 3\r\n 4\r\n\r\nabc", Fault::ContentLength),
        (
            "Content-Length: 99999999999999999999\r\n\r\n",
            Fault::ContentLength,
        ),
        ("Content-Length: 1\r\nl: 2\r\n\r\nabc", Fault::ContentLength),
        ("Content-Length: 4\r\n\r\nabc", Fault::BodyTooShort),
    ];
    for (headers, fault) in table {
        let text = format!("OPTIONS sip:a SIP/2.0\r\n{headers}");
        let error = Message::parse(text.as_bytes(), &Limits::default()).expect_err(&text);
        assert_eq!(error.fault, *fault, "{headers:?}");
        assert!(error.at <= text.len(), "{headers:?}");
    }
}

#[test]
fn unusual_headers_are_still_headers() {
    let message = parse(
        "OPTIONS sip:a SIP/2.0\r\n\
         TO :\r\n sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n\r\n\
         Empty:\r\n\
         Folded-Empty:\r\n \r\n\
         !*+`'~%: odd name\r\n\
         Binary: \x00\x7f\u{2122}\r\n\
         l  :  0003\r\nContent-Length: 3\r\n\
         \r\nabc",
    );
    let found: Vec<_> = message
        .headers()
        .map(|header| (header.raw_name, header.value))
        .collect();
    assert_eq!(
        found[0],
        (
            &b"TO"[..],
            &b"sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n"[..]
        )
    );
    assert_eq!(found[1], (&b"Empty"[..], &b""[..]));
    assert_eq!(found[2], (&b"Folded-Empty"[..], &b""[..]));
    assert_eq!(found[3].0, b"!*+`'~%");
    assert_eq!(message.to_tag(), Some(&b"1918181833n"[..]));
    assert_eq!(message.body(), b"abc");
    assert_spans_agree(&message);
}

#[test]
fn limits_are_kept() {
    let limits = Limits {
        message: 200,
        headers: 3,
        line: 40,
    };
    let with = |headers: &str| format!("OPTIONS sip:a SIP/2.0\r\n{headers}\r\n");
    let table = [
        (with("A: 1\r\nB: 2\r\nC: 3\r\n"), None),
        (
            with("A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n"),
            Some(Fault::TooManyHeaders),
        ),
        (with(&format!("A: {}\r\n", "x".repeat(35))), None),
        (
            with(&format!("A: {}\r\n", "x".repeat(36))),
            Some(Fault::LineTooLong),
        ),
        (
            with("A: 1234567890\r\n 1234567890\r\n 1234567890\r\n"),
            Some(Fault::LineTooLong),
        ),
        (
            with(&format!("{}: x\r\n", "N".repeat(256))),
            Some(Fault::TooLarge),
        ),
        (
            format!("OPTIONS sip:{} SIP/2.0\r\n\r\n", "a".repeat(30)),
            Some(Fault::LineTooLong),
        ),
        (with(&"\r\n".repeat(200)), Some(Fault::TooLarge)),
    ];
    for (text, fault) in table {
        let found = Message::parse(text.as_bytes(), &limits)
            .err()
            .map(|error| error.fault);
        assert_eq!(found, fault, "{text}");
    }
    let long_name = with(&format!("{}: x\r\n", "N".repeat(256)));
    let error = Message::parse(long_name.as_bytes(), &Limits::default()).unwrap_err();
    assert_eq!(error.fault, Fault::HeaderName);
    // An index entry cannot describe more, whatever the configuration wishes.
    let endless = Limits {
        message: usize::MAX,
        headers: usize::MAX,
        line: usize::MAX,
    };
    for (len, fault) in [(65_000, None), (70_000, Some(Fault::TooLarge))] {
        let long_line = with(&format!("A: {}\r\n", "x".repeat(len)));
        let read = Message::parse(long_line.as_bytes(), &endless);
        assert_eq!(read.err().map(|error| error.fault), fault, "{len}");
    }
}

/// The headers, or the fault in them, read line by line as if none was usual.
fn one_by_one(bytes: &[u8], limits: &Limits) -> Result<Vec<(Name, Span, Span, Span)>, Malformed> {
    let mut at = bytes.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    let mut headers = Vec::new();
    loop {
        match scan::odd(bytes, at, limits.line_max())? {
            Scanned::Body(_) => return Ok(headers),
            Scanned::Header(_) if headers.len() == limits.headers => {
                return Err(Malformed::new(Fault::TooManyHeaders, at));
            }
            Scanned::Header(line) => {
                let from = |(start, end)| span(at + start, at + end);
                let name = from((0, line.name_end));
                headers.push((line.name, name, from(line.value), from((0, line.end))));
                at += line.end;
            }
        }
    }
}

/// A message in which all is usual, and the same with each byte of its headers changed, or taken
/// out, or another put before it, or nothing behind it.
fn usual_and_damaged() -> Vec<Vec<u8>> {
    let text = "OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKa5f;rport\r\n\
        v: SIP/2.0/UDP 10.0.0.1;Received=::1\r\nX-Rather-Long-Name: and a value of sixty-four bytes\r\n\
        From: \"A B\" <sip:a@b;x>;tag=1;y\r\nTo: <sip:a@b>\r\nSubject: of a\r\n fold\r\n\
        Call-ID: 1@b\r\nAllow: INVITE, ACK\r\nCSeq: 1 OPTIONS\r\n\r\nbody\r\n";
    let mut texts = vec![text.as_bytes().to_vec()];
    for at in text.find("Via").unwrap()..text.len() {
        let (head, tail) = text.as_bytes().split_at(at);
        texts.extend([head.to_vec(), [head, &tail[1..]].concat()]);
        for byte in *b"\0\t\r\n :;,\"<>=aZ\x7f\x80\xff" {
            texts.extend([
                [head, &[byte], &tail[1..]].concat(),
                [head, &[byte], tail].concat(),
            ]);
        }
    }
    texts
}

#[test]
fn many_lines_at_once_are_read_as_each_by_itself() {
    let texts = usual_and_damaged();
    for (headers, line) in [(256, 8192), (256, 71), (256, 40), (5, 8192)] {
        let limits = Limits {
            headers,
            line,
            ..Limits::default()
        };
        for text in &texts {
            let read = Message::parse(text, &limits).map(|message| {
                let headers = &message.headers;
                let parts = |entry: &Entry| {
                    let places = (headers.value_at(entry), headers.line(entry));
                    (entry.name, headers.name_at(entry), places.0, places.1)
                };
                headers.all().iter().map(parts).collect()
            });
            assert_eq!(read, one_by_one(text, &limits), "{}", text.escape_ascii());
        }
    }
}

#[test]
fn what_looks_usual_is_what_a_closer_look_finds() {
    let (mut usual, mut unusual) = (0, 0);
    for text in usual_and_damaged() {
        let Ok(mut message) = Message::parse(&text, &Limits::default()) else {
            continue;
        };
        if message.settle_usual(false).is_none() {
            unusual += 1;
            continue;
        }
        usual += 1;
        let facts = *message.facts().unwrap();
        let found = message
            .checked()
            .unwrap_or_else(|error| panic!("{message:?}: {error}"));
        assert_eq!(format!("{facts:?}"), format!("{found:?}"), "{message:?}");
        // And of the Via's parameters what the list of them says.
        let (via, plain) = (facts.via, message.read_top_via().unwrap());
        assert_eq!(
            (via.at, via.port, via.params.0),
            (plain.at, plain.port, plain.params.0)
        );
        assert_eq!(via.branch(), plain.branch(), "{message:?}");
        assert_eq!(via.rport(), plain.rport(), "{message:?}");
        assert_eq!(via.received(), plain.received(), "{message:?}");
    }
    assert!(usual > 1000 && unusual > 1000, "{usual} {unusual}");
}

#[test]
fn up_to_40_headers_stay_off_the_heap() {
    let with = |count| format!("OPTIONS sip:a SIP/2.0\r\n{}\r\n", "A: b\r\n".repeat(count));
    assert!(!parse(&with(40)).headers.spilled());
    assert!(parse(&with(41)).headers.spilled());
}

#[test]
fn more_than_40_headers_are_fine() {
    let text = format!("OPTIONS sip:a SIP/2.0\r\n{}\r\n", "A: b\r\n".repeat(256));
    assert_eq!(parse(&text).headers().count(), 256);
}

#[test]
fn list_values_split_at_their_own_commas_only() {
    let message = parse(
        "OPTIONS sip:a SIP/2.0\r\n\
         Contact: \"a, b\" <sip:a@b;x=1,2>;q=\"1,\\\",2\" , <sip:c@d> ,\r\n ,sip:e@f\r\n\
         m: *\r\n\
         Supported:\r\n\
         Supported: 100rel,timer\r\n\
         Date: Sat, 13 Nov 2010 23:29:00 GMT\r\n\
         Authorization: Digest username=\"a\", realm=\"b\"\r\n\
         Route: <sip:never, closed\r\n\
         \r\n",
    );
    let values = |name| {
        message
            .values(name)
            .map(|value| (value.bytes, value.alone))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        values(Name::Contact),
        [
            (&b"\"a, b\" <sip:a@b;x=1,2>;q=\"1,\\\",2\""[..], false),
            (&b"<sip:c@d>"[..], false),
            (&b""[..], false),
            (&b"sip:e@f"[..], false),
            (&b"*"[..], true)
        ]
    );
    assert_eq!(
        values(Name::Supported),
        [(&b"100rel"[..], false), (&b"timer"[..], false)]
    );
    assert_eq!(
        values(Name::Date),
        [(&b"Sat, 13 Nov 2010 23:29:00 GMT"[..], true)]
    );
    assert_eq!(values(Name::Authorization).len(), 1);
    assert_eq!(values(Name::Route), [(&b"<sip:never, closed"[..], true)]);
    assert_spans_agree(&message);
}

/// `INVITE` with one line taken out, or another put in its place.
fn with_line(starts: &str, instead: &str) -> String {
    assert!(INVITE.contains(starts));
    let lines = INVITE.split_inclusive("\r\n");
    lines
        .map(|line| {
            if line.starts_with(starts) {
                instead
            } else {
                line
            }
        })
        .collect()
}

#[test]
fn check_names_what_is_missing_repeated_or_bad() {
    let table: &[(&str, &str, Fault)] = &[
        ("i:", "", Fault::Missing(Name::CallId)),
        ("CSeq:", "", Fault::Missing(Name::CSeq)),
        ("f:", "", Fault::Missing(Name::From)),
        ("To:", "", Fault::Missing(Name::To)),
        (
            "i:",
            "i: a\r\nCall-ID: a\r\n",
            Fault::Repeated(Name::CallId),
        ),
        (
            "CSeq:",
            "CSeq: 7 INVITE\r\nCSeq: 7 INVITE\r\n",
            Fault::Repeated(Name::CSeq),
        ),
        (
            "f:",
            "f: <sip:a@b>\r\nFrom: <sip:a@b>\r\n",
            Fault::Repeated(Name::From),
        ),
        (
            "To:",
            "To: <sip:a@b>\r\nt: <sip:a@b>\r\n",
            Fault::Repeated(Name::To),
        ),
        (
            "Max-F",
            "Max-Forwards: 5\r\nMax-Forwards: 5\r\n",
            Fault::Repeated(Name::MaxForwards),
        ),
        (
            "Max-F",
            "Max-Forwards: -1\r\n",
            Fault::Bad(Name::MaxForwards),
        ),
        ("i:", "i:\r\n", Fault::Bad(Name::CallId)),
        ("i:", "i: a b\r\n", Fault::Bad(Name::CallId)),
        (
            "f:",
            "f: \"open <sip:a@b>;tag=1\r\n",
            Fault::Bad(Name::From),
        ),
        ("To:", "To: <sip:a@b\r\n", Fault::Bad(Name::To)),
        (
            "To:",
            "To: <sip:a@b>;tag=1, <sip:c@d>;tag=2\r\n",
            Fault::Bad(Name::To),
        ),
        (
            "CSeq:",
            "CSeq: 2147483648 INVITE\r\n",
            Fault::Bad(Name::CSeq),
        ),
        ("CSeq:", "CSeq: 7 BYE\r\n", Fault::CSeqMethod),
        ("CSeq:", "CSeq: 7 invite\r\n", Fault::CSeqMethod),
        (
            "Via:",
            "Via: SIP/2.0/UDP a;branch=1;;,;,,\r\n",
            Fault::Bad(Name::Via),
        ),
        ("v:", "v: nonsense\r\n", Fault::Bad(Name::Via)),
        (
            "INVITE",
            "INVITE nobody:knows SIP/2.0\r\n",
            Fault::UriScheme,
        ),
        (
            "INVITE",
            "INVITE soap.beep://192.0.2.103:3002 SIP/2.0\r\n",
            Fault::UriScheme,
        ),
        ("INVITE", "INVITE sip: SIP/2.0\r\n", Fault::RequestUri),
        (
            "INVITE",
            "INVITE sip:2001:db8::10 SIP/2.0\r\n",
            Fault::RequestUri,
        ),
        ("INVITE", "INVITE nothing SIP/2.0\r\n", Fault::RequestUri),
    ];
    for (line, instead, fault) in table {
        let text = with_line(line, instead);
        assert_eq!(
            parse(&text).check().map_err(|error| error.fault),
            Err(*fault),
            "{instead}"
        );
    }
    let no_via =
        with_line("Via:", "").replace("v: SIP/2.0/UDP c.example.com\r\n ;branch=z9hG4bKc\r\n", "");
    assert_eq!(
        parse(&no_via).check().map_err(|error| error.fault),
        Err(Fault::Missing(Name::Via))
    );
}

#[test]
fn check_passes_what_older_and_odder_elements_send() {
    for (line, instead) in [
        ("f:", "f: sip:a@b\r\n"),
        ("Max-F", ""),
        ("Max-F", "Max-Forwards: 300\r\n"),
        ("Content-L", "Content-Length: 4\r\nl: 4\r\n"),
        ("INVITE", "INVITE tel:+15551234 SIP/2.0\r\n"),
        ("INVITE", "INVITE sips:a@[2001:db8::1] SIP/2.0\r\n"),
        ("To:", "To: isbn:2983792873\r\n"),
        ("f:", "f: <sip:a@b>;tag=YWJj/ZGVm==\r\n"),
        ("Via:", "Via: SIP/2.0/UNKNOWN a;branch=old-style\r\n"),
        ("Via:", "Via: SIP/2.0/UDP a\r\n"),
        ("Via:", "Via: SIP/2.0/UDP a;branch=\r\n"),
    ] {
        let text = with_line(line, instead);
        assert_eq!(parse(&text).check(), Ok(()), "{instead}");
    }
}

#[test]
fn salvage_finds_what_an_answer_needs() {
    // bytes, and the faults that parse and check have found in them
    let cut = &INVITE[..INVITE.find("X-Odd").unwrap() + 3];
    let table = [
        with_line("INVITE", "INVITE sip:bob@example.com SIP/7.0\r\n"),
        with_line("INVITE", "INVITE  <sip:bob@example.com>  SIP/2.0\r\n"),
        with_line("INVITE", "INVITE SIP/2.0\r\n"),
        with_line("X-Odd", "X-Odd\r\nBad Name: x\r\n(: x\r\n"),
        with_line("X-Odd", "X-Odd: stray \r return\r\n"),
        with_line("X-Odd", "X-Odd: folded\n by a line feed\r\n"),
        with_line("Content-L", "Content-Length: 5000\r\n"),
        with_line("Content-L", "Content-Length: four\r\n"),
        INVITE.replace("\r\n ", " ").replace("\r\n", "\n"),
        cut.to_owned(),
    ];
    for text in &table {
        Message::parse(text.as_bytes(), &Limits::default()).expect_err(text);
        let message = Message::salvage(text.as_bytes(), &Limits::default()).expect(text);
        assert_eq!(message.method(), Some(Method::Invite), "{text}");
        assert_eq!(message.vias().filter_map(Result::ok).count(), 3, "{text}");
        assert_eq!(message.call_id().unwrap(), b"call-1@example.com", "{text}");
        assert_eq!(message.cseq().unwrap().number, 7, "{text}");
        assert_eq!(message.from_tag(), Some(&b"1"[..]), "{text}");
        assert!(message.to().is_ok() && message.body().is_empty(), "{text}");
    }
}

#[test]
fn salvage_leaves_alone_what_is_not_sip() {
    for text in [
        "",
        "\r\n",
        "\0\0\0\0",
        "GET / HTTP/1.1\r\n\r\n",
        "\u{16}\u{3}\u{1}",
        "INVITE",
        "SIP/2.0\r\n\r\n",
        " SIP/2.0\r\n",
    ] {
        assert!(
            Message::salvage(text.as_bytes(), &Limits::default()).is_none(),
            "{text:?}"
        );
    }
}

#[test]
fn salvage_keeps_the_limits() {
    let limits = Limits {
        message: 100,
        headers: 2,
        line: 30,
    };
    let text = format!(
        "OPTIONS sip:a SIP/7.0\r\nLong: {}\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n",
        "x".repeat(30)
    );
    let message = Message::salvage(text.as_bytes(), &limits).unwrap();
    assert_eq!(
        message
            .headers()
            .map(|header| header.raw_name)
            .collect::<Vec<_>>(),
        [b"A", b"B"]
    );
    assert!(message.bytes().len() <= 100);
}

#[test]
fn places_are_those_of_the_headers_however_many_there_are() {
    for others in [0, 1, 30, 40, 250] {
        let text = format!(
            "OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a, SIP/2.0/UDP b\r\nX: y\r\n\
             Route: <sip:r>\r\n{}Max-Forwards: 7 \r\nv: SIP/2.0/UDP c\r\n\r\n",
            "A: b\r\n".repeat(others)
        );
        let message = parse(&text);
        let seen = |places: Places<'_>| {
            let places = places.map(|place| {
                let header = message.at(&place).expect("it is there");
                assert_eq!(header.is_single(), place.is_single);
                (place.name, place.line, place.value_at)
            });
            places.collect::<Vec<_>>()
        };
        let table: [&[Name]; 6] = [
            &[],
            Name::ALL,
            &[Name::Route],
            &[Name::MaxForwards, Name::Contact, Name::Route],
            &[Name::Via, Name::Contact],
            &[Name::MaxForwards, Name::Other],
        ];
        for names in table {
            let set = NameSet::of(names);
            let headers = message.headers_in(set);
            let headers = headers.map(|header| (header.name, header.line, header.value_at));
            let headers: Vec<_> = headers.collect();
            assert_eq!(seen(message.places_in(set)), headers, "{others} {names:?}");
            assert_eq!(
                seen(message.places_of(names)),
                headers,
                "{others} {names:?}"
            );
        }
        assert!(message.is_single(Name::Route) && !message.is_single(Name::Via));
        assert!(!message.is_single(Name::Contact));
    }
}

#[test]
fn a_run_is_lines_that_follow_each_other_and_hold_nothing_else() {
    const NAMES: [Name; 2] = [Name::From, Name::To];
    // The lines, and what of them is the run of From and To, and of all Vias.
    let table = [
        ("v: a\r\nf: b\r\nTo: c\r\n", "f: b\r\nTo: c\r\n", "v: a\r\n"),
        ("f: b\r\nTo:\r\n c\r\nX: y\r\n", "f: b\r\nTo:\r\n c\r\n", ""),
        ("f: b\r\nX: y\r\nTo: c\r\n", "", ""),
        ("To: c\r\nf: b\r\n", "", ""),
        ("f: b \r\nTo: c\r\n", "", ""),
        ("f: b\r\n", "", ""),
        ("Via: a\r\nv: b\r\nX: y\r\n", "", "Via: a\r\nv: b\r\n"),
        ("Via: a\r\nX: y\r\nv: b\r\n", "", ""),
        ("Via: a\r\nv: b\t\r\n", "", ""),
    ];
    for (lines, parties, vias) in table {
        let text = format!("OPTIONS sip:a SIP/2.0\r\n{lines}\r\n");
        let message = parse(&text);
        let part =
            |at: Option<Span>| at.map_or("", |(start, end)| &text[start as usize..end as usize]);
        assert_eq!(part(message.run_of(&NAMES)), parties, "{lines}");
        assert_eq!(part(message.run_of_all(Name::Via)), vias, "{lines}");
    }
}

#[test]
fn the_uri_of_a_contact_is_what_its_whole_reading_says() {
    let (mut usual, mut all) = (0, 0);
    for contact in [
        "<sip:a@b>",
        "<sip:a@b>;expires=3",
        "<sip:a@b> ;expires=3",
        "<sip:a@b>x",
        "<sip:a@b >",
        "<sip:>",
        "<sip:a@b",
        "<sips:a@b>",
        "<tel:1>",
        "<>",
        "\"A\" <sip:a@b>",
        "sip:a@b;x=<",
        "*",
        "",
        " , <sip:a@b>",
        "<sip:a@b>, <sip:c@d>",
        "<sip:a@b,c>",
        "<sip:a\r\n @b>",
    ] {
        let text = format!("OPTIONS sip:a SIP/2.0\r\nm: {contact}\r\nContact: <sip:z>\r\n\r\n");
        let message = parse(&text);
        let whole = message.contact().map(|contact| contact.uri);
        assert_eq!(message.contact_uri(), whole, "{contact}");
        usual += usize::from(message.contact.is_some());
        all += 1;
    }
    assert!(usual > 1 && usual < all, "{usual} of {all}");
}
