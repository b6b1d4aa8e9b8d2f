//! `Dial`: SIP URIs to try, one after the other.
//!
//! Twilio rings several nouns at once unless `sequential` says otherwise; a proxy that has already
//! lost every PBX tries them in order, so that one call never answers in two places.

use std::time::Duration;

use roxmltree::Node;
use trunkline_sip::Uri;

use super::{
    super::{
        twiml::{Notes, Refusal},
        url::Url,
    },
    method, short, text,
};
use crate::question::HttpMethod;

/// Nouns of one Dial that are tried.
pub const TARGETS_MAX: usize = 10;
/// Bytes of a SIP URI up to its headers.
const URI_BYTES_MAX: usize = 254;
/// Bytes of a SIP URI's headers (`?x-foo=bar`).
const URI_HEADER_BYTES_MAX: usize = 1023;
/// Seconds that `timeout` may say.
const TIMEOUT_SECONDS: std::ops::RangeInclusive<u16> = 1..=600;
/// What a Dial can ask for and nobody here does.
const NOT_DONE: [&str; 3] = ["record", "timeLimit", "hangupOnStar"];

/// Where to send the call, and what comes after.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dial {
    /// In order; never empty.
    pub targets: Vec<DialTarget>,
    /// Asked when none took the call; without one the next verb runs.
    pub action: Option<Action>,
}

/// One noun of a Dial.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DialTarget {
    /// A `sip:` or `sips:` URI as written, checked for length and characters.
    pub uri: String,
    /// How long it may ring, when the document says.
    pub timeout: Option<Duration>,
    /// `callerId` as written.
    pub caller_id: Option<String>,
}

/// A Dial's `action`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Action {
    /// Absolute by now.
    pub url: Url,
    /// How it is asked.
    pub method: HttpMethod,
}

/// Reads a Dial. `None`: no noun of it can be called here, and `notes` say why.
pub fn read(node: Node<'_, '_>, base: &Url, notes: &mut Notes) -> Result<Option<Dial>, Refusal> {
    let timeout = timeout(node, notes);
    let caller_id = node.attribute("callerId").map(str::to_owned);
    let mut targets = Vec::new();
    for noun in node.children().filter(Node::is_element) {
        let Some(uri) = noun_uri(noun, notes)? else {
            continue;
        };
        if targets.len() == TARGETS_MAX {
            notes.say(
                noun,
                format!("is left out: a Dial has at most {TARGETS_MAX}"),
            );
            break;
        }
        targets.push(DialTarget {
            uri,
            timeout,
            caller_id: caller_id.clone(),
        });
    }
    if !text(node).is_empty() {
        notes.say(
            node,
            "of a plain number needs a trunk's termination, which is not used here; \
             write <Sip>sip:number@host</Sip>",
        );
    }
    if targets.is_empty() {
        notes.say(node, "has nobody to call; the next verb runs instead");
        return Ok(None);
    }
    for name in NOT_DONE.iter().filter(|name| node.has_attribute(**name)) {
        notes.say(
            node,
            format!("{name} is not carried out: no media passes here"),
        );
    }
    Ok(Some(Dial {
        targets,
        action: action(node, base, notes),
    }))
}

/// The URI of a `Sip` noun; `None` for one that is refused with a note.
fn noun_uri(noun: Node<'_, '_>, notes: &mut Notes) -> Result<Option<String>, Refusal> {
    match noun.tag_name().name() {
        "Sip" => {
            let uri = text(noun);
            match check_uri(&uri) {
                Ok(()) => return Ok(Some(uri)),
                Err(fault) => {
                    let uri = short(&uri);
                    notes.say(noun, format!("\"{uri}\" cannot be called: {fault}"));
                }
            }
        }
        "Number" => notes.say(
            noun,
            "needs a trunk's termination, which is not used here; write <Sip>sip:number@host</Sip>",
        ),
        _ => {
            return Err(Refusal::at(
                noun,
                "is nothing that a Dial can call here; use Sip",
            ));
        }
    }
    Ok(None)
}

