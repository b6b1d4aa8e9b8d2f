//! Any bytes as the answer of a disaster recovery URL, as TwiML and as NCCO: verbs or a refusal, never
//! a panic.
#![no_main]

use trunkline_proxy::recovery::{
    document::{self, MediaUse, Reading, VERBS_MAX},
    url::Url,
    verb::Verb,
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let base = Url::parse("https://recovery.example.com/calls").expect("a URL of ours");
    for content_type in ["text/xml; charset=utf-8", "application/json", "text/plain", ""] {
        for media in [MediaUse::None, MediaUse::Answers, MediaUse::Early] {
            let reading = Reading {
                base: Some(&base),
                media,
                record_page: Some("https://recovery.example.com/mail.vxml?a=1&b=2"),
            };
            match document::read(content_type, bytes, reading) {
                Ok(document) => {
                    assert!(document.verbs.len() <= VERBS_MAX);
                    for verb in &document.verbs {
                        if let Verb::Media(message) = verb
                            && let Ok(uri) = message.uri("sip:media.example.com")
                        {
                            assert!(trunkline_sip::Uri::parse(uri.as_bytes()).is_ok(), "{uri}");
                        }
                    }
                }
                Err(refusal) => assert!(!refusal.what.is_empty() && refusal.line > 0),
            }
        }
    }
});
