//! Calls that find something dead, or overloaded, or lossy, on their way.

use trunkline_tests::{Lab, Lossy, Phone, Sipp, Trunkline, Webhook, until};

/// Three PBXs that share 60/20/20, a fourth for when they are gone. Probes are off: what is found
/// out here is found out by calls.
const PBXS: &str = r#"
health.target_probe_interval = "off"
[[listen]]
protocol = "udp"
address = "@1:5060"
[[trunk]]
name = "carrier"
allow = ["@2"]
[trunk.origination]
targets = [
  { uri = "sip:@11:5060", priority = 10, weight = 60 },
  { uri = "sip:@12:5060", priority = 10, weight = 20 },
  { uri = "sip:@13:5060", priority = 10, weight = 20 },
  { uri = "sip:@14:5060", priority = 20, weight = 10 },
]
"#;

#[test]
fn a_thousand_calls_are_shared_60_20_20() {
    let lab = Lab::new();
    let _trunkline = Trunkline::start(&lab, PBXS);
    let pbx = |at| Sipp::new(&lab, "answer.xml", at).start();
    let pbxs = ["@11:5060", "@12:5060", "@13:5060", "@14:5060"].map(pbx);
    Sipp::new(&lab, "call.xml", "@2:5060")
        .calls("@1:5060", "+15550100", 1000, 250)
        .start()
        .succeed();
    let counts = pbxs.each_ref().map(|pbx| pbx.logged("call") as f64);
    assert_eq!(
        counts.iter().sum::<f64>(),
        1000.0,
        "each call went to one PBX: {counts:?}"
    );
    for (count, share) in counts.into_iter().zip([0.6, 0.2, 0.2, 0.0]) {
        let sigma = (1000f64 * share * (1.0 - share)).sqrt();
        assert!((count - 1000.0 * share).abs() <= 4.0 * sigma, "{counts:?}");
    }
}

#[test]
fn a_dead_pbx_leaves_its_share_to_its_peers() {
    let lab = Lab::new();
    let trunkline = Trunkline::start(&lab, PBXS);
    let pbx = |at| Sipp::new(&lab, "answer.xml", at).start();
    let pbxs = ["@12:5060", "@13:5060", "@14:5060"].map(pbx);
    // Nobody is at @11: the system says so, and the caller does not notice.
    Sipp::new(&lab, "call.xml", "@2:5060")
        .calls("@1:5060", "+15550100", 200, 100)
        .start()
        .succeed();
    let [second, third, spare] = pbxs.each_ref().map(|pbx| pbx.logged("call"));
    assert_eq!((second + third, spare), (200, 0));
    assert!(
        second.abs_diff(third) <= 60,
        "half each: {second} and {third}"
    );
    assert_ne!(
        trunkline.health(lab.addr("@11:5060")).as_deref(),
        Some("up")
    );
}

/// Kills the largest PBX in the middle of traffic; `silently`: its address stays and says nothing.
fn kill_a_pbx_during_traffic(silently: bool) {
    let lab = Lab::new();
    let _trunkline = Trunkline::start(&lab, PBXS);
    let pbx = |at| Sipp::new(&lab, "answer.xml", at).start();
    let first = pbx("@11:5060");
    let others = ["@12:5060", "@13:5060", "@14:5060"].map(pbx);
    let callers = Sipp::new(&lab, "reach.xml", "@2:5060")
        .calls("@1:5060", "+15550100", 600, 100)
        .start();
    first.logs(100, "call");
    first.kill();
    let _silence = silently.then(|| lab.silence("@11:5060"));
    callers.succeed();
    let [second, third, spare] = others.each_ref().map(|pbx| pbx.logged("call"));
    assert!(
        second + third > 300 && spare == 0,
        "{second} {third} {spare}"
    );
}

#[test]
fn killing_a_pbx_during_traffic_loses_no_call_that_was_not_answered() {
    kill_a_pbx_during_traffic(false);
}

#[test]
fn a_pbx_that_falls_silent_during_traffic_loses_no_call_that_was_not_answered() {
    kill_a_pbx_during_traffic(true);
}

