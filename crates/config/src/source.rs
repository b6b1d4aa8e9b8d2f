//! The file's text, and the faults found in it so far.

use std::{
    cell::{Cell, RefCell},
    ops::Range,
    path::Path,
};

use crate::report::{Diagnostic, Excerpt, Report, Severity};

/// A source line longer than this is not repeated under a message.
const EXCERPT_CHARS_MAX: usize = 160;

/// Findings shown at most: whoever sees more repairs the first ones and looks again.
const FOUND_MAX: usize = 200;

/// Findings looked at more closely: to place one on a very long line costs a walk along it.
const PLACED_MAX: usize = 2_000;

/// Bytes of the file, `start..end`.
pub(crate) type Span = Range<usize>;

/// The text, with a way from byte offsets to lines and columns.
pub(crate) struct Source<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Source<'t> {
    pub fn new(text: &'t str) -> Self {
        let after_each = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0)
            .chain(after_each.map(|(at, _)| at + 1))
            .collect();
        Source { text, starts }
    }

    /// Line and column of an offset, both from 1; the column in characters.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self
            .starts
            .get(line.saturating_sub(1))
            .copied()
            .unwrap_or(0);
        let before = self.text.as_bytes().get(start..offset).unwrap_or_default();
        (line, String::from_utf8_lossy(before).chars().count() + 1)
    }

    fn excerpt(&self, span: &Span) -> Option<Excerpt> {
        let (line, column) = self.position(span.start);
        let start = *self.starts.get(line.checked_sub(1)?)?;
        let raw = self.text.get(start..)?.lines().next().unwrap_or_default();
        if raw.chars().count() > EXCERPT_CHARS_MAX || may_hold_secret(raw) {
            return None;
        }
        let length = self
            .text
            .get(span.clone())
            .map_or(1, |text| text.chars().count());
        let rest = raw.chars().count().saturating_sub(column - 1);
        // What a file says must not be able to steer the terminal it is shown on.
        let text = raw.chars().map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        });
        Some(Excerpt {
            text: text.collect(),
            marked: length.min(rest).max(1),
        })
    }
}

/// Whether a line seems to have a secret in it, in a file where none should be.
fn may_hold_secret(line: &str) -> bool {
    let key = line
        .split('=')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let secret = ["token", "secret", "password"]
        .iter()
        .any(|word| key.contains(word));
    secret && !key.contains("_file")
}

/// Everything found so far. Shared by all readers of one file, so it is filled through `&self`.
pub(crate) struct Faults<'t> {
    source: Source<'t>,
    found: RefCell<Vec<(usize, Diagnostic)>>,
    /// Findings beyond [`PLACED_MAX`].
    unplaced: Cell<usize>,
    any_error: Cell<bool>,
    /// The syntax is broken: what seems to be missing may stand in what could not be read.
    pub torn: bool,
}

impl<'t> Faults<'t> {
    pub fn new(text: &'t str) -> Self {
        Faults {
            source: Source::new(text),
            found: RefCell::default(),
            unplaced: Cell::default(),
            any_error: Cell::default(),
            torn: false,
        }
    }

    pub fn source(&self) -> &Source<'t> {
        &self.source
    }

    /// Adds an error.
    pub fn error(
        &self,
        at: &Span,
        key: &str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(
            Severity::Error,
            at,
            key,
            (message.into(), remedy.into()),
            true,
        );
    }

    /// Adds an error about a line that may hold a secret: the line is not repeated.
    pub fn error_unquoted(
        &self,
        at: &Span,
        key: &str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(
            Severity::Error,
            at,
            key,
            (message.into(), remedy.into()),
            false,
        );
    }

    /// Adds an error about something that is missing inside `at`.
    pub fn missing(
        &self,
        at: &Span,
        key: &str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        if !self.torn {
            self.error(at, key, message, remedy);
        }
    }

    /// Adds an error about something that is missing in the file as a whole.
    pub fn absent(&self, key: &str, message: impl Into<String>, remedy: impl Into<String>) {
        if !self.torn {
            let (message, remedy) = (message.into(), remedy.into());
            let diagnostic = Diagnostic::of_whole_file(Severity::Error, key, message, remedy);
            self.found.borrow_mut().push((0, diagnostic));
            self.any_error.set(true);
        }
    }

    /// Adds a warning.
    pub fn warning(
        &self,
        at: &Span,
        key: &str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(
            Severity::Warning,
            at,
            key,
            (message.into(), remedy.into()),
            true,
        );
    }

    fn add(&self, severity: Severity, at: &Span, key: &str, told: (String, String), quoted: bool) {
        // The first error is always kept: without it nobody knew why the file cannot be used.
        let first_error = severity == Severity::Error && !self.any_error.replace(true);
        if !first_error && self.found.borrow().len() >= PLACED_MAX {
            self.unplaced.set(self.unplaced.get() + 1);
            return;
        }
        let (line, column) = self.source.position(at.start);
        let excerpt = if quoted {
            self.source.excerpt(at)
        } else {
            None
        };
        let (message, remedy) = told;
        let key = key.to_owned();
        let diagnostic = Diagnostic {
            severity,
            line,
            column,
            message,
            remedy,
            key,
            excerpt,
        };
        self.found.borrow_mut().push((at.start, diagnostic));
    }

    /// Whether the file cannot be used.
    pub fn any_error(&self) -> bool {
        self.any_error.get()
    }

    /// All findings, in file order; of very many, the first errors and how many more there are.
    pub fn into_diagnostics(self) -> Vec<Diagnostic> {
        let mut found = self.found.into_inner();
        // What two readers of one table have both found counts once.
        found.sort_by(|(at, a), (bt, b)| {
            (at, a.severity, &a.message).cmp(&(bt, b.severity, &b.message))
        });
        found.dedup();
        let all = found.len() + self.unplaced.get();
        if all > FOUND_MAX {
            // Errors are what keeps the file from being used: none of them gives way to a warning.
            found.retain(|(_, diagnostic)| diagnostic.severity == Severity::Error);
        }
        found.truncate(FOUND_MAX);
        let left_out = all - found.len();
        let mut shown: Vec<Diagnostic> = found
            .into_iter()
            .map(|(_, diagnostic)| diagnostic)
            .collect();
        if left_out > 0 {
            let message = format!("{left_out} more findings are not shown");
            shown.push(Diagnostic::of_whole_file(
                Severity::Warning,
                "",
                message,
                "repair these first".to_owned(),
            ));
        }
        shown
    }

    /// All findings as the reason why the file cannot be used.
    pub fn into_report(self, path: &Path) -> Report {
        Report {
            path: path.to_owned(),
            diagnostics: self.into_diagnostics(),
        }
    }
}
