//! The checkpoint itself: a `tower` layer that lets a request through only with a valid token.
//!
//! Each request is checked, whatever it is and whatever session it names (MCP: a session is never
//! proof of identity). The token is read from the `Authorization` header and from nowhere else.
//! What passes carries an `Arc<Principal>` in its extensions and no longer the token.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures::TryFutureExt as _;
use futures::future::{Either, MapOk};
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use sekisho_protocol::Secret;
use sekisho_protocol::oauth::{ChallengeReason, OAuthErrorCode, ScopeSet, challenge};
use tower::{Layer, Service};

use super::{MissingScopes, RefusedTokens, TokenVerifier, VerifyError};
use crate::audit::{self, Details, Event, Refused};
use crate::front::ClientAddress;
use crate::principal::Principal;

/// Longest bearer token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Puts a [`Guard`] in front of a service.
#[derive(Debug, Clone)]
pub struct GuardLayer {
    checkpoint: Arc<Checkpoint>,
}

/// What is demanded at one endpoint, and the answers to whoever lacks it, made once.
#[derive(Debug, Clone)]
struct Checkpoint {
    verifier: Arc<dyn TokenVerifier>,
    scopes: ScopeSet,
    no_token: HeaderValue,
    invalid_token: HeaderValue,
    insufficient_scope: HeaderValue,
    resource_metadata: String,
    refused: Option<Arc<RefusedTokens>>,
}

impl GuardLayer {
    /// Demands a token that `verifier` accepts and that has all `scopes`. `resource_metadata` is the
    /// URL of the metadata document (RFC 9728) that a refused client is pointed to.
    ///
    /// # Errors
    /// When `resource_metadata` cannot stand in a header.
    pub fn new(
        verifier: Arc<dyn TokenVerifier>,
        scopes: ScopeSet,
        resource_metadata: &str,
    ) -> Result<Self, http::header::InvalidHeaderValue> {
        audit::show_counters();
        let header = |reason| HeaderValue::try_from(challenge(reason, resource_metadata, &scopes));
        let no_token = header(ChallengeReason::NoToken)?;
        let invalid_token = header(ChallengeReason::InvalidToken)?;
        let insufficient_scope = header(ChallengeReason::InsufficientScope)?;
        let checkpoint = Checkpoint {
            verifier,
            scopes,
            no_token,
            invalid_token,
            insufficient_scope,
            resource_metadata: resource_metadata.to_owned(),
            refused: None,
        };
        Ok(Self { checkpoint: Arc::new(checkpoint) })
    }

    /// Answers 429 to an address that shows too many wrong tokens. Share one between all endpoints.
    #[must_use]
    pub fn limiting(self, refused: Arc<RefusedTokens>) -> Self {
        let checkpoint =
            Checkpoint { refused: Some(refused), ..Arc::unwrap_or_clone(self.checkpoint) };
        Self { checkpoint: Arc::new(checkpoint) }
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner, checkpoint: Arc::clone(&self.checkpoint) }
    }
}

/// A service behind the checkpoint.
#[derive(Clone)]
pub struct Guard<S> {
    inner: S,
    checkpoint: Arc<Checkpoint>,
}

impl<S> fmt::Debug for Guard<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("checkpoint", &self.checkpoint).finish_non_exhaustive()
    }
}

impl<S, B> Service<Request<B>> for Guard<S>
where
    S: Service<Request<B>, Error = Infallible> + Clone + Send + 'static,
    S::Response: IntoResponse,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Passage<S::Future, S::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.checkpoint.admit_at_once(request.headers()) {
            Ok(AtOnce::Admitted(principal)) => {
                let finish = self.checkpoint.finish(&mut request, principal);
                Either::Left(self.inner.call(request).map_ok(finish))
            }
            Ok(AtOnce::Ask(token)) => {
                let checkpoint = Arc::clone(&self.checkpoint);
                // The service that was polled ready is the one to call; its clone waits for the next.
                let next = self.inner.clone();
                let mut inner = std::mem::replace(&mut self.inner, next);
                Either::Right(Box::pin(async move {
                    let address = request.extensions().get().copied();
                    match checkpoint.admit(&token, address).await {
                        Ok(principal) => {
                            let finish = checkpoint.finish(&mut request, principal);
                            inner.call(request).await.map(finish)
                        }
                        Err(refusal) => {
                            Ok(checkpoint.refuse(&checkpoint.counted(refusal, address)))
                        }
                    }
                }))
            }
            Err(refusal) => {
                let refusal = self.checkpoint.counted(refusal, request.extensions().get().copied());
                Either::Right(Box::pin(std::future::ready(Ok(self.checkpoint.refuse(&refusal)))))
            }
        }
    }
}