/// What keeps a text from being a URI that can stand in a request line.
fn check_uri(uri: &str) -> Result<(), &'static str> {
    let scheme = uri.split(':').next().unwrap_or_default();
    if !["sip", "sips"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
    {
        return Err("it must begin with sip: or sips:");
    }
    // A line end in here would be a header of the webhook's choice in our INVITE.
    if !uri.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("it has a character that a SIP URI cannot have; percent-encode it");
    }
    let (address, headers) = uri.split_once('?').unwrap_or((uri, ""));
    if address.len() > URI_BYTES_MAX {
        return Err("it must be shorter than 255 bytes");
    }
    if headers.len() > URI_HEADER_BYTES_MAX {
        return Err("its headers must be shorter than 1024 bytes");
    }
    // RFC 3261 §25.1 lets a user part hold "?"; then the address would end in its middle.
    if headers.contains('@') {
        return Err("its user part has a \"?\"; percent-encode it");
    }
    match Uri::parse(address.as_bytes()) {
        Ok(_) => Ok(()),
        Err(_) => Err("it is not a SIP URI; write sip:user@host"),
    }
}

fn timeout(node: Node<'_, '_>, notes: &mut Notes) -> Option<Duration> {
    let text = node.attribute("timeout")?;
    let seconds = text
        .trim()
        .parse()
        .ok()
        .filter(|seconds| TIMEOUT_SECONDS.contains(seconds));
    if seconds.is_none() {
        let (text, most) = (short(text), TIMEOUT_SECONDS.end());
        notes.say(
            node,
            format!("timeout=\"{text}\" is not 1 to {most} seconds; the trunk's own timers apply"),
        );
    }
    seconds.map(|seconds| Duration::from_secs(seconds.into()))
}

