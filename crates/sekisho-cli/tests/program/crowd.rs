//! Many people before one command: a process for each, a thousand sessions, a hundred deaths, and
//! nothing of it left. Many at once before the store, and the threads they made not kept.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use testkit::McpClient;

use crate::harness::{Folder, PROGRAM, Server, http};
use crate::processes::{children_of, is_dead, resident_kib, threads_of};

const PEOPLE: usize = 20;
const SESSIONS_EACH: usize = 50;
const DEATHS_EACH: usize = 5;
/// Longer than the longest pause before a command is started again.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many register at once.
const AT_ONCE: usize = 64;
/// Threads beside the workers that a steady trickle keeps, with some to spare.
const KEPT_MAX: usize = 6;

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

/// The attendants and the commands themselves, each below its own: one for each person, once those
/// that were replaced are gone.
async fn one_for_each(folder: &Folder, server: &Server) -> (Vec<String>, Vec<String>) {
    let give_up_at = tokio::time::Instant::now() + PATIENCE;
    loop {
        let attendants = children_of(&server.id());
        let commands: Vec<String> = attendants.iter().flat_map(|id| children_of(id)).collect();
        if (attendants.len(), commands.len()) == (PEOPLE, PEOPLE) {
            return (attendants, commands);
        }
        if tokio::time::Instant::now() >= give_up_at {
            let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
            panic!("attendants {attendants:?}, commands {commands:?}: {log}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
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
    one_for_each(&folder, &server).await;
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

    for _ in 0..DEATHS_EACH {
        let (_, dying) = one_for_each(&folder, &server).await;
        let status = tokio::process::Command::new("kill").arg("-9").args(&dying).status().await;
        assert!(status.unwrap().success());
        everybody_calls(&server, &tokens).await;
    }
    let (ours, theirs) = one_for_each(&folder, &server).await;
    assert!(!ours.iter().chain(&theirs).any(|id| is_dead(id)), "somebody is not buried");

    let mut now = resident_kib(&server.id());
    for _ in 0..100 {
        if now * 10 <= at_first * 12 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        now = resident_kib(&server.id());
    }
    assert!(now * 10 <= at_first * 12, "{at_first} KiB at first, {now} KiB now");

    let all: Vec<String> = ours.into_iter().chain(theirs).collect();
    server.signal("TERM").await;
    assert_eq!(server.ends_within(Duration::from_secs(10)).await.code(), Some(0));
    let left = all.iter().filter(|id| std::fs::metadata(format!("/proc/{id}")).is_ok());
    assert_eq!(left.count(), 0, "processes are left");
}

/// A client that the store is told of, for which a worker waits.
async fn register(http: &reqwest::Client, server: &Server) {
    let metadata = json!({
        "redirect_uris": ["http://127.0.0.1:9/callback"],
        "token_endpoint_auth_method": "none",
    });
    let answer = http.post(server.url("/register")).json(&metadata).send().await.unwrap();
    assert_eq!(answer.status(), 201);
}

#[tokio::test]
async fn threads_that_many_at_once_made_go_while_a_few_still_come() {
    let folder = Folder::new();
    let server = folder.serve("limits = { registrations_per_minute = 100000 }\n").await;
    let http = http();
    join_all((0..AT_ONCE).map(|_| register(&http, &server))).await;

    let workers = std::thread::available_parallelism().unwrap().get();
    let give_up_at = tokio::time::Instant::now() + PATIENCE;
    // Those few go round among all threads that are idle, so that none of them is idle for long.
    while threads_of(&server.id()) > workers + 1 + KEPT_MAX {
        let threads = threads_of(&server.id());
        assert!(tokio::time::Instant::now() < give_up_at, "{threads} threads for a few");
        tokio::time::sleep(Duration::from_millis(100)).await;
        register(&http, &server).await;
    }
}
