//! A webhook's answer as a document: the verbs it comes to, and what is wrong with it.
//!
//! TwiML and NCCO are read by their own modules; what they share is here: the limits, the places
//! in refusals, and what a run of messages becomes when it is handed to a media server.

use super::{
    ncco, twiml,
    url::{Url, UrlFault},
    verb::{Verb, media::Media},
};

/// Verbs of one document.
pub const VERBS_MAX: usize = 100;
/// Notes of each kind that are kept; the rest of a bad document would repeat them.
pub const NOTES_MAX: usize = 8;

/// A document that is valid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Document {
    /// In order; never empty unless the document itself was.
    pub verbs: Vec<Verb>,
    /// What in it is not carried out, and why.
    pub notes: Vec<Refusal>,
}

impl Document {
    /// What is lost of it: verbs, nouns and values that cannot be carried out.
    pub fn faults(&self) -> impl Iterator<Item = &Refusal> {
        self.notes.iter().filter(|note| note.fault != Fault::Detail)
    }
}

/// Why a document, or a part of it, is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{line}:{column}: {what}")]
pub struct Refusal {
    /// Counted from 1.
    pub line: u32,
    /// In characters, counted from 1.
    pub column: u32,
    /// The verb, what is wrong about it, and what to do.
    pub what: String,
    /// Which kind, for `ErrorCode`.
    pub fault: Fault,
}

/// Kinds of refusal, by Twilio's error codes.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It is not what the content type must say.
    ContentType,
    /// It is not XML or JSON within the limits.
    Parse,
    /// It can be read, but not carried out.
    Schema,
    /// Only in notes: it is carried out, and somebody may still expect more of it.
    Detail,
}

impl Fault {
    /// What a fallback URL is told.
    pub const fn code(self) -> u32 {
        match self {
            Fault::ContentType => 12300,
            Fault::Parse => 12100,
            Fault::Schema | Fault::Detail => 12200,
        }
    }
}

impl Refusal {
    /// About a place in the text.
    pub fn at(at: Place, fault: Fault, what: impl Into<String>) -> Refusal {
        Refusal {
            line: at.line,
            column: at.column,
            what: what.into(),
            fault,
        }
    }

    /// About the document as a whole.
    pub fn whole(fault: Fault, what: impl Into<String>) -> Refusal {
        Refusal::at(Place { line: 1, column: 1 }, fault, what)
    }
}

/// A place in a document.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Counted from 1.
    pub line: u32,
    /// In characters, counted from 1.
    pub column: u32,
}

impl Place {
    /// That of a byte.
    pub fn of(text: &str, at: usize) -> Place {
        let before = text.get(..at).unwrap_or(text);
        let last = before.rsplit('\n').next().unwrap_or_default();
        Place {
            line: 1 + before.matches('\n').count() as u32,
            column: 1 + last.chars().count() as u32,
        }
    }
}

/// What is said about a document while it is read.
#[derive(Debug, Default)]
pub struct Notes(Vec<Refusal>);

impl Notes {
    /// Says `what` while there is room. Finding the place costs a walk through the text, and a
    /// document may give hundreds of reasons, so it is asked for only then.
    pub fn say(&mut self, at: impl FnOnce() -> Place, what: impl Into<String>) {
        self.keep(Fault::Schema, at, what);
    }

    /// Says what is not carried out of something that is.
    pub fn detail(&mut self, at: impl FnOnce() -> Place, what: impl Into<String>) {
        self.keep(Fault::Detail, at, what);
    }

    /// Details never take the room of what is lost.
    fn keep(&mut self, fault: Fault, at: impl FnOnce() -> Place, what: impl Into<String>) {
        if self.0.iter().filter(|note| note.fault == fault).count() < NOTES_MAX {
            self.0.push(Refusal::at(at(), fault, what));
        }
    }

    /// Takes what was said of a part, which is all that was said so far.
    pub(super) fn take(&mut self, part: Notes, place: impl FnMut(Refusal) -> Refusal) {
        debug_assert!(self.0.is_empty(), "a part would take the room of another");
        self.0.extend(part.0.into_iter().map(place));
    }
}

/// What the reader needs to know of the call that a document is for.
#[derive(Copy, Clone, Debug)]
pub struct Reading<'r> {
    /// The URL it came from; a document from a file has none, and its URLs are absolute.
    pub base: Option<&'r Url>,
    /// Who speaks.
    pub media: MediaUse,
    /// The VoiceXML page that a media server runs where a document says Record.
    pub record_page: Option<&'r str>,
}

