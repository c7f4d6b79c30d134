//! Two instances of one service on one `PostgreSQL` database: each request may come to either.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use serde_json::json;
use testkit::world::{VERIFIER, post_as, redeem, tokens};
use testkit::{McpClient, SseClient};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::harness::{Folder, Server, free_port};
use crate::person::{app, open_login};
use crate::processes::is_stopped;

/// After this long without a word an instance counts as gone.
const GONE_AFTER: Duration = sekisho::fleet::GONE_AFTER;

/// What design and documentation promise.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);

/// Two instances behind one name, as behind a load balancer, and the password of `demo`.
async fn two(folder: &Folder) -> (Server, Server, String) {
    let key = folder
        .write("sekisho.key", "7f3b1c9ad0e25846b1f7093c6ae84d152e90fb7746c3a8d15f0c2b9e84d36a17");
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let ports = [free_port(), free_port()];
    let settings = format!(
        "public_url = \"http://localhost:{}\"\nallowed_hosts = [\"localhost:{}\"]\nstore = \"{}\"\n",
        ports[0],
        ports[1],
        testkit::postgres::database().reveal()
    );
    let one = folder.serve_at(ports[0], &settings).await;
    let other = folder.serve_at(ports[1], &settings).await;
    let password = one.password().expect("the first makes the account");
    assert_eq!(other.password(), None, "and the second finds it");
    (one, other, password)
}

#[tokio::test]
async fn a_login_begun_at_one_instance_is_finished_at_the_other() {
    let folder = Folder::new();
    let (one, other, password) = two(&folder).await;
    let mut login = open_login(&one).await;
    let sent = login.submit(&other, "demo", &password).await;
    let back = login.browser.open(&app(&one), sent.location().unwrap()).await;
    let code = back.parameter("code").unwrap_or_else(|| panic!("no code: {back:?}"));

    let bought = tokens(&redeem(&app(&other), &login.client, &code, VERIFIER).await);
    for server in [&one, &other] {
        let mut client = McpClient::new(server.url("/mcp")).with_token(&bought.access);
        assert_eq!(client.begin("2025-11-25").await.status, 200);
    }
    let again = redeem(&app(&one), &login.client, &code, VERIFIER).await;
    assert_eq!(again.status, 400, "a code is spent everywhere: {again:?}");
    for server in [&one, &other] {
        assert_eq!(refused_within(server, &bought.access).await, 401, "the replay ends its grant");
    }
}

