//! `sekisho grant` and `sekisho token`, beside a running server.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::McpClient;

use crate::harness::{Done, Folder, Server};
use crate::person::log_in;

#[tokio::test]
async fn a_grant_is_listed_and_ended_within_a_second_streams_included() {
    let folder = Folder::new();
    let server = folder.serve("").await;
    let tokens = log_in(&server, "demo", &server.password().unwrap()).await;
    let mut client = McpClient::new(server.url("/mcp")).with_token(&tokens.access);
    assert_eq!(client.begin("2025-11-25").await.status, 200);
    let stream = client.listen().await;

    let grant = &list(&folder, &["grant", "list", "--json"]).await[0];
    assert_eq!(grant["user"]["issuer"], "local");
    assert_eq!(grant["user"]["subject"], "demo");
    assert_eq!(grant["client_name"], "Claude (official)");
    assert_eq!((&grant["scope"], grant["client_id"].is_string()), (&json!("fortune"), true));
    assert_eq!(grant["resource"], server.url("/mcp"));
    assert!(grant["created_at"].is_string());
    let used = until(async || {
        list(&folder, &["grant", "list", "--json"]).await[0]["last_used_at"].is_string()
    });
    used.await;
    let id = grant["id"].as_str().unwrap();
    let lines = folder.run(&["grant", "list", "--user", "demo"], "").await.out;
    for part in [id, "demo of local", "\"Claude (official)\"", "fortune", "since ", "used "] {
        assert!(lines.contains(part), "{part:?} in {lines}");
    }
    assert_eq!(folder.run(&["grant", "list", "--user", "nobody"], "").await.out, "");

    let ended = folder.run(&["grant", "revoke", "--user", "demo"], "").await;
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "revoked 1 grant\n"), "{}", ended.err);
    tokio::time::timeout(Duration::from_secs(1), stream.end()).await.expect("the stream ends");
    until(async || client.request("tools/list", json!({})).await.status == 401).await;
    assert!(list(&folder, &["grant", "list", "--json"]).await.is_empty());

    for (arguments, expected) in [
        (["grant", "revoke", "--user", "demo"], "nobody called \"demo\" has granted anything"),
        (["grant", "revoke", "--grant", id], "nothing was revoked: there is no such grant"),
        (["grant", "revoke", "--client", "none"], "nothing was revoked: there is no such grant"),
    ] {
        refused(&folder.run(&arguments, "").await, expected);
    }
    let whose = folder.run(&["grant", "revoke"], "").await;
    assert_eq!(whose.code, Some(2), "whose must be said: {}", whose.err);
}

#[tokio::test]
async fn a_personal_token_is_shown_once_works_and_is_ended() {
    let folder = Folder::new();
    let server = folder.serve("").await;
    let made = folder
        .run(&["token", "add", "--user", "demo", "--label", "nightly", "--expires", "30d"], "")
        .await;
    assert_eq!(made.code, Some(0), "{}", made.err);
    let token = made.out.lines().next().unwrap().to_owned();
    assert!(token.starts_with("mcpp_") && token.len() == 69, "{token}");
    assert_eq!(ask(&server, &token).await, 200);

    let listed = list(&folder, &["token", "list", "--json"]).await;
    assert_eq!((&listed[0]["label"], &listed[0]["scope"]), (&json!("nightly"), &json!("fortune")));
    assert!(listed[0]["expires_at"].is_string());
    let id = listed[0]["id"].as_str().unwrap();
    let lines = folder.run(&["token", "list"], "").await.out;
    assert!(lines.contains(id) && lines.contains("nightly") && !lines.contains(&token), "{lines}");

    refused(
        &folder.run(&["token", "revoke", &token], "").await,
        "there is no personal token \"…\"",
    );
    assert_eq!(ask(&server, &token).await, 200, "an id ends it, not the token");
    let ended = folder.run(&["token", "revoke", id], "").await;
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "revoked 1 personal token\n"));
    until(async || ask(&server, &token).await == 401).await;
    refused(&folder.run(&["token", "revoke", id], "").await, "nothing was revoked");

    for (more, expected) in [
        (["--user", "nobody"], "there is no account \"nobody\""),
        (["--scope", "fortune admin"], "the server \"fortune\" has no such scope: it has fortune"),
        (["--expires", "367d"], "a token lives for a day to 366 days"),
        (["--expires", "soon"], "it is not a length of time"),
        (["--server", "other"], "name one of fortune"),
    ] {
        let mut arguments = vec!["token", "add"];
        if more[0] != "--user" {
            arguments.extend(["--user", "demo"]);
        }
        arguments.extend(more);
        refused(&folder.run(&arguments, "").await, expected);
    }
}

#[tokio::test]
async fn a_personal_token_goes_with_its_account() {
    let folder = Folder::new();
    let server = folder.serve("").await;
    let made = folder.run(&["token", "add", "--user", "demo", "--json"], "").await;
    let made: Value = serde_json::from_str(&made.out).unwrap();
    let token = made["token"].as_str().unwrap();
    assert_eq!(ask(&server, token).await, 200);
    let removed = folder.run(&["user", "remove", "demo", "--json"], "").await;
    assert_eq!(removed.out, "{\"removed\":\"demo\"}\n", "{}", removed.err);
    until(async || ask(&server, token).await == 401).await;
}

async fn ask(server: &Server, token: &str) -> u16 {
    let mut client = McpClient::new(server.url("/mcp")).with_token(token);
    client.begin("2025-11-25").await.status.as_u16()
}

async fn list(folder: &Folder, arguments: &[&str]) -> Vec<Value> {
    let done = folder.run(arguments, "").await;
    assert_eq!(done.code, Some(0), "{}", done.err);
    serde_json::from_str(&done.out).unwrap()
}

fn refused(done: &Done, expected: &str) {
    assert_eq!((done.code, done.out.as_str()), (Some(1), ""), "{}", done.err);
    assert!(done.err.contains(expected), "{expected:?} in {}", done.err);
    assert_eq!(done.err.lines().count(), 1, "{}", done.err);
}

/// Asks again until it is so, for a second.
async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let asking = async {
        let mut ask = tokio::time::interval(Duration::from_millis(20));
        while !is_so().await {
            ask.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(1), asking).await.expect("within a second");
}
