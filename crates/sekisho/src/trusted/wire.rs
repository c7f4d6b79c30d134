//! Talks to a named server over HTTP, within limits.
//!
//! Never follows a redirect, never uses a proxy from the environment, never reads more than
//! [`ANSWER_BYTES_MAX`], and never waits longer than it was told.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};
use reqwest::redirect::Policy;
use sekisho_protocol::Secret;
use url::Url;

use crate::measure::PROVIDER_SECONDS;
use crate::measure::spans::{self, Open};

/// Largest answer that is read: 1 MiB, a hundred times what a large one is.
pub(crate) const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// The part of our patience that a single exchange may use up, in percent: a failed one is then
/// remembered before the whole step runs out of time.
const EXCHANGE_SHARE_PERCENT: u32 = 80;

/// Which of the server's addresses was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Metadata,
    Token,
    Keys,
    Revocation,
    Introspection,
    Userinfo,
}

impl Endpoint {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Token => "token",
            Self::Keys => "keys",
            Self::Revocation => "revocation",
            Self::Introspection => "introspection",
            Self::Userinfo => "userinfo",
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Metadata => "the metadata document",
            Self::Token => "the token endpoint",
            Self::Keys => "the key set",
            Self::Revocation => "the revocation endpoint",
            Self::Introspection => "the introspection endpoint",
            Self::Userinfo => "the userinfo endpoint",
        })
    }
}

/// Why an exchange failed. Cloneable, since everybody who waited for it is told the same.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Fault {
    #[error("{endpoint} cannot be reached")]
    Unreachable {
        endpoint: Endpoint,
        #[source]
        reason: Arc<reqwest::Error>,
    },
    #[error("{endpoint} answered {status}")]
    Outage { endpoint: Endpoint, status: StatusCode },
    #[error("it took longer than {0:?}")]
    TooSlow(Duration),
    #[error("{0}")]
    Unacceptable(String),
    #[error("{0}")]
    Refused(String),
}

/// What the server answered: below 500, and complete. Has tokens in it, so it is never printed.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
}

/// How the client is proven (RFC 6749 §2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientAuthentication {
    Basic,
    Post,
    Public,
}

/// The one HTTP client for one server.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    client: reqwest::Client,
    patience: Duration,
}

impl Wire {
    /// `is_plain` for a server on loopback without TLS: then no certificate is trusted, so that
    /// nothing beyond loopback can be talked to, and none need be installed.
    pub(crate) fn new(is_plain: bool, patience: Duration) -> Result<Self, reqwest::Error> {
        let builder = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .user_agent(concat!("sekisho/", env!("CARGO_PKG_VERSION")));
        let builder = if is_plain { builder.tls_certs_only([]) } else { builder.https_only(true) };
        Ok(Self { client: builder.build()?, patience })
    }

    /// Another patience for the same client.
    pub(crate) fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    pub(crate) const fn patience(&self) -> Duration {
        self.patience
    }

    /// Holds a whole step, however many exchanges it has, to our patience.
    pub(crate) async fn in_time<T>(
        &self,
        step: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, Fault> {
        let outcome = tokio::time::timeout(self.patience, step).await;
        outcome.unwrap_or(Err(Fault::TooSlow(self.patience)))
    }

    /// Fetches a document.
    pub(crate) async fn get(&self, endpoint: Endpoint, url: Url) -> Result<Answer, Fault> {
        Box::pin(self.exchange(endpoint, self.client.get(url))).await
    }

    /// Fetches what an access token opens.
    pub(crate) async fn get_as(
        &self,
        endpoint: Endpoint,
        url: Url,
        access_token: &Secret,
    ) -> Result<Answer, Fault> {
        Box::pin(self.exchange(endpoint, self.client.get(url).bearer_auth(access_token.reveal())))
            .await
    }

    /// Deletes what a body of JSON says, as a client with a secret.
    pub(crate) async fn delete(
        &self,
        endpoint: Endpoint,
        url: Url,
        body: &serde_json::Value,
        (id, secret): (&str, &str),
    ) -> Result<Answer, Fault> {
        let request = self.client.delete(url).basic_auth(id, Some(secret));
        let request = request.header(http::header::CONTENT_TYPE, "application/json");
        Box::pin(self.exchange(endpoint, request.body(body.to_string()))).await
    }

    /// Posts a form; `credentials` go into the header as RFC 6749 §2.3.1 encodes them.
    pub(crate) async fn post(
        &self,
        endpoint: Endpoint,
        url: Url,
        form: &[(&str, &str)],
        credentials: Option<(&str, &str)>,
    ) -> Result<Answer, Fault> {
        let mut request = self.client.post(url).form(form);
        if let Some((id, secret)) = credentials {
            request = request.basic_auth(form_encoded(id), Some(form_encoded(secret)));
        }
        Box::pin(self.exchange(endpoint, request)).await
    }

    /// Asks, and measures how long it took. That the server refused what it was asked is an answer.
    async fn exchange(
        &self,
        endpoint: Endpoint,
        request: reqwest::RequestBuilder,
    ) -> Result<Answer, Fault> {
        let asked_at = Instant::now();
        let mut span = Open::question(endpoint.as_str());
        // Boxed, or every future above it is as large as all of them.
        let asked = Box::pin(async {
            let mut headers = HeaderMap::new();
            spans::tell(&mut headers);
            self.ask(endpoint, request.headers(headers)).await
        });
        let answered = spans::within(span.as_ref(), asked).await;
        if let Some(span) = &mut span {
            span.note("peer.service", "provider".into());
            if answered.is_err() {
                span.fail();
            }
        }
        let outcome = if answered.is_ok() { "answered" } else { "failed" };
        PROVIDER_SECONDS
            .histogram([endpoint.as_str().into(), outcome.into()])
            .record(asked_at.elapsed());
        answered
    }

    async fn ask(
        &self,
        endpoint: Endpoint,
        request: reqwest::RequestBuilder,
    ) -> Result<Answer, Fault> {
        let unreachable = |reason: reqwest::Error| Fault::Unreachable {
            endpoint,
            reason: Arc::new(reason.without_url()),
        };
        let request = request
            .header(http::header::ACCEPT, "application/json")
            .timeout(self.patience * EXCHANGE_SHARE_PERCENT / 100);
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(Fault::Outage { endpoint, status });
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(Fault::Unacceptable(format!("{endpoint} is larger than 1 MiB")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, body })
    }
}

fn form_encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Foreign text for the log: quoted, escaped and short.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 120;
    let shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    format!("{shown:?}")
}
