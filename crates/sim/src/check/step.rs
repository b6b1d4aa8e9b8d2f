//! The checks of one step: an input, and what was sent because of it.

use std::time::Duration;

use trunkline_proxy::{
    event::{HealthState, Peer},
    settings::{Attempts, Exhausted, PlaceId},
};

use super::{
    Seen, Witness,
    forwarded::{request_as_it_came, response_as_it_came},
    story::{Attempt, Established, Served, Story},
};
use crate::{address::Address, names::Names, text::Text};

/// Virtual time is exact; this only forgives rounding to milliseconds.
const EXACT: Duration = Duration::from_millis(1);

type Peers<'p> = &'p dyn Fn() -> Vec<(Peer, HealthState)>;

impl Witness {
    pub(super) fn check_step(&mut self, names: &Names, peers: Peers<'_>) {
        let seen = std::mem::replace(&mut self.step.seen, Seen::Deadline);
        match &seen {
            Seen::Message {
                from,
                text: Some(text),
            } => self.on_message(*from, text, names),
            Seen::Lost(peer) => self.on_lost(*peer),
            Seen::Drain => self.draining = true,
            Seen::Message { text: None, .. }
            | Seen::Answer
            | Seen::Routing
            | Seen::Health
            | Seen::Deadline => {}
        }
        for call_id in std::mem::take(&mut self.step.asked) {
            if let Some(story) = self.stories.get_mut(&call_id) {
                story.recovering = true;
            }
        }
        self.no_relay(&seen);
        let sent = std::mem::take(&mut self.step.sent);
        for one in &sent {
            match one.text.method() {
                Some("INVITE") if one.text.tag("To").is_none() && !one.again => {
                    self.on_attempt(one.to, &one.text, &seen, names, peers);
                }
                Some("CANCEL") if !one.again => self.on_cancel_sent(&one.text),
                Some(_) => {}
                None => self.on_response_sent(one.to, &one.text, &seen, names, peers),
            }
        }
        self.step.sent = sent;
        if let Seen::Message {
            from,
            text: Some(text),
        } = &seen
        {
            self.what_a_message_calls_for(*from, text);
        }
        self.nobody_waits_too_long();
    }

    // What went in

    fn on_message(&mut self, from: Address, text: &Text, names: &Names) {
        let call_id = text.get("Call-ID").unwrap_or("").to_string();
        match text.method() {
            Some(method) => {
                if method != "ACK" {
                    let served = Served {
                        method: method.into(),
                        call_id: call_id.clone(),
                        at: self.step.now,
                        done: None,
                    };
                    let key = served_key(from, text);
                    self.step.fresh = !self.served.contains_key(&key);
                    self.served.entry(key).or_insert(served);
                }
                match (method, self.stories.get_mut(&call_id)) {
                    ("INVITE", None) if text.tag("To").is_none() => {
                        self.on_call(from, call_id, text, names)
                    }
                    ("CANCEL", Some(story)) if story.told.is_none() => story.cancelled = true,
                    ("BYE", Some(story)) => story.ended = true,
                    _ => {}
                }
            }
            None if text.about() == Some("INVITE") => {
                let code = text.code().unwrap_or(0);
                let branch = text.branch().unwrap_or("");
                let story = self.stories.get_mut(&call_id);
                // One that was given up may still ring, but nobody hears it.
                let current = story
                    .as_ref()
                    .and_then(|story| story.attempts.last())
                    .is_some_and(|it| it.branch == branch);
                if let Some(attempt) = story.and_then(|story| story.attempt(branch)) {
                    attempt.heard = true;
                    attempt.rang |= current && (101..200).contains(&code);
                }
            }
            None => {}
        }
    }

