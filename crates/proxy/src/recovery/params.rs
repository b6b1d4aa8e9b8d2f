//! What a webhook is told about the call: the parameters of Twilio's voice webhook that a proxy
//! can know, or Vonage's, and Trunkline's own with a clear prefix.

use std::fmt::Write as _;

use super::{CallFacts, json::quoted, sid};
use crate::{event::AttemptRecord, settings::Format};

/// The API whose parameters these are.
const API_VERSION: &str = "2010-04-01";
/// `X-` headers that are passed on.
const SIP_HEADERS_MAX: usize = 40;
/// Bytes of one passed header's value; longer ones are left out, because half a value lies.
const SIP_HEADER_BYTES_MAX: usize = 1024;
/// Attempts that are told one by one.
const ATTEMPTS_MAX: usize = 50;

/// Parameters in the order in which they are sent.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Params(Vec<(String, Told)>);

#[derive(Clone, PartialEq, Debug)]
enum Told {
    Text(String),
    /// JSON as it is: in a form its text, in a JSON body a value.
    Json(String),
}

impl Params {
    /// Adds one.
    pub fn text(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((name.to_owned(), Told::Text(value.into())));
    }

    fn json_value(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((name.to_owned(), Told::Json(value.into())));
    }

    /// Adds more; an equal name takes the place of the earlier one.
    pub fn extend(&mut self, more: Params) {
        self.0
            .retain(|(name, _)| more.0.iter().all(|(newer, _)| newer != name));
        self.0.extend(more.0);
    }

    /// As names and values, for a form or a query.
    pub fn form(&self) -> Vec<(String, String)> {
        let pair = |(name, told): &(String, Told)| match told {
            Told::Text(value) | Told::Json(value) => (name.clone(), value.clone()),
        };
        self.0.iter().map(pair).collect()
    }

    /// As one JSON object.
    pub fn json(&self) -> String {
        let mut out = String::from("{");
        for (at, (name, told)) in self.0.iter().enumerate() {
            out.push_str(if at == 0 { "" } else { "," });
            out.push_str(&quoted(name));
            out.push(':');
            match told {
                Told::Text(value) => out.push_str(&quoted(value)),
                Told::Json(value) => out.push_str(value),
            }
        }
        out.push('}');
        out
    }
}

/// The parameters that every request of a call carries.
pub fn call(facts: &CallFacts, format: Format) -> Params {
    let mut params = Params::default();
    match format {
        Format::Twilio => twilio(facts, &mut params),
        Format::Vonage => vonage(facts, &mut params),
    }
    params.text("TrunklineTrunk", &*facts.trunk);
    if !facts.attempts.is_empty() {
        params.json_value("TrunklineAttempts", attempts(&facts.attempts));
    }
    for (name, marked) in [
        ("TrunklineTest", facts.test),
        ("TrunklineDrill", facts.drill),
    ] {
        if marked {
            params.text(name, "true");
        }
    }
    let fitting = facts.x_headers.iter().filter(|(name, value)| {
        name.get(..2)
            .is_some_and(|start| start.eq_ignore_ascii_case("x-"))
            && value.len() <= SIP_HEADER_BYTES_MAX
    });
    for (name, value) in fitting.take(SIP_HEADERS_MAX) {
        params.text(&format!("SipHeader_{name}"), &**value);
    }
    params
}

/// FACTS F2.3.
fn twilio(facts: &CallFacts, params: &mut Params) {
    let code = silence_is_408(facts.sip_response_code).to_string();
    let source = facts.source_ip.to_string();
    for (name, value) in [
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
        ("SipResponseCode", &code),
        ("SipSourceIp", &source),
    ] {
        params.text(name, value);
    }
    for (name, value) in [
        ("SipDomain", &facts.sip_domain),
        ("CallerName", &facts.caller_name),
        ("ForwardedFrom", &facts.forwarded_from),
    ] {
        if let Some(value) = value {
            params.text(name, &**value);
        }
    }
}

