//! `subscriptions/listen`: a client's wish to hear of changes, for as long as its stream is open.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use sekisho_protocol::mcp::{McpError, RequestId, write_notification, write_result};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::{Checked, Stateless, wrong_params};
use crate::mcp::changes::{Audience, Change, Whose};
use crate::mcp::legacy::EventStream;
use crate::mcp::service::{ServerInfo, Subscription};
use crate::principal::Principal;

/// What a client wants to hear of, or may.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Filter {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    tools_list_changed: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    prompts_list_changed: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    resources_list_changed: bool,
    #[serde(skip_serializing_if = "HashSet::is_empty")]
    resource_subscriptions: HashSet<String>,
}

/// Everyone who listens.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    last_number: u64,
    listeners: HashMap<u64, Listener>,
}

#[derive(Debug)]
struct Listener {
    id: RequestId,
    filter: Filter,
    stream: Arc<EventStream>,
    caller: Option<Arc<Principal>>,
}

/// One who listens; dropping it ends that.
#[derive(Debug)]
pub(in crate::mcp) struct Listening {
    listeners: Arc<Listeners>,
    number: u64,
    id: RequestId,
    _subscriptions: Vec<Subscription>,
}

impl Stateless {
    /// Begins to tell changes on `stream`; first what of them will be told.
    pub(super) async fn listen(
        &self,
        checked: &Checked,
        stream: &Arc<EventStream>,
    ) -> Result<Listening, McpError> {
        #[derive(Deserialize)]
        struct Params {
            notifications: Filter,
        }
        if self.service.changes().is_none() {
            return Err(McpError::method_not_found(&checked.method));
        }
        let params = checked
            .params
            .as_deref()
            .and_then(|params| serde_json::from_str::<Params>(params.get()).ok());
        let wanted = params
            .ok_or_else(|| {
                wrong_params("params.notifications is an object that says what to tell")
            })?
            .notifications;
        if wanted.resource_subscriptions.len() > self.limits.subscriptions_max {
            return Err(wrong_params("too many resources are followed on one stream"));
        }
        let info = self.service.info(&checked.context).await?;
        let mut granted = wanted.of_what_is_served(&info);
        let mut subscriptions = Vec::new();
        for uri in &wanted.resource_subscriptions {
            if let Ok(subscription) = self.service.subscribe(uri, &checked.context).await {
                subscriptions.push(subscription);
                granted.resource_subscriptions.insert(uri.clone());
            }
        }
        let acknowledged = serde_json::json!({
            "_meta": { SUBSCRIPTION_ID: id_as_value(&checked.id) },
            "notifications": &granted,
        });
        let acknowledged = to_raw_value(&acknowledged).map_err(|_| McpError::internal())?;
        // Before anything else can be told.
        let mut table = self.listeners.lock();
        stream.offer(Bytes::from(write_notification(
            "notifications/subscriptions/acknowledged",
            Some(&acknowledged),
        )));
        table.last_number += 1;
        let number = table.last_number;
        let id = checked.id.clone();
        let listener = Listener {
            id: id.clone(),
            filter: granted,
            stream: Arc::clone(stream),
            caller: checked.context.principal().cloned(),
        };
        table.listeners.insert(number, listener);
        drop(table);
        let listeners = Arc::clone(&self.listeners);
        Ok(Listening { listeners, number, id, _subscriptions: subscriptions })
    }
}

const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";

/// The id with its type: a number stays a number.
fn id_as_value(id: &RequestId) -> Option<&RawValue> {
    serde_json::from_str(id.as_json()).ok()
}

impl Filter {
    /// What of it the server ever tells.
    fn of_what_is_served(&self, info: &ServerInfo) -> Self {
        let tells = |list: &str| info.declares(&format!("/{list}/listChanged"));
        Self {
            tools_list_changed: self.tools_list_changed && tells("tools"),
            prompts_list_changed: self.prompts_list_changed && tells("prompts"),
            resources_list_changed: self.resources_list_changed && tells("resources"),
            resource_subscriptions: HashSet::new(),
        }
    }

    fn covers(&self, change: Change<'_>) -> bool {
        match change {
            Change::Tools => self.tools_list_changed,
            Change::Prompts => self.prompts_list_changed,
            Change::Resources => self.resources_list_changed,
            Change::Resource(uri) => self.resource_subscriptions.contains(uri),
        }
    }
}

impl Listeners {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Audience for Listeners {
    fn hear(&self, change: Change<'_>, whose: &Whose) {
        for listener in self.lock().listeners.values() {
            let is_concerned = whose.concerns(listener.caller.as_ref(), None);
            if !is_concerned || !listener.filter.covers(change) {
                continue;
            }
            let mut params = serde_json::json!({
                "_meta": { SUBSCRIPTION_ID: id_as_value(&listener.id) },
            });
            if let Change::Resource(uri) = change
                && let Some(members) = params.as_object_mut()
            {
                members.insert("uri".to_owned(), uri.into());
            }
            if let Ok(params) = to_raw_value(&params) {
                let message = write_notification(change.method(), Some(&params));
                listener.stream.push(Bytes::from(message));
            }
        }
    }
}

impl Listening {
    /// The result that tells a client that nothing more comes.
    pub(super) fn last_words(&self) -> Bytes {
        let result = serde_json::json!({
            "resultType": "complete",
            "_meta": { SUBSCRIPTION_ID: id_as_value(&self.id) },
        });
        let result = to_raw_value(&result).unwrap_or_default();
        Bytes::from(write_result(&self.id, result.get()))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.listeners.lock().listeners.remove(&self.number);
    }
}
