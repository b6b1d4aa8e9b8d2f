//! What holds for any bytes whatever. The mutation test and the fuzz targets run these.

use trunkline_sip::frame::{Frame, Framer};
use trunkline_sip::{Edit, Facts, Glance, Head, Host, Limits, Message, Name, Scheme, Uri, peek};

/// Reading and changing a message: no panic, nothing out of bounds, nothing lost.
pub fn message(bytes: &[u8]) {
    for limits in [
        Limits::default(),
        Limits {
            message: 600,
            headers: 5,
            line: 80,
        },
    ] {
        a_glance_sees_no_more_than_a_look(bytes, &limits);
        match Message::parse(bytes, &limits) {
            Ok(message) => {
                whole(&message);
                unchanged(&message);
                values_go_one_by_one(&message);
                peeks_agree(bytes, &message);
                known_lines_need_no_reading(bytes, &message);
                survives_a_stream(&message);
            }
            Err(error) => {
                assert!(error.at <= bytes.len(), "{error}");
                assert!(error.to_string().contains(error.fault.reason()));
            }
        }
        if let Some(message) = Message::salvage(bytes, &limits) {
            whole(&message);
            assert!(message.bytes().len() <= limits.message);
        }
    }
}

/// What is read at a glance is what the whole reading says, to the byte.
fn a_glance_sees_no_more_than_a_look(bytes: &[u8], limits: &Limits) {
    let Some(glance) = Glance::read(bytes, limits) else {
        return;
    };
    let message = Message::parse(bytes, limits).expect("a glance sees no faulty message");
    let facts = message.checked().expect("nor one that is faulty inside");
    assert_eq!(format!("{:?}", glance.facts), format!("{facts:?}"));
    assert_eq!(Some(glance.method), message.method());
    assert_eq!(Some(glance.request_uri), message.request_uri());
    let lines = |name| {
        let whole = |header: trunkline_sip::Header<'_>| {
            &message.bytes()[header.line.0 as usize..header.line.1 as usize]
        };
        message.all(name).map(whole).collect::<Vec<_>>().concat()
    };
    let (before, behind) = glance.vias(facts.via.at.1);
    assert_eq!([before, behind].concat(), lines(Name::Via));
    assert!(before.ends_with(facts.via.params.0));
    assert_eq!(glance.from(), lines(Name::From));
    assert_eq!([glance.to(), b"\r\n"].concat(), lines(Name::To));
    assert_eq!(glance.call_id(), lines(Name::CallId));
    assert_eq!(glance.cseq(), lines(Name::CSeq));
}

