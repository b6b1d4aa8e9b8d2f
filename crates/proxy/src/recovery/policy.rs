//! How one URL is asked: timeouts, repeats, and the time that is left for them.
//!
//! Nothing here reads a clock. Each exchange is charged with the longest it can have taken, or
//! with what it did take when the caller says so; so all of it together stays inside the cap.

use std::{sync::Arc, time::Duration};

use super::{overrides::Overrides, params::Params, url::Url};
use crate::{
    question::{HttpFailure, HttpMethod, HttpRequest, Source},
    settings::{Format, Recovery, RepeatOn},
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
    ask: Ask,
    token: String,
    limits: Limits,
    sources: Vec<Source>,
    /// Exchanges begun.
    tries: usize,
    /// What all exchanges from here on may take together.
    left: Duration,
    /// What the exchange in progress may take at most, connecting included.
    granted: Granted,
}

/// What a URL is asked.
#[derive(Clone, Debug)]
pub struct Ask {
    /// How the parameters travel.
    pub method: HttpMethod,
    /// What they are called and how they are written.
    pub format: Format,
    /// What is told.
    pub params: Params,
    /// Whether the request is no real call's.
    pub test: bool,
}

/// What settings and overrides come to.
#[derive(Clone, Debug)]
struct Limits {
    connect: Duration,
    read: Duration,
    exchange: Duration,
    repeats: u8,
    pause: Duration,
    repeat_on: RepeatOn,
    sni: bool,
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

    fn repeats(self, on: &RepeatOn) -> bool {
        match self {
            Failure::Http(HttpFailure::Connect | HttpFailure::Tls) => on.connect,
            Failure::Http(HttpFailure::Timeout) => on.read,
            Failure::Http(HttpFailure::Broken) => on.closed,
            // It would be as long the next time.
            Failure::Http(HttpFailure::TooLarge) => false,
            Failure::Http(HttpFailure::Busy) => true,
            Failure::Status(code) => on.codes.contains(code),
        }
    }

    /// Vonage's `reason`.
    pub const fn reason(self) -> &'static str {
        match self {
            Failure::Http(HttpFailure::Timeout) => "Request timed out.",
            Failure::Http(_) => "Connection closed.",
            Failure::Status(_) => "Unexpected status.",
        }
    }
}

impl Request {
    /// A request that has `left` for everything, and what is wrong about its URL's overrides.
    pub fn new(
        settings: &Recovery,
        url: Url,
        ask: Ask,
        token: String,
        left: Duration,
    ) -> (Request, Vec<String>) {
        let overrides = Overrides::parse(url.fragment());
        let mut notes = overrides.notes;
        let connect = overrides.connect.unwrap_or(settings.connect_timeout);
        let read = overrides.read.unwrap_or(settings.read_timeout);
        let total = overrides.total.unwrap_or(settings.total_timeout);
        let exchange = match overrides.read {
            Some(read) => settings.timeout.max(connect + read),
            None => settings.timeout,
        };
        let limits = Limits {
            connect,
            read,
            exchange: overrides.total.unwrap_or(exchange),
            repeats: overrides.retries.unwrap_or(settings.retries),
            pause: settings.retry_after,
            repeat_on: overrides
                .repeat
                .unwrap_or_else(|| settings.retry_on.clone()),
            sni: overrides.sni.unwrap_or(true),
        };
        let named = |name: &String| {
            let known = settings.sources.iter().find(|(known, _)| **known == **name);
            known.map(|(_, source)| source.clone())
        };
        for name in overrides
            .sources
            .iter()
            .filter(|name| named(name).is_none())
        {
            let name: String = name.chars().take(40).collect();
            notes.push(format!(
                "override \"e={name}\" is not used: no source of that name is configured"
            ));
        }
        let sources = overrides.sources.iter().filter_map(named).collect();
        (
            Request {
                url,
                ask,
                token,
                limits,
                sources,
                tries: 0,
                left: total.min(left),
                granted: Granted::default(),
            },
            notes,
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
        // `e`: the next one with each repeat.
        let source = match self.sources.len() {
            0 => None,
            count => self.sources.get(self.tries % count).cloned(),
        };
        self.tries += 1;
        Some(HttpRequest {
            connect_timeout: connect,
            read_timeout: self.limits.read,
            timeout: exchange,
            source,
            sni: self.limits.sni,
            ..request(settings, &self.url, &self.ask, &self.token)
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
        if self.limits.repeats == 0 || !failure.repeats(&self.limits.repeat_on) || !time {
            return None;
        }
        self.limits.repeats -= 1;
        self.left -= pause;
        Some(pause)
    }
}

/// One exchange with `url`, with the settings' own limits.
pub fn request(settings: &Recovery, url: &Url, ask: &Ask, token: &str) -> HttpRequest {
    let mut headers = vec![("I-Twilio-Idempotency-Token".to_owned(), token.to_owned())];
    if ask.test {
        headers.push(("X-Trunkline-Test".to_owned(), "true".to_owned()));
    }
    let basic = url.authorization();
    // There is one Authorization header, and it is the URL's owner who asks for a password.
    let jwt = settings.jwt.clone().filter(|_| basic.is_none());
    headers.extend(basic.map(|value| ("Authorization".to_owned(), value)));
    let json = (ask.format, ask.method) == (Format::Vonage, HttpMethod::Post);
    HttpRequest {
        method: ask.method,
        form: if json { Vec::new() } else { ask.params.form() },
        json: json.then(|| ask.params.json()),
        headers,
        auth_token: settings.auth_token.clone(),
        jwt,
        connect_timeout: settings.connect_timeout,
        read_timeout: settings.read_timeout,
        timeout: settings.timeout,
        group: Arc::clone(&settings.trunk),
        group_max: settings.max_requests,
        ..HttpRequest::get(url.as_str())
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
            sources: vec![
                ("dublin".into(), Source::Address([127, 0, 0, 2].into())),
                ("eth".into(), Source::Interface("eth1".into())),
            ],
            ..crate::recovery::tests::plain("https://dr.example.net/voice")
        }
    }

    fn request(url: &str, left: Duration) -> Request {
        request_and_notes(url, left).0
    }

    fn request_and_notes(url: &str, left: Duration) -> (Request, Vec<String>) {
        let url = Url::parse(url).unwrap();
        let settings = settings();
        let ask = Ask {
            method: settings.method,
            format: Format::Twilio,
            params: Params::default(),
            test: false,
        };
        Request::new(&settings, url, ask, "token".into(), left)
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
                vec![(ms(5000), second), (ms(5000), second), (ms(3000), None)],
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
    fn rt_is_for_the_first_byte_and_each_gap_and_sni_and_e_reach_the_exchange() {
        let url = "https://h/#ct=200&rt=300&rc=3&sni=n&e=eth,paris,dublin";
        let (mut request, notes) = request_and_notes(url, ALL_MAX);
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(notes[0].contains("e=paris"), "{notes:?}");
        let mut sources = Vec::new();
        for _ in 0..3 {
            let exchange = request.ask(&settings()).unwrap();
            assert_eq!(
                (
                    exchange.connect_timeout,
                    exchange.read_timeout,
                    exchange.sni
                ),
                (ms(200), ms(300), false)
            );
            sources.push(exchange.source);
            request.charge(Some(CONNECT), Some(ms(1)));
            request.repeat(CONNECT);
        }
        let (eth, dublin) = (
            settings().sources[1].1.clone(),
            settings().sources[0].1.clone(),
        );
        assert_eq!(sources, [Some(eth.clone()), Some(dublin), Some(eth)]);
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
