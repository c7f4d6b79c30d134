//! What became of logins, step by step, for whoever asks why one did not work: the latest ones, without
//! anything secret.

use std::time::Duration;

use sekisho_protocol::oauth::ClientId;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::grant::{FlowId, GrantId};

/// Flows that are kept of those that a person approved, and as many of the others: strangers can make
/// as many beginnings as they like, and push out only each other's. Over it the oldest goes.
pub const FLOWS_KEPT_MAX: u32 = 1_000;

/// How long a flow is kept.
pub const FLOWS_KEPT: Duration = Duration::from_hours(7 * 24);

/// Steps of one flow that are kept, in bytes as they are stored; later ones are left out.
pub const FLOW_BYTES_MAX: u32 = 8 * 1024;

/// The most flows that one call of [`super::Store::list_flows`] gives.
pub const FLOWS_LISTED_MAX: u16 = 100;

/// A login, as far as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Its name.
    pub id: FlowId,
    /// When it began.
    pub begun_at: Timestamp,
    /// For which client, once that is known.
    pub client_id: Option<ClientId>,
    /// The grant that it became, or would.
    pub grant_id: Option<GrantId>,
    /// Whether a person approved it.
    pub is_approved: bool,
    /// What happened, oldest first.
    pub steps: Vec<FlowStep>,
}

/// Something that happened to a flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowStep {
    /// When.
    pub at: Timestamp,
    /// What, in a word or two.
    pub what: String,
    /// The request in which it happened.
    pub trace_id: String,
    /// Why, or how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// A step to be kept, with what is known of its flow since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowNote {
    /// Of which flow.
    pub of: FlowOf,
    /// For which client.
    pub client_id: Option<ClientId>,
    /// The grant that it will become.
    pub grant_id: Option<GrantId>,
    /// Whether a person approved it.
    pub is_approved: bool,
    /// What happened.
    pub step: FlowStep,
}

/// Which flow is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlowOf {
    /// This one; it begins if it is not there.
    Flow(FlowId),
    /// The one that became this grant; nothing is kept if there is none.
    Grant(GrantId),
}
