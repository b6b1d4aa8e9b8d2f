//! Properties of messages that were made to be right: what goes in is what is read.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use trunkline_sip::{Edit, Limits, Message, Name, NameAddr, Params, Uri};

/// White space as a header may have it around a value.
fn blank() -> impl Strategy<Value = &'static str> {
    select(vec!["", " ", "\t", "  ", "\r\n ", " \r\n\t", "\r\n \r\n "])
}

fn token() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9.!%*_+`'~-]{1,12}"
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z][a-z0-9-]{0,8}(\\.[a-z]{2,5}){0,2}",
        any::<std::net::Ipv4Addr>().prop_map(|address| address.to_string()),
        any::<std::net::Ipv6Addr>().prop_map(|address| format!("[{address}]")),
    ]
}

fn quoted() -> impl Strategy<Value = String> {
    "[a-zA-Z,;<>@:? ]{0,8}(\\\\[\"\\\\a])?[, ]{0,2}".prop_map(|text| format!("\"{text}\""))
}

/// A Route value with commas wherever they do not separate.
fn route() -> impl Strategy<Value = String> {
    (
        prop_oneof![Just(String::new()), quoted()],
        "[a-z,]{1,6}",
        host(),
        vec(token(), 0..3),
    )
        .prop_map(|(display, user, host, flags)| {
            let flags: String = flags.iter().map(|flag| format!(";{flag}=\",\"")).collect();
            format!("{display}<sip:{user}@{host};lr>{flags}")
        })
}

/// Header lines with values, and the values in order.
fn routes() -> impl Strategy<Value = (String, Vec<String>)> {
    let line = (
        select(vec!["Route", "ROUTE ", "route"]),
        vec((route(), blank(), blank()), 1..4),
    );
    vec(line, 1..4).prop_map(|lines| {
        let mut values = Vec::new();
        let mut text = String::new();
        for (name, line) in lines {
            let parts: Vec<_> = line
                .iter()
                .map(|(value, before, after)| format!("{before}{value}{after}"))
                .collect();
            text += &format!("{name}:{}\r\nX-Between: a, b\r\n", parts.join(","));
            values.extend(line.into_iter().map(|(value, ..)| value));
        }
        (text, values)
    })
}

fn request(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "OPTIONS sip:a@example.com SIP/2.0\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn texts(message: &Message<'_>, name: Name) -> Vec<String> {
    message
        .values(name)
        .map(|value| String::from_utf8(value.bytes.to_vec()).unwrap())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_header_is_read_as_it_was_written(
        headers in vec(("[a-zA-Z][a-zA-Z0-9.!%*_+`'~-]{0,20}", blank(), "[!-~]{1,10}([ -~]{0,40}[!-~])?", blank()), 0..80),
        body in vec(any::<u8>(), 0..300),
        trailing in vec(any::<u8>(), 0..20),
    ) {
        let own = |name: &str| matches!(Name::parse(name.as_bytes()), Name::ContentLength);
        let headers: Vec<_> = headers.into_iter().filter(|(name, ..)| !own(name)).collect();
        let lines: String =
            headers.iter().map(|(name, before, value, after)| format!("{name}:{before}{value}{after}\r\n")).collect();
        let mut bytes = request(&lines, &body);
        let whole = bytes.len();
        bytes.extend_from_slice(&trailing);
        let message = Message::parse(&bytes, &Limits::default()).unwrap();
        prop_assert_eq!(message.body(), &body[..]);
        prop_assert_eq!(message.bytes(), &bytes[..whole]);
        let read: Vec<_> = message.headers().take(headers.len()).collect();
        for (header, (name, _, value, _)) in read.iter().zip(&headers) {
            prop_assert_eq!(header.raw_name, name.as_bytes());
            prop_assert_eq!(header.value, value.as_bytes());
            prop_assert!(message.named(name).is_some());
        }
    }

    #[test]
    fn list_values_are_read_as_they_were_written((lines, values) in routes()) {
        let bytes = request(&lines, b"");
        let message = Message::parse(&bytes, &Limits::default()).unwrap();
        prop_assert_eq!(texts(&message, Name::Route), &values[..]);
        let loose = message.routes().filter(|route| Uri::parse(route.as_ref().unwrap().uri).unwrap().has_lr());
        prop_assert_eq!(loose.count(), values.len());
    }

    #[test]
    fn any_values_can_be_removed_in_any_order(
        (lines, values) in routes(),
        picks in vec(any::<Index>(), 0..12),
    ) {
        let bytes = request(&lines, b"body");
        let message = Message::parse(&bytes, &Limits::default()).unwrap();
        let found: Vec<_> = message.values(Name::Route).collect();
        let mut edit = Edit::new(&message);
        let mut stays: Vec<_> = values.iter().cloned().map(Some).collect();
        for pick in picks {
            let index = pick.index(found.len());
            edit.remove_value(&found[index]);
            stays[index] = None;
        }
        let mut out = Vec::new();
        edit.write(&mut out);
        let after = Message::parse(&out, &Limits::default()).unwrap();
        prop_assert_eq!(texts(&after, Name::Route), stays.into_iter().flatten().collect::<Vec<_>>());
        prop_assert_eq!(after.all(Name::Other).count(), message.all(Name::Other).count());
        prop_assert_eq!(after.body(), b"body");
    }

    #[test]
    fn edits_do_what_a_plain_splice_does(
        mut places in vec((0u32..200, 0u32..20, "[a-z]{0,5}"), 0..30),
    ) {
        let bytes = request("Via: SIP/2.0/UDP a;branch=1\r\nX-Long: 0123456789012345678901234567890123456789\r\n", b"");
        let len = u32::try_from(bytes.len()).unwrap();
        let message = Message::parse(&bytes, &Limits::default()).unwrap();
        // Replacements that do not overlap, given to the edit in the order of their text.
        places.sort();
        let mut free = 0;
        places.retain_mut(|(start, width, _)| {
            *start = (*start).min(len);
            let end = (*start + *width).min(len);
            *width = end - *start;
            let fits = *start >= free;
            if fits { free = end + 1; }
            fits
        });
        let mut expected = bytes.clone();
        for (start, width, text) in places.iter().rev() {
            let (start, end) = (*start as usize, (*start + *width) as usize);
            expected.splice(start..end, text.bytes());
        }
        let mut edit = Edit::new(&message);
        places.sort_by(|a, b| a.2.cmp(&b.2));
        for (start, width, text) in &places {
            edit.replace((*start, *start + *width), text.as_bytes());
        }
        let mut out = Vec::new();
        edit.write(&mut out);
        prop_assert_eq!(out, expected);
    }

    #[test]
    fn a_uri_is_read_as_it_was_written(
        scheme in select(vec!["sip", "SIPS", "Sip"]),
        user in proptest::option::of("[a-zA-Z0-9+;?/&=$,%!~*'().-]{1,12}(:[a-z0-9]{0,4})?"),
        host in host(),
        port in proptest::option::of(1u16..),
        params in vec((token(), proptest::option::of(token())), 0..4),
        headers in proptest::option::of("[a-z]{1,4}=[a-zA-Z0-9%]{0,5}"),
    ) {
        let mut text = format!("{scheme}:");
        if let Some(user) = &user { text += &format!("{user}@"); }
        text += &host;
        if let Some(port) = port { text += &format!(":{port}"); }
        for (name, value) in &params {
            text += &format!(";{name}");
            if let Some(value) = value { text += &format!("={value}"); }
        }
        if let Some(headers) = &headers { text += &format!("?{headers}"); }
        let uri = Uri::parse(text.as_bytes()).unwrap();
        prop_assert_eq!(uri.user, user.as_ref().map(|user| user.as_bytes()));
        prop_assert_eq!(uri.host_raw, host.as_bytes());
        prop_assert_eq!(uri.port, port);
        prop_assert_eq!(uri.headers, headers.as_ref().map_or(&b""[..], |headers| headers.as_bytes()));
        let expected: Vec<_> =
            params.iter().map(|(name, value)| (name.as_bytes(), value.as_ref().map(|value| value.as_bytes()))).collect();
        prop_assert_eq!(uri.params.iter().collect::<Vec<_>>(), expected);
        prop_assert!(uri.equals(&uri));
    }

    #[test]
    fn an_address_is_read_as_it_was_written(
        display in prop_oneof![Just(String::new()), quoted(), token()],
        user in "[a-z0-9+]{1,8}",
        host in host(),
        tag in token(),
        others in subsequence(vec![";a", ";b=\";tag=no\"", "; c = d "], 0..=3),
        blank in blank(),
    ) {
        let uri = format!("sip:{user}@{host};tag=in-uri");
        let value = format!("{display}{blank}<{uri}>{blank}{};TAG{blank}={blank}{tag}", others.concat());
        let address = NameAddr::parse(value.as_bytes()).unwrap();
        prop_assert_eq!(address.display, display.as_bytes());
        prop_assert_eq!(address.uri, uri.as_bytes());
        prop_assert_eq!(address.tag(), Some(tag.as_bytes()));
    }

    #[test]
    fn parameters_of_any_bytes_end(bytes in vec(select(b";=\"\\ a,<>\r\n".to_vec()), 0..40)) {
        let count = Params(&bytes).iter().count();
        prop_assert!(count <= bytes.len());
    }
}
