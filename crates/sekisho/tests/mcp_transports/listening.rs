//! `subscriptions/listen`: who hears of which changes, and for how long.

use http::StatusCode;
use serde_json::json;

use crate::everything::Everything;
use crate::rig::Rig;

/// T33, X17, X18, X29.
#[tokio::test]
async fn a_listener_hears_what_it_asked_for_under_its_own_id() {
    let (rig, changes) = Everything::start().await;
    let mut client = rig.client("alice");
    let filter = json!({
        "notifications": {
            "toolsListChanged": true,
            "promptsListChanged": true,
            "resourceSubscriptions": ["test://there", "test://nowhere"],
        },
    });
    let (sender, body) = client.next_stateless(&json!({}), "subscriptions/listen", filter);
    let mut events = sender.post_for_stream(body.to_string()).await;
    let first = events.message().await;
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    let granted = json!({ "toolsListChanged": true, "resourceSubscriptions": ["test://there"] });
    assert_eq!(first["params"]["notifications"], granted, "what is served, of what is wanted");

    changes.prompts_changed();
    changes.resource_updated("test://elsewhere");
    changes.tools_changed();
    changes.resource_updated("test://there");
    let second = events.message().await;
    let third = events.message().await;
    assert_eq!(second["method"], "notifications/tools/list_changed");
    assert_eq!(third["method"], "notifications/resources/updated");
    assert_eq!(third["params"]["uri"], "test://there");
    for message in [&first, &second, &third] {
        let id = &message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"];
        assert_eq!(*id, json!(1), "a number stays a number");
    }

    rig.shutdown.cancel();
    let last = events.message().await;
    assert_eq!(last["id"], 1);
    assert_eq!(last["result"]["resultType"], "complete");
    events.end_in_order().await;
}

/// X27: a stream does not outlive the right to it.
#[tokio::test]
async fn a_listener_whose_token_is_taken_back_is_told_that_nothing_more_comes() {
    let (rig, _) = Everything::start().await;
    let mut client = rig.client("alice");
    let filter = json!({ "notifications": { "toolsListChanged": true } });
    let (sender, body) = client.next_stateless(&json!({}), "subscriptions/listen", filter);
    let mut events = sender.post_for_stream(body.to_string()).await;
    events.message().await;
    rig.verifier.revoke("alice");
    assert_eq!(events.message().await["result"]["resultType"], "complete");
    events.end().await;
}

/// A server that never changes has nothing to listen to.
#[tokio::test]
async fn listening_is_no_method_of_a_server_that_never_changes() {
    let rig = Rig::start().await;
    let mut client = rig.client("alice");
    let params = json!({ "notifications": { "toolsListChanged": true } });
    let answer = client.stateless("subscriptions/listen", params).await;
    assert_eq!((answer.status.as_u16(), answer.error_code()), (404, Some(-32601)));
}

/// Case 92: what waits for a reader is bounded, whatever stream it is; then the stream is over.
#[tokio::test]
async fn a_listener_that_never_reads_is_cut_off_and_others_hear_everything() {
    let (rig, changes) = Everything::start_with(|settings| {
        settings.limits.queue_events_max = 4;
        settings.limits.calls_per_person_max = 1;
    })
    .await;
    let mut newer = rig.client("alice");
    let filter = json!({ "notifications": { "toolsListChanged": true } });
    let (sender, body) = newer.next_stateless(&json!({}), "subscriptions/listen", filter);
    let mut stateless = sender.post_for_stream(body.to_string()).await;
    let older = rig.session("mallory").await;
    let mut stream = older.listen().await;
    let full = rig.client("alice-elsewhere").stateless("server/discover", json!({})).await;
    assert_eq!(full.status, StatusCode::TOO_MANY_REQUESTS, "a listener counts for its person");

    // Nobody reads in between: this test has the only thread.
    for _ in 0..1_000 {
        changes.tools_changed();
    }
    let mut heard = [0, 0];
    while let Some(event) = stateless.next().await {
        heard[0] += usize::from(event.json()["method"] == "notifications/tools/list_changed");
    }
    while let Some(event) = stream.next().await {
        heard[1] += usize::from(event.json()["method"] == "notifications/tools/list_changed");
    }
    assert_eq!(heard, [0, 0], "what was waiting is given up");

    let mut again = rig.client("alice-elsewhere");
    let found = again.stateless("server/discover", json!({})).await;
    assert_eq!(found.status, StatusCode::OK, "the place is free again");
    let mut stream = older.listen().await;
    stream.next().await;
    changes.tools_changed();
    assert_eq!(stream.message().await["method"], "notifications/tools/list_changed");
}
