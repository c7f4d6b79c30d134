//! An [`rmcp`] server as an [`McpService`]: written once, served over every transport here, to
//! clients of every revision. Cargo feature `rmcp`.
//!
//! rmcp gives a handler its client as a [`Peer`](rmcp::Peer). Here each call has a peer of its own,
//! which is good for as long as the call lasts:
//!
//! | a handler's | becomes |
//! |---|---|
//! | `create_message`, `create_elicitation`, `list_roots` | [`Context::ask_all`]: for clients of 2026-07-28 the call ends, and the handler runs anew from its start with the answers so far. So it asks in the same order each time, and does nothing before its first question that must not be done twice |
//! | progress, custom notifications | told to the client before the answer |
//! | log messages | told to the client, if it wants to hear of that level |
//! | "changed" and "updated" | [`Changes`]: told to all clients who listen |
//! | future | dropped when the call is cancelled; its `ct` is cancelled too |
//! | `Extension<Arc<Principal>>` | who calls |
//!
//! What does not go through:
//!
//! - A peer that is kept beyond its call reaches nobody: keep a [`Changes`]
//!   ([`RmcpService::with_changes`]) to tell of something later.
//! - `initialize` and `discover` are answered by the transports from `get_info`, once asked at the
//!   start; the hooks of a handler's handshake are not called.
//! - A handler sees every client as one of at most 2025-11-25. What rmcp has for 2026-07-28 alone
//!   (`InputRequiredResult`, `listen`, hints for caches) is refused or left out by rmcp; arguments
//!   that a tool wants repeated in headers are not compared.
//! - Answers to what was asked come in rmcp's form of them, which knows the members that rmcp knows.
//!
//! rmcp writes a line at `info` whenever a peer begins and ends: log with `rmcp=warn`.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use rmcp::model::{
    ClientRequest, ErrorCode, GetExtensions as _, GetMeta as _, Implementation,
    InitializeRequestParams, JsonRpcMessage, RequestId, RequestMetaObject, ServerNotification,
    ServerRequest,
};
use rmcp::service::{
    RequestContext, RunningService, RxJsonRpcMessage, TxJsonRpcMessage, serve_directly,
};
use rmcp::transport::Transport;
use rmcp::{ErrorData, RoleServer, ServerHandler, Service};
use sekisho_protocol::mcp::{LogLevel, McpError, ProtocolVersion, write_error};
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::changes::Changes;
use super::input::{CallError, InputRequest};
use super::service::{Context, McpService, ServerInfo, Subscription};

/// Messages between a handler and its peer that wait to be read.
const MESSAGES_MAX: usize = 16;

/// Serves a handler of `rmcp`. Clones share it.
pub struct RmcpService<H> {
    handler: Arc<H>,
    info: Arc<ServerInfo>,
    changes: Changes,
}

impl<H: ServerHandler> RmcpService<H> {
    /// Serves `handler`, which says here and now what it is.
    pub fn new(handler: H) -> Self {
        let about = handler.get_info();
        let info = ServerInfo {
            capabilities: to_raw_value(&about.capabilities).unwrap_or_default(),
            server_info: to_raw_value(&about.server_info).unwrap_or_default(),
            instructions: about.instructions,
        };
        Self { handler: Arc::new(handler), info: Arc::new(info), changes: Changes::default() }
    }

    /// Lets `changes` say what changes, beside the handler in its calls.
    #[must_use]
    pub fn with_changes(self, changes: Changes) -> Self {
        Self { changes, ..self }
    }

    /// Runs one request, and meanwhile passes on what the handler has to say to its client.
    async fn run(
        &self,
        mut request: ClientRequest,
        context: &Context,
    ) -> Result<Box<RawValue>, CallError> {
        let mut line = Line::open(&self.handler, context);
        let mut handling = RequestContext::new(RequestId::Number(1), line.running.peer().clone());
        handling.meta = without_era(std::mem::take(request.get_meta_mut()));
        handling.extensions = std::mem::take(request.extensions_mut());
        if let Some(principal) = context.principal() {
            handling.extensions.insert(Arc::clone(principal));
        }
        let _cancelled_when_dropped = handling.ct.clone().drop_guard();
        let mut handled = std::pin::pin!(Service::<RoleServer>::handle_request(
            &*self.handler,
            request,
            handling
        ));
        let mut asked = Asked::default();
        let mut answers = FuturesUnordered::new();
        let outcome = loop {
            tokio::select! {
                biased;
                Some(said) = line.from_handler.recv() => match said {
                    JsonRpcMessage::Notification(said) => self.tell(&said.notification, context),
                    JsonRpcMessage::Request(question) => {
                        let request = asked.next(&question.request)?;
                        answers.push(async move { (question.id, context.ask(request).await) });
                    }
                    JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => {}
                },
                Some((id, answer)) = answers.next() => line.answer(id, answer).await?,
                outcome = &mut handled => break outcome,
            }
        };
        // What was said before the answer may stand in line still.
        while let Ok(said) = line.from_handler.try_recv() {
            if let JsonRpcMessage::Notification(said) = said {
                self.tell(&said.notification, context);
            }
        }
        match outcome {
            Ok(result) => to_raw_value(&result).map_err(|_| McpError::internal().into()),
            Err(error) => Err(refused(error, context.version()).into()),
        }
    }

