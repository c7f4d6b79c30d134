//! Other settings for a server that runs: at SIGHUP, and when a file has changed.

use serde_json::{Value, json};
use testkit::{McpClient, SseClient};

use crate::harness::{Folder, PROGRAM, Server, free_port, http};
use crate::person::log_in;
use crate::processes::children_of;

const USED: &str = "the settings were read again and are used from now on";
const NOT_USED: &str = "the settings at hand go on: ";

/// A rule that lets nobody call anything.
const NOBODY: &str = "[[rule]]\nname = \"nobody\"\ndeny = \"true\"\n";

/// A server of this name behind the checkpoint, whose process has `mark` in its environment.
fn guarded(folder: &Folder, name: &str, path: &str, mark: &str) -> String {
    folder.write("guarded.toml", "");
    format!(
        "[[server]]\nname = {name:?}\npath = {path:?}\nscopes = [\"fortune\"]\n\
         upstream = {{ command = [{PROGRAM:?}, \"stdio\", \"--config\", \"guarded.toml\"], \
         env = {{ MARK = {mark:?} }} }}\n"
    )
}

/// A server that answers the one call that it gets only when there is a file `go`.
fn slow(folder: &Folder, mark: &str) -> String {
    folder.write(
        "slow.sh",
        r#"while read -r line; do
    id=$(printf %s "$line" | sed 's/.*"id":\("[^"]*"\|[0-9]*\).*/\1/')
    case $line in
    *'"initialize"'*) answer='"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"slow","version":"1"}' ;;
    *'"tools/call"'*) : > begun; until [ -e go ]; do sleep 0.02; done; answer='"content":[{"type":"text","text":"at last"}]' ;;
    *'"id"'*) answer= ;;
    *) continue ;;
    esac
    printf '{"jsonrpc":"2.0","id":%s,"result":{%s}}\n' "$id" "$answer"
done
"#,
    );
    format!(
        "[[server]]\nname = \"fortune\"\npath = \"/\"\n\
         upstream = {{ command = [\"sh\", \"slow.sh\", {mark:?}] }}\n"
    )
}

async fn begin(server: &Server, path: &str, token: &str) -> McpClient {
    let mut client = McpClient::new(server.url(path)).with_token(token);
    client.initialize("2025-11-25").await;
    client
}

async fn is_told_a_fortune(client: &mut McpClient) -> bool {
    let answer = client.call_tool("fortune", json!({})).await;
    assert_eq!(answer.status, 200, "the session lives: {}", answer.text);
    answer.error_code().is_none()
}

#[tokio::test]
async fn rules_change_without_a_lost_session_stream_or_process() {
    let folder = Folder::new();
    let guarded = guarded(&folder, "fortune", "/", "one");
    let server = folder.serve(&guarded).await;
    let tokens = log_in(&server, "demo", &server.password().unwrap()).await;
    let mut client = begin(&server, "/mcp", &tokens.access).await;
    let mut listening = client.listen().await;
    assert!(listening.next().await.unwrap().id.is_some(), "the priming event");
    let mut old = SseClient::open(&server.url("/sse"), Some(&tokens.access)).await;
    old.initialize("2024-11-05").await;
    assert!(is_told_a_fortune(&mut client).await);
    let processes = children_of(&server.id());

    folder.change(&server, &format!("{guarded}{NOBODY}"));
    server.signal("HUP").await;
    folder.logs(USED, 1).await;
    let told = listening.message().await;
    assert_eq!(told["method"], "notifications/tools/list_changed", "the list is another one");
    assert!(!is_told_a_fortune(&mut client).await, "the new rule holds");
    let params = json!({ "name": "fortune", "arguments": {} });
    assert_eq!(old.events.message().await["method"], "notifications/tools/list_changed");
    for list in ["prompts", "resources"] {
        let method = format!("notifications/{list}/list_changed");
        assert_eq!(old.events.message().await["method"], method);
    }
    let refused = old.request("tools/call", params.clone()).await;
    assert_eq!(refused["error"]["code"], -32602, "in every transport: {refused}");

    // Nobody signals: the file is looked at.
    folder.change(&server, &guarded);
    folder.logs(USED, 2).await;
    assert!(is_told_a_fortune(&mut client).await);
    for _ in 0..3 {
        old.events.message().await;
    }
    let told = old.request("tools/call", params).await.to_string();
    assert!(told.contains("今日の運勢は: "), "{told}");
    assert_eq!(children_of(&server.id()), processes, "the same process all the time");
}

