//! `GET /.well-known/oauth-protected-resource…` (RFC 9728 §3): where a client learns who gives
//! tokens for a resource.

use axum::Router;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use sekisho_protocol::oauth::{
    Issuer, ProtectedResource, ProtectedResourceMetadata, ProtectedResources, ResourceUri,
};

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// One document per name of each server, at the path form of that name's URL: each says the name it
/// was asked by, as RFC 9728 §3.3 demands. The root form exists only for a server at `/`, whose
/// name the origin is.
pub fn metadata_routes(
    issuer: &Issuer,
    servers: &ProtectedResources,
    authorization_server: &str,
) -> Router {
    let documents = metadata_documents(issuer, servers, authorization_server);
    documents.into_iter().fold(Router::new(), |routes, (place, document)| {
        routes.route(&place, get(answer).with_state(document))
    })
}

/// The documents, each by its path, as they are served.
pub fn metadata_documents(
    issuer: &Issuer,
    servers: &ProtectedResources,
    authorization_server: &str,
) -> Vec<(String, Bytes)> {
    let documents = servers.iter().flat_map(|server| {
        server
            .names()
            .map(move |name| (place(issuer, name), document(server, name, authorization_server)))
    });
    documents.collect()
}

fn place(issuer: &Issuer, name: &ResourceUri) -> String {
    let path = name.as_str().strip_prefix(issuer.as_str()).unwrap_or_default();
    format!("{WELL_KNOWN}{path}")
}

fn document(server: &ProtectedResource, name: &ResourceUri, authorization_server: &str) -> Bytes {
    let metadata = ProtectedResourceMetadata::new(server, name, authorization_server);
    #[expect(clippy::expect_used, reason = "plain strings and arrays always serialise")]
    Bytes::from(serde_json::to_vec(&metadata).expect("metadata serialises"))
}

async fn answer(State(document): State<Bytes>) -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "public, max-age=300")];
    (headers, document).into_response()
}
