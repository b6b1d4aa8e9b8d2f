//! Any bytes as a URI; and as two of them, which must agree on whether they are equal.
#![no_main]

use trunkline_sip::Uri;

#[path = "../../crates/sip/tests/support/invariants.rs"]
#[allow(dead_code, reason = "each target uses its own part of it")]
mod invariants;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    invariants::uri(bytes);
    let mut lines = bytes.splitn(2, |&byte| byte == b'\n');
    if let (Some(one), Some(other)) = (lines.next(), lines.next())
        && let (Ok(one), Ok(other)) = (Uri::parse(one), Uri::parse(other))
    {
        assert_eq!(one.equals(&other), other.equals(&one));
    }
});
