//! `trunkline dr`: disaster recovery before the disaster.

use std::{net::SocketAddr, path::Path, process::ExitCode, time::Duration};

use hyper::Method;
use serde_json::{Value, json};
use trunkline_config::Loaded;
use trunkline_control::{
    HttpClient, Resolver,
    dr::{
        certificate,
        rehearsal::{self, Report, WebhookReport},
    },
};

use crate::admin_client;

/// How often a running drill is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Why a command ends.
type Failed = (ExitCode, String);

/// Asks the real webhooks, marked as a test, and prints what would happen to a call. Exit code 0;
/// 1 when anything is wrong; 2 for a bad configuration.
pub fn test(config: &Path, trunk: Option<&str>, as_json: bool) -> ExitCode {
    with_config(config, async |loaded| {
        let reports = reports(&loaded, trunk).await?;
        if as_json {
            println!("{:#}", json!(reports));
        } else {
            reports
                .iter()
                .for_each(|report| print!("{}", shown(report)));
        }
        if reports.iter().all(Report::is_fine) {
            Ok(ExitCode::SUCCESS)
        } else {
            Ok(ExitCode::FAILURE)
        }
    })
}

/// What a drill is to be.
pub struct Wanted {
    /// The trunk whose inbound calls are meant.
    pub trunk: String,
    /// For so long.
    pub lasts: Duration,
    /// Calls from or to this number.
    pub number: Option<String>,
    /// Or so many percent of all calls.
    pub percent: Option<f64>,
}

