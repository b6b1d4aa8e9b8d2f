//! What the RFCs ask of a proxy and no ladder shows: each test names the duty it proves.

mod common;

use std::time::Duration;

use trunkline_proxy::{ConnectionId, Event, Hop, HopLoss, Input, ListenerId};
use trunkline_sip::Transport;

use common::{CARRIER, FILE, PBX, World, answered, heads, inside, invite, line, respond};

#[test]
fn an_rfc_2543_peer_without_a_branch_is_served_and_its_ack_and_copies_are_found() {
    // RFC 3261 §17.2.3: the fields that such a peer's copies, ACK and CANCEL have in common.
    let mut world = World::new();
    let text =
        invite("sip:+15550199@192.0.2.10", "old", CARRIER).replace(";branch=z9hG4bKold;rport", "");
    let sent = world.message(CARRIER, &text);
    assert_eq!(heads(&sent), ["100", "INVITE"]);
    assert_eq!(
        heads(&world.message(CARRIER, &text)),
        ["100"],
        "a copy is a copy"
    );
    let busy = world.message("10.0.2.1:5060", &respond(&sent[1].1, 486, "x", ""));
    assert_eq!(heads(&busy), ["ACK", "486"]);
    let ack = text
        .replace("INVITE sip", "ACK sip")
        .replace("1 INVITE", "1 ACK");
    assert!(world.message(CARRIER, &ack).is_empty());
    assert!(
        world.until(10_000).is_empty(),
        "acknowledged, so never sent again"
    );
}

#[test]
fn a_bye_without_a_to_tag_belongs_to_the_call_of_an_rfc_2543_callee() {
    let mut world = World::new();
    let sent = world.message(PBX, &invite("sip:+15550100@192.0.2.10", "c1", PBX));
    let (to, out) = sent[1].clone();
    world.message(&to, &respond(&out, 200, "", &to).replace(";tag=\r", "\r"));
    assert_eq!(world.proxy.load().calls_active, 1);
    let bye = world.message(
        PBX,
        &inside("BYE", "sip:+15550100@192.0.2.10", "c1", "", 2, ""),
    );
    assert_eq!((heads(&bye), &bye[0].0), (vec!["BYE".to_owned()], &to));
    world.message(&to, &respond(&bye[0].1, 200, "", ""));
    assert_eq!(world.proxy.load().calls_active, 0);
}

#[test]
fn a_response_of_another_method_is_none_of_this_transactions() {
    // RFC 3261 §17.1.3.
    let mut world = World::new();
    let sent = world.message(PBX, &invite("sip:+15550100@192.0.2.10", "c1", PBX));
    let ok = respond(&sent[1].1, 200, "t1", &sent[1].0);
    assert!(
        world
            .message(&sent[1].0, &ok.replace("1 INVITE", "1 OPTIONS"))
            .is_empty()
    );
    assert!(
        world
            .message(&sent[1].0, &ok.replace("Call-ID: c1\r\n", ""))
            .is_empty(),
        "nor one with holes"
    );
    assert_eq!(heads(&world.message(&sent[1].0, &ok)), ["200"]);
}

#[test]
fn every_copy_of_a_2xx_and_every_fork_of_it_goes_on_but_is_one_call() {
    let mut world = World::new();
    let sent = world.message(PBX, &invite("sip:+15550100@192.0.2.10", "c1", PBX));
    let (to, out) = sent[1].clone();
    for tag in ["t1", "t1", "t2", "t1"] {
        let ok = world.message(&to, &respond(&out, 200, tag, &to));
        assert_eq!(heads(&ok), ["200"]);
        assert!(line(&ok[0].1, "To").ends_with(tag));
    }
    let route = format!(
        "{}\r\n",
        line(&out, "Record-Route").replace("Record-Route", "Route")
    );
    let uri = format!("sip:b@{to}");
    let bye = world.message(PBX, &inside("BYE", &uri, "c1", ";tag=t1", 2, &route));
    world.message(&to, &respond(&bye[0].1, 200, "t1", ""));
    assert_eq!(world.proxy.load().calls_active, 0);
    // The callee had not heard the ACK yet: its copy must not bring the call back.
    assert_eq!(
        heads(&world.message(&to, &respond(&out, 200, "t1", &to))),
        ["200"]
    );
    assert_eq!(world.proxy.load().calls_active, 0);
}

