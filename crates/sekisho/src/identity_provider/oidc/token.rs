//! The exchange of the provider's code for its tokens (`OpenID` Connect Core §3.1.3), and of a
//! refresh token for new ones (§12), and of an access token for one that somebody else takes (RFC 8693);
//! and giving a refresh token back (RFC 7009).

use sekisho_protocol::Secret;
use serde::Deserialize;
use url::Url;

use super::super::{ExchangeWish, LoginAttempt, ProviderToken, ProviderTokens};
use super::OidcSettings;
use super::discovery::{OFFLINE_ACCESS, ProviderMetadata};
use crate::clock::Timestamp;
use crate::trusted::{Answer, ClientAuthentication, Endpoint, Fault, Wire};

/// RFC 8693 §3.
const ACCESS_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";
/// What an operator does who reads that a trade was refused.
const EXCHANGE_REMEDY: &str = ": let our client trade tokens at the provider, and for \
                               upstream.identity.audience and scopes";

/// Longest that a token of the provider is believed to live.
const EXPIRES_IN_SECONDS_MAX: u64 = 10 * 365 * 24 * 60 * 60;

/// The provider's tokens, the ID token not yet checked.
#[derive(Debug)]
pub(super) struct Tokens {
    id_token: Option<Secret>,
    access_token: Secret,
    refresh_token: Option<Secret>,
    expires_in: Option<u64>,
    scope: Option<String>,
}

#[derive(Deserialize)]
struct Success {
    access_token: String,
    token_type: String,
    id_token: Option<String>,
    refresh_token: Option<String>,
    expires_in: Option<u64>,
    scope: Option<String>,
}

#[derive(Deserialize)]
struct Failure {
    error: String,
}

/// Trades the code. The secret goes the way the provider wants it, and nowhere else.
pub(super) async fn trade(
    wire: &Wire,
    settings: &OidcSettings,
    metadata: &ProviderMetadata,
    code: &Secret,
    attempt: &LoginAttempt,
) -> Result<Tokens, Fault> {
    let form = vec![
        ("grant_type", "authorization_code"),
        ("code", code.reveal()),
        ("redirect_uri", settings.redirect_uri.as_str()),
        ("code_verifier", attempt.code_verifier.reveal()),
    ];
    ask(wire, settings, metadata, form).await
}

/// Trades a refresh token, which its answer may have used up.
pub(super) async fn renew(
    wire: &Wire,
    settings: &OidcSettings,
    metadata: &ProviderMetadata,
    refresh_token: &Secret,
) -> Result<Tokens, Fault> {
    let form = vec![("grant_type", "refresh_token"), ("refresh_token", refresh_token.reveal())];
    let place = (Endpoint::Token, &metadata.token_endpoint);
    let answer = post(wire, settings, metadata, place, form).await?;
    match said(&answer) {
        Some(word) if settings.quirks.says_of_over.contains(&word.as_str()) => {
            Err(Fault::Refused(format!("its token endpoint says {word}, of what is over")))
        }
        Some(_) | None => Tokens::read(&answer),
    }
}

/// Trades an access token for one that somebody else takes.
pub(super) async fn exchange(
    wire: &Wire,
    settings: &OidcSettings,
    metadata: &ProviderMetadata,
    access_token: &Secret,
    wish: &ExchangeWish,
    now: Timestamp,
) -> Result<ProviderToken, Fault> {
    let scopes = wish.scopes.join(" ");
    let mut form = vec![
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", access_token.reveal()),
        ("subject_token_type", ACCESS_TOKEN_TYPE),
        ("requested_token_type", ACCESS_TOKEN_TYPE),
    ];
    form.extend(wish.audience.iter().map(|audience| ("audience", audience.as_str())));
    if !scopes.is_empty() {
        form.push(("scope", &scopes));
    }
    let place = (Endpoint::Token, &metadata.token_endpoint);
    let answer = post(wire, settings, metadata, place, form).await?;
    let tokens = Tokens::read(&answer).map_err(|fault| match fault {
        Fault::Unacceptable(reason) => Fault::Unacceptable(format!("{reason}{EXCHANGE_REMEDY}")),
        Fault::Unreachable { .. }
        | Fault::Outage { .. }
        | Fault::TooSlow(_)
        | Fault::Refused(_) => fault,
    })?;
    let ProviderTokens { access_token, expires_at, .. } = tokens.kept(now, false);
    Ok(ProviderToken { token: access_token, ends_at: expires_at })
}

/// Gives a refresh token back. A provider without a place for that is not told.
pub(super) async fn revoke(
    wire: &Wire,
    settings: &OidcSettings,
    metadata: &ProviderMetadata,
    refresh_token: &Secret,
) -> Result<(), Fault> {
    let Some(url) = &metadata.revocation_endpoint else { return Ok(()) };
    let form = vec![("token", refresh_token.reveal()), ("token_type_hint", "refresh_token")];
    let answer = post(wire, settings, metadata, (Endpoint::Revocation, url), form).await?;
    if answer.status == http::StatusCode::OK {
        return Ok(());
    }
    Err(Fault::Unacceptable(format!("{} answered {}", Endpoint::Revocation, answer.status)))
}

