//! SIP as text: bytes to messages and back, byte for byte. No time, no state, no input or output.
//!
//! A [`Message`] is a view: it says where in the received bytes each part lies and copies nothing,
//! so what nobody asked about is forwarded exactly as it came — unknown headers, folded lines,
//! compact names, bytes that are no UTF-8. An [`Edit`] is a list of changes to such a message,
//! written out in one pass. [`frame`] cuts a byte stream into messages; [`peek`] answers the two
//! questions a socket loop has before anything is parsed.
//!
//! Three rules hold everywhere:
//!
//! * Spans are `(start, end)` byte offsets counted from the start line, the first byte of
//!   [`Message::bytes`].
//! * Nothing here panics, whatever the bytes; what cannot be read is a [`Malformed`] that names its
//!   [`Fault`] and place.
//! * A header line ends in CRLF. A lone CR or LF before the body is refused: the next element might
//!   take it for a line end, and read a header in what we took for text.
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

pub mod edit;
pub mod error;
pub mod frame;
pub mod header;
mod lex;
pub mod message;
pub mod method;
pub mod name;
pub mod peek;
mod scan;
pub mod transport;
pub mod uri;

pub use edit::Edit;
pub use error::{Fault, Malformed};
pub use header::{CSeq, NameAddr, Params, Via};
pub use message::{Facts, Glance, Head, Header, Limits, Message, Place, Places, Start, Value};
pub use method::Method;
pub use name::{Name, NameSet};
pub use transport::Transport;
pub use uri::{Host, Scheme, Uri};

/// A place in a message: `start..end` in bytes, counted from the start line.
pub type Span = (u32, u32);
