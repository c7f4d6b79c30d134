//! How the program ends: nothing to say, or one sentence and an exit code.

use std::error::Error;
use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

use crate::config::ConfigError;
use crate::key::KeyError;
use crate::telemetry::chain;
use crate::tls::CertificateError;

/// Why the program ends without having done what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A setting is wrong: exit code 2, as for a wrong flag.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The key file is wrong: a setting, too.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// So is the certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Something outside of us is in the way: exit code 1.
    #[error("{0}")]
    Run(String),
    /// What is wrong was said already: this exit code.
    #[error("said already")]
    Told(u8),
    /// Whoever read our output has seen enough: not an error.
    #[error("the reader of the output is gone")]
    BrokenPipe,
}

impl Failure {
    /// An error and its causes, as one sentence.
    pub(crate) fn because(error: &dyn Error) -> Self {
        Self::Run(chain(error))
    }

    /// Says it, unless nobody listens.
    pub(crate) fn exit(&self) -> ExitCode {
        let code = match self {
            Self::BrokenPipe => return ExitCode::SUCCESS,
            Self::Told(code) => return ExitCode::from(*code),
            Self::Config(_) | Self::Key(_) | Self::Certificate(_) => ExitCode::from(2),
            Self::Run(_) => ExitCode::FAILURE,
        };
        // With standard error gone there is nobody left to tell.
        drop(writeln!(io::stderr(), "sekisho: {self}"));
        code
    }
}

/// Writes a line to standard output at once.
///
/// # Errors
/// [`Failure::BrokenPipe`] when nobody reads it.
pub(crate) fn say(line: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| {
        if error.kind() == ErrorKind::BrokenPipe {
            Failure::BrokenPipe
        } else {
            Failure::Run(format!("cannot write to standard output: {error}"))
        }
    })
}
