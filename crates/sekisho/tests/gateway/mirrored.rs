//! Arguments that are said once more in headers (`x-mcp-header`, 2026-07-28), between a client and a server
//! behind us: held against the body here, made anew from it for the server.

use axum::Router;
use axum::response::IntoResponse as _;
use serde_json::json;
use testkit::McpClient;

use crate::rig::{Plan, Rig, until};
use crate::web::{Seen, Speaks, Web, in_front_of, result_of};

/// A client of 2026-07-28 that is somebody.
fn newer(front: &Web) -> McpClient {
    let mut client = McpClient::new(front.url("/mcp"));
    client.set_header("x-test-person", "alice");
    client
}

/// The gateway before a server of each kind, commands too; and the server, if it is at a URL.
async fn every_kind() -> Vec<(String, Rig, Option<Web>)> {
    let mut all = Vec::new();
    for speaks in Speaks::ALL {
        let web = Web::serve(speaks.server()).await;
        all.push((format!("{speaks:?}"), Plan::at(&web.url(speaks.path())).begin(), Some(web)));
    }
    all.push(("a command".to_owned(), Plan::scripted().begin(), None));
    let modern = Plan::without_handshake().begin();
    all.push(("a command without a handshake".to_owned(), modern, None));
    all
}

#[tokio::test]
async fn an_argument_in_a_header_is_held_against_the_body_for_every_server_behind_us() {
    for (kind, rig, _web) in every_kind().await {
        let front = in_front_of(&rig.gateway).await;
        let region = |text: &str| json!({ "region": text });
        let rows: [(serde_json::Value, &[&str], u16, &str); 9] = [
            (region("west"), &["west"], 200, "the same"),
            (region("西"), &["=?base64?6KW/?="], 200, "the same, wrapped"),
            (region("west"), &[], 400, "missing"),
            (region("west"), &["east"], 400, "another"),
            (region("west"), &["west", "west"], 400, "twice"),
            (region("west"), &["=?base64?!?="], 400, "wrapped around nothing"),
            (json!({ "region": null }), &[], 200, "nothing to repeat"),
            (json!({}), &["west"], 400, "of nothing"),
            (json!({}), &[], 200, "nothing at all"),
        ];
        for (arguments, headers, expected, reason) in rows {
            let mut client = newer(&front);
            let params = json!({ "name": "routed", "arguments": arguments });
            let (client, message) = client.next_stateless(&json!({}), "tools/call", params);
            let mut request = client.raw(http::Method::POST);
            for value in headers {
                request = request.header("mcp-param-region", *value);
            }
            let request = request.header("content-type", "application/json");
            let answer = McpClient::send(request.body(message.to_string())).await;
            assert_eq!(answer.status.as_u16(), expected, "{kind}: {reason}: {}", answer.text);
            let code = (expected == 400).then_some(-32020);
            assert_eq!(answer.error_code(), code, "{kind}: {reason}: {}", answer.text);
            assert!(answer.text.contains("\"id\":1"), "{kind}: {reason}: {}", answer.text);
        }
        let mut client = newer(&front);
        client.set_header("mcp-param-other", "x");
        let answer = client.stateless("tools/call", json!({ "name": "odd" })).await;
        assert_eq!(answer.status.as_u16(), 200, "{kind}: a header that nobody asked for");
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_client_of_an_older_revision_has_no_such_headers_and_needs_none() {
    for (kind, rig, _web) in every_kind().await {
        let mut client = rig.client();
        client.shake_hands(json!({})).await;
        let params = json!({ "name": "routed", "arguments": { "region": "west" } });
        let answer = client.ask(1, "tools/call", params).await;
        assert_eq!(answer["result"]["arguments"]["region"], "west", "{kind}: {answer}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_server_is_asked_for_its_tools_once_and_not_where_a_list_has_passed_by() {
    for is_listed_before in [false, true] {
        for speaks in Speaks::ALL {
            let web = Web::serve(speaks.server()).await;
            let rig = Plan::at(&web.url(speaks.path())).begin();
            let front = in_front_of(&rig.gateway).await;
            if is_listed_before {
                newer(&front).stateless("tools/list", json!({})).await;
            }
            let mut calls = tokio::task::JoinSet::new();
            for name in ["odd", "who", "routed", "no-such-tool", "odd", "another"] {
                let mut client = newer(&front);
                calls.spawn(async move {
                    client.stateless("tools/call", json!({ "name": name })).await
                });
            }
            calls.join_all().await;
            assert_eq!(web.count("tools/list"), 1, "{speaks:?} {is_listed_before}");
            rig.stop().await;
        }
    }
}

#[tokio::test]
async fn what_is_known_is_asked_for_again_when_the_server_says_that_it_changed() {
    let web = Web::serve(Speaks::Stateless.server()).await;
    let rig = Plan::at(&web.url("/mcp")).begin();
    let front = in_front_of(&rig.gateway).await;
    let mut client = newer(&front);
    client.stateless("tools/call", json!({ "name": "change" })).await;
    assert_eq!(web.count("tools/list"), 1);
    let mut calls = 0;
    // The news and the answer come on two streams.
    while web.count("tools/list") == 1 {
        client.stateless("tools/call", json!({ "name": "odd" })).await;
        calls += 1;
        assert!(calls < 1_000, "never asked again");
        tokio::task::yield_now().await;
    }
    rig.stop().await;
}

/// Whoever asks for a part of the list as if it were all of it changes nothing for others.
#[tokio::test]
async fn a_cursor_in_disguise_hides_no_tool_from_the_check() {
    let pages = answering(|seen| {
        let is_second = seen.json()["params"]["cursor"] == "2";
        let region = json!({ "type": "string", "x-mcp-header": "Region" });
        let routed =
            json!({ "name": "routed", "inputSchema": { "properties": { "region": region } } });
        if is_second {
            json!({ "tools": [] })
        } else {
            json!({ "tools": [routed], "nextCursor": "2" })
        }
    });
    let web = Web::serve(pages).await;
    let rig = Plan::at(&web.url("/mcp")).begin();
    let front = in_front_of(&rig.gateway).await;
    let mut client = newer(&front);
    client.stateless("tools/list", json!({})).await;
    let (raw, message) = client.next_stateless(&json!({}), "tools/list", json!({ "cursor": "2" }));
    raw.post(message.to_string().replace("cursor", "c\\u0075rsor")).await;
    let params = json!({ "name": "routed", "arguments": { "region": "west" } });
    let answer = client.stateless("tools/call", params).await;
    assert_eq!(answer.status.as_u16(), 400, "{}", answer.text);
    rig.stop().await;
}

/// Over HTTP; elsewhere whoever calls it says nothing in headers.
#[tokio::test]
async fn a_tool_that_nobody_can_call_is_not_shown() {
    for (kind, rig, web) in every_kind().await {
        let front = in_front_of(&rig.gateway).await;
        let older = {
            let mut client = rig.client();
            client.shake_hands(json!({})).await;
            client.ask(1, "tools/list", json!({})).await["result"].clone()
        };
        let newer = newer(&front).stateless("tools/list", json!({})).await.result();
        let is_shown = web.is_none() || kind != "Stateless";
        for list in [older, newer] {
            let names: Vec<_> =
                list["tools"].as_array().unwrap().iter().map(|tool| tool["name"].clone()).collect();
            let expected = if is_shown { vec!["routed", "wrong"] } else { vec!["routed"] };
            assert_eq!(names, expected, "{kind}");
        }
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_server_gets_its_headers_with_the_first_call_once_a_list_has_passed_by() {
    let web = Web::serve(Speaks::Stateless.server()).await;
    let rig = Plan::at(&web.url("/mcp")).begin();
    let mut client = rig.client();
    client.shake_hands(json!({})).await;
    client.ask(1, "tools/list", json!({})).await;
    let params = json!({ "name": "routed", "arguments": { "region": "west" } });
    client.ask(2, "tools/call", params).await;
    assert_eq!(web.count("tools/call"), 1, "it was not refused first");
    let seen = web.seen();
    let call = seen.iter().find(|seen| seen.says().as_deref() == Some("tools/call")).unwrap();
    assert_eq!(call.header("mcp-param-region"), Some("west"));
    rig.stop().await;
}

/// A server that cannot list its tools says of none what is repeated; its calls go on.
#[tokio::test]
async fn a_server_that_lists_no_tools_is_called_all_the_same() {
    let silent = answering(|_| json!(null));
    let web = Web::serve(silent).await;
    let rig = Plan::at(&web.url("/mcp")).begin();
    let front = in_front_of(&rig.gateway).await;
    let mut client = newer(&front);
    for _ in 0..3 {
        let params = json!({ "name": "routed", "arguments": { "region": "west" } });
        let answer = client.stateless("tools/call", params).await;
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
    }
    assert_eq!(web.count("tools/list"), 1, "it was asked once");
    rig.stop().await;
}

/// A server without a handshake whose list of tools is what `list` says; nothing: it has none.
fn answering(list: fn(&Seen) -> serde_json::Value) -> Router {
    crate::web::stateless(move |seen| async move {
        match seen.says().as_deref() {
            Some("tools/list") if list(&seen).is_null() => {
                let error = json!({ "code": -32601, "message": "no such method" });
                let answer = json!({ "jsonrpc": "2.0", "id": seen.json()["id"], "error": error });
                (http::StatusCode::NOT_FOUND, axum::Json(answer)).into_response()
            }
            Some("tools/list") => axum::Json(result_of(&seen, &list(&seen))).into_response(),
            _ => axum::Json(result_of(&seen, &json!({ "content": [] }))).into_response(),
        }
    })
}

#[tokio::test]
async fn a_list_that_is_not_to_be_had_holds_no_call_up_for_long() {
    let hanging = crate::web::stateless(|seen| async move {
        if seen.says().as_deref() == Some("tools/list") {
            std::future::pending::<()>().await;
        }
        axum::Json(result_of(&seen, &json!({ "content": [] }))).into_response()
    });
    let web = Web::serve(hanging).await;
    let mut plan = Plan::at(&web.url("/mcp"));
    plan.limits.answer_wait = std::time::Duration::from_millis(300);
    let rig = plan.begin();
    let front = in_front_of(&rig.gateway).await;
    let mut client = newer(&front);
    let answer = client.stateless("tools/call", json!({ "name": "x" })).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
    until("the question was asked", || web.count("tools/list") == 1).await;
    rig.stop().await;
}
