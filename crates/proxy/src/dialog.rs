//! Memory of established calls: for endpoints that ignore Record-Route, for counts of active
//! calls, and for the BYE that ends one.
//!
//! A long call must cost little: one table entry and one boxed run of bytes, which for usual sizes
//! are at most 512 bytes together. What is not looked at per packet is therefore kept as text and
//! read again when it is needed.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    ops::Range,
    time::Duration,
};

use trunkline_sip::Transport;

use crate::{
    Moment,
    event::{Direction, WireText},
    health::PeerIx,
    hop::{ConnectionId, Hop, ListenerId},
    settings::TrunkId,
    spread::Spread,
    tally::Seat,
};

/// A call whose text is longer than this is not remembered: its endpoints still reach each other
/// by our Record-Route, and nobody can fill the memory with one call.
pub const CALL_BYTES_MAX: usize = 4096;

/// [`Entry::lapses`] of a call without a session timer.
const NEVER: u32 = u32::MAX;
/// RFC 4028 §4: no session timer may be shorter.
const SESSION_MIN: Duration = Duration::from_secs(90);
/// A refresh in the last moment needs its answer (timer F), before a call counts as left.
const REFRESH_GRACE: Duration = Duration::from_secs(32);

/// [`Entry::mark`] of a call that got no token of ours.
const UNMARKED: u32 = 0;

/// Tells the tokens of two calls apart, by the end of their text: that is their signature. It proves
/// nothing, so nobody may be let in by it.
fn mark(token: &[u8]) -> u32 {
    let Some(end) = token.last_chunk::<8>() else {
        return UNMARKED;
    };
    let mixed = u64::from_le_bytes(*end).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed >> 32) as u32).max(UNMARKED + 1)
}

/// Names a call whichever side speaks: a keyed hash over Call-ID and both tags.
///
/// The hash must be keyed with a secret, so that nobody can aim at another's call.
#[inline]
pub fn key(hash: impl Fn(&[&[u8]]) -> u64, call_id: &[u8], tag_a: &[u8], tag_b: &[u8]) -> u64 {
    let (first, second) = if tag_a <= tag_b {
        (tag_a, tag_b)
    } else {
        (tag_b, tag_a)
    };
    hash(&[call_id, first, second])
}

/// When a call that was refreshed at this age has expired, in seconds of its age.
fn lapses(age: Duration, session: Option<Duration>) -> u32 {
    let Some(session) = session else { return NEVER };
    let end = age + session.max(SESSION_MIN) + REFRESH_GRACE;
    u32::try_from(end.as_secs()).unwrap_or(NEVER)
}

/// One of the two who talk.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Party {
    /// Who sent the INVITE.
    Caller,
    /// Who answered it.
    Callee,
}

impl Party {
    /// The other one.
    pub const fn other(self) -> Party {
        match self {
            Party::Caller => Party::Callee,
            Party::Callee => Party::Caller,
        }
    }
}

/// How one side is reached, as it is handed in.
#[derive(Copy, Clone, Debug)]
pub struct NewSide<'a> {
    /// Where its messages came from.
    pub hop: Hop,
    /// The URI of its Contact; empty if none.
    pub contact: &'a [u8],
    /// The Route values between us and it, closest first.
    pub routes: &'a [&'a [u8]],
    /// Its tag; empty if none (RFC 2543).
    pub tag: &'a [u8],
}

/// A call that was just answered.
#[derive(Copy, Clone, Debug)]
pub struct NewCall<'a> {
    /// The trunk it uses.
    pub trunk: TrunkId,
    /// Which way.
    pub direction: Direction,
    /// The candidate that took it.
    pub peer: PeerIx,
    /// When the 2xx came.
    pub began: Moment,
    /// Its Session-Expires (RFC 4028): who does not refresh the call in time has left it.
    pub session: Option<Duration>,
    /// As on the wire.
    pub call_id: &'a [u8],
    /// Our token, as its dialog carries it; empty if none.
    pub token: &'a [u8],
    /// Who sent the INVITE.
    pub caller: NewSide<'a>,
    /// Who answered it.
    pub callee: NewSide<'a>,
}

