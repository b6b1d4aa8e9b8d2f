//! Disaster recovery of one call: carries out what [`RecoveryCall`] says (BEHAVIOUR 8).

use std::{sync::Arc, time::Duration};

use trunkline_sip::{Message, Name, NameAddr, Transport, Uri};

use super::Context;
use crate::{
    Event,
    engine::{Alarm, Asker, Ring, Turn},
    event::{Direction, Outcome},
    forward::{UriText, request_uri},
    question::{Answer, Question},
    recovery::{Aftermath, CallFacts, DialTarget, RecoveryCall, Step, sid},
    routing::Candidate,
    settings::{Place, TrunkId},
    table::Slot,
    walk::{self, Addressed, Walk},
};

/// A recovery in progress and, while it dials, what is left to dial.
pub struct Recovering {
    call: RecoveryCall,
    trunk: TrunkId,
    /// What is being dialled comes first.
    targets: std::collections::VecDeque<DialTarget>,
    asked_at: Option<crate::Moment>,
}

impl Recovering {
    /// How long the target being dialled may ring.
    pub fn ring_timeout(&self) -> Option<Duration> {
        self.targets.front().map(|target| target.timeout)
    }

    /// The target being dialled.
    pub fn target(&self) -> Option<&DialTarget> {
        self.targets.front()
    }

    /// The target took the call: what its end is to be told to.
    pub fn answered(&mut self) -> Option<Box<Aftermath>> {
        self.call.on_dial_answered()
    }
}

impl Context {
    /// Asks the webhook, if the trunk has one.
    pub(super) fn begin_recovery(
        &mut self,
        slot: Slot,
        request: &Message<'_>,
        turn: &mut Turn<'_>,
    ) -> bool {
        let id = self.walk.first_trunk();
        let trunks = &self.snapshot.settings().trunks;
        let Some(settings) = trunks
            .get(usize::from(id.0))
            .and_then(|trunk| trunk.recovery.clone())
        else {
            return false;
        };
        // Calls have candidates of their own, unless a drill took them away.
        self.drilled = self.is_fixed().then_some(id);
        let mut unique = request.call_id().unwrap_or_default().to_vec();
        unique.extend_from_slice(request.from_tag().unwrap_or_default());
        unique.extend_from_slice(&turn.engine.unix(self.began).to_be_bytes());
        let facts = self.call_facts(&settings.trunk, &unique, request, turn);
        let (mut call, step) = RecoveryCall::begin(settings, facts, sid("", &unique));
        let drill = self.drilled.is_some();
        call.flush(&mut |step, detail| {
            turn.out.tell(Event::Recovery {
                trunk: id,
                drill,
                step,
                detail: detail.into(),
            })
        });
        self.recovering = Some(Box::new(Recovering {
            call,
            trunk: id,
            targets: Default::default(),
            asked_at: None,
        }));
        self.why = self.recovery_word();
        self.recovery_step(slot, step, request, turn);
        true
    }

    /// What the webhook is told about the call.
    fn call_facts(
        &self,
        trunk: &Arc<str>,
        unique: &[u8],
        request: &Message<'_>,
        turn: &Turn<'_>,
    ) -> CallFacts {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let number = |uri: Option<&[u8]>| {
            let user = uri
                .and_then(|uri| Uri::parse(uri).ok())
                .and_then(|uri| uri.user);
            text(user.unwrap_or_default())
        };
        let from = request.from().ok();
        let name = from.map(|from| text(from.display).trim_matches('"').to_owned());
        let diverted = request
            .all(Name::Diversion)
            .next()
            .and_then(|header| NameAddr::parse(header.value).ok());
        let uri = request.request_uri().map(Uri::parse).and_then(Result::ok);
        let attempts = self.attempts.iter();
        CallFacts {
            trunk: Arc::clone(trunk),
            call_sid: sid("CA", unique),
            account_sid: sid("AC", trunk.as_bytes()),
            trunk_sid: sid("TK", trunk.as_bytes()),
            from: number(from.map(|from| from.uri)),
            caller_name: name.filter(|name| !name.is_empty()),
            to: number(request.request_uri()),
            forwarded_from: diverted
                .map(|diverted| number(Some(diverted.uri)))
                .filter(|number| !number.is_empty()),
            sip_domain: uri.map(|uri| text(uri.host_raw)),
            sip_call_id: text(request.call_id().unwrap_or_default()),
            sip_response_code: self.last_code(),
            x_headers: Context::x_headers(request),
            source_ip: self.from.remote.ip(),
            attempts: attempts
                .map(|attempt| attempt.record(self.began, turn.now))
                .collect(),
            test: false,
            drill: self.drilled.is_some(),
        }
    }

