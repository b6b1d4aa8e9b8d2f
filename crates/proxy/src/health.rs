//! Which candidates can be trusted with a call, from what was seen of them.
//!
//! One table for each shard; pure. It is told what was sent and what came back, says how good a
//! candidate is ([`Class`]), which are to be probed now, and what has changed. It sends nothing.
//!
//! The shards of a process keep their tables alike by telling each other evidence, not verdicts
//! ([`News`]): each runs the same machine over what all of them saw, so a failure on one shard and
//! one on another are two failures in a row on both. Evidence that changes nothing is not told, and
//! what was learned from another is never told on, so news cannot go round. What a probe showed is
//! always told: should news be lost or cross each other on their way, the next probe makes the
//! tables agree again, and where nobody probes, time does. One shard *tends* each candidate: it
//! alone probes it and says how its health changes.
//!
//! Every candidate is in one state, and there is one machine for all of them:
//!
//! | evidence \ state | up | suspect | down | paused |
//! | --- | --- | --- | --- | --- |
//! | [`Alive`](Evidence::Alive), [`ProbeAnswered`](Evidence::ProbeAnswered) | up | up | up, slow start | paused: no early flip |
//! | [`Failed`](Evidence::Failed), fewer than `fail_after` in a row | suspect | suspect | – | paused, counted |
//! | [`Failed`](Evidence::Failed), the `fail_after`-th | down | down | down; a trial lost doubles its rest | paused, counted |
//! | [`ProbeFailed`](Evidence::ProbeFailed) | as `Failed` | down | rests on, for [`TRIAL_EVERY`] at most | paused, counted |
//! | [`Pause`](Evidence::Pause) | paused | paused | paused | paused, to the later end |
//! | [`Silent`](Evidence::Silent): no answer to [`SILENT_CALLS`] calls for `suspect_after` | suspect | – | – | – |
//! | time | – | not judged by probes: up after its rest | half-open after its rest | by what was counted: up with slow start, suspect, or down |
//!
//! A candidate that has answered calls and never a probe ignores OPTIONS: its silent probes count
//! for nothing, and it is treated as one that is not probed.
//!
//! The other way round, one whose probes are answered while `fail_after` calls in a row fail answers
//! OPTIONS and no calls (a firewall that answers for a dead PBX, a PBX whose lines are dead): once
//! down, only a call brings it up. When its probes fail as well, they are believed again.
//!
//! What follows from a state:
//!
//! | state | the walk | probes |
//! | --- | --- | --- |
//! | up | usable | every `probe_interval` |
//! | suspect | after the usable ones | at once, then every second (towards carriers every 10 s) |
//! | down | not at all; once it has rested, one real call at a time ("half-open") | every 2 s (towards carriers 10 s) |
//! | paused | not at all | none: it has asked for rest |
//!
//! Nothing that traffic shows can eject a candidate for good: a rest lasts [`REST_MIN`] at first
//! and [`REST_MAX`] at most, a pause [`PAUSE_MAX`]. Only an operator disables a target.
//!
//! A candidate that is not probed, or whose probes prove nothing, has only real calls to come back
//! by. So its half-open trial counts as usable, not as a last resort: otherwise it would stay out
//! for as long as its peers are well.

use std::{collections::HashMap, time::Duration};

use crate::{
    Moment,
    event::{HealthState, Peer},
    hop::ShardId,
    settings::Health,
};

mod agenda;
mod machine;
mod pace;
#[cfg(test)]
mod tests;

use agenda::Agenda;
use machine::Machine;
use pace::Pace;
pub use pace::worst_detection;

/// So many calls without any answer are suspicious; fewer may be one caller's bad luck.
pub const SILENT_CALLS: u32 = 3;
/// How long a candidate rests after it went down, before one real call may try it.
pub const REST_MIN: Duration = Duration::from_secs(5);
/// The rest doubles with every trial lost, up to this.
pub const REST_MAX: Duration = Duration::from_secs(60);
/// However many probes fail, one real call may try a down candidate this often.
pub const TRIAL_EVERY: Duration = Duration::from_secs(300);
/// What is known of a candidate that is not well outlives its configuration by so long: DNS that
/// alternates between two sets of addresses must not make a dead one good as new.
pub const LINGER: Duration = TRIAL_EVERY;
/// So many are remembered like that.
const LINGERING_MAX: usize = 1000;
/// A trial that has no verdict after so long no longer keeps others from trying.
pub const TRIAL_MAX: Duration = Duration::from_secs(10);
/// A pause longer than this is cut, whatever was asked for.
pub const PAUSE_MAX: Duration = Duration::from_secs(3600);
/// What a candidate gets of its share in the first moment after it is back, per mille.
const SLOW_START_FLOOR: u16 = 100;