/// Whoever does not show the key where instances reach each other has no place there for long, in whatever
/// protocol they come.
#[tokio::test]
async fn a_stranger_at_the_port_of_the_instances_loses_the_connection() {
    let (folder, port) = (Folder::new(), free_port());
    let key = folder
        .write("sekisho.key", "7f3b1c9ad0e25846b1f7093c6ae84d152e90fb7746c3a8d15f0c2b9e84d36a17");
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let database = testkit::postgres::database();
    let settings =
        format!("store = \"{}\"\nfleet_listen = \"127.0.0.1:{port}\"\n", database.reveal());
    let server = folder.serve(&settings).await;
    let second = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".as_slice();
    let rows = [
        (b"".as_slice(), "", "says nothing"),
        (b"POST /relay HTTP/1.1\r\n", "", "begins and does not end"),
        (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", "HTTP/1.1 410 ", "asks for something"),
        (b"POST /relay HTTP/1.1\r\nhost: x\r\n\r\n", "HTTP/1.1 410 ", "has no proof"),
        (second, "", "speaks HTTP/2"),
    ];
    for (words, expected, reason) in rows {
        let mut stranger = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stranger.write_all(words).await.unwrap();
        let mut said = Vec::new();
        let ended = timeout(Duration::from_secs(30), stranger.read_to_end(&mut said)).await;
        // Bytes that were not read reset the connection.
        drop(ended.unwrap_or_else(|_| panic!("{reason}: it goes on")));
        let said = String::from_utf8_lossy(&said);
        assert!(said.starts_with(expected) && !said.contains("\0\0"), "{reason}: {said:?}");
    }
    drop(server);
}

#[tokio::test]
async fn a_revocation_at_one_instance_holds_at_the_other_within_a_second() {
    let folder = Folder::new();
    let (one, other, password) = two(&folder).await;
    let login = open_login(&one).await;
    let client = login.client.clone();
    let bought = login.finish(&one, "demo", &password).await;
    let mut seen = McpClient::new(other.url("/mcp")).with_token(&bought.access);
    assert_eq!(seen.begin("2025-11-25").await.status, 200, "the other has it in memory now");

    let revoked = post_as(&app(&one), &client, "/revoke", &[("token", &bought.access)]).await;
    assert_eq!(revoked.status, 200, "{revoked:?}");
    assert_eq!(refused_within(&other, &bought.access).await, 401);
}

#[tokio::test]
async fn a_session_is_continued_listened_to_and_ended_at_either_instance() {
    let folder = Folder::new();
    let (one, other, password) = two(&folder).await;
    let bought = open_login(&one).await.finish(&one, "demo", &password).await;
    let mut here = McpClient::new(one.url("/mcp")).with_token(&bought.access);
    assert_eq!(here.begin("2025-11-25").await.status, 200);
    let mut there = here.at(other.url("/mcp"));
    let told = there.notify("notifications/initialized", json!({})).await;
    assert_eq!(told.status, 202, "{}", told.text);
    for client in [&mut here, &mut there] {
        let drawn = client.call_tool("fortune", json!({})).await;
        assert!(drawn.tool_text().starts_with("今日の運勢は: "), "{}", drawn.text);
    }
    let mut stream = there.listen().await;
    assert_eq!(stream.status, 200);
    assert!(stream.next().await.is_some(), "it begins");

    let stranger = open_login(&one).await.finish(&other, "demo", &password).await;
    let thief = there.clone().with_token(&stranger.access);
    assert_eq!(thief.end().await.status, 404, "another client's session is unknown");
    assert_eq!(there.end().await.status, 204);
    stream.end_in_order().await;
    for client in [&mut here, &mut there] {
        assert_eq!(client.request("ping", json!({})).await.status, 404, "ended everywhere");
    }
}

#[tokio::test]
async fn what_is_posted_at_one_instance_is_answered_on_the_stream_at_the_other() {
    let folder = Folder::new();
    let (one, other, password) = two(&folder).await;
    let bought = open_login(&one).await.finish(&one, "demo", &password).await;
    let mut client = SseClient::open(&one.url("/sse"), Some(&bought.access)).await;
    client.messages_url = client.messages_url.replace(&one.url("/"), &other.url("/"));
    let begun = client.initialize("2024-11-05").await;
    assert_eq!(begun["result"]["serverInfo"]["name"], "fortune");
    let drawn = client.request("tools/call", json!({ "name": "fortune" })).await.to_string();
    assert!(drawn.contains("今日の運勢は: "), "{drawn}");

    let revoked = McpClient::new(other.url("/mcp")).with_token("mcp_0").begin("2025-11-25").await;
    assert_eq!(revoked.status, 401, "the guard stands before every instance");
}

#[tokio::test]
async fn the_sessions_of_a_killed_instance_are_unknown_at_once() {
    let folder = Folder::new();
    let (mut one, other, password) = two(&folder).await;
    let bought = open_login(&one).await.finish(&one, "demo", &password).await;
    let mut here = McpClient::new(one.url("/mcp")).with_token(&bought.access);
    here.initialize("2025-11-25").await;
    let mut client = here.at(other.url("/mcp"));
    let mut stream = client.listen().await;
    assert!(stream.next().await.is_some(), "it begins");
    let events = SseClient::open(&one.url("/sse"), Some(&bought.access)).await;
    let messages_url = events.messages_url.replace(&one.url("/"), &other.url("/"));

    one.kill().await;
    assert_eq!(stream.next().await, None, "the stream ends");
    let gone = client.request("ping", json!({})).await;
    assert_eq!(gone.status, 404, "{}", gone.text);
    let posted = events.post_to(&messages_url, r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).await;
    assert_eq!(posted.status, 404, "{}", posted.text);
    client.initialize("2025-11-25").await;
    assert_eq!(client.request("ping", json!({})).await.status, 200, "and clients begin anew");
}

#[tokio::test]
async fn an_instance_that_just_began_is_known_to_all() {
    let folder = Folder::new();
    let (one, other, password) = two(&folder).await;
    let bought = open_login(&one).await.finish(&one, "demo", &password).await;
    drop(other);
    for _ in 0..3 {
        let begun = again(&folder).await;
        let mut there = McpClient::new(begun.url("/mcp")).with_token(&bought.access);
        assert_eq!(there.begin("2025-11-25").await.status, 200);
        let answer = there.at(one.url("/mcp")).request("ping", json!({})).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
}

/// One more instance, with the settings of those before.
async fn again(folder: &Folder) -> Server {
    let settings = std::fs::read_to_string(folder.path().join("sekisho.toml")).unwrap();
    let (_, settings) = settings.split_once('\n').expect("the port, and what all share");
    let port = free_port();
    let known = "allowed_hosts = [";
    let settings = settings.replace(known, &format!("{known}\"localhost:{port}\", "));
    folder.serve_at(port, &settings).await
}

#[tokio::test]
async fn nothing_hangs_on_an_instance_that_stands_still() {
    let folder = Folder::new();
    let (one, other, password) = two(&folder).await;
    let bought = open_login(&one).await.finish(&one, "demo", &password).await;
    let mut here = McpClient::new(one.url("/mcp")).with_token(&bought.access);
    here.initialize("2025-11-25").await;
    let mut client = here.at(other.url("/mcp"));
    assert_eq!(client.request("ping", json!({})).await.status, 200, "they know each other");

    one.signal("STOP").await;
    while !is_stopped(&one.id()) {
        sleep(Duration::from_millis(5)).await;
    }
    let begun = Instant::now();
    let lost = client.request("ping", json!({})).await;
    assert_eq!(lost.status, 502, "{}", lost.text);
    assert!(begun.elapsed() < 3 * GONE_AFTER, "{:?}", begun.elapsed());
    assert_eq!(client.request("ping", json!({})).await.status, 404, "its sessions are unknown");

    one.signal("CONT").await;
    let mut back = client.clone();
    let given_up_at = Instant::now() + 3 * GONE_AFTER;
    while back.request("ping", json!({})).await.status != 200 {
        assert!(Instant::now() < given_up_at, "it only slept, and is found again");
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn without_a_key_no_instance_begins() {
    let folder = Folder::new();
    let url = testkit::postgres::database();
    let listen = format!("127.0.0.1:{}", free_port());
    let serve = ["serve", "--store", url.reveal(), "--listen", &listen];
    let done = folder.run(&serve, "").await;
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.err.contains("give every instance the same"), "{}", done.err);
    assert!(!folder.path().join("sekisho.key").exists(), "none is made");
}

/// The status once the token is refused, or the last one when the time for it is over.
async fn refused_within(server: &Server, token: &str) -> u16 {
    let given_up_at = Instant::now() + REVOKED_WITHIN;
    loop {
        let mut client = McpClient::new(server.url("/mcp")).with_token(token);
        let status = client.begin("2025-11-25").await.status.as_u16();
        if status == 401 || Instant::now() >= given_up_at {
            return status;
        }
        sleep(Duration::from_millis(20)).await;
    }
}
