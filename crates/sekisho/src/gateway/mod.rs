//! A server that is not ours, guarded like one that is: [`Gateway`] is an [`McpService`] that hands
//! every request on, text for text.
//!
//! ```text
//! transports ─▶ Gateway ─▶ children (who talks to which process) ─▶ upstream (a process, its lines)
//!                  │ a question of the server: asked at once where the client has a session,
//!                  └─ held until the client calls again where it has none (2026-07-28)
//! ```
//!
//! The command comes from the operator and from nobody else. A client's token never gets here: the
//! guard takes it out of the request.

mod children;
mod held;
mod limits;
mod upstream;

use std::sync::Arc;

use async_trait::async_trait;
use sekisho_protocol::mcp::{McpError, ToolCallParams};
use serde_json::value::{RawValue, to_raw_value};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::children::Children;
pub use self::children::Per;
use self::held::{Held, HeldCalls};
pub use self::limits::GatewayLimits;
pub use self::upstream::StdioCommand;
use self::upstream::{Exchange, Question, Step};
use crate::mcp::{CallError, Changes, Context, InputRequest, McpService, ServerInfo, Subscription};

/// An MCP server that is a command of the operator's.
#[derive(Debug)]
pub struct Gateway {
    children: Children,
    held: HeldCalls,
    changes: Changes,
}

impl Gateway {
    /// Serves what `command` serves, with a process of its own for each caller as `per` has it.
    /// Nothing is started before somebody asks. The processes end with `stopping`; whoever waits for
    /// `tasks` waits until they are gone.
    pub fn new(
        command: StdioCommand,
        per: Per,
        limits: GatewayLimits,
        stopping: CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        let changes = Changes::default();
        let held = HeldCalls::new(&limits);
        let children = Children::new(command, per, limits, changes.clone(), stopping, tasks);
        Self { children, held, changes }
    }

    /// From a request to its answer, with what the server tells and asks before it.
    async fn follow(
        &self,
        mut exchange: Exchange,
        mut open: Option<Question>,
        context: &Context,
    ) -> Result<Box<RawValue>, CallError> {
        loop {
            if let Some(question) = open.take() {
                match context.ask(InputRequest::from(&question)).await {
                    Ok(answer) => exchange.answer(&question, Ok(&answer)).await,
                    Err(CallError::Failed(error)) => {
                        exchange.answer(&question, Err(&error)).await;
                    }
                    Err(CallError::InputRequired(mut needed)) => {
                        let caller = context.principal().map(AsRef::as_ref);
                        let held = self.held.keep(caller, Held { exchange, question })?;
                        needed.state = to_raw_value(&held).ok();
                        return Err(CallError::InputRequired(needed));
                    }
                }
            }
            match exchange.next().await {
                Step::Answer(Ok(result)) => return Ok(result),
                Step::Answer(Err(error)) => {
                    return Err(McpError::forwarded(error).into());
                }
                Step::Question(question) => open = Some(question),
                Step::Notice(notice) => notice.tell(context),
                Step::Failed(error) => return Err(error.into()),
            }
        }
    }
}

#[async_trait]
impl McpService for Gateway {
    async fn info(&self, context: &Context) -> Result<Arc<ServerInfo>, McpError> {
        Ok(Arc::clone(self.children.of(context).await?.info()))
    }

    async fn call(
        &self,
        method: &str,
        params: Option<&RawValue>,
        context: &Context,
    ) -> Result<Box<RawValue>, CallError> {
        if let Some(state) = context.state() {
            let caller = context.principal().map(AsRef::as_ref);
            let Held { exchange, question } = self.held.take(caller, state)?;
            return self.follow(exchange, Some(question), context).await;
        }
        if method == "tools/call" {
            // Nobody behind us reads another call out of it than we do.
            ToolCallParams::parse(params)?;
        }
        let upstream = self.children.of(context).await?;
        let exchange = upstream.begin(method, params, context).await?;
        self.follow(exchange, None, context).await
    }

    async fn notice(&self, method: &str, params: Option<&RawValue>, context: &Context) {
        // A process is not started for something that nobody waits for.
        if let Some(upstream) = self.children.running(context).await {
            upstream.notify(method, params).await;
        }
    }

    fn changes(&self) -> Option<&Changes> {
        Some(&self.changes)
    }

    async fn subscribe(&self, uri: &str, context: &Context) -> Result<Subscription, McpError> {
        self.children.of(context).await?.subscribe(uri).await
    }
}