#[test]
fn the_next_priority_is_used_when_the_better_one_is_gone_and_left_when_it_is_back() {
    let lab = Lab::new();
    let config = PBXS.replace(
        "target_probe_interval = \"off\"",
        "target_probe_interval = \"1s\"",
    );
    let trunkline = Trunkline::start(&lab, &format!("health.slow_start = \"0s\"\n{config}"));
    let spare = Sipp::new(&lab, "answer.xml", "@14:5060").start();
    Sipp::new(&lab, "call.xml", "@2:5060")
        .calls("@1:5060", "+15550100", 50, 50)
        .start()
        .succeed();
    assert_eq!(spare.logged("call"), 50);
    let repaired = Sipp::new(&lab, "answer.xml", "@12:5060").start();
    until(
        "the repaired PBX is up again, by its answers to OPTIONS",
        || (trunkline.health(lab.addr("@12:5060"))? == "up").then_some(()),
    );
    Sipp::new(&lab, "call.xml", "@2:5060")
        .calls("@1:5060", "+15550100", 50, 50)
        .start()
        .succeed();
    assert_eq!((repaired.logged("call"), spare.logged("call")), (50, 50));
}

#[test]
fn a_pbx_that_refuses_with_503_hands_the_call_on_and_a_busy_one_does_not() {
    let lab = Lab::new();
    let config = PBXS.replace("@13:5060\", priority = 10", "@13:5060\", priority = 30");
    let _trunkline = Trunkline::start(&lab, &config);
    let full = ["@11:5060", "@12:5060"].map(|at| Sipp::new(&lab, "full.xml", at).start());
    let busy = Sipp::new(&lab, "busy.xml", "@14:5060").start();
    let last = Sipp::new(&lab, "answer.xml", "@13:5060").start();
    let mut carrier = Phone::new(&lab, "@2:5060", "@1:5060");
    carrier.send("INVITE", &lab.text("sip:+15550100@@1:5060"));
    let answer = carrier.answer();
    assert!(answer.starts_with("SIP/2.0 486 Busy Here\r\n"), "{answer}");
    assert_eq!(full.each_ref().map(|pbx| pbx.logged("call")), [1, 1]);
    assert_eq!((busy.logged("call"), last.logged("call")), (1, 0));
}

/// No PBX lives; a web service at @9 decides.
const ALL_DEAD: &str = r#"
health.target_probe_interval = "off"
[[listen]]
protocol = "udp"
address = "@1:5060"
[[trunk]]
name = "carrier"
allow = ["@2"]
origination.targets = ["@11:5060", "@12:5060"]
[trunk.disaster_recovery]
url = "http://@9:8080/voice"
fallback_url = "http://@9:8080/fallback"
retries = 0
"#;

const DIAL: &str = "<Response><Dial><Sip>sip:+15550177@@4:5060</Sip></Dial></Response>";

#[test]
fn when_all_pbxs_are_dead_the_webhook_sends_the_calls_elsewhere() {
    let lab = Lab::new();
    let webhook = Webhook::start(&lab, "@9:8080", &[("/voice", 200, DIAL)]);
    let _trunkline = Trunkline::start(&lab, ALL_DEAD);
    let elsewhere = Sipp::new(&lab, "answer.xml", "@4:5060").start();
    Sipp::new(&lab, "call.xml", "@2:5060")
        .calls("@1:5060", "+15550100", 10, 10)
        .start()
        .succeed();
    assert_eq!(elsewhere.logged("call"), 10);
    let asked = webhook.asked_for("/voice");
    assert_eq!(asked.method, "POST");
    assert_eq!(asked.field("From").as_deref(), Some("+15550123"));
    assert_eq!(asked.field("To").as_deref(), Some("+15550100"));
    let call_sids: Vec<_> = webhook
        .asked()
        .iter()
        .map(|asked| asked.field("CallSid"))
        .collect();
    assert_eq!(call_sids.len(), 10, "each call is asked about once");
    assert!(
        call_sids
            .iter()
            .all(|sid| sid.as_ref().is_some_and(|sid| sid.len() > 2))
    );
    assert!(
        elsewhere
            .messages()
            .contains(&lab.text("INVITE sip:+15550177@@4:5060"))
    );
}

