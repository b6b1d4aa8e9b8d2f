//! One side of one call, as an endpoint keeps it (RFC 3261 §8, §12, §13).
//!
//! Builds and remembers; when to send what is up to the ladder script or the world's peer.

use crate::{
    address::Address,
    text::{Text, param, reason, uri_in},
};

/// Who an endpoint is and how it behaves.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its name: the user of its Contact, and part of its tags and branches.
    pub name: String,
    /// What it puts into Via and Contact.
    pub says: Address,
    /// Whether it acts as if Record-Route did not exist, like SIPp's built-in uac.
    pub ignores_record_route: bool,
}

impl Identity {
    fn contact(&self) -> String {
        format!(
            "<sip:{}@{}{}>",
            self.name,
            self.says.host_port(),
            self.says.uri_param()
        )
    }
}

/// One side of one call.
#[derive(Clone, Debug)]
pub struct Leg {
    me: Identity,
    call_id: String,
    /// Our From or To, with our tag.
    local: String,
    /// Theirs, with their tag once it is known.
    remote: String,
    /// Where our requests are addressed: the INVITE's URI, later their Contact.
    target: String,
    /// The Request-URI of the first INVITE, for endpoints that look at nothing else.
    dialled: String,
    routes: Vec<String>,
    cseq: u32,
    branches: u32,
    invite: Option<Text>,
    caller: bool,
}

impl Leg {
    /// A call that is about to be placed.
    pub fn caller(me: &Identity, call_id: &str, uri: &str) -> Leg {
        Leg {
            call_id: call_id.to_string(),
            local: format!(
                "<sip:{}@{}>;tag={}-{call_id}",
                me.name,
                me.says.host_port(),
                me.name
            ),
            remote: format!("<{uri}>"),
            target: uri.to_string(),
            dialled: uri.to_string(),
            routes: Vec::new(),
            cseq: 0,
            branches: 0,
            invite: None,
            caller: true,
            me: me.clone(),
        }
    }

    /// A call that has just come in; `None` for a request that lacks what a dialog needs.
    pub fn callee(me: &Identity, invite: &Text) -> Option<Leg> {
        let call_id = invite.get("Call-ID")?;
        let to = invite.get("To")?;
        let local = if invite.tag("To").is_some() {
            to.to_string()
        } else {
            format!("{to};tag={}-{call_id}", me.name)
        };
        let target = invite
            .uri_of("Contact")
            .unwrap_or_else(|| uri_in(invite.get("From").unwrap_or("")));
        Some(Leg {
            call_id: call_id.to_string(),
            local,
            remote: invite.get("From")?.to_string(),
            target: target.to_string(),
            dialled: target.to_string(),
            routes: invite
                .values("Record-Route")
                .into_iter()
                .map(str::to_string)
                .collect(),
            cseq: 1000,
            branches: 0,
            invite: None,
            caller: false,
            me: me.clone(),
        })
    }

    /// The Call-ID.
    pub fn call_id(&self) -> &str {
        &self.call_id
    }

    /// The last INVITE that this side sent.
    pub fn invite(&self) -> Option<&Text> {
        self.invite.as_ref()
    }

    /// The route set, nearest first.
    pub fn routes(&self) -> &[String] {
        &self.routes
    }

    fn via(&mut self) -> String {
        self.branches += 1;
        format!(
            "SIP/2.0/{} {};rport;branch=z9hG4bK-{}-{}-{}",
            self.me.says.transport().via_name(),
            self.me.says.host_port(),
            self.me.name,
            self.call_id,
            self.branches,
        )
    }

    /// A new request, in the dialog when there is one. `uri` replaces the Request-URI.
    pub fn request(&mut self, method: &str, uri: Option<&str>) -> Text {
        if method != "ACK" {
            self.cseq += 1;
        }
        let cseq = match &self.invite {
            Some(invite) if method == "ACK" => {
                invite.cseq().map_or(self.cseq, |(number, _)| number)
            }
            _ => self.cseq,
        };
        let ignores = self.me.ignores_record_route;
        let target = if ignores {
            self.dialled.clone()
        } else {
            self.target.clone()
        };
        let mut request = Text::request(method, uri.unwrap_or(&target));
        request.push("Via", self.via());
        if !ignores {
            for route in &self.routes {
                request.push("Route", route.clone());
            }
        }
        request.push("Max-Forwards", "70");
        request.push("From", self.local.clone());
        request.push("To", self.remote.clone());
        request.push("Call-ID", self.call_id.clone());
        request.push("CSeq", format!("{cseq} {method}"));
        if !matches!(method, "ACK" | "BYE" | "CANCEL") {
            request.push("Contact", self.me.contact());
        }
        if method == "INVITE" {
            self.invite = Some(request.clone());
        }
        request
    }

    /// Remembers an INVITE that was changed after it was built.
    pub fn sent_invite(&mut self, invite: &Text) {
        self.invite = Some(invite.clone());
    }

    /// The CANCEL of the last INVITE (§9.1): its branch, CSeq number and Request-URI.
    pub fn cancel(&self) -> Option<Text> {
        let invite = self.invite.as_ref()?;
        let mut cancel = hop_by_hop(invite, "CANCEL");
        cancel.push("To", invite.get("To")?);
        finish_hop_by_hop(cancel, invite, "CANCEL")
    }

    /// The ACK of a final response: end to end for a 2xx, of the INVITE's transaction otherwise.
    pub fn ack(&mut self, response: &Text) -> Option<Text> {
        if response.code()? < 300 {
            return Some(self.request("ACK", None));
        }
        let invite = self.invite.as_ref()?;
        let mut ack = hop_by_hop(invite, "ACK");
        ack.push("To", response.get("To")?);
        finish_hop_by_hop(ack, invite, "ACK")
    }

