//! Header names: the ones anybody here asks about, in any case and in either form.

pub(crate) mod quick;

/// Builds the enum and its texts from one table, so that a name cannot lack one of them.
macro_rules! names {
    ($($variant:ident $text:literal $list:literal,)*) => {
        /// A header's name. Case does not count, and a compact form is the same name
        /// (RFC 3261 §7.3.1, §7.3.3).
        #[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum Name {
            $(#[doc = concat!("`", $text, "`")] $variant,)*
            /// Any other; see [`Message::named`](crate::Message::named).
            Other,
        }

        impl Name {
            /// The long form, as the RFCs write it; `""` for [`Name::Other`].
            pub const fn canonical(self) -> &'static str {
                match self { $(Name::$variant => $text,)* Name::Other => "" }
            }

            /// Whether a comma separates values of this header (RFC 3261 §7.3.1).
            pub const fn is_list(self) -> bool {
                match self { $(Name::$variant => $list,)* Name::Other => false }
            }

            pub(crate) const fn missing(self) -> &'static str {
                match self {
                    $(Name::$variant => concat!("Missing ", $text, " Header"),)*
                    Name::Other => "Missing Header",
                }
            }

            pub(crate) const fn repeated(self) -> &'static str {
                match self {
                    $(Name::$variant => concat!("Repeated ", $text, " Header"),)*
                    Name::Other => "Repeated Header",
                }
            }

            pub(crate) const fn bad(self) -> &'static str {
                match self {
                    $(Name::$variant => concat!("Bad ", $text, " Header"),)*
                    Name::Other => "Bad Header",
                }
            }

            /// How many there are, [`Name::Other`] included.
            pub(crate) const COUNT: usize = Name::Other as usize + 1;

            pub(crate) const ALL: &'static [Name] = &[$(Name::$variant,)*];
        }

        impl NameSet {
            /// Those that [`Name::is_list`] says it of.
            pub(crate) const LISTS: NameSet = NameSet(0 $(| ($list as u64) << Name::$variant as u64)*);
        }
    };
}

/// Several names.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct NameSet(u64);

impl NameSet {
    /// None of them.
    pub const NONE: NameSet = NameSet(0);
    /// Every name, [`Name::Other`] too.
    pub const ALL: NameSet = NameSet(u64::MAX);

    /// These.
    pub const fn of(names: &[Name]) -> Self {
        let mut set = NameSet::NONE;
        let mut at = 0;
        while at < names.len() {
            set = set.with(names[at]);
            at += 1;
        }
        set
    }

    /// One more.
    #[inline]
    pub const fn with(self, name: Name) -> Self {
        NameSet(self.0 | 1 << name as u64)
    }

    /// One more, if it is [a list](Name::is_list).
    pub(crate) const fn with_list(self, name: Name) -> Self {
        NameSet(self.with(name).0 & (self.0 | Self::LISTS.0))
    }

    /// These without those.
    pub(crate) const fn without(self, others: NameSet) -> Self {
        NameSet(self.0 & !others.0)
    }

    /// A bit for each, by its number.
    #[inline]
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// Whether it is among them.
    #[inline]
    pub const fn has(self, name: Name) -> bool {
        self.0 >> name as u64 & 1 == 1
    }
}

names! {
    Via "Via" true,
    From "From" false,
    To "To" false,
    CallId "Call-ID" false,
    CSeq "CSeq" false,
    Contact "Contact" true,
    Route "Route" true,
    RecordRoute "Record-Route" true,
    MaxForwards "Max-Forwards" false,
    ContentLength "Content-Length" false,
    ContentType "Content-Type" false,
    ContentEncoding "Content-Encoding" true,
    ProxyRequire "Proxy-Require" true,
    Require "Require" true,
    Supported "Supported" true,
    Unsupported "Unsupported" true,
    Allow "Allow" true,
    AllowEvents "Allow-Events" true,
    RetryAfter "Retry-After" false,
    Reason "Reason" true,
    Expires "Expires" false,
    SessionExpires "Session-Expires" false,
    UserAgent "User-Agent" false,
    Server "Server" false,
    Authorization "Authorization" false,
    ProxyAuthorization "Proxy-Authorization" false,
    WwwAuthenticate "WWW-Authenticate" false,
    ProxyAuthenticate "Proxy-Authenticate" false,
    ReferTo "Refer-To" false,
    ReferredBy "Referred-By" false,
    RequestDisposition "Request-Disposition" true,
    AcceptContact "Accept-Contact" true,
    RejectContact "Reject-Contact" true,
    Event "Event" false,
    Identity "Identity" false,
    IdentityInfo "Identity-Info" false,
    Diversion "Diversion" true,
    Date "Date" false,
    Subject "Subject" false,
    Warning "Warning" true,
    Timestamp "Timestamp" false,
}

impl Name {
    /// Reads a name as a message writes it, long or compact, in any case.
    #[inline]
    pub fn parse(token: &[u8]) -> Name {
        if let [letter] = token {
            return Name::compact(*letter);
        }
        let name = Name::likely(token);
        let text = name.canonical().as_bytes();
        // Nearly all write it as the RFC does, and that is the quicker comparison.
        let known = token == text || token.eq_ignore_ascii_case(text);
        if known { name } else { Name::Other }
    }

