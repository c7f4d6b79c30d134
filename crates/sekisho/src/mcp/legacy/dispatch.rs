//! From a message to its answer: the methods every server has are answered here, all others by
//! the service.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::join_all;
use sekisho_protocol::mcp::{
    INVALID_REQUEST, InitializeParams, LogLevel, McpError, Message, MessageError, Notification,
    ParamsOutline, ProtocolVersion, Request, RequestId, Response, write_error, write_result,
};
use sekisho_protocol::oauth::ScopeSet;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::event_stream::EventStream;
use super::session::Session;
use crate::mcp::input::CallError;
use crate::mcp::refusal::Refusal;
use crate::mcp::service::{Context, McpService, ServerInfo};
use crate::principal::Principal;

/// Who sent a message: by the token of that very request, which may allow less than another of the
/// same session.
pub(in crate::mcp) type Caller = Option<Arc<Principal>>;

/// A request that owns all it needs, so that it can outlive the connection it came by.
#[derive(Debug)]
pub(in crate::mcp) struct Call {
    service: Arc<dyn McpService>,
    session: Arc<Session>,
    caller: Caller,
    id: RequestId,
    method: Box<str>,
    params: Option<Box<RawValue>>,
    exchange: Option<Arc<EventStream>>,
}

impl Call {
    /// `exchange` takes what the service tells before its answer.
    pub(in crate::mcp) fn new(
        service: &Arc<dyn McpService>,
        session: &Arc<Session>,
        caller: &Caller,
        request: &Request<'_>,
        exchange: Option<Arc<EventStream>>,
    ) -> Self {
        Self {
            service: Arc::clone(service),
            session: Arc::clone(session),
            caller: caller.clone(),
            id: request.id.clone(),
            method: request.method.as_ref().into(),
            params: request.params.map(ToOwned::to_owned),
            exchange,
        }
    }

    /// The answer as a whole message. A service that panics costs its caller an error, nobody else
    /// anything.
    pub(in crate::mcp) async fn run(self) -> Bytes {
        let outcome = AssertUnwindSafe(self.outcome()).catch_unwind().await;
        let outcome = outcome.unwrap_or_else(|_| {
            tracing::error!(mcp.method = %self.method, "the service panicked");
            Err(McpError::internal())
        });
        Bytes::from(match outcome {
            Ok(result) => write_result(&self.id, result.get()),
            Err(error) => write_error(Some(&self.id), &error.in_handshake_words()),
        })
    }

    async fn outcome(&self) -> Result<Box<RawValue>, McpError> {
        let params = self.params.as_deref();
        match &*self.method {
            "initialize" => self.initialize(params).await,
            "ping" => Ok(empty_object()),
            method => {
                let Some(version) = self.session.version() else {
                    return Err(McpError::new(INVALID_REQUEST, "the first request is initialize"));
                };
                let caller = self.caller.clone();
                let exchange = self.exchange.clone();
                let context = Context::of_session(&self.session, caller, version, exchange);
                self.serve(method, params, context).await
            }
        }
    }

    async fn serve(
        &self,
        method: &str,
        params: Option<&RawValue>,
        context: Context,
    ) -> Result<Box<RawValue>, McpError> {
        match method {
            "resources/subscribe" | "resources/unsubscribe"
                if !self.service.info(&context).await?.declares("/resources/subscribe") =>
            {
                Err(McpError::method_not_found(method))
            }
            "resources/subscribe" => {
                let uri = uri_in(params)?;
                if !self.session.has_room_for_subscription() {
                    return Err(McpError::new(INVALID_REQUEST, "too many resources are followed"));
                }
                let subscription = self.service.subscribe(&uri, &context).await?;
                self.session.follow(uri, subscription);
                Ok(empty_object())
            }
            "resources/unsubscribe" => {
                self.session.unfollow(&uri_in(params)?);
                Ok(empty_object())
            }
            "logging/setLevel" => {
                let level = level_in(params)?;
                let answer = self.call_service(method, params, context).await?;
                self.session.set_log_level(level);
                Ok(answer)
            }
            _ => self.call_service(method, params, context).await,
        }
    }

