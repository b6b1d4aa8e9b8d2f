//! TwiML documents: bytes that a web server sent become verbs that can be carried out.
//!
//! Limits come before the XML parser, so that no document costs more than reading it once: size,
//! depth, elements and attributes are counted on the raw text, and a DTD is refused there. Every
//! refusal says line, column, element, and what to do.

use roxmltree::{Document as Xml, Node, ParsingOptions, TextPos};

use super::{url::Url, verb::Verb};
use crate::question::HTTP_BODY_MAX;

/// Elements inside elements.
pub const DEPTH_MAX: usize = 16;
/// Elements of one document.
pub const ELEMENTS_MAX: usize = 500;
/// Attributes of one element.
pub const ATTRIBUTES_MAX: usize = 48;
/// Verbs of one document.
pub const VERBS_MAX: usize = 100;
/// Everything that the parser makes a node of: elements, texts, comments.
const NODES_MAX: u32 = 4096;
/// Notes that are kept; the rest of a bad document would repeat them.
const NOTES_MAX: usize = 8;

/// A document that is valid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Document {
    /// In order; never empty unless the `Response` itself was.
    pub verbs: Vec<Verb>,
    /// What in it is not carried out, and why.
    pub notes: Vec<Refusal>,
}

/// Why a document, or a part of it, is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{line}:{column}: {what}")]
pub struct Refusal {
    /// Counted from 1.
    pub line: u32,
    /// In characters, counted from 1.
    pub column: u32,
    /// The element, what is wrong about it, and what to do.
    pub what: String,
    /// Which kind, for `ErrorCode`.
    pub fault: Fault,
}

/// Kinds of refusal, by Twilio's error codes.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It is not what the content type must say.
    ContentType,
    /// It is not XML within the limits.
    Parse,
    /// It is XML, but not TwiML that can be carried out.
    Schema,
}

impl Fault {
    /// What a fallback URL is told.
    pub const fn code(self) -> u32 {
        match self {
            Fault::ContentType => 12300,
            Fault::Parse => 12100,
            Fault::Schema => 12200,
        }
    }
}

impl Refusal {
    /// About an element; `what` goes on after its name.
    pub fn at(node: Node<'_, '_>, what: impl std::fmt::Display) -> Refusal {
        let TextPos { row, col } = node.document().text_pos_at(node.range().start);
        let name: String = node.tag_name().name().chars().take(40).collect();
        let what = format!("{name} {what}");
        Refusal {
            line: row,
            column: col,
            what,
            fault: Fault::Schema,
        }
    }

    /// About the document as a whole.
    fn whole(fault: Fault, what: impl Into<String>) -> Refusal {
        Refusal {
            line: 1,
            column: 1,
            what: what.into(),
            fault,
        }
    }

    /// About a place in the raw text.
    fn offset(text: &str, at: usize, what: impl Into<String>) -> Refusal {
        let before = text.get(..at).unwrap_or(text);
        let line = 1 + before.matches('\n').count() as u32;
        let column = 1 + before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count() as u32;
        Refusal {
            line,
            column,
            what: what.into(),
            fault: Fault::Parse,
        }
    }
}

/// What is said about a document while it is read.
#[derive(Debug, Default)]
pub struct Notes(Vec<Refusal>);

impl Notes {
    /// Says `what` about an element, while there is room: finding its place costs a walk through
    /// the text, and a document may give hundreds of reasons.
    pub fn say(&mut self, node: Node<'_, '_>, what: impl std::fmt::Display) {
        if self.0.len() < NOTES_MAX {
            self.0.push(Refusal::at(node, what));
        }
    }
}

/// Reads a document that came from `base`. One of which no verb can be carried out is refused, so
/// that the fallback URL gets its chance; an empty `Response` is valid and means: hang up.
pub fn read(content_type: &str, body: &[u8], base: &Url) -> Result<Document, Refusal> {
    check_content_type(content_type)?;
    let text = text(body)?;
    // Blanks before an XML declaration are a common slip of templates, and no reason to lose a
    // call; the lines they take still count in what is said.
    let trimmed = text.trim_start();
    let skipped = text[..text.len() - trimmed.len()].matches('\n').count() as u32;
    let below = |refusal: Refusal| Refusal {
        line: refusal.line + skipped,
        ..refusal
    };
    let Document { verbs, notes } = parse(trimmed, base).map_err(below)?;
    Ok(Document {
        verbs,
        notes: notes.into_iter().map(below).collect(),
    })
}

fn parse(text: &str, base: &Url) -> Result<Document, Refusal> {
    guard(text)?;
    let options = ParsingOptions {
        allow_dtd: false,
        nodes_limit: NODES_MAX,
        ..Default::default()
    };
    let xml = Xml::parse_with_options(text, options).map_err(|error| {
        let TextPos { row, col } = error.pos();
        let words = error.to_string();
        // The place is said once, in front.
        let words = words
            .strip_suffix(&format!(" at {row}:{col}"))
            .unwrap_or(&words);
        let what = format!("not well-formed XML: {words}");
        Refusal {
            line: row,
            column: col,
            what,
            fault: Fault::Parse,
        }
    })?;
    verbs(xml.root_element(), base)
}