#[tokio::test]
async fn a_wrong_file_changes_nothing_and_the_log_says_what_a_start_would() {
    let folder = Folder::new();
    let server = folder.serve("").await;
    let tokens = log_in(&server, "demo", &server.password().unwrap()).await;
    let mut client = begin(&server, "/mcp", &tokens.access).await;
    let rows = [
        ("[[rule]]\nname = \"half\"\nallow = \"user.", "not TOML"),
        ("alowed_hosts = []", "a misspelt name"),
        ("[identity]\nclient_secret_file = \"nowhere\"", "a value that is no use"),
        (
            "[[server]]\nname = \"one\"\npath = \"/token\"\nupstream = { builtin = \"fortune\" }",
            "our own path",
        ),
        ("[[rule]]\nname = \"cel\"\nallow = \"user.+\"", "no condition"),
    ];
    for (times, (settings, reason)) in (1..).zip(rows) {
        folder.change(&server, &format!("{settings}\n"));
        server.signal("HUP").await;
        folder.logs(NOT_USED, times).await;
        let check = folder.run(&["config", "check"], "").await;
        assert_eq!(check.code, Some(2), "{reason}");
        let sentence = check.err.trim_end().strip_prefix("sekisho: ").unwrap().to_owned();
        folder.logs(&format!("{NOT_USED}{sentence}"), 1).await;
        assert!(is_told_a_fortune(&mut client).await, "{reason}");
        let ready = http().get(server.url("/readyz")).send().await.unwrap();
        assert_eq!(ready.status(), 200, "{reason}: what is at hand works");
    }
    folder.change(&server, NOBODY);
    folder.logs(USED, 1).await;
    assert!(!is_told_a_fortune(&mut client).await, "and a right one is used");
}

#[tokio::test]
async fn what_takes_a_restart_is_named_and_nothing_of_its_file_is_used() {
    let folder = Folder::new();
    let server = folder.serve("").await;
    let tokens = log_in(&server, "demo", &server.password().unwrap()).await;
    let mut client = begin(&server, "/mcp", &tokens.access).await;
    let settings = format!(
        "listen = \"127.0.0.1:{}\"\nstore = \"memory:\"\nlog = \"debug\"\n{NOBODY}\
         [limits]\nclients_max = 7\n",
        free_port()
    );
    folder.write("sekisho.toml", &settings);
    let names = "public_url, listen, store, key_file, log, limits.clients_max";
    folder.logs(&format!("{NOT_USED}restart to change: {names}; nothing else is changed"), 1).await;
    assert!(is_told_a_fortune(&mut client).await, "the rule that stands beside is not used either");
}

