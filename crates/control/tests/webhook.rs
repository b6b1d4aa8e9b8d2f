//! One exchange with a webhook that behaves, and with many that do not.

mod common;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use common::{SOON, loopback, soon};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::sleep,
};
use trunkline_control::{HttpClient, Resolver, http::Certificate, testdns::TestDns};
use trunkline_proxy::question::{
    Answer, HTTP_BODY_MAX, HttpFailure, HttpMethod, HttpRequest, Jwt, JwtKey, Secret, Source,
};

/// What a server does once it has read a request.
#[derive(Copy, Clone, Debug)]
enum Does {
    /// Sends this and closes.
    Sends(&'static str),
    /// Sends this, one byte every 20 ms.
    Trickles(&'static str),
    /// Sends the first at once, then the second, one byte every 60 ms.
    Drips(&'static str, &'static str),
    /// Sends this and says nothing more.
    Hangs(&'static str),
    /// Sends a head, and a body of so many bytes: with their length, or in chunks.
    Bodies(usize, bool),
    /// Sends a head of so many bytes.
    Heads(usize),
    /// Resets the connection.
    Resets,
    /// Sends this before it has read anything.
    Greets(&'static str),
}

struct Server {
    addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: mpsc::UnboundedReceiver<String>,
}

impl Server {
    async fn start(does: Does) -> Server {
        let listener = TcpListener::bind(loopback(1)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (seen, requests) = mpsc::unbounded_channel();
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, does, seen.clone()));
            }
        });
        Server {
            addr,
            connections,
            requests,
        }
    }
}

async fn serve(
    mut stream: TcpStream,
    does: Does,
    seen: mpsc::UnboundedSender<String>,
) -> Option<()> {
    if let Does::Greets(text) = does {
        stream.write_all(text.as_bytes()).await.ok()?;
    }
    loop {
        seen.send(read_request(&mut stream).await?).ok()?;
        match does {
            Does::Sends(text) => stream.write_all(text.as_bytes()).await.ok()?,
            Does::Trickles(text) => {
                for byte in text.bytes() {
                    stream.write_all(&[byte]).await.ok()?;
                    sleep(Duration::from_millis(20)).await;
                }
            }
            Does::Drips(head, body) => {
                stream.write_all(head.as_bytes()).await.ok()?;
                for byte in body.bytes() {
                    sleep(Duration::from_millis(150)).await;
                    stream.write_all(&[byte]).await.ok()?;
                }
            }
            Does::Hangs(text) => {
                stream.write_all(text.as_bytes()).await.ok()?;
                sleep(Duration::from_secs(60)).await;
            }
            Does::Bodies(length, true) => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                stream.write_all(head.as_bytes()).await.ok()?;
                stream.write_all(&vec![b'x'; length]).await.ok()?;
            }
            Does::Bodies(length, false) => {
                let head =
                    format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n");
                stream.write_all(head.as_bytes()).await.ok()?;
                stream.write_all(&vec![b'x'; length]).await.ok()?;
                stream.write_all(b"\r\n0\r\n\r\n").await.ok()?;
            }
            Does::Heads(length) => {
                let head = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\n\r\n", "x".repeat(length));
                stream.write_all(head.as_bytes()).await.ok()?;
            }
            Does::Greets(_) => {}
            Does::Resets => {
                stream.set_zero_linger().ok()?;
                return None;
            }
        }
        if !matches!(does, Does::Sends(text) if text.contains("Content-Length")) {
            return None;
        }
    }
}

