//! The provider's metadata (`OpenID` Connect Discovery §4, RFC 8414 §3.3): believed only if it
//! names exactly the configured issuer and nothing in it leaves TLS.

use serde::Deserialize;
use url::Url;

use crate::jwks::SIGNING_ALGORITHMS;
use crate::trusted::{
    Answer, ClientAuthentication, Fault, authentication_by_secret, endpoint, quoted,
};

/// What we need to know of a provider.
#[derive(Debug)]
pub(super) struct ProviderMetadata {
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: Url,
    pub(super) jwks_uri: Url,
    pub(super) client_authentication: ClientAuthentication,
    /// Whether every answer names the provider (RFC 9207 §3).
    pub(super) sends_iss: bool,
    /// Whether it gives refresh tokens that outlive the browser's session, for the asking.
    pub(super) offers_offline_access: bool,
    /// Where a browser logs out, if there is such a place.
    pub(super) end_session_endpoint: Option<Url>,
    /// Where tokens are given back (RFC 7009), if there is such a place.
    pub(super) revocation_endpoint: Option<Url>,
    /// Where more is said of a person (Core §5.3), if there is such a place.
    pub(super) userinfo_endpoint: Option<Url>,
}

/// The members we read; all others are none of our business.
#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    id_token_signing_alg_values_supported: Option<Vec<String>>,
    scopes_supported: Option<Vec<String>>,
    end_session_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    userinfo_endpoint: Option<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// The scope for refresh tokens that outlive the browser's session (Core §11).
pub(super) const OFFLINE_ACCESS: &str = "offline_access";

/// Where the metadata of an issuer is (Discovery §4.1: a final slash is dropped first).
pub(super) fn metadata_url(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer))
}

impl ProviderMetadata {
    /// Reads the answer to a request for the metadata of `issuer`.
    pub(super) fn read(answer: &Answer, issuer: &str, has_secret: bool) -> Result<Self, Fault> {
        let refused = |reason: String| {
            Fault::Unacceptable(format!("metadata at {}: {reason}", metadata_url(issuer)))
        };
        if answer.status != http::StatusCode::OK {
            let status = answer.status;
            return Err(refused(format!("answered {status}: check the issuer")));
        }
        let document: Document = serde_json::from_slice(&answer.body)
            .map_err(|_| refused("it is not an OpenID metadata document".into()))?;
        Self::check(&document, issuer, has_secret).map_err(refused)
    }

    fn check(document: &Document, issuer: &str, has_secret: bool) -> Result<Self, String> {
        if document.issuer != issuer {
            return Err(format!(
                "it is for issuer {}, not {issuer:?}: write the issuer exactly as the provider does",
                quoted(&document.issuer)
            ));
        }
        check_algorithms(document.id_token_signing_alg_values_supported.as_deref())?;
        let methods = document.token_endpoint_auth_methods_supported.as_deref();
        Ok(Self {
            authorization_endpoint: endpoint(
                "authorization_endpoint",
                &document.authorization_endpoint,
                issuer,
            )?,
            token_endpoint: endpoint("token_endpoint", &document.token_endpoint, issuer)?,
            jwks_uri: endpoint("jwks_uri", &document.jwks_uri, issuer)?,
            client_authentication: client_authentication(methods, has_secret)?,
            sends_iss: document.authorization_response_iss_parameter_supported,
            offers_offline_access: document
                .scopes_supported
                .as_ref()
                .is_some_and(|scopes| scopes.iter().any(|scope| scope == OFFLINE_ACCESS)),
            // Nobody needs these to log in, so a wrong one is only as good as none.
            end_session_endpoint: document
                .end_session_endpoint
                .as_ref()
                .and_then(|text| endpoint("end_session_endpoint", text, issuer).ok()),
            revocation_endpoint: document
                .revocation_endpoint
                .as_ref()
                .and_then(|text| endpoint("revocation_endpoint", text, issuer).ok()),
            userinfo_endpoint: document
                .userinfo_endpoint
                .as_ref()
                .and_then(|text| endpoint("userinfo_endpoint", text, issuer).ok()),
        })
    }
}

fn check_algorithms(offered: Option<&[String]>) -> Result<(), String> {
    let is_known =
        |offered: &String| SIGNING_ALGORITHMS.iter().any(|known| format!("{known:?}") == *offered);
    match offered {
        Some(offered) if !offered.iter().any(is_known) => {
            Err("it signs ID tokens with no algorithm we accept: switch on RS256 or ES256".into())
        }
        Some(_) | None => Ok(()),
    }
}

fn client_authentication(
    offered: Option<&[String]>,
    has_secret: bool,
) -> Result<ClientAuthentication, String> {
    if has_secret { authentication_by_secret(offered) } else { Ok(ClientAuthentication::Public) }
}
