//! `--token`: an access token of another authorization server, held against each guarded server, so
//! that the mapper, audience or scope that is missing has a name. Says claims, never the token.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sekisho::clock::{Clock, Timestamp};
use sekisho::protocol::Secret;
use sekisho::protocol::oauth::ProtectedResource;
use sekisho::resource_server::VerifyError;
use serde_json::Value;

use super::finding::Finding;
use crate::config::{Config, ExternalConfig};
use crate::issuing::Verifiers;
use crate::telemetry::chain;

/// Whose tokens are ours has nothing to decode.
pub(super) fn of_our_own(token: Option<&Secret>) -> Vec<Finding> {
    let told = token.map(|_| {
        Finding::problem(
            "token",
            "tokens are issued here and say nothing by themselves: there is nothing to decode",
            "leave --token out; it is for authorization.mode = \"external\"",
        )
    });
    told.into_iter().collect()
}

pub(super) async fn examine(
    config: &Config,
    other: &ExternalConfig,
    verifiers: &Verifiers,
    token: &Secret,
    clock: &Arc<dyn Clock>,
) -> Vec<Finding> {
    let claims = claims(token);
    let mut found = Vec::new();
    for server in &config.servers {
        let resource = &server.resource;
        let about = format!("token at {}", resource.name);
        match verifiers.of(resource, clock).verify(token).await {
            Ok(principal) => {
                let lacks =
                    resource.scopes.iter().filter(|scope| !principal.scopes.contains(scope));
                let lacks: Vec<_> = lacks.collect();
                found.push(if lacks.is_empty() {
                    Finding::ok(
                        about,
                        format!(
                            "it opens the door for client {:?} with {} until {}",
                            principal.client_id.as_str(),
                            principal.scopes,
                            principal.expires_at
                        ),
                    )
                } else {
                    without_scopes(about, &lacks)
                });
            }
            Err(VerifyError::Unavailable(error)) => found.push(Finding::warning(
                about,
                format!("it cannot be checked ({})", chain(error.as_ref())),
                "repair what is said of the authorization server first",
            )),
            Err(refused @ (VerifyError::Refused(_) | VerifyError::Invalid)) => {
                let flaws =
                    claims.as_ref().map(|claims| flaws(claims, other, resource, clock.now()));
                let flaws = flaws.unwrap_or_default();
                if flaws.is_empty() {
                    let fix =
                        "ask the authorization server for a new access token for this resource";
                    found.push(Finding::problem(about.as_str(), chain(&refused), fix));
                }
                found.extend(flaws.into_iter().map(|flaw| match flaw {
                    Flaw::Claim(what, fix) => Finding::problem(about.as_str(), what, fix),
                    Flaw::Scopes(lacks) => without_scopes(about.clone(), &lacks),
                }));
            }
        }
    }
    found
}

/// The claims of a JWT, unverified; nothing for a token that is none.
fn claims(token: &Secret) -> Option<Value> {
    let payload = token.reveal().split('.').nth(1)?;
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice(&payload).ok().filter(Value::is_object)
}

enum Flaw<'a> {
    Claim(String, String),
    Scopes(Vec<&'a str>),
}

/// Everything that the claims lack. Whether they are the server's is not asked here.
fn flaws<'a>(
    claims: &Value,
    other: &ExternalConfig,
    resource: &'a ProtectedResource,
    now: Timestamp,
) -> Vec<Flaw<'a>> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let mut found = Vec::new();
    if text("iss") != Some(other.issuer.as_str()) {
        found.push(Flaw::Claim(
            format!(
                "iss is {}, and authorization.issuer {:?}",
                shown(claims.get("iss")),
                other.issuer
            ),
            "set authorization.issuer to it, or ask that server for a token".to_owned(),
        ));
    }
    if !is_for(claims, other, resource) {
        let wanted = other.audience.first().map_or(resource.resource.as_str(), String::as_str);
        found.push(Flaw::Claim(
            format!("aud is {}, and does not name {wanted}", shown(claims.get("aud"))),
            format!(
                "have the authorization server put {wanted} into aud (Keycloak: an audience mapper, \
                 which `sekisho keycloak bootstrap --apply` makes)"
            ),
        ));
    }
    let ends_at = claims.get("exp").and_then(Value::as_i64).map(Timestamp::from_unix_seconds);
    if ends_at.is_none_or(|ends_at| ends_at.is_over(now)) {
        let when = ends_at.map_or("no time".to_owned(), |ends_at| ends_at.to_string());
        found.push(Flaw::Claim(
            format!("exp is {when}, and it is {now}"),
            "ask for a new token; compare the clocks if this one is new".to_owned(),
        ));
    }
    if text("client_id").or_else(|| text("azp")).is_none() {
        found.push(Flaw::Claim(
            "neither client_id nor azp names the client".to_owned(),
            "have the authorization server put azp into access tokens (Keycloak does by itself)"
                .to_owned(),
        ));
    }
    if text("typ").is_some_and(|typ| !typ.eq_ignore_ascii_case("Bearer"))
        || claims.get("nonce").is_some()
    {
        found.push(Flaw::Claim(
            format!("it is no access token (typ {})", shown(claims.get("typ"))),
            "give the client's access_token, not its id_token or refresh_token".to_owned(),
        ));
    }
    let lacks: Vec<_> = resource.scopes.iter().filter(|scope| !has_scope(claims, scope)).collect();
    if !lacks.is_empty() {
        found.push(Flaw::Scopes(lacks));
    }
    found
}

fn is_for(claims: &Value, other: &ExternalConfig, resource: &ProtectedResource) -> bool {
    let is_ours = |audience: &str| match other.audience.as_slice() {
        [] => resource.is_named_by(audience),
        words => words.iter().any(|word| word == audience),
    };
    match claims.get("aud") {
        Some(Value::String(one)) => is_ours(one),
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).any(is_ours),
        _ => false,
    }
}

fn has_scope(claims: &Value, wanted: &str) -> bool {
    let in_text = |text: &str| text.split(' ').any(|scope| scope == wanted);
    match claims.get("scope").or_else(|| claims.get("scp")) {
        Some(Value::String(text)) => in_text(text),
        Some(Value::Array(list)) => list.iter().any(|scope| scope == wanted),
        _ => false,
    }
}

fn without_scopes(about: String, lacks: &[&str]) -> Finding {
    let lacks = lacks.join(" ");
    Finding::problem(
        about,
        format!("scope lacks {lacks}"),
        format!(
            "make {lacks} a scope of the authorization server that this client may have, and let it \
             ask for it (Keycloak: a client scope, which `sekisho keycloak bootstrap --apply` makes)"
        ),
    )
}

fn shown(claim: Option<&Value>) -> String {
    const SHOWN_CHARS_MAX: usize = 200;
    claim.map_or("absent".to_owned(), |claim| {
        claim.to_string().chars().take(SHOWN_CHARS_MAX).collect()
    })
}
