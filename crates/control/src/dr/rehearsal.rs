//! A test of a trunk's webhook in peacetime: what would happen to a call now, without a call.
//!
//! The real machine of a call ([`RecoveryCall`]) asks the real webhook, marked as a test. Nobody is
//! dialled: each Dial is taken as if nobody answered, so the whole document is seen.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use trunkline_proxy::{
    Routing, Settings,
    question::{Answer, HttpMethod, HttpRequest},
    recovery::{CallFacts, DialTarget, RecoveryCall, Step, sid, url::shown as shown_url},
    settings::{LastResort, Place, Recovery, Webhook},
};
use trunkline_sip::Uri;

use crate::{
    HttpClient, Resolver,
    dr::certificate,
    http::{Certificate, headers_shown},
    mask,
    resolve::Lookup,
};

/// A certificate that expires sooner than this is a problem.
const EXPIRY_MIN: Duration = Duration::from_secs(14 * 24 * 3600);
/// Steps of one rehearsal; a document that goes on for longer is a problem.
const STEPS_MAX: usize = 60;
/// Characters of a body that are shown.
const BODY_SHOWN: usize = 4000;

/// What a test of one trunk's webhooks found.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// The trunk.
    pub trunk: Box<str>,
    /// `url`, and `fallback_url` where there is one.
    pub webhooks: Vec<WebhookReport>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_fine(&self) -> bool {
        self.webhooks
            .iter()
            .all(|webhook| webhook.problems.is_empty())
    }

    /// All that is wrong, as one line.
    pub fn problems(&self) -> String {
        let all = self.webhooks.iter().flat_map(|webhook| &webhook.problems);
        all.map(String::as_str).collect::<Vec<_>>().join("; ")
    }
}

/// What a test of one webhook found.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct WebhookReport {
    /// "url" or "fallback_url".
    pub role: &'static str,
    /// As written, without its query.
    pub url: String,
    /// In order: what was asked.
    pub exchanges: Vec<ExchangeShown>,
    /// In order: what would happen to a call.
    pub plan: Vec<String>,
    /// When its certificate expires, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_expires: Option<u64>,
    /// What is wrong, each with what to do.
    pub problems: Vec<String>,
    /// What works, and otherwise than somebody may expect.
    pub warnings: Vec<String>,
}

/// One exchange as it is shown.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ExchangeShown {
    /// Method and URL.
    pub request: String,
    /// As sent, without passwords and tokens.
    pub headers: Vec<String>,
    /// Parameters: `name=value`, or the JSON body.
    pub parameters: Vec<String>,
    /// Status and content type, or what went wrong.
    pub answer: String,
    /// How long it took, in milliseconds.
    pub ms: u64,
    /// The body, cut.
    pub body: String,
}

/// Tests the webhooks of every trunk that has some, or of one.
pub async fn rehearse(
    settings: &Arc<Settings>,
    only: Option<&str>,
    http: &HttpClient,
    resolver: &Resolver,
) -> Vec<Report> {
    let mut reports = Vec::new();
    for trunk in &settings.trunks {
        let Some(recovery) = &trunk.recovery else {
            continue;
        };
        if only.is_none_or(|only| *trunk.name == *only) {
            reports.push(trunk_report(settings, recovery, http, resolver).await);
        }
    }
    reports
}

/// Tests the webhooks of one trunk.
pub async fn trunk_report(
    settings: &Arc<Settings>,
    recovery: &Arc<Recovery>,
    http: &HttpClient,
    resolver: &Resolver,
) -> Report {
    let roles = [
        ("url", Some(recovery.url.clone())),
        ("fallback_url", recovery.fallback_url.clone()),
    ];
    let mut webhooks = Vec::new();
    for (role, webhook) in roles {
        if let Some(webhook) = webhook {
            let stage = Stage {
                settings,
                http,
                resolver,
            };
            webhooks.push(stage.webhook(role, webhook, recovery).await);
        }
    }
    Report {
        trunk: (&*recovery.trunk).into(),
        webhooks,
    }
}

struct Stage<'s> {
    settings: &'s Arc<Settings>,
    http: &'s HttpClient,
    resolver: &'s Resolver,
}

