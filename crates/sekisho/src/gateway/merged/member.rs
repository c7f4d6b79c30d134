//! One of several servers that are one. What all are asked at once, each is waited for a while: who
//! hangs is asked on beside the request, and is left out of all else of that kind meanwhile.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use sekisho_protocol::mcp::{INTERNAL_ERROR, List, McpError, MemberName, Page, params_with_cursor};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use crate::gateway::complaints::Complaints;
use crate::mcp::{CallError, Changes, Context, McpService, ServerInfo, Whose};
use crate::principal::{Person, Principal};

/// How long one member may hold up what all are asked.
const MEMBER_WAIT: Duration = Duration::from_secs(10);
/// Most questions that one member is slow to answer at once; what is asked beyond is given up.
const LATE_MAX: usize = 1_000;
/// Of how many tools that are left out the log has the names; they are long.
const LEFT_OUT_NAMED_MAX: usize = 3;
/// What a member is asked to say of itself by.
const GREETING: &str = "initialize";

/// A member.
pub(super) struct Member {
    name: MemberName,
    service: Arc<dyn McpService>,
    /// Who hears that its lists are there after all.
    changes: Changes,
    /// What it last said that it can, to whomever.
    known: Mutex<Option<Box<RawValue>>>,
    late: Mutex<HashSet<Question>>,
    failures: Complaints,
    long_names: Complaints,
}

