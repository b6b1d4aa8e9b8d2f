//! The program as a person meets it: its texts, its exit codes, its pages, its logs, its appetite.

use std::{fs, thread::sleep, time::Duration};

use serde_json::Value;
use trunkline_tests::{Lab, Sipp, Trunkline, binary, get, root, trunkline, until};

const BOTH_WAYS: &str = r#"
[[listen]]
protocol = "udp"
address = "@1:5060"
[[trunk]]
name = "carrier"
allow = ["@2"]
termination.edges = ["@2:5060"]
origination.targets = ["@3:5060"]
"#;

#[test]
fn help_tells_what_there_is() {
    let lab = Lab::new();
    let top = trunkline(&lab, &["--help"]);
    assert_eq!(top.code, 0);
    for (command, words) in [
        ("run", &["--config", "SIGHUP", "SIGTERM"][..]),
        ("check", &["<FILE>", "remedy"]),
        ("targets", &["--config", "--json", "health"]),
        ("demo", &["--stay", "loopback"]),
    ] {
        assert!(top.out.contains(&format!("\n  {command}")), "{}", top.out);
        let help = trunkline(&lab, &[command, "--help"]);
        assert_eq!(help.code, 0);
        for word in words {
            assert!(
                help.out.contains(word),
                "{command} --help has no {word:?}:\n{}",
                help.out
            );
        }
    }
    let version = trunkline(&lab, &["--version"]);
    assert!(version.out.starts_with("trunkline 0."), "{}", version.out);
}

#[test]
fn a_wrong_command_line_is_told_what_is_right() {
    let lab = Lab::new();
    for (args, words) in [
        (&["chekc"][..], "'check'"),
        (&["run"], "--config <FILE>"),
        (&["check"], "<FILE>"),
        (&["run", "--config", "nowhere.toml"], "nowhere.toml"),
        (&["check", "nowhere.toml"], "nowhere.toml"),
    ] {
        let told = trunkline(&lab, args);
        assert_eq!(told.code, 2, "{args:?}: {told:?}");
        assert!(told.err.contains(words), "{args:?}: {}", told.err);
    }
}

/// One trunk and one listener, so that only the fault is wrong.
const GOOD: &str = r#"
[[listen]]
protocol = "udp"
address = "127.0.0.1:5060"
[[trunk]]
name = "acme"
allow = ["198.51.100.7"]
[trunk.termination]
edges = ["edge.example.net"]
[trunk.origination]
targets = ["198.51.100.20:5060"]
"#;

/// What is changed, into what; where the fault is then; what is told; what is to be done.
const BROKEN: [(&str, &str, &str, &str, &str); 10] = [
    (
        "edges",
        "edegs",
        "9:1",
        "unknown key \"edegs\"",
        "did you mean \"edges\"?",
    ),
    ("\"udp\"", "\"upd\"", "3:12", "upd", "udp"),
    ("127.0.0.1:5060", "127.0.0.1", "4:11", "127.0.0.1", "port"),
    (
        "198.51.100.7",
        "198.51.100.0/33",
        "7:10",
        "198.51.100.0/33",
        "192.0.2.0/24",
    ),
    (
        "198.51.100.7",
        "preset:twillio",
        "7:10",
        "twillio",
        "twilio",
    ),
    (
        "edge.example.net",
        "sip:edge example",
        "9:10",
        "edge example",
        "sip:",
    ),
    (
        "[trunk.origination]",
        "response_timeout = 4\n[trunk.origination]",
        "10:20",
        "response_timeout",
        "\"4s\"",
    ),
    (
        "[\"198.51.100.20:5060\"]",
        "[{ uri = \"sip:198.51.100.20\", priority = 70000 }]",
        "11:52",
        "70000",
        "65535",
    ),
    (
        "[trunk.origination]",
        "[[trunk]]\nname = \"acme\"\n[trunk.origination]",
        "11:8",
        "acme",
        "give each trunk its own name",
    ),
    ("\"acme\"", "\"acme", "6:13", "string", "\""),
];