impl Stage<'_> {
    async fn webhook(
        &self,
        role: &'static str,
        webhook: Webhook,
        recovery: &Recovery,
    ) -> WebhookReport {
        let mut report = WebhookReport {
            role,
            url: trunkline_proxy::recovery::shown(&webhook).to_owned(),
            exchanges: Vec::new(),
            plan: Vec::new(),
            certificate_expires: None,
            problems: Vec::new(),
            warnings: Vec::new(),
        };
        if let Webhook::Url(url) = &webhook {
            self.certificate(url, recovery, &mut report).await;
        }
        // Each on its own: what the other one would do is its own report's.
        let alone = Recovery {
            url: webhook,
            fallback_url: None,
            last_resort: LastResort::Reject,
            ..recovery.clone()
        };
        self.play(Arc::new(alone), &mut report).await;
        report
    }

    async fn play(&self, recovery: Arc<Recovery>, report: &mut WebhookReport) {
        let unique = format!("test {:?}", SystemTime::now());
        let facts = facts(&recovery, &unique);
        let token = sid("", unique.as_bytes());
        let (mut call, mut step) = RecoveryCall::begin(recovery, facts, token);
        for _ in 0..STEPS_MAX {
            let mut said = Vec::new();
            let mut say = |word: &'static str, detail: String| said.push((word, detail));
            call.flush(&mut say);
            step = match step {
                Step::Ask(request) => {
                    let (answer, took) = self.ask(&request, report).await;
                    call.took(took);
                    call.on_answer(answer, &mut say)
                }
                // Neither a repeat nor a Pause need be waited for to be seen.
                Step::Wait(pause) => {
                    report.plan.push(format!("wait {} ms", pause.as_millis()));
                    let next = call.on_timer();
                    call.flush(&mut say);
                    next
                }
                Step::Dial(targets) => {
                    for target in targets {
                        self.target(&target, report).await;
                    }
                    call.on_dial_failed(480, &mut say)
                }
                Step::Respond { status, reason } => {
                    note(said, report);
                    report.plan.push(format!("answer {status} {reason}"));
                    return;
                }
                Step::Exhausted => {
                    note(said, report);
                    report.plan.push("nothing valid came back".to_owned());
                    return;
                }
            };
            note(said, report);
        }
        report.problems.push(format!(
            "the document goes on for more than {STEPS_MAX} steps"
        ));
    }

    async fn ask(&self, request: &HttpRequest, report: &mut WebhookReport) -> (Answer, Duration) {
        let began = Instant::now();
        let (answer, why) = self.http.exchange_told(request).await;
        let took = began.elapsed();
        let method = match request.method {
            HttpMethod::Get => "GET",
            HttpMethod::Post => "POST",
        };
        let form = request.form.iter();
        let form = form.map(|(name, value)| format!("{name}={value}"));
        let (shown, body) = match &answer {
            Answer::Http {
                status,
                content_type,
                body,
            } => {
                let text = String::from_utf8_lossy(body);
                let body: String = text.chars().take(BODY_SHOWN).collect();
                (format!("{status} {content_type}"), printable(&body))
            }
            Answer::HttpFailed(failure) => {
                (format!("no answer: {}", failure.word()), String::new())
            }
            Answer::Resolved { .. } | Answer::ResolveFailed => Default::default(),
        };
        // Repeats mostly fail like the first; said once is enough.
        let why = why.map(|why| format!("{}: {why}", shown_url(&request.url)));
        report
            .problems
            .extend(why.filter(|why| !report.problems.contains(why)));
        report.exchanges.push(ExchangeShown {
            request: format!("{method} {}", request.url),
            headers: headers_shown(request),
            parameters: form.chain(request.json.clone()).collect(),
            answer: shown,
            ms: took.as_millis() as u64,
            body,
        });
        (answer, took)
    }

    /// Whether there is anybody to call there.
    async fn target(&self, target: &DialTarget, report: &mut WebhookReport) {
        let seconds = target.timeout.as_secs();
        if let Some(number) = target.number() {
            let routing = Routing::new(Arc::clone(self.settings), Vec::new());
            let trunks = routing.trunks_for(number.as_bytes());
            let names = trunks.iter().filter_map(|id| {
                let trunk = self.settings.trunks.get(usize::from(id.0))?;
                Some(&*trunk.name)
            });
            let names: Vec<&str> = names.collect();
            report.plan.push(format!(
                "dial {number} through {} for {seconds} s",
                names.join(", ")
            ));
            if names.is_empty() {
                report.problems.push(format!(
                    "{number} cannot be called: no [[route]] leads it to a trunk with a [trunk.termination]"
                ));
            }
            return;
        }
        let shown = target.uri.split(";voicexml=").next().unwrap_or_default();
        let place = Uri::parse(target.uri.as_bytes())
            .ok()
            .and_then(|uri| Place::of(&uri));
        let found = match place {
            Some(place) => self.resolver.place(&place, &self.settings.listeners).await,
            None => Lookup::Failed("it names no host".into()),
        };
        let addresses = match found {
            Lookup::Found { candidates, .. } => candidates.len(),
            Lookup::Absent { .. } => 0,
            Lookup::Failed(why) => {
                report.problems.push(format!("{shown}: {why}"));
                0
            }
        };
        report.plan.push(format!(
            "dial {shown} at {addresses} addresses for {seconds} s"
        ));
        if addresses == 0 {
            report.problems.push(format!(
                "{shown} has no address that a listener of ours can reach; check its name and transport"
            ));
        }
    }

    async fn certificate(&self, url: &str, recovery: &Recovery, report: &mut WebhookReport) {
        if !url.starts_with("https:") {
            return;
        }
        let within = recovery.connect_timeout.max(Duration::from_secs(1));
        let der = match self.http.certificate(url, within).await {
            Some(Certificate::Good(der)) => der,
            // The exchange itself will say so, or else why there is none.
            Some(Certificate::Expired(at)) => return report.certificate_expires = Some(at),
            None => return,
        };
        let Some(expires) = certificate::expires(&der) else {
            let words = "when its certificate expires cannot be read";
            report.problems.push(words.to_owned());
            return;
        };
        report.certificate_expires = Some(expires);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let left = expires.saturating_sub(now.map_or(0, |now| now.as_secs()));
        if left < EXPIRY_MIN.as_secs() {
            report.problems.push(format!(
                "its certificate expires in {} days ({}); renew it",
                left / 86_400,
                certificate::date(expires)
            ));
        }
    }
}

