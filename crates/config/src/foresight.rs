//! What a configuration's timers come to when something dies: how soon that is noticed, how long a
//! caller waits, and which lines say so.

use std::{fmt, time::Duration};

use trunkline_proxy::{
    Settings,
    health::worst_detection,
    settings::{Attempts, Health},
};

use crate::{
    duration::show,
    read::{DirectionNotes, Notes, TrunkNotes, attempts_that_fit},
    source::Span,
    walk::Section,
};

/// What one direction of one trunk does when an address dies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Foresight {
    /// The trunk's name.
    pub trunk: String,
    /// "edge" or "target".
    pub of: &'static str,
    /// The line of the direction's table.
    pub line: usize,
    /// One after the other.
    pub sentences: Vec<Sentence>,
}

/// One consequence, and what it follows from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sentence {
    /// In words.
    pub text: String,
    /// The settings it follows from.
    pub causes: Vec<Cause>,
}

/// A setting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cause {
    /// Name and value, "response_timeout 4s".
    pub what: String,
    /// Where it is written; `None` for a default.
    pub line: Option<usize>,
}

impl fmt::Display for Foresight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const COLUMN: usize = 51;
        let Foresight {
            trunk, of, line, ..
        } = self;
        write!(f, "if an address of a {trunk} {of} dies (line {line}):")?;
        for sentence in &self.sentences {
            let causes: Vec<String> = sentence.causes.iter().map(Cause::to_string).collect();
            let line = format!("  {:COLUMN$} {}", sentence.text, causes.join(", "));
            write!(f, "\n{}", line.trim_end())?;
        }
        Ok(())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{} (line {line})", self.what),
            None => write!(f, "{} (default)", self.what),
        }
    }
}

/// What every direction of every trunk comes to, in file order.
pub(crate) fn foresee(root: &Section<'_>, settings: &Settings, notes: &Notes) -> Vec<Foresight> {
    let mut all = Vec::new();
    for (trunk, notes) in settings.trunks.iter().zip(&notes.trunks) {
        if let (Some(termination), Some(at)) = (&trunk.termination, &notes.termination) {
            let eye = Eye {
                root,
                at,
                probe_interval: "probe_interval",
            };
            let sentences = eye.see(&termination.attempts, &termination.health);
            all.push(eye.foresight(&trunk.name, "edge", sentences));
        }
        if let (Some(origination), Some(at)) = (&trunk.origination, &notes.origination) {
            let eye = Eye {
                root,
                at,
                probe_interval: "target_probe_interval",
            };
            let mut sentences = eye.see(&origination.attempts, &origination.health);
            sentences.extend(eye.carrier(notes));
            all.push(eye.foresight(&trunk.name, "target", sentences));
        }
    }
    all
}

/// Looks at one direction.
struct Eye<'a> {
    root: &'a Section<'a>,
    at: &'a DirectionNotes,
    /// What `[health]` calls this direction's interval.
    probe_interval: &'static str,
}

