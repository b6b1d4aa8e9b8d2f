//! When two URIs are the same (RFC 3261 §19.1.4, RFC 3966 §4).

use super::{Host, Scheme, Uri};

/// Parameters that decide where a request goes: one URI having them and the other not makes two
/// different URIs. Any other parameter counts only when both have it.
const DECISIVE: [&str; 5] = ["user", "ttl", "method", "maddr", "transport"];

pub(super) fn equal(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    if a.scheme != b.scheme {
        return false;
    }
    match a.scheme {
        Scheme::Sip | Scheme::Sips => {
            hosts_equal(&a.host(), &b.host())
                && a.port == b.port
                && users_equal(a.user, b.user)
                && sip_params_equal(a, b)
                && headers_within(a.headers, b.headers)
                && headers_within(b.headers, a.headers)
        }
        Scheme::Tel => {
            numbers_equal(a.user, b.user) && tel_params_within(a, b) && tel_params_within(b, a)
        }
        Scheme::Other => false,
    }
}

fn hosts_equal(a: &Host<'_>, b: &Host<'_>) -> bool {
    match (a, b) {
        (Host::Name(_), Host::Name(name)) => a.eq_text(name),
        _ => a == b,
    }
}

fn users_equal(a: Option<&[u8]>, b: Option<&[u8]>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => units(a).eq(units(b)),
        (None, None) => true,
        _ => false,
    }
}

fn sip_params_equal(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    let lone = DECISIVE
        .iter()
        .any(|name| a.params.has(name) != b.params.has(name));
    !lone && sip_params_agree(a, b) && sip_params_agree(b, a)
}

/// Whether each parameter of `a` that `b` has too has the same value there.
fn sip_params_agree(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    a.params.iter().all(|(name, value)| {
        let mut others = b
            .params
            .iter()
            .filter(|(known, _)| same(known, name))
            .peekable();
        others.peek().is_none()
            || others.any(|(_, known)| same(known.unwrap_or_default(), value.unwrap_or_default()))
    })
}

/// Whether every header of `inner` is among those of `outer`.
fn headers_within(inner: &[u8], outer: &[u8]) -> bool {
    headers(inner).all(|header| headers(outer).any(|known| same(known, header)))
}

fn headers(part: &[u8]) -> impl Iterator<Item = &[u8]> {
    part.split(|&byte| byte == b'&')
        .filter(|header| !header.is_empty())
}

fn numbers_equal(a: Option<&[u8]>, b: Option<&[u8]>) -> bool {
    fn digits(number: &[u8]) -> impl Iterator<Item = u8> {
        number
            .iter()
            .filter(|byte| !matches!(byte, b'-' | b'.' | b'(' | b')'))
            .map(u8::to_ascii_lowercase)
    }
    digits(a.unwrap_or_default()).eq(digits(b.unwrap_or_default()))
}

fn tel_params_within(inner: &Uri<'_>, outer: &Uri<'_>) -> bool {
    inner.params.iter().all(|(name, value)| {
        outer.params.iter().any(|(known, other)| {
            same(known, name) && same(other.unwrap_or_default(), value.unwrap_or_default())
        })
    })
}

/// Equal without case, with escapes undone.
fn same(a: &[u8], b: &[u8]) -> bool {
    units(a).map(lower).eq(units(b).map(lower))
}

/// One character of a URI: a byte, or a reserved byte that was escaped and so is not the same as
/// the plain one (RFC 3261 §19.1.4).
#[derive(Copy, Clone, PartialEq, Eq)]
enum Unit {
    Plain(u8),
    Escaped(u8),
}

fn lower(unit: Unit) -> Unit {
    match unit {
        Unit::Plain(byte) => Unit::Plain(byte.to_ascii_lowercase()),
        Unit::Escaped(byte) => Unit::Escaped(byte),
    }
}

fn units(text: &[u8]) -> impl Iterator<Item = Unit> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if let [b'%', high, low, tail @ ..] = rest
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            rest = tail;
            let byte = high << 4 | low;
            let reserved = matches!(
                byte,
                b';' | b'/' | b'?' | b':' | b'@' | b'&' | b'=' | b'+' | b'$' | b',' | b'%'
            );
            return Some(if reserved {
                Unit::Escaped(byte)
            } else {
                Unit::Plain(byte)
            });
        }
        let (first, tail) = rest.split_first()?;
        rest = tail;
        Some(Unit::Plain(*first))
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equals(a: &str, b: &str) -> bool {
        let (left, right) = (
            Uri::parse(a.as_bytes()).expect(a),
            Uri::parse(b.as_bytes()).expect(b),
        );
        assert_eq!(
            left.equals(&right),
            right.equals(&left),
            "{a} and {b} disagree about each other"
        );
        left.equals(&right)
    }

    #[test]
    fn uris_that_differ_only_in_writing_are_equal() {
        for (a, b) in [
            (
                "sip:%61lice@atlanta.com;transport=TCP",
                "sip:alice@AtLanTa.CoM;Transport=tcp",
            ),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            (
                "sip:carol@chicago.com;security=on",
                "sip:carol@chicago.com;newparam=5",
            ),
            (
                "sip:a@b?subject=x&priority=urgent",
                "sip:a@b?priority=urgent&subject=x",
            ),
            ("sip:a@[2001:db8:0::1]", "sip:a@[2001:DB8::1]"),
            ("sip:a@b;lr;x=1", "sip:a@b;X=1"),
            ("tel:+1-201-555-0123", "TEL:+1(201)5550123"),
            (
                "tel:911;phone-context=+1;x=y",
                "tel:911;X=Y;phone-context=+1",
            ),
        ] {
            assert!(equals(a, b), "{a} should equal {b}");
        }
    }

    #[test]
    fn uris_that_may_lead_elsewhere_are_not_equal() {
        for (a, b) in [
            ("sip:ALICE@atlanta.com", "sip:alice@atlanta.com"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            (
                "sip:bob@biloxi.com;transport=tcp",
                "sip:bob@biloxi.com;transport=udp",
            ),
            ("sip:bob@biloxi.com", "sips:bob@biloxi.com"),
            (
                "sip:carol@chicago.com",
                "sip:carol@chicago.com?Subject=next%20meeting",
            ),
            ("sip:bob@phone21.example.com", "sip:bob@192.0.2.4"),
            (
                "sip:carol@chicago.com;security=on",
                "sip:carol@chicago.com;security=off",
            ),
            ("sip:a;b@h", "sip:a%3Bb@h"),
            ("sip:a@b", "sip:b"),
            ("sip:+1@b", "tel:+1"),
            ("tel:911;phone-context=+1", "tel:911"),
            ("urn:service:sos", "urn:service:sos"),
        ] {
            assert!(!equals(a, b), "{a} should not equal {b}");
        }
    }
}
