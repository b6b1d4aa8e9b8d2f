//! The series of one counter or gauge, one for each set of labels that was ever counted.

use super::table::Metric;

/// Counts are kept by what was counted, and labels are written once: when that is counted for the
/// first time.
pub(super) struct Family<K> {
    metric: &'static Metric,
    /// Labels as a scrape shows them, and the value. No series is ever forgotten.
    series: Vec<(String, u64)>,
    /// By group: which series a key is. Few keys share a group, so they are looked through.
    known: Vec<Vec<(K, usize)>>,
}

impl<K: PartialEq> Family<K> {
    pub(super) fn new(metric: &'static Metric) -> Self {
        Family {
            metric,
            series: Vec::new(),
            known: Vec::new(),
        }
    }

    /// Adds to the series of this key; `labels` gives the values of its labels should it be new.
    pub(super) fn add<const N: usize>(
        &mut self,
        group: usize,
        key: K,
        by: u64,
        labels: impl FnOnce() -> [String; N],
    ) {
        let mut keys = self.known.get(group).into_iter().flatten();
        let at = match keys.find(|(it, _)| *it == key) {
            Some((_, at)) => *at,
            None => {
                let at = self.series(&labels().each_ref().map(String::as_str));
                if self.known.len() <= group {
                    self.known.resize_with(group + 1, Vec::new);
                }
                self.known[group].push((key, at));
                at
            }
        };
        self.series[at].1 += by;
    }

    /// Sets the series of these labels.
    pub(super) fn set(&mut self, labels: &[&str], value: u64) {
        let at = self.series(labels);
        self.series[at].1 = value;
    }

    /// Groups and keys mean something else from now on; what was counted stays.
    pub(super) fn rename(&mut self) {
        self.known.clear();
    }

    /// For a scrape.
    pub(super) fn push_text(&self, out: &mut String) {
        self.metric.push_head(out);
        for (labels, value) in &self.series {
            self.metric.push_sample(out, "", labels, value);
        }
        out.push('\n');
    }

    /// Where the series of these labels is.
    fn series(&mut self, labels: &[&str]) -> usize {
        let labels = self.metric.labels(labels);
        let mut all = self.series.iter();
        all.position(|(it, _)| *it == labels).unwrap_or_else(|| {
            self.series.push((labels, 0));
            self.series.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::table, *};

    fn text<K: PartialEq>(family: &Family<K>) -> String {
        let mut out = String::new();
        family.push_text(&mut out);
        let samples = out.lines().filter(|line| line.starts_with("trunkline_"));
        samples.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_was_counted_stays_with_its_name_when_the_numbers_mean_other_names() {
        let mut family = Family::new(&table::LATE_ANSWERS);
        let add = |family: &mut Family<bool>, group, name: &str| {
            family.add(group, true, 1, || [name.to_owned(), "yes".to_owned()]);
        };
        add(&mut family, 0, "first");
        add(&mut family, 1, "second");
        family.rename();
        add(&mut family, 0, "second");
        add(&mut family, 0, "never asked for: it is known");
        assert_eq!(
            text(&family),
            "trunkline_late_answers_total{trunk=\"first\",used=\"yes\"} 1\n\
             trunkline_late_answers_total{trunk=\"second\",used=\"yes\"} 3"
        );
    }

    #[test]
    fn a_name_is_written_so_that_it_ends_where_its_quotes_do() {
        let mut family = Family::<()>::new(&table::RECOVERY_CHECK);
        family.set(&["a\"b\\c"], 1);
        family.set(&["a\"b\\c"], 0);
        assert_eq!(
            text(&family),
            "trunkline_recovery_check_ok{trunk=\"a\\\"b\\\\c\"} 0"
        );
    }
}