/// FACTS F2.4.
fn vonage(facts: &CallFacts, params: &mut Params) {
    let uuid = uuid(&facts.call_sid);
    params.text("to", bare(&facts.to));
    params.text("from", bare(&facts.from));
    params.text("conversation_uuid", format!("CON-{uuid}"));
    params.text("uuid", uuid);
    params.text("TrunklineSipCallId", &*facts.sip_call_id);
    let code = silence_is_408(facts.sip_response_code).to_string();
    params.json_value("TrunklineSipResponseCode", code);
}

/// Vonage writes E.164 without its plus.
fn bare(number: &str) -> &str {
    number.strip_prefix('+').unwrap_or(number)
}

/// The digits of a SID in the form of a UUID.
fn uuid(sid: &str) -> String {
    let digits = sid.get(2..).unwrap_or_default();
    let part = |range: std::ops::Range<usize>| digits.get(range).unwrap_or_default();
    let parts = [
        part(0..8),
        part(8..12),
        part(12..16),
        part(16..20),
        part(20..32),
    ];
    parts.join("-")
}

/// What a fallback URL is told on top: what was wrong, and with which URL.
pub fn failure(format: Format, code: u32, reason: &str, url: &str) -> Params {
    let mut params = Params::default();
    match format {
        Format::Twilio => {
            params.text("ErrorCode", code.to_string());
            params.text("ErrorUrl", url);
        }
        Format::Vonage => {
            params.text("reason", reason);
            let original = format!("{{\"url\":{},\"type\":\"answer\"}}", quoted(url));
            params.json_value("original_request", original);
        }
    }
    params
}

/// What names the call of the `number`-th Dial. A proxy passes Call-ID on, so both sides have the same.
pub fn dialled(format: Format, facts: &CallFacts, number: u32) -> Params {
    let mut params = Params::default();
    if format == Format::Twilio {
        let unique = format!("{} {number}", facts.call_sid);
        params.text("DialCallSid", sid("CA", unique.as_bytes()));
        params.text("DialSipCallId", &*facts.sip_call_id);
    }
    params
}

/// What is told when a Dial has ended without an answer. `code` is 0 for silence.
pub fn dial_ended(format: Format, code: u16) -> Params {
    let code = silence_is_408(code);
    let mut params = Params::default();
    match format {
        Format::Twilio => {
            let status = match code {
                486 | 600 => "busy",
                408 | 480 | 487 => "no-answer",
                _ => "failed",
            };
            params.text("DialCallStatus", status);
            params.text("DialSipResponseCode", code.to_string());
        }
        Format::Vonage => {
            let status = match code {
                486 | 600 => "busy",
                408 | 480 | 487 => "timeout",
                603 => "rejected",
                _ => "failed",
            };
            params.text("status", status);
            params.text("direction", "outbound");
            params.json_value("sip_code", code.to_string());
        }
    }
    params
}

