use super::*;

const ONE: &str = "OPTIONS sip:a SIP/2.0\r\nVia: x\r\nl: 4\r\n\r\nbody";
const TWO: &str = "SIP/2.0 200 OK\r\nContent-Length :\r\n 0\r\n\r\n";

/// What a stream yields when it comes in pieces of `step` bytes: messages, pings, and how it broke.
fn read(stream: &[u8], step: usize, limits: Limits) -> (Vec<Vec<u8>>, usize, Option<Fault>) {
    let mut framer = Framer::new(limits);
    let (mut buffer, mut messages, mut pings) = (Vec::new(), Vec::new(), 0);
    for piece in stream.chunks(step) {
        buffer.extend_from_slice(piece);
        loop {
            let end = match framer.next(&buffer) {
                Frame::NeedMore => break,
                Frame::KeepAlive {
                    consumed,
                    pings: more,
                } => {
                    pings += more;
                    consumed
                }
                Frame::Message { start, end } => {
                    messages.push(buffer[start..end].to_vec());
                    end
                }
                Frame::Broken(error) => return (messages, pings, Some(error.fault)),
            };
            assert!(end > 0 && end <= buffer.len());
            buffer.drain(..end);
            framer.consumed();
        }
    }
    (messages, pings, None)
}

#[test]
fn a_stream_gives_the_same_messages_in_pieces_of_any_size() {
    let stream = format!("{ONE}{TWO}\r\n{ONE}\r\n\r\n\r\n\r\n{TWO}{TWO}\r\n\r\n");
    for step in 1..=stream.len() {
        let (messages, pings, broken) = read(stream.as_bytes(), step, Limits::default());
        assert_eq!(
            messages,
            [ONE, TWO, ONE, TWO, TWO].map(|text| text.as_bytes().to_vec()),
            "steps of {step}"
        );
        assert_eq!((pings, broken), (3, None), "steps of {step}");
    }
}

#[test]
fn a_lone_line_end_is_passed_over_and_is_no_ping() {
    let stream = format!("\r\n{ONE}\r\n{ONE}\r\n");
    for step in [1, 2, 3, stream.len()] {
        let (messages, pings, broken) = read(stream.as_bytes(), step, Limits::default());
        assert_eq!(
            (messages.len(), pings, broken),
            (2, 0, None),
            "steps of {step}"
        );
    }
}

#[test]
fn a_stream_that_cannot_be_cut_any_more_is_broken() {
    let table: &[(&str, Fault)] = &[
        (
            "OPTIONS sip:a SIP/2.0\r\nVia: x\r\n\r\n",
            Fault::Missing(Name::ContentLength),
        ),
        (
            "OPTIONS sip:a SIP/2.0\r\nl: 1\r\nl: 2\r\n\r\n",
            Fault::ContentLength,
        ),
        (
            "OPTIONS sip:a SIP/2.0\r\nl: -1\r\n\r\n",
            Fault::ContentLength,
        ),
        (
            "OPTIONS sip:a SIP/2.0\r\nl: 99999999999999999999\r\n\r\n",
            Fault::ContentLength,
        ),
        (
            "OPTIONS sip:a SIP/2.0\r\nl: 4294967296\r\n\r\n",
            Fault::TooLarge,
        ),
        (
            "OPTIONS sip:a SIP/2.0\r\nA: b\nl: 4\r\nl: 0\r\n\r\n",
            Fault::HeaderLine,
        ),
        (
            "OPTIONS sip:a SIP/2.0\r\nA: b\r c\r\nl: 0\r\n\r\n",
            Fault::HeaderLine,
        ),
        ("\u{16}\u{3}\u{1}", Fault::StartLine),
        ("\n", Fault::StartLine),
        ("\0", Fault::StartLine),
    ];
    for (stream, fault) in table {
        for step in [1, stream.len()] {
            assert_eq!(
                read(stream.as_bytes(), step, Limits::default()).2,
                Some(*fault),
                "{stream:?}"
            );
        }
    }
}

#[test]
fn a_message_with_other_faults_leaves_the_stream_alive() {
    for headers in [
        "no colon\r\n",
        "Bad Name: x\r\n",
        " folded under nothing\r\n",
        ": x\r\n",
    ] {
        let stream = format!("INVITE <sip:a> SIP/7.0\r\n{headers}l: 0\r\n\r\n{ONE}");
        let (messages, _, broken) = read(stream.as_bytes(), stream.len(), Limits::default());
        assert_eq!((messages.len(), broken), (2, None), "{headers}");
    }
}

#[test]
fn limits_end_what_never_ends() {
    let limits = Limits {
        message: 100,
        headers: 10,
        line: 50,
    };
    let endless_line = "A".repeat(60);
    let endless_headers = format!("OPTIONS sip:a SIP/2.0\r\n{}", "A: b\r\n".repeat(20));
    let large_body = "OPTIONS sip:a SIP/2.0\r\nl: 100\r\n\r\n";
    for step in [1, 7, 200] {
        assert_eq!(
            read(endless_line.as_bytes(), step, limits).2,
            Some(Fault::LineTooLong)
        );
        assert_eq!(
            read(endless_headers.as_bytes(), step, limits).2,
            Some(Fault::TooLarge)
        );
        assert_eq!(
            read(large_body.as_bytes(), step, limits).2,
            Some(Fault::TooLarge)
        );
    }
}

#[test]
fn a_large_message_byte_by_byte_is_looked_at_once() {
    // 60 000 calls that each looked at all bytes again would be 1.8 billion bytes: minutes, here.
    let body = "x".repeat(30_000);
    let stream = format!(
        "OPTIONS sip:a SIP/2.0\r\n{}l: 30000\r\n\r\n{body}",
        "A: b\r\n".repeat(5000)
    );
    let mut framer = Framer::new(Limits::default());
    for end in 1..stream.len() {
        assert_eq!(framer.next(&stream.as_bytes()[..end]), Frame::NeedMore);
    }
    let whole = Frame::Message {
        start: 0,
        end: stream.len(),
    };
    assert_eq!(framer.next(stream.as_bytes()), whole);
}
