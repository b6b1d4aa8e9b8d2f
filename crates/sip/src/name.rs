//! Header names: the ones anybody here asks about, in any case and in either form.

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

            #[cfg(test)]
            pub(crate) const ALL: &'static [Name] = &[$(Name::$variant,)*];
        }
    };
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
}

impl Name {
    /// Reads a name as a message writes it, long or compact, in any case.
    pub fn parse(token: &[u8]) -> Name {
        // The length and then the first letter leave one or two candidates to compare.
        if let [letter] = token {
            return Name::compact(*letter);
        }
        Name::of_length(token.len())
            .iter()
            .copied()
            .find(|name| token.eq_ignore_ascii_case(name.canonical().as_bytes()))
            .unwrap_or(Name::Other)
    }

    /// RFC 3261 §7.3.3 and the later RFCs that took a letter.
    const fn compact(letter: u8) -> Name {
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

    const fn of_length(len: usize) -> &'static [Name] {
        match len {
            2 => &[Name::To],
            3 => &[Name::Via],
            4 => &[Name::From, Name::CSeq, Name::Date],
            5 => &[Name::Route, Name::Allow, Name::Event],
            6 => &[Name::Reason, Name::Server],
            7 => &[
                Name::CallId,
                Name::Contact,
                Name::Require,
                Name::Expires,
                Name::Subject,
                Name::Warning,
            ],
            8 => &[Name::Identity, Name::ReferTo],
            9 => &[Name::Supported, Name::Diversion],
            10 => &[Name::UserAgent],
            11 => &[Name::Unsupported, Name::RetryAfter, Name::ReferredBy],
            12 => &[
                Name::ContentType,
                Name::MaxForwards,
                Name::RecordRoute,
                Name::AllowEvents,
            ],
            13 => &[Name::ProxyRequire, Name::Authorization, Name::IdentityInfo],
            14 => &[
                Name::ContentLength,
                Name::AcceptContact,
                Name::RejectContact,
            ],
            15 => &[Name::SessionExpires],
            16 => &[Name::WwwAuthenticate, Name::ContentEncoding],
            18 => &[Name::ProxyAuthenticate],
            19 => &[Name::ProxyAuthorization, Name::RequestDisposition],
            _ => &[],
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
