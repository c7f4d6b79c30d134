//! Another authorization server whose tokens are taken: where it says what it is (RFC 8414, or
//! `OpenID` Connect Discovery), its keys, and its opinion of a token (RFC 7662).
//!
//! Nothing is fetched before it is needed, so that we start while it is down. Keys are fetched anew
//! beside the calls and not in them; who needs a key that nobody knows waits, and once in a while only.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use sekisho_protocol::Secret;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use url::Url;

use crate::clock::{Clock, Timestamp};
use crate::trusted::{
    Answer, ClientAuthentication, Endpoint, Fault, Fetched, IssuerFlaw, KeySet, TokenKind,
    Unverified, Wire, authentication_by_secret, check_issuer, endpoint, quoted, read_keys,
};

/// Longest that a call waits for the other authorization server, whatever that does.
pub const ISSUER_PATIENCE: Duration = Duration::from_secs(5);

/// How old keys may be before they are fetched anew, beside the calls. A key that was withdrawn is
/// trusted no longer than that while the server answers; a new one is found at once.
pub const KEYS_FRESH_FOR: Duration = Duration::from_mins(5);

/// How long keys are kept while the server does not answer; after that no call gets in.
pub const KEYS_KEPT_FOR: Duration = Duration::from_hours(1);

/// How old the metadata may be when keys are fetched.
const METADATA_FRESH_FOR: Duration = Duration::from_hours(1);

/// An issuer that can never be one, worded with its remedy.
#[derive(Debug, thiserror::Error)]
pub enum ExternalIssuerError {
    /// It is not an absolute URL without query, fragment and credentials.
    #[error(
        "issuer {0:?} is not a URL of an authorization server: write it as the server does, for example \"https://login.example.com/realms/main\""
    )]
    Issuer(String),
    /// Tokens and secrets would cross a network in clear.
    #[error("issuer {0:?} is plain http, which is for loopback only: use https")]
    PlainIssuer(String),
    /// The TLS library could not be set up, for instance without any trusted certificate.
    #[error("TLS cannot be used: install the system's CA certificates")]
    Tls(#[source] reqwest::Error),
}

/// Why the other authorization server is of no use at this moment.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the authorization server {issuer} cannot be asked")]
pub struct IssuerUnavailable {
    issuer: String,
    #[source]
    fault: Fault,
}

/// An authorization server that is not ours. One for all verifiers of a process.
#[derive(Debug)]
pub struct ExternalIssuer {
    issuer: String,
    clock: Arc<dyn Clock>,
    wire: Wire,
    metadata: Fetched<Metadata>,
    keys: Fetched<KeySet>,
    is_refreshing: AtomicBool,
}

/// How we are known at the introspection endpoint.
#[derive(Debug, Clone)]
pub struct IntrospectionClient {
    /// Our name there.
    pub id: String,
    /// Our secret there.
    pub secret: Secret,
}

/// What we need to know of it.
#[derive(Debug)]
struct Metadata {
    jwks_uri: Option<Url>,
    introspection: Option<(Url, ClientAuthentication)>,
}

/// The members we read; all others are none of our business.
#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: Option<String>,
    introspection_endpoint: Option<String>,
    introspection_endpoint_auth_methods_supported: Option<Vec<String>>,
}

impl ExternalIssuer {
    /// A server that is asked for the first time when it is needed.
    ///
    /// # Errors
    /// When no server can have that issuer.
    pub fn new(issuer: &str, clock: Arc<dyn Clock>) -> Result<Self, ExternalIssuerError> {
        check_issuer(issuer).map_err(|flaw| match flaw {
            IssuerFlaw::NoUrl => ExternalIssuerError::Issuer(issuer.to_owned()),
            IssuerFlaw::Plain => ExternalIssuerError::PlainIssuer(issuer.to_owned()),
        })?;
        let is_plain = issuer.starts_with("http:");
        let wire = Wire::new(is_plain, ISSUER_PATIENCE).map_err(ExternalIssuerError::Tls)?;
        let metadata = Fetched::new(Arc::clone(&clock));
        let keys = Fetched::new(Arc::clone(&clock));
        let is_refreshing = AtomicBool::new(false);
        Ok(Self { issuer: issuer.to_owned(), clock, wire, metadata, keys, is_refreshing })
    }

