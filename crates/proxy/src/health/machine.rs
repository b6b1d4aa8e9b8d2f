//! One candidate's state: the table at the top of [`health`](super), row by row.

use std::time::Duration;

use crate::Moment;

use super::{
    Class, Evidence, PAUSE_MAX, REST_MAX, REST_MIN, TRIAL_EVERY, TRIAL_MAX, later, pace::is_probed,
};
use crate::{event::HealthState, settings::Health};

/// A pause is not made longer by less than this.
const PAUSE_GRAIN: Duration = Duration::from_secs(1);

#[derive(Copy, Clone, PartialEq, Debug)]
pub(super) struct Machine {
    phase: Phase,
    /// In a row, whatever showed them; counted up to `fail_after`.
    failures: u16,
    /// When it last came back from down or paused.
    back: Option<Moment>,
    /// It has answered a probe: from then on a silent probe means something.
    answers_probes: bool,
    /// It has answered a call: while it never answered a probe, its silence to them means nothing.
    answers_calls: bool,
    /// Calls that failed since one was last answered, whatever its probes said in between;
    /// counted up to `fail_after`.
    calls_failed: u16,
    /// A probe was answered while calls were not.
    claims: bool,
    /// It answers OPTIONS and fails calls: only a call can show that it is well.
    deaf: bool,
}

#[derive(Copy, Clone, PartialEq, Debug)]
enum Phase {
    Up,
    Suspect { since: Moment },
    Down(Rest),
    Paused { until: Option<Moment> },
}

/// A down candidate's rest before a real call may try it.
#[derive(Copy, Clone, PartialEq, Debug)]
struct Rest {
    length: Duration,
    /// Failing probes put the trial off, but not for ever.
    latest: Option<Moment>,
    until: Option<Moment>,
    /// Others may not try before then: a trial runs.
    trial: Option<Moment>,
}

impl Rest {
    fn begin(now: Moment, length: Duration) -> Rest {
        Rest {
            length,
            latest: later(now, TRIAL_EVERY),
            until: later(now, length),
            trial: None,
        }
    }

    fn is_half_open(&self, now: Moment) -> bool {
        self.until.is_some_and(|until| until <= now) && self.trial.is_none_or(|trial| trial <= now)
    }
}

impl Machine {
    pub(super) fn new() -> Self {
        Machine {
            phase: Phase::Up,
            failures: 0,
            back: None,
            answers_probes: false,
            answers_calls: false,
            calls_failed: 0,
            claims: false,
            deaf: false,
        }
    }

    pub(super) fn state(&self) -> HealthState {
        match self.phase {
            Phase::Up => HealthState::Up,
            Phase::Suspect { .. } => HealthState::Suspect,
            Phase::Down(_) => HealthState::Down,
            Phase::Paused { .. } => HealthState::Paused,
        }
    }

    fn ignores_probes(&self) -> bool {
        self.answers_calls && !self.answers_probes
    }

    /// Whether probes will tell when it is well again. If not, only calls can, and it must get some.
    fn is_judged_by_probes(&self, settings: &Health) -> bool {
        is_probed(settings) && !self.ignores_probes() && !self.deaf
    }

    pub(super) fn is_paused(&self) -> bool {
        self.state() == HealthState::Paused
    }

    pub(super) fn back_since(&self) -> Option<Moment> {
        self.back
    }

    pub(super) fn class(&self, settings: &Health, now: Moment) -> Class {
        match self.phase {
            Phase::Up => Class::Usable,
            Phase::Suspect { .. } => Class::Suspect,
            Phase::Down(rest) if rest.is_half_open(now) => {
                if self.is_judged_by_probes(settings) {
                    Class::Suspect
                } else {
                    Class::Usable
                }
            }
            Phase::Down(_) | Phase::Paused { .. } => Class::Down,
        }
    }

    /// Whether an answered call says nothing that was not known.
    pub(super) fn is_well(&self) -> bool {
        self.phase == Phase::Up
            && self.answers_calls
            && (self.failures, self.calls_failed) == (0, 0)
            && !self.claims
            && !self.deaf
    }

    fn begin_trial(&mut self, now: Moment) {
        if let Phase::Down(rest) = &mut self.phase
            && rest.is_half_open(now)
        {
            rest.trial = later(now, TRIAL_MAX);
        }
    }

    pub(super) fn end_trial(&mut self) {
        if let Phase::Down(rest) = &mut self.phase {
            rest.trial = None;
        }
    }