    fn on_call(&mut self, from: Address, call_id: String, invite: &Text, names: &Names) {
        let outward = from.socket.ip().to_string().starts_with("10.");
        let story = Story {
            invite: invite.clone(),
            since: self.step.now,
            outward,
            candidates: self.candidates(outward, names),
            attempts: Vec::new(),
            told: None,
            cancelled: false,
            refused: self.draining,
            recovering: false,
            ended: false,
        };
        self.stories.insert(call_id, story);
    }

    fn on_lost(&mut self, peer: Address) {
        let attempts = self
            .stories
            .values_mut()
            .flat_map(|story| &mut story.attempts);
        attempts
            .filter(|attempt| attempt.to == peer && attempt.done.is_none())
            .for_each(|attempt| attempt.lost = true);
    }

    // What came out

    fn no_relay(&mut self, seen: &Seen) {
        let spoke = match seen {
            Seen::Message { from, .. } => Some(*from),
            _ => None,
        };
        let stray = self.step.sent.iter().find(|one| {
            // What a hostile neighbour says its Contact is may be anywhere in its carrier's range.
            let ours = one
                .text
                .get("Call-ID")
                .is_some_and(|call_id| self.stories.contains_key(call_id));
            let neighbours =
                self.promised.has_neighbour && !ours && self.promised.is_allowed(one.to);
            let known = self.promised.hosts.contains(&one.to) || neighbours;
            self.promised.strangers.contains(&one.to) || (!known && spoke != Some(one.to))
        });
        if let Some(stray) = stray {
            let what = format!("{} was sent to {}", stray.text.start, stray.to);
            self.break_("no relay", what);
        }
    }

    fn on_attempt(
        &mut self,
        to: Address,
        text: &Text,
        seen: &Seen,
        names: &Names,
        peers: Peers<'_>,
    ) {
        let (now, call_id) = (self.step.now, text.get("Call-ID").unwrap_or("").to_string());
        // Calls of those who mean harm have no story, though a carrier's neighbour may place them.
        let Some(story) = self.stories.get(&call_id) else {
            return;
        };
        let limits = self.limits(story.outward);
        let verdict = may_begin(story, to, seen, now, limits.as_ref(), &|candidate| {
            let is_it = |peer: &Peer| {
                (peer.addr, peer.transport) == (candidate.socket, candidate.transport())
            };
            peers()
                .iter()
                .any(|(peer, is)| is_it(peer) && *is == HealthState::Down)
        });
        let group = story
            .candidates
            .iter()
            .filter(|(_, it)| *it == to)
            .map(|(group, _)| *group)
            .max();
        let passed_by = group
            .filter(|_| !story.recovering)
            .and_then(|group| self.passed_by(story, Some(group), names, peers));
        if let Some(passed_by) = passed_by {
            self.break_(
                "in order",
                format!("{call_id} went to {to} and passed {passed_by} by"),
            );
        }
        let Some(story) = self.stories.get(&call_id) else {
            return;
        };
        let forwarded = request_as_it_came(&story.invite, text);
        if let Some(what) = verdict {
            self.break_("four seconds", format!("{call_id} went on to {to}: {what}"));
        }
        if let Err(what) = forwarded {
            self.break_("hop by hop", format!("{call_id} to {to}: {what}"));
        }
        let attempt = Attempt {
            to,
            branch: text.branch().unwrap_or("").to_string(),
            at: now,
            heard: false,
            rang: false,
            done: None,
            cancelled: false,
            lost: false,
        };
        if let Some(story) = self.stories.get_mut(&call_id) {
            story.attempts.push(attempt);
        }
    }

    fn on_cancel_sent(&mut self, text: &Text) {
        let call_id = text.get("Call-ID").unwrap_or("").to_string();
        let branch = text.branch().unwrap_or("").to_string();
        let found = self
            .stories
            .get_mut(&call_id)
            .and_then(|story| story.attempt(&branch));
        let what = match found {
            // A re-INVITE's; it has no story.
            None => return,
            Some(attempt) => {
                let first = !std::mem::replace(&mut attempt.cancelled, true);
                match (attempt.heard, attempt.done) {
                    (false, _) => "nothing was heard from",
                    (true, Some(_)) if first => "a final had come from",
                    (true, _) => return,
                }
            }
        };
        self.break_(
            "nobody is left ringing",
            format!("{call_id} was cancelled where {what} it"),
        );
    }

