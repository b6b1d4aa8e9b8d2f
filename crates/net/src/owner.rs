//! Which shard owns a message: a pure function of its bytes.
//!
//! A response goes to the shard that wrote its branch. A request goes to a keyed hash of its
//! Call-ID, so that INVITE, ACK, CANCEL and BYE of a call meet on one shard wherever they land,
//! and nobody outside can aim at one. Correctness rests on this and not on how the system spreads
//! packets over sockets.

use std::{hash::Hasher, sync::Arc};

use siphasher::sip::SipHasher13;
use trunkline_proxy::ShardId;
use trunkline_sip::peek;

/// Who owns what, as every shard of a process knows it.
#[derive(Clone)]
pub struct Owners {
    shards: u8,
    key: [u8; 16],
    of_branch: Arc<OfBranch>,
}

type OfBranch = dyn Fn(&[u8]) -> Option<ShardId> + Send + Sync;

impl Owners {
    /// A process with shards 0 to `shards` - 1 (0 counts as 1). `of_branch` reads the shard from
    /// a branch of ours, and gives `None` for one that is not.
    pub fn new(
        shards: u8,
        key: [u8; 16],
        of_branch: impl Fn(&[u8]) -> Option<ShardId> + Send + Sync + 'static,
    ) -> Self {
        Owners {
            shards: shards.max(1),
            key,
            of_branch: Arc::new(of_branch),
        }
    }

    /// A process with one shard, which owns everything.
    pub fn alone() -> Self {
        Self::new(1, [0; 16], |_| None)
    }

    /// Who owns these bytes; `None` when they do not say, so that whoever has them may keep them:
    /// a request without Call-ID, a response to nothing of ours.
    #[inline]
    pub fn of(&self, bytes: &[u8]) -> Option<ShardId> {
        if self.shards == 1 {
            return None;
        }
        self.of_several(bytes)
    }

    fn of_several(&self, bytes: &[u8]) -> Option<ShardId> {
        if peek::is_response(bytes) {
            return (self.of_branch)(peek::top_branch(bytes)?)
                .filter(|shard| shard.0 < self.shards);
        }
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write(peek::call_id(bytes)?);
        // The remainder is smaller than `shards`, which is a u8.
        Some(ShardId((hasher.finish() % u64::from(self.shards)) as u8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 16] = *b"0123456789abcdef";

    /// "z9hG4bK-3-..." is of shard 3.
    fn of_branch(branch: &[u8]) -> Option<ShardId> {
        let digit = branch.strip_prefix(b"z9hG4bK-")?.first()?;
        digit.checked_sub(b'0').map(ShardId)
    }

    fn request(method: &str, call_id: &str) -> String {
        format!(
            "{method} sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP c;branch=z9hG4bK-7\r\nCall-ID: {call_id}\r\n\r\n"
        )
    }

    fn response(via: &str) -> String {
        format!("SIP/2.0 200 OK\r\nVia: {via}\r\nCall-ID: x\r\n\r\n")
    }

    #[test]
    fn all_requests_of_a_call_have_one_owner() {
        let owners = Owners::new(8, KEY, of_branch);
        for call in 0..100 {
            let call_id = format!("{call}@example");
            let owner = owners.of(request("INVITE", &call_id).as_bytes());
            assert!(owner.is_some_and(|shard| shard.0 < 8));
            for method in ["ACK", "CANCEL", "BYE", "x-NEW"] {
                assert_eq!(owners.of(request(method, &call_id).as_bytes()), owner);
            }
            let compact = request("BYE", &call_id).replace("Call-ID", "i");
            assert_eq!(owners.of(compact.as_bytes()), owner);
        }
    }

    #[test]
    fn calls_spread_over_all_shards() {
        let owners = Owners::new(4, KEY, of_branch);
        let mut counts = [0u32; 4];
        for call in 0..4_000 {
            let owner = owners.of(request("INVITE", &format!("{call}@example")).as_bytes());
            counts[usize::from(owner.expect("a Call-ID").0)] += 1;
        }
        // 1000 each; four standard deviations are 110.
        assert!(
            counts.iter().all(|count| (890..1110).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn another_key_spreads_otherwise() {
        let (one, other) = (
            Owners::new(8, KEY, of_branch),
            Owners::new(8, [1; 16], of_branch),
        );
        let moved = (0..100).filter(|call| {
            let request = request("INVITE", &format!("{call}@example"));
            one.of(request.as_bytes()) != other.of(request.as_bytes())
        });
        assert!(moved.count() > 50);
    }

    #[test]
    fn a_response_goes_to_the_shard_of_its_branch_and_strays_stay() {
        let owners = Owners::new(4, KEY, of_branch);
        for (via, expected) in [
            ("SIP/2.0/UDP a;branch=z9hG4bK-3-x", Some(ShardId(3))),
            (
                "SIP/2.0/UDP a;rport;branch=z9hG4bK-0-x, SIP/2.0/UDP b;branch=z9hG4bK-2",
                Some(ShardId(0)),
            ),
            ("SIP/2.0/UDP a;branch=z9hG4bK-9-x", None),
            ("SIP/2.0/UDP a;branch=z9hG4bKsomebody", None),
            ("SIP/2.0/UDP a", None),
        ] {
            assert_eq!(owners.of(response(via).as_bytes()), expected, "{via}");
        }
    }

    #[test]
    fn what_names_no_owner_stays_where_it_is() {
        let owners = Owners::new(4, KEY, of_branch);
        for bytes in [
            &b""[..],
            b"garbage",
            b"INVITE sip:a@b SIP/2.0\r\n\r\n",
            b"SIP/2.0 200 OK\r\n\r\n",
        ] {
            assert_eq!(owners.of(bytes), None);
        }
        assert_eq!(Owners::alone().of(request("INVITE", "x").as_bytes()), None);
    }
}
