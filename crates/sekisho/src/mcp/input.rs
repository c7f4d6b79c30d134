//! What a service asks its client for in the middle of a call: a person's answer, a model's, the
//! client's roots.
//!
//! Up to 2025-11-25 the server sends a request and waits; in 2026-07-28 the call ends with
//! `input_required`, and the client calls again with the answers. A service sees neither: it asks
//! by a key ([`Context::ask`](super::Context::ask)), and where the call begins anew it runs again
//! from its start, with the answers there at once.

use std::borrow::Cow;
use std::collections::HashMap;

use sekisho_protocol::mcp::{INTERNAL_ERROR, MISSING_CLIENT_CAPABILITY, McpError};
use serde_json::value::{RawValue, to_raw_value};

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// It is answered with this error.
    #[error(transparent)]
    Failed(#[from] McpError),
    /// The client has to supply something first. Only calls of tools, prompts and resources may
    /// end so.
    #[error("the client has to supply something first")]
    InputRequired(InputRequired),
}

/// What a call needs before it can go on.
#[derive(Debug, Clone, Default)]
pub struct InputRequired {
    /// What to ask the client for.
    pub requests: Vec<InputRequest>,
    /// What the service wants to have back when the client calls again. The client cannot read it.
    pub state: Option<Box<RawValue>>,
    /// Whether that state is worth something in this process alone, since something waits in it. Where
    /// there are several instances the client's next call is brought back here.
    pub is_held: bool,
}

/// One thing to ask a client for.
#[derive(Debug, Clone)]
pub struct InputRequest {
    /// Names the answer within this call.
    pub key: Cow<'static, str>,
    /// `elicitation/create`, `sampling/createMessage` or `roots/list`.
    pub method: Cow<'static, str>,
    /// As the client gets them.
    pub params: Box<RawValue>,
}

impl InputRequest {
    /// Asks the person for values that fit `schema` (`elicitation/create`).
    pub fn elicitation(
        key: impl Into<Cow<'static, str>>,
        message: &str,
        schema: &serde_json::Value,
    ) -> Self {
        let params = serde_json::json!({ "message": message, "requestedSchema": schema });
        Self::new(key, "elicitation/create", &params)
    }

    /// Asks the client's model (`sampling/createMessage`).
    pub fn sampling(key: impl Into<Cow<'static, str>>, params: &serde_json::Value) -> Self {
        Self::new(key, "sampling/createMessage", params)
    }

    /// Asks which places the client works in (`roots/list`).
    pub fn roots(key: impl Into<Cow<'static, str>>) -> Self {
        Self::new(key, "roots/list", &serde_json::json!({}))
    }

    fn new(
        key: impl Into<Cow<'static, str>>,
        method: &'static str,
        params: &serde_json::Value,
    ) -> Self {
        let params = to_raw_value(params).unwrap_or_default();
        Self { key: key.into(), method: method.into(), params }
    }

    /// What a client declares if it answers such requests.
    pub(super) fn capability(&self) -> &str {
        self.method.split('/').next().unwrap_or_default()
    }
}

/// What a client has answered so far within one call, and what the service left itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Inputs {
    pub(super) answers: HashMap<String, Box<RawValue>>,
    pub(super) state: Option<Box<RawValue>>,
}

/// −32021, naming what the client would have to declare.
pub(super) fn missing_capability(name: &str) -> McpError {
    let required = serde_json::Map::from_iter([(name.to_owned(), serde_json::json!({}))]);
    McpError::new(
        MISSING_CLIENT_CAPABILITY,
        format!("this needs a client that declares the capability {name:?}"),
    )
    .with_data(&serde_json::json!({ "requiredCapabilities": required }))
}

/// The call cannot ask: its client reads no stream, or hangs up.
pub(super) fn unreachable_client() -> McpError {
    McpError::new(INTERNAL_ERROR, "the client cannot be asked while it waits for this answer")
}
