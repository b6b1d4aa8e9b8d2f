//! What the benches share.

pub mod budget;
pub mod callgrind;
pub mod cpu;
pub mod histogram;
pub mod load;
pub mod peers;
pub mod sys;
pub mod world;

use std::{net::SocketAddr, path::Path, sync::Arc};

use trunkline_proxy::{
    Hop, ListenerId, Routing,
    routing::{Candidate, Freshness, Resolved},
    settings::Place,
};
use trunkline_sip::Transport;

/// Three PBXs behind one listener, probes off so that nothing but calls costs.
pub const CONFIG: &str = r#"
[[listen]]
protocol = "udp"
address = "203.0.113.5:5060"
[[trunk]]
name = "bench"
allow = ["54.172.60.0/30"]
[trunk.origination]
targets = [
  { uri = "sip:10.0.2.1", weight = 60 },
  { uri = "sip:10.0.2.2", weight = 20 },
  { uri = "sip:10.0.2.3", weight = 20 },
]
[health]
probe_interval = "off"
target_probe_interval = "off"
"#;

/// The snapshot of [`CONFIG`].
pub fn routing() -> Arc<Routing> {
    routing_of(CONFIG)
}

/// The snapshot of a configuration whose places are all IPv4 addresses.
///
/// # Panics
/// When the configuration has a fault.
pub fn routing_of(config: &str) -> Arc<Routing> {
    let loaded =
        trunkline_config::parse(config, Path::new("bench.toml"), &trunkline_config::System);
    let settings = loaded.unwrap_or_else(|report| panic!("{report}")).settings;
    let resolve = |place: &Place| Resolved {
        candidates: place
            .host
            .parse()
            .map(|ip| Candidate {
                priority: 0,
                weight: 0,
                transport: Transport::Udp,
                addr: SocketAddr::new(ip, place.port.unwrap_or(5060)),
                listener: ListenerId(0),
            })
            .into_iter()
            .collect(),
        freshness: Freshness::Fresh,
    };
    let places = settings.places.iter();
    let places = places.map(|place| Arc::new(resolve(place))).collect();
    Arc::new(Routing::new(settings, places))
}

/// The carrier that [`INVITE`] comes from.
pub fn carrier_hop() -> Hop {
    Hop {
        transport: Transport::Udp,
        listener: ListenerId(0),
        remote: SocketAddr::from(([54, 172, 60, 1], 5060)),
        connection: None,
    }
}

/// [`INVITE`] as call number `number`: another branch, Call-ID and From tag.
pub fn call_of(number: u64, out: &mut Vec<u8>) {
    out.clear();
    let digits = format!("{number:08x}");
    let text = String::from_utf8_lossy(INVITE);
    let text = text
        .replacen("9a5f.7d2c", &digits, 1)
        .replacen("5b2a1f60", &digits, 1);
    let text = text.replacen("tag=37126592", &format!("tag={digits}"), 1);
    out.extend_from_slice(text.as_bytes());
}

/// An INVITE of about 1 kB, as a carrier sends it: 17 headers and a session description.
pub const INVITE: &[u8] = b"INVITE sip:+15551234567@203.0.113.5:5060;user=phone SIP/2.0\r\n\
Via: SIP/2.0/UDP 54.172.60.1:5060;branch=z9hG4bK9a5f.7d2c81f4b2d7cb61c3a0f9e5b8d1a4c7.0;rport\r\n\
Via: SIP/2.0/UDP 172.18.33.210:5060;rport=5060;branch=z9hG4bK0123abcd-4567-89ef\r\n\
Max-Forwards: 66\r\n\
Record-Route: <sip:54.172.60.1:5060;lr;ftag=37126592_6772d868_1b6f8a2e>\r\n\
Route: <sip:203.0.113.5:5060;lr>\r\n\
From: \"Alice Example\" <sip:+15557654321@pstn.example.com;user=phone>;tag=37126592_6772d868_1b6f8a2e\r\n\
To: <sip:+15551234567@203.0.113.5;user=phone>\r\n\
Call-ID: 5b2a1f60-7c4e-4b8f-9a3d-2f1e0c9b8a7d@172.18.33.210\r\n\
CSeq: 1 INVITE\r\n\
Contact: <sip:+15557654321@172.18.33.210:5060;transport=udp>\r\n\
Allow: INVITE,ACK,CANCEL,OPTIONS,BYE,UPDATE\r\n\
Supported: timer,100rel\r\n\
Session-Expires: 1800;refresher=uac\r\n\
User-Agent: Example Gateway\r\n\
X-Call: CA0123456789abcdef0123456789abcdef\r\n\
Content-Type: application/sdp\r\n\
Content-Length: 149\r\n\
\r\n\
v=0\r\n\
o=root 1234567 1234567 IN IP4 172.18.33.210\r\n\
s=-\r\n\
c=IN IP4 172.18.33.211\r\n\
t=0 0\r\n\
m=audio 16384 RTP/AVP 0 101\r\n\
a=rtpmap:0 PCMU/8000\r\n\
a=ptime:20\r\n";
