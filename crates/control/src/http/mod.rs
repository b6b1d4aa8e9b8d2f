//! One exchange with a webhook: ask, read a bounded answer, say what went wrong.
//!
//! Repeats, fallbacks and what an answer means are the proxy's. Redirections are not followed: a
//! 3xx is an answer like any other, and a webhook must not send our call data elsewhere.

mod connect;
mod failure;
mod form;
mod jwt;

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Uri,
    body::Incoming,
    header::{
        ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, InvalidHeaderValue,
        USER_AGENT,
    },
};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::{
    client::legacy::{Client, connect::capture_connection},
    rt::{TokioExecutor, TokioTimer},
};
use ring::digest;
use tokio::{sync::Semaphore, time::timeout};
use tower_service::Service as _;
use trunkline_proxy::question::{Answer, HTTP_BODY_MAX, HttpFailure, HttpMethod, HttpRequest};

use crate::{mask, resolve::Resolver, signature};
use connect::{Connect, Route};
use failure::Lost;

/// Exchanges of all groups under way at once; one more is [`HttpFailure::Busy`].
const EXCHANGES_MAX: usize = 10_000;
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
    pools: Arc<Mutex<HashMap<Route, Pool>>>,
    groups: Arc<Mutex<HashMap<Arc<str>, u32>>>,
    permits: Arc<Semaphore>,
}

/// What a server showed for itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Certificate {
    /// One that is accepted, in DER.
    Good(Vec<u8>),
    /// One that is out of date since then: seconds since 1970.
    Expired(u64),
}

/// An exchange's place in its group's limit.
struct Place<'c> {
    client: &'c HttpClient,
    group: Arc<str>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut groups = lock(&self.client.groups);
        if let Some(count) = groups.get_mut(&self.group) {
            *count -= 1;
            if *count == 0 {
                groups.remove(&self.group);
            }
        }
    }
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
            groups: Arc::default(),
            permits: Arc::new(Semaphore::new(EXCHANGES_MAX)),
        }
    }

    /// One exchange: [`Answer::Http`] or [`Answer::HttpFailed`], within the request's timeout.
    pub async fn exchange(&self, request: &HttpRequest) -> Answer {
        self.exchange_told(request).await.0
    }

    /// The same, and why it failed: a sentence for a person, where there is more to say than the
    /// [`HttpFailure`] does.
    pub async fn exchange_told(&self, request: &HttpRequest) -> (Answer, Option<String>) {
        let (Some(_place), Ok(_permit)) = (self.place(request), self.permits.try_acquire()) else {
            return (Answer::HttpFailed(HttpFailure::Busy), None);
        };
        match timeout(request.timeout, self.send(request)).await {
            Ok(Ok(answer)) => (answer, None),
            Ok(Err(Lost { failure, why })) => (Answer::HttpFailed(failure), why),
            Err(_) => (Answer::HttpFailed(HttpFailure::Timeout), None),
        }
    }

    /// A place in the group's limit, so that one trunk's slow webhook leaves the others' alone.
    fn place(&self, request: &HttpRequest) -> Option<Place<'_>> {
        let mut groups = lock(&self.groups);
        let count = groups.entry(Arc::clone(&request.group)).or_default();
        if *count >= request.group_max {
            return None;
        }
        *count += 1;
        Some(Place {
            client: self,
            group: Arc::clone(&request.group),
        })
    }

    async fn send(&self, request: &HttpRequest) -> Result<Answer, Lost> {
        let mut http = prepare(request).map_err(|why| {
            tracing::warn!(why, "a webhook request cannot be sent; check its URL");
            Lost {
                failure: HttpFailure::Connect,
                why: Some(why),
            }
        })?;
        let route = Route {
            within: request.connect_timeout.min(request.timeout),
            source: request.source.clone(),
            sni: request.sni,
        };
        let pool = self.pool(route);
        let mut connected = capture_connection(&mut http);
        let mut answering = pin!(pool.request(http));
        // The first byte's time begins when there is a connection, new or kept.
        let early = tokio::select! {
            biased;
            response = &mut answering => Some(response),
            _ = connected.wait_for_connection_metadata() => None,
        };
        let response = match early {
            Some(response) => response,
            None => timeout(request.read_timeout, answering)
                .await
                .map_err(|_| HttpFailure::Timeout)?,
        };
        let response = response.map_err(|error| Lost::of(&error, error.is_connect()))?;
        let (head, body) = response.into_parts();
        let body = read(body, request.read_timeout).await?;
        let content_type = head
            .headers
            .get(CONTENT_TYPE)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .unwrap_or_default();
        Ok(Answer::Http {
            status: head.status.as_u16(),
            content_type,
            body,
        })
    }

    /// The certificate that an https server shows; `None` when it cannot be had within this time,
    /// or is refused for another reason than its age.
    pub async fn certificate(&self, url: &str, within: Duration) -> Option<Certificate> {
        let route = Route {
            within,
            source: None,
            sni: true,
        };
        let (url, _) = split_user(url);
        let uri: Uri = url.split('#').next()?.parse().ok()?;
        let mut connect = Connect::new(self.resolver.clone(), self.tls.clone(), &route);
        match connect.call(uri).await {
            Ok(MaybeHttpsStream::Https(stream)) => {
                let (_, session) = stream.inner().get_ref();
                let der = session.peer_certificates()?.first()?.to_vec();
                Some(Certificate::Good(der))
            }
            Ok(MaybeHttpsStream::Http(_)) => None,
            Err(error) => failure::expired_at(&*error).map(Certificate::Expired),
        }
    }

    fn pool(&self, route: Route) -> Pool {
        let mut pools = lock(&self.pools);
        // Reloads may bring ever new timeouts; the old ones' idle connections can go.
        if pools.len() >= POOLS_MAX && !pools.contains_key(&route) {
            pools.clear();
        }
        if let Some(pool) = pools.get(&route) {
            return pool.clone();
        }
        let connect = Connect::new(self.resolver.clone(), self.tls.clone(), &route);
        let pool = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(IDLE_MAX)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .build(connect);
        pools.insert(route, pool.clone());
        pool
    }
}

