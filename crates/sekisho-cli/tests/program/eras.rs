//! The built-in server in every revision: it says of itself only what is true.

use reqwest::StatusCode;
use serde_json::json;
use testkit::McpClient;

use crate::harness::Folder;
use crate::person::log_in;

/// Methods of things that `fortune` does not have.
const ABSENT: [&str; 7] = [
    "completion/complete",
    "logging/setLevel",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
];

/// T28, T41, X4: what is declared answers, and nothing else does.
#[tokio::test]
async fn fortune_speaks_every_revision_and_claims_only_what_it_has() {
    let folder = Folder::new();
    let server = folder.serve("store = \"memory:\"").await;
    let tokens = log_in(&server, "demo", &server.password().unwrap()).await;
    let client = || McpClient::new(server.url("/mcp")).with_token(&tokens.access);
    let uri = json!({ "uri": "test://x", "level": "info" });
    let no_page = json!({ "cursor": "2" });
    let no_tool = json!({ "name": "misfortune" });

    for version in ["2025-03-26", "2025-06-18", "2025-11-25"] {
        let mut client = client();
        let begun = client.initialize(version).await.result();
        assert_eq!(begun["protocolVersion"], version);
        assert_eq!(begun["capabilities"], json!({ "tools": {} }), "{version}");
        assert_eq!(begun["serverInfo"]["name"], "fortune", "{version}");
        let list = client.request("tools/list", json!({})).await.result();
        assert_eq!(list["tools"][0]["name"], "fortune", "{version}");
        assert_eq!(list.as_object().unwrap().len(), 1, "{version}: nothing of later revisions");
        let drawn = client.call_tool("fortune", json!({})).await.tool_text();
        assert!(drawn.starts_with("今日の運勢は: "), "{version}: {drawn}");
        for method in ABSENT {
            let answer = client.request(method, uri.clone()).await;
            let said = (answer.status, answer.error_code());
            assert_eq!(said, (StatusCode::OK, Some(-32601)), "{version} {method}");
        }
        let wrong = client.request("tools/call", no_tool.clone()).await;
        assert_eq!(wrong.error_code(), Some(-32602), "{version}: no such tool");
        let wrong = client.request("tools/list", no_page.clone()).await;
        assert_eq!(wrong.error_code(), Some(-32602), "{version}: no second page");
    }

    let mut client = client();
    let found = client.stateless("server/discover", json!({})).await.result();
    assert_eq!(found["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(found["capabilities"], json!({ "tools": {} }));
    let first = client.stateless("tools/list", json!({})).await.result();
    assert_eq!(first["tools"][0]["name"], "fortune");
    assert_eq!(first, client.stateless("tools/list", json!({})).await.result(), "one order");
    let drawn = client.stateless("tools/call", json!({ "name": "fortune" })).await.tool_text();
    assert!(drawn.starts_with("今日の運勢は: "), "{drawn}");
    for method in ABSENT.into_iter().chain(["subscriptions/listen", "tasks/get"]) {
        let answer = client.stateless(method, uri.clone()).await;
        let said = (answer.status, answer.error_code());
        assert_eq!(said, (StatusCode::NOT_FOUND, Some(-32601)), "{method}");
    }
    let wrong = client.stateless("tools/call", no_tool).await;
    assert_eq!(wrong.error_code(), Some(-32602), "no such tool");
    let wrong = client.stateless("tools/list", no_page).await;
    assert_eq!(wrong.error_code(), Some(-32602), "no second page");
}
