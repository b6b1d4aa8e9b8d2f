//! What the witness remembers of a call and of a request.

use std::{fmt, time::Duration};

use crate::{address::Address, text::Text};

/// One INVITE outside a dialog, and everything done for it.
pub(super) struct Story {
    pub invite: Text,
    pub since: Duration,
    /// Out to a carrier, or in to the PBXs.
    pub outward: bool,
    /// Where it could go when it began, in groups of which each comes before the next: the edges, or
    /// the targets' priorities.
    pub candidates: Vec<(u16, Address)>,
    pub attempts: Vec<Attempt>,
    /// What the caller was told: code and when.
    pub told: Option<(u16, Duration)>,
    pub cancelled: bool,
    /// It came while draining.
    pub refused: bool,
    /// The webhook was asked: what happens then is the webhook's choice.
    pub recovering: bool,
    /// A BYE was delivered.
    pub ended: bool,
}

/// One attempt of it.
pub(super) struct Attempt {
    pub to: Address,
    pub branch: String,
    pub at: Duration,
    /// Any response was delivered.
    pub heard: bool,
    /// A provisional above 100 was delivered.
    pub rang: bool,
    pub done: Option<u16>,
    pub cancelled: bool,
    pub lost: bool,
}

/// A request that wants one final response.
pub(super) struct Served {
    pub method: String,
    pub call_id: String,
    pub at: Duration,
    /// The one it got: code and To tag.
    pub done: Option<(u16, String)>,
}

/// A call that both sides hold.
pub(super) struct Established {
    /// Who sent the ACK, and who got it. A late callee that was hung up is neither.
    pub sides: [Address; 2],
    /// A BYE was delivered.
    pub over: bool,
}

impl Story {
    pub fn attempt(&mut self, branch: &str) -> Option<&mut Attempt> {
        self.attempts
            .iter_mut()
            .find(|attempt| attempt.branch == branch)
    }

    pub const fn is_waiting(&self) -> bool {
        self.told.is_none() && !self.cancelled
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for attempt in &self.attempts {
            write!(f, "{} ", attempt.to)?;
            match (attempt.done, attempt.heard) {
                (Some(code), _) => write!(f, "{code}, ")?,
                (None, true) => f.write_str("unfinished, ")?,
                (None, false) => f.write_str("silent, ")?,
            }
        }
        match self.told {
            Some((code, _)) => write!(f, "caller {code}"),
            None => f.write_str("caller not told"),
        }
    }
}
