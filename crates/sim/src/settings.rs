//! Configurations of scripts and worlds: the product's own format, read by the product's own code,
//! on a machine that is always the same.

use std::{io, net::IpAddr, path::Path, sync::Arc};

use trunkline_config::Environment;
use trunkline_proxy::Settings;

/// A machine of which the configuration cannot learn anything that changes.
struct Nowhere;

impl Environment for Nowhere {
    fn read_file(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(b"0123456789abcdef0123456789abcdef\n".to_vec())
    }

    fn local_address(&self, ipv6: bool) -> Option<IpAddr> {
        let address = if ipv6 { "2001:db8::10" } else { "203.0.113.10" };
        address.parse().ok()
    }

    fn host_name(&self) -> Option<String> {
        Some("sim".into())
    }
}

/// Reads a configuration.
///
/// # Errors
/// What `trunkline check` would say.
pub fn from_toml(text: &str, path: &Path) -> Result<Arc<Settings>, String> {
    trunkline_config::parse(text, path, &Nowhere)
        .map(|loaded| loaded.settings)
        .map_err(|report| report.to_string())
}
