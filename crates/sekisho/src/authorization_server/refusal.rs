//! From reason to answer: JSON to a client (RFC 6749 §5.2), a redirect, or a page for a person.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use http::{Extensions, HeaderMap, HeaderValue};
use sekisho_protocol::oauth::{Issuer, OAuthError, OAuthErrorCode, RedirectUri};

use super::flows::{self, Known, Step};
use crate::front::TraceId;
use crate::identity_provider::ProviderError;
use crate::pages::{self, ErrorPage, Language, Problem};
use crate::store::StoreError;

/// What a client is told to wait when the store or the identity provider is down.
const RETRY_AFTER_OUTAGE: Duration = Duration::from_secs(5);

/// An error for a client that called us itself.
#[derive(Debug)]
pub(super) enum Refusal {
    /// An OAuth error with the status RFC 6749 §5.2 gives it.
    OAuth(OAuthError),
    /// Client authentication failed: 401, with a challenge if the client used Basic.
    Client {
        /// What to say.
        error: OAuthError,
        /// Whether the client tried HTTP Basic.
        used_basic: bool,
    },
    /// Initial access token missing or wrong at `/register`.
    InitialAccessToken,
    /// Body too large.
    TooLarge,
    /// Body not complete in time.
    TooSlow,
    /// Too many requests from one address.
    TooMany(Duration),
    /// The client's keys cannot be fetched, which may pass.
    KeysUnavailable,
    /// The store is down.
    Store(StoreError),
    /// The identity provider does not answer when we need it.
    ProviderUnavailable,
}

impl Refusal {
    /// Whether somebody showed something that is not valid here, as one who guesses does.
    pub(super) fn is_wrong_guess(&self) -> bool {
        match self {
            Self::Client { .. } | Self::InitialAccessToken => true,
            Self::OAuth(error) => error.error == OAuthErrorCode::InvalidGrant,
            Self::TooLarge
            | Self::TooSlow
            | Self::TooMany(_)
            | Self::KeysUnavailable
            | Self::Store(_)
            | Self::ProviderUnavailable => false,
        }
    }
}

impl From<OAuthError> for Refusal {
    fn from(error: OAuthError) -> Self {
        Self::OAuth(error)
    }
}

/// A body that could not be read: it is too large, or it did not come. Whoever hung up hears nothing.
impl From<BytesRejection> for Refusal {
    fn from(rejection: BytesRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            Self::TooLarge
        } else {
            Self::TooSlow
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::OAuth(error) => json(StatusCode::BAD_REQUEST, &error),
            Self::Client { error, used_basic } => {
                let mut response = json(StatusCode::UNAUTHORIZED, &error);
                if used_basic {
                    let basic = HeaderValue::from_static("Basic realm=\"sekisho\"");
                    response.headers_mut().insert(WWW_AUTHENTICATE, basic);
                }
                response
            }
            Self::InitialAccessToken => {
                let error = OAuthError::new(
                    OAuthErrorCode::InvalidToken,
                    "registration needs the initial access token as bearer: ask whoever runs this server",
                );
                let mut response = json(StatusCode::UNAUTHORIZED, &error);
                let bearer = HeaderValue::from_static("Bearer error=\"invalid_token\"");
                response.headers_mut().insert(WWW_AUTHENTICATE, bearer);
                response
            }
            Self::TooLarge => {
                let error =
                    OAuthError::new(OAuthErrorCode::InvalidRequest, "the body is too large");
                json(StatusCode::PAYLOAD_TOO_LARGE, &error)
            }
            Self::TooSlow => {
                let words = "the body did not come in time";
                let error = OAuthError::new(OAuthErrorCode::InvalidRequest, words);
                json(StatusCode::REQUEST_TIMEOUT, &error)
            }
            Self::TooMany(wait) => {
                let error = OAuthError::new(
                    OAuthErrorCode::TemporarilyUnavailable,
                    "too many requests from this address",
                );
                retry_later(json(StatusCode::TOO_MANY_REQUESTS, &error), wait)
            }
            Self::ProviderUnavailable => {
                let error = OAuthError::new(
                    OAuthErrorCode::TemporarilyUnavailable,
                    "the identity provider does not answer at this moment",
                );
                retry_later(json(StatusCode::SERVICE_UNAVAILABLE, &error), RETRY_AFTER_OUTAGE)
            }
            Self::KeysUnavailable => {
                let error = OAuthError::new(
                    OAuthErrorCode::TemporarilyUnavailable,
                    "the client's keys cannot be fetched from its jwks_uri",
                );
                retry_later(json(StatusCode::SERVICE_UNAVAILABLE, &error), RETRY_AFTER_OUTAGE)
            }
            Self::Store(reason) => {
                tracing::error!(error = &reason as &dyn std::error::Error, "the store failed");
                let error = OAuthError::new(
                    OAuthErrorCode::TemporarilyUnavailable,
                    "the server cannot answer at this moment",
                );
                retry_later(json(StatusCode::SERVICE_UNAVAILABLE, &error), RETRY_AFTER_OUTAGE)
            }
        }
    }
}

