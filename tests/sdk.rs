//! The SDKs that Twilio and Vonage publish, against us: they verify our signatures and write the
//! documents that we run. They are fetched from the package registry into a folder of the build; where
//! there is none to be reached, that is said, and nothing is tested.

use std::{fs, net::SocketAddr, path::PathBuf, process::Command, sync::OnceLock, time::Duration};

use trunkline_tests::{Lab, Phone, Program, Sipp, Trunkline, get, root, until};

/// What is fetched, each with the version that was tried.
const PACKAGES: [&str; 3] = ["twilio==9.13.0", "vonage-jwt==1.1.5", "vonage-voice==1.5.1"];

/// A Python with the SDKs; `None`, and why, where it cannot be had.
fn python() -> Option<PathBuf> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    PYTHON.get_or_init(install).clone()
}

fn install() -> Option<PathBuf> {
    let venv = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("sdk-venv");
    let (python, done) = (venv.join("bin/python"), venv.join("installed"));
    let wanted = PACKAGES.join("\n");
    if fs::read_to_string(&done).is_ok_and(|have| have == wanted) {
        return Some(python);
    }
    let run = |command: &mut Command| match command.output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Some(error.to_string()),
    };
    let why = run(Command::new("python3").arg("-m").arg("venv").arg(&venv)).or_else(|| {
        let mut pip = Command::new(&python);
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]);
        run(pip
            .args(["--timeout", "20", "--retries", "1"])
            .args(PACKAGES))
    });
    match why {
        None => {
            fs::write(&done, wanted).expect("the build's folder can be written to");
            Some(python)
        }
        Some(why) => {
            let why: String = why.lines().rev().take(3).collect::<Vec<_>>().join(" | ");
            eprintln!(
                "NOT TESTED: the SDKs of Twilio and Vonage, because they cannot be installed: {why}"
            );
            None
        }
    }
}

/// The web server of `tests/sdk/webhook.py`, and what it found.
struct Application {
    addr: SocketAddr,
    program: Program,
}

impl Application {
    /// `None` where the SDKs cannot be had.
    fn start(lab: &Lab, at: &str) -> Option<Application> {
        let mut command = Command::new(python()?);
        let addr = lab.addr(at);
        command
            .arg(root().join("tests/sdk/webhook.py"))
            .args([addr.ip().to_string(), addr.port().to_string()])
            .arg(lab.text("@4:5060"))
            .current_dir(lab.folder());
        let program = Program::start("webhook", command, lab.folder()).expect("it can be started");
        until("the SDKs' web server is there", || {
            get(addr, "/ready")
                .is_some_and(|reply| reply.status == 200)
                .then_some(())
        });
        Some(Application { addr, program })
    }

    /// Waits for a line that it wrote.
    fn says(&self, line: &str) {
        until(&format!("the SDK says {line:?}"), || {
            let said = self.program.said();
            assert!(!said.contains("REFUSED"), "{said}");
            said.lines().any(|said| said == line).then_some(())
        });
    }
}

const CONFIG: &str = r#"
health.target_probe_interval = "off"
[[listen]]
protocol = "udp"
address = "@1:5060"
[[trunk]]
name = "carrier"
allow = ["@2"]
origination.targets = ["@11:5060"]
termination.edges = ["@6:5060"]
[trunk.disaster_recovery]
"#;

/// Calls; the SDK's document must lead the calls to @4, by way of the edge at @6, which is full.
fn calls_reach_duty(lab: &Lab, recovery: &str) -> Trunkline {
    let trunkline = Trunkline::start(lab, &format!("{CONFIG}{recovery}"));
    let edge = Sipp::new(lab, "full.xml", "@6:5060").start();
    let duty = Sipp::new(lab, "answer.xml", "@4:5060").start();
    Sipp::new(lab, "call.xml", "@2:5060")
        .calls("@1:5060", "+15550100", 3, 3)
        .start()
        .succeed();
    assert_eq!((edge.logged("call"), duty.logged("call")), (3, 3));
    trunkline
}

#[test]
fn twilios_sdk_verifies_our_requests_and_we_run_what_it_writes() {
    let lab = Lab::new();
    let Some(application) = Application::start(&lab, "@9:8080") else {
        return;
    };
    lab.write("token", "12345");
    for method in ["POST", "GET"] {
        let recovery = format!(
            "profile = \"twilio\"\nmethod = \"{method}\"\nurl = \"http://@9:8080/twilio?x=1&y=a%20b\"\nauth_token_file = \"token\"\n"
        );
        drop(calls_reach_duty(&lab, &recovery));
        application.says(&format!("twilio {method} verified"));
    }
    // The end of each call was told, signed as well.
    application.says("twilio ended failed verified");
}

#[test]
fn twilios_sdk_verifies_a_json_body_by_its_hash() {
    let lab = Lab::new();
    let Some(application) = Application::start(&lab, "@9:8080") else {
        return;
    };
    lab.write("token", "12345");
    let recovery =
        "format = \"vonage\"\nurl = \"http://@9:8080/twilio-json\"\nauth_token_file = \"token\"\n";
    let _trunkline = Trunkline::start(&lab, &format!("{CONFIG}{recovery}"));
    let mut carrier = Phone::new(&lab, "@2:5060", "@1:5060");
    carrier.send("INVITE", &lab.text("sip:+15550100@@1:5060"));
    let answer = carrier.answer();
    assert!(answer.starts_with("SIP/2.0 486 "), "{answer}");
    application.says("twilio JSON verified");
}

#[test]
fn vonages_sdk_verifies_our_token_and_we_run_what_it_writes() {
    let lab = Lab::new();
    let Some(application) = Application::start(&lab, "@9:8080") else {
        return;
    };
    lab.write("secret", "a signature secret of thirty-two");
    for method in ["POST", "GET"] {
        let recovery = format!(
            "profile = \"vonage\"\nmethod = \"{method}\"\nurl = \"http://@9:8080/vonage\"\njwt_secret_file = \"secret\"\njwt_api_key = \"abcd1234\"\n"
        );
        drop(calls_reach_duty(&lab, &recovery));
        application.says(&format!("vonage {method} verified"));
    }
    application.says("vonage event failed");
}

#[test]
fn an_rsa_key_signs_what_its_public_half_verifies() {
    let lab = Lab::new();
    let Some(application) = Application::start(&lab, "@9:8080") else {
        return;
    };
    let key = until("the application made a key", || {
        get(application.addr, "/key").filter(|reply| reply.status == 200)
    });
    lab.write("key.pem", &key.body);
    let recovery = "profile = \"vonage\"\nmethod = \"POST\"\nurl = \"http://@9:8080/rsa\"\njwt_key_file = \"key.pem\"\n";
    let _trunkline = Trunkline::start(&lab, &format!("{CONFIG}{recovery}"));
    let mut carrier = Phone::new(&lab, "@2:5060", "@1:5060");
    carrier.send("INVITE", &lab.text("sip:+15550100@@1:5060"));
    let heard = carrier.hear_within(Duration::from_secs(5));
    assert!(heard.is_some());
    application.says("rsa verified");
}
