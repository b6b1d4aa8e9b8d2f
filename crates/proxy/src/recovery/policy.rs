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
        let mut headers = vec![("I-Twilio-Idempotency-Token".to_owned(), self.token.clone())];
        headers.extend(
            self.url
                .authorization()
                .map(|value| ("Authorization".to_owned(), value)),
        );
        Some(HttpRequest {
            url: self.url.as_str().into(),
            method: self.method,
            form: self.form.clone(),
            headers,
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

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// The example configuration's: 1 s to connect, 5 s in all, one repeat after 1 s.
    fn settings() -> Recovery {
        Recovery {
            url: "https://dr.example.net/voice".into(),
            fallback_url: None,
            method: HttpMethod::Post,
            connect_timeout: ms(1000),
            timeout: ms(5000),
            retries: 1,
            retry_after: ms(1000),
            auth_token: None,
        }
    }

    fn request(url: &str, left: Duration) -> Request {
        let url = Url::parse(url).unwrap();
        let settings = settings();
        Request::new(
            &settings,
            url,
            settings.method,
            vec![],
            "token".into(),
            left,
        )
        .0
    }

    /// Asks until it gives up: (timeout of each exchange, pause after it).
    fn run(mut request: Request, failure: Failure) -> Vec<(Duration, Option<Duration>)> {
        let mut seen = Vec::new();
        while let Some(exchange) = request.ask(&settings()) {
            request.charge(Some(failure), None);
            let pause = request.repeat(failure);
            seen.push((exchange.timeout, pause));
            if pause.is_none() {
                break;
            }
        }
        seen
    }

    const TIMEOUT: Failure = Failure::Http(HttpFailure::Timeout);
    const CONNECT: Failure = Failure::Http(HttpFailure::Connect);

    #[test]
    fn exchanges_and_pauses_of_one_url_fit_into_its_time() {
        let second = Some(ms(1000));
        type Seen = Vec<(Duration, Option<Duration>)>;
        let cases: [(&str, u64, Failure, Seen); 8] = [
            (
                "https://h/",
                15_000,
                TIMEOUT,
                vec![(ms(5000), second), (ms(5000), None)],
            ),
            (
                "https://h/",
                10_000,
                TIMEOUT,
                vec![(ms(5000), second), (ms(4000), None)],
            ),
            ("https://h/", 6_050, TIMEOUT, vec![(ms(5000), None)]),
            (
                "https://h/",
                3_000,
                CONNECT,
                vec![(ms(3000), second), (ms(1000), None)],
            ),
            ("https://h/", 50, TIMEOUT, vec![]),
            ("https://h/#rc=0", 15_000, TIMEOUT, vec![(ms(5000), None)]),
            (
                "https://h/#tt=2000&rc=5",
                15_000,
                TIMEOUT,
                vec![(ms(2000), None)],
            ),
            (
                "https://h/#ct=200&rt=300&rc=2",
                15_000,
                TIMEOUT,
                vec![(ms(500), second), (ms(500), second), (ms(500), None)],
            ),
        ];
        for (url, left, failure, expected) in cases {
            assert_eq!(
                run(request(url, ms(left)), failure),
                expected,
                "{url} in {left} ms"
            );
        }
    }

    #[test]
    fn what_is_repeated_is_what_rp_says() {
        let status = Failure::Status;
        let http = Failure::Http;
        let cases: [(&str, &[Failure], &[Failure]); 5] = [
            (
                "",
                &[
                    TIMEOUT,
                    CONNECT,
                    http(HttpFailure::Broken),
                    http(HttpFailure::Busy),
                    status(404),
                    status(503),
                    status(302),
                ],
                &[http(HttpFailure::TooLarge)],
            ),
            (
                "#rp=ct",
                &[CONNECT, http(HttpFailure::Tls)],
                &[TIMEOUT, status(404), status(503)],
            ),
            (
                "#rp=4xx",
                &[status(400), status(499)],
                &[CONNECT, TIMEOUT, status(500)],
            ),
            (
                "#rp=5xx,rt",
                &[status(500), TIMEOUT],
                &[CONNECT, status(404), http(HttpFailure::Broken)],
            ),
            (
                "#rp=all",
                &[TIMEOUT, CONNECT, status(404)],
                &[http(HttpFailure::TooLarge)],
            ),
        ];
        for (fragment, repeated, not) in cases {
            let url = format!("https://h/{fragment}");
            for failure in repeated {
                assert_eq!(
                    run(request(&url, ALL_MAX), *failure).len(),
                    2,
                    "{fragment} {failure:?}"
                );
            }
            for failure in not {
                assert_eq!(
                    run(request(&url, ALL_MAX), *failure).len(),
                    1,
                    "{fragment} {failure:?}"
                );
            }
        }
    }

    #[test]
    fn a_known_duration_is_charged_instead_of_the_longest() {
        let mut request = request("https://h/", ms(10_000));
        request.ask(&settings()).unwrap();
        request.charge(Some(Failure::Status(503)), Some(ms(20)));
        assert_eq!(request.left(), ms(9980));
    }

    #[test]
    fn the_fragment_and_the_password_never_reach_the_server() {
        let exchange = request("https://u:p@h/a?b=c#rc=2", ALL_MAX)
            .ask(&settings())
            .unwrap();
        assert_eq!(&*exchange.url, "https://h/a?b=c");
        let headers: Vec<&str> = exchange
            .headers
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(headers, ["I-Twilio-Idempotency-Token", "Authorization"]);
    }

    #[test]
    fn every_failure_has_twilios_code() {
        let cases = [
            (CONNECT, 11205),
            (Failure::Http(HttpFailure::Tls), 11220),
            (TIMEOUT, 11200),
            (Failure::Http(HttpFailure::Broken), 11200),
            (Failure::Http(HttpFailure::TooLarge), 11200),
            (Failure::Http(HttpFailure::Busy), 11200),
            (Failure::Status(500), 11200),
        ];
        for (failure, code) in cases {
            assert_eq!(failure.code(), code, "{failure:?}");
        }
    }
}
