//! Whole recoveries, step by step: what the webhook is asked and what the call does about it.

mod answers;

use super::*;
use crate::{
    question::{Answer, HttpFailure, HttpMethod, Secret},
    settings::{Format, LastResort, RepeatOn},
};

const PRIMARY: &str = "https://dr.example.net/voice";
const FALLBACK: &str = "https://dr.example.org/voice";

/// A call, for this file and its neighbours.
pub(super) fn facts() -> CallFacts {
    CallFacts {
        trunk: "acme".into(),
        call_sid: sid("CA", b"call-1"),
        account_sid: sid("AC", b"acme"),
        trunk_sid: sid("TK", b"acme"),
        from: "+15550100".into(),
        caller_name: None,
        to: "+15550199".into(),
        forwarded_from: None,
        sip_domain: None,
        sip_call_id: "call-1@192.0.2.1".into(),
        sip_response_code: 0,
        x_headers: vec![("X-Foo".into(), "bar".into())],
        source_ip: [192, 0, 2, 1].into(),
        attempts: vec![],
        test: false,
        drill: false,
    }
}

/// The example configuration's limits, and nothing else.
pub(super) fn plain(url: &str) -> Recovery {
    Recovery {
        trunk: "acme".into(),
        url: Webhook::Url(url.into()),
        fallback_url: None,
        method: HttpMethod::Post,
        format: Format::Twilio,
        connect_timeout: Duration::from_secs(1),
        read_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(5),
        total_timeout: Duration::from_secs(15),
        retries: 1,
        retry_after: Duration::from_secs(1),
        retry_on: RepeatOn::all(),
        auth_token: None,
        jwt: None,
        sources: vec![],
        max_requests: 256,
        media: None,
        media_early: false,
        record_page: None,
        last_resort: LastResort::Reject,
        check_every: None,
    }
}

fn settings() -> Recovery {
    Recovery {
        fallback_url: Some(Webhook::Url(FALLBACK.into())),
        auth_token: Some(Secret(b"12345"[..].into())),
        ..plain(PRIMARY)
    }
}

fn url(text: &str) -> Webhook {
    Webhook::Url(text.into())
}

fn file(name: &str, body: &str) -> Webhook {
    Webhook::File {
        name: name.into(),
        body: body.as_bytes().into(),
    }
}

/// A recovery that is driven by hand.
struct Play {
    call: RecoveryCall,
    step: Step,
    said: Vec<(&'static str, String)>,
}

impl Play {
    fn begin(settings: Recovery) -> Play {
        let (call, step) = RecoveryCall::begin(Arc::new(settings), facts(), "token".into());
        Play {
            call,
            step,
            said: vec![],
        }
    }

    /// The exchange that is wanted now.
    fn asked(&self) -> &HttpRequest {
        let Step::Ask(request) = &self.step else {
            panic!("no question but {:?}", self.step)
        };
        request
    }

    fn form(&self, name: &str) -> Option<&str> {
        let form = &self.asked().form;
        form.iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    fn token(&self) -> &str {
        &self.asked().headers[0].1
    }

    fn answer(&mut self, answer: Answer) -> &mut Play {
        self.asked();
        self.step = self
            .call
            .on_answer(answer, &mut |step, detail| self.said.push((step, detail)));
        self
    }

    fn twiml(&mut self, verbs: &str) -> &mut Play {
        let body = format!("<Response>{verbs}</Response>").into_bytes();
        self.answer(Answer::Http {
            status: 200,
            content_type: "text/xml".into(),
            body,
        })
    }

    fn status(&mut self, status: u16) -> &mut Play {
        self.answer(Answer::Http {
            status,
            content_type: String::new(),
            body: vec![],
        })
    }

    fn fails(&mut self, failure: HttpFailure) -> &mut Play {
        self.answer(Answer::HttpFailed(failure))
    }

    fn waits(&mut self, expected: Duration) -> &mut Play {
        assert_eq!(self.step, Step::Wait(expected));
        self.step = self.call.on_timer();
        self
    }

    fn dials(&mut self, expected: &[&str], last_code: u16) -> &mut Play {
        let Step::Dial(targets) = &self.step else {
            panic!("no Dial but {:?}", self.step)
        };
        let uris: Vec<&str> = targets.iter().map(|target| target.uri.as_str()).collect();
        assert_eq!(uris, expected);
        self.step = self.call.on_dial_failed(last_code, &mut |step, detail| {
            self.said.push((step, detail))
        });
        self
    }

    fn ends(&self, status: u16) {
        let Step::Respond {
            status: got,
            reason,
        } = self.step
        else {
            panic!("no response but {:?}", self.step)
        };
        assert_eq!(got, status);
        assert!(!reason.is_empty());
    }

    fn words(&mut self) -> Vec<&'static str> {
        self.call
            .flush(&mut |step, detail| self.said.push((step, detail)));
        self.said.iter().map(|(step, _)| *step).collect()
    }

