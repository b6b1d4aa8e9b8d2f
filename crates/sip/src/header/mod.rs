//! The values of the headers a proxy reads, each with what RFC 3261 §20 says of it.

pub mod cseq;
pub mod max_forwards;
pub mod name_addr;
pub mod params;
pub mod via;

pub use cseq::CSeq;
pub use name_addr::NameAddr;
pub(crate) use name_addr::{Party, usual_uri};
pub use params::Params;
pub(crate) use via::SentBy;
pub use via::Via;
