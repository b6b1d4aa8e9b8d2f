//! The slow side of Trunkline: DNS, webhooks, metrics, logs and the admin server.
//!
//! Everything here may wait, so nothing here is on the path of a call that goes well. It talks
//! with the shards through the message types of `trunkline-proxy` and knows none of their insides.
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

pub mod resolve;
pub mod testdns;

pub use resolve::{Lookup, Resolver};
