//! `[[trunk]]` and everything inside it.

use super::{
    Given::{Default, Nested, Optional, Required},
    HOUR, MINUTE, SECOND, key, lasts, lasts_or_off, number,
};
use crate::shape::{Key, Kind, Shape};

pub(super) static TRUNK: Shape = Shape {
    title: "[[trunk]]",
    about: "One business relation with one carrier.",
    keys: &[&[
        key(
            "name",
            Kind::Text,
            Required("\"acme-twilio\""),
            "Shown in logs and metrics; routes name it.",
        ),
        key(
            "allow",
            Kind::List("addresses, networks and presets"),
            Default("[]"),
            "Who may bring inbound calls: addresses, networks, \"preset:twilio\".",
        ),
        key(
            "hosts",
            Kind::List("host names"),
            Default("[]"),
            "Request-URI hosts that tell this trunk from another with the same sources.",
        ),
        key(
            "numbers",
            Kind::List("numbers"),
            Default("[]"),
            "Called numbers that do the same; \"+1555*\" is every number that begins so.",
        ),
        key(
            "in_dialog",
            Kind::Word(&["route", "peer"]),
            Default("\"route\""),
            "Requests inside a call go by Route and Contact (RFC 3261), or to the address the peer spoke from (peers behind NAT).",
        ),
        key("termination", Kind::Table(&TERMINATION), Nested, ""),
        key("origination", Kind::Table(&ORIGINATION), Nested, ""),
        key(
            "disaster_recovery",
            Kind::Table(&super::recovery::RECOVERY),
            Nested,
            "",
        ),
    ]],
};

/// What both directions have: timers of an attempt and of a call, and which answers move on.
static ATTEMPTS: [Key; 10] = [
    key(
        "response_timeout",
        lasts(10, 32 * SECOND),
        Default("\"4s\""),
        "No response at all from a candidate in this time: the next one.",
    ),
    key(
        "connect_timeout",
        lasts(10, 32 * SECOND),
        Default("\"2s\""),
        "A stream that takes longer to open: the next one.",
    ),
    key(
        "progress_timeout",
        lasts_or_off(10, 5 * MINUTE),
        Default("\"off\""),
        "Only 100 Trying for so long: the next one.",
    ),
    key(
        "answer_timeout",
        lasts(100, HOUR),
        Default("\"3m\""),
        "Ringing for so long: cancelled.",
    ),
    key(
        "setup_budget",
        lasts(10, 10 * MINUTE),
        Default("\"28s\""),
        "All attempts of a call together; the caller's own limit is usually 32 s.",
    ),
    key(
        "max_attempts",
        number(1, 100),
        Default("9"),
        "Attempts of a call in all.",
    ),
    key(
        "exhausted",
        Kind::Word(&["503", "best"]),
        Default("\"503\""),
        "When nothing is left: our own 503 with Retry-After, or the best real answer.",
    ),
    key(
        "retry_after_max",
        lasts(0, HOUR),
        Default("\"60s\""),
        "A 503 with Retry-After pauses its candidate, at most for so long.",
    ),
    key(
        "retry_budget",
        number(0, 100),
        Default("20"),
        "While most attempts beyond a call's first fail, so many of them for each 100 calls (and 3 a second); 0 = no limit.",
    ),
    key(
        "stop_on",
        Kind::List("codes and classes"),
        Optional("[404]"),
        "Codes or classes taken out of failover_on again.",
    ),
];

static TERMINATION: Shape = Shape {
    title: "[trunk.termination]",
    about: "Outbound: towards the carrier.",
    keys: &[
        &[key(
            "edges",
            Kind::Items(&EDGE),
            Required(
                "[\"acme.pstn.dublin.twilio.com\", { uri = \"sip:acme.pstn.frankfurt.twilio.com\" }]",
            ),
            "In order of preference; all addresses of one are tried before the next. Each \"host\", \"host:port\", \"sip:host:5060;transport=tcp\" or a table:",
        )],
        &ATTEMPTS,
        &[
            key(
                "failover_on",
                Kind::List("codes and classes"),
                Default("[408, 500, 502, 503, 504]"),
                "Final codes that mean failure: the next candidate. Codes or classes (\"5xx\").",
            ),
            key(
                "cps",
                number(0, 100_000),
                Default("0"),
                "Calls a second towards this carrier, evenly spaced, retries included; 0 = no limit.",
            ),
            key(
                "cps_wait",
                lasts(0, MINUTE),
                Default("\"2s\""),
                "A call waits its turn up to this long; when the line is longer, the route's next trunk is tried, or else it gets 503.",
            ),
            key("health", Kind::Table(&TERMINATION_HEALTH), Nested, ""),
        ],
    ],
};

