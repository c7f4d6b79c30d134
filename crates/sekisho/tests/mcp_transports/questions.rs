//! What a service asks its client in the middle of a call, in both eras.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use testkit::{McpAnswer, McpClient};

use crate::everything::{Everything, call};

const ELICITATION: fn() -> Value = || json!({ "elicitation": {} });

fn answers(key: &str, value: &str) -> Value {
    json!({ key: { "action": "accept", "content": { "v": value } } })
}

async fn interview(client: &mut McpClient, name: &str, more: Value) -> McpAnswer {
    let mut params = call(name);
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client.stateless_with(&ELICITATION(), "tools/call", params).await
}

/// T29, T34: answers of earlier rounds need not be brought again.
#[tokio::test]
async fn a_call_asks_as_often_as_it_needs_and_remembers_nothing_itself() {
    let (rig, _) = Everything::start().await;
    let mut client = rig.client("alice");
    let first = interview(&mut client, "interview", json!({})).await.result();
    assert_eq!(first["resultType"], "input_required");
    assert_eq!(first["inputRequests"]["name"]["method"], "elicitation/create");
    assert_eq!(first.get("ttlMs"), None);
    let state = &first["requestState"];
    let round = json!({ "inputResponses": answers("name", "An"), "requestState": state });
    let second = interview(&mut client, "interview", round).await.result();
    assert!(second["inputRequests"].get("name").is_none(), "not asked twice");
    assert_ne!(second["requestState"], *state);

    let mut other_process = rig.client("alice-newer");
    let round = json!({
        "inputResponses": { "color": { "action": "accept", "content": { "v": "red" } }, "x": {} },
        "requestState": second["requestState"],
    });
    let last = interview(&mut other_process, "interview", round).await;
    assert_eq!(last.tool_text(), r#""An" "red""#, "a refreshed token changes nothing");

    let again = json!({ "requestState": second["requestState"], "inputResponses": {} });
    let again = interview(&mut client, "interview", again).await.result();
    assert!(again["inputRequests"].get("color").is_some(), "a missing answer is asked for again");
}

/// T34, R12.
#[tokio::test]
async fn a_state_serves_the_call_and_the_caller_it_was_made_for() {
    let (rig, _) = Everything::start().await;
    let mut alice = rig.client("alice");
    let state =
        interview(&mut alice, "interview", json!({})).await.result()["requestState"].clone();
    let text = state.as_str().unwrap();
    let flipped =
        format!("{}{}", &text[..text.len() - 2], if text.ends_with("AA") { "BB" } else { "AA" });
    let rows = [
        ("alice", "interview", state.clone(), json!({}), true, "as it was made"),
        ("alice", "interview", json!(format!("{text}-x")), json!({}), false, "lengthened"),
        ("alice", "interview", json!(flipped), json!({}), false, "altered"),
        ("alice", "interview", json!(7), json!({}), false, "no text"),
        ("mallory", "interview", state.clone(), json!({}), false, "another person"),
        ("alice-elsewhere", "interview", state.clone(), json!({}), false, "another client"),
        ("alice", "sample", state.clone(), json!({}), false, "another tool"),
        ("alice", "interview", state.clone(), json!({ "x": 1 }), false, "other arguments"),
    ];
    for (token, tool, state, arguments, opens, reason) in rows {
        let mut client = rig.client(token);
        let params = json!({ "requestState": state, "arguments": arguments });
        let answer = interview(&mut client, tool, params).await;
        let expected = if opens { None } else { Some(-32602) };
        assert_eq!(answer.error_code(), expected, "{reason}: {}", answer.text);
    }
    rig.clock.advance(Duration::from_secs(15 * 60 + 1));
    let late = interview(&mut alice, "interview", json!({ "requestState": state })).await;
    assert_eq!(late.error_code(), Some(-32602), "too late");
}

/// T27, T34.
#[tokio::test]
async fn a_client_is_asked_only_for_what_it_declares_and_answers_are_objects() {
    let (rig, _) = Everything::start().await;
    let mut client = rig.client("alice");
    for tool in ["sample", "left"] {
        let asked = interview(&mut client, tool, json!({})).await;
        assert_eq!((asked.status.as_u16(), asked.error_code()), (400, Some(-32021)), "{tool}");
        let required = &asked.message()["error"]["data"]["requiredCapabilities"];
        assert_eq!(*required, json!({ "sampling": {} }), "{tool}");
    }

    for wrong in [json!(7), json!([]), json!({ "name": 12345 })] {
        let answer = interview(&mut client, "interview", json!({ "inputResponses": wrong })).await;
        assert_eq!(answer.error_code(), Some(-32602), "{wrong}");
    }
}

/// T9, T17: the same service, asked by a client with a session: a request on its stream.
#[tokio::test]
async fn the_same_question_reaches_an_older_client_as_a_request() {
    let (rig, _) = Everything::start().await;
    let mut client = rig.client("alice");
    let begun = client
        .request(
            "initialize",
            json!({
                "protocolVersion": "2025-06-18",
                "capabilities": { "elicitation": {} },
                "clientInfo": { "name": "t", "version": "1" },
            }),
        )
        .await;
    client.session = begun.header("mcp-session-id").map(ToOwned::to_owned);
    client.version = Some("2025-06-18".to_owned());
    client.notify("notifications/initialized", json!({})).await;

    let body = client.next_request("tools/call", &call("interview"));
    let mut events = client.post_for_stream(body.to_string()).await;
    for value in ["An", "red"] {
        let question = events.message().await;
        assert_eq!(question["method"], "elicitation/create");
        let answer = json!({
            "jsonrpc": "2.0",
            "id": question["id"],
            "result": { "action": "accept", "content": { "v": value } },
        });
        let mut stranger = rig.client("mallory");
        stranger.session.clone_from(&client.session);
        let stolen = stranger.post(answer.to_string()).await;
        assert_eq!(stolen.status, StatusCode::NOT_FOUND, "another's session is unknown");
        assert_eq!(client.post(answer.to_string()).await.status, StatusCode::ACCEPTED);
    }
    let last = events.message().await;
    assert_eq!(last["result"]["content"][0]["text"], r#""An" "red""#);
    assert_eq!(last["result"].get("resultType"), None, "older clients know no such member");
}
