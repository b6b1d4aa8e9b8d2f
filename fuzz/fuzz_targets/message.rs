//! Any bytes as a message: what `crates/sip/tests/support/invariants.rs` says of all of them.
#![no_main]

#[path = "../../crates/sip/tests/support/invariants.rs"]
#[allow(dead_code, reason = "each target uses its own part of it")]
mod invariants;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| invariants::message(bytes));
