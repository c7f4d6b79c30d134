//! The identity provider: its metadata, its clock, what it offers, and whether it takes us for the
//! client that we say we are. Goes the way that logins go, as far as that leads without a person.

use axum::http::StatusCode;
use sekisho::authorization_server::SessionRule;
use sekisho::clock::{Clock, SystemClock};
use sekisho::identity_provider::oidc::OidcProvider;
use sekisho::identity_provider::{IdentityProvider, LoginAttempt, ProviderError};
use sekisho::protocol::Secret;
use sekisho::seal::random_key;
use serde_json::Value;
use std::sync::Arc;
use url::Url;

use super::clock;
use super::finding::Finding;
use super::outside::{Answer, client, exchange, values};
use super::trade;
use crate::config::{Config, OidcConfig, ProviderConfig, ProviderKind};
use crate::providers;
use crate::telemetry::chain;

const ABOUT: &str = "identity provider";

pub(super) async fn examine(config: &Config, one: &ProviderConfig) -> Vec<Finding> {
    match &one.kind {
        ProviderKind::Local => Vec::new(),
        ProviderKind::Oidc(oidc) => examine_openid(config, one, oidc).await,
        ProviderKind::GitHub(github) => {
            let clock = Arc::new(SystemClock) as Arc<dyn Clock>;
            match providers::github(config, one, github, &clock) {
                Ok(provider) => vec![credentials(&provider, true, &attempt()).await],
                Err(failure) => vec![Finding::told(ABOUT, failure.to_string())],
            }
        }
    }
}

async fn examine_openid(config: &Config, one: &ProviderConfig, oidc: &OidcConfig) -> Vec<Finding> {
    let issuer = oidc.issuer.strip_suffix('/').unwrap_or(&oidc.issuer);
    let (http, provider) = match (
        client(issuer),
        providers::openid(config, one, oidc, &(Arc::new(SystemClock) as Arc<dyn Clock>)),
    ) {
        (Ok(http), Ok(provider)) => (http, provider),
        (Err(error), _) => return vec![Finding::told(ABOUT, chain(&error))],
        (_, Err(failure)) => return vec![Finding::told(ABOUT, failure.to_string())],
    };
    let metadata = format!("{issuer}/.well-known/openid-configuration");
    let answer = match exchange(http.get(&metadata)).await {
        Ok(answer) => answer,
        Err(unanswered) => {
            let what = format!("{} {}", oidc.issuer, unanswered.what());
            return vec![Finding::problem(ABOUT, what, unanswered.fix())];
        }
    };
    if let Err(error) = provider.check().await {
        let fix = "set identity.issuer to what the provider calls itself in its discovery document";
        let mut found = vec![Finding::problem(ABOUT, chain(&error), fix)];
        found.extend(clock::compare(ABOUT, &answer.headers));
        return found;
    }
    let mut found =
        vec![Finding::ok(ABOUT, format!("{} is there, and says the same issuer", oidc.issuer))];
    found.extend(clock::compare(ABOUT, &answer.headers));
    found.extend(offline_access(one, &answer));
    let (attempt, ours) = (attempt(), providers::callback(config, one));
    let (known, redirected, traded) = tokio::join!(
        credentials(&provider, oidc.client_secret.is_some(), &attempt),
        redirect_uri(&ours, &provider, &http, &attempt),
        trade::examine(config, oidc, &http, &answer)
    );
    found.extend([known, redirected]);
    found.extend(traded);
    found
}

/// What a login would have; the verifier is 64 hex digits, as any of ours.
fn attempt() -> LoginAttempt {
    let random = || {
        let digits: Vec<_> = random_key().iter().map(|byte| format!("{byte:02x}")).collect();
        Secret::new(digits.concat())
    };
    LoginAttempt { login_state: random(), nonce: random(), code_verifier: random() }
}

/// Grants follow the provider's session by a refresh token that outlives the browser's.
fn offline_access(one: &ProviderConfig, answer: &Answer) -> Option<Finding> {
    let SessionRule::Follow { .. } = one.session else { return None };
    // Others have another way than that scope, and it is known.
    if is_asked_otherwise(one) {
        return None;
    }
    let document: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let offered = document.get("scopes_supported").and_then(Value::as_array)?;
    let is_offered = offered.iter().any(|scope| scope == "offline_access");
    (!is_offered).then(|| {
        Finding::warning(
            ABOUT,
            "it does not offer offline_access: grants end with the session of the browser there",
            "offer that scope to our client at the provider, or set identity.session to \"login-only\"",
        )
    })
}

