//! Every key of the file: its kind, its range, its default and what it is for.
//!
//! The only place where this is written down. Reading takes ranges and defaults from here, an
//! unknown key is compared with these names, and `config/reference.toml` is printed from it.

mod recovery;
mod trunk;

use std::time::Duration;

use crate::shape::{Given, Key, Kind, Shape};

const fn key(name: &'static str, kind: Kind, given: Given, note: &'static str) -> Key {
    Key {
        name,
        kind,
        given,
        note,
    }
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

const fn lasts(least: u64, most: u64) -> Kind {
    Kind::Duration {
        least: ms(least),
        most: ms(most),
        off: false,
    }
}

const fn lasts_or_off(least: u64, most: u64) -> Kind {
    Kind::Duration {
        least: ms(least),
        most: ms(most),
        off: true,
    }
}

const fn number(least: u64, most: u64) -> Kind {
    Kind::Number { least, most }
}

use Given::{Default, Nested, Optional, Required, Shown};

pub(crate) use self::{
    recovery::SOURCE,
    trunk::{EDGE, TARGET},
};

/// The file.
pub(crate) static ROOT: Shape = Shape {
    title: "the file",
    about: "the file",
    keys: &[&[
        key("node", Kind::Table(&NODE), Nested, ""),
        key("listen", Kind::Tables(&LISTEN), Nested, ""),
        key("admin", Kind::Table(&ADMIN), Nested, ""),
        key("dns", Kind::Table(&DNS), Nested, ""),
        key("access", Kind::Table(&ACCESS), Nested, ""),
        key("pbx", Kind::Table(&PBX), Nested, ""),
        key("trunk", Kind::Tables(&trunk::TRUNK), Nested, ""),
        key("route", Kind::Tables(&ROUTE), Nested, ""),
        key("health", Kind::Table(&HEALTH), Nested, ""),
        key("log", Kind::Table(&LOG), Nested, ""),
    ]],
};

static NODE: Shape = Shape {
    title: "[node]",
    about: "This process.",
    keys: &[&[
        key(
            "name",
            Kind::Text,
            Optional("\"edge-1\""),
            "Shown in logs, metrics and records. Default: the host name.",
        ),
        key(
            "workers",
            number(0, 256),
            Default("0"),
            "Data-path threads; 0 = one for each core.",
        ),
        key(
            "state_dir",
            Kind::File,
            Default("\"/var/lib/trunkline\""),
            "What must outlive a restart; created if missing.",
        ),
        key(
            "secret_file",
            Kind::File,
            Optional("\"cluster.secret\""),
            "Signs dialog tokens; the same on all nodes of a cluster. Default: made once in state_dir.",
        ),
        key(
            "presets_dir",
            Kind::File,
            Optional("\"presets\""),
            "Presets of your own: NAME.toml in here goes before the built-in preset NAME.",
        ),
        key(
            "drain_timeout",
            lasts(0, HOUR),
            Default("\"30s\""),
            "SIGTERM waits for running transactions at most this long.",
        ),
    ]],
};

static LISTEN: Shape = Shape {
    title: "[[listen]]",
    about: "Each is one socket address. Trunkline answers from the one that was used.",
    keys: &[&[
        key(
            "name",
            Kind::Text,
            Shown("\"outside\""),
            "Edges and targets can ask to be spoken to from here (`from`).",
        ),
        key(
            "protocol",
            Kind::Word(&["udp", "tcp", "tls", "ws", "wss"]),
            Required("\"udp\""),
            "This build speaks udp and tcp.",
        ),
        key(
            "address",
            Kind::Address,
            Required("\"0.0.0.0:5060\""),
            "The address and port to bind; IPv6 as \"[::]:5060\".",
        ),
        key(
            "advertise",
            Kind::Text,
            Shown("\"203.0.113.10:5060\""),
            "What peers see in Via and Record-Route. Default: the address bound; for a wildcard, the address this machine speaks from.",
        ),
    ]],
};

static ADMIN: Shape = Shape {
    title: "[admin]",
    about: "Health, metrics and status over HTTP; without this table there is none.",
    keys: &[&[key(
        "address",
        Kind::Address,
        Required("\"127.0.0.1:8060\""),
        "Where it listens. It has no login: keep it off public addresses.",
    )]],
};

static DNS: Shape = Shape {
    title: "[dns]",
    about: "How names are looked up.",
    keys: &[&[
        key(
            "servers",
            Kind::List("name servers"),
            Default("[]"),
            "\"ip:port\" each; empty: the system's.",
        ),
        key(
            "timeout",
            lasts(50, MINUTE),
            Default("\"2s\""),
            "One lookup may take this long. No call waits for it.",
        ),
    ]],
};

static ACCESS: Shape = Shape {
    title: "[access]",
    about: "Sources that nobody allowed.",
    keys: &[&[
        key(
            "unknown_source",
            Kind::Word(&["drop", "reject"]),
            Default("\"drop\""),
            "Silence, or a 403.",
        ),
        key(
            "rate",
            number(0, 1_000_000),
            Default("200"),
            "Messages a second and source, not for configured peers; 0 = no limit; burst is twice that.",
        ),
    ]],
};

static PBX: Shape = Shape {
    title: "[pbx]",
    about: "Who may place outbound calls; the targets' own addresses are always included.",
    keys: &[&[key(
        "allow",
        Kind::List("addresses and networks"),
        Default("[]"),
        "Addresses and networks, such as \"10.0.1.0/24\".",
    )]],
};

static ROUTE: Shape = Shape {
    title: "[[route]]",
    about: "Outbound: the first match wins; without any route, all trunks in file order.",
    keys: &[&[
        key(
            "match",
            Kind::Text,
            Required("\"+1*\""),
            "The called number, or how it begins; \"*\" matches everything.",
        ),
        key(
            "trunks",
            Kind::List("trunk names"),
            Required("[\"acme-twilio\"]"),
            "Tried in order when a trunk's edges are all failing.",
        ),
    ]],
};

static HEALTH: Shape = Shape {
    title: "[health]",
    about: "Defaults for all trunks; a trunk may have its own under [trunk.termination.health] and [trunk.origination.health].",
    keys: &[
        &[
            key(
                "probe_interval",
                lasts_or_off(100, HOUR),
                Default("\"30s\""),
                "OPTIONS towards carriers' addresses.",
            ),
            key(
                "target_probe_interval",
                lasts_or_off(100, HOUR),
                Default("\"5s\""),
                "OPTIONS towards PBXs.",
            ),
        ],
        &[
            key(
                "probe_timeout",
                lasts(10, 32 * SECOND),
                Default("\"1s\""),
                "A probe without any response for so long has failed.",
            ),
            key(
                "suspect_after",
                lasts_or_off(10, 32 * SECOND),
                Default("\"1s\""),
                "Silence to several calls for so long: suspect, probed at once.",
            ),
            key(
                "fail_after",
                number(1, 1_000),
                Default("2"),
                "Failures in a row before a candidate is down.",
            ),
            key(
                "slow_start",
                lasts(0, HOUR),
                Default("\"30s\""),
                "A candidate that came back takes so long to its full share.",
            ),
        ],
    ],
};

static LOG: Shape = Shape {
    title: "[log]",
    about: "What is written while it runs.",
    keys: &[&[
        key(
            "format",
            Kind::Word(&["text", "json"]),
            Default("\"text\""),
            "For people or for machines.",
        ),
        key(
            "level",
            Kind::Word(&["error", "warn", "info", "debug", "trace"]),
            Default("\"info\""),
            "The least important that is written.",
        ),
    ]],
};
