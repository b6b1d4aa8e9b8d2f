//! What a web server may send, and that nothing it sends does harm.

use std::{fs, path::PathBuf};

use super::{
    super::{
        document::{self, Document, MediaUse, NOTES_MAX},
        url::Url,
    },
    *,
};
use crate::question::HTTP_BODY_MAX;

fn read(content_type: &str, body: &[u8], base: &Url) -> Result<Document, Refusal> {
    let reading = Reading {
        base: Some(base),
        media: MediaUse::None,
        record_page: None,
    };
    document::read(content_type, body, reading)
}

fn base() -> Url {
    Url::parse("https://dr.example.net/voice").unwrap()
}

fn read_xml(xml: &str) -> Result<Document, Refusal> {
    read("text/xml; charset=utf-8", xml.as_bytes(), &base())
}

fn refusal(xml: &str) -> Refusal {
    read_xml(xml).expect_err(xml)
}

#[test]
fn a_document_is_read_with_and_without_its_trimmings() {
    for xml in [
        "<Response><Hangup/></Response>",
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response>\n  <Hangup />\n</Response>\n",
        "\u{feff}<Response><Hangup/></Response>",
        "\r\n  <?xml version='1.0'?><Response><Hangup/></Response>",
        "<!-- why > <Response> --><Response><!-- \" --><Hangup/><?php '?></Response>",
        "<Response xmlns=\"urn:x\"><Hangup></Hangup></Response>",
        "<Response a=\">\"><Hangup b='\"' c='/>'/></Response>",
    ] {
        let read = read_xml(xml).unwrap_or_else(|refusal| panic!("{xml}: {refusal}"));
        assert_eq!(read.verbs, [Verb::Hangup], "{xml}");
    }
}

#[test]
fn a_refusal_says_line_column_and_kind() {
    let cases = [
        ("", "1:1: the document is empty", Fault::Parse),
        (" \n ", "1:1: the document is empty", Fault::Parse),
        ("hello", "1:1: not well-formed XML", Fault::Parse),
        (
            "<Response>\n <Dial>",
            "1:1: not well-formed XML",
            Fault::Parse,
        ),
        (
            "<Response>\n <Dial></Hangup></Response>",
            "2:8: not well-formed XML",
            Fault::Parse,
        ),
        (
            "\r\n\n <Response>\n<Shout/></Response>",
            "4:1: Shout is no verb",
            Fault::Schema,
        ),
        (
            "<Response/>\n<Response/>",
            "2:1: not well-formed XML: unknown token",
            Fault::Parse,
        ),
        (
            "<!DOCTYPE html><html/>",
            "1:1: a document type is refused",
            Fault::Parse,
        ),
        (
            "<a/>\n <!ENTITY x 'y'>",
            "2:2: a document type is refused",
            Fault::Parse,
        ),
        (
            "<Response>&nbsp;</Response>",
            "1:11: not well-formed XML",
            Fault::Parse,
        ),
        ("<!-- <Response/>", "1:1: <!-- is not closed", Fault::Parse),
        (
            "<html><body/></html>",
            "1:1: html is not the root",
            Fault::Schema,
        ),
        (
            "<response/>",
            "1:1: response is not the root",
            Fault::Schema,
        ),
        (
            "<Response>\n\n  <Shout/></Response>",
            "3:3: Shout is no verb",
            Fault::Schema,
        ),
        (
            "<Response><Say>x</Say></Response>",
            "1:11: Say needs a media server",
            Fault::Schema,
        ),
    ];
    for (xml, begins, fault) in cases {
        let refusal = refusal(xml);
        assert!(
            refusal.to_string().starts_with(begins),
            "{xml:?}: {refusal}"
        );
        assert_eq!(refusal.fault, fault, "{xml:?}");
    }
}

#[test]
fn bytes_that_are_no_utf8_are_refused_where_they_stand() {
    let refusal = read(
        "text/xml",
        b"<Response>\n<!-- caf\xe9 --></Response>",
        &base(),
    )
    .unwrap_err();
    assert!(
        refusal
            .to_string()
            .starts_with("2:9: the document is not UTF-8"),
        "{refusal}"
    );
    assert!(read("text/xml", b"\xff\xfe<\0R\0", &base()).is_err());
}

#[test]
fn the_content_type_must_be_xml_or_unsaid() {
    let xml = b"<Response/>";
    for good in [
        "text/xml",
        "TEXT/XML;charset=utf-8",
        "application/xml",
        "text/html",
        "",
        " text/xml ",
    ] {
        assert!(read(good, xml, &base()).is_ok(), "{good}");
    }
    for bad in ["text/plain", "audio/mpeg", "text/xmlx", "text\r\n/xml"] {
        let refusal = read(bad, xml, &base()).unwrap_err();
        assert_eq!(refusal.fault, Fault::ContentType, "{bad}");
        assert!(
            refusal.what.contains("text/xml") && !refusal.what.contains('\n'),
            "{refusal}"
        );
    }
}

