//! How others see one of our listeners, as it stands in what we write: put together once.

use trunkline_sip::Transport;

/// The texts of one listener.
#[derive(Clone, Debug)]
pub struct Face {
    /// What it speaks.
    pub transport: Transport,
    /// "host:port".
    pub authority: Box<str>,
    /// A Via line of ours up to its branch.
    pub(super) via: Box<[u8]>,
    /// See [`route`](Self::route).
    record_route: Box<[u8]>,
}

/// What stands before the URI of a Record-Route.
const NAME: &str = "Record-Route: <";

impl Face {
    /// `authority`: "host:port" of the listener, as others see it.
    pub fn new(transport: Transport, authority: &str) -> Self {
        let via = format!("Via: SIP/2.0/{} {authority};branch=", transport.via_name());
        let named = match transport {
            Transport::Udp => String::new(),
            other => format!(";transport={}", other.param()),
        };
        Face {
            transport,
            authority: authority.into(),
            via: via.into_bytes().into(),
            record_route: format!("{NAME}sip:{authority}{named};lr")
                .into_bytes()
                .into(),
        }
    }

    /// The front of the URI of our Route and Record-Route: `sip:host:port[;transport=x];lr`. What
    /// belongs to the dialog follows: `[;r2][;tl=token]`.
    pub fn route(&self) -> &[u8] {
        self.record_route.get(NAME.len()..).unwrap_or_default()
    }

    /// Writes a Record-Route line (RFC 3261 §16.6 step 4). `double`: there is another one of ours
    /// beside it, and both leave together. `token`: what an in-dialog request must tell us.
    pub(super) fn write_record_route(&self, double: bool, token: Option<&[u8]>, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.record_route);
        if double {
            out.extend_from_slice(b";r2");
        }
        if let Some(token) = token {
            out.extend_from_slice(b";tl=");
            out.extend_from_slice(token);
        }
        out.extend_from_slice(b">\r\n");
    }
}
