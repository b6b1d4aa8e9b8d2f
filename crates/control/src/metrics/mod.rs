//! What happened, counted: [`Event`]s become counters, gauges and histograms.
//!
//! One exhaustive match, so that a new event asks here what it should count. Handles are kept: a
//! counter that is looked up by name costs ten times one that is at hand. Series of things that
//! come and go (candidates) are written at scrape time from the [`View`](crate::View), because the exporter
//! never forgets a series.

mod histogram;
mod scrape;
mod table;

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    time::Duration,
};

use metrics::{Counter, Gauge, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use trunkline_proxy::{
    Event, Settings,
    event::{CallRecord, Direction, HealthState, Load},
    question::{Answer, HttpFailure},
    settings::TrunkId,
};

use histogram::{Histogram, Histograms};

use crate::{dr::rehearsal::Report, resolve::LookupResult};
pub use scrape::{NetCounts, Scrape};
pub use table::{Kind, METRICS, Metric, markdown_table};

const METADATA: Metadata<'static> =
    Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

/// The counters of one process. Fed by the control task alone.
pub struct Metrics {
    registry: Registry,
    trunks: Vec<Box<str>>,
    calls_started: Family<(Direction, TrunkId)>,
    calls: Family<(Direction, TrunkId, Word)>,
    calls_ended: Family<(Direction, TrunkId, Word)>,
    call_seconds: Family<(Direction, TrunkId)>,
    attempts: Family<(Direction, TrunkId, Word)>,
    retries_withheld: Family<(Direction, TrunkId)>,
    late_answers: Family<(TrunkId, bool)>,
    rejected: Family<(u16, Word)>,
    dropped: Family<Word>,
    health_changes: Family<HealthState>,
    probes: Family<Word>,
    recovery: Family<(TrunkId, Word)>,
    dns_lookups: Family<Word>,
    webhooks: Family<Word>,
    retransmissions: Counter,
    oversized: Counter,
    parked: Counter,
    setup: [Histogram; 2],
    ring: [Histogram; 2],
    attempt: [Histogram; 2],
    webhook: Histogram,
    load: [Gauge; 4],
    /// What each shard told last.
    loads: Vec<Load>,
}

struct Registry {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

/// A word that is the value of a label. Nearly always the very one that came before it, so where it stands is
/// compared first.
#[derive(Copy, Clone, Debug)]
struct Word(&'static str);

impl PartialEq for Word {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0) || self.0 == other.0
    }
}

impl Eq for Word {}

impl Hash for Word {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// The counters of one name, by the values of their labels.
struct Family<K> {
    metric: Metric,
    /// Counted last: most often it is next as well.
    last: Option<(K, Counter)>,
    kept: HashMap<K, Counter, foldhash::fast::RandomState>,
}

impl<K: Copy + Eq + Hash> Family<K> {
    fn new(metric: Metric) -> Self {
        Family {
            metric,
            last: None,
            kept: HashMap::default(),
        }
    }

    /// The values of the labels are asked for where they are not known yet.
    #[inline]
    fn add<'v, const N: usize>(
        &mut self,
        registry: &Registry,
        key: K,
        values: impl FnOnce() -> [&'v str; N],
        by: u64,
    ) {
        match &self.last {
            Some((last, counter)) if *last == key => counter.increment(by),
            _ => self.find(registry, key, &values()).increment(by),
        }
    }

    #[inline(never)]
    fn find(&mut self, registry: &Registry, key: K, values: &[&str]) -> &Counter {
        let counter = match self.kept.entry(key) {
            std::collections::hash_map::Entry::Occupied(kept) => kept.into_mut(),
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(registry.counter(&self.metric, values))
            }
        };
        &self.last.insert((key, counter.clone())).1
    }

    /// Trunks may have other names from now on.
    fn forget(&mut self) {
        self.last = None;
        self.kept.clear();
    }
}

impl Registry {
    fn counter(&self, metric: &Metric, values: &[&str]) -> Counter {
        self.recorder
            .register_counter(&key(metric, values), &METADATA)
    }

    fn gauge(&self, metric: &Metric, values: &[&str]) -> Gauge {
        self.recorder
            .register_gauge(&key(metric, values), &METADATA)
    }
}

fn key(metric: &Metric, values: &[&str]) -> Key {
    debug_assert_eq!(
        metric.labels.len(),
        values.len(),
        "{}: a label has no value",
        metric.name
    );
    let labels: Vec<Label> = metric
        .labels
        .iter()
        .zip(values)
        .map(|(label, value)| Label::new(*label, (*value).to_owned()))
        .collect();
    Key::from_parts(metric.name, labels)
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        for metric in METRICS {
            let (name, help) = (metric.name.into(), metric.help.into());
            match metric.kind {
                Kind::Counter => recorder.describe_counter(name, None, help),
                Kind::Gauge => recorder.describe_gauge(name, None, help),
                // Not the exporter's.
                Kind::Histogram => {}
            }
        }
        let registry = Registry {
            handle: recorder.handle(),
            recorder,
        };
        let mut metrics = Metrics {
            trunks: Vec::new(),
            calls_started: Family::new(table::CALLS_STARTED),
            calls: Family::new(table::CALLS),
            calls_ended: Family::new(table::CALLS_ENDED),
            call_seconds: Family::new(table::CALL_SECONDS),
            attempts: Family::new(table::ATTEMPTS),
            retries_withheld: Family::new(table::RETRIES_WITHHELD),
            late_answers: Family::new(table::LATE_ANSWERS),
            rejected: Family::new(table::REJECTED),
            dropped: Family::new(table::DROPPED),
            health_changes: Family::new(table::HEALTH_CHANGES),
            probes: Family::new(table::PROBES),
            recovery: Family::new(table::RECOVERY),
            dns_lookups: Family::new(table::DNS_LOOKUPS),
            webhooks: Family::new(table::WEBHOOKS),
            retransmissions: registry.counter(&table::RETRANSMISSIONS, &[]),
            oversized: registry.counter(&table::OVERSIZED, &[]),
            parked: registry.counter(&table::PARKED, &[]),
            setup: Default::default(),
            ring: Default::default(),
            attempt: Default::default(),
            webhook: Histogram::default(),
            load: [
                table::CONTEXTS,
                table::CALLS_IN_SETUP,
                table::CALLS_ACTIVE,
                table::TIMERS,
            ]
            .map(|metric| registry.gauge(&metric, &[])),
            loads: Vec::new(),
            registry,
        };
        metrics.show_zeros();
        metrics
    }

    /// A rate needs a zero before the first one: what is known beforehand is there from the start.
    fn show_zeros(&mut self) {
        for result in LookupResult::ALL {
            self.dns_lookups
                .add(&self.registry, Word(result.word()), || [result.word()], 0);
        }
        for result in ["alive", "failing", "silent"] {
            self.probes
                .add(&self.registry, Word(result), || [result], 0);
        }
        for failure in [
            HttpFailure::Connect,
            HttpFailure::Tls,
            HttpFailure::Timeout,
            HttpFailure::Broken,
            HttpFailure::TooLarge,
            HttpFailure::Busy,
        ] {
            self.webhooks
                .add(&self.registry, Word(failure.word()), || [failure.word()], 0);
        }
    }

    /// Trunks are named as in these settings from now on.
    pub fn name_trunks(&mut self, settings: &Settings) {
        let names: Vec<Box<str>> = settings
            .trunks
            .iter()
            .map(|trunk| trunk.name.clone())
            .collect();
        if names == self.trunks {
            return;
        }
        self.trunks = names;
        // Kept by the trunk's place in the file, which may have another name now.
        self.calls_started.forget();
        self.calls.forget();
        self.calls_ended.forget();
        self.call_seconds.forget();
        self.attempts.forget();
        self.retries_withheld.forget();
        self.late_answers.forget();
        self.recovery.forget();
    }

    /// What the scrape endpoint needs.
    fn exporter(&self) -> PrometheusHandle {
        self.registry.handle.clone()
    }

    /// And what the exporter does not have.
    fn histograms(&self) -> Vec<Histograms> {
        let ways = [Direction::Termination, Direction::Origination].map(|way| Some(way.word()));
        let both = |metric, pair: &[Histogram; 2]| Histograms {
            metric,
            series: ways.into_iter().zip(pair.iter().cloned()).collect(),
        };
        vec![
            both(table::CALL_SETUP, &self.setup),
            both(table::CALL_RING, &self.ring),
            both(table::ATTEMPT_DURATION, &self.attempt),
            Histograms {
                metric: table::WEBHOOK_DURATION,
                series: vec![(None, self.webhook.clone())],
            },
        ]
    }

    /// Counts an event.
    #[inline]
    pub fn record(&mut self, event: &Event) {
        let registry = &self.registry;
        let trunk = |id: TrunkId| trunk_name(&self.trunks, id);
        match event {
            Event::Rejected { status, why, .. } => {
                let digits = [100, 10, 1].map(|unit| b'0' + (status / unit % 10) as u8);
                let code = || std::str::from_utf8(&digits).unwrap_or_default();
                self.rejected
                    .add(registry, (*status, Word(why)), || [code(), why], 1);
            }
            Event::Dropped { why, .. } => self.dropped.add(registry, Word(why), || [why], 1),
            Event::CallStarted {
                direction,
                trunk: id,
            } => {
                let values = || [direction.word(), trunk(*id)];
                self.calls_started
                    .add(registry, (*direction, *id), values, 1);
            }
            Event::AttemptEnded {
                direction,
                trunk: id,
                outcome,
                took,
                ..
            } => {
                let word = outcome.word();
                let values = || [direction.word(), trunk(*id), word];
                self.attempts
                    .add(registry, (*direction, *id, Word(word)), values, 1);
                self.attempt[slot(*direction)].record(*took);
            }
            Event::CallSetUp(call) => {
                let word = call_outcome(call);
                let values = || [call.direction.word(), trunk(call.trunk), word];
                self.calls.add(
                    registry,
                    (call.direction, call.trunk, Word(word)),
                    values,
                    1,
                );
                self.setup[slot(call.direction)].record(call.took);
                if let Some(ring) = call.first_ring {
                    self.ring[slot(call.direction)].record(ring);
                }
            }
            Event::CallEnded {
                direction,
                trunk: id,
                lasted,
                why,
                ..
            } => {
                let (way, name) = (|| direction.word(), || trunk(*id));
                let values = || [way(), name(), why];
                self.calls_ended
                    .add(registry, (*direction, *id, Word(why)), values, 1);
                let values = || [way(), name()];
                self.call_seconds
                    .add(registry, (*direction, *id), values, lasted.as_secs());
            }
            Event::RetryWithheld {
                direction,
                trunk: id,
                ..
            } => {
                let values = || [direction.word(), trunk(*id)];
                self.retries_withheld
                    .add(registry, (*direction, *id), values, 1);
            }
            Event::LateAnswer {
                trunk: id, used, ..
            } => {
                let values = || [trunk(*id), if *used { "yes" } else { "no" }];
                self.late_answers.add(registry, (*id, *used), values, 1);
            }
            Event::Health { is, .. } => self.health_changes.add(registry, *is, || [is.word()], 1),
            Event::Probe { status, .. } => {
                let result = match status {
                    None => "silent",
                    Some(408 | 503) => "failing",
                    Some(_) => "alive",
                };
                self.probes.add(registry, Word(result), || [result], 1);
            }
            Event::Recovery {
                trunk: id, step, ..
            } => {
                self.recovery
                    .add(registry, (*id, Word(step)), || [trunk(*id), step], 1);
            }
            Event::Retransmitted => self.retransmissions.increment(1),
            Event::OversizedDatagram => self.oversized.increment(1),
            Event::Parked => self.parked.increment(1),
            // Shown by what stands when somebody scrapes, and counted by the sockets.
            Event::Fence(_) => {}
            Event::Load { shard, load } => {
                let at = usize::from(shard.0);
                if self.loads.len() <= at {
                    self.loads.resize(at + 1, Load::default());
                }
                self.loads[at] = *load;
                let all: Load = self.loads.iter().sum();
                let values = [
                    all.contexts,
                    all.calls_in_setup,
                    all.calls_active,
                    all.timers,
                ];
                for (gauge, value) in self.load.iter().zip(values) {
                    gauge.set(f64::from(value));
                }
            }
        }
    }

    /// Counts a lookup of a place.
    pub fn record_lookup(&mut self, result: LookupResult) {
        self.dns_lookups
            .add(&self.registry, Word(result.word()), || [result.word()], 1);
    }

    /// Shows what a scheduled test of a webhook found.
    pub fn record_check(&mut self, report: &Report) {
        let trunk = &*report.trunk;
        self.registry
            .gauge(&table::RECOVERY_CHECK, &[trunk])
            .set(f64::from(u8::from(report.is_fine())));
        for webhook in &report.webhooks {
            if let Some(expires) = webhook.certificate_expires {
                self.registry
                    .gauge(&table::CERTIFICATE_EXPIRY, &[trunk, webhook.role])
                    .set(expires as f64);
            }
        }
    }

    /// Counts a webhook exchange.
    pub fn record_webhook(&mut self, answer: &Answer, took: Duration) {
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
        self.webhooks
            .add(&self.registry, Word(result), || [result], 1);
        self.webhook.record(took);
    }
}

fn trunk_name(trunks: &[Box<str>], id: TrunkId) -> &str {
    trunks.get(usize::from(id.0)).map_or("unknown", |name| name)
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
