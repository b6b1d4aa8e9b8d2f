//! What Route headers and the Request-URI say about where a request goes (RFC 3261 §16.4 to 16.6).

use trunkline_sip::{Message, Uri};

use crate::{forward::Strict, hop::ListenerId, snapshot::Snapshot, token::{DialogToken, Tokens}};

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
        let mut routes = request.routes().map_while(Result::ok).map(|route| route.uri).peekable();
        // §16.4: a strict router put our Record-Route value into the Request-URI, and the target
        // at the end of the Route set.
        if let Some(uri) = target.and_then(|uri| Uri::parse(uri).ok()) {
            if uri.has_lr() && snapshot.own_uri(&uri).is_some() && routes.peek().is_some() {
                heading.strict = Strict::TakeLastRoute;
                heading.take_token(&uri, tokens);
                target = request.routes().filter_map(Result::ok).last().map(|route| route.uri);
            }
        }
        let taken_last = heading.strict == Strict::TakeLastRoute;
        let left = request.routes().count() - usize::from(taken_last);
        let mut rest = routes.take(left).peekable();
        let mut double = false;
        while let Some(uri) = rest.peek().and_then(|uri| Uri::parse(uri).ok()) {
            let Some(listener) = snapshot.own_uri(&uri) else { break };
            // Two of ours belong together only when both say so; else the second is a spiral's.
            let is_double = uri.params.has("r2");
            if heading.drop_routes == 2 || (heading.drop_routes == 1 && !(double && is_double)) {
                break;
            }
            double = is_double;
            heading.drop_routes += 1;
            heading.leaves_from = Some(listener);
            heading.take_token(&uri, tokens);
            rest.next();
        }
        match rest.next() {
            Some(route) => {
                heading.next = Some(route);
                if Uri::parse(route).is_ok_and(|uri| !uri.has_lr()) {
                    heading.strict = if taken_last { Strict::TakeLastThenSwap } else { Strict::SwapNext };
                }
            }
            None => {
                heading.next = target.filter(|uri| {
                    !Uri::parse(uri).is_ok_and(|uri| snapshot.own_uri(&uri).is_some())
                });
            }
        }
        heading
    }

    fn take_token(&mut self, uri: &Uri<'a>, tokens: &Tokens) {
        if self.token.is_none() {
            self.token = uri.params.get("tl").and_then(|text| Some((tokens.read(text)?, text)));
        }
    }
}
