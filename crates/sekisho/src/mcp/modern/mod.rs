//! 2026-07-28: no handshake, no session, every request says all it needs.
//!
//! ```text
//! required _meta (-32602) ─▶ headers (-32020) ─▶ version (-32022) ─▶ method (404 -32601)
//!                                  ─▶ capability (-32021) ─▶ params ─▶ McpService
//! ```
//!
//! A client that hangs up cancels: the work is part of the answer and is dropped with it. Nothing
//! is remembered between two requests, except who follows what ([`listen`]).

mod answer;
mod discover;
mod headers;
mod in_flight;
mod listen;
mod request_state;
mod stream;

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderMap, StatusCode};
use sekisho_protocol::mcp::{
    HEADER_MISMATCH, INVALID_PARAMS, LogLevel, METHOD_NOT_FOUND, MISSING_CLIENT_CAPABILITY,
    McpError, ParamsOutline, ProtocolVersion, Request, RequestId, UNSUPPORTED_PROTOCOL_VERSION,
    write_error, write_result,
};
use serde_json::value::RawValue;

use self::answer::There;
use self::headers::Repeated;
use self::in_flight::InFlight;
use self::listen::Listeners;
pub(super) use self::request_state::RequestState;
use super::changes::Audience;
use super::input::CallError;
use super::legacy::{Caller, EventStream, SessionLimits};
use super::service::{Context, Declared, McpService};
use crate::fleet::InstanceId;

/// Serves one service without sessions.
#[derive(Debug)]
pub(super) struct Stateless {
    service: Arc<dyn McpService>,
    request_state: RequestState,
    in_flight: InFlight,
    listeners: Arc<Listeners>,
    limits: SessionLimits,
}

/// A request whose words were checked, with what it says of its client.
#[derive(Debug)]
struct Checked {
    id: RequestId,
    method: Box<str>,
    params: Option<Box<RawValue>>,
    context: Context,
}

/// An answer, and the status it has where nothing was told before it.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    message: Bytes,
}

/// Methods of older revisions: what a service says to them is not asked.
const REMOVED: [&str; 5] =
    ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"];

impl Stateless {
    pub(super) fn new(
        service: Arc<dyn McpService>,
        limits: &SessionLimits,
        request_state: RequestState,
    ) -> Self {
        Self {
            service,
            request_state,
            in_flight: InFlight::new(limits.calls_per_person_max),
            listeners: Arc::default(),
            limits: limits.clone(),
        }
    }

    /// Where the call waits that this request goes on with, if that is another instance.
    pub(super) fn holder_elsewhere(
        &self,
        request: &Request<'_>,
        outline: &ParamsOutline<'_>,
        sender: &Caller,
    ) -> Option<InstanceId> {
        self.request_state.holder_elsewhere(request, outline, sender.as_deref())
    }

    /// Another service for the same clients, under other limits.
    pub(super) fn renewed(&self, service: Arc<dyn McpService>, limits: &SessionLimits) -> Self {
        Self {
            service,
            request_state: self.request_state.clone(),
            in_flight: self.in_flight.limited(limits.calls_per_person_max),
            listeners: Arc::clone(&self.listeners),
            limits: limits.clone(),
        }
    }

    /// All who listen, as whoever hears of changes.
    pub(super) fn audience(&self) -> Weak<dyn Audience> {
        let listeners: Weak<Listeners> = Arc::downgrade(&self.listeners);
        listeners
    }