/// An edge written as a table.
pub(crate) static EDGE: Shape = Shape {
    title: "an edge",
    about: "edges",
    keys: &[&EDGE_KEYS],
};

static EDGE_KEYS: [Key; 2] = [
    key(
        "uri",
        Kind::Text,
        Required("\"sip:host\""),
        "A host or SIP URI.",
    ),
    key(
        "from",
        Kind::Text,
        Optional("\"outside\""),
        "The name of the listener to speak from. Default: the one the system would use.",
    ),
];

static ORIGINATION: Shape = Shape {
    title: "[trunk.origination]",
    about: "Inbound: towards the PBXs.",
    keys: &[
        &[
            key(
                "policy",
                Kind::Word(&["weighted", "least_calls", "hash"]),
                Default("\"weighted\""),
                "How calls spread over the targets of one priority.",
            ),
            key(
                "hash_on",
                Kind::Word(&["call-id", "from", "to"]),
                Default("\"call-id\""),
                "What policy = \"hash\" looks at.",
            ),
            key(
                "targets",
                Kind::Items(&TARGET),
                Required(
                    "[\n  { uri = \"sip:pbx1.example.net\", priority = 10, weight = 60, max_calls = 500, max_cps = 50 },\n  { uri = \"sip:10.0.2.9:5060\", priority = 20 },\n]",
                ),
                "PBXs and SBCs. Each a host, a SIP URI, or a table:",
            ),
        ],
        &ATTEMPTS,
        &[
            key(
                "failover_on",
                Kind::List("codes and classes"),
                Optional("[\"4xx\", \"5xx\"]"),
                "Final codes that mean failure: the next target. Default: Twilio's rule, all but 2xx 3xx 400 404 405 410 416 482 484 486 487 6xx.",
            ),
            key("health", Kind::Table(&ORIGINATION_HEALTH), Nested, ""),
        ],
    ],
};

/// A target written as a table.
pub(crate) static TARGET: Shape = Shape {
    title: "a target",
    about: "targets",
    keys: &[
        &EDGE_KEYS,
        &[
            key(
                "priority",
                number(0, 65_535),
                Default("10"),
                "Lowest first.",
            ),
            key(
                "weight",
                number(0, 65_535),
                Default("10"),
                "Share inside its priority.",
            ),
            key(
                "max_calls",
                number(0, 1_000_000),
                Default("0"),
                "At so many active calls it is skipped; 0 = no limit.",
            ),
            key(
                "max_cps",
                number(0, 100_000),
                Default("0"),
                "At so many new calls a second it is skipped; 0 = no limit.",
            ),
        ],
    ],
};

/// `[health]` again, for one direction of one trunk: nothing written means what `[health]` says.
static OWN_HEALTH: [Key; 5] = [
    key(
        "probe_interval",
        lasts_or_off(100, HOUR),
        Optional("\"30s\""),
        "OPTIONS this often.",
    ),
    key(
        "probe_timeout",
        lasts(10, 32 * SECOND),
        Optional("\"1s\""),
        "As in [health].",
    ),
    key(
        "suspect_after",
        lasts_or_off(10, 32 * SECOND),
        Optional("\"1s\""),
        "As in [health].",
    ),
    key(
        "fail_after",
        number(1, 1_000),
        Optional("2"),
        "As in [health].",
    ),
    key(
        "slow_start",
        lasts(0, HOUR),
        Optional("\"30s\""),
        "As in [health].",
    ),
];

static TERMINATION_HEALTH: Shape = Shape {
    title: "[trunk.termination.health]",
    about: "What differs from [health] for this carrier.",
    keys: &[&OWN_HEALTH],
};

static ORIGINATION_HEALTH: Shape = Shape {
    title: "[trunk.origination.health]",
    about: "What differs from [health] for these PBXs.",
    keys: &[&OWN_HEALTH],
};
