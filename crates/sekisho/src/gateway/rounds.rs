//! A call of a server of 2026-07-28 in several rounds: it ends by asking for something, and is made
//! again with the answers and with what the server left itself. Between two rounds nothing waits
//! here: what is needed is in the state that the client brings back, sealed by the transports.

use std::collections::BTreeMap;

use sekisho_protocol::mcp::{INTERNAL_ERROR, InputRequiredResult, McpError};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::mcp::{Context, InputRequest, InputRequired};

/// What the next round needs.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Round {
    /// Names of what was asked for in this round. An earlier one may have asked under the same.
    asked: Vec<String>,
    /// What the server left itself, as it came.
    theirs: Option<Box<RawValue>>,
}

impl Round {
    /// What the client has to supply.
    pub(super) fn begin(needed: &InputRequiredResult<'_>) -> Result<InputRequired, McpError> {
        let none = || RawValue::from_string("{}".to_owned()).unwrap_or_default();
        let mut requests = Vec::new();
        for (key, request) in &needed.input_requests {
            if !matches!(
                request.method.as_ref(),
                "sampling/createMessage" | "elicitation/create" | "roots/list"
            ) {
                tracing::warn!(mcp.method = %request.method, "no client can be asked such a thing");
                let message = "the server behind this one asks what no client can be asked";
                return Err(McpError::new(INTERNAL_ERROR, message));
            }
            requests.push(InputRequest {
                key: key.clone().into_owned().into(),
                method: request.method.clone().into_owned().into(),
                params: request.params.map_or_else(none, ToOwned::to_owned),
            });
        }
        let asked = requests.iter().map(|request| request.key.clone().into_owned()).collect();
        let theirs = needed.request_state.map(ToOwned::to_owned);
        let state = to_raw_value(&Self { asked, theirs }).map_err(|_| McpError::internal())?;
        Ok(InputRequired { requests, state: Some(state), is_held: false })
    }

    /// The round that a client comes back for; nothing if its state is of another kind.
    pub(super) fn read(state: &RawValue) -> Option<Self> {
        serde_json::from_str(state.get()).ok()
    }

    /// The client's answers in this round, by their names.
    pub(super) fn responses(&self, context: &Context) -> Option<Box<RawValue>> {
        let answers: BTreeMap<&str, &RawValue> = self
            .asked
            .iter()
            .filter_map(|key| Some((key.as_str(), context.answer(key)?)))
            .collect();
        if answers.is_empty() { None } else { to_raw_value(&answers).ok() }
    }

    /// What the server wants to have back.
    pub(super) fn state(&self) -> Option<&RawValue> {
        self.theirs.as_deref()
    }
}