/// What there is of a media server.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum MediaUse {
    /// None: verbs that need one are errors.
    None,
    /// One that answers the call: what it plays is the end of the document.
    Answers,
    /// One that plays before it answers and then refuses: the document goes on.
    Early,
}

impl Reading<'_> {
    /// A URL as it stands in the document.
    pub fn url(&self, reference: &str) -> Result<Url, UrlFault> {
        match self.base {
            Some(base) => base.resolve(reference),
            None => Url::parse(reference),
        }
    }
}

/// Reads a document: TwiML, or NCCO where the content type or the first character says JSON. One
/// of which no verb can be carried out is refused, so that the fallback URL gets its chance; an
/// empty one is valid and means: hang up.
///
/// # Errors
/// Its first fault, with the place.
pub fn read(content_type: &str, body: &[u8], reading: Reading<'_>) -> Result<Document, Refusal> {
    let kind = kind(content_type)?;
    let text = text(body)?;
    let is_json = match kind {
        Kind::Json => true,
        Kind::Xml => false,
        // Frameworks that nobody told better say text/html, or nothing, whatever it is.
        Kind::Either => text.trim_start().starts_with(['[', '{']),
    };
    let mut notes = Notes::default();
    let verbs = if is_json {
        ncco::read(text, reading, &mut notes)?
    } else {
        twiml::read(text, reading, &mut notes)?
    };
    let verbs = join_messages(verbs, reading.media, &mut notes);
    let Notes(notes) = notes;
    let document = Document { verbs, notes };
    let lost = document
        .faults()
        .next()
        .filter(|_| document.verbs.is_empty());
    match lost.cloned() {
        Some(first) => Err(first),
        None => Ok(document),
    }
}

enum Kind {
    Xml,
    Json,
    Either,
}

fn kind(content_type: &str) -> Result<Kind, Refusal> {
    let media = content_type.split(';').next().unwrap_or_default();
    let media = media.trim().to_ascii_lowercase();
    match media.as_str() {
        "text/xml" | "application/xml" | "application/twiml+xml" => Ok(Kind::Xml),
        "application/json" => Ok(Kind::Json),
        "" | "text/html" => Ok(Kind::Either),
        _ => {
            let media: String = media.chars().take(60).collect();
            let media = media.escape_debug();
            let what = format!(
                "the content type is \"{media}\"; answer with text/xml (TwiML) or application/json (NCCO)"
            );
            Err(Refusal::whole(Fault::ContentType, what))
        }
    }
}

fn text(body: &[u8]) -> Result<&str, Refusal> {
    use crate::question::HTTP_BODY_MAX;
    if body.len() > HTTP_BODY_MAX {
        let what = format!("the document is longer than {HTTP_BODY_MAX} bytes");
        return Err(Refusal::whole(Fault::Parse, what));
    }
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let text = std::str::from_utf8(body).map_err(|error| {
        let good = body.get(..error.valid_up_to()).unwrap_or_default();
        let good = std::str::from_utf8(good).unwrap_or_default();
        let what = "the document is not UTF-8; save and send it as UTF-8";
        Refusal::at(Place::of(good, good.len()), Fault::Parse, what)
    })?;
    if text.trim().is_empty() {
        let what = "the document is empty; write <Response/> or [] to hang up";
        return Err(Refusal::whole(Fault::Parse, what));
    }
    Ok(text)
}

/// One hand-over for a run of messages. Trunkline is a proxy, so a media server that answers has
/// the call for good: a message before a Dial would keep the caller from the person it is about to
/// reach, and is passed over. So is what records, early or not: it cannot without answering.
fn join_messages(verbs: Vec<Verb>, media: MediaUse, notes: &mut Notes) -> Vec<Verb> {
    let last_dial = verbs.iter().rposition(|verb| matches!(verb, Verb::Dial(_)));
    let mut joined: Vec<Verb> = Vec::with_capacity(verbs.len());
    for (at, verb) in verbs.into_iter().enumerate() {
        match (verb, joined.last_mut()) {
            (Verb::Media(message), _)
                if (media == MediaUse::Answers || message.records())
                    && last_dial.is_some_and(|dial| at < dial) =>
            {
                let early = if message.records() {
                    ""
                } else {
                    "; with media_mode = \"early\" it is played"
                };
                let Media { verb, at, .. } = message;
                let what = format!(
                    "{verb} is passed over: a media server that answers would keep the call from \
                     the Dial that follows{early}"
                );
                notes.detail(|| at, what);
            }
            (Verb::Media(message), Some(Verb::Media(before))) => before.then(message),
            (verb, _) => joined.push(verb),
        }
    }
    joined
}
