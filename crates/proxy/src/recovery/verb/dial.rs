//! `Dial`: SIP URIs and numbers to try, one after the other.
//!
//! A number goes out as a call from the PBX side would: by the routes, through a trunk's termination.
//! Twilio rings several nouns at once unless `sequential` says otherwise; a proxy that has already
//! lost every PBX tries them in order, so that one call never answers in two places.

use std::time::Duration;

use roxmltree::Node;
use trunkline_sip::Uri;

use super::{
    super::{
        document::{Notes, Reading, Refusal},
        twiml,
        url::{Url, percent_decoded},
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
/// Characters of a number.
const NUMBER_MAX: usize = 32;
/// Seconds that `timeout` may say.
pub const TIMEOUT_SECONDS: std::ops::RangeInclusive<u32> = 1..=600;
/// Seconds that a target of TwiML's Dial may ring when it does not say.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// Attributes that are carried out.
const DONE: [&str; 5] = ["action", "method", "timeout", "callerId", "sequential"];
/// Attributes that ask for what happens anyway: nobody answers the caller but who was dialled, and
/// no media passes here.
const USUAL: [(&str, &str); 4] = [
    ("answerOnBridge", "true"),
    ("hangupOnStar", "false"),
    ("record", "false"),
    ("record", "do-not-record"),
];

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
    /// A `sip:` or `sips:` URI as written, checked for length and characters, without its headers;
    /// or `tel:` and a number, which goes out through a trunk's termination.
    pub uri: String,
    /// SIP headers that go into the request: the names begin with `X-` or are among
    /// [`HEADERS`], values are printable.
    pub headers: Vec<(String, String)>,
    /// How long it may ring.
    pub timeout: Duration,
    /// Whom the callee is shown, checked like a number or a SIP URI's user.
    pub caller_id: Option<String>,
}

impl DialTarget {
    /// One that rings for the usual time and shows the caller.
    pub fn new(uri: impl Into<String>) -> Self {
        DialTarget {
            uri: uri.into(),
            headers: Vec::new(),
            timeout: TIMEOUT,
            caller_id: None,
        }
    }

    /// The number, where it is one and no SIP URI.
    pub fn number(&self) -> Option<&str> {
        self.uri.strip_prefix("tel:")
    }
}

/// What follows a Dial.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Action {
    /// Absolute by now.
    pub url: Url,
    /// How it is asked.
    pub method: HttpMethod,
    /// What it is asked for.
    pub wants: Wants,
}

/// What an [`Action`] is for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Wants {
    /// TwiML's `action`: its answer takes the place of what follows the Dial.
    Document,
    /// NCCO's `eventUrl`: it is told, and nobody waits for its answer.
    Nothing,
    /// The same with `eventType: synchronous`: an answer that is a document takes the place of what
    /// follows, any other lets the document go on.
    Maybe,
}

/// Reads a Dial. `None`: no noun of it can be called here, and `notes` say why.
///
/// # Errors
/// When a noun is none that is known.
pub fn read(
    node: Node<'_, '_>,
    reading: Reading<'_>,
    notes: &mut Notes,
) -> Result<Option<Dial>, Refusal> {
    let timeout = timeout(node, notes);
    let caller_id = node
        .attribute("callerId")
        .and_then(|text| caller_id(text).or_else(|| refuse_caller_id(node, text, notes)));
    let mut targets: Vec<DialTarget> = Vec::new();
    for noun in node.children().filter(Node::is_element) {
        if targets.len() == TARGETS_MAX {
            let most = format!("is left out: a Dial has at most {TARGETS_MAX}");
            twiml::note(notes, noun, most);
            break;
        }
        targets.extend(read_noun(noun, notes)?);
    }
    let plain = text(node);
    if !plain.is_empty() {
        match number(&plain) {
            Ok(number) => targets.push(DialTarget::new(number)),
            Err(fault) => {
                let plain = short(&plain);
                twiml::note(notes, node, format!("of \"{plain}\": {fault}"));
            }
        }
    }
    for target in &mut targets {
        target.timeout = timeout;
        target.caller_id.clone_from(&caller_id);
    }
    if targets.is_empty() {
        twiml::note(
            notes,
            node,
            "has nobody to call; the next verb runs instead",
        );
        return Ok(None);
    }
    twiml::only_these(notes, node, &DONE, &USUAL);
    if targets.len() > 1 && node.attribute("sequential") != Some("true") {
        let what = format!(
            "calls its {} nouns in turn, as written, where Twilio calls them at once; \
             sequential=\"true\" says that this is meant",
            targets.len()
        );
        twiml::detail(notes, node, what);
    }
    Ok(Some(Dial {
        targets,
        action: action(node, reading, notes),
    }))
}

