//! SIPp, the peer that others wrote.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
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
    contact: SocketAddr,
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
            contact: lab.addr(at),
            to: None,
            args: Vec::new(),
        }
    }

    /// "udp", or "tcp" with one connection for all its calls.
    pub fn over(mut self, transport: &'static str) -> Self {
        self.transport = transport;
        self
    }

    /// What it calls, and how often in all and in a second.
    pub fn calls(mut self, to: &str, number: &str, count: u32, rate: u32) -> Self {
        self.to = Some(self.lab.addr(to));
        self.arg("-s", number)
            .arg("-m", &count.to_string())
            .arg("-r", &rate.to_string())
    }

    /// How long the scenario's pauses are, in milliseconds.
    pub fn pause(self, milliseconds: u32) -> Self {
        self.arg("-d", &milliseconds.to_string())
    }

    /// Is behind a [`Lossy`](crate::Lossy) line, whose address it tells others.
    pub fn behind(mut self, line: &str) -> Self {
        self.contact = self.lab.addr(line);
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
            // "-aa": answers OPTIONS, as a peer does that wants calls.
            let file = root().join("tests/sipp").join(&self.scenario);
            command.arg("-aa").arg("-sf").arg(file);
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
            .args(["-nostdin", "-skip_rlimit"])
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
            .args(["-key", "contact", &self.contact.to_string()])
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

    /// How many lines that begin with `word` its scenario wrote: what they mean, the scenario says.
    pub fn logged(&self, word: &str) -> usize {
        let log = read(&self.folder.join("log"));
        log.lines().filter(|line| line.starts_with(word)).count()
    }

    /// Waits until its scenario wrote so many lines that begin with `word`.
    ///
    /// # Panics
    /// When it does not.
    pub fn logs(&self, count: usize, word: &str) {
        let what = format!("{} wrote {word:?} {count} times", self.name);
        until(&what, || (self.logged(word) >= count).then_some(()));
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
    const LISTENS: &str = "0A";
    let family = if at.is_ipv6() { "6" } else { "" };
    let table = fs::read_to_string(format!("/proc/net/{transport}{family}")).unwrap_or_default();
    let local = kernel_form(at);
    table.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next() == Some(&local) && (transport == "udp" || words.nth(1) == Some(LISTENS))
    })
}

/// An address as the kernel writes it in /proc/net: words of the machine's byte order, in hex.
pub fn kernel_form(addr: SocketAddr) -> String {
    let octets = match addr.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words = octets
        .chunks_exact(4)
        .map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
    let ip: String = words.map(|word| format!("{word:08X}")).collect();
    format!("{ip}:{:04X}", addr.port())
}