/// Head and body as text.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase()
                        .strip_prefix("content-length: ")?
                        .parse()
                        .ok()
                })
                .unwrap_or(0);
            if body.len() >= length {
                return Some(text);
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

async fn client() -> (TestDns, HttpClient) {
    let dns = TestDns::start(loopback(1)).await.unwrap();
    let resolver = Resolver::new(&[dns.addr()], Duration::from_secs(1)).unwrap();
    let client = HttpClient::new(resolver).unwrap();
    (dns, client)
}

fn post(url: &str) -> HttpRequest {
    HttpRequest {
        method: HttpMethod::Post,
        form: vec![
            ("CallSid".into(), "CA1234567890ABCDE".into()),
            ("From".into(), "+12349013030".into()),
            ("SipHeader_X-Foo".into(), "a b&c".into()),
        ],
        headers: vec![("I-Twilio-Idempotency-Token".into(), "token-1".into())],
        // For a busy machine; who waits for them asks for less.
        connect_timeout: SOON,
        read_timeout: SOON,
        timeout: SOON,
        ..HttpRequest::get(url)
    }
}

const OK: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 11\r\n\r\n<Response/>";

fn ok() -> Answer {
    Answer::Http {
        status: 200,
        content_type: "text/xml".into(),
        body: b"<Response/>".to_vec(),
    }
}

#[tokio::test]
async fn a_post_carries_its_form_its_headers_and_its_signature() {
    let (_dns, client) = client().await;
    let mut server = Server::start(Does::Sends(OK)).await;
    let url = format!("http://{}/voice?a=1", server.addr);
    let request = HttpRequest {
        auth_token: Some(Secret(b"12345".as_slice().into())),
        ..post(&url)
    };
    assert_eq!(soon(client.exchange(&request)).await, ok());
    let seen = soon(server.requests.recv()).await.unwrap();
    let (head, body) = seen.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("post /voice?a=1 http/1.1"), "{head}");
    assert_eq!(
        body,
        "CallSid=CA1234567890ABCDE&From=%2B12349013030&SipHeader_X-Foo=a+b%26c"
    );
    let signature = trunkline_control::signature::sign(b"12345", &url, &request.form);
    for want in [
        format!("host: {}", server.addr),
        "content-type: application/x-www-form-urlencoded".into(),
        "i-twilio-idempotency-token: token-1".into(),
        "accept-encoding: identity".into(),
        format!("x-twilio-signature: {}", signature.to_ascii_lowercase()),
    ] {
        assert!(
            head.lines().any(|line| line == want),
            "{want} is not in {head}"
        );
    }
}

