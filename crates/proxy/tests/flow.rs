//! The real path, end to end and without a network: what goes in, what comes out.

mod common;

use std::{collections::BTreeSet, sync::Arc};

use trunkline_proxy::{
    Answer, Event, Hop, HopLoss, Input, Question, Routing, ShardId, Shared,
    routing::{Candidate, Freshness, Resolved},
};

use common::{CARRIER, FILE, PBX, World, heads, inside, invite, line, respond, snapshot};

#[test]
fn a_call_out_is_answered_and_its_bye_finds_the_way_by_token_and_by_memory() {
    for by_token in [true, false] {
        let mut world = World::new();
        let sent = world.message(PBX, &invite("sip:+15550100@192.0.2.10", "c1", PBX));
        assert_eq!(sent.len(), 2, "{sent:#?}");
        assert!(sent[0].1.starts_with("SIP/2.0 100 ") && sent[0].0 == PBX);
        let (to, out) = &sent[1];
        assert!(to == "203.0.113.1:5060" || to == "203.0.113.2:5060", "{to}");
        assert!(
            out.starts_with("INVITE sip:+15550100@one.carrier.test SIP/2.0\r\n"),
            "{out}"
        );
        assert!(
            out.contains("X-Odd:  kept   as is\r\n") && out.contains("Max-Forwards: 69\r\n"),
            "{out}"
        );
        let record = line(out, "Record-Route").to_owned();
        assert!(
            record.contains("192.0.2.10:5060") && record.contains("tl="),
            "{record}"
        );
        let ok = world.message(to, &respond(out, 200, "t1", to));
        assert_eq!(ok.len(), 1);
        assert!(
            ok[0].0 == PBX
                && ok[0].1.starts_with("SIP/2.0 200 ")
                && !ok[0].1.contains("192.0.2.10:5060;branch")
        );
        let in_dialog = |method: &str, number: u32, by_token: bool| {
            let route = record.replace("Record-Route", "Route");
            let (uri, route) = if by_token {
                (format!("sip:b@{to}"), format!("{route}\r\n"))
            } else {
                ("sip:+15550100@192.0.2.10".to_owned(), String::new())
            };
            format!(
                "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {PBX};branch=z9hG4bK{method}{number};rport\r\n{route}\
                 Max-Forwards: 70\r\nFrom: \"A\" <sip:+15550001@a.test>;tag=fc1\r\nTo: <sip:+15550100@192.0.2.10>;tag=t1\r\n\
                 Call-ID: c1\r\nCSeq: {number} {method}\r\nContent-Length: 0\r\n\r\n"
            )
        };
        let ack = world.message(PBX, &in_dialog("ACK", 1, by_token));
        assert_eq!(ack.len(), 1, "{ack:#?}");
        assert!(
            ack[0].0 == *to && ack[0].1.starts_with(&format!("ACK sip:b@{to} SIP/2.0")),
            "{ack:#?}"
        );
        assert!(!ack[0].1.contains("Route:"), "{ack:#?}");
        assert_eq!(world.proxy.load().calls_active, 1);
        let bye = world.message(PBX, &in_dialog("BYE", 2, by_token));
        assert_eq!(bye.len(), 1, "{bye:#?}");
        assert!(
            bye[0].0 == *to && bye[0].1.starts_with(&format!("BYE sip:b@{to} SIP/2.0")),
            "{bye:#?}"
        );
        let done = world.message(to, &respond(&bye[0].1, 200, "t1", ""));
        assert_eq!(done.len(), 1, "{done:#?}");
        assert_eq!(world.proxy.load().calls_active, 0);
        // Who was answered at once leaves nothing behind but L and J, and one look over all calls.
        assert_eq!(world.proxy.census().timers, 3);
        world.until(200_000);
        assert_eq!(world.proxy.load().contexts, 0);
        assert!(world.proxy.is_idle());
    }
}

