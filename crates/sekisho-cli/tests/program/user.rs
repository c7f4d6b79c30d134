//! `sekisho user`, beside a running server and without one.

use std::time::Duration;

use testkit::McpClient;

use crate::harness::Folder;
use crate::person::{log_in, open_login};

#[tokio::test]
async fn accounts_are_administered_beside_a_running_server() {
    let folder = Folder::new();
    let server = folder.serve("").await;

    let added = folder.run(&["user", "add", "alice"], "correct horse\n").await;
    assert_eq!((added.code, added.out.as_str()), (Some(0), "added alice\n"), "{}", added.err);
    log_in(&server, "alice", "correct horse").await;

    let again = folder.run(&["user", "add", "alice"], "correct horse\n").await;
    assert_eq!(again.code, Some(1));
    assert!(again.err.contains("there is an account \"alice\" already"), "{}", again.err);

    let listed = folder.run(&["user", "list"], "").await.out;
    let names: Vec<_> = listed.lines().filter_map(|line| line.split('\t').next()).collect();
    assert_eq!(names, ["alice", "demo"]);
    let listed = folder.run(&["user", "list", "--json"], "").await.out;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        (listed[0]["name"].as_str(), listed[1]["name"].as_str()),
        (Some("alice"), Some("demo"))
    );

    let changed = folder.run(&["user", "passwd", "alice"], "battery staple\n").await;
    assert_eq!((changed.code, changed.out.as_str()), (Some(0), "alice has a new password\n"));
    let old = open_login(&server).await.submit(&server, "alice", "correct horse").await;
    assert_eq!(old.location(), None, "the old password is refused: {old:?}");
    log_in(&server, "alice", "battery staple").await;
}

#[tokio::test]
async fn a_removed_account_is_refused_within_a_second_everywhere() {
    let folder = Folder::new();
    let server = folder.serve("").await;
    let tokens = log_in(&server, "demo", &server.password().unwrap()).await;
    let mut client = McpClient::new(server.url("/mcp")).with_token(&tokens.access);
    assert_eq!(client.begin("2025-11-25").await.status, 200);

    let removed = folder.run(&["user", "remove", "demo"], "").await;
    let expected = "removed demo and everything granted under it\n";
    assert_eq!((removed.code, removed.out.as_str()), (Some(0), expected));
    let refused = tokio::time::timeout(Duration::from_secs(1), async {
        let mut ask = tokio::time::interval(Duration::from_millis(20));
        loop {
            ask.tick().await;
            let status = client.request("tools/list", serde_json::json!({})).await.status;
            if status == 401 {
                return;
            }
        }
    });
    refused.await.expect("the token is refused within a second");
    let again = folder.run(&["user", "remove", "demo"], "").await;
    assert_eq!(again.code, Some(1));
    assert_eq!(again.err, "sekisho: there is no account \"demo\"\n");
}

#[tokio::test]
async fn an_account_can_be_added_before_the_first_start_and_then_there_is_no_demo() {
    let folder = Folder::new();
    let added = folder.run(&["user", "add", "alice"], "correct horse\n").await;
    assert_eq!(added.code, Some(0), "{}", added.err);
    let server = folder.serve("").await;
    assert_eq!(server.password(), None);
    assert!(server.said.iter().any(|line| line.contains("sekisho user list")), "{:?}", server.said);
    log_in(&server, "alice", "correct horse").await;
}

#[tokio::test]
async fn what_cannot_be_done_is_one_sentence() {
    let rows: &[(&[&str], &str, &str)] = &[
        (&["user", "add", "alice"], "short\n", "the password is shorter than 8 characters"),
        (&["user", "add", "alice"], "", "the password is shorter than 8 characters"),
        (&["user", "add", " "], "correct horse\n", "the name is empty"),
        (&["user", "list"], "", "there is no store \"sekisho.db\" yet: start `sekisho serve` once"),
        (&["user", "passwd", "alice"], "correct horse\n", "there is no store \"sekisho.db\" yet"),
        (&["user", "remove", "alice"], "", "there is no store \"sekisho.db\" yet"),
        (&["user", "list", "--store", "memory:"], "", "there is nothing to administer"),
        (
            &["user", "add", "a", "--store", "memory:"],
            "correct horse\n",
            "there is nothing to administer",
        ),
        (
            &["user", "add", "a", "--store", "sqlite:no/such.db"],
            "correct horse\n",
            "cannot create the store",
        ),
    ];
    for (arguments, input, expected) in rows {
        let done = Folder::new().run(arguments, input).await;
        assert_eq!((done.code, done.out.as_str()), (Some(1), ""), "{arguments:?}: {}", done.err);
        assert!(done.err.contains(expected), "{arguments:?}: {}", done.err);
        assert_eq!(done.err.lines().count(), 1, "{arguments:?}: {}", done.err);
    }
}
