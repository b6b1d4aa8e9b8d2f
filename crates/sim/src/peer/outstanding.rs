//! Client transactions of a peer: requests that are sent again until an answer comes.

use std::{collections::BTreeMap, time::Duration};

use super::{Key, PATIENCE, T1, T2, Turn};
use crate::text::Text;

struct Pending {
    request: Text,
    sends: u32,
    since: Duration,
    /// A provisional response came: an INVITE is not sent again.
    proceeding: bool,
}

/// The requests that a peer waits for answers to, by branch and method.
pub struct Outstanding {
    stream: bool,
    pending: BTreeMap<String, Pending>,
}

fn key(text: &Text) -> Option<String> {
    Some(format!("{} {}", text.about()?, text.branch()?))
}

impl Outstanding {
    /// None yet; on a stream nothing is sent twice.
    pub const fn new(stream: bool) -> Self {
        Outstanding {
            stream,
            pending: BTreeMap::new(),
        }
    }

    /// Sends a request and sees to it that it is answered.
    pub fn send(&mut self, request: &Text, turn: &mut Turn<'_>) {
        turn.send(request);
        let Some(key) = key(request) else { return };
        if !self.stream {
            turn.wake(T1, Key::Resend(key.clone(), 1));
        }
        let pending = Pending {
            request: request.clone(),
            sends: 1,
            since: turn.now,
            proceeding: false,
        };
        self.pending.insert(key, pending);
    }

    /// A response came. Whether it answers something.
    pub fn answered(&mut self, response: &Text) -> bool {
        let Some(key) = key(response) else {
            return false;
        };
        if response.code().is_some_and(|code| code < 200) {
            let known = self.pending.get_mut(&key);
            return known.map(|pending| pending.proceeding = true).is_some();
        }
        self.pending.remove(&key).is_some()
    }

    /// Sends a request again, when it is still time for that.
    pub fn resend(&mut self, key: String, sends: u32, turn: &mut Turn<'_>) {
        let Some(pending) = self
            .pending
            .get_mut(&key)
            .filter(|pending| pending.sends == sends)
        else {
            return;
        };
        let invite = pending.request.method() == Some("INVITE");
        if turn.now.saturating_sub(pending.since) >= PATIENCE || (invite && pending.proceeding) {
            if !invite {
                self.pending.remove(&key);
            }
            return;
        }
        pending.sends += 1;
        let after = T1 * 2_u32.saturating_pow(pending.sends - 1);
        let after = if invite { after } else { after.min(T2) };
        turn.send(&pending.request);
        turn.wake(after, Key::Resend(key, pending.sends));
    }
}
