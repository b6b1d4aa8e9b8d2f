//! The state machine of one call's recovery.

use std::{sync::Arc, time::Duration};

use super::{
    CallFacts, DialTarget, REDIRECTS_MAX, Step,
    document::{self, Document, Fault, Refusal},
    params,
    params::Params,
    policy::{self, Ask, Failure, Request},
    read_file, reading,
    url::Url,
    verb::{
        self, Verb,
        dial::{Action, Wants},
        media::{self, Media},
    },
};
use crate::{
    question::{Answer, HttpMethod, HttpRequest},
    settings::{Format, LastResort, Recovery, Webhook},
};

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
    fallback: Option<Webhook>,
    /// What runs on if the question in progress gives no document.
    resume: Option<Program>,
    last_resort_tried: bool,
    /// Dials of the documents so far.
    dials: u32,
    /// Of the last Dial, when there was one.
    dial_code: Option<u16>,
    took: Option<Duration>,
    said: Vec<(&'static str, String)>,
    /// What is to be told without waiting for an answer.
    notices: Vec<HttpRequest>,
}

#[derive(Clone, Debug)]
enum State {
    /// An exchange is under way.
    Asking(Request),
    /// The pause before a repeat.
    Repeating(Request),
    /// A Pause of the document.
    Pausing(Program),
    /// A Dial of the document, or its media server.
    Dialling {
        action: Option<Action>,
        rest: Program,
    },
    /// The last resort is being called.
    LastResort,
    /// The last step was given.
    Over,
}

/// The verbs of a document that are still to run.
type Program = std::vec::IntoIter<Verb>;

/// Where the end of a call is told that a Dial of a document has set up.
#[derive(Clone, Debug)]
pub struct Aftermath {
    settings: Arc<Recovery>,
    action: Action,
    params: Params,
    token: String,
    test: bool,
}

impl Aftermath {
    /// The request to make when the call is over, `lasted` after its answer. Nothing waits for
    /// what it gives: a proxy cannot lead an answered call anywhere else.
    pub fn request(&self, lasted: Duration) -> HttpRequest {
        let format = self.action.format();
        let mut params = self.params.clone();
        params.extend(params::call_ended(format, lasted.as_secs()));
        let ask = Ask {
            method: self.action.method,
            format,
            params,
            test: self.test,
        };
        policy::request(&self.settings, &self.action.url, &ask, &self.token)
    }
}

impl Action {
    /// TwiML's actions are told Twilio's parameters, NCCO's events Vonage's.
    const fn format(&self) -> Format {
        match self.wants {
            Wants::Document => Format::Twilio,
            Wants::Nothing | Wants::Maybe => Format::Vonage,
        }
    }
}

impl RecoveryCall {
    /// Starts. `idempotency` is any text that is unique to the call.
    pub fn begin(
        settings: Arc<Recovery>,
        facts: CallFacts,
        idempotency: String,
    ) -> (RecoveryCall, Step) {
        let mut call = RecoveryCall {
            fallback: settings.fallback_url.clone(),
            resume: None,
            last_resort_tried: false,
            settings,
            facts,
            idempotency,
            state: State::Over,
            request_left: policy::ALL_MAX,
            requests: 0,
            redirects_left: REDIRECTS_MAX,
            pause_left: verb::pause::ALL_MAX,
            dials: 0,
            dial_code: None,
            took: None,
            said: Vec::new(),
            notices: Vec::new(),
        };
        let webhook = call.settings.url.clone();
        let step = call.first_document(&webhook, Params::default());
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
            State::Asking(_) | State::Dialling { .. } | State::LastResort | State::Over => {
                self.out_of_step("a timer")
            }
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
                self.dial_code = Some(params::silence_is_408(last_code));
                self.dial_ended(last_code, action, rest)
            }
            State::LastResort => Step::Exhausted,
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

    /// The targets of [`Step::Dial`] took the call. Gives what its end is to be told to.
    pub fn on_dial_answered(&mut self) -> Option<Box<Aftermath>> {
        let State::Dialling {
            action: Some(action),
            ..
        } = std::mem::replace(&mut self.state, State::Over)
        else {
            return None;
        };
        let mut params = params::call(&self.facts, action.format());
        params.extend(self.dialled(&action));
        Some(Box::new(Aftermath {
            settings: Arc::clone(&self.settings),
            params,
            token: self.next_token(),
            test: self.facts.test,
            action,
        }))
    }

    /// What is to be told without waiting for an answer; wanted after every step.
    pub fn notices(&mut self) -> Vec<HttpRequest> {
        std::mem::take(&mut self.notices)
    }

