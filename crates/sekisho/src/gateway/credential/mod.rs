//! What a server behind us is told of who calls. The operator says for each server whether it hears
//! anything; none ever hears of the token that the client came with.
//!
//! ```text
//! Principal ─┬─▶ attributes ─▶ headers of each request (a URL), variables of a process (a command)
//!            └─▶ CallerTokens ─▶ kept for a while ─▶ one header: ours (signed), or the provider's
//! ```
//!
//! Everything is made from the [`Principal`] that the guard proved, for each request anew, and
//! nothing from a client's request. Who cannot be introduced is not let through without.

mod attribute;
mod kept;
mod signed;

use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use sekisho_protocol::mcp::{INTERNAL_ERROR, McpError};
use sekisho_protocol::{Secret, SecretHash};

pub use self::attribute::{Attribute, TOLD_BYTES_MAX, UnknownAttribute};
pub use self::kept::{FRESH_AT_LEAST, KeptTokens, TOKEN_WAIT};
pub use self::signed::{SIGNED_LIFE, SignedTokens};
use crate::clock::Timestamp;
use crate::principal::Principal;

/// How a server at a URL hears who calls.
#[derive(Debug, Clone, Default)]
pub enum Introduction {
    /// Not at all.
    #[default]
    Nothing,
    /// By what is known of the caller, each in a header of its own.
    Attributes(Vec<(HeaderName, Attribute)>),
    /// By a token.
    Token {
        /// Where it stands: in `Authorization` as a bearer token, in any other by itself.
        header: HeaderName,
        /// Where it comes from.
        from: Arc<KeptTokens>,
    },
}

/// Where tokens come from that say who calls: one of our own, the provider's, or one that the
/// provider trades for it.
#[async_trait]
pub trait CallerTokens: fmt::Debug + Send + Sync {
    /// A token for this caller; another than `refused`, which the server did not take.
    ///
    /// # Errors
    /// When there is none, now or at all.
    async fn token_for(
        &self,
        caller: &Arc<Principal>,
        refused: Option<&SecretHash>,
    ) -> Result<CallerToken, NotIntroduced>;
}

/// A token that says who calls.
#[derive(Debug, Clone)]
pub struct CallerToken {
    /// Its text.
    pub token: Secret,
    /// When it ends, if that is known.
    pub ends_at: Option<Timestamp>,
}

/// Why a server behind us is not told who calls, and so not asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotIntroduced {
    /// Over stdio nobody logs in.
    #[error("nobody is known to call")]
    Nobody,
    /// A personal token, or a client that acts for itself.
    #[error("no login at the identity provider stands behind this caller's token")]
    NoLogin,
    /// The person has to log in again.
    #[error("the caller's session at the identity provider is over")]
    Over,
    /// Nothing can be said at the moment.
    #[error("the identity provider gives no token at the moment: {0}")]
    Unavailable(String),
    /// The provider says no, or what cannot be used.
    #[error("the identity provider gives no token for the server behind us: {0}")]
    Refused(String),
    /// It is too long, or has a NUL character.
    #[error("{what} of this caller is too long for a server behind us, or has a NUL character")]
    Untellable {
        /// What cannot be told.
        what: String,
    },
}

impl NotIntroduced {
    /// What the client hears.
    pub(super) fn to_mcp_error(&self) -> McpError {
        let words = match self {
            Self::Nobody => "must hear who calls, and over stdio nobody is known",
            Self::NoLogin => {
                "wants a login at the identity provider, which this token has not: log in with a \
                 browser"
            }
            Self::Over => "wants a login at the identity provider, which is over: log in again",
            Self::Unavailable(_) => {
                "cannot be told who calls, since the identity provider does not help: try again later"
            }
            Self::Refused(_) => {
                "cannot be told who calls, since the identity provider refuses: its operator has to \
                 be told"
            }
            Self::Untellable { .. } => {
                "cannot be told who calls, since it is too much to say: its operator has to be told"
            }
        };
        McpError::new(INTERNAL_ERROR, format!("the server behind this one {words}"))
    }
}

/// Whether they say the same by the same names; tokens, whether they are from the same place.
impl PartialEq for Introduction {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nothing, Self::Nothing) => true,
            (Self::Attributes(one), Self::Attributes(another)) => one == another,
            (
                Self::Token { header: one, from },
                Self::Token { header: another, from: from_another },
            ) => one == another && Arc::ptr_eq(from, from_another),
            (Self::Nothing | Self::Attributes(_) | Self::Token { .. }, _) => false,
        }
    }
}

impl Introduction {
    /// By these tokens, in `header`.
    pub fn token(header: HeaderName, from: Arc<KeptTokens>) -> Self {
        Self::Token { header, from }
    }

    /// Whether the server hears anything.
    pub fn is_made(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Attributes(_) | Self::Token { .. } => true,
        }
    }

    /// The headers that it sets.
    pub(super) fn names(&self) -> Vec<&HeaderName> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Attributes(told) => told.iter().map(|(name, _)| name).collect(),
            Self::Token { header, .. } => vec![header],
        }
    }

    /// The headers that introduce `caller`.
    pub(super) async fn headers(
        &self,
        caller: Option<&Arc<Principal>>,
    ) -> Result<HeaderMap, NotIntroduced> {
        let mut headers = HeaderMap::new();
        match self {
            Self::Nothing => {}
            Self::Attributes(told) => {
                let caller = caller.ok_or(NotIntroduced::Nobody)?;
                for (name, attribute) in told {
                    if let Some(value) = attribute.header_of(caller)? {
                        headers.insert(name, value);
                    }
                }
            }
            Self::Token { header, from } => {
                let caller = caller.ok_or(NotIntroduced::Nobody)?;
                // Boxed: a timer inside would make each call over-aligned, and allocators slow.
                let token = Box::pin(from.token_for(caller)).await?;
                headers.insert(header, token_value(header, &token)?);
            }
        }
        Ok(headers)
    }

    /// The token that is among the headers of a request.
    pub(super) fn token_in<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        match self {
            Self::Token { header, .. } => headers.get(header),
            Self::Nothing | Self::Attributes(_) => None,
        }
    }

    /// The server did not take `shown`, which introduced `caller`, so that another is tried next time.
    /// What was got meanwhile is not meant.
    pub(super) fn was_refused(&self, caller: &Principal, shown: &HeaderValue) {
        match self {
            Self::Token { header, from } => from.was_refused(caller, |token| {
                token_value(header, token).is_ok_and(|value| value == *shown)
            }),
            Self::Nothing | Self::Attributes(_) => {}
        }
    }
}

fn token_value(name: &HeaderName, token: &Secret) -> Result<HeaderValue, NotIntroduced> {
    let value = if *name == header::AUTHORIZATION {
        HeaderValue::try_from(format!("Bearer {}", token.reveal()))
    } else {
        HeaderValue::from_str(token.reveal())
    };
    let mut value = value.map_err(|_| NotIntroduced::Refused("its token is no text".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The variables that introduce `caller` to a process.
pub(super) fn variables(
    told: &[(OsString, Attribute)],
    caller: Option<&Arc<Principal>>,
) -> Result<Vec<(OsString, OsString)>, NotIntroduced> {
    let mut variables = Vec::with_capacity(told.len());
    for (name, attribute) in told {
        let caller = caller.ok_or(NotIntroduced::Nobody)?;
        if let Some(value) = attribute.of(caller)? {
            variables.push((name.clone(), value.into_owned().into()));
        }
    }
    Ok(variables)
}
