//! What the configuration file means: plain data, checked, immutable.
//!
//! `trunkline-config` makes it, everything else reads it. Words are the configuration's own.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use ipnet::IpNet;
use trunkline_sip::{Host, Scheme, Transport, Uri};

use crate::{
    hop::ListenerId,
    question::{HttpMethod, Jwt, Secret, Source},
};

/// A trunk: its place in [`Settings::trunks`].
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TrunkId(pub u16);

/// A [`Place`]: its place in [`Settings::places`].
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PlaceId(pub u32);

/// The whole file.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// `node.name`.
    pub node: Box<str>,
    /// `[[listen]]`, in file order.
    pub listeners: Vec<Listener>,
    /// `[access]`.
    pub access: Access,
    /// `pbx.allow`; the targets' own addresses are added by [`Routing`](crate::Routing).
    pub pbx_allow: Vec<IpNet>,
    /// `[[trunk]]`, in file order.
    pub trunks: Vec<Trunk>,
    /// `[[route]]`, in file order. Empty: every trunk in file order.
    pub routes: Vec<Route>,
    /// Everything that must be resolved, each once.
    pub places: Vec<Place>,
    /// How long a drain may take.
    pub drain_timeout: Duration,
    /// Limits on what the process holds.
    pub capacity: Capacity,
}

/// What the process may hold, each of its shards an equal part; beyond it, 503 (counted).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Capacity {
    /// Requests in work. Those that only linger, in case a copy comes, make room for new ones.
    pub contexts: u32,
    /// Calls established and remembered.
    pub calls: u32,
}

impl Default for Capacity {
    fn default() -> Self {
        Capacity {
            contexts: 1_000_000,
            calls: 1_000_000,
        }
    }
}

impl Capacity {
    /// What one of `shards` shards may hold.
    pub fn of_one(self, shards: u8) -> Capacity {
        let part = |whole: u32| whole.div_ceil(u32::from(shards.max(1)));
        Capacity {
            contexts: part(self.contexts),
            calls: part(self.calls),
        }
    }
}

/// One socket address to listen on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// `name`, for `from`.
    pub name: Option<Box<str>>,
    /// `protocol`.
    pub transport: Transport,
    /// `address`.
    pub bind: SocketAddr,
    /// `advertise` as "host:port", IPv6 in brackets; what Via and Record-Route show. Where the
    /// bound address is a wildcard and nothing is advertised, the config layer has put in an
    /// address of this machine.
    pub advertise: Box<str>,
}

/// `[access]`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Access {
    /// `unknown_source`.
    pub unknown_source: UnknownSource,
    /// `rate`: messages a second and source, 0 = no limit.
    pub rate: u32,
}

/// What a source that nobody allowed gets.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum UnknownSource {
    /// Silence.
    Drop,
    /// A 403.
    Reject,
}

/// `[[trunk]]`.
#[derive(Clone, PartialEq, Debug)]
pub struct Trunk {
    /// `name`.
    pub name: Box<str>,
    /// `allow`, presets expanded.
    pub allow: Vec<IpNet>,
    /// `hosts`, lower case.
    pub hosts: Vec<Box<str>>,
    /// `numbers`.
    pub numbers: Vec<NumberPattern>,
    /// `in_dialog`.
    pub in_dialog: InDialog,
    /// `[trunk.termination]`.
    pub termination: Option<Termination>,
    /// `[trunk.origination]`.
    pub origination: Option<Origination>,
    /// `[trunk.disaster_recovery]`.
    pub recovery: Option<Arc<Recovery>>,
}

/// Where in-dialog requests go.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum InDialog {
    /// By Route set and remote Contact, RFC 3261.
    Route,
    /// To the address the peer spoke from when the call was set up.
    Peer,
}

/// `[trunk.termination]`: towards the carrier.
#[derive(Clone, PartialEq, Debug)]
pub struct Termination {
    /// `edges`, in order of preference.
    pub edges: Vec<Edge>,
    /// Timers and what counts as failure.
    pub attempts: Attempts,
    /// `cps`, 0 = no limit.
    pub cps: u32,
    /// `cps_wait`.
    pub cps_wait: Duration,
    /// Health of its candidates.
    pub health: Health,
}

