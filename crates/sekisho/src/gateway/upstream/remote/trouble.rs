//! What can go wrong on the way to a server at a URL: exact for the log, general for clients, who are
//! not told where it is, and never get its 401 as ours.

use http::StatusCode;
use sekisho_protocol::mcp::{INTERNAL_ERROR, McpError};

use crate::gateway::credential::NotIntroduced;
use crate::gateway::upstream::connection::Ending;

/// What lies behind a trouble, for the log.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::gateway::upstream) enum Trouble {
    #[error("it cannot be reached")]
    Unreachable(#[source] Cause),
    #[error("it takes too long to be reached")]
    TooSlow,
    #[error("it broke off")]
    Broken(#[source] Cause),
    #[error("its answer ended without one")]
    NoAnswer,
    #[error("it answered {status}")]
    Refused { status: StatusCode, error: Option<McpError> },
    #[error("it does not know the session, or this revision, any more")]
    Forgotten,
    #[error("it answered {0}: set upstream.headers or upstream.identity to what it wants to see")]
    NotLetIn(StatusCode),
    #[error("it is not asked: {0}")]
    NotIntroduced(#[from] NotIntroduced),
    #[error("it answered {0}: set upstream.url to where it is")]
    Redirected(StatusCode),
    #[error("its answer is neither application/json nor text/event-stream")]
    OtherContent,
    #[error("it wrote more than {bytes_max} bytes at once")]
    TooLong { bytes_max: usize },
    #[error("its stream names no endpoint of its own origin")]
    OtherEndpoint,
    #[error("its name for the session is none")]
    SessionName,
}

impl Trouble {
    /// Why a request over TLS got no response.
    pub(super) fn of(error: reqwest::Error) -> Self {
        let error = error.without_url();
        match (error.is_timeout(), error.is_connect()) {
            (true, _) => Self::TooSlow,
            (false, true) => Self::unreachable(error),
            (false, false) => Self::broken(error),
        }
    }

    /// Why nobody could be asked.
    pub(super) fn unreachable(error: impl Into<Cause>) -> Self {
        Self::Unreachable(error.into())
    }

    /// Why there is no response, or not all of it.
    pub(super) fn broken(error: impl Into<Cause>) -> Self {
        Self::Broken(error.into())
    }

    /// How a call ends by it.
    pub(super) fn into_ending(self) -> Ending {
        let error = self.to_mcp_error();
        match self {
            Self::Refused { status, error: Some(told) } => {
                Ending::Refused { error: told, status: Some(status) }
            }
            Self::Refused { status, error: None } => {
                Ending::Refused { error, status: Some(status) }
            }
            Self::Forgotten => Ending::Refused { error, status: Some(StatusCode::NOT_FOUND) },
            Self::Unreachable(_)
            | Self::TooSlow
            | Self::NotLetIn(_)
            | Self::NotIntroduced(_)
            | Self::Redirected(_) => Ending::Unreached(error),
            Self::Broken(_)
            | Self::NoAnswer
            | Self::OtherContent
            | Self::TooLong { .. }
            | Self::OtherEndpoint
            | Self::SessionName => Ending::Failed(error),
        }
    }

    /// What a client hears.
    pub(in crate::gateway::upstream) fn to_mcp_error(&self) -> McpError {
        let words = match self {
            Self::Unreachable(_) => "cannot be reached",
            Self::TooSlow => "takes too long to be reached",
            Self::Broken(_) => "broke off before it answered",
            Self::NoAnswer => "ended its answer without one",
            Self::Refused { status, .. } => {
                let message =
                    format!("the server behind this one refuses with {}", status.as_u16());
                return McpError::new(INTERNAL_ERROR, message);
            }
            Self::Forgotten => "has forgotten the session",
            Self::NotIntroduced(why) => return why.to_mcp_error(),
            Self::NotLetIn(_) => "does not let us in: its operator has to be told",
            Self::Redirected(_) => "sends us elsewhere, and we do not follow",
            Self::OtherContent => "answers with what is no message",
            Self::TooLong { .. } => "answers with too much at once",
            Self::OtherEndpoint | Self::SessionName => "cannot be used",
        };
        McpError::new(INTERNAL_ERROR, format!("the server behind this one {words}"))
    }
}
