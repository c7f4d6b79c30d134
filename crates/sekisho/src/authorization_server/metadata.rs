//! `GET /.well-known/oauth-authorization-server` (RFC 8414): what this server is and can do.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use sekisho_protocol::oauth::{
    AuthorizationServerMetadata, ClientMetadataDocuments, RegistrationEndpoint,
};

use super::{AuthorizationServer, Documents, Registration, Settings};

const WELL_KNOWN: &str = "/.well-known/oauth-authorization-server";

/// The document at the origin's root, where every revision looks, and once more below each MCP
/// endpoint, since some clients take the MCP URL for the issuer: each by its path, as it is served.
pub fn metadata_documents(settings: &Settings) -> Vec<(String, Bytes)> {
    let registration = match settings.registration {
        Registration::Open | Registration::Token(_) => RegistrationEndpoint::Advertised,
        Registration::Off => RegistrationEndpoint::Absent,
    };
    let documents = match settings.documents {
        Documents::On { .. } => ClientMetadataDocuments::Supported,
        Documents::Off => ClientMetadataDocuments::Absent,
    };
    let Settings { issuer, servers, .. } = settings;
    let metadata = AuthorizationServerMetadata::new(issuer, servers, registration, documents);
    let metadata =
        if settings.id_jag_issuers.is_empty() { metadata } else { metadata.taking_id_jags() };
    let metadata = if settings.publishes_keys { metadata.publishing_keys() } else { metadata };
    #[expect(clippy::expect_used, reason = "plain strings and arrays always serialise")]
    let document = Bytes::from(serde_json::to_vec(&metadata).expect("metadata serialises"));
    let below = settings
        .servers
        .iter()
        .flat_map(|server| ["mcp", "sse"].map(|endpoint| format!("{}{endpoint}", server.path)));
    std::iter::once(WELL_KNOWN.to_owned())
        .chain(below.map(|path| format!("{WELL_KNOWN}{path}")))
        .map(|place| (place, document.clone()))
        .collect()
}

/// Serves them. The text is made once.
pub(super) fn routes(settings: &Settings) -> Router<Arc<AuthorizationServer>> {
    metadata_documents(settings).into_iter().fold(Router::new(), |routes, (place, document)| {
        routes.route(&place, get(answer).with_state(document))
    })
}

async fn answer(State(document): State<Bytes>) -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "public, max-age=300")];
    (headers, document).into_response()
}
