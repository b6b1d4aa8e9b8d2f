//! Route sets: our own values leave, strict routers get what they expect.

use smallvec::SmallVec;
use trunkline_sip::{Fault, Malformed, Message, Name, NameAddr, Place};

use super::splice::Splice;

/// Route values for a request of our own, closest hop first, each as written ("<sip:...;lr>").
pub type RouteSlice<'r> = &'r [&'r [u8]];

/// What routers of RFC 2543 before or behind us make necessary.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Strict {
    /// Loose routing throughout.
    #[default]
    None,
    /// RFC 3261 §16.4: the Request-URI was ours, so the last Route value becomes the Request-URI
    /// and leaves the Route set.
    TakeLastRoute,
    /// RFC 3261 §16.6 step 6: the first Route value that remains has no `lr`. It becomes the
    /// Request-URI, and the Request-URI goes to the end of the Route set.
    SwapNext,
    /// Both: strict routers on either side of us.
    TakeLastThenSwap,
}

impl Strict {
    const fn takes_last(self) -> bool {
        matches!(self, Strict::TakeLastRoute | Strict::TakeLastThenSwap)
    }

    const fn swaps(self) -> bool {
        matches!(self, Strict::SwapNext | Strict::TakeLastThenSwap)
    }
}

/// Which Route values of one request stay, and what the Request-URI becomes.
pub(super) struct RouteChange<'a> {
    /// The Request-URI passed all checks when the request came in.
    settled: bool,
    total: usize,
    drop: usize,
    takes_last: bool,
    /// The Request-URI of a strict router behind us.
    next: Option<&'a [u8]>,
    /// The Request-URI from the end of the Route set.
    last: Option<&'a [u8]>,
}

impl<'a> RouteChange<'a> {
    /// Fails when a value that becomes a Request-URI is missing or cannot be read.
    #[inline]
    pub fn new(message: &Message<'a>, drop: usize, strict: Strict) -> Result<Self, Malformed> {
        let settled = message.facts().is_some();
        if strict == Strict::None {
            return Ok(RouteChange {
                settled,
                total: 0,
                drop,
                takes_last: false,
                next: None,
                last: None,
            });
        }
        Self::around_strict(message, drop, strict)
    }

    #[cold]
    fn around_strict(
        message: &Message<'a>,
        drop: usize,
        strict: Strict,
    ) -> Result<Self, Malformed> {
        let settled = message.facts().is_some();
        let total = message.values(Name::Route).count();
        let last = match strict.takes_last() {
            true => Some(nth_uri(message, total.wrapping_sub(1))?),
            false => None,
        };
        let left = total - usize::from(last.is_some());
        let drop = drop.min(left);
        let next = match strict.swaps() && drop < left {
            true => Some(nth_uri(message, drop)?),
            false => None,
        };
        Ok(RouteChange {
            settled,
            total,
            drop,
            takes_last: last.is_some(),
            next,
            last,
        })
    }

    /// The Request-URI to write, and the one to put at the end of the Route set, if any. Fails
    /// when one of them would not be a Request-URI.
    pub fn uris<'u>(
        &self,
        original: &'u [u8],
        rewritten: Option<&'u [u8]>,
    ) -> Result<(&'u [u8], Option<&'u [u8]>), Malformed>
    where
        'a: 'u,
    {
        let target = match rewritten.or(self.last) {
            None if self.settled => original,
            new => request_uri(new.unwrap_or(original))?,
        };
        match self.next {
            Some(next) => Ok((request_uri(next)?, Some(target))),
            None => Ok((target, None)),
        }
    }

    fn removes(&self, index: usize) -> bool {
        index < self.drop
            || (self.next.is_some() && index == self.drop)
            || (self.takes_last && index + 1 == self.total)
    }

    /// Whether every Route header stays as it is.
    pub fn is_identity(&self) -> bool {
        self.drop == 0 && self.next.is_none() && !self.takes_last
    }
}

/// A URI from a header may hold what a start line may not: a fold, say, which would end it, or a
/// scheme that nobody would accept there.
pub(super) fn request_uri(uri: &[u8]) -> Result<&[u8], Malformed> {
    // All of them, and no branch at any: sixteen bytes take one step.
    let breaks_the_line = uri.iter().fold(false, |found, byte| {
        found | (*byte <= b' ') | (*byte == b'<') | (*byte == b'>') | (*byte == 0x7f)
    });
    let scheme = uri.split(|byte| *byte == b':').next().unwrap_or_default();
    let known = ["sip", "sips", "tel"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known.as_bytes()));
    if !known || breaks_the_line {
        return Err(Malformed {
            fault: Fault::RequestUri,
            at: 0,
        });
    }
    Ok(uri)
}