#[tokio::test]
async fn a_server_that_changed_ends_in_order_and_its_neighbour_lives_on() {
    let folder = Folder::new();
    let east = |mark| guarded(&folder, "east", "/east", mark);
    let west = guarded(&folder, "west", "/west", "one");
    let server = folder.serve(&format!("{}{west}", east("one"))).await;
    let token = |of: &'static str| {
        let arguments = ["token", "add", "--user", "demo", "--server", of, "--json"];
        let folder = &folder;
        async move {
            let made = folder.run(&arguments, "").await;
            let made: Value = serde_json::from_str(&made.out).unwrap();
            made["token"].as_str().unwrap().to_owned()
        }
    };
    let (eastern, western) = (token("east").await, token("west").await);
    let mut of_east = begin(&server, "/east/mcp", &eastern).await;
    let mut of_west = begin(&server, "/west/mcp", &western).await;
    assert!(is_told_a_fortune(&mut of_east).await && is_told_a_fortune(&mut of_west).await);
    let (listens_east, listens_west) = (of_east.listen().await, of_west.listen().await);
    let before = children_of(&server.id());
    assert_eq!(before.len(), 2);

    folder.change(&server, &format!("{}{west}", east("two")));
    folder.logs(USED, 1).await;
    listens_east.end_in_order().await;
    let gone = of_east.call_tool("fortune", json!({})).await;
    assert_eq!(gone.status, 404, "whoever it was agreed with is gone: begin anew");
    assert!(is_told_a_fortune(&mut begin(&server, "/east/mcp", &eastern).await).await);
    assert!(is_told_a_fortune(&mut of_west).await, "its session lives on");
    while children_of(&server.id()).len() != 2 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let after = children_of(&server.id());
    assert_eq!(after.iter().filter(|id| before.contains(id)).count(), 1, "the western one");

    folder.change(&server, &guarded(&folder, "east", "/east", "two"));
    folder.logs(USED, 2).await;
    listens_west.end_in_order().await;
    let gone = of_west.call_tool("fortune", json!({})).await;
    assert_eq!(gone.status, 404, "nothing is there any more");
    while children_of(&server.id()).len() != 1 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_call_gets_its_answer_though_its_server_is_changed_meanwhile() {
    let folder = Folder::new();
    let server = folder.serve(&slow(&folder, "one")).await;
    let tokens = log_in(&server, "demo", &server.password().unwrap()).await;
    let mut client = begin(&server, "/mcp", &tokens.access).await;
    let working = tokio::spawn(async move { client.call_tool("wait", json!({})).await });
    while !folder.path().join("begun").exists() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    folder.change(&server, &slow(&folder, "two"));
    folder.logs(USED, 1).await;
    folder.write("go", "");
    let answer = working.await.unwrap();
    assert_eq!(answer.tool_text(), "at last", "{}", answer.text);
}

#[tokio::test]
async fn secrets_clients_and_hosts_change_with_their_files() {
    let folder = Folder::new();
    folder.write("secret", "the first secret of all\n");
    let client = "[[client]]\nid = \"nightly\"\nsecret_file = \"secret\"\n\
        grant_types = [\"client_credentials\"]\nscopes = [\"fortune\"]\n";
    let server = folder.serve(client).await;
    let token = async |secret: &str| {
        let form = [("grant_type", "client_credentials")];
        let asked = http().post(server.url("/token")).basic_auth("nightly", Some(secret));
        asked.form(&form).send().await.unwrap().status().as_u16()
    };
    let at = async |host: &str| {
        let asked = http().get(server.url("/.well-known/oauth-authorization-server"));
        asked.header("host", host).send().await.unwrap().status().as_u16()
    };
    assert_eq!(token("the first secret of all").await, 200);
    assert_eq!(at("mcp.example.com").await, 421);

    folder.write("secret", "another secret entirely\n");
    folder.logs(USED, 1).await;
    assert_eq!(token("the first secret of all").await, 401, "the old one opens nothing any more");
    assert_eq!(token("another secret entirely").await, 200);

    folder.change(&server, "allowed_hosts = [\"mcp.example.com\"]\n");
    folder.logs(USED, 2).await;
    assert_eq!(token("another secret entirely").await, 401, "the client is gone");
    assert_eq!(at("mcp.example.com").await, 200);
}

#[tokio::test]
async fn no_call_fails_while_the_settings_change_again_and_again() {
    const CHANGES: usize = 20;
    let folder = Folder::new();
    let server = folder.serve("").await;
    let tokens = log_in(&server, "demo", &server.password().unwrap()).await;
    let is_over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let callers: Vec<_> = (0..4)
        .map(|number| {
            let (is_over, url) = (std::sync::Arc::clone(&is_over), server.url("/mcp"));
            let mut client = McpClient::new(url).with_token(&tokens.access);
            tokio::spawn(async move {
                client.begin("2025-11-25").await;
                let mut calls = 0;
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    let params = json!({ "name": "fortune", "arguments": {} });
                    let told = if number % 2 == 0 {
                        client.call_tool("fortune", json!({})).await
                    } else {
                        client.stateless("tools/call", params).await
                    };
                    assert!(told.tool_text().starts_with("今日の運勢は: "), "{}", told.text);
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    for number in 1..=CHANGES {
        folder.change(&server, &format!("allowed_hosts = [\"host-{number}.example\"]\n"));
        server.signal("HUP").await;
        folder.logs(USED, number).await;
    }
    is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    for caller in callers {
        assert!(caller.await.unwrap() > CHANGES, "it called all the time");
    }
}
