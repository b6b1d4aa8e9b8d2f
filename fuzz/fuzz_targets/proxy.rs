//! Bytes as operations on a whole proxy; what must hold is told beside them.
#![no_main]

#[path = "../../crates/proxy/tests/operations/mod.rs"]
mod operations;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| operations::run(bytes));