#[test]
fn a_late_answer_to_a_cancelled_reinvite_is_acknowledged_and_the_call_goes_on() {
    let mut world = World::new();
    let (to, route) = answered(&mut world, "c1");
    let text = inside("INVITE", &format!("sip:b@{to}"), "c1", ";tag=t1", 2, &route);
    let sent = world.message(PBX, &text);
    assert_eq!(heads(&sent), ["100", "INVITE"]);
    let cancel = text
        .replace("INVITE sip", "CANCEL sip")
        .replace("2 INVITE", "2 CANCEL");
    assert_eq!(heads(&world.message(PBX, &cancel)), ["200", "487"]);
    let late = world.message(&to, &respond(&sent[1].1, 200, "t1", &to));
    assert_eq!(heads(&late), ["ACK"], "no BYE: both sides are in this call");
    assert_eq!(world.proxy.load().calls_active, 1);
}

#[test]
fn both_sides_may_reinvite_at_once_and_each_hears_the_others_491() {
    let mut world = World::new();
    let (to, route) = answered(&mut world, "c1");
    let mine = inside("INVITE", &format!("sip:b@{to}"), "c1", ";tag=t1", 2, &route);
    let theirs = format!(
        "INVITE sip:a@{PBX} SIP/2.0\r\nVia: SIP/2.0/UDP {to};branch=z9hG4bKtheirs;rport\r\n{route}Max-Forwards: 70\r\n\
         From: <sip:+15550100@192.0.2.10>;tag=t1\r\nTo: \"A\" <sip:+15550001@a.test>;tag=fc1\r\nCall-ID: c1\r\n\
         CSeq: 1 INVITE\r\nContact: <sip:b@{to}>\r\nContent-Length: 0\r\n\r\n"
    );
    let (out, back) = (world.message(PBX, &mine), world.message(&to, &theirs));
    assert_eq!((&out[1].0, back[1].0.as_str()), (&to, PBX));
    let one = world.message(&to, &respond(&out[1].1, 491, "t1", ""));
    let other = world.message(PBX, &respond(&back[1].1, 491, "fc1", ""));
    assert_eq!(
        (heads(&one), heads(&other)),
        (
            vec!["ACK".into(), "491".into()],
            vec!["ACK".into(), "491".into()]
        )
    );
    assert_eq!((one[1].0.as_str(), &other[1].0), (PBX, &to));
    assert_eq!(world.proxy.load().calls_active, 1);
}

#[test]
fn byes_that_cross_are_both_answered_and_end_one_call() {
    let mut world = World::new();
    let (to, route) = answered(&mut world, "c1");
    let mine = world.message(
        PBX,
        &inside("BYE", &format!("sip:b@{to}"), "c1", ";tag=t1", 2, &route),
    );
    let theirs = format!(
        "BYE sip:a@{PBX} SIP/2.0\r\nVia: SIP/2.0/UDP {to};branch=z9hG4bKbye;rport\r\n{route}Max-Forwards: 70\r\n\
         From: <sip:+15550100@192.0.2.10>;tag=t1\r\nTo: \"A\" <sip:+15550001@a.test>;tag=fc1\r\nCall-ID: c1\r\n\
         CSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n"
    );
    let theirs = world.message(&to, &theirs);
    assert_eq!((&mine[0].0, theirs[0].0.as_str()), (&to, PBX));
    assert_eq!(
        heads(&world.message(&to, &respond(&mine[0].1, 200, "t1", ""))),
        ["200"]
    );
    assert_eq!(
        heads(&world.message(PBX, &respond(&theirs[0].1, 481, "fc1", ""))),
        ["481"]
    );
    let ended = world
        .events
        .iter()
        .filter(|event| matches!(event, Event::CallEnded { .. }))
        .count();
    assert_eq!(ended, 1);
}