    /// Checks a request as far as that can be done before it is worked on; answers too what a call
    /// of a tool repeats in headers. Over stdio there are no headers to compare.
    fn check<'a>(
        &self,
        headers: Option<&HeaderMap>,
        sender: Caller,
        request: &Request<'_>,
        outline: ParamsOutline<'a>,
        exchange: Option<Arc<EventStream>>,
    ) -> Result<(Checked, Option<Repeated<'a>>), Answer> {
        let refuse = |error: McpError| Answer::error(&request.id, &error, StatusCode::BAD_REQUEST);
        let ParamsOutline { meta, .. } = outline;
        let required = meta.required().map_err(refuse)?;
        let repeated = match headers {
            None => None,
            Some(headers) => {
                let version = &required.protocol_version;
                headers::check(headers, request, version, &outline).map_err(refuse)?
            }
        };
        let version = ProtocolVersion::from_text(&required.protocol_version)
            .filter(|version| version.is_stateless())
            .ok_or_else(|| refuse(unserved(&required.protocol_version)))?;
        if REMOVED.contains(&request.method.as_ref()) {
            let error = McpError::method_not_found(&request.method);
            return Err(Answer::error(&request.id, &error, StatusCode::NOT_FOUND));
        }
        let log_level = match meta.log_level() {
            None => None,
            Some(level) => Some(LogLevel::from_text(&level).ok_or_else(|| {
                refuse(McpError::invalid_params("the log level in params._meta is none of MCP's"))
            })?),
        };
        let capabilities = required.client_capabilities.to_raw();
        let declared = Arc::new(Declared { capabilities, log_level });
        let mut context = Context::of_request(sender, version, exchange, declared)
            .with_progress_token(meta.progress_token());
        if let Some(inputs) = self
            .request_state
            .inputs_of(request, &outline, context.principal().map(AsRef::as_ref))
            .map_err(refuse)?
        {
            context = context.with_inputs(inputs);
        }
        tracing::debug!(mcp.version = version.as_str(), mcp.method = %request.method, "asked");
        let checked = Checked {
            id: request.id.clone(),
            method: request.method.as_ref().into(),
            params: request.params.map(ToOwned::to_owned),
            context,
        };
        Ok((checked, repeated))
    }

    /// The whole way from a request to its answer, for a transport without headers. A listener's
    /// answer never comes: it ends when it is dropped.
    pub(super) fn work(
        self: Arc<Self>,
        out: Arc<EventStream>,
        sender: Caller,
        request: &Request<'_>,
        outline: ParamsOutline<'_>,
    ) -> impl Future<Output = Bytes> + Send + use<> {
        let checked = self.check(None, sender, request, outline, Some(Arc::clone(&out)));
        let checked = checked.map(|(checked, _)| checked);
        async move {
            let checked = match checked {
                Ok(checked) => checked,
                Err(refused) => return refused.message,
            };
            if &*checked.method != "subscriptions/listen" {
                return self.answer(checked).await.message;
            }
            match self.listen(&checked, &out).await {
                Ok(_listening) => std::future::pending().await,
                Err(error) => Answer::error(&checked.id, &error, StatusCode::OK).message,
            }
        }
    }

    /// Works on a request. A service that panics costs its caller an error, nobody else anything.
    async fn answer(&self, checked: Checked) -> Answer {
        let outcome = AssertUnwindSafe(self.outcome(&checked)).catch_unwind().await;
        let outcome = outcome.unwrap_or_else(|_| {
            tracing::error!(mcp.method = %checked.method, "the service panicked");
            Err(McpError::internal())
        });
        match outcome {
            Ok(result) => Answer {
                status: StatusCode::OK,
                message: Bytes::from(write_result(&checked.id, &result)),
            },
            Err(error) => Answer::error(&checked.id, &error, StatusCode::OK),
        }
    }

    async fn outcome(&self, checked: &Checked) -> Result<String, McpError> {
        let Checked { method, params, context, .. } = checked;
        if &**method == "server/discover" {
            let info = self.service.info(context).await?;
            return discover::result(&info, self.service.cache_hint(method, context));
        }
        match self.service.call(method, params.as_deref(), context).await {
            Ok(result) => {
                let there = There::read(&result)?;
                let server_info =
                    if there.names_server() { None } else { self.name(context).await };
                let hint =
                    answer::is_cacheable(method).then(|| self.service.cache_hint(method, context));
                answer::complete(&result, &there, server_info.as_deref(), hint)
            }
            Err(CallError::Failed(error)) => Err(error.in_stateless_words()),
            Err(CallError::InputRequired(needed)) => {
                if !request_state::may_need_input(method) {
                    tracing::error!(mcp.method = %method, "this method may not ask its client");
                    return Err(McpError::internal());
                }
                for request in &needed.requests {
                    context.require(request.capability())?;
                }
                let state = self.request_state.seal(checked, &needed);
                let server_info = self.name(context).await;
                answer::input_required(&needed.requests, &state, server_info.as_deref())
            }
        }
    }

    /// Who answers, to be said beside an answer that is there. Where that cannot be found out, the answer
    /// is not lost: it merely does not say it.
    async fn name(&self, context: &Context) -> Option<Box<RawValue>> {
        self.service.server_info(context).await.ok()
    }
}

impl Answer {
    /// An error. Those that have a status of their own keep it; others have `otherwise`.
    fn error(id: &RequestId, error: &McpError, otherwise: StatusCode) -> Self {
        let status = match error.code() {
            Some(METHOD_NOT_FOUND) => StatusCode::NOT_FOUND,
            Some(HEADER_MISMATCH | MISSING_CLIENT_CAPABILITY | UNSUPPORTED_PROTOCOL_VERSION) => {
                StatusCode::BAD_REQUEST
            }
            _ => otherwise,
        };
        Self { status, message: Bytes::from(write_error(Some(id), error)) }
    }
}

/// −32022, naming what is served instead. Only revisions of this era: whoever got this answer must
/// not fall back to a handshake.
fn unserved(requested: &str) -> McpError {
    McpError::new(UNSUPPORTED_PROTOCOL_VERSION, "this revision of MCP is not served").with_data(
        &serde_json::json!({
            "requested": requested,
            "supported": ProtocolVersion::STATELESS.map(ProtocolVersion::as_str),
        }),
    )
}

/// −32602 for what stands in `params`.
fn wrong_params(message: &'static str) -> McpError {
    McpError::new(INVALID_PARAMS, message)
}