/// What is told when a call that a Dial set up is over, `seconds` after its answer.
pub fn call_ended(format: Format, seconds: u64) -> Params {
    let mut params = Params::default();
    match format {
        Format::Twilio => {
            for (name, value) in [
                ("CallStatus", "completed"),
                ("DialCallStatus", "completed"),
                ("DialBridged", "true"),
                ("DialSipResponseCode", "200"),
            ] {
                params.text(name, value);
            }
            params.text("DialCallDuration", seconds.to_string());
        }
        Format::Vonage => {
            params.text("status", "completed");
            params.text("direction", "outbound");
            params.text("duration", seconds.to_string());
        }
    }
    params
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

    fn get(params: &Params, name: &str) -> Option<String> {
        let form = params.form();
        let found = form.into_iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value)
    }

    #[test]
    fn the_form_has_every_parameter_that_a_proxy_knows() {
        let mut facts = facts();
        facts.sip_domain = Some("edge.example.net".into());
        facts.caller_name = Some("Alice".into());
        facts.forwarded_from = Some("+15550177".into());
        facts.test = true;
        let form = call(&facts, Format::Twilio).form();
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
            ("SipDomain", "edge.example.net"),
            ("CallerName", "Alice"),
            ("ForwardedFrom", "+15550177"),
            ("TrunklineTrunk", "acme"),
            ("TrunklineTest", "true"),
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
        let names = |facts: &CallFacts| -> Vec<String> {
            let form = call(facts, Format::Twilio).form().into_iter();
            form.map(|(name, _)| name)
                .filter(|name| name.starts_with("SipHeader_"))
                .collect()
        };
        assert_eq!(names(&facts), ["SipHeader_x-small"]);
        facts.x_headers = (0..1000).map(|n| header(&format!("X-{n}"), 1024)).collect();
        assert_eq!(names(&facts).len(), SIP_HEADERS_MAX);
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
            get(&call(&facts, Format::Twilio), "TrunklineAttempts").as_deref(),
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
            let form = dial_ended(Format::Twilio, code);
            assert_eq!(
                get(&form, "DialCallStatus").as_deref(),
                Some(status),
                "{code}"
            );
            assert_eq!(
                get(&form, "DialSipResponseCode").as_deref(),
                Some(told),
                "{code}"
            );
        }
        let ended = call_ended(Format::Twilio, 17);
        assert_eq!(get(&ended, "DialCallStatus").as_deref(), Some("completed"));
        assert_eq!(get(&ended, "DialCallDuration").as_deref(), Some("17"));
    }

    #[test]
    fn each_dial_of_a_call_has_a_name_of_its_own() {
        let facts = facts();
        let name = |number| get(&dialled(Format::Twilio, &facts, number), "DialCallSid").unwrap();
        assert_eq!((name(1), name(1).len()), (name(1), 34));
        assert_ne!(name(1), name(2));
        assert_ne!(name(1), facts.call_sid);
        let call_id = get(&dialled(Format::Twilio, &facts, 1), "DialSipCallId");
        assert_eq!(call_id.as_deref(), Some("call-1@192.0.2.1"));
        assert_eq!(dialled(Format::Vonage, &facts, 1), Params::default());
    }

    #[test]
    fn in_vonages_shape_the_body_is_one_json_object() {
        let mut facts = facts();
        facts.trunk = "a\"b".into();
        let mut params = call(&facts, Format::Vonage);
        params.extend(failure(
            Format::Vonage,
            11205,
            "Connection closed.",
            "https://dr.example.net/voice",
        ));
        let uuid = uuid(&facts.call_sid);
        assert_eq!(uuid.len(), 36);
        let expected = format!(
            "{{\"to\":\"15550199\",\"from\":\"15550100\",\"conversation_uuid\":\"CON-{uuid}\",\
             \"uuid\":\"{uuid}\",\"TrunklineSipCallId\":\"call-1@192.0.2.1\",\
             \"TrunklineSipResponseCode\":408,\"TrunklineTrunk\":\"a\\\"b\",\
             \"SipHeader_X-Foo\":\"bar\",\"reason\":\"Connection closed.\",\
             \"original_request\":{{\"url\":\"https://dr.example.net/voice\",\"type\":\"answer\"}}}}"
        );
        assert_eq!(params.json(), expected);
        assert_eq!(crate::recovery::json::parse(&expected).map(|_| ()), Ok(()));
    }

    #[test]
    fn vonage_is_told_the_end_of_a_connect_in_its_words() {
        for (code, status) in [
            (486, "busy"),
            (0, "timeout"),
            (603, "rejected"),
            (503, "failed"),
        ] {
            let params = dial_ended(Format::Vonage, code);
            assert_eq!(get(&params, "status").as_deref(), Some(status), "{code}");
        }
        let ended = call_ended(Format::Vonage, 17);
        assert_eq!(get(&ended, "status").as_deref(), Some("completed"));
    }
}