    /// RFC 3261 §7.3.3 and the later RFCs that took a letter.
    pub(crate) const fn compact(letter: u8) -> Name {
        match letter.to_ascii_lowercase() {
            b'v' => Name::Via,
            b'f' => Name::From,
            b't' => Name::To,
            b'i' => Name::CallId,
            b'm' => Name::Contact,
            b'l' => Name::ContentLength,
            b'c' => Name::ContentType,
            b'e' => Name::ContentEncoding,
            b'k' => Name::Supported,
            b's' => Name::Subject,
            b'o' => Name::Event,
            b'u' => Name::AllowEvents,
            b'r' => Name::ReferTo,
            b'b' => Name::ReferredBy,
            b'd' => Name::RequestDisposition,
            b'a' => Name::AcceptContact,
            b'j' => Name::RejectContact,
            b'x' => Name::SessionExpires,
            b'y' => Name::Identity,
            b'n' => Name::IdentityInfo,
            _ => Name::Other,
        }
    }

    /// The only name that `token` can be: the length and the first letter leave one, or two that
    /// another letter tells apart. Every header of every message comes by here.
    #[inline]
    fn likely(token: &[u8]) -> Name {
        let Some(first) = token.first() else {
            return Name::Other;
        };
        match (token.len(), first.to_ascii_lowercase()) {
            (2, b't') => Name::To,
            (3, b'v') => Name::Via,
            (4, b'f') => Name::From,
            (4, b'c') => Name::CSeq,
            (4, b'd') => Name::Date,
            (5, b'r') => Name::Route,
            (5, b'a') => Name::Allow,
            (5, b'e') => Name::Event,
            (6, b'r') => Name::Reason,
            (6, b's') => Name::Server,
            (7, b'c') if token[4] == b'-' => Name::CallId,
            (7, b'c') => Name::Contact,
            (7, b'r') => Name::Require,
            (7, b'e') => Name::Expires,
            (7, b's') => Name::Subject,
            (7, b'w') => Name::Warning,
            (8, b'i') => Name::Identity,
            (9, b't') => Name::Timestamp,
            (8, b'r') => Name::ReferTo,
            (9, b's') => Name::Supported,
            (9, b'd') => Name::Diversion,
            (10, b'u') => Name::UserAgent,
            (11, b'u') => Name::Unsupported,
            (11, b'r') if token[5] == b'-' => Name::RetryAfter,
            (11, b'r') => Name::ReferredBy,
            (12, b'c') => Name::ContentType,
            (12, b'm') => Name::MaxForwards,
            (12, b'r') => Name::RecordRoute,
            (12, b'a') => Name::AllowEvents,
            (13, b'p') => Name::ProxyRequire,
            (13, b'a') => Name::Authorization,
            (13, b'i') => Name::IdentityInfo,
            (14, b'c') => Name::ContentLength,
            (14, b'a') => Name::AcceptContact,
            (14, b'r') => Name::RejectContact,
            (15, b's') => Name::SessionExpires,
            (16, b'w') => Name::WwwAuthenticate,
            (16, b'c') => Name::ContentEncoding,
            (18, b'p') => Name::ProxyAuthenticate,
            (19, b'p') => Name::ProxyAuthorization,
            (19, b'r') => Name::RequestDisposition,
            _ => Name::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_long_name_is_found_in_any_case() {
        for &name in Name::ALL {
            let text = name.canonical();
            assert_eq!(Name::parse(text.as_bytes()), name, "{text}");
            assert_eq!(
                Name::parse(text.to_ascii_lowercase().as_bytes()),
                name,
                "{text}"
            );
            assert_eq!(
                Name::parse(text.to_ascii_uppercase().as_bytes()),
                name,
                "{text}"
            );
        }
    }

    #[test]
    fn every_compact_form_is_its_long_name() {
        let forms = [
            ("v", "Via"),
            ("f", "From"),
            ("t", "To"),
            ("i", "Call-ID"),
            ("m", "Contact"),
            ("l", "Content-Length"),
            ("c", "Content-Type"),
            ("k", "Supported"),
            ("s", "Subject"),
            ("e", "Content-Encoding"),
            ("o", "Event"),
            ("u", "Allow-Events"),
            ("r", "Refer-To"),
            ("d", "Request-Disposition"),
            ("x", "Session-Expires"),
            ("j", "Reject-Contact"),
            ("y", "Identity"),
            ("n", "Identity-Info"),
            ("a", "Accept-Contact"),
            ("b", "Referred-By"),
        ];
        for (compact, long) in forms {
            assert_eq!(Name::parse(compact.as_bytes()).canonical(), long);
            assert_eq!(
                Name::parse(compact.to_ascii_uppercase().as_bytes()).canonical(),
                long
            );
        }
    }

    #[test]
    fn an_unknown_name_is_other() {
        for text in [
            "",
            "Z",
            "Vias",
            "Call_ID",
            "Content-Lengthy",
            "P-Asserted-Identity",
            "\u{0}",
        ] {
            assert_eq!(Name::parse(text.as_bytes()), Name::Other, "{text}");
        }
    }

    #[test]
    fn commas_separate_only_where_the_rfc_says_so() {
        for name in [
            Name::Via,
            Name::Route,
            Name::RecordRoute,
            Name::Contact,
            Name::ProxyRequire,
        ] {
            assert!(name.is_list(), "{name:?}");
        }
        for name in [
            Name::Date,
            Name::Authorization,
            Name::ProxyAuthenticate,
            Name::Subject,
            Name::From,
            Name::Other,
        ] {
            assert!(!name.is_list(), "{name:?}");
        }
    }
}
