//! A scripted peer: says what the script tells it to, in words that fit what it has heard.

use std::{collections::BTreeMap, time::Duration};

use super::script::{Kind, Wire};
use crate::{
    text::Text,
    ua::{Identity, Leg, respond},
};

const CALL_ID_END: &str = ".call";

/// The name that a script uses for the call with this Call-ID.
pub(super) fn label_of(call_id: &str) -> &str {
    call_id.strip_suffix(CALL_ID_END).unwrap_or(call_id)
}

/// One peer of a script.
pub(super) struct Actor {
    pub identity: Identity,
    /// The listener it speaks to, by name.
    pub listener: Option<String>,
    /// From when on it leaves OPTIONS unanswered.
    pub ignores_probes: Option<Duration>,
    /// What it answers OPTIONS with.
    pub options: u16,
    /// What it answers the calls of a batch with.
    pub answers: Option<u16>,
    /// Its side of each call, by the script's name for the call.
    legs: BTreeMap<String, Leg>,
    /// Every request that it heard, the newest last.
    heard: Vec<Text>,
    /// The last final response to an INVITE of its own, by call.
    finals: BTreeMap<String, Text>,
    /// The last bytes of each kind that it sent, by call and kind, for `again`.
    sent: BTreeMap<(String, String), Vec<u8>>,
    /// The codes it answered INVITEs with, by branch.
    answered: BTreeMap<String, u16>,
}

impl Actor {
    pub fn new(identity: Identity) -> Actor {
        Actor {
            identity,
            listener: None,
            ignores_probes: None,
            options: 200,
            answers: None,
            legs: BTreeMap::new(),
            heard: Vec::new(),
            finals: BTreeMap::new(),
            sent: BTreeMap::new(),
            answered: BTreeMap::new(),
        }
    }

    /// Takes in what Trunkline sent.
    pub fn hear(&mut self, text: &Text) {
        let Some(label) = text
            .get("Call-ID")
            .map(|call_id| label_of(call_id).to_string())
        else {
            return;
        };
        if text.method().is_none() {
            let invite = text.about() == Some("INVITE");
            if let Some(leg) = self.legs.get_mut(&label) {
                leg.on_response(text);
            }
            if invite && text.code().is_some_and(|code| code >= 200) {
                self.finals.insert(label, text.clone());
            }
            return;
        }
        if text.method() == Some("INVITE")
            && !self.legs.contains_key(&label)
            && let Some(leg) = Leg::callee(&self.identity, text)
        {
            self.legs.insert(label, leg);
        }
        self.heard.push(text.clone());
    }

    /// What it says by itself to a message of a batch: its one answer to a call, and the ACK of
    /// whoever was answered.
    pub fn play_along(&mut self, text: &Text) -> Option<Vec<u8>> {
        match (text.method(), text.about()) {
            (Some("INVITE"), _) => Some(self.response(text, self.answers?).write()),
            (None, Some("INVITE")) if text.code()? >= 200 => {
                let label = label_of(text.get("Call-ID")?).to_string();
                Some(self.legs.get_mut(&label)?.ack(text)?.write())
            }
            _ => None,
        }
    }

    /// The bytes of what the script lets it say.
    ///
    /// # Errors
    /// A sentence about what the script cannot ask of it here.
    pub fn say(&mut self, wire: &Wire, label: Option<&str>) -> Result<Vec<u8>, String> {
        let (label, mut text) = match &wire.kind {
            Kind::Request { method, uri } => {
                let label = label.unwrap_or("a").to_string();
                if wire.again {
                    return self.again(&label, method);
                }
                let request = if wire.returned {
                    self.send_on(&label, method)?
                } else {
                    self.request(&label, method, uri.as_deref())?
                };
                (label, request)
            }
            Kind::Response { code, about } => {
                let heard = self.heard_for(label, about.as_deref())?.clone();
                let label = label_of(heard.get("Call-ID").unwrap_or("")).to_string();
                if wire.again {
                    return self.again(&label, &format!("{code} {}", heard.about().unwrap_or("")));
                }
                (label, self.response(&heard, *code))
            }
            Kind::Raw(bytes) => return Ok(bytes.clone()),
        };
        edit(&mut text, wire)?;
        let what = match (text.method(), text.code()) {
            (Some(method), _) => method.to_string(),
            (None, code) => format!("{} {}", code.unwrap_or(0), text.about().unwrap_or("")),
        };
        if what == "INVITE"
            && !wire.returned
            && let Some(leg) = self.legs.get_mut(&label)
        {
            leg.sent_invite(&text);
        }
        let bytes = text.write();
        self.sent.insert((label, what), bytes.clone());
        Ok(bytes)
    }

