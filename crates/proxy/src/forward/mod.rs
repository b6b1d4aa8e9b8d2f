//! Writes what leaves: forwarded requests and responses, and the few messages of our own.
//!
//! Text only. Each function appends one whole message to the arena of the
//! [`Outbox`](crate::Outbox) or, when it cannot, nothing. What is not ours to change is copied
//! byte for byte (RFC 3261 §16.6 step 1): order, spelling, spacing, folds, bytes that are not
//! UTF-8. Changes are made in the order in which they stand in the message, so one pass over the
//! headers is enough and nothing is kept on the way.

mod face;
mod local;
mod refusal;
mod reply;
mod request;
mod response;
mod route;
mod splice;
mod uri;
mod via;

#[cfg(test)]
mod random;
#[cfg(test)]
mod sample;

pub use face::Face;
pub use local::{Sent, ack_failure, ack_success, bye, cancel, options};
pub use refusal::reply_at_a_glance;
pub use reply::{Reply, reason_phrase, reply};
pub use request::{MaxForwards, NewUri, RecordRoute, RequestPlan, request};
pub use response::response;
pub use route::{RouteSlice, Strict, routes_above};
pub use uri::{UriText, request_uri};
pub use via::{OwnVia, ViaPlan};

/// The methods that pass through us, as an Allow header lists them.
pub const ALLOW: &str =
    "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, REFER, NOTIFY, SUBSCRIBE, MESSAGE";

/// Max-Forwards of what begins with us (RFC 3261 §8.1.1.6).
const MAX_FORWARDS: u8 = 70;
