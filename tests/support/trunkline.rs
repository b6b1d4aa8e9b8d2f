//! The real program, running.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{
    Lab,
    http::get,
    program::{Finished, Program, binary, signal},
    wait::until,
};

/// `trunkline run`, until dropped.
#[derive(Debug)]
pub struct Trunkline {
    program: Program,
    config: PathBuf,
    admin: Option<SocketAddr>,
}

impl Trunkline {
    /// Writes the configuration (`@7` is an address of the laboratory; `node.state_dir` and an
    /// `[admin]` at `@1:8060` are added) and starts; returns when calls can come.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start(lab: &Lab, config: &str) -> Trunkline {
        let config = format!("node.state_dir = \"state\"\nadmin.address = \"@1:8060\"\n{config}");
        let file = lab.write("trunkline.toml", &config);
        Self::run(lab, &file, Some(lab.addr("@1:8060")))
    }

    /// Starts with a file that is there already; without an admin address, ready is what the log
    /// calls "started".
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn run(lab: &Lab, config: &Path, admin: Option<SocketAddr>) -> Trunkline {
        let mut command = Command::new(binary());
        command
            .arg("run")
            .arg("--config")
            .arg(config)
            .current_dir(lab.folder());
        let program =
            Program::start("trunkline", command, lab.folder()).expect("trunkline can be started");
        let mut running = Trunkline {
            program,
            config: config.to_owned(),
            admin,
        };
        until("trunkline is ready", || {
            let ended = running.program.ended();
            assert_eq!(ended, None, "trunkline did not start");
            let ready = match admin {
                Some(admin) => get(admin, "/readyz").is_some_and(|reply| reply.status == 200),
                None => running.log().contains("started"),
            };
            ready.then_some(())
        });
        running
    }

    /// Starts once more with the same file, after an end.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn again(&mut self, lab: &Lab) {
        // The log of before is kept beside the new one.
        let log = lab.folder().join("trunkline.out");
        let _ = fs::rename(&log, lab.folder().join("trunkline.before.out"));
        *self = Self::run(lab, &self.config.clone(), self.admin);
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// The configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Sends a signal: "HUP", "TERM".
    pub fn signal(&self, name: &str) {
        signal(self.program.pid(), name);
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        self.program.kill();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it goes on for longer than `limit`.
    pub fn finish(&mut self, limit: Duration) -> Finished {
        self.program.finish(limit)
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.program.said()
    }

    /// Waits until a line of the log holds all these words, one blank between two.
    ///
    /// # Panics
    /// When none comes.
    pub fn logs(&self, words: &str) -> String {
        until(&format!("the log has a line with {words}"), || {
            let log = self.log();
            let mut lines = log.lines();
            let found = lines.find(|line| words.split(' ').all(|word| line.contains(word)));
            found.map(str::to_owned)
        })
    }

    /// A page of the admin server.
    ///
    /// # Panics
    /// When it cannot be had.
    pub fn page(&self, path: &str) -> String {
        let admin = self.admin.expect("this one has an admin server");
        get(admin, path).expect("the admin server answers").body
    }

    /// A page of the admin server, as JSON.
    ///
    /// # Panics
    /// When it is no JSON.
    pub fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.page(path)).expect("JSON")
    }

    /// The health of one candidate ("udp:127.x.y.3:5060"), as `/targets` tells it.
    pub fn health(&self, address: SocketAddr) -> Option<String> {
        let targets = self.json("/targets");
        let mut candidates = targets
            .as_array()?
            .iter()
            .filter_map(|it| it["candidates"].as_array())
            .flatten();
        let found = candidates.find(|it| it["address"].as_str() == Some(&address.to_string()))?;
        found["health"].as_str().map(str::to_owned)
    }
}

impl Drop for Trunkline {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.log();
            let tail = log.lines().count().saturating_sub(15);
            eprintln!("the last lines of trunkline's log:");
            log.lines()
                .skip(tail)
                .for_each(|line| eprintln!("  {line}"));
        }
    }
}