#[test]
fn a_host_that_was_unreachable_may_have_had_a_copy_and_is_hung_up_when_it_answers() {
    let mut world = World::new();
    let sent = world.message(CARRIER, &invite("sip:+15550199@192.0.2.10", "c1", CARRIER));
    let hop = World::hop("10.0.2.1:5060");
    world.proxy.handle(
        world.now,
        Input::HopLost {
            hop,
            why: HopLoss::Unreachable,
        },
        &mut world.out,
    );
    let next = world.collect();
    assert_eq!(
        (heads(&next), next[0].0.as_str()),
        (vec!["INVITE".into()], "10.0.2.2:5060")
    );
    let ringing = world.message("10.0.2.1:5060", &respond(&sent[1].1, 180, "x", ""));
    assert_eq!(heads(&ringing), ["CANCEL"]);
    world.message("10.0.2.2:5060", &respond(&next[0].1, 200, "y", "10.0.2.2"));
    let late = world.message("10.0.2.1:5060", &respond(&sent[1].1, 200, "x", "10.0.2.1"));
    assert_eq!(heads(&late), ["ACK", "BYE"]);
}

#[test]
fn what_went_by_a_callers_own_connection_fails_when_that_closes() {
    // RFC 3261 §18.4; the connection comes from a port that no Contact names.
    let mut world = World::new();
    let caller = Hop {
        transport: Transport::Tcp,
        listener: ListenerId(1),
        remote: "10.0.1.5:49152".parse().unwrap(),
        connection: Some(ConnectionId::new(7)),
    };
    let text = invite("sip:+15550100@192.0.2.10", "c1", PBX).replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    let text = text.replace(
        &format!("<sip:a@{PBX}>"),
        &format!("<sip:a@{PBX};transport=tcp>"),
    );
    world.proxy.handle(
        world.now,
        Input::Message {
            from: caller,
            bytes: text.as_bytes(),
        },
        &mut world.out,
    );
    let sent = world.collect();
    let (to, out) = sent[1].clone();
    world.message(&to, &respond(&out, 200, "t1", &to));
    // The callee's route set is in the order of the request: our side towards it first.
    let routes: String = out
        .split("\r\n")
        .filter(|line| line.starts_with("Record-Route"))
        .map(|line| format!("{}\r\n", line.replace("Record-Route", "Route")))
        .collect();
    let bye = format!(
        "BYE sip:a@{PBX};transport=tcp SIP/2.0\r\nVia: SIP/2.0/UDP {to};branch=z9hG4bKbye;rport\r\n{routes}Max-Forwards: 70\r\n\
         From: <sip:+15550100@192.0.2.10>;tag=t1\r\nTo: \"A\" <sip:+15550001@a.test>;tag=fc1\r\nCall-ID: c1\r\n\
         CSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n"
    );
    let forwarded = world.message(&to, &bye);
    assert_eq!(heads(&forwarded), ["BYE"], "{forwarded:#?}");
    world.proxy.handle(
        world.now,
        Input::HopLost {
            hop: caller,
            why: HopLoss::Closed,
        },
        &mut world.out,
    );
    assert_eq!(heads(&world.collect()), ["503"]);
}

#[test]
fn a_100_and_then_a_closed_connection_moves_the_call_on() {
    let file = FILE.replace("sip:10.0.2.1\"", "sip:10.0.2.1;transport=tcp\"");
    let mut world = World::with(&file, |_| {});
    let sent = world.message(CARRIER, &invite("sip:+15550199@192.0.2.10", "c1", CARRIER));
    let hop = |connection| Hop {
        transport: Transport::Tcp,
        listener: ListenerId(1),
        remote: "10.0.2.1:5060".parse().unwrap(),
        connection,
    };
    let connection = Some(ConnectionId::new(3));
    let trying = respond(&sent[1].1, 100, "", "");
    let input = Input::Message {
        from: hop(connection),
        bytes: trying.as_bytes(),
    };
    world.proxy.handle(world.now, input, &mut world.out);
    assert!(world.collect().is_empty());
    world.proxy.handle(
        world.now,
        Input::HopLost {
            hop: hop(connection),
            why: HopLoss::Closed,
        },
        &mut world.out,
    );
    let next = world.collect();
    // It has the INVITE: the CANCEL tries a new connection.
    assert_eq!(heads(&next), ["CANCEL", "INVITE"]);
    assert_eq!(next[1].0, "10.0.2.2:5060");
}