async fn ask<'a>(
    wire: &Wire,
    settings: &'a OidcSettings,
    metadata: &ProviderMetadata,
    form: Vec<(&'a str, &'a str)>,
) -> Result<Tokens, Fault> {
    let place = (Endpoint::Token, &metadata.token_endpoint);
    Tokens::read(&post(wire, settings, metadata, place, form).await?)
}

/// Posts a form as the client that we are there.
async fn post<'a>(
    wire: &Wire,
    settings: &'a OidcSettings,
    metadata: &ProviderMetadata,
    (endpoint, url): (Endpoint, &Url),
    mut form: Vec<(&'a str, &'a str)>,
) -> Result<Answer, Fault> {
    let id = settings.client_id.as_str();
    let secret = settings.client_secret.as_ref().map_or("", Secret::reveal);
    let credentials = match metadata.client_authentication {
        ClientAuthentication::Basic => Some((id, secret)),
        ClientAuthentication::Post => {
            form.extend([("client_id", id), ("client_secret", secret)]);
            None
        }
        ClientAuthentication::Public => {
            form.push(("client_id", id));
            None
        }
    };
    wire.post(endpoint, url.clone(), &form, credentials).await
}

impl Tokens {
    fn read(answer: &Answer) -> Result<Self, Fault> {
        if answer.status != http::StatusCode::OK {
            return Err(refusal(answer));
        }
        let unusable =
            |what: &str| Fault::Unacceptable(format!("{}'s answer {what}", Endpoint::Token));
        let success: Success = serde_json::from_slice(&answer.body)
            .map_err(|_| unusable("is not what OpenID Connect Core §3.1.3.3 describes"))?;
        if !success.token_type.eq_ignore_ascii_case("Bearer") || success.access_token.is_empty() {
            return Err(unusable("has no bearer token"));
        }
        Ok(Self {
            id_token: success.id_token.map(Secret::new),
            access_token: Secret::new(success.access_token),
            refresh_token: success.refresh_token.map(Secret::new),
            expires_in: success.expires_in,
            scope: success.scope,
        })
    }

    /// The ID token, which a login has to have.
    pub(super) fn id_token(&self) -> Result<&Secret, Fault> {
        self.id_token.as_ref().ok_or_else(|| {
            Fault::Unacceptable(format!("{}'s answer has no ID token", Endpoint::Token))
        })
    }

    /// What is kept, once the ID token was checked. Whoever says nothing of scopes gave those that
    /// were asked for (RFC 6749 §5.1).
    pub(super) fn kept(self, now: Timestamp, has_asked_offline: bool) -> ProviderTokens {
        let is_offline = self.scope.as_deref().map_or(has_asked_offline, |scope| {
            scope.split(' ').any(|scope| scope == OFFLINE_ACCESS)
        });
        let lifetime =
            |seconds: u64| std::time::Duration::from_secs(seconds.min(EXPIRES_IN_SECONDS_MAX));
        ProviderTokens {
            access_token: self.access_token,
            refresh_token: self.refresh_token,
            id_token: self.id_token,
            expires_at: self.expires_in.map(|seconds| now.plus(lifetime(seconds))),
            is_offline,
        }
    }
}

/// The word by which an answer refuses (RFC 6749 §5.2), if it does.
fn said(answer: &Answer) -> Option<String> {
    let is_refusal = answer.status != http::StatusCode::OK;
    let failure = serde_json::from_slice::<Failure>(&answer.body).ok();
    failure.filter(|_| is_refusal).map(|failure| failure.error)
}

/// RFC 6749 §5.2, sorted by whose fault it is. Only the error's name is kept: a description could
/// repeat what we sent.
fn refusal(answer: &Answer) -> Fault {
    match said(answer).as_deref().unwrap_or_default() {
        "invalid_grant" => Fault::Refused("its token endpoint says invalid_grant".into()),
        "access_denied" => Fault::Refused("its token endpoint says access_denied".into()),
        // Core §3.1.2.6: it goes no further without the person.
        "interaction_required" | "login_required" | "consent_required" => {
            Fault::Refused("its token endpoint wants to see the person".into())
        }
        // Keycloak's word.
        "not_allowed" => Fault::Unacceptable(format!(
            "{} says not_allowed: let this person and client have offline_access at the provider, \
             or set identity.session to \"login-only\"",
            Endpoint::Token
        )),
        "temporarily_unavailable" | "server_error" => {
            Fault::Outage { endpoint: Endpoint::Token, status: answer.status }
        }
        "invalid_client" => credentials_refused("invalid_client"),
        "unauthorized_client" => credentials_refused("unauthorized_client"),
        "invalid_request" => refused_as("invalid_request"),
        "unsupported_grant_type" => refused_as("unsupported_grant_type"),
        "invalid_scope" => refused_as("invalid_scope"),
        _ => Fault::Unacceptable(format!("{} answered {}", Endpoint::Token, answer.status)),
    }
}

fn credentials_refused(error: &str) -> Fault {
    Fault::Unacceptable(format!(
        "{} says {error}: check client_id, client_secret and the client's settings at the provider",
        Endpoint::Token
    ))
}

fn refused_as(error: &str) -> Fault {
    Fault::Unacceptable(format!("{} says {error}", Endpoint::Token))
}