/// One termination edge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edge {
    /// How requests to it are addressed.
    pub address: RequestAddress,
    /// What it resolves to.
    pub place: PlaceId,
}

/// How a Request-URI is rewritten for an edge or a target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestAddress {
    /// As the user wrote it; shown in logs and status.
    pub written: Box<str>,
    /// "sip" or "sips".
    pub scheme: Box<str>,
    /// A user part that replaces the request's own, when one is configured.
    pub user: Option<Box<str>>,
    /// Host without port, lower case, IPv6 in brackets.
    pub host: Box<str>,
    /// "host" or "host:port", as it goes into the Request-URI.
    pub authority: Box<str>,
    /// ";transport=tcp" and the like as written, or "".
    pub params: Box<str>,
}

/// `[trunk.origination]`: towards the PBXs.
#[derive(Clone, PartialEq, Debug)]
pub struct Origination {
    /// `policy`.
    pub policy: Policy,
    /// `targets`, in file order.
    pub targets: Vec<Target>,
    /// Timers and what counts as failure.
    pub attempts: Attempts,
    /// Health of its candidates.
    pub health: Health,
}

/// How calls spread over the targets of one priority.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Policy {
    /// By weight, RFC 2782.
    Weighted,
    /// Fewest active calls for its weight; of very many targets, the best of some drawn by weight.
    LeastCalls,
    /// By a hash of this part of the request.
    Hash(HashKey),
}

/// What `policy = "hash"` hashes.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum HashKey {
    /// Call-ID.
    CallId,
    /// The user part of From.
    From,
    /// The user part of To.
    To,
}

/// One origination target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// How requests to it are addressed.
    pub address: RequestAddress,
    /// What it resolves to.
    pub place: PlaceId,
    /// Lowest first.
    pub priority: u16,
    /// Share inside its priority.
    pub weight: u16,
    /// Active calls at most, 0 = no limit.
    pub max_calls: u32,
    /// New calls a second at most, 0 = no limit.
    pub max_cps: u32,
}

/// Timers of an attempt and of a call, and which answers move on.
#[derive(Clone, PartialEq, Debug)]
pub struct Attempts {
    /// No response at all for so long: the next candidate.
    pub response_timeout: Duration,
    /// Opening a stream may take so long.
    pub connect_timeout: Duration,
    /// Only a 100 for so long: the next candidate.
    pub progress_timeout: Option<Duration>,
    /// Timer C: ringing for so long is cancelled.
    pub answer_timeout: Duration,
    /// From the request to the start of the last attempt's end.
    pub setup_budget: Duration,
    /// Attempts in all.
    pub max_attempts: u16,
    /// Final codes that move on (`failover_on` less `stop_on`).
    pub failover: CodeSet,
    /// What the caller gets when nothing is left.
    pub exhausted: Exhausted,
    /// A 503's Retry-After pauses its candidate for at most this.
    pub retry_after_max: Duration,
    /// Attempts beyond each call's first, in percent of the trunk's calls, while most of them fail; 0:
    /// no limit.
    pub retry_budget: u8,
}

/// What the caller gets when everything failed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Exhausted {
    /// Our own 503 with Retry-After and Reason.
    Own503,
    /// The best real answer (RFC 3261 §16.7).
    Best,
}

/// A set of final status codes, 300 to 699.
#[derive(Clone, PartialEq, Eq)]
pub struct CodeSet([u64; 7]);

impl CodeSet {
    /// None.
    pub const fn empty() -> Self {
        CodeSet([0; 7])
    }

    /// Puts one code in; codes outside 300 to 699 are ignored.
    pub fn insert(&mut self, code: u16) {
        if let Some((word, bit)) = Self::slot(code) {
            self.0[word] |= bit;
        }
    }