#[test]
fn every_limit_holds_at_its_edge() {
    let response = |inner: String| format!("<Response>{inner}</Response>");
    let attributes = |count: usize| {
        let list: String = (0..count).map(|n| format!(" a{n}='1'")).collect();
        response(format!("<Hangup{list}/>"))
    };
    let nested = |depth: usize| {
        let (open, close) = ("<b>".repeat(depth), "</b>".repeat(depth));
        response(format!("<Hangup/><Say>{open}{close}</Say>"))
    };
    let padded = |bytes: usize| {
        let empty = response("<Hangup/><!---->".into()).len();
        response(format!("<Hangup/><!--{}-->", "x".repeat(bytes - empty)))
    };
    let inner = |count: usize| response(format!("<Hangup/><Say>{}</Say>", "<b/>".repeat(count)));
    let cases: [(&str, String, String); 5] = [
        (
            "longer than",
            padded(HTTP_BODY_MAX),
            padded(HTTP_BODY_MAX + 1),
        ),
        (
            "verb too many",
            response("<Hangup/>".repeat(VERBS_MAX)),
            response("<Hangup/>".repeat(VERBS_MAX + 1)),
        ),
        (
            "attributes",
            attributes(ATTRIBUTES_MAX),
            attributes(ATTRIBUTES_MAX + 1),
        ),
        ("deep", nested(DEPTH_MAX - 2), nested(DEPTH_MAX - 1)),
        ("elements", inner(ELEMENTS_MAX - 3), inner(ELEMENTS_MAX - 2)),
    ];
    for (what, inside, outside) in cases {
        assert!(read_xml(&inside).is_ok(), "{what}: {:?}", read_xml(&inside));
        assert!(
            refusal(&outside).what.contains(what),
            "{what}: {}",
            refusal(&outside)
        );
    }
}

#[test]
fn attributes_cannot_hide_from_their_limit_behind_quotes() {
    let list: String = (0..1000).map(|n| format!(" a{n}='>'")).collect();
    assert!(
        refusal(&format!("<Response{list}/>"))
            .what
            .contains("attributes")
    );
    let list: String = (0..1000).map(|n| format!(" a{n}=\"<!--\"")).collect();
    assert!(
        refusal(&format!("<Response{list}/>"))
            .what
            .contains("attributes")
    );
}

#[test]
fn text_outside_verbs_is_noted() {
    let read = read_xml("<Response>hello<Hangup/></Response>").unwrap();
    assert_eq!(read.verbs, [Verb::Hangup]);
    assert!(
        read.notes[0].what.contains("text outside"),
        "{:?}",
        read.notes
    );
}

#[test]
fn a_flood_of_faults_is_told_in_a_few_notes() {
    let read = read_xml(&format!(
        "<Response>{}<Hangup/></Response>",
        "<Say/>".repeat(99)
    ))
    .unwrap();
    assert_eq!(read.notes.len(), NOTES_MAX);
}

/// The seeds of the fuzz target, which this build runs without it.
fn seeds() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/twiml");
    let mut seeds: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|ending| ending == "xml" || ending == "json")
        })
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                fs::read(&path).unwrap(),
            )
        })
        .collect();
    seeds.sort();
    seeds
}

#[test]
fn every_seed_is_read_or_refused_as_its_name_says() {
    let seeds = seeds();
    assert!(seeds.len() >= 8, "{} seeds", seeds.len());
    for (name, bytes) in seeds {
        let json = name.ends_with(".json");
        let content_type = if json { "application/json" } else { "text/xml" };
        let got = read(content_type, &bytes, &base());
        assert_eq!(got.is_err(), name.starts_with("bad-"), "{name}: {got:?}");
    }
}

#[test]
fn no_bytes_make_the_reader_panic() {
    const ROUNDS: u32 = 2_000;
    // xorshift64: the same mutations in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut dice = move |sides: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % sides.max(1) as u64) as usize
    };
    let tokens: [&[u8]; 12] = [
        b"<",
        b">",
        b"</",
        b"/>",
        b"<!--",
        b"]]>",
        b"&#0;",
        b"&amp;",
        b"'",
        b"=",
        b"\xff\xfe",
        b"<Dial>",
    ];
    let seeds = seeds();
    for round in 0..ROUNDS {
        let mut bytes = seeds[round as usize % seeds.len()].1.clone();
        for _ in 0..=dice(6) {
            let at = dice(bytes.len() + 1).min(bytes.len());
            match dice(5) {
                0 => drop(bytes.splice(at..at, tokens[dice(tokens.len())].iter().copied())),
                1 => bytes.truncate(at),
                2 => drop(bytes.drain(at..(at + dice(20)).min(bytes.len()))),
                3 => {
                    let copy = bytes[at..(at + dice(80)).min(bytes.len())].to_vec();
                    let to = dice(bytes.len() + 1).min(bytes.len());
                    drop(bytes.splice(to..to, copy));
                }
                _ => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = dice(256) as u8;
                    }
                }
            }
        }
        let content_type = ["text/xml", "application/json"][dice(2)];
        if let Ok(Document { verbs, notes }) = read(content_type, &bytes, &base()) {
            assert!(verbs.len() <= VERBS_MAX && notes.len() <= NOTES_MAX);
            for verb in verbs {
                if let Verb::Dial(dial) = verb {
                    let line = |uri: &str| uri.bytes().all(|byte| byte.is_ascii_graphic());
                    assert!(
                        dial.targets.iter().all(|target| line(&target.uri)),
                        "{dial:?}"
                    );
                }
            }
        }
    }
}
