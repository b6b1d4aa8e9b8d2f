//! What nobody gets from a proxy, however it is asked: what is refused, bounded or not believed.

mod common;

use common::{CARRIER, FILE, PBX, World, answered, heads, inside, invite, respond};

#[test]
fn strangers_hear_nothing_whatever_their_message_looks_like() {
    let mut world = World::new();
    let (_, route) = answered(&mut world, "c1");
    let stranger = "192.0.2.66:5060";
    let dialog = inside("BYE", "sip:b@198.51.100.1", "c1", ";tag=t1", 2, &route);
    let asks = "OPTIONS sip:192.0.2.10 SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\nMax-Forwards: 0\r\n\
                From: <sip:a@a>;tag=1;tl=x\r\nTo: <sip:b@b>\r\nCall-ID: 9\r\nCSeq: 1 OPTIONS\r\n\r\n";
    let cancel = invite("sip:+15550100@192.0.2.10", "c1", PBX)
        .replace("INVITE", "CANCEL")
        .replace("X-Odd: ", "X-Odd: ;tl=");
    for text in [
        &dialog,
        asks,
        &cancel,
        &asks.replace("OPTIONS", "CANCEL"),
        &asks.replace("SIP/2.0\r\nVia", "SIP/9.0\r\nVia"),
    ] {
        assert!(world.message(stranger, text).is_empty(), "{text}");
    }
    assert_eq!(world.proxy.load().contexts, 1);
}

#[test]
fn only_whom_nothing_names_may_be_kept_out_and_nobody_where_strangers_get_an_answer() {
    let silent = World::new();
    let loud = World::with(
        &format!("access.unknown_source = \"reject\"\n{FILE}"),
        |_| {},
    );
    for (source, who, is_stranger) in [
        ("192.0.2.66", "nobody", true),
        ("2001:db8::66", "nobody", true),
        ("198.51.100.77", "in a trunk's allow", false),
        ("10.0.1.200", "in the PBXs' allow", false),
        ("10.0.2.2", "a target", false),
        ("203.0.113.9", "what an edge's name resolves to", false),
    ] {
        let asked = |world: &World| {
            let source = source.parse().unwrap();
            world.proxy.is_stranger(world.now, source)
        };
        assert_eq!(asked(&silent), is_stranger, "{source}: {who}");
        assert!(!asked(&loud), "{source}: {who}");
    }
}

#[test]
fn a_request_without_token_or_memory_is_481_and_asks_no_name_server() {
    let mut world = World::new();
    let route = "Route: <sip:192.0.2.10;lr>\r\n";
    for uri in ["sip:b@victim.test", "sip:b@203.0.113.1", "sip:b@192.0.2.66"] {
        let sent = world.message(PBX, &inside("INVITE", uri, "none", ";tag=t9", 7, route));
        assert_eq!(heads(&sent), ["481"], "{uri}");
    }
    assert!(world.asked.is_empty());
}

#[test]
fn our_bye_to_a_late_answer_goes_to_nobody_whom_a_contact_alone_names() {
    let mut world = World::new();
    let text = invite("sip:+15550199@192.0.2.10", "c5", CARRIER);
    let sent = world.message(CARRIER, &text);
    world.message(
        CARRIER,
        &text
            .replace("INVITE sip", "CANCEL sip")
            .replace("1 INVITE", "1 CANCEL"),
    );
    let reaped = world.message(
        "10.0.2.1:5060",
        &respond(&sent[1].1, 200, "x", "192.0.2.66:5060"),
    );
    assert_eq!(heads(&reaped), ["ACK", "BYE"]);
    assert!(
        reaped.iter().all(|(to, _)| to == "10.0.2.1:5060"),
        "{reaped:#?}"
    );
}

#[test]
fn a_flood_of_100s_arms_no_timers() {
    let file = FILE.replace("edges =", "progress_timeout = \"60s\"\nedges =");
    let mut world = World::with(&file, |_| {});
    let sent = world.message(PBX, &invite("sip:+15550100@192.0.2.10", "c1", PBX));
    let trying = respond(&sent[1].1, 100, "", "");
    world.message(&sent[1].0, &trying);
    let timers = world.proxy.load().timers;
    (0..1000).for_each(|_| drop(world.message(&sent[1].0, &trying)));
    assert_eq!(world.proxy.load().timers, timers);
}

