//! What is wrong with a file, said so that nobody needs the manual to repair it.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// How much a finding matters.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, and does something that was hardly meant.
    Warning,
}

impl Severity {
    /// As shown.
    pub const fn word(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// One finding: where, what, and what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// Whether the file can be used all the same.
    pub severity: Severity,
    /// From 1; 0 when the finding is about the file as a whole.
    pub line: usize,
    /// From 1, in characters; 0 when the finding is about the file as a whole.
    pub column: usize,
    /// What is wrong, with the value.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// The dotted key, such as `trunk[0].termination.setup_budget`; "" for faults of the syntax.
    pub key: String,
    /// The line as written, for the reader's eye. None where it may hold a secret.
    pub(crate) excerpt: Option<Excerpt>,
}

/// A source line with a mark.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Excerpt {
    /// The line, without control characters.
    pub text: String,
    /// Characters to mark, at least one.
    pub marked: usize,
}

impl Diagnostic {
    /// A finding without a place.
    pub(crate) fn of_whole_file(
        severity: Severity,
        key: &str,
        message: String,
        remedy: String,
    ) -> Self {
        Diagnostic {
            severity,
            line: 0,
            column: 0,
            message,
            remedy,
            key: key.to_owned(),
            excerpt: None,
        }
    }

    /// Ready to print: `path:line:column: error: what; what to do`, then the line and a caret.
    pub fn display<'a>(&'a self, path: &'a Path) -> impl fmt::Display + 'a {
        Shown {
            path,
            diagnostic: self,
        }
    }
}

struct Shown<'a> {
    path: &'a Path,
    diagnostic: &'a Diagnostic,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Diagnostic {
            severity,
            line,
            column,
            message,
            remedy,
            excerpt,
            ..
        } = self.diagnostic;
        write!(f, "{}:", self.path.display())?;
        if *line > 0 {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {}: {message}; {remedy}", severity.word())?;
        let Some(Excerpt { text, marked }) = excerpt else {
            return Ok(());
        };
        let indent: String = text
            .chars()
            .take(column.saturating_sub(1))
            .map(|character| if character == '\t' { '\t' } else { ' ' })
            .collect();
        write!(
            f,
            "\n{line:>5} | {text}\n      | {indent}{}",
            "^".repeat(*marked)
        )
    }
}

/// Why a file cannot be used: every fault at once, in file order.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct Report {
    /// The file.
    pub path: PathBuf,
    /// At least one error; warnings that were found besides are among them.
    pub diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// How many of the findings are errors.
    pub fn errors(&self) -> usize {
        self.diagnostics
            .iter()
            .filter(|found| found.severity == Severity::Error)
            .count()
    }

    /// A report of one fault that concerns the file as a whole.
    pub(crate) fn whole_file(path: &Path, message: String, remedy: &str) -> Self {
        let diagnostic = Diagnostic::of_whole_file(Severity::Error, "", message, remedy.to_owned());
        Report {
            path: path.to_owned(),
            diagnostics: vec![diagnostic],
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.diagnostics.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "{}", diagnostic.display(&self.path))?;
        }
        Ok(())
    }
}
