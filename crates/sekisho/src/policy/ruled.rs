//! A service whose rules are asked first. Whoever calls without a principal gets nothing: where
//! nobody is known, as over stdio, rules have no place.

use std::sync::Arc;

use async_trait::async_trait;
use sekisho_protocol::mcp::{McpError, MirroredParam};
use sekisho_protocol::oauth::ScopeSet;
use serde_json::value::RawValue;

use super::asked::{Asked, Named};
use super::list;
use super::rule::{Arguments, Decision, Rules, Wish};
use crate::audit::{self, Details, Event, Refused};
use crate::mcp::{CacheHint, CallError, Changes, Context, McpService, ServerInfo, Subscription};
use crate::principal::Principal;

/// A service behind its rules.
#[derive(Debug)]
pub struct Ruled {
    inner: Arc<dyn McpService>,
    rules: Arc<Rules>,
    has_scopes: bool,
    asks_about_arguments: bool,
}

impl Ruled {
    /// Puts `rules` in front of `inner`.
    pub fn new(inner: Arc<dyn McpService>, rules: Arc<Rules>) -> Self {
        let has_scopes = !rules.scopes().is_empty();
        let asks_about_arguments = rules.ask_about_arguments();
        Self { inner, rules, has_scopes, asks_about_arguments }
    }

    fn decide(&self, named: &Named<'_>, arguments: &Arguments, caller: &Principal) -> Decision<'_> {
        let facts = self.rules.facts_about(caller);
        self.rules.decide(named.wish(), arguments, &facts, &caller.scopes)
    }

    /// What is passed along, read only if somebody asks about it.
    fn arguments(&self, given: Option<&RawValue>) -> Result<Arguments, McpError> {
        match given.filter(|given| self.asks_about_arguments && given.get() != "null") {
            None => Ok(Arguments::none()),
            Some(given) => Arguments::read(given.get())
                .map_err(|_| McpError::invalid_params("arguments are an object, each named once")),
        }
    }

    fn require(
        &self,
        named: &Named<'_>,
        arguments: &Arguments,
        caller: &Principal,
    ) -> Result<(), McpError> {
        let by = match self.decide(named, arguments, caller) {
            Decision::Allowed { .. } => return Ok(()),
            Decision::Lacks { by, .. } | Decision::Denied { by: Some(by) } => by,
            Decision::Denied { by: None } => "no rule allows it",
        };
        let detail = format!("{} is denied: {by}", named.wish());
        let detail: String = detail.chars().take(DETAIL_CHARS_MAX).collect();
        let details = Details {
            client: Some(&caller.client_id),
            user: Some(&caller.identity),
            grant: Some(&caller.grant_id),
            detail: Some(&detail),
            ..Details::default()
        };
        audit::note(Event::Refused(Refused::Rule), &details);
        Err(named.not_there())
    }

    /// Whether it is shown in a list: it could be allowed, or a scope would open it.
    fn is_listed(
        &self,
        wish: Wish<'_>,
        caller: &Principal,
        facts: &super::expression::Facts,
    ) -> bool {
        match self.rules.decide(wish, &Arguments::Open, facts, &caller.scopes) {
            Decision::Allowed { .. } | Decision::Lacks { .. } => true,
            Decision::Denied { .. } => false,
        }
    }

    fn shortened(
        &self,
        result: Box<RawValue>,
        caller: &Principal,
    ) -> Result<Box<RawValue>, McpError> {
        let facts = self.rules.facts_about(caller);
        list::shortened(result, |wish| self.is_listed(wish, caller, &facts))
    }
}

/// Longest that the log says of what was asked for.
const DETAIL_CHARS_MAX: usize = 200;

fn caller(context: &Context) -> Result<&Principal, McpError> {
    context.principal().map(AsRef::as_ref).ok_or_else(|| {
        tracing::error!("rules stand where nobody is known: put a guard in front of them");
        McpError::internal()
    })
}

#[async_trait]
impl McpService for Ruled {
    async fn info(&self, context: &Context) -> Result<Arc<ServerInfo>, McpError> {
        self.inner.info(context).await
    }

    async fn server_info(&self, context: &Context) -> Result<Box<RawValue>, McpError> {
        self.inner.server_info(context).await
    }

    async fn call(
        &self,
        method: &str,
        params: Option<&RawValue>,
        context: &Context,
    ) -> Result<Box<RawValue>, CallError> {
        let caller = caller(context)?;
        match Asked::read(method, params)? {
            Asked::Unknown => Err(McpError::method_not_found(method).into()),
            Asked::Open => self.inner.call(method, params, context).await,
            Asked::List => {
                let all = self.inner.call(method, params, context).await?;
                Ok(self.shortened(all, caller)?)
            }
            Asked::One(named, given) => {
                self.require(&named, &self.arguments(given)?, caller)?;
                let result = self.inner.call(method, params, context).await?;
                match named {
                    Named::Resource(_) => Ok(list::private(result)?),
                    Named::Tool(_) | Named::Template(_) | Named::Prompt(_) => Ok(result),
                }
            }
            Asked::Completion(named) => {
                self.require(&named, &Arguments::Open, caller)?;
                self.inner.call(method, params, context).await
            }
        }
    }

    async fn notice(&self, method: &str, params: Option<&RawValue>, context: &Context) {
        self.inner.notice(method, params, context).await;
    }

    fn changes(&self) -> Option<&Changes> {
        self.inner.changes()
    }

    async fn subscribe(&self, uri: &str, context: &Context) -> Result<Subscription, McpError> {
        let named = Named::Resource(uri.into());
        self.require(&named, &Arguments::none(), caller(context)?)?;
        self.inner.subscribe(uri, context).await
    }

    fn missing_scopes(
        &self,
        method: &str,
        params: Option<&RawValue>,
        caller: &Principal,
    ) -> Option<ScopeSet> {
        let further = self.inner.missing_scopes(method, params, caller);
        if !self.has_scopes && further.is_none() {
            return None;
        }
        let (named, arguments) = match Asked::read(method, params).ok()? {
            Asked::One(named, given) => {
                let arguments = self.arguments(given).ok()?;
                (named, arguments)
            }
            Asked::Completion(named) => (named, Arguments::Open),
            Asked::Open | Asked::List | Asked::Unknown => return None,
        };
        let own = match self.decide(&named, &arguments, caller) {
            Decision::Lacks { scopes, .. } => Some(scopes),
            Decision::Allowed { .. } => None,
            Decision::Denied { .. } => return None,
        };
        match (own, further) {
            (Some(own), Some(further)) => Some(ScopeSet::of(own.iter().chain(further.iter()))),
            (own, further) => own.or(further),
        }
    }

    /// Of a tool that is not listed nothing is told, not even by a complaint about its headers; and
    /// whatever is behind is not asked about it.
    async fn mirrored_params(
        &self,
        tool: &str,
        context: &Context,
    ) -> Result<Arc<[MirroredParam]>, McpError> {
        let caller = caller(context)?;
        if self.is_listed(Wish::Tool(tool), caller, &self.rules.facts_about(caller)) {
            self.inner.mirrored_params(tool, context).await
        } else {
            Ok(Arc::default())
        }
    }

    /// What depends on who asks is nobody else's.
    fn cache_hint(&self, method: &str, context: &Context) -> CacheHint {
        let hint = self.inner.cache_hint(method, context);
        CacheHint { is_public: hint.is_public && method == "server/discover", ..hint }
    }
}
