//! The configuration that the demo runs with: a file as anyone would write it.

use std::{net::SocketAddr, path::Path};

use super::cast::{DUBLIN, FRANKFURT, PBXS, Ports, TRUNK, TRUNKLINE};

/// The whole file.
pub fn text(ports: Ports, dns: SocketAddr, webhook: SocketAddr, state_dir: &Path) -> String {
    let here = ports.sip_at(TRUNKLINE);
    let admin = SocketAddr::from((TRUNKLINE, ports.admin));
    // As TOML quotes it, which is as Rust does for any path one meets.
    let state_dir = format!("{:?}", state_dir.display().to_string());
    let targets: String = PBXS
        .iter()
        .map(|target| {
            format!(
                "  {{ uri = \"sip:{}\", priority = {}, weight = {} }},\n",
                target.role.host, target.priority, target.weight
            )
        })
        .collect();
    format!(
        r#"[node]
name = "demo"
state_dir = {state_dir}
drain_timeout = "2s"

[[listen]]
protocol = "udp"
address = "{here}"

[[listen]]
protocol = "tcp"
address = "{here}"

[admin]
address = "{admin}"

[dns]
servers = ["{dns}"]                # the demo's own; it has SRV records for every name below

[pbx]                                      # who may call out, beside the targets themselves
allow = ["127.0.8.0/24", "127.0.0.1"]

[[trunk]]
name = "{TRUNK}"
allow = ["127.0.7.0/24"]                   # who may bring calls in

[trunk.termination]                        # calls out
edges = ["{DUBLIN}", "{FRANKFURT}"]
response_timeout = "4s"
max_attempts = 6                           # 6 x 4 s are within setup_budget (28 s)

[trunk.termination.health]
# A probe is given 5 s, longer than a call is. In earnest it would be the other way round (the
# default is 1 s); here it leaves the discovery of a silent address to a call, to be watched.
probe_interval = "1s"
probe_timeout = "5s"

[trunk.origination]                        # calls in
targets = [
{targets}]

[trunk.origination.health]
probe_interval = "off"                     # for the same reason

[trunk.disaster_recovery]                  # asked when no target takes a call
url = "http://{webhook}/voice"

[[route]]
match = "*"
trunks = ["{TRUNK}"]
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_runs_with_a_file_that_check_calls_good() {
        let webhook = ([127, 0, 9, 2], 8080).into();
        let text = text(
            Ports::CHOICES[0],
            ([127, 0, 5, 1], 53).into(),
            webhook,
            Path::new("/tmp/a \"b\""),
        );
        let loaded =
            trunkline_config::parse(&text, Path::new("demo.toml"), &trunkline_config::System)
                .unwrap_or_else(|report| panic!("{report}"));
        assert_eq!(
            loaded
                .warnings
                .iter()
                .map(|it| &it.message)
                .collect::<Vec<_>>(),
            [""; 0]
        );
        assert_eq!(loaded.settings.places.len(), 2 + PBXS.len());
    }
}
