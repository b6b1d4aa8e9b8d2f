//! `[trunk.disaster_recovery]`.

use std::sync::Arc;

use trunkline_proxy::{question::HttpMethod, settings::Recovery};

use crate::{
    host,
    read::{Context, node::secret},
    walk::{Section, Value, shorten},
};

pub(super) fn read(section: &Section<'_>, context: &Context<'_>) -> Recovery {
    let address = |value: Option<Value<'_>>, name: &str| -> Option<Arc<str>> {
        let text = value.as_ref().and_then(|_| section.text(name))?;
        url(&value?, &text).then(|| text.into())
    };
    let auth_token = section.written("auth_token_file").and_then(|value| {
        let file = section.text("auth_token_file")?;
        secret(&value, &context.resolve(&file), 1, context.environment)
    });
    let recovery = Recovery {
        url: address(section.required("url"), "url").unwrap_or_else(|| "".into()),
        fallback_url: address(section.written("fallback_url"), "fallback_url"),
        method: match section.word("method") {
            "GET" => HttpMethod::Get,
            _ => HttpMethod::Post,
        },
        connect_timeout: section.duration("connect_timeout"),
        timeout: section.duration("timeout"),
        retries: u8::try_from(section.number("retries")).unwrap_or_default(),
        retry_after: section.duration("retry_after"),
        auth_token,
    };
    if let Some(value) = section
        .written("connect_timeout")
        .filter(|_| recovery.connect_timeout > recovery.timeout)
    {
        value.warn(
            "connect_timeout is longer than timeout, which ends the exchange first",
            "make it shorter than timeout",
        );
    }
    recovery
}

/// Whether it is an absolute http or https URL. A fault when not, a warning for http to elsewhere.
fn url(value: &Value<'_>, text: &str) -> bool {
    let fault = |why: &str| {
        let message = format!(
            "{} = {:?} is no web address: {why}",
            value.name(),
            shorten(text)
        );
        value.fault(
            message,
            "write an absolute one: \"https://dr.example.net/voice\"",
        );
        false
    };
    let Some((scheme, rest)) = text.split_once("://") else {
        return fault("it has no scheme");
    };
    let secure = scheme.eq_ignore_ascii_case("https");
    if !secure && !scheme.eq_ignore_ascii_case("http") {
        return fault("its scheme is neither https nor http");
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) || !text.is_ascii() {
        return fault("it holds characters that must be %-encoded");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        let message = format!("{} carries a user name or password", value.name());
        value.faults.error_unquoted(
            &value.at,
            &value.path,
            message,
            "remove it; requests are signed with auth_token_file instead",
        );
        return false;
    }
    let host = match host::host_and_port(authority) {
        Ok((host, _)) => host,
        Err(what) => return fault(&what),
    };
    let here = host == "localhost" || host == "[::1]" || host.starts_with("127.");
    if !secure && !here {
        let message = format!(
            "{} = {:?} is not encrypted: anyone on the way can read the numbers and redirect calls",
            value.name(),
            shorten(text)
        );
        value.warn(message, "use https://");
    }
    true
}
