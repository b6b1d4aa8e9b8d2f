//! Connection overrides in a webhook URL's fragment: `#ct=500&rt=2000&rc=2&rp=ct,5xx`.
//!
//! They change how one URL is asked and never reach its server. A value out of range changes
//! nothing and is noted, because at the moment of a disaster a slightly wrong URL that is asked
//! serves the caller better than one that is refused.

use std::time::Duration;

use crate::settings::RepeatOn;

/// What a fragment says; `None` where it is silent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Overrides {
    /// `ct`: TCP and TLS may take so long.
    pub connect: Option<Duration>,
    /// `rt`: the response may take so long once connected.
    pub read: Option<Duration>,
    /// `tt`: all tries together may take so long.
    pub total: Option<Duration>,
    /// `rc`: repeats, not tries.
    pub retries: Option<u8>,
    /// `rp`: what is repeated.
    pub repeat: Option<RepeatOn>,
    /// `sni`: whether TLS names the server.
    pub sni: Option<bool>,
    /// `e`: where to leave from, in turn.
    pub sources: Vec<String>,
    /// What could not be used, for the log.
    pub notes: Vec<String>,
}

/// Places that `e` may name.
const SOURCES_MAX: usize = 16;
/// Milliseconds that `ct` may say.
const CONNECT_MS: std::ops::RangeInclusive<u64> = 100..=10_000;
/// Milliseconds that `rt` and `tt` may say.
const READ_MS: std::ops::RangeInclusive<u64> = 100..=15_000;
/// What `rc` may say.
const RETRIES: std::ops::RangeInclusive<u64> = 0..=5;

impl Overrides {
    /// Reads a fragment without its `#`.
    pub fn parse(fragment: &str) -> Overrides {
        let mut read = Overrides::default();
        for pair in fragment.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match key {
                "ct" => read.connect = read.millis(pair, value, CONNECT_MS),
                "rt" => read.read = read.millis(pair, value, READ_MS),
                "tt" => read.total = read.millis(pair, value, READ_MS),
                "rc" => read.retries = read.number(pair, value, RETRIES).map(|count| count as u8),
                "rp" => read.repeat = read.repeat_on(pair, value),
                "sni" => read.sni = read.yes_or_no(pair, value),
                "e" => read.sources = read.names(pair, value),
                _ => read.note(pair, "known are ct, rt, tt, rc, rp, sni, e"),
            }
        }
        read
    }

    fn millis(
        &mut self,
        pair: &str,
        value: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<Duration> {
        self.number(pair, value, range).map(Duration::from_millis)
    }

    fn number(
        &mut self,
        pair: &str,
        value: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        let number = value.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            self.note(pair, &format!("give {} to {}", range.start(), range.end()));
        }
        number
    }

    fn repeat_on(&mut self, pair: &str, value: &str) -> Option<RepeatOn> {
        let mut repeat = RepeatOn::none();
        for word in value.split(',') {
            match word {
                "4xx" => repeat.codes.insert_class(4),
                "5xx" => repeat.codes.insert_class(5),
                "ct" => repeat.connect = true,
                "rt" => repeat.read = true,
                "all" => repeat = RepeatOn::all(),
                _ => {
                    self.note(
                        pair,
                        "give some of 4xx, 5xx, ct, rt, all, separated by commas",
                    );
                    return None;
                }
            }
        }
        Some(repeat)
    }

    fn yes_or_no(&mut self, pair: &str, value: &str) -> Option<bool> {
        match value {
            "y" => Some(true),
            "n" => Some(false),
            _ => {
                self.note(pair, "give y or n");
                None
            }
        }
    }

    fn names(&mut self, pair: &str, value: &str) -> Vec<String> {
        let names: Vec<String> = value
            .split(',')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        if names.is_empty() || names.len() > SOURCES_MAX {
            self.note(pair, "give names of sources, separated by commas");
            return Vec::new();
        }
        names
    }

    fn note(&mut self, pair: &str, remedy: &str) {
        /// Notes kept; the fragment's length is limited, this only keeps a log line short.
        const NOTES_MAX: usize = 4;
        if self.notes.len() < NOTES_MAX {
            let pair: String = pair.chars().take(40).collect();
            self.notes
                .push(format!("override \"{pair}\" is not used: {remedy}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Option<Duration> {
        Some(Duration::from_millis(millis))
    }

    #[test]
    fn every_override_is_read_within_its_range() {
        let none = Overrides::default();
        let cases = [
            ("", none.clone()),
            (
                "ct=100",
                Overrides {
                    connect: ms(100),
                    ..none.clone()
                },
            ),
            (
                "ct=10000",
                Overrides {
                    connect: ms(10_000),
                    ..none.clone()
                },
            ),
            (
                "rt=15000&tt=100",
                Overrides {
                    read: ms(15_000),
                    total: ms(100),
                    ..none.clone()
                },
            ),
            (
                "rc=0",
                Overrides {
                    retries: Some(0),
                    ..none.clone()
                },
            ),
            (
                "rc=5",
                Overrides {
                    retries: Some(5),
                    ..none.clone()
                },
            ),
            (
                "rp=4xx,rt",
                Overrides {
                    repeat: Some({
                        let mut repeat = RepeatOn::none();
                        repeat.codes.insert_class(4);
                        repeat.read = true;
                        repeat
                    }),
                    ..none.clone()
                },
            ),
            (
                "rp=all",
                Overrides {
                    repeat: Some(RepeatOn::all()),
                    ..none.clone()
                },
            ),
            (
                "sni=n&e=dublin,ashburn",
                Overrides {
                    sni: Some(false),
                    sources: vec!["dublin".into(), "ashburn".into()],
                    ..none.clone()
                },
            ),
            (
                "&&ct=500&",
                Overrides {
                    connect: ms(500),
                    ..none.clone()
                },
            ),
        ];
        for (fragment, expected) in cases {
            assert_eq!(Overrides::parse(fragment), expected, "{fragment}");
        }
    }

    #[test]
    fn a_value_out_of_range_changes_nothing_and_is_noted() {
        for fragment in [
            "ct=99", "ct=10001", "rt=15001", "tt=99", "tt=", "rc=6", "rc=-1", "rp=", "rp=3xx",
            "zz=1", "ct", "sni=x", "e=",
        ] {
            let read = Overrides::parse(fragment);
            assert_eq!(read.notes.len(), 1, "{fragment}");
            assert!(read.notes[0].contains(fragment), "{:?}", read.notes);
            assert_eq!(
                Overrides {
                    notes: vec![],
                    ..read
                },
                Overrides::default(),
                "{fragment}"
            );
        }
    }
}