/// The way to the answer: straight to the service, or by way of a question.
type Passage<F, R> =
    Either<MapOk<F, Finish<R>>, Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>>;

/// What is done with the answer of whoever stands behind the guard.
type Finish<R> = Box<dyn FnOnce(R) -> Response + Send>;

/// What can be said without a wait.
enum AtOnce {
    /// It opens the door.
    Admitted(Arc<Principal>),
    /// Nothing yet.
    Ask(Secret),
}

/// Why somebody is not let in.
#[derive(Debug)]
enum Refusal {
    NoToken,
    MalformedRequest,
    InvalidToken(Reason),
    InsufficientScope(Arc<Principal>),
    TooMany(Duration),
    Unavailable,
}

/// What the log says of a wrong token, where more is known than that it is wrong.
type Reason = Option<Box<dyn std::error::Error + Send + Sync>>;

impl Checkpoint {
    fn admit_at_once(&self, headers: &HeaderMap) -> Result<AtOnce, Refusal> {
        let token = bearer(headers)?;
        match self.verifier.verify_from_memory(&token) {
            Some(principal) => self.require_scopes(principal).map(AtOnce::Admitted),
            None => Ok(AtOnce::Ask(token)),
        }
    }

    /// Whoever stands behind the guard sees the caller and not the token. What they refuse for want of
    /// a scope gets its challenge on the way back.
    fn finish<B, R: IntoResponse>(
        self: &Arc<Self>,
        request: &mut Request<B>,
        principal: Arc<Principal>,
    ) -> Finish<R> {
        request.headers_mut().remove(AUTHORIZATION);
        request.extensions_mut().insert(Arc::clone(&principal));
        let address = request.extensions().get::<ClientAddress>().copied();
        let checkpoint = Arc::clone(self);
        Box::new(move |answer| {
            let mut response = answer.into_response();
            if let Some(MissingScopes(missing)) = response.extensions_mut().remove() {
                checkpoint.challenge(&mut response, &missing, &principal, address);
            }
            response
        })
    }

    fn challenge(
        &self,
        response: &mut Response,
        missing: &ScopeSet,
        principal: &Principal,
        address: Option<ClientAddress>,
    ) {
        let detail = format!("the access token lacks a scope for this: {missing}");
        note_lack(principal, &detail, address);
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(WWW_AUTHENTICATE, self.step_up(principal, missing));
    }

    async fn admit(
        &self,
        token: &Secret,
        address: Option<ClientAddress>,
    ) -> Result<Arc<Principal>, Refusal> {
        if let (Some(refused), Some(address)) = (&self.refused, address)
            && !self.verifier.is_known(token)
            && let Some(wait) = refused.wait_of(address)
        {
            return Err(Refusal::TooMany(wait));
        }
        let principal = self.verifier.verify(token).await.map_err(|reason| match reason {
            VerifyError::Invalid => Refusal::InvalidToken(None),
            VerifyError::Refused(reason) => Refusal::InvalidToken(Some(reason)),
            VerifyError::Unavailable(source) => {
                tracing::error!(
                    error = &*source as &dyn std::error::Error,
                    "tokens cannot be checked"
                );
                Refusal::Unavailable
            }
        })?;
        self.require_scopes(principal)
    }

    fn require_scopes(&self, principal: Arc<Principal>) -> Result<Arc<Principal>, Refusal> {
        if principal.scopes.covers(&self.scopes) {
            Ok(principal)
        } else {
            Err(Refusal::InsufficientScope(principal))
        }
    }

    /// Writes a refused token down, and counts a wrong one, unless nobody knows from where.
    fn counted(&self, refusal: Refusal, address: Option<ClientAddress>) -> Refusal {
        let from = address.map(|ClientAddress(address)| address);
        match &refusal {
            Refusal::InvalidToken(reason) => {
                if let (Some(refused), Some(address)) = (&self.refused, address)
                    && let Err(wait) = refused.count(address)
                {
                    // Said once for each that is counted: a flood does not fill the log.
                    return Refusal::TooMany(wait);
                }
                let detail: &(dyn fmt::Display + Sync) = match reason {
                    Some(reason) => reason,
                    None => &"the access token is not valid here",
                };
                let details = Details { detail: Some(detail), address: from, ..Details::default() };
                audit::note(Event::Refused(Refused::AccessToken), &details);
            }
            Refusal::InsufficientScope(principal) => {
                note_lack(principal, "the access token lacks a scope", address);
            }
            Refusal::NoToken
            | Refusal::MalformedRequest
            | Refusal::TooMany(_)
            | Refusal::Unavailable => {}
        }
        refusal
    }

