//! Disaster recovery of one call: carries out what [`RecoveryCall`] says (BEHAVIOUR 8).

use std::time::Duration;

use trunkline_sip::{Message, Transport, Uri};

use super::Context;
use crate::{
    Event,
    engine::{Alarm, Asker, Ring, Turn},
    event::{Direction, Outcome},
    question::{Answer, Question},
    recovery::{CallFacts, DialTarget, RecoveryCall, Step, sid},
    routing::Candidate,
    settings::{Place, TrunkId},
    table::Slot,
    walk::Walk,
};

/// A recovery in progress and, while it dials, what is left to dial.
pub struct Recovering {
    call: RecoveryCall,
    trunk: TrunkId,
    /// What is being dialled comes first.
    targets: std::collections::VecDeque<DialTarget>,
    asked_at: Option<std::time::Instant>,
}

impl Recovering {
    /// How long the target being dialled may ring.
    pub fn ring_timeout(&self) -> Option<Duration> {
        self.targets
            .front()
            .map(|target| target.timeout.unwrap_or(Duration::from_secs(30)))
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
        let Some(trunk) = self.snapshot.settings().trunks.get(usize::from(id.0)) else {
            return false;
        };
        let Some(settings) = trunk.recovery.clone() else {
            return false;
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let number = |uri: Option<&[u8]>| {
            let user = uri
                .and_then(|uri| Uri::parse(uri).ok())
                .and_then(|uri| uri.user);
            text(user.unwrap_or_default())
        };
        let call_id = request.call_id().unwrap_or_default();
        let mut unique = call_id.to_vec();
        unique.extend_from_slice(request.from_tag().unwrap_or_default());
        unique.extend_from_slice(&turn.engine.unix(self.began).to_be_bytes());
        let facts = CallFacts {
            call_sid: sid("CA", &unique),
            account_sid: sid("AC", trunk.name.as_bytes()),
            trunk_sid: sid("TK", trunk.name.as_bytes()),
            from: number(request.from().ok().map(|from| from.uri)),
            to: number(request.request_uri()),
            sip_call_id: text(call_id),
            sip_response_code: self.last_code(),
            x_headers: Context::x_headers(request),
            source_ip: self.from.remote.ip(),
            attempts: self
                .attempts
                .iter()
                .map(|attempt| attempt.record(self.began, turn.now))
                .collect(),
        };
        let (mut call, step) = RecoveryCall::begin(settings, facts, sid("", &unique));
        call.flush(&mut |step, detail| {
            turn.out.tell(Event::Recovery {
                trunk: id,
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
        self.recovery_step(slot, step, request, turn);
        true
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
        let trunk = recovering.trunk;
        let step = next(
            &mut recovering.call,
            &mut |step: &'static str, detail: String| {
                turn.out.tell(Event::Recovery {
                    trunk,
                    step,
                    detail: detail.into(),
                });
            },
        );
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
        let trunk = recovering.trunk;
        match step {
            Step::Ask(http) => {
                recovering.asked_at = Some(turn.now);
                let detail = crate::recovery::url::shown(&http.url).into();
                turn.tell(Event::Recovery {
                    trunk,
                    step: "asked",
                    detail,
                });
                turn.ask(Asker::Webhook(slot), Question::Http(http));
            }
            Step::Wait(pause) => turn.arm(pause, Alarm::Context(slot, Ring::Recovery)),
            Step::Dial(targets) => {
                recovering.targets = targets.into();
                self.dial(slot, request, turn);
            }
            Step::Respond { status, reason } => {
                self.why = "recovery";
                self.answer(slot, status, reason, &[], request, turn);
            }
            Step::Exhausted => {
                turn.tell(Event::Recovery {
                    trunk,
                    step: "exhausted",
                    detail: "the caller gets 503".into(),
                });
                self.why = "recovery exhausted";
                self.answer_503(slot, request, turn);
            }
        }
    }

    /// Calls the target in front: its candidates at once where they are known, else after DNS.
    fn dial(&mut self, slot: Slot, request: &Message<'_>, turn: &mut Turn<'_>) {
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
        crate::next_hop::place_of(&uri)
    }

    fn dial_at(
        &mut self,
        slot: Slot,
        candidates: Vec<Candidate>,
        request: &Message<'_>,
        turn: &mut Turn<'_>,
    ) {
        let Some(recovering) = self.recovering.as_mut() else {
            return;
        };
        let trunk = recovering.trunk;
        let Some(target) = recovering.targets.front() else {
            return;
        };
        // Request headers that a URI carries are for whoever writes the request anew; we forward.
        let uri = target.uri.split('?').next().unwrap_or_default();
        let detail = format!("{uri} at {} addresses", candidates.len());
        let request_uri = uri.as_bytes().into();
        turn.tell(Event::Recovery {
            trunk,
            step: "dial",
            detail: detail.into(),
        });
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
        self.walk_from = self.attempts.len();
        self.why = "recovery";
        self.try_next(slot, request, turn);
    }
}
