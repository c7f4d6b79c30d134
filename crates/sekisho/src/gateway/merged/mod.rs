//! Several servers as one: [`Merged`] is an [`McpService`] made of others. What is called `NAME_tool`,
//! `NAME_prompt` and `NAME+uri` here is the member's that is called NAME, so that nothing has to be
//! remembered to find it, and no member can take another's place ([`MemberName`]).
//!
//! ```text
//! tools/call, prompts/get, resources/read … ─▶ the member that the name names
//! initialize, …/list, logging/setLevel ──────▶ all of them at once, each for a while
//! ```
//!
//! It knows nothing of processes, URLs and rules: a member is a service, with its rules before it
//! where it has any.

mod member;
mod summary;

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join_all;
use sekisho_protocol::mcp::{
    Addressed, List, McpError, MemberName, MirroredParam, PageAsked, owner_of_name, owner_of_uri,
    page_of_all, result_of_member,
};
use sekisho_protocol::oauth::ScopeSet;
use serde_json::value::RawValue;

use self::member::Member;
use crate::mcp::{CallError, Changes, Context, McpService, ServerInfo, Subscription};
use crate::principal::Principal;

/// Most servers that can be one.
pub const MEMBERS_MAX: usize = 32;

/// Several servers as one.
#[derive(Debug)]
pub struct Merged {
    name: Box<str>,
    members: Vec<Arc<Member>>,
    changes: Changes,
    _repeated: Vec<Subscription>,
}

/// Servers that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergedError {
    /// There is none.
    #[error("it names no server: name at least one")]
    Nobody,
    /// There are too many.
    #[error("it names more than {MEMBERS_MAX} servers: make two of it")]
    TooMany,
    /// Two would have the same names.
    #[error("it names \"{0}\" twice: take one out")]
    Twice(MemberName),
}

impl Merged {
    /// Serves what `members` serve, under the names that they have there. It calls itself `name`.
    ///
    /// # Errors
    /// When there is no member, or too many, or two of one name.
    pub fn new(
        name: &str,
        members: Vec<(MemberName, Arc<dyn McpService>)>,
    ) -> Result<Self, MergedError> {
        Self::check(members.iter().map(|(name, _)| name))?;
        let changes = Changes::heard_by_each_instance();
        let mut repeated = Vec::new();
        for (name, service) in &members {
            if let Some(theirs) = service.changes() {
                let name = name.clone();
                repeated.push(changes.repeat(theirs, move |uri| name.uri(uri)));
            }
        }
        let of = |(name, service)| Arc::new(Member::new(name, service, changes.clone()));
        let members = members.into_iter().map(of).collect();
        Ok(Self { name: name.into(), members, changes, _repeated: repeated })
    }

    /// Whether servers of these names can be one.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn check<'a>(names: impl IntoIterator<Item = &'a MemberName>) -> Result<(), MergedError> {
        let mut seen: Vec<&MemberName> = Vec::new();
        for name in names {
            if seen.contains(&name) {
                return Err(MergedError::Twice(name.clone()));
            }
            seen.push(name);
        }
        match seen.len() {
            0 => Err(MergedError::Nobody),
            1..=MEMBERS_MAX => Ok(()),
            _ => Err(MergedError::TooMany),
        }
    }

    fn member(&self, name: &str) -> Option<&Arc<Member>> {
        self.members.iter().find(|member| member.name().as_str() == name)
    }

    /// The member that a request is for, and the request as that one gets it; nothing if its method is
    /// about no single thing.
    fn addressed(
        &self,
        method: &str,
        params: Option<&RawValue>,
    ) -> Result<Option<(&Arc<Member>, Box<RawValue>)>, McpError> {
        let Some(addressed) = Addressed::read(method, params)? else { return Ok(None) };
        let member = self.member(&addressed.member).ok_or_else(|| addressed.not_there())?;
        Ok(Some((member, addressed.params)))
    }

    /// A page of the lists of all members that have such a list.
    async fn list(
        &self,
        list: List,
        params: Option<&RawValue>,
        context: &Context,
    ) -> Result<Box<RawValue>, McpError> {
        let asked = PageAsked::read(list, params)?;
        if let PageAsked::Next(cursors) = &asked
            && let Some(stranger) = cursors.keys().find(|name| self.member(name).is_none())
        {
            let message = format!("{stranger:?} is no part of this list any more: begin it anew");
            return Err(McpError::invalid_params(message));
        }
        let pages = self.members.iter().filter_map(|member| {
            let cursor = match &asked {
                PageAsked::First => None,
                PageAsked::Next(cursors) => Some(cursors.get(member.name().as_str())?.as_str()),
            };
            Some(async move { (member, member.page(list, params, cursor, context).await) })
        });
        let mut found = Vec::new();
        let mut absent = None;
        for (member, page) in join_all(pages).await {
            match page {
                Ok(Some(page)) => found.push((member.name(), page)),
                Ok(None) => {}
                Err(error) => absent = absent.or(Some(error)),
            }
        }
        if found.is_empty() {
            return Err(absent.unwrap_or_else(|| McpError::method_not_found(list.method())));
        }
        page_of_all(list, found.iter().map(|(name, page)| (*name, page)))
    }

    /// Tells all members from which level on the client wants log messages.
    async fn set_log_level(
        &self,
        params: Option<&RawValue>,
        context: &Context,
    ) -> Result<Box<RawValue>, McpError> {
        let told = self.members.iter().map(|member| member.set_log_level(params, context));
        let told = join_all(told).await;
        if told.iter().any(|told| matches!(told, Ok(true))) {
            return Ok(RawValue::from_string("{}".to_owned()).unwrap_or_default());
        }
        let absent = told.into_iter().find_map(Result::err);
        Err(absent.unwrap_or_else(|| McpError::method_not_found("logging/setLevel")))
    }
}

