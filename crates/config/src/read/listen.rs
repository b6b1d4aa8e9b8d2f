//! `[[listen]]`.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use trunkline_proxy::settings::Listener;
use trunkline_sip::Transport;

use crate::{
    environment::Environment,
    host,
    read::{fit_name, node::socket},
    walk::{Section, Value, shorten},
};

/// Sockets are few; a file with more is a mistake.
const LISTENERS_MAX: usize = 256;

pub(super) fn read(root: &Section<'_>, environment: &dyn Environment) -> Vec<Listener> {
    let sections = root.sections("listen");
    if sections.is_empty() && root.written("listen").is_none() {
        let remedy = "write [[listen]] with protocol = \"udp\" and address = \"0.0.0.0:5060\"";
        root.faults.absent(
            "listen",
            "there is no [[listen]]: nothing could reach this node",
            remedy,
        );
    }
    if let Some(section) = sections.get(LISTENERS_MAX) {
        let message = format!(
            "this is listener {} of {}",
            LISTENERS_MAX + 1,
            sections.len()
        );
        root.faults.error(
            &section.at,
            &section.path,
            message,
            format!("at most {LISTENERS_MAX} are possible"),
        );
    }
    note_repeats(&sections);
    sections
        .iter()
        .take(LISTENERS_MAX)
        .map(|section| listener(section, environment))
        .collect()
}

/// Two sockets on one address cannot both be bound; two listeners of one name cannot be told apart.
fn note_repeats(sections: &[Section<'_>]) {
    let mut names: HashMap<String, usize> = HashMap::new();
    let mut sockets: Vec<(String, SocketAddr, usize)> = Vec::new();
    for section in sections.iter().take(LISTENERS_MAX) {
        let (line, _) = section.faults.source().position(section.at.start);
        let text = |key: &str| {
            let value = section.written(key)?;
            let text = value.as_text()?.to_owned();
            Some((value, text))
        };
        if let Some((value, name)) = text("name") {
            if let Some(first) = names.get(&name) {
                let message = format!(
                    "the listener of line {first} is also named {:?}",
                    shorten(&name)
                );
                value.fault(message, "give each listener its own name");
            }
            names.entry(name).or_insert(line);
        }
        let (Some((_, protocol)), Some((value, address))) = (text("protocol"), text("address"))
        else {
            continue;
        };
        let Ok(address) = address.parse::<SocketAddr>() else {
            continue;
        };
        let taken = sockets
            .iter()
            .find(|(other, taken, _)| *other == protocol && collide(*taken, address));
        if let Some((_, other, first)) = taken {
            let message =
                format!("{protocol} {address} is already listened on: line {first} binds {other}");
            value.fault(message, "remove one of the two, or change its port");
        }
        sockets.push((protocol, address, line));
    }
}

/// Whether the system refuses to bind both. IPv6 sockets of ours take no IPv4.
pub(super) fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let same_host = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && a.is_ipv6() == b.is_ipv6() && same_host
}

fn listener(section: &Section<'_>, environment: &dyn Environment) -> Listener {
    let name = section.text("name").filter(|name| {
        section
            .written("name")
            .is_some_and(|value| fit_name(&value, name))
    });
    section.required("protocol");
    let transport = match section.word("protocol") {
        "tcp" => Transport::Tcp,
        // Noted as a fault; from here on it is what comes nearest.
        "tls" | "ws" | "wss" => {
            if let Some(value) = section.written("protocol") {
                unspoken(&value, &section.text("protocol").unwrap_or_default());
            }
            Transport::Tcp
        }
        _ => Transport::Udp,
    };
    let bind = section
        .required("address")
        .zip(section.text("address"))
        .and_then(|(value, text)| socket(&value, &text, None));
    let advertise = match section.written("advertise").zip(section.text("advertise")) {
        Some((value, text)) => advertised(&value, &text, bind),
        None => bind.and_then(|bind| implied(section, bind, environment)),
    };
    Listener {
        name: name.map(Into::into),
        transport,
        bind: bind.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))),
        advertise: advertise.unwrap_or_default().into(),
    }
}

/// Notes that this build does not speak a protocol.
pub(super) fn unspoken(value: &Value<'_>, protocol: &str) {
    let message = format!("{} asks for {protocol}", value.name());
    value.fault(message, "this build speaks udp and tcp; use one of them");
}

/// `advertise` as Via shows it.
fn advertised(value: &Value<'_>, text: &str, bind: Option<SocketAddr>) -> Option<String> {
    let (host, port) = match host::host_and_port(text) {
        Ok(parts) => parts,
        Err(what) => {
            let message = format!(
                "advertise = {:?} cannot be shown to peers: {what}",
                shorten(text)
            );
            value.fault(message, "write the address or name that peers reach this listener by, \"203.0.113.10:5060\"");
            return None;
        }
    };
    if host == "0.0.0.0" || host == "[::]" {
        let message = format!("advertise = {text:?} is an address nobody can answer to");
        value.fault(
            message,
            "write the address or name that peers reach this listener by, \"203.0.113.10:5060\"",
        );
        return None;
    }
    let port = port
        .or_else(|| bind.map(|bind| bind.port()))
        .unwrap_or(5060);
    Some(format!("{host}:{port}"))
}

/// What is advertised when nothing is written.
fn implied(
    section: &Section<'_>,
    bind: SocketAddr,
    environment: &dyn Environment,
) -> Option<String> {
    let value = section.written("address")?;
    if bind.port() == 0 {
        value.warn(
            "port 0 lets the system choose a port that no peer can know",
            "write a port, 5060 is usual",
        );
    }
    if !bind.ip().is_unspecified() {
        return Some(bind.to_string());
    }
    match environment.local_address(bind.is_ipv6()) {
        Some(address) => {
            let shown = SocketAddr::new(address, bind.port());
            let message =
                format!("{bind} is every address of this machine; peers will be shown {shown}");
            value.warn(
                message,
                format!("write advertise = \"{shown}\", or the public address in front of it"),
            );
            Some(shown.to_string())
        }
        None => {
            let loopback: IpAddr = if bind.is_ipv6() {
                Ipv6Addr::LOCALHOST.into()
            } else {
                Ipv4Addr::LOCALHOST.into()
            };
            let shown = SocketAddr::new(loopback, bind.port());
            let message = format!(
                "{bind} is every address of this machine, and none leads outside; peers will be shown {shown}"
            );
            value.warn(
                message,
                "write advertise = \"...\" with the address that peers reach this listener by",
            );
            Some(shown.to_string())
        }
    }
}
