//! The first start, later starts, and what answers then.

use std::time::Duration;

use serde_json::json;
use testkit::{McpClient, SseClient};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Folder, http};
use crate::person::{app, log_in, open_login};

#[tokio::test]
async fn the_first_start_says_how_to_log_in_and_later_ones_keep_the_password_to_themselves() {
    let folder = Folder::new();
    let mut first = folder.serve("").await;
    let password = first.password().expect("the first start says the password");
    assert!(first.said.iter().any(|line| line.contains(&first.url("/mcp"))), "{:?}", first.said);
    assert_eq!(first.said.last(), Some(&format!("listening on {}", first.url(""))));
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(!log.contains(&password), "the log does not have it");
    first.kill().await;

    let second = folder.serve("").await;
    assert_eq!(second.password(), None);
    assert!(second.said.iter().any(|line| line.contains("sekisho user passwd demo")));
    log_in(&second, "demo", &password).await;
}

#[tokio::test]
async fn with_nothing_configured_a_login_ends_in_a_fortune_over_both_transports() {
    let folder = Folder::new();
    let server = folder.serve("").await;
    let tokens = log_in(&server, "demo", &server.password().unwrap()).await;

    let mut client = McpClient::new(server.url("/mcp")).with_token(&tokens.access);
    client.begin("2025-11-25").await;
    let told = client.call_tool("fortune", json!({})).await.tool_text();
    assert!(told.starts_with("今日の運勢は: "), "{told}");

    let mut client = SseClient::open(&server.url("/sse"), Some(&tokens.access)).await;
    client.initialize("2024-11-05").await;
    let params = json!({ "name": "fortune", "arguments": {} });
    let told = client.request("tools/call", params).await.to_string();
    assert!(told.contains("今日の運勢は: "), "{told}");
}

#[tokio::test]
async fn a_token_outlives_kill_9_and_a_login_that_was_open_goes_on() {
    let folder = Folder::new();
    let mut server = folder.serve("").await;
    let (port, password) = (server.port, server.password().unwrap());
    let tokens = log_in(&server, "demo", &password).await;
    let open = open_login(&server).await;
    server.kill().await;

    let server = folder.serve_at(port, "").await;
    let mut client = McpClient::new(server.url("/mcp")).with_token(&tokens.access);
    assert_eq!(client.begin("2025-11-25").await.status, 200, "the token still opens the door");
    open.finish(&server, "demo", &password).await;
}

#[tokio::test]
async fn a_login_that_nobody_knows_any_more_gets_a_clear_page() {
    let folder = Folder::new();
    let mut server = folder.serve("store = \"memory:\"\n").await;
    let (port, password) = (server.port, server.password().unwrap());
    let mut open = open_login(&server).await;
    server.kill().await;

    let server = folder.serve_at(port, "store = \"memory:\"\n").await;
    let answer = open.submit(&server, "demo", &password).await;
    assert!(answer.is_page(400), "{answer:?}");
    let page = open.browser.open(&app(&server), "/auth/callback?code=x&state=y").await;
    assert!(page.is_page(400), "{page:?}");
    let trace_id = page.header("x-trace-id").to_owned();
    assert!(page.body.contains(&trace_id), "the page shows the trace id");
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.contains(&trace_id), "and the log has it: {log}");
}

