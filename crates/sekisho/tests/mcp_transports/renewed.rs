//! Another service takes the place of one that has clients.

use std::sync::Arc;

use serde_json::json;

use crate::everything::Everything;

#[tokio::test]
async fn clients_hear_the_service_that_serves_them_now_and_no_other() {
    let (before, of_the_former) = Everything::start().await;
    let mut listening = before.session("alice").await.listen().await;
    assert!(listening.next().await.unwrap().id.is_some(), "the priming event");
    let mut client = before.client("alice");
    let filter = json!({ "notifications": { "toolsListChanged": true } });
    let (sender, body) = client.next_stateless(&json!({}), "subscriptions/listen", filter);
    let mut newest = sender.post_for_stream(body.to_string()).await;
    newest.message().await;

    let service = Everything::new();
    let of_the_new = service.changes.clone();
    let after = before.renewed(Arc::new(service)).await;
    of_the_new.prompts_changed();
    after.endpoints.take_over(&before.endpoints);
    of_the_former.prompts_changed();
    of_the_new.tools_changed();
    of_the_new.resources_changed();
    assert_eq!(listening.message().await["method"], "notifications/tools/list_changed");
    assert_eq!(listening.message().await["method"], "notifications/resources/list_changed");
    assert_eq!(newest.message().await["method"], "notifications/tools/list_changed");
    let told = after.client("alice").begin("2025-11-25").await;
    assert_eq!(told.status, 200, "and it serves");

    // Streams that are open ask whoever lets in now.
    after.verifier.revoke("alice");
    listening.end().await;
    assert_eq!(newest.message().await["result"]["resultType"], "complete");
}
