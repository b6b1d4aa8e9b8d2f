//! Any bytes as the answer of a disaster recovery URL: verbs or a refusal, never a panic.
#![no_main]

use trunkline_proxy::recovery::{twiml, url::Url};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let base = Url::parse("https://recovery.example.com/calls").expect("a URL of ours");
    for content_type in ["text/xml; charset=utf-8", "text/plain"] {
        match twiml::read(content_type, bytes, &base) {
            Ok(document) => assert!(document.verbs.len() <= twiml::VERBS_MAX),
            Err(refusal) => assert!(!refusal.what.is_empty() && refusal.line > 0),
        }
    }
});
