//! What the proxy asks the slow side, and what comes back.

use std::{net::IpAddr, sync::Arc, time::Duration};

use crate::{ShardId, routing::Candidate, settings::Place};

/// Names one question of one shard, which it says.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct AskId(pub u64);

/// Where in an [`AskId`] the shard stands.
const SHARD_BITS: u32 = 56;

impl AskId {
    /// Before the first question of a shard.
    pub(crate) const fn none_yet(shard: ShardId) -> AskId {
        AskId((shard.0 as u64) << SHARD_BITS)
    }

    /// Who asked, and is to be answered.
    pub const fn shard(self) -> ShardId {
        ShardId((self.0 >> SHARD_BITS) as u8)
    }
}

/// Something only the slow side can find out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Question {
    /// The candidates of a next hop that is not in the configuration (a Contact with a host name,
    /// a disaster-recovery target): RFC 3263 in full.
    Resolve(Place),
    /// One HTTP exchange with a webhook. Retries and fallbacks are the proxy's to decide.
    Http(HttpRequest),
}

/// One webhook request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpRequest {
    /// Absolute, http or https, without a fragment.
    pub url: Arc<str>,
    /// How the parameters travel.
    pub method: HttpMethod,
    /// Names and values, not yet encoded; their order is the order on the wire.
    pub form: Vec<(String, String)>,
    /// Sent as the body of a POST instead of the form.
    pub json: Option<String>,
    /// Further headers (`I-Twilio-Idempotency-Token`, ...).
    pub headers: Vec<(String, String)>,
    /// Signs the request (`X-Twilio-Signature`) when there is one.
    pub auth_token: Option<Secret>,
    /// Signs the request (`Authorization: Bearer`) when there is one.
    pub jwt: Option<Arc<Jwt>>,
    /// How long TCP and TLS may take to connect.
    pub connect_timeout: Duration,
    /// How long the head of the response may take once connected, and every further piece of it.
    pub read_timeout: Duration,
    /// How long all of it may take.
    pub timeout: Duration,
    /// Where to leave from; `None`: as the system would.
    pub source: Option<Source>,
    /// Whether TLS names the server it wants (SNI).
    pub sni: bool,
    /// Exchanges that share a limit: the trunk's name.
    pub group: Arc<str>,
    /// Exchanges of the group under way at once; one more is [`HttpFailure::Busy`].
    pub group_max: u32,
}

impl HttpRequest {
    /// A GET without parameters, within five seconds; a place to begin.
    pub fn get(url: &str) -> Self {
        HttpRequest {
            url: url.into(),
            method: HttpMethod::Get,
            form: Vec::new(),
            json: None,
            headers: Vec::new(),
            auth_token: None,
            jwt: None,
            connect_timeout: Duration::from_secs(1),
            read_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            source: None,
            sni: true,
            group: Arc::from(""),
            group_max: u32::MAX,
        }
    }
}

/// Where a webhook request leaves from.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Source {
    /// An address of this machine.
    Address(IpAddr),
    /// A network interface, by its name.
    Interface(Arc<str>),
}

/// What a JSON Web Token of ours says and is signed with (FACTS F2.4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Jwt {
    /// HS256 (a shared secret) or RS256 (an RSA key of ours).
    pub key: JwtKey,
    /// `iss`.
    pub issuer: Box<str>,
    /// `api_key`.
    pub api_key: Option<Box<str>>,
    /// `application_id`.
    pub application_id: Option<Box<str>>,
}

/// The key of a [`Jwt`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum JwtKey {
    /// HMAC with SHA-256.
    Hs256(Secret),
    /// RSA PKCS #1 v1.5 with SHA-256; the key as PKCS #8 in DER.
    Rs256(Secret),
}

/// How a webhook is asked.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum HttpMethod {
    /// Parameters in the query.
    Get,
    /// Parameters in the body, form-encoded.
    Post,
}

/// Bytes that never show in logs or debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Arc<[u8]>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What came back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// To [`Question::Resolve`]. Empty: the name has no candidates.
    Resolved {
        /// All addresses, each with the listener that speaks to it.
        candidates: Vec<Candidate>,
        /// How long they may be used again.
        ttl: Duration,
    },
    /// To [`Question::Resolve`]: DNS itself failed.
    ResolveFailed,
    /// To [`Question::Http`]: a whole response, whatever its status.
    Http {
        /// 100 to 599.
        status: u16,
        /// As the server wrote it, "" without one.
        content_type: String,
        /// At most [`HTTP_BODY_MAX`] bytes.
        body: Vec<u8>,
    },
    /// To [`Question::Http`]: no response.
    HttpFailed(HttpFailure),
}

/// Bytes of a webhook's answer that are read; one that is longer is [`HttpFailure::TooLarge`].
pub const HTTP_BODY_MAX: usize = 16 * 1024;

/// Why there was no HTTP response. Each has Twilio's error code, which the fallback URL is told.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum HttpFailure {
    /// The name did not resolve, or no address accepted.
    Connect,
    /// TLS could not be agreed, or the certificate is not good.
    Tls,
    /// Connected, and then too slow.
    Timeout,
    /// The connection broke before a whole response.
    Broken,
    /// More than [`HTTP_BODY_MAX`] bytes.
    TooLarge,
    /// The slow side has no room for the question now.
    Busy,
}

impl HttpFailure {
    /// For logs and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            HttpFailure::Connect => "connect",
            HttpFailure::Tls => "tls",
            HttpFailure::Timeout => "timeout",
            HttpFailure::Broken => "broken",
            HttpFailure::TooLarge => "too_large",
            HttpFailure::Busy => "busy",
        }
    }
}
