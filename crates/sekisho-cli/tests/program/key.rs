//! `sekisho key rotate`, and a store whose key is another or gone.

use std::os::unix::fs::PermissionsExt as _;

use testkit::McpClient;
use testkit::world::{refresh_at, tokens};

use crate::harness::{Folder, http};
use crate::person::{app, log_in, open_login};

const GOOD: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// The keys in the file, newest first.
fn keys(folder: &Folder) -> Vec<String> {
    let path = folder.path().join("sekisho.key");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_key_is_rotated_beside_a_running_server_and_nobody_is_logged_out() {
    let folder = Folder::new();
    let mut server = folder.serve("").await;
    let (port, password) = (server.port, server.password().unwrap());
    let form = open_login(&server).await;
    let client = form.client.clone();
    let first = form.finish(&server, "demo", &password).await;
    let open = open_login(&server).await;
    let second = tokens(&refresh_at(&app(&server), &client, &first.refresh).await);
    let before = keys(&folder);

    let rotated = folder.run(&["key", "rotate"], "").await;
    assert_eq!(rotated.code, Some(0), "{}", rotated.err);
    assert!(rotated.out.contains("seals with a new key"), "{}", rotated.out);
    let after = keys(&folder);
    assert_eq!(after.len(), 2);
    assert_eq!(after[1..], before, "the old one comes after it");

    let again = refresh_at(&app(&server), &client, &first.refresh).await;
    assert_eq!(tokens(&again), second, "the window is open still");
    let third = tokens(&refresh_at(&app(&server), &client, &second.refresh).await);
    open.finish(&server, "demo", &password).await;
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.contains("the keys in key_file have changed"), "without a restart: {log}");
    for key in &after {
        assert!(!log.contains(key) && !rotated.out.contains(key), "a key is shown");
    }

    let json = folder.run(&["key", "rotate", "--json"], "").await;
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["keys"].as_array().unwrap().len(), 3, "{json}");

    server.kill().await;
    let server = folder.serve_at(port, "").await;
    let mut speaker = McpClient::new(server.url("/mcp")).with_token(&third.access);
    assert_eq!(speaker.begin("2025-11-25").await.status, 200);
    assert_eq!(tokens(&refresh_at(&app(&server), &client, &second.refresh).await), third);
}

#[tokio::test]
async fn another_key_than_the_stores_is_one_sentence_and_no_start() {
    let folder = Folder::new();
    let mut server = folder.serve("").await;
    let (port, password) = (server.port, server.password().unwrap());
    let tokens = log_in(&server, "demo", &password).await;
    server.kill().await;
    let key = folder.path().join("sekisho.key");
    let right = std::fs::read_to_string(&key).unwrap();

    std::fs::write(&key, GOOD).unwrap();
    for command in [["serve"].as_slice(), &["user", "list"], &["user", "passwd", "demo"]] {
        let done = folder.run(command, "correct horse\n").await;
        assert_eq!((done.code, done.out.as_str()), (Some(2), ""), "{command:?}: {}", done.err);
        let expected = "does not hold the key that \"sekisho.db\" was sealed with: put that key \
                        back";
        assert!(done.err.contains(expected), "{command:?}: {}", done.err);
        assert_eq!(done.err.lines().count(), 1, "{command:?}: {}", done.err);
    }
    std::fs::write(&key, format!("{GOOD}\n{right}")).unwrap();
    let server = folder.serve_at(port, "").await;
    let mut speaker = McpClient::new(server.url("/mcp")).with_token(&tokens.access);
    assert_eq!(speaker.begin("2025-11-25").await.status, 200, "beside a newer one it is fine");
}

#[tokio::test]
async fn a_broken_key_file_under_a_running_server_changes_nothing() {
    let folder = Folder::new();
    let server = folder.serve("").await;
    let password = server.password().unwrap();
    folder.write("sekisho.key", "half a k");
    let said = async {
        let mut look = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            look.tick().await;
            let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
            if log.contains("the keys at hand go on") {
                return log;
            }
        }
    };
    let log = tokio::time::timeout(std::time::Duration::from_secs(30), said).await.unwrap();
    assert!(log.contains("is not a key"), "{log}");
    log_in(&server, "demo", &password).await;
}

#[tokio::test]
async fn two_rotations_at_once_lose_no_key() {
    let folder = Folder::new();
    folder.write("sekisho.key", &format!("{GOOD}\n"));
    let key = folder.path().join("sekisho.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (one, other) =
        tokio::join!(folder.run(&["key", "rotate"], ""), folder.run(&["key", "rotate"], ""));
    let refused = [&one, &other].into_iter().filter(|done| done.code == Some(1));
    for done in refused.clone() {
        assert!(done.err.contains("another `sekisho key rotate` is at work"), "{}", done.err);
    }
    let left = keys(&folder);
    assert_eq!(left.len() + refused.count(), 3, "{left:?}");
    assert_eq!(left.last().map(String::as_str), Some(GOOD));
    let files = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files, 1, "nothing is left aside");
}

#[tokio::test]
async fn what_cannot_be_rotated_is_one_sentence() {
    let many = format!("{GOOD}\n").repeat(32);
    let rows: [(Option<&str>, &[&str], i32, &str); 4] = [
        (None, &["key", "rotate", "--store", "memory:"], 1, "there is no key to rotate"),
        (None, &["key", "rotate"], 2, "cannot be read"),
        (Some("short"), &["key", "rotate"], 2, "is not a key"),
        (Some(&many), &["key", "rotate"], 2, "holds 32 keys, which is as many as it may"),
    ];
    for (key, command, code, expected) in rows {
        let folder = Folder::new();
        if let Some(key) = key {
            let path = folder.write("sekisho.key", key);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let done = folder.run(command, "").await;
        assert_eq!((done.code, done.out.as_str()), (Some(code), ""), "{expected}: {}", done.err);
        assert!(done.err.contains(expected), "{}", done.err);
        assert_eq!(done.err.lines().count(), 1, "{}", done.err);
    }
}

#[tokio::test]
async fn a_server_without_the_key_that_another_process_turned_to_is_not_ready() {
    let folder = Folder::new();
    let server = folder.serve("").await;
    let store = rusqlite::Connection::open(folder.path().join("sekisho.db")).unwrap();
    store.execute("UPDATE instance SET sealing_key = 'another'", []).unwrap();
    let answer = http().get(server.url("/readyz")).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    let told = answer.text().await.unwrap();
    assert_eq!(told, r#"{"status":"unavailable","failing":["key"]}"#);
}