    /// Calls the service, as often as it needs something of the client.
    async fn call_service(
        &self,
        method: &str,
        params: Option<&RawValue>,
        mut context: Context,
    ) -> Result<Box<RawValue>, McpError> {
        if params.is_some_and(|params| params.get().contains("progressToken")) {
            let ParamsOutline { meta, .. } = ParamsOutline::parse(params)?;
            context = context.with_progress_token(meta.progress_token());
        }
        for _ in 0..ROUNDS_MAX {
            let needed = match self.service.call(method, params, &context).await {
                Ok(result) => return Ok(result),
                Err(CallError::Failed(error)) => return Err(error),
                Err(CallError::InputRequired(needed)) => needed,
            };
            let mut inputs = context.inputs().cloned().unwrap_or_default();
            inputs.state = needed.state;
            let keys: Vec<String> =
                needed.requests.iter().map(|request| request.key.clone().into_owned()).collect();
            // What is asked again was not answered to the service's satisfaction.
            inputs.answers.retain(|key, _| !keys.contains(key));
            context = context.with_inputs(inputs.clone());
            let answers = match context.ask_all(needed.requests).await {
                Ok(answers) => answers,
                Err(CallError::Failed(error)) => return Err(error),
                Err(CallError::InputRequired(_)) => return Err(McpError::internal()),
            };
            inputs.answers.extend(keys.into_iter().zip(answers));
            context = context.with_inputs(inputs);
        }
        tracing::warn!(mcp.method = method, "the service asks its client without end");
        Err(McpError::internal())
    }

    async fn initialize(&self, params: Option<&RawValue>) -> Result<Box<RawValue>, McpError> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct InitializeResult<'a> {
            protocol_version: &'static str,
            #[serde(flatten)]
            info: &'a ServerInfo,
        }

        let asked = InitializeParams::parse(params)?;
        let version = ProtocolVersion::negotiate(&asked.protocol_version);
        // Before anybody is asked: what the client can do may decide who answers.
        if !self.session.agree_on(version, asked.capabilities) {
            return Err(McpError::new(INVALID_REQUEST, "this session is initialized already"));
        }
        let context = Context::of_session(&self.session, self.caller.clone(), version, None);
        let info = self.service.info(&context).await?;
        self.session.set_greeted();
        tracing::debug!(mcp.version = version.as_str(), "agreed on a version");
        let result = InitializeResult { protocol_version: version.as_str(), info: &info };
        to_raw_value(&result).map_err(|_| McpError::internal())
    }
}

/// How often one call may ask its client before it is taken for broken.
const ROUNDS_MAX: usize = 16;

fn uri_in(params: Option<&RawValue>) -> Result<String, McpError> {
    #[derive(Deserialize)]
    struct Named {
        uri: String,
    }
    let named = params.and_then(|params| serde_json::from_str::<Named>(params.get()).ok());
    named.map(|named| named.uri).ok_or_else(|| McpError::invalid_params("params need one uri"))
}

fn level_in(params: Option<&RawValue>) -> Result<LogLevel, McpError> {
    #[derive(Deserialize)]
    struct Named {
        level: String,
    }
    let named = params.and_then(|params| serde_json::from_str::<Named>(params.get()).ok());
    named.and_then(|named| LogLevel::from_text(&named.level)).ok_or_else(|| {
        let levels = LogLevel::ALL.map(LogLevel::as_str).join(", ");
        McpError::invalid_params(format!("params need one level of {levels}"))
    })
}

fn empty_object() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).unwrap_or_default()
}