/// Every span leads to what it is said to be; every question gets an answer.
fn whole(message: &Message<'_>) {
    let bytes = message.bytes();
    let part = |at: (u32, u32)| {
        bytes
            .get(at.0 as usize..at.1 as usize)
            .expect("a span in bounds")
    };
    let mut last_end = 0;
    for header in message.headers() {
        assert!(
            header.line.0 >= last_end && header.line.1 > header.line.0,
            "headers come in order"
        );
        last_end = header.line.1;
        assert_eq!(part(header.value_at), header.value);
        assert!(
            part(header.line).starts_with(header.raw_name) && part(header.line).ends_with(b"\n")
        );
        assert!(header.value_at.0 >= header.line.0 && header.value_at.1 <= header.line.1);
        assert_eq!(Name::parse(header.raw_name), header.name);
        let line_ends = header
            .value
            .iter()
            .filter(|byte| matches!(byte, b'\r' | b'\n'))
            .count();
        let folds = header
            .value
            .windows(2)
            .filter(|pair| pair == b"\r\n")
            .count();
        assert_eq!(line_ends, folds * 2, "no lone CR or LF gets into a value");
    }
    if let Some(at) = message.request_uri_at() {
        assert_eq!(Some(part(at)), message.request_uri());
    }
    for name in [
        Name::Via,
        Name::Route,
        Name::RecordRoute,
        Name::Contact,
        Name::ProxyRequire,
        Name::From,
        Name::Other,
    ] {
        for value in message.values(name) {
            assert_eq!(part(value.at), value.bytes);
            assert!(value.line.0 < value.at.0 && value.at.1 < value.line.1);
        }
    }
    // The top one and each parameter may be read on a shorter way; the answer is the same.
    match (message.top_via(), message.vias().next()) {
        (Ok(top), Some(Ok(first))) => {
            assert_eq!((top.at, top.params.0), (first.at, first.params.0));
            assert_eq!((top.host(), top.port), (first.host(), first.port));
            assert_eq!(top.branch(), first.branch());
            assert_eq!(top.rport(), first.rport());
            assert_eq!(top.received(), first.received());
        }
        (top, first) => assert!(top.is_err() && first.is_none_or(|first| first.is_err())),
    }
    for via in message.vias().flatten() {
        for (name, value) in via.params.iter() {
            let name = String::from_utf8_lossy(name);
            let same = |(known, _): &(&[u8], _)| known.eq_ignore_ascii_case(name.as_bytes());
            let first = via
                .params
                .iter()
                .find(same)
                .map(|(_, value)| value.unwrap_or_default());
            assert_eq!(via.params.get(&name), first, "{value:?}");
        }
        assert!(part(via.at).ends_with(via.params.0));
        assert_eq!(Host::parse(via.host_raw()), Some(via.host()));
        let _ = (via.branch(), via.received(), via.rport());
    }
    for address in message
        .routes()
        .chain(message.record_routes())
        .chain([message.from(), message.to()])
        .flatten()
    {
        assert!(
            part(address.at)
                .windows(address.uri.len())
                .any(|window| window == address.uri)
        );
        uri(address.uri);
    }
    // Where all is usual the way is a short one, and leads to the same place.
    let mut settled = message.clone();
    let outcome = settled.settle();
    let facts = settled.facts().map(|facts| format!("{facts:?}"));
    let checked = message.checked().map(|facts| format!("{facts:?}"));
    assert_eq!(outcome.map(|()| facts.unwrap_or_default()), checked);
    // Who knows the top Via is told the same of all else.
    let mut below = message.clone();
    let outcome = below.settle_below();
    let first = message.first(Name::Via);
    if first.is_some_and(|via| via.is_single()) && message.top_via().is_ok() {
        assert_eq!(outcome, message.check());
    }
    if let (Ok(facts), Some(told)) = (message.checked(), below.facts()) {
        let told = Facts {
            via: facts.via,
            ..*told
        };
        assert_eq!(format!("{told:?}"), format!("{facts:?}"));
        assert_eq!(below.top_via().map(|top| top.at), Ok(facts.via.at));
    }
    if let Ok(facts) = message.checked() {
        assert_eq!(
            facts.from_tag,
            message.from().ok().and_then(|from| from.tag())
        );
        assert_eq!(facts.to_tag, message.to().ok().and_then(|to| to.tag()));
        assert_eq!(
            Some(facts.from_uri),
            message.from().ok().map(|from| from.uri)
        );
        assert_eq!(Some(facts.to_uri), message.to().ok().map(|to| to.uri));
        // What was noted of the top Via on the way is what it says.
        let via = facts.via;
        assert_eq!(Some(via.at), message.top_via().ok().map(|top| top.at));
        let branch = via.params.get("branch").filter(|branch| !branch.is_empty());
        assert_eq!(via.branch(), branch);
        assert_eq!(via.rport().is_some(), via.params.has("rport"));
        let top = message.top_via().ok();
        assert_eq!(Some(via.rport()), top.map(|top| top.rport()));
        assert_eq!(Some(via.received()), top.map(|top| top.received()));
    }
    if message.check().is_ok() {
        assert!(
            message.call_id().is_ok() && message.cseq().is_ok() && message.max_forwards().is_ok()
        );
        assert!(message.vias().all(|via| via.is_ok()));
        assert_eq!(
            message
                .method()
                .map(|method| method.as_bytes())
                .unwrap_or(b""),
            match message.cseq() {
                Ok(cseq) if message.is_request() => cseq.method.as_bytes(),
                _ => b"",
            }
        );
    }
    let _ = (
        message.contact(),
        message.from_tag(),
        message.to_tag(),
        message.body(),
        message.named("x-any"),
    );
}

