//! What Route headers and the Request-URI say about where a request goes (RFC 3261 §16.4 to 16.6).

use smallvec::SmallVec;
use trunkline_sip::{Host, Message, Name, NameAddr, Transport, Uri};

use crate::{
    forward::{Strict, routes_above},
    hop::ListenerId,
    own_route::OwnRoute,
    snapshot::Snapshot,
};

/// The reading of one request.
#[derive(Clone, Debug, Default)]
pub struct Heading<'a> {
    /// Route values of ours at the top: 0 to 2.
    pub drop_routes: u8,
    /// Strict routers around us.
    pub strict: Strict,
    /// The token that came along, as written: whether we signed it is not looked at.
    pub token: Option<&'a [u8]>,
    /// Where the request goes to next; `None` when that is us.
    pub next: Option<Next<'a>>,
    /// The listener that our last own Route names: the side the request leaves from.
    pub leaves_from: Option<ListenerId>,
}

/// A URI that a request goes to.
#[derive(Copy, Clone, Debug)]
pub struct Next<'a> {
    /// As written.
    pub text: &'a [u8],
    /// Read; `None` where it cannot be.
    pub uri: Option<Reached<'a>>,
}

/// A URI and [what it reaches](Uri::reach).
#[derive(Copy, Clone, Debug)]
pub struct Reached<'a> {
    /// The whole.
    pub uri: Uri<'a>,
    /// Its host, or the one that `maddr` puts in its place.
    pub host: Host<'a>,
    /// The transport that it names.
    pub transport: Option<Transport>,
}

impl<'a> Reached<'a> {
    /// Reads that of a URI.
    pub fn of(uri: Uri<'a>) -> Self {
        let (host, transport) = uri.reach();
        Reached {
            uri,
            host,
            transport,
        }
    }

    /// Whether that is us.
    fn is_ours(&self, snapshot: &Snapshot) -> bool {
        let transport = self.transport.or(Some(Transport::Udp));
        snapshot.own(self.host, self.uri.port, transport).is_some()
    }
}

impl<'a> Heading<'a> {
    /// Reads a request's Route headers and Request-URI.
    pub fn read(request: &Message<'a>, snapshot: &Snapshot) -> Self {
        match Self::usual(request, snapshot) {
            Some(heading) => heading,
            None => Self::any(request, snapshot),
        }
    }

    /// As nearly all have it: one Route, which is ours, and a target that is no strict router's.
    #[inline(always)]
    fn usual(request: &Message<'a>, snapshot: &Snapshot) -> Option<Self> {
        let uri = request.facts()?.uri.filter(|uri| !uri.has_lr())?;
        let text = request.request_uri()?;
        let own = OwnRoute::of_value(request.only_value(Name::Route)?, snapshot)?;
        let target = Reached::of(uri);
        let next = (!target.is_ours(snapshot)).then_some(Next {
            text,
            uri: Some(target),
        });
        Some(Heading {
            drop_routes: 1,
            strict: Strict::None,
            token: own.token,
            next,
            leaves_from: Some(own.listener),
        })
    }

