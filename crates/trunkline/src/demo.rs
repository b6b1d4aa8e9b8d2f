//! `trunkline demo`.
use std::process::ExitCode;
/// Being written.
pub fn demo(_stay: bool) -> ExitCode { ExitCode::FAILURE }