#[tokio::test]
async fn a_get_carries_its_form_in_the_query_and_credentials_in_a_header() {
    let (_dns, client) = client().await;
    let mut server = Server::start(Does::Sends(OK)).await;
    let url = format!("http://user:pass@{}/voice?a=1", server.addr);
    let request = HttpRequest {
        method: HttpMethod::Get,
        ..post(&url)
    };
    assert_eq!(soon(client.exchange(&request)).await, ok());
    let seen = soon(server.requests.recv()).await.unwrap();
    assert!(
        seen.starts_with("GET /voice?a=1&CallSid=CA1234567890ABCDE&From=%2B12349013030&"),
        "{seen}"
    );
    assert!(seen.contains("authorization: Basic dXNlcjpwYXNz"), "{seen}");
    assert!(!seen.contains("user:pass"), "{seen}");
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let (_dns, client) = client().await;
    let server = Server::start(Does::Sends(OK)).await;
    let request = post(&format!("http://{}/", server.addr));
    for _ in 0..3 {
        assert_eq!(soon(client.exchange(&request)).await, ok());
    }
    assert_eq!(server.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn whatever_a_webhook_does_the_answer_comes_in_time_and_says_what_happened() {
    let (_dns, client) = client().await;
    let http = |status| Answer::Http {
        status,
        content_type: String::new(),
        body: Vec::new(),
    };
    let full = Answer::Http {
        status: 200,
        content_type: String::new(),
        body: vec![b'x'; HTTP_BODY_MAX],
    };
    let failed = Answer::HttpFailed;
    let cases = [
        (Does::Sends("HTTP/1.1 204 No Content\r\n\r\n"), http(204)),
        (
            Does::Sends(
                "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
            ),
            http(302),
        ),
        (
            Does::Sends("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"),
            http(503),
        ),
        (
            Does::Sends("HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n\r\n<Response/>"),
            ok(),
        ),
        (Does::Hangs(""), failed(HttpFailure::Timeout)),
        (
            Does::Hangs("HTTP/1.1 200 OK\r\n"),
            failed(HttpFailure::Timeout),
        ),
        (
            Does::Hangs("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n<Resp"),
            failed(HttpFailure::Timeout),
        ),
        (Does::Trickles(OK), failed(HttpFailure::Timeout)),
        (Does::Resets, failed(HttpFailure::Broken)),
        (Does::Sends(""), failed(HttpFailure::Broken)),
        (
            Does::Sends("220 smtp.test ready\r\n"),
            failed(HttpFailure::Broken),
        ),
        (
            Does::Sends("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
            failed(HttpFailure::Broken),
        ),
        (Does::Bodies(HTTP_BODY_MAX, true), full.clone()),
        (Does::Bodies(HTTP_BODY_MAX, false), full),
        (
            Does::Bodies(HTTP_BODY_MAX + 1, true),
            failed(HttpFailure::TooLarge),
        ),
        (
            Does::Bodies(HTTP_BODY_MAX + 1, false),
            failed(HttpFailure::TooLarge),
        ),
        (
            Does::Bodies(50_000_000, true),
            failed(HttpFailure::TooLarge),
        ),
        (Does::Heads(1_000_000), failed(HttpFailure::TooLarge)),
    ];
    for (does, want) in cases {
        let server = Server::start(does).await;
        let mut request = post(&format!("http://{}/", server.addr));
        if want == failed(HttpFailure::Timeout) {
            request.timeout = Duration::from_millis(500);
        }
        let got = soon(client.exchange(&request)).await;
        assert!(got == want, "{does:?} gave {:.300}", format!("{got:?}"));
    }
}

#[tokio::test]
async fn what_cannot_be_reached_fails_as_a_connection() {
    let (dns, client) = client().await;
    // Bound and not listening: nobody else gets the port, and connections are refused.
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind(loopback(1)).unwrap();
    let refused = format!("http://{}/", closed.local_addr().unwrap());
    let plain = Server::start(Does::Greets("220 no TLS here\r\n")).await;
    dns.a("silent.test", 60, &[[127, 0, 0, 1].into()]);
    let cases = [
        (refused.as_str(), HttpFailure::Connect),
        ("http://nobody.test/", HttpFailure::Connect),
        ("ftp://127.0.0.1/", HttpFailure::Connect),
        ("/voice", HttpFailure::Connect),
        ("http://", HttpFailure::Connect),
        ("http://bad host/", HttpFailure::Connect),
        (&format!("https://{}/", plain.addr), HttpFailure::Tls),
    ];
    for (url, want) in cases {
        let got = soon(client.exchange(&post(url))).await;
        assert_eq!(got, Answer::HttpFailed(want), "{url}");
    }
}

#[tokio::test]
async fn a_host_with_a_dead_address_is_reached_at_the_next() {
    let (dns, client) = client().await;
    let mut server = Server::start(Does::Sends(OK)).await;
    dns.a(
        "dr.test",
        60,
        &[[127, 0, 0, 77].into(), [127, 0, 0, 1].into()],
    );
    let url = format!("http://dr.test:{}/voice", server.addr.port());
    assert_eq!(soon(client.exchange(&post(&url))).await, ok());
    let seen = soon(server.requests.recv())
        .await
        .unwrap()
        .to_ascii_lowercase();
    assert!(
        seen.contains(&format!("host: dr.test:{}", server.addr.port())),
        "{seen}"
    );
}

#[tokio::test]
async fn a_header_that_http_cannot_carry_costs_only_itself() {
    let (_dns, client) = client().await;
    let mut server = Server::start(Does::Sends(OK)).await;
    let mut request = post(&format!("http://{}/", server.addr));
    request
        .headers
        .push(("X-Bad".into(), "a\r\nX-Injected: yes".into()));
    request.headers.push(("not a name".into(), "x".into()));
    assert_eq!(soon(client.exchange(&request)).await, ok());
    let seen = soon(server.requests.recv())
        .await
        .unwrap()
        .to_ascii_lowercase();
    assert!(
        !seen.contains("x-injected") && !seen.contains("not a name"),
        "{seen}"
    );
    assert!(seen.contains("i-twilio-idempotency-token"), "{seen}");
}

#[tokio::test]
async fn one_exchange_too_many_is_told_so_at_once() {
    let (_dns, client) = client().await;
    let mut server = Server::start(Does::Hangs("")).await;
    let request = post(&format!("http://{}/", server.addr));
    let request = HttpRequest {
        read_timeout: Duration::from_secs(30),
        timeout: Duration::from_secs(30),
        group: "acme".into(),
        group_max: 256,
        ..request
    };
    let mut hanging = tokio::task::JoinSet::new();
    // A few at a time: a listener's backlog is a limit of its own.
    for _ in 0..4 {
        for _ in 0..64 {
            let (client, request) = (client.clone(), request.clone());
            hanging.spawn(async move { client.exchange(&request).await });
        }
        for _ in 0..64 {
            soon(server.requests.recv()).await.unwrap();
        }
    }
    let got = soon(client.exchange(&request)).await;
    assert_eq!(got, Answer::HttpFailed(HttpFailure::Busy));
    // Another trunk's webhook has a limit of its own.
    let other = HttpRequest {
        timeout: Duration::from_millis(50),
        group: "other".into(),
        ..request.clone()
    };
    assert_eq!(
        soon(client.exchange(&other)).await,
        Answer::HttpFailed(HttpFailure::Timeout)
    );
    // Giving up makes room again.
    hanging.shutdown().await;
    let again = HttpRequest {
        timeout: Duration::from_millis(50),
        ..request
    };
    assert_eq!(
        soon(client.exchange(&again)).await,
        Answer::HttpFailed(HttpFailure::Timeout)
    );
}

/// The names that a TLS server was asked for, one a connection.
type AskedFor = mpsc::UnboundedReceiver<Option<String>>;

/// A TLS server with this certificate that answers every request with [`OK`].
async fn tls_server(certified: &rcgen::CertifiedKey<rcgen::KeyPair>) -> (SocketAddr, AskedFor) {
    let key =
        rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(loopback(1)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (seen, names) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, seen) = (acceptor.clone(), seen.clone());
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await.ok()?;
                let name = stream.get_ref().1.server_name().map(str::to_owned);
                seen.send(name).ok()?;
                let mut request = [0; 4096];
                let _length = stream.read(&mut request).await.ok()?;
                stream.write_all(OK.as_bytes()).await.ok()?;
                stream.shutdown().await.ok()
            });
        }
    });
    (addr, names)
}

