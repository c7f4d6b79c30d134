//! The flows of a store in memory.

use std::collections::HashMap;

use super::super::flows::{
    FLOW_BYTES_MAX, FLOWS_KEPT_MAX, FLOWS_LISTED_MAX, Flow, FlowNote, FlowOf, FlowStep,
};
use crate::clock::Timestamp;
use crate::grant::{FlowId, GrantId};

#[derive(Default)]
pub(super) struct Flows {
    flows: HashMap<FlowId, Flow>,
    by_grant: HashMap<GrantId, FlowId>,
}

impl Flows {
    pub(super) fn note(&mut self, note: &FlowNote) {
        let id = match &note.of {
            FlowOf::Flow(id) => id.clone(),
            FlowOf::Grant(grant) => match self.by_grant.get(grant) {
                Some(id) => id.clone(),
                None => return,
            },
        };
        let flow = self.flows.entry(id.clone()).or_insert_with(|| Flow {
            id: id.clone(),
            begun_at: note.step.at,
            client_id: None,
            grant_id: None,
            is_approved: false,
            steps: Vec::new(),
        });
        if flow.steps.iter().map(bytes).sum::<usize>() < FLOW_BYTES_MAX as usize {
            flow.steps.push(note.step.clone());
        }
        flow.is_approved |= note.is_approved;
        if note.client_id.is_some() {
            flow.client_id.clone_from(&note.client_id);
        }
        if let Some(grant) = &note.grant_id {
            let before = flow.grant_id.replace(grant.clone());
            if let Some(before) = before {
                self.by_grant.remove(&before);
            }
            self.by_grant.insert(grant.clone(), id);
        }
        self.make_room(note.is_approved);
        self.make_room(false);
    }

    /// The oldest of a kind goes when there are too many of it.
    fn make_room(&mut self, is_approved: bool) {
        let of_kind = || self.flows.values().filter(|flow| flow.is_approved == is_approved);
        if of_kind().count() <= FLOWS_KEPT_MAX as usize {
            return;
        }
        let oldest = of_kind().map(|flow| (flow.begun_at, flow.id.clone())).min();
        if let Some((_, id)) = oldest {
            self.remove(&id);
        }
    }

    fn remove(&mut self, id: &FlowId) {
        if let Some(grant) = self.flows.remove(id).and_then(|flow| flow.grant_id) {
            self.by_grant.remove(&grant);
        }
    }

    pub(super) fn list(&self, trace_id: Option<&str>) -> Vec<Flow> {
        let is_meant = |flow: &&Flow| {
            trace_id.is_none_or(|id| flow.steps.iter().any(|step| step.trace_id == id))
        };
        let mut found: Vec<_> = self.flows.values().filter(is_meant).cloned().collect();
        found.sort_by(|a, b| (b.begun_at, &b.id).cmp(&(a.begun_at, &a.id)));
        found.truncate(usize::from(FLOWS_LISTED_MAX));
        found
    }

    /// Removes those that began before `moment` or at it, `rows_max` at most; gives their number.
    pub(super) fn sweep(&mut self, moment: Timestamp, rows_max: u64) -> u64 {
        let rows_max = usize::try_from(rows_max).unwrap_or(usize::MAX);
        let old = self.flows.values().filter(|flow| flow.begun_at <= moment);
        let old: Vec<_> = old.map(|flow| flow.id.clone()).take(rows_max).collect();
        for id in &old {
            self.remove(id);
        }
        u64::try_from(old.len()).unwrap_or(u64::MAX)
    }
}

fn bytes(step: &FlowStep) -> usize {
    serde_json::to_string(step).map_or(0, |text| text.len() + 1)
}