    /// Takes one code out.
    pub fn remove(&mut self, code: u16) {
        if let Some((word, bit)) = Self::slot(code) {
            self.0[word] &= !bit;
        }
    }

    /// Puts a class in: 3 to 6.
    pub fn insert_class(&mut self, class: u16) {
        (class * 100..class * 100 + 100).for_each(|code| self.insert(code));
    }

    /// Whether the code is in it.
    pub fn contains(&self, code: u16) -> bool {
        Self::slot(code).is_some_and(|(word, bit)| self.0[word] & bit != 0)
    }

    /// Termination's default: 408, 500, 502, 503, 504.
    pub fn termination() -> Self {
        let mut set = Self::empty();
        [408, 500, 502, 503, 504]
            .into_iter()
            .for_each(|code| set.insert(code));
        set
    }

    /// Origination's default, Twilio's rule: all but 3xx, 400, 404, 405, 410, 416, 482, 484, 486, 487
    /// and 6xx (FACTS F2.2).
    pub fn origination() -> Self {
        let mut set = Self::empty();
        (4..=5).for_each(|class| set.insert_class(class));
        [400, 404, 405, 410, 416, 482, 484, 486, 487]
            .into_iter()
            .for_each(|code| set.remove(code));
        set
    }

    const fn slot(code: u16) -> Option<(usize, u64)> {
        if code < 300 || code > 699 {
            return None;
        }
        let at = (code - 300) as usize;
        Some((at / 64, 1 << (at % 64)))
    }
}

impl std::fmt::Debug for CodeSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set()
            .entries((300..700).filter(|code| self.contains(*code)))
            .finish()
    }
}

/// `[health]`, as it holds for one direction of one trunk.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Health {
    /// OPTIONS this often; `None`: never.
    pub probe_interval: Option<Duration>,
    /// A probe without any response for so long has failed.
    pub probe_timeout: Duration,
    /// Silence to several calls for so long is suspicious; `None`: off.
    pub suspect_after: Option<Duration>,
    /// Failures in a row before a candidate is down.
    pub fail_after: u16,
    /// How long a candidate that came back takes to its full share.
    pub slow_start: Duration,
}

/// `[trunk.disaster_recovery]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovery {
    /// The trunk's name.
    pub trunk: Arc<str>,
    /// Asked first.
    pub url: Webhook,
    /// Asked when the first gives nothing valid.
    pub fallback_url: Option<Webhook>,
    /// How.
    pub method: HttpMethod,
    /// What the parameters are called, and how they are written.
    pub format: Format,
    /// For TCP and TLS.
    pub connect_timeout: Duration,
    /// For the first byte once connected, and for every further one.
    pub read_timeout: Duration,
    /// For one exchange as a whole.
    pub timeout: Duration,
    /// For one URL with all its repeats.
    pub total_timeout: Duration,
    /// Repeats of one URL after a failure.
    pub retries: u8,
    /// Pause before a repeat.
    pub retry_after: Duration,
    /// Which failures are repeated.
    pub retry_on: RepeatOn,
    /// Signs requests with `X-Twilio-Signature`.
    pub auth_token: Option<Secret>,
    /// Signs requests with a JWT.
    pub jwt: Option<Arc<Jwt>>,
    /// Where requests may leave from, by the names that `e=` of a URL uses.
    pub sources: Vec<(Box<str>, Source)>,
    /// Requests under way at once.
    pub max_requests: u32,
    /// The media server, a SIP URI.
    pub media: Option<Arc<str>>,
    /// The media server plays before it answers and then refuses, so a document can go on after a
    /// message.
    pub media_early: bool,
    /// The VoiceXML page that the media server runs where a document says Record: an http or https
    /// URL.
    pub record_page: Option<Arc<str>>,
    /// What the caller gets when nothing valid came back.
    pub last_resort: LastResort,
    /// The webhook is tested this often; `None`: never.
    pub check_every: Option<Duration>,
}

