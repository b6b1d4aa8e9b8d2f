//! Durations, sorted into buckets as they come.
//!
//! The exporter's own histograms keep every sample with the time it came, and sort them later: for what is
//! measured three times a call that is memory which goes round and never stays in a cache.

use std::{
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::table::Metric;

/// Upper ends of the buckets of every histogram, milliseconds: around a UDP round trip, 4 s
/// (`response_timeout`), 28 s (`setup_budget`) and 32 s (the caller's own Timer B).
const BUCKETS: [u64; 13] = [
    5, 20, 50, 100, 250, 500, 1000, 2000, 4000, 8000, 16_000, 28_000, 32_000,
];

/// Durations of one series. Clones share what they have recorded; one of them records, the others read.
#[derive(Clone, Default)]
pub(super) struct Histogram(Arc<Cells>);

#[derive(Default)]
struct Cells {
    /// Samples in each bucket and in none of those before it; the last is for what fits in none.
    counts: [AtomicU64; BUCKETS.len() + 1],
    /// Of all samples, nanoseconds: 584 years.
    sum: AtomicU64,
}

impl Histogram {
    /// From one thread at a time.
    #[inline]
    pub(super) fn record(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BUCKETS
            .iter()
            .position(|end| nanos <= end * 1_000_000)
            .unwrap_or(BUCKETS.len());
        add(&self.0.counts[bucket], 1);
        add(&self.0.sum, nanos);
    }

    /// Adds the series to a scrape; `label` is what it differs in from others of its name.
    fn write(&self, out: &mut String, metric: &Metric, label: Option<&str>) {
        let mut labels = String::new();
        for (name, value) in metric.labels.iter().zip(label) {
            // Writing to a String does not fail.
            let _ = write!(labels, "{name}=\"{value}\",");
        }
        let (name, mut count) = (metric.name, 0);
        let ends = BUCKETS.map(Some).into_iter().chain([None]);
        for (cell, end) in self.0.counts.iter().zip(ends) {
            count += cell.load(Ordering::Relaxed);
            let _ = match end {
                Some(end) => writeln!(
                    out,
                    "{name}_bucket{{{labels}le=\"{}\"}} {count}",
                    end as f64 / 1e3
                ),
                None => writeln!(out, "{name}_bucket{{{labels}le=\"+Inf\"}} {count}"),
            };
        }
        let sum = Duration::from_nanos(self.0.sum.load(Ordering::Relaxed)).as_secs_f64();
        let labels = match labels.strip_suffix(',') {
            Some(labels) => format!("{{{labels}}}"),
            None => labels,
        };
        let _ = writeln!(
            out,
            "{name}_sum{labels} {sum}\n{name}_count{labels} {count}"
        );
    }
}

/// The histograms of one name.
#[derive(Clone)]
pub(super) struct Histograms {
    pub(super) metric: Metric,
    /// By the value of its label, where it has one.
    pub(super) series: Vec<(Option<&'static str>, Histogram)>,
}

impl Histograms {
    /// Adds all of their series to a scrape.
    pub(super) fn write(&self, out: &mut String) {
        for (label, histogram) in &self.series {
            histogram.write(out, &self.metric, *label);
        }
    }
}

/// Without a locked instruction: nobody else writes.
fn add(cell: &AtomicU64, more: u64) {
    let sum = cell.load(Ordering::Relaxed).wrapping_add(more);
    cell.store(sum, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::{super::table, *};

    #[test]
    fn a_sample_is_in_every_bucket_from_the_first_that_holds_it() {
        let histogram = Histogram::default();
        for micros in [0, 5_000, 5_001, 32_000_000, 32_000_001] {
            histogram.record(Duration::from_micros(micros));
        }
        let mut out = String::new();
        histogram.write(&mut out, &table::WEBHOOK_DURATION, None);
        let name = table::WEBHOOK_DURATION.name;
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines.len(), BUCKETS.len() + 3);
        for (at, want) in [
            (0, format!("{name}_bucket{{le=\"0.005\"}} 2")),
            (1, format!("{name}_bucket{{le=\"0.02\"}} 3")),
            (11, format!("{name}_bucket{{le=\"28\"}} 3")),
            (12, format!("{name}_bucket{{le=\"32\"}} 4")),
            (13, format!("{name}_bucket{{le=\"+Inf\"}} 5")),
            (14, format!("{name}_sum 64.010002")),
            (15, format!("{name}_count 5")),
        ] {
            assert_eq!(lines[at], want);
        }
    }

    #[test]
    fn series_of_one_name_differ_in_their_label() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_secs(3));
        let mut out = String::new();
        histogram.write(&mut out, &table::CALL_SETUP, Some("termination"));
        let name = table::CALL_SETUP.name;
        for line in [
            format!("{name}_bucket{{direction=\"termination\",le=\"2\"}} 0\n"),
            format!("{name}_bucket{{direction=\"termination\",le=\"4\"}} 1\n"),
            format!("{name}_sum{{direction=\"termination\"}} 3\n"),
            format!("{name}_count{{direction=\"termination\"}} 1\n"),
        ] {
            assert!(out.contains(&line), "{line} is not in\n{out}");
        }
    }
}
