//! The configuration that the demo runs with: a file as anyone would write it.

use std::{net::SocketAddr, path::Path};

use super::cast::{DUBLIN, FRANKFURT, PBXS, Ports, TRUNK, TRUNKLINE};

/// How the router looks after its peers.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Probing {
    /// So that each fault of a scene is found by a call, to be watched.
    ForTheScenes,
    /// By the defaults: faults are found by probes, if no call comes first.
    Usual,
}

impl Probing {
    /// The tables for edges and for targets.
    fn tables(self) -> (&'static str, &'static str) {
        match self {
            Probing::ForTheScenes => (
                r#"[trunk.termination.health]
# A probe is given 5 s, longer than a call is. In earnest it would be the other way round (the
# default is 1 s); here it leaves the discovery of a silent address to a call, to be watched.
probe_interval = "1s"
probe_timeout = "5s"

"#,
                r#"[trunk.origination.health]
probe_interval = "off"                     # for the same reason

"#,
            ),
            Probing::Usual => ("", ""),
        }
    }
}

/// The whole file.
pub fn text(
    ports: Ports,
    dns: SocketAddr,
    webhook: SocketAddr,
    state_dir: &Path,
    probing: Probing,
) -> String {
    let (edge_health, target_health) = probing.tables();
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
setup_budget = "32s"                       # room for four silent addresses of either edge

{edge_health}[trunk.origination]                        # calls in
targets = [
{targets}]

{target_health}[trunk.disaster_recovery]                  # asked when no target takes a call
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
        for probing in [Probing::ForTheScenes, Probing::Usual] {
            let path = Path::new("/tmp/a \"b\"");
            let text = text(
                Ports::CHOICES[0],
                ([127, 0, 5, 1], 53).into(),
                webhook,
                path,
                probing,
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
}