#[tokio::test]
async fn the_first_byte_and_every_gap_have_a_time_of_their_own() {
    let (_dns, client) = client().await;
    let slow = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n";
    for (does, read, want) in [
        (
            Does::Hangs(""),
            150,
            Answer::HttpFailed(HttpFailure::Timeout),
        ),
        (
            Does::Hangs(slow),
            150,
            Answer::HttpFailed(HttpFailure::Timeout),
        ),
        // Longer than the limit in all, and no gap is.
        (
            Does::Drips(
                "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 11\r\n\r\n",
                "<Response/>",
            ),
            1200,
            ok(),
        ),
    ] {
        let server = Server::start(does).await;
        let request = HttpRequest {
            read_timeout: Duration::from_millis(read),
            timeout: Duration::from_secs(20),
            ..post(&format!("http://{}/", server.addr))
        };
        let began = Instant::now();
        assert_eq!(soon(client.exchange(&request)).await, want, "{does:?}");
        let took = began.elapsed();
        let in_time = want == ok() || took < Duration::from_secs(2);
        assert!(in_time, "{does:?} took {took:?}");
    }
}

#[tokio::test]
async fn a_request_leaves_from_the_address_that_it_names() {
    let (_dns, client) = client().await;
    let listener = TcpListener::bind(loopback(1)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let from: std::net::IpAddr = [127, 0, 0, 9].into();
    let request = HttpRequest {
        source: Some(Source::Address(from)),
        ..post(&url)
    };
    let exchange = tokio::spawn(async move { client.exchange(&request).await });
    let (_stream, peer) = soon(listener.accept()).await.unwrap();
    assert_eq!(peer.ip(), from);
    exchange.abort();
}

/// The kernel lets nothing leave by an interface that does not exist, so a request that arrives left by
/// the one that was named.
#[tokio::test]
async fn a_request_leaves_by_the_interface_that_it_names() {
    let (_dns, client) = client().await;
    let server = Server::start(Does::Sends(OK)).await;
    let by = |name: &str| HttpRequest {
        source: Some(Source::Interface(name.into())),
        ..post(&format!("http://{}/", server.addr))
    };
    for (interface, want) in [
        ("lo", ok()),
        ("none-such0", Answer::HttpFailed(HttpFailure::Connect)),
    ] {
        let answer = soon(client.exchange(&by(interface))).await;
        assert_eq!(answer, want, "{interface}");
    }
}

#[tokio::test]
async fn sni_is_left_out_where_that_is_asked_for_and_the_certificate_is_still_looked_at() {
    let dns = TestDns::start(loopback(1)).await.unwrap();
    let resolver = Resolver::new(&[dns.addr()], Duration::from_secs(1)).unwrap();
    let certified = rcgen::generate_simple_self_signed(vec!["dr.test".into()]).unwrap();
    let (server, mut names) = tls_server(&certified).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    let tls = trunkline_control::http::tls_trusting(roots).unwrap();
    let client = HttpClient::with_tls(resolver, tls);
    for name in ["dr.test", "other.test"] {
        dns.a(name, 60, &[[127, 0, 0, 1].into()]);
        for sni in [true, false] {
            let request = HttpRequest {
                sni,
                connect_timeout: Duration::from_secs(5),
                timeout: Duration::from_secs(5),
                ..post(&format!("https://{name}:{}/voice", server.port()))
            };
            let answer = soon(client.exchange(&request)).await;
            if name == "other.test" {
                let refused = Answer::HttpFailed(HttpFailure::Tls);
                assert_eq!(answer, refused, "{name}, sni {sni}");
                continue;
            }
            assert_eq!(answer, ok(), "{name}, sni {sni}");
            let seen = soon(names.recv()).await.unwrap();
            assert_eq!(seen.as_deref(), sni.then_some(name));
        }
    }
}

#[tokio::test]
async fn a_json_body_is_signed_by_its_hash_in_the_url_and_by_a_token() {
    let (_dns, client) = client().await;
    let mut server = Server::start(Does::Sends(OK)).await;
    let secret = |text: &str| Secret(text.as_bytes().into());
    let request = HttpRequest {
        form: vec![],
        json: Some("{}".into()),
        auth_token: Some(secret("12345")),
        jwt: Some(Arc::new(Jwt {
            key: JwtKey::Hs256(secret("s")),
            issuer: "Vonage".into(),
            api_key: None,
            application_id: None,
        })),
        ..post(&format!("http://{}/voice", server.addr))
    };
    assert_eq!(soon(client.exchange(&request)).await, ok());
    let seen = soon(server.requests.recv()).await.unwrap();
    let hash = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    let line = format!("POST /voice?bodySHA256={hash} HTTP/1.1");
    assert!(seen.starts_with(&line), "{seen}");
    let url = format!("http://{}/voice?bodySHA256={hash}", server.addr);
    let signature = trunkline_control::signature::sign(b"12345", &url, &[]);
    for want in [
        format!("x-twilio-signature: {signature}"),
        "content-type: application/json".to_owned(),
        "authorization: Bearer ey".to_owned(),
    ] {
        assert!(seen.contains(&want), "{want} is not in {seen}");
    }
    assert!(seen.ends_with("\r\n\r\n{}"), "{seen}");
}

#[tokio::test]
async fn only_a_certificate_of_a_trusted_authority_for_this_very_name_will_do() {
    let dns = TestDns::start(loopback(1)).await.unwrap();
    let resolver = Resolver::new(&[dns.addr()], Duration::from_secs(1)).unwrap();
    let certified = rcgen::generate_simple_self_signed(vec!["dr.test".into()]).unwrap();
    let (server, _names) = tls_server(&certified).await;
    let port = server.port();
    for name in ["dr.test", "other.test"] {
        dns.a(name, 60, &[[127, 0, 0, 1].into()]);
    }
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    let trusting = |roots| {
        HttpClient::with_tls(
            resolver.clone(),
            trunkline_control::http::tls_trusting(roots).unwrap(),
        )
    };
    let url = format!("https://dr.test:{port}/voice");
    let shown = trusting(roots.clone());
    let shown = soon(shown.certificate(&url, Duration::from_secs(5))).await;
    let Some(Certificate::Good(der)) = shown else {
        panic!("{shown:?}")
    };
    assert_eq!(der, certified.cert.der()[..]);
    assert!(trunkline_control::dr::certificate::expires(&der).is_some());
    let cases = [
        ("dr.test", trusting(roots.clone()), ok()),
        (
            "other.test",
            trusting(roots),
            Answer::HttpFailed(HttpFailure::Tls),
        ),
        (
            "dr.test",
            trusting(rustls::RootCertStore::empty()),
            Answer::HttpFailed(HttpFailure::Tls),
        ),
    ];
    for (name, client, want) in cases {
        let request = post(&format!("https://{name}:{port}/voice"));
        let request = HttpRequest {
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            ..request
        };
        assert_eq!(soon(client.exchange(&request)).await, want, "{name}");
    }
}

#[tokio::test]
async fn why_there_is_no_answer_is_said_in_words_that_help() {
    let dns = TestDns::start(loopback(1)).await.unwrap();
    let resolver = Resolver::new(&[dns.addr()], Duration::from_secs(1)).unwrap();
    let with_dates = |called: &str, from: (i32, u8, u8), until: (i32, u8, u8)| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["dr.test".into()]).unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, called);
        params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
        params.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
        let cert = params.self_signed(&key).unwrap();
        rcgen::CertifiedKey {
            cert,
            signing_key: key,
        }
    };
    let good = with_dates("good", (2020, 1, 1), (2090, 1, 1));
    let old = with_dates("old", (2020, 1, 1), (2021, 2, 3));
    let early = with_dates("early", (2089, 4, 5), (2090, 1, 1));
    let unknown = with_dates("unknown", (2020, 1, 1), (2090, 1, 1));
    let mut roots = rustls::RootCertStore::empty();
    for trusted in [&good, &old, &early] {
        roots.add(trusted.cert.der().clone()).unwrap();
    }
    let tls = trunkline_control::http::tls_trusting(roots).unwrap();
    let client = HttpClient::with_tls(resolver, tls);
    for name in ["dr.test", "other.test"] {
        dns.a(name, 60, &[[127, 0, 0, 1].into()]);
    }
    for (certified, name, why, expired) in [
        (
            &old,
            "dr.test",
            "its certificate expired on 2021-02-03; renew it",
            true,
        ),
        (
            &early,
            "dr.test",
            "its certificate is valid from 2089-04-05 on",
            false,
        ),
        (
            &good,
            "other.test",
            "its certificate is not for other.test, but for dr.test",
            false,
        ),
        (
            &unknown,
            "dr.test",
            "no authority that this machine trusts",
            false,
        ),
    ] {
        let (server, _names) = tls_server(certified).await;
        let url = format!("https://{name}:{}/", server.port());
        let request = HttpRequest {
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            ..post(&url)
        };
        let (answer, told) = soon(client.exchange_told(&request)).await;
        assert_eq!(answer, Answer::HttpFailed(HttpFailure::Tls), "{why}");
        let told = told.unwrap_or_default();
        assert!(told.contains(why), "{told}");
        let shown = soon(client.certificate(&url, Duration::from_secs(5))).await;
        let expected = expired.then_some(Certificate::Expired(1_612_310_400));
        assert_eq!(shown, expected, "{why}");
    }
    let nobody = TcpListener::bind(loopback(1))
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let request = post(&format!("http://{nobody}/"));
    let (_, told) = soon(client.exchange_told(&request)).await;
    assert!(told.is_some_and(|told| told.contains("refused")));
    let plain = Server::start(Does::Greets("220 smtp.test ready\r\n")).await;
    let request = post(&format!("https://{}/", plain.addr));
    let (_, told) = soon(client.exchange_told(&request)).await;
    assert!(told.is_some_and(|told| told.contains("is no TLS")));
}
