//! What became of logins: kept step by step, found by any trace id, and no flood pushes out what a
//! person approved.

use std::time::Duration;

use sekisho::clock::Timestamp;
use sekisho::grant::{FlowId, GrantId};
use sekisho::store::{
    FLOW_BYTES_MAX, FLOWS_KEPT, FLOWS_KEPT_MAX, FLOWS_LISTED_MAX, FlowNote, FlowOf, FlowStep,
};
use sekisho_protocol::oauth::ClientId;

use super::{AnyStore, NOW};

fn step(what: &str, trace_id: &str, at: Timestamp) -> FlowStep {
    FlowStep { at, what: what.to_owned(), trace_id: trace_id.to_owned(), detail: None }
}

fn note(flow: &str, step: FlowStep) -> FlowNote {
    let of = FlowOf::Flow(FlowId::new(flow));
    FlowNote { of, client_id: None, grant_id: None, is_approved: false, step }
}

pub async fn a_flow_is_kept_step_by_step_and_found_by_any_trace_id(store: AnyStore) {
    let later = NOW.plus(Duration::from_secs(9));
    let client = Some(ClientId::new("client"));
    let grant = Some(GrantId::new("grant"));
    let of_grant = |grant: &str| FlowOf::Grant(GrantId::new(grant));
    let detail = Some("why \"it\" is; 100 % so \u{1f38b}".to_owned());
    let refused = FlowStep { detail, ..step("refused", "ccc", later) };
    let notes = [
        FlowNote { client_id: client.clone(), ..note("one", step("authorize", "aaa", NOW)) },
        FlowNote { is_approved: true, ..note("one", step("approved", "bbb", NOW)) },
        note("other", step("authorize", "ddd", later)),
        FlowNote { grant_id: grant.clone(), ..note("one", step("code given", "bbb", NOW)) },
        FlowNote { of: of_grant("grant"), ..note("", refused.clone()) },
        FlowNote { of: of_grant("nobody's"), ..note("", step("refused", "eee", NOW)) },
    ];
    let (first, rest) = notes.split_at(2);
    store.note_flows(first).await.unwrap();
    store.note_flows(rest).await.unwrap();

    let all = store.list_flows(None).await.unwrap();
    let ids: Vec<_> = all.iter().map(|flow| flow.id.as_str()).collect();
    assert_eq!(ids, ["other", "one"], "newest first");
    let [other, one] = all.as_slice() else { panic!("two flows") };
    assert_eq!((one.begun_at, one.is_approved), (NOW, true));
    assert_eq!((&one.client_id, &one.grant_id), (&client, &grant));
    let steps = [
        step("authorize", "aaa", NOW),
        step("approved", "bbb", NOW),
        step("code given", "bbb", NOW),
        refused,
    ];
    assert_eq!(one.steps, steps);
    assert_eq!((&other.client_id, &other.grant_id, other.is_approved), (&None, &None, false));
    for (trace_id, expected) in [
        ("aaa", Some("one")),
        ("bbb", Some("one")),
        ("ccc", Some("one")),
        ("ddd", Some("other")),
        ("eee", None),
        ("aa", None),
        ("%", None),
        ("", None),
    ] {
        let found = store.list_flows(Some(trace_id)).await.unwrap();
        let ids: Vec<_> = found.iter().map(|flow| flow.id.as_str()).collect();
        assert_eq!(ids, Vec::from_iter(expected), "{trace_id}");
    }
}

pub async fn a_flood_of_beginnings_pushes_out_no_flow_that_was_approved(store: AnyStore) {
    let at = |number: u32| NOW.plus(Duration::from_secs(u64::from(number)));
    let kept = FlowNote { is_approved: true, ..note("kept", step("approved", "kept", NOW)) };
    store.note_flows(&[kept]).await.unwrap();
    let beginnings: Vec<_> = (1..=FLOWS_KEPT_MAX + 5)
        .map(|number| {
            note(&format!("{number}"), step("authorize", &format!("t{number}"), at(number)))
        })
        .collect();
    for some in beginnings.chunks(64) {
        store.note_flows(some).await.unwrap();
    }
    let is_there =
        async |trace_id: &str| !store.list_flows(Some(trace_id)).await.unwrap().is_empty();
    assert!(is_there("kept").await, "the oldest of all, and approved");
    assert!(!is_there("t5").await, "the last that went");
    assert!(is_there("t6").await, "the oldest for which there is room");
    assert!(is_there(&format!("t{}", FLOWS_KEPT_MAX + 5)).await, "the newest");
    let listed = store.list_flows(None).await.unwrap();
    assert_eq!(listed.len(), usize::from(FLOWS_LISTED_MAX));
}

pub async fn a_flow_does_not_grow_without_end(store: AnyStore) {
    let long = FlowStep { detail: Some("x".repeat(200)), ..step("refused", "t", NOW) };
    let notes = vec![note("one", long); 64];
    store.note_flows(&notes).await.unwrap();
    store.note_flows(&notes).await.unwrap();
    let [flow] = store.list_flows(None).await.unwrap().try_into().unwrap();
    let most = usize::try_from(FLOW_BYTES_MAX).unwrap() / 200 + 1;
    assert!(flow.steps.len() > 20 && flow.steps.len() <= most, "{}", flow.steps.len());
}

pub async fn a_sweep_removes_flows_after_a_week(store: AnyStore) {
    store.note_flows(&[note("one", step("authorize", "t", NOW))]).await.unwrap();
    let end = NOW.plus(FLOWS_KEPT);
    let swept = store.sweep(end.minus(Duration::from_secs(1)), NOW).await.unwrap();
    assert_eq!((swept.rows, store.list_flows(None).await.unwrap().len()), (0, 1));
    let swept = store.sweep(end, NOW).await.unwrap();
    assert_eq!((swept.rows, store.list_flows(None).await.unwrap().len()), (1, 0));
}