/// Who asks, and what.
type Question = (Option<Person>, &'static str);

impl Member {
    pub(super) fn new(name: MemberName, service: Arc<dyn McpService>, changes: Changes) -> Self {
        Self {
            name,
            service,
            changes,
            known: Mutex::default(),
            late: Mutex::default(),
            failures: Complaints::default(),
            long_names: Complaints::default(),
        }
    }

    pub(super) fn name(&self) -> &MemberName {
        &self.name
    }

    pub(super) fn service(&self) -> &Arc<dyn McpService> {
        &self.service
    }

    /// What it could when it last answered.
    pub(super) fn known(&self) -> Option<Box<RawValue>> {
        lock(&self.known).clone()
    }

    /// What it says of itself. If it takes too long, whoever asked hears of its lists when it is there.
    pub(super) async fn greeting(
        self: &Arc<Self>,
        context: &Context,
    ) -> Result<Arc<ServerInfo>, McpError> {
        let (service, its) = (Arc::clone(&self.service), context.clone());
        let asked = async move { Ok(service.info(&its).await?) };
        let info = self.ask(GREETING, context, asked).await?;
        self.learn(&info);
        Ok(info)
    }

    /// A page of one of its lists; nothing if it has no such list.
    pub(super) async fn page(
        self: &Arc<Self>,
        list: List,
        params: Option<&RawValue>,
        cursor: Option<&str>,
        context: &Context,
    ) -> Result<Option<Page>, McpError> {
        let params = match cursor {
            None => params.map(ToOwned::to_owned),
            Some(cursor) => {
                Some(params_with_cursor(params, cursor).ok_or_else(McpError::internal)?)
            }
        };
        let asked = self.call_if_it_can(list.capability(), list.method(), params, context);
        let Some(result) = asked.await? else { return Ok(None) };
        let Some(mut page) = Page::read(list, &self.name, &result) else {
            return Err(self.failed(&"it is no list"));
        };
        if page.end_at_long_cursor() {
            self.failed(&"its next page has a name that is too long: the list ends here");
        }
        if !page.left_out.is_empty()
            && let Some(times) = self.long_names.is_due()
        {
            let some = page.left_out.get(..LEFT_OUT_NAMED_MAX).unwrap_or(&page.left_out);
            tracing::warn!(
                member = %self.name, times, left_out = page.left_out.len(), tools = ?some,
                "clients would refuse the names of these tools: they are left out",
            );
        }
        Ok(Some(page))
    }

    /// Tells it from which level on log messages are wanted; whether it logs.
    pub(super) async fn set_log_level(
        self: &Arc<Self>,
        params: Option<&RawValue>,
        context: &Context,
    ) -> Result<bool, McpError> {
        let params = params.map(ToOwned::to_owned);
        let told = self.call_if_it_can("logging", "logging/setLevel", params, context);
        Ok(told.await?.is_some())
    }

    /// Tells it what a client tells.
    pub(super) async fn notice(&self, method: &str, params: Option<&RawValue>, context: &Context) {
        let told = self.service.notice(method, params, context);
        if tokio::time::timeout(MEMBER_WAIT, told).await.is_err() {
            self.failed(&"it does not listen");
        }
    }

    /// Calls it, if it says that it can do this.
    async fn call_if_it_can(
        self: &Arc<Self>,
        capability: &'static str,
        method: &'static str,
        params: Option<Box<RawValue>>,
        context: &Context,
    ) -> Result<Option<Box<RawValue>>, McpError> {
        let (member, its) = (Arc::clone(self), context.clone());
        let asked = async move {
            let info = member.service.info(&its).await?;
            member.learn(&info);
            let can: Value = serde_json::from_str(info.capabilities.get()).unwrap_or_default();
            if can.get(capability).is_none() {
                return Ok(None);
            }
            member.service.call(method, params.as_deref(), &its).await.map(Some)
        };
        self.ask(method, context, asked).await
    }

    fn learn(&self, info: &ServerInfo) {
        let mut known = lock(&self.known);
        if known.as_deref().is_none_or(|known| known.get() != info.capabilities.get()) {
            *known = Some(info.capabilities.clone());
        }
    }

    /// Asks it, and waits for a while.
    async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        what: &'static str,
        context: &Context,
        asked: impl Future<Output = Result<T, CallError>> + Send + 'static,
    ) -> Result<T, McpError> {
        let person = context.principal().map(Principal::person);
        let question = (person.clone(), what);
        {
            let late = lock(&self.late);
            // Who is not greeted yet lists nothing either.
            if late.contains(&question) || late.contains(&(person, GREETING)) {
                return Err(self.absent());
            }
        }
        let mut asked = Box::pin(asked.in_current_span());
        if let Some(answer) = asked.as_mut().now_or_never() {
            return answer.map_err(|error| self.failed(&error));
        }
        let mut asked = AbortOnDropHandle::new(tokio::spawn(asked));
        match tokio::time::timeout(MEMBER_WAIT, &mut asked).await {
            Ok(Ok(answer)) => answer.map_err(|error| self.failed(&error)),
            Ok(Err(panicked)) => Err(self.failed(&panicked)),
            Err(_) => {
                self.failed(&"it takes too long");
                if let Some(late) = Late::begin(self, question) {
                    tokio::spawn(late.end_with(asked));
                }
                Err(self.absent())
            }
        }
    }

    /// Notes that it is left out of something.
    fn failed(&self, error: &dyn fmt::Display) -> McpError {
        if let Some(times) = self.failures.is_due() {
            tracing::warn!(
                member = %self.name, times, reason = %error,
                "a server does not answer as it should: what it has is left out",
            );
        }
        self.absent()
    }

    fn absent(&self) -> McpError {
        let name = &self.name;
        McpError::new(INTERNAL_ERROR, format!("{name:?} does not answer now: try again later"))
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("name", &self.name)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

/// A question that a member is slow to answer, for as long as it is.
struct Late {
    member: Arc<Member>,
    question: Question,
}

impl Late {
    /// Nothing if it is asked already, or too much is.
    fn begin(member: &Arc<Member>, question: Question) -> Option<Self> {
        let mut late = lock(&member.late);
        if late.len() >= LATE_MAX || !late.insert(question.clone()) {
            return None;
        }
        Some(Self { member: Arc::clone(member), question })
    }

    /// Waits for the answer. Whoever missed a greeting can list now what was left out.
    async fn end_with<T>(self, asked: AbortOnDropHandle<Result<T, CallError>>) {
        let is_answered = matches!(asked.await, Ok(Ok(_)));
        let (whose, what) = self.question.clone();
        let changes = self.member.changes.of(whose.map_or(Whose::Everybodys, Whose::Persons));
        drop(self);
        if is_answered && what == GREETING {
            changes.tools_changed();
            changes.prompts_changed();
            changes.resources_changed();
        }
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        lock(&self.member.late).remove(&self.question);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