fn unchanged(message: &Message<'_>) {
    let edit = Edit::new(message);
    let mut out = Vec::new();
    edit.write(&mut out);
    assert_eq!(
        out,
        message.bytes(),
        "writing without changes changes nothing"
    );
    assert_eq!(edit.written_len(), out.len());
    assert!(
        Message::salvage(message.bytes(), &Limits::default()).is_some(),
        "what can be read can be salvaged"
    );
}

/// Taking out one value leaves a message that lacks that value and nothing else.
fn values_go_one_by_one(message: &Message<'_>) {
    let count = |message: &Message<'_>, name| message.values(name).count();
    for name in [Name::Via, Name::Route] {
        for value in message.values(name) {
            let mut edit = Edit::new(message);
            edit.remove_value(&value);
            let mut out = Vec::new();
            edit.write(&mut out);
            let Ok(shorter) = Message::parse(&out, &Limits::default()) else {
                panic!("{message:?} without {value:?} cannot be read")
            };
            // What stays may be nothing but commas then, and an empty header has no value at all.
            assert!(
                count(&shorter, name) < count(message, name),
                "{message:?} without {value:?}"
            );
            assert_eq!(shorter.body(), message.body());
            assert_eq!(
                count(&shorter, Name::Contact),
                count(message, Name::Contact)
            );
        }
    }
}

/// The socket loop and the proxy must not see different messages.
fn peeks_agree(bytes: &[u8], message: &Message<'_>) {
    assert_eq!(peek::is_response(bytes), !message.is_request());
    assert_eq!(
        peek::call_id(bytes),
        message.first(Name::CallId).map(|header| header.value)
    );
    if let Ok(via) = message.top_via() {
        assert_eq!(peek::top_branch(bytes), via.branch());
    }
}

/// Who knows the line of the first Via is told all that others are.
fn known_lines_need_no_reading(bytes: &[u8], message: &Message<'_>) {
    let known = message.headers().next().filter(|first| {
        let text = message
            .bytes()
            .get(first.line.0 as usize..first.line.1 as usize);
        let is_plain = text.is_some_and(|text| text.starts_with(b"Via: ") && !text.contains(&b','));
        let is_trim = (first.line.0 + 5, first.line.1 - 2) == first.value_at;
        is_plain && is_trim && !first.value.contains(&b'\r')
    });
    let Some(via) = known.filter(|_| !message.is_request() && bytes.starts_with(b"SIP")) else {
        return;
    };
    let mut room = None;
    let below = Message::parse_below(&mut room, bytes, via.line, None, &Limits::default());
    let below = below.unwrap_or_else(|error| panic!("{message:?}: {error}"));
    let parts = |message: &Message<'_>| {
        let headers = message.headers().map(|it| (it.name, it.line, it.value_at));
        let headers: Vec<_> = headers.collect();
        (
            format!("{:?}", message.start()),
            headers,
            message.body().to_vec(),
        )
    };
    assert_eq!(parts(below), parts(message));
    if message.top_via().is_ok() {
        assert_eq!(below.settle_below(), message.check());
    }
    if let Some(head) = below.head() {
        a_head_changes_nothing(below, &head, via.line);
    }
}

/// Who has read an answer to the same request reads the next one as who has not.
fn a_head_changes_nothing(answer: &Message<'_>, head: &Head, via: (u32, u32)) {
    let bytes = answer.bytes();
    let (start, end) = (via.0 as usize, via.1 as usize);
    let earlier = [&bytes[..start], &bytes[end..]].concat();
    let lines = answer.headers().map(|header| header.line.1 as usize);
    for at in lines.skip_while(|line_end| *line_end < end) {
        let odd = [" ", "\t", "\r", "x", "To: <sip:b>\r\n", "v: x\r\n", "\r\n"];
        for more in odd.iter().chain(&[""]).map(|text| text.as_bytes()) {
            let shorter = (at - usize::from(more == b"x")).max(end);
            let next = [&bytes[end..shorter], more, &bytes[at..]].concat();
            for status in [&bytes[..start], b"SIP/2.0 299 Another one\r\n"] {
                let next = [status, &bytes[start..end], &next].concat();
                let line = (status.len() as u32, (status.len() + end - start) as u32);
                let read = |earlier| {
                    let mut room = None;
                    let limits = Limits::default();
                    Message::parse_below(&mut room, &next, line, earlier, &limits).map(|it| {
                        let fault = it.settle_below();
                        let headers = it.headers().map(|it| format!("{it:?}"));
                        let headers = headers.collect::<Vec<_>>();
                        (fault, format!("{:?}", it.facts()), headers)
                    })
                };
                assert_eq!(read(Some((head, &earlier))), read(None));
            }
        }
    }
}

