//! What became of logins, for each database alike (see `verbs.rs`). A flow is one row, its steps a line
//! of JSON each: a step is one statement, and nothing is read to write it.

use super::verbs::key;
use super::{Readers, Step, query, rows};
use crate::store::StoreError;
use crate::store::flows::{
    FLOW_BYTES_MAX, FLOWS_KEPT_MAX, FLOWS_LISTED_MAX, Flow, FlowNote, FlowOf,
};

pub(super) async fn note(step: &mut Step, note: &FlowNote) -> Result<(), StoreError> {
    #[expect(clippy::expect_used, reason = "plain strings and numbers always serialise")]
    let line = serde_json::to_string(&note.step).expect("a step serialises") + "\n";
    match &note.of {
        FlowOf::Flow(id) => {
            query(
                "INSERT INTO flows (id, begun_at, client_id, grant_id, is_approved, steps)
                 VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT (id) DO UPDATE SET
                    client_id = COALESCE(excluded.client_id, flows.client_id),
                    grant_id = COALESCE(excluded.grant_id, flows.grant_id),
                    is_approved = (flows.is_approved OR excluded.is_approved),
                    steps = CASE WHEN LENGTH(flows.steps) < $7
                        THEN flows.steps || excluded.steps ELSE flows.steps END",
            )
            .bind(key(id.as_str()))
            .bind(note.step.at.unix_seconds())
            .bind(note.client_id.as_ref().map(|id| key(id.as_str())))
            .bind(note.grant_id.as_ref().map(|id| key(id.as_str())))
            .bind(note.is_approved)
            .bind(line)
            .bind(i64::from(FLOW_BYTES_MAX))
            .execute(&mut *step)
            .await
        }
        FlowOf::Grant(grant) => {
            query(
                "UPDATE flows SET steps = steps || $2
                 WHERE grant_id = $1 AND LENGTH(steps) < $3",
            )
            .bind(key(grant.as_str()))
            .bind(line)
            .bind(i64::from(FLOW_BYTES_MAX))
            .execute(&mut *step)
            .await
        }
    }
    .map(|_| ())
}

/// Of each kind the oldest go when there are too many.
pub(super) async fn make_room(step: &mut Step) -> Result<(), StoreError> {
    for is_approved in [false, true] {
        query(
            "DELETE FROM flows WHERE is_approved = $1 AND (begun_at, id) <=
                (SELECT begun_at, id FROM flows WHERE is_approved = $1
                 ORDER BY begun_at DESC, id DESC LIMIT 1 OFFSET $2)",
        )
        .bind(is_approved)
        .bind(i64::from(FLOWS_KEPT_MAX))
        .execute(&mut *step)
        .await?;
    }
    Ok(())
}

pub(super) async fn list(
    readers: &Readers,
    trace_id: Option<&str>,
) -> Result<Vec<Flow>, StoreError> {
    let statement = if trace_id.is_some() {
        "SELECT id, begun_at, client_id, grant_id, is_approved, steps FROM flows
         WHERE steps LIKE $2 ORDER BY begun_at DESC, id DESC LIMIT $1"
    } else {
        "SELECT id, begun_at, client_id, grant_id, is_approved, steps FROM flows
         ORDER BY begun_at DESC, id DESC LIMIT $1"
    };
    let mut listing = query(statement).bind(i64::from(FLOWS_LISTED_MAX));
    if let Some(id) = trace_id {
        // Nothing but letters and digits is a trace id, so that nothing in it means another thing.
        let id: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
        listing = listing.bind(format!("%\"trace_id\":\"{id}\"%"));
    }
    listing.at_length().fetch_all(readers, rows::flow).await
}