/// A candidate's place in a [`HealthTable`]. Good for as long as the candidate is configured or
/// [held](HealthTable::hold).
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PeerIx(pub u32);

/// What a walk sorts candidates by.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// First.
    Usable,
    /// When no usable one is left. A half-open candidate counts as one, until
    /// a call is [sent](HealthTable::sent) to it.
    Suspect,
    /// Only when the walk has nothing else at all.
    Down,
}

/// Something seen of a candidate.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Evidence {
    /// Any response but 408 and 503 to a call.
    Alive,
    /// An attempt of a call failed: silence, a lost hop, 408, 503. Why, for a person.
    Failed(&'static str),
    /// Any response but 408 and 503 to a probe.
    ProbeAnswered,
    /// A probe failed: silence, a lost hop, 408, 503. Why, for a person.
    ProbeFailed(&'static str),
    /// A 503 with Retry-After: how long, already capped by `retry_after_max`. One of 0 is a
    /// failure like another.
    Pause(Duration),
    /// Several calls have waited for any answer for too long, while others were answered.
    Silent,
    /// A real call is sent to it while it is half-open: others stay away until that has its
    /// verdict.
    Trial,
}

/// Evidence that one shard has of a candidate and the others of its process do not.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct News {
    /// Whose.
    pub peer: Peer,
    /// What was seen.
    pub evidence: Evidence,
}

/// What evidence of our own came to.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
pub struct Lesson {
    /// What it changed.
    pub change: Option<Change>,
    /// Whether the other shards must hear of it.
    pub is_news: bool,
}

/// A candidate's health changed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Whose.
    pub ix: PeerIx,
    /// What it was.
    pub was: HealthState,
    /// What it is.
    pub is: HealthState,
    /// The evidence, for a person.
    pub why: &'static str,
}

/// The health of every candidate one shard knows.
#[derive(Debug)]
pub struct HealthTable {
    shard: ShardId,
    /// How many shards the process has.
    shards: u8,
    entries: Vec<Entry>,
    free: Vec<u32>,
    index: HashMap<Peer, PeerIx, foldhash::fast::RandomState>,
    /// When a candidate is to be probed.
    probes: Agenda,
    /// When time alone may change a candidate's state.
    turns: Agenda,
    /// When any candidate at all was last heard.
    heard: Option<Moment>,
    /// How many candidates that are up were sent something since they were last heard.
    silent: u32,
}

#[derive(Debug)]
struct Entry {
    peer: Peer,
    settings: Health,
    machine: Machine,
    pace: Pace,
    silence: Silence,
    /// Whether this shard probes it and tells of it.
    tended: bool,
    /// Its booking in [`HealthTable::probes`].
    probe: Option<Moment>,
    /// Its booking in [`HealthTable::turns`].
    turn: Option<Moment>,
    configured: bool,
    /// Not configured and not well: forgotten then.
    lingers: Option<Moment>,
    holds: u32,
}

/// What was sent to a candidate that is up since anything was heard from it.
#[derive(Copy, Clone, Default, Debug)]
struct Silence {
    calls: u32,
    /// When the call was sent that made it [`SILENT_CALLS`], or when to look again.
    since: Option<Moment>,
    /// When the first of them was sent.
    began: Option<Moment>,
}

impl HealthTable {
    /// One that knows nobody, for one of the process's `shards` shards.
    pub fn new(shard: ShardId, shards: u8) -> Self {
        HealthTable {
            shard,
            shards: shards.max(1),
            entries: Vec::new(),
            free: Vec::new(),
            index: HashMap::default(),
            probes: Agenda::default(),
            turns: Agenda::default(),
            heard: None,
            silent: 0,
        }
    }

    /// The place of a candidate. A new one starts up, and its first probe falls somewhere within
    /// its interval, so that a start does not probe everybody at once. A known one keeps its
    /// state and takes the new settings.
    pub fn intern(&mut self, peer: Peer, settings: Health, now: Moment) -> PeerIx {
        let ix = self
            .lookup(&peer)
            .unwrap_or_else(|| self.insert(peer, settings, now));
        let entry = self.entry_mut(ix);
        let probe = match entry.probe {
            _ if entry.machine.is_paused() => None,
            Some(booked) if entry.settings.probe_interval == settings.probe_interval => {
                Some(booked)
            }
            Some(booked) => entry
                .pace
                .regular(&settings, now)
                .map(|regular| booked.min(regular)),
            None => entry.pace.first(&settings, now),
        };
        entry.settings = settings;
        entry.configured = true;
        entry.lingers = None;
        self.book_probe(ix, probe);
        self.book_turn(ix);
        ix
    }

