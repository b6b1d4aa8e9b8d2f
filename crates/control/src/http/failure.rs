//! What went wrong in an exchange: a word for the policy, and a sentence for a person.

use std::error::Error;

use rustls::CertificateError;
use trunkline_proxy::question::HttpFailure;

use crate::{dr::certificate, mask};

/// An exchange that gave no answer.
#[derive(Debug)]
pub(super) struct Lost {
    pub failure: HttpFailure,
    /// For a person; `None` where the failure says it all.
    pub why: Option<String>,
}

impl From<HttpFailure> for Lost {
    fn from(failure: HttpFailure) -> Self {
        Lost { failure, why: None }
    }
}

impl Lost {
    /// By the first error on the way down that tells.
    pub fn of(error: &(dyn Error + 'static), connecting: bool) -> Lost {
        tracing::debug!(error = %chain(error), "a webhook exchange failed");
        Lost {
            failure: classify(error, connecting),
            why: Some(sentence(error)),
        }
    }
}

fn classify(error: &(dyn Error + 'static), connecting: bool) -> HttpFailure {
    for error in all(error) {
        if error.is::<rustls::Error>() {
            return HttpFailure::Tls;
        }
        if error
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_parse_too_large)
        {
            return HttpFailure::TooLarge;
        }
    }
    if connecting {
        HttpFailure::Connect
    } else {
        HttpFailure::Broken
    }
}

/// What is wrong about the certificate, or else what the innermost error says.
fn sentence(error: &(dyn Error + 'static)) -> String {
    let words = all(error).find_map(|error| match error.downcast_ref()? {
        rustls::Error::InvalidCertificate(why) => Some(certificate_words(why)),
        rustls::Error::InvalidMessage(_) => {
            Some("what came back is no TLS; is https spoken at this port?".to_owned())
        }
        _ => None,
    });
    let innermost = || all(error).last().map(ToString::to_string);
    mask::sentence(&words.or_else(innermost).unwrap_or_default())
}

/// When a certificate expired, where that is what was wrong: seconds since 1970.
pub(super) fn expired_at(error: &(dyn Error + 'static)) -> Option<u64> {
    match all(error).find_map(refused_certificate)? {
        CertificateError::ExpiredContext { not_after, .. } => Some(not_after.as_secs()),
        _ => None,
    }
}

fn refused_certificate<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e CertificateError> {
    match error.downcast_ref()? {
        rustls::Error::InvalidCertificate(why) => Some(why),
        _ => None,
    }
}

fn certificate_words(why: &CertificateError) -> String {
    match why {
        CertificateError::ExpiredContext { not_after, .. } => {
            let date = certificate::date(not_after.as_secs());
            format!("its certificate expired on {date}; renew it")
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            let date = certificate::date(not_before.as_secs());
            format!("its certificate is valid from {date} on; is this machine's clock right?")
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "its certificate is not for {}, but for {}",
            expected.to_str(),
            presented
                .iter()
                .map(|name| bare(name))
                .collect::<Vec<_>>()
                .join(", ")
        ),
        CertificateError::UnknownIssuer => "its certificate comes from no authority that this \
             machine trusts: it is self-signed, or the server leaves an intermediate one out"
            .to_owned(),
        CertificateError::Other(other) => format!("its certificate is refused: {}", other.0),
        other => format!("its certificate is refused: {other}"),
    }
}

/// `DnsName("dr.example.net")` without what only a programmer wants to know.
fn bare(presented: &str) -> &str {
    presented.split('"').nth(1).unwrap_or(presented)
}

/// An error and those behind it, outermost first.
fn all<'e>(
    error: &'e (dyn Error + 'static),
) -> impl Iterator<Item = &'e (dyn Error + 'static)> + 'e {
    std::iter::successors(Some(error), |error| below(*error))
}

/// The error behind an error. An `io::Error` hides the one it wraps from `source`.
fn below<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    match error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref)
    {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let texts: Vec<String> = all(error).map(ToString::to_string).collect();
    texts.join(": ")
}
