//! The base path of `public_url`: taken off a request's path, so that no route knows of it. A proxy
//! passes paths on as they are.
//!
//! Health is at its place with the path and without: who asks for it is often no client.

use std::borrow::Cow;

use axum::body::Body;
use http::uri::PathAndQuery;
use http::{Request, Uri};
use sekisho_protocol::oauth::Issuer;

use super::slow_stream::SLOW_STREAM_PATH;

/// Answered without the base path, too. The last one is where clients of 2025-03-26 look for the
/// metadata of whatever a host serves; it is only passed on to us if it is meant to be ours.
const ALSO_WITHOUT: [&str; 4] =
    ["/healthz", "/readyz", SLOW_STREAM_PATH, "/.well-known/oauth-authorization-server"];

/// The path of the route that is meant, if it is below the base path.
pub(super) fn inside<'a>(public_url: &Issuer, path: &'a str) -> Option<Cow<'a, str>> {
    if ALSO_WITHOUT.contains(&path) { Some(path.into()) } else { public_url.path_inside(path) }
}

/// Takes it off, or says that this path is not below it.
pub(super) fn enter(public_url: &Issuer, request: &mut Request<Body>) -> bool {
    let uri = request.uri();
    let target = match (inside(public_url, uri.path()), uri.query()) {
        (None, _) => return false,
        // Nothing to take off.
        (Some(Cow::Borrowed(path)), _) if path == uri.path() => return true,
        (Some(path), Some(query)) => format!("{path}?{query}"),
        (Some(path), None) => path.into_owned(),
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
