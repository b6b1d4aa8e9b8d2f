//! The admin server: health, metrics, status, drills and targets drained over HTTP/1.1.
//!
//! What changes something cannot be sent here by somebody else's page in an operator's browser: a
//! drill is JSON or a DELETE, which a browser asks about first (CORS), and nobody answers that; a target
//! is drained or returned by a POST that names no page it came from (Origin).

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, ORIGIN},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc::WeakSender},
    time::{sleep, timeout},
};

use crate::{
    control::Command,
    dr::drills::{DrillWanted, Drills},
    metrics::Scrape,
    view::View,
};

/// Connections at once; more of them wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// A request's head must be there in this time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection lives no longer than this, whatever it does.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Headers of a request.
const HEADERS_MAX: usize = 64;

/// What there is, for whoever asks for something else.
const PATHS: &str = "\
/healthz  200 while the process lives
/readyz   200 when calls can be taken and have somewhere to go, else 503 and why
/metrics  Prometheus
/targets  JSON: every edge and target, where it points now, and how it is
/calls    JSON: the last calls, numbers masked
/fences   JSON: the strangers who flood and whose datagrams are dropped unread
/dr/drills  JSON: the last drills; POST begins one, DELETE /dr/drills/ID ends one
POST /targets/drain?trunk=NAME&target=URI   no new calls for this target or edge; those it has go on
POST /targets/return?trunk=NAME&target=URI  calls again
";
/// Bytes of a request's body.
const BODY_BYTES_MAX: usize = 4 * 1024;

/// The admin address cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "[admin] address {addr}: {error}; is another process using it? Choose another address, or leave \
     [admin] out"
)]
pub struct AdminError {
    /// As configured.
    pub addr: SocketAddr,
    /// What the system says.
    #[source]
    pub error: io::Error,
}

/// The server, bound and not yet serving.
pub struct Admin {
    listener: TcpListener,
    addr: SocketAddr,
}

impl Admin {
    /// Binds the address; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(addr: SocketAddr) -> Result<Self, AdminError> {
        let fault = |error| AdminError { addr, error };
        let listener = TcpListener::bind(addr).await.map_err(fault)?;
        let addr = listener.local_addr().map_err(fault)?;
        Ok(Admin { listener, addr })
    }

    /// The address bound.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until dropped.
    pub(crate) async fn serve(self, pages: Pages) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let pages = pages.clone();
                    tokio::spawn(async move {
                        // An end by force is an end; there is nobody to tell.
                        let _ = timeout(CONNECTION_TIMEOUT, serve_connection(stream, pages)).await;
                        drop(permit);
                    });
                }
                // Out of file descriptors, most likely: let others finish first.
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, pages: Pages) {
    let service = service_fn(move |request: Request<Incoming>| {
        let pages = pages.clone();
        async move {
            let is_drill = request.uri().path().starts_with(DRILLS);
            let response = if is_drill && request.method() != Method::GET {
                pages.drills.change(request).await
            } else {
                pages.answer(&request)
            };
            Ok::<_, Infallible>(response)
        }
    });
    // A request that cannot be read is answered by hyper; a peer that goes away is its own affair.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// What the pages are made from.
#[derive(Clone)]
pub(crate) struct Pages {
    pub(crate) view: Arc<View>,
    pub(crate) scrape: Scrape,
    pub(crate) drills: DrillDesk,
}

/// Where drills are.
const DRILLS: &str = "/dr/drills";

/// What the pages about drills are made from.
#[derive(Clone)]
pub(crate) struct DrillDesk {
    pub(crate) drills: Arc<Drills>,
    pub(crate) view: Arc<View>,
    pub(crate) command: WeakSender<Command>,
}

impl DrillDesk {
    async fn change(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let rest = request.uri().path().strip_prefix(DRILLS);
        let id = rest
            .and_then(|rest| rest.strip_prefix('/'))
            .and_then(|id| id.parse().ok());
        match (request.method(), id, rest) {
            (&Method::POST, _, Some("")) => self.begin(request).await,
            (&Method::DELETE, Some(id), _) => {
                if !self.drills.end(id, Instant::now()) {
                    return text(StatusCode::NOT_FOUND, "no such drill is running\n");
                }
                self.tell().await;
                json(&self.drills.shown(Instant::now()))
            }
            _ => {
                let words =
                    "POST JSON to /dr/drills to begin a drill, DELETE /dr/drills/ID to end one\n";
                text(StatusCode::METHOD_NOT_ALLOWED, words)
            }
        }
    }

    async fn begin(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let kind = request.headers().get(CONTENT_TYPE);
        if kind.is_none_or(|kind| kind.as_bytes() != b"application/json") {
            let words = "a drill is wanted as application/json\n";
            return text(StatusCode::UNSUPPORTED_MEDIA_TYPE, words);
        }
        let body = Limited::new(request.into_body(), BODY_BYTES_MAX);
        let Ok(Ok(body)) = timeout(HEAD_TIMEOUT, body.collect()).await else {
            return text(StatusCode::BAD_REQUEST, "the body could not be read\n");
        };
        let wanted: DrillWanted = match serde_json::from_slice(&body.to_bytes()) {
            Ok(wanted) => wanted,
            Err(error) => return text(StatusCode::BAD_REQUEST, format!("{error}\n")),
        };
        let Some(settings) = self.view.settings() else {
            let words = "the configuration is still being read\n";
            return text(StatusCode::SERVICE_UNAVAILABLE, words);
        };
        let (trunk, seconds) = (wanted.trunk.clone(), wanted.seconds);
        let shown = match self.drills.begin(wanted, &settings, Instant::now()) {
            Ok(shown) => shown,
            Err(refused) => return text(StatusCode::CONFLICT, format!("{refused}\n")),
        };
        tracing::info!(trunk, seconds, id = shown.id, "a drill begins");
        self.tell().await;
        tokio::spawn(self.clone().close(shown.id, Duration::from_secs(seconds)));
        json(&shown)
    }

    /// Says how a drill went, when its time is over.
    async fn close(self, id: u64, after: Duration) {
        sleep(after).await;
        let shown = self.drills.shown(Instant::now());
        if let Some(drill) = shown.iter().find(|drill| drill.id == id) {
            let trunk = &*drill.wanted.trunk;
            tracing::info!(trunk, id, result = drill.summary(), "a drill has ended");
        }
        self.tell().await;
    }

    /// Has the shards told which drills run. When the control task is gone, so are the shards.
    async fn tell(&self) {
        if let Some(command) = self.command.upgrade() {
            let _ = command.send(Command::Drills).await;
        }
    }
}

impl Pages {
    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let (method, path) = (request.method(), request.uri().path());
        if let Some(drained) = ORDERS.iter().find(|(it, _)| *it == path).map(|it| it.1) {
            return self.order(request, drained);
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = text(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("{method} is not for here; use GET\n"),
            );
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" => match self.view.readiness() {
                Ok(()) => text(StatusCode::OK, "ready\n"),
                Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
            },
            "/metrics" => response(
                StatusCode::OK,
                "text/plain; version=0.0.4; charset=utf-8",
                self.scrape.text(),
            ),
            "/targets" => json(&self.view.targets()),
            "/calls" => json(&self.view.calls()),
            "/fences" => json(&self.view.fences()),
            DRILLS => json(&self.drills.drills.shown(Instant::now())),
            _ => text(
                StatusCode::NOT_FOUND,
                format!("nothing is here; there is\n{PATHS}"),
            ),
        }
    }
}

