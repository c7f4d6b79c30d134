//! Asks `public_url` as somebody outside would: by its name, with the certificate checked, without
//! following redirects, and within limits.

use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::HeaderMap;
use reqwest::redirect::Policy;
use sekisho::protocol::oauth::Issuer;
use tokio::time::timeout;

use crate::telemetry::chain;

/// Longest that one exchange takes.
pub(super) const EXCHANGE_WAIT: Duration = Duration::from_secs(10);
/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// A page of a client on this machine, whose origin is always allowed.
pub(super) const ORIGIN: &str = "http://localhost:6274";

/// The way in, which was open a moment ago.
#[derive(Debug)]
pub(super) struct Outside<'a> {
    http: reqwest::Client,
    public_url: &'a Issuer,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl<'a> Outside<'a> {
    pub(super) fn new(public_url: &'a Issuer) -> Result<Self, String> {
        let http = client(public_url.as_str()).map_err(|error| chain(&error))?;
        Ok(Self { http, public_url })
    }

    pub(super) fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.get(self.public_url.endpoint(path))
    }

    pub(super) fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.post(self.public_url.endpoint(path))
    }

    pub(super) fn options(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.request(reqwest::Method::OPTIONS, self.public_url.endpoint(path))
    }
}

/// A client for `url`. One without TLS trusts no certificate, so that none need be read.
pub(super) fn client(url: &str) -> Result<reqwest::Client, reqwest::Error> {
    let builder = reqwest::Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .connect_timeout(EXCHANGE_WAIT)
        .user_agent(concat!("sekisho-doctor/", env!("CARGO_PKG_VERSION")));
    let builder = if url.starts_with("http:") {
        builder.tls_certs_only([])
    } else {
        builder.https_only(true)
    };
    builder.build()
}

/// Sends a request and reads the whole answer, in time.
pub(super) async fn exchange(request: reqwest::RequestBuilder) -> Result<Answer, Unanswered> {
    let asked = timeout(EXCHANGE_WAIT, async {
        let mut response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            let room = ANSWER_BYTES_MAX.saturating_sub(body.len());
            body.extend(chunk.iter().take(room));
            if chunk.len() > room {
                break;
            }
        }
        Ok(Answer { status, headers, body })
    });
    match asked.await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Unanswered::of(error)),
        Err(_) => Err(Unanswered::TooSlow),
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// Nobody, or nothing within the time.
    TooSlow,
    /// The name has no address.
    Nameless,
    /// The certificate is not one to be believed.
    Certificate(String),
    /// Somebody answers who does not speak TLS.
    NotTls,
    /// Nobody listens, or the connection breaks.
    Unreachable(String),
}

impl Unanswered {
    fn of(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::TooSlow;
        }
        let said = chain(&error.without_url());
        // The TLS library's words; it has no types for them here.
        if said.contains("dns error") || said.contains("failed to lookup address") {
            Self::Nameless
        } else if said.contains("certificate") {
            Self::Certificate(said)
        } else if said.contains("InvalidContentType") || said.contains("corrupt message") {
            Self::NotTls
        } else {
            Self::Unreachable(said)
        }
    }

    /// What happened, in words that follow the name of who was asked.
    pub(super) fn what(&self) -> String {
        match self {
            Self::TooSlow => format!("does not answer within {} s", EXCHANGE_WAIT.as_secs()),
            Self::Nameless => "has a host name without an address".to_owned(),
            Self::Certificate(said) => {
                format!("shows a certificate that clients do not accept ({said})")
            }
            Self::NotTls => "answers without TLS, though its URL is https".to_owned(),
            Self::Unreachable(said) => format!("cannot be reached ({said})"),
        }
    }

    /// What to do about it.
    pub(super) fn fix(&self) -> &'static str {
        match self {
            Self::TooSlow => "open the port at every firewall on the way, or look why it hangs",
            Self::Nameless => "give the name an address in the DNS, or correct the URL",
            Self::Certificate(_) => {
                "have it show a certificate for this name, in force, with its whole chain, from a CA \
                 that is trusted here"
            }
            Self::NotTls => "put a reverse proxy that speaks TLS there, or correct the URL",
            Self::Unreachable(_) => "start what should listen there, or correct the URL",
        }
    }
}

/// A header's values, each as text.
pub(super) fn values<'h>(headers: &'h HeaderMap, name: &str) -> Vec<&'h str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
}