/// Has the running service treat some calls as if every PBX were down, and tells how they fared.
/// Exit code 0; 1 when one of them was lost, or the drill was refused; 2 for a bad configuration.
pub fn drill(config: &Path, wanted: &Wanted) -> ExitCode {
    with_config(config, async |loaded| {
        let Some(admin) = loaded.control.admin else {
            let words =
                "the file has no [admin] address, by which the running service could be told";
            return Err((ExitCode::FAILURE, words.into()));
        };
        for report in reports(&loaded, Some(&wanted.trunk)).await? {
            if !report.is_fine() {
                print!("{}", shown(&report));
                let words = "the webhook has problems (above), so no call is sent its way";
                return Err((ExitCode::FAILURE, words.into()));
            }
        }
        let begun = begin(admin, wanted).await?;
        let id = begun["id"].as_u64().unwrap_or_default();
        println!(
            "drill {id} of trunk {}: {} for {} s; Ctrl-C ends it",
            wanted.trunk,
            whom(wanted),
            wanted.lasts.as_secs()
        );
        let ended = watch(admin, id).await?;
        println!("{}", summary(&ended));
        let lost = ended["lost"].as_u64().unwrap_or_default();
        Ok(if lost == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    })
}

/// Loads the file and runs `work` on a runtime of its own; tells what failed.
fn with_config(
    config: &Path,
    work: impl AsyncFnOnce(Loaded) -> Result<ExitCode, Failed>,
) -> ExitCode {
    let loaded = match trunkline_config::load(config) {
        Ok(loaded) => loaded,
        Err(report) => {
            eprintln!("{report}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(work(loaded)),
        Err(error) => Err((ExitCode::FAILURE, error.to_string())),
    };
    outcome.unwrap_or_else(|(code, words)| {
        eprintln!("trunkline dr: {words}");
        code
    })
}

async fn reports(loaded: &Loaded, trunk: Option<&str>) -> Result<Vec<Report>, Failed> {
    let failed = |error: &dyn std::error::Error| (ExitCode::FAILURE, error.to_string());
    let control = &loaded.control;
    let resolver =
        Resolver::new(&control.dns_servers, control.dns_timeout).map_err(|error| failed(&error))?;
    let http = HttpClient::new(resolver.clone()).map_err(|error| failed(&error))?;
    let reports = rehearsal::rehearse(&loaded.settings, trunk, &http, &resolver).await;
    if reports.is_empty() {
        let words = match trunk {
            Some(name) => {
                format!("no trunk {name:?} with a [trunk.disaster_recovery] is in the file")
            }
            None => "no trunk in the file has a [trunk.disaster_recovery]".into(),
        };
        return Err((ExitCode::FAILURE, words));
    }
    Ok(reports)
}

async fn begin(admin: SocketAddr, wanted: &Wanted) -> Result<Value, Failed> {
    let mut body = json!({ "trunk": wanted.trunk, "seconds": wanted.lasts.as_secs() });
    if let Some(number) = &wanted.number {
        body["number"] = number.as_str().into();
    }
    if let Some(percent) = wanted.percent {
        body["percent"] = percent.into();
    }
    let answer = admin_client::call(admin, Method::POST, "/dr/drills", Some(&body)).await;
    answer.map_err(|why| (ExitCode::FAILURE, why))
}

/// Until it has ended by itself or by Ctrl-C.
async fn watch(admin: SocketAddr, id: u64) -> Result<Value, Failed> {
    let failed = |why: String| (ExitCode::FAILURE, why);
    let mut stop = std::pin::pin!(tokio::signal::ctrl_c());
    let mut told = 0;
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = &mut stop => {
                let path = format!("/dr/drills/{id}");
                // One that has just ended by itself is as ended as it should be.
                let _ = admin_client::call(admin, Method::DELETE, &path, None).await;
            }
        }
        let drills = admin_client::call(admin, Method::GET, "/dr/drills", None)
            .await
            .map_err(failed)?;
        let all = drills.as_array().into_iter().flatten();
        let Some(drill) = all.into_iter().find(|drill| drill["id"] == id) else {
            let words = "the service no longer knows the drill: was it restarted?";
            return Err(failed(words.into()));
        };
        let calls = drill["calls"].as_u64().unwrap_or_default();
        if drill["running"] != true {
            return Ok(drill.clone());
        }
        if calls > told {
            told = calls;
            println!("  {}", summary(drill));
        }
    }
}

fn whom(wanted: &Wanted) -> String {
    match (&wanted.number, wanted.percent) {
        (Some(number), _) => format!("calls from or to {number}"),
        (None, Some(percent)) => format!("{percent} % of its inbound calls"),
        (None, None) => "no calls".into(),
    }
}

fn summary(drill: &Value) -> String {
    let number = |name: &str| drill[name].as_u64().unwrap_or_default();
    let pairs = |name: &str| {
        let all = drill[name].as_object().into_iter().flatten();
        let words: Vec<String> = all.map(|(word, count)| format!("{word} {count}")).collect();
        words.join(", ")
    };
    let mut text = format!(
        "{} calls, {} answered, {} lost; responses: {}; steps: {}; slowest to be heard of: {} ms",
        number("calls"),
        number("answered"),
        number("lost"),
        pairs("responses"),
        pairs("steps"),
        number("slowest_ms"),
    );
    if let Some(why) = drill["last_failure"].as_str() {
        text += &format!("; last failure: {why}");
    }
    text
}

fn shown(report: &Report) -> String {
    let webhooks = report.webhooks.iter().map(webhook);
    format!("trunk {}\n{}", report.trunk, webhooks.collect::<String>())
}

fn webhook(report: &WebhookReport) -> String {
    let mut text = format!("  {} {}\n", report.role, report.url);
    for exchange in &report.exchanges {
        text += &format!("    asked     {}\n", exchange.request);
        for header in &exchange.headers {
            text += &format!("              {header}\n");
        }
        for parameter in &exchange.parameters {
            text += &format!("              {parameter}\n");
        }
        text += &format!("    answered  {} in {} ms\n", exchange.answer, exchange.ms);
        for line in exchange.body.lines() {
            text += &format!("              {line}\n");
        }
    }
    for step in &report.plan {
        text += &format!("    plan      {step}\n");
    }
    if let Some(expires) = report.certificate_expires {
        let date = certificate::date(expires);
        text += &format!("    certificate expires {date}\n");
    }
    for problem in &report.problems {
        text += &format!("    PROBLEM   {problem}\n");
    }
    for warning in &report.warnings {
        text += &format!("    warning   {warning}\n");
    }
    if report.problems.is_empty() {
        text += "    nothing is wrong\n";
    }
    text
}