#[test]
fn an_answer_with_another_branch_than_was_sent_is_nobodys() {
    let mut world = World::new();
    let sent = world.message(PBX, &invite("sip:+15550100@192.0.2.10", "c1", PBX));
    let (to, out) = &sent[1];
    let ours = out.split("branch=").nth(1).expect("our Via is on top");
    let (branch, _) = ours.split_at(ours.find([';', '\r']).expect("it ends"));
    let ringing = respond(out, 180, "t1", to);
    let mut others = vec![format!("{branch}A"), branch[..branch.len() - 1].to_owned()];
    others.extend((0..branch.len()).map(|at| {
        let letter = if &branch[at..=at] == "A" { "B" } else { "A" };
        format!("{}{letter}{}", &branch[..at], &branch[at + 1..])
    }));
    for other in others {
        let forged = ringing.replacen(branch, &other, 1);
        assert!(world.message(to, &forged).is_empty(), "{other}");
    }
    assert_eq!(heads(&world.message(to, &ringing)), ["180"]);
}

#[test]
fn an_answer_is_checked_below_our_via_whether_that_comes_back_as_it_was_or_noted_in() {
    let mut world = World::new();
    let sent = world.message(PBX, &invite("sip:+15550100@192.0.2.10", "c1", PBX));
    let (to, out) = &sent[1];
    let ours = line(out, "Via:");
    let ringing = respond(out, 180, "t1", to);
    for noted in ["", ";received=192.0.2.77"] {
        let good = ringing.replacen(ours, &format!("{ours}{noted}"), 1);
        let bad = good.replacen(&format!("SIP/2.0/UDP {PBX}"), "nonsense", 1);
        assert!(bad != good && good.contains(noted), "{good}");
        assert!(world.message(to, &bad).is_empty(), "{bad}");
        assert_eq!(heads(&world.message(to, &good)), ["180"], "{good}");
    }
}

#[test]
fn a_call_that_passes_twice_goes_by_the_token_of_each_pass() {
    // The carrier sends the call back as a proxy does: one dialog, and its Route holds both of our
    // tokens. Only the one of the way out says that the carrier is spoken to where it was.
    let file = FILE.replace("name = \"acme\"", "name = \"acme\"\nin_dialog = \"peer\"");
    let mut world = World::with(&file, |names| names[0].1 = CARRIER);
    let out = world.message(PBX, &invite("sip:+15550100@192.0.2.10", "c1", PBX));
    assert_eq!(
        (heads(&out), &*out[1].0),
        (vec!["100".into(), "INVITE".into()], CARRIER)
    );
    let (_, headers) = out[1].1.split_once("\r\n").unwrap();
    let via = format!("Via: SIP/2.0/UDP {CARRIER};branch=z9hG4bKback\r\n");
    let back = format!("INVITE sip:+15550199@192.0.2.10 SIP/2.0\r\n{via}{headers}");
    let home = world.message(CARRIER, &back);
    assert_eq!(
        (heads(&home), &*home[1].0),
        (vec!["100".into(), "INVITE".into()], "10.0.2.1:5060")
    );
    let ok = world.message(
        "10.0.2.1:5060",
        &respond(&home[1].1, 200, "t1", "10.0.2.1:5060"),
    );
    assert_eq!((heads(&ok), &*ok[0].0), (vec!["200".into()], CARRIER));
    let theirs = format!("{}\r\n", line(&ok[0].1, "Via"));
    let ok = world.message(CARRIER, &ok[0].1.replacen(&theirs, "", 1));
    assert_eq!((heads(&ok), &*ok[0].0), (vec!["200".into()], PBX));

    let [first, second] =
        [&out, &home].map(|sent| line(&sent[1].1, "Record-Route").replace("Record-", ""));
    assert_ne!(first, second);
    let routes = format!("{first}\r\n{second}\r\n");
    let bye = inside("BYE", "sip:b@10.0.2.1:5060", "c1", ";tag=t1", 2, &routes);
    let bye = world.message(PBX, &bye);
    assert_eq!((heads(&bye), &*bye[0].0), (vec!["BYE".into()], CARRIER));
    assert_eq!(line(&bye[0].1, "Route"), second);
}