/// A body, as long as no gap in it is longer than `gap`.
async fn read(mut body: Incoming, gap: Duration) -> Result<Vec<u8>, HttpFailure> {
    let mut whole = Vec::new();
    loop {
        let frame = timeout(gap, body.frame())
            .await
            .map_err(|_| HttpFailure::Timeout)?;
        let Some(frame) = frame else {
            return Ok(whole);
        };
        let frame = frame.map_err(|_| HttpFailure::Broken)?;
        if let Some(data) = frame.data_ref() {
            if whole.len() + data.len() > HTTP_BODY_MAX {
                return Err(HttpFailure::TooLarge);
            }
            whole.extend_from_slice(data);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The headers that go out with a request, for a person: with its signature, and without what a
/// reader of a screen could use, passwords and tokens.
pub fn headers_shown(request: &HttpRequest) -> Vec<String> {
    let prepared = prepare(request);
    let headers = prepared.iter().flat_map(Request::headers);
    let line = |(name, value): (&HeaderName, &HeaderValue)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        match value.split_once(' ').filter(|_| *name == AUTHORIZATION) {
            Some((scheme, _)) => format!("{name}: {scheme} ..."),
            None => format!("{name}: {value}"),
        }
    };
    headers.map(line).collect()
}

/// The request as hyper sends it. The error is for a person.
fn prepare(request: &HttpRequest) -> Result<Request<Full<Bytes>>, String> {
    let (url, user) = split_user(&request.url);
    let (method, target, signed, body) = match request.method {
        HttpMethod::Get => {
            let target = form::with_query(&url, &request.form);
            (Method::GET, target, &[][..], Bytes::new())
        }
        HttpMethod::Post => match &request.json {
            // A JSON body is no list of parameters: its hash goes into the URL, which is signed.
            Some(json) if request.auth_token.is_some() => {
                let hash = hex(&digest::digest(&digest::SHA256, json.as_bytes()));
                let target = form::with_query(&url, &[("bodySHA256".to_owned(), hash)]);
                (Method::POST, target, &[][..], json.clone().into())
            }
            Some(json) => (Method::POST, url, &[][..], json.clone().into()),
            None => {
                let body = form::encode(&request.form).into();
                (Method::POST, url, &request.form[..], body)
            }
        },
    };
    // The query may hold a caller's number, which has no place in a log.
    let shown = mask::sentence(target.split('?').next().unwrap_or_default());
    let uri: Uri = target
        .parse()
        .map_err(|error| format!("\"{shown}\" is not a URL: {error}"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return Err(format!("\"{shown}\" is not an absolute http or https URL"));
    }
    let bearer = request.jwt.as_ref().map(|jwt| jwt::bearer(jwt, &body));
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
        let kind = match &request.json {
            Some(_) => "application/json",
            None => "application/x-www-form-urlencoded",
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    let plain = |error: InvalidHeaderValue| error.to_string();
    if let Some(user) = user {
        let value = format!("Basic {}", STANDARD.encode(user));
        headers.insert(AUTHORIZATION, HeaderValue::try_from(value).map_err(plain)?);
    }
    if let Some(bearer) = bearer {
        let value = format!("Bearer {}", bearer?);
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

fn hex(digest: &digest::Digest) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(64);
    for byte in digest.as_ref() {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
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
