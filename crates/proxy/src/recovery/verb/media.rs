//! Verbs that need a media server: `Say`, `Play`, the prompts of `Gather`, and `Record`, handed over by
//! SIP in the conventions of RFC 4240: `annc` plays one URL, `dialog` runs a VoiceXML page for all else.
//!
//! The page travels inside the URI (a `data:` URL, RFC 2397), so that nothing need be served. Only the
//! page that records is the operator's: where a recording goes is known to nobody else.

use std::{fmt::Write as _, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use roxmltree::Node;
use trunkline_sip::Uri;

use super::{
    super::{
        document::{Notes, Place, Reading},
        twiml,
    },
    pause, short, text,
};

/// Prompts of one hand-over.
const PROMPTS_MAX: usize = 20;
/// How often a prompt is repeated at most where it says "for ever".
const LOOPS_MAX: u32 = 10;
/// Bytes of a media server's URI with everything in it: a request line must hold it.
const URI_BYTES_MAX: usize = 6000;

/// Something for a media server to say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Media {
    /// The verb, as the document calls it.
    pub verb: &'static str,
    /// Where it stands.
    pub at: Place,
    prompts: Vec<Prompt>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Prompt {
    Text {
        text: String,
        language: Option<String>,
    },
    /// `loops` 0: for ever.
    Sound {
        url: String,
        loops: u32,
    },
    Silence(Duration),
    /// A VoiceXML page that takes the call over; always the last.
    Page(String),
}

impl Media {
    /// A text to speak, `loops` times (0: for ever).
    pub fn text(
        verb: &'static str,
        at: Place,
        text: &str,
        language: Option<&str>,
        loops: u32,
    ) -> Media {
        // Only what a language tag has: it goes into an attribute.
        let fits = |tag: &&str| {
            tag.len() <= 35
                && tag
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let prompt = Prompt::Text {
            text: text.to_owned(),
            language: language.filter(fits).map(str::to_owned),
        };
        Media {
            verb,
            at,
            prompts: vec![prompt; times(loops)],
        }
    }

    /// A URL to play, `loops` times (0: for ever).
    pub fn sound(verb: &'static str, at: Place, url: &str, loops: u32) -> Media {
        let url = url.to_owned();
        Media {
            verb,
            at,
            prompts: vec![Prompt::Sound { url, loops }],
        }
    }

    /// The VoiceXML page at `url`, which takes the call over.
    pub fn page(verb: &'static str, at: Place, url: &str) -> Media {
        Media {
            verb,
            at,
            prompts: vec![Prompt::Page(url.to_owned())],
        }
    }

    /// Whether a page takes the call over, to record it.
    pub fn records(&self) -> bool {
        matches!(self.prompts.last(), Some(Prompt::Page(_)))
    }

    /// What follows it without anything between. Nothing follows a page that took the call over.
    pub fn then(&mut self, more: Media) {
        for prompt in more.prompts {
            let is_page = matches!(prompt, Prompt::Page(_));
            if !self.records() && (is_page || self.prompts.len() < PROMPTS_MAX) {
                self.prompts.push(prompt);
            }
        }
    }

    /// The URI that has the media server at `server` (a SIP URI) say it.
    ///
    /// # Errors
    /// When it is too long for a request line.
    pub fn uri(&self, server: &str) -> Result<String, String> {
        let (scheme, host) = server_parts(server).ok_or("the media server is no SIP URI")?;
        let uri = match &self.prompts[..] {
            [Prompt::Sound { url, loops }] => announcement(scheme, host, url, *loops),
            [Prompt::Page(url)] => dialog(scheme, host, url),
            _ => {
                let page = STANDARD.encode(self.voicexml());
                let url = format!("data:application/voicexml+xml;base64,{page}");
                dialog(scheme, host, &url)
            }
        };
        if uri.len() > URI_BYTES_MAX {
            return Err(format!(
                "what it says is too long for a media server's URI ({} bytes, at most {URI_BYTES_MAX}); \
                 record it and use Play",
                uri.len()
            ));
        }
        Ok(uri)
    }

    /// A VoiceXML 2.1 page that says it, and ends or goes on with another.
    fn voicexml(&self) -> String {
        let mut page = String::from(
            "<?xml version=\"1.0\"?><vxml version=\"2.1\" xmlns=\"http://www.w3.org/2001/vxml\"><form><block>",
        );
        for prompt in &self.prompts {
            // Writing to a String cannot fail.
            let _ = match prompt {
                Prompt::Text {
                    text,
                    language: Some(language),
                } => write!(
                    page,
                    "<prompt xml:lang=\"{language}\">{}</prompt>",
                    xml(text)
                ),
                Prompt::Text {
                    text,
                    language: None,
                } => {
                    write!(page, "<prompt>{}</prompt>", xml(text))
                }
                Prompt::Sound { url, loops } => {
                    let audio = format!("<audio src=\"{}\"/>", xml(url));
                    write!(page, "<prompt>{}</prompt>", audio.repeat(times(*loops)))
                }
                Prompt::Silence(length) => {
                    let ms = length.as_millis();
                    write!(page, "<prompt><break time=\"{ms}ms\"/></prompt>")
                }
                Prompt::Page(url) => write!(page, "<goto next=\"{}\"/>", xml(url)),
            };
        }
        page.push_str("</block></form></vxml>");
        page
    }
}

/// The URI that has the media server at `server` play `url` once.
pub fn announcement_at(server: &str, url: &str) -> Option<String> {
    let (scheme, host) = server_parts(server)?;
    Some(announcement(scheme, host, url, 1))
}

/// RFC 4240 §3.
fn announcement(scheme: &str, host: &str, url: &str, loops: u32) -> String {
    let repeat = match loops {
        1 => String::new(),
        0 => ";repeat=forever".into(),
        loops => format!(";repeat={loops}"),
    };
    // Parameters that the configured URI has come after: they say how to get there.
    format!("{scheme}:annc@{host};play={}{repeat}", escaped(url))
}

/// RFC 4240 §4.
fn dialog(scheme: &str, host: &str, page: &str) -> String {
    format!("{scheme}:dialog@{host};voicexml={}", escaped(page))
}

/// A SIP URI without its user: scheme, and all behind the `@`.
fn server_parts(server: &str) -> Option<(&str, &str)> {
    Uri::parse(server.as_bytes()).ok()?;
    let (scheme, rest) = server.split_once(':')?;
    Some((scheme, rest.rsplit_once('@').map_or(rest, |(_, host)| host)))
}

fn times(loops: u32) -> usize {
    let loops = if loops == 0 {
        LOOPS_MAX
    } else {
        loops.min(LOOPS_MAX)
    };
    loops as usize
}

/// A value as a URI parameter may hold it (RFC 3261 §25.1, `paramchar`).
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-_.!~*'()[]/:&+$".contains(&byte);
        if plain {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML 1.0 has no other control characters, not even escaped.
            c if c < ' ' && !matches!(c, '\n' | '\t' | '\r') => {}
            c => out.push(c),
        }
    }
    out
}

