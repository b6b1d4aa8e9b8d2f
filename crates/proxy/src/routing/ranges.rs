//! Longest prefix match: the cost grows with neither the list nor the variety of its lengths.
//!
//! Networks either lie inside each other or apart, so a list of them cuts all addresses into ranges,
//! each with the smallest network around it. One binary search finds the range.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// What the smallest network around an address maps to.
#[derive(Clone, Debug, Default)]
pub struct Ranges {
    v4: Cuts<u32>,
    v6: Cuts<u128>,
}

/// Where ranges begin, in order, and whose they are.
#[derive(Clone, Debug)]
struct Cuts<N> {
    begins: Vec<N>,
    values: Vec<Option<u32>>,
}

impl<N> Default for Cuts<N> {
    fn default() -> Self {
        Cuts {
            begins: Vec::new(),
            values: Vec::new(),
        }
    }
}

impl Ranges {
    /// Ranges of [`canonical`] networks, no two the same.
    pub fn new(networks: impl IntoIterator<Item = (IpNet, u32)>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (network, value) in networks {
            match network {
                IpNet::V4(net) => {
                    v4.push((net.network().to_bits(), net.broadcast().to_bits(), value))
                }
                IpNet::V6(net) => {
                    v6.push((net.network().to_bits(), net.broadcast().to_bits(), value))
                }
            }
        }
        Ranges {
            v4: Cuts::new(v4, |last| last.checked_add(1)),
            v6: Cuts::new(v6, |last| last.checked_add(1)),
        }
    }

    /// What the longest prefix that holds this address maps to. IPv6 prefixes hold no IPv4 address,
    /// however it is written.
    pub fn find(&self, address: IpAddr) -> Option<u32> {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.find(address.to_bits()),
            IpAddr::V6(address) => self.v6.find(address.to_bits()),
        }
    }
}

/// The network as IPv4 where it is IPv4 written as IPv6: the same network has one form.
pub fn canonical(network: IpNet) -> IpNet {
    if let IpNet::V6(net) = network
        && let (Some(address), Some(length)) = (
            net.network().to_ipv4_mapped(),
            net.prefix_len().checked_sub(96),
        )
        && let Ok(net) = Ipv4Net::new(address, length)
    {
        return net.into();
    }
    network.trunc()
}

impl<N: Copy + Ord> Cuts<N> {
    /// From first and last address of each network; `after` is the next address, if there is one.
    fn new(mut networks: Vec<(N, N, u32)>, after: impl Fn(N) -> Option<N>) -> Self {
        // An outer network before those inside it.
        networks.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        let mut cuts = Cuts::default();
        let mut around: Vec<(N, u32)> = Vec::new();
        for (first, last, value) in networks {
            while let Some((end, _)) = around.pop_if(|(end, _)| *end < first) {
                cuts.leave(after(end), &around);
            }
            cuts.cut(first, Some(value));
            around.push((last, value));
        }
        while let Some((end, _)) = around.pop() {
            cuts.leave(after(end), &around);
        }
        cuts
    }

    /// Behind a network, what is around it goes on.
    fn leave(&mut self, at: Option<N>, around: &[(N, u32)]) {
        if let Some(at) = at {
            self.cut(at, around.last().map(|(_, value)| *value));
        }
    }

    fn cut(&mut self, at: N, value: Option<u32>) {
        if self.begins.last() == Some(&at) {
            self.begins.pop();
            self.values.pop();
        }
        self.begins.push(at);
        self.values.push(value);
    }

    fn find(&self, address: N) -> Option<u32> {
        let at = self.begins.partition_point(|begin| *begin <= address);
        self.values.get(at.checked_sub(1)?).copied()?
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn the_smallest_network_around_an_address_counts() {
        let networks = [
            ("0.0.0.0/0", 0),
            ("10.0.0.0/8", 1),
            ("10.1.0.0/16", 2),
            ("10.1.255.255/32", 3),
            ("255.255.255.255/32", 4),
            ("::/0", 5),
            ("2001:db8::/32", 6),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", 7),
        ];
        let ranges = Ranges::new(networks.map(|(net, value)| (net.parse().unwrap(), value)));
        for (address, wanted) in [
            ("9.255.255.255", 0),
            ("10.0.0.0", 1),
            ("10.1.0.0", 2),
            ("10.1.255.254", 2),
            ("10.1.255.255", 3),
            ("10.2.0.0", 1),
            ("11.0.0.0", 0),
            ("255.255.255.254", 0),
            ("255.255.255.255", 4),
            ("::ffff:10.1.2.3", 2),
            ("2001:db7:ffff::", 5),
            ("2001:db8::1", 6),
            ("2001:db9::", 5),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 7),
        ] {
            assert_eq!(
                ranges.find(address.parse().unwrap()),
                Some(wanted),
                "{address}"
            );
        }
        assert_eq!(Ranges::default().find("10.1.2.3".parse().unwrap()), None);
    }

    #[test]
    fn a_network_has_one_form() {
        for (written, wanted) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.1.2.3/128", "10.1.2.3/32"),
            ("::/0", "::/0"),
            ("::ffff:0.0.0.0/80", "::/80"),
        ] {
            let (written, wanted): (IpNet, IpNet) =
                (written.parse().unwrap(), wanted.parse().unwrap());
            assert_eq!(canonical(written), wanted, "{written}");
        }
    }

    #[test]
    fn an_ipv6_prefix_lets_no_ipv4_in() {
        let ranges = Ranges::new([("::/0".parse().unwrap(), 1)]);
        assert_eq!(ranges.find("192.0.2.1".parse().unwrap()), None);
    }

    proptest! {
        #[test]
        fn one_search_finds_what_looking_at_all_networks_finds(
            drawn in vec((any::<u32>(), 0..=32u8), 0..40),
            addresses in vec(any::<u32>(), 8),
        ) {
            // Crowded, so that they lie inside each other.
            let crowd = |bits: u32| std::net::Ipv4Addr::from(bits & 0xe000_0707);
            let mut networks: Vec<IpNet> = drawn
                .iter()
                .map(|(bits, length)| {
                    Ipv4Net::new(crowd(*bits), *length).unwrap().trunc().into()
                })
                .collect();
            networks.sort();
            networks.dedup();
            let ranges = Ranges::new(networks.iter().copied().zip(0..));
            for address in addresses {
                let address = IpAddr::from(crowd(address));
                let around = networks.iter().enumerate().filter(|(_, net)| net.contains(&address));
                let wanted = around.max_by_key(|(_, net)| net.prefix_len()).map(|(at, _)| at as u32);
                prop_assert_eq!(ranges.find(address), wanted);
            }
        }
    }
}
