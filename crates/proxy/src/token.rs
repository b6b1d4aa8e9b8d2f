//! What in-dialog requests need, carried in our Record-Route.
//!
//! A BYE may reach another node than the one that placed the call, or this one after a restart.
//! So the call's facts travel in the dialog itself, as the URI parameter `tl=<token>`, signed with
//! a secret that the nodes of one cluster share. A token is no secret: whoever holds the dialog
//! knows both addresses. It cannot be made or changed by others, though, which is what keeps
//! in-dialog routing from being an open relay.
//!
//! ```text
//! byte 0      version (4 bits), 0, callee is IPv6, caller is IPv6, direction
//! byte 1      caller's transport, callee's transport (4 bits each)
//! then        trunk 4, caller_tag 4, target 2, started 5, caller's address 6 or 18, callee's too
//! last 8      keyed tag over all before
//! ```

use std::net::{IpAddr, SocketAddr};

use siphasher::sip::SipHasher24;
use trunkline_sip::Transport;

use crate::{
    branch::{hash, hash128},
    event::Direction,
    letters,
};

const VERSION: u8 = 1;
const FIXED_BYTES: usize = 2 + 4 + 4 + 2 + STARTED_BYTES;
/// 40 bits of seconds reach to the year 36812.
const STARTED_BYTES: usize = 5;
const TAG_BYTES: usize = 8;
const RAW_MAX: usize = FIXED_BYTES + 2 * (16 + 2) + TAG_BYTES;
const TEXT_MAX: usize = letters::letters_of(RAW_MAX);

const ORIGINATION: u8 = 1;
const CALLER_V6: u8 = 1 << 1;
const CALLEE_V6: u8 = 1 << 2;
const FLAGS: u8 = ORIGINATION | CALLER_V6 | CALLEE_V6;

/// One side of a dialog: how it spoke when the dialog began.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Party {
    /// How.
    pub transport: Transport,
    /// From where. An IPv6 flow label or scope does not travel in a token.
    pub addr: SocketAddr,
}

/// What a dialog is about.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct DialogToken {
    /// [`Tokens::name_hash`] of the trunk's name: the same after a reload and on every node.
    pub trunk: u32,
    /// Which way the call went.
    pub direction: Direction,
    /// [`Tokens::name_hash`] of the caller's From tag: tells which side speaks.
    pub caller_tag: u32,
    /// Which target or edge took the call: its place in the trunk's list.
    pub target: u16,
    /// When the dialog began, in seconds since 1970; at most 40 bits travel.
    pub started: u64,
    /// Who sent the INVITE.
    pub caller: Party,
    /// Who took it.
    pub callee: Party,
}

/// A token as it stands in a Record-Route: url-safe base64 without padding, 54 characters when
/// both sides speak IPv4 and 86 at most.
#[derive(Copy, Clone, PartialEq, Eq)]
pub struct TokenText {
    text: [u8; TEXT_MAX],
    len: u8,
}

impl AsRef<[u8]> for TokenText {
    fn as_ref(&self) -> &[u8] {
        &self.text[..usize::from(self.len)]
    }
}

impl std::fmt::Debug for TokenText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.as_ref().escape_ascii())
    }
}

/// Writes and reads the tokens of one cluster.
#[derive(Clone)]
pub struct Tokens {
    tag_key: [u8; 16],
    name_key: [u8; 16],
}

/// The 16-byte key behind a secret of any length, the same on every node that has it.
pub fn key_of(secret: &[u8]) -> [u8; 16] {
    hash128(b"trunkline secret", &[secret]).to_le_bytes()
}

impl Tokens {
    /// With the secret that all nodes share: [`Seed::cluster`](crate::Seed::cluster).
    pub fn new(cluster_key: [u8; 16]) -> Self {
        let derive = |purpose: &[u8]| hash128(&cluster_key, &[purpose]).to_le_bytes();
        Tokens {
            tag_key: derive(b"dialog tag"),
            name_key: derive(b"names"),
        }
    }

    /// A keyed hash of a name, the same on every node.
    pub fn name_hash(&self, name: &[u8]) -> u32 {
        SipHasher24::new_with_key(&self.name_key).hash(name) as u32
    }

    /// A keyed hash that all nodes agree on; `policy = "hash"` and a target's id are made with it,
    /// so that a call finds the same target whichever node it meets.
    pub fn hash(&self, parts: &[&[u8]]) -> u64 {
        hash(&self.name_key, parts)
    }

