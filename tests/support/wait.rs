//! Waiting for something that will happen, and no longer than it may take.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

/// What anything may take on a slow, busy machine. Nothing waits for it to pass.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Asks again and again until there is an answer.
///
/// # Panics
/// After [`LIMIT`], with the name of what did not happen.
pub fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    within(LIMIT, what, ask)
}

/// As [`until`], with a limit of its own.
///
/// # Panics
/// After `limit`, with the name of what did not happen.
pub fn within<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            begin.elapsed() < limit,
            "in {limit:?} it did not happen: {what}"
        );
        sleep(Duration::from_millis(10));
    }
}
