//! A webhook's URL, or the file that stands for one.

use trunkline_proxy::{
    recovery::{document::Reading, read_file},
    settings::Webhook,
};

use crate::{
    host,
    read::Context,
    walk::{Value, shorten},
};

/// Reads it; a file is read and judged at once, since nobody will look at it before the disaster.
pub(super) fn read(
    value: &Value<'_>,
    text: &str,
    reading: Reading<'_>,
    context: &Context<'_>,
) -> Option<Webhook> {
    let Some(name) = text.strip_prefix("file:") else {
        return url(value, text).then(|| Webhook::Url(text.into()));
    };
    let path = context.resolve(name);
    let body = match context.environment.read_file(&path) {
        Ok(body) => body,
        Err(error) => {
            value.fault(
                format!("cannot read {}: {error}", path.display()),
                "create the file, or let the user that runs Trunkline read it",
            );
            return None;
        }
    };
    match read_file(name, &body, reading) {
        Ok(document) => {
            for note in document.notes {
                value.warn(
                    format!("{name}:{note}"),
                    "change the document, or configure what it needs",
                );
            }
        }
        Err(refusal) => {
            value.fault(
                format!("{name}:{refusal}"),
                "repair the document; one that ends in .json is NCCO, all others are TwiML",
            );
            return None;
        }
    }
    Some(Webhook::File {
        name: text.into(),
        body: body.into(),
    })
}

/// Whether it is an absolute http or https URL. A fault when not, a warning for http to elsewhere.
pub(super) fn url(value: &Value<'_>, text: &str) -> bool {
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
            "remove it; requests are signed with auth_token_file or jwt_secret_file instead",
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
