//! Where in the stored INVITE that is which is needed when the call is answered: it was read when it
//! came, and is not read again.

use smallvec::SmallVec;
use trunkline_sip::{Message, Name};

/// A part of the stored request. Messages are shorter than 64 KiB.
type Part = (u16, u16);

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    call_id: Part,
    from_tag: Part,
    from_uri: Part,
    called: Part,
    contact: Part,
    record_routes: SmallVec<[Part; 2]>,
}

impl Kept {
    /// The parts of this request.
    pub fn of(request: &Message<'_>) -> Self {
        let Some(facts) = request.facts() else {
            return Kept::default();
        };
        let part = |text: &[u8]| {
            let (start, end) = request.span_of(text).unwrap_or_default();
            (start as u16, end as u16)
        };
        Kept {
            call_id: part(facts.call_id),
            from_tag: facts.from_tag.map(part).unwrap_or_default(),
            from_uri: part(facts.from_uri),
            called: facts
                .uri
                .and_then(|uri| uri.user)
                .map(part)
                .unwrap_or_default(),
            contact: request.contact_uri().map(part).unwrap_or_default(),
            record_routes: match request.first(Name::RecordRoute) {
                Some(_) => request
                    .values(Name::RecordRoute)
                    .map(|value| part(value.bytes))
                    .collect(),
                // A phone's own call has none.
                None => SmallVec::new(),
            },
        }
    }

    /// Read in the request's bytes.
    pub fn in_bytes<'k>(&'k self, request: &'k [u8]) -> KeptText<'k> {
        KeptText {
            kept: self,
            request,
        }
    }
}

/// The parts as text.
#[derive(Copy, Clone)]
pub struct KeptText<'k> {
    kept: &'k Kept,
    request: &'k [u8],
}

impl<'k> KeptText<'k> {
    fn text(&self, part: Part) -> &'k [u8] {
        self.request
            .get(usize::from(part.0)..usize::from(part.1))
            .unwrap_or_default()
    }

    /// Call-ID.
    pub fn call_id(&self) -> &'k [u8] {
        self.text(self.kept.call_id)
    }

    /// The tag of From; empty without one.
    pub fn caller_tag(&self) -> &'k [u8] {
        self.text(self.kept.from_tag)
    }

    /// The URI of From.
    pub fn caller_uri(&self) -> &'k [u8] {
        self.text(self.kept.from_uri)
    }

    /// The user part of the Request-URI.
    pub fn called(&self) -> &'k [u8] {
        self.text(self.kept.called)
    }

    /// The URI of the Contact; empty without one.
    pub fn contact(&self) -> &'k [u8] {
        self.text(self.kept.contact)
    }

    /// The Record-Route values, top first.
    pub fn record_routes(&self) -> impl Iterator<Item = &'k [u8]> + use<'k, '_> {
        self.kept.record_routes.iter().map(|part| self.text(*part))
    }
}
