//! Asks the running service by its admin address.

use std::{net::SocketAddr, time::Duration};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, body::Bytes, header::CONTENT_TYPE};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;

/// The longest answer of an admin server that is read, in bytes.
const ANSWER_MAX: usize = 64 * 1024 * 1024;
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// One exchange.
///
/// # Errors
/// What went wrong, or what the service said.
pub async fn call(
    admin: SocketAddr,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Value, String> {
    let named = |error: &dyn std::fmt::Display| format!("{admin}: {error}");
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{admin}{path}"))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::from(body.map(Value::to_string).unwrap_or_default()))
        .map_err(|error| named(&error))?;
    let whole = async {
        let response = client
            .request(request)
            .await
            .map_err(|error| named(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_MAX)
            .collect()
            .await
            .map_err(|error| named(&error))?;
        let bytes = body.to_bytes();
        if !status.is_success() {
            let said = String::from_utf8_lossy(&bytes);
            return Err(format!("{admin} says {status}: {}", said.trim()));
        }
        serde_json::from_slice(&bytes)
            .map_err(|error| format!("{admin} is not a Trunkline admin server: {error}"))
    };
    tokio::time::timeout(PATIENCE, whole)
        .await
        .map_err(|_| format!("{admin} does not answer"))?
}
