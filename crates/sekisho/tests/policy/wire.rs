//! Rules behind the guard, on every transport and in both eras: attacks 58, 60 and 61.

use serde_json::{Value, json};
use testkit::McpAnswer;

use crate::rig::{METADATA, Site};

const RUN: &str =
    r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"report_run"}}"#;
const SECRET: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"secret"}}"#;
const LIST: &str =
    r#"{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"name":"report_list"}}"#;
const ADMIN: &str =
    r#"{"jsonrpc":"2.0","id":9,"method":"resources/read","params":{"uri":"file:///admin/c"}}"#;

fn assert_challenged(answer: &McpAnswer, scope: &str, way: &str) {
    assert_eq!(answer.status, 403, "{way}: {}", answer.text);
    let challenge = answer.header("www-authenticate").unwrap_or_default();
    let expected = format!(
        "Bearer error=\"insufficient_scope\", error_description=\"the access token lacks a scope\", \
         resource_metadata=\"{METADATA}\", scope=\"{scope}\""
    );
    assert_eq!(challenge, expected, "{way}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{way}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{way}");
    assert!(answer.error_code().is_some(), "{way}: {}", answer.text);
}

#[tokio::test]
async fn a_tool_that_a_scope_would_open_is_answered_with_a_challenge_on_every_transport() {
    let site = Site::open().await;
    let client = site.session("2025-11-25", "analyst").await;
    assert_challenged(&client.post(RUN).await, "mcp reports:run", "Streamable HTTP");
    assert_eq!(client.post(RUN).await.message()["id"], 7, "its own answer");

    let streaming = site.session("2025-11-25", "analyst").await.accepting("text/event-stream");
    assert_challenged(&streaming.post(RUN).await, "mcp reports:run", "a client of streams alone");

    let batching = site.session("2025-03-26", "analyst").await;
    let batch = format!("[{LIST},{RUN},{ADMIN}]");
    site.reports.reached();
    let answer = batching.post(batch).await;
    assert_challenged(&answer, "mcp reports:run admin", "a batch, all of it at once");
    assert_eq!(site.reports.reached(), [], "and nothing of it was done");

    let mut modern = site.client("analyst");
    let answer = modern.stateless("tools/call", json!({ "name": "report_run" })).await;
    assert_challenged(&answer, "mcp reports:run", "without a session");

    let sse = site.sse("analyst").await;
    assert_challenged(&sse.post(RUN).await, "mcp reports:run", "HTTP+SSE, on the POST");

    let session = site.session("2025-11-25", "analyst").await;
    assert_challenged(&session.post(ADMIN).await, "mcp admin", "a resource");
    let follow = ADMIN.replace("resources/read", "resources/subscribe");
    assert_challenged(&session.post(follow).await, "mcp admin", "to follow one");

    let mut allowed = site.session("2025-11-25", "runner").await;
    assert_eq!(allowed.call_tool("report_run", json!({})).await.tool_text(), "done");
}

#[tokio::test]
async fn what_the_token_has_beyond_the_servers_scopes_is_in_the_challenge_too() {
    let site = Site::open().await;
    let admin = site.session("2025-11-25", "admin").await;
    assert_challenged(&admin.post(RUN).await, "mcp admin reports:run", "the union");
}

#[tokio::test]
async fn a_hidden_tool_is_unknown_on_every_transport() {
    let site = Site::open().await;
    let unknown = SECRET.replace("secret", "nobody");
    let mut texts = Vec::new();
    for message in [SECRET, &unknown] {
        let session = site.session("2025-11-25", "analyst").await;
        let batching = site.session("2025-03-26", "analyst").await;
        let mut modern = site.client("analyst");
        let name = if message == SECRET { "secret" } else { "nobody" };
        let mut sse = site.sse("analyst").await;
        assert_eq!(sse.post(message).await.status, 202);
        let answers = [
            session.post(message).await.text,
            batching.post(format!("[{message}]")).await.text,
            modern.stateless("tools/call", json!({ "name": name })).await.text,
            sse.events.message().await.to_string(),
        ];
        texts.push(answers.map(|text| text.replace(name, "NAME")));
    }
    assert_eq!(texts[0], texts[1]);
    for text in &texts[0] {
        assert!(text.contains("-32602") && text.contains("there is no tool"), "{text}");
    }
    assert_eq!(site.reports.reached(), [], "the server behind heard nothing of it");
}

