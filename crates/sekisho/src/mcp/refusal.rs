//! Why a transport refuses a message of a revision with a handshake, or what is no request at all,
//! and how that reads on the wire: a status and a JSON-RPC error. Clients infer the era from it, so
//! there is no code here that 2026-07-28 defines, but for one.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use sekisho_protocol::mcp::{
    INTERNAL_ERROR, INVALID_REQUEST, McpError, MessageError, ProtocolVersion, RequestId,
    UNSUPPORTED_PROTOCOL_VERSION, write_error,
};
use sekisho_protocol::oauth::ScopeSet;

use crate::resource_server::MissingScopes;

/// A reason. Somebody else's session has none of its own: it is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Another instance had the session, and ended before it answered.
    AnswerLost,
    BatchUnserved,
    BodyBroken,
    BodyTooLarge {
        bytes_max: usize,
    },
    BodyTooSlow,
    HeaderTwice(&'static str),
    IdInUse,
    InitializeInBatch,
    InsufficientScope(ScopeSet),
    NoMessageOfThisEra,
    NotAnEventStream,
    NotInitialized,
    NotJson,
    Packed,
    PostOnly,
    ServerFull,
    SessionMissing,
    SessionUnknown,
    Stopping,
    TooManyCalls,
    TooManySessions,
    TooManyStreams,
    Unreadable(MessageError),
    VersionUnserved {
        requested: String,
    },
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::BatchUnserved
            | Self::BodyBroken
            | Self::HeaderTwice(_)
            | Self::IdInUse
            | Self::InitializeInBatch
            | Self::NoMessageOfThisEra
            | Self::NotInitialized
            | Self::SessionMissing
            | Self::Unreadable(_)
            | Self::VersionUnserved { .. } => StatusCode::BAD_REQUEST,
            Self::AnswerLost => StatusCode::BAD_GATEWAY,
            Self::InsufficientScope(_) => StatusCode::FORBIDDEN,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::NotAnEventStream => StatusCode::NOT_ACCEPTABLE,
            Self::NotJson | Self::Packed => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::PostOnly => StatusCode::METHOD_NOT_ALLOWED,
            Self::ServerFull | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::SessionUnknown => StatusCode::NOT_FOUND,
            Self::TooManyCalls | Self::TooManySessions | Self::TooManyStreams => {
                StatusCode::TOO_MANY_REQUESTS
            }
        }
    }

    /// When it is worth trying again.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Stopping | Self::TooManyCalls => Some(Duration::from_secs(1)),
            Self::ServerFull | Self::TooManySessions | Self::TooManyStreams => {
                Some(Duration::from_mins(1))
            }
            Self::AnswerLost
            | Self::BatchUnserved
            | Self::BodyBroken
            | Self::BodyTooLarge { .. }
            | Self::BodyTooSlow
            | Self::HeaderTwice(_)
            | Self::IdInUse
            | Self::InitializeInBatch
            | Self::InsufficientScope(_)
            | Self::NoMessageOfThisEra
            | Self::NotAnEventStream
            | Self::NotInitialized
            | Self::NotJson
            | Self::Packed
            | Self::PostOnly
            | Self::SessionMissing
            | Self::SessionUnknown
            | Self::Unreadable(_)
            | Self::VersionUnserved { .. } => None,
        }
    }

    /// The reason in the words of JSON-RPC.
    pub(super) fn to_mcp_error(&self) -> McpError {
        let invalid = |message: &'static str| McpError::new(INVALID_REQUEST, message);
        match self {
            Self::AnswerLost => McpError::new(
                INTERNAL_ERROR,
                "the server ended before it answered: whether this was done is not known",
            ),
            Self::BatchUnserved => invalid("an array of messages is served under 2025-03-26 only"),
            Self::BodyBroken => invalid("the body could not be read to its end"),
            Self::BodyTooLarge { bytes_max } => {
                let message = format!("the message is longer than {bytes_max} bytes");
                McpError::new(INVALID_REQUEST, message)
            }
            Self::BodyTooSlow => invalid("the body took too long to arrive"),
            Self::HeaderTwice(name) => McpError::new(
                INVALID_REQUEST,
                format!("the header {name} came twice or unreadable"),
            ),
            Self::IdInUse => invalid("a request of this id is still being worked on"),
            Self::InitializeInBatch => invalid("initialize comes alone, never in an array"),
            Self::InsufficientScope(scopes) => McpError::new(
                INVALID_REQUEST,
                format!("the access token lacks a scope for this: {scopes}"),
            ),
            Self::NoMessageOfThisEra => {
                invalid("2026-07-28 has one request or notification in a body, nothing else")
            }
            Self::NotAnEventStream => invalid("a GET here is answered with text/event-stream only"),
            Self::NotInitialized => invalid("the first request is initialize"),
            Self::NotJson => invalid("a message comes as application/json"),
            Self::Packed => invalid("a message comes as it is, without Content-Encoding"),
            Self::PostOnly => {
                invalid("2026-07-28 has POST alone: there is no session to listen to")
            }
            Self::ServerFull => {
                McpError::new(INTERNAL_ERROR, "the server has no room for a session")
            }
            Self::SessionMissing => {
                invalid("the header Mcp-Session-Id is missing: begin with initialize")
            }
            Self::SessionUnknown => invalid("the session is not known: begin with initialize"),
            Self::Stopping => {
                McpError::new(INTERNAL_ERROR, "the server is stopping: begin anew in a moment")
            }
            Self::TooManyCalls => invalid("too many requests are being worked on in this session"),
            Self::TooManySessions => invalid("too many sessions: end one before beginning another"),
            Self::TooManyStreams => invalid("too many streams are open in this session"),
            Self::Unreadable(error) => error.to_mcp_error(),
            // The one code of 2026-07-28 here: clients of both eras can choose by its data.
            Self::VersionUnserved { requested } => {
                let served = ProtocolVersion::WITH_HANDSHAKE.into_iter();
                let served = served.chain(ProtocolVersion::STATELESS).map(ProtocolVersion::as_str);
                McpError::new(
                    UNSUPPORTED_PROTOCOL_VERSION,
                    "this MCP-Protocol-Version is not served",
                )
                .with_data(&serde_json::json!({
                    "requested": requested,
                    "supported": served.collect::<Vec<_>>(),
                }))
            }
        }
    }
}

impl From<MessageError> for Refusal {
    fn from(error: MessageError) -> Self {
        Self::Unreadable(error)
    }
}

/// A refusal of the message with this id, as far as it got to be read.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    pub(super) id: Option<RequestId>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, id: None }
    }
}

impl From<MessageError> for Refused {
    fn from(error: MessageError) -> Self {
        let id = error.id().cloned();
        Self { refusal: error.into(), id }
    }
}

impl Refused {
    /// The JSON-RPC error.
    pub(super) fn to_json(&self) -> Vec<u8> {
        write_error(self.id.as_ref(), &self.refusal.to_mcp_error())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.to_json()));
        *response.status_mut() = self.refusal.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // The guard in front knows the challenge that belongs to it.
        if let Refusal::InsufficientScope(scopes) = &self.refusal {
            response.extensions_mut().insert(MissingScopes(scopes.clone()));
        }
        let headers = response.headers_mut();
        if self.refusal == Refusal::PostOnly {
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        if let Some(wait) = self.refusal.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs()));
        }
        response
    }
}