    fn on_response_sent(
        &mut self,
        to: Address,
        text: &Text,
        seen: &Seen,
        names: &Names,
        peers: Peers<'_>,
    ) {
        let (Some(code), now) = (text.code(), self.step.now) else {
            return;
        };
        if let Seen::Message {
            text: Some(came), ..
        } = seen
            && came.code() == Some(code)
            && came.get("Call-ID") == text.get("Call-ID")
            && came.get("CSeq") == text.get("CSeq")
            && came.tag("To") == text.tag("To")
            && let Err(what) = response_as_it_came(came, text)
        {
            self.break_("hop by hop", format!("{code} to {to}: {what}"));
        }
        if code < 200 {
            return;
        }
        let tag = text.tag("To").unwrap_or("").to_string();
        if let Some(served) = self.served.get_mut(&served_key(to, text)) {
            match &served.done {
                None => served.done = Some((code, tag)),
                Some(done) if *done == (code, tag) => {}
                Some((other, _)) => {
                    let what = format!(
                        "{} of {} got {other} and then {code}",
                        served.method, served.call_id
                    );
                    self.break_("one final response", what);
                }
            }
        }
        let call_id = text.get("Call-ID").unwrap_or("").to_string();
        let Some(story) = self.stories.get(&call_id) else {
            return;
        };
        if story.told.is_some()
            || story.invite.branch() != text.branch()
            || text.about() != Some("INVITE")
        {
            return;
        }
        if code >= 300
            && let Some(what) = self.why_not_fail(story, code, seen, names, peers)
        {
            self.break_(
                "every candidate",
                format!("{call_id} was told {code}: {what}"),
            );
        }
        if let Some(story) = self.stories.get_mut(&call_id) {
            story.told = Some((code, now));
        }
    }

    /// What speaks against telling this caller of a failure now.
    fn why_not_fail(
        &self,
        story: &Story,
        code: u16,
        seen: &Seen,
        names: &Names,
        peers: Peers<'_>,
    ) -> Option<String> {
        if story.cancelled {
            return (code != 487).then(|| "he had cancelled".to_string());
        }
        if story.refused || story.recovering {
            return None;
        }
        let limits = self.limits(story.outward)?;
        let rang = story.attempts.iter().any(|attempt| attempt.rang);
        let passed_on =
            matches!(seen, Seen::Message { text: Some(text), .. } if text.code() == Some(code));
        if passed_on && (rang || !limits.failover.contains(code)) {
            return None;
        }
        // Timer C: what has rung, or said 100 and nothing more, for too long.
        let last = story.attempts.last();
        if code == 408 && last.is_some_and(|last| last.heard) {
            return None;
        }
        let spent = self.step.now.saturating_sub(story.since);
        if story.attempts.len() >= usize::from(limits.max_attempts)
            || spent + EXACT >= limits.setup_budget
        {
            return None;
        }
        if rang {
            return Some("what had rung was not heard of again".into());
        }
        if code != 503 && limits.exhausted == Exhausted::Own503 {
            return Some("it is neither an answer nor our own 503".into());
        }
        if self.step.withheld && self.most_further_failed() {
            return None;
        }
        let left = self.passed_by(story, None, names, peers);
        left.map(|left| format!("{left} was not tried"))
    }

    /// Whether attempts beyond the calls' first look as if they made things only worse.
    fn most_further_failed(&self) -> bool {
        let stories = self.stories.values();
        let further = stories.flat_map(|story| story.attempts.iter().skip(1));
        let failed = |it: &&Attempt| !it.rang && it.done.is_none_or(|code| code >= 300);
        further.filter(failed).count() >= 20
    }

