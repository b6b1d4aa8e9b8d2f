//! The verbs of a document that a proxy can carry out, one small file each: values that can only be
//! valid, and how TwiML writes them (NCCO: [`ncco`](super::ncco)).
//!
//! A verb is read once, with its place in the document, into a value that can only be valid; what
//! it then does is decided in [`RecoveryCall`](super::RecoveryCall).

pub mod dial;
pub mod hangup;
pub mod media;
pub mod pause;
pub mod redirect;
pub mod reject;

use roxmltree::Node;

use super::{
    document::{MediaUse, Notes, Reading, Refusal},
    twiml,
};
use crate::question::HttpMethod;

/// One instruction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verb {
    /// Try these SIP URIs.
    Dial(dial::Dial),
    /// Refuse the call.
    Reject(reject::Reject),
    /// Go on with another document.
    Redirect(redirect::Redirect),
    /// End the call.
    Hangup,
    /// Wait.
    Pause(pause::Pause),
    /// Let the media server speak.
    Media(media::Media),
}

/// What a verb is told that needs a media server when there is none.
pub const NO_MEDIA: &str = "needs a media server, and none is configured (media = \"sip:...\"); the next verb runs instead";
/// What a verb is told that needs somebody who listens.
pub const NOBODY_LISTENS: &str = "needs somebody who listens, which no media server is asked for here; the next verb runs instead";
/// What a verb is told that records.
pub const NOBODY_RECORDS: &str = "needs a page that has the media server record, and none is configured (record_page = \"https://...\"); the next verb runs instead";

impl Verb {
    /// Reads one element of a `Response`. `None`: it is refused, the reason is in `notes`, and the
    /// next verb runs. An error: the document as a whole is not valid.
    pub fn read(
        node: Node<'_, '_>,
        reading: Reading<'_>,
        notes: &mut Notes,
    ) -> Result<Option<Verb>, Refusal> {
        let name = node.tag_name().name();
        match name {
            "Reject" => twiml::only_these(notes, node, &["reason"], &[]),
            "Redirect" => twiml::only_these(notes, node, &["method"], &[]),
            "Pause" => twiml::only_these(notes, node, &["length"], &[]),
            "Hangup" => twiml::only_these(notes, node, &[], &[]),
            // These say more about it themselves.
            _ => {}
        }
        match name {
            "Dial" => Ok(dial::read(node, reading, notes)?.map(Verb::Dial)),
            "Reject" => Ok(Some(Verb::Reject(reject::read(node, notes)))),
            "Redirect" => {
                redirect::read(node, reading, notes).map(|verb| Some(Verb::Redirect(verb)))
            }
            "Hangup" => Ok(Some(Verb::Hangup)),
            "Pause" => Ok(Some(Verb::Pause(pause::read(node, notes)))),
            "Say" | "Play" | "Gather" | "Record" if reading.media == MediaUse::None => {
                twiml::note(notes, node, NO_MEDIA);
                Ok(None)
            }
            "Say" | "Play" | "Gather" | "Record" => {
                Ok(media::read(node, reading, notes).map(Verb::Media))
            }
            _ => Err(twiml::refusal(
                node,
                "is no verb that is known here; use Dial, Redirect, Reject, Hangup, Pause, Say or Play",
            )),
        }
    }
}

/// The text of an element without its blanks at both ends; comments do not count.
fn text(node: Node<'_, '_>) -> String {
    let parts = node
        .children()
        .filter(Node::is_text)
        .filter_map(|part| part.text());
    parts.collect::<String>().trim().to_owned()
}

/// The `method` attribute; POST unless it says GET.
fn method(node: Node<'_, '_>, notes: &mut Notes) -> HttpMethod {
    match node.attribute("method") {
        None => HttpMethod::Post,
        Some(word) if word.eq_ignore_ascii_case("POST") => HttpMethod::Post,
        Some(word) if word.eq_ignore_ascii_case("GET") => HttpMethod::Get,
        Some(word) => {
            let word = short(word);
            twiml::note(
                notes,
                node,
                format!("method=\"{word}\" is not GET or POST; POST is used"),
            );
            HttpMethod::Post
        }
    }
}

/// A value as a message may show it: what a stranger wrote, cut to a bearable length.
fn short(value: &str) -> String {
    const SHOWN_MAX: usize = 60;
    match value.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}...", value[..end].escape_debug()),
        None => value.escape_debug().to_string(),
    }
}

/// A document around `verbs`, for the table tests of this folder.
#[cfg(test)]
fn document(verbs: &str) -> Result<super::document::Document, Refusal> {
    document_with(MediaUse::None, verbs)
}

#[cfg(test)]
fn document_with(media: MediaUse, verbs: &str) -> Result<super::document::Document, Refusal> {
    let base = super::url::Url::parse("https://dr.example.net/app/voice?x=1").expect("a good URL");
    let body = format!("<Response>{verbs}</Response>");
    let reading = Reading {
        base: Some(&base),
        media,
        record_page: None,
    };
    super::document::read("text/xml", body.as_bytes(), reading)
}

/// Reads `verbs` and expects exactly one, without notes.
#[cfg(test)]
fn only(verbs: &str) -> Verb {
    let document = document(verbs).unwrap_or_else(|refusal| panic!("{verbs}: {refusal}"));
    assert_eq!(document.notes, [], "{verbs}");
    let [verb] = document
        .verbs
        .try_into()
        .unwrap_or_else(|more| panic!("{verbs}: {more:?}"));
    verb
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_media_server_a_verb_that_speaks_names_itself_and_the_next_one_runs() {
        for name in ["Say", "Play", "Record", "Gather"] {
            let read = document(&format!("<{name}>hello <b/></{name}><Hangup/>")).unwrap();
            assert_eq!(read.verbs, [Verb::Hangup], "{name}");
            let note = read.notes[0].to_string();
            assert!(
                note.contains(name) && note.contains("media server"),
                "{note}"
            );
            assert!(note.starts_with("1:11: "), "{note}");
        }
    }

    #[test]
    fn an_unknown_verb_makes_the_document_invalid_and_says_where() {
        for name in ["Enqueue", "dial", "Hang", "Response"] {
            let refusal = document(&format!("<Hangup/>\n <{name}/>")).unwrap_err();
            assert!(
                refusal
                    .to_string()
                    .starts_with(&format!("2:2: {name} is no verb")),
                "{refusal}"
            );
        }
    }
}