    /// The place of a candidate that is known.
    pub fn lookup(&self, peer: &Peer) -> Option<PeerIx> {
        self.index.get(peer).copied()
    }

    /// The settings that hold for it.
    pub fn settings(&self, ix: PeerIx) -> &Health {
        &self.entry(ix).settings
    }

    /// The candidate at a place.
    pub fn peer(&self, ix: PeerIx) -> Peer {
        self.entry(ix).peer
    }

    /// Its state.
    pub fn state(&self, ix: PeerIx) -> HealthState {
        self.entry(ix).machine.state()
    }

    /// Whether this shard probes it and tells of its health: one of a process's shards does.
    pub fn tends(&self, ix: PeerIx) -> bool {
        self.entry(ix).tended
    }

    /// How many candidates are known.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// An attempt uses the place: it stays even if the candidate leaves the configuration.
    pub fn hold(&mut self, ix: PeerIx) {
        self.entry_mut(ix).holds += 1;
    }

    /// How often anything at all is held.
    pub fn holds(&self) -> usize {
        self.entries.iter().map(|entry| entry.holds as usize).sum()
    }

    /// The attempt is over. When it was the last one, no trial can be running any more, however
    /// it ended; and a candidate that nobody configures is forgotten.
    pub fn release(&mut self, ix: PeerIx) {
        let entry = self.entry_mut(ix);
        debug_assert!(entry.holds > 0, "released more often than held");
        entry.holds = entry.holds.saturating_sub(1);
        if entry.holds == 0 {
            entry.machine.end_trial();
            self.forget_if_unused(ix);
        }
    }

    /// Tells who is configured now. The others are probed no more, and forgotten once released;
    /// those that are not well only after [`LINGER`].
    pub fn retain_configured(&mut self, now: Moment, configured: &[PeerIx]) {
        let mut is_configured = vec![false; self.entries.len()];
        for ix in configured {
            if let Some(place) = is_configured.get_mut(ix.0 as usize) {
                *place = true;
            }
        }
        let mut lingering = 0;
        for at in 0..self.entries.len() as u32 {
            let ix = PeerIx(at);
            if is_configured[at as usize] || !self.is_live(ix) {
                continue;
            }
            lingering += 1;
            let entry = self.entry_mut(ix);
            if entry.configured {
                entry.configured = false;
                entry.lingers = later(now, LINGER);
            }
            if lingering > LINGERING_MAX {
                entry.lingers = None;
            }
            self.book_probe(ix, None);
            self.book_turn(ix);
            self.forget_if_unused(ix);
        }
    }

    /// How good a candidate is for a call that is placed now.
    pub fn class(&self, ix: PeerIx, now: Moment) -> Class {
        let entry = self.entry(ix);
        entry.machine.class(&entry.settings, now)
    }

    /// Whether it is known that a call has nothing to hope for there, half-open or not.
    pub fn is_down(&self, ix: PeerIx) -> bool {
        matches!(self.state(ix), HealthState::Down | HealthState::Paused)
    }

    /// The trial's call ended without a verdict, for instance because the caller gave up: the
    /// next may try.
    pub fn end_trial(&mut self, ix: PeerIx) {
        self.entry_mut(ix).machine.end_trial();
    }

    /// Takes evidence of our own in; says what it changed, and whether it is news to others.
    pub fn observe(&mut self, now: Moment, ix: PeerIx, evidence: Evidence) -> Lesson {
        // Nearly always.
        if evidence == Evidence::Alive && self.entry(ix).machine.is_well() {
            self.heard(now, ix);
            return Lesson::default();
        }
        let before = self.entry(ix).machine;
        let change = self.learn(now, ix, evidence);
        let is_news = self.shards > 1
            && match evidence {
                Evidence::ProbeAnswered | Evidence::ProbeFailed(_) => true,
                Evidence::Alive
                | Evidence::Failed(_)
                | Evidence::Pause(_)
                | Evidence::Silent
                | Evidence::Trial => before != self.entry(ix).machine,
            };
        Lesson { change, is_news }
    }

