//! Disaster recovery before the disaster: tests of the webhook, and drills with some real calls.

pub mod certificate;
pub mod drills;
pub mod rehearsal;
mod schedule;

pub(crate) use schedule::Schedule;
