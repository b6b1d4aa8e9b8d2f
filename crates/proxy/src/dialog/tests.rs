//! What the memory of calls keeps, and what it costs.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher24;

use super::*;

fn now() -> Moment {
    Moment::EPOCH
}

fn hash(parts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(1, 2);
    for part in parts {
        hasher.write_u64(part.len() as u64);
        hasher.write(part);
    }
    hasher.finish()
}

fn hop(transport: Transport, remote: &str, connection: Option<u64>) -> Hop {
    Hop {
        transport,
        listener: ListenerId(3),
        remote: remote.parse().expect("an address"),
        connection: connection.map(ConnectionId::new),
    }
}

/// A call of usual sizes: a carrier's gateway and a PBX.
fn usual(began: Moment) -> NewCall<'static> {
    NewCall {
        trunk: TrunkId(7),
        direction: Direction::Origination,
        peer: PeerIx(41),
        began,
        session: None,
        call_id: b"6a1f0f4ad0b1d2e3c4f5a697887950d1@203.0.113.10",
        token: b"EAAAAAAAdeadbeef",
        caller: NewSide {
            hop: hop(Transport::Udp, "203.0.113.10:5060", None),
            contact: b"sip:+15550100@203.0.113.10:5060;transport=udp",
            routes: &[b"<sip:203.0.113.11:5060;lr;ftag=37a1b2c3>"],
            tag: b"37a1b2c3d4e5f60718",
        },
        callee: NewSide {
            hop: hop(Transport::Tcp, "192.0.2.20:5060", Some(9)),
            contact: b"sip:+15550199@192.0.2.20:5060;transport=tcp;ob",
            routes: &[],
            tag: b"as5f0c11d2",
        },
    }
}

const ALL: Range<usize> = 0..Calls::PARTS;

#[test]
fn a_call_is_remembered_whole() {
    let (mut calls, began) = (Calls::new(10), now());
    assert!(calls.is_empty());
    assert!(calls.remember(1, usual(began), None));
    assert_eq!(calls.len(), 1);
    let call = calls.get(1).expect("it is there");
    assert_eq!(
        (call.trunk(), call.direction()),
        (TrunkId(7), Direction::Origination)
    );
    assert_eq!((call.peer(), call.began()), (PeerIx(41), began));
    let given = usual(began);
    assert_eq!(call.call_id(), given.call_id);
    for (party, given) in [(Party::Caller, given.caller), (Party::Callee, given.callee)] {
        let side = call.side(party).expect("it is there");
        assert_eq!((side.hop, call.hop(party)), (given.hop, Some(given.hop)));
        assert_eq!((side.contact, side.tag), (given.contact, given.tag));
        assert_eq!(side.routes().collect::<Vec<_>>(), given.routes);
    }
    assert_eq!(calls.get(2).map(Call::trunk), None);

    let ended = calls.forget(1).expect("it is there");
    assert_eq!((ended.trunk, ended.peer), (TrunkId(7), PeerIx(41)));
    assert_eq!(
        (ended.direction, ended.began),
        (Direction::Origination, began)
    );
    assert_eq!(ended.call_id.text().as_bytes(), given.call_id);
    assert_eq!(calls.forget(1), None);
    assert!(calls.is_empty());
}

#[test]
fn a_call_knows_its_token_from_that_of_another_pass_of_its_dialog() {
    let (mut calls, began) = (Calls::new(2), now());
    calls.remember(1, usual(began), None);
    let none = NewCall {
        token: b"",
        ..usual(began)
    };
    calls.remember(2, none, None);
    for (token, own) in [
        (&b"EAAAAAAAdeadbeef"[..], true),
        (b"EAAAAAAAdeadbeeg", false),
        (b"deadbee", false),
        (b"", false),
    ] {
        let is = |key| calls.get(key).map(|call| call.has_token(token));
        assert_eq!((is(1), is(2)), (Some(own), Some(false)), "{token:?}");
    }
    assert!(calls.update_contact(1, Party::Callee, b"sip:elsewhere.test"));
    let call = calls.get(1).expect("it is there");
    assert!(
        call.has_token(b"EAAAAAAAdeadbeef"),
        "a refresh changes no token"
    );
}

