//! `authorization.mode = "external"`: the program as a checkpoint for tokens of another authorization
//! server.

use std::sync::Arc;

use sekisho::clock::SystemClock;
use serde_json::{Value, json};
use testkit::identity_provider::{Endpoint, FakeIdentityProvider, Trouble};

use crate::harness::{Folder, Server, http};

fn settings(issuer: &str) -> String {
    format!("[authorization]\nmode = \"external\"\nissuer = \"{issuer}\"\n")
}

async fn start(folder: &Folder) -> (FakeIdentityProvider, Server) {
    let fake = FakeIdentityProvider::start(Arc::new(SystemClock)).await;
    let server = folder.serve(&settings(fake.issuer())).await;
    (fake, server)
}

async fn status(server: &Server, path: &str) -> u16 {
    http().get(server.url(path)).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_token_of_the_other_server_calls_the_tool() {
    let folder = Folder::new();
    let (fake, server) = start(&folder).await;
    let initialize = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": { "name": "t", "version": "1" },
        },
    });
    let post = async |token: Option<String>| {
        let request = http()
            .post(server.url("/mcp"))
            .header("accept", "application/json, text/event-stream")
            .json(&initialize);
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        request.send().await.unwrap()
    };
    let answer = post(Some(fake.access_token("alice", &server.url("/mcp")))).await;
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().contains_key("mcp-session-id"));
    let elsewhere = post(Some(fake.access_token("alice", "https://other.example/mcp"))).await;
    assert_eq!(elsewhere.status(), 401);
    let nobody = post(None).await;
    assert_eq!(nobody.status(), 401);
    let challenge = nobody.headers()["www-authenticate"].to_str().unwrap().to_owned();
    assert!(challenge.contains("/.well-known/oauth-protected-resource/mcp\""), "{challenge}");
}

#[tokio::test]
async fn clients_are_pointed_to_the_other_server_and_nothing_of_our_own_is_served() {
    let folder = Folder::new();
    let (fake, server) = start(&folder).await;
    for place in ["", "/mcp", "/sse"] {
        let url = server.url(&format!("/.well-known/oauth-protected-resource{place}"));
        let document: Value = http().get(url).send().await.unwrap().json().await.unwrap();
        assert_eq!(document["authorization_servers"], json!([fake.issuer()]), "{place}");
        assert_eq!(document["scopes_supported"], json!(["fortune"]), "{place}");
    }
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/authorize",
        "/consent",
        "/auth/callback",
        "/auth/logout",
        "/login",
        "/logout",
        "/account",
        "/token",
        "/register",
        "/revoke",
        "/introspect",
        "/jwks.json",
    ] {
        assert_eq!(status(&server, path).await, 404, "GET {path}");
        let posted = http().post(server.url(path)).send().await.unwrap();
        assert_eq!(posted.status(), 404, "POST {path}");
    }
    let said = server.said.join("\n");
    assert!(
        said.contains(&format!("log in at {}, which gives the tokens", fake.issuer())),
        "{said}"
    );
    assert!(!said.contains("demo"), "{said}");
    for made in ["sekisho.db", "sekisho.key"] {
        assert!(!folder.path().join(made).exists(), "{made} is of no use");
    }
}

#[tokio::test]
async fn readiness_says_whether_there_are_keys() {
    let folder = Folder::new();
    let fake = FakeIdentityProvider::start(Arc::new(SystemClock)).await;
    fake.misbehave(|it| it.trouble(Endpoint::Keys, Trouble::Status(500)));
    let server = folder.serve(&settings(fake.issuer())).await;
    let url = server.url("/readyz");
    let answer = http().get(&url).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    let report: Value = answer.json().await.unwrap();
    assert_eq!(report["failing"], json!(["authorization_server"]));
    assert_eq!(status(&server, "/healthz").await, 200);

    let other = Folder::new();
    let (_fake, server) = start(&other).await;
    assert_eq!(status(&server, "/readyz").await, 200);
}

#[tokio::test]
async fn there_is_nothing_to_administer() {
    let folder = Folder::new();
    folder.write("sekisho.toml", &settings("http://127.0.0.1:9/realms/main"));
    for command in ["user list", "client list", "grant list", "token list"] {
        let arguments: Vec<_> = command.split(' ').collect();
        let done = folder.run(&arguments, "").await;
        assert_eq!(done.code, Some(1), "{command}");
        assert!(done.err.contains("there is nothing to administer"), "{command}: {}", done.err);
    }
    let done = folder.run(&["config", "check"], "").await;
    assert_eq!(done.code, Some(0), "{}", done.err);
}

#[tokio::test]
async fn what_keycloak_needs_is_printed_without_asking_it() {
    let folder = Folder::new();
    folder.write("sekisho.toml", &settings("http://127.0.0.1:9/realms/main"));
    let done = folder.run(&["keycloak", "bootstrap"], "").await;
    assert_eq!(done.code, Some(0), "{}", done.err);
    for part in [
        "POST http://127.0.0.1:9/admin/realms/main/client-scopes",
        "\"included.custom.audience\": \"http://localhost:8000/mcp\"",
        "\"trusted-hosts\": [\n      \"localhost\"",
    ] {
        assert!(done.out.contains(part), "{part}: {}", done.out);
    }
    let done = folder.run(&["keycloak", "bootstrap", "--apply"], "").await;
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("there is no administrator"), "{}", done.err);
    let done = folder.run(&["keycloak", "bootstrap", "--apply"], "admin\nvery secret\n").await;
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("cannot be asked"), "{}", done.err);
    assert!(!done.err.contains("very secret"), "{}", done.err);

    folder.write("sekisho.toml", "");
    let done = folder.run(&["keycloak", "bootstrap"], "").await;
    assert_eq!(done.code, Some(2));
    assert!(done.err.contains("no Keycloak is named"), "{}", done.err);
}
