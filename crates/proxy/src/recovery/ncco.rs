//! NCCO documents (Vonage): a JSON list of actions becomes the same verbs that TwiML does.

use super::{
    document::{Fault, MediaUse, Notes, Place, Reading, Refusal, VERBS_MAX},
    json::{self, Json, Value},
    verb::{
        NO_MEDIA, NOBODY_LISTENS, NOBODY_RECORDS, Verb,
        dial::{self, Action, Dial, DialTarget, Wants},
        media::Media,
    },
};
use crate::question::HttpMethod;

/// Seconds that an endpoint may ring when the action does not say.
const TIMEOUT: u64 = 60;

/// What is carried out of each action. Nobody listens, so nothing barges in.
const CONNECT: [&str; 7] = [
    "action",
    "endpoint",
    "from",
    "timeout",
    "eventType",
    "eventUrl",
    "eventMethod",
];
const ENDPOINT: [&str; 4] = ["type", "number", "uri", "headers"];
const TALK: [&str; 5] = ["action", "text", "language", "loop", "bargeIn"];
const STREAM: [&str; 4] = ["action", "streamUrl", "loop", "bargeIn"];

/// Reads a document's actions.
///
/// # Errors
/// Its first fault, with the place.
pub fn read(text: &str, reading: Reading<'_>, notes: &mut Notes) -> Result<Vec<Verb>, Refusal> {
    let document = json::parse(text).map_err(|fault| {
        let what = format!("not JSON: {}", fault.what);
        Refusal::at(Place::of(text, fault.at), Fault::Parse, what)
    })?;
    let Json::List(actions) = &document.json else {
        return Err(Refusal::whole(
            Fault::Schema,
            "an NCCO is a list of actions; write [ ... ]",
        ));
    };
    if actions.len() > VERBS_MAX {
        let what = format!("more than {VERBS_MAX} actions");
        return Err(Refusal::whole(Fault::Schema, what));
    }
    let mut reader = Reader {
        text,
        reading,
        notes,
    };
    let mut verbs = Vec::new();
    for action in actions {
        verbs.extend(reader.action(action)?);
    }
    Ok(verbs)
}

struct Reader<'r, 't> {
    text: &'t str,
    reading: Reading<'r>,
    notes: &'r mut Notes,
}

impl Reader<'_, '_> {
    fn note(&mut self, value: &Value, what: impl Into<String>) {
        let text = self.text;
        self.notes.say(|| Place::of(text, value.at), what);
    }

    /// Names the members that nobody here carries out: all but those in `done`.
    fn only_these(&mut self, value: &Value, what: &str, done: &[&str]) {
        let Json::Object(members) = &value.json else {
            return;
        };
        let left: Vec<String> = members
            .iter()
            .filter(|(name, _)| !done.contains(&&**name))
            .map(|(name, _)| name.chars().take(40).collect::<String>())
            .map(|name| name.escape_debug().to_string())
            .collect();
        if !left.is_empty() {
            let verb = if left.len() == 1 { "is" } else { "are" };
            let words = format!("{what}: {} {verb} not carried out here", left.join(", "));
            let text = self.text;
            self.notes.detail(|| Place::of(text, value.at), words);
        }
    }

    fn refuse<T>(&self, value: &Value, what: impl Into<String>) -> Result<T, Refusal> {
        let at = Place::of(self.text, value.at);
        Err(Refusal::at(at, Fault::Schema, what))
    }

