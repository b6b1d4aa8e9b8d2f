//! Calls that go well, through the real program: both ways, every transport, whole dialogs.

use std::fs;

use trunkline_tests::{Lab, Phone, Sipp, Trunkline, kernel_form, until};

/// A carrier at @2, a PBX at @3, over UDP.
const OVER_UDP: &str = r#"
[[listen]]
protocol = "udp"
address = "@1:5060"
[[trunk]]
name = "carrier"
allow = ["@2"]
termination.edges = ["@2:5060"]
origination.targets = ["@3:5060"]
"#;

/// The same, over TCP.
const OVER_TCP: &str = r#"
[[listen]]
protocol = "tcp"
address = "@1:5060"
[[trunk]]
name = "carrier"
allow = ["@2"]
termination.edges = ["sip:@2:5060;transport=tcp"]
origination.targets = ["sip:@3:5060;transport=tcp"]
"#;

#[test]
fn sipps_own_caller_and_callee_need_ten_lines() {
    let lab = Lab::new();
    let config = include_str!("../config/minimal.toml").replace("127.0.0.", "@");
    assert!(config.lines().filter(|line| !line.starts_with('#')).count() <= 10);
    let file = lab.write("trunkline.toml", &config);
    let _trunkline = Trunkline::run(&lab, &file, None);
    // These two ignore Record-Route: their BYE comes without our token, and is routed all the same.
    let pbx = Sipp::new(&lab, "uas", "@3:5060").start();
    Sipp::new(&lab, "uac", "@2:5060")
        .calls("@1:5060", "+15550100", 20, 20)
        .start()
        .succeed();
    pbx.kill();
    let _carrier = Sipp::new(&lab, "uas", "@2:5060").start();
    Sipp::new(&lab, "uac", "@3:5060")
        .calls("@1:5060", "+15550199", 20, 20)
        .start()
        .succeed();
}

#[test]
fn a_callee_that_answers_no_options_gets_calls_when_there_is_no_other() {
    let lab = Lab::new();
    let trunkline = Trunkline::start(
        &lab,
        &format!("{OVER_UDP}[health]\ntarget_probe_interval = \"1s\"\n"),
    );
    let _pbx = Sipp::new(&lab, "uas", "@3:5060").start();
    trunkline.logs(&lab.text("candidate peer=udp:@3:5060 \"down\""));
    Sipp::new(&lab, "uac", "@2:5060")
        .calls("@1:5060", "+15550100", 10, 5)
        .start()
        .succeed();
}

/// A carrier's calls to the PBX and a PBX's calls to the carrier, with callers that keep the Route
/// set and callees that want their BYE.
fn both_ways(lab: &Lab, config: &str, transport: &'static str) -> Trunkline {
    let trunkline = Trunkline::start(lab, config);
    for (caller, callee, number) in [
        ("@2:5060", "@3:5060", "+15550100"),
        ("@3:5060", "@2:5060", "+15550199"),
    ] {
        let answering = Sipp::new(lab, "answer.xml", callee).over(transport).start();
        Sipp::new(lab, "call.xml", caller)
            .over(transport)
            .calls("@1:5060", number, 30, 30)
            .start()
            .succeed();
        assert_eq!(answering.logged("call"), 30, "every call comes once");
        answering.kill();
    }
    until("all calls are in the list of calls", || {
        let calls = trunkline.json("/calls");
        let answered = calls
            .as_array()?
            .iter()
            .filter(|call| call["status"] == 200);
        (answered.count() == 60).then_some(())
    });
    trunkline
}

#[test]
fn calls_complete_both_ways_over_udp() {
    both_ways(&Lab::new(), OVER_UDP, "udp");
}

#[test]
fn calls_complete_both_ways_over_tcp() {
    both_ways(&Lab::new(), OVER_TCP, "tcp");
}

#[test]
fn four_threads_share_the_calls_of_two_peers() {
    for (config, transport) in [(OVER_UDP, "udp"), (OVER_TCP, "tcp")] {
        let config = format!("node.workers = 4\n{config}");
        let lab = Lab::new();
        let trunkline = both_ways(&lab, &config, transport);
        assert!(counter(&trunkline, "trunkline_shard_posts_total{result=\"passed\"}") > 100);
        assert_eq!(
            counter(
                &trunkline,
                "trunkline_shard_posts_total{result=\"dropped\"}"
            ),
            0
        );
    }
}

