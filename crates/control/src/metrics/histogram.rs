//! How long things took, sorted into buckets as they come.

use std::time::Duration;

use super::table::Metric;

/// Upper ends of the buckets of every histogram: around a UDP round trip, 4 s (`response_timeout`),
/// 28 s (`setup_budget`) and 32 s (the caller's own Timer B).
const ENDS: [Duration; 13] = [
    ms(5),
    ms(20),
    ms(50),
    ms(100),
    ms(250),
    ms(500),
    ms(1000),
    ms(2000),
    ms(4000),
    ms(8000),
    ms(16_000),
    ms(28_000),
    ms(32_000),
];

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The samples of one set of labels.
#[derive(Default)]
pub(super) struct Histogram {
    /// Samples of each bucket, and in the end those that are longer than any.
    counts: [u64; ENDS.len() + 1],
    sum: Duration,
}

impl Histogram {
    pub(super) fn record(&mut self, took: Duration) {
        let shorter = ENDS.iter().take_while(|end| **end < took).count();
        self.counts[shorter] += 1;
        self.sum = self.sum.saturating_add(took);
    }

    /// For a scrape; each bucket counts those before it too.
    pub(super) fn push_text(&self, out: &mut String, metric: &Metric, labels: &[&str]) {
        let mut count = 0;
        for (at, of_bucket) in self.counts.iter().enumerate() {
            count += of_bucket;
            let end = ENDS
                .get(at)
                .map_or("+Inf".into(), |end| end.as_secs_f64().to_string());
            let labels = metric.labels_with(labels, "le", &end);
            metric.push_sample(out, "_bucket", &labels, count);
        }
        let labels = metric.labels(labels);
        metric.push_sample(out, "_sum", &labels, self.sum.as_secs_f64());
        metric.push_sample(out, "_count", &labels, count);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::table, *};

    #[test]
    fn a_sample_counts_in_each_bucket_that_it_is_not_too_long_for() {
        let mut histogram = Histogram::default();
        for milliseconds in [0, 5, 6, 32_000, 32_001, 100_000] {
            histogram.record(Duration::from_millis(milliseconds));
        }
        let mut out = String::new();
        histogram.push_text(&mut out, &table::CALL_SETUP, &["origination"]);
        for sample in [
            "_bucket{direction=\"origination\",le=\"0.005\"} 2",
            "_bucket{direction=\"origination\",le=\"0.02\"} 3",
            "_bucket{direction=\"origination\",le=\"28\"} 3",
            "_bucket{direction=\"origination\",le=\"32\"} 4",
            "_bucket{direction=\"origination\",le=\"+Inf\"} 6",
            "_sum{direction=\"origination\"} 164.012",
            "_count{direction=\"origination\"} 6",
        ] {
            let line = format!("trunkline_call_setup_duration_seconds{sample}");
            assert!(out.lines().any(|it| it == line), "{line} is not in\n{out}");
        }
        let mut none = String::new();
        Histogram::default().push_text(&mut none, &table::WEBHOOK_DURATION, &[]);
        let bucket = "trunkline_webhook_duration_seconds_bucket{le=\"+Inf\"} 0";
        assert!(none.lines().any(|it| it == bucket), "{none}");
    }
}