    fn action(&mut self, action: &Value) -> Result<Option<Verb>, Refusal> {
        let Some(name) = action.get("action").and_then(Value::text) else {
            return self.refuse(
                action,
                "an action without a name; write {\"action\": \"connect\", ...}",
            );
        };
        match name {
            "connect" => self.connect(action).map(|dial| dial.map(Verb::Dial)),
            "talk" | "stream" | "record" | "input" if self.reading.media == MediaUse::None => {
                self.note(action, format!("{name} {NO_MEDIA}"));
                Ok(None)
            }
            "talk" => Ok(self.talk(action)),
            "stream" => Ok(self.stream(action)),
            "record" => Ok(self.record(action)),
            "input" => {
                self.note(action, format!("input {NOBODY_LISTENS}"));
                Ok(None)
            }
            "conversation" | "notify" | "wait" | "transfer" => {
                self.note(
                    action,
                    format!("{name} is not carried out here; the next action runs instead"),
                );
                Ok(None)
            }
            _ => {
                let name: String = name.chars().take(40).collect();
                let name = name.escape_debug();
                self.refuse(
                    action,
                    format!("{name} is no action that is known here; use connect, talk or stream"),
                )
            }
        }
    }

    fn talk(&mut self, action: &Value) -> Option<Verb> {
        let text = action.get("text").and_then(Value::text).unwrap_or_default();
        if text.trim().is_empty() {
            self.note(action, "talk says nothing; the next action runs instead");
            return None;
        }
        self.only_these(action, "talk", &TALK);
        let language = action.get("language").and_then(Value::text);
        let at = Place::of(self.text, action.at);
        let media = Media::text("talk", at, text.trim(), language, loops(action));
        Some(Verb::Media(media))
    }

