//! What a Request-URI becomes on its way to an edge or a target.

use smallvec::SmallVec;
use trunkline_sip::{Params, Scheme, Uri};

use crate::settings::RequestAddress;

/// Parameters that speak of the hop that lies behind us (RFC 3261 §16.5, §19.1.1).
const OF_THE_HOP: [&str; 4] = ["transport", "maddr", "ttl", "lr"];

/// Parameters of a tel URI that decide where a call goes or whom it reaches (RFC 3966 §5.4,
/// RFC 4694): they move into the user part (RFC 3261 §19.1.6). Others mean nothing to a carrier.
const OF_THE_NUMBER: [&str; 6] = ["phone-context", "ext", "isub", "npdi", "rn", "cic"];

/// A Request-URI while it is being made.
pub type UriText = SmallVec<[u8; 128]>;

/// Writes the Request-URI for `to`: the user part is kept unless `to` has one, the host becomes
/// `to`'s, parameters stay but for those of the last hop, headers (`?...`) leave.
/// `tel:+15550100` becomes `sip:+15550100@host;user=phone`.
pub fn request_uri(old: &Uri<'_>, to: &RequestAddress, mut put: impl FnMut(&[u8])) {
    put(to.scheme.as_bytes());
    put(b":");
    let is_number = old.scheme == Scheme::Tel && to.user.is_none();
    if let Some(user) = to.user.as_deref().map(str::as_bytes).or(old.user) {
        put(user);
        if is_number {
            let known = |name: &[u8]| OF_THE_NUMBER.iter().any(|known| is(name, known));
            put_params(old.params, known, &mut put);
        }
        put(b"@");
    }
    put(to.authority.as_bytes());
    let new = Params(to.params.as_bytes());
    match old.scheme {
        Scheme::Sip | Scheme::Sips => {
            let stays = |name: &[u8]| {
                let replaced = new
                    .iter()
                    .any(|(theirs, _)| name.eq_ignore_ascii_case(theirs));
                !replaced && !OF_THE_HOP.iter().any(|hop| is(name, hop))
            };
            if to.params.is_empty() && !may_be_of_the_hop(old.params) {
                put(old.params.0);
            } else {
                put_params(old.params, stays, &mut put);
            }
        }
        Scheme::Tel if is_number && !new.has("user") => put(b";user=phone"),
        Scheme::Tel | Scheme::Other => {}
    }
    put(to.params.as_bytes());
}

/// Whether any parameter begins as one of [`OF_THE_HOP`] does: hardly any does.
fn may_be_of_the_hop(params: Params<'_>) -> bool {
    let firsts = params.0.windows(2).filter(|pair| pair[0] == b';');
    let letters = firsts.map(|pair| pair[1].to_ascii_lowercase());
    letters
        .into_iter()
        .any(|first| matches!(first, b't' | b'm' | b'l'))
}

fn is(name: &[u8], known: &str) -> bool {
    name.eq_ignore_ascii_case(known.as_bytes())
}

#[inline(never)]
fn put_params(params: Params<'_>, stays: impl Fn(&[u8]) -> bool, put: &mut impl FnMut(&[u8])) {
    for (name, value) in params.iter().filter(|(name, _)| stays(name)) {
        put(b";");
        put(name);
        if let Some(value) = value {
            put(b"=");
            put(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(user: &str, authority: &str, params: &str) -> RequestAddress {
        RequestAddress {
            written: "".into(),
            scheme: "sip".into(),
            user: (!user.is_empty()).then(|| user.into()),
            host: authority.into(),
            authority: authority.into(),
            params: params.into(),
        }
    }

    #[test]
    fn a_request_uri_keeps_its_user_and_gets_the_next_hops_host() {
        // The Request-URI as it came, the user, authority and parameters of the place, the result.
        let table: &[(&str, [&str; 3], &str)] = &[
            (
                "sip:+15550100@us.test",
                ["", "edge.test", ""],
                "sip:+15550100@edge.test",
            ),
            (
                "sips:b:pw@us.test:5061",
                ["", "edge.test:5080", ""],
                "sip:b:pw@edge.test:5080",
            ),
            (
                "sip:b%40x@us.test",
                ["", "[2001:db8::1]:5060", ""],
                "sip:b%40x@[2001:db8::1]:5060",
            ),
            ("sip:b@us.test", ["op", "pbx.test", ""], "sip:op@pbx.test"),
            ("sip:us.test", ["", "pbx.test", ""], "sip:pbx.test"),
            ("sip:us.test", ["op", "pbx.test", ""], "sip:op@pbx.test"),
            (
                "sip:b@us.test;user=phone;transport=tcp;MADDR=1.2.3.4;ttl=1;lr;x=%41;flag?Subject=s",
                ["", "pbx.test", ""],
                "sip:b@pbx.test;user=phone;x=%41;flag",
            ),
            (
                "sip:b@us.test;transport=tcp;USER=ip;x=1",
                ["", "pbx.test", ";transport=tls;user=phone"],
                "sip:b@pbx.test;x=1;transport=tls;user=phone",
            ),
            (
                "tel:+15550100",
                ["", "edge.test", ""],
                "sip:+15550100@edge.test;user=phone",
            ),
            (
                "tel:+1-555;x=y",
                ["", "edge.test", ""],
                "sip:+1-555@edge.test;user=phone",
            ),
            (
                "tel:0100;phone-context=+1555;x=y;npdi",
                ["", "edge.test", ";transport=tcp"],
                "sip:0100;phone-context=+1555;npdi@edge.test;user=phone;transport=tcp",
            ),
            (
                "tel:+1555",
                ["", "edge.test", ";user=phone"],
                "sip:+1555@edge.test;user=phone",
            ),
            ("tel:+1555", ["op", "pbx.test", ""], "sip:op@pbx.test"),
        ];
        for (came, [user, authority, params], expected) in table {
            let mut out = UriText::new();
            let old = Uri::parse(came.as_bytes()).expect(came);
            let address = address(user, authority, params);
            request_uri(&old, &address, |text| out.extend_from_slice(text));
            assert_eq!(String::from_utf8_lossy(&out), *expected, "{came}");
            assert!(Uri::parse(&out).is_ok());
        }
    }
}
