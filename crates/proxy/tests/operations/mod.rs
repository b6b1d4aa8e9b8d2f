//! Bytes as operations on a whole proxy: whatever they say, its promises about itself hold.
//!
//! Shared by `hostile.rs`, which draws the bytes from seeds, and by the fuzz target of this name.
//! What holds after each operation:
//! - nothing panics;
//! - what is sent is SIP: a request has our Via on top, a response has lost it;
//! - it goes to somebody who is configured, or to an address that a webhook or DNS named for a call
//!   of ours: never to a stranger, whatever a message says, and a stranger is never answered;
//! - no table is larger than it may be.
//!
//! And when nobody has spoken for half a day, nothing is left in any table.

mod script;
mod stage;

use std::time::Duration;

pub use stage::Stage;

/// Operations in one run at most: long enough for a few calls to meet.
const OPERATIONS_MAX: usize = 120;

/// The bytes, from the front; zeros when they are used up.
pub struct Script<'b>(&'b [u8]);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// One of `0..of`.
    fn pick(&mut self, of: usize) -> usize {
        match of {
            0 | 1 => 0,
            2..=256 => usize::from(self.byte()) % of,
            _ => (usize::from(self.byte()) << 8 | usize::from(self.byte())) % of,
        }
    }

    /// Once in `of` times.
    fn rarely(&mut self, of: usize) -> bool {
        self.pick(of) == of - 1
    }

    fn one<'t, T: ?Sized>(&mut self, of: &[&'t T]) -> &'t T {
        of[self.pick(of.len())]
    }
}

/// Does what the bytes say, to the end, and waits until all is over.
///
/// # Panics
/// When something that must hold does not: that is what it is for.
pub fn run(bytes: &[u8]) {
    let mut script = Script(bytes);
    let mut stage = Stage::new(&mut script);
    for _ in 0..OPERATIONS_MAX {
        if script.0.is_empty() {
            break;
        }
        stage.operate(&mut script);
    }
    stage.rest(Duration::from_secs(13 * 3600));
}
