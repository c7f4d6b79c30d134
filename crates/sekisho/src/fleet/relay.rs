//! Passes a request on to the instance that holds what it is about, and its answer back.
//!
//! An instance where nobody listens is gone, and so is one that has another name by now. One that
//! stopped answering is waited for until its beat stops too ([`members`](super::members)). A request is
//! passed on once: when nobody knows whether it was done, the caller hears that.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio_util::sync::CancellationToken;

use super::wire::{self, Caller, Head, PROOF, Part, Parts, Proof};
use super::{CONNECT_WAIT, Fleet, InstanceId, door};
use crate::principal::Principal;
use crate::resource_server::MissingScopes;

/// How long an unused connection is kept: less than the other end keeps it.
const IDLE: Duration = Duration::from_secs(10);
/// How long the other end may be silent before it is asked whether it is there, and how often.
const PROBE_AFTER: Duration = Duration::from_secs(15);
const PROBES_MAX: u32 = 3;

/// A request as it came, behind the guard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Relayed<'a> {
    /// Whose endpoint it came to.
    pub(crate) service: &'a str,
    pub(crate) method: &'a Method,
    /// Path and query within the service.
    pub(crate) uri: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) caller: Option<&'a Arc<Principal>>,
    pub(crate) body: &'a [u8],
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotRelayed {
    /// There is no such instance any more, so what it held is gone. The request was not done.
    Gone,
    /// It cannot take the request now. It was not done.
    Full,
    /// It ended, or was cut off, before it answered. Nobody knows whether the request was done.
    Lost,
}

pub(super) fn client() -> Client<HttpConnector, Full<Bytes>> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_WAIT));
    // An instance may live, and be seen to by the database, that this one cannot reach any more.
    connector.set_keepalive(Some(PROBE_AFTER));
    connector.set_keepalive_interval(Some(PROBE_AFTER));
    connector.set_keepalive_retries(Some(PROBES_MAX));
    Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE)
        .pool_timer(TokioTimer::new())
        .build(connector)
}

impl Fleet {
    /// Asks `to`, and answers what it answers.
    ///
    /// # Errors
    /// When there is no answer from there.
    pub(crate) async fn relay(
        &self,
        to: &InstanceId,
        request: Relayed<'_>,
    ) -> Result<Response, NotRelayed> {
        let reached = self.find(to).await.ok_or(NotRelayed::Gone)?;
        let number = self.sent.fetch_add(1, Ordering::Relaxed) + 1;
        let proof = Proof { from: self.me.as_str().to_owned(), number };
        let shown = wire::seal_proof(&self.sealer, to, &proof);
        let head = Head {
            proof,
            service: request.service.to_owned(),
            method: request.method.as_str().to_owned(),
            uri: request.uri.to_owned(),
            headers: request.headers.into(),
            caller: request.caller.map(|caller| Caller::from(&**caller)),
        };
        let sealed = wire::seal_request(&self.sealer, to, &head, request.body);
        let asking = Request::post(format!("http://{}{}", reached.address, door::PATH))
            .header(PROOF, shown)
            .body(Full::new(Bytes::from(sealed)))
            .map_err(|_| NotRelayed::Gone)?;
        let parts = Parts::new(&self.sealer, self.me.as_str(), number);
        tracing::debug!(instance = %to, "passed on");
        tokio::select! {
            biased;
            () = reached.gone.cancelled() => Err(NotRelayed::Lost),
            answer = self.ask(to, asking, parts, reached.gone.clone()) => answer,
        }
    }

    async fn ask(
        &self,
        to: &InstanceId,
        asking: Request<Full<Bytes>>,
        parts: Parts,
        gone: CancellationToken,
    ) -> Result<Response, NotRelayed> {
        let answer = self.http.request(asking).await.map_err(|error| {
            let why = if error.is_connect() { NotRelayed::Gone } else { NotRelayed::Lost };
            tracing::warn!(instance = %to, error = &error as &dyn std::error::Error, "not reached");
            why
        })?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::GONE => return Err(NotRelayed::Gone),
            status => {
                tracing::warn!(instance = %to, %status, "does not take what is passed on");
                return Err(NotRelayed::Full);
            }
        }
        let mut answer = Answer { incoming: answer.into_body(), come: Vec::new(), parts, gone };
        let Ok(Part::Head(head)) = answer.next().await else { return Err(NotRelayed::Lost) };
        let mut response = Response::default();
        *response.status_mut() = StatusCode::from_u16(head.status).map_err(|_| NotRelayed::Lost)?;
        *response.headers_mut() = head.headers.to_map();
        if let Some(missing) = head.missing_scopes {
            response.extensions_mut().insert(MissingScopes(missing));
        }
        *response.body_mut() = answer.into_body();
        Ok(response)
    }
}

/// An answer that is being read.
struct Answer {
    incoming: Incoming,
    /// Read and not used yet.
    come: Vec<u8>,
    parts: Parts,
    gone: CancellationToken,
}

impl Answer {
    async fn next(&mut self) -> io::Result<Part> {
        loop {
            if let Some(part) = self.parts.read(&mut self.come).map_err(io::Error::other)? {
                return Ok(part);
            }
            let cut = || io::Error::other("the instance ended before its answer did");
            let frame = tokio::select! {
                biased;
                () = self.gone.cancelled() => return Err(cut()),
                frame = self.incoming.frame() => frame,
            };
            let frame = frame.ok_or_else(cut)?.map_err(io::Error::other)?;
            if let Ok(data) = frame.into_data() {
                self.come.extend_from_slice(&data);
            }
        }
    }

    /// What follows the head: at once if all of it has come.
    fn into_body(mut self) -> Body {
        let mut whole = Vec::new();
        loop {
            match self.parts.read(&mut self.come) {
                Ok(Some(Part::Data(data))) => whole.extend_from_slice(&data),
                Ok(Some(Part::End)) => return Body::from(whole),
                Ok(Some(Part::Head(_)) | None) | Err(_) => break,
            }
        }
        let chunks = futures::stream::unfold((Some(self), whole), |(answer, whole)| async {
            let mut answer = answer?;
            if !whole.is_empty() {
                return Some((Ok(Bytes::from(whole)), (Some(answer), Vec::new())));
            }
            match answer.next().await {
                Ok(Part::Data(data)) => Some((Ok(Bytes::from(data)), (Some(answer), Vec::new()))),
                Ok(Part::End) => None,
                Ok(Part::Head(_)) => Some((Err(io::Error::other("two heads")), (None, whole))),
                Err(cut) => Some((Err(cut), (None, whole))),
            }
        });
        Body::from_stream(chunks)
    }
}
