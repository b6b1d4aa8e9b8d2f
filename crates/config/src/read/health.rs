//! `[health]`, and what a trunk's directions say differently.

use trunkline_proxy::settings::Health;

use crate::walk::Section;

/// `[health]`, as it holds where a trunk says nothing.
#[derive(Copy, Clone)]
pub(crate) struct Defaults {
    /// Towards carriers.
    pub termination: Health,
    /// Towards PBXs.
    pub origination: Health,
}

pub(super) fn defaults(root: &Section<'_>) -> Defaults {
    let section = root.section_or_empty("health");
    let termination = Health {
        probe_interval: section.duration_or_off("probe_interval"),
        probe_timeout: section.duration("probe_timeout"),
        suspect_after: section.duration_or_off("suspect_after"),
        fail_after: section.number_u16("fail_after"),
        slow_start: section.duration("slow_start"),
    };
    let probe_interval = section.duration_or_off("target_probe_interval");
    Defaults {
        termination,
        origination: Health {
            probe_interval,
            ..termination
        },
    }
}

/// The `health` table of one direction over its defaults.
pub(super) fn own(direction: &Section<'_>, defaults: Health) -> Health {
    let Some(section) = direction.section("health") else {
        return defaults;
    };
    let has = |name: &str| section.written(name).is_some();
    let mut health = defaults;
    if has("probe_interval") {
        health.probe_interval = section.duration_or_off("probe_interval");
    }
    if has("probe_timeout") {
        health.probe_timeout = section.duration("probe_timeout");
    }
    if has("suspect_after") {
        health.suspect_after = section.duration_or_off("suspect_after");
    }
    if has("fail_after") {
        health.fail_after = section.number_u16("fail_after");
    }
    if has("slow_start") {
        health.slow_start = section.duration("slow_start");
    }
    health
}