    // What must follow

    fn what_a_message_calls_for(&mut self, from: Address, text: &Text) {
        let call_id = text.get("Call-ID").unwrap_or("").to_string();
        if text.method().is_some() && text.tag("To").is_some() {
            self.dialogs_are_routed(from, text, &call_id);
        }
        if text.method() == Some("INVITE") {
            let answered = self
                .step
                .sent
                .iter()
                .any(|one| one.to == from && one.text.code().is_some());
            let first = self
                .stories
                .get(&call_id)
                .is_some_and(|story| story.since == self.step.now);
            if first && !answered {
                self.break_("prompt", format!("{call_id} was not answered at once"));
            }
            return;
        }
        let (Some(code), Some("INVITE")) = (text.code(), text.about()) else {
            return;
        };
        if code < 200 {
            return;
        }
        let branch = text.branch().unwrap_or("").to_string();
        let sent = |method: &str| {
            let mut sent = self.step.sent.iter();
            sent.any(|one| {
                one.text.method() == Some(method) && one.text.get("Call-ID") == Some(&call_id)
            })
        };
        let forwarded = self.step.sent.iter().any(|one| {
            one.text.code() == Some(code)
                && one.text.tag("To") == text.tag("To")
                && one.text.get("CSeq") == text.get("CSeq")
        });
        let (acked, hung_up) = (sent("ACK"), sent("BYE"));
        let Some(attempt) = self
            .stories
            .get_mut(&call_id)
            .and_then(|story| story.attempt(&branch))
        else {
            return;
        };
        let first = attempt.done.is_none();
        attempt.done.get_or_insert(code);
        if code >= 300 {
            if first && !acked {
                self.break_(
                    "failures are acknowledged",
                    format!("{code} of {call_id} from {from} got no ACK"),
                );
            }
        } else if first && !forwarded && !(acked && hung_up) {
            let what = format!("{code} of {call_id} from {from} was neither forwarded nor hung up");
            self.break_("answers arrive", what);
        }
    }

    fn dialogs_are_routed(&mut self, from: Address, text: &Text, call_id: &str) {
        let passed_on = self.step.sent.iter().find(|one| {
            one.text.method() == text.method()
                && one.text.get("Call-ID") == Some(call_id)
                && one.text.get("CSeq") == text.get("CSeq")
        });
        if text.method() == Some("ACK") {
            let told = self.stories.get(call_id).and_then(|story| story.told);
            if let (Some((..300, _)), Some(passed_on)) = (told, passed_on) {
                let call = Established {
                    sides: [from, passed_on.to],
                    over: false,
                };
                self.established.entry(call_id.to_string()).or_insert(call);
            }
            return;
        }
        let passed_on = passed_on.is_some();
        let by_token = text.get("Route").is_some();
        let Some(call) = self
            .established
            .get_mut(call_id)
            .filter(|call| call.sides.contains(&from))
        else {
            return;
        };
        let owed = self.step.fresh && !call.over && (by_token || !self.restarted);
        call.over |= text.method() == Some("BYE");
        if owed && !passed_on {
            let what = format!(
                "{} of {call_id} from {from} went nowhere",
                text.method().unwrap_or("")
            );
            self.break_("dialogs are routed", what);
        }
    }

    fn nobody_waits_too_long(&mut self) {
        let now = self.step.now;
        let late = self.stories.iter().find_map(|(call_id, story)| {
            let last = story
                .attempts
                .last()
                .filter(|last| !last.heard && !last.lost)?;
            let patience = self.limits(story.outward)?.response_timeout;
            let waits = story.is_waiting() && !story.recovering && now > last.at + patience + EXACT;
            waits.then(|| format!("{call_id} still waits for {}, which is silent", last.to))
        });
        if let Some(what) = late {
            self.break_("four seconds", what);
        }
    }

    // What the configuration says

