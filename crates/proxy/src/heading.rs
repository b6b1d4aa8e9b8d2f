//! What Route headers and the Request-URI say about where a request goes (RFC 3261 §16.4 to 16.6).

use std::iter::Peekable;

use trunkline_sip::{Message, Name, NameAddr, Uri};

use crate::{
    forward::Strict,
    hop::ListenerId,
    own_route::OwnRoute,
    snapshot::Snapshot,
    token::{DialogToken, Tokens},
};

/// The reading of one request.
#[derive(Clone, Debug, Default)]
pub struct Heading<'a> {
    /// Route values of ours at the top: 0 to 2.
    pub drop_routes: u8,
    /// Strict routers around us.
    pub strict: Strict,
    /// Our token, if one came along and its signature is good.
    pub token: Option<(DialogToken, &'a [u8])>,
    /// The URI the request goes to next, as written; `None` when that is us.
    pub next: Option<&'a [u8]>,
    /// The same, read; `None` also where it cannot be.
    pub next_uri: Option<Uri<'a>>,
    /// The listener that our last own Route names: the side the request leaves from.
    pub leaves_from: Option<ListenerId>,
}

impl<'a> Heading<'a> {
    /// Reads a request's Route headers and Request-URI.
    pub fn read(request: &Message<'a>, snapshot: &Snapshot, tokens: &Tokens) -> Self {
        let mut heading = Heading::default();
        let mut target = request.request_uri();
        if request.first(Name::Route).is_none() {
            heading.go_to(target, request.uri(), snapshot);
            return heading;
        }
        let mut target_uri = request.uri();
        // A Record-Route of ours has `lr`; hardly any Request-URI does.
        let routed = target_uri.filter(Uri::has_lr);
        let own_target = routed.and_then(|uri| OwnRoute::of(&uri, snapshot));
        let values = request.values(Name::Route).map(|value| value.bytes);
        let mut left = usize::MAX;
        // §16.4: a strict router put our Record-Route value into the Request-URI, and the target
        // at the end of the Route set.
        if let Some(own) = own_target
            && let Some((before, last)) = values.clone().enumerate().last()
            && let Some(last) = uri_of(last)
        {
            heading.strict = Strict::TakeLastRoute;
            heading.take_token(&own, tokens);
            target = Some(last);
            target_uri = Uri::parse(last).ok();
            left = before;
        }
        let taken_last = heading.strict == Strict::TakeLastRoute;
        let mut values = values.take(left).peekable();
        let own = own_routes(&mut values, snapshot, |own| {
            heading.leaves_from = Some(own.listener);
            heading.take_token(own, tokens);
        });
        heading.drop_routes = own as u8;
        match values.next().and_then(uri_of) {
            Some(route) => {
                heading.next = Some(route);
                heading.next_uri = Uri::parse(route).ok();
                if heading.next_uri.is_some_and(|uri| !uri.has_lr()) {
                    heading.strict = if taken_last {
                        Strict::TakeLastThenSwap
                    } else {
                        Strict::SwapNext
                    };
                }
            }
            None => heading.go_to(target, target_uri, snapshot),
        }
        heading
    }

    /// The request goes to this URI, unless that is us.
    fn go_to(&mut self, target: Option<&'a [u8]>, uri: Option<Uri<'a>>, snapshot: &Snapshot) {
        if uri.is_none_or(|uri| snapshot.own_uri(&uri).is_none()) {
            (self.next, self.next_uri) = (target, uri);
        }
    }

    fn take_token(&mut self, own: &OwnRoute<'a>, tokens: &Tokens) {
        if self.token.is_none() {
            self.token = own.token.and_then(|text| Some((tokens.read(text)?, text)));
        }
    }
}

/// How many Route values at the top of a request are ours: those it leaves behind here.
pub fn dropped_routes(request: &Message<'_>, snapshot: &Snapshot) -> u8 {
    if request.first(Name::Route).is_none() {
        return 0;
    }
    let values = request.values(Name::Route).map(|value| value.bytes);
    own_routes(&mut values.peekable(), snapshot, |_| {}) as u8
}

/// The URI of a Route value; `None` for what is none.
fn uri_of(value: &[u8]) -> Option<&[u8]> {
    NameAddr::parse(value).ok().map(|route| route.uri)
}

/// Takes those of ours from the front: one, or two that say that they belong together; else the
/// second is a spiral's. Says how many.
fn own_routes<'a>(
    routes: &mut Peekable<impl Iterator<Item = &'a [u8]>>,
    snapshot: &Snapshot,
    mut each: impl FnMut(&OwnRoute<'a>),
) -> usize {
    let mut double = false;
    for at in 0..2 {
        let own = routes
            .peek()
            .and_then(|route| OwnRoute::of_value(route, snapshot))
            .filter(|own| at == 0 || (double && own.double));
        let Some(own) = own else { return at };
        double = own.double;
        each(&own);
        routes.next();
    }
    2
}