/// Where a document comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Webhook {
    /// An http or https URL.
    Url(Arc<str>),
    /// `file:`, read together with the configuration.
    File {
        /// As the user wrote it.
        name: Arc<str>,
        /// What the file holds.
        body: Arc<[u8]>,
    },
}

impl Webhook {
    /// As the user wrote it.
    pub fn written(&self) -> &str {
        match self {
            Webhook::Url(url) => url,
            Webhook::File { name, .. } => name,
        }
    }
}

/// What a webhook's parameters are called, and how they are written.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Format {
    /// Twilio's names, as a form.
    Twilio,
    /// Vonage's names; the body of a POST is JSON.
    Vonage,
}

/// Which failures of a webhook are worth a repeat.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RepeatOn {
    /// Final codes of the response.
    pub codes: CodeSet,
    /// TCP or TLS could not be set up.
    pub connect: bool,
    /// Connected, and then too slow.
    pub read: bool,
    /// Connected, and closed or reset before a whole response.
    pub closed: bool,
}

impl RepeatOn {
    /// No failure.
    pub const fn none() -> Self {
        RepeatOn {
            codes: CodeSet::empty(),
            connect: false,
            read: false,
            closed: false,
        }
    }

    /// Every failure.
    pub fn all() -> Self {
        let mut codes = CodeSet::empty();
        (3..=6).for_each(|class| codes.insert_class(class));
        RepeatOn {
            codes,
            connect: true,
            read: true,
            closed: true,
        }
    }
}

/// What the caller gets when no webhook gave anything valid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LastResort {
    /// Our own 503, on which every upstream tries elsewhere.
    Reject,
    /// This SIP URI is called; 503 if it does not take the call either.
    Dial(Arc<str>),
    /// The media server plays what is at this URL; 503 if it cannot.
    Announce(Arc<str>),
}

/// `[[route]]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// `match`.
    pub pattern: NumberPattern,
    /// `trunks`, in order.
    pub trunks: Vec<TrunkId>,
}

/// A called number, or how it begins: "+1555*", "+15550100", "*".
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NumberPattern {
    /// Without the final "*".
    pub text: Box<str>,
    /// Whether anything may follow.
    pub prefix: bool,
}

impl NumberPattern {
    /// Reads one; `None` when "*" stands anywhere but at the end.
    pub fn parse(text: &str) -> Option<Self> {
        let (text, prefix) = text
            .strip_suffix('*')
            .map_or((text, false), |head| (head, true));
        (!text.contains('*')).then(|| NumberPattern {
            text: text.into(),
            prefix,
        })
    }

    /// Whether the number fits. Visual separators are not removed: numbers are compared as sent.
    pub fn matches(&self, number: &[u8]) -> bool {
        if self.prefix {
            number.starts_with(self.text.as_bytes())
        } else {
            number == self.text.as_bytes()
        }
    }
}

/// Something that RFC 3263 turns into candidates.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Place {
    /// A name in lower case, or an address without brackets.
    pub host: Box<str>,
    /// A port that was written: no SRV.
    pub port: Option<u16>,
    /// A transport that was written: no NAPTR.
    pub transport: Option<Transport>,
    /// Whether the URI was `sips:`.
    pub secure: bool,
    /// The listener named by `from`.
    pub from: Option<ListenerId>,
}

impl Place {
    /// What a URI wants resolved; `None` for one that names no host.
    pub fn of(uri: &Uri<'_>) -> Option<Place> {
        let secure = match uri.scheme {
            Scheme::Sip => false,
            Scheme::Sips => true,
            Scheme::Tel | Scheme::Other => return None,
        };
        let host = match uri.maddr().unwrap_or(uri.host()) {
            Host::Name(name) => std::str::from_utf8(name).ok()?.to_ascii_lowercase().into(),
            Host::V4(address) => address.to_string().into(),
            Host::V6(address) => address.to_string().into(),
        };
        Some(Place {
            host,
            port: uri.port,
            transport: uri.transport(),
            secure,
            from: None,
        })
    }
}
