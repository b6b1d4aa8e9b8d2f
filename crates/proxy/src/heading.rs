//! What Route headers and the Request-URI say about where a request goes (RFC 3261 §16.4 to 16.6).

use memchr::memmem;
use smallvec::SmallVec;
use trunkline_sip::{Message, Name, Uri};

use crate::{
    forward::Strict,
    hop::ListenerId,
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
    /// The URI the request goes to next; `None` when that is us.
    pub next: Option<&'a [u8]>,
    /// The listener that our last own Route names: the side the request leaves from.
    pub leaves_from: Option<ListenerId>,
}

impl<'a> Heading<'a> {
    /// Reads a request's Route headers and Request-URI.
    pub fn read(request: &Message<'a>, snapshot: &Snapshot, tokens: &Tokens) -> Self {
        let mut heading = Heading::default();
        let mut target = request.request_uri();
        if request.first(Name::Route).is_none() {
            heading.next = target.filter(|uri| !is_own(uri, snapshot));
            return heading;
        }
        let routes: SmallVec<[&[u8]; 4]> = request
            .routes()
            .map_while(Result::ok)
            .map(|route| route.uri)
            .collect();
        let mut left = &routes[..];
        // §16.4: a strict router put our Record-Route value into the Request-URI, and the target
        // at the end of the Route set.
        let own_target = target
            .filter(|uri| memmem::find(uri, b"lr").is_some())
            .and_then(|uri| Uri::parse(uri).ok());
        let own_target = own_target.filter(|uri| uri.has_lr() && snapshot.own_uri(uri).is_some());
        if let (Some(uri), Some((last, before))) = (own_target, left.split_last()) {
            heading.strict = Strict::TakeLastRoute;
            heading.take_token(&uri, tokens);
            (target, left) = (Some(*last), before);
        }
        let taken_last = heading.strict == Strict::TakeLastRoute;
        let own = own_routes(left, snapshot, |listener, uri| {
            heading.leaves_from = Some(listener);
            heading.take_token(uri, tokens);
        });
        heading.drop_routes = own as u8;
        match left.get(own) {
            Some(route) => {
                heading.next = Some(*route);
                if Uri::parse(route).is_ok_and(|uri| !uri.has_lr()) {
                    heading.strict = if taken_last {
                        Strict::TakeLastThenSwap
                    } else {
                        Strict::SwapNext
                    };
                }
            }
            None => {
                heading.next = target.filter(|uri| !is_own(uri, snapshot));
            }
        }
        heading
    }

    fn take_token(&mut self, uri: &Uri<'a>, tokens: &Tokens) {
        if self.token.is_none() {
            self.token = uri
                .params
                .get("tl")
                .and_then(|text| Some((tokens.read(text)?, text)));
        }
    }
}

/// How many Route values at the top of a request are ours: those it leaves behind here.
pub fn dropped_routes(request: &Message<'_>, snapshot: &Snapshot) -> u8 {
    if request.first(Name::Route).is_none() {
        return 0;
    }
    let routes: SmallVec<[&[u8]; 4]> = request
        .routes()
        .map_while(Result::ok)
        .map(|route| route.uri)
        .take(3)
        .collect();
    own_routes(&routes, snapshot, |_, _| {}) as u8
}

/// How many of these are ours: one, or two that say that they belong together; else the second is
/// a spiral's.
fn own_routes<'a>(
    routes: &[&'a [u8]],
    snapshot: &Snapshot,
    mut each: impl FnMut(ListenerId, &Uri<'a>),
) -> usize {
    let mut double = false;
    for (at, route) in routes.iter().take(2).enumerate() {
        let Ok(uri) = Uri::parse(route) else {
            return at;
        };
        let Some(listener) = snapshot.own_uri(&uri) else {
            return at;
        };
        let is_double = uri.params.has("r2");
        if at == 1 && !(double && is_double) {
            return at;
        }
        double = is_double;
        each(listener, &uri);
    }
    routes.len().min(2)
}

fn is_own(uri: &[u8], snapshot: &Snapshot) -> bool {
    Uri::parse(uri).is_ok_and(|uri| snapshot.own_uri(&uri).is_some())
}