/// A `Sip` or `Number`; `None` for one that is refused with a note.
fn read_noun(noun: Node<'_, '_>, notes: &mut Notes) -> Result<Option<DialTarget>, Refusal> {
    let written = text(noun);
    let read = match noun.tag_name().name() {
        "Sip" => sip(&written),
        "Number" => number(&written).map(DialTarget::new),
        _ => {
            return Err(twiml::refusal(
                noun,
                "is nothing that a Dial can call here; use Sip or Number",
            ));
        }
    };
    twiml::only_these(notes, noun, &[], &[]);
    match read {
        Ok(target) => Ok(Some(target)),
        Err(fault) => {
            let written = short(&written);
            twiml::note(
                notes,
                noun,
                format!("\"{written}\" cannot be called: {fault}"),
            );
            Ok(None)
        }
    }
}

/// A SIP URI as a target, its headers apart.
///
/// # Errors
/// Why it cannot be called.
pub fn sip(uri: &str) -> Result<DialTarget, &'static str> {
    check_uri(uri)?;
    let (address, headers) = uri.split_once('?').unwrap_or((uri, ""));
    let mut target = DialTarget::new(address);
    for pair in headers.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let text = |text: &str| String::from_utf8(percent_decoded(text)).ok();
        if let (Some(name), Some(value)) = (text(name), text(value)) {
            target.headers.extend(header(&name, &value));
        }
    }
    Ok(target)
}

/// Headers beside `X-` ones that a URI may carry (FACTS F2.3).
pub const HEADERS: [&str; 4] = [
    "User-to-User",
    "Remote-Party-ID",
    "P-Preferred-Identity",
    "P-Called-Party-ID",
];

/// A header as it may go into a request; `None` for one that may not.
pub fn header(name: &str, value: &str) -> Option<(String, String)> {
    let token = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let own = name.len() > 2 && name[..2].eq_ignore_ascii_case("x-") && token(name);
    let known = HEADERS.iter().any(|known| known.eq_ignore_ascii_case(name));
    // A line end in here would be a header of the webhook's choice.
    let printable = value.chars().all(|c| !c.is_control());
    ((own || known) && name.len() <= 64 && printable && value.len() <= URI_HEADER_BYTES_MAX)
        .then(|| (name.to_owned(), value.to_owned()))
}

/// A number as a `tel:` URI.
///
/// # Errors
/// What is wrong about it.
pub fn number(text: &str) -> Result<String, &'static str> {
    // RFC 3966 §3: these only please the eye.
    let digits: String = text
        .chars()
        .filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')'))
        .collect();
    let dialled = digits.strip_prefix('+').unwrap_or(&digits);
    let fits = |c: char| c.is_ascii_digit() || matches!(c, '*' | '#');
    if dialled.is_empty() || digits.len() > NUMBER_MAX || !dialled.chars().all(fits) {
        return Err("it is no number; write +15550100");
    }
    Ok(format!("tel:{}", digits.replace('#', "%23")))
}

/// What a callee is shown: a number, or the user part of a SIP URI.
pub fn caller_id(text: &str) -> Option<String> {
    let text = text.trim();
    let user = text.strip_prefix("sip:").unwrap_or(text);
    let user = user.split('@').next().unwrap_or_default();
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"+-_.*".contains(&byte);
    (!user.is_empty() && user.len() <= 64 && user.bytes().all(fits)).then(|| user.to_owned())
}