#[test]
fn four_seconds_of_silence_and_the_next_address_then_the_next_edge_is_tried() {
    let mut world = World::new();
    let first = world.message(PBX, &invite("sip:+15550100@192.0.2.10", "c2", PBX));
    let sent = world.until(60_000);
    let invites: Vec<_> = sent
        .iter()
        .filter(|(_, _, text)| text.starts_with("INVITE"))
        .collect();
    let times: Vec<u64> = invites.iter().map(|(at, ..)| *at).collect();
    assert_eq!(
        times,
        [
            500, 1500, 3500, 4000, 4500, 5500, 7500, 8000, 8500, 9500, 11500
        ],
        "{times:?}"
    );
    assert_ne!(first[1].0, invites[3].1);
    assert_eq!(invites[7].1, "203.0.113.9:5060");
    assert!(
        invites[7]
            .2
            .starts_with("INVITE sip:+15550100@two.carrier.test "),
        "{}",
        invites[7].2
    );
    let (at, to, text) = sent.iter().find(|(_, to, _)| to == PBX).unwrap();
    assert_eq!((*at, to.as_str()), (12_000, PBX));
    assert!(
        text.starts_with("SIP/2.0 503 ") && text.contains("Retry-After: "),
        "{text}"
    );
    assert!(
        text.contains("Reason: SIP;cause=408;text=\"3 silent\""),
        "{text}"
    );
}

#[test]
fn a_call_in_moves_on_from_a_busy_pbx_and_then_asks_the_webhook() {
    let mut world = World::new();
    let sent = world.message(CARRIER, &invite("sip:+15550199@192.0.2.10", "c3", CARRIER));
    assert_eq!(sent[1].0, "10.0.2.1:5060");
    let next = world.message("10.0.2.1:5060", &respond(&sent[1].1, 480, "x", ""));
    assert_eq!(next.len(), 2, "{next:#?}");
    assert!(
        next[0].1.starts_with("ACK sip:+15550199@10.0.2.1 ") && next[1].0 == "10.0.2.2:5060",
        "{next:#?}"
    );
    let hop = Hop {
        remote: "10.0.2.2:5060".parse().unwrap(),
        ..World::hop(CARRIER)
    };
    world.proxy.handle(
        world.now,
        Input::HopLost {
            hop,
            why: HopLoss::Unreachable,
        },
        &mut world.out,
    );
    assert!(world.collect().is_empty());
    let (ask, question) = world.asked.pop().unwrap();
    assert!(
        matches!(&question, Question::Http(http) if &*http.url == "https://dr.test/voice"),
        "{question:?}"
    );
    let body = b"<Response><Dial><Sip>sip:night@198.51.100.77</Sip></Dial></Response>".to_vec();
    let answer = Answer::Http {
        status: 200,
        content_type: "text/xml".into(),
        body,
    };
    world
        .proxy
        .handle(world.now, Input::Answer { ask, answer }, &mut world.out);
    let dial = world.collect();
    assert_eq!(dial.len(), 1, "{dial:#?}");
    assert!(
        dial[0].0 == "198.51.100.77:5060"
            && dial[0].1.starts_with("INVITE sip:night@198.51.100.77 "),
        "{dial:#?}"
    );
    let ok = world.message(
        "198.51.100.77:5060",
        &respond(&dial[0].1, 200, "y", "198.51.100.77:5060"),
    );
    assert!(
        ok[0].0 == CARRIER && ok[0].1.starts_with("SIP/2.0 200 "),
        "{ok:#?}"
    );
}

#[test]
fn a_cancel_before_any_answer_is_kept_until_the_callee_speaks() {
    let mut world = World::new();
    let text = invite("sip:+15550199@192.0.2.10", "c4", CARRIER);
    let sent = world.message(CARRIER, &text);
    let cancel = text
        .replace("INVITE sip", "CANCEL sip")
        .replace("1 INVITE", "1 CANCEL");
    let said = world.message(CARRIER, &cancel);
    let codes: Vec<&str> = said.iter().map(|(_, text)| &text[8..11]).collect();
    assert_eq!(codes, ["200", "487"], "{said:#?}");
    let late = world.message("10.0.2.1:5060", &respond(&sent[1].1, 180, "x", ""));
    assert_eq!(late.len(), 1, "{late:#?}");
    assert!(late[0].1.starts_with("CANCEL sip:+15550199@10.0.2.1 "));
    let ended = world.message("10.0.2.1:5060", &respond(&sent[1].1, 487, "x", ""));
    assert!(
        ended.len() == 1 && ended[0].1.starts_with("ACK "),
        "{ended:#?}"
    );
}