    fn tell(&self, said: &ServerNotification, context: &Context) {
        let Ok(mut said) = serde_json::to_value(said) else { return };
        let params = said.get_mut("params").map(Value::take);
        let text = |name: &str| params.as_ref().and_then(|params| params.get(name)?.as_str());
        match said.get("method").and_then(Value::as_str).unwrap_or_default() {
            "notifications/tools/list_changed" => self.changes.tools_changed(),
            "notifications/prompts/list_changed" => self.changes.prompts_changed(),
            "notifications/resources/list_changed" => self.changes.resources_changed(),
            "notifications/resources/updated" => {
                self.changes.resource_updated(text("uri").unwrap_or_default());
            }
            "notifications/message" => {
                if let Some(level) = text("level").and_then(LogLevel::from_text) {
                    let data = params.as_ref().and_then(|params| params.get("data"));
                    context.log(level, text("logger"), &data);
                }
            }
            method => {
                context.notify(
                    method,
                    params.and_then(|params| to_raw_value(&params).ok()).as_deref(),
                );
            }
        }
    }
}

#[async_trait]
impl<H: ServerHandler> McpService for RmcpService<H> {
    async fn info(&self, _context: &Context) -> Result<Arc<ServerInfo>, McpError> {
        Ok(Arc::clone(&self.info))
    }

    async fn call(
        &self,
        method: &str,
        params: Option<&RawValue>,
        context: &Context,
    ) -> Result<Box<RawValue>, CallError> {
        self.run(read_request(method, params)?, context).await
    }

    async fn notice(&self, method: &str, params: Option<&RawValue>, context: &Context) {
        let Ok(notification) = read(method, params) else { return };
        let line = Line::open(&self.handler, context);
        // Nobody waits for what comes of it.
        let _ = line.to_handler.send(JsonRpcMessage::notification(notification)).await;
        line.end().await;
    }

    fn changes(&self) -> Option<&Changes> {
        Some(&self.changes)
    }

    async fn subscribe(&self, uri: &str, context: &Context) -> Result<Subscription, McpError> {
        let ask = |method| {
            let params = to_raw_value(&json!({ "uri": uri })).unwrap_or_default();
            read_request(method, Some(&params))
        };
        let (subscribe, unsubscribe) = (ask("resources/subscribe")?, ask("resources/unsubscribe")?);
        match self.run(subscribe, context).await {
            Ok(_) => Ok(Subscription::holding(Unsubscribe {
                service: self.clone(),
                request: unsubscribe,
                context: Context::new(context.principal().cloned(), context.version()),
            })),
            Err(CallError::Failed(error)) => Err(error),
            Err(CallError::InputRequired(_)) => Err(McpError::internal()),
        }
    }
}

impl<H> Clone for RmcpService<H> {
    fn clone(&self) -> Self {
        Self {
            handler: Arc::clone(&self.handler),
            info: Arc::clone(&self.info),
            changes: self.changes.clone(),
        }
    }
}

impl<H> fmt::Debug for RmcpService<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RmcpService").field("info", &self.info).finish_non_exhaustive()
    }
}

/// Tells the handler, when it is dropped, that a client follows a resource no more.
struct Unsubscribe<H: ServerHandler> {
    service: RmcpService<H>,
    request: ClientRequest,
    context: Context,
}

impl<H: ServerHandler> Drop for Unsubscribe<H> {
    fn drop(&mut self) {
        // At the end of the program there is nobody left to tell.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let service = self.service.clone();
        let (request, context) = (self.request.clone(), self.context.clone());
        runtime.spawn(async move { service.run(request, &context).await });
    }
}

/// What a handler asked its client within one call; its questions are named by kind and number.
#[derive(Default)]
struct Asked(HashMap<String, usize>);

impl Asked {
    fn next(&mut self, question: &ServerRequest) -> Result<InputRequest, McpError> {
        let mut question = serde_json::to_value(question).map_err(|_| McpError::internal())?;
        let mut params = question.get_mut("params").map_or_else(|| json!({}), Value::take);
        // rmcp wants to hear of progress, which would find no peer any more.
        if let Some(meta) = params.get_mut("_meta").and_then(Value::as_object_mut) {
            meta.remove("progressToken");
        }
        let method = question.get("method").and_then(Value::as_str).unwrap_or_default().to_owned();
        let number = self.0.entry(method.clone()).or_insert(0);
        *number += 1;
        Ok(InputRequest {
            key: format!("{method} {number}").into(),
            method: method.into(),
            params: to_raw_value(&params).map_err(|_| McpError::internal())?,
        })
    }
}

/// A peer for one call, and both ends of what goes between it and the handler.
struct Line<H: ServerHandler> {
    running: RunningService<RoleServer, Arc<H>>,
    to_handler: mpsc::Sender<RxJsonRpcMessage<RoleServer>>,
    from_handler: mpsc::Receiver<TxJsonRpcMessage<RoleServer>>,
}