#[test]
fn ten_broken_files_get_ten_answers_that_need_no_manual() {
    let lab = Lab::new();
    for (was, is, place, fault, remedy) in BROKEN {
        let broken = GOOD.replacen(was, is, 1);
        assert_ne!(broken, GOOD, "{was:?} is in the file");
        lab.write("trunkline.toml", &broken);
        let told = trunkline(&lab, &["check", "trunkline.toml"]);
        assert_eq!(told.code, 2, "{broken}\n{told:?}");
        let head = format!("trunkline.toml:{place}: error: ");
        let line = told.err.lines().find(|line| line.starts_with(&head));
        let line = line.unwrap_or_else(|| panic!("nothing begins with {head:?}:\n{}", told.err));
        assert!(
            line.contains(fault) && line.contains(remedy),
            "{fault:?}, {remedy:?}: {line}"
        );
        let started = trunkline(&lab, &["run", "--config", "trunkline.toml"]);
        assert_eq!(
            (started.code, started.err),
            (2, told.err),
            "check and run say the same"
        );
    }
}

#[test]
fn every_example_can_be_used() {
    let lab = Lab::new();
    let mut checked = 0;
    for entry in fs::read_dir(root().join("config")).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let told = trunkline(&lab, &["check", file.to_str().unwrap()]);
        assert_eq!(told.code, 0, "{}: {told:?}", file.display());
        assert!(told.out.contains(": good: "), "{}", told.out);
        checked += 1;
    }
    assert!(checked >= 5, "{checked} examples");
}

#[test]
fn targets_shows_addresses_and_health_with_and_without_a_running_service() {
    let lab = Lab::new();
    let running = Trunkline::start(&lab, BOTH_WAYS);
    let config = running.config().to_str().unwrap().to_owned();
    let shown = trunkline(&lab, &["targets", "--config", &config]);
    assert_eq!(shown.code, 0, "{shown:?}");
    for words in [
        "carrier  edge  @2:5060",
        "carrier  target  @3:5060",
        "udp:@3:5060",
    ] {
        assert!(
            shown.out.contains(&lab.text(words)),
            "{words}: {}",
            shown.out
        );
    }
    assert!(!shown.out.contains("unknown"), "{}", shown.out);
    let json = trunkline(&lab, &["targets", "--json", "--config", &config]);
    let json: Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(json.as_array().map(Vec::len), Some(2));
    drop(running);
    let shown = trunkline(&lab, &["targets", "--config", &config]);
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.out.contains("unknown"), "{}", shown.out);
    assert!(
        shown.err.contains("resolving here, health unknown"),
        "{}",
        shown.err
    );
}

#[test]
fn the_demo_ends_by_itself_and_well() {
    let lab = Lab::new();
    let demo = trunkline(&lab, &["demo"]);
    assert_eq!(demo.code, 0, "{}\n{}", demo.out, demo.err);
    // Silence at the start, the next address after four seconds: the scene everything is about.
    assert!(
        demo.out
            .lines()
            .any(|line| line.trim_start().starts_with("4.0")),
        "{}",
        demo.out
    );
    assert!(
        !demo.out.contains("panicked") && !demo.err.contains("panicked"),
        "{}",
        demo.err
    );
}

#[test]
fn the_admin_pages_answer() {
    let lab = Lab::new();
    let trunkline = Trunkline::start(&lab, BOTH_WAYS);
    let _pbx = Sipp::new(&lab, "answer.xml", "@3:5060").start();
    Sipp::new(&lab, "call.xml", "@2:5060")
        .calls("@1:5060", "+15550100", 5, 5)
        .start()
        .succeed();
    let admin = lab.addr("@1:8060");
    for path in [
        "/healthz", "/readyz", "/metrics", "/targets", "/calls", "/fences",
    ] {
        assert_eq!(
            get(admin, path).map(|reply| reply.status),
            Some(200),
            "{path}"
        );
    }
    let lost = get(admin, "/nowhere").unwrap();
    assert!(
        lost.status == 404 && lost.body.contains("/readyz"),
        "{lost:?}"
    );
    let calls = until("five calls are listed", || {
        let calls = trunkline.json("/calls");
        (calls.as_array()?.len() == 5).then_some(calls)
    });
    let call = &calls[0];
    assert_eq!(
        (&call["direction"], &call["trunk"], &call["status"]),
        (&"origination".into(), &"carrier".into(), &200.into())
    );
    assert_eq!(call["to"], "+15****00", "numbers are masked");
    let metrics = trunkline.page("/metrics");
    for name in [
        "trunkline_calls_total",
        "trunkline_attempts_total",
        "trunkline_candidate_state",
    ] {
        assert!(metrics.contains(&format!("# TYPE {name} ")), "{name}");
    }
}

