//! One exchange with a webhook: ask, read a bounded answer, say what went wrong.
//!
//! Repeats, fallbacks and what an answer means are the proxy's. Redirections are not followed: a
//! 3xx is an answer like any other, and a webhook must not send our call data elsewhere.

mod connect;
mod form;

use std::{
    collections::HashMap,
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, Uri,
    header::{
        ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, InvalidHeaderValue,
        USER_AGENT,
    },
};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use tokio::sync::Semaphore;
use trunkline_proxy::question::{Answer, HTTP_BODY_MAX, HttpFailure, HttpMethod, HttpRequest};

use crate::{mask, resolve::Resolver, signature};
use connect::Connect;

/// Exchanges under way at once; one more is [`HttpFailure::Busy`].
const EXCHANGES_MAX: usize = 256;
/// Bytes of a response's status line and headers.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Idle connections kept for one webhook.
const IDLE_MAX: usize = 8;
/// How long an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Different connect timeouts with a pool of their own.
const POOLS_MAX: usize = 32;

type Pool = Client<Connect, Full<Bytes>>;

/// The webhook client. Cheap to clone; clones share connections and limits.
#[derive(Clone)]
pub struct HttpClient {
    resolver: Resolver,
    tls: rustls::ClientConfig,
    /// hyper has one connect timeout a pool; the configuration has a handful of them.
    pools: Arc<Mutex<HashMap<Duration, Pool>>>,
    permits: Arc<Semaphore>,
}

impl HttpClient {
    /// A client that trusts the system's certificate authorities and resolves with `resolver`.
    ///
    /// # Errors
    /// See [`tls_trusting`].
    pub fn new(resolver: Resolver) -> Result<Self, rustls::Error> {
        Ok(Self::with_tls(resolver, native_tls()?))
    }

    /// A client with its own idea of whom to trust.
    pub fn with_tls(resolver: Resolver, tls: rustls::ClientConfig) -> Self {
        HttpClient {
            resolver,
            tls,
            pools: Arc::default(),
            permits: Arc::new(Semaphore::new(EXCHANGES_MAX)),
        }
    }

    /// One exchange: [`Answer::Http`] or [`Answer::HttpFailed`], within the request's timeout.
    pub async fn exchange(&self, request: &HttpRequest) -> Answer {
        let Ok(_permit) = self.permits.try_acquire() else {
            return Answer::HttpFailed(HttpFailure::Busy);
        };
        match tokio::time::timeout(request.timeout, self.send(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(failure)) => Answer::HttpFailed(failure),
            Err(_) => Answer::HttpFailed(HttpFailure::Timeout),
        }
    }

    async fn send(&self, request: &HttpRequest) -> Result<Answer, HttpFailure> {
        let http = prepare(request).map_err(|why| {
            tracing::warn!(why, "a webhook request cannot be sent; check its URL");
            HttpFailure::Connect
        })?;
        let pool = self.pool(request.connect_timeout.min(request.timeout));
        let response = pool.request(http).await.map_err(|error| {
            tracing::debug!(error = %chain(&error), "a webhook exchange failed");
            classify(&error, error.is_connect())
        })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, HTTP_BODY_MAX)
            .collect()
            .await
            .map_err(|error| {
                if error.is::<LengthLimitError>() {
                    HttpFailure::TooLarge
                } else {
                    HttpFailure::Broken
                }
            })?;
        let content_type = head
            .headers
            .get(CONTENT_TYPE)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .unwrap_or_default();
        Ok(Answer::Http {
            status: head.status.as_u16(),
            content_type,
            body: body.to_bytes().to_vec(),
        })
    }

    fn pool(&self, connect_within: Duration) -> Pool {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        // Reloads may bring ever new timeouts; the old ones' idle connections can go.
        if pools.len() >= POOLS_MAX && !pools.contains_key(&connect_within) {
            pools.clear();
        }
        pools
            .entry(connect_within)
            .or_insert_with(|| {
                let connect = Connect::new(self.resolver.clone(), self.tls.clone(), connect_within);
                Client::builder(TokioExecutor::new())
                    .pool_max_idle_per_host(IDLE_MAX)
                    .pool_idle_timeout(IDLE_TIMEOUT)
                    .pool_timer(TokioTimer::new())
                    .http1_max_buf_size(HEAD_BYTES_MAX)
                    .build(connect)
            })
            .clone()
    }
}

