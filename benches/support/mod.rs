//! What `loopback` is made of.

pub mod callee;
pub mod caller;
pub mod line;
pub mod shard;
