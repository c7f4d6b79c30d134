//! How much one address may ask of the public endpoints, before anything else is looked at.
//!
//! A limit is a burst and then a steady rate. It counts by address alone, so nobody is locked out by
//! what somebody else does elsewhere: neither an account nor a client is ever closed for failures. The
//! answer is 429 with `Retry-After`. The request then runs with its address known to the audit trail.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::AuthorizationServer;
use super::refusal::{Refusal, Visitor};
use crate::audit;
use crate::front::ClientAddress;

/// For what a browser is sent to.
pub(super) async fn pages(
    State(server): State<Arc<AuthorizationServer>>,
    request: Request,
    next: Next,
) -> Response {
    let address = request.extensions().get().map(|ClientAddress(address)| *address);
    if let Some(Err(wait)) = address.map(|address| server.pages.count(address)) {
        return Visitor::of(request.headers(), request.extensions()).too_many(wait);
    }
    audit::within(address, next.run(request)).await
}

/// For what a client calls itself.
pub(super) async fn calls(
    State(server): State<Arc<AuthorizationServer>>,
    request: Request,
    next: Next,
) -> Response {
    let address = request.extensions().get().map(|ClientAddress(address)| *address);
    if let Some(Err(wait)) = address.map(|address| server.calls.count(address)) {
        return Refusal::TooMany(wait).into_response();
    }
    audit::within(address, next.run(request)).await
}
