//! A command behind the checkpoint: ours, over stdio, so that the whole way is real.

use std::time::Duration;

use serde_json::json;
use testkit::{McpClient, SseClient};

use crate::harness::{Folder, PROGRAM};
use crate::person::log_in;
use crate::processes::{children_of, is_dead, told};

/// A file without settings, so that the guarded program does not read those of the guarding one.
fn guarded(folder: &Folder) -> String {
    folder.write("guarded.toml", "");
    format!(
        "[[server]]\nname = \"fortune\"\npath = \"/\"\n\
         upstream = {{ command = [{PROGRAM:?}, \"stdio\", \"--config\", \"guarded.toml\"] }}\n"
    )
}

/// A command that starts what does not want to end: in its group, out of it, and twice removed. Each
/// has `mark` in what it was told.
fn clinging(folder: &Folder, mark: &str) -> String {
    folder.write("guarded.toml", "");
    let script = format!(
        "trap '' TERM HUP; sleep {mark} & setsid sleep {mark} & \
         setsid sh -c 'sleep {mark} & setsid sleep {mark} & sleep {mark}' & \
         setsid sh -c 'exit 0' & \
         {PROGRAM} stdio --config guarded.toml; sleep {mark}"
    );
    format!(
        "[[server]]\nname = \"fortune\"\npath = \"/\"\n\
         upstream = {{ command = [\"sh\", \"-c\", {script:?}] }}\n"
    )
}

#[tokio::test]
async fn a_command_is_guarded_for_clients_of_every_transport_and_era() {
    let folder = Folder::new();
    let settings = guarded(&folder);
    let server = folder.serve(&settings).await;
    let nobody = McpClient::new(server.url("/mcp")).begin("2025-11-25").await;
    assert_eq!(nobody.status, 401);
    assert!(children_of(&server.id()).is_empty(), "nothing is started for nobody");
    let tokens = log_in(&server, "demo", &server.password().unwrap()).await;

    let mut client = McpClient::new(server.url("/mcp")).with_token(&tokens.access);
    client.begin("2025-11-25").await;
    let told = client.call_tool("fortune", json!({})).await.tool_text();
    assert!(told.starts_with("今日の運勢は: "), "{told}");

    let mut client = SseClient::open(&server.url("/sse"), Some(&tokens.access)).await;
    client.initialize("2024-11-05").await;
    let params = json!({ "name": "fortune", "arguments": {} });
    let told = client.request("tools/call", params.clone()).await.to_string();
    assert!(told.contains("今日の運勢は: "), "{told}");

    let mut client = McpClient::new(server.url("/mcp")).with_token(&tokens.access);
    let told = client.stateless("tools/call", params).await.tool_text();
    assert!(told.starts_with("今日の運勢は: "), "{told}");
    assert_eq!(children_of(&server.id()).len(), 1, "one person has one process");
}