fn json(status: StatusCode, error: &OAuthError) -> Response {
    tracing::info!(error = %error.error, "refused: {}", error.error_description);
    (status, [(CACHE_CONTROL, "no-store")], Json(error)).into_response()
}

fn retry_later(mut response: Response, wait: Duration) -> Response {
    // Whole seconds, rounded up: a client that comes back a moment early is refused again.
    let seconds = wait.as_secs().saturating_add(1);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// Someone in front of a browser, and how to talk to them.
#[derive(Debug)]
pub(super) struct Visitor {
    language: Language,
    trace_id: String,
}

impl Visitor {
    pub(super) fn of(headers: &HeaderMap, extensions: &Extensions) -> Self {
        let trace_id = extensions.get().map_or_else(String::new, TraceId::to_string);
        Self { language: Language::of(headers), trace_id }
    }

    pub(super) const fn language(&self) -> Language {
        self.language
    }

    /// A page that says what happened and what to do, under a trace id that the log has too.
    pub(super) fn page(&self, status: StatusCode, problem: Problem<'_>) -> Response {
        tracing::info!(status = status.as_u16(), "page: {:.400}", format!("{problem:?}"));
        flows::refused_by_page(&problem.reason());
        ErrorPage { status, problem, trace_id: &self.trace_id }.respond(self.language)
    }

    pub(super) fn too_many(&self, wait: Duration) -> Response {
        let retry_after_seconds = wait.as_secs().saturating_add(1);
        let problem = Problem::TooManyRequests { retry_after_seconds };
        retry_later(self.page(StatusCode::TOO_MANY_REQUESTS, problem), wait)
    }

    pub(super) fn store_failed(&self, reason: &StoreError) -> Response {
        tracing::error!(error = reason as &dyn std::error::Error, "the store failed");
        let page = self.page(StatusCode::SERVICE_UNAVAILABLE, Problem::Unavailable);
        retry_later(page, RETRY_AFTER_OUTAGE)
    }
}

/// Sends the browser to `location` by GET, whatever brought it here (303, never 307).
pub(super) fn see_other(location: &str) -> Response {
    let Ok(location) = HeaderValue::from_str(location) else {
        // Every part was percent-encoded, so this cannot be; a page beats a broken header.
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut response = (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response();
    pages::secure_headers(response.headers_mut(), pages::Referrer::None);
    response
}

/// Tells the client no, by way of the browser: `error`, `state` if it sent one, `iss`.
pub(super) fn refuse_by_redirect(
    issuer: &Issuer,
    redirect_uri: &RedirectUri,
    state: Option<&str>,
    error: &OAuthError,
) -> Response {
    tracing::info!(error = %error.error, "refused by redirect: {}", error.error_description);
    let detail = format!("{}: {}", error.error.as_str(), error.error_description);
    flows::note(Step::Refused, &Known { detail: Some(&detail), ..Known::default() });
    let mut parameters = vec![
        ("error", error.error.as_str()),
        ("error_description", error.error_description.as_str()),
    ];
    parameters.extend(state.map(|state| ("state", state)));
    parameters.push(("iss", issuer.as_str()));
    see_other(&redirect_uri.with_query(&parameters))
}

/// What the client hears of the identity provider's failure; the reason stays in the log.
pub(super) fn provider_error(reason: &ProviderError) -> OAuthError {
    tracing::warn!(error = reason as &dyn std::error::Error, "login failed");
    let why = match reason {
        ProviderError::Unavailable(cause) => cause.to_string(),
        ProviderError::Unacceptable { reason } | ProviderError::Refused { reason } => {
            reason.clone()
        }
    };
    flows::note(Step::ProviderFailed, &Known { detail: Some(&why), ..Known::default() });
    match reason {
        ProviderError::Unavailable(_) => OAuthError::new(
            OAuthErrorCode::TemporarilyUnavailable,
            "the identity provider does not answer: try again later",
        ),
        ProviderError::Unacceptable { .. } => OAuthError::new(
            OAuthErrorCode::ServerError,
            "the identity provider's answer could not be accepted",
        ),
        ProviderError::Refused { .. } => {
            OAuthError::new(OAuthErrorCode::AccessDenied, "the identity provider refused the login")
        }
    }
}
