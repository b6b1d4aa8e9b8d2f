//! The text a scrape gets: what the exporter has kept, and what is read only when asked.

use std::{
    fmt::Write,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use metrics_exporter_prometheus::PrometheusHandle;
use trunkline_proxy::{event::HealthState, routing::Freshness};

use super::{
    Metrics,
    histogram::Histograms,
    table::{self, Kind, Metric},
};
use crate::view::View;

/// What the sockets have counted since the start; the net layer's own figures.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct NetCounts {
    /// UDP datagrams received.
    pub datagrams_in: u64,
    /// UDP datagrams sent.
    pub datagrams_out: u64,
    /// UDP datagrams that the system dropped while a fence stood.
    pub datagrams_fenced: u64,
    /// UDP datagrams that found a socket's receive buffer full while no fence stood.
    pub datagrams_overflowed: u64,
    /// Bytes received, all transports.
    pub bytes_in: u64,
    /// Bytes sent, all transports.
    pub bytes_out: u64,
    /// Messages not sent because a queue was full.
    pub sends_dropped: u64,
    /// Stream connections open now.
    pub connections: u64,
    /// Stream connections not accepted or not dialled because of a limit.
    pub connections_refused: u64,
    /// Stream connections that gave way to newer ones, having brought no whole message.
    pub connections_evicted: u64,
    /// Events not told because their queue was full.
    pub events_dropped: u64,
    /// What one data path thread passed on to another.
    pub posts: u64,
    /// What it could not pass on, because the other does not keep up.
    pub posts_dropped: u64,
}

/// Everything `/metrics` shows.
#[derive(Clone)]
pub struct Scrape {
    exporter: PrometheusHandle,
    histograms: Vec<Histograms>,
    view: Arc<View>,
    net: Arc<dyn Fn() -> NetCounts + Send + Sync>,
    started: u64,
}

impl Scrape {
    /// What these metrics have kept, what this view shows, and what the sockets count.
    pub fn new(
        metrics: &Metrics,
        view: Arc<View>,
        net: Arc<dyn Fn() -> NetCounts + Send + Sync>,
    ) -> Self {
        let started = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Scrape {
            exporter: metrics.exporter(),
            histograms: metrics.histograms(),
            view,
            net,
            started,
        }
    }

    /// The Prometheus text.
    pub fn text(&self) -> String {
        let mut out = self.exporter.render();
        for histograms in &self.histograms {
            head(&mut out, &histograms.metric);
            histograms.write(&mut out);
            out.push('\n');
        }
        self.candidates(&mut out);
        self.places(&mut out);
        let net = (self.net)();
        series(
            &mut out,
            &table::DATAGRAMS,
            &[(&["in"], net.datagrams_in), (&["out"], net.datagrams_out)],
        );
        series(
            &mut out,
            &table::BYTES,
            &[(&["in"], net.bytes_in), (&["out"], net.bytes_out)],
        );
        series(&mut out, &table::FENCED, &[(&[], net.datagrams_fenced)]);
        series(
            &mut out,
            &table::OVERFLOWED,
            &[(&[], net.datagrams_overflowed)],
        );
        let fences = self.view.fences();
        let sources: usize = fences.iter().map(|fence| fence.sources.len()).sum();
        series(&mut out, &table::FENCED_SOURCES, &[(&[], sources as u64)]);
        series(&mut out, &table::SENDS_DROPPED, &[(&[], net.sends_dropped)]);
        series(&mut out, &table::CONNECTIONS, &[(&[], net.connections)]);
        series(
            &mut out,
            &table::CONNECTIONS_FULL,
            &[
                (&["refused"], net.connections_refused),
                (&["evicted"], net.connections_evicted),
            ],
        );
        series(
            &mut out,
            &table::EVENTS_DROPPED,
            &[(&[], net.events_dropped)],
        );
        series(
            &mut out,
            &table::POSTS,
            &[(&["passed"], net.posts), (&["dropped"], net.posts_dropped)],
        );
        series(
            &mut out,
            &table::READY,
            &[(&[], u64::from(self.view.readiness().is_ok()))],
        );
        series(&mut out, &table::START_TIME, &[(&[], self.started)]);
        series(
            &mut out,
            &table::BUILD,
            &[(&[env!("CARGO_PKG_VERSION")], 1)],
        );
        out
    }

    fn candidates(&self, out: &mut String) {
        head(out, &table::CANDIDATE_STATE);
        for (peer, is, listener) in self.view.candidates() {
            let addr = peer.addr.to_string();
            for state in [
                HealthState::Up,
                HealthState::Suspect,
                HealthState::Down,
                HealthState::Paused,
            ] {
                let values = [peer.transport.param(), &addr, &listener, state.word()];
                line(
                    out,
                    &table::CANDIDATE_STATE,
                    &values,
                    u64::from(state == is),
                );
            }
        }
        out.push('\n');
    }

    fn places(&self, out: &mut String) {
        let counts = self.view.freshness();
        let values = [
            Freshness::Fresh,
            Freshness::Stale,
            Freshness::Absent,
            Freshness::Unknown,
        ]
        .map(|freshness| {
            let word = crate::view::freshness_word(freshness);
            (
                word,
                counts.iter().filter(|have| **have == freshness).count() as u64,
            )
        });
        head(out, &table::DNS_PLACES);
        for (word, count) in values {
            line(out, &table::DNS_PLACES, &[word], count);
        }
        out.push('\n');
    }
}

fn series(out: &mut String, metric: &Metric, values: &[(&[&str], u64)]) {
    head(out, metric);
    for (labels, value) in values {
        line(out, metric, labels, *value);
    }
    out.push('\n');
}

fn head(out: &mut String, metric: &Metric) {
    let Metric {
        name, kind, help, ..
    } = metric;
    // Writing to a String does not fail.
    let _ = writeln!(
        out,
        "# HELP {name} {help}\n# TYPE {name} {}",
        Kind::word(*kind)
    );
}

fn line(out: &mut String, metric: &Metric, values: &[&str], value: u64) {
    debug_assert_eq!(
        metric.labels.len(),
        values.len(),
        "{}: a label has no value",
        metric.name
    );
    out.push_str(metric.name);
    let mut open = '{';
    for (label, value) in metric.labels.iter().zip(values) {
        let value = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        let _ = write!(out, "{open}{label}=\"{value}\"");
        open = ',';
    }
    if open == ',' {
        out.push('}');
    }
    let _ = writeln!(out, " {value}");
}
