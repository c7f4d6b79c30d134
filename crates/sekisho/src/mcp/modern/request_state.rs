//! `requestState`: what a call goes on with once its client has answered, kept by the client.
//!
//! Sealed, so that no client reads or alters it, and bound to the caller, the method and its
//! parameters: taken to another call, or by another person, it does not open. It holds the answers
//! given so far, so that each round brings only what is new.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sekisho_protocol::mcp::{Json, McpError, ParamsOutline, Request};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::{Checked, wrong_params};
use crate::clock::{Clock, Timestamp};
use crate::fleet::{Fleet, InstanceId};
use crate::mcp::input::{InputRequired, Inputs};
use crate::principal::Principal;
use crate::seal::{Purpose, Sealed, Sealer};

/// How long a client has to answer: a person may be at it.
const LIFE: Duration = Duration::from_mins(15);

/// Seals and opens.
#[derive(Debug, Clone)]
pub(in crate::mcp) struct RequestState {
    sealer: Sealer,
    clock: Arc<dyn Clock>,
    fleet: Option<Arc<Fleet>>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    until: i64,
    answers: HashMap<String, Box<RawValue>>,
    state: Option<Box<RawValue>>,
    /// A name of the instance that alone can go on with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held_by: Option<String>,
}

/// Whether calls of this method may end with a question.
pub(super) fn may_need_input(method: &str) -> bool {
    matches!(method, "tools/call" | "prompts/get" | "resources/read")
}

impl RequestState {
    pub(in crate::mcp) fn new(
        sealer: Sealer,
        clock: Arc<dyn Clock>,
        fleet: Option<Arc<Fleet>>,
    ) -> Self {
        Self { sealer, clock, fleet }
    }

    /// Who holds the call that a request goes on with, if that is another instance.
    pub(super) fn holder_elsewhere(
        &self,
        request: &Request<'_>,
        outline: &ParamsOutline<'_>,
        principal: Option<&Principal>,
    ) -> Option<InstanceId> {
        let fleet = self.fleet.as_ref()?;
        let state = outline.request_state.filter(|_| may_need_input(&request.method))?;
        let kept = self.open(state, request, principal).ok()?;
        fleet.holder_elsewhere(&kept.held_by?)
    }

    /// What a request brings along of answers and state; nothing if it is a first call.
    ///
    /// # Errors
    /// −32602 when the state is not ours, not for this call or too old, or the answers are no
    /// object of objects.
    pub(super) fn inputs_of(
        &self,
        request: &Request<'_>,
        outline: &ParamsOutline<'_>,
        principal: Option<&Principal>,
    ) -> Result<Option<Inputs>, McpError> {
        let ParamsOutline { input_responses, request_state, .. } = *outline;
        let is_first = input_responses.is_none() && request_state.is_none();
        if is_first || !may_need_input(&request.method) {
            return Ok(None);
        }
        let mut inputs = match request_state {
            None => Inputs::default(),
            Some(state) => {
                let Kept { answers, state, .. } = self.open(state, request, principal)?;
                Inputs { answers, state }
            }
        };
        if let Some(answers) = input_responses {
            let answers: HashMap<String, Box<RawValue>> = serde_json::from_str(answers.get())
                .ok()
                .filter(|answers: &HashMap<String, Box<RawValue>>| {
                    answers.values().all(|answer| answer.get().starts_with('{'))
                })
                .ok_or_else(|| wrong_params("inputResponses are an object of objects"))?;
            inputs.answers.extend(answers);
        }
        Ok(Some(inputs))
    }

    fn open(
        &self,
        state: Json<'_>,
        request: &Request<'_>,
        principal: Option<&Principal>,
    ) -> Result<Kept, McpError> {
        let sealed = state.as_text().and_then(|text| Sealed::from_text(&text));
        let place = place(principal, &request.method, request.params);
        let kept = sealed.and_then(|sealed| {
            self.sealer.open_value::<Kept>(Purpose::RequestState, &place, &sealed).ok()
        });
        let kept =
            kept.filter(|kept| !Timestamp::from_unix_seconds(kept.until).is_over(self.clock.now()));
        kept.ok_or_else(|| {
            wrong_params("requestState is not ours, not for this call, or too old: call again")
        })
    }

    /// The state for the client to bring along next time.
    pub(super) fn seal(&self, checked: &Checked, needed: &InputRequired) -> String {
        let Checked { method, params, context, .. } = checked;
        let principal = context.principal().map(AsRef::as_ref);
        let place = place(principal, method, params.as_deref());
        let answers = context.inputs().map(|inputs| inputs.answers.clone()).unwrap_or_default();
        let until = self.clock.now().plus(LIFE).unix_seconds();
        let fleet = self.fleet.as_ref().filter(|_| needed.is_held);
        let held_by = fleet.map(|fleet| fleet.name());
        let kept = Kept { until, answers, state: needed.state.clone(), held_by };
        self.sealer.seal_value(Purpose::RequestState, &place, &kept).to_text()
    }
}

/// Whose call of what this is. A token may change between rounds, its person and client may not.
fn place(principal: Option<&Principal>, method: &str, params: Option<&RawValue>) -> Vec<u8> {
    let mut hash = Sha256::new();
    let mut add = |part: &str| {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part.as_bytes());
    };
    match principal {
        None => add(""),
        Some(principal) => {
            add(&principal.identity.issuer);
            add(&principal.identity.subject);
            add(principal.client_id.as_str());
        }
    }
    add(method);
    // As a value, so that a client may write the same parameters in another order.
    let params: Option<serde_json::Map<String, serde_json::Value>> =
        params.and_then(|params| serde_json::from_str(params.get()).ok());
    let mut params: Vec<(String, serde_json::Value)> = params.into_iter().flatten().collect();
    params.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (name, value) in params {
        let is_empty = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
        if !matches!(name.as_str(), "_meta" | "inputResponses" | "requestState") && !is_empty {
            add(&name);
            add(&value.to_string());
        }
    }
    hash.finalize().to_vec()
}
