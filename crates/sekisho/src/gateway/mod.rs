//! A server that is not ours, guarded like one that is: [`Gateway`] is an [`McpService`] that hands
//! every request on, text for text.
//!
//! ```text
//! transports ─▶ [Merged ─▶] Gateway ─▶ owners (who talks to whom) ─▶ upstream (a process, or a URL)
//!                  │ a question of the server: asked at once where the client has a session,
//!                  └─ held until the client calls again where it has none (2026-07-28)
//! ```
//!
//! The command or the URL comes from the operator and from nobody else. A client's token never gets here: the
//! guard takes it out of the request.

mod complaints;
mod credential;
mod held;
mod limits;
mod measured;
mod merged;
mod owners;
mod rounds;
mod upstream;

use std::sync::Arc;

use async_trait::async_trait;
use http::StatusCode;
use sekisho_protocol::mcp::{
    HEADER_MISMATCH, InputRequiredResult, McpError, MirroredParam, ToolCallParams,
    result_for_handshake, result_without_cache_scope,
};
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use self::credential::{
    Attribute, CallerToken, CallerTokens, FRESH_AT_LEAST, Introduction, KeptTokens, NotIntroduced,
    SIGNED_LIFE, SignedTokens, TOKEN_WAIT, TOLD_BYTES_MAX, UnknownAttribute,
};
use self::held::{Held, HeldCalls};
pub use self::limits::GatewayLimits;
use self::measured::Measured;
pub use self::merged::{MEMBERS_MAX, Merged, MergedError};
use self::owners::Owners;
pub use self::owners::Per;
use self::rounds::Round;
#[cfg(feature = "fuzzing")]
pub use self::upstream::events_in;
use self::upstream::{Exchange, Question, Step, Supplied, Upstream};
pub use self::upstream::{
    GuardedServer, RemoteServer, RemoteServerError, RemoteTransport, StdioCommand,
};
use crate::mcp::{CallError, Changes, Context, InputRequest, McpService, ServerInfo, Subscription};
use crate::measure::spans;

/// An MCP server that is somebody else's: a command of the operator's, or at a URL.
#[derive(Debug)]
pub struct Gateway {
    owners: Owners,
    held: HeldCalls,
    changes: Changes,
    measured: Arc<Measured>,
    _ends_when_dropped: DropGuard,
}

impl Gateway {
    /// Serves what `server` serves, with a process or session of its own for each caller as `per`
    /// has it. Nothing is begun before somebody asks. All ends with `stopping`, or when nobody uses the
    /// gateway any more; whoever waits for `tasks` waits until it has.
    pub fn new(
        server: impl Into<GuardedServer>,
        per: Per,
        limits: GatewayLimits,
        stopping: &CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        Self::measured(Measured::new(None), server.into(), per, limits, stopping, tasks)
    }

    /// The same, measured under this name, which must be one from the settings.
    pub fn named(
        name: &str,
        server: impl Into<GuardedServer>,
        per: Per,
        limits: GatewayLimits,
        stopping: &CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        Self::measured(Measured::new(Some(name)), server.into(), per, limits, stopping, tasks)
    }

    fn measured(
        measured: Measured,
        server: GuardedServer,
        per: Per,
        limits: GatewayLimits,
        stopping: &CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        let changes = Changes::heard_by_each_instance();
        let held = HeldCalls::new(&limits);
        let measured = Arc::new(measured);
        let of_owners = Arc::clone(&measured);
        let ends = stopping.child_token();
        let until = (ends.clone(), tasks);
        let owners = Owners::new(server, per, limits, changes.clone(), until, of_owners);
        Self { owners, held, changes, measured, _ends_when_dropped: ends.drop_guard() }
    }

    /// Makes a call, or goes on with one that waited for its client.
    async fn carry(
        &self,
        method: &str,
        params: Option<&RawValue>,
        context: &Context,
    ) -> Result<Box<RawValue>, CallError> {
        let round = context.state().and_then(Round::read);
        if let (Some(state), None) = (context.state(), &round) {
            let Held { exchange, question } = self.held.take(context.principal(), state)?;
            return match self.follow(exchange, Some(question), context).await? {
                Followed::Result(result) => Ok(result),
                Followed::Refused { error, .. } => Err(error.into()),
            };
        }
        self.ask(method, params, context, round.as_ref()).await
    }

    /// From a request to its answer, with what the server tells and asks before it.
    async fn follow(
        &self,
        mut exchange: Exchange,
        mut open: Option<Question>,
        context: &Context,
    ) -> Result<Followed, CallError> {
        loop {
            if let Some(question) = open.take() {
                match context.ask(InputRequest::from(&question)).await {
                    Ok(answer) => exchange.answer(&question, Ok(&answer)).await,
                    Err(CallError::Failed(error)) => {
                        exchange.answer(&question, Err(&error)).await;
                    }
                    Err(CallError::InputRequired(mut needed)) => {
                        let held = Held { exchange, question };
                        let held = self.held.keep(context.principal(), held)?;
                        needed.state = to_raw_value(&held).ok();
                        needed.is_held = true;
                        return Err(CallError::InputRequired(needed));
                    }
                }
            }
            match exchange.next().await {
                Step::Answer(result) => return Ok(Followed::Result(result)),
                Step::Refused { error, status } => {
                    return Ok(Followed::Refused { error, status });
                }
                Step::Question(question) => open = Some(question),
                Step::Notice(notice) => notice.tell(context),
                Step::Failed(error) => return Err(error.into()),
            }
        }
    }