    /// Takes in what another shard saw; says what it changed.
    pub fn learn(&mut self, now: Moment, ix: PeerIx, evidence: Evidence) -> Option<Change> {
        match evidence {
            Evidence::Alive | Evidence::ProbeAnswered | Evidence::Pause(_) => self.heard(now, ix),
            // A failure may be an answer as well, but that is for the caller to know.
            Evidence::Failed(_) | Evidence::ProbeFailed(_) | Evidence::Silent | Evidence::Trial => {
            }
        }
        let entry = self.entry_mut(ix);
        let was = entry.machine.state();
        let why = entry.machine.observe(&entry.settings, now, evidence);
        self.settle(now, ix, was, why)
    }

    /// A request of a call was sent to it: once for each attempt, not for its retransmissions,
    /// and not for probes. To a half-open candidate, it is the trial: `true` when other shards
    /// must hear of it.
    pub fn sent(&mut self, now: Moment, ix: PeerIx) -> bool {
        let entry = self.entry_mut(ix);
        if entry.machine.state() != HealthState::Up {
            // Nothing is left to suspect.
            return self.observe(now, ix, Evidence::Trial).is_news;
        }
        let first = entry.silence.calls == 0;
        entry.silence.calls = entry.silence.calls.saturating_add(1);
        if first {
            entry.silence.began = Some(now);
        }
        let enough = entry.silence.calls == SILENT_CALLS;
        if enough {
            entry.silence.since = Some(now);
        }
        self.silent += u32::from(first);
        if enough {
            self.book_turn(ix);
        }
        false
    }

    /// Any response at all came from it, 100 included. It is not silent; whether it is well is
    /// for [`observe`](Self::observe).
    pub fn heard(&mut self, now: Moment, ix: PeerIx) {
        self.heard = Some(now);
        self.end_silence(ix);
    }

    /// Applies what time alone changes: suspicion, the ends of pauses and rests. What is news is
    /// the silence that made a candidate suspect. To be called at
    /// [`next_deadline`](Self::next_deadline).
    pub fn sweep(&mut self, now: Moment, lessons: &mut Vec<(PeerIx, Lesson)>) {
        while let Some(at) = self.turns.due(now) {
            let ix = PeerIx(at);
            // The booking is used up; what follows books the next.
            self.unbook_turn(ix);
            if self.entry(ix).lingers.is_some_and(|until| until <= now) {
                self.entry_mut(ix).lingers = None;
                self.forget_if_unused(ix);
                if !self.is_live(ix) {
                    continue;
                }
            }
            let lesson = if self.is_suspicious(ix, now) {
                self.end_silence(ix);
                self.observe(now, ix, Evidence::Silent)
            } else {
                let entry = self.entry_mut(ix);
                let was = entry.machine.state();
                let why = entry.machine.pass_time(&entry.settings, now);
                Lesson {
                    change: self.settle(now, ix, was, why),
                    is_news: false,
                }
            };
            if lesson.is_news || lesson.change.is_some() {
                lessons.push((ix, lesson));
            }
        }
    }

    /// Those to be probed now; each gets its next time. To be called at
    /// [`next_deadline`](Self::next_deadline), after [`sweep`](Self::sweep).
    pub fn due_probes(&mut self, now: Moment, due: &mut Vec<PeerIx>) {
        while let Some(at) = self.probes.due(now) {
            let ix = PeerIx(at);
            let entry = self.entry_mut(ix);
            let next = entry
                .pace
                .probed(&entry.settings, entry.machine.state(), now);
            self.book_probe(ix, next);
            due.push(ix);
        }
    }

    /// When [`sweep`](Self::sweep) and [`due_probes`](Self::due_probes) have something to do.
    #[inline]
    pub fn next_deadline(&self) -> Option<Moment> {
        let next = self.probes.next().min(self.turns.next());
        (next != Moment::NEVER).then_some(next)
    }