/// With the Content-Length that a stream needs, a message is one frame, and the same.
fn survives_a_stream(message: &Message<'_>) {
    let mut edit = Edit::new(message);
    edit.content_length();
    let mut out = Vec::new();
    edit.write(&mut out);
    let limits = Limits {
        message: usize::MAX,
        ..Limits::default()
    };
    let end = out.len();
    assert_eq!(
        Framer::new(limits).next(&out),
        Frame::Message { start: 0, end }
    );
    let Ok(again) = Message::parse(&out, &limits) else {
        panic!("{message:?} cannot be read from a stream")
    };
    assert_eq!(
        (again.start(), again.body()),
        (message.start(), message.body())
    );
}

/// Framing: a stream is cut at the same places, however its bytes arrive.
pub fn frame(stream: &[u8], steps: &[usize]) {
    let limits = Limits {
        message: 2000,
        headers: 20,
        line: 200,
    };
    let at_once = frames(stream, &[stream.len()], limits);
    for &step in steps {
        assert_eq!(
            frames(stream, &[step], limits),
            at_once,
            "in steps of {step}"
        );
    }
    assert_eq!(
        frames(stream, steps, limits),
        at_once,
        "in steps of {steps:?}"
    );
}

/// The ends of all messages and of the whole, how many pings, and whether it broke.
fn frames(stream: &[u8], steps: &[usize], limits: Limits) -> (Vec<(usize, usize)>, usize, bool) {
    let mut framer = Framer::new(limits);
    let (mut messages, mut pings) = (Vec::new(), 0);
    let (mut from, mut until) = (0, 0);
    for step in steps.iter().cycle() {
        until = stream.len().min(until + step.max(&1));
        loop {
            match framer.next(&stream[from..until]) {
                Frame::NeedMore => break,
                Frame::KeepAlive {
                    consumed,
                    pings: more,
                } => {
                    assert!(consumed > 0 && from + consumed <= until);
                    pings += more;
                    from += consumed;
                }
                Frame::Message { start, end } => {
                    assert!(start < end && from + end <= until);
                    messages.push((from + start, from + end));
                    from += end;
                }
                Frame::Broken(_) => return (messages, pings, true),
            }
            framer.consumed();
        }
        if until == stream.len() {
            break;
        }
    }
    (messages, pings, false)
}

/// A URI: its parts are parts of it, and it equals itself.
pub fn uri(bytes: &[u8]) {
    let Ok(uri) = Uri::parse(bytes) else { return };
    assert_eq!(uri.equals(&uri), uri.scheme != Scheme::Other);
    let _ = (uri.transport(), uri.maddr(), uri.has_lr(), uri.is_sips());
    if !matches!(uri.scheme, Scheme::Sip | Scheme::Sips) {
        return;
    }
    let mut written = bytes[..bytes.iter().position(|&byte| byte == b':').unwrap() + 1].to_vec();
    if let Some(user) = uri.user {
        written.extend_from_slice(user);
        written.push(b'@');
    }
    written.extend_from_slice(uri.host_raw);
    assert!(bytes.starts_with(&written));
    let mut tail = uri.params.0.to_vec();
    if !uri.headers.is_empty() || bytes.ends_with(b"?") {
        tail.push(b'?');
        tail.extend_from_slice(uri.headers);
    }
    assert!(bytes.ends_with(&tail));
    let port = &bytes[written.len()..bytes.len() - tail.len()];
    let number = port
        .strip_prefix(b":")
        .map(|digits| std::str::from_utf8(digits).unwrap().parse().unwrap());
    assert_eq!(uri.port, number);
}