#[test]
fn max_forwards_counts_for_an_ack_too_and_a_cancel_needs_none() {
    let mut world = World::new();
    let (to, route) = answered(&mut world, "c1");
    let ack = inside("ACK", &format!("sip:b@{to}"), "c1", ";tag=t1", 1, &route);
    assert!(
        world
            .message(PBX, &ack.replace("Max-Forwards: 70", "Max-Forwards: 0"))
            .is_empty()
    );
    let sent = world.message(PBX, &ack);
    assert!(sent[0].1.contains("Max-Forwards: 69\r\n"));
    let again = world.message(PBX, &ack);
    assert_eq!(
        sent, again,
        "RFC 3261 §16.11: the same copy has the same branch"
    );
    let text = invite("sip:+15550199@192.0.2.10", "c6", CARRIER);
    world.message(CARRIER, &text);
    let cancel = text
        .replace("INVITE sip", "CANCEL sip")
        .replace("1 INVITE", "1 CANCEL")
        .replace("Max-Forwards: 70", "Max-Forwards: 0");
    assert_eq!(heads(&world.message(CARRIER, &cancel)), ["200", "487"]);
}

#[test]
fn prack_and_update_travel_both_ways_before_the_answer() {
    let mut world = World::new();
    let sent = world.message(PBX, &invite("sip:+15550100@192.0.2.10", "c1", PBX));
    let (to, out) = sent[1].clone();
    assert_eq!(
        heads(&world.message(&to, &respond(&out, 183, "t1", &to))),
        ["183"]
    );
    let route = format!(
        "{}\r\n",
        line(&out, "Record-Route").replace("Record-Route", "Route")
    );
    for (number, method) in [(2, "PRACK"), (3, "UPDATE")] {
        let there = world.message(
            PBX,
            &inside(
                method,
                &format!("sip:b@{to}"),
                "c1",
                ";tag=t1",
                number,
                &route,
            ),
        );
        assert_eq!((heads(&there), &there[0].0), (vec![method.to_owned()], &to));
        assert_eq!(
            heads(&world.message(&to, &respond(&there[0].1, 200, "t1", ""))),
            ["200"]
        );
        let theirs = format!(
            "{method} sip:a@{PBX} SIP/2.0\r\nVia: SIP/2.0/UDP {to};branch=z9hG4bKup{number};rport\r\n{route}Max-Forwards: 70\r\n\
             From: <sip:+15550100@192.0.2.10>;tag=t1\r\nTo: \"A\" <sip:+15550001@a.test>;tag=fc1\r\nCall-ID: c1\r\n\
             CSeq: {number} {method}\r\nContent-Length: 0\r\n\r\n"
        );
        let back = world.message(&to, &theirs);
        assert_eq!(
            (heads(&back), back[0].0.as_str()),
            (vec![method.to_owned()], PBX)
        );
    }
}

#[test]
fn a_drain_ends_when_nobody_waits_not_when_the_last_copy_can_have_come() {
    let mut world = World::new();
    let (to, route) = answered(&mut world, "c1");
    assert!(!world.proxy.is_idle(), "the callee waits for its ACK");
    world.message(
        PBX,
        &inside("ACK", &format!("sip:b@{to}"), "c1", ";tag=t1", 1, &route),
    );
    assert!(
        world.proxy.is_idle(),
        "an established call lives in its token"
    );
    let bye = world.message(
        PBX,
        &inside("BYE", &format!("sip:b@{to}"), "c1", ";tag=t1", 2, &route),
    );
    assert!(!world.proxy.is_idle());
    world.message(&to, &respond(&bye[0].1, 200, "t1", ""));
    assert!(world.proxy.is_idle());
    let text = invite("sip:+15550199@192.0.2.10", "c2", CARRIER);
    world.message(CARRIER, &text);
    world.message(
        CARRIER,
        &text
            .replace("INVITE sip", "CANCEL sip")
            .replace("1 INVITE", "1 CANCEL"),
    );
    assert!(!world.proxy.is_idle(), "the callee may yet ring");
    let waited = world.start + Duration::from_secs(40);
    world.until((waited - world.start).as_millis() as u64);
    assert!(world.proxy.is_idle());
}