    /// The token as text.
    pub fn write(&self, token: &DialogToken) -> TokenText {
        let mut raw = Writer {
            bytes: [0; RAW_MAX],
            len: 0,
        };
        let flag = |on: bool, bit: u8| if on { bit } else { 0 };
        raw.put(&[
            VERSION << 4
                | flag(token.direction == Direction::Origination, ORIGINATION)
                | flag(token.caller.addr.is_ipv6(), CALLER_V6)
                | flag(token.callee.addr.is_ipv6(), CALLEE_V6),
            transport_code(token.caller.transport) << 4 | transport_code(token.callee.transport),
        ]);
        raw.put(&token.trunk.to_be_bytes());
        raw.put(&token.caller_tag.to_be_bytes());
        raw.put(&token.target.to_be_bytes());
        raw.put(&token.started.to_be_bytes()[8 - STARTED_BYTES..]);
        for party in [token.caller, token.callee] {
            match party.addr.ip() {
                IpAddr::V4(ip) => raw.put(&ip.octets()),
                IpAddr::V6(ip) => raw.put(&ip.octets()),
            }
            raw.put(&party.addr.port().to_be_bytes());
        }
        let tag = self.tag(raw.written());
        raw.put(&tag);

        let mut text = [0; TEXT_MAX];
        let len = letters::write(raw.written(), &mut text) as u8;
        TokenText { text, len }
    }

    /// What the token says; `None` unless a node of this cluster wrote it.
    pub fn read(&self, text: &[u8]) -> Option<DialogToken> {
        if text.len() > TEXT_MAX {
            return None;
        }
        let mut raw = [0; RAW_MAX];
        let len = letters::read(text, &mut raw)?;
        let (signed, tag) = raw[..len].split_last_chunk::<TAG_BYTES>()?;
        if u64::from_be_bytes(*tag) != u64::from_be_bytes(self.tag(signed)) {
            return None;
        }

        // The tag is right, so we wrote it; another version of us may have.
        let mut rest = Reader(signed);
        let [head, transports] = rest.take()?;
        if head & !FLAGS != VERSION << 4 {
            return None;
        }
        let trunk = u32::from_be_bytes(rest.take()?);
        let caller_tag = u32::from_be_bytes(rest.take()?);
        let target = u16::from_be_bytes(rest.take()?);
        let mut started = [0; 8];
        started[8 - STARTED_BYTES..].copy_from_slice(&rest.take::<STARTED_BYTES>()?);
        let token = DialogToken {
            trunk,
            direction: if head & ORIGINATION == 0 {
                Direction::Termination
            } else {
                Direction::Origination
            },
            caller_tag,
            target,
            started: u64::from_be_bytes(started),
            caller: Party {
                transport: transport_of(transports >> 4)?,
                addr: rest.addr(head & CALLER_V6 != 0)?,
            },
            callee: Party {
                transport: transport_of(transports & 0xf)?,
                addr: rest.addr(head & CALLEE_V6 != 0)?,
            },
        };
        rest.0.is_empty().then_some(token)
    }

    fn tag(&self, signed: &[u8]) -> [u8; TAG_BYTES] {
        SipHasher24::new_with_key(&self.tag_key)
            .hash(signed)
            .to_be_bytes()
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens(..)")
    }
}

struct Writer {
    bytes: [u8; RAW_MAX],
    len: usize,
}