#[test]
fn the_webhook_can_refuse_a_call_or_call_it_busy() {
    for (document, status) in [
        ("<Response><Reject/></Response>", "404"),
        ("<Response><Reject reason=\"busy\"/></Response>", "486"),
    ] {
        let lab = Lab::new();
        let _webhook = Webhook::start(&lab, "@9:8080", &[("/voice", 200, document)]);
        let _trunkline = Trunkline::start(&lab, ALL_DEAD);
        let mut carrier = Phone::new(&lab, "@2:5060", "@1:5060");
        carrier.send("INVITE", &lab.text("sip:+15550100@@1:5060"));
        let answer = carrier.answer();
        assert!(
            answer.starts_with(&format!("SIP/2.0 {status} ")),
            "{answer}"
        );
    }
}

#[test]
fn a_webhook_that_fails_has_a_fallback_that_is_told_why() {
    let lab = Lab::new();
    let webhook = Webhook::start(
        &lab,
        "@9:8080",
        &[("/voice", 500, "out of order"), ("/fallback", 200, DIAL)],
    );
    let _trunkline = Trunkline::start(&lab, ALL_DEAD);
    let elsewhere = Sipp::new(&lab, "answer.xml", "@4:5060").start();
    Sipp::new(&lab, "call.xml", "@2:5060")
        .calls("@1:5060", "+15550100", 1, 1)
        .start()
        .succeed();
    assert_eq!(elsewhere.logged("call"), 1);
    let (first, second) = (webhook.asked_for("/voice"), webhook.asked_for("/fallback"));
    assert_eq!(first.field("CallSid"), second.field("CallSid"));
    assert_eq!(first.field("ErrorCode"), None);
    assert!(second.field("ErrorCode").is_some(), "{second:?}");
    assert_eq!(
        second.field("ErrorUrl"),
        Some(lab.text("http://@9:8080/voice"))
    );
}

#[test]
fn without_any_valid_answer_the_caller_gets_503_and_can_go_elsewhere() {
    let lab = Lab::new();
    let _webhook = Webhook::start(
        &lab,
        "@9:8080",
        &[("/voice", 200, "<html>"), ("/fallback", 200, "<Response/")],
    );
    let _trunkline = Trunkline::start(&lab, ALL_DEAD);
    let mut carrier = Phone::new(&lab, "@2:5060", "@1:5060");
    carrier.send("INVITE", &lab.text("sip:+15550100@@1:5060"));
    let answer = carrier.answer();
    assert!(
        answer.starts_with("SIP/2.0 503 ") && answer.contains("\r\nRetry-After: "),
        "{answer}"
    );
}

/// A carrier with two places, by name. @21 and @22 are Dublin, @31 is Frankfurt.
const EDGES: &str = r#"
dns.servers = ["@9:53053"]
health.probe_interval = "off"
[pbx]
allow = ["@3"]
[[listen]]
protocol = "udp"
address = "@1:5060"
[[trunk]]
name = "carrier"
termination.edges = ["dublin.test", "sip:frankfurt.test:5060"]
"#;

