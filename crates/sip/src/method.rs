//! Request methods.

/// A request's method. Methods compare with case (RFC 3261 §7.1).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Method<'a> {
    /// RFC 3261 §13
    Invite,
    /// RFC 3261 §13
    Ack,
    /// RFC 3261 §9
    Cancel,
    /// RFC 3261 §15
    Bye,
    /// RFC 3261 §11
    Options,
    /// RFC 3261 §10
    Register,
    /// RFC 3262
    Prack,
    /// RFC 3311
    Update,
    /// RFC 6086
    Info,
    /// RFC 3515
    Refer,
    /// RFC 6665
    Notify,
    /// RFC 6665
    Subscribe,
    /// RFC 3428
    Message,
    /// RFC 3903
    Publish,
    /// Any other token, as written.
    Other(&'a [u8]),
}

impl<'a> Method<'a> {
    /// Reads a method; anything unknown, `invite` included, is [`Method::Other`].
    pub fn parse(token: &'a [u8]) -> Method<'a> {
        match token {
            b"INVITE" => Method::Invite,
            b"ACK" => Method::Ack,
            b"CANCEL" => Method::Cancel,
            b"BYE" => Method::Bye,
            b"OPTIONS" => Method::Options,
            b"REGISTER" => Method::Register,
            b"PRACK" => Method::Prack,
            b"UPDATE" => Method::Update,
            b"INFO" => Method::Info,
            b"REFER" => Method::Refer,
            b"NOTIFY" => Method::Notify,
            b"SUBSCRIBE" => Method::Subscribe,
            b"MESSAGE" => Method::Message,
            b"PUBLISH" => Method::Publish,
            other => Method::Other(other),
        }
    }

    /// The method that `text` starts with, if it is one of those that calls are made of, and what
    /// follows.
    #[inline(always)]
    pub(crate) fn usual(text: &[u8]) -> Option<(Method<'a>, &[u8])> {
        Some(match text {
            [b'I', b'N', b'V', b'I', b'T', b'E', rest @ ..] => (Method::Invite, rest),
            [b'A', b'C', b'K', rest @ ..] => (Method::Ack, rest),
            [b'B', b'Y', b'E', rest @ ..] => (Method::Bye, rest),
            [b'C', b'A', b'N', b'C', b'E', b'L', rest @ ..] => (Method::Cancel, rest),
            [b'O', b'P', b'T', b'I', b'O', b'N', b'S', rest @ ..] => (Method::Options, rest),
            _ => return None,
        })
    }

    /// As a message writes it.
    pub const fn as_bytes(&self) -> &'a [u8] {
        match self {
            Method::Invite => b"INVITE",
            Method::Ack => b"ACK",
            Method::Cancel => b"CANCEL",
            Method::Bye => b"BYE",
            Method::Options => b"OPTIONS",
            Method::Register => b"REGISTER",
            Method::Prack => b"PRACK",
            Method::Update => b"UPDATE",
            Method::Info => b"INFO",
            Method::Refer => b"REFER",
            Method::Notify => b"NOTIFY",
            Method::Subscribe => b"SUBSCRIBE",
            Method::Message => b"MESSAGE",
            Method::Publish => b"PUBLISH",
            Method::Other(token) => token,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_reads_back_as_it_was_written() {
        for token in [
            "INVITE",
            "ACK",
            "CANCEL",
            "BYE",
            "OPTIONS",
            "REGISTER",
            "PRACK",
            "UPDATE",
            "INFO",
            "REFER",
            "NOTIFY",
            "SUBSCRIBE",
            "MESSAGE",
            "PUBLISH",
        ] {
            let method = Method::parse(token.as_bytes());
            assert!(!matches!(method, Method::Other(_)), "{token}");
            assert_eq!(method.as_bytes(), token.as_bytes());
        }
    }

    #[test]
    fn case_counts_in_methods() {
        for token in [
            "invite",
            "Bye",
            "INVITES",
            "",
            "!interesting-Method0123456789_*+`.%indeed'~",
        ] {
            assert_eq!(
                Method::parse(token.as_bytes()),
                Method::Other(token.as_bytes())
            );
        }
    }
}