impl<H: ServerHandler> Line<H> {
    fn open(handler: &Arc<H>, context: &Context) -> Self {
        let (to_handler, incoming) = mpsc::channel(MESSAGES_MAX);
        let (outgoing, from_handler) = mpsc::channel(MESSAGES_MAX);
        let ends = Ends { incoming, outgoing };
        let running = serve_directly(Arc::clone(handler), ends, Some(client_of(context)));
        Self { running, to_handler, from_handler }
    }

    /// The client's answer to what the handler asked. The call is over if there has to be another.
    async fn answer(
        &self,
        id: RequestId,
        answer: Result<Box<RawValue>, CallError>,
    ) -> Result<(), CallError> {
        let message = match answer {
            Ok(result) => {
                let Ok(result) = serde_json::from_str(result.get()) else {
                    return Err(McpError::invalid_params("the client's answer is none").into());
                };
                JsonRpcMessage::response(result, id)
            }
            Err(CallError::Failed(error)) => JsonRpcMessage::error(error_data(&error), Some(id)),
            Err(needed @ CallError::InputRequired(_)) => return Err(needed),
        };
        self.to_handler.send(message).await.map_err(|_| McpError::internal().into())
    }

    /// Ends when all that was sent was taken up.
    async fn end(self) {
        drop(self.to_handler);
        let _ = self.running.waiting().await;
    }
}

/// The end of a line that rmcp holds.
struct Ends {
    incoming: mpsc::Receiver<RxJsonRpcMessage<RoleServer>>,
    outgoing: mpsc::Sender<TxJsonRpcMessage<RoleServer>>,
}

/// The call that a peer was for is over.
#[derive(Debug, thiserror::Error)]
#[error("the call is over")]
struct Over;

impl Transport<RoleServer> for Ends {
    type Error = Over;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), Over>> + Send + 'static {
        let outgoing = self.outgoing.clone();
        async move { outgoing.send(message).await.map_err(|_| Over) }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        self.incoming.recv().await
    }

    async fn close(&mut self) -> Result<(), Over> {
        Ok(())
    }
}

/// What rmcp learns of the client: a revision with a handshake, since only then may handlers ask.
fn client_of(context: &Context) -> InitializeRequestParams {
    let capabilities = context.client_capabilities();
    let capabilities =
        capabilities.and_then(|said| serde_json::from_str(said.get()).ok()).unwrap_or_default();
    let name = context.principal().map_or("", |principal| principal.client_id.as_str());
    let client = InitializeRequestParams::new(capabilities, Implementation::new(name, ""));
    let version = if context.version().is_stateless() {
        ProtocolVersion::LATEST_WITH_HANDSHAKE
    } else {
        context.version()
    };
    match serde_json::from_value(version.as_str().into()) {
        Ok(version) => client.with_protocol_version(version),
        Err(_) => client,
    }
}

/// `_meta` without what makes rmcp take a request for one of 2026-07-28.
fn without_era(mut meta: RequestMetaObject) -> RequestMetaObject {
    for name in ["protocolVersion", "clientInfo", "clientCapabilities", "logLevel"] {
        meta.remove(&format!("io.modelcontextprotocol/{name}"));
    }
    meta
}

fn read_request(method: &str, params: Option<&RawValue>) -> Result<ClientRequest, McpError> {
    let request = read(method, params)?;
    // rmcp takes for a method of the handler's own what it cannot read as one of MCP.
    if matches!(request, ClientRequest::CustomRequest(_)) && WITH_PARAMS.contains(&method) {
        return Err(McpError::invalid_params(format!("these are no params of {method:?}")));
    }
    Ok(request)
}

const WITH_PARAMS: [&str; 7] = [
    "tools/call",
    "prompts/get",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "completion/complete",
    "logging/setLevel",
];

fn read<T: DeserializeOwned>(method: &str, params: Option<&RawValue>) -> Result<T, McpError> {
    let mut message = json!({ "method": method });
    if let (Some(params), Some(message)) = (params, message.as_object_mut()) {
        let params = serde_json::from_str(params.get())
            .map_err(|_| McpError::invalid_params("params are not JSON"))?;
        message.insert("params".to_owned(), params);
    }
    serde_json::from_value(message)
        .map_err(|_| McpError::invalid_params(format!("these are no params of {method:?}")))
}

/// rmcp's error as it goes to the client: in 2026-07-28 a resource that is not there is a wrong
/// parameter.
fn refused(mut error: ErrorData, version: ProtocolVersion) -> McpError {
    if version.is_stateless() && error.code == ErrorCode::RESOURCE_NOT_FOUND {
        error.code = ErrorCode::INVALID_PARAMS;
    }
    to_raw_value(&error).map_or_else(|_| McpError::internal(), McpError::forwarded)
}

/// Our error as a handler gets it.
fn error_data(error: &McpError) -> ErrorData {
    let message = serde_json::from_slice::<Value>(&write_error(None, error));
    let error = message.ok().and_then(|mut message| Some(message.get_mut("error")?.take()));
    error
        .and_then(|error| serde_json::from_value(error).ok())
        .unwrap_or_else(|| ErrorData::internal_error("the client gave no answer", None))
}