    fn stream(&mut self, action: &Value) -> Option<Verb> {
        let url = action.get("streamUrl").and_then(Value::first_text);
        let fits = |url: &&str| {
            (url.starts_with("http://") || url.starts_with("https://"))
                && url.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let Some(url) = url.filter(fits) else {
            self.note(
                action,
                "stream needs an absolute http or https streamUrl; the next action runs instead",
            );
            return None;
        };
        self.only_these(action, "stream", &STREAM);
        let at = Place::of(self.text, action.at);
        Some(Verb::Media(Media::sound("stream", at, url, loops(action))))
    }

    fn record(&mut self, action: &Value) -> Option<Verb> {
        let Some(page) = self.reading.record_page else {
            self.note(action, format!("record {NOBODY_RECORDS}"));
            return None;
        };
        self.only_these(action, "record", &["action"]);
        let at = Place::of(self.text, action.at);
        Some(Verb::Media(Media::page("record", at, page)))
    }

    fn connect(&mut self, action: &Value) -> Result<Option<Dial>, Refusal> {
        let endpoints = match action.get("endpoint") {
            Some(Value {
                json: Json::List(endpoints),
                ..
            }) => &endpoints[..],
            Some(one) => std::slice::from_ref(one),
            None => &[],
        };
        let timeout = match action.get("timeout") {
            None => TIMEOUT,
            Some(value) => match value.whole() {
                Some(seconds) if dial::TIMEOUT_SECONDS.contains(&seconds) => seconds.into(),
                Some(_) | None => {
                    self.note(value, format!("timeout is not 1 to 600; {TIMEOUT} is used"));
                    TIMEOUT
                }
            },
        };
        let caller_id = action.get("from").and_then(|from| {
            let known = from.text().and_then(dial::caller_id);
            if known.is_none() {
                self.note(from, "from is no number; the caller's is kept");
            }
            known.map(|from| international(&from))
        });
        let mut targets = Vec::new();
        for endpoint in endpoints.iter().take(dial::TARGETS_MAX) {
            if let Some(target) = self.endpoint(endpoint)? {
                targets.push(DialTarget {
                    timeout: std::time::Duration::from_secs(timeout),
                    caller_id: caller_id.clone(),
                    ..target
                });
            }
        }
        if targets.is_empty() {
            self.note(
                action,
                "connect has nobody to call; the next action runs instead",
            );
            return Ok(None);
        }
        self.only_these(action, "connect", &CONNECT);
        Ok(Some(Dial {
            targets,
            action: self.event(action),
        }))
    }

    fn endpoint(&mut self, endpoint: &Value) -> Result<Option<DialTarget>, Refusal> {
        let text = |name: &str| endpoint.get(name).and_then(Value::text).unwrap_or_default();
        let read = match text("type") {
            "phone" => dial::number(&international(text("number"))).map(DialTarget::new),
            "sip" => dial::sip(text("uri")),
            kind @ ("websocket" | "app" | "vbc") => {
                self.note(
                    endpoint,
                    format!("an endpoint of type {kind} cannot be called here; use phone or sip"),
                );
                return Ok(None);
            }
            _ => {
                return self.refuse(
                    endpoint,
                    "an endpoint of no type that is known; use phone or sip",
                );
            }
        };
        self.only_these(endpoint, "the endpoint", &ENDPOINT);
        let mut target = match read {
            Ok(target) => target,
            Err(fault) => {
                self.note(endpoint, format!("the endpoint cannot be called: {fault}"));
                return Ok(None);
            }
        };
        if let Some(Value {
            json: Json::Object(headers),
            ..
        }) = endpoint.get("headers")
        {
            let written = headers
                .iter()
                .filter_map(|(name, value)| Some((name, value.text()?)));
            // Vonage: each becomes "X-" and its name.
            let known =
                written.filter_map(|(name, value)| dial::header(&format!("X-{name}"), value));
            target.headers.extend(known.take(16));
        }
        Ok(Some(target))
    }

    fn event(&mut self, action: &Value) -> Option<Action> {
        let written = action.get("eventUrl")?;
        let url = match self.reading.url(written.first_text().unwrap_or_default()) {
            Ok(url) => url,
            Err(fault) => {
                self.note(written, format!("eventUrl cannot be asked: {fault}"));
                return None;
            }
        };
        let word = |name: &str| action.get(name).and_then(Value::text).unwrap_or_default();
        Some(Action {
            url,
            method: if word("eventMethod").eq_ignore_ascii_case("GET") {
                HttpMethod::Get
            } else {
                HttpMethod::Post
            },
            wants: if word("eventType") == "synchronous" {
                Wants::Maybe
            } else {
                Wants::Nothing
            },
        })
    }
}

/// How often; 0 is for ever.
fn loops(action: &Value) -> u32 {
    action.get("loop").and_then(Value::whole).unwrap_or(1)
}

/// Vonage writes E.164 without its plus; carriers want it with.
fn international(number: &str) -> String {
    let digits = number.len() >= 7 && number.bytes().all(|byte| byte.is_ascii_digit());
    if digits && !number.starts_with('0') {
        format!("+{number}")
    } else {
        number.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::{
            document::{self, Document},
            url::Url,
        },
        *,
    };

    fn document(media: MediaUse, ncco: &str) -> Result<Document, Refusal> {
        let base = Url::parse("https://dr.example.net/answer").unwrap();
        let reading = Reading {
            base: Some(&base),
            media,
            record_page: None,
        };
        document::read("application/json", ncco.as_bytes(), reading)
    }

    #[test]
    fn connect_calls_numbers_and_sip_uris_in_turn() {
        let read = document(
            MediaUse::None,
            r#"[{"action": "connect", "from": "447700900000", "timeout": "20",
                 "eventUrl": ["/event"], "eventType": "synchronous", "endpoint": [
                 {"type": "phone", "number": "447700900001"},
                 {"type": "sip", "uri": "sip:a@h;transport=tcp", "headers": {"loc": "x y", "b:d": "1"}}]}]"#,
        )
        .unwrap();
        assert_eq!(read.notes, []);
        let [Verb::Dial(dial)] = &read.verbs[..] else {
            panic!("{read:?}")
        };
        let target = |uri: &str, headers: &[(&str, &str)]| DialTarget {
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
            timeout: Duration::from_secs(20),
            caller_id: Some("+447700900000".into()),
            ..DialTarget::new(uri)
        };
        let expected = [
            target("tel:+447700900001", &[]),
            target("sip:a@h;transport=tcp", &[("X-loc", "x y")]),
        ];
        assert_eq!(dial.targets, expected);
        let action = dial.action.as_ref().unwrap();
        assert_eq!(action.url.as_str(), "https://dr.example.net/event");
        assert_eq!(
            (action.method, action.wants),
            (HttpMethod::Post, Wants::Maybe)
        );
    }

    #[test]
    fn what_needs_media_is_named_and_the_next_action_runs() {
        let ncco = r#"[{"action":"talk","text":"Hello"},
 {"action":"record"},
 {"action":"stream","streamUrl":["https://a/m.wav"],"loop":0},
 {"action":"connect","endpoint":[{"type":"sip","uri":"sip:a@h"}]}]"#;
        let none = document(MediaUse::None, ncco).unwrap();
        assert!(matches!(none.verbs[..], [Verb::Dial(_)]));
        let notes: Vec<String> = none.notes.iter().map(ToString::to_string).collect();
        for (note, start) in
            notes
                .iter()
                .zip(["1:2: talk needs", "2:2: record needs", "3:2: stream"])
        {
            assert!(note.starts_with(start), "{note}");
        }
        let early = document(MediaUse::Early, ncco).unwrap();
        let [Verb::Media(media), Verb::Dial(_)] = &early.verbs[..] else {
            panic!("{early:?}")
        };
        assert!(
            media
                .uri("sip:m")
                .unwrap()
                .starts_with("sip:dialog@m;voicexml=")
        );
    }

    #[test]
    fn what_an_action_asks_for_and_nobody_does_is_named_and_is_no_fault() {
        for (ncco, why) in [
            (
                r#"[{"action":"connect","limit":9,"ringbackTone":"x","endpoint":[{"type":"sip","uri":"sip:a@h"}]}]"#,
                "1:2: connect: limit, ringbackTone are not carried out here",
            ),
            (
                r#"[{"action":"connect","endpoint":[{"type":"phone","number":"+15550100","dtmfAnswer":"1"}]}]"#,
                "1:34: the endpoint: dtmfAnswer is not carried out here",
            ),
            (
                r#"[{"action":"talk","text":"a","style":2,"bargeIn":true}]"#,
                "1:2: talk: style is not carried out here",
            ),
        ] {
            let read = document(MediaUse::Answers, ncco).unwrap();
            assert_eq!((read.verbs.len(), read.faults().count()), (1, 0), "{ncco}");
            let notes: Vec<String> = read.notes.iter().map(ToString::to_string).collect();
            assert_eq!(notes, [why], "{ncco}");
        }
        for action in ["conversation", "notify", "record", "input"] {
            let ncco = format!(r#"[{{"action":"{action}"}},{{"action":"talk","text":"a"}}]"#);
            let read = document(MediaUse::Answers, &ncco).unwrap();
            let lost: Vec<String> = read.faults().map(ToString::to_string).collect();
            assert!(lost[0].starts_with(&format!("1:2: {action} ")), "{lost:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (ncco, why) in [
            ("{}", "1:1: an NCCO is a list"),
            ("[{\"action\":\"talk\"", "1:18: not JSON"),
            ("[\n {}]", "2:2: an action without a name"),
            ("[{\"action\":\"dance\"}]", "1:2: dance is no action"),
            ("[{\"action\":\"connect\"}]", "1:2: connect has nobody"),
            (
                "[{\"action\":\"connect\",\"endpoint\":[{\"type\":\"fax\"}]}]",
                "1:34: an endpoint of no type",
            ),
            (
                "[{\"action\":\"connect\",\"endpoint\":[{\"type\":\"websocket\"}]}]",
                "1:34: an endpoint of type websocket",
            ),
            (
                "[{\"action\":\"connect\",\"endpoint\":[{\"type\":\"phone\",\"number\":\"x\"}]}]",
                "1:34: the endpoint cannot be called",
            ),
        ] {
            let refusal = document(MediaUse::None, ncco).unwrap_err().to_string();
            assert!(refusal.starts_with(why), "{ncco}: {refusal}");
        }
        assert_eq!(document(MediaUse::None, "[]").unwrap().verbs, []);
    }
}