/// Reads `Say`, `Play`, `Gather` or `Record`. `None`: there is nothing to say or nobody who could
/// record, which is noted.
pub fn read(node: Node<'_, '_>, reading: Reading<'_>, notes: &mut Notes) -> Option<Media> {
    let at = twiml::place(node);
    match node.tag_name().name() {
        "Say" => {
            let text = spoken(node);
            if text.is_empty() {
                twiml::note(notes, node, "says nothing; the next verb runs instead");
                return None;
            }
            twiml::only_these(notes, node, &["language", "loop"], &[]);
            let (language, loops) = (node.attribute("language"), loops(node, notes));
            Some(Media::text("Say", at, &text, language, loops))
        }
        "Play" => {
            let url = text(node);
            let known = ["http://", "https://"].iter().any(|scheme| {
                url.get(..scheme.len())
                    .is_some_and(|head| head.eq_ignore_ascii_case(scheme))
            });
            if !known || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
                let url = short(&url);
                let what =
                    format!("\"{url}\" cannot be played: write an absolute http or https URL");
                twiml::note(notes, node, what);
                return None;
            }
            twiml::only_these(notes, node, &["loop"], &[]);
            Some(Media::sound("Play", at, &url, loops(node, notes)))
        }
        "Record" => {
            let Some(page) = reading.record_page else {
                twiml::note(notes, node, super::NOBODY_RECORDS);
                return None;
            };
            twiml::only_these(notes, node, &[], &[]);
            Some(Media::page("Record", at, page))
        }
        _ => gather(node, at, reading, notes),
    }
}

/// What becomes of a Gather that has prompts.
const NO_INPUT: &str = "says its prompts, but nobody listens: no digits and no speech are collected, \
     its action is never asked, and the next verb runs as when the caller types nothing";