/// A counter of /metrics, by its name and labels.
fn counter(trunkline: &Trunkline, name: &str) -> u64 {
    let page = trunkline.page("/metrics");
    let value = page.lines().find_map(|line| line.strip_prefix(name));
    let value = value.and_then(|value| value.trim().parse().ok());
    value.unwrap_or_else(|| panic!("{name} is not in {page}"))
}

#[test]
fn all_calls_to_a_peer_share_one_connection() {
    let lab = Lab::new();
    let _trunkline = Trunkline::start(&lab, OVER_TCP);
    let _pbx = Sipp::new(&lab, "answer.xml", "@3:5060").over("tcp").start();
    Sipp::new(&lab, "call.xml", "@2:5060")
        .over("tcp")
        .calls("@1:5060", "+15550100", 50, 50)
        .start()
        .succeed();
    assert_eq!(connections(&lab, "@3:5060"), 1);
}

/// How many TCP connections an address has accepted that are open, or were until a moment ago.
fn connections(lab: &Lab, to: &str) -> usize {
    const LISTENS: &str = "0A";
    let local = kernel_form(lab.addr(to));
    let table = fs::read_to_string("/proc/net/tcp").expect("the kernel lists connections");
    let mut found = 0;
    for line in table.lines().skip(1) {
        let mut words = line.split_whitespace().skip(1);
        let (at, _from, state) = (words.next(), words.next(), words.next());
        found += usize::from(at == Some(&local) && state != Some(LISTENS));
    }
    found
}

#[test]
fn a_call_crosses_from_udp_to_tcp_and_back() {
    let lab = Lab::new();
    let config = r#"
[[listen]]
protocol = "udp"
address = "@1:5060"
[[listen]]
protocol = "tcp"
address = "@1:5060"
[[trunk]]
name = "carrier"
allow = ["@2"]
origination.targets = ["sip:@3:5060;transport=tcp"]
"#;
    let _trunkline = Trunkline::start(&lab, config);
    // Two Record-Routes, one for each side, and requests inside the dialog from both ends.
    let pbx = Sipp::new(&lab, "dialog-callee.xml", "@3:5060")
        .over("tcp")
        .start();
    Sipp::new(&lab, "dialog-caller.xml", "@2:5060")
        .calls("@1:5060", "+15550100", 10, 10)
        .start()
        .succeed();
    pbx.logs(10, "over");
}

#[test]
fn both_ends_change_a_call_and_the_callee_ends_it() {
    for (caller, callee) in [("@2:5060", "@3:5060"), ("@3:5060", "@2:5060")] {
        let lab = Lab::new();
        let _trunkline = Trunkline::start(&lab, OVER_UDP);
        let answering = Sipp::new(&lab, "dialog-callee.xml", callee).start();
        Sipp::new(&lab, "dialog-caller.xml", caller)
            .calls("@1:5060", "+15550100", 10, 10)
            .start()
            .succeed();
        answering.logs(10, "over");
    }
}

#[test]
fn a_caller_who_hangs_up_stops_the_ringing() {
    for (caller, callee) in [("@2:5060", "@3:5060"), ("@3:5060", "@2:5060")] {
        let lab = Lab::new();
        let _trunkline = Trunkline::start(&lab, OVER_UDP);
        let ringing = Sipp::new(&lab, "cancelled.xml", callee).start();
        Sipp::new(&lab, "cancel.xml", caller)
            .calls("@1:5060", "+15550100", 10, 10)
            .start()
            .succeed();
        ringing.logs(10, "cancelled");
    }
}