impl Eye<'_> {
    fn foresight(&self, trunk: &str, of: &'static str, sentences: Vec<Sentence>) -> Foresight {
        Foresight {
            trunk: format!("{trunk:?}"),
            of,
            line: self.line(&self.at.at),
            sentences,
        }
    }

    fn see(&self, attempts: &Attempts, health: &Health) -> Vec<Sentence> {
        vec![
            self.by_probes(health),
            self.by_calls(attempts, health),
            self.by_a_call(attempts, health),
            self.patience(attempts),
        ]
    }

    fn by_probes(&self, health: &Health) -> Sentence {
        let interval = match health.probe_interval {
            Some(interval) => self.health("probe_interval", &show(interval)),
            None => self.health("probe_interval", "off"),
        };
        match worst_detection(health) {
            Some(after) => Sentence {
                text: format!("probes notice it after at most {}", words(after)),
                causes: vec![
                    interval,
                    self.health("probe_timeout", &show(health.probe_timeout)),
                    self.health("fail_after", &health.fail_after.to_string()),
                ],
            },
            None => Sentence {
                text: "no probe ever notices it".into(),
                causes: vec![interval],
            },
        }
    }

    /// Early suspicion.
    fn by_calls(&self, attempts: &Attempts, health: &Health) -> Sentence {
        match health.suspect_after.filter(|after| !after.is_zero()) {
            Some(after) if after < attempts.response_timeout => Sentence {
                text: format!(
                    "several silent calls make others avoid it after {}",
                    words(after)
                ),
                causes: vec![self.health("suspect_after", &show(after))],
            },
            Some(after) => Sentence {
                text: "suspicion comes too late to be of use".into(),
                causes: vec![
                    self.health("suspect_after", &show(after)),
                    self.timer("response_timeout", &show(attempts.response_timeout)),
                ],
            },
            None => Sentence {
                text: "several silent calls say no more than one".into(),
                causes: vec![self.health("suspect_after", "off")],
            },
        }
    }

    fn by_a_call(&self, attempts: &Attempts, health: &Health) -> Sentence {
        let noticed = words(attempts.response_timeout);
        let text = match health.fail_after {
            0 | 1 => format!("one call notices it after {noticed}"),
            calls => format!("{calls} calls notice it after {noticed} each"),
        };
        Sentence {
            text,
            causes: vec![
                self.timer("response_timeout", &show(attempts.response_timeout)),
                self.health("fail_after", &health.fail_after.to_string()),
            ],
        }
    }

    /// How long a caller waits when all are silent and nobody knows yet.
    fn patience(&self, attempts: &Attempts) -> Sentence {
        let addresses = self.at.walk.addresses();
        let fit = attempts_that_fit(attempts);
        let most = u32::from(attempts.max_attempts);
        let tried = addresses.min(fit).min(most);
        let whole = attempts.response_timeout.saturating_mul(tried);
        let mut timeout = self.timer("response_timeout", &show(attempts.response_timeout));
        timeout.what = format!("{tried} x {}", timeout.what);
        let counted = Cause {
            what: self.at.walk.counted.clone(),
            line: Some(self.line(&self.at.at)),
        };
        let mut causes = vec![timeout, counted];
        if tried == most && most < addresses {
            causes.push(self.timer("max_attempts", &most.to_string()));
        } else if tried == fit && fit < addresses {
            causes.push(self.timer("setup_budget", &show(attempts.setup_budget)));
        }
        let text = format!(
            "if all are silent, a caller waits at most {}",
            words(whole.min(attempts.setup_budget))
        );
        Sentence { text, causes }
    }

    /// What happens to inbound calls when this very machine dies.
    fn carrier(&self, notes: &TrunkNotes) -> Option<Sentence> {
        let (preset, after) = notes.gives_up.as_ref()?;
        let by = format!("preset:{preset}");
        let at = notes.allow.iter().find(|allowed| allowed.written == by)?;
        Some(Sentence {
            text: format!(
                "if this machine dies, {preset} gives it up after {}",
                words(*after)
            ),
            causes: vec![Cause {
                what: by,
                line: Some(self.line(&at.at)),
            }],
        })
    }

    fn timer(&self, name: &str, value: &str) -> Cause {
        Cause {
            what: format!("{name} {value}"),
            line: self.at.written(name).map(|at| self.line(&at)),
        }
    }

    /// A setting of health: this direction's own, or that of `[health]`.
    fn health(&self, name: &str, value: &str) -> Cause {
        let own = self.at.written(name).map(|at| (name, at));
        let common = if name == "probe_interval" {
            self.probe_interval
        } else {
            name
        };
        let found = own.or_else(|| {
            let written = self.root.written_in("health", common)?;
            Some((common, written.at))
        });
        let (name, line) = match found {
            Some((name, at)) => (name, Some(self.line(&at))),
            None => (common, None),
        };
        Cause {
            what: format!("{name} {value}"),
            line,
        }
    }

    fn line(&self, at: &Span) -> usize {
        self.root.faults.source().position(at.start).0
    }
}

/// As one says it: "7.5 s".
fn words(duration: Duration) -> String {
    let tenths = duration.as_millis().div_ceil(100);
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole} s"),
        (whole, rest) => format!("{whole}.{rest} s"),
    }
}