    fn recovery_word(&self) -> &'static str {
        if self.drilled.is_some() {
            "drill"
        } else {
            "recovery"
        }
    }

    fn last_code(&self) -> u16 {
        match self.attempts.last().and_then(|attempt| attempt.verdict) {
            Some((Outcome::Final(code), _)) => code,
            Some((Outcome::Silent | Outcome::NoProgress | Outcome::NoAnswer, _)) => 408,
            Some(_) => 503,
            None => 0,
        }
    }

    /// The webhook answered, or did not.
    pub fn on_webhook(&mut self, slot: Slot, answer: Answer, turn: &mut Turn<'_>) {
        let asked_at = self
            .recovering
            .as_mut()
            .and_then(|recovering| recovering.asked_at.take());
        let took = asked_at.map(|asked_at| turn.now.saturating_duration_since(asked_at));
        self.recover(slot, turn, |call, events| {
            took.into_iter().for_each(|took| call.took(took));
            call.on_answer(answer, &mut |step, detail| events(step, detail))
        });
    }

    /// A wait of the recovery is over.
    pub(super) fn on_recovery_timer(&mut self, slot: Slot, turn: &mut Turn<'_>) {
        self.recover(slot, turn, |call, events| {
            let step = call.on_timer();
            call.flush(&mut |step, detail| events(step, detail));
            step
        });
    }

    /// None of the candidates of the target being dialled took the call.
    pub(super) fn dial_failed(&mut self, slot: Slot, request: &Message<'_>, turn: &mut Turn<'_>) {
        let code = self.last_code();
        let Some(recovering) = self.recovering.as_mut() else {
            return;
        };
        recovering.targets.pop_front();
        if recovering.targets.is_empty() {
            self.recover(slot, turn, |call, events| {
                call.on_dial_failed(code, &mut |step, detail| events(step, detail))
            });
        } else {
            self.dial(slot, request, turn);
        }
    }

    fn recover(
        &mut self,
        slot: Slot,
        turn: &mut Turn<'_>,
        next: impl FnOnce(&mut RecoveryCall, &mut dyn FnMut(&'static str, String)) -> Step,
    ) {
        let Some(recovering) = self.recovering.as_mut() else {
            return;
        };
        let (trunk, drill) = (recovering.trunk, self.drilled.is_some());
        let step = next(
            &mut recovering.call,
            &mut |step: &'static str, detail: String| {
                turn.out.tell(Event::Recovery {
                    trunk,
                    drill,
                    step,
                    detail: detail.into(),
                });
            },
        );
        for notice in recovering.call.notices() {
            turn.ask(Asker::Nobody, Question::Http(notice));
        }
        self.with_request(|context, request| context.recovery_step(slot, step, request, turn));
    }

    fn recovery_step(
        &mut self,
        slot: Slot,
        step: Step,
        request: &Message<'_>,
        turn: &mut Turn<'_>,
    ) {
        let Some(recovering) = self.recovering.as_mut() else {
            return;
        };
        match step {
            Step::Ask(http) => {
                recovering.asked_at = Some(turn.now);
                let asked = crate::recovery::url::shown(&http.url);
                self.tell_step("asked", asked, turn);
                turn.ask(Asker::Webhook(slot), Question::Http(http));
            }
            Step::Wait(pause) => turn.arm(pause, Alarm::Context(slot, Ring::Recovery)),
            Step::Dial(targets) => {
                recovering.targets = targets.into();
                self.dial(slot, request, turn);
            }
            Step::Respond { status, reason } => {
                self.why = self.recovery_word();
                self.answer(slot, status, reason, &[], request, turn);
            }
            Step::Exhausted => {
                self.tell_step("exhausted", "the caller gets 503", turn);
                self.why = "recovery exhausted";
                self.answer_503(slot, request, turn);
            }
        }
    }

    fn tell_step(&self, step: &'static str, detail: &str, turn: &mut Turn<'_>) {
        let Some(recovering) = &self.recovering else {
            return;
        };
        turn.tell(Event::Recovery {
            trunk: recovering.trunk,
            drill: self.drilled.is_some(),
            step,
            detail: detail.into(),
        });
    }

    /// Calls the target in front: its candidates at once where they are known, else after DNS.
    fn dial(&mut self, slot: Slot, request: &Message<'_>, turn: &mut Turn<'_>) {
        self.walk_from = self.attempts.len();
        let target = self.recovering.as_ref().and_then(|it| it.targets.front());
        if let Some(number) = target.and_then(DialTarget::number) {
            let number = number.to_owned();
            return self.dial_number(slot, &number, request, turn);
        }
        let Some(place) = self.dialled_place() else {
            return self.dial_failed(slot, request, turn);
        };
        let known = turn
            .engine
            .lookup(&self.snapshot, &place, self.from.listener, turn.now);
        match known {
            Some(candidates) => self.dial_at(slot, candidates, request, turn),
            None => {
                turn.ask(Asker::Dial(slot, place.clone()), Question::Resolve(place));
            }
        }
    }

    /// A number goes where the routes send it, as a call of the PBX side would.
    fn dial_number(
        &mut self,
        slot: Slot,
        number: &str,
        request: &Message<'_>,
        turn: &mut Turn<'_>,
    ) {
        let trunks = Arc::clone(self.snapshot.routing().trunks_for(number.as_bytes()));
        if trunks.is_empty() {
            let words = format!(
                "{number} cannot be called: no route has a trunk with a termination for it"
            );
            self.tell_step("failed", &words, turn);
            return self.dial_failed(slot, request, turn);
        }
        self.tell_step(
            "dial",
            &format!("{number} through {} trunks", trunks.len()),
            turn,
        );
        self.walk = Walk::Termination {
            named: None,
            trunks,
        };
        self.why = self.recovery_word();
        self.try_next(slot, request, turn);
    }

    /// The Request-URI of an attempt that dials a number; empty for all others.
    pub(super) fn dialled_uri(&self, trunk: TrunkId, addressed: Addressed) -> Arc<[u8]> {
        let target = self.recovering.as_ref().and_then(|it| it.targets.front());
        let number = target.and_then(DialTarget::number);
        let address = walk::request_address(&self.snapshot, trunk, addressed);
        let (Some(number), Some(address)) = (number, address) else {
            return Arc::default();
        };
        let written = format!("sip:{number}@{}", address.authority);
        let mut uri = UriText::new();
        if let Ok(dialled) = Uri::parse(written.as_bytes()) {
            request_uri(&dialled, address, |text| uri.extend_from_slice(text));
        }
        uri[..].into()
    }

    /// Whether the target being dialled has said no, so that its other addresses need not be asked:
    /// nobody's phone rings twice.
    pub(super) fn target_has_spoken(&self) -> bool {
        let last = self.attempts[self.walk_from..].last();
        let Some((attempt, (outcome, _))) = last.and_then(|it| Some((it, it.verdict?))) else {
            return false;
        };
        match outcome {
            Outcome::NoAnswer => true,
            Outcome::Final(_) if attempt.rang => true,
            Outcome::Final(code) => match &self.walk {
                // RFC 3263 §4.3.
                Walk::Fixed { .. } => code != 503,
                Walk::Termination { .. } | Walk::Origination { .. } => {
                    let limits = self.walk.attempts(&self.snapshot, attempt.trunk);
                    limits.is_none_or(|limits| !limits.failover.contains(code))
                }
            },
            Outcome::Silent
            | Outcome::NoProgress
            | Outcome::Lost(_)
            | Outcome::PeerDown
            | Outcome::Cancelled
            | Outcome::OutOfTime => false,
        }
    }

    /// What the target in front resolves to is known now.
    pub fn on_dial_resolved(
        &mut self,
        slot: Slot,
        candidates: Vec<Candidate>,
        turn: &mut Turn<'_>,
    ) {
        self.with_request(|context, request| context.dial_at(slot, candidates, request, turn));
    }

    fn dialled_place(&self) -> Option<Place> {
        let target = self.recovering.as_ref()?.targets.front()?;
        let uri = Uri::parse(target.uri.as_bytes()).ok()?;
        Place::of(&uri)
    }

    fn dial_at(
        &mut self,
        slot: Slot,
        candidates: Vec<Candidate>,
        request: &Message<'_>,
        turn: &mut Turn<'_>,
    ) {
        let Some(recovering) = self.recovering.as_ref() else {
            return;
        };
        let trunk = recovering.trunk;
        let Some(target) = recovering.targets.front() else {
            return;
        };
        let request_uri = target.uri.as_bytes().into();
        // A message to be spoken is long, and of no use in a log.
        let shown = target.uri.split(";voicexml=").next().unwrap_or_default();
        let detail = format!("{shown} at {} addresses", candidates.len());
        self.tell_step("dial", &detail, turn);
        let speakable = candidates
            .into_iter()
            .filter(|it| matches!(it.transport, Transport::Udp | Transport::Tcp));
        let speakable: smallvec::SmallVec<[Candidate; 1]> = speakable.collect();
        for candidate in &speakable {
            if self
                .snapshot
                .routing()
                .role(candidate.addr.ip())
                .is_unknown()
            {
                turn.engine.invite_guest(candidate.addr.ip(), turn.now);
            }
        }
        self.walk = Walk::Fixed {
            trunk,
            direction: Direction::Origination,
            candidates: speakable,
            request_uri,
        };
        self.why = self.recovery_word();
        self.try_next(slot, request, turn);
    }
}