    /// Makes a call of a server, and once more where the first was refused without being done: the
    /// server had forgotten the session, or wanted headers that nobody knew of.
    async fn ask(
        &self,
        method: &str,
        params: Option<&RawValue>,
        context: &Context,
        round: Option<&Round>,
    ) -> Result<Box<RawValue>, CallError> {
        let responses = round.and_then(|round| round.responses(context));
        let supplied =
            Supplied { responses: responses.as_deref(), state: round.and_then(Round::state) };
        let mut is_second = false;
        loop {
            let upstream = self.owners.of(context).await?;
            if upstream.is_stateless() && method == "logging/setLevel" && upstream.has_logging() {
                // Its clients say so in each request, and so do we.
                return Ok(RawValue::from_string("{}".to_owned()).unwrap_or_default());
            }
            let exchange = match upstream.begin(method, params, context, supplied).await {
                // Nothing was said of it yet.
                Err(_) if upstream.connection().is_forgotten() && !is_second => {
                    is_second = true;
                    continue;
                }
                begun => begun?,
            };
            match self.follow(exchange, None, context).await? {
                Followed::Result(result) if method == "tools/list" => {
                    return answer(&upstream, upstream.passing_list(params, result), context);
                }
                Followed::Result(result) => return answer(&upstream, result, context),
                Followed::Refused { error, status } => {
                    let is_unknown = status == Some(StatusCode::NOT_FOUND);
                    let is_forgotten = is_unknown && upstream.connection().is_forgotten();
                    let is_mismatch = upstream.is_stateless()
                        && method == "tools/call"
                        && error.code() == Some(HEADER_MISMATCH);
                    if is_second || !(is_forgotten || is_mismatch) {
                        return Err(error.into());
                    }
                    if is_mismatch {
                        let tool = ToolCallParams::parse(params)?.name;
                        Box::pin(upstream.learn_headers(&tool)).await;
                    }
                    is_second = true;
                }
            }
        }
    }
}

/// How a call came out, as far as the server says so.
#[derive(Debug)]
enum Followed {
    Result(Box<RawValue>),
    /// It was not done.
    Refused {
        error: McpError,
        status: Option<StatusCode>,
    },
}

/// The result of a server in words for this client.
fn answer(
    upstream: &Upstream,
    result: Box<RawValue>,
    context: &Context,
) -> Result<Box<RawValue>, CallError> {
    if !upstream.is_stateless() {
        return Ok(result);
    }
    if let Some(needed) = InputRequiredResult::parse(&result) {
        return Err(CallError::InputRequired(Round::begin(&needed)?));
    }
    let rewritten = if context.version().is_stateless() {
        // The server does not know that we let in not everybody.
        result_without_cache_scope(&result)
    } else {
        result_for_handshake(&result)
    };
    Ok(rewritten.into_owned())
}

#[async_trait]
impl McpService for Gateway {
    async fn info(&self, context: &Context) -> Result<Arc<ServerInfo>, McpError> {
        Ok(Arc::clone(self.owners.of(context).await?.info()))
    }

    async fn call(
        &self,
        method: &str,
        params: Option<&RawValue>,
        context: &Context,
    ) -> Result<Box<RawValue>, CallError> {
        let at = Instant::now();
        let span = self.measured.span(method, params);
        let outcome = spans::within(span.as_ref(), self.carry(method, params, context)).await;
        self.measured.called(at, span, &outcome);
        outcome
    }

    async fn notice(&self, method: &str, params: Option<&RawValue>, context: &Context) {
        // Nothing is begun for something that nobody waits for.
        if let Some(upstream) = self.owners.running(context).await {
            upstream.notify(method, params).await;
        }
    }

    fn changes(&self) -> Option<&Changes> {
        Some(&self.changes)
    }

    async fn mirrored_params(
        &self,
        tool: &str,
        context: &Context,
    ) -> Result<Arc<[MirroredParam]>, McpError> {
        let upstream = self.owners.of(context).await?;
        let repeated = upstream.repeated(tool).await;
        if !upstream.connection().is_forgotten() {
            return Ok(repeated);
        }
        // It was that question which found out.
        Ok(self.owners.of(context).await?.repeated(tool).await)
    }

    async fn subscribe(&self, uri: &str, context: &Context) -> Result<Subscription, McpError> {
        let upstream = self.owners.of(context).await?;
        match upstream.subscribe(uri).await {
            // To be told of something twice is no harm.
            Err(_) if upstream.connection().is_forgotten() => {
                self.owners.of(context).await?.subscribe(uri).await
            }
            outcome => outcome,
        }
    }
}
