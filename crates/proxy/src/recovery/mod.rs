//! Disaster recovery: when no PBX takes a call, a webhook says where it goes (BEHAVIOUR §8).
//!
//! A state machine for one call. It asks for steps and is told how they went; it opens no
//! connection and reads no clock, so a whole recovery can be replayed. Whatever the webhook does,
//! every path ends in [`Step::Respond`], [`Step::Exhausted`] or a call that was taken: documents,
//! verbs, repeats and waiting times all have limits.
//!
//! What [`Step::Ask`], [`Step::Dial`] and [`Step::Exhausted`] mean is told by whoever carries
//! them out; what they cannot show ("answered", "failed", "fallback", "redirect", "reject",
//! "hangup") is said from here.

pub mod form;
pub mod overrides;
pub mod policy;
pub mod twiml;
pub mod url;
pub mod verb;

use std::{net::IpAddr, sync::Arc, time::Duration};

use policy::{Failure, Request};
use twiml::{Document, Refusal};
use url::Url;
use verb::{Verb, dial::Action};

pub use verb::dial::DialTarget;

use crate::{
    event::AttemptRecord,
    question::{Answer, HttpMethod, HttpRequest},
    settings::Recovery,
};

/// Documents after the first that one call may be led to, by Redirect or by a Dial's action.
pub const REDIRECTS_MAX: u8 = 10;

/// What the webhook is told about the call.
#[derive(Clone, PartialEq, Debug)]
pub struct CallFacts {
    /// `CA` and 32 hex digits, the same for every request of the call; see [`sid`].
    pub call_sid: String,
    /// `AC` and 32 hex digits, the same for every call of the trunk.
    pub account_sid: String,
    /// `TK` and 32 hex digits, the same for every call of the trunk.
    pub trunk_sid: String,
    /// The caller.
    pub from: String,
    /// The called number.
    pub to: String,
    /// Call-ID.
    pub sip_call_id: String,
    /// Of the last attempt; 0 or 408 for silence.
    pub sip_response_code: u16,
    /// The `X-` headers of the INVITE.
    pub x_headers: Vec<(String, String)>,
    /// Who sent the INVITE.
    pub source_ip: IpAddr,
    /// What was tried before; may be empty.
    pub attempts: Vec<AttemptRecord>,
}

/// What to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Do this exchange, then call [`RecoveryCall::on_answer`].
    Ask(HttpRequest),
    /// Then call [`RecoveryCall::on_timer`].
    Wait(Duration),
    /// Try these one after the other. If none takes the call: [`RecoveryCall::on_dial_failed`].
    Dial(Vec<DialTarget>),
    /// The document decided: the caller gets this.
    Respond {
        /// 300 to 699.
        status: u16,
        /// The reason phrase.
        reason: &'static str,
    },
    /// Nothing valid came back: the caller gets 503.
    Exhausted,
}

/// One call's recovery in progress.
#[derive(Clone, Debug)]
pub struct RecoveryCall {
    settings: Arc<Recovery>,
    facts: CallFacts,
    idempotency: String,
    state: State,
    /// What URL and fallback URL of the request in progress have left together.
    request_left: Duration,
    requests: u32,
    redirects_left: u8,
    pause_left: Duration,
    fallback: Option<Arc<str>>,
    /// Of the last Dial, when there was one.
    dial_code: Option<u16>,
    took: Option<Duration>,
    /// What was wrong about the URL's overrides; said with how the request went.
    asked_notes: String,
    said: Vec<(&'static str, String)>,
}

#[derive(Clone, Debug)]
enum State {
    /// An exchange is under way.
    Asking(Request),
    /// The pause before a repeat.
    Repeating(Request),
    /// A Pause of the document.
    Pausing(Program),
    /// A Dial of the document.
    Dialling {
        action: Option<Action>,
        rest: Program,
    },
    /// The last step was given.
    Over,
}

/// The verbs of a document that are still to run.
type Program = std::vec::IntoIter<Verb>;

impl RecoveryCall {
    /// Starts. `idempotency` is any text that is unique to the call.
    pub fn begin(
        settings: Arc<Recovery>,
        facts: CallFacts,
        idempotency: String,
    ) -> (RecoveryCall, Step) {
        let mut call = RecoveryCall {
            fallback: settings.fallback_url.clone(),
            settings,
            facts,
            idempotency,
            state: State::Over,
            request_left: policy::ALL_MAX,
            requests: 0,
            redirects_left: REDIRECTS_MAX,
            pause_left: verb::pause::ALL_MAX,
            dial_code: None,
            took: None,
            asked_notes: String::new(),
            said: Vec::new(),
        };
        let (url, method) = (call.settings.url.clone(), call.settings.method);
        let step = match Url::parse(&url) {
            Ok(url) => call.request(url, method, Vec::new()),
            Err(fault) => call.failed(
                UNASKABLE,
                &url,
                format!("\"{url}\" cannot be asked: {fault}"),
            ),
        };
        (call, step)
    }