/// A remembered call. Its texts are read when somebody asks for them: most are of interest to few.
#[derive(Copy, Clone, Debug)]
pub struct Call<'c>(&'c Entry);

impl<'c> Call<'c> {
    /// The trunk it uses.
    pub fn trunk(self) -> TrunkId {
        self.0.trunk
    }

    /// Which way.
    pub fn direction(self) -> Direction {
        self.0.direction
    }

    /// The candidate that took it.
    pub fn peer(self) -> PeerIx {
        self.0.peer
    }

    /// When the 2xx came.
    pub fn began(self) -> Moment {
        self.0.began
    }

    /// As on the wire.
    pub fn call_id(self) -> &'c [u8] {
        let (_, mut texts) = read_callee_at(&self.0.blob).unwrap_or_default();
        texts.text().unwrap_or_default()
    }

    /// Whether a token is most likely the one that this call was given, and not that of another pass of
    /// the same dialog through us: what it says is then what is remembered here.
    pub fn has_token(self, token: &[u8]) -> bool {
        self.0.mark != UNMARKED && self.0.mark == mark(token)
    }

    /// Who speaks, by the tag of From. The other tag is the callee's: [`key`] saw both.
    #[inline]
    pub fn speaker(self, from_tag: &[u8]) -> Party {
        if self.caller_text().and_then(|mut side| side.text()) == Some(from_tag) {
            Party::Caller
        } else {
            Party::Callee
        }
    }

    /// One of its sides. `None` cannot happen: see [`Reader`].
    #[inline]
    pub fn side(self, party: Party) -> Option<Side<'c>> {
        self.text_of(party)?.side()
    }

    #[inline]
    fn text_of(self, party: Party) -> Option<Reader<'c>> {
        match party {
            Party::Caller => self.caller_text(),
            Party::Callee => {
                let (callee_at, _) = read_callee_at(&self.0.blob)?;
                self.0.blob.get(callee_at..).map(Reader)
            }
        }
    }

    /// Where the messages of one of its sides came from. `None` cannot happen, as with
    /// [`side`](Self::side).
    #[inline]
    pub fn hop(self, party: Party) -> Option<Hop> {
        let mut text = self.text_of(party)?;
        text.text()?;
        text.hop()
    }

    /// The caller's side stands behind the Call-ID.
    #[inline]
    fn caller_text(self) -> Option<Reader<'c>> {
        let (_, mut texts) = read_callee_at(&self.0.blob)?;
        texts.text()?;
        Some(texts)
    }
}

/// How one side of a remembered call is reached.
#[derive(Copy, Clone, Debug)]
pub struct Side<'c> {
    /// Where its messages came from.
    pub hop: Hop,
    /// The URI of its Contact; empty if none.
    pub contact: &'c [u8],
    /// Its tag; empty if none.
    pub tag: &'c [u8],
    routes: &'c [u8],
}

impl<'c> Side<'c> {
    /// The Route values between us and it, closest first.
    pub fn routes(&self) -> impl Iterator<Item = &'c [u8]> + use<'c> {
        let mut rest = Reader(self.routes);
        std::iter::from_fn(move || (!rest.0.is_empty()).then(|| rest.text())?)
    }
}

/// What is left of a call that was forgotten.
#[derive(Clone, PartialEq, Debug)]
pub struct EndedCall {
    /// The trunk it used.
    pub trunk: TrunkId,
    /// Which way.
    pub direction: Direction,
    /// The candidate that had taken it.
    pub peer: PeerIx,
    /// When the 2xx came.
    pub began: Moment,
    /// As on the wire.
    pub call_id: WireText,
}

/// The table: one for each shard.
#[derive(Debug)]
pub struct Calls {
    table: Spread<Entry>,
    capacity: usize,
}

#[derive(Debug)]
struct Entry {
    began: Moment,
    /// Seconds after `began` at which the session has expired; [`NEVER`] without a timer.
    lapses: u32,
    /// See [`mark`].
    mark: u32,
    /// See [`write_blob`].
    blob: Box<[u8]>,
    peer: PeerIx,
    trunk: TrunkId,
    /// Counts the call for the origination target that took it.
    seat: Option<Seat>,
    direction: Direction,
}

