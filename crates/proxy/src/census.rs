//! What is in every table, for tests that look for what was left behind.

/// Everything a proxy holds on to. See [`Proxy::census`](crate::Proxy::census).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Census {
    /// Requests in work.
    pub contexts: usize,
    /// Server transactions that can be found.
    pub keys: usize,
    /// Messages that wait for DNS.
    pub parked: usize,
    /// Entries of contexts that wait on a candidate.
    pub waiting: usize,
    /// Calls without a final response.
    pub in_setup: usize,
    /// Calls remembered.
    pub calls: usize,
    /// Active calls of all targets together.
    pub active: usize,
    /// Probes and BYEs of our own.
    pub locals: usize,
    /// Questions without an answer.
    pub asks: usize,
    /// Calls whose end a webhook is to be told.
    pub aftermaths: usize,
    /// Armed timers.
    pub timers: usize,
    /// Holds on health entries by anything but snapshots.
    pub holds: usize,
    /// Snapshots that are no longer the newest, but still in use.
    pub retired: usize,
    /// Addresses remembered: names and guests.
    pub addresses: usize,
}
