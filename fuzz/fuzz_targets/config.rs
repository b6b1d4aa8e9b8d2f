//! Any text as a configuration: routing or a report that can be printed, never a panic.
#![no_main]

use std::io;
use std::net::IpAddr;
use std::path::Path;

use trunkline_config::Environment;

/// A machine on which nothing depends on the machine.
struct Nowhere;

impl Environment for Nowhere {
    fn read_file(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(b"a secret of at least sixteen bytes\n".to_vec())
    }

    fn local_address(&self, ipv6: bool) -> Option<IpAddr> {
        (!ipv6).then_some(IpAddr::from([192, 0, 2, 1]))
    }

    fn host_name(&self) -> Option<String> {
        Some("edge-1".to_owned())
    }
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Err(report) = trunkline_config::parse(text, Path::new("trunkline.toml"), &Nowhere) {
        assert!(!report.to_string().is_empty());
    }
});