#[test]
fn every_kind_of_hop_and_text_comes_back() {
    use Transport::{Tcp, Tls, Udp, Ws, Wss};
    let remotes = [
        "0.0.0.0:0",
        "255.255.255.255:65535",
        "[2001:db8::9]:5060",
        "[fe80::1%7]:5061",
    ];
    let texts: [&[u8]; 4] = [b"", b"x", b"\x00\xff\r\n", &[b'a'; 700]];
    let mut calls = Calls::new(1);
    for transport in [Udp, Tcp, Tls, Ws, Wss] {
        for remote in remotes {
            for connection in [None, Some(1), Some(u64::MAX)] {
                for text in texts {
                    let hop = hop(transport, remote, connection);
                    let routes = [text, b"<sip:p;lr>", text];
                    let side = NewSide {
                        hop,
                        contact: text,
                        routes: &routes,
                        tag: text,
                    };
                    let began = now();
                    let call = NewCall {
                        caller: side,
                        callee: side,
                        call_id: text,
                        ..usual(began)
                    };
                    let fits = text.len() < 700;
                    assert_eq!(
                        calls.remember(5, call, None),
                        fits,
                        "replaces the one before"
                    );
                    let Some(call) = calls.get(5).filter(|_| fits) else {
                        continue;
                    };
                    assert_eq!(call.call_id(), text);
                    for party in [Party::Caller, Party::Callee] {
                        let side = call.side(party).expect("it is there");
                        assert_eq!(side.hop, hop);
                        assert_eq!((side.contact, side.tag), (text, text));
                        assert_eq!(side.routes().collect::<Vec<_>>(), routes);
                    }
                }
            }
        }
    }
}

#[test]
fn a_full_table_takes_no_more_and_replaces_what_it_has() {
    let mut calls = Calls::new(2);
    let call = usual(now());
    assert!(calls.remember(1, call, None) && calls.remember(2, call, None));
    assert!(!calls.remember(3, call, None));
    assert!(calls.remember(
        2,
        NewCall {
            peer: PeerIx(5),
            ..call
        },
        None
    ));
    assert_eq!(calls.get(2).map(Call::peer), Some(PeerIx(5)));
    calls.forget(1);
    assert!(calls.remember(3, call, None));
}

#[test]
fn one_key_for_both_who_speak() {
    let key = |call_id: &[u8], from: &[u8], to: &[u8]| key(hash, call_id, from, to);
    assert_eq!(key(b"c", b"1", b"2"), key(b"c", b"2", b"1"));
    let others = [
        key(b"c", b"1", b"3"),
        key(b"d", b"1", b"2"),
        key(b"c1", b"", b"2"),
        key(b"c", b"12", b""),
    ];
    assert!(others.iter().all(|other| *other != key(b"c", b"1", b"2")));

    let mut calls = Calls::new(1);
    calls.remember(1, usual(now()), None);
    let call = calls.get(1).expect("it is there");
    assert_eq!(call.speaker(b"37a1b2c3d4e5f60718"), Party::Caller);
    assert_eq!(call.speaker(b"as5f0c11d2"), Party::Callee);
    assert_eq!(Party::Caller.other().other(), Party::Caller);
}

#[test]
fn calls_that_last_too_long_are_found_oldest_first() {
    let (mut calls, start) = (Calls::new(9), now());
    for (key, minutes) in [(5, 20), (6, 0), (7, 10), (8, 10), (9, 30)] {
        let began = start + Duration::from_secs(60 * minutes);
        assert!(calls.remember(
            key,
            NewCall {
                began,
                ..usual(start)
            },
            None
        ));
    }
    let now = start + Duration::from_secs(60 * 30);
    assert_eq!(
        calls.overdue(ALL, now, Duration::from_secs(60 * 15), 100),
        [(6, "expired"), (7, "expired"), (8, "expired")]
    );
    assert_eq!(
        calls.overdue(ALL, now, Duration::from_secs(60 * 15), 2),
        [(6, "expired"), (7, "expired")],
        "a turn takes on so many and no more"
    );
    assert_eq!(
        calls.overdue(ALL, now, Duration::from_secs(60 * 30), 100),
        []
    );
}

/// RFC 4028: who does not refresh a session in time has left it. Half a minute is for the refresh that
/// came in the last moment.
#[test]
fn a_session_that_is_not_refreshed_in_time_is_over() {
    let (mut calls, start) = (Calls::new(9), now());
    let after = |seconds| start + Duration::from_secs(seconds);
    let day = Duration::from_secs(86_400);
    for (key, session) in [
        (1, None),
        (2, Some(1800)),
        (3, Some(5)),
        (4, Some(u32::MAX)),
    ] {
        let session = session.map(|seconds| Duration::from_secs(seconds.into()));
        let call = NewCall {
            session,
            ..usual(start)
        };
        assert!(calls.remember(key, call, None));
    }
    assert_eq!(calls.overdue(ALL, after(121), day, 100), []);
    assert_eq!(
        calls.overdue(ALL, after(122), day, 100),
        [(3, "session_expired")],
        "90 s at least"
    );
    calls.refresh(3, after(122), Some(Duration::from_secs(90)));
    assert_eq!(calls.overdue(ALL, after(243), day, 100), []);
    calls.refresh(3, after(243), None);
    assert_eq!(
        calls.overdue(ALL, after(1831), day, 100),
        [],
        "the timer was given up"
    );
    assert_eq!(
        calls.overdue(ALL, after(1832), day, 100),
        [(2, "session_expired")]
    );
    calls.refresh(9, after(1832), None);
    assert_eq!(
        calls.overdue(ALL, after(80_000), day, 100),
        [(2, "session_expired")]
    );
}

