//! Messages that have broken SIP software before: one for each point that RFC 4475 and RFC 5118
//! make, in our own words, in `tests/torture` at the top of the repository.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use trunkline_sip::{Edit, Limits, Message, Name, Uri};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/torture")
}

/// A row of `expect.txt`.
struct Expected {
    file: String,
    verdict: String,
    facts: Vec<(String, String)>,
}

impl Expected {
    fn read(row: &str) -> Expected {
        let mut columns = row.splitn(3, '|').map(str::trim);
        let mut column = || columns.next().unwrap_or_default().to_owned();
        let (file, verdict, facts) = (column(), column(), column());
        let fact = |fact: &str| {
            let (key, value) = fact
                .split_once('=')
                .unwrap_or_else(|| panic!("{file}: {fact}"));
            (key.to_owned(), value.to_owned())
        };
        let facts = facts.split_whitespace().map(fact).collect();
        Expected {
            file,
            verdict,
            facts,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let path = folder().join(format!("{}.sip", self.file));
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

fn expectations() -> Vec<Expected> {
    let text = fs::read_to_string(folder().join("expect.txt")).unwrap();
    let rows = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    rows.map(Expected::read).collect()
}

/// What can be asked of a message, as text.
fn fact(message: &Message<'_>, key: &str) -> String {
    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }
    fn or_none<T: ToString>(value: Option<T>) -> String {
        value.map_or("none".to_owned(), |value| value.to_string())
    }
    let uri = || Uri::parse(message.request_uri().unwrap()).unwrap();
    match key {
        "method" => or_none(message.method().map(|method| text(method.as_bytes()))),
        "code" => or_none(message.code()),
        "user" => or_none(uri().user.map(text)),
        "host" => text(uri().host_raw),
        "port" => or_none(uri().port),
        "vias" => message.values(Name::Via).count().to_string(),
        "branch" => or_none(message.top_via().unwrap().branch().map(text)),
        "received" => or_none(message.top_via().unwrap().received()),
        "cseq" => or_none(message.cseq().ok().map(|cseq| cseq.number)),
        "from-tag" => or_none(message.from_tag().map(text)),
        "to-tag" => or_none(message.to_tag().map(text)),
        "max-forwards" => or_none(message.max_forwards().unwrap()),
        "routes" => message.routes().map(Result::unwrap).count().to_string(),
        "contacts" if message.contact().is_none() => "bad".to_owned(),
        "contacts" => message.values(Name::Contact).count().to_string(),
        "proxy-require" => message.values(Name::ProxyRequire).count().to_string(),
        "body" => message.body().len().to_string(),
        other => panic!("expect.txt asks for {other:?}, which this test cannot tell"),
    }
}

#[test]
fn every_torture_message_gets_its_verdict() {
    for expected in expectations() {
        let (file, bytes, limits) = (&expected.file, expected.bytes(), Limits::default());
        let parsed =
            Message::parse(&bytes, &limits).and_then(|message| message.check().map(|()| message));
        let verdict = match &parsed {
            Ok(_) => "pass".to_owned(),
            Err(error) => format!("refuse {} {}", error.fault.status(), error.fault.reason()),
        };
        assert_eq!(verdict, expected.verdict, "{file}");
        let message = parsed.ok().or_else(|| Message::salvage(&bytes, &limits));
        for (key, value) in &expected.facts {
            match (&message, key.as_str()) {
                (None, "salvage") => assert_eq!(value, "none", "{file}"),
                (Some(message), key) => assert_eq!(fact(message, key), *value, "{file}: {key}"),
                (None, key) => panic!("{file}: nothing was salvaged to tell {key} from"),
            }
        }
    }
}

#[test]
fn every_torture_message_that_passes_is_forwarded_as_it_came() {
    for expected in expectations()
        .iter()
        .filter(|expected| expected.verdict == "pass")
    {
        let bytes = expected.bytes();
        let message = Message::parse(&bytes, &Limits::default()).unwrap();
        let mut out = Vec::new();
        Edit::new(&message).write(&mut out);
        assert!(bytes.starts_with(&out), "{}", expected.file);
        assert!(out.ends_with(message.body()), "{}", expected.file);
    }
}

#[test]
fn every_torture_message_is_expected_and_there() {
    let expected: BTreeSet<String> = expectations().into_iter().map(|row| row.file).collect();
    let found: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "sip"))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(expected, found);
    assert!(expected.len() >= 60, "there are {} only", expected.len());
}