    fn dialled(&self, action: &Action) -> Params {
        params::dialled(action.format(), &self.facts, self.dials)
    }

    /// What follows a Dial that nobody took.
    fn dial_ended(&mut self, code: u16, action: Option<Action>, rest: Program) -> Step {
        let Some(action) = action else {
            return self.run(rest);
        };
        let mut told = params::dial_ended(action.format(), code);
        told.extend(self.dialled(&action));
        match action.wants {
            Wants::Document => self.next_document(action.url, action.method, told),
            Wants::Maybe => {
                self.resume = Some(rest);
                let format = action.format();
                self.led_on(action.url, action.method, format, told)
            }
            Wants::Nothing => {
                let mut all = params::call(&self.facts, action.format());
                all.extend(told);
                let ask = Ask {
                    method: action.method,
                    format: action.format(),
                    params: all,
                    test: self.facts.test,
                };
                let token = self.next_token();
                let notice = policy::request(&self.settings, &action.url, &ask, &token);
                self.notices.push(notice);
                self.run(rest)
            }
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
        let why = Why {
            code: failure.code(),
            reason: failure.reason(),
            words: format!("{shown}: {words}"),
        };
        self.failed(why, request.url().as_str())
    }

    fn read(&mut self, request: Request, content_type: &str, body: &[u8]) -> Step {
        let shown = request.url().shown().to_owned();
        let reading = reading(&self.settings, Some(request.url()));
        match document::read(content_type, body, reading) {
            Ok(document) => {
                self.resume = None;
                self.run_document(&shown, document)
            }
            Err(refusal) => {
                // The same document would come again: no repeat, straight to the fallback.
                self.spend(&request);
                self.failed(Why::refused(&shown, &refusal), request.url().as_str())
            }
        }
    }

    fn run_document(&mut self, shown: &str, Document { verbs, notes }: Document) -> Step {
        let count = match verbs.len() {
            1 => "1 verb".to_owned(),
            count => format!("{count} verbs"),
        };
        self.say("answered", format!("{shown}: {count}"));
        for note in notes {
            let step = match note.fault {
                Fault::Detail => "detail",
                Fault::ContentType | Fault::Parse | Fault::Schema => "passed_over",
            };
            self.say(step, format!("{shown}:{note}"));
        }
        self.run(verbs.into_iter())
    }

    /// Runs a document on to its next step.
    fn run(&mut self, mut verbs: Program) -> Step {
        while let Some(verb) = verbs.next() {
            match verb {
                Verb::Dial(dial) => {
                    self.dials += 1;
                    self.state = State::Dialling {
                        action: dial.action,
                        rest: verbs,
                    };
                    return Step::Dial(dial.targets);
                }
                Verb::Media(message) => match self.media_target(&message) {
                    Ok(target) => {
                        self.state = State::Dialling {
                            action: None,
                            rest: verbs,
                        };
                        return Step::Dial(vec![target]);
                    }
                    Err(why) => {
                        let Media { verb, at, .. } = message;
                        let words = format!("{}:{}: {verb}: {why}", at.line, at.column);
                        self.say("passed_over", words);
                    }
                },
                Verb::Reject(reject) => {
                    let (status, reason) = reject.response();
                    self.say("reject", format!("{status} {reason}"));
                    return Step::Respond { status, reason };
                }
                Verb::Redirect(redirect) => {
                    self.say("redirect", redirect.url.shown().to_owned());
                    return self.next_document(redirect.url, redirect.method, Params::default());
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

    fn media_target(&self, message: &Media) -> Result<DialTarget, String> {
        let server = self.settings.media.as_deref().ok_or(verb::NO_MEDIA)?;
        message.uri(server).map(DialTarget::new)
    }

    /// The document of the configured URL or of the fallback URL.
    fn first_document(&mut self, webhook: &Webhook, told: Params) -> Step {
        match webhook {
            Webhook::Url(url) => match Url::parse(url) {
                Ok(parsed) => {
                    let (method, format) = (self.settings.method, self.settings.format);
                    self.request(parsed, method, format, told)
                }
                Err(fault) => {
                    let words = format!("\"{url}\" cannot be asked: {fault}");
                    self.failed(Why::new(UNASKABLE, words), url)
                }
            },
            Webhook::File { name, body } => {
                match read_file(name, body, reading(&self.settings, None)) {
                    Ok(document) => self.run_document(name, document),
                    Err(refusal) => self.failed(Why::refused(name, &refusal), name),
                }
            }
        }
    }

    /// A document after the first: a request of its own, with its own time.
    fn next_document(&mut self, url: Url, method: HttpMethod, told: Params) -> Step {
        self.resume = None;
        // Only TwiML leads on, so what it is told is in Twilio's words.
        self.led_on(url, method, Format::Twilio, told)
    }

    fn led_on(&mut self, url: Url, method: HttpMethod, format: Format, told: Params) -> Step {
        self.request_left = policy::ALL_MAX;
        if self.redirects_left == 0 {
            let words = format!(
                "{}: more than {REDIRECTS_MAX} documents in one call",
                url.shown()
            );
            return self.failed(Why::new(LOOP, words), url.as_str());
        }
        self.redirects_left -= 1;
        self.request(url, method, format, told)
    }

    fn request(&mut self, url: Url, method: HttpMethod, format: Format, told: Params) -> Step {
        let mut params = params::call(&self.facts, format);
        params.extend(told);
        let ask = Ask {
            method,
            format,
            params,
            test: self.facts.test,
        };
        let token = self.next_token();
        let reserve = match self.fallback {
            Some(Webhook::Url(_)) => policy::FALLBACK_RESERVE,
            Some(Webhook::File { .. }) | None => Duration::ZERO,
        };
        let left = self.request_left.saturating_sub(reserve);
        let (request, notes) = Request::new(&self.settings, url, ask, token, left);
        self.request_left -= request.left();
        for note in notes {
            self.say("passed_over", format!("{}: {note}", request.url().shown()));
        }
        self.ask(request)
    }

    /// Repeats of one request carry one token; another request carries another.
    fn next_token(&mut self) -> String {
        let token = format!("{}-{}", self.idempotency, self.requests);
        self.requests += 1;
        token
    }

    fn ask(&mut self, mut request: Request) -> Step {
        match request.ask(&self.settings) {
            Some(exchange) => {
                self.state = State::Asking(request);
                Step::Ask(exchange)
            }
            None => {
                let words = format!("{}: no time is left to ask it", request.url().shown());
                self.failed(Why::new(TIMED_OUT, words), request.url().as_str())
            }
        }
    }

    /// What a request did not use is there for the fallback.
    fn spend(&mut self, request: &Request) {
        self.request_left = (self.request_left + request.left()).min(policy::ALL_MAX);
    }

    /// A request is lost: the rest of the document where there is one, the fallback URL once a
    /// call, else the last resort.
    fn failed(&mut self, why: Why, url: &str) -> Step {
        self.say("failed", format!("{} (error {})", why.words, why.code));
        if let Some(rest) = self.resume.take() {
            return self.run(rest);
        }
        let Some(fallback) = self.fallback.take() else {
            return self.last_resort();
        };
        self.say("fallback", super::shown(&fallback).to_owned());
        let told = params::failure(self.settings.format, why.code, why.reason, url);
        self.first_document(&fallback, told)
    }

    fn last_resort(&mut self) -> Step {
        if std::mem::replace(&mut self.last_resort_tried, true) {
            return Step::Exhausted;
        }
        let uri = match &self.settings.last_resort {
            LastResort::Reject => None,
            LastResort::Dial(uri) => Some(uri.to_string()),
            LastResort::Announce(url) => {
                let server = self.settings.media.as_deref();
                server.and_then(|server| media::announcement_at(server, url))
            }
        };
        match uri {
            Some(uri) => {
                self.say("last_resort", uri.clone());
                self.state = State::LastResort;
                Step::Dial(vec![DialTarget::new(uri)])
            }
            None => Step::Exhausted,
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

    fn say(&mut self, step: &'static str, detail: String) {
        self.said.push((step, detail));
    }
}

/// Why a request is lost.
struct Why {
    /// For `ErrorCode`.
    code: u32,
    /// For Vonage's `reason`.
    reason: &'static str,
    /// For a person, with the place.
    words: String,
}

impl Why {
    fn new(code: u32, words: String) -> Self {
        Why {
            code,
            reason: "Request failed.",
            words,
        }
    }

    fn refused(shown: &str, refusal: &Refusal) -> Self {
        let Refusal { fault, .. } = refusal;
        Why {
            code: Fault::code(*fault),
            reason: "Invalid document.",
            words: format!("{shown}:{refusal}"),
        }
    }
}

/// `ErrorCode` for a URL that is none.
const UNASKABLE: u32 = 11100;
/// `ErrorCode` for a call that is led in circles.
const LOOP: u32 = 12200;
/// `ErrorCode` when the time ran out.
const TIMED_OUT: u32 = 11200;

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