#[test]
fn an_invite_larger_than_a_packet_arrives_by_udp_whole() {
    let lab = Lab::new();
    let _trunkline = Trunkline::start(&lab, OVER_UDP);
    let pbx = Sipp::new(&lab, "answer.xml", "@3:5060").start();
    Sipp::new(&lab, "large.xml", "@2:5060")
        .calls("@1:5060", "+15550100", 3, 10)
        .start()
        .succeed();
    let messages = pbx.messages();
    let line = format!("a=x-pad:{}", "0123456789".repeat(7));
    let invites = messages.matches("INVITE sip:").count();
    assert!(invites >= 3, "{messages}");
    assert_eq!(
        messages.matches(&line).count(),
        invites * 40,
        "every line of every body"
    );
}

#[test]
fn calls_complete_from_ipv6_to_ipv4_and_back() {
    let lab = Lab::new();
    // There is only one loopback address: the PBX has ::1, the carrier an IPv4 address.
    let Some([trunkline, pbx]) = lab.ports_at_ipv6_loopback() else {
        return;
    };
    let config = format!(
        r#"
[[listen]]
protocol = "udp"
address = "@1:5060"
[[listen]]
protocol = "udp"
address = "{trunkline}"
[[trunk]]
name = "carrier"
allow = ["@2"]
termination.edges = ["@2:5060"]
origination.targets = ["{pbx}"]
"#
    );
    let _trunkline = Trunkline::start(&lab, &config);
    let (trunkline, pbx) = (trunkline.to_string(), pbx.to_string());
    for (caller, to, callee) in [
        ("@2:5060", "@1:5060", pbx.as_str()),
        (&pbx, &trunkline, "@2:5060"),
    ] {
        let answering = Sipp::new(&lab, "dialog-callee.xml", callee).start();
        Sipp::new(&lab, "dialog-caller.xml", caller)
            .calls(to, "+15550100", 10, 10)
            .start()
            .succeed();
        answering.logs(10, "over");
        answering.kill();
    }
}

#[test]
fn calls_complete_over_ipv6_alone() {
    let lab = Lab::new();
    let Some([trunkline, pbx, carrier]) = lab.ports_at_ipv6_loopback() else {
        return;
    };
    let config = format!(
        r#"
pbx.allow = ["::1"]
[[listen]]
protocol = "udp"
address = "{trunkline}"
[[trunk]]
name = "carrier"
termination.edges = ["{carrier}"]
"#
    );
    let _trunkline = Trunkline::start(&lab, &config);
    let (trunkline, pbx, carrier) = (trunkline.to_string(), pbx.to_string(), carrier.to_string());
    let answering = Sipp::new(&lab, "answer.xml", &carrier).start();
    Sipp::new(&lab, "call.xml", &pbx)
        .calls(&trunkline, "+15550100", 20, 20)
        .start()
        .succeed();
    assert_eq!(answering.logged("call"), 20);
}

#[test]
fn strangers_hear_nothing_and_known_peers_hear_what_is_wrong() {
    let lab = Lab::new();
    let trunkline = Trunkline::start(&lab, OVER_UDP);
    let mut stranger = Phone::new(&lab, "@66:5060", "@1:5060");
    let mut carrier = Phone::new(&lab, "@2:5060", "@1:5060");
    stranger.send("OPTIONS", "sip:anybody@example.net");
    stranger.send_bytes(b"INVITE sip:x SIP/2.0\r\n\r\n");
    // The carrier's answer comes after whatever the stranger would have got.
    carrier.send("REGISTER", &lab.text("sip:@1:5060"));
    let refused = carrier.answer();
    assert!(
        refused.starts_with("SIP/2.0 405 ") && refused.contains("\r\nAllow: "),
        "{refused}"
    );
    assert_eq!(
        stranger.hear_within(std::time::Duration::from_millis(1)),
        None
    );
    carrier.send_bytes(
        lab.text(
            "INVITE sip:+15550100@@1 SIP/2.0\r\nVia: SIP/2.0/UDP @2:5060;branch=z9hG4bK-x\r\n\r\n",
        )
        .as_bytes(),
    );
    let refused = carrier.answer();
    assert!(refused.starts_with("SIP/2.0 400 "), "{refused}");
    until("the stranger is counted", || {
        let counted = "trunkline_messages_dropped_total{why=\"unknown_source\"} 2";
        trunkline.page("/metrics").contains(counted).then_some(())
    });
}