    /// Tells how long the exchange that just ended really took. Without it, the longest it may
    /// have taken is charged, and a repeat may be given up that there was time for.
    pub fn took(&mut self, took: Duration) {
        self.took = Some(took);
    }

    /// The exchange of [`Step::Ask`] has ended.
    pub fn on_answer(
        &mut self,
        answer: Answer,
        events: &mut (impl FnMut(&'static str, String) + ?Sized),
    ) -> Step {
        let step = self.answered(answer);
        self.flush(events);
        step
    }

    /// The time of [`Step::Wait`] is over.
    pub fn on_timer(&mut self) -> Step {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Repeating(request) => self.ask(request),
            State::Pausing(rest) => self.run(rest),
            State::Asking(_) | State::Dialling { .. } | State::Over => self.out_of_step("a timer"),
        }
    }

    /// None of the targets of [`Step::Dial`] took the call; `last_code` is 0 for silence.
    pub fn on_dial_failed(
        &mut self,
        last_code: u16,
        events: &mut (impl FnMut(&'static str, String) + ?Sized),
    ) -> Step {
        let step = match std::mem::replace(&mut self.state, State::Over) {
            State::Dialling { action, rest } => {
                self.dial_code = Some(form::silence_is_408(last_code));
                match action {
                    Some(Action { url, method }) => {
                        let told = form::dial_ended(last_code).into();
                        self.next_document(url, method, told)
                    }
                    None => self.run(rest),
                }
            }
            State::Asking(_) | State::Repeating(_) | State::Pausing(_) | State::Over => {
                self.out_of_step("the end of a Dial")
            }
        };
        self.flush(events);
        step
    }

    /// Says what happened since the last time. Wanted after [`begin`](Self::begin) and
    /// [`on_timer`](Self::on_timer); the others do it themselves.
    pub fn flush(&mut self, events: &mut (impl FnMut(&'static str, String) + ?Sized)) {
        for (step, detail) in self.said.drain(..) {
            events(step, detail);
        }
    }

    fn answered(&mut self, answer: Answer) -> Step {
        let took = self.took.take();
        let State::Asking(mut request) = std::mem::replace(&mut self.state, State::Over) else {
            return self.out_of_step("an answer");
        };
        let failure = match answer {
            Answer::Http {
                status: 200..=299,
                content_type,
                body,
            } => {
                request.charge(None, took);
                return self.read(request, &content_type, &body);
            }
            Answer::Http { status, .. } => Failure::Status(status),
            Answer::HttpFailed(failure) => Failure::Http(failure),
            // The slow side's mistake must not cost the caller the retries.
            Answer::Resolved { .. } | Answer::ResolveFailed => {
                Failure::Http(crate::question::HttpFailure::Broken)
            }
        };
        request.charge(Some(failure), took);
        let (shown, words) = (request.url().shown().to_owned(), failure.words());
        if let Some(pause) = request.repeat(failure) {
            self.say(
                "failed",
                format!("{shown}: {words}; again in {} ms", pause.as_millis()),
            );
            self.state = State::Repeating(request);
            return Step::Wait(pause);
        }
        self.spend(&request);
        self.failed(
            failure.code(),
            request.url().as_str(),
            format!("{shown}: {words}"),
        )
    }

    fn read(&mut self, request: Request, content_type: &str, body: &[u8]) -> Step {
        let shown = request.url().shown().to_owned();
        match twiml::read(content_type, body, request.url()) {
            Ok(Document { verbs, notes }) => {
                let said = notes
                    .iter()
                    .map(|note| format!("; {note}"))
                    .collect::<String>();
                self.say("answered", format!("{shown}: {} verbs{said}", verbs.len()));
                self.run(verbs.into_iter())
            }
            Err(refusal) => {
                // The same document would come again: no repeat, straight to the fallback.
                let Refusal { fault, .. } = refusal;
                self.spend(&request);
                self.failed(
                    fault.code(),
                    request.url().as_str(),
                    format!("{shown}:{refusal}"),
                )
            }
        }
    }

    /// Runs a document on to its next step.
    fn run(&mut self, mut verbs: Program) -> Step {
        while let Some(verb) = verbs.next() {
            match verb {
                Verb::Dial(dial) => {
                    self.state = State::Dialling {
                        action: dial.action,
                        rest: verbs,
                    };
                    return Step::Dial(dial.targets);
                }
                Verb::Reject(reject) => {
                    let (status, reason) = reject.response();
                    self.say("reject", format!("{status} {reason}"));
                    return Step::Respond { status, reason };
                }
                Verb::Redirect(redirect) => {
                    self.say("redirect", redirect.url.shown().to_owned());
                    return self.next_document(redirect.url, redirect.method, Vec::new());
                }
                Verb::Hangup => {
                    self.say("hangup", "the document says so".into());
                    return Step::Respond {
                        status: verb::hangup::STATUS,
                        reason: verb::hangup::REASON,
                    };
                }
                Verb::Pause(pause) => {
                    let granted = pause.length.min(self.pause_left);
                    self.pause_left -= granted;
                    if !granted.is_zero() {
                        self.state = State::Pausing(verbs);
                        return Step::Wait(granted);
                    }
                }
            }
        }
        self.document_ended()
    }

    /// Twilio hangs up here. A caller that has no answer yet is better told what the last Dial
    /// met, since its carrier may know what to do with that.
    fn document_ended(&mut self) -> Step {
        let (status, reason) = match self.dial_code {
            Some(code) => final_response(code),
            None => (verb::hangup::STATUS, verb::hangup::REASON),
        };
        self.say("hangup", format!("the document ended: {status} {reason}"));
        Step::Respond { status, reason }
    }

    /// A document after the first: a request of its own, with its own time.
    fn next_document(&mut self, url: Url, method: HttpMethod, told: Vec<(String, String)>) -> Step {
        self.request_left = policy::ALL_MAX;
        if self.redirects_left == 0 {
            let words = format!(
                "{}: more than {REDIRECTS_MAX} documents in one call",
                url.shown()
            );
            return self.failed(LOOP, url.as_str(), words);
        }
        self.redirects_left -= 1;
        self.request(url, method, told)
    }

    fn request(&mut self, url: Url, method: HttpMethod, told: Vec<(String, String)>) -> Step {
        let mut form = form::call(&self.facts);
        form.extend(told);
        // Repeats of one request carry one token; another request carries another.
        let token = format!("{}-{}", self.idempotency, self.requests);
        self.requests += 1;
        let reserve = if self.fallback.is_some() {
            policy::FALLBACK_RESERVE
        } else {
            Duration::ZERO
        };
        let left = self.request_left.saturating_sub(reserve);
        let (request, notes) = Request::new(&self.settings, url, method, form, token, left);
        self.request_left -= request.left();
        self.asked_notes = notes.iter().map(|note| format!("; {note}")).collect();
        self.ask(request)
    }

    fn ask(&mut self, mut request: Request) -> Step {
        match request.ask(&self.settings) {
            Some(exchange) => {
                self.state = State::Asking(request);
                Step::Ask(exchange)
            }
            None => {
                let words = format!("{}: no time is left to ask it", request.url().shown());
                self.failed(TIMED_OUT, request.url().as_str(), words)
            }
        }
    }

    /// What a request did not use is there for the fallback.
    fn spend(&mut self, request: &Request) {
        self.request_left = (self.request_left + request.left()).min(policy::ALL_MAX);
    }

    /// A request is lost: the fallback URL, once a call, else the end.
    fn failed(&mut self, code: u32, url: &str, words: String) -> Step {
        self.say("failed", format!("{words} (error {code})"));
        let Some(fallback) = self.fallback.take() else {
            return Step::Exhausted;
        };
        match Url::parse(&fallback) {
            Ok(fallback) => {
                self.say("fallback", fallback.shown().to_owned());
                let method = self.settings.method;
                self.request(fallback, method, form::failure(code, url).into())
            }
            Err(fault) => {
                self.say(
                    "failed",
                    format!("the fallback URL cannot be asked: {fault}"),
                );
                Step::Exhausted
            }
        }
    }

    /// Somebody told us of what we never asked for: a fault of ours, and the caller still gets
    /// its answer.
    fn out_of_step(&mut self, what: &str) -> Step {
        debug_assert!(false, "recovery was told of {what} it did not wait for");
        self.state = State::Over;
        self.say("failed", format!("{what} came that nothing waited for"));
        Step::Exhausted
    }

    fn say(&mut self, step: &'static str, mut detail: String) {
        detail.push_str(&std::mem::take(&mut self.asked_notes));
        self.said.push((step, detail));
    }
}

/// `ErrorCode` for a URL that is none.
const UNASKABLE: u32 = 11100;
/// `ErrorCode` for a call that is led in circles.
const LOOP: u32 = 12200;
/// `ErrorCode` when the time ran out.
const TIMED_OUT: u32 = 11200;

/// A 34-character identifier of the form that webhooks know: two letters and 32 hex digits,
/// the same for the same text.
pub fn sid(prefix: &str, text: &[u8]) -> String {
    use siphasher::sip128::{Hasher128 as _, SipHasher13};
    // Fixed keys: a name, not a secret, and the same on every node.
    let mut hasher = SipHasher13::new_with_keys(0x7472_756e_6b6c_696e, 0x6520_7369_6473_2031);
    std::hash::Hasher::write(&mut hasher, prefix.as_bytes());
    std::hash::Hasher::write(&mut hasher, text);
    let hash = hasher.finish128();
    format!("{prefix}{:016x}{:016x}", hash.h1, hash.h2)
}

/// The final response that passes on what a Dial met. Codes that mean nothing without headers of
/// their own (a new Contact, a challenge) become 480.
fn final_response(code: u16) -> (u16, &'static str) {
    match code {
        400 => (400, "Bad Request"),
        403 => (403, "Forbidden"),
        404 => (404, "Not Found"),
        408 => (408, "Request Timeout"),
        410 => (410, "Gone"),
        480 => (480, "Temporarily Unavailable"),
        484 => (484, "Address Incomplete"),
        486 => (486, "Busy Here"),
        487 => (487, "Request Terminated"),
        488 => (488, "Not Acceptable Here"),
        500 => (500, "Server Internal Error"),
        502 => (502, "Bad Gateway"),
        503 => (503, "Service Unavailable"),
        504 => (504, "Server Time-out"),
        600 => (600, "Busy Everywhere"),
        603 => (603, "Decline"),
        604 => (604, "Does Not Exist Anywhere"),
        606 => (606, "Not Acceptable"),
        501 | 505..=599 => (code, "Server Failure"),
        601 | 602 | 605 | 607..=699 => (code, "Global Failure"),
        _ => (480, "Temporarily Unavailable"),
    }
}

#[cfg(test)]
mod tests;
