//! Commands that speak 2026-07-28 alone, for clients of both eras; and that no other command is asked what it
//! does not know.

use std::time::Duration;

use serde_json::json;

use crate::child::ODD_RESULT;
use crate::rig::{Plan, caller, meta, until};

#[tokio::test]
async fn a_command_that_knows_no_handshake_is_found_out_and_answers_byte_for_byte() {
    let rig = Plan::without_handshake().begin();
    let mut older = rig.client();
    let greeting = older.shake_hands(json!({})).await;
    assert_eq!(greeting["result"]["serverInfo"]["name"], "scripted");
    older.request(7, "tools/call", json!({ "name": "odd" })).await;
    let line = older.line().await;
    assert_eq!(line.trim_end(), format!(r#"{{"jsonrpc":"2.0","id":7,"result":{ODD_RESULT}}}"#));

    let params = json!({ "name": "odd", "_meta": meta(&json!({})) });
    let answer = rig.client().ask(8, "tools/call", params).await;
    assert_eq!(answer["result"]["resultType"], "complete");
    assert_eq!(answer["result"]["unheard"]["of"][0], 100.0, "{answer}");
    rig.stop().await;
}

#[tokio::test]
async fn it_asks_tells_and_follows_as_one_at_a_url_does() {
    let rig = Plan::without_handshake().begin();
    let mut client = rig.client();
    client.shake_hands(json!({ "elicitation": {} })).await;
    client.request(1, "tools/call", json!({ "name": "ask" })).await;
    for message in ["Who are you?", "Really?"] {
        let question = client.next().await;
        assert_eq!(question["params"]["message"], message, "{question}");
        let result = json!({ "action": "accept", "content": { "a": message } });
        client.send(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": result })).await;
    }
    let answer = client.next().await;
    assert_eq!(answer["result"]["answers"][1]["content"]["a"], "Really?", "{answer}");

    let params = json!({ "name": "tell", "_meta": { "progressToken": "mine" } });
    client.request(2, "tools/call", params).await;
    let progress = client.next().await;
    assert_eq!(progress["params"]["progressToken"], "mine", "{progress}");
    assert_eq!(client.next().await["params"]["data"], "careful");
    assert_eq!(client.next().await["id"], 2);

    let uri = json!({ "uri": "test://followed" });
    let answer = client.ask(3, "resources/subscribe", uri).await;
    assert_eq!(answer["result"], json!({}), "{answer}");
    client.request(4, "tools/call", json!({ "name": "change" })).await;
    let mut methods = Vec::new();
    for _ in 0..3 {
        methods.push(client.next().await["method"].as_str().unwrap_or("answer").to_owned());
    }
    methods.sort();
    let expected =
        ["answer", "notifications/resources/updated", "notifications/tools/list_changed"];
    assert_eq!(methods, expected);
    rig.stop().await;
}

/// It has no word for anything else (2026-07-28): not for roots that changed, not for a resource that nobody
/// follows any more.
#[tokio::test]
async fn it_is_told_of_what_is_given_up_and_of_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let [left, notes] = ["left", "notes"].map(|name| folder.path().join(name));
    let rig = Plan::without_handshake().variable("GATEWAY_TEST_NOTES", &notes).begin();
    let mut client = rig.client();
    client.shake_hands(json!({})).await;
    let uri = json!({ "uri": "test://followed" });
    client.ask(1, "resources/subscribe", uri.clone()).await;
    client.ask(2, "resources/unsubscribe", uri).await;
    let changed = json!({ "jsonrpc": "2.0", "method": "notifications/roots/list_changed" });
    client.send(&changed).await;
    let params = json!({ "name": "wait", "arguments": { "left": left } });
    client.request(3, "tools/call", params).await;
    let heard = || std::fs::read_to_string(&notes).unwrap_or_default();
    until("the call is there", || heard().contains("tools/call")).await;
    let cancelled = json!({ "requestId": 3 });
    let message =
        json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancelled });
    client.send(&message).await;
    until("it has given the call up", || left.exists()).await;
    rig.stop().await;
    let mut said: Vec<_> = heard().lines().map(str::to_owned).collect();
    said.sort();
    said.dedup();
    let expected = [
        "initialize",
        "notifications/cancelled",
        "server/discover",
        "subscriptions/listen",
        "tools/call",
    ];
    assert_eq!(said, expected);
}

/// There are commands that end when the first thing they read is none they know, and others that never say
/// anything again.
#[tokio::test]
async fn a_command_with_a_handshake_never_hears_another_question_first() {
    let script = r#"
        while read line; do
            case "$line" in
                *'"server/discover"'*) exit 1 ;;
                *'"initialize"'*) echo '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{}}}' ;;
                *'"tools/call"'*) echo '{"jsonrpc":"2.0","id":2,"result":{"content":[]}}' ;;
            esac
        done"#;
    let rig = Plan::shell(script).begin();
    let answer = rig.call(&caller("alice"), "any").await.unwrap();
    assert_eq!(answer, json!({ "content": [] }));
    rig.stop().await;
}

#[tokio::test]
async fn a_command_that_refuses_every_greeting_is_an_error_in_time() {
    let refuses = |code: i32, rest: &str| {
        format!(
            r#"id=0; while read line; do id=$((id+1));
            echo "{{\"jsonrpc\":\"2.0\",\"id\":$id,\"error\":{{\"code\":{code},\"message\":\"no\"{rest}}}}}"; done"#
        )
    };
    let rows = [
        (refuses(-32601, ""), "no", "its own word"),
        (refuses(-32022, ""), "cannot be used", "a revision that it does not name"),
        (
            refuses(-32022, r#",\"data\":{\"supported\":[\"2099-01-01\"]}"#),
            "cannot be used",
            "one that we do not know",
        ),
        (
            refuses(-32022, r#",\"data\":{\"supported\":[\"2026-07-28\"]}"#),
            "cannot be used",
            "the one that it refuses",
        ),
        ("read line; exit 1".to_owned(), "ended before it answered", "the end"),
    ];
    for (script, expected, reason) in rows {
        let mut plan = Plan::shell(&script);
        plan.limits.start_wait = Duration::from_secs(30);
        let rig = plan.begin();
        let error = rig.call(&caller("alice"), "any").await.unwrap_err();
        assert!(error.contains(expected), "{reason}: {error}");
        rig.stop().await;
    }
}
