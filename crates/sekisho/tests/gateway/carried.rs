//! What goes through: all of it, as it came, for clients of both eras.

use std::time::Duration;

use sekisho::mcp::McpService as _;
use serde_json::json;

use crate::child::ODD_RESULT;
use crate::rig::{Plan, after_the_greeting, caller, meta, raw, until};

#[tokio::test]
async fn a_result_comes_back_byte_for_byte() {
    let rig = Plan::scripted().begin();
    let mut client = rig.client();
    client.shake_hands(json!({})).await;
    client.request(7, "tools/call", json!({ "name": "odd" })).await;
    let line = client.line().await;
    assert_eq!(line.trim_end(), format!(r#"{{"jsonrpc":"2.0","id":7,"result":{ODD_RESULT}}}"#));
    rig.stop().await;
}

#[tokio::test]
async fn params_go_through_byte_for_byte() {
    let rig = Plan::scripted().begin();
    let rows = [
        r#"{"a" : 1.0e2, "b":[ 12345678901234567890 ],"c":"\u00e9\n"}"#,
        r#"{"_meta":{"traceparent":"00-1-2-3","x" : 1},"name":"n"}"#,
        "{}",
    ];
    for params in rows {
        let sent = raw(params);
        let came = rig.gateway.call("params/echo", Some(&sent), &caller("alice")).await.unwrap();
        assert_eq!(came.get(), params);
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_call_that_two_readers_could_read_differently_goes_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let mut plan = Plan::shell(&after_the_greeting(&format!("cat > '{}'", seen.display())));
    plan.limits.answer_wait = Duration::from_secs(20);
    let rig = plan.begin();
    for params in [
        r#"{"name":"odd","name":"who"}"#,
        r#"{"name":"odd","\u006eame":"who"}"#,
        r#"{"name":"odd","arguments":[1]}"#,
        r#"{"arguments":{}}"#,
        r#"{"name":1}"#,
    ] {
        let error = rig.gateway.call("tools/call", Some(&raw(params)), &caller("alice")).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("-32602"), "{params}: {error}");
    }
    let written = || std::fs::read_to_string(&seen).unwrap_or_default();
    let alice = caller("alice");
    tokio::select! {
        answer = rig.gateway.call("tools/list", None, &alice) => panic!("nobody answers: {answer:?}"),
        () = until("what came before it is there", || written().contains("tools/list")) => {}
    }
    assert!(!written().contains("tools/call"), "{}", written());
    rig.stop().await;
}

#[tokio::test]
async fn what_cannot_be_carried_is_not_advertised() {
    let rig = Plan::scripted().begin();
    let mut older = rig.client();
    let result = older.shake_hands(json!({})).await["result"].clone();
    let expected = json!({
        "logging": {}, "resources": { "subscribe": true }, "tools": { "listChanged": true },
    });
    assert_eq!(result["capabilities"], expected, "neither tasks nor what nobody here knows");
    assert_eq!(result["serverInfo"]["name"], "scripted");

    let mut newer = rig.client();
    let result = newer.ask(1, "server/discover", json!({ "_meta": meta(&json!({})) })).await;
    assert_eq!(result["result"]["capabilities"], expected);
    rig.stop().await;
}

#[tokio::test]
async fn a_server_hears_what_its_client_can_do_and_no_more() {
    let rig = Plan::scripted().begin();
    let rows = [
        (json!({}), [false, false, false], "nothing"),
        (json!({ "elicitation": {} }), [false, true, false], "one thing"),
        (
            json!({ "sampling": {}, "roots": {}, "tasks": {} }),
            [true, false, true],
            "two, and a stranger",
        ),
    ];
    for (capabilities, can, reason) in rows {
        let mut older = rig.client();
        older.shake_hands(capabilities.clone()).await;
        let answer = older.ask(1, "tools/call", json!({ "name": "can" })).await;
        assert_eq!(answer["result"]["can"], json!(can), "{reason}");

        let params = json!({ "name": "can", "_meta": meta(&capabilities) });
        let answer = rig.client().ask(1, "tools/call", params).await;
        assert_eq!(answer["result"]["can"], json!(can), "{reason}, without a handshake");
    }
    rig.stop().await;
}

#[tokio::test]
async fn what_a_server_tells_comes_under_the_clients_own_token() {
    let rig = Plan::scripted().begin();
    let mut client = rig.client();
    client.shake_hands(json!({})).await;
    let params = json!({ "name": "tell", "_meta": { "progressToken": "mine" } });
    client.request(1, "tools/call", params).await;
    let progress = client.next().await;
    assert_eq!(progress["method"], "notifications/progress");
    let expected =
        json!({ "progressToken": "mine", "progress": 1.0, "total": 2.0, "message": "half" });
    assert_eq!(progress["params"], expected);
    let log = client.next().await;
    assert_eq!(log["params"], json!({ "level": "warning", "data": "careful" }));
    assert_eq!(client.next().await["id"], 1, "the answer comes last");

    // Who asked for neither, hears neither.
    let mut silent = rig.client();
    let params = json!({ "name": "tell", "_meta": meta(&json!({})) });
    assert_eq!(silent.ask(1, "tools/call", params).await["id"], 1);
    rig.stop().await;
}

#[tokio::test]
async fn a_question_reaches_a_client_with_a_session_as_a_request() {
    let rig = Plan::scripted().begin();
    let mut client = rig.client();
    client.shake_hands(json!({ "elicitation": {} })).await;
    client.request(1, "tools/call", json!({ "name": "ask" })).await;
    for (message, answer) in [("Who are you?", "Alice"), ("Really?", "yes")] {
        let question = client.next().await;
        assert_eq!(question["method"], "elicitation/create");
        assert_eq!(question["params"]["message"], message);
        let result = json!({ "action": "accept", "content": { "a": answer } });
        client.send(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": result })).await;
    }
    let answer = client.next().await;
    assert_eq!(answer["result"]["answers"][0]["content"]["a"], "Alice");
    assert_eq!(answer["result"]["answers"][1]["content"]["a"], "yes");
    rig.stop().await;
}

#[tokio::test]
async fn a_question_reaches_a_client_without_a_session_as_input_required() {
    let rig = Plan::scripted().begin();
    let mut client = rig.client();
    let can = json!({ "elicitation": {} });
    let mut params = json!({ "name": "ask", "_meta": meta(&can) });
    let mut states = Vec::new();
    for (id, message, answer) in [(1, "Who are you?", "Alice"), (2, "Really?", "yes")] {
        let result = client.ask(id, "tools/call", params.clone()).await["result"].clone();
        assert_eq!(result["resultType"], "input_required", "{result}");
        let asked = result["inputRequests"].as_object().unwrap();
        let (key, question) = asked.iter().next().unwrap();
        assert_eq!(question["params"]["message"], message);
        let response = json!({ "action": "accept", "content": { "a": answer } });
        params["inputResponses"] = json!({ key: response });
        params["requestState"] = result["requestState"].clone();
        states.push(result["requestState"].clone());
    }
    let answer = client.ask(3, "tools/call", params.clone()).await["result"].clone();
    assert_eq!(answer["answers"][0]["content"]["a"], "Alice");
    assert_eq!(answer["answers"][1]["content"]["a"], "yes");

    params["requestState"] = states[0].clone();
    let again = client.ask(4, "tools/call", params).await;
    assert_eq!(again["error"]["code"], -32602, "a call goes on once: {again}");
    rig.stop().await;
}

#[tokio::test]
async fn an_error_has_the_code_of_the_clients_revision() {
    let rig = Plan::scripted().begin();
    let mut older = rig.client();
    older.shake_hands(json!({})).await;
    let answer = older.ask(1, "resources/read", json!({ "uri": "test://x" })).await;
    assert_eq!(answer["error"]["code"], -32002);
    let params = json!({ "uri": "test://x", "_meta": meta(&json!({})) });
    let answer = rig.client().ask(1, "resources/read", params).await;
    assert_eq!(answer["error"]["code"], -32602);
    assert_eq!(answer["error"]["data"]["uri"], "test://x");
    rig.stop().await;
}

#[tokio::test]
async fn changes_reach_whoever_follows_them() {
    let rig = Plan::scripted().begin();
    let mut client = rig.client();
    client.shake_hands(json!({})).await;
    client.ask(1, "resources/subscribe", json!({ "uri": "test://followed" })).await;
    client.request(2, "tools/call", json!({ "name": "change" })).await;
    let mut methods = Vec::new();
    for _ in 0..3 {
        let message = client.next().await;
        methods.push(message["method"].as_str().unwrap_or("answer").to_owned());
    }
    methods.sort();
    let expected =
        ["answer", "notifications/resources/updated", "notifications/tools/list_changed"];
    assert_eq!(methods, expected);
    rig.stop().await;
}