/// A Gather's prompts: what it says is said, and nobody listens.
fn gather(node: Node<'_, '_>, at: Place, reading: Reading<'_>, notes: &mut Notes) -> Option<Media> {
    let mut all: Option<Media> = None;
    for prompt in node.children().filter(Node::is_element) {
        let next = match prompt.tag_name().name() {
            "Say" | "Play" => read(prompt, reading, notes),
            "Pause" => Some(Media {
                verb: "Gather",
                at,
                prompts: vec![Prompt::Silence(pause::read(prompt, notes).length)],
            }),
            _ => {
                twiml::note(notes, prompt, "is nothing that a Gather can say");
                None
            }
        };
        match (&mut all, next) {
            (Some(all), Some(next)) => all.then(next),
            (None, Some(next)) => {
                all = Some(Media {
                    verb: "Gather",
                    at,
                    ..next
                });
            }
            (_, None) => {}
        }
    }
    match &all {
        Some(_) => twiml::detail(notes, node, NO_INPUT),
        None => twiml::note(notes, node, super::NOBODY_LISTENS),
    }
    all
}

/// The text inside, markup of SSML taken off.
fn spoken(node: Node<'_, '_>) -> String {
    let parts = node.descendants().filter(Node::is_text);
    let words: String = parts.filter_map(|part| part.text()).collect();
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn loops(node: Node<'_, '_>, notes: &mut Notes) -> u32 {
    let Some(text) = node.attribute("loop") else {
        return 1;
    };
    text.trim().parse().unwrap_or_else(|_| {
        let text = short(text);
        twiml::note(
            notes,
            node,
            format!("loop=\"{text}\" is not a number; 1 is used"),
        );
        1
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::{super::document::MediaUse, Verb, document_with},
        *,
    };

    const SERVER: &str = "sip:media.example.net:5070;transport=tcp";

    fn verbs(media: MediaUse, xml: &str) -> (Vec<Verb>, Vec<String>) {
        let read = document_with(media, xml).unwrap_or_else(|refusal| panic!("{xml}: {refusal}"));
        let notes = read.notes.iter().map(ToString::to_string).collect();
        (read.verbs, notes)
    }

    fn uri(xml: &str) -> String {
        match &verbs(MediaUse::Answers, xml).0[..] {
            [Verb::Media(media)] => media.uri(SERVER).unwrap(),
            other => panic!("{xml}: {other:?}"),
        }
    }

    /// The VoiceXML page inside a `dialog` URI.
    fn page(xml: &str) -> String {
        inline_page(&uri(xml))
    }

    fn inline_page(uri: &str) -> String {
        let start = "sip:dialog@media.example.net:5070;transport=tcp;voicexml=data:application/voicexml+xml%3Bbase64%2C";
        let data = uri
            .strip_prefix(start)
            .unwrap_or_else(|| panic!("{uri}"))
            .replace("%3D", "=");
        String::from_utf8(STANDARD.decode(data).unwrap()).unwrap()
    }

    #[test]
    fn one_sound_is_an_announcement() {
        for (play, expected) in [
            (
                "<Play>https://a.example/m.wav</Play>",
                "play=https://a.example/m.wav",
            ),
            (
                "<Play loop='3'>http://a/m?x=1&amp;y=2;z</Play>",
                "play=http://a/m%3Fx%3D1&y%3D2%3Bz;repeat=3",
            ),
            (
                "<Play loop='0'>http://a/m</Play>",
                "play=http://a/m;repeat=forever",
            ),
        ] {
            let expected = format!("sip:annc@media.example.net:5070;transport=tcp;{expected}");
            assert_eq!(uri(play), expected);
        }
    }

    #[test]
    fn all_else_is_a_page_and_a_run_of_messages_is_one() {
        let head = "<?xml version=\"1.0\"?><vxml version=\"2.1\" xmlns=\"http://www.w3.org/2001/vxml\"><form><block>";
        let tail = "</block></form></vxml>";
        for (xml, expected) in [
            (
                "<Say>We are <emphasis>closed</emphasis> &amp;\n sorry</Say>",
                "<prompt>We are closed &amp; sorry</prompt>",
            ),
            (
                "<Say language='de-DE' loop='2'>Hallo</Say>",
                "<prompt xml:lang=\"de-DE\">Hallo</prompt><prompt xml:lang=\"de-DE\">Hallo</prompt>",
            ),
            (
                "<Say language='a\" b'>x</Say><Play loop='2'>http://a/m</Play>",
                "<prompt>x</prompt><prompt><audio src=\"http://a/m\"/><audio src=\"http://a/m\"/></prompt>",
            ),
            (
                "<Gather action='/x'><Say>One</Say><Pause length='2'/><Play>http://a/m</Play></Gather>",
                "<prompt>One</prompt><prompt><break time=\"2000ms\"/></prompt><prompt><audio src=\"http://a/m\"/></prompt>",
            ),
        ] {
            assert_eq!(page(xml), format!("{head}{expected}{tail}"), "{xml}");
        }
    }

    #[test]
    fn a_message_does_not_keep_a_caller_from_the_dial_behind_it() {
        let xml = "<Say>Hold on</Say><Dial><Sip>sip:a@h</Sip></Dial><Say>Sorry</Say>";
        let (answers, notes) = verbs(MediaUse::Answers, xml);
        assert!(matches!(answers[..], [Verb::Dial(_), Verb::Media(_)]));
        assert!(
            notes[0].starts_with("1:11: Say is passed over"),
            "{notes:?}"
        );
        let (early, notes) = verbs(MediaUse::Early, xml);
        assert!(
            matches!(early[..], [Verb::Media(_), Verb::Dial(_), Verb::Media(_)]),
            "{early:?}"
        );
        assert_eq!(notes, [""; 0]);
    }

    #[test]
    fn what_cannot_be_said_is_noted_and_the_next_verb_runs() {
        for (xml, why) in [
            ("<Say> </Say>", "Say says nothing"),
            ("<Play>m.wav</Play>", "absolute http or https"),
            ("<Play>http://a/ b</Play>", "absolute http or https"),
            ("<Play>ftp://a/b</Play>", "absolute http or https"),
            (
                "<Record/>",
                "Record needs a page that has the media server record",
            ),
            ("<Gather/>", "Gather needs somebody who listens"),
        ] {
            let (verbs, notes) = verbs(MediaUse::Answers, &format!("{xml}<Hangup/>"));
            assert_eq!(verbs, [Verb::Hangup], "{xml}");
            assert!(notes[0].contains(why), "{xml}: {notes:?}");
        }
        let (_, notes) = verbs(MediaUse::Answers, "<Say loop='x'>a</Say>");
        assert!(notes[0].contains("loop="), "{notes:?}");
        let (_, notes) = verbs(MediaUse::Answers, "<Gather><Say>a</Say></Gather><Hangup/>");
        assert!(notes[0].contains("nobody listens"), "{notes:?}");
    }

    #[test]
    fn a_configured_page_records_once_all_is_said_and_no_dial_waits_behind_it() {
        let read = |media, verbs: &str| {
            let body = format!("<Response>{verbs}</Response>");
            let reading = Reading {
                base: None,
                media,
                record_page: Some("https://a/mail.vxml?x=1&y"),
            };
            super::super::super::document::read("text/xml", body.as_bytes(), reading).unwrap()
        };
        let uri = |verbs: &str| match &read(MediaUse::Answers, verbs).verbs[..] {
            [Verb::Media(media)] => media.uri(SERVER).unwrap(),
            other => panic!("{verbs}: {other:?}"),
        };
        assert_eq!(
            uri("<Record/>"),
            "sip:dialog@media.example.net:5070;transport=tcp;voicexml=https://a/mail.vxml%3Fx%3D1&y"
        );
        assert_eq!(uri("<Record/><Say>unheard</Say>"), uri("<Record/>"));
        let long = "<Say loop='10'>a</Say>".repeat(3);
        for said in ["<Say>Please leave a message</Say>", &long] {
            let with = inline_page(&uri(&format!("{said}<Record/>")));
            let end = "<goto next=\"https://a/mail.vxml?x=1&amp;y\"/></block></form></vxml>";
            assert!(with.contains("</prompt>") && with.ends_with(end), "{with}");
        }
        for media in [MediaUse::Answers, MediaUse::Early] {
            let read = read(media, "<Record/><Dial>+15550100</Dial>");
            assert!(matches!(read.verbs[..], [Verb::Dial(_)]), "{read:?}");
            let note = read.notes[0].to_string();
            assert!(note.starts_with("1:11: Record is passed over"), "{note}");
        }
        let named = read(MediaUse::Answers, "<Record maxLength='9' action='/done'/>");
        let note = named.notes[0].to_string();
        assert!(note.contains("maxLength, action are not"), "{note}");
    }

    #[test]
    fn a_text_that_no_request_line_holds_is_refused() {
        let media = |length: usize| {
            let at = Place { line: 1, column: 1 };
            Media::text("Say", at, &"x".repeat(length), None, 1)
        };
        assert!(media(4000).uri(SERVER).is_ok());
        assert!(media(5000).uri(SERVER).is_err());
        assert!(media(1).uri("tel:+1").is_err() || media(1).uri("").is_err());
    }
}