#[test]
fn an_answer_that_comes_after_the_caller_gave_up_is_ended_by_ack_and_bye() {
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
        &respond(&sent[1].1, 200, "x", "10.0.2.1:5080"),
    );
    assert_eq!(reaped.len(), 2, "{reaped:#?}");
    assert!(
        reaped[0].1.starts_with("ACK sip:b@10.0.2.1:5080 ") && reaped[0].0 == "10.0.2.1:5080",
        "{reaped:#?}"
    );
    assert!(
        reaped[1].1.starts_with("BYE sip:b@10.0.2.1:5080 "),
        "{reaped:#?}"
    );
}

#[test]
fn the_sizes_told_last_are_those_of_the_proxy_at_rest() {
    let mut world = World::new();
    let sent = world.message(PBX, &invite("sip:+15550100@192.0.2.10", "c6", PBX));
    world.until(2_000);
    let told = |world: &World| {
        world.events.iter().rev().find_map(|event| match event {
            Event::Load { load, .. } => Some(*load),
            _ => None,
        })
    };
    assert_eq!(told(&world).map(|load| load.calls_in_setup), Some(1));
    world.message(&sent[1].0, &respond(&sent[1].1, 486, "x", ""));
    world.until(300_000);
    let last = told(&world).expect("told");
    assert_eq!(
        (last.contexts, last.calls_in_setup, last.calls_active),
        (0, 0, 0)
    );
}

#[test]
fn a_reload_that_reorders_targets_still_counts_each_ones_calls() {
    let first = "{ uri = \"sip:10.0.2.1\", priority = 10, weight = 10, max_calls = 1 }";
    let second = "{ uri = \"sip:10.0.2.2\", priority = 20, weight = 10, max_calls = 1 }";
    let file = |targets: &str| with_targets("", targets);
    let mut world = World::with(&file(&format!("{first}, {second}")), |_| {});
    let call = |world: &mut World, name: &str| {
        let sent = world.message(CARRIER, &invite("sip:+15550199@192.0.2.10", name, CARRIER));
        let (to, text) = sent[1].clone();
        world.message(&to, &respond(&text, 200, name, &to));
        to
    };
    assert_eq!(call(&mut world, "c1"), "10.0.2.1:5060");
    let swapped = snapshot(&file(&format!("{second}, {first}")), |_| {}, |_| {});
    world
        .proxy
        .handle(world.now, Input::Routing(swapped), &mut world.out);
    world.collect();
    // The first is full, wherever it stands in the file; its BYE frees it.
    assert_eq!(call(&mut world, "c2"), "10.0.2.2:5060");
    let bye = inside("BYE", "sip:+15550199@192.0.2.10", "c1", ";tag=c1", 2, "");
    let sent = world.message(CARRIER, &bye.replace(PBX, CARRIER));
    world.message("10.0.2.1:5060", &respond(&sent[0].1, 200, "c1", ""));
    assert_eq!(call(&mut world, "c3"), "10.0.2.1:5060");
}