#[test]
fn absurd_retry_afters_neither_end_a_candidate_nor_anything_else() {
    for value in [
        "99999999999999999999",
        "-1",
        "0",
        "soon",
        "5;duration=99999999999999999999",
        "",
    ] {
        let mut world = World::new();
        let sent = world.message(PBX, &invite("sip:+15550100@192.0.2.10", "c1", PBX));
        let busy = respond(&sent[1].1, 503, "x", "").replace(
            "Content-Length",
            &format!("Retry-After: {value}\r\nContent-Length"),
        );
        assert_eq!(
            heads(&world.message(&sent[1].0, &busy)),
            ["ACK", "INVITE"],
            "{value}"
        );
        world.until(200_000);
        assert_eq!(world.proxy.load().contexts, 0);
    }
}

#[test]
fn a_full_table_is_503_with_retry_after_and_has_room_again() {
    let mut world = World::tuned(FILE, |_| {}, |settings| settings.capacity.contexts = 2);
    for call in ["c1", "c2"] {
        assert_eq!(
            heads(&world.message(PBX, &invite("sip:+15550100@192.0.2.10", call, PBX))),
            ["100", "INVITE"]
        );
    }
    let full = world.message(PBX, &invite("sip:+15550100@192.0.2.10", "c3", PBX));
    assert!(
        heads(&full) == ["503"] && full[0].1.contains("Retry-After: "),
        "{full:#?}"
    );
    world.until(120_000);
    assert_eq!(world.proxy.load().contexts, 0);
    assert_eq!(
        heads(&world.message(PBX, &invite("sip:+15550100@192.0.2.10", "c4", PBX))),
        ["100", "INVITE"]
    );
}

#[test]
fn a_call_that_has_no_room_in_the_memory_is_still_a_call() {
    let mut world = World::tuned(FILE, |_| {}, |settings| settings.capacity.calls = 0);
    let (to, route) = answered(&mut world, "c1");
    assert_eq!(world.proxy.load().calls_active, 0);
    let bye = world.message(
        PBX,
        &inside("BYE", &format!("sip:b@{to}"), "c1", ";tag=t1", 2, &route),
    );
    assert_eq!(bye[0].0, to, "its token finds the way");
}

#[test]
fn more_headers_than_anybody_needs_are_400() {
    let mut world = World::new();
    let many = |count: usize| {
        invite("sip:+15550100@192.0.2.10", "c1", PBX).replace(
            "X-Odd:",
            &format!("{}X-Odd:", "X-More: 1\r\n".repeat(count)),
        )
    };
    assert_eq!(heads(&world.message(PBX, &many(1000))), ["400"]);
    assert_eq!(heads(&world.message(PBX, &many(200))), ["100", "INVITE"]);
}

#[test]
fn a_route_set_with_us_twice_in_a_row_is_not_sent_to_ourselves() {
    let mut world = World::new();
    let (to, route) = answered(&mut world, "c1");
    let sent = world.message(
        PBX,
        &inside(
            "BYE",
            &format!("sip:b@{to}"),
            "c1",
            ";tag=t1",
            2,
            &route.repeat(2),
        ),
    );
    assert_eq!(
        (heads(&sent), sent[0].0.as_str()),
        (vec!["403".to_owned()], PBX)
    );
}

#[test]
fn a_contact_of_another_scheme_is_nothing_to_send_to() {
    let mut world = World::new();
    let text = invite("sip:+15550199@192.0.2.10", "c1", CARRIER);
    let sent = world.message(CARRIER, &text);
    let cancel = text
        .replace("INVITE sip", "CANCEL sip")
        .replace("1 INVITE", "1 CANCEL");
    world.message(CARRIER, &cancel);
    let odd = respond(&sent[1].1, 200, "x", "10.0.2.1").replace("<sip:b@", "<si2:b@");
    assert!(world.message("10.0.2.1:5060", &odd).is_empty());
    // An established call goes on by the address that answered.
    let sent = world.message(PBX, &invite("sip:+15550100@192.0.2.10", "c2", PBX));
    let (to, out) = sent[1].clone();
    world.message(
        &to,
        &respond(&out, 200, "t1", &to).replace("<sip:b@", "<si2:b@"),
    );
    let bye = world.message(
        PBX,
        &inside("BYE", "sip:+15550100@192.0.2.10", "c2", ";tag=t1", 2, ""),
    );
    assert_eq!((heads(&bye), &bye[0].0), (vec!["BYE".to_owned()], &to));
}
