//! TwiML documents: bytes that a web server sent become verbs that can be carried out.
//!
//! Limits come before the XML parser, so that no document costs more than reading it once: depth,
//! elements and attributes are counted on the raw text, and a DTD is refused there. Every refusal
//! says line, column, element, and what to do.

use roxmltree::{Document as Xml, Node, ParsingOptions, TextPos};

use super::{
    document::{Fault, Notes, Place, Reading, Refusal, VERBS_MAX},
    verb::Verb,
};

/// Elements inside elements.
pub const DEPTH_MAX: usize = 16;
/// Elements of one document.
pub const ELEMENTS_MAX: usize = 500;
/// Attributes of one element.
pub const ATTRIBUTES_MAX: usize = 48;
/// Everything that the parser makes a node of: elements, texts, comments.
const NODES_MAX: u32 = 4096;

/// Where an element stands.
pub fn place(node: Node<'_, '_>) -> Place {
    let TextPos { row, col } = node.document().text_pos_at(node.range().start);
    Place {
        line: row,
        column: col,
    }
}

/// About an element; `what` goes on after its name.
pub fn refusal(node: Node<'_, '_>, what: impl std::fmt::Display) -> Refusal {
    Refusal::at(
        place(node),
        Fault::Schema,
        format!("{} {what}", name_of(node)),
    )
}

/// Says `what` about an element, after its name.
pub fn note(notes: &mut Notes, node: Node<'_, '_>, what: impl std::fmt::Display) {
    notes.say(|| place(node), format!("{} {what}", name_of(node)));
}

/// Says `what` about an element that is carried out all the same.
pub fn detail(notes: &mut Notes, node: Node<'_, '_>, what: impl std::fmt::Display) {
    notes.detail(|| place(node), format!("{} {what}", name_of(node)));
}

/// Names the attributes that nobody here carries out: all but those in `done`, unless they ask for
/// nothing (`usual`: names and the values that say what happens anyway).
pub fn only_these(notes: &mut Notes, node: Node<'_, '_>, done: &[&str], usual: &[(&str, &str)]) {
    let left: Vec<String> = node
        .attributes()
        .filter(|attribute| !done.contains(&attribute.name()))
        .filter(|attribute| !usual.contains(&(attribute.name(), attribute.value())))
        .map(|attribute| attribute.name().chars().take(40).collect())
        .collect();
    if !left.is_empty() {
        let verb = if left.len() == 1 { "is" } else { "are" };
        let what = format!("{} {verb} not carried out here", left.join(", "));
        detail(notes, node, what);
    }
}

fn name_of(node: Node<'_, '_>) -> String {
    node.tag_name().name().chars().take(40).collect()
}

/// Reads a document's verbs.
///
/// # Errors
/// Its first fault, with the place.
pub fn read(text: &str, reading: Reading<'_>, notes: &mut Notes) -> Result<Vec<Verb>, Refusal> {
    // Blanks before an XML declaration are a common slip of templates, and no reason to lose a
    // call; the lines they take still count in what is said.
    let trimmed = text.trim_start();
    let skipped = text[..text.len() - trimmed.len()].matches('\n').count() as u32;
    let below = |mut refusal: Refusal| {
        refusal.line += skipped;
        refusal
    };
    let mut inner = Notes::default();
    let verbs = parse(trimmed, reading, &mut inner).map_err(below);
    notes.take(inner, below);
    verbs
}

fn parse(text: &str, reading: Reading<'_>, notes: &mut Notes) -> Result<Vec<Verb>, Refusal> {
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
        let at = Place {
            line: row,
            column: col,
        };
        Refusal::at(at, Fault::Parse, format!("not well-formed XML: {words}"))
    })?;
    verbs(xml.root_element(), reading, notes)
}

fn verbs(
    root: Node<'_, '_>,
    reading: Reading<'_>,
    notes: &mut Notes,
) -> Result<Vec<Verb>, Refusal> {
    if root.tag_name().name() != "Response" {
        return Err(refusal(
            root,
            "is not the root of a TwiML document; write <Response>",
        ));
    }
    let mut verbs = Vec::new();
    let mut elements = 0;
    for node in root.children() {
        if node.is_element() {
            elements += 1;
            if elements > VERBS_MAX {
                let most = format!("is one verb too many; a document has at most {VERBS_MAX}");
                return Err(refusal(node, most));
            }
            verbs.extend(Verb::read(node, reading, notes)?);
        } else if node
            .text()
            .is_some_and(|text| node.is_text() && !text.trim().is_empty())
        {
            note(notes, root, "has text outside its verbs; it is not used");
        }
    }
    Ok(verbs)
}

/// Counts what would make the parser slow or deep, in one pass over the raw text. It knows tags,
/// quotes, comments, CDATA and processing instructions, and nothing else: whether it is XML is the
/// parser's to say.
fn guard(text: &str) -> Result<(), Refusal> {
    let refuse =
        |at: usize, what: String| Err(Refusal::at(Place::of(text, at), Fault::Parse, what));
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
