//! Addresses of simulated peers, as scripts and traces write them.
//!
//! `192.0.2.1` is UDP and port 5060; `tcp:192.0.2.1:5070` and `udp:[2001:db8::1]:5060` say more.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use trunkline_sip::Transport;

/// Where a peer is.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Address {
    /// Whether it is reached over a stream.
    pub stream: bool,
    /// Its socket address.
    pub socket: SocketAddr,
}

impl Address {
    /// Reads one; `None` when it is none.
    pub fn parse(text: &str) -> Option<Address> {
        let (stream, rest) = match text.split_once(':') {
            Some(("tcp", rest)) => (true, rest),
            Some(("udp", rest)) => (false, rest),
            _ => (false, text),
        };
        let ip = |text: &str| text.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        let socket = rest
            .parse()
            .ok()
            .or_else(|| Some(SocketAddr::new(ip(rest)?, 5060)))?;
        Some(Address { stream, socket })
    }

    /// As the proxy's types say it.
    pub const fn transport(&self) -> Transport {
        if self.stream {
            Transport::Tcp
        } else {
            Transport::Udp
        }
    }

    /// As `host:port`, for Via and Contact.
    pub fn host_port(&self) -> String {
        self.socket.to_string()
    }

    /// The parameter that a URI needs to say the transport.
    pub const fn uri_param(&self) -> &'static str {
        if self.stream { ";transport=tcp" } else { "" }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.stream {
            f.write_str("tcp:")?;
        }
        match (self.socket.port(), self.socket.ip()) {
            (5060, IpAddr::V4(ip)) => write!(f, "{ip}"),
            (5060, IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            _ => write!(f, "{}", self.socket),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back_as_they_print() {
        for text in [
            "192.0.2.1",
            "192.0.2.1:5070",
            "tcp:192.0.2.1",
            "tcp:192.0.2.1:40001",
            "[2001:db8::1]",
            "tcp:[2001:db8::1]:5070",
        ] {
            assert_eq!(
                Address::parse(text)
                    .map(|address| address.to_string())
                    .as_deref(),
                Some(text)
            );
        }
        assert_eq!(
            Address::parse("udp:192.0.2.1:5060"),
            Address::parse("192.0.2.1")
        );
        assert_eq!(
            Address::parse("2001:db8::1"),
            Address::parse("[2001:db8::1]")
        );
        for text in ["pbx", "", "tcp:", "192.0.2.1:x", "300.0.0.1"] {
            assert_eq!(Address::parse(text), None, "{text}");
        }
    }
}
