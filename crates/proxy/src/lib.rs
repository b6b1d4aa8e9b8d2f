//! The SIP proxy as a value: inputs and the time go in, effects come out.
//!
//! Everything Trunkline decides is decided here; nothing here waits, reads a clock or opens a
//! socket. `crates/README.md` tells how the parts fit together.
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

pub mod branch;
#[doc(hidden)]
pub mod census;
mod choose;
mod context;
mod contexts;
pub mod dialog;
pub mod dice;
pub mod drill;
mod engine;
pub mod event;
pub mod forward;
mod heading;
pub mod health;
pub mod hop;
mod in_dialog;
mod letters;
mod local;
pub mod moment;
mod next_hop;
pub mod outbox;
mod own_route;
mod paper;
pub mod pressure;
pub mod proxy;
pub mod question;
mod quick;
mod rate;
pub mod recovery;
mod reject;
mod rendezvous;
mod reply;
mod request;
mod retry;
pub mod routing;
pub mod select;
pub mod settings;
pub mod shared;
mod shed;
mod snapshot;
mod spread;
mod sweep;
mod table;
mod tally;
pub mod timer;
pub mod token;
pub mod transaction;
mod walk;

pub use event::Event;
pub use hop::{ConnectionId, Hop, HopLoss, ListenerId, ShardId};
pub use moment::Moment;
pub use outbox::{Effect, Outbox, Sending};
pub use proxy::{Clock, Input, Proxy, Seed};
pub use question::{Answer, AskId, Question};
pub use routing::Routing;
pub use settings::Settings;
pub use shared::Shared;

/// A request larger than this should not travel by UDP (RFC 3261 §18.1.1).
pub const UDP_SAFE_BYTES: usize = 1300;
