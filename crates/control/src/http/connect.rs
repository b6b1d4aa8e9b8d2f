//! Connections for the webhook client: our own DNS, TLS, and one limit on both together.

use std::{
    fmt,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::connect::{HttpConnector, dns::Name},
    rt::TokioIo,
};
use tokio::net::TcpStream;
use tower_service::Service;
use trunkline_proxy::question::Source;

use crate::resolve::Resolver;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type BoxFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// The connection was not there in time.
#[derive(Debug)]
pub(crate) struct TooSlow(Duration);

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no connection within {:?}", self.0)
    }
}

impl std::error::Error for TooSlow {}

/// How a connection is made: connections of different ways share no pool.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Route {
    /// TCP and TLS together.
    pub within: Duration,
    /// Where it leaves from.
    pub source: Option<Source>,
    /// Whether TLS names the server.
    pub sni: bool,
}

/// Resolves, connects and agrees on TLS, all within one limit.
#[derive(Clone)]
pub(crate) struct Connect {
    inner: HttpsConnector<HttpConnector<Names>>,
    within: Duration,
}

impl Connect {
    pub(crate) fn new(resolver: Resolver, tls: rustls::ClientConfig, route: &Route) -> Self {
        let within = route.within;
        let mut http = HttpConnector::new_with_resolver(Names(resolver));
        http.enforce_http(false);
        http.set_nodelay(true);
        match &route.source {
            Some(Source::Address(address)) => http.set_local_address(Some(*address)),
            Some(Source::Interface(name)) => {
                http.set_interface(&**name);
            }
            None => {}
        }
        let mut tls = tls;
        tls.enable_sni = route.sni;
        // Shared by all addresses of a name, so that a dead first one leaves time for the others.
        http.set_connect_timeout(Some(within));
        let inner = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        Connect { inner, within }
    }
}

impl Service<Uri> for Connect {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = BoxFuture<Self::Response, BoxError>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, within) = (self.inner.call(uri), self.within);
        Box::pin(async move {
            match tokio::time::timeout(within, connecting).await {
                Ok(result) => result,
                Err(_) => Err(TooSlow(within).into()),
            }
        })
    }
}

/// hyper's view of our resolver.
#[derive(Clone)]
pub(crate) struct Names(Resolver);

impl Service<Name> for Names {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<Self::Response, io::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = self.0.clone();
        Box::pin(async move {
            let found = resolver
                .addresses(name.as_str())
                .await
                .map_err(io::Error::other)?;
            // The connector puts in the port.
            let found: Vec<_> = found.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect();
            Ok(found.into_iter())
        })
    }
}
