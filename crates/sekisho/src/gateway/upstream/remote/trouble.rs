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
    #[error("{remedy}")]
    Tls {
        remedy: &'static str,
        #[source]
        error: reqwest::Error,
    },
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
            (false, true) => match tls_error_in(&error).map(remedy_for) {
                Some(remedy) => Self::Tls { remedy, error },
                None => Self::unreachable(error),
            },
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
            | Self::Tls { .. }
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
            Self::Unreachable(_) | Self::Tls { .. } => "cannot be reached",
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

/// What TLS says is wrong, if it was TLS. It stands within errors of the connection, which do not name it
/// as their source.
fn tls_error_in(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut next = std::error::Error::source(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let within = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match within {
            Some(within) => Some(within),
            None => error.source(),
        };
    }
    None
}

/// What the operator can do about it.
#[expect(clippy::wildcard_enum_match_arm, reason = "there are more errors than anybody lists")]
fn remedy_for(error: &rustls::Error) -> &'static str {
    use rustls::{CertificateError as Certificate, Error};
    match error {
        Error::InvalidCertificate(
            Certificate::Expired
            | Certificate::ExpiredContext { .. }
            | Certificate::NotValidYet
            | Certificate::NotValidYetContext { .. },
        ) => {
            "its certificate is not valid at this time: have it renewed, or set the clock of this machine"
        }
        Error::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        ) => "its certificate is for another name: write that name in upstream.url",
        Error::InvalidCertificate(_) => {
            "its certificate is not trusted: name the authority that signed it in upstream.ca_file"
        }
        Error::InvalidMessage(_) => {
            "it does not speak TLS: write http:// in upstream.url, or have it speak TLS"
        }
        _ => "there is no TLS with it",
    }
}