fn is_asked_otherwise(one: &ProviderConfig) -> bool {
    match &one.kind {
        ProviderKind::Oidc(oidc) => !oidc.quirks.offline_parameters.is_empty(),
        ProviderKind::Local | ProviderKind::GitHub(_) => true,
    }
}

/// Trades a code that nobody was given: whoever says that it is wrong has accepted us first.
async fn credentials(
    provider: &dyn IdentityProvider,
    has_secret: bool,
    attempt: &LoginAttempt,
) -> Finding {
    let no_code = Secret::new("sekisho-doctor-asks-with-a-code-that-is-none");
    let what = if has_secret { "client_id and client_secret" } else { "client_id" };
    match provider.redeem(&no_code, attempt).await {
        Err(ProviderError::Refused { .. }) => Finding::ok(ABOUT, format!("it knows our {what}")),
        Err(ProviderError::Unacceptable { reason }) => Finding::problem(
            ABOUT,
            format!("it does not take our {what} ({reason})"),
            format!(
                "copy {what} anew from the client's page there (Keycloak: Clients, Credentials)"
            ),
        ),
        Err(error @ ProviderError::Unavailable(_)) => {
            Finding::problem(ABOUT, chain(&error), "look at the log of the provider")
        }
        Ok(_) => Finding::problem(
            ABOUT,
            "it gave tokens for a code that it never gave out",
            "use another provider: this one lets everybody in",
        ),
    }
}

/// Asks for a login that must not show a page (`OpenID` Connect Core §3.1.2.1): the refusal comes to
/// our redirect URI if that is registered, and else to nobody.
async fn redirect_uri(
    ours: &str,
    provider: &OidcProvider,
    http: &reqwest::Client,
    attempt: &LoginAttempt,
) -> Finding {
    let register = format!("register {ours} for our client there (Keycloak: Valid redirect URIs)");
    let asked = match provider.authorization_url(attempt).await {
        Ok(url) => format!("{url}&prompt=none"),
        Err(error) => return Finding::told(ABOUT, chain(&error)),
    };
    let answer = match exchange(http.get(asked)).await {
        Ok(answer) => answer,
        Err(unanswered) => {
            let what = format!("its login page {}", unanswered.what());
            return Finding::problem(ABOUT, what, unanswered.fix());
        }
    };
    let location = values(&answer.headers, "location").first().map(|text| (*text).to_owned());
    match location.filter(|to| answer.status.is_redirection() && to.starts_with(ours)) {
        Some(to) => sent_back(&to, ours),
        None if answer.status == StatusCode::BAD_REQUEST => {
            let page = String::from_utf8_lossy(&answer.body);
            let what = if page.contains("redirect_uri") {
                format!("it does not know our redirect URI {ours}")
            } else {
                "it refuses to begin a login (400)".to_owned()
            };
            Finding::problem(ABOUT, what, register)
        }
        None if answer.status.is_client_error() || answer.status.is_server_error() => {
            Finding::problem(
                ABOUT,
                format!("it answers {} to the beginning of a login", answer.status),
                register,
            )
        }
        None => Finding::warning(
            ABOUT,
            "whether it knows our redirect URI cannot be told: it shows a page of its own",
            format!("log in once; if that fails there, {register}"),
        ),
    }
}

fn sent_back(location: &str, ours: &str) -> Finding {
    let error = Url::parse(location).ok().and_then(|url| {
        url.query_pairs().find(|(name, _)| name == "error").map(|(_, value)| value.into_owned())
    });
    match error.as_deref() {
        // Core §3.1.2.6: it would have to show a page.
        None
        | Some(
            "login_required"
            | "interaction_required"
            | "consent_required"
            | "account_selection_required",
        ) => Finding::ok(ABOUT, format!("it knows our redirect URI {ours}")),
        Some("invalid_scope") => Finding::problem(
            ABOUT,
            "it refuses the scopes that logins ask for (invalid_scope)",
            "assign identity.scopes, and offline_access if it is offered, to our client there",
        ),
        Some(other) => Finding::problem(
            ABOUT,
            format!("it refuses to begin a login ({other})"),
            "let our client use the code flow there (Keycloak: Standard flow)",
        ),
    }
}
