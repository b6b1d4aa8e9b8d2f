//! Why a request ends here: what the sender hears, and what is counted.

use trunkline_sip::{Fault, Malformed};

/// A request that goes no further.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Reject {
    /// Not SIP as RFC 3261 has it.
    Malformed(Fault),
    /// Nobody allowed this source.
    NotAllowed,
    /// Max-Forwards had run out.
    TooManyHops,
    /// The same request came by here before (RFC 5393).
    Loop,
    /// Proxy-Require names something we do not have.
    BadExtension,
    /// A method that is not served here.
    MethodNotAllowed,
    /// CANCEL, or an in-dialog request, for something that is not here.
    NoSuchTransaction,
    /// An in-dialog request to an address that is neither side's.
    NotARelay,
    /// No `[[route]]` matches the called number, or the trunk has no such direction.
    NoRoute,
    /// The process is about to stop.
    Draining,
    /// A table is full.
    TooBusy,
    /// The shard does not keep up.
    Overload,
    /// A next hop's name has no address.
    Unresolvable,
}

impl From<Malformed> for Reject {
    fn from(malformed: Malformed) -> Self {
        Reject::Malformed(malformed.fault)
    }
}

impl Reject {
    /// The status code.
    pub const fn status(self) -> u16 {
        match self {
            Reject::Malformed(fault) => fault.status(),
            Reject::NotAllowed | Reject::NotARelay => 403,
            Reject::NoRoute => 404,
            Reject::MethodNotAllowed => 405,
            Reject::BadExtension => 420,
            Reject::NoSuchTransaction => 481,
            Reject::Loop => 482,
            Reject::TooManyHops => 483,
            Reject::Unresolvable => 502,
            Reject::Draining | Reject::TooBusy | Reject::Overload => 503,
        }
    }

    /// The reason phrase: what is wrong, for whoever reads the trace.
    pub const fn reason(self) -> &'static str {
        match self {
            Reject::Malformed(fault) => fault.reason(),
            Reject::NotAllowed => "Source Not Allowed",
            Reject::TooManyHops => "Too Many Hops",
            Reject::Loop => "Loop Detected",
            Reject::BadExtension => "Bad Extension",
            Reject::MethodNotAllowed => "Method Not Allowed",
            Reject::NoSuchTransaction => "Call/Transaction Does Not Exist",
            Reject::NotARelay => "Not A Relay",
            Reject::NoRoute => "No Route For This Number",
            Reject::Draining => "Shutting Down",
            Reject::TooBusy => "Too Busy",
            Reject::Overload => "Overloaded",
            Reject::Unresolvable => "Next Hop Does Not Resolve",
        }
    }

    /// The metric label.
    pub const fn word(self) -> &'static str {
        match self {
            Reject::Malformed(fault) => fault.word(),
            Reject::NotAllowed => "not_allowed",
            Reject::TooManyHops => "too_many_hops",
            Reject::Loop => "loop",
            Reject::BadExtension => "bad_extension",
            Reject::MethodNotAllowed => "method_not_allowed",
            Reject::NoSuchTransaction => "no_such_transaction",
            Reject::NotARelay => "not_a_relay",
            Reject::NoRoute => "no_route",
            Reject::Draining => "draining",
            Reject::TooBusy => "too_busy",
            Reject::Overload => "overload",
            Reject::Unresolvable => "unresolvable",
        }
    }
}