#[test]
fn a_dead_address_of_the_carrier_costs_no_call() {
    let lab = Lab::new();
    let dns = lab.dns("@9:53053");
    // Dublin has services, on a port of their own; Frankfurt has an address.
    dns.srv(
        "_sip._udp.dublin.test",
        300,
        &[
            (10, 10, 5080, "a.dublin.test"),
            (10, 10, 5080, "b.dublin.test"),
        ],
    );
    dns.a("a.dublin.test", 300, &[lab.ip("@21")]);
    dns.a("b.dublin.test", 300, &[lab.ip("@22")]);
    dns.a("frankfurt.test", 300, &[lab.ip("@31")]);
    let trunkline = Trunkline::start(&lab, EDGES);
    let _silent = lab.silence("@21:5080");
    let dublin = Sipp::new(&lab, "answer.xml", "@22:5080").start();
    let frankfurt = Sipp::new(&lab, "answer.xml", "@31:5060").start();
    Sipp::new(&lab, "call.xml", "@3:5060")
        .calls("@1:5060", "+15550199", 100, 25)
        .start()
        .succeed();
    assert_eq!((dublin.logged("call"), frankfurt.logged("call")), (100, 0));
    assert!(
        dublin
            .messages()
            .contains("INVITE sip:+15550199@dublin.test"),
        "the edge's own name"
    );
    assert_ne!(
        trunkline.health(lab.addr("@21:5080")).as_deref(),
        Some("up")
    );
}

#[test]
fn a_dead_edge_costs_no_call() {
    let lab = Lab::new();
    let dns = lab.dns("@9:53053");
    dns.a("dublin.test", 300, &[lab.ip("@21"), lab.ip("@22")]);
    dns.a("frankfurt.test", 300, &[lab.ip("@31")]);
    let _trunkline = Trunkline::start(&lab, EDGES);
    let _silent = ["@21:5060", "@22:5060"].map(|at| lab.silence(at));
    let frankfurt = Sipp::new(&lab, "answer.xml", "@31:5060").start();
    Sipp::new(&lab, "call.xml", "@3:5060")
        .calls("@1:5060", "+15550199", 100, 10)
        .start()
        .succeed();
    assert_eq!(frankfurt.logged("call"), 100);
    assert!(
        frankfurt
            .messages()
            .contains("INVITE sip:+15550199@frankfurt.test")
    );
}

#[test]
fn dns_that_dies_takes_no_call_with_it() {
    let lab = Lab::new();
    let dns = lab.dns("@9:53053");
    dns.a("dublin.test", 1, &[lab.ip("@21")]);
    dns.a("frankfurt.test", 1, &[lab.ip("@31")]);
    let trunkline = Trunkline::start(&lab, EDGES);
    let dublin = Sipp::new(&lab, "answer.xml", "@21:5060").start();
    drop(dns);
    until("the answer is served stale", || {
        trunkline.page("/targets").contains("stale").then_some(())
    });
    Sipp::new(&lab, "call.xml", "@3:5060")
        .calls("@1:5060", "+15550199", 20, 20)
        .start()
        .succeed();
    assert_eq!(dublin.logged("call"), 20);
}

#[test]
fn calls_complete_when_each_tenth_datagram_is_lost() {
    let lab = Lab::new();
    let config = r#"
health.target_probe_interval = "off"
[[listen]]
protocol = "udp"
address = "@1:5060"
[[trunk]]
name = "carrier"
allow = ["@2"]
[trunk.origination]
targets = ["@3:5060"]
response_timeout = "20s"
"#;
    let trunkline = Trunkline::start(&lab, config);
    // Both ends are behind bad lines: Trunkline sees the relays' addresses only.
    let lines = [("@2:5060", "@12:5060", 1), ("@3:5060", "@13:5060", 2)]
        .map(|(at, peer, seed)| Lossy::start(&lab, at, "@1:5060", peer, 10, seed));
    let pbx = Sipp::new(&lab, "answer.xml", "@13:5060")
        .behind("@3:5060")
        .start();
    Sipp::new(&lab, "call.xml", "@12:5060")
        .behind("@2:5060")
        .calls("@2:5060", "+15550100", 60, 30)
        .start()
        .succeed();
    assert_eq!(pbx.logged("call"), 60, "retransmissions are no new calls");
    for line in lines {
        let (lost, passed) = line.counts();
        assert!(lost > 20 && passed > 200, "{lost} lost, {passed} passed");
    }
    let metrics = trunkline.page("/metrics");
    let count = metrics
        .lines()
        .find_map(|line| line.strip_prefix("trunkline_retransmissions_total "));
    assert!(count.is_some_and(|count| count != "0"), "{metrics}");
}
