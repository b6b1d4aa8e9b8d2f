//! What the file says to the parts around the proxy.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use trunkline_proxy::question::Secret;

/// `[node]`, `[admin]`, `[dns]` and `[log]`: what the proxy itself does not need to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ControlFile {
    /// `node.name`, or the host name.
    pub name: String,
    /// `node.workers`; 0 = one for each core.
    pub workers: usize,
    /// `node.state_dir`; a relative one starts at the configuration's folder.
    pub state_dir: PathBuf,
    /// `node.secret_file`; a relative one starts at the configuration's folder.
    pub secret_file: Option<PathBuf>,
    /// What `secret_file` holds, without white space around it; at least 16 bytes.
    pub secret: Option<Secret>,
    /// `admin.address`; `None`: off.
    pub admin: Option<SocketAddr>,
    /// `dns.servers`; empty: the system's.
    pub dns_servers: Vec<SocketAddr>,
    /// `dns.timeout`.
    pub dns_timeout: Duration,
    /// `log.format`.
    pub log_format: LogFormat,
    /// `log.level`.
    pub log_level: LogLevel,
    /// `node.drain_timeout`.
    pub drain_timeout: Duration,
}

/// `log.format`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `log.level`: the least important that is written.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LogLevel {
    /// Only what needs a person.
    Error,
    /// And what may soon.
    Warn,
    /// And one line a call.
    Info,
    /// And every decision.
    Debug,
    /// And every message.
    Trace,
}

impl LogLevel {
    /// As the file writes it.
    pub const fn word(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}