#[test]
fn an_answer_of_dns_moves_the_place_that_it_is_for_and_no_other() {
    let before = snapshot(FILE, |_| {}, |_| {});
    let start = common::began();
    let shared = Shared::new(1, start);
    let mut world = World::of_shard(ShardId(0), shared, start, Arc::clone(&before));
    let at = |world: &World| -> BTreeSet<String> {
        let known = world.proxy.peers();
        known.map(|(peer, _)| peer.addr.to_string()).collect()
    };
    let others = ["203.0.113.9:5060", "10.0.2.1:5060", "10.0.2.2:5060"];
    let with = |more: &[&str]| {
        others
            .iter()
            .chain(more)
            .map(|it| (*it).to_owned())
            .collect()
    };
    let was: BTreeSet<String> = with(&["203.0.113.1:5060", "203.0.113.2:5060"]);
    assert_eq!(at(&world), was);
    let place = |host: &str| {
        let mut places = before.settings().places.iter();
        places
            .position(|place| &*place.host == host)
            .expect("it is configured")
    };
    // More of them, fewer, and none; then as before.
    for addresses in [
        &["203.0.113.3:5060", "203.0.113.4:5060", "203.0.113.5:5060"][..],
        &["203.0.113.3:5060"],
        &[],
        &["203.0.113.1:5060", "203.0.113.2:5060"],
    ] {
        let mut places = before.places().to_vec();
        let one = &mut places[place("one.carrier.test")];
        let candidates = addresses.iter().map(|addr| Candidate {
            addr: addr.parse().expect("an address"),
            ..one.candidates[0]
        });
        *one = Arc::new(Resolved {
            candidates: candidates.collect(),
            freshness: Freshness::Fresh,
        });
        let routing = Arc::new(Routing::new(Arc::clone(before.settings()), places));
        world
            .proxy
            .handle(world.now, Input::Routing(routing), &mut world.out);
        world.collect();
        assert_eq!(at(&world), with(addresses));
        // The first edge's addresses, then the second's.
        let name = format!("out{}", addresses.len());
        let sent = world.message(PBX, &invite("sip:+15550100@192.0.2.10", &name, PBX));
        let first = addresses.contains(&&*sent[1].0);
        assert!(
            first || (addresses.is_empty() && sent[1].0 == others[0]),
            "{sent:#?}"
        );
        world.message(&sent[1].0, &respond(&sent[1].1, 486, "x", ""));
        let name = format!("in{}", addresses.len());
        let sent = world.message(CARRIER, &invite("sip:+15550199@192.0.2.10", &name, CARRIER));
        assert_eq!(sent[1].0, others[1]);
        world.message(&sent[1].0, &respond(&sent[1].1, 486, "x", ""));
        // Until the calls let go of what they began under.
        let later = (world.now - world.start).as_millis() as u64 + 60_000;
        world.until(later);
    }
}

/// [`FILE`] with other targets, and further keys of `[trunk.origination]`.
fn with_targets(keys: &str, targets: &str) -> String {
    let (head, rest) = FILE.split_once("targets = [").unwrap();
    let (_, rest) = rest.split_once("]").unwrap();
    format!("{head}{keys}\ntargets = [{targets}]{rest}")
}

#[test]
fn a_target_at_its_calls_a_second_is_skipped_until_the_next_second() {
    let targets = "{ uri = \"sip:10.0.2.1\", priority = 10, weight = 10, max_cps = 2 }, \
                   { uri = \"sip:10.0.2.2\", priority = 20, weight = 10 }";
    let mut world = World::with(&with_targets("", targets), |_| {});
    let mut went = Vec::new();
    for (at, name) in [(0, "c1"), (0, "c2"), (999, "c3"), (1_050, "c4")] {
        world.until(at);
        let sent = world.message(CARRIER, &invite("sip:+15550199@192.0.2.10", name, CARRIER));
        went.push(sent[1].0.clone());
        world.message(&sent[1].0, &respond(&sent[1].1, 486, "x", ""));
    }
    assert_eq!(
        went,
        [
            "10.0.2.1:5060",
            "10.0.2.1:5060",
            "10.0.2.2:5060",
            "10.0.2.1:5060"
        ]
    );
}

#[test]
fn a_hash_keeps_a_caller_a_callee_or_a_call_at_one_target() {
    let targets =
        "{ uri = \"sip:10.0.2.1\" }, { uri = \"sip:10.0.2.2\" }, { uri = \"sip:10.0.2.3\" }";
    let called = |world: &mut World, number: u32, call: u32| {
        let uri = format!("sip:+1555{number:04}@192.0.2.10");
        let sent = world.message(CARRIER, &invite(&uri, &format!("c{call}"), CARRIER));
        world.message(&sent[1].0, &respond(&sent[1].1, 486, "x", ""));
        sent[1].0.clone()
    };
    // Which calls meet the same target: those of one To, of one From (all of them here), of one Call-ID.
    for (on, one_number_one_target, all_one_target) in [
        ("to", true, false),
        ("from", true, true),
        ("call-id", false, false),
    ] {
        let keys = format!("policy = \"hash\"\nhash_on = \"{on}\"");
        let mut world = World::with(&with_targets(&keys, targets), |_| {});
        let one: BTreeSet<_> = (0..30).map(|call| called(&mut world, 7, call)).collect();
        assert_eq!(one.len() == 1, one_number_one_target, "{on}: {one:?}");
        let all: BTreeSet<_> = (0..30)
            .map(|number| called(&mut world, number, 100 + number))
            .collect();
        assert_eq!(all.len() == 1, all_one_target, "{on}: {all:?}");
    }
}
