//! Answers beyond TwiML's own verbs, and what follows them: NCCO and its events, files, messages, the
//! last resort, the end of a call.

use super::*;

const NCCO: &str = r#"[{"action":"connect","endpoint":[{"type":"sip","uri":"sip:a@h"}],
  "eventUrl":["/event"],"eventType":"TYPE"},{"action":"connect","endpoint":[{"type":"sip","uri":"sip:b@h"}]}]"#;

fn ncco(body: &str) -> Answer {
    Answer::Http {
        status: 200,
        content_type: "application/json".into(),
        body: body.into(),
    }
}

#[test]
fn in_vonages_format_the_question_is_json_and_the_fallback_is_told_the_reason() {
    let mut play = Play::begin(Recovery {
        format: Format::Vonage,
        retries: 0,
        ..settings()
    });
    let body = play.asked().json.clone().unwrap();
    assert!(
        body.starts_with("{\"to\":\"15550199\",\"from\":\"15550100\","),
        "{body}"
    );
    assert_eq!(play.asked().form, []);
    play.fails(HttpFailure::Connect);
    let body = play.asked().json.clone().unwrap();
    assert!(
        body.ends_with(
            "\"reason\":\"Connection closed.\",\"original_request\":\
             {\"url\":\"https://dr.example.net/voice\",\"type\":\"answer\"}}"
        ),
        "{body}"
    );
    play.answer(ncco("[]")).ends(603);
    let get = Play::begin(Recovery {
        format: Format::Vonage,
        method: HttpMethod::Get,
        ..settings()
    });
    assert_eq!(
        (get.asked().json.as_deref(), get.form("to")),
        (None, Some("15550199"))
    );
}

#[test]
fn an_event_is_told_and_the_document_goes_on() {
    let mut play = Play::begin(settings());
    play.answer(ncco(&NCCO.replace("TYPE", "asynchronous")));
    play.dials(&["sip:a@h"], 486);
    let told = play.call.notices();
    assert_eq!(told.len(), 1);
    assert_eq!(&*told[0].url, "https://dr.example.net/event");
    let body = told[0].json.as_deref().unwrap();
    assert!(
        body.contains("\"status\":\"busy\"") && body.contains("\"sip_code\":486"),
        "{body}"
    );
    play.dials(&["sip:b@h"], 486).ends(486);
    assert_eq!(play.call.notices(), []);
}

#[test]
fn a_synchronous_event_may_give_another_document_and_nothing_is_lost_when_it_gives_none() {
    let waiting = || {
        let mut play = Play::begin(settings());
        play.answer(ncco(&NCCO.replace("TYPE", "synchronous")));
        play.dials(&["sip:a@h"], 486);
        assert_eq!(&*play.asked().url, "https://dr.example.net/event");
        play
    };
    let mut play = waiting();
    play.answer(ncco(
        r#"[{"action":"connect","endpoint":[{"type":"sip","uri":"sip:c@h"}]}]"#,
    ));
    play.dials(&["sip:c@h"], 486).ends(486);
    let mut play = waiting();
    play.status(204).dials(&["sip:b@h"], 486).ends(486);
    let mut play = waiting();
    play.status(500).waits(SECOND).status(500);
    play.dials(&["sip:b@h"], 486).ends(486);
}

#[test]
fn a_call_that_was_taken_tells_the_action_when_it_is_over() {
    let mut play = Play::begin(settings());
    play.twiml("<Dial action='/ended'><Sip>sip:a@h</Sip></Dial>");
    let after = play.call.on_dial_answered().unwrap();
    let told = after.request(Duration::from_secs(61));
    assert_eq!(&*told.url, "https://dr.example.net/ended");
    let field = |name: &str| {
        let found = told.form.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    };
    assert_eq!(field("CallStatus"), Some("completed"));
    assert_eq!(field("DialCallStatus"), Some("completed"));
    assert_eq!(field("DialCallDuration"), Some("61"));
    assert_eq!(field("CallSid"), Some(facts().call_sid.as_str()));
    assert_eq!(
        told.form
            .iter()
            .filter(|(name, _)| name == "CallStatus")
            .count(),
        1
    );

    let mut silent = Play::begin(settings());
    silent.twiml("<Dial><Sip>sip:a@h</Sip></Dial>");
    assert!(silent.call.on_dial_answered().is_none());
}

#[test]
fn a_file_answers_without_a_question() {
    let mut play = Play::begin(Recovery {
        url: file("file:a.xml", "<Response><Dial>+15550177</Dial></Response>"),
        ..settings()
    });
    play.dials(&["tel:+15550177"], 486).ends(486);
    let play = Play::begin(Recovery {
        url: file(
            "file:a.xml",
            "<Response><Redirect>next</Redirect></Response>",
        ),
        fallback_url: Some(file("file:b.JSON", "[]")),
        ..settings()
    });
    play.ends(603);
    let mut play = Play::begin(Recovery {
        fallback_url: Some(file("file:b.json", "[]")),
        retries: 0,
        ..settings()
    });
    play.fails(HttpFailure::Timeout).ends(603);
    assert_eq!(play.words(), ["failed", "fallback", "answered", "hangup"]);
}

#[test]
fn messages_are_handed_to_the_media_server() {
    let mut play = Play::begin(Recovery {
        media: Some("sip:media.example.net".into()),
        ..settings()
    });
    play.twiml("<Play>https://a/m.wav</Play><Reject/>")
        .dials(&["sip:annc@media.example.net;play=https://a/m.wav"], 503)
        .ends(404);
    // Too long for a request line: named, and the next verb runs.
    let mut play = Play::begin(Recovery {
        media: Some("sip:media.example.net".into()),
        ..settings()
    });
    let text = "x".repeat(6000);
    play.twiml(&format!("<Say>{text}</Say><Reject/>")).ends(404);
    assert!(
        play.detail("passed_over")
            .starts_with("1:11: Say: what it says is too long")
    );
}

#[test]
fn the_last_resort_is_tried_once_and_only_when_nothing_valid_came() {
    let resort = |last_resort| Recovery {
        last_resort,
        media: Some("sip:media.example.net".into()),
        fallback_url: None,
        retries: 0,
        ..settings()
    };
    for (last_resort, uri) in [
        (LastResort::Dial("sip:duty@h".into()), "sip:duty@h"),
        (
            LastResort::Announce("https://a/m.wav".into()),
            "sip:annc@media.example.net;play=https://a/m.wav",
        ),
    ] {
        let mut play = Play::begin(resort(last_resort.clone()));
        play.fails(HttpFailure::Timeout).dials(&[uri], 503);
        assert_eq!(play.step, Step::Exhausted);
        assert_eq!(play.words(), ["failed", "last_resort"]);
        Play::begin(resort(last_resort))
            .twiml("<Reject/>")
            .ends(404);
    }
}

#[test]
fn a_test_says_that_it_is_one() {
    let mut facts = facts();
    facts.test = true;
    let (_, step) = RecoveryCall::begin(Arc::new(settings()), facts, "token".into());
    let Step::Ask(request) = step else {
        panic!("{step:?}")
    };
    assert!(
        request
            .headers
            .contains(&("X-Trunkline-Test".into(), "true".into()))
    );
    assert!(
        request
            .form
            .contains(&("TrunklineTest".into(), "true".into()))
    );
}
