//! The base path of `public_url`: taken off a request's path, so that no route knows of it. A proxy
//! passes paths on as they are.
//!
//! Health is at its place with the path and without: who asks for it is often no client.

use axum::body::Body;
use http::uri::PathAndQuery;
use http::{Request, Uri};
use sekisho_protocol::oauth::Issuer;

use super::slow_stream::SLOW_STREAM_PATH;

/// Answered without the base path, too. The last one is where clients of 2025-03-26 look for the
/// metadata of whatever a host serves; it is only passed on to us if it is meant to be ours.
const ALSO_WITHOUT: [&str; 4] =
    ["/healthz", "/readyz", SLOW_STREAM_PATH, "/.well-known/oauth-authorization-server"];

/// Takes it off, or says that this path is not below it.
pub(super) fn enter(public_url: &Issuer, request: &mut Request<Body>) -> bool {
    let uri = request.uri();
    if public_url.base_path().is_empty() || ALSO_WITHOUT.contains(&uri.path()) {
        return true;
    }
    let Some(inside) = public_url.path_inside(uri.path()) else { return false };
    let target = match uri.query() {
        Some(query) => format!("{inside}?{query}"),
        None => inside.into_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(target).ok();
    match Uri::from_parts(parts) {
        Ok(uri) => {
            *request.uri_mut() = uri;
            true
        }
        Err(_) => false,
    }
}