impl Calls {
    /// Room for `capacity` calls; none is taken ahead of need.
    pub fn new(capacity: u32) -> Self {
        Calls {
            table: Spread::default(),
            capacity: capacity as usize,
        }
    }

    /// Remembers a call; one of the same key is replaced. `false` when there is no room for it, or
    /// when its text is longer than [`CALL_BYTES_MAX`]. `seat` counts it until it is forgotten.
    pub fn remember(&mut self, key: u64, facts: NewCall<'_>, seat: Option<Seat>) -> bool {
        if self.table.len() >= self.capacity && self.table.get(key).is_none() {
            return false;
        }
        let Some(blob) = write_blob(facts.call_id, facts.caller.into(), facts.callee.into()) else {
            return false;
        };
        let NewCall {
            trunk,
            direction,
            peer,
            began,
            session,
            token,
            ..
        } = facts;
        self.table.insert(
            key,
            Entry {
                began,
                lapses: lapses(Duration::ZERO, session),
                mark: mark(token),
                blob,
                peer,
                trunk,
                seat,
                direction,
            },
        );
        true
    }

    /// Whether a call is remembered.
    pub fn has(&self, key: u64) -> bool {
        self.table.get(key).is_some()
    }

    /// A call, if it is remembered.
    #[inline]
    pub fn get(&self, key: u64) -> Option<Call<'_>> {
        self.table.get(key).map(Call)
    }

    /// A target refresh (RFC 3261 §12.2.1.2): that side's Contact is another one now. `false`
    /// when the call is not remembered or its text would grow too long; it is then left as it was.
    pub fn update_contact(&mut self, key: u64, party: Party, contact: &[u8]) -> bool {
        let Some(call) = self.get(key) else {
            return false;
        };
        let (Some(mut caller), Some(mut callee)) =
            (call.side(Party::Caller), call.side(Party::Callee))
        else {
            return false;
        };
        let side = match party {
            Party::Caller => &mut caller,
            Party::Callee => &mut callee,
        };
        if std::mem::replace(&mut side.contact, contact) == contact {
            return true;
        }
        let blob = write_blob(call.call_id(), caller.into(), callee.into());
        match (blob, self.table.get_mut(key)) {
            (Some(blob), Some(entry)) => {
                entry.blob = blob;
                true
            }
            (None, _) | (_, None) => false,
        }
    }

    /// The call was refreshed (RFC 4028 §7.2): from now on it may last for `session`, or for as
    /// long as it likes.
    pub fn refresh(&mut self, key: u64, now: Moment, session: Option<Duration>) {
        if let Some(entry) = self.table.get_mut(key) {
            let age = now.saturating_duration_since(entry.began);
            entry.lapses = lapses(age, session);
        }
    }

    /// Forgets a call and gives memory back when a peak has passed.
    pub fn forget(&mut self, key: u64) -> Option<EndedCall> {
        let entry = self.table.remove(key)?;
        let Entry {
            began,
            lapses: _,
            mark: _,
            blob,
            peer,
            trunk,
            seat,
            direction,
        } = entry;
        drop(seat);
        let call_id = read_callee_at(&blob).and_then(|(_, mut texts)| texts.text());
        let call_id = WireText::new(call_id.unwrap_or_default());
        Some(EndedCall {
            trunk,
            direction,
            peer,
            began,
            call_id,
        })
    }

    /// So many parts share the calls, by chance.
    pub const PARTS: usize = Spread::<()>::PARTS;

    /// The keys of the calls in these parts that cannot last any more, oldest first and at most `most`:
    /// answered longer than `age` ago ("expired"), or not refreshed in time ("session_expired").
    pub fn overdue(
        &self,
        parts: Range<usize>,
        now: Moment,
        age: Duration,
        most: usize,
    ) -> Vec<(u64, &'static str)> {
        let why = |entry: &Entry| {
            let lasted = now.saturating_duration_since(entry.began);
            let lapsed = entry.lapses != NEVER && lasted.as_secs() >= u64::from(entry.lapses);
            match (lasted > age, lapsed) {
                (true, _) => Some("expired"),
                (false, true) => Some("session_expired"),
                (false, false) => None,
            }
        };
        let mut overdue: Vec<(Moment, u64, &'static str)> = self
            .table
            .iter(parts)
            .filter_map(|(key, entry)| Some((entry.began, key, why(entry)?)))
            .collect();
        if overdue.len() > most {
            overdue.select_nth_unstable(most);
            overdue.truncate(most);
        }
        overdue.sort_unstable();
        overdue
            .into_iter()
            .map(|(_, key, why)| (key, why))
            .collect()
    }

    /// Gives trunks other numbers, after a reload that moved them. `None`: the call's trunk is
    /// configured no more, and keeps its number.
    #[allow(clippy::disallowed_methods)] // Each call by itself: no order is told.
    pub fn renumber(&mut self, number: impl Fn(TrunkId) -> Option<TrunkId>) {
        for entry in self.table.values_mut() {
            entry.trunk = number(entry.trunk).unwrap_or(entry.trunk);
        }
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}

/// Either kind of side, for the writer: routes as a list, or as they are in a blob already.
struct SideText<'a> {
    hop: Hop,
    contact: &'a [u8],
    tag: &'a [u8],
    routes: Routes<'a>,
}

