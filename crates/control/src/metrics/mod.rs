//! What happened, counted: [`Event`]s become counters, gauges and histograms.
//!
//! The text of a scrape is written when somebody asks; what is counted for every call must cost next to
//! nothing. Series of things that come and go (candidates) are written from the
//! [`View`](crate::View) instead, because a counter is never forgotten.

mod counted;
mod family;
mod histogram;
mod scrape;
mod table;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use trunkline_proxy::{Event, Settings, question::Answer};

use self::counted::Counted;
use crate::{dr::rehearsal::Report, resolve::LookupResult};
pub use scrape::{NetCounts, Scrape};
pub use table::{Kind, METRICS, Metric, markdown_table};

/// The counters of one process. Fed by the control task alone, and read by whoever scrapes.
#[derive(Clone)]
pub struct Metrics(Arc<Mutex<Counted>>);

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        Metrics(Arc::new(Mutex::new(Counted::new())))
    }

    /// Trunks are named as in these settings from now on.
    pub fn name_trunks(&mut self, settings: &Settings) {
        self.lock().name_trunks(settings);
    }

    /// Counts an event.
    pub fn record(&mut self, event: &Event) {
        self.lock().record(event);
    }

    /// Counts a lookup of a place.
    pub fn record_lookup(&mut self, result: LookupResult) {
        self.lock().record_lookup(result);
    }

    /// Shows what a scheduled test of a webhook found.
    pub fn record_check(&mut self, report: &Report) {
        self.lock().record_check(report);
    }

    /// Counts a webhook exchange.
    pub fn record_webhook(&mut self, answer: &Answer, took: Duration) {
        self.lock().record_webhook(answer, took);
    }

    /// Figures that a panicking thread left behind are still worth reading.
    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
