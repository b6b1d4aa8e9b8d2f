//! A Route or Record-Route value of ours, read back.
//!
//! Nearly every request inside a dialog brings one, letter by letter as `forward` wrote it. That
//! form is read without taking the URI apart; any other gets the general reading, and both agree.

use trunkline_sip::{NameAddr, Transport, Uri};

use crate::{hop::ListenerId, snapshot::Snapshot};

/// What such a value says.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct OwnRoute<'a> {
    /// The listener that it names.
    pub listener: ListenerId,
    /// Whether it says that we are no strict router.
    pub lr: bool,
    /// Whether it belongs together with another one of ours.
    pub double: bool,
    /// The dialog token, as written.
    pub token: Option<&'a [u8]>,
}

impl<'a> OwnRoute<'a> {
    /// Reads the URI of a route; `None` for one that is not ours.
    pub fn read(uri: &'a [u8], snapshot: &Snapshot) -> Option<Self> {
        Self::as_we_write(uri, snapshot).or_else(|| Self::of(&Uri::parse(uri).ok()?, snapshot))
    }

    /// Reads a whole value of a Route or Record-Route header; `None` for one that is not ours.
    pub fn of_value(value: &'a [u8], snapshot: &Snapshot) -> Option<Self> {
        let bare = value
            .strip_prefix(b"<")
            .and_then(|rest| rest.strip_suffix(b">"));
        bare.and_then(|uri| Self::as_we_write(uri, snapshot))
            .or_else(|| Self::read(NameAddr::parse(value).ok()?.uri, snapshot))
    }

    fn as_we_write(uri: &'a [u8], snapshot: &Snapshot) -> Option<Self> {
        let written = Written::read(uri)?;
        Some(OwnRoute {
            listener: snapshot.advertised_as(written.authority, written.transport)?,
            lr: true,
            double: written.double,
            token: written.token,
        })
    }

    /// Reads a URI that is in parts already.
    pub fn of(uri: &Uri<'a>, snapshot: &Snapshot) -> Option<Self> {
        Some(OwnRoute {
            listener: snapshot.own_uri(uri)?,
            lr: uri.has_lr(),
            double: uri.params.has("r2"),
            token: uri.params.get("tl"),
        })
    }
}

/// The form in which `forward` writes it: `sip:host:port[;transport=x];lr[;r2][;tl=token]`.
struct Written<'a> {
    authority: &'a [u8],
    transport: Transport,
    double: bool,
    token: Option<&'a [u8]>,
}

impl<'a> Written<'a> {
    fn read(uri: &'a [u8]) -> Option<Self> {
        let rest = uri.strip_prefix(b"sip:")?;
        let end = memchr::memchr(b';', rest)?;
        let (authority, mut rest) = rest.split_at(end);
        let mut transport = Transport::Udp;
        if let Some(named) = rest.strip_prefix(b";transport=") {
            let end = named.iter().position(|byte| *byte == b';')?;
            transport = Transport::parse(&named[..end])?;
            rest = &named[end..];
        }
        let rest = rest.strip_prefix(b";lr")?;
        let (double, rest) = match rest.strip_prefix(b";r2") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let token = match rest {
            [] => None,
            _ => Some(rest.strip_prefix(b";tl=").filter(|text| is_token(text))?),
        };
        Some(Written {
            authority,
            transport,
            double,
            token,
        })
    }
}

/// The letters of base64, and nothing that would end a parameter or begin another. Without a branch at
/// any letter, so that sixteen of them take one step.
fn is_token(text: &[u8]) -> bool {
    text.iter().fold(true, |good, byte| {
        let letter = (*byte | 0x20).wrapping_sub(b'a') < 26;
        let digit = byte.wrapping_sub(b'0') < 10;
        good & (letter | digit | (*byte == b'-') | (*byte == b'_'))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the general reading makes of the same URI, if it is of that form.
    fn agrees(text: &str) -> bool {
        let Some(written) = Written::read(text.as_bytes()) else {
            return false;
        };
        // An authority that no listener has is nobody's.
        if let Ok(uri) = Uri::parse(text.as_bytes()) {
            let (_, transport) = uri.reach();
            assert!(
                uri.user.is_some() || written.authority.starts_with(uri.host_raw),
                "{text}"
            );
            assert_eq!(
                transport.unwrap_or(Transport::Udp),
                written.transport,
                "{text}"
            );
            assert!(uri.has_lr() && uri.maddr().is_none(), "{text}");
            assert_eq!(uri.params.has("r2"), written.double, "{text}");
            assert_eq!(uri.params.get("tl"), written.token, "{text}");
        }
        true
    }

    #[test]
    fn what_we_write_is_read_without_taking_it_apart_and_all_else_in_general() {
        for (text, short) in [
            ("sip:192.0.2.1:5060;lr", true),
            ("sip:192.0.2.1:5060;lr;tl=aZ-_09", true),
            ("sip:[2001:db8::1]:5060;transport=tcp;lr;r2;tl=x", true),
            ("sip:edge.example.net:5060;transport=TLS;lr;r2", true),
            ("sip:192.0.2.1:5060;lr=", false),
            ("sip:192.0.2.1:5060;lr;x=y", false),
            ("sip:192.0.2.1:5060;lr;tl=a;maddr=192.0.2.9", false),
            ("sip:192.0.2.1:5060;r2;lr", false),
            ("sip:192.0.2.1:5060", false),
            ("SIP:192.0.2.1:5060;lr", false),
            ("sips:192.0.2.1:5061;lr", false),
        ] {
            assert_eq!(agrees(text), short, "{text}");
        }
    }

    #[test]
    fn a_token_has_the_letters_of_base64_and_no_others() {
        for byte in 0..=255u8 {
            let letter = byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            assert_eq!(is_token(&[b'a', byte]), letter, "{byte}");
        }
    }

    proptest! {
        #[test]
        fn both_readings_agree(
            text in "sip:[a1.:@]{1,6}(;transport=(tcp|udp|x))?(;lr|;LR|;lrx)?(;r2)?(;tl=[a-c;=?]{0,4})?(;maddr=a)?"
        ) {
            agrees(&text);
        }
    }
}
