//! Edges and targets: a host or SIP URI becomes a way to address requests and a place to resolve.

use std::collections::HashMap;

use trunkline_proxy::{
    hop::ListenerId,
    settings::{Place, PlaceId, RequestAddress},
};
use trunkline_sip::{Scheme, Transport, Uri};

use crate::{
    host,
    nearest::nearest,
    read::{Context, listen::unspoken},
    walk::{Value, shorten},
};

/// Everything that must be resolved, each once.
#[derive(Default)]
pub(crate) struct Places {
    all: Vec<Place>,
    ids: HashMap<Place, PlaceId>,
}

impl Places {
    fn add(&mut self, place: Place) -> PlaceId {
        if let Some(id) = self.ids.get(&place) {
            return *id;
        }
        let id = PlaceId(u32::try_from(self.all.len()).unwrap_or(u32::MAX));
        self.all.push(place.clone());
        self.ids.insert(place, id);
        id
    }

    pub fn into_all(self) -> Vec<Place> {
        self.all
    }
}

/// Reads a host or URI, and the listener it is to be spoken to from.
pub(super) fn read(
    value: &Value<'_>,
    written: &str,
    from: Option<&Value<'_>>,
    context: &mut Context<'_>,
) -> Option<(RequestAddress, PlaceId)> {
    let text = as_uri(written);
    let uri = match Uri::parse(text.as_bytes()) {
        Ok(uri) => uri,
        Err(_) => return none(value, written, "it cannot be read as one"),
    };
    let secure = match uri.scheme {
        Scheme::Sip => false,
        Scheme::Sips => true,
        Scheme::Tel => return none(value, written, "a tel URI names no host"),
        Scheme::Other => return none(value, written, "its scheme is neither sip nor sips"),
    };
    let text_of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let host = match host::host(&text_of(uri.host_raw)) {
        Ok(host) => host,
        Err(what) => return none(value, written, &what),
    };
    if !uri.headers.is_empty() {
        value.fault(
            format!("{:?} carries headers", shorten(written)),
            "remove what follows the \"?\": this build adds no headers from a URI",
        );
        return None;
    }
    let maddr = match uri
        .params
        .get("maddr")
        .map(|bytes| host::host(&text_of(bytes)))
    {
        Some(Err(what)) => return none(value, written, &format!("in maddr, {what}")),
        Some(Ok(maddr)) => Some(maddr),
        None => None,
    };
    let transport = transport(value, &uri, secure)?;
    let from = match from {
        Some(from) => Some(listener(from, context)?),
        None => None,
    };
    let resolved = maddr.as_ref().unwrap_or(&host);
    let place = Place {
        host: resolved.trim_matches(['[', ']']).into(),
        port: uri.port,
        transport,
        secure,
        from,
    };
    if !reachable(value, written, &place, context) {
        return None;
    }
    let authority = match uri.port {
        Some(port) => format!("{host}:{port}"),
        None => host.clone(),
    };
    let params: String = uri
        .params
        .iter()
        .map(|(name, value)| match value {
            Some(value) => format!(";{}={}", text_of(name), text_of(value)),
            None => format!(";{}", text_of(name)),
        })
        .collect();
    let address = RequestAddress {
        written: written.into(),
        scheme: if secure { "sips" } else { "sip" }.into(),
        user: uri.user.map(|user| text_of(user).into()),
        host: host.into(),
        authority: authority.into(),
        params: params.into(),
    };
    Some((address, context.places.add(place)))
}

/// A host alone is a SIP URI without its scheme.
fn as_uri(written: &str) -> String {
    if written.parse::<std::net::Ipv6Addr>().is_ok() {
        return format!("sip:[{written}]");
    }
    let (head, rest) = written.split_once(':').unwrap_or((written, ""));
    let port_follows =
        rest.starts_with(|c: char| c.is_ascii_digit()) && !head.eq_ignore_ascii_case("tel");
    if !written.contains(':') || written.starts_with('[') || port_follows && !is_sip(head) {
        format!("sip:{written}")
    } else {
        written.to_owned()
    }
}