    /// All candidates that are configured or held, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = (PeerIx, Peer, HealthState)> + '_ {
        let in_use = |entry: &Entry| entry.configured || entry.holds > 0;
        (0..self.entries.len() as u32)
            .map(PeerIx)
            .filter(move |ix| self.is_live(*ix) && in_use(self.entry(*ix)))
            .map(|ix| (ix, self.peer(ix), self.state(ix)))
    }

    /// What a candidate gets of its share, per mille: less than 1000 for `slow_start` after it
    /// came back from down or paused.
    pub fn slow_start_share(&self, ix: PeerIx, now: Moment) -> u16 {
        let entry = self.entry(ix);
        let Some(back) = entry.machine.back_since() else {
            return 1000;
        };
        let whole = entry.settings.slow_start.as_nanos();
        let passed = now.saturating_duration_since(back).as_nanos();
        if passed >= whole {
            return 1000;
        }
        let ramp = u128::from(1000 - SLOW_START_FLOOR) * passed / whole;
        SLOW_START_FLOOR + ramp as u16
    }

    /// After anything that may have changed a state: silence starts anew, the next probe and the
    /// next turn are booked, and the change is told if there was one.
    fn settle(
        &mut self,
        now: Moment,
        ix: PeerIx,
        was: HealthState,
        why: &'static str,
    ) -> Option<Change> {
        let is = self.state(ix);
        if is != was {
            self.end_silence(ix);
            let entry = self.entry_mut(ix);
            let probe = entry
                .pace
                .changed(&entry.settings, is, entry.probe, now)
                .filter(|_| entry.configured);
            self.book_probe(ix, probe);
        }
        self.book_turn(ix);
        self.forget_if_unused(ix);
        (is != was).then_some(Change { ix, was, is, why })
    }

    /// Whether a candidate that is up has been silent for too long.
    ///
    /// When others that were asked are silent too and nobody at all was heard, our own link is
    /// the likelier fault, and calling everybody suspect would only cut the calls' patience short.
    fn is_suspicious(&mut self, ix: PeerIx, now: Moment) -> bool {
        let entry = self.entry(ix);
        if entry.silent_until().is_none_or(|until| now < until) {
            return false;
        }
        let others_answer = self.heard >= entry.silence.began;
        let alone = self.silent == 1;
        if others_answer || alone {
            return true;
        }
        self.entry_mut(ix).silence.since = Some(now);
        false
    }

    fn end_silence(&mut self, ix: PeerIx) {
        let entry = self.entry_mut(ix);
        let was_silent = entry.silence.calls > 0;
        entry.silence = Silence::default();
        self.silent = self.silent.saturating_sub(u32::from(was_silent));
    }

    fn insert(&mut self, peer: Peer, settings: Health, now: Moment) -> PeerIx {
        let pace = Pace::new(&peer, now);
        let entry = Entry {
            peer,
            settings,
            machine: Machine::new(),
            pace,
            silence: Silence::default(),
            tended: pace.tender(self.shards) == self.shard,
            probe: None,
            turn: None,
            configured: true,
            lingers: None,
            holds: 0,
        };
        let at = match self.free.pop() {
            Some(at) => {
                self.entries[at as usize] = entry;
                at
            }
            None => {
                self.entries.push(entry);
                self.entries.len() as u32 - 1
            }
        };
        self.index.insert(peer, PeerIx(at));
        PeerIx(at)
    }

    fn forget_if_unused(&mut self, ix: PeerIx) {
        let entry = self.entry(ix);
        let well = entry.machine.state() == HealthState::Up;
        if entry.configured || entry.holds > 0 || (!well && entry.lingers.is_some()) {
            return;
        }
        let peer = entry.peer;
        self.end_silence(ix);
        self.book_probe(ix, None);
        self.unbook_turn(ix);
        self.index.remove(&peer);
        self.free.push(ix.0);
    }

    fn book_probe(&mut self, ix: PeerIx, want: Option<Moment>) {
        let entry = &mut self.entries[ix.0 as usize];
        let want = want.filter(|_| entry.tended);
        self.probes.book(ix.0, &mut entry.probe, want);
    }

    fn book_turn(&mut self, ix: PeerIx) {
        let entry = &mut self.entries[ix.0 as usize];
        let machine = entry.machine.next_turn(&entry.settings);
        let turns = [machine, entry.silent_until(), entry.lingers];
        let want = turns.into_iter().flatten().min();
        self.turns.book_lazily(ix.0, &mut entry.turn, want);
    }

    fn unbook_turn(&mut self, ix: PeerIx) {
        let has = &mut self.entries[ix.0 as usize].turn;
        self.turns.book(ix.0, has, None);
    }

    /// A place that was forgotten keeps its last entry until it is used again.
    fn is_live(&self, ix: PeerIx) -> bool {
        self.index.get(&self.entry(ix).peer) == Some(&ix)
    }

    fn entry(&self, ix: PeerIx) -> &Entry {
        &self.entries[ix.0 as usize]
    }

    fn entry_mut(&mut self, ix: PeerIx) -> &mut Entry {
        debug_assert!(self.is_live(ix), "a place that was forgotten");
        &mut self.entries[ix.0 as usize]
    }
}

impl Entry {
    /// When its silence becomes suspicious.
    fn silent_until(&self) -> Option<Moment> {
        let patience = self.settings.suspect_after.filter(|after| !after.is_zero());
        later(self.silence.since?, patience?)
    }
}

/// `None`, which means never, where the clock cannot count that far.
fn later(at: Moment, after: Duration) -> Option<Moment> {
    at.checked_add(after)
}
