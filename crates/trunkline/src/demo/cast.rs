//! Who takes part in the demo, and where: every address is one of loopback's.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The name server.
pub const DNS: Ipv4Addr = Ipv4Addr::new(127, 0, 5, 1);
/// Trunkline itself.
pub const TRUNKLINE: Ipv4Addr = Ipv4Addr::new(127, 0, 6, 1);
/// The web server that is asked when no PBX takes a call.
pub const WEBHOOK: Ipv4Addr = Ipv4Addr::new(127, 0, 9, 2);

/// The trunk's name.
pub const TRUNK: &str = "acme";
/// The first edge.
pub const DUBLIN: &str = "dublin.carrier.test";
/// The second edge.
pub const FRANKFURT: &str = "frankfurt.carrier.test";
/// Where the webhook sends calls.
pub const EMERGENCY: &str = "emergency.office.test";

/// One that sends and receives calls.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Role {
    /// As ladders and tables show it.
    pub label: &'static str,
    /// Its host name in the demo's DNS.
    pub host: &'static str,
    /// Its address.
    pub ip: Ipv4Addr,
}

/// A PBX and its share.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Who.
    pub role: Role,
    /// Lowest first.
    pub priority: u16,
    /// Share inside the priority.
    pub weight: u16,
}

const fn role(label: &'static str, host: &'static str, ip: [u8; 4]) -> Role {
    Role {
        label,
        host,
        ip: Ipv4Addr::new(ip[0], ip[1], ip[2], ip[3]),
    }
}

/// The carrier's addresses: two in Dublin, one in Frankfurt.
pub const CARRIER: [Role; 3] = [
    role("dublin-1", "a.dublin.carrier.test", [127, 0, 7, 1]),
    role("dublin-2", "b.dublin.carrier.test", [127, 0, 7, 2]),
    role("frankfurt", "a.frankfurt.carrier.test", [127, 0, 7, 11]),
];

/// The PBXs. The last is a spare.
pub const PBXS: [Target; 4] = [
    Target {
        role: role("pbx-1", "pbx1.office.test", [127, 0, 8, 1]),
        priority: 10,
        weight: 60,
    },
    Target {
        role: role("pbx-2", "pbx2.office.test", [127, 0, 8, 2]),
        priority: 10,
        weight: 20,
    },
    Target {
        role: role("pbx-3", "pbx3.office.test", [127, 0, 8, 3]),
        priority: 10,
        weight: 20,
    },
    Target {
        role: role("spare", "spare.office.test", [127, 0, 8, 4]),
        priority: 20,
        weight: 1,
    },
];

/// A phone that the PBXs know nothing of.
pub const EMERGENCY_PHONE: Role = role("emergency phone", EMERGENCY, [127, 0, 9, 1]);

/// The ports of one run. Everyone who speaks SIP has the same one, each at its own address.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Ports {
    /// SIP.
    pub sip: u16,
    /// Trunkline's admin server.
    pub admin: u16,
}

impl Ports {
    /// In order of preference: the next pair is for when something of one is taken.
    pub const CHOICES: [Ports; 6] = [
        Ports {
            sip: 5060,
            admin: 8060,
        },
        Ports {
            sip: 5070,
            admin: 8070,
        },
        Ports {
            sip: 5080,
            admin: 8080,
        },
        Ports {
            sip: 15060,
            admin: 18060,
        },
        Ports {
            sip: 25060,
            admin: 28060,
        },
        Ports {
            sip: 35060,
            admin: 38060,
        },
    ];

    /// Where a role listens.
    pub fn sip_at(self, ip: Ipv4Addr) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(ip), self.sip)
    }
}

/// Everyone who speaks SIP, except Trunkline.
pub fn everyone() -> impl Iterator<Item = Role> {
    CARRIER
        .into_iter()
        .chain(PBXS.map(|target| target.role))
        .chain([EMERGENCY_PHONE])
}

/// What an address is called here; itself when it belongs to nobody.
pub fn label_of(addr: SocketAddr) -> String {
    match everyone().find(|role| IpAddr::V4(role.ip) == addr.ip()) {
        Some(role) => role.label.into(),
        None => addr.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_has_one_label() {
        for role in everyone() {
            assert!(role.ip.is_loopback());
            assert_eq!(label_of(Ports::CHOICES[0].sip_at(role.ip)), role.label);
            assert_eq!(
                everyone().filter(|other| other.label == role.label).count(),
                1
            );
        }
        assert_eq!(label_of(([127, 0, 0, 1], 9).into()), "127.0.0.1:9");
    }
}
