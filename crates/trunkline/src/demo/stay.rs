//! `--stay`: the demo's world as a place to try things in.

use std::{fmt::Write as _, fs, io, process::ExitCode};

use trunkline_config::{LogFormat, LogLevel};

use super::{
    cast::{CARRIER, DUBLIN, FRANKFURT, PBXS, Ports, TRUNKLINE},
    config::Probing,
    stage::say,
    webhook,
    world::World,
};
use crate::logging;

/// Keeps everything running until Ctrl-C, with one line a call in the log.
pub async fn stay(mut world: World) -> ExitCode {
    let config = world.config(Probing::Usual);
    if let Err(error) = write(&world, &config) {
        say(&format!(
            "cannot write {}: {error}",
            world.config_path.display()
        ));
        return ExitCode::FAILURE;
    }
    world.tape.stop();
    say(&invitation(&world, &config));
    logging::start(LogFormat::Text, LogLevel::Info);
    let folder = world.folder().to_owned();
    world.service.reload(&world.config_path).await;
    let World {
        service,
        config_path,
        carrier,
        pbxs,
        emergency,
        webhook,
        dns,
        ..
    } = world;
    let code = service.until_signalled(&config_path).await;
    drop((carrier, pbxs, emergency, webhook, dns));
    // What is left of it is in the system's own folder for such things.
    let _ = fs::remove_dir_all(folder);
    code
}

fn write(world: &World, config: &str) -> io::Result<()> {
    fs::create_dir_all(world.folder())?;
    fs::write(&world.config_path, config)
}

fn invitation(world: &World, config: &str) -> String {
    let file = world.config_path.display();
    let mut text = format!(
        "\nThe configuration, {file}\n(from here on with the usual probes, so that faults are found without a call):\n\n"
    );
    for line in config.lines() {
        text += format!("    {line}").trim_end();
        text.push('\n');
    }
    text += &format!("\n{}", who(world.ports));
    let dns = world.dns.addr();
    let hook = world.webhook.addr();
    let port = world.ports.sip;
    let here = world.ports.sip_at(TRUNKLINE);
    // Writing to a String does not fail.
    let _ = write!(
        text,
        "  DNS         {dns}
  {:<11} http://{hook}/voice (POST), answers with TwiML that dials the emergency phone

Every address above answers calls: rings, picks up, waits for BYE. Try, in another terminal:

  trunkline targets -c {file}
  trunkline check {file}
  curl http://{}/metrics
  sipp -sn uac -i 127.0.0.1 -s +15550100 -m 10 {here}       # calls out (127.0.0.1 counts as a PBX)
  sipp -sn uac -i 127.0.7.99 -s +35315550123 -m 100 {here}  # calls in (127.0.7.* is the carrier)
  dig @{} -p {} _sip._udp.{DUBLIN} SRV +short

A softphone on this machine: no registration, outbound proxy {here} over UDP, any number.
It speaks from 127.0.0.1, so it counts as a PBX. Every SIP port here is {port}.

A PBX of your own: sipp -sn uas -i 127.0.0.1 -p 7000, and in the file a target
{{ uri = \"sip:127.0.0.1:7000\", priority = 5, weight = 1 }}; then reload with: kill -HUP {}

Running. Ctrl-C ends it; below is Trunkline's log, one line a call.
",
        webhook::LABEL,
        world
            .service
            .admin
            .map_or_else(|| "(no admin address)".into(), |addr| addr.to_string()),
        dns.ip(),
        dns.port(),
        std::process::id(),
    );
    text
}

fn who(ports: Ports) -> String {
    let mut text = format!(
        "  trunkline   {} (udp, tcp), admin http://{TRUNKLINE}:{}\n",
        ports.sip_at(TRUNKLINE),
        ports.admin
    );
    for role in CARRIER {
        let edge = if role.host.ends_with(DUBLIN) {
            DUBLIN
        } else {
            FRANKFURT
        };
        text += &format!(
            "  {:<11} {} (udp), an address of edge {edge}\n",
            role.label,
            ports.sip_at(role.ip)
        );
    }
    for target in PBXS {
        text += &format!(
            "  {:<11} {} (udp), priority {}, weight {}\n",
            target.role.label,
            ports.sip_at(target.role.ip),
            target.priority,
            target.weight
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_introduced_with_an_address() {
        let text = who(Ports::CHOICES[0]);
        assert!(
            text.contains(
                "dublin-2    127.0.7.2:5060 (udp), an address of edge dublin.carrier.test\n"
            ),
            "{text}"
        );
        assert!(text.contains(
            "frankfurt   127.0.7.11:5060 (udp), an address of edge frankfurt.carrier.test\n"
        ));
        assert!(
            text.contains("spare       127.0.8.4:5060 (udp), priority 20, weight 1\n"),
            "{text}"
        );
    }
}
