//! What a run came to.

use std::{collections::BTreeMap, time::Duration};

use super::line::Line;
use crate::{cpu, histogram::Histogram};

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The server is not there, or does not route.
    #[error("no call went through in {0:?}; look into the server's log, or keep it with --keep")]
    Silent(Duration),
}

/// Counts of the measured time. Calls that were placed in it are followed to their end.
#[derive(Clone, Default)]
pub struct Score {
    /// Calls placed in the measured time.
    pub placed: u64,
    /// Of these, such that went from INVITE to the answer to their BYE.
    pub done: u64,
    /// Of these, refused with this code.
    pub refused: BTreeMap<u16, u64>,
    /// Of these, given up after the last repetition, or still open two seconds after the end.
    pub lost: u64,
    /// Of these, such that had anything sent twice.
    pub repeated: u64,
    /// Calls that ended well in the measured time, whenever they were placed: what the server's
    /// processor time is divided by.
    pub ended: u64,
    /// Final refusals in the measured time.
    pub turned_away: u64,
    /// From INVITE to 180.
    pub ringing: Histogram,
    /// From INVITE to a refusal.
    pub refusing: Histogram,
    /// How much later than planned calls were placed: the load's own lag.
    pub late: Histogram,
    /// Datagrams that our own system did not take.
    pub unsent: u64,
    /// A stranger's datagrams that our own system took.
    pub flooded: u64,
    /// How long was measured.
    pub measured: Duration,
    /// Our own processor time in it.
    pub load: Duration,
    /// Of `placed`, still open.
    pub(super) open: u64,
}

impl Score {
    pub(super) fn begin(&mut self, lines: &[Line]) {
        self.load = cpu::own();
        self.unsent = unsent(lines);
        self.ended = 0;
        self.turned_away = 0;
    }

    pub(super) fn end(&mut self, measured: Duration, lines: &[Line]) {
        self.load = cpu::own().saturating_sub(self.load);
        self.unsent = unsent(lines) - self.unsent;
        self.measured = measured;
    }

    /// What is still open is lost.
    pub(super) fn close(&mut self) {
        self.lost += self.open;
        self.open = 0;
    }

    /// Share of calls in which something was sent twice, that were refused, or that were lost: a server
    /// that sheds carries no more than before.
    pub fn trouble(&self) -> f64 {
        (self.repeated + self.turned_away + self.lost) as f64 / self.placed.max(1) as f64
    }

    /// Our share of one core.
    pub fn load_share(&self) -> f64 {
        self.load.as_secs_f64() / self.measured.as_secs_f64().max(1e-9)
    }

    /// Did the load fall behind? Then the figures are the load's and not the server's.
    pub fn fell_behind(&self) -> bool {
        self.load_share() > 0.97 || self.late.quantile(0.99) > Duration::from_millis(10)
    }
}

fn unsent(lines: &[Line]) -> u64 {
    lines.iter().map(|line| line.unsent).sum()
}