    /// As [`read`](Self::read), whatever it has.
    #[inline(never)]
    fn any(request: &Message<'a>, snapshot: &Snapshot) -> Self {
        let mut heading = Heading::default();
        let unsettled;
        let uri = match request.facts() {
            Some(facts) => facts.uri.as_ref(),
            None => {
                unsettled = request.uri();
                unsettled.as_ref()
            }
        };
        // The target, where that is not the Request-URI.
        let mut moved = None;
        let values = request.values(Name::Route).map(|value| value.bytes);
        let mut left = usize::MAX;
        // A Record-Route of ours has `lr`; hardly any Request-URI does.
        let routed = uri.filter(|uri| uri.has_lr());
        // §16.4: a strict router put our Record-Route value into the Request-URI, and the target
        // at the end of the Route set.
        if let Some(routed) = routed
            && let Some((before, last)) = values.clone().enumerate().last()
            && let Some(own) = OwnRoute::of(routed, snapshot)
            && let Some(last) = uri_of(last)
        {
            heading.strict = Strict::TakeLastRoute;
            heading.token = own.token;
            moved = Some(last);
            left = before;
        }
        let taken_last = heading.strict == Strict::TakeLastRoute;
        let mut values = values.take(left);
        let (own, above) = own_routes(&mut values, snapshot, |own| {
            heading.leaves_from = Some(own.listener);
            heading.token = heading.token.or(own.token);
        });
        heading.drop_routes = own;
        let next = |(text, uri): (_, Option<_>)| Next {
            text,
            uri: uri.map(Reached::of),
        };
        match above.and_then(uri_of) {
            Some(route) => {
                heading.next = Some(next(route));
                if route.1.is_some_and(|uri| !uri.has_lr()) {
                    heading.strict = if taken_last {
                        Strict::TakeLastThenSwap
                    } else {
                        Strict::SwapNext
                    };
                }
            }
            None => {
                let is_ours = |to: &Reached<'_>| to.is_ours(snapshot);
                let target = match (moved, request.request_uri()) {
                    (Some(moved), _) => Some(next(moved)),
                    (None, Some(text)) => Some(next((text, uri.copied()))),
                    (None, None) => None,
                };
                if target.is_some_and(|it| !it.uri.as_ref().is_some_and(is_ours)) {
                    heading.next = target;
                }
            }
        }
        heading
    }
}

/// How many Route values at the top of a request are ours: those it leaves behind here.
pub fn dropped_routes(request: &Message<'_>, snapshot: &Snapshot) -> u8 {
    if request.first(Name::Route).is_none() {
        return 0;
    }
    if let Some(route) = request.only_value(Name::Route) {
        return u8::from(OwnRoute::of_value(route, snapshot).is_some());
    }
    let mut values = request.values(Name::Route).map(|value| value.bytes);
    own_routes(&mut values, snapshot, |_| {}).0
}

/// What the Record-Route of a response says: the Route set between us and who answered, closest first,
/// and our token.
pub fn record_routes<'a>(
    response: &Message<'a>,
    snapshot: &Snapshot,
) -> (SmallVec<[&'a [u8]; 4]>, Option<&'a [u8]>) {
    let mut ours = None;
    let above = routes_above(response, |route| {
        ours = OwnRoute::of_value(route, snapshot);
        ours.is_some()
    });
    let below = || {
        let next = response.values(Name::RecordRoute).nth(above.len() + 1)?;
        OwnRoute::of_value(next.bytes, snapshot)?.token
    };
    // Of two that belong together either one may have it.
    let token = ours.and_then(|own| own.token.or_else(|| own.double.then(below)?));
    (above, token)
}

/// The URI of a Route value, as written and, where it can be, read; `None` for what is none.
fn uri_of(value: &[u8]) -> Option<(&[u8], Option<Uri<'_>>)> {
    let text = NameAddr::parse(value).ok()?.uri;
    Some((text, Uri::parse(text).ok()))
}

/// Takes those of ours from the front: one, or two that say that they belong together; else the
/// second is a spiral's. Says how many, and which value follows them.
fn own_routes<'a>(
    routes: &mut impl Iterator<Item = &'a [u8]>,
    snapshot: &Snapshot,
    mut each: impl FnMut(&OwnRoute<'a>),
) -> (u8, Option<&'a [u8]>) {
    let mut double = false;
    for at in 0..2 {
        let Some(route) = routes.next() else {
            return (at, None);
        };
        let own = OwnRoute::of_value(route, snapshot);
        let Some(own) = own.filter(|own| at == 0 || (double && own.double)) else {
            return (at, Some(route));
        };
        double = own.double;
        each(&own);
    }
    (2, routes.next())
}
