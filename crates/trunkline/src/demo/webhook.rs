//! A web server that has one answer for every call: dial the emergency phone.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    header::CONTENT_TYPE,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinHandle};

use super::{
    cast::EMERGENCY,
    tape::{Tape, Way},
};

/// The longest form that is read, in bytes.
const FORM_MAX: usize = 64 * 1024;

/// What it is called in ladders.
pub const LABEL: &str = "webhook";

/// The server; it stops when this is dropped.
pub struct Webhook {
    addr: SocketAddr,
    asked: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What it answers.
pub fn twiml() -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Response><Dial><Sip>sip:duty@{EMERGENCY}</Sip></Dial></Response>\n"
    )
}

impl Webhook {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(ip: Ipv4Addr, tape: Tape) -> io::Result<Webhook> {
        let listener = TcpListener::bind(SocketAddr::from((ip, 0))).await?;
        let addr = listener.local_addr()?;
        let asked = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(serve(listener, Arc::clone(&asked), tape));
        Ok(Webhook { addr, asked, task })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How often it was asked.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn serve(listener: TcpListener, asked: Arc<AtomicU64>, tape: Tape) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let (asked, tape) = (Arc::clone(&asked), tape.clone());
        let service = service_fn(move |request| answer(request, Arc::clone(&asked), tape.clone()));
        // An asker that breaks off does not hurt the next one.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(
    request: Request<Incoming>,
    asked: Arc<AtomicU64>,
    tape: Tape,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let what = format!("{} {}", request.method(), request.uri().path());
    let body = Limited::new(request.into_body(), FORM_MAX).collect().await;
    let form = body.map(|body| body.to_bytes()).unwrap_or_default();
    let call_id = field(&form, "SipCallId");
    asked.fetch_add(1, Ordering::Relaxed);
    tape.add(LABEL, Way::Out, what, &call_id, &form);
    let document = twiml();
    tape.add(
        LABEL,
        Way::In,
        "200 TwiML: Dial".into(),
        &call_id,
        document.as_bytes(),
    );
    let mut response = Response::new(Full::from(document));
    response.headers_mut().insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("application/xml"),
    );
    Ok(response)
}

/// A field of a form. The demo's own Call-IDs need no decoding.
fn field(form: &[u8], name: &str) -> String {
    let form = String::from_utf8_lossy(form);
    let found = form
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn the_call_is_found_in_the_form() {
        assert_eq!(
            field(b"From=1&SipCallId=demo-1&SipCallIdX=2", "SipCallId"),
            "demo-1"
        );
        assert_eq!(field(b"From=1", "SipCallId"), "");
    }
}
