//! `upstream = { servers = […] }`: several servers as one, with the real program.

use serde_json::{Value, json};
use testkit::McpClient;

use crate::harness::{Folder, Server, http};
use crate::person::log_in;

/// Two fortune tellers as one at `/`; one of them has no endpoints of its own.
const SETTINGS: &str = "[[server]]\nname = \"east\"\nupstream = { builtin = \"fortune\" }\n\
    [[server]]\nname = \"west\"\npath = \"\"\nupstream = { builtin = \"fortune\" }\n\
    [[server]]\nname = \"all\"\npath = \"/\"\nupstream = { servers = [\"east\", \"west\"] }\n";

const RULES: &str = "[[rule]]\nname = \"demo-asks\"\ntools = [\"fortune\"]\n\
    allow = \"user.subject == 'demo'\"\n\
    [[rule]]\nname = \"east-wants-more\"\nserver = \"east\"\ntools = [\"fortune\"]\n\
    deny = \"user.claims.level < 3\"\n\
    [[rule]]\nname = \"reading\"\nserver = \"west\"\nresources = [\"*\"]\nscope = \"west:read\"\n";

async fn tools(server: &Server, path: &str, token: &str) -> Result<Vec<String>, u16> {
    let mut client = McpClient::new(server.url(path)).with_token(token);
    let answer = client.begin("2025-11-25").await;
    if answer.status != 200 {
        return Err(answer.status.as_u16());
    }
    let list = client.request("tools/list", json!({})).await.result();
    let names = list["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap());
    Ok(names.map(str::to_owned).collect())
}

async fn personal_token(folder: &Folder, server: &str) -> String {
    let add = ["token", "add", "--user", "demo", "--server", server, "--json"];
    let done = folder.run(&add, "").await;
    let told: Value = serde_json::from_str(&done.out).unwrap_or_else(|_| panic!("{}", done.err));
    told["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_for_a_merged_server_is_none_for_its_members_and_the_reverse() {
    let folder = Folder::new();
    let server = folder.serve(SETTINGS).await;
    assert_eq!(server.said.iter().filter(|line| line.contains("give an MCP client")).count(), 2);
    let all = log_in(&server, "demo", &server.password().unwrap()).await.access;
    let east = personal_token(&folder, "east").await;
    let both = vec!["east_fortune".to_owned(), "west_fortune".to_owned()];
    let rows = [
        ("/mcp", &all, Ok(both), "its own"),
        ("/east/mcp", &east, Ok(vec!["fortune".to_owned()]), "its own"),
        ("/east/mcp", &all, Err(401), "a member takes no token of the merged server"),
        ("/mcp", &east, Err(401), "nor the merged server one of a member"),
        ("/west/mcp", &all, Err(404), "this one has no endpoints"),
    ];
    for (path, token, expected, reason) in rows {
        assert_eq!(tools(&server, path, token).await, expected, "{path}: {reason}");
    }
    for (path, status) in [("/east/mcp", 200), ("/mcp", 200), ("/west/mcp", 404), ("/mcp/mcp", 404)]
    {
        let url = server.url(&format!("/.well-known/oauth-protected-resource{path}"));
        assert_eq!(http().get(url).send().await.unwrap().status(), status, "{path}");
    }
    let mut client = McpClient::new(server.url("/mcp")).with_token(&all);
    client.initialize("2025-11-25").await;
    let told = client.call_tool("west_fortune", json!({})).await.tool_text();
    assert!(told.starts_with("今日の運勢は: "), "{told}");
    let told = client.call_tool("fortune", json!({})).await;
    assert_eq!(told.error_code(), Some(-32602), "{}", told.text);

    let doctor = folder.run(&["doctor"], "").await;
    for expected in [
        "ok       upstream of east: it answers and lists 1 tools",
        "ok       upstream of west: it answers and lists 1 tools",
        "ok       upstream of all: 2 of its 2 servers answer, with 2 tools",
    ] {
        assert!(doctor.out.contains(expected), "{expected}: {}", doctor.out);
    }
}

#[tokio::test]
async fn rules_hold_through_a_merged_server_and_explain_says_so() {
    let folder = Folder::new();
    let server = folder.serve(&format!("{SETTINGS}{RULES}")).await;
    let token = log_in(&server, "demo", &server.password().unwrap()).await.access;
    // The claim is not there, so that the denying rule cannot be decided.
    assert_eq!(tools(&server, "/mcp", &token).await, Ok(vec!["west_fortune".to_owned()]));
    let mut client = McpClient::new(server.url("/mcp")).with_token(&token);
    client.initialize("2025-11-25").await;
    let answer = client.call_tool("east_fortune", json!({})).await;
    assert_eq!(answer.error_code(), Some(-32602), "{}", answer.text);
    let challenged = client.request("resources/read", json!({ "uri": "west+a:b" })).await;
    let challenge = challenged.header("www-authenticate").unwrap_or_default();
    assert!(challenge.contains("scope=\"all west:read\""), "{challenge}: {}", challenged.text);
    let metadata = server.url("/.well-known/oauth-authorization-server");
    let metadata: Value = reqwest::get(metadata).await.unwrap().json().await.unwrap();
    let scopes = metadata["scopes_supported"].as_array().unwrap();
    assert!(scopes.contains(&json!("west:read")), "it can be asked for: {scopes:?}");

    let rows = [
        ("west_fortune", "allowed: the tool \"fortune\", by the rule \"demo-asks\""),
        ("east_fortune", "denied: the tool \"fortune\", by the rule \"east-wants-more\""),
    ];
    for (tool, expected) in rows {
        let explain = ["explain", "--user", "demo", "--server", "all", "--tool", tool];
        let done = folder.run(&explain, "").await;
        assert!(done.out.contains(expected), "{tool}: {}{}", done.out, done.err);
    }
    let explain = ["explain", "--user", "demo", "--server", "all", "--tool", "fortune"];
    let done = folder.run(&explain, "").await;
    assert!(done.err.contains("is of none of the servers"), "{}{}", done.out, done.err);
}

#[tokio::test]
async fn a_merged_server_can_be_served_over_stdio_too() {
    let folder = Folder::new();
    folder.write("sekisho.toml", SETTINGS);
    let call = |id: u64, method: &str, params: Value| {
        json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
    };
    let greeting = json!({ "protocolVersion": "2025-11-25", "capabilities": {} });
    let lines =
        [call(1, "initialize", greeting), call(2, "tools/call", json!({ "name": "west_fortune" }))];
    let done = folder.run(&["stdio"], &format!("{}\n", lines.join("\n"))).await;
    assert!(done.out.contains("今日の運勢は: "), "{}{}", done.out, done.err);
}
