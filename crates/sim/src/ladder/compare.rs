//! Whether a message is what a line of a script says.
//!
//! An error is a sentence about a near miss, and empty when the line speaks of something else.

use trunkline_proxy::question::{HttpMethod, HttpRequest};

use super::{
    actor::label_of,
    script::{Kind, Wire},
    words::quote,
};
use crate::text::Text;

type Verdict = Result<(), String>;

/// A message in a line: `INVITE sip:b@b.test [a]`, `200 BYE [a]`.
pub(crate) fn summary(text: &Text) -> String {
    let label = text.get("Call-ID").map_or("?", label_of);
    let what = match (text.code(), text.about()) {
        (Some(code), Some("INVITE") | None) => code.to_string(),
        (Some(code), Some(about)) => format!("{code} {about}"),
        (None, _) => format!(
            "{} {}",
            text.method().unwrap_or("?"),
            text.uri().unwrap_or("")
        ),
    };
    if label == "a" {
        what
    } else {
        format!("{what} [{label}]")
    }
}

/// Whether a SIP message is what the line says.
pub(super) fn fits(wanted: &Wire, bytes: &[u8], text: Option<&Text>) -> Verdict {
    match (&wanted.kind, text) {
        (Kind::Raw(raw), _) if raw == bytes => {}
        (Kind::Raw(_), _) | (_, None) => return Err(String::new()),
        (Kind::Request { method, uri }, Some(text)) => {
            if text.method() != Some(method) {
                return Err(String::new());
            }
            if let Some(uri) = uri
                && text.uri() != Some(uri)
            {
                return Err(format!(
                    "the Request-URI is {}, not {uri}",
                    text.uri().unwrap_or("")
                ));
            }
        }
        (Kind::Response { code, about }, Some(text)) => {
            let about_other = about
                .as_deref()
                .is_some_and(|about| text.about() != Some(about));
            if text.code() != Some(*code) || about_other {
                return Err(String::new());
            }
        }
    }
    if let (Some(call), Some(text)) = (&wanted.call, text)
        && text.get("Call-ID").map(label_of) != Some(call)
    {
        return Err(String::new());
    }
    for fragment in &wanted.with {
        if !contains(bytes, fragment) {
            return Err(format!(
                "{} is not in:\n{}",
                quote(fragment),
                String::from_utf8_lossy(bytes)
            ));
        }
    }
    for fragment in &wanted.without {
        if contains(bytes, fragment) {
            return Err(format!(
                "{} is in:\n{}",
                quote(fragment),
                String::from_utf8_lossy(bytes)
            ));
        }
    }
    match &wanted.body {
        Some(body) if !bytes.ends_with(&[b"\r\n\r\n", body.as_slice()].concat()) => Err(format!(
            "the body is not {}:\n{}",
            quote(body),
            String::from_utf8_lossy(bytes)
        )),
        _ => Ok(()),
    }
}

fn contains(bytes: &[u8], fragment: &[u8]) -> bool {
    fragment.is_empty()
        || bytes
            .windows(fragment.len())
            .any(|window| window == fragment)
}

const fn method_word(method: HttpMethod) -> &'static str {
    match method {
        HttpMethod::Get => "GET",
        HttpMethod::Post => "POST",
    }
}

/// A webhook request in a line.
pub(super) fn http_summary(request: &HttpRequest) -> String {
    format!("{} {}", method_word(request.method), request.url)
}

/// Whether a webhook request is what the line says.
pub(super) fn http_fits(
    request: &HttpRequest,
    method: &str,
    url: &str,
    with: &[String],
    without: &[String],
) -> Verdict {
    if (method_word(request.method), &*request.url) != (method, url) {
        return Err(format!("Trunkline asked {}", http_summary(request)));
    }
    let fields = request.form.iter().chain(&request.headers);
    let mut all: String = fields
        .map(|(name, value)| format!("{name}={value}\n"))
        .collect();
    all.extend(request.json.as_deref());
    for fragment in with {
        if !all.contains(fragment) {
            return Err(format!("{fragment} is not in:\n{all}"));
        }
    }
    match without.iter().find(|fragment| all.contains(*fragment)) {
        Some(fragment) => Err(format!("{fragment} is in:\n{all}")),
        None => Ok(()),
    }
}