#[test]
fn a_target_refresh_changes_one_contact_and_nothing_else() {
    // RFC 3261 §12.2.1.2.
    let (mut calls, began) = (Calls::new(1), now());
    calls.remember(1, usual(began), None);
    assert!(calls.update_contact(1, Party::Callee, b"sip:elsewhere.test"));
    assert!(
        calls.update_contact(1, Party::Caller, usual(began).caller.contact),
        "no change"
    );
    assert!(!calls.update_contact(2, Party::Caller, b"sip:x"));
    assert!(
        !calls.update_contact(1, Party::Caller, &[b'x'; CALL_BYTES_MAX]),
        "too long"
    );
    let (call, given) = (calls.get(1).expect("it is there"), usual(began));
    let sides = [Party::Caller, Party::Callee].map(|it| call.side(it).expect("it is there"));
    let [caller, callee] = sides;
    assert_eq!(callee.contact, b"sip:elsewhere.test");
    assert_eq!(
        (callee.tag, callee.hop),
        (given.callee.tag, given.callee.hop)
    );
    assert_eq!(caller.contact, given.caller.contact);
    assert_eq!(caller.routes().collect::<Vec<_>>(), given.caller.routes);
    assert_eq!((call.began(), call.call_id()), (began, given.call_id));
}

/// Bytes that a table holds for its calls: entries with their control bytes for all the room the
/// table really has, and blobs as the allocator rounds them.
fn bytes_held(calls: &Calls) -> usize {
    let slots = calls.table.slots();
    let entry = size_of::<(u64, Entry)>() + 1;
    let blobs = calls
        .table
        .iter(ALL)
        .map(|(_, entry)| (entry.blob.len() + 8).next_multiple_of(16));
    slots * entry + blobs.sum::<usize>()
}

#[test]
fn an_established_call_costs_at_most_512_bytes() {
    assert_eq!(size_of::<(u64, Entry)>(), 56);
    let began = now();
    // Just after the table has grown a call costs most.
    for count in [1_000, 1_793, 10_000, 14_337, 30_000] {
        let mut calls = Calls::new(count);
        (0..count).for_each(|at| {
            let id = hash(&[&at.to_be_bytes()]);
            assert!(calls.remember(id, usual(began), None));
        });
        let each = bytes_held(&calls) / calls.len();
        assert!(each <= 512, "{count} calls: {each} bytes each");
    }
}

#[test]
fn memory_goes_back_after_a_peak() {
    let (mut calls, began) = (Calls::new(100_000), now());
    let id = |at: u32| hash(&[&at.to_be_bytes()]);
    (0..50_000).for_each(|at| assert!(calls.remember(id(at), usual(began), None)));
    let peak = bytes_held(&calls);
    (10..50_000).for_each(|at| assert!(calls.forget(id(at)).is_some()));
    assert_eq!(calls.len(), 10);
    assert!(
        bytes_held(&calls) < peak / 40,
        "{} of {peak}",
        bytes_held(&calls)
    );
    assert!(
        (0..10).all(|at| calls.get(id(at)).is_some()),
        "the others are still there"
    );
}

#[test]
fn a_damaged_blob_loses_a_call_and_not_the_process() {
    let mut calls = Calls::new(1);
    calls.remember(1, usual(now()), None);
    let whole = calls.table.get(1).expect("it is there").blob.clone();
    for cut in 0..whole.len() {
        calls.table.get_mut(1).expect("it is there").blob = whole[..cut].into();
        let call = calls.get(1).expect("it is there");
        assert_eq!(call.speaker(b"as5f0c11d2"), Party::Callee, "{cut}");
        assert!(call.side(Party::Callee).is_none(), "{cut}");
        assert!(!calls.update_contact(1, Party::Caller, b"sip:x"), "{cut}");
    }
    assert!(calls.forget(1).is_some_and(|ended| ended.began == now()));
}
