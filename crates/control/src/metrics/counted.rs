//! Everything that is counted: one exhaustive match, so that a new event asks here what it should
//! count.

use std::time::Duration;

use trunkline_proxy::{
    Event, Settings,
    event::{CallRecord, Direction, HealthState, Load},
    question::{Answer, HttpFailure},
    settings::TrunkId,
};

use super::{
    family::Family,
    histogram::Histogram,
    table::{self, Metric},
};
use crate::{dr::rehearsal::Report, resolve::LookupResult};

/// The group of what is counted by itself and not for a trunk.
const ALL: usize = 0;

pub(super) struct Counted {
    trunks: Vec<Box<str>>,
    // By trunk.
    calls_started: Family<Direction>,
    calls: Family<(Direction, &'static str)>,
    calls_ended: Family<(Direction, &'static str)>,
    call_seconds: Family<Direction>,
    attempts: Family<(Direction, &'static str)>,
    retries_withheld: Family<Direction>,
    late_answers: Family<bool>,
    recovery: Family<&'static str>,
    // By itself.
    rejected: Family<(u16, &'static str)>,
    dropped: Family<&'static str>,
    health_changes: Family<HealthState>,
    probes: Family<&'static str>,
    dns_lookups: Family<&'static str>,
    webhooks: Family<&'static str>,
    retransmissions: u64,
    oversized: u64,
    parked: u64,
    // Set by the names of things.
    recovery_check: Family<()>,
    certificate_expiry: Family<()>,
    // By direction.
    setup: [Histogram; 2],
    ring: [Histogram; 2],
    attempt: [Histogram; 2],
    webhook: Histogram,
    /// What each shard told last.
    loads: Vec<Load>,
}

impl Counted {
    /// All at zero.
    pub(super) fn new() -> Self {
        let mut counted = Counted {
            trunks: Vec::new(),
            calls_started: Family::new(&table::CALLS_STARTED),
            calls: Family::new(&table::CALLS),
            calls_ended: Family::new(&table::CALLS_ENDED),
            call_seconds: Family::new(&table::CALL_SECONDS),
            attempts: Family::new(&table::ATTEMPTS),
            retries_withheld: Family::new(&table::RETRIES_WITHHELD),
            late_answers: Family::new(&table::LATE_ANSWERS),
            recovery: Family::new(&table::RECOVERY),
            rejected: Family::new(&table::REJECTED),
            dropped: Family::new(&table::DROPPED),
            health_changes: Family::new(&table::HEALTH_CHANGES),
            probes: Family::new(&table::PROBES),
            dns_lookups: Family::new(&table::DNS_LOOKUPS),
            webhooks: Family::new(&table::WEBHOOKS),
            retransmissions: 0,
            oversized: 0,
            parked: 0,
            recovery_check: Family::new(&table::RECOVERY_CHECK),
            certificate_expiry: Family::new(&table::CERTIFICATE_EXPIRY),
            setup: Default::default(),
            ring: Default::default(),
            attempt: Default::default(),
            webhook: Histogram::default(),
            loads: Vec::new(),
        };
        counted.show_zeros();
        counted
    }

    /// A rate needs a zero before the first one: what is known beforehand is there from the start.
    fn show_zeros(&mut self) {
        for result in LookupResult::ALL {
            add_word(&mut self.dns_lookups, result.word(), 0);
        }
        for result in ["alive", "failing", "silent"] {
            add_word(&mut self.probes, result, 0);
        }
        for failure in [
            HttpFailure::Connect,
            HttpFailure::Tls,
            HttpFailure::Timeout,
            HttpFailure::Broken,
            HttpFailure::TooLarge,
            HttpFailure::Busy,
        ] {
            add_word(&mut self.webhooks, failure.word(), 0);
        }
    }

    pub(super) fn name_trunks(&mut self, settings: &Settings) {
        let names = settings.trunks.iter().map(|trunk| trunk.name.clone());
        let names: Vec<Box<str>> = names.collect();
        if names == self.trunks {
            return;
        }
        self.trunks = names;
        // Kept by the trunk's place in the file, which may have another name now.
        self.calls_started.rename();
        self.calls.rename();
        self.calls_ended.rename();
        self.call_seconds.rename();
        self.attempts.rename();
        self.retries_withheld.rename();
        self.late_answers.rename();
        self.recovery.rename();
    }

    pub(super) fn record(&mut self, event: &Event) {
        let name = |id: TrunkId| {
            let name = self.trunks.get(group(id));
            name.map_or_else(|| "unknown".into(), |name| String::from(&**name))
        };
        match event {
            Event::Rejected { status, why, .. } => {
                let labels = || [status.to_string(), (*why).into()];
                self.rejected.add(ALL, (*status, *why), 1, labels);
            }
            Event::Dropped { why, .. } => add_word(&mut self.dropped, why, 1),
            Event::CallStarted { direction, trunk } => {
                let labels = || [direction.word().into(), name(*trunk)];
                self.calls_started.add(group(*trunk), *direction, 1, labels);
            }
            Event::AttemptEnded {
                direction,
                trunk,
                outcome,
                took,
                ..
            } => {
                let (way, word) = (direction.word(), outcome.word());
                self.attempts.add(group(*trunk), (*direction, word), 1, || {
                    [way.into(), name(*trunk), word.into()]
                });
                self.attempt[slot(*direction)].record(*took);
            }
            Event::CallSetUp(call) => {
                let (way, word) = (call.direction.word(), call_outcome(call));
                self.calls
                    .add(group(call.trunk), (call.direction, word), 1, || {
                        [way.into(), name(call.trunk), word.into()]
                    });
                self.setup[slot(call.direction)].record(call.took);
                if let Some(ring) = call.first_ring {
                    self.ring[slot(call.direction)].record(ring);
                }
            }
            Event::CallEnded {
                direction,
                trunk,
                lasted,
                why,
                ..
            } => {
                let (way, group) = (direction.word(), group(*trunk));
                self.calls_ended.add(group, (*direction, *why), 1, || {
                    [way.into(), name(*trunk), (*why).into()]
                });
                self.call_seconds
                    .add(group, *direction, lasted.as_secs(), || {
                        [way.into(), name(*trunk)]
                    });
            }
            Event::RetryWithheld {
                direction, trunk, ..
            } => {
                let labels = || [direction.word().into(), name(*trunk)];
                self.retries_withheld
                    .add(group(*trunk), *direction, 1, labels);
            }
            Event::LateAnswer { trunk, used, .. } => {
                let labels = || [name(*trunk), if *used { "yes" } else { "no" }.into()];
                self.late_answers.add(group(*trunk), *used, 1, labels);
            }
            Event::Health { is, .. } => {
                self.health_changes.add(ALL, *is, 1, || [is.word().into()]);
            }
            Event::Probe { status, .. } => {
                let result = match status {
                    None => "silent",
                    Some(408 | 503) => "failing",
                    Some(_) => "alive",
                };
                add_word(&mut self.probes, result, 1);
            }
            Event::Recovery { trunk, step, .. } => {
                let labels = || [name(*trunk), (*step).into()];
                self.recovery.add(group(*trunk), *step, 1, labels);
            }
            Event::Retransmitted => self.retransmissions += 1,
            Event::OversizedDatagram => self.oversized += 1,
            Event::Parked => self.parked += 1,
            Event::Load { shard, load } => {
                let at = usize::from(shard.0);
                if self.loads.len() <= at {
                    self.loads.resize(at + 1, Load::default());
                }
                self.loads[at] = *load;
            }
        }
    }

    pub(super) fn record_lookup(&mut self, result: LookupResult) {
        add_word(&mut self.dns_lookups, result.word(), 1);
    }

    pub(super) fn record_check(&mut self, report: &Report) {
        let trunk = &*report.trunk;
        self.recovery_check
            .set(&[trunk], u64::from(report.is_fine()));
        for webhook in &report.webhooks {
            if let Some(expires) = webhook.certificate_expires {
                self.certificate_expiry.set(&[trunk, webhook.role], expires);
            }
        }
    }

    pub(super) fn record_webhook(&mut self, answer: &Answer, took: Duration) {
        let result = match answer {
            Answer::Http { status, .. } => match status / 100 {
                1 => "1xx",
                2 => "2xx",
                3 => "3xx",
                4 => "4xx",
                _ => "5xx",
            },
            Answer::HttpFailed(failure) => failure.word(),
            // Answers to other questions are no exchanges.
            Answer::Resolved { .. } | Answer::ResolveFailed => return,
        };
        add_word(&mut self.webhooks, result, 1);
        self.webhook.record(took);
    }

    /// All of it, for a scrape.
    pub(super) fn push_text(&self, out: &mut String) {
        self.calls_started.push_text(out);
        self.calls.push_text(out);
        self.calls_ended.push_text(out);
        self.call_seconds.push_text(out);
        let load: Load = self.loads.iter().sum();
        push_figure(out, &table::CALLS_ACTIVE, load.calls_active);
        push_figure(out, &table::CALLS_IN_SETUP, load.calls_in_setup);
        push_directions(out, &table::CALL_SETUP, &self.setup);
        push_directions(out, &table::CALL_RING, &self.ring);
        self.attempts.push_text(out);
        push_directions(out, &table::ATTEMPT_DURATION, &self.attempt);
        self.retries_withheld.push_text(out);
        self.late_answers.push_text(out);
        self.rejected.push_text(out);
        self.dropped.push_text(out);
        push_figure(out, &table::RETRANSMISSIONS, self.retransmissions);
        push_figure(out, &table::OVERSIZED, self.oversized);
        push_figure(out, &table::PARKED, self.parked);
        push_figure(out, &table::CONTEXTS, load.contexts);
        push_figure(out, &table::TIMERS, load.timers);
        self.health_changes.push_text(out);
        self.probes.push_text(out);
        self.dns_lookups.push_text(out);
        self.webhooks.push_text(out);
        table::WEBHOOK_DURATION.push_head(out);
        self.webhook.push_text(out, &table::WEBHOOK_DURATION, &[]);
        out.push('\n');
        self.recovery.push_text(out);
        self.recovery_check.push_text(out);
        self.certificate_expiry.push_text(out);
    }
}

/// Counts by one label whose value is the key.
fn add_word(family: &mut Family<&'static str>, word: &'static str, by: u64) {
    family.add(ALL, word, by, || [word.into()]);
}

fn push_figure(out: &mut String, metric: &Metric, value: impl Into<u64>) {
    metric.push_head(out);
    metric.push_sample(out, "", "", value.into());
    out.push('\n');
}

fn push_directions(out: &mut String, metric: &Metric, of: &[Histogram; 2]) {
    metric.push_head(out);
    for direction in [Direction::Termination, Direction::Origination] {
        of[slot(direction)].push_text(out, metric, &[direction.word()]);
    }
    out.push('\n');
}

fn group(trunk: TrunkId) -> usize {
    trunk.0.into()
}

fn slot(direction: Direction) -> usize {
    match direction {
        Direction::Termination => 0,
        Direction::Origination => 1,
    }
}

fn call_outcome(call: &CallRecord) -> &'static str {
    match call.status {
        200..=299 => "answered",
        487 => "cancelled",
        _ if call.own => "failed",
        300..=399 => "3xx",
        400..=499 => "4xx",
        500..=599 => "5xx",
        _ => "6xx",
    }
}