    fn limits(&self, outward: bool) -> Option<Attempts> {
        let trunk = self.promised.settings.trunks.first()?;
        if outward {
            trunk.termination.as_ref().map(|it| it.attempts.clone())
        } else {
            trunk.origination.as_ref().map(|it| it.attempts.clone())
        }
    }

    fn candidates(&self, outward: bool, names: &Names) -> Vec<(u16, Address)> {
        let settings = &self.promised.settings;
        let Some(trunk) = settings.trunks.first() else {
            return Vec::new();
        };
        let places: Vec<(u16, PlaceId)> = if outward {
            let edges = trunk.termination.iter().flat_map(|it| &it.edges);
            edges
                .enumerate()
                .map(|(at, edge)| (at as u16, edge.place))
                .collect()
        } else {
            let targets = trunk.origination.iter().flat_map(|it| &it.targets);
            targets
                .map(|target| (target.priority, target.place))
                .collect()
        };
        let resolved = places.into_iter().filter_map(|(group, place)| {
            let place = settings.places.get(place.0 as usize)?;
            Some((group, names.resolve(place, &settings.listeners).candidates))
        });
        resolved
            .flat_map(|(group, candidates)| {
                candidates
                    .into_iter()
                    .map(move |candidate| (group, candidate))
            })
            .map(|(group, it)| {
                (
                    group,
                    Address {
                        stream: it.transport.is_reliable(),
                        socket: it.addr,
                    },
                )
            })
            .collect()
    }

    /// The first candidate of a call that nothing speaks against and that was not tried; only of
    /// groups before this one when there is one.
    fn passed_by(
        &self,
        story: &Story,
        before: Option<u16>,
        names: &Names,
        peers: Peers<'_>,
    ) -> Option<Address> {
        let states = peers();
        let still_there = self.candidates(story.outward, names);
        let left = story.candidates.iter().find(|(group, candidate)| {
            let state = states.iter().find(|(peer, _)| {
                (peer.addr, peer.transport) == (candidate.socket, candidate.transport())
            });
            let shunned =
                state.is_some_and(|(_, is)| matches!(is, HealthState::Down | HealthState::Paused));
            before.is_none_or(|before| *group < before)
                && !shunned
                && still_there.contains(&(*group, *candidate))
                && !story.attempts.iter().any(|it| it.to == *candidate)
        });
        left.map(|(_, left)| *left)
    }
}

fn served_key(peer: Address, text: &Text) -> String {
    format!(
        "{} {} {peer}",
        text.about().unwrap_or(""),
        text.branch().unwrap_or("")
    )
}

/// What speaks against this attempt of a call now.
fn may_begin(
    story: &Story,
    to: Address,
    seen: &Seen,
    now: Duration,
    limits: Option<&Attempts>,
    is_down: &dyn Fn(Address) -> bool,
) -> Option<String> {
    if story.told.is_some() {
        return Some("the caller had his answer".into());
    }
    let last = story.attempts.last()?;
    if last.rang && !story.recovering {
        return Some(format!("{} had rung", last.to));
    }
    if story.recovering || last.lost || last.to == to && last.done.is_some() {
        return None;
    }
    if matches!(seen, Seen::Message { from, text: Some(text) } if *from == last.to && text.code() >= Some(300))
    {
        return None;
    }
    let waited = now.saturating_sub(last.at);
    let patience = limits.map_or(Duration::ZERO, |limits| limits.response_timeout);
    if last.heard {
        // Only a 100, for `progress_timeout`; or from one that has been down for a while.
        let may = limits.is_some_and(|limits| limits.progress_timeout.is_some())
            || is_down(last.to) && waited + EXACT >= patience;
        return (!may).then(|| format!("{} had been heard", last.to));
    }
    let exact = waited + EXACT >= patience && waited <= patience + EXACT;
    (!exact && !is_down(last.to)).then(|| {
        format!(
            "{} had been silent for {waited:?}, not {patience:?}",
            last.to
        )
    })
}