fn refuse_caller_id(node: Node<'_, '_>, text: &str, notes: &mut Notes) -> Option<String> {
    let text = short(text);
    let what = format!("callerId=\"{text}\" is neither a number nor a name; the caller's is kept");
    twiml::note(notes, node, what);
    None
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

fn timeout(node: Node<'_, '_>, notes: &mut Notes) -> Duration {
    let Some(text) = node.attribute("timeout") else {
        return TIMEOUT;
    };
    match text.trim().parse() {
        Ok(seconds) if TIMEOUT_SECONDS.contains(&seconds) => Duration::from_secs(seconds.into()),
        Ok(_) | Err(_) => {
            let (text, most) = (short(text), TIMEOUT_SECONDS.end());
            let usual = TIMEOUT.as_secs();
            let what = format!("timeout=\"{text}\" is not 1 to {most} seconds; {usual} is used");
            twiml::note(notes, node, what);
            TIMEOUT
        }
    }
}

fn action(node: Node<'_, '_>, reading: Reading<'_>, notes: &mut Notes) -> Option<Action> {
    let text = node
        .attribute("action")
        .filter(|text| !text.trim().is_empty())?;
    match reading.url(text) {
        Ok(url) => Some(Action {
            url,
            method: method(node, notes),
            wants: Wants::Document,
        }),
        Err(fault) => {
            let text = short(text);
            let what =
                format!("action=\"{text}\" cannot be asked: {fault}; the next verb runs instead");
            twiml::note(notes, node, what);
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
                "<Dial sequential='true'><Sip>\n  sip:a@h </Sip><Sip>SIPS:b@h:5061</Sip></Dial>",
                &["sip:a@h", "SIPS:b@h:5061"],
            ),
            (
                "<Dial><Sip>sip:a@h;transport=tcp?x-k=v&amp;x-l=w</Sip></Dial>",
                &["sip:a@h;transport=tcp"],
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
    fn numbers_are_told_apart_from_sip_uris() {
        let dial = dial(
            "<Dial sequential='true'><Number>+1 (555) 01-00</Number><Sip>sip:a@h</Sip>*72#</Dial>",
        );
        assert_eq!(uris(&dial), ["tel:+15550100", "sip:a@h", "tel:*72%23"]);
        assert_eq!(dial.targets[0].number(), Some("+15550100"));
        assert_eq!(dial.targets[1].number(), None);
    }

    #[test]
    fn headers_of_a_uri_go_into_the_request_and_nothing_else_does() {
        for (headers, expected) in [
            ("x-k=v%20w&X-L=", &[("x-k", "v w"), ("X-L", "")][..]),
            ("User-to-User=abc", &[("User-to-User", "abc")]),
            ("Route=sip:evil&From=x&x-=1", &[]),
            ("x-a=b%0d%0aRoute:c&x-%0d=1&x%3a=2", &[]),
        ] {
            let target = sip(&format!("sip:a@h?{headers}")).unwrap();
            let got: Vec<(&str, &str)> = target
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            assert_eq!(got, expected, "{headers}");
        }
    }

    #[test]
    fn the_attributes_of_a_dial_reach_every_target() {
        let dial = dial(
            "<Dial sequential='true' timeout='20' callerId='+15550100' action='/done?x=1' method='GET'>\
             <Sip>sip:a@h</Sip><Sip>sip:b@h</Sip></Dial>",
        );
        for target in &dial.targets {
            assert_eq!(target.timeout, Duration::from_secs(20));
            assert_eq!(target.caller_id.as_deref(), Some("+15550100"));
        }
        let action = dial.action.unwrap();
        assert_eq!(action.url.as_str(), "https://dr.example.net/done?x=1");
        assert_eq!(action.method, HttpMethod::Get);
    }

    #[test]
    fn a_noun_that_cannot_be_called_is_named_and_the_others_are() {
        let bad = [
            ("<Number/>", "is no number"),
            ("<Number>1-800-FLOWERS</Number>", "is no number"),
            ("<Number>+1&#10;2</Number>", "is no number"),
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
            "<Dial>nobody</Dial>",
            "<Dial><Number>+</Number></Dial>",
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
            ("callerId='a b'", "neither a number"),
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
    fn what_a_dial_asks_for_and_nobody_does_is_named_and_is_no_fault() {
        let two = "<Sip>sip:a@h</Sip><Number>+15550100</Number>";
        for (xml, why) in [
            (
                format!("<Dial>{two}</Dial>"),
                "1:11: Dial calls its 2 nouns in turn, as written, where Twilio calls them at once",
            ),
            (
                format!("<Dial sequential='false'>{two}</Dial>"),
                "1:11: Dial calls its 2 nouns in turn",
            ),
            (
                "<Dial record='true' timeLimit='60' hangupOnStar='false'>+15550100</Dial>".into(),
                "1:11: Dial record, timeLimit are not carried out here",
            ),
            (
                "<Dial><Number sendDigits='1' statusCallback='/s'>+15550100</Number></Dial>".into(),
                "1:17: Number sendDigits, statusCallback are not carried out here",
            ),
            (
                "<Dial><Sip username='u' password='p'>sip:a@h</Sip></Dial>".into(),
                "1:17: Sip username, password are not carried out here",
            ),
        ] {
            let read = document(&xml).unwrap();
            assert!(matches!(read.verbs[..], [Verb::Dial(_)]), "{xml}");
            assert_eq!(read.faults().count(), 0, "{xml}");
            let note = read.notes[0].to_string();
            assert!(note.starts_with(why), "{xml}: {note}");
        }
        only(
            "<Dial answerOnBridge='true' record='do-not-record' hangupOnStar='false'>+1555</Dial>",
        );
    }

    #[test]
    fn at_most_ten_nouns_are_tried() {
        let nouns = "<Sip>sip:a@h</Sip>".repeat(TARGETS_MAX + 3);
        let read = document(&format!("<Dial sequential='true'>{nouns}</Dial>")).unwrap();
        let [Verb::Dial(dial)] = &read.verbs[..] else {
            panic!("{:?}", read.verbs)
        };
        assert_eq!(dial.targets.len(), TARGETS_MAX);
        assert_eq!(read.notes.len(), 1);
    }
}