fn nth_uri<'a>(message: &Message<'a>, index: usize) -> Result<&'a [u8], Malformed> {
    let missing = Malformed {
        fault: Fault::Missing(Name::Route),
        at: 0,
    };
    let route: NameAddr<'a> = message.routes().nth(index).ok_or(missing)??;
    Ok(route.uri)
}

/// Goes over the Route headers of a message one by one.
pub(super) struct RouteLines<'a, 'm> {
    message: &'m Message<'a>,
    change: &'m RouteChange<'a>,
    index: usize,
}

impl<'a, 'm> RouteLines<'a, 'm> {
    pub fn new(message: &'m Message<'a>, change: &'m RouteChange<'a>) -> Self {
        RouteLines {
            message,
            change,
            index: 0,
        }
    }

    /// Leaves out of the next Route header the values that leave; with none left, all of it.
    pub fn change(&mut self, splice: &mut Splice<'_, '_>, header: &Place) {
        if !header.is_single {
            return self.change_list(splice, header.line);
        }
        if header.value_at.0 < header.value_at.1 {
            if self.change.removes(self.index) {
                splice.until(header.line.0);
                splice.skip(header.line.1);
            }
            self.index += 1;
        }
    }

    #[inline(never)]
    fn change_list(&mut self, splice: &mut Splice<'_, '_>, line: (u32, u32)) {
        splice.until(line.0);
        let mut first = None;
        let mut kept = false;
        let values = self.message.values(Name::Route);
        for value in values.filter(|value| value.line == line) {
            let first = *first.get_or_insert(value.at.0);
            let stays = !self.change.removes(self.index);
            self.index += 1;
            if stays && !kept {
                // Up to the first value, name and colon; what left in between took its comma along.
                splice.until(first);
                splice.skip(value.at.0);
            }
            if stays {
                splice.until(value.at.1);
            } else if kept {
                // The comma before it leaves with it.
                splice.skip(value.at.1);
            }
            kept |= stays;
        }
        if first.is_some() && !kept {
            splice.skip(line.1);
        } else {
            splice.until(line.1);
        }
    }
}

/// The Record-Route values above ours, in reverse: the Route set between us and who answered,
/// closest first (RFC 3261 §12.1.2). All of them when none is ours.
pub fn routes_above<'a>(
    response: &Message<'a>,
    mut is_ours: impl FnMut(&'a [u8]) -> bool,
) -> SmallVec<[&'a [u8]; 4]> {
    let mut above: SmallVec<[&'a [u8]; 4]> = response
        .values(Name::RecordRoute)
        .map(|value| value.bytes)
        .take_while(|value| !is_ours(value))
        .collect();
    above.reverse();
    above
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::sample::parse;

    #[test]
    fn the_route_set_of_who_answered_stands_above_ours() {
        let table: &[(&str, &[&str])] = &[
            ("", &[]),
            ("Record-Route: <sip:us;lr>, <sip:before;lr>\r\n", &[]),
            (
                "Record-Route: <sip:far;lr>,<sip:near;lr>\r\nRecord-Route: <sip:us;lr>\r\n",
                &["<sip:near;lr>", "<sip:far;lr>"],
            ),
            (
                "Record-Route: \"F\" <sip:far;lr>;x, <sip:us;lr>,<sip:us;lr>,<sip:y;lr>\r\n",
                &["\"F\" <sip:far;lr>;x"],
            ),
            // An answer that lost ours: all of it lies between us and who answered.
            ("Record-Route: <sip:far;lr>\r\n", &["<sip:far;lr>"]),
        ];
        for (lines, expected) in table {
            let text = format!("SIP/2.0 200 OK\r\n{lines}\r\n");
            let message = parse(text.as_bytes());
            let above = routes_above(&message, |route| route.starts_with(b"<sip:us"));
            let above: Vec<_> = above
                .iter()
                .map(|route| String::from_utf8_lossy(route))
                .collect();
            assert_eq!(above, *expected, "{lines}");
        }
    }
}
