//! Real calls through the real program: SIPp on both sides, sockets, signals and time.

use trunkline_tests::{Lab, Sipp, Trunkline};

/// A carrier at @2, a PBX at @3, over UDP.
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
fn sipps_own_caller_and_callee_need_ten_lines() {
    let lab = Lab::new();
    let config = include_str!("../config/minimal.toml").replace("127.0.0.", "@");
    assert!(config.lines().filter(|line| !line.starts_with('#')).count() <= 10);
    let file = lab.write("trunkline.toml", &config);
    let _trunkline = Trunkline::run(&lab, &file, None);
    {
        let _pbx = Sipp::new(&lab, "uas", "@3:5060").start();
        Sipp::new(&lab, "uac", "@2:5060")
            .calls("@1:5060", "+15550100", 20, 20)
            .start()
            .succeed();
    }
    let _carrier = Sipp::new(&lab, "uas", "@2:5060").start();
    Sipp::new(&lab, "uac", "@3:5060")
        .calls("@1:5060", "+15550199", 20, 20)
        .start()
        .succeed();
}

#[test]
fn calls_complete_both_ways_over_udp() {
    let lab = Lab::new();
    let _trunkline = Trunkline::start(&lab, BOTH_WAYS);
    {
        let _pbx = Sipp::new(&lab, "uas", "@3:5060").start();
        Sipp::new(&lab, "uac", "@2:5060")
            .calls("@1:5060", "+15550100", 20, 20)
            .start()
            .succeed();
    }
    let _carrier = Sipp::new(&lab, "uas", "@2:5060").start();
    Sipp::new(&lab, "uac", "@3:5060")
        .calls("@1:5060", "+15550199", 20, 20)
        .start()
        .succeed();
}
