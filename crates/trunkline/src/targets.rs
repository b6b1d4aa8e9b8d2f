//! `trunkline targets`: what each name resolves to now, and who lives.

use std::{path::Path, process::ExitCode, sync::Arc};

use hyper::Method;
use serde_json::Value;
use trunkline_config::Loaded;
use trunkline_control::{Keeper, Pace, Resolver, View};

use crate::admin_client;

/// Prints a table, or JSON. Exit code 0; 1 when DNS cannot be set up; 2 for a bad configuration.
pub fn targets(config: &Path, json: bool) -> ExitCode {
    let loaded = match trunkline_config::load(config) {
        Ok(loaded) => loaded,
        Err(report) => {
            eprintln!("{report}");
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("trunkline targets: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(async {
        let running = match loaded.control.admin {
            Some(admin) => admin_client::call(admin, Method::GET, "/targets", None).await,
            None => Err("no [admin] address in the file".into()),
        };
        let shown = match running {
            Ok(shown) => shown,
            Err(why) => {
                eprintln!("No running service to ask ({why}): resolving here, health unknown.");
                match resolve(&loaded).await {
                    Ok(shown) => shown,
                    Err(error) => {
                        eprintln!("trunkline targets: {error}");
                        return ExitCode::FAILURE;
                    }
                }
            }
        };
        if json {
            println!("{shown:#}");
        } else {
            print!("{}", table(&shown));
        }
        ExitCode::SUCCESS
    })
}

async fn resolve(loaded: &Loaded) -> Result<Value, Box<dyn std::error::Error>> {
    let resolver = Resolver::new(&loaded.control.dns_servers, loaded.control.dns_timeout)?;
    let patience = loaded.control.dns_timeout * 2;
    let (keeper, routing) = Keeper::start(
        Arc::clone(&loaded.settings),
        resolver,
        patience,
        Pace::default(),
    )
    .await;
    let view = View::new();
    view.set_routing(routing);
    view.set_places(keeper.status());
    let mut shown = serde_json::to_value(view.targets())?;
    for candidate in shown
        .as_array_mut()
        .into_iter()
        .flatten()
        .flat_map(|it| it["candidates"].as_array_mut())
        .flatten()
    {
        candidate["health"] = "unknown".into();
    }
    Ok(shown)
}

fn table(shown: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines = String::new();
    for place in shown.as_array().into_iter().flatten() {
        lines += &format!(
            "{}  {}  {}  {}",
            text(&place["trunk"]),
            text(&place["role"]),
            text(&place["written"]),
            text(&place["freshness"])
        );
        if let Some(why) = place["why"].as_str() {
            lines += &format!(" ({why})");
        }
        if place["drained"] == true {
            lines += "  drained";
        }
        lines.push('\n');
        for candidate in place["candidates"].as_array().into_iter().flatten() {
            let why = text(&candidate["why"]);
            lines += &format!(
                "    {}:{:<24} {}{}\n",
                text(&candidate["transport"]),
                text(&candidate["address"]),
                text(&candidate["health"]),
                if why.is_empty() {
                    String::new()
                } else {
                    format!(" ({why})")
                }
            );
        }
        for left_out in place["left_out"].as_array().into_iter().flatten() {
            lines += &format!("    left out: {}\n", text(left_out));
        }
        if place["candidates"].as_array().is_none_or(Vec::is_empty) {
            lines += "    no address\n";
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn the_table_shows_every_address_with_its_health() {
        let shown = serde_json::json!([{
            "trunk": "acme", "role": "edge", "written": "a.test", "freshness": "stale", "why": "no answer",
            "candidates": [{"transport": "udp", "address": "192.0.2.1:5060", "health": "down", "why": "silent"}],
        }, {"trunk": "acme", "role": "target", "written": "b.test", "freshness": "absent", "candidates": []}]);
        let text = table(&shown);
        assert!(
            text.starts_with("acme  edge  a.test  stale (no answer)\n    udp:192.0.2.1:5060"),
            "{text}"
        );
        assert!(
            text.contains("down (silent)\n") && text.ends_with("    no address\n"),
            "{text}"
        );
    }
}
