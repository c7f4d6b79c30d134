//! Many people before one command: a process for each, a thousand sessions, a hundred deaths, and
//! nothing of it left.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use testkit::McpClient;

use crate::harness::{Folder, PROGRAM, Server};
use crate::processes::{children_of, is_dead, resident_kib};

const PEOPLE: usize = 20;
const SESSIONS_EACH: usize = 50;
const DEATHS_EACH: usize = 5;
/// Longer than the longest pause before a command is started again.
const PATIENCE: Duration = Duration::from_secs(60);

/// Accounts, each with a personal access token.
async fn people(folder: &Folder) -> Vec<String> {
    let mut tokens = Vec::new();
    for number in 0..PEOPLE {
        let name = format!("person-{number}");
        let added = folder.run(&["user", "add", &name], "a password of some length\n").await;
        assert_eq!(added.code, Some(0), "{}", added.err);
        let made = folder.run(&["token", "add", "--user", &name, "--json"], "").await;
        let made: serde_json::Value = serde_json::from_str(&made.out).unwrap();
        tokens.push(made["token"].as_str().unwrap().to_owned());
    }
    tokens
}

/// A session in which a call was answered. A process that just died has a successor, which takes longer
/// each time; until then the caller hears so.
async fn call_until_answered(server: &Server, token: &str) -> McpClient {
    let give_up_at = tokio::time::Instant::now() + PATIENCE;
    loop {
        let mut client = McpClient::new(server.url("/mcp")).with_token(token);
        let begun = client.begin("2025-11-25").await;
        if begun.error_code().is_none() {
            let answer = client.call_tool("fortune", json!({})).await;
            if answer.error_code().is_none() {
                assert!(answer.tool_text().starts_with("今日の運勢は: "));
                return client;
            }
        }
        assert!(tokio::time::Instant::now() < give_up_at, "nobody answers: {begun:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A session of each person, for as long as a call takes.
async fn everybody_calls(server: &Server, tokens: &[String]) {
    join_all(tokens.iter().map(|token| async {
        call_until_answered(server, token).await.end().await;
    }))
    .await;
}

/// The commands themselves, each below its attendant.
fn commands(server: &Server) -> Vec<String> {
    children_of(&server.id()).iter().flat_map(|attendant| children_of(attendant)).collect()
}

#[tokio::test]
async fn a_thousand_sessions_and_a_hundred_deaths_leave_no_process_and_no_memory() {
    let folder = Folder::new();
    folder.write("guarded.toml", "");
    let settings = format!(
        "[[server]]\nname = \"fortune\"\npath = \"/\"\n\
         upstream = {{ command = [{PROGRAM:?}, \"stdio\", \"--config\", \"guarded.toml\"] }}\n"
    );
    let mut server = folder.serve(&settings).await;
    let tokens = people(&folder).await;
    everybody_calls(&server, &tokens).await;
    assert_eq!(commands(&server).len(), PEOPLE, "a process for each person");
    let at_first = resident_kib(&server.id());

    join_all(tokens.iter().map(|token| async {
        let mut open = Vec::new();
        for _ in 0..SESSIONS_EACH {
            open.push(call_until_answered(&server, token).await);
        }
        for client in open {
            assert_eq!(client.end().await.status, 204);
        }
    }))
    .await;
    assert_eq!(commands(&server).len(), PEOPLE, "still one for each");

    for _ in 0..DEATHS_EACH {
        let dying = commands(&server);
        assert_eq!(dying.len(), PEOPLE);
        let status = tokio::process::Command::new("kill").arg("-9").args(&dying).status().await;
        assert!(status.unwrap().success());
        everybody_calls(&server, &tokens).await;
    }
    let ours: Vec<String> = children_of(&server.id());
    assert_eq!(ours.len(), PEOPLE);
    assert!(!ours.iter().chain(&commands(&server)).any(|id| is_dead(id)), "somebody is not buried");

    let mut now = resident_kib(&server.id());
    for _ in 0..100 {
        if now * 10 <= at_first * 12 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        now = resident_kib(&server.id());
    }
    assert!(now * 10 <= at_first * 12, "{at_first} KiB at first, {now} KiB now");

    let all: Vec<String> = ours.into_iter().chain(commands(&server)).collect();
    server.signal("TERM").await;
    assert_eq!(server.ends_within(Duration::from_secs(10)).await.code(), Some(0));
    let left = all.iter().filter(|id| std::fs::metadata(format!("/proc/{id}")).is_ok());
    assert_eq!(left.count(), 0, "processes are left");
}
