//! Whether the identity provider trades tokens for servers behind us (`token-exchange`, RFC 8693): what
//! its metadata says, and what it answers to a token that is none. Whoever finds fault with the token
//! has let us ask.

use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::finding::Finding;
use super::outside::{Answer, exchange};
use crate::config::{Config, OidcConfig, TokenKind, Upstream};

const ABOUT: &str = "identity provider";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

const FIX: &str =
    "let our client trade tokens there (Keycloak from 26.2 on: Standard token exchange)";

/// Nothing where no server wants it.
pub(super) async fn examine(
    config: &Config,
    oidc: &OidcConfig,
    http: &reqwest::Client,
    metadata: &Answer,
) -> Option<Finding> {
    if !config.every_server().any(|server| is_traded_for(&server.upstream)) {
        return None;
    }
    let document: Value = serde_json::from_slice(&metadata.body).unwrap_or_default();
    let offered = document.get("grant_types_supported").and_then(Value::as_array);
    if offered.is_some_and(|grants| !grants.iter().any(|grant| grant == GRANT)) {
        return Some(Finding::problem(ABOUT, "it trades no tokens", FIX));
    }
    let place = document.get("token_endpoint").and_then(Value::as_str)?;
    let place = Url::parse(place).ok()?;
    // It was held against the issuer when its metadata was accepted; our secret goes there in any case.
    let form = [
        ("grant_type", GRANT),
        ("client_id", oidc.client_id.as_str()),
        ("client_secret", oidc.client_secret.as_ref().map_or("", |secret| secret.reveal())),
        ("subject_token", "sekisho-doctor-asks-with-a-token-that-is-none"),
        ("subject_token_type", ACCESS_TOKEN),
        ("requested_token_type", ACCESS_TOKEN),
    ];
    Some(match exchange(http.post(place).form(&form)).await {
        Ok(answer) => judged(&answer),
        Err(unanswered) => {
            let what = format!("its token endpoint {}", unanswered.what());
            Finding::problem(ABOUT, what, unanswered.fix())
        }
    })
}

fn is_traded_for(upstream: &Upstream) -> bool {
    let Upstream::Guarded { introduced, .. } = upstream else { return false };
    introduced.token.as_ref().is_some_and(|wish| matches!(wish.kind, TokenKind::Exchanged(_)))
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
    #[serde(default)]
    error_description: String,
}

fn judged(answer: &Answer) -> Finding {
    let refusal: Option<Refusal> = serde_json::from_slice(&answer.body).ok();
    let error = refusal.as_ref().map_or("", |refusal| refusal.error.as_str());
    // Keycloak's words: its error is the same for a token that is none.
    let is_off = refusal.as_ref().is_some_and(|it| it.error_description.contains("not enabled"));
    match error {
        _ if is_off => Finding::problem(ABOUT, "it does not trade tokens for our client", FIX),
        "invalid_request" | "invalid_grant" | "invalid_token" | "invalid_target" => Finding::ok(
            ABOUT,
            "it trades tokens for our client, as far as that shows without a person",
        ),
        "unauthorized_client" | "unsupported_grant_type" | "access_denied" => {
            Finding::problem(ABOUT, format!("it does not trade tokens ({error})"), FIX)
        }
        _ => Finding::warning(
            ABOUT,
            format!("whether it trades tokens cannot be told: it answers {}", answer.status),
            format!("log in and call the server; if that fails, {FIX}"),
        ),
    }
}
