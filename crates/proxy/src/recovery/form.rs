//! What a webhook is told about the call: the parameters of Twilio's voice webhook that a proxy
//! can know, and Trunkline's own with a clear prefix.

use std::fmt::Write as _;

use super::CallFacts;
use crate::event::AttemptRecord;

/// The API whose parameters these are.
const API_VERSION: &str = "2010-04-01";
/// `X-` headers that are passed on.
const SIP_HEADERS_MAX: usize = 40;
/// Bytes of one passed header's value; longer ones are left out, because half a value lies.
const SIP_HEADER_BYTES_MAX: usize = 1024;
/// Attempts that are told one by one.
const ATTEMPTS_MAX: usize = 50;

/// The parameters that every request of a call carries, in the order in which they are sent.
pub fn call(facts: &CallFacts) -> Vec<(String, String)> {
    let named = [
        ("CallSid", facts.call_sid.as_str()),
        ("AccountSid", &facts.account_sid),
        ("From", &facts.from),
        ("To", &facts.to),
        ("Called", &facts.to),
        ("Caller", &facts.from),
        ("CallStatus", "ringing"),
        ("Direction", "inbound"),
        ("ApiVersion", API_VERSION),
        ("TrunkSid", &facts.trunk_sid),
        ("SipCallId", &facts.sip_call_id),
    ];
    let mut form: Vec<(String, String)> = named
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    form.push((
        "SipResponseCode".into(),
        silence_is_408(facts.sip_response_code).to_string(),
    ));
    form.push(("SipSourceIp".into(), facts.source_ip.to_string()));
    if !facts.attempts.is_empty() {
        form.push(("TrunklineAttempts".into(), attempts(&facts.attempts)));
    }
    let fitting = facts.x_headers.iter().filter(|(name, value)| {
        name.get(..2)
            .is_some_and(|start| start.eq_ignore_ascii_case("x-"))
            && value.len() <= SIP_HEADER_BYTES_MAX
    });
    form.extend(
        fitting
            .take(SIP_HEADERS_MAX)
            .map(|(name, value)| (format!("SipHeader_{name}"), value.clone())),
    );
    form
}

/// What a fallback URL is told on top: what was wrong, and with which URL.
pub fn failure(code: u32, url: &str) -> [(String, String); 2] {
    [
        ("ErrorCode".into(), code.to_string()),
        ("ErrorUrl".into(), url.to_owned()),
    ]
}

/// What a Dial's `action` URL is told on top. `code` is 0 for silence.
pub fn dial_ended(code: u16) -> [(String, String); 2] {
    let code = silence_is_408(code);
    let status = match code {
        486 | 600 => "busy",
        408 | 480 | 487 => "no-answer",
        _ => "failed",
    };
    [
        ("DialCallStatus".into(), status.into()),
        ("DialSipResponseCode".into(), code.to_string()),
    ]
}

/// RFC 3261 §16.8: an attempt without any response counts as a 408.
pub fn silence_is_408(code: u16) -> u16 {
    if code == 0 { 408 } else { code }
}

/// `[{"to":"udp:192.0.2.1:5060","outcome":"silent","ms":4000}]`. Nothing in it needs escaping:
/// transports, addresses and our own words.
fn attempts(attempts: &[AttemptRecord]) -> String {
    let mut json = String::from("[");
    for (at, attempt) in attempts.iter().take(ATTEMPTS_MAX).enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let ms = attempt.took.as_millis();
        let _ = write!(json, "{comma}{{\"to\":\"{}\",\"outcome\":", attempt.peer);
        let _ = match attempt.outcome {
            Some(outcome) => write!(json, "\"{outcome}\",\"ms\":{ms}}}"),
            None => write!(json, "null,\"ms\":{ms}}}"),
        };
    }
    json.push(']');
    json
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use trunkline_sip::Transport;

    use super::*;
    use crate::{
        event::{Outcome, Peer},
        hop::ListenerId,
        recovery::{sid, tests::facts},
        settings::TrunkId,
    };

    fn get<'f>(form: &'f [(String, String)], name: &str) -> Option<&'f str> {
        form.iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    #[test]
    fn the_form_has_every_parameter_that_a_proxy_knows() {
        let form = call(&facts());
        let expected = [
            ("CallSid", sid("CA", b"call-1").as_str()),
            ("AccountSid", &sid("AC", b"acme")),
            ("From", "+15550100"),
            ("To", "+15550199"),
            ("Called", "+15550199"),
            ("Caller", "+15550100"),
            ("CallStatus", "ringing"),
            ("Direction", "inbound"),
            ("ApiVersion", "2010-04-01"),
            ("TrunkSid", &sid("TK", b"acme")),
            ("SipCallId", "call-1@192.0.2.1"),
            ("SipResponseCode", "408"),
            ("SipSourceIp", "192.0.2.1"),
            ("SipHeader_X-Foo", "bar"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(form, expected);
    }

    #[test]
    fn only_x_headers_of_a_bearable_size_and_number_are_passed_on() {
        let header = |name: &str, len: usize| (name.to_owned(), "v".repeat(len));
        let mut facts = facts();
        facts.x_headers = vec![
            header("x-small", 1),
            header("X-Long", 1025),
            header("Via", 1),
            header("é", 1),
            header("X", 1),
        ];
        let names: Vec<String> = call(&facts)
            .into_iter()
            .map(|(name, _)| name)
            .skip(13)
            .collect();
        assert_eq!(names, ["SipHeader_x-small"]);
        facts.x_headers = (0..1000).map(|n| header(&format!("X-{n}"), 1024)).collect();
        assert_eq!(call(&facts).len(), 13 + SIP_HEADERS_MAX);
    }

    #[test]
    fn the_attempts_are_told_as_json() {
        let attempt = |port: u16, outcome| AttemptRecord {
            trunk: TrunkId(0),
            peer: Peer {
                transport: Transport::Udp,
                addr: ([192, 0, 2, 9], port).into(),
                listener: ListenerId(0),
            },
            outcome,
            began: Duration::ZERO,
            took: Duration::from_millis(4000),
        };
        let mut facts = facts();
        facts.attempts = vec![
            attempt(1, Some(Outcome::Silent)),
            attempt(2, Some(Outcome::Final(503))),
            attempt(3, None),
        ];
        assert_eq!(
            get(&call(&facts), "TrunklineAttempts"),
            Some(
                "[{\"to\":\"udp:192.0.2.9:1\",\"outcome\":\"silent\",\"ms\":4000},\
                 {\"to\":\"udp:192.0.2.9:2\",\"outcome\":\"503\",\"ms\":4000},\
                 {\"to\":\"udp:192.0.2.9:3\",\"outcome\":null,\"ms\":4000}]"
            )
        );
    }

    #[test]
    fn the_end_of_a_dial_is_told_in_twilios_words() {
        for (code, status, told) in [
            (486, "busy", "486"),
            (600, "busy", "600"),
            (0, "no-answer", "408"),
            (408, "no-answer", "408"),
            (480, "no-answer", "480"),
            (404, "failed", "404"),
            (503, "failed", "503"),
        ] {
            let form = dial_ended(code);
            assert_eq!(get(&form, "DialCallStatus"), Some(status), "{code}");
            assert_eq!(get(&form, "DialSipResponseCode"), Some(told), "{code}");
        }
    }
}