/// What the machine said, sorted into plan and problems.
fn note(said: Vec<(&'static str, String)>, report: &mut WebhookReport) {
    for (word, detail) in said {
        match word {
            "failed" | "passed_over" => report.problems.push(detail),
            "detail" => report.warnings.push(detail),
            "redirect" => report.plan.push(format!("go on with {detail}")),
            _ => {}
        }
    }
}

fn printable(text: &str) -> String {
    let kept = |c: char| c == '\n' || c == '\t' || !c.is_control();
    text.chars().filter(|c| kept(*c)).collect()
}

/// A call that never was.
fn facts(recovery: &Recovery, unique: &str) -> CallFacts {
    let trunk = Arc::clone(&recovery.trunk);
    CallFacts {
        call_sid: sid("CA", unique.as_bytes()),
        account_sid: sid("AC", trunk.as_bytes()),
        trunk_sid: sid("TK", trunk.as_bytes()),
        trunk,
        from: "+15550100".into(),
        caller_name: None,
        to: "+15550199".into(),
        forwarded_from: None,
        sip_domain: None,
        sip_call_id: "trunkline-dr-test".into(),
        sip_response_code: 503,
        x_headers: Vec::new(),
        source_ip: [127, 0, 0, 1].into(),
        attempts: Vec::new(),
        test: true,
        drill: false,
    }
}

/// A report as the log has it.
pub(crate) fn log(report: &Report) {
    let trunk = &*report.trunk;
    if report.is_fine() {
        let all = report.webhooks.iter().flat_map(|webhook| &webhook.warnings);
        let warnings: Vec<String> = all.map(|warning| mask::sentence(warning)).collect();
        let warnings = (!warnings.is_empty()).then(|| warnings.join("; "));
        tracing::info!(trunk, warnings, "the disaster recovery webhook works");
    } else {
        let problems = mask::sentence(&report.problems());
        tracing::warn!(
            trunk,
            problems,
            "the disaster recovery webhook has problems"
        );
    }
}
