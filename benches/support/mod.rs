//! What `loopback` is made of.

pub mod shard;
