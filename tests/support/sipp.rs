//! SIPp, the peer that others wrote.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{
    Lab,
    program::{Program, read, root},
    wait::{LIMIT, until},
};

/// Gives every SIPp of the process a name of its own.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// How to start one SIPp.
#[derive(Debug)]
pub struct Sipp<'a> {
    lab: &'a Lab,
    scenario: String,
    transport: &'static str,
    at: SocketAddr,
    to: Option<SocketAddr>,
    args: Vec<String>,
}

impl<'a> Sipp<'a> {
    /// A SIPp at an address (`@2:5060`). The scenario is one of SIPp's own ("uac", "uas") or a file
    /// of `tests/sipp` ("answered.xml").
    pub fn new(lab: &'a Lab, scenario: &str, at: &str) -> Sipp<'a> {
        Sipp {
            lab,
            scenario: scenario.to_owned(),
            transport: "udp",
            at: lab.addr(at),
            to: None,
            args: Vec::new(),
        }
    }

    /// Speaks TCP, one connection for all its calls.
    pub fn tcp(mut self) -> Self {
        self.transport = "tcp";
        self
    }

    /// What it calls, and how often in all and in a second.
    pub fn calls(mut self, to: &str, number: &str, count: u32, rate: u32) -> Self {
        self.to = Some(self.lab.addr(to));
        self.arg("-s", number)
            .arg("-m", &count.to_string())
            .arg("-r", &rate.to_string())
    }

    /// Ends after so many calls that came.
    pub fn count(self, count: u32) -> Self {
        self.arg("-m", &count.to_string())
    }

    /// What a scenario calls `[name]`.
    pub fn key(mut self, name: &str, value: &str) -> Self {
        let value = self.lab.text(value);
        self.args
            .extend(["-key".to_owned(), name.to_owned(), value]);
        self
    }

    /// Any other option with its value.
    pub fn arg(mut self, name: &str, value: &str) -> Self {
        self.args.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// Starts it; returns at once for a caller, and for a callee when it can be called.
    ///
    /// # Panics
    /// When SIPp is not installed, or does not start.
    pub fn start(self) -> SippRun {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = self
            .lab
            .folder()
            .join(format!("{}-{number}", self.scenario));
        fs::create_dir_all(&folder).expect("a folder for SIPp");
        let mut command = Command::new("sipp");
        command.current_dir(&folder);
        if self.scenario.ends_with(".xml") {
            command
                .arg("-sf")
                .arg(root().join("tests/sipp").join(&self.scenario));
        } else {
            command.args(["-sn", &self.scenario]);
        }
        let host = match self.at {
            SocketAddr::V4(addr) => addr.ip().to_string(),
            SocketAddr::V6(addr) => format!("[{}]", addr.ip()),
        };
        command
            .args(["-i", &host, "-p", &self.at.port().to_string(), "-ci", &host])
            .args(["-t", if self.transport == "tcp" { "t1" } else { "u1" }])
            .args(["-nostdin", "-skip_rlimit", "-aa"])
            .args(["-timeout", "60s", "-timeout_error"])
            .args([
                "-trace_err",
                "-error_file",
                "errors",
                "-trace_logs",
                "-log_file",
                "log",
            ])
            .args(["-trace_msg", "-message_file", "messages"])
            .args(&self.args);
        if let Some(to) = self.to {
            command.arg(to.to_string());
        }
        let name = format!("{} at {}", self.scenario, self.at);
        let program = Program::start("sipp", command, &folder)
            .expect("sipp can be started; it is the package sip-tester, which tests/run installs");
        let mut run = SippRun {
            name,
            program,
            folder,
        };
        if self.to.is_none() {
            until(&format!("{} listens", run.name), || {
                assert_eq!(
                    run.program.ended(),
                    None,
                    "{} did not start: {}",
                    run.name,
                    run.why()
                );
                bound(self.transport, self.at).then_some(())
            });
        }
        run
    }
}

/// A SIPp that runs, until dropped.
#[derive(Debug)]
pub struct SippRun {
    name: String,
    program: Program,
    folder: PathBuf,
}

impl SippRun {
    /// Waits for its end; every call of it must have gone as its scenario says.
    ///
    /// # Panics
    /// When one has not, with what SIPp found wrong.
    pub fn succeed(mut self) {
        let finished = self.program.finish(LIMIT);
        assert_eq!(finished.code, 0, "{} failed: {}", self.name, self.why());
    }

    /// Ends it as a power cut would.
    pub fn kill(mut self) {
        self.program.kill();
    }

    /// The lines that its scenario wrote, in order: most write one for each call that came.
    pub fn log(&self) -> Vec<String> {
        read(&self.folder.join("log"))
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Waits until its scenario wrote so many lines.
    ///
    /// # Panics
    /// When it does not.
    pub fn logged(&self, lines: usize) {
        until(&format!("{} wrote {lines} lines", self.name), || {
            (self.log().len() >= lines).then_some(())
        });
    }

    /// Every message it sent and received.
    pub fn messages(&self) -> String {
        read(&self.folder.join("messages"))
    }

    /// What it found wrong.
    fn why(&self) -> String {
        let errors = read(&self.folder.join("errors"));
        let said = self.program.said();
        let screen = said.rfind("Scenario Screen").map_or("", |at| &said[at..]);
        let errors: String = errors.chars().take(6000).collect();
        format!("\n{errors}\n{screen}")
    }
}

/// Whether some process has bound an address, from the kernel's own lists.
fn bound(transport: &str, at: SocketAddr) -> bool {
    const LISTEN: &str = "0A";
    let (file, ip) = match at {
        SocketAddr::V4(addr) => (
            transport.to_owned(),
            format!("{:08X}", u32::from_ne_bytes(addr.ip().octets())),
        ),
        SocketAddr::V6(addr) => {
            let words = addr
                .ip()
                .octets()
                .chunks_exact(4)
                .map(|word| {
                    format!(
                        "{:08X}",
                        u32::from_ne_bytes([word[0], word[1], word[2], word[3]])
                    )
                })
                .collect::<String>();
            (format!("{transport}6"), words)
        }
    };
    let local = format!("{ip}:{:04X}", at.port());
    let table = fs::read_to_string(format!("/proc/net/{file}")).unwrap_or_default();
    table.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next() == Some(&local) && (transport == "udp" || words.nth(1) == Some(LISTEN))
    })
}
