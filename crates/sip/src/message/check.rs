//! What must hold before anyone acts on a message (RFC 3261 §8.1.1, §16.3, §20).

use super::{Headers, Message};
use crate::error::{Fault, Malformed};
use crate::header::{CSeq, Party, Via};
use crate::name::Name;
use crate::uri::{Scheme, Uri};

/// Headers that must be there, once. In the order in which a lack of them is told.
const ONCE: [Name; 4] = [Name::CallId, Name::CSeq, Name::From, Name::To];

/// [`ONCE`] and Max-Forwards as bits.
const ONCE_BITS: u64 = {
    let mut bits = Headers::bit(Name::MaxForwards);
    let mut at = 0;
    while at < ONCE.len() {
        bits |= Headers::bit(ONCE[at]);
        at += 1;
    }
    bits
};

/// What [`Message::checked`] read on its way: nobody need read it twice.
#[derive(Copy, Clone, Debug)]
pub struct Facts<'a> {
    /// The top Via, but for [`Message::settle_below`].
    pub via: Via<'a>,
    /// Call-ID.
    pub call_id: &'a [u8],
    /// The URI of From.
    pub from_uri: &'a [u8],
    /// The URI of To.
    pub to_uri: &'a [u8],
    /// The tag of From.
    pub from_tag: Option<&'a [u8]>,
    /// The tag of To.
    pub to_tag: Option<&'a [u8]>,
    /// CSeq.
    pub cseq: CSeq<'a>,
    /// Max-Forwards.
    pub max_forwards: Option<u8>,
    /// The Request-URI; `None` in a response.
    pub uri: Option<Uri<'a>>,
}

impl<'a> Facts<'a> {
    /// What stands where nothing was read yet but, maybe, the Request-URI.
    #[inline(always)]
    pub(super) fn begin(uri: Option<Uri<'a>>) -> Self {
        Facts {
            via: Via::none(),
            call_id: b"",
            from_uri: b"",
            to_uri: b"",
            from_tag: None,
            to_tag: None,
            cseq: CSeq::none(),
            max_forwards: None,
            uri,
        }
    }
}

impl<'a> Message<'a> {
    /// Checks what the structure alone does not tell: the headers that must be there once, that
    /// every Via can be read, CSeq, addresses, Max-Forwards, and the
    /// Request-URI, whose scheme must be sip, sips or tel.
    ///
    /// A From without a tag and a Via without a branch pass, as RFC 2543 had them. Fails with the first fault found.
    pub fn check(&self) -> Result<(), Malformed> {
        self.checked().map(drop)
    }

    /// As [`check`](Self::check), and keeps what it read: from now on nothing of that is read again,
    /// whoever asks.
    pub fn settle(&mut self) -> Result<(), Malformed> {
        match self.settle_usual(false) {
            Some(()) => Ok(()),
            None => self.settle_slowly(),
        }
    }

    /// As [`settle`](Self::settle), for who has written the line of the top Via and knows it again,
    /// letter by letter: what is right in it is not checked, and [`Facts::via`] says nothing.
    /// [`top_via`](Self::top_via) reads it when somebody asks.
    pub fn settle_below(&mut self) -> Result<(), Malformed> {
        match self.settle_usual(true) {
            Some(()) => Ok(()),
            None => self.settle_slowly(),
        }
    }

    #[cold]
    fn settle_slowly(&mut self) -> Result<(), Malformed> {
        self.is_settled = false;
        self.facts = self.checked()?;
        self.is_settled = true;
        Ok(())
    }

    /// As [`check`](Self::check), and hands out what it read.
    #[inline(never)]
    pub fn checked(&self) -> Result<Facts<'a>, Malformed> {
        self.check_counts()?;
        let via = self.check_vias()?;
        let call_id = self.read_call_id()?;
        let (from, to) = self.read_parties()?;
        let cseq = self.read_cseq()?;
        if self.method().is_some_and(|method| method != cseq.method) {
            let at = self.first(Name::CSeq).map_or(0, |header| header.value_at.0);
            return Err(Malformed::new(Fault::CSeqMethod, at as usize));
        }
        let max_forwards = self.read_max_forwards()?;
        let uri = self.check_request_uri()?;
        Ok(Facts {
            via,
            call_id,
            from_uri: from.uri,
            to_uri: to.uri,
            from_tag: from.tag,
            to_tag: to.tag,
            cseq,
            max_forwards,
            uri,
        })
    }

    /// Whether what must be there is, and nothing twice that may not.
    #[inline]
    pub(super) fn has_usual_counts(&self) -> bool {
        self.headers.are_single(ONCE_BITS) && self.headers.has_all(&ONCE)
    }

    fn check_counts(&self) -> Result<(), Malformed> {
        if self.has_usual_counts() {
            return Ok(());
        }
        let mut seen = [0u8; ONCE.len()];
        let mut hops_seen = false;
        for entry in self.headers.all() {
            if let Some(index) = ONCE.iter().position(|&name| name == entry.name) {
                if seen[index] > 0 {
                    return Err(Malformed::new(
                        Fault::Repeated(entry.name),
                        entry.start() as usize,
                    ));
                }
                seen[index] += 1;
            } else if entry.name == Name::MaxForwards {
                // Which of two would count is anyone's guess, and guesses make loops.
                if hops_seen {
                    return Err(Malformed::new(
                        Fault::Repeated(Name::MaxForwards),
                        entry.start() as usize,
                    ));
                }
                hops_seen = true;
            }
        }
        match seen.iter().position(|&count| count == 0) {
            Some(index) => Err(Malformed::new(
                Fault::Missing(ONCE[index]),
                self.headers_start as usize,
            )),
            None => Ok(()),
        }
    }

    /// The top Via, and a look at those below: they lead the answer home, and better refused now than
    /// lost then.
    fn check_vias(&self) -> Result<Via<'a>, Malformed> {
        let first = self.headers.first(Name::Via);
        let top = match first
            .and_then(|entry| Via::read_noted(self.bytes, self.headers.value_at(entry)))
        {
            Some(top) => top,
            None => self.read_top_via()?,
        };
        self.vias().skip(1).try_for_each(|via| via.map(drop))?;
        Ok(top)
    }

    /// From and To.
    fn read_parties(&self) -> Result<(Party<'a>, Party<'a>), Malformed> {
        let (from, to) = (self.read_address(Name::From)?, self.read_address(Name::To)?);
        let from = Party {
            uri: from.uri,
            tag: from.single_tag(Name::From)?,
        };
        let to = Party {
            uri: to.uri,
            tag: to.single_tag(Name::To)?,
        };
        Ok((from, to))
    }

    fn check_request_uri(&self) -> Result<Option<Uri<'a>>, Malformed> {
        let Some(uri) = self.request_uri() else {
            return Ok(None);
        };
        let at = self.uri_at.0 as usize;
        match Uri::parse_plain(uri, self.uri_is_plain) {
            Ok(uri) => match uri.scheme {
                Scheme::Sip | Scheme::Sips | Scheme::Tel => Ok(Some(uri)),
                Scheme::Other => Err(Malformed::new(Fault::UriScheme, at)),
            },
            Err(error) => Err(Malformed::new(Fault::RequestUri, at + error.at)),
        }
    }
}
