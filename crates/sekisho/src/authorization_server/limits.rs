//! How much one address may ask of the public endpoints, before anything else is looked at.
//!
//! A limit is a burst and then a steady rate. It counts by address alone, so nobody is locked out by
//! what somebody else does elsewhere: neither an account nor a client is ever closed for failures. The
//! answer is 429 with `Retry-After`. The request then runs with its address known to the audit trail.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::clients::caller;
use super::refusal::{Refusal, Visitor};
use super::{AuthorizationServer, flows};
use crate::audit;

/// For what a browser is sent to.
pub(super) async fn pages(
    State(server): State<Arc<AuthorizationServer>>,
    request: Request,
    next: Next,
) -> Response {
    if let Err(wait) = server.pages.count_caller(request.extensions()) {
        return Visitor::of(request.headers(), request.extensions()).too_many(wait);
    }
    noted(&server, request, next).await
}

/// For what a client calls itself.
pub(super) async fn calls(
    State(server): State<Arc<AuthorizationServer>>,
    request: Request,
    next: Next,
) -> Response {
    if let Err(wait) = server.calls.count_caller(request.extensions()) {
        return Refusal::TooMany(wait).into_response();
    }
    noted(&server, request, next).await
}

/// Runs the request with its address known to the audit trail, and its steps kept.
async fn noted(server: &AuthorizationServer, request: Request, next: Next) -> Response {
    let extensions = request.extensions().clone();
    let address = caller(&extensions);
    let answered = audit::within(address, next.run(request));
    flows::within(&server.flows, &extensions, address, answered).await
}