    /// Waits `patience` instead of [`ISSUER_PATIENCE`].
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.wire.set_patience(patience);
        self
    }

    /// Whether there are keys to check tokens with, fetched now if need be.
    ///
    /// # Errors
    /// When there are none, and none to be had.
    pub async fn check_keys(self: &Arc<Self>) -> Result<(), IssuerUnavailable> {
        self.keys().await.map(|_| ()).map_err(|fault| self.unavailable(fault))
    }

    /// Whether there is somebody to ask about tokens.
    ///
    /// # Errors
    /// When the server has said nothing of an introspection endpoint, or cannot be asked.
    pub async fn check_introspection(self: &Arc<Self>) -> Result<(), IssuerUnavailable> {
        let asked = self.wire.in_time(async { self.introspection_endpoint().await.map(|_| ()) });
        asked.await.map_err(|fault| self.unavailable(fault))
    }

    /// The text that it is known by.
    pub fn as_str(&self) -> &str {
        &self.issuer
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn unavailable(&self, fault: Fault) -> IssuerUnavailable {
        IssuerUnavailable { issuer: self.issuer.clone(), fault }
    }

    /// The keys at hand, if they need not be fetched anew yet.
    pub(super) fn fresh_keys(&self) -> Option<Arc<KeySet>> {
        self.keys.younger_than(KEYS_FRESH_FOR)
    }

    /// The keys at hand, fetched anew beside this call when it is time. The call waits where there are
    /// none, and where they were fetched so long ago that one of them may have been withdrawn; then
    /// those at hand will do, for as long as they are kept, while no newer ones can be had.
    pub(super) async fn keys(self: &Arc<Self>) -> Result<Arc<KeySet>, Fault> {
        if let Some(keys) = self.fresh_keys() {
            return Ok(keys);
        }
        let is_down = self.keys.has_failed_within(KEYS_FRESH_FOR);
        let beside = if is_down { KEYS_KEPT_FOR } else { 2 * KEYS_FRESH_FOR };
        if let Some(keys) = self.keys.younger_than(beside) {
            self.refresh_beside();
            return Ok(keys);
        }
        let fetched = self.wire.in_time(self.keys.no_older_than(KEYS_FRESH_FOR, self.fetch_keys()));
        fetched.await.or_else(|fault| self.keys.younger_than(KEYS_KEPT_FOR).ok_or(fault))
    }

    fn refresh_beside(self: &Arc<Self>) {
        if self.is_refreshing.swap(true, Ordering::AcqRel) {
            return;
        }
        let issuer = Arc::clone(self);
        tokio::spawn(async move {
            let fetch = issuer.keys.no_older_than(KEYS_FRESH_FOR, issuer.fetch_keys());
            if let Err(fault) = issuer.wire.in_time(fetch).await {
                let error = &fault as &dyn std::error::Error;
                tracing::warn!(error, "the issuer's keys cannot be fetched anew: keeping the old");
            }
            issuer.is_refreshing.store(false, Ordering::Release);
        });
    }

    /// Verifies an access token with `keys`, or with newer ones where its key is not among them.
    pub(super) async fn verify<C: DeserializeOwned>(
        self: &Arc<Self>,
        keys: Arc<KeySet>,
        token: &Secret,
    ) -> Result<(C, Arc<KeySet>), Unverified> {
        let verified = self.keys.verify(keys, token, TokenKind::Access, self.fetch_keys());
        Unverified::within(self.wire.patience(), verified).await
    }

    /// What the server says of a token, as it says it: an object that has `active`.
    pub(super) async fn introspect(
        self: &Arc<Self>,
        client: &IntrospectionClient,
        token: &Secret,
    ) -> Result<Opinion, Fault> {
        self.wire
            .in_time(async {
                let (url, authentication) = self.introspection_endpoint().await?;
                let (id, secret) = (client.id.as_str(), client.secret.reveal());
                let mut form = vec![("token", token.reveal()), ("token_type_hint", "access_token")];
                let credentials = match authentication {
                    ClientAuthentication::Basic => Some((id, secret)),
                    ClientAuthentication::Post | ClientAuthentication::Public => {
                        form.extend([("client_id", id), ("client_secret", secret)]);
                        None
                    }
                };
                let answer =
                    self.wire.post(Endpoint::Introspection, url, &form, credentials).await?;
                read_introspection(&answer)
            })
            .await
    }

    async fn introspection_endpoint(
        self: &Arc<Self>,
    ) -> Result<(Url, ClientAuthentication), Fault> {
        let metadata = self.metadata().await?;
        metadata.introspection.clone().ok_or_else(|| {
            Fault::Unacceptable("its metadata names no introspection_endpoint".into())
        })
    }

    /// In a box, since a call that needs no fetch should not carry one about.
    fn fetch_keys(self: &Arc<Self>) -> BoxFuture<'static, Result<KeySet, Fault>> {
        let issuer = Arc::clone(self);
        Box::pin(async move {
            let metadata = issuer.metadata().await?;
            let Some(jwks_uri) = metadata.jwks_uri.clone() else {
                return Err(Fault::Unacceptable("its metadata names no jwks_uri".into()));
            };
            read_keys(&issuer.wire.get(Endpoint::Keys, jwks_uri).await?)
        })
    }

    /// Old metadata is better than none: what it leads to answers for itself.
    async fn metadata(self: &Arc<Self>) -> Result<Arc<Metadata>, Fault> {
        let issuer = Arc::clone(self);
        let fetch = Box::pin(async move { issuer.fetch_metadata().await });
        let fresh = self.metadata.no_older_than(METADATA_FRESH_FOR, fetch).await;
        fresh.or_else(|fault| self.metadata.copy().ok_or(fault))
    }

    /// The first document that is there and is this issuer's own. A server that does not answer at
    /// all is not asked at its other addresses.
    async fn fetch_metadata(&self) -> Result<Metadata, Fault> {
        let mut last = Fault::Unacceptable("its issuer is no URL".into());
        for url in metadata_urls(&self.issuer) {
            let answer = self.wire.get(Endpoint::Metadata, url.clone()).await?;
            match Metadata::read(&answer, &self.issuer) {
                Ok(metadata) => return Ok(metadata),
                Err(reason) => last = Fault::Unacceptable(format!("metadata at {url}: {reason}")),
            }
        }
        Err(last)
    }
}

