//! What was found: one line of text each, or a member of one JSON document.

use std::path::Path;

use serde_json::{Value, json};

use crate::telemetry::on_one_line;

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// As it should be.
    Ok,
    /// It works, and something speaks against it; or it cannot be said.
    Warning,
    /// It does not work.
    Problem,
}

/// One thing that was examined.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    about: String,
    pub(super) state: State,
    what: String,
    fix: Option<String>,
}

impl Finding {
    pub(super) fn ok(about: impl Into<String>, what: impl Into<String>) -> Self {
        Self { about: about.into(), state: State::Ok, what: what.into(), fix: None }
    }

    pub(super) fn warning(
        about: impl Into<String>,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let (about, what, fix) = (about.into(), what.into(), Some(fix.into()));
        Self { about, state: State::Warning, what, fix }
    }

    pub(super) fn problem(
        about: impl Into<String>,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let (about, what, fix) = (about.into(), what.into(), Some(fix.into()));
        Self { about, state: State::Problem, what, fix }
    }

    /// A problem in a sentence that says its remedy already.
    pub(super) fn told(about: impl Into<String>, sentence: impl Into<String>) -> Self {
        let (about, what) = (about.into(), sentence.into());
        Self { about, state: State::Problem, what, fix: None }
    }

    /// The same, about the one of several that has this name.
    pub(super) fn of(mut self, name: &str) -> Self {
        if !name.is_empty() {
            self.about = format!("{} {name}", self.about);
        }
        self
    }

    /// Whatever others wrote in it, it stays a line.
    pub(super) fn line(&self) -> String {
        let fix = self.fix.as_ref().map(|fix| format!("; fix: {fix}")).unwrap_or_default();
        let line = format!("{:<8} {}: {}{fix}", self.state.as_str(), self.about, self.what);
        on_one_line(&line)
    }

    fn as_json(&self) -> Value {
        json!({
            "state": self.state.as_str(),
            "about": self.about,
            "what": self.what,
            "fix": self.fix,
        })
    }
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// A path in a line.
pub(super) fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display())
}

/// The worst of them.
pub(super) fn worst(findings: &[Finding]) -> State {
    findings.iter().map(|finding| finding.state).max().unwrap_or(State::Ok)
}

pub(super) fn as_lines(findings: &[Finding]) -> String {
    findings.iter().map(Finding::line).collect::<Vec<_>>().join("\n")
}

pub(super) fn as_json(findings: &[Finding]) -> String {
    let all: Vec<_> = findings.iter().map(Finding::as_json).collect();
    json!({ "state": worst(findings).as_str(), "findings": all }).to_string()
}