fn action(node: Node<'_, '_>, base: &Url, notes: &mut Notes) -> Option<Action> {
    let text = node
        .attribute("action")
        .filter(|text| !text.trim().is_empty())?;
    match base.resolve(text) {
        Ok(url) => Some(Action {
            url,
            method: method(node, notes),
        }),
        Err(fault) => {
            let text = short(text);
            notes.say(
                node,
                format!("action=\"{text}\" cannot be asked: {fault}; the next verb runs instead"),
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Verb, document, only},
        *,
    };

    fn dial(xml: &str) -> Dial {
        let Verb::Dial(dial) = only(xml) else {
            panic!("{xml}")
        };
        dial
    }

    fn uris(dial: &Dial) -> Vec<&str> {
        dial.targets
            .iter()
            .map(|target| target.uri.as_str())
            .collect()
    }

    #[test]
    fn sip_nouns_are_tried_in_the_order_they_are_written() {
        let cases: [(&str, &[&str]); 5] = [
            (
                "<Dial><Sip>sip:a@h.example</Sip></Dial>",
                &["sip:a@h.example"],
            ),
            (
                "<Dial><Sip>\n  sip:a@h </Sip><Sip>SIPS:b@h:5061</Sip></Dial>",
                &["sip:a@h", "SIPS:b@h:5061"],
            ),
            (
                "<Dial><Sip>sip:a@h;transport=tcp?x-k=v&amp;x-l=w</Sip></Dial>",
                &["sip:a@h;transport=tcp?x-k=v&x-l=w"],
            ),
            ("<Dial><Sip>sip:h</Sip></Dial>", &["sip:h"]),
            (
                "<Dial><Sip>sip:a@[2001:db8::1]:5060</Sip></Dial>",
                &["sip:a@[2001:db8::1]:5060"],
            ),
        ];
        for (xml, expected) in cases {
            assert_eq!(uris(&dial(xml)), expected, "{xml}");
        }
    }

    #[test]
    fn the_attributes_of_a_dial_reach_every_target() {
        let dial = dial(
            "<Dial timeout='20' callerId='+15550100' action='/done?x=1' method='GET'>\
             <Sip>sip:a@h</Sip><Sip>sip:b@h</Sip></Dial>",
        );
        for target in &dial.targets {
            assert_eq!(target.timeout, Some(Duration::from_secs(20)));
            assert_eq!(target.caller_id.as_deref(), Some("+15550100"));
        }
        let action = dial.action.unwrap();
        assert_eq!(action.url.as_str(), "https://dr.example.net/done?x=1");
        assert_eq!(action.method, HttpMethod::Get);
    }

    #[test]
    fn a_noun_that_cannot_be_called_is_named_and_the_others_are() {
        let bad = [
            (
                "<Number>+15550100</Number>",
                "Number needs a trunk's termination",
            ),
            ("<Sip/>", "must begin with sip:"),
            ("<Sip>+15550100</Sip>", "must begin with sip:"),
            ("<Sip>tel:+15550100</Sip>", "must begin with sip:"),
            ("<Sip>sip:</Sip>", "is not a SIP URI"),
            ("<Sip>sip:a@</Sip>", "is not a SIP URI"),
            ("<Sip>sip:a@h:port</Sip>", "is not a SIP URI"),
            ("<Sip>sip:a?b@h</Sip>", "percent-encode"),
            ("<Sip>sip:a@h x</Sip>", "cannot have"),
            ("<Sip>sip:a@h&#13;&#10;Route: sip:evil</Sip>", "cannot have"),
            ("<Sip>sip:a@h&gt;;tag=1</Sip>", "is not a SIP URI"),
            ("<Sip>sip:ä@h</Sip>", "cannot have"),
        ];
        for (noun, why) in bad {
            let read = document(&format!("<Dial>{noun}<Sip>sip:ok@h</Sip></Dial>")).unwrap();
            let [Verb::Dial(dial)] = &read.verbs[..] else {
                panic!("{noun}: {:?}", read.verbs)
            };
            assert_eq!(uris(dial), ["sip:ok@h"], "{noun}");
            let note = read.notes[0].to_string();
            assert!(
                note.starts_with("1:17: ") && note.contains(why),
                "{noun}: {note}"
            );
        }
    }

    #[test]
    fn long_uris_are_refused_at_their_limits() {
        let uri = |address: usize, headers: usize| {
            let user = "u".repeat(address - "sip:@h".len());
            let headers = if headers == 0 {
                String::new()
            } else {
                format!("?{}", "h".repeat(headers))
            };
            format!("sip:{user}@h{headers}")
        };
        assert!(check_uri(&uri(254, 1023)).is_ok());
        assert!(check_uri(&uri(255, 0)).is_err());
        assert!(check_uri(&uri(100, 1024)).is_err());
    }

    #[test]
    fn a_dial_that_can_call_nobody_gives_way_to_the_next_verb() {
        for dial in [
            "<Dial/>",
            "<Dial>+15550100</Dial>",
            "<Dial><Number>1</Number></Dial>",
        ] {
            let read = document(&format!("{dial}<Reject/>")).unwrap();
            assert!(
                matches!(read.verbs[..], [Verb::Reject(_)]),
                "{dial}: {:?}",
                read.verbs
            );
            assert!(!read.notes.is_empty(), "{dial}");
        }
    }

    #[test]
    fn an_unknown_noun_makes_the_document_invalid() {
        let refusal = document("<Dial><Conference>Room</Conference></Dial>").unwrap_err();
        assert!(
            refusal
                .to_string()
                .starts_with("1:17: Conference is nothing"),
            "{refusal}"
        );
    }

    #[test]
    fn what_is_wrong_about_an_attribute_is_said_and_the_call_still_goes_out() {
        for (attribute, why) in [
            ("timeout='0'", "1 to 600"),
            ("timeout='601'", "1 to 600"),
            ("timeout='soon'", "1 to 600"),
            ("action='mailto:x'", "cannot be asked"),
            ("action='/x' method='PUT'", "not GET or POST"),
            ("record='true'", "record is not carried out"),
        ] {
            let read = document(&format!("<Dial {attribute}><Sip>sip:a@h</Sip></Dial>")).unwrap();
            assert!(matches!(read.verbs[..], [Verb::Dial(_)]), "{attribute}");
            assert!(
                read.notes[0].to_string().contains(why),
                "{attribute}: {:?}",
                read.notes
            );
        }
    }

    #[test]
    fn at_most_ten_nouns_are_tried() {
        let nouns = "<Sip>sip:a@h</Sip>".repeat(TARGETS_MAX + 3);
        let read = document(&format!("<Dial>{nouns}</Dial>")).unwrap();
        let [Verb::Dial(dial)] = &read.verbs[..] else {
            panic!("{:?}", read.verbs)
        };
        assert_eq!(dial.targets.len(), TARGETS_MAX);
        assert_eq!(read.notes.len(), 1);
    }
}
