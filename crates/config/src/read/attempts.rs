//! Timers of attempts and calls, and which answers move on: the same keys in both directions.

use std::time::Duration;

use trunkline_proxy::settings::{Attempts, CodeSet, Exhausted};

use crate::{
    duration::show,
    walk::{Section, Value, shorten},
};

/// Reads them. `usual` is what moves on where `failover_on` is not written.
pub(super) fn read(section: &Section<'_>, usual: CodeSet) -> Attempts {
    let mut failover = if section.written("failover_on").is_some() {
        let mut set = CodeSet::empty();
        codes(section, "failover_on")
            .into_iter()
            .for_each(|code| set.insert(code));
        set
    } else {
        usual
    };
    codes(section, "stop_on")
        .into_iter()
        .for_each(|code| failover.remove(code));
    Attempts {
        response_timeout: section.duration("response_timeout"),
        connect_timeout: section.duration("connect_timeout"),
        progress_timeout: section.duration_or_off("progress_timeout"),
        answer_timeout: section.duration("answer_timeout"),
        setup_budget: section.duration("setup_budget"),
        max_attempts: section.number_u16("max_attempts"),
        failover,
        exhausted: match section.word("exhausted") {
            "best" => Exhausted::Best,
            _ => Exhausted::Own503,
        },
        retry_after_max: section.duration("retry_after_max"),
        // At most 100, as the keys say.
        retry_budget: u8::try_from(section.number_u16("retry_budget")).unwrap_or(100),
    }
}

/// Every code of a list of codes and classes.
fn codes(section: &Section<'_>, name: &str) -> Vec<u16> {
    section
        .items(name)
        .iter()
        .filter_map(code_or_class)
        .flatten()
        .collect()
}

pub(super) fn code_or_class(value: &Value<'_>) -> Option<std::ops::Range<u16>> {
    const FINAL: std::ops::Range<u64> = 300..700;
    let written = match value.as_number() {
        Some(number) => number.to_string(),
        None => value
            .element("a code such as 503 or a class such as \"5xx\"")?
            .to_ascii_lowercase(),
    };
    if let Some(class) = written
        .strip_suffix("xx")
        .and_then(|class| class.parse::<u16>().ok())
    {
        if (3..=6).contains(&class) {
            return Some(class * 100..class * 100 + 100);
        }
    } else if let Ok(code) = written.parse::<u64>()
        && FINAL.contains(&code)
    {
        let code = u16::try_from(code).ok()?;
        return Some(code..code + 1);
    }
    let exception = written.strip_prefix("not ").is_some();
    let remedy = if exception {
        "leave it out here and write the code into stop_on"
    } else {
        "write codes from 300 to 699, or \"3xx\", \"4xx\", \"5xx\", \"6xx\""
    };
    value.fault(
        format!(
            "{:?} is no final code that could move on",
            shorten(&written)
        ),
        remedy,
    );
    None
}

/// What a walk through all candidates meets, and how it is counted.
#[derive(Clone, Default)]
pub(crate) struct Walk {
    /// Each edge or target as written, in the order in which it is tried, and how many addresses
    /// it has at most.
    pub entries: Vec<(String, u32)>,
    /// "2 edges of up to 4 addresses each".
    pub counted: String,
}

impl Walk {
    /// Addresses that are tried at most.
    pub fn addresses(&self) -> u32 {
        let counts = self.entries.iter().map(|(_, addresses)| *addresses);
        counts.fold(0, u32::saturating_add)
    }

    /// The first entry that is not reached when all before it are silent and only so many
    /// addresses are tried; with how many stand before it.
    fn unreached(&self, tried: u32) -> Option<(&str, u32)> {
        let mut before = 0u32;
        for (written, addresses) in &self.entries {
            if before >= tried {
                return Some((written, before));
            }
            before = before.saturating_add(*addresses);
        }
        None
    }
}

/// So many attempts begin before `setup_budget` is over when everybody is silent.
pub(crate) fn attempts_that_fit(attempts: &Attempts) -> u32 {
    let each = attempts.response_timeout.as_millis().max(1);
    u32::try_from(attempts.setup_budget.as_millis().div_ceil(each)).unwrap_or(u32::MAX)
}

/// Warns where the timers contradict each other.
pub(super) fn judge(section: &Section<'_>, attempts: &Attempts, walk: &Walk) {
    let at = |name: &str| {
        section
            .written(name)
            .map_or(section.at.clone(), |value| value.at)
    };
    let warn = |name: &str, message: String, remedy: String| {
        section.faults.warning(
            &at(name),
            &format!("{}.{name}", section.path),
            message,
            remedy,
        );
    };
    let Attempts {
        response_timeout,
        setup_budget,
        max_attempts,
        ..
    } = attempts;
    if response_timeout > setup_budget {
        let message = format!(
            "response_timeout {} is longer than setup_budget {}: no second candidate is ever tried",
            show(*response_timeout),
            show(*setup_budget)
        );
        warn(
            "response_timeout",
            message,
            "make it a fraction of setup_budget".to_owned(),
        );
        return;
    }
    if attempts.connect_timeout > *response_timeout && section.written("connect_timeout").is_some()
    {
        let message = format!(
            "connect_timeout {} is longer than response_timeout {}",
            show(attempts.connect_timeout),
            show(*response_timeout)
        );
        warn(
            "connect_timeout",
            message,
            "a connect that hangs should cost less than a silent peer: make it shorter".to_owned(),
        );
    }
    let fit = attempts_that_fit(attempts);
    if let Some((last, before)) = walk.unreached(fit) {
        let message = format!(
            "{:?} is never tried when all before it are silent: setup_budget {} has time for {fit} attempts of {}, and {before} addresses stand before it ({})",
            shorten(last),
            show(*setup_budget),
            show(*response_timeout),
            walk.counted
        );
        // The attempt that reaches it has to begin before the budget is over.
        let fitting = *setup_budget / before.saturating_add(1);
        let fitting = Duration::from_millis(
            u64::try_from(fitting.as_millis()).unwrap_or(u64::MAX) / 100 * 100,
        );
        let remedy = if fitting.is_zero() {
            "lower response_timeout, or list fewer".to_owned()
        } else {
            format!(
                "response_timeout = \"{}\" reaches it; or leave it: addresses known to be down are skipped",
                show(fitting)
            )
        };
        warn("setup_budget", message, remedy);
    }
    if let Some((last, before)) = walk.unreached(u32::from(*max_attempts)) {
        let message = format!(
            "{:?} is never tried when all before it fail: max_attempts {max_attempts}, and {before} addresses stand before it ({})",
            shorten(last),
            walk.counted
        );
        let remedy = format!("write max_attempts = {}, or list fewer", walk.addresses());
        warn("max_attempts", message, remedy);
    }
}
