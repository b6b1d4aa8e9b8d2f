//! The configuration file: TOML in, checked [`Settings`] out, or every fault at once with its line,
//! its column and what to do about it.
//!
//! `keys` describes every key; `walk` reads a parsed file against that description; `read` makes
//! settings of it; `lint` judges what can only be seen on the whole; `reference` prints the
//! description. Nothing here opens a socket to speak or starts anything.
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

mod control;
mod duration;
mod environment;
mod foresight;
mod host;
mod keys;
mod lint;
mod nearest;
mod preset;
mod read;
mod reference;
mod report;
mod shape;
mod source;
mod walk;

use std::{path::Path, sync::Arc};

use toml::de::DeTable;
use trunkline_proxy::Settings;

pub use self::{
    control::{ControlFile, LogFormat, LogLevel},
    environment::{Environment, System},
    foresight::{Cause, Foresight, Sentence},
    reference::reference,
    report::{Diagnostic, Report, Severity},
};

/// Larger files are refused unread.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;

/// Syntax errors shown at most: those after the first few are mostly echoes of them.
const SYNTAX_ERRORS_MAX: usize = 10;

/// A file that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the proxy needs to know.
    pub settings: Arc<Settings>,
    /// What the parts around it need to know.
    pub control: ControlFile,
    /// What was hardly meant, in file order.
    pub warnings: Vec<Diagnostic>,
    /// What its timers come to when something dies, in file order.
    pub foresight: Vec<Foresight>,
}

/// Reads a configuration file.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn load(path: &Path) -> Result<Loaded, Report> {
    let whole = |message: String, remedy: &str| Report::whole_file(path, message, remedy);
    let length = std::fs::metadata(path).map(|meta| meta.len());
    if length.is_ok_and(|length| length > FILE_BYTES_MAX as u64) {
        return Err(whole(
            format!("the file is larger than {FILE_BYTES_MAX} bytes"),
            "is it the right file?",
        ));
    }
    let bytes = std::fs::read(path).map_err(|error| {
        whole(
            format!("cannot read it: {error}"),
            "check the name and who may read it",
        )
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = 1 + error
            .as_bytes()
            .iter()
            .take(valid)
            .filter(|byte| **byte == b'\n')
            .count();
        whole(
            format!("line {line} is not UTF-8 text"),
            "save the file as UTF-8",
        )
    })?;
    parse(&text, path, &System)
}

/// Reads a configuration from memory. `path` is shown in messages, and its folder is where relative
/// file names start.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn parse(text: &str, path: &Path, environment: &dyn Environment) -> Result<Loaded, Report> {
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file is larger than {FILE_BYTES_MAX} bytes");
        return Err(Report::whole_file(path, message, "is it the right file?"));
    }
    let (table, syntax) = DeTable::parse_recoverable(text);
    let mut faults = source::Faults::new(text);
    faults.torn = !syntax.is_empty();
    for error in syntax.iter().take(SYNTAX_ERRORS_MAX) {
        let at = error.span().unwrap_or(0..0);
        let message = error.message().trim().replace('\n', ", ");
        faults.error(
            &at,
            "",
            message,
            "see how it is written in config/reference.toml",
        );
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let (settings, control, foresight) = {
        let root = walk::Section::new(&faults, table.get_ref(), String::new(), 0..0, &keys::ROOT);
        let (settings, control, notes) = read::file(&root, folder, environment);
        // A faulty entry is missing from the settings: judged without it, the whole looks worse
        // than it is.
        if !faults.any_error() {
            lint::judge(&root, &settings, &notes);
        }
        let foresight = foresight::foresee(&root, &settings, &notes);
        (settings, control, foresight)
    };
    if faults.any_error() {
        return Err(faults.into_report(path));
    }
    Ok(Loaded {
        settings: Arc::new(settings),
        control,
        warnings: faults.into_diagnostics(),
        foresight,
    })
}
