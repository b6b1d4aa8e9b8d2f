//! Answers that begin as another did.

use super::*;

#[test]
fn an_answer_begins_as_the_one_before_did() {
    let via = "Via: SIP/2.0/UDP us;branch=z9hG4bK1\r\n";
    let answer = |status: &str, lines: &str| format!("SIP/2.0 {status}\r\n{via}{lines}\r\n");
    let via_at = |text: &str| {
        let (start, _) = span(text.find("Via").unwrap(), 0);
        (start, start + via.len() as u32)
    };
    let taken = "Via: SIP/2.0/UDP a;branch=z9hG4bKa\r\nv: SIP/2.0/UDP b\r\nRecord-Route: <sip:r;lr>\r\n\
        From: <sip:a@a.test>;tag=1\r\nTo: <sip:b@b.test>;tag=2\r\nCall-ID: c\r\nCSeq: 7 INVITE\r\n";
    let ringing = answer("180 Ringing", &format!("{taken}Contact: <sip:b>\r\n"));
    let earlier = ringing.replacen(via, "", 1);
    let mut room = None;
    let limits = Limits::default();
    let first = Message::parse_below(
        &mut room,
        ringing.as_bytes(),
        via_at(&ringing),
        None,
        &limits,
    );
    let first = first.unwrap();
    assert!(first.head().is_none(), "it is not settled");
    first.settle_below().unwrap();
    let head = first.head().unwrap();

    // What the next has behind its Via, and whether it begins as the first one did.
    for (lines, begins_so) in [
        (format!("{taken}Contact: <sip:x>\r\n"), true),
        (
            format!("{taken}Contact: <sip:x>\r\nFrom: <sip:z>\r\n"),
            true,
        ),
        (taken.to_owned(), false),
        (format!("{taken} \r\nContact: <sip:x>\r\n"), false),
        (taken.replace("tag=2", "tag=3"), false),
        (taken.replace("CSeq: 7", "CSeq: 8"), false),
        (format!("X: y\r\n{taken}"), false),
    ] {
        let next = answer("200 Fine", &lines);
        let (at, mut room) = (via_at(&next), None);
        let end = at.1 as usize;
        let mut known = None;
        let first = parse::whole_status_line(&next.as_bytes()[..at.0 as usize]).unwrap();
        let message = Message::begin(&mut known, next.as_bytes(), first);
        message
            .headers
            .push_usual((at.0 as usize, end), Name::Via, 3);
        let taken_up = message.take_up(&head, earlier.as_bytes(), end, &limits);
        assert_eq!(taken_up.is_some(), begins_so, "{lines}");
        let again = Some((&head, earlier.as_bytes()));
        let next = Message::parse_below(&mut room, next.as_bytes(), at, again, &limits).unwrap();
        let settled = next.settle_below();
        assert_eq!(settled.is_err(), lines.contains("sip:z"), "{lines}");
        if settled.is_ok() {
            let [mut read, mut found] = [*next.facts().unwrap(), next.checked().unwrap()];
            (read.via, found.via) = (Via::none(), Via::none());
            assert_eq!(format!("{read:?}"), format!("{found:?}"));
        }
    }

    // Nothing that is odd is gone on from.
    for (from, to) in [
        ("INVITE", "BYE"),
        ("b\r\n", "b, SIP/2.0/UDP c\r\n"),
        ("Call-ID: c", "Call-ID: c "),
        ("Call-ID: c", "X: y\r\nCall-ID: c"),
        (";tag=2", ""),
    ] {
        let text = ringing.replacen(from, to, 1);
        let mut room = None;
        let read = Message::parse_below(&mut room, text.as_bytes(), via_at(&text), None, &limits);
        let read = read.unwrap();
        read.settle_below().unwrap();
        assert!(read.head().is_none(), "{from} {to}");
    }
}
