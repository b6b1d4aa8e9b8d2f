//! Hosts, addresses and networks as people write them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// Checks a host name or a literal address. Returns it in lower case, IPv6 in brackets; the error
/// says what is wrong with it.
pub(crate) fn host(text: &str) -> Result<String, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    if let Ok(v6) = bare.parse::<Ipv6Addr>() {
        return Ok(format!("[{v6}]"));
    }
    if let Ok(v4) = text.parse::<std::net::Ipv4Addr>() {
        return Ok(v4.to_string());
    }
    if text.is_empty() {
        return Err("the host is empty".to_owned());
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        let inside = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=63).contains(&label.len())
            && label.chars().all(inside)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(format!("{text:?} is neither a host name nor an address"));
    }
    // "10.0.0.300" is a mistyped address, not a name: no top-level domain is a number.
    if name
        .rsplit('.')
        .next()
        .is_some_and(|last| last.chars().all(|c| c.is_ascii_digit()))
    {
        return Err(format!("{text:?} is no valid address"));
    }
    Ok(name.to_ascii_lowercase())
}

/// Splits "host:port", "[v6]:port", or a host alone. The error says what is wrong.
pub(crate) fn host_and_port(text: &str) -> Result<(String, Option<u16>), String> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok((host(text)?, None));
    }
    let after_brackets = text.find(']').map_or(0, |at| at + 1);
    let Some(colon) = text.get(after_brackets..).and_then(|rest| rest.rfind(':')) else {
        return Ok((host(text)?, None));
    };
    let (name, port) = text.split_at(after_brackets + colon);
    let port = port.get(1..).unwrap_or_default();
    let number = port.parse::<u16>().ok().filter(|number| *number > 0);
    let number = number.ok_or_else(|| format!("{port:?} is no port (1 to 65535)"))?;
    Ok((host(name)?, Some(number)))
}

/// Reads "192.0.2.1:5060" or "[2001:db8::1]:5060"; a port may be missing when there is a usual one.
/// The error is what to write instead.
pub(crate) fn socket(text: &str, usual_port: Option<u16>) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let with_port = |address: IpAddr, port| SocketAddr::new(address, port);
    match (bare.parse::<IpAddr>(), usual_port) {
        (Ok(address), Some(port)) => Ok(with_port(address, port)),
        (Ok(address), None) => Err(format!("add the port: \"{}\"", with_port(address, 5060))),
        (Err(_), _) if text.starts_with(':') => {
            Err(format!("put an address before the port: \"0.0.0.0{text}\""))
        }
        (Err(_), _) => Err(
            "write an address and a port, not a name: \"192.0.2.1:5060\" or \"[2001:db8::1]:5060\""
                .to_owned(),
        ),
    }
}

/// Reads "10.0.0.0/8" or a single address. The error is what to write instead.
pub(crate) fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    match text.parse::<IpNet>() {
        // Host bits that are set are nearly always a slip: 10.0.0.7/8 allows 16 million addresses.
        Ok(net) if net.addr() != net.network() => {
            let (net, single) = (net.trunc(), net.addr());
            Err(format!(
                "write \"{net}\" for the network or \"{single}\" for one address"
            ))
        }
        Ok(net) => Ok(net),
        Err(_) => {
            Err("write an address (\"192.0.2.1\") or a network (\"192.0.2.0/24\")".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses() {
        for (text, read) in [
            ("PBX1.Example.net", Some("pbx1.example.net")),
            ("pbx", Some("pbx")),
            ("example.net.", Some("example.net")),
            ("10.0.0.1", Some("10.0.0.1")),
            ("2001:DB8::1", Some("[2001:db8::1]")),
            ("[2001:db8::1]", Some("[2001:db8::1]")),
            ("_sip._udp.example.net", Some("_sip._udp.example.net")),
            ("10.0.0.300", None),
            ("a..b", None),
            ("-a.example", None),
            ("a b", None),
            ("", None),
            ("exämple.net", None),
        ] {
            assert_eq!(host(text).ok().as_deref(), read, "{text}");
        }
    }

    #[test]
    fn ports_follow_the_last_colon() {
        for (text, read) in [
            ("pbx:5070", Some(("pbx", Some(5070)))),
            ("pbx", Some(("pbx", None))),
            ("[::1]:5070", Some(("[::1]", Some(5070)))),
            ("[::1]", Some(("[::1]", None))),
            ("::1", Some(("[::1]", None))),
            ("pbx:0", None),
            ("pbx:99999", None),
            ("pbx:", None),
            (":5060", None),
        ] {
            let found = host_and_port(text).ok();
            let found = found.as_ref().map(|(host, port)| (host.as_str(), *port));
            assert_eq!(found, read, "{text}");
        }
    }

    #[test]
    fn networks_with_host_bits_are_asked_about() {
        assert_eq!(network("10.0.0.0/8"), Ok("10.0.0.0/8".parse().unwrap()));
        assert_eq!(network("::1"), Ok("::1/128".parse().unwrap()));
        assert!(
            network("10.0.0.7/8")
                .unwrap_err()
                .contains("\"10.0.0.0/8\"")
        );
        assert!(network("10.0.0.0/33").unwrap_err().contains("a network"));
    }

    #[test]
    fn sockets_without_a_port_are_told_where_it_goes() {
        assert_eq!(socket("[::]:5060", None), Ok("[::]:5060".parse().unwrap()));
        assert_eq!(
            socket("9.9.9.9", Some(53)),
            Ok("9.9.9.9:53".parse().unwrap())
        );
        assert!(
            socket("10.0.0.1", None)
                .unwrap_err()
                .contains("\"10.0.0.1:5060\"")
        );
        assert!(socket("::1", None).unwrap_err().contains("\"[::1]:5060\""));
        assert!(
            socket(":5060", None)
                .unwrap_err()
                .contains("\"0.0.0.0:5060\"")
        );
        assert!(socket("pbx:5060", None).unwrap_err().contains("not a name"));
    }
}