impl Writer {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn written(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn addr(&mut self, v6: bool) -> Option<SocketAddr> {
        let ip = if v6 {
            IpAddr::from(self.take::<16>()?)
        } else {
            IpAddr::from(self.take::<4>()?)
        };
        Some(SocketAddr::new(ip, u16::from_be_bytes(self.take()?)))
    }
}

/// On the wire between nodes of different versions: never renumber.
const fn transport_code(transport: Transport) -> u8 {
    match transport {
        Transport::Udp => 0,
        Transport::Tcp => 1,
        Transport::Tls => 2,
        Transport::Ws => 3,
        Transport::Wss => 4,
    }
}

const fn transport_of(code: u8) -> Option<Transport> {
    match code {
        0 => Some(Transport::Udp),
        1 => Some(Transport::Tcp),
        2 => Some(Transport::Tls),
        3 => Some(Transport::Ws),
        4 => Some(Transport::Wss),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    fn tokens() -> Tokens {
        Tokens::new(*b"a cluster secret")
    }

    fn sample() -> DialogToken {
        DialogToken {
            trunk: 0xdead_beef,
            direction: Direction::Origination,
            caller_tag: 0x0102_0304,
            target: 3,
            started: 1_795_305_600,
            caller: Party {
                transport: Transport::Udp,
                addr: "192.0.2.1:5060".parse().unwrap(),
            },
            callee: Party {
                transport: Transport::Tls,
                addr: "198.51.100.7:5061".parse().unwrap(),
            },
        }
    }

    #[test]
    fn a_token_is_short_and_needs_no_escape_in_a_uri() {
        let mut token = sample();
        let text = tokens().write(&token);
        assert!(text.as_ref().len() <= 56, "{}", text.as_ref().len());
        assert!(
            text.as_ref()
                .iter()
                .all(|c| c.is_ascii_alphanumeric() || b"-_".contains(c))
        );
        token.caller.addr = "[2001:db8::1]:5060".parse().unwrap();
        token.callee.addr = "[2001:db8::2]:5060".parse().unwrap();
        assert!(tokens().write(&token).as_ref().len() <= 86);
    }

    #[test]
    fn every_node_of_a_cluster_reads_it_and_no_other() {
        let text = tokens().write(&sample());
        assert_eq!(tokens().read(text.as_ref()), Some(sample()));
        assert_eq!(Tokens::new([7; 16]).read(text.as_ref()), None);
    }

    #[test]
    fn a_changed_bit_reads_as_none() {
        let text = tokens().write(&sample());
        for at in 0..text.as_ref().len() {
            for bit in 0..8 {
                let mut forged = text.as_ref().to_vec();
                forged[at] ^= 1 << bit;
                assert_eq!(tokens().read(&forged), None, "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_cut_or_lengthened_token_reads_as_none() {
        let text = tokens().write(&sample());
        for len in 0..text.as_ref().len() {
            assert_eq!(tokens().read(&text.as_ref()[..len]), None, "{len}");
        }
        for more in ["A", "AA", "AAA", "AAAA", "=", "=="] {
            let longer = [text.as_ref(), more.as_bytes()].concat();
            assert_eq!(tokens().read(&longer), None, "{more}");
        }
        assert_eq!(tokens().read(&[b'A'; 4096]), None);
    }

    #[test]
    fn a_later_version_reads_as_none_though_it_is_signed() {
        let ours = tokens();
        let mut raw = [0u8; RAW_MAX];
        let text = ours.write(&sample());
        let len = URL_SAFE_NO_PAD
            .decode_slice(text.as_ref(), &mut raw)
            .unwrap();
        for head in [0x20 | (raw[0] & 0xf), raw[0] | 0x08] {
            let mut signed = raw[..len - TAG_BYTES].to_vec();
            signed[0] = head;
            let tag = ours.tag(&signed);
            signed.extend(tag);
            assert_eq!(ours.read(URL_SAFE_NO_PAD.encode(signed).as_bytes()), None);
        }
    }

    fn transport() -> impl Strategy<Value = Transport> {
        (0u8..5).prop_map(|code| transport_of(code).unwrap())
    }

    fn party() -> impl Strategy<Value = Party> {
        let ip = prop_oneof![
            any::<[u8; 4]>().prop_map(IpAddr::from),
            any::<[u8; 16]>().prop_map(IpAddr::from)
        ];
        (transport(), ip, any::<u16>()).prop_map(|(transport, ip, port)| Party {
            transport,
            addr: SocketAddr::new(ip, port),
        })
    }

    proptest! {
        #[test]
        fn every_token_comes_back(
            trunk: u32, origination: bool, caller_tag: u32, target: u16,
            started in 0u64..1 << 40, caller in party(), callee in party(),
        ) {
            let direction = if origination { Direction::Origination } else { Direction::Termination };
            let token = DialogToken { trunk, direction, caller_tag, target, started, caller, callee };
            prop_assert_eq!(tokens().read(tokens().write(&token).as_ref()), Some(token));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            prop_assert_eq!(tokens().read(&bytes), None);
            prop_assert_eq!(tokens().read(URL_SAFE_NO_PAD.encode(&bytes).as_bytes()), None);
        }
    }
}