fn is_sip(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips")
}

fn none<T>(value: &Value<'_>, written: &str, why: &str) -> Option<T> {
    let message = format!(
        "{:?} is neither a host nor a SIP URI: {why}",
        shorten(written)
    );
    value.fault(
        message,
        "write \"host\", \"host:5060\" or \"sip:host:5060;transport=tcp\"",
    );
    None
}

/// The transport that was written. The outer `None`: a fault.
fn transport(value: &Value<'_>, uri: &Uri<'_>, secure: bool) -> Option<Option<Transport>> {
    if secure {
        unspoken(value, "tls (sips:)");
        return None;
    }
    let Some(token) = uri.params.get("transport") else {
        return Some(None);
    };
    match Transport::parse(token) {
        Some(transport @ (Transport::Udp | Transport::Tcp)) => Some(Some(transport)),
        Some(transport @ (Transport::Tls | Transport::Ws | Transport::Wss)) => {
            unspoken(value, transport.param());
            None
        }
        None => {
            let token = String::from_utf8_lossy(token).into_owned();
            unspoken(value, &format!("transport {:?}", shorten(&token)));
            None
        }
    }
}

/// The listener that `from` names.
fn listener(from: &Value<'_>, context: &Context<'_>) -> Option<ListenerId> {
    let name = from.element("the name of a listener in quotes")?;
    let at = context
        .listeners
        .iter()
        .position(|listener| listener.name.as_deref() == Some(name));
    if at.is_none() {
        let known: Vec<&str> = context
            .listeners
            .iter()
            .filter_map(|listener| listener.name.as_deref())
            .collect();
        let remedy = match nearest(name, known.iter().copied()) {
            Some(known) => format!("did you mean \"{known}\"?"),
            None if known.is_empty() => {
                format!("give one of the [[listen]] tables name = {name:?}")
            }
            None => format!("named listeners: {}", known.join(", ")),
        };
        from.fault(format!("no listener is named {:?}", shorten(name)), remedy);
    }
    at.and_then(|at| u16::try_from(at).ok()).map(ListenerId)
}

/// Whether some listener can speak to the place at all. A fault when not.
fn reachable(value: &Value<'_>, written: &str, place: &Place, context: &Context<'_>) -> bool {
    if context.listeners.is_empty() {
        // Noted already, once.
        return true;
    }
    let named = place
        .from
        .and_then(|id| context.listeners.get(usize::from(id.0)));
    let fits = |transport: Option<Transport>, ipv6: Option<bool>| {
        context.listeners.iter().any(|listener| {
            named.is_none_or(|named| std::ptr::eq(named, listener))
                && transport.is_none_or(|transport| transport == listener.transport)
                && ipv6.is_none_or(|ipv6| ipv6 == listener.bind.is_ipv6())
        })
    };
    let ipv6 = place
        .host
        .parse::<std::net::IpAddr>()
        .ok()
        .map(|address| address.is_ipv6());
    let who = named.map_or("no listener".to_owned(), |named| {
        format!(
            "listener {:?} is {} {}: it",
            named.name.as_deref().unwrap_or_default(),
            named.transport.param(),
            named.bind
        )
    });
    let lacks = match (place.transport, ipv6) {
        (Some(transport), _) if !fits(Some(transport), None) => transport.param(),
        (_, Some(true)) if !fits(place.transport, ipv6) => "IPv6",
        (_, Some(false)) if !fits(place.transport, ipv6) => "IPv4",
        _ => return true,
    };
    let verb = if named.is_some() {
        "does not speak"
    } else {
        "speaks"
    };
    let message = format!(
        "{:?} needs {lacks}, but {who} {verb} {lacks}",
        shorten(written)
    );
    value.fault(
        message,
        format!("add a [[listen]] for {lacks}, or name another listener in from"),
    );
    false
}
