//! The view as a whole: what is where, for messages in all their forms.

use super::*;

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
