//! Requests about what another instance holds: a session of its, or a call that waits there for its
//! client. They are passed on behind the guard and answered as if they had come there; what is passed on
//! to us comes in here. An instance that is gone takes its sessions with it: they are unknown.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;
use http::request::Parts;
use http::{Method, StatusCode};

use super::Endpoint;
use super::legacy::Transport;
use super::refusal::Refusal;
use super::request::caller;
use super::{http_sse, streamable_http};
use crate::fleet::{InstanceId, NotRelayed, Relayed};

impl Endpoint {
    /// Who has the session of this name, if that is another instance.
    pub(super) fn holder_elsewhere(&self, session: &str) -> Option<InstanceId> {
        self.settings.fleet.as_ref()?.holder_elsewhere(session)
    }

    /// What `holder` answers to this request.
    pub(super) async fn pass_on(
        &self,
        holder: &InstanceId,
        transport: Transport,
        head: &Parts,
        body: &[u8],
    ) -> Result<Response, Refusal> {
        let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let path = match transport {
            Transport::StreamableHttp => STREAMABLE_HTTP,
            Transport::HttpSse => MESSAGES,
            Transport::Stdio => return Err(Refusal::SessionUnknown),
        };
        let request = Relayed {
            service: &self.settings.messages_path,
            method: &head.method,
            uri: &format!("{path}{query}"),
            headers: &head.headers,
            caller: caller(&head.extensions),
            body,
        };
        let fleet = self.settings.fleet.as_ref().ok_or(Refusal::SessionUnknown)?;
        // The way there is long, and few requests go it: boxed, it makes no other future large.
        Box::pin(fleet.relay(holder, request)).await.map_err(|why| match why {
            NotRelayed::Gone => Refusal::SessionUnknown,
            NotRelayed::Full => Refusal::ServerFull,
            NotRelayed::Lost => Refusal::AnswerLost,
        })
    }

    /// Takes from now on what other instances pass on.
    pub(super) fn take_from_elsewhere(self: &Arc<Self>) {
        let Some(fleet) = &self.settings.fleet else { return };
        let endpoint = Arc::downgrade(self);
        let taking = move |request: Request| {
            let endpoint = endpoint.upgrade();
            let answer = async move {
                match endpoint {
                    Some(endpoint) => endpoint.take_passed_on(request).await,
                    None => StatusCode::NOT_FOUND.into_response(),
                }
            };
            answer.boxed()
        };
        fleet.serve(&self.settings.messages_path, Box::new(taking));
    }

    async fn take_passed_on(self: Arc<Self>, request: Request) -> Response {
        match (request.method(), request.uri().path()) {
            (&Method::POST, STREAMABLE_HTTP) => streamable_http::post(State(self), request).await,
            (&Method::GET, STREAMABLE_HTTP) => streamable_http::get(State(self), request).await,
            (&Method::DELETE, STREAMABLE_HTTP) => {
                streamable_http::delete(State(self), request).await
            }
            (&Method::POST, MESSAGES) => http_sse::post(State(self), request).await,
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    }
}

/// Paths between instances: the same for every service, which is named beside.
const STREAMABLE_HTTP: &str = "/mcp";
const MESSAGES: &str = "/messages";
