//! Disaster recovery: when no PBX takes a call, a webhook says where it goes (BEHAVIOUR §8).
//!
//! A state machine for one call ([`RecoveryCall`]). It asks for steps and is told how they went; it
//! opens no connection and reads no clock, so a whole recovery can be replayed. Whatever the webhook
//! does, every path ends in [`Step::Respond`], [`Step::Exhausted`] or a call that was taken:
//! documents, verbs, repeats and waiting times all have limits.
//!
//! What [`Step::Ask`], [`Step::Dial`] and [`Step::Exhausted`] mean is told by whoever carries
//! them out; what they cannot show ("answered", "passed_over", "detail", "failed", "fallback",
//! "redirect", "reject", "hangup", "last_resort") is said from here.

mod call;
pub mod document;
pub mod json;
pub mod ncco;
pub mod overrides;
pub mod params;
pub mod policy;
pub mod twiml;
pub mod url;
pub mod verb;

use std::{net::IpAddr, sync::Arc, time::Duration};

pub use call::{Aftermath, RecoveryCall};
pub use verb::dial::DialTarget;

use document::{Document, MediaUse, Reading, Refusal};
use url::Url;

use crate::{
    event::AttemptRecord,
    question::HttpRequest,
    settings::{Recovery, Webhook},
};

/// Documents after the first that one call may be led to, by Redirect or by a Dial's action.
pub const REDIRECTS_MAX: u8 = 10;

/// What the webhook is told about the call.
#[derive(Clone, PartialEq, Debug)]
pub struct CallFacts {
    /// The trunk's name.
    pub trunk: Arc<str>,
    /// `CA` and 32 hex digits, the same for every request of the call; see [`sid`].
    pub call_sid: String,
    /// `AC` and 32 hex digits, the same for every call of the trunk.
    pub account_sid: String,
    /// `TK` and 32 hex digits, the same for every call of the trunk.
    pub trunk_sid: String,
    /// The caller.
    pub from: String,
    /// The caller's name, where From shows one.
    pub caller_name: Option<String>,
    /// The called number.
    pub to: String,
    /// The number that was called before the call was forwarded, from Diversion.
    pub forwarded_from: Option<String>,
    /// The host of the Request-URI.
    pub sip_domain: Option<String>,
    /// Call-ID.
    pub sip_call_id: String,
    /// Of the last attempt; 0 or 408 for silence.
    pub sip_response_code: u16,
    /// The `X-` headers of the INVITE.
    pub x_headers: Vec<(String, String)>,
    /// Who sent the INVITE.
    pub source_ip: IpAddr,
    /// What was tried before; may be empty.
    pub attempts: Vec<AttemptRecord>,
    /// No real call: the webhook is being tested.
    pub test: bool,
    /// A real call that is part of a drill.
    pub drill: bool,
}

/// What to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Do this exchange, then call [`RecoveryCall::on_answer`].
    Ask(HttpRequest),
    /// Then call [`RecoveryCall::on_timer`].
    Wait(Duration),
    /// Try these one after the other. If none takes the call: [`RecoveryCall::on_dial_failed`].
    Dial(Vec<DialTarget>),
    /// The document decided: the caller gets this.
    Respond {
        /// 300 to 699.
        status: u16,
        /// The reason phrase.
        reason: &'static str,
    },
    /// Nothing valid came back: the caller gets 503.
    Exhausted,
}

/// How documents of a trunk are read that came from `base`.
pub fn reading<'r>(settings: &'r Recovery, base: Option<&'r Url>) -> Reading<'r> {
    Reading {
        base,
        media: match (&settings.media, settings.media_early) {
            (None, _) => MediaUse::None,
            (Some(_), false) => MediaUse::Answers,
            (Some(_), true) => MediaUse::Early,
        },
        record_page: settings.record_page.as_deref(),
    }
}

/// Reads the document of a [`Webhook::File`]; its name says whether it is NCCO (`.json`) or TwiML.
///
/// # Errors
/// Its first fault.
pub fn read_file(name: &str, body: &[u8], reading: Reading<'_>) -> Result<Document, Refusal> {
    let json = name.to_ascii_lowercase().ends_with(".json");
    let content_type = if json { "application/json" } else { "text/xml" };
    document::read(content_type, body, reading)
}

/// A 34-character identifier of the form that webhooks know: two letters and 32 hex digits,
/// the same for the same text.
pub fn sid(prefix: &str, text: &[u8]) -> String {
    use siphasher::sip128::{Hasher128 as _, SipHasher13};
    // Fixed keys: a name, not a secret, and the same on every node.
    let mut hasher = SipHasher13::new_with_keys(0x7472_756e_6b6c_696e, 0x6520_7369_6473_2031);
    std::hash::Hasher::write(&mut hasher, prefix.as_bytes());
    std::hash::Hasher::write(&mut hasher, text);
    let hash = hasher.finish128();
    format!("{prefix}{:016x}{:016x}", hash.h1, hash.h2)
}

/// The URL of a webhook for logs; a file's name as written.
pub fn shown(webhook: &Webhook) -> &str {
    match webhook {
        Webhook::Url(url) => {
            let end = url.find(['?', '#']).unwrap_or(url.len());
            &url[..end]
        }
        Webhook::File { name, .. } => name,
    }
}

#[cfg(test)]
mod tests;
