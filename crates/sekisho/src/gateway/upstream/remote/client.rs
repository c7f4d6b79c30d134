//! HTTP to one server, for all who talk to it: without TLS by [`plain`](super::plain), with it by
//! `reqwest`. Neither follows a redirect, uses a proxy of the environment, or unpacks anything.

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use std::sync::Arc;
use url::{Position, Url};

use super::plain::{self, Pool};
use super::trouble::Trouble;
use super::{CONNECTION_IDLE, RemoteServerError};
use crate::gateway::limits::GatewayLimits;

/// What we are called in every request.
const PRODUCT: &str = concat!("sekisho/", env!("CARGO_PKG_VERSION"));

/// What sends requests to one server.
#[derive(Debug, Clone)]
pub(in crate::gateway) enum Client {
    Plain(Arc<Pool>),
    Tls(reqwest::Client),
}

/// A place at that server.
#[derive(Clone)]
pub(super) struct Address {
    url: Url,
    /// Its path and query.
    path: Uri,
    host: HeaderValue,
}

/// A response whose head was read.
pub(super) enum Response {
    Plain(Box<http::Response<plain::Body>>),
    Tls(reqwest::Response),
}

impl Client {
    /// What sends requests to the server at this URL; over TLS it trusts `authorities`, or those of this
    /// machine if there are none.
    pub(super) fn new(
        url: &Url,
        authorities: &[reqwest::Certificate],
        limits: &GatewayLimits,
    ) -> Result<Self, reqwest::Error> {
        if url.scheme() == "http"
            && let Ok(origin) = url[..Position::BeforePath].parse()
        {
            return Ok(Self::Plain(Arc::new(Pool::new(origin, limits.connect_wait))));
        }
        let builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(limits.connect_wait)
            .pool_idle_timeout(CONNECTION_IDLE)
            .user_agent(PRODUCT)
            .https_only(true);
        let builder = match authorities {
            [] => builder,
            authorities => builder.tls_certs_only(authorities.to_vec()),
        };
        builder.build().map(Self::Tls)
    }

    /// Sends a request, and waits for the head of the response.
    pub(super) async fn send(
        &self,
        method: Method,
        to: &Address,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response, Trouble> {
        match self {
            Self::Plain(pool) => {
                headers.insert(HOST, to.host.clone());
                headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(PRODUCT));
                let mut request = Request::new(Full::new(body));
                *request.method_mut() = method;
                *request.uri_mut() = to.path.clone();
                *request.headers_mut() = headers;
                Ok(Response::Plain(Box::new(pool.send(request).await?)))
            }
            Self::Tls(client) => {
                let request = client.request(method, to.url.clone()).headers(headers);
                let response = Box::pin(request.body(body).send()).await;
                response.map(Response::Tls).map_err(Trouble::of)
            }
        }
    }
}

impl Address {
    /// The place that a URL names, if requests can be sent there.
    pub(super) fn new(url: Url) -> Result<Self, RemoteServerError> {
        let no_url = |_| RemoteServerError::NotAUrl;
        let path = url[Position::BeforePath..Position::AfterQuery].parse().map_err(no_url)?;
        // A port that goes without saying is no part of a parsed URL.
        let host = &url[Position::BeforeHost..Position::AfterPort];
        let host = HeaderValue::from_str(host).map_err(|_| RemoteServerError::NotAUrl)?;
        Ok(Self { url, path, host })
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }
}

impl Response {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Plain(response) => response.status(),
            Self::Tls(response) => response.status(),
        }
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        match self {
            Self::Plain(response) => response.headers(),
            Self::Tls(response) => response.headers(),
        }
    }

    /// The next piece of its body; nothing at the end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Trouble> {
        match self {
            Self::Plain(response) => response.body_mut().chunk().await,
            Self::Tls(response) => {
                let chunk = response.chunk().await;
                chunk.map_err(|error| Trouble::broken(error.without_url()))
            }
        }
    }
}