#[tokio::test]
async fn a_command_that_is_typed_is_guarded_as_main() {
    let folder = Folder::new();
    folder.write("guarded.toml", "");
    let command = ["serve", "--", PROGRAM, "stdio", "--config", "guarded.toml"];
    let server = folder.serve_with(&command).await;
    assert!(server.said.iter().any(|line| line.starts_with("main: give an MCP client ")));
    let metadata = server.url("/.well-known/oauth-protected-resource/mcp");
    let metadata = reqwest::get(metadata).await.unwrap().text().await.unwrap();
    assert!(metadata.contains(r#""scopes_supported":["mcp"]"#), "{metadata}");
}

#[tokio::test]
async fn a_command_can_be_served_over_stdio_too() {
    let folder = Folder::new();
    folder.write("guarded.toml", "");
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": { "protocolVersion": "2025-11-25", "capabilities": {} } });
    let arguments = ["stdio", "--", PROGRAM, "stdio", "--config", "guarded.toml"];
    let done = folder.run(&arguments, &format!("{call}\n")).await;
    assert!(done.out.contains(r#""name":"fortune""#), "{}{}", done.out, done.err);
    assert_eq!(done.code, Some(0));
}

#[tokio::test]
async fn no_setting_of_ours_reaches_a_command() {
    let folder = Folder::new();
    let seen = folder.path().join("seen");
    let script = format!("env > '{}'", seen.display());
    let settings = format!(
        "[[server]]\nname = \"fortune\"\npath = \"/\"\n\
         upstream = {{ command = [\"sh\", \"-c\", {script:?}], env = {{ GIVEN = \"yes\" }} }}\n"
    );
    let server = folder
        .serve_in(
            &settings,
            &[
                ("SEKISHO_LOG", "info"),
                ("SEKISHO_LIMITS__LOGINS_MAX", "1234"),
                ("PGPASSWORD", "1234"),
            ],
        )
        .await;
    let tokens = log_in(&server, "demo", &server.password().unwrap()).await;
    let mut client = McpClient::new(server.url("/mcp")).with_token(&tokens.access);
    client.begin("2025-11-25").await;
    let environment = std::fs::read_to_string(seen).unwrap();
    assert!(environment.contains("GIVEN=yes") && environment.contains("PATH="), "{environment}");
    assert!(!environment.contains("SEKISHO_") && !environment.contains("1234"), "{environment}");
    assert!(!environment.contains(&tokens.access), "{environment}");
}

#[tokio::test]
async fn no_process_is_left_when_the_program_ends() {
    let folder = Folder::new();
    let settings = guarded(&folder);
    let mut server = folder.serve(&settings).await;
    let tokens = log_in(&server, "demo", &server.password().unwrap()).await;
    let mut client = McpClient::new(server.url("/mcp")).with_token(&tokens.access);
    client.begin("2025-11-25").await;
    let children = children_of(&server.id());
    assert_eq!(children.len(), 1);
    server.signal("TERM").await;
    assert_eq!(server.ends_within(Duration::from_secs(10)).await.code(), Some(0));
    for child in children {
        assert!(std::fs::metadata(format!("/proc/{child}")).is_err(), "{child} is left");
    }
}

#[tokio::test]
async fn nothing_a_command_started_outlives_us_however_we_end() {
    for signal in ["TERM", "KILL"] {
        let folder = Folder::new();
        let mark = format!("864{}{}", std::process::id(), signal.len());
        let mut server = folder.serve(&clinging(&folder, &mark)).await;
        let tokens = log_in(&server, "demo", &server.password().unwrap()).await;
        let mut client = McpClient::new(server.url("/mcp")).with_token(&tokens.access);
        assert_eq!(client.begin("2025-11-25").await.status, 200);
        while told(&mark).len() < 7 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        server.signal(signal).await;
        server.ends_within(Duration::from_secs(10)).await;
        let ended = async {
            while !told(&mark).is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(5), ended).await;
        assert!(in_time.is_ok(), "SIG{signal}: {:?} are left", told(&mark));
    }
}

#[tokio::test]
async fn what_a_command_left_behind_is_buried_when_it_ends() {
    let folder = Folder::new();
    let mark = format!("865{}", std::process::id());
    let server = folder.serve(&clinging(&folder, &mark)).await;
    let tokens = log_in(&server, "demo", &server.password().unwrap()).await;
    let mut client = McpClient::new(server.url("/mcp")).with_token(&tokens.access);
    assert_eq!(client.begin("2025-11-25").await.status, 200);
    let [attendant] = &children_of(&server.id())[..] else { panic!("there is one attendant") };
    // One of them ended at once, and its parent never asks after it.
    let unburied = async {
        while children_of(attendant).iter().any(|id| is_dead(id)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), unburied).await.expect("the dead are buried");
    drop(server);
    let ended = async {
        while !told(&mark).is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), ended).await.expect("nobody is left");
}
