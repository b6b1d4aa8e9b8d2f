//! The process itself: a restart, a crash, a reload and a drain in the middle of calls.

use std::{fs, time::Duration};

use trunkline_tests::{Lab, Phone, Sipp, Trunkline, until};

const BOTH_WAYS: &str = r#"
node.drain_timeout = "5s"
[[listen]]
protocol = "udp"
address = "@1:5060"
[[trunk]]
name = "carrier"
allow = ["@2"]
termination.edges = ["@2:5060"]
origination.targets = ["@3:5060"]
"#;

/// What an end may take that nothing holds up.
const SOON: Duration = Duration::from_secs(20);

/// Calls are established, Trunkline goes and comes back, then both ends use them.
fn dialogs_survive(end: impl Fn(&mut Trunkline)) {
    let lab = Lab::new();
    let mut trunkline = Trunkline::start(&lab, BOTH_WAYS);
    let answering = Sipp::new(&lab, "answer.xml", "@3:5060").start();
    // They hang up eight seconds after the answer; a BYE that is too early for the new process
    // comes again, as RFC 3261 17.1.2 says.
    let callers = Sipp::new(&lab, "call.xml", "@2:5060")
        .pause(8000)
        .calls("@1:5060", "+15550100", 20, 200)
        .start();
    callers.logs(20, "answered");
    end(&mut trunkline);
    trunkline.again(&lab);
    callers.succeed();
    assert_eq!(answering.logged("call"), 20);
}

#[test]
fn a_bye_still_arrives_after_a_restart() {
    dialogs_survive(|trunkline| {
        trunkline.signal("TERM");
        // What has ended lingers for retransmissions, so this may take the whole drain_timeout.
        assert_eq!(trunkline.finish(SOON).code, 0);
    });
}

#[test]
fn a_bye_still_arrives_after_a_crash() {
    dialogs_survive(Trunkline::kill);
}

#[test]
fn a_bye_of_the_callee_still_arrives_after_a_restart() {
    let lab = Lab::new();
    let mut trunkline = Trunkline::start(&lab, BOTH_WAYS);
    let answering = Sipp::new(&lab, "dialog-callee.xml", "@3:5060").start();
    let callers = Sipp::new(&lab, "dialog-caller.xml", "@2:5060")
        .pause(8000)
        .calls("@1:5060", "+15550100", 10, 200)
        .start();
    callers.logs(10, "answered");
    trunkline.kill();
    trunkline.again(&lab);
    callers.succeed();
    answering.logs(10, "over");
}

#[test]
fn a_reload_drops_no_call_and_new_calls_follow_the_new_file() {
    let lab = Lab::new();
    let trunkline = Trunkline::start(&lab, BOTH_WAYS);
    let old = Sipp::new(&lab, "answer.xml", "@3:5060").start();
    let new = Sipp::new(&lab, "answer.xml", "@4:5060").start();
    let callers = Sipp::new(&lab, "call.xml", "@2:5060")
        .pause(500)
        .calls("@1:5060", "+15550100", 300, 100)
        .start();
    old.logs(50, "call");
    // The PBX leaves the file while it has calls; its peers and its calls must not notice.
    let config = fs::read_to_string(trunkline.config()).unwrap();
    fs::write(
        trunkline.config(),
        config.replace(&lab.text("@3:5060"), &lab.text("@4:5060")),
    )
    .unwrap();
    trunkline.signal("HUP");
    trunkline.logs("reloaded");
    callers.succeed();
    let (before, after) = (old.logged("call"), new.logged("call"));
    assert!(
        before >= 50 && after > 100 && before + after == 300,
        "{before} then {after}"
    );
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    let lab = Lab::new();
    let trunkline = Trunkline::start(&lab, BOTH_WAYS);
    let answering = Sipp::new(&lab, "answer.xml", "@3:5060").start();
    let before = trunkline.json("/targets");
    let config = fs::read_to_string(trunkline.config()).unwrap();
    let line = 1 + config
        .lines()
        .position(|line| line.starts_with("allow"))
        .unwrap();
    fs::write(
        trunkline.config(),
        config.replace("allow", "alow").replace("@3", "@4"),
    )
    .unwrap();
    trunkline.signal("HUP");
    let refused = trunkline.logs("ERROR reload refused \"alow\"");
    assert!(
        refused.contains("\"alow\"") && refused.contains("\"allow\""),
        "{refused}"
    );
    assert!(
        refused.contains(&format!("line={line} column=1")),
        "{refused}"
    );
    let names = |targets: &serde_json::Value| -> Vec<String> {
        targets
            .as_array()
            .unwrap()
            .iter()
            .map(|target| target["written"].to_string())
            .collect()
    };
    assert_eq!(names(&trunkline.json("/targets")), names(&before));
    Sipp::new(&lab, "call.xml", "@2:5060")
        .calls("@1:5060", "+15550100", 10, 10)
        .start()
        .succeed();
    assert_eq!(answering.logged("call"), 10);
}

#[test]
fn a_drain_lets_running_calls_finish_and_sends_new_ones_elsewhere() {
    drains(BOTH_WAYS);
}

#[test]
fn a_drain_of_four_threads_waits_for_the_call_that_one_of_them_has() {
    drains(&format!("node.workers = 4\n{BOTH_WAYS}"));
}

fn drains(config: &str) {
    let lab = Lab::new();
    let mut trunkline = Trunkline::start(&lab, config);
    let ringing = Sipp::new(&lab, "reached.xml", "@3:5060")
        .pause(3000)
        .start();
    let caller = Sipp::new(&lab, "reach.xml", "@2:5060")
        .calls("@1:5060", "+15550100", 1, 1)
        .start();
    ringing.logs(1, "call");
    trunkline.signal("TERM");
    trunkline.logs("draining");
    // From another port of the carrier's address.
    let mut carrier = Phone::new(&lab, "@2:5070", "@1:5060");
    until("upstream balancers hear of it", || {
        carrier.send("OPTIONS", &lab.text("sip:@1:5060"));
        let answer = carrier.answer();
        (answer.starts_with("SIP/2.0 503 ") && answer.contains("\r\nRetry-After: ")).then_some(())
    });
    carrier.send("INVITE", &lab.text("sip:+15550101@@1:5060"));
    let answer = carrier.answer();
    assert!(
        answer.starts_with("SIP/2.0 503 ") && answer.contains("\r\nRetry-After: "),
        "{answer}"
    );
    assert_eq!(ringing.logged("confirmed"), 0, "it still rings");
    caller.succeed();
    ringing.logs(1, "confirmed");
    assert_eq!(trunkline.finish(SOON).code, 0);
}