/// What changes something, and whether it takes a target out.
const ORDERS: [(&str, bool); 2] = [("/targets/drain", true), ("/targets/return", false)];

impl Pages {
    /// Takes a target out or returns it.
    fn order<B>(&self, request: &Request<B>, drained: bool) -> Response<Full<Bytes>> {
        if request.method() != Method::POST {
            let mut response = text(
                StatusCode::METHOD_NOT_ALLOWED,
                format!(
                    "this changes something: use POST, not {}\n",
                    request.method()
                ),
            );
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("POST"));
            return response;
        }
        // Only browsers say where a page came from, and no page of ours gives orders: another
        // site's does, in the browser of somebody who can reach us.
        if request.headers().contains_key(ORIGIN) {
            return text(
                StatusCode::FORBIDDEN,
                "orders are not taken from web pages\n",
            );
        }
        let query = request.uri().query().unwrap_or_default();
        let (Some(trunk), Some(target)) = (value_of(query, "trunk"), value_of(query, "target"))
        else {
            return text(
                StatusCode::BAD_REQUEST,
                format!(
                    "say which: {}?trunk=NAME&target=URI\n",
                    request.uri().path()
                ),
            );
        };
        match self.view.drain_target(&trunk, &target, drained) {
            Ok(()) => {
                let word = if drained { "drained" } else { "returned" };
                tracing::info!(trunk, target, "target {word}");
                text(StatusCode::OK, format!("{word}\n"))
            }
            Err(why) => text(StatusCode::NOT_FOUND, format!("{why}\n")),
        }
    }
}

/// A value of a query, decoded; `None` where it is missing or is no text.
fn value_of(query: &str, name: &str) -> Option<String> {
    let value = query
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

fn json(value: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_string_pretty(value) {
        Ok(body) => response(StatusCode::OK, "application/json", body + "\n"),
        Err(error) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("cannot write JSON: {error}\n"),
        ),
    }
}

fn text(status: StatusCode, body: impl Into<String>) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", body.into())
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