#[test]
fn json_logs_are_json_line_by_line_and_show_no_number() {
    let lab = Lab::new();
    let config = format!("log.format = \"json\"\nlog.level = \"trace\"\n{BOTH_WAYS}");
    let mut trunkline = Trunkline::start(&lab, &config);
    let _pbx = Sipp::new(&lab, "answer.xml", "@3:5060").start();
    Sipp::new(&lab, "call.xml", "@2:5060")
        .calls("@1:5060", "+15550100", 5, 5)
        .start()
        .succeed();
    trunkline.logs("\"call_id\" \"status\":200");
    trunkline.signal("TERM");
    trunkline.finish(Duration::from_secs(60));
    let log = trunkline.log();
    let mut calls = 0;
    for line in log.lines() {
        let entry: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(
            entry["level"].is_string() && entry["timestamp"].is_string(),
            "{line}"
        );
        calls += usize::from(entry["message"] == "call");
    }
    assert_eq!(calls, 5);
    for number in ["15550100", "15550123"] {
        assert!(!log.contains(number), "{number} is in the log:\n{log}");
    }
}

/// A debug build and a slow machine are allowed more than the 30 MiB of a release build.
const IDLE_KIB_MAX: u64 = 60 * 1024;

/// In two seconds: two or three a second, of timers of a second.
const IDLE_WAKES_MAX: u64 = 30;

#[test]
fn an_idle_process_uses_no_cpu_and_little_memory() {
    let lab = Lab::new();
    let trunkline = Trunkline::start(
        &lab,
        &format!(
            "health.target_probe_interval = \"off\"\nhealth.probe_interval = \"off\"\n{BOTH_WAYS}"
        ),
    );
    // What the start still has to do ends before that; then next to nothing may happen for a while.
    until("it is at rest", || {
        let before = ticks(trunkline.pid());
        sleep(Duration::from_millis(300));
        (ticks(trunkline.pid()) == before).then_some(())
    });
    let (wakes_before, ticks_before) = (wakes(trunkline.pid()), ticks(trunkline.pid()));
    sleep(Duration::from_secs(2));
    // Wakes do not depend on what else the machine does; ticks would show who never sleeps.
    // A thread that has ended takes its count along.
    let woken = wakes(trunkline.pid()).saturating_sub(wakes_before);
    assert!(woken <= IDLE_WAKES_MAX, "woken {woken} times in 2 s");
    let used = ticks(trunkline.pid()) - ticks_before;
    assert!(used <= 20, "{used} ticks of 10 ms in 2 s");
    let status = fs::read_to_string(format!("/proc/{}/status", trunkline.pid())).unwrap();
    let rss = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kib: u64 = rss.trim().trim_end_matches("kB").trim().parse().unwrap();
    println!("{}: {kib} KiB at rest", binary().display());
    assert!(kib < IDLE_KIB_MAX, "{kib} KiB at rest");
}

/// How often a process's threads went to sleep.
fn wakes(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let sleeps = threads.map(|thread| {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap_or_default();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.map_or(0, |count| count.trim().parse().unwrap())
    });
    sleeps.sum()
}

/// The processor time of a process in ticks of 10 ms, its own and the kernel's for it.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name, in brackets, may hold anything; utime and stime are the 12th and 13th word after it.
    let after = stat.rsplit(')').next().unwrap();
    after
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<u64>().unwrap())
        .sum()
}
