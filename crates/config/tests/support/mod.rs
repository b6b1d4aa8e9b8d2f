//! What the tests of this crate share.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use trunkline_config::{Environment, Loaded, Report};

/// A machine that exists only in memory.
pub struct Memory {
    files: HashMap<PathBuf, Vec<u8>>,
    addresses: bool,
}

impl Memory {
    pub fn new() -> Self {
        let mut memory = Memory {
            files: HashMap::new(),
            addresses: true,
        };
        memory.file("/etc/trunkline/secrets/acme.token", "12345\n");
        memory
    }

    #[allow(
        dead_code,
        reason = "each test file is a crate of its own and uses what it needs"
    )]
    pub fn empty() -> Self {
        Memory {
            files: HashMap::new(),
            addresses: true,
        }
    }

    pub fn file(&mut self, path: &str, content: &str) -> &mut Self {
        self.files
            .insert(PathBuf::from(path), content.as_bytes().to_vec());
        self
    }

    #[allow(
        dead_code,
        reason = "each test file is a crate of its own and uses what it needs"
    )]
    pub fn without_addresses(&mut self) -> &mut Self {
        self.addresses = false;
        self
    }

    pub fn parse(&self, text: &str) -> Result<Loaded, Report> {
        trunkline_config::parse(text, Path::new("/etc/trunkline/trunkline.toml"), self)
    }
}

impl Environment for Memory {
    fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files
            .get(path)
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn local_address(&self, ipv6: bool) -> Option<IpAddr> {
        let text = if ipv6 { "2001:db8::5" } else { "192.0.2.5" };
        self.addresses.then(|| text.parse().unwrap())
    }

    fn host_name(&self) -> Option<String> {
        Some("test-host".to_owned())
    }
}
