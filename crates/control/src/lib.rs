//! The slow side of Trunkline: DNS, webhooks, metrics, logs and the admin server.
//!
//! Everything here may wait, so nothing here is on the path of a call that goes well. It talks
//! with the shards through the message types of `trunkline-proxy` and knows none of their insides.
//! Needs a tokio runtime with time and I/O; one thread is enough.
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

mod addresses;
pub mod admin;
mod call_line;
mod control;
mod decimal;
pub mod dr;
pub mod fences;
pub mod http;
pub mod log;
mod lookups;
pub mod mask;
pub mod metrics;
pub mod resolve;
pub mod signature;
pub mod testdns;
pub mod view;

pub use call_line::{CallLines, LineFormat};
pub use control::{Control, ControlError, ControlHandle, ControlSettings};
pub use http::HttpClient;
pub use metrics::NetCounts;
pub use resolve::{Keeper, Lookup, Pace, Resolver};
pub use view::View;
