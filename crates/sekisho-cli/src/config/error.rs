//! A wrong setting as one readable sentence: where it stands, what it says, what to do.

use std::fmt;
use std::path::PathBuf;

/// Where a setting was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nowhere: it is the default.
    Default,
    /// In a file.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// In this environment variable.
    Environment(String),
    /// By this flag, with its dashes.
    Flag(&'static str),
}

/// Why the program cannot start as it was told to. Prints as one sentence, never with a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigError(String);

impl ConfigError {
    /// A sentence that already says everything.
    pub(crate) fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }

    /// `value` is what was written, or `None` for a secret or where there is nothing to show.
    pub(crate) fn at(
        origin: &Origin,
        key: &str,
        value: Option<&str>,
        problem: impl fmt::Display,
    ) -> Self {
        let subject = match origin {
            Origin::Default | Origin::File { .. } => key,
            Origin::Environment(variable) => variable,
            Origin::Flag(flag) => flag,
        };
        let place = match origin {
            Origin::File { path, line } => format!("{}, line {line}: ", path.display()),
            Origin::Default | Origin::Environment(_) | Origin::Flag(_) => String::new(),
        };
        let value = value.map(|value| format!(" = {}", quoted(value))).unwrap_or_default();
        Self(format!("{place}{subject}{value}: {problem}"))
    }
}

/// On one line and not endless, whatever was written.
pub(super) fn quoted(value: &str) -> String {
    const SHOWN_MAX: usize = 200;
    let end = value.floor_char_boundary(SHOWN_MAX);
    match value.get(..end) {
        Some(start) if end < value.len() => format!("{start:?}…"),
        _ => format!("{value:?}"),
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}