    fn again(&self, label: &str, what: &str) -> Result<Vec<u8>, String> {
        let sent = self.sent.get(&(label.to_string(), what.to_string()));
        sent.cloned().ok_or_else(|| {
            format!(
                "{} has not sent {what} of call {label} before",
                self.identity.name
            )
        })
    }

    fn request(&mut self, label: &str, method: &str, uri: Option<&str>) -> Result<Text, String> {
        let name = &self.identity.name;
        let unknown = || format!("{name} has no call {label} that {method} could belong to");
        match method {
            "CANCEL" => self
                .legs
                .get(label)
                .and_then(Leg::cancel)
                .ok_or_else(unknown),
            "ACK" => {
                let answer = self.finals.get(label).ok_or_else(unknown)?;
                self.legs
                    .get_mut(label)
                    .and_then(|leg| leg.ack(answer))
                    .ok_or_else(unknown)
            }
            _ => {
                if !self.legs.contains_key(label) {
                    let uri = uri.ok_or_else(|| {
                        format!("{method} of the new call {label} needs a Request-URI")
                    })?;
                    let leg = Leg::caller(&self.identity, &format!("{label}{CALL_ID_END}"), uri);
                    self.legs.insert(label.to_string(), leg);
                }
                let leg = self.legs.get_mut(label).ok_or_else(unknown)?;
                Ok(leg.request(method, uri))
            }
        }
    }

    /// What it heard, as a proxy sends it on: a Via on top, one hop less to go.
    fn send_on(&self, label: &str, method: &str) -> Result<Text, String> {
        let mut request = self.heard_for(Some(label), Some(method))?.clone();
        let hops = request
            .get("Max-Forwards")
            .and_then(|hops| hops.parse::<u32>().ok())
            .unwrap_or(70);
        request.set("Max-Forwards", hops.saturating_sub(1).to_string());
        let branch = request
            .branch()
            .unwrap_or("")
            .trim_start_matches("z9hG4bK")
            .to_string();
        let says = &self.identity.says;
        let via = format!(
            "SIP/2.0/{} {};branch=z9hG4bK-on-{branch}",
            says.transport().via_name(),
            says.host_port()
        );
        request.headers.insert(0, ("Via".into(), via));
        Ok(request)
    }

    /// The request that a response most likely answers: the INVITE while it is open, else the
    /// newest that wants an answer.
    fn heard_for(&self, label: Option<&str>, about: Option<&str>) -> Result<&Text, String> {
        let of_call = |text: &&Text| {
            label.is_none_or(|label| text.get("Call-ID").is_some_and(|id| label_of(id) == label))
                && text.method() != Some("ACK")
        };
        let newest = |wanted: Option<&str>| {
            self.heard
                .iter()
                .rev()
                .filter(of_call)
                .find(|text| wanted.is_none_or(|wanted| text.method() == Some(wanted)))
        };
        let open = newest(Some("INVITE")).filter(|invite| {
            invite
                .branch()
                .is_none_or(|branch| !self.answered.contains_key(branch))
        });
        let found = match about {
            Some(about) => newest(Some(about)),
            None => open.or_else(|| newest(None)),
        };
        found.ok_or_else(|| {
            let about = about.unwrap_or("request");
            format!(
                "{} has heard no {about} that it could answer",
                self.identity.name
            )
        })
    }

    fn response(&mut self, heard: &Text, code: u16) -> Text {
        if code >= 200
            && heard.method() == Some("INVITE")
            && let Some(branch) = heard.branch()
        {
            self.answered.insert(branch.to_string(), code);
        }
        let label = label_of(heard.get("Call-ID").unwrap_or(""));
        match self.legs.get(label) {
            Some(leg) => leg.respond(heard, code),
            None => {
                let mut response = respond(heard, code);
                if code > 100 && heard.tag("To").is_none() {
                    let to = heard.get("To").unwrap_or("");
                    response.set("To", format!("{to};tag={}", self.identity.name));
                }
                response
            }
        }
    }
}

/// Applies the `with`, `without` and `body` of a script.
fn edit(text: &mut Text, wire: &Wire) -> Result<(), String> {
    for name in &wire.without {
        text.remove(&String::from_utf8_lossy(name));
    }
    for header in &wire.with {
        let header = String::from_utf8_lossy(header);
        let (name, value) = header.split_once(':').ok_or_else(|| {
            format!("with \"{header}\": a message that is sent takes headers, Name: value")
        })?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("Via") {
            // Further hops that the request has made before: below the sender's own.
            let at = text
                .headers
                .iter()
                .rposition(|(name, _)| name == "Via")
                .map_or(0, |at| at + 1);
            text.headers
                .insert(at, (name.to_string(), value.to_string()));
        } else {
            text.set(name, value);
        }
    }
    if let Some(body) = &wire.body {
        text.body = String::from_utf8_lossy(body).into_owned();
    }
    Ok(())
}