/// The names in a list.
fn names(result: &Value) -> Vec<String> {
    let lists = ["tools", "prompts", "resources", "resourceTemplates"];
    let list = lists.iter().find_map(|list| result[*list].as_array()).unwrap();
    list.iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn lists_show_what_one_may_do_and_are_nobody_elses() {
    let site = Site::open().await;
    let rows: [(&str, &str, &[&str]); 8] = [
        ("analyst", "tools/list", &["report_list", "query", "report_run"]),
        (
            "admin",
            "tools/list",
            &["report_list", "query", "report_run", "delete_report", "delete_all"],
        ),
        ("stranger", "tools/list", &["report_list"]),
        ("analyst", "resources/list", &["file:///pub/a", "file:///corp/b", "file:///admin/c"]),
        ("stranger", "resources/list", &["file:///pub/a", "file:///admin/c"]),
        ("stranger", "resources/templates/list", &["file:///pub/{name}"]),
        ("analyst", "prompts/list", &["summary", "letter"]),
        ("stranger", "prompts/list", &[]),
    ];
    for (who, method, expected) in rows {
        let mut legacy = site.session("2025-06-18", who).await;
        let mut modern = site.client(who);
        let old = legacy.request(method, json!({})).await.result();
        let new = modern.stateless(method, json!({})).await.result();
        assert_eq!(names(&old), expected, "{who} {method}");
        assert_eq!(names(&new), expected, "{who} {method}, without a session");
        assert_eq!(new["cacheScope"], "private", "{who} {method}: {new}");
        if method == "tools/list" {
            assert_eq!((&old["nextCursor"], &old["ttlMs"]), (&json!("2"), &json!(9)), "{old}");
            assert_eq!(old["tools"][0], json!({ "name": "report_list", "x": 1 }), "as it came");
        }
    }
    let mut modern = site.client("stranger");
    let read = modern.stateless("resources/read", json!({ "uri": "file:///pub/a" })).await.result();
    assert_eq!(read["cacheScope"], "private", "what one may read is no more for everybody: {read}");
}

#[tokio::test]
async fn a_hidden_resource_is_not_followed_without_a_session_either() {
    let site = Site::open().await;
    let wanted = ["file:///pub/a", "file:///other/d", "file:///pub/../other/d"];
    let params = json!({ "notifications": { "resourceSubscriptions": wanted } });
    let mut client = site.client("stranger");
    let (client, message) = client.next_stateless(&json!({}), "subscriptions/listen", params);
    let mut events = client.post_for_stream(message.to_string()).await;
    let told = events.message().await;
    let granted = &told["params"]["notifications"]["resourceSubscriptions"];
    assert_eq!(granted, &json!(["file:///pub/a"]), "{told}");
    assert_eq!(site.reports.reached(), [("subscribe".to_owned(), "file:///pub/a".to_owned())]);
}

#[tokio::test]
async fn the_body_is_judged_and_no_header_changes_it() {
    let site = Site::open().await;
    let mut client = site.client("analyst");
    let params = json!({ "name": "secret" });
    let (mut lying, message) = client.next_stateless(&json!({}), "tools/call", params);
    lying.set_header("mcp-name", "report_list");
    let answer = lying.post(message.to_string()).await;
    assert_eq!((answer.status.as_u16(), answer.error_code()), (400, Some(-32020)));
    let mut legacy = site.session("2025-11-25", "analyst").await;
    legacy.set_header("mcp-name", "report_list");
    legacy.set_header("mcp-method", "tools/list");
    assert_eq!(legacy.call_tool("secret", json!({})).await.error_code(), Some(-32602));
    assert_eq!(site.reports.reached(), []);
}