/// The request as hyper sends it. The error is for a person.
fn prepare(request: &HttpRequest) -> Result<Request<Full<Bytes>>, String> {
    let (url, user) = split_user(&request.url);
    let (method, target, signed, body) = match request.method {
        HttpMethod::Get => {
            let target = form::with_query(&url, &request.form);
            (Method::GET, target, &[][..], Bytes::new())
        }
        HttpMethod::Post => (
            Method::POST,
            url,
            &request.form[..],
            form::encode(&request.form).into(),
        ),
    };
    // The query may hold a caller's number, which has no place in a log.
    let shown = mask::sentence(target.split('?').next().unwrap_or_default());
    let uri: Uri = target
        .parse()
        .map_err(|error| format!("\"{shown}\" is not a URL: {error}"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return Err(format!("\"{shown}\" is not an absolute http or https URL"));
    }
    let mut http = Request::new(Full::new(body));
    *http.method_mut() = method;
    *http.uri_mut() = uri;
    let headers = http.headers_mut();
    for (name, value) in &request.headers {
        match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            (Ok(name), Ok(value)) => drop(headers.append(name, value)),
            // It came from a SIP header that HTTP cannot carry; the rest still matters.
            (_, _) => tracing::debug!(name, "a webhook header was left out: HTTP cannot carry it"),
        }
    }
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("Trunkline/", env!("CARGO_PKG_VERSION"))),
    );
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if request.method == HttpMethod::Post {
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
    }
    let plain = |error: InvalidHeaderValue| error.to_string();
    if let Some(user) = user {
        let value = format!("Basic {}", STANDARD.encode(user));
        headers.insert(AUTHORIZATION, HeaderValue::try_from(value).map_err(plain)?);
    }
    if let Some(token) = &request.auth_token {
        let value = signature::sign(&token.0, &target, signed);
        headers.insert(
            "x-twilio-signature",
            HeaderValue::try_from(value).map_err(plain)?,
        );
    }
    Ok(http)
}

/// "https://user:password@host/" as the URL without them, and them (RFC 3986 §3.2.1, RFC 7617).
fn split_user(url: &str) -> (String, Option<String>) {
    let whole = || (url.to_owned(), None);
    let Some((scheme, rest)) = url.split_once("://") else {
        return whole();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let Some((user, host)) = rest[..end].rsplit_once('@') else {
        return whole();
    };
    (
        format!("{scheme}://{host}{}", &rest[end..]),
        Some(user.to_owned()),
    )
}

/// What went wrong, by the first error on the way down that tells.
fn classify(error: &(dyn Error + 'static), connecting: bool) -> HttpFailure {
    let mut at = Some(error);
    while let Some(error) = at {
        if error.is::<rustls::Error>() {
            return HttpFailure::Tls;
        }
        if error
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_parse_too_large)
        {
            return HttpFailure::TooLarge;
        }
        at = below(error);
    }
    if connecting {
        HttpFailure::Connect
    } else {
        HttpFailure::Broken
    }
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
    let mut text = error.to_string();
    let mut at = below(error);
    while let Some(error) = at {
        text = format!("{text}: {error}");
        at = below(error);
    }
    text
}

/// TLS 1.2 and 1.3 with the system's roots. Without any, https fails and http still works.
fn native_tls() -> Result<rustls::ClientConfig, rustls::Error> {
    let mut roots = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _ignored) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        tracing::warn!(
            "no certificate authorities found on this system: https webhooks will fail; install \
             the system's CA certificates or set SSL_CERT_FILE"
        );
    }
    tls_trusting(roots)
}

/// TLS as a client that trusts these roots. The provider is named, so that it does not matter
/// which others are linked in.
///
/// # Errors
/// When the provider has no cipher suite for TLS 1.2 or 1.3, which only a changed build can cause.
pub fn tls_trusting(roots: rustls::RootCertStore) -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