    /// Learns the dialog from a response to our INVITE.
    pub fn on_response(&mut self, response: &Text) {
        let dialog = response
            .cseq()
            .is_some_and(|(_, method)| method == "INVITE")
            && response
                .code()
                .is_some_and(|code| (101..300).contains(&code))
            && response.tag("To").is_some();
        if !dialog {
            return;
        }
        if let Some(to) = response.get("To") {
            self.remote = to.to_string();
        }
        if let Some(contact) = response.uri_of("Contact") {
            self.target = contact.to_string();
        }
        if self.caller && self.routes.is_empty() {
            let recorded = response.values("Record-Route");
            self.routes = recorded.into_iter().rev().map(str::to_string).collect();
        }
    }

    /// Our response to a request of this call.
    pub fn respond(&self, request: &Text, code: u16) -> Text {
        let mut response = respond(request, code);
        if code > 100 && request.tag("To").is_none() {
            let tag = param(
                self.local
                    .rsplit_once('>')
                    .map_or(&self.local, |(_, rest)| rest),
                "tag",
            );
            response.set(
                "To",
                format!(
                    "{};tag={}",
                    request.get("To").unwrap_or(""),
                    tag.unwrap_or("none")
                ),
            );
        }
        if request.method() == Some("INVITE") && (101..300).contains(&code) {
            response.push("Contact", self.me.contact());
        }
        response
    }
}

/// A response without a tag of our own: what a request outside any call gets.
pub fn respond(request: &Text, code: u16) -> Text {
    let mut response = Text {
        start: format!("SIP/2.0 {code} {}", reason(code)),
        headers: Vec::new(),
        body: String::new(),
    };
    for via in request.all("Via") {
        response.push("Via", via);
    }
    for name in ["From", "To", "Call-ID", "CSeq"] {
        response.push(name, request.get(name).unwrap_or(""));
    }
    if code > 100 {
        for route in request.all("Record-Route") {
            response.push("Record-Route", route);
        }
    }
    response
}

fn hop_by_hop(invite: &Text, method: &str) -> Text {
    let mut request = Text::request(method, invite.uri().unwrap_or(""));
    if let Some(via) = invite.all("Via").next() {
        request.push("Via", via);
    }
    for route in invite.all("Route") {
        request.push("Route", route);
    }
    request.push("Max-Forwards", "70");
    request
}

fn finish_hop_by_hop(mut request: Text, invite: &Text, method: &str) -> Option<Text> {
    request.push("From", invite.get("From")?);
    request.push("Call-ID", invite.get("Call-ID")?);
    request.push("CSeq", format!("{} {method}", invite.cseq()?.0));
    Some(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(name: &str, at: &str) -> Identity {
        Identity {
            name: name.into(),
            says: Address::parse(at).unwrap(),
            ignores_record_route: false,
        }
    }

    #[test]
    fn both_sides_of_a_recorded_call_route_through_the_recorder() {
        let mut caller = Leg::caller(&who("a", "10.0.0.1"), "c1", "sip:b@b.test");
        let mut invite = caller.request("INVITE", None);
        invite.push("Record-Route", "<sip:p2;lr>, <sip:p1;lr>");
        let mut callee = Leg::callee(&who("b", "10.0.0.2"), &invite).unwrap();
        let answer = callee.respond(&invite, 200);
        caller.on_response(&answer);

        let ack = caller.ack(&answer).unwrap();
        assert_eq!(ack.uri(), Some("sip:b@10.0.0.2:5060"));
        assert_eq!(ack.values("Route"), ["<sip:p1;lr>", "<sip:p2;lr>"]);
        assert_eq!(ack.cseq(), Some((1, "ACK")));
        assert_ne!(ack.branch(), invite.branch());

        let bye = callee.request("BYE", None);
        assert_eq!(bye.uri(), Some("sip:a@10.0.0.1:5060"));
        assert_eq!(bye.values("Route"), ["<sip:p2;lr>", "<sip:p1;lr>"]);
        assert_eq!(bye.tag("To"), invite.tag("From"));
        assert_eq!(bye.tag("From"), answer.tag("To"));
    }

    #[test]
    fn cancel_and_the_ack_of_a_failure_belong_to_the_invites_transaction() {
        let mut caller = Leg::caller(&who("a", "10.0.0.1"), "c1", "sip:b@b.test");
        let invite = caller.request("INVITE", None);
        let callee = Leg::callee(&who("b", "10.0.0.2"), &invite).unwrap();
        let cancel = caller.cancel().unwrap();
        let ack = caller.ack(&callee.respond(&invite, 486)).unwrap();
        for request in [&cancel, &ack] {
            assert_eq!(request.branch(), invite.branch());
            assert_eq!(request.uri(), invite.uri());
            assert_eq!(request.cseq().map(|(number, _)| number), Some(1));
        }
        assert_eq!(cancel.tag("To"), None);
        assert!(ack.tag("To").is_some());
    }

    #[test]
    fn an_endpoint_that_ignores_record_route_sends_what_sipp_sends() {
        let me = Identity {
            ignores_record_route: true,
            ..who("a", "10.0.0.1")
        };
        let mut caller = Leg::caller(&me, "c1", "sip:b@p1");
        let mut invite = caller.request("INVITE", None);
        invite.push("Record-Route", "<sip:p1;lr>");
        let callee = Leg::callee(&who("b", "10.0.0.2"), &invite).unwrap();
        caller.on_response(&callee.respond(&invite, 200));
        let bye = caller.request("BYE", None);
        assert_eq!(
            (bye.uri(), bye.values("Route").len()),
            (Some("sip:b@p1"), 0)
        );
    }
}