    /// Every scope that is needed (here, and `beside` for one request) and every one that is there
    /// already: a client that takes the challenge for all it should ask for loses nothing by a step
    /// up.
    fn step_up(&self, principal: &Principal, beside: &ScopeSet) -> HeaderValue {
        if self.scopes.covers(&principal.scopes) && self.scopes.covers(beside) {
            return self.insufficient_scope.clone();
        }
        let here = self.scopes.iter().chain(principal.scopes.iter());
        let all = ScopeSet::of(here.chain(beside.iter()));
        let reason = ChallengeReason::InsufficientScope;
        HeaderValue::try_from(challenge(reason, &self.resource_metadata, &all))
            .unwrap_or_else(|_| self.insufficient_scope.clone())
    }

    fn refuse(&self, refusal: &Refusal) -> Response {
        let (status, challenge, error) = match refusal {
            Refusal::NoToken => (StatusCode::UNAUTHORIZED, Some(self.no_token.clone()), None),
            Refusal::InvalidToken(_) => {
                let error = Some(OAuthErrorCode::InvalidToken);
                (StatusCode::UNAUTHORIZED, Some(self.invalid_token.clone()), error)
            }
            Refusal::InsufficientScope(principal) => {
                let error = Some(OAuthErrorCode::InsufficientScope);
                (StatusCode::FORBIDDEN, Some(self.step_up(principal, &ScopeSet::default())), error)
            }
            Refusal::TooMany(_) => {
                let error = Some(OAuthErrorCode::TemporarilyUnavailable);
                (StatusCode::TOO_MANY_REQUESTS, None, error)
            }
            Refusal::MalformedRequest => {
                (StatusCode::BAD_REQUEST, None, Some(OAuthErrorCode::InvalidRequest))
            }
            Refusal::Unavailable => {
                let error = Some(OAuthErrorCode::TemporarilyUnavailable);
                (StatusCode::SERVICE_UNAVAILABLE, None, error)
            }
        };
        let mut response = Response::new(body(error));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(challenge) = challenge {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        match refusal {
            Refusal::Unavailable => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
            }
            Refusal::TooMany(wait) => {
                // Whole seconds, rounded up: who comes back a moment early is refused again.
                let seconds = wait.as_secs().saturating_add(1);
                headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            Refusal::NoToken
            | Refusal::MalformedRequest
            | Refusal::InvalidToken(_)
            | Refusal::InsufficientScope(_) => {}
        }
        response
    }
}

fn note_lack(principal: &Principal, detail: &str, address: Option<ClientAddress>) {
    let details = Details {
        client: Some(&principal.client_id),
        user: Some(&principal.identity),
        grant: Some(&principal.grant_id),
        detail: Some(&detail),
        address: address.map(|ClientAddress(address)| address),
    };
    audit::note(Event::Refused(Refused::Scope), &details);
}

/// The refusal for people who read it with `curl`; clients go by status and challenge.
fn body(error: Option<OAuthErrorCode>) -> Body {
    match error {
        Some(error) => Body::from(format!("{{\"error\":\"{error}\"}}")),
        None => Body::from(
            "{\"error\":\"unauthorized\",\"error_description\":\"an access token is needed\"}",
        ),
    }
}

/// The token of an `Authorization: Bearer` header (RFC 6750 §2.1; the scheme in any case).
///
/// A second header is a malformed request: two readers might pick different ones. Another scheme
/// is no token; an empty, over-long or unprintable one is an invalid token.
fn bearer(headers: &HeaderMap) -> Result<Secret, Refusal> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let Some(line) = lines.next() else { return Err(Refusal::NoToken) };
    if lines.next().is_some() {
        return Err(Refusal::MalformedRequest);
    }
    let text = line.to_str().map_err(|_| Refusal::InvalidToken(None))?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::NoToken);
    }
    let token = token.trim_matches(' ');
    let is_token = !token.is_empty()
        && token.len() <= TOKEN_BYTES_MAX
        && token.bytes().all(|byte| byte.is_ascii_graphic());
    if is_token { Ok(Secret::new(token)) } else { Err(Refusal::InvalidToken(None)) }
}