#[async_trait]
impl McpService for Merged {
    /// What all members can that answer within a while. Of one that does not it is known what it could
    /// when it last did.
    async fn info(&self, context: &Context) -> Result<Arc<ServerInfo>, McpError> {
        let greeted = self.members.iter().map(|member| member.greeting(context));
        let greeted = join_all(greeted).await;
        let members = self.members.iter().zip(&greeted).map(|(member, greeted)| {
            let info = greeted.as_deref().ok();
            let capabilities = info.map(|info| info.capabilities.clone());
            let instructions = info.and_then(|info| info.instructions.as_deref());
            summary::Part {
                name: member.name(),
                capabilities: capabilities.or_else(|| member.known()),
                instructions,
            }
        });
        summary::of(&self.name, members).map(Arc::new)
    }

    /// No member is asked what all of them together are called.
    async fn server_info(&self, _context: &Context) -> Result<Box<RawValue>, McpError> {
        summary::server_info(&self.name)
    }

    async fn call(
        &self,
        method: &str,
        params: Option<&RawValue>,
        context: &Context,
    ) -> Result<Box<RawValue>, CallError> {
        if let Some(list) = List::of(method) {
            return Ok(self.list(list, params, context).await?);
        }
        if method == "logging/setLevel" {
            return Ok(self.set_log_level(params, context).await?);
        }
        let Some((member, params)) = self.addressed(method, params)? else {
            return Err(McpError::method_not_found(method).into());
        };
        let result = member.service().call(method, Some(&params), context).await?;
        Ok(result_of_member(method, member.name(), &result).into_owned())
    }

    /// Nothing says whose a client's progress is, or what nobody here knows: it stays here.
    async fn notice(&self, method: &str, params: Option<&RawValue>, context: &Context) {
        if method == "notifications/roots/list_changed" {
            join_all(self.members.iter().map(|member| member.notice(method, params, context)))
                .await;
        }
    }

    fn changes(&self) -> Option<&Changes> {
        Some(&self.changes)
    }

    async fn subscribe(&self, uri: &str, context: &Context) -> Result<Subscription, McpError> {
        let owner = owner_of_uri(uri).and_then(|(name, own)| Some((self.member(name)?, own)));
        let (member, own) = owner.ok_or_else(|| McpError::resource_not_found(uri))?;
        member.service().subscribe(own, context).await
    }

    fn missing_scopes(
        &self,
        method: &str,
        params: Option<&RawValue>,
        caller: &Principal,
    ) -> Option<ScopeSet> {
        let (member, params) = self.addressed(method, params).ok()??;
        member.service().missing_scopes(method, Some(&params), caller)
    }

    async fn mirrored_params(
        &self,
        tool: &str,
        context: &Context,
    ) -> Result<Arc<[MirroredParam]>, McpError> {
        let owner = owner_of_name(tool).and_then(|(name, own)| Some((self.member(name)?, own)));
        match owner {
            Some((member, own)) => member.service().mirrored_params(own, context).await,
            None => Ok(Arc::default()),
        }
    }
}
