//! How one URL is asked: timeouts, repeats, and the time that is left for them.
//!
//! Nothing here reads a clock. Each exchange is charged with the longest it can have taken, or
//! with what it did take when the caller says so; so all of it together stays inside the cap.

use std::time::Duration;

use super::{
    overrides::{Overrides, RepeatOn},
    url::Url,
};
use crate::{
    question::{HttpFailure, HttpMethod, HttpRequest},
    settings::Recovery,
};

/// URL, fallback URL and all pauses between them together.
pub const ALL_MAX: Duration = Duration::from_secs(15);
/// What the first URL leaves for the fallback URL, however slow it was.
pub const FALLBACK_RESERVE: Duration = Duration::from_secs(5);
/// An exchange with less time than this is not begun.
const EXCHANGE_MIN: Duration = Duration::from_millis(100);

/// One URL that is asked, with its repeats.
#[derive(Clone, Debug)]
pub struct Request {
    url: Url,
    method: HttpMethod,
    form: Vec<(String, String)>,
    token: String,
    limits: Limits,
    /// What all exchanges from here on may take together.
    left: Duration,
    /// What the exchange in progress may take at most, connecting included.
    granted: Granted,
}

/// What settings and overrides come to.
#[derive(Copy, Clone, Debug)]
struct Limits {
    connect: Duration,
    exchange: Duration,
    repeats: u8,
    pause: Duration,
    repeat_on: RepeatOn,
}

#[derive(Copy, Clone, Debug, Default)]
struct Granted {
    connect: Duration,
    exchange: Duration,
}

/// Why an exchange gave nothing to read.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// No response.
    Http(HttpFailure),
    /// A response that is not 2xx.
    Status(u16),
}

impl Failure {
    /// What a fallback URL is told in `ErrorCode`.
    pub const fn code(self) -> u32 {
        match self {
            Failure::Http(HttpFailure::Connect) => 11205,
            Failure::Http(HttpFailure::Tls) => 11220,
            Failure::Http(
                HttpFailure::Timeout
                | HttpFailure::Broken
                | HttpFailure::TooLarge
                | HttpFailure::Busy,
            )
            | Failure::Status(_) => 11200,
        }
    }

    /// For a person.
    pub fn words(self) -> String {
        match self {
            Failure::Http(HttpFailure::Connect) => "no connection could be made".into(),
            Failure::Http(HttpFailure::Tls) => {
                "TLS failed; check the certificate and its names".into()
            }
            Failure::Http(HttpFailure::Timeout) => "it connected and did not answer in time".into(),
            Failure::Http(HttpFailure::Broken) => {
                "the connection broke before a whole answer".into()
            }
            Failure::Http(HttpFailure::TooLarge) => "its answer is too long".into(),
            Failure::Http(HttpFailure::Busy) => "too many webhook requests are under way".into(),
            Failure::Status(code @ 300..=399) => {
                format!(
                    "status {code}; HTTP redirections are not followed, configure the final URL"
                )
            }
            Failure::Status(code) => format!("status {code}"),
        }
    }

    fn repeats(self, on: RepeatOn) -> bool {
        match self {
            Failure::Http(HttpFailure::Connect | HttpFailure::Tls) => on.connect,
            Failure::Http(HttpFailure::Timeout) => on.read,
            // A part of an answer is an answer: only a policy that repeats everything repeats it.
            Failure::Http(HttpFailure::Broken) => on == RepeatOn::ALL,
            // It would be as long the next time.
            Failure::Http(HttpFailure::TooLarge) => false,
            Failure::Http(HttpFailure::Busy) => true,
            Failure::Status(400..=499) => on.client_errors,
            Failure::Status(500..=599) => on.server_errors,
            Failure::Status(_) => on == RepeatOn::ALL,
        }
    }
}

impl Request {
    /// A request that has `left` for everything.
    pub fn new(
        settings: &Recovery,
        url: Url,
        method: HttpMethod,
        form: Vec<(String, String)>,
        token: String,
        left: Duration,
    ) -> (Request, Vec<String>) {
        let overrides = Overrides::parse(url.fragment());
        let connect = overrides.connect.unwrap_or(settings.connect_timeout);
        let exchange = match (overrides.read, overrides.total) {
            (Some(read), _) => connect + read,
            (None, Some(total)) => total,
            (None, None) => settings.timeout,
        };
        let limits = Limits {
            connect,
            exchange,
            repeats: overrides.retries.unwrap_or(settings.retries),
            pause: settings.retry_after,
            repeat_on: overrides.repeat.unwrap_or(RepeatOn::ALL),
        };
        let left = overrides.total.map_or(left, |total| total.min(left));
        let granted = Granted::default();
        (
            Request {
                url,
                method,
                form,
                token,
                limits,
                left,
                granted,
            },
            overrides.notes,
        )
    }

    /// The URL, as it is sent.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// What is left of the time.
    pub fn left(&self) -> Duration {
        self.left
    }

    /// The next exchange, or `None` when there is no time for one.
    pub fn ask(&mut self, settings: &Recovery) -> Option<HttpRequest> {
        let exchange = self.limits.exchange.min(self.left);
        if exchange < EXCHANGE_MIN {
            return None;
        }
        let connect = self.limits.connect.min(exchange);
        self.granted = Granted { connect, exchange };
        Some(HttpRequest {
            url: self.url.as_str().into(),
            method: self.method,
            form: self.form.clone(),
            headers: vec![("I-Twilio-Idempotency-Token".into(), self.token.clone())],
            auth_token: settings.auth_token.clone(),
            connect_timeout: connect,
            timeout: exchange,
        })
    }

    /// Charges the exchange that just ended. `took`: how long it really was, when known.
    pub fn charge(&mut self, failure: Option<Failure>, took: Option<Duration>) {
        let granted = std::mem::take(&mut self.granted);
        let longest = match failure {
            Some(Failure::Http(HttpFailure::Connect)) => granted.connect,
            Some(Failure::Http(HttpFailure::Busy)) => Duration::ZERO,
            Some(Failure::Http(_) | Failure::Status(_)) | None => granted.exchange,
        };
        self.left = self.left.saturating_sub(took.unwrap_or(longest));
    }

    /// How long to wait before the same URL is asked again, or `None` when it is not.
    pub fn repeat(&mut self, failure: Failure) -> Option<Duration> {
        let pause = self.limits.pause;
        let time = self
            .left
            .checked_sub(pause)
            .is_some_and(|left| left >= EXCHANGE_MIN);
        if self.limits.repeats == 0 || !failure.repeats(self.limits.repeat_on) || !time {
            return None;
        }
        self.limits.repeats -= 1;
        self.left -= pause;
        Some(pause)
    }
}