#[test]
fn several_vias_on_one_line_are_the_way_back_all_the_same() {
    let mut world = World::new();
    let text = invite("sip:+15550100@192.0.2.10", "c1", PBX);
    let one_line = text.replace(
        ";rport\r\n",
        ";rport, SIP/2.0/TCP below.test;branch=z9hG4bKbelow\r\n",
    );
    let sent = world.message(PBX, &one_line);
    let (to, out) = &sent[1];
    // The callee puts all of them on one line of its own.
    let ok = respond(out, 200, "t1", to).replace("\r\nVia: SIP/2.0/UDP 10.", ",  SIP/2.0/UDP 10.");
    assert_eq!(ok.matches("Via").count(), 1, "{ok}");
    let back = world.message(to, &ok);
    assert!(
        back[0].0 == PBX
            && line(&back[0].1, "Via")
                .starts_with(&format!("Via: SIP/2.0/UDP {PBX};branch=z9hG4bKc1")),
        "{back:#?}"
    );
    assert!(back[0].1.contains("below.test;branch=z9hG4bKbelow"));
}

#[test]
fn a_strict_router_before_us_has_its_request_put_right() {
    // RFC 3261 §16.4: it put our Record-Route value into the Request-URI and the target last.
    let mut world = World::new();
    let (to, route) = answered(&mut world, "c1");
    let ours = route
        .trim_start_matches("Route: <")
        .split('>')
        .next()
        .unwrap();
    let target = format!("Route: <sip:b@{to}>\r\n");
    let sent = world.message(PBX, &inside("BYE", ours, "c1", ";tag=t1", 2, &target));
    assert_eq!(sent[0].0, to);
    assert!(
        sent[0]
            .1
            .starts_with(&format!("BYE sip:b@{to} SIP/2.0\r\n"))
            && !sent[0].1.contains("\r\nRoute:"),
        "{sent:#?}"
    );
}

#[test]
fn an_invite_by_two_ways_is_two_transactions_and_no_loop() {
    // RFC 3261 §8.2.2.2: merged requests are for the endpoint to find.
    let mut world = World::new();
    let text = invite("sip:+15550100@192.0.2.10", "c1", PBX);
    assert_eq!(heads(&world.message(PBX, &text)), ["100", "INVITE"]);
    let again = text.replace("z9hG4bKc1", "z9hG4bKother");
    assert_eq!(
        heads(&world.message("10.0.1.6:5060", &again)),
        ["100", "INVITE"]
    );
}

#[test]
fn the_failure_is_sent_again_until_its_ack_or_64_t1() {
    // RFC 3261 §17.2.1: Timers G and H.
    let mut world = World::new();
    let sent = world.message(PBX, &invite("sip:+15550100@192.0.2.10", "c1", PBX));
    world.message(&sent[1].0, &respond(&sent[1].1, 486, "x", ""));
    let again: Vec<u64> = world
        .until(100_000)
        .iter()
        .filter(|(_, to, _)| to == PBX)
        .map(|(at, ..)| *at)
        .collect();
    assert_eq!(
        again,
        [
            500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500
        ]
    );
    assert_eq!(world.proxy.load().contexts, 0);
}

#[test]
fn a_copied_invite_is_answered_with_the_latest_provisional() {
    // RFC 3261 §17.2.1: a 180 that was lost would leave the caller in silence.
    let mut world = World::new();
    let text = invite("sip:+15550100@192.0.2.10", "c1", PBX);
    let sent = world.message(PBX, &text);
    let (to, out) = &sent[1];
    assert_eq!(heads(&world.message(PBX, &text)), ["100"]);
    let ringing = world.message(to, &respond(out, 180, "t1", to));
    assert_eq!(world.message(PBX, &text), ringing);
    world.message(to, &respond(out, 200, "t1", to));
    assert!(world.message(PBX, &text).is_empty(), "RFC 6026 §7.1");
    world.until(100_000);
    assert_eq!(world.proxy.load().contexts, 0);
}