    /// Applies evidence; says why, for a person, should the state be another now.
    pub(super) fn observe(
        &mut self,
        settings: &Health,
        now: Moment,
        evidence: Evidence,
    ) -> &'static str {
        match evidence {
            Evidence::Alive => {
                self.answers_calls = true;
                (self.calls_failed, self.claims, self.deaf) = (0, false, false);
                if !self.is_paused() {
                    self.come_up(now);
                }
                "answered"
            }
            Evidence::ProbeAnswered => {
                self.answers_probes = true;
                // Silence to calls made it suspect, or some have failed outright.
                self.claims |= self.calls_failed > 0 || self.state() == HealthState::Suspect;
                if !self.deaf && !self.is_paused() {
                    self.come_up(now);
                }
                "answered"
            }
            Evidence::Failed(why) => {
                self.fail_call(settings, now);
                if self.deaf {
                    "answers OPTIONS and no calls"
                } else {
                    why
                }
            }
            // A peer that takes calls and ignores OPTIONS lives: its calls say so.
            Evidence::ProbeFailed(why) if self.ignores_probes() => why,
            Evidence::ProbeFailed(why) => {
                // Its OPTIONS tell of it again.
                (self.calls_failed, self.claims, self.deaf) = (0, false, false);
                self.fail(settings, now, true);
                why
            }
            Evidence::Pause(rest) if rest.is_zero() => {
                self.fail(settings, now, false);
                "503 with Retry-After: 0"
            }
            Evidence::Pause(rest) => {
                self.pause(now, rest.min(PAUSE_MAX));
                "asked for a pause (503 with Retry-After)"
            }
            Evidence::Silent => {
                // What is known to be worse stays.
                if self.state() == HealthState::Up {
                    self.phase = Phase::Suspect { since: now };
                }
                "no answer to several calls"
            }
            Evidence::Trial => {
                self.begin_trial(now);
                "a call tries it"
            }
        }
    }

    /// When time alone may change the state.
    pub(super) fn next_turn(&self, settings: &Health) -> Option<Moment> {
        match self.phase {
            Phase::Suspect { since } if !self.is_judged_by_probes(settings) => {
                later(since, REST_MIN)
            }
            Phase::Paused { until } => until,
            // A down one's rest changes its class, which is asked for, not its state.
            Phase::Up | Phase::Suspect { .. } | Phase::Down(_) => None,
        }
    }

    /// Applies what time alone changes; says why, for a person.
    pub(super) fn pass_time(&mut self, settings: &Health, now: Moment) -> &'static str {
        if self.next_turn(settings).is_none_or(|turn| now < turn) {
            return "";
        }
        match self.phase {
            Phase::Suspect { .. } => {
                // Nothing will clear it but calls. The failures stay counted: one more counts on.
                self.phase = Phase::Up;
                "no probe will tell: given another chance"
            }
            Phase::Paused { .. } => {
                self.back = Some(now);
                if self.failures == 0 {
                    self.phase = Phase::Up;
                } else if self.failures < settings.fail_after {
                    self.phase = Phase::Suspect { since: now };
                } else {
                    // It has rested.
                    self.phase = Phase::Down(Rest {
                        until: Some(now),
                        ..Rest::begin(now, REST_MIN)
                    });
                }
                "its pause is over"
            }
            Phase::Up | Phase::Down(_) => "",
        }
    }

    fn come_up(&mut self, now: Moment) {
        match self.phase {
            Phase::Down(_) | Phase::Paused { .. } => self.back = Some(now),
            Phase::Up | Phase::Suspect { .. } => {}
        }
        self.failures = 0;
        self.phase = Phase::Up;
    }

    fn fail_call(&mut self, settings: &Health, now: Moment) {
        let most = settings.fail_after.max(1);
        self.calls_failed = self.calls_failed.saturating_add(1).min(most);
        self.deaf |= self.claims && self.calls_failed >= settings.fail_after;
        // Answered probes between them do not make failed calls any fewer.
        self.failures = self.failures.max(self.calls_failed - 1);
        self.fail(settings, now, false);
    }

    fn fail(&mut self, settings: &Health, now: Moment, probe: bool) {
        let most = settings.fail_after.max(1);
        self.failures = self.failures.saturating_add(1).min(most);
        let enough = self.failures == most;
        match &mut self.phase {
            Phase::Up | Phase::Suspect { .. } if enough => self.go_down(now),
            Phase::Up => self.phase = Phase::Suspect { since: now },
            Phase::Suspect { .. } if probe => self.go_down(now),
            Phase::Suspect { .. } => {}
            // Only a trial lost makes the rest longer: failures of calls that were on their way
            // when it went down say nothing new.
            Phase::Down(rest) if rest.trial.is_some() && !probe => {
                *rest = Rest::begin(now, (rest.length * 2).min(REST_MAX));
            }
            // Its probes show that it is still dead: no call need find that out, for a while.
            Phase::Down(rest) if probe && self.answers_probes && rest.trial.is_none() => {
                rest.until = later(now, REST_MAX).min(rest.latest);
            }
            Phase::Down(_) | Phase::Paused { .. } => {}
        }
    }

    fn go_down(&mut self, now: Moment) {
        self.phase = Phase::Down(Rest::begin(now, REST_MIN));
    }

    fn pause(&mut self, now: Moment, rest: Duration) {
        let end = later(now, rest);
        let until = match self.phase {
            // A stream of the same answer moves the end now and then, not with each of them.
            Phase::Paused { until: Some(until) } if end < later(until, PAUSE_GRAIN) => Some(until),
            Phase::Paused { .. } | Phase::Up | Phase::Suspect { .. } | Phase::Down(_) => end,
        };
        self.phase = Phase::Paused { until };
    }
}