    fn detail(&self, step: &str) -> &str {
        let found = self.said.iter().find(|(said, _)| *said == step);
        &found
            .unwrap_or_else(|| panic!("{step} was not said: {:?}", self.said))
            .1
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_healthy_webhook_sends_the_call_on_with_one_question() {
    let mut play = Play::begin(settings());
    let asked = play.asked();
    assert_eq!((&*asked.url, asked.method), (PRIMARY, HttpMethod::Post));
    assert_eq!((asked.connect_timeout, asked.timeout), (SECOND, 5 * SECOND));
    assert_eq!(asked.auth_token, Some(Secret(b"12345"[..].into())));
    assert_eq!(play.form("CallStatus"), Some("ringing"));
    play.twiml("<Dial><Sip>sip:desk@backup.example</Sip></Dial>");
    assert!(
        matches!(&play.step, Step::Dial(targets) if targets[0].uri == "sip:desk@backup.example")
    );
    assert_eq!(play.words(), ["answered"]);
}

#[test]
fn a_failure_is_repeated_once_and_then_the_fallback_is_told_why() {
    let status = |status| Answer::Http {
        status,
        content_type: String::new(),
        body: vec![],
    };
    let cases = [
        (Answer::HttpFailed(HttpFailure::Connect), "11205"),
        (Answer::HttpFailed(HttpFailure::Tls), "11220"),
        (Answer::HttpFailed(HttpFailure::Timeout), "11200"),
        (Answer::HttpFailed(HttpFailure::Busy), "11200"),
        (status(500), "11200"),
        (status(302), "11200"),
    ];
    for (failure, code) in cases {
        let mut play = Play::begin(settings());
        let token = play.token().to_owned();
        play.answer(failure.clone()).waits(SECOND);
        assert_eq!(play.token(), token, "a repeat can be recognised");
        assert_eq!(&*play.asked().url, PRIMARY);
        play.answer(failure);
        assert_eq!(&*play.asked().url, FALLBACK);
        assert_eq!(play.form("ErrorCode"), Some(code));
        assert_eq!(play.form("ErrorUrl"), Some(PRIMARY));
        assert_eq!(play.form("CallSid"), Some(facts().call_sid.as_str()));
        assert_ne!(play.token(), token, "another request carries another token");
        play.twiml("<Reject/>").ends(404);
        assert_eq!(
            play.words(),
            ["failed", "failed", "fallback", "answered", "reject"]
        );
    }
}

#[test]
fn when_the_fallback_fails_too_the_call_is_told_within_fifteen_seconds() {
    for failure in [
        HttpFailure::Timeout,
        HttpFailure::Broken,
        HttpFailure::Connect,
    ] {
        let mut play = Play::begin(settings());
        let mut spent = Duration::ZERO;
        let mut fallback_asked = 0;
        loop {
            match play.step.clone() {
                Step::Ask(request) => {
                    let longest = if failure == HttpFailure::Connect {
                        request.connect_timeout
                    } else {
                        request.timeout
                    };
                    assert!(longest >= Duration::from_millis(100));
                    fallback_asked += u32::from(&*request.url == FALLBACK);
                    spent += longest;
                    play.fails(failure);
                }
                Step::Wait(pause) => {
                    spent += pause;
                    play.waits(pause);
                }
                Step::Exhausted => break,
                step @ (Step::Dial(_) | Step::Respond { .. }) => panic!("{step:?}"),
            }
        }
        assert!(spent <= policy::ALL_MAX, "{failure:?} took {spent:?}");
        assert!(fallback_asked >= 1, "{failure:?}");
        assert_eq!(play.words().last(), Some(&"failed"));
    }
}

#[test]
fn a_known_duration_leaves_time_for_every_repeat() {
    let mut play = Play::begin(settings());
    let mut asked = 0;
    while play.step != Step::Exhausted {
        match &play.step {
            Step::Ask(_) => {
                asked += 1;
                play.call.took(Duration::from_millis(10));
                play.status(503);
            }
            _ => {
                play.waits(SECOND);
            }
        }
    }
    assert_eq!(asked, 4, "both URLs, twice each");
}

#[test]
fn an_invalid_document_goes_to_the_fallback_without_a_repeat() {
    let cases = [
        ("text/xml", "<Response><Dial>", "12100"),
        ("text/xml", "", "12100"),
        (
            "text/xml",
            "<!DOCTYPE r [<!ENTITY a 'b'>]><Response/>",
            "12100",
        ),
        ("text/xml", "<html/>", "12200"),
        ("text/xml", "<Response><Shout/></Response>", "12200"),
        (
            "text/xml",
            "<Response><Say>only words</Say></Response>",
            "12200",
        ),
        ("text/plain", "<Response/>", "12300"),
        ("application/json", "<Response/>", "12100"),
        ("application/json", "{}", "12200"),
    ];
    for (content_type, body, code) in cases {
        let mut play = Play::begin(settings());
        play.answer(Answer::Http {
            status: 200,
            content_type: content_type.into(),
            body: body.into(),
        });
        assert_eq!(&*play.asked().url, FALLBACK, "{body}");
        assert_eq!(play.form("ErrorCode"), Some(code), "{body}");
        let detail = play.detail("failed");
        assert!(
            detail.starts_with("https://dr.example.net/voice:1:"),
            "{detail}"
        );
    }
}

#[test]
fn without_a_fallback_the_end_comes_at_once() {
    let mut play = Play::begin(Recovery {
        fallback_url: None,
        retries: 0,
        ..settings()
    });
    play.fails(HttpFailure::Timeout);
    assert_eq!(play.step, Step::Exhausted);
    assert_eq!(play.words(), ["failed"]);
}

#[test]
fn a_url_that_cannot_be_asked_is_a_failure_like_another() {
    let mut play = Play::begin(Recovery {
        url: url("voice"),
        ..settings()
    });
    assert_eq!(&*play.asked().url, FALLBACK);
    assert_eq!(play.form("ErrorCode"), Some("11100"));
    play.status(500).waits(SECOND).status(500);
    assert_eq!(play.step, Step::Exhausted);

    let lost = Recovery {
        url: url("voice"),
        fallback_url: Some(url("x")),
        ..settings()
    };
    assert_eq!(Play::begin(lost).step, Step::Exhausted);
}

#[test]
fn verbs_run_one_after_the_other() {
    let mut play = Play::begin(settings());
    play.twiml(
        "<Pause length='2'/><Dial><Sip>sip:a@h</Sip><Sip>sip:b@h</Sip></Dial>\
         <Say>nobody there</Say><Dial><Sip>sip:c@h</Sip></Dial><Reject reason='busy'/>",
    );
    play.waits(2 * SECOND)
        .dials(&["sip:a@h", "sip:b@h"], 503)
        .dials(&["sip:c@h"], 480)
        .ends(486);
    let words = play.words();
    assert_eq!(words, ["answered", "detail", "passed_over", "reject"]);
    assert!(
        play.detail("passed_over")
            .contains(":1:79: Say needs a media server")
    );
}

#[test]
fn final_verbs_answer_the_caller() {
    for (verbs, status) in [
        ("<Reject/>", 404),
        ("<Reject reason='busy'/>", 486),
        ("<Hangup/>", 603),
        ("<Say>sorry</Say><Hangup/>", 603),
        ("", 603),
        ("<Pause length='0'/>", 603),
    ] {
        Play::begin(settings()).twiml(verbs).ends(status);
    }
}

#[test]
fn a_document_that_ends_after_a_dial_passes_on_what_the_dial_met() {
    for (met, status) in [
        (486, 486),
        (503, 503),
        (0, 408),
        (408, 408),
        (302, 480),
        (407, 480),
        (599, 599),
        (499, 480),
        (200, 480),
    ] {
        let mut play = Play::begin(settings());
        play.twiml("<Dial><Sip>sip:a@h</Sip></Dial>")
            .dials(&["sip:a@h"], met)
            .ends(status);
    }
}

#[test]
fn a_dials_action_is_told_how_it_ended_and_gives_the_next_document() {
    let mut play = Play::begin(settings());
    play.twiml("<Dial action='ended?n=1' method='GET'><Sip>sip:a@h</Sip></Dial><Reject/>");
    let token = "token-0";
    play.dials(&["sip:a@h"], 486);
    let asked = play.asked();
    assert_eq!(
        (&*asked.url, asked.method),
        ("https://dr.example.net/ended?n=1", HttpMethod::Get)
    );
    assert_eq!(play.form("DialCallStatus"), Some("busy"));
    assert_eq!(play.form("DialSipResponseCode"), Some("486"));
    assert_eq!(play.form("CallSid"), Some(facts().call_sid.as_str()));
    assert_ne!(play.token(), token);
    play.twiml("<Hangup/>").ends(603);
}

#[test]
fn a_redirect_is_followed_from_the_url_that_gave_it() {
    let mut play = Play::begin(settings());
    play.twiml("<Redirect>menu/next#rc=0&amp;rt=700&amp;ct=300</Redirect>");
    assert_eq!(&*play.asked().url, "https://dr.example.net/menu/next");
    assert_eq!(play.asked().read_timeout, Duration::from_millis(700));
    play.twiml("<Redirect method='GET'>../last</Redirect>");
    assert_eq!(&*play.asked().url, "https://dr.example.net/last");
    play.twiml("<Hangup/>").ends(603);
}

#[test]
fn a_redirect_that_fails_goes_to_the_fallback_once() {
    let mut play = Play::begin(Recovery {
        retries: 0,
        ..settings()
    });
    play.twiml("<Redirect>/gone</Redirect>").status(410);
    assert_eq!(&*play.asked().url, FALLBACK);
    assert_eq!(play.form("ErrorUrl"), Some("https://dr.example.net/gone"));
    play.twiml("<Redirect>/gone</Redirect>").status(410);
    assert_eq!(
        play.step,
        Step::Exhausted,
        "the fallback is not asked twice"
    );
}

#[test]
fn a_redirect_loop_ends() {
    let mut play = Play::begin(settings());
    let mut documents = 0;
    while matches!(play.step, Step::Ask(_)) {
        documents += 1;
        play.twiml("<Redirect>/again</Redirect>");
    }
    assert_eq!(play.step, Step::Exhausted);
    assert_eq!(
        documents,
        1 + u32::from(REDIRECTS_MAX) + 1,
        "first, redirects, fallback"
    );
}

#[test]
fn a_loop_of_dials_and_actions_ends() {
    let mut play = Play::begin(settings());
    let mut dials = 0;
    loop {
        match &play.step {
            Step::Ask(_) => {
                play.twiml("<Dial action='/again'><Sip>sip:a@h</Sip></Dial>");
            }
            Step::Dial(_) => {
                dials += 1;
                play.dials(&["sip:a@h"], 503);
            }
            _ => break,
        }
    }
    assert_eq!(play.step, Step::Exhausted);
    assert_eq!(dials, 1 + u32::from(REDIRECTS_MAX) + 1);
}

#[test]
fn all_pauses_of_a_call_share_fifteen_seconds() {
    let mut play = Play::begin(settings());
    play.twiml(&"<Pause length='7'/>".repeat(20));
    play.waits(7 * SECOND)
        .waits(7 * SECOND)
        .waits(SECOND)
        .ends(603);
}

#[test]
fn overrides_in_the_fragment_change_how_it_is_asked_and_are_not_sent() {
    let mut play = Play::begin(Recovery {
        url: url("https://dr.example.net/voice#ct=300&rt=900&tt=9000&rc=2&rp=5xx&zz=1"),
        ..settings()
    });
    assert_eq!(&*play.asked().url, PRIMARY);
    assert_eq!(play.asked().connect_timeout, Duration::from_millis(300));
    assert_eq!(play.asked().read_timeout, Duration::from_millis(900));
    assert_eq!(play.asked().timeout, 9 * SECOND);
    for pause in [true, true, false] {
        play.call.took(Duration::from_millis(20));
        play.status(500);
        if pause {
            play.waits(SECOND);
        }
    }
    assert_eq!(&*play.asked().url, FALLBACK);
    assert_eq!(
        play.form("ErrorUrl"),
        Some(PRIMARY),
        "the fragment stays here too"
    );
    play.words();
    assert!(play.detail("passed_over").contains("zz=1"));
}

#[test]
fn no_event_shows_a_password() {
    let mut play = Play::begin(Recovery {
        url: url("https://user:hidden@dr.example.net/voice?key=hidden"),
        ..settings()
    });
    play.status(500).waits(SECOND).status(500);
    let told = play.form("ErrorUrl").unwrap().to_owned();
    assert_eq!(
        told, "https://dr.example.net/voice?key=hidden",
        "the fallback is ours to trust"
    );
    play.words();
    assert!(
        play.said
            .iter()
            .all(|(_, detail)| !detail.contains("hidden")),
        "{:?}",
        play.said
    );
}

#[test]
fn identifiers_are_stable_and_shaped_as_webhooks_expect() {
    let one = sid("CA", b"a84b4c76e66710@192.0.2.1");
    assert_eq!(one.len(), 34);
    assert!(one.starts_with("CA"));
    assert!(
        one[2..]
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    );
    assert_eq!(one, sid("CA", b"a84b4c76e66710@192.0.2.1"));
    assert_ne!(one[2..], sid("AC", b"a84b4c76e66710@192.0.2.1")[2..]);
    assert_ne!(one, sid("CA", b"a84b4c76e66710@192.0.2.2"));
}

#[test]
fn every_recovery_ends_whatever_the_webhook_does() {
    // Documents are eleven and the fallback's one; each URL is asked at most six times.
    const STEPS_MAX: u32 = 400;
    let documents = [
        "<Redirect>/x#rc=5</Redirect>",
        "<Dial action='/y#tt=15000'><Sip>sip:a@h</Sip></Dial>",
        "<Pause length='9'/><Dial><Sip>sip:a@h</Sip></Dial><Redirect>z</Redirect>",
        "<Say>x</Say>",
        "<Shout/>",
        "<Pause/>",
    ];
    let mut state = 1_u64;
    let mut dice = move |sides: usize| {
        // The multiplier of Knuth's MMIX; its high bits are the good ones.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % sides
    };
    for _ in 0..500 {
        let mut play = Play::begin(settings());
        let (mut steps, mut waited, mut requests) = (0, Duration::ZERO, 0);
        loop {
            steps += 1;
            assert!(steps < STEPS_MAX, "{:?}", play.said);
            match play.step.clone() {
                Step::Ask(request) => {
                    requests += 1;
                    assert!(request.timeout <= policy::ALL_MAX);
                    assert!(request.connect_timeout <= request.timeout);
                    match dice(8) {
                        0 => play.status(503),
                        1 => play.fails(HttpFailure::Timeout),
                        2 => play.fails(HttpFailure::Busy),
                        _ => play.twiml(documents[dice(documents.len())]),
                    };
                }
                Step::Wait(pause) => {
                    waited += pause;
                    play.waits(pause);
                }
                Step::Dial(_) => {
                    play.dials(&["sip:a@h"], [0, 486, 503, 302][dice(4)]);
                }
                Step::Respond { status, .. } => {
                    assert!((400..700).contains(&status), "{status}");
                    break;
                }
                Step::Exhausted => break,
            }
        }
        assert!(requests <= 12 * 6, "{requests} requests");
        assert!(
            waited <= 12 * policy::ALL_MAX + verb::pause::ALL_MAX,
            "{waited:?}"
        );
    }
}
