//! Every metric there is: the one list that code, tests and the operator's page agree on.

/// What a metric is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Samples in buckets, seconds.
    Histogram,
}

impl Kind {
    /// As Prometheus writes it.
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Copy, Clone, Debug)]
pub struct Metric {
    /// `trunkline_<noun>_<unit>`, counters with `_total`.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels, in the order they are given.
    pub labels: &'static [&'static str],
    /// What it counts, for a person.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident = $name:literal $kind:ident [$($label:literal),*] $help:literal)*) => {
        $(pub(super) const $constant: Metric =
            Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };)*
        /// Every metric, in the order of the page.
        pub const METRICS: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    CALLS_STARTED = "trunkline_calls_started_total" Counter ["direction", "trunk"]
        "INVITEs outside a dialog that were admitted, by the trunk they first went to or came from."
    CALLS = "trunkline_calls_total" Counter ["direction", "trunk", "outcome"]
        "Calls whose caller has a final answer: answered, cancelled, failed (our own final response), or the class of the answer that was forwarded (3xx to 6xx)."
    CALLS_ENDED = "trunkline_calls_ended_total" Counter ["direction", "trunk", "why"]
        "Established calls that are over: bye; expired, or session_expired (RFC 4028): forgotten without one."
    CALL_SECONDS = "trunkline_call_seconds_total" Counter ["direction", "trunk"]
        "Seconds that ended calls had lasted from their 2xx."
    CALLS_ACTIVE = "trunkline_calls_active" Gauge []
        "Established calls now."
    CALLS_IN_SETUP = "trunkline_calls_in_setup" Gauge []
        "INVITEs outside a dialog without a final response now."
    CALL_SETUP = "trunkline_call_setup_duration_seconds" Histogram ["direction"]
        "From the INVITE to the final response the caller got."
    CALL_RING = "trunkline_call_ring_delay_seconds" Histogram ["direction"]
        "From the INVITE to the first provisional response above 100, or the final one (post-dial delay)."
    ATTEMPTS = "trunkline_attempts_total" Counter ["direction", "trunk", "outcome"]
        "Attempts that have ended: answered, 3xx to 6xx, silent, no_progress, no_answer, lost, peer_down, cancelled, out_of_time."
    ATTEMPT_DURATION = "trunkline_attempt_duration_seconds" Histogram ["direction"]
        "From an attempt's first byte sent to its verdict."
    RETRIES_WITHHELD = "trunkline_retries_withheld_total" Counter ["direction", "trunk"]
        "Calls that had another address to go to and were not tried there, since most such attempts were failing (retry_budget)."
    LATE_ANSWERS = "trunkline_late_answers_total" Counter ["trunk", "used"]
        "Answers to abandoned attempts: used=\"yes\" reached a caller who still waited, used=\"no\" were ended with ACK and BYE."
    REJECTED = "trunkline_requests_rejected_total" Counter ["status", "why"]
        "Requests that ended here with our own final response."
    DROPPED = "trunkline_messages_dropped_total" Counter ["why"]
        "Messages that got no answer at all."
    RETRANSMISSIONS = "trunkline_retransmissions_total" Counter []
        "Messages sent again by a timer."
    OVERSIZED = "trunkline_oversized_datagrams_total" Counter []
        "Requests over 1300 bytes that were sent by UDP all the same (RFC 3261 18.1.1)."
    PARKED = "trunkline_messages_parked_total" Counter []
        "Messages that waited for DNS, for a next hop that is not in the configuration."
    CONTEXTS = "trunkline_contexts" Gauge []
        "Requests in work, lingering ones included."
    TIMERS = "trunkline_timers" Gauge []
        "Entries in all timer lanes."
    CANDIDATE_STATE = "trunkline_candidate_state" Gauge ["transport", "address", "listener", "state"]
        "1 for the state a candidate is in (up, suspect, down, paused), 0 for the others."
    HEALTH_CHANGES = "trunkline_candidate_changes_total" Counter ["state"]
        "Health changes of candidates, by the state they came to."
    PROBES = "trunkline_probes_total" Counter ["result"]
        "OPTIONS of ours: alive (any response but 408 and 503), failing (408, 503), silent."
    DNS_LOOKUPS = "trunkline_dns_lookups_total" Counter ["result"]
        "Lookups of places: found, incomplete (part of it failed), absent (no such name), failed (no answer)."
    DNS_PLACES = "trunkline_dns_places" Gauge ["freshness"]
        "Configured places by how good their answer is: fresh, stale (DNS fails, the last good set serves), absent, unknown."
    WEBHOOKS = "trunkline_webhook_exchanges_total" Counter ["result"]
        "Webhook exchanges by the class of the answer (1xx to 5xx) or the failure: connect, tls, timeout, broken, too_large, busy."
    WEBHOOK_DURATION = "trunkline_webhook_duration_seconds" Histogram []
        "How long webhook exchanges took."
    RECOVERY = "trunkline_recovery_steps_total" Counter ["trunk", "step"]
        "Steps of disaster recovery: asked, answered, passed_over (what cannot be carried out), detail (what is left out of what is), failed, fallback, dial, reject, hangup, redirect, last_resort, exhausted."
    RECOVERY_CHECK = "trunkline_recovery_check_ok" Gauge ["trunk"]
        "1 when the last scheduled test of the trunk's webhooks (check_every) found nothing wrong, 0 otherwise."
    CERTIFICATE_EXPIRY = "trunkline_webhook_certificate_expiry_time_seconds" Gauge ["trunk", "webhook"]
        "When the certificate of a tested webhook (url, fallback_url) expires, in seconds since 1970."
    DATAGRAMS = "trunkline_datagrams_total" Counter ["direction"]
        "UDP datagrams of the SIP listeners, in and out."
    BYTES = "trunkline_network_bytes_total" Counter ["direction"]
        "Bytes of the SIP listeners, in and out, all transports."
    FENCED = "trunkline_datagrams_fenced_total" Counter []
        "UDP datagrams that the system dropped unread while a flood of strangers was kept out: theirs, and those that found the receive buffer full meanwhile. Not in trunkline_datagrams_total."
    OVERFLOWED = "trunkline_datagrams_overflowed_total" Counter []
        "UDP datagrams lost because a socket's receive buffer was full: more came than was read. Counted a second later; while a flood of strangers is kept out, in trunkline_datagrams_fenced_total."
    FENCED_SOURCES = "trunkline_fenced_sources" Gauge []
        "Strangers' addresses that are kept out now since they flood; which: /fences."
    SENDS_DROPPED = "trunkline_sends_dropped_total" Counter []
        "Messages that could not be sent because a socket's or a connection's queue was full."
    CONNECTIONS = "trunkline_connections" Gauge []
        "Open stream connections."
    CONNECTIONS_FULL = "trunkline_connections_over_limit_total" Counter ["result"]
        "Stream connections for which a limit left no place: refused, or evicted because they had brought nothing and another came."
    EVENTS_DROPPED = "trunkline_events_dropped_total" Counter []
        "Events that metrics and logs never saw because their queue was full; other figures are low by as many."
    POSTS = "trunkline_shard_posts_total" Counter ["result"]
        "What one data path thread had for another (messages of its calls or for its connections, losses, health): passed, dropped (it did not keep up)."
    READY = "trunkline_ready" Gauge []
        "1 when /readyz says so."
    START_TIME = "trunkline_start_time_seconds" Gauge []
        "When the process started, in seconds since 1970."
    BUILD = "trunkline_build_info" Gauge ["version"]
        "1, with the version as a label."
}

/// The table of `deploy/README.md`.
pub fn markdown_table() -> String {
    let mut out = String::from("| metric | kind | labels | what |\n| --- | --- | --- | --- |\n");
    for metric in METRICS {
        let labels: Vec<_> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let labels = labels.join(", ");
        let (name, kind, help) = (metric.name, metric.kind.word(), metric.help);
        out.push_str(&format!("| `{name}` | {kind} | {labels} | {help} |\n"));
    }
    out
}
