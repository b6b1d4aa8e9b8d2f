//! What the tests from outside share: a laboratory of loopback addresses, the real binary in it,
//! SIPp, a webhook, a bad network.
//!
//! Nothing here knows the insides of Trunkline: it is spoken to over sockets, signals, files and
//! the command line, as in real life. Everything that waits gives up after a time; everything that
//! was started ends when its handle is dropped.

mod faulty;
mod http;
mod lab;
mod lossy;
mod program;
mod raw;
mod sipp;
mod trunkline;
mod wait;

pub use faulty::{Faulty, Page};
pub use http::{Asked, Reply, Webhook, get};
pub use lab::Lab;
pub use lossy::Lossy;
pub use program::{Finished, Program, binary, root, signal, trunkline};
pub use raw::Phone;
pub use sipp::{Sipp, SippRun, kernel_form};
pub use trunkline::Trunkline;
pub use wait::{LIMIT, until, within};
