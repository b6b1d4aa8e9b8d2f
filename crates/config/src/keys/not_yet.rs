//! Keys that do less than they say.

/// Written and understood, but without its full effect in this build.
pub(crate) struct NotYet {
    /// The dotted key, without places in lists.
    pub key: &'static str,
    /// Values (TOML) that need nothing that is missing.
    pub harmless: &'static [&'static str],
    /// What happens instead.
    pub instead: &'static str,
}

/// The one list of keys that do less than they say; each becomes a warning when it is used.
pub(crate) static NOT_YET: &[NotYet] = &[NotYet {
    key: "node.workers",
    harmless: &["0", "1"],
    instead: "this build runs its data path on one thread",
}];