enum Routes<'a> {
    List(&'a [&'a [u8]]),
    Written(&'a [u8]),
}

impl<'a> From<NewSide<'a>> for SideText<'a> {
    fn from(side: NewSide<'a>) -> Self {
        let NewSide {
            hop,
            contact,
            routes,
            tag,
        } = side;
        SideText {
            hop,
            contact,
            tag,
            routes: Routes::List(routes),
        }
    }
}

impl<'a> From<Side<'a>> for SideText<'a> {
    fn from(side: Side<'a>) -> Self {
        let Side {
            hop,
            contact,
            tag,
            routes,
        } = side;
        SideText {
            hop,
            contact,
            tag,
            routes: Routes::Written(routes),
        }
    }
}

/// Where the callee begins, in two bytes; Call-ID, caller, callee. A text is its length in two bytes
/// and itself; a side is its tag, hop, contact and, as one text, all its routes as texts. `None` when
/// it would be too long.
fn write_blob(call_id: &[u8], caller: SideText<'_>, callee: SideText<'_>) -> Option<Box<[u8]>> {
    // The length is found first: a box that was grown and cut would cost twice.
    let callee_at = 2 + 2 + call_id.len() + caller.len();
    let len = callee_at + callee.len();
    if len > CALL_BYTES_MAX {
        return None;
    }
    let mut blob = Vec::with_capacity(len);
    blob.extend_from_slice(&(callee_at as u16).to_be_bytes());
    put_text(&mut blob, call_id);
    caller.write(&mut blob);
    callee.write(&mut blob);
    debug_assert_eq!(blob.len(), len);
    Some(blob.into_boxed_slice())
}

impl SideText<'_> {
    fn len(&self) -> usize {
        let connection = if self.hop.connection.is_some() { 8 } else { 0 };
        let address = match self.hop.remote {
            SocketAddr::V4(_) => 4,
            SocketAddr::V6(_) => 20,
        };
        // Flags, listener, port, and the lengths of three texts.
        1 + 2
            + 2
            + 6
            + connection
            + address
            + self.tag.len()
            + self.contact.len()
            + self.routes.len()
    }

    fn write(&self, blob: &mut Vec<u8>) {
        put_text(blob, self.tag);
        put_hop(blob, &self.hop);
        put_text(blob, self.contact);
        blob.extend_from_slice(&(self.routes.len() as u16).to_be_bytes());
        match self.routes {
            Routes::List(values) => values.iter().for_each(|value| put_text(blob, value)),
            Routes::Written(bytes) => blob.extend_from_slice(bytes),
        }
    }
}

impl Routes<'_> {
    fn len(&self) -> usize {
        match self {
            Routes::List(values) => values.iter().map(|value| 2 + value.len()).sum(),
            Routes::Written(bytes) => bytes.len(),
        }
    }
}

