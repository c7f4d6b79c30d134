//! Signals: at the first one everything is finished in order, at the second nothing is.

use std::time::{Duration, Instant};

use testkit::{McpClient, SseClient};

use crate::harness::{Folder, http};
use crate::person::log_in;

#[tokio::test]
async fn a_signal_ends_streams_and_then_the_program() {
    for signal in ["TERM", "INT"] {
        let folder = Folder::new();
        let mut server = folder.serve("").await;
        let tokens = log_in(&server, "demo", &server.password().unwrap()).await;
        let mut stream = SseClient::open(&server.url("/sse"), Some(&tokens.access)).await;
        stream.initialize("2024-11-05").await;
        let mut session = McpClient::new(server.url("/mcp")).with_token(&tokens.access);
        session.initialize("2025-11-25").await;
        let listening = session.listen().await;

        let signalled = Instant::now();
        server.signal(signal).await;
        stream.events.end_in_order().await;
        listening.end_in_order().await;
        assert!(signalled.elapsed() < Duration::from_secs(1), "{signal}: the stream ends at once");
        let status = server.ends_within(Duration::from_secs(10)).await;
        assert_eq!(status.code(), Some(0), "{signal}");
        let again = folder.serve("").await;
        assert_eq!(http().get(again.url("/readyz")).send().await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn readiness_ends_with_the_signal() {
    let folder = Folder::new();
    let mut server = folder.serve("").await;
    assert_eq!(http().get(server.url("/readyz")).send().await.unwrap().status(), 200);
    server.signal("TERM").await;
    // The signal may be a moment on its way; what is told after it is 503 until nobody listens.
    let last = loop {
        match http().get(server.url("/readyz")).send().await {
            Ok(answer) if answer.status() == 200 => {}
            Ok(answer) => break answer,
            Err(error) => panic!("no last word: {error}"),
        }
    };
    assert_eq!(last.status(), 503);
    assert!(last.text().await.unwrap().contains("stopping"));
    assert_eq!(server.ends_within(Duration::from_secs(10)).await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let folder = Folder::new();
    let mut server = folder.serve("").await;
    // A request whose body never comes keeps the server from finishing.
    let mut slow = tokio::net::TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    let head = format!(
        "POST /token HTTP/1.1\r\nhost: localhost:{}\r\ncontent-type: \
         application/x-www-form-urlencoded\r\ncontent-length: 100\r\n\r\n",
        server.port
    );
    tokio::io::AsyncWriteExt::write_all(&mut slow, head.as_bytes()).await.unwrap();
    // Once this is answered, the server has read what came before.
    assert_eq!(http().get(server.url("/healthz")).send().await.unwrap().status(), 200);
    server.signal("INT").await;
    let log = folder.path().join("log");
    while !std::fs::read_to_string(&log).unwrap().contains("stopping") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.signal("INT").await;
    assert_eq!(server.ends_within(Duration::from_secs(2)).await.code(), Some(1));
}
