//! Any bytes as a stream, in segments of any size. The first two bytes choose the sizes.
#![no_main]

#[path = "../../crates/sip/tests/support/invariants.rs"]
#[allow(dead_code, reason = "each target uses its own part of it")]
mod invariants;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let [small, large, stream @ ..] = bytes {
        invariants::frame(stream, &[1, 1 + usize::from(*small % 16), 1 + usize::from(*large) * 4]);
    }
});
