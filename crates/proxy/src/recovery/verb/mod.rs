//! The verbs of a TwiML document that a proxy can carry out, one small file each.
//!
//! A verb is read once, with its place in the document, into a value that can only be valid; what
//! it then does is decided in [`RecoveryCall`](super::RecoveryCall).

pub mod dial;
pub mod hangup;
pub mod pause;
pub mod redirect;
pub mod reject;

use roxmltree::Node;

use super::{
    twiml::{Notes, Refusal},
    url::Url,
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
}

/// Verbs that TwiML has and that need somebody who speaks or listens.
const NEED_MEDIA: [&str; 4] = ["Say", "Play", "Record", "Gather"];

impl Verb {
    /// Reads one element of a `Response`. `None`: it is refused, the reason is in `notes`, and the
    /// next verb runs. An error: the document as a whole is not valid.
    pub fn read(
        node: Node<'_, '_>,
        base: &Url,
        notes: &mut Notes,
    ) -> Result<Option<Verb>, Refusal> {
        match node.tag_name().name() {
            "Dial" => Ok(dial::read(node, base, notes)?.map(Verb::Dial)),
            "Reject" => Ok(Some(Verb::Reject(reject::read(node, notes)))),
            "Redirect" => redirect::read(node, base, notes).map(|verb| Some(Verb::Redirect(verb))),
            "Hangup" => Ok(Some(Verb::Hangup)),
            "Pause" => Ok(Some(Verb::Pause(pause::read(node, notes)))),
            name if NEED_MEDIA.contains(&name) => {
                notes.say(
                    node,
                    "needs a media server, and none is configured; the next verb runs instead",
                );
                Ok(None)
            }
            _ => Err(Refusal::at(
                node,
                "is no verb that is known here; use Dial, Reject, Redirect, Hangup or Pause",
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
            notes.say(
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
fn document(verbs: &str) -> Result<super::twiml::Document, Refusal> {
    let base = Url::parse("https://dr.example.net/app/voice?x=1").expect("a good URL");
    super::twiml::read(
        "text/xml",
        format!("<Response>{verbs}</Response>").as_bytes(),
        &base,
    )
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
    fn a_verb_that_needs_media_names_itself_and_the_next_one_runs() {
        for name in NEED_MEDIA {
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