const HOP_V6: u8 = 0x10;
const HOP_CONNECTION: u8 = 0x20;

fn put_text(blob: &mut Vec<u8>, text: &[u8]) {
    // At most `CALL_BYTES_MAX`, which fits.
    blob.extend_from_slice(&(text.len() as u16).to_be_bytes());
    blob.extend_from_slice(text);
}

fn put_hop(blob: &mut Vec<u8>, hop: &Hop) {
    let transport = match hop.transport {
        Transport::Udp => 0,
        Transport::Tcp => 1,
        Transport::Tls => 2,
        Transport::Ws => 3,
        Transport::Wss => 4,
    };
    let v6 = if hop.remote.is_ipv6() { HOP_V6 } else { 0 };
    let connection = if hop.connection.is_some() {
        HOP_CONNECTION
    } else {
        0
    };
    let flags = transport | v6 | connection;
    let [l, m] = hop.listener.0.to_be_bytes();
    let [p, q] = hop.remote.port().to_be_bytes();
    match hop.remote {
        SocketAddr::V4(address) => {
            let [a, b, c, d] = address.ip().octets();
            blob.extend_from_slice(&[flags, l, m, p, q, a, b, c, d]);
        }
        SocketAddr::V6(address) => {
            blob.extend_from_slice(&[flags, l, m, p, q]);
            blob.extend_from_slice(&address.ip().octets());
            // fe80:: addresses mean nothing without it.
            blob.extend_from_slice(&address.scope_id().to_be_bytes());
        }
    }
    if let Some(number) = hop.connection.map(ConnectionId::number) {
        blob.extend_from_slice(&number.to_be_bytes());
    }
}

/// Where the callee stands in what [`write_blob`] wrote, and what follows that.
#[inline]
fn read_callee_at(blob: &[u8]) -> Option<(usize, Reader<'_>)> {
    let mut rest = Reader(blob);
    let callee_at = u16::from_be_bytes(rest.array()?);
    Some((usize::from(callee_at), rest))
}

/// Reads what [`write_blob`] wrote. `None` cannot happen then; it is an `Option` all the same, so
/// that a mistake here loses one call and not the process.
#[derive(Default)]
struct Reader<'c>(&'c [u8]);

impl<'c> Reader<'c> {
    #[inline]
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    #[inline]
    fn text(&mut self) -> Option<&'c [u8]> {
        let len = u16::from_be_bytes(self.array()?);
        let (text, rest) = self.0.split_at_checked(usize::from(len))?;
        self.0 = rest;
        Some(text)
    }

    #[inline]
    fn side(&mut self) -> Option<Side<'c>> {
        Some(Side {
            tag: self.text()?,
            hop: self.hop()?,
            contact: self.text()?,
            routes: self.text()?,
        })
    }

    #[inline]
    fn hop(&mut self) -> Option<Hop> {
        // As long as the shortest, and the front of any other.
        let [flags, l, m, p, q, ip @ ..] = self.array::<9>()?;
        let listener = ListenerId(u16::from_be_bytes([l, m]));
        let port = u16::from_be_bytes([p, q]);
        let remote = if flags & HOP_V6 == 0 {
            SocketAddr::new(IpAddr::V4(Ipv4Addr::from(ip)), port)
        } else {
            let mut whole = [0; 16];
            whole[..4].copy_from_slice(&ip);
            whole[4..].copy_from_slice(&self.array::<12>()?);
            let ip = Ipv6Addr::from(whole);
            SocketAddrV6::new(ip, port, 0, u32::from_be_bytes(self.array()?)).into()
        };
        let connection = match flags & HOP_CONNECTION {
            0 => None,
            _ => Some(ConnectionId::new(u64::from_be_bytes(self.array()?))),
        };
        let transport = match flags & 0x0f {
            0 => Transport::Udp,
            1 => Transport::Tcp,
            2 => Transport::Tls,
            3 => Transport::Ws,
            4 => Transport::Wss,
            _ => return None,
        };
        Some(Hop {
            transport,
            listener,
            remote,
            connection,
        })
    }
}

#[cfg(test)]
mod tests;
