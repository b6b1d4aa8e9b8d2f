//! A Route or Record-Route value of ours, read back.
//!
//! Nearly every request inside a dialog brings one, letter by letter as `forward` wrote it. That
//! form is read without taking the URI apart; any other gets the general reading, and both agree.

use trunkline_sip::{NameAddr, Uri};

use crate::{hop::ListenerId, letters, snapshot::Snapshot};

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
        snapshot.faces().find_map(|(listener, face)| {
            let (double, token) = behind(uri.strip_prefix(face.route())?)?;
            Some(OwnRoute {
                listener,
                lr: true,
                double,
                token,
            })
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

/// What follows a listener's own part in the form in which `forward` writes it, `[;r2][;tl=token]`:
/// whether the former is there, and the latter. `None` for any other form.
fn behind(rest: &[u8]) -> Option<(bool, Option<&[u8]>)> {
    let (double, rest) = match rest.strip_prefix(b";r2") {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if rest.is_empty() {
        return Some((double, None));
    }
    // Nothing that would end a parameter or begin another.
    let token = rest
        .strip_prefix(b";tl=")
        .filter(|text| letters::go_on(text))?;
    Some((double, Some(token)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use trunkline_sip::Transport;

    use super::*;
    use crate::forward::Face;

    /// Whether it is read as we write it, with all of it up to `lr` as the listener's part; if so, as
    /// the general reading has it.
    fn agrees(text: &str) -> bool {
        let end = text.find(";lr").map_or(0, |at| at + 3);
        let Some((double, token)) = behind(&text.as_bytes()[end..]) else {
            return false;
        };
        if let Ok(uri) = Uri::parse(text.as_bytes()) {
            assert!(uri.has_lr() && uri.maddr().is_none(), "{text}");
            assert_eq!(uri.params.has("r2"), double, "{text}");
            assert_eq!(uri.params.get("tl"), token, "{text}");
        }
        true
    }

    #[test]
    fn what_we_write_is_read_without_taking_it_apart_and_all_else_in_general() {
        let face = Face::new(Transport::Tcp, "[2001:db8::1]:5060");
        assert_eq!(face.route(), b"sip:[2001:db8::1]:5060;transport=tcp;lr");
        for (text, short) in [
            ("sip:192.0.2.1:5060;lr", true),
            ("sip:192.0.2.1:5060;lr;tl=aZ-_09", true),
            ("sip:[2001:db8::1]:5060;transport=tcp;lr;r2;tl=x", true),
            ("sip:edge.example.net:5060;transport=TLS;lr;r2", true),
            ("sip:192.0.2.1:5060;lr=", false),
            ("sip:192.0.2.1:5060;lr;x=y", false),
            ("sip:192.0.2.1:5060;lr;tl=a;maddr=192.0.2.9", false),
            (
                "sip:192.0.2.1:5060;lr;tl=abcdefghijklmnopqrstuvwxy;maddr=192.0.2.9",
                false,
            ),
            ("sip:192.0.2.1:5060;r2;lr;x", false),
            ("sip:192.0.2.1:5060;lrx", false),
            ("sip:192.0.2.1:5060;lr;r2x", false),
        ] {
            assert_eq!(agrees(text), short, "{text}");
        }
    }

    #[test]
    fn no_byte_of_a_token_is_read_in_two_ways() {
        for byte in (0..=255u8).map(char::from).filter(char::is_ascii) {
            for (before, behind) in [(1, 0), (0, 40), (20, 20), (40, 3)] {
                let (before, behind) = ("a".repeat(before), "b".repeat(behind));
                let text = format!("sip:192.0.2.1:5060;lr;tl={before}{byte}{behind}");
                let whole = format!("<{text}>");
                let uri = NameAddr::parse(whole.as_bytes()).map(|address| address.uri);
                if agrees(&text) {
                    assert_eq!(uri.ok(), Some(text.as_bytes()), "{text}");
                    assert!(Uri::parse(text.as_bytes()).is_ok(), "{text}");
                } else {
                    let is_letter = byte.is_ascii_alphanumeric() || matches!(byte, '-' | '_');
                    assert!(!is_letter, "{text}");
                }
            }
        }
    }

    #[test]
    fn a_token_has_letters_and_nothing_that_ends_it() {
        for byte in 0..=255u8 {
            let letter = (b'-'..=b'z').contains(&byte) && !(b';'..=b'@').contains(&byte);
            assert_eq!(letters::go_on(&[b'a', byte]), letter, "{byte}");
            for (len, at) in [(16, 0), (17, 15), (17, 16), (31, 20), (54, 40), (54, 53)] {
                let mut text = vec![b'a'; len];
                text[at] = byte;
                assert_eq!(letters::go_on(&text), letter, "{byte} at {at} of {len}");
            }
        }
    }

    proptest! {
        #[test]
        fn both_readings_agree(
            text in "sip:[a1.:]{1,6}(;transport=(tcp|udp|x))?;lr(;r2)?(;tl=[a-c;=?]{0,4})?(;maddr=a)?(;LR|x)?"
        ) {
            agrees(&text);
        }
    }
}
