//! `[node]`, `[admin]`, `[dns]`, `[log]`: what concerns the process as a whole.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use trunkline_proxy::question::Secret;

use crate::{
    control::{ControlFile, LogFormat, LogLevel},
    environment::Environment,
    host,
    read::fit_name,
    walk::{Section, Value, shorten},
};

/// A shorter secret could be guessed.
const SECRET_BYTES_MIN: usize = 16;

pub(super) struct Node {
    pub control: ControlFile,
    /// `presets_dir`, resolved.
    pub presets: Option<PathBuf>,
}

pub(super) fn read(root: &Section<'_>, folder: &Path, environment: &dyn Environment) -> Node {
    let node = root.section_or_empty("node");
    let log = root.section_or_empty("log");
    let dns = root.section_or_empty("dns");
    let file_of = |name: &str| node.text(name).map(|text| folder.join(text));
    let secret_file = file_of("secret_file");
    let secret = match (&secret_file, node.written("secret_file")) {
        (Some(file), Some(value)) => secret(&value, file, SECRET_BYTES_MIN, environment),
        _ => None,
    };
    let control = ControlFile {
        name: name(&node, environment),
        workers: usize::try_from(node.number("workers")).unwrap_or_default(),
        state_dir: file_of("state_dir").unwrap_or_default(),
        secret_file,
        secret,
        admin: admin(root),
        dns_servers: dns
            .items("servers")
            .iter()
            .filter_map(name_server)
            .collect(),
        dns_timeout: dns.duration("timeout"),
        log_format: match log.word("format") {
            "json" => LogFormat::Json,
            _ => LogFormat::Text,
        },
        log_level: match log.word("level") {
            "error" => LogLevel::Error,
            "warn" => LogLevel::Warn,
            "debug" => LogLevel::Debug,
            "trace" => LogLevel::Trace,
            _ => LogLevel::Info,
        },
        drain_timeout: node.duration("drain_timeout"),
    };
    Node {
        control,
        presets: file_of("presets_dir"),
    }
}

fn name(node: &Section<'_>, environment: &dyn Environment) -> String {
    let written = node.written("name").zip(node.text("name"));
    match written {
        Some((value, name)) if fit_name(&value, &name) => name,
        _ => environment
            .host_name()
            .unwrap_or_else(|| "trunkline".to_owned()),
    }
}

fn admin(root: &Section<'_>) -> Option<SocketAddr> {
    let section = root.section("admin")?;
    let value = section.required("address")?;
    let text = section.text("address")?;
    socket(&value, &text, None)
}

fn name_server(value: &Value<'_>) -> Option<SocketAddr> {
    const DNS_PORT: u16 = 53;
    let text = value.element("an address and a port in quotes, such as \"192.0.2.53:53\"")?;
    socket(value, text, Some(DNS_PORT))
}

/// An address and a port. A fault when it is none.
pub(super) fn socket(value: &Value<'_>, text: &str, usual_port: Option<u16>) -> Option<SocketAddr> {
    match host::socket(text, usual_port) {
        Ok(address) => Some(address),
        Err(remedy) => {
            value.fault(
                format!(
                    "{} = {:?} is no address and port",
                    value.name(),
                    shorten(text)
                ),
                remedy,
            );
            None
        }
    }
}

/// Reads a secret from a file of its own, without the white space around it.
pub(super) fn secret(
    value: &Value<'_>,
    file: &Path,
    bytes_min: usize,
    environment: &dyn Environment,
) -> Option<Secret> {
    let bytes = match environment.read_file(file) {
        Ok(bytes) => bytes,
        Err(error) => {
            let message = format!("cannot read {}: {error}", file.display());
            value.fault(
                message,
                "create the file, or let the user that runs Trunkline read it",
            );
            return None;
        }
    };
    let secret = bytes.trim_ascii();
    if secret.len() < bytes_min {
        let (message, remedy) = match secret.len() {
            0 => (
                format!("{} is empty", file.display()),
                "put the secret into it".to_owned(),
            ),
            bytes => (
                format!(
                    "{} holds {bytes} bytes, too few for a secret",
                    file.display()
                ),
                format!("put at least {bytes_min} bytes into it"),
            ),
        };
        value.fault(message, remedy);
        return None;
    }
    Some(Secret(secret.into()))
}