fn verbs(root: Node<'_, '_>, base: &Url) -> Result<Document, Refusal> {
    if root.tag_name().name() != "Response" {
        return Err(Refusal::at(
            root,
            "is not the root of a TwiML document; write <Response>",
        ));
    }
    let mut notes = Notes::default();
    let mut verbs = Vec::new();
    let mut elements = 0;
    for node in root.children() {
        if node.is_element() {
            elements += 1;
            if elements > VERBS_MAX {
                let most = format!("is one verb too many; a document has at most {VERBS_MAX}");
                return Err(Refusal::at(node, most));
            }
            verbs.extend(Verb::read(node, base, &mut notes)?);
        } else if node
            .text()
            .is_some_and(|text| node.is_text() && !text.trim().is_empty())
        {
            notes.say(root, "has text outside its verbs; it is not used");
        }
    }
    let Notes(notes) = notes;
    if let ([], [first, ..]) = (&verbs[..], &notes[..]) {
        return Err(first.clone());
    }
    Ok(Document { verbs, notes })
}

/// TwiML travels as XML; `text/html` is what a web framework says when nobody told it better.
fn check_content_type(content_type: &str) -> Result<(), Refusal> {
    let media = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    match media.as_str() {
        "" | "text/xml" | "application/xml" | "application/twiml+xml" | "text/html" => Ok(()),
        "application/json" => Err(Refusal::whole(
            Fault::ContentType,
            "the answer is JSON; NCCO is not read here, answer with TwiML as text/xml",
        )),
        _ => {
            let media: String = media.chars().take(60).collect();
            Err(Refusal::whole(
                Fault::ContentType,
                format!(
                    "the content type is \"{}\"; answer with text/xml",
                    media.escape_debug()
                ),
            ))
        }
    }
}

fn text(body: &[u8]) -> Result<&str, Refusal> {
    if body.len() > HTTP_BODY_MAX {
        let what = format!("the document is longer than {HTTP_BODY_MAX} bytes");
        return Err(Refusal::whole(Fault::Parse, what));
    }
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let text = std::str::from_utf8(body).map_err(|error| {
        let good = body.get(..error.valid_up_to()).unwrap_or_default();
        let good = std::str::from_utf8(good).unwrap_or_default();
        Refusal::offset(
            good,
            good.len(),
            "the document is not UTF-8; save and send it as UTF-8",
        )
    })?;
    if text.trim().is_empty() {
        return Err(Refusal::whole(
            Fault::Parse,
            "the document is empty; write <Response/> to hang up",
        ));
    }
    Ok(text)
}

/// Counts what would make the parser slow or deep, in one pass over the raw text. It knows tags,
/// quotes, comments, CDATA and processing instructions, and nothing else: whether it is XML is the
/// parser's to say.
fn guard(text: &str) -> Result<(), Refusal> {
    let refuse = |at: usize, what: String| Err(Refusal::offset(text, at, what));
    let (mut depth, mut elements, mut at) = (0usize, 0usize, 0usize);
    while let Some(open) = text
        .get(at..)
        .and_then(|rest| rest.find('<'))
        .map(|found| at + found)
    {
        let rest = &text[open..];
        let skipped = [("<!--", "-->"), ("<![CDATA[", "]]>"), ("<?", "?>")]
            .into_iter()
            .find(|(start, _)| rest.starts_with(start));
        if let Some((start, end)) = skipped {
            let Some(length) = rest[start.len()..].find(end) else {
                return refuse(open, format!("{start} is not closed"));
            };
            at = open + start.len() + length + end.len();
            continue;
        }
        if rest.starts_with("<!") {
            return refuse(open, "a document type is refused; remove it".into());
        }
        let (attributes, length) = tag(rest.as_bytes());
        if attributes > ATTRIBUTES_MAX {
            return refuse(
                open,
                format!("more than {ATTRIBUTES_MAX} attributes on one element"),
            );
        }
        let closing = rest.starts_with("</");
        let single = rest[..length].ends_with("/>");
        if closing {
            depth = depth.saturating_sub(1);
        } else {
            elements += 1;
            depth += usize::from(!single);
        }
        if depth > DEPTH_MAX {
            return refuse(
                open,
                format!("elements inside elements more than {DEPTH_MAX} deep"),
            );
        }
        if elements > ELEMENTS_MAX {
            return refuse(open, format!("more than {ELEMENTS_MAX} elements"));
        }
        at = open + length;
    }
    Ok(())
}

/// The number of `=` outside quotes in a tag that begins here, and its length.
fn tag(bytes: &[u8]) -> (usize, usize) {
    let (mut attributes, mut quote) = (0, None);
    for (at, &byte) in bytes.iter().enumerate() {
        match (quote, byte) {
            (Some(open), byte) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'=') => attributes += 1,
            (None, b'>') => return (attributes, at + 1),
            (None, _) => {}
        }
    }
    (attributes, bytes.len())
}

#[cfg(test)]
mod tests;