/// Where the metadata of an issuer may be, in the order in which MCP has clients look (MCP
/// "Authorization Server Metadata Discovery"): below its host, and below itself.
fn metadata_urls(issuer: &str) -> Vec<Url> {
    let issuer = issuer.strip_suffix('/').unwrap_or(issuer);
    let host_at = issuer.find("://").map_or(0, |at| at + 3);
    let path_at = issuer.get(host_at..).and_then(|rest| rest.find('/'));
    let (origin, path) = issuer.split_at(path_at.map_or(issuer.len(), |at| host_at + at));
    let mut urls = vec![
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
        format!("{origin}/.well-known/openid-configuration{path}"),
    ];
    if !path.is_empty() {
        urls.push(format!("{issuer}/.well-known/openid-configuration"));
    }
    urls.iter().filter_map(|url| Url::parse(url).ok()).collect()
}

impl Metadata {
    fn read(answer: &Answer, issuer: &str) -> Result<Self, String> {
        if answer.status != http::StatusCode::OK {
            return Err(format!("answered {}: check the issuer", answer.status));
        }
        let document: Document = serde_json::from_slice(&answer.body)
            .map_err(|_| "it is not the metadata of an authorization server".to_owned())?;
        if document.issuer != issuer {
            return Err(format!(
                "it is for issuer {}, not {issuer:?}: write the issuer exactly as the server does",
                quoted(&document.issuer)
            ));
        }
        let at = |name: &str, text: Option<&String>| {
            text.map(|text| endpoint(name, text, issuer)).transpose()
        };
        let methods = document.introspection_endpoint_auth_methods_supported.as_deref();
        let introspection = at("introspection_endpoint", document.introspection_endpoint.as_ref())?
            .map(|url| authentication_by_secret(methods).map(|how| (url, how)))
            // Nobody may need it, so one that cannot be used is as good as none.
            .and_then(Result::ok);
        Ok(Self { jwks_uri: at("jwks_uri", document.jwks_uri.as_ref())?, introspection })
    }
}

/// What the server says of a token.
#[derive(Deserialize)]
pub(super) struct Opinion {
    pub(super) active: bool,
    #[serde(flatten)]
    pub(super) claims: Map<String, Value>,
}

/// The endpoint's answer, which is never an opinion unless it is 200 (RFC 7662 §2.3).
fn read_introspection(answer: &Answer) -> Result<Opinion, Fault> {
    let endpoint = Endpoint::Introspection;
    if answer.status == http::StatusCode::UNAUTHORIZED {
        let remedy = "check authorization.client_id and client_secret";
        return Err(Fault::Unacceptable(format!("{endpoint} answered 401: {remedy}")));
    }
    if answer.status != http::StatusCode::OK {
        return Err(Fault::Unacceptable(format!("{endpoint} answered {}", answer.status)));
    }
    serde_json::from_slice(&answer.body).map_err(|_| {
        Fault::Unacceptable(format!("{endpoint}'s answer is not what RFC 7662 §2.2 describes"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_looked_for_where_clients_look() {
        let rows: [(&str, &[&str]); 3] = [
            (
                "https://sso.example/realms/main",
                &[
                    "https://sso.example/.well-known/oauth-authorization-server/realms/main",
                    "https://sso.example/.well-known/openid-configuration/realms/main",
                    "https://sso.example/realms/main/.well-known/openid-configuration",
                ],
            ),
            (
                "https://sso.example",
                &[
                    "https://sso.example/.well-known/oauth-authorization-server",
                    "https://sso.example/.well-known/openid-configuration",
                ],
            ),
            (
                "https://sso.example:8443/",
                &[
                    "https://sso.example:8443/.well-known/oauth-authorization-server",
                    "https://sso.example:8443/.well-known/openid-configuration",
                ],
            ),
        ];
        for (issuer, expected) in rows {
            let urls: Vec<_> = metadata_urls(issuer).into_iter().map(String::from).collect();
            assert_eq!(urls, expected, "{issuer}");
        }
    }
}
