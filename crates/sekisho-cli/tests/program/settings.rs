//! Wrong settings end in one sentence and code 2, and help is never a fault.

use serde_json::json;

use crate::harness::{Folder, http};

#[tokio::test]
async fn a_wrong_setting_is_one_sentence_and_no_start() {
    let rows: &[(&str, &[&str], &str)] = &[
        (
            "public_url = \"http://mcp.example.com\"",
            &["serve"],
            "sekisho.toml, line 1: public_url = \"http://mcp.example.com\": plain http is for \
             loopback only: use https, with a reverse proxy that ends TLS in front",
        ),
        (
            "",
            &["serve", "--public-url", "https://mcp.example.com/"],
            "--public-url = \"https://mcp.example.com/\": it ends with a slash: write \
             \"https://mcp.example.com\"",
        ),
        (
            "",
            &["serve", "--config", "other.toml"],
            "--config: cannot read the settings file \"other.toml\" (No such file or directory \
             (os error 2)): name a readable file",
        ),
        (
            "",
            &["serve", "--store", "postgres://db"],
            "--store = \"postgres://***\": it names no database: write \
             \"postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full\"",
        ),
        (
            "",
            &["serve", "--upstream", "127.0.0.1:9000/mcp"],
            "--upstream = \"127.0.0.1:9000/mcp\": it is no URL of a server: write for example \
             \"https://mcp.example.com/mcp\"",
        ),
        (
            "",
            &["serve", "--", ""],
            "-- COMMAND = \"\": it names no program: write [\"PROGRAM\", \"ARGUMENT\"]",
        ),
        (
            "lisen = \"x\"",
            &["stdio"],
            "sekisho.toml, line 1: lisen: there is no such setting: did you mean listen?",
        ),
        (
            "lisen = \"x\"",
            &["user", "list"],
            "sekisho.toml, line 1: lisen: there is no such setting: did you mean listen?",
        ),
    ];
    for (settings, arguments, expected) in rows {
        let folder = Folder::new();
        folder.write("sekisho.toml", settings);
        let done = folder.run(arguments, "").await;
        assert_eq!(done.err, format!("sekisho: {expected}\n"), "{arguments:?}");
        assert_eq!((done.code, done.out.as_str()), (Some(2), ""), "{arguments:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was made");
    }
}

#[tokio::test]
async fn a_wrong_key_file_is_one_sentence_and_no_start() {
    let folder = Folder::new();
    let key = folder.write("sekisho.key", "0000");
    let mode = |mode: u32| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let port = crate::harness::free_port();
    let address = format!("127.0.0.1:{port}");
    let start = ["serve", "--listen", &address];
    mode(0o644);
    let done = folder.run(&start, "").await;
    let expected = "sekisho: key_file \"sekisho.key\" can be read by others (mode 0644): run chmod \
                    600 \"sekisho.key\"\n";
    assert_eq!((done.code, done.err.as_str()), (Some(2), expected));
    mode(0o600);
    let done = folder.run(&start, "").await;
    assert_eq!(done.code, Some(2));
    assert!(done.err.contains("is not a key"), "{}", done.err);

    std::fs::remove_file(&key).unwrap();
    folder.write("sekisho.db", "something sealed");
    let done = folder.run(&start, "").await;
    assert_eq!(done.code, Some(2));
    assert!(done.err.contains("put the key back"), "{}", done.err);
    assert!(!key.exists(), "no new key was made");
}

#[tokio::test]
async fn help_and_version_are_there() {
    let folder = Folder::new();
    let version = folder.run(&["--version"], "").await;
    assert_eq!(
        (version.code, version.out.as_str()),
        (Some(0), concat!("sekisho ", env!("CARGO_PKG_VERSION"), "\n"))
    );
    let help = folder.run(&["--help"], "").await;
    assert_eq!(help.code, Some(0));
    for command in ["serve", "stdio", "user", "config"] {
        assert!(help.out.contains(command), "{command}: {}", help.out);
    }
    let nothing = folder.run(&[], "").await;
    assert!(nothing.err.contains("Usage: sekisho"), "{}", nothing.err);
    let unknown = folder.run(&["sevre"], "").await;
    assert_eq!(unknown.code, Some(2));
}

#[tokio::test]
async fn the_settings_can_be_checked_and_shown() {
    let folder = Folder::new();
    folder.write("sekisho.toml", "listen = \"127.0.0.1:8001\"\n");
    let check = folder.run(&["config", "check"], "").await;
    assert_eq!((check.code, check.out.as_str()), (Some(0), "the settings can be used\n"));
    let show = folder.run(&["config", "show"], "").await;
    assert!(
        show.out.contains("listen = \"127.0.0.1:8001\"  # sekisho.toml, line 1"),
        "{}",
        show.out
    );
    assert!(show.out.contains("# public_url = \"http://localhost:8001\"  # from listen"));
}

#[tokio::test]
async fn the_log_can_be_json_and_has_the_trace_id_and_no_query() {
    let folder = Folder::new();
    let mut server = folder.serve("log_format = \"json\"\nlog = \"debug\"\n").await;
    let asked = http().get(server.url("/authorize?client_id=nobody&state=in-the-query"));
    let answer = asked.send().await.unwrap();
    let trace_id = answer.headers()["x-trace-id"].to_str().unwrap().to_owned();
    let forged = http().get(server.url("/mcp")).header("host", "evil.example");
    assert_eq!(forged.send().await.unwrap().status(), 421);
    server.signal("INT").await;
    server.ends_within(std::time::Duration::from_secs(10)).await;

    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let access = lines
        .iter()
        .find(|line| line["trace_id"] == trace_id.as_str() && line["target"] == "sekisho::access");
    let access = access.expect("the log has the trace id");
    assert_eq!((&access["path"], &access["status"]), (&json!("/authorize"), &json!(400)));
    assert!(!log.contains("in-the-query"), "{log}");
    assert!(log.contains("add it to allowed_hosts"), "{log}");
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_panic() {
    let folder = Folder::new();
    let binary = env!("CARGO_BIN_EXE_sekisho");
    let script =
        format!("{binary} config show | true; {binary} user list --json 2>/dev/null | true");
    let output = tokio::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(folder.path())
        .output()
        .await
        .unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
