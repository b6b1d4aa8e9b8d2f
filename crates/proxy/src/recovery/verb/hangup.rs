//! `Hangup`: the call ends. Nobody has answered it yet, so the caller gets a final response.

/// What the caller gets. 603 is the one code that tells every upstream to try nobody else, and a
/// document that says Hangup has decided for all of them.
pub const STATUS: u16 = 603;
/// Its reason phrase.
pub const REASON: &str = "Decline";

#[cfg(test)]
mod tests {
    use super::super::{Verb, only};

    #[test]
    fn hangup_needs_nothing() {
        assert_eq!(only("<Hangup/>"), Verb::Hangup);
        assert_eq!(only("<Hangup></Hangup>"), Verb::Hangup);
    }
}
