//! Ladder scripts: one promise each, told as the messages that show it.
//!
//! `tests/ladders/README.md` explains the format to people who write them. [`Script::parse`] reads
//! it, `Display` prints it, and [`run`] plays one against the proxy in virtual time.

mod actor;
mod compare;
mod parse;
pub(crate) mod print;
mod run;
mod script;
mod stage;
mod words;

pub(crate) use compare::summary;
pub use parse::ParseError;
pub use run::{Failure, Library, run};
pub use script::{Action, Config, Declared, Kind, NameChange, Script, Step, Wire};
