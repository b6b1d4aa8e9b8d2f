//! A simulated world around the proxy: peers, wires, DNS and a webhook, in virtual time.
//!
//! Three ways in. A [`ladder`] script tells one promise message by message. A [`world`] is drawn
//! from a seed, with faults, and the [`check`]s hold for every one of them. A [`fleet`] places
//! thousands of calls while peers come and go, and counts. No clock is read and
//! nothing is random: the same seed and the same code give the same bytes.

pub mod address;
pub mod brain;
pub mod chance;
pub mod check;
pub mod fleet;
pub mod ladder;
pub mod names;
pub mod peer;
pub mod settings;
pub mod text;
pub mod ua;
pub mod wire;
pub mod world;