#[tokio::test]
async fn health_and_readiness_are_told_at_any_host() {
    let folder = Folder::new();
    let server = folder.serve("").await;
    for (path, expected) in
        [("/healthz", "ok\n"), ("/readyz", r#"{"status":"ready","failing":[]}"#)]
    {
        let asked = http().get(server.url(path)).header("host", "10.9.8.7:1234");
        let answer = asked.send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(answer.text().await.unwrap(), expected, "{path}");
    }
    let elsewhere = http().get(server.url("/authorize")).header("host", "10.9.8.7:1234");
    assert_eq!(elsewhere.send().await.unwrap().status(), 421);
}

#[tokio::test]
async fn a_server_whose_provider_is_down_starts_and_says_it_is_not_ready() {
    let folder = Folder::new();
    let closed = crate::harness::free_port();
    let settings = format!(
        "[identity]\nprovider = \"oidc\"\nissuer = \"http://localhost:{closed}\"\nclient_id = \"mcp\"\n"
    );
    let server = folder.serve(&settings).await;
    assert_eq!(server.password(), None);
    let answer = http().get(server.url("/readyz")).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    let expected = r#"{"status":"unavailable","failing":["identity_provider"]}"#;
    assert_eq!(answer.text().await.unwrap(), expected);
    assert_eq!(http().get(server.url("/healthz")).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn what_is_nobodys_path_is_404_and_guarded_paths_are_401() {
    let folder = Folder::new();
    let settings = "[[server]]\nname = \"fortune\"\npath = \"/\"\nupstream = { builtin = \
                    \"fortune\" }\n[[server]]\nname = \"two\"\nupstream = { builtin = \"fortune\" }\n";
    let server = folder.serve(settings).await;
    let rows = [
        ("/nowhere", 404, ""),
        ("/mcp/", 404, ""),
        ("/mcp", 401, "/mcp\""),
        ("/sse", 401, "/sse\""),
        ("/messages", 401, "/sse\""),
        ("/two/mcp", 401, "/two/mcp\""),
        ("/two/sse", 401, "/two/sse\""),
    ];
    for (path, expected, metadata) in rows {
        let answer = http().get(server.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), expected, "{path}");
        if expected == 401 {
            let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
            assert!(
                challenge.contains(&format!("oauth-protected-resource{metadata}")),
                "{challenge}"
            );
        }
    }
}

#[tokio::test]
async fn a_person_who_opens_the_server_is_told_what_to_paste() {
    let server = Folder::new().serve("").await;
    let open = async |path: &str| {
        let asked = http().get(server.url(path)).header("accept", "text/html,*/*");
        asked.send().await.unwrap()
    };
    let welcome = open("/").await;
    assert_eq!(welcome.status(), 200);
    assert!(welcome.text().await.unwrap().contains(&server.url("/mcp")));
    let lost = open("/nobody").await;
    assert_eq!(lost.status(), 404);
    assert!(lost.text().await.unwrap().contains("<h1"), "a page, and not an empty window");
}

#[tokio::test]
async fn a_taken_port_is_one_sentence() {
    let folder = Folder::new();
    let server = folder.serve("").await;
    let other = Folder::new();
    let address = format!("127.0.0.1:{}", server.port);
    let done = other.run(&["serve", "--listen", &address], "").await;
    let expected = format!(
        "sekisho: listen = \"{address}\": another program listens there already: stop it, or \
         choose another port\n"
    );
    assert_eq!((done.code, done.out.as_str(), done.err), (Some(1), "", expected));
    assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 0, "nothing was made");
}

#[tokio::test]
async fn over_the_limit_a_connection_is_turned_away_and_those_who_are_in_stay() {
    let folder = Folder::new();
    let server = folder.serve("[limits]\nconnections_max = 1\n").await;
    let address = format!("127.0.0.1:{}", server.port);
    let mut first = TcpStream::connect(&address).await.unwrap();
    let ask = format!("GET /healthz HTTP/1.1\r\nhost: {address}\r\n\r\n");
    first.write_all(ask.as_bytes()).await.unwrap();
    let mut answer = [0; 15];
    first.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");

    let mut second = TcpStream::connect(&address).await.unwrap();
    let mut answer = String::new();
    second.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");

    first.write_all(ask.as_bytes()).await.unwrap();
    let mut more = [0; 15];
    let read = tokio::time::timeout(Duration::from_secs(10), first.read(&mut more)).await;
    assert!(read.unwrap().unwrap() > 0, "the first is still served");
    drop(first);
}

#[tokio::test]
async fn http_2_without_tls_is_answered_too() {
    let folder = Folder::new();
    let server = folder.serve("").await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let answer = client.get(server.url("/healthz")).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, reqwest::Version::HTTP_2));
    let elsewhere = format!("http://127.0.0.2:{}/authorize", server.port);
    // Another authority than ours, as `:authority` of HTTP/2; the address is ours all the same.
    let resolved = reqwest::Client::builder()
        .http2_prior_knowledge()
        .resolve("evil.example", ([127, 0, 0, 1], server.port).into())
        .build()
        .unwrap();
    let evil = elsewhere.replace("127.0.0.2", "evil.example");
    assert_eq!(resolved.get(evil).send().await.unwrap().status(), 421);
}