/// Takes a client's notification. What is done about it goes on in the background.
pub(in crate::mcp) fn take_notice(
    service: &Arc<dyn McpService>,
    session: &Arc<Session>,
    caller: &Caller,
    notification: &Notification<'_>,
) -> Result<(), Refusal> {
    match notification.method.as_ref() {
        "notifications/initialized" => session.set_initialized(),
        "notifications/cancelled" => {
            if let Some(id) = notification.params.and_then(cancelled_id) {
                session.cancel(&id);
            }
        }
        method => {
            let Some(version) = session.version() else { return Err(Refusal::NotInitialized) };
            let context = Context::of_session(session, caller.clone(), version, None);
            let (service, method) = (Arc::clone(service), method.to_owned());
            let params = notification.params.map(ToOwned::to_owned);
            let mut work = Box::pin(async move {
                let notice = service.notice(&method, params.as_deref(), &context);
                // A panic concerns nobody but the log, where the panic hook has put it.
                let _ = AssertUnwindSafe(notice).catch_unwind().await;
            });
            if work.as_mut().now_or_never().is_none() {
                session.continue_in_background(None, work)?;
            }
        }
    }
    Ok(())
}

/// Refuses requests of a token that lacks what it could have: all that they need is asked for at once.
/// Where nobody is known, nothing is asked for.
pub(in crate::mcp) fn require_scopes<'a>(
    service: &dyn McpService,
    caller: &Caller,
    requests: impl IntoIterator<Item = &'a Request<'a>>,
) -> Result<(), Refusal> {
    let Some(caller) = caller else { return Ok(()) };
    let missing: Vec<ScopeSet> = requests
        .into_iter()
        .filter_map(|request| service.missing_scopes(&request.method, request.params, caller))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Refusal::InsufficientScope(ScopeSet::of(missing.iter().flat_map(ScopeSet::iter))))
}

/// Takes a client's answer to a request of ours. One that nobody waits for is dropped.
pub(in crate::mcp) fn take_answer(session: &Session, response: &Response<'_>) {
    if let Some(id) = &response.id {
        session.answered(id, response.outcome);
    }
}

fn cancelled_id(params: &RawValue) -> Option<RequestId> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Cancelled<'a> {
        #[serde(borrow)]
        request_id: &'a RawValue,
    }
    let cancelled: Cancelled<'_> = serde_json::from_str(params.get()).ok()?;
    RequestId::parse(cancelled.request_id)
}

/// Takes an array of messages (2025-03-26 only). The future writes the array of answers; there is
/// none if nothing in it asks for one.
pub(in crate::mcp) fn batch(
    service: &Arc<dyn McpService>,
    session: &Arc<Session>,
    caller: &Caller,
    messages: &[Result<Message<'_>, MessageError>],
) -> Result<Option<impl Future<Output = Bytes> + Send + use<>>, Refusal> {
    if !session.version().is_some_and(ProtocolVersion::has_batches) {
        return Err(Refusal::BatchUnserved);
    }
    // Before any of them is worked on: the answer to all is one status.
    let requests = messages.iter().filter_map(|message| match message {
        Ok(Message::Request(request)) => Some(request),
        Ok(Message::Notification(_) | Message::Response(_)) | Err(_) => None,
    });
    require_scopes(&**service, caller, requests)?;
    let mut answers = Vec::new();
    let mut calls = Vec::new();
    for message in messages {
        match message {
            Ok(Message::Request(request)) if request.method == "initialize" => {
                return Err(Refusal::InitializeInBatch);
            }
            Ok(Message::Request(request)) => {
                calls.push(Call::new(service, session, caller, request, None).run());
            }
            Ok(Message::Notification(notification)) => {
                take_notice(service, session, caller, notification)?;
            }
            Ok(Message::Response(response)) => take_answer(session, response),
            Err(error) => {
                answers.push(Bytes::from(write_error(error.id(), &error.to_mcp_error())));
            }
        }
    }
    if calls.is_empty() && answers.is_empty() {
        return Ok(None);
    }
    Ok(Some(async move {
        answers.extend(join_all(calls).await);
        let mut out = vec![b'['];
        out.extend(answers.join(&b','));
        out.push(b']');
        Bytes::from(out)
    }))
}
