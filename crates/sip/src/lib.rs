//! SIP as text: bytes to messages and back, byte for byte. No time, no state, no input or output.
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

pub mod transport;

pub use transport::Transport;
