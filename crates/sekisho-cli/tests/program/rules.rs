//! `[[rule]]`, `identity.allow` and `sekisho explain`, with the real program.

use serde_json::{Value, json};
use testkit::McpClient;

use crate::harness::{Folder, Server};
use crate::person::{answer_to_login, log_in};

const RULES: &str = "[[rule]]\nname = \"demo-asks\"\ntools = [\"fortune\"]\n\
    allow = \"user.subject == 'demo'\"\n\
    [[rule]]\nname = \"reading-needs-a-scope\"\nresources = [\"*\"]\nscope = \"fortune:read\"\n\
    [[rule]]\nname = \"staff-write\"\ntools = [\"write_*\"]\n\
    allow = \"'staff' in user.groups && args.n < 3\"\n";

async fn client_of(server: &Server, token: &str) -> McpClient {
    let mut client = McpClient::new(server.url("/mcp")).with_token(token);
    client.initialize("2025-11-25").await;
    client
}

#[tokio::test]
async fn the_settings_say_who_may_use_what() {
    let folder = Folder::new();
    let server = folder.serve(RULES).await;
    let demo = log_in(&server, "demo", &server.password().unwrap()).await;
    let done = folder.run(&["user", "add", "bob"], "correct horse battery\n").await;
    assert_eq!(done.code, Some(0), "{}", done.err);
    let bob = log_in(&server, "bob", "correct horse battery").await;

    let mut client = client_of(&server, &demo.access).await;
    assert!(client.call_tool("fortune", json!({})).await.tool_text().starts_with("今日の運勢は: "));
    let challenged = client.request("resources/read", json!({ "uri": "a:b" })).await;
    assert_eq!(challenged.status, 403, "{}", challenged.text);
    let challenge = challenged.header("www-authenticate").unwrap();
    assert!(challenge.contains("scope=\"fortune fortune:read\""), "{challenge}");

    let mut client = client_of(&server, &bob.access).await;
    let listed = client.request("tools/list", json!({})).await.result();
    assert_eq!(listed["tools"], json!([]), "bob sees nothing");
    let answer = client.call_tool("fortune", json!({})).await;
    assert_eq!(answer.error_code(), Some(-32602), "{}", answer.text);
}

#[tokio::test]
async fn who_is_not_let_in_gets_no_code() {
    let folder = Folder::new();
    let server = folder.serve("[identity]\nallow = \"user.subject != 'demo'\"\n").await;
    let refused = answer_to_login(&server, "demo", &server.password().unwrap()).await;
    assert!(refused.contains("error=access_denied"), "{refused}");
    assert!(!refused.contains("code="), "{refused}");
    let grants = folder.run(&["grant", "list"], "").await;
    assert_eq!((grants.code, grants.out.as_str()), (Some(0), ""), "{}", grants.err);
}

#[tokio::test]
async fn explain_says_which_rule_decides_and_what_the_others_said() {
    let folder = Folder::new();
    let server = folder.serve(RULES).await;
    let staff = json!({ "iss": "https://idp.example", "sub": "1", "groups": ["staff"] });
    folder.write("staff.json", &staff.to_string());
    folder.write("broken.json", "[]");
    let rows: [(&[&str], &str, &str); 9] = [
        (
            &["--user", "demo", "--tool", "fortune"],
            "allowed: the tool \"fortune\", by the rule \"demo-asks\"\n  \"demo-asks\" allows it  [user.subject == 'demo']\n  \"reading-needs-a-scope\" is about something else\n  \"staff-write\" is about something else",
            "somebody with an account",
        ),
        (
            &["--claims", "staff.json", "--tool", "fortune"],
            "denied: the tool \"fortune\", no rule allows it\n  \"demo-asks\" its condition does not hold",
            "somebody by claims",
        ),
        (
            &["--claims", "staff.json", "--tool", "write_a", "--args", "{\"n\":1}"],
            "allowed: the tool \"write_a\", by the rule \"staff-write\"",
            "with arguments",
        ),
        (
            &["--claims", "staff.json", "--tool", "write_a", "--args", "{\"n\":7}"],
            "denied:",
            "with others",
        ),
        (
            &["--claims", "staff.json", "--tool", "write_a"],
            "\"staff-write\" cannot be decided, and so does not allow it: there is no \"n\"",
            "with none",
        ),
        (
            &["--user", "demo", "--resource", "a:b"],
            "not with this token: the resource \"a:b\" needs the scope fortune:read, by the rule \"reading-needs-a-scope\"",
            "a scope",
        ),
        (
            &["--user", "demo", "--resource", "a:b", "--scope", "fortune:read"],
            "allowed:",
            "which is there",
        ),
        (
            &["--user", "demo", "--resource", "a:/../b", "--scope", "fortune:read"],
            "denied:",
            "a way around",
        ),
        (
            &["--user", "demo", "--prompt", "p"],
            "denied: the prompt \"p\", no rule allows it",
            "a prompt",
        ),
    ];
    for (arguments, expected, reason) in rows {
        let done = folder.run(&[&["explain"], arguments].concat(), "").await;
        assert_eq!(done.code, Some(0), "{reason}: {}", done.err);
        assert!(done.out.contains(expected), "{reason}: {}", done.out);
    }
    let json = folder.run(&["explain", "--user", "demo", "--tool", "fortune", "--json"], "").await;
    let told: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&told["allowed"], &told["by"]), (&json!(true), &json!("demo-asks")), "{told}");
    assert_eq!(told["rules"][1]["verdict"], "is about something else");

    for (arguments, expected, reason) in [
        (
            &["--user", "eve", "--tool", "a"][..],
            "nobody called \"eve\" has granted anything",
            "nobody",
        ),
        (&["--claims", "broken.json", "--tool", "a"], "write a JSON object of claims", "no claims"),
        (&["--claims", "none.json", "--tool", "a"], "name a readable file", "no file"),
        (
            &["--user", "demo", "--tool", "a", "--args", "{\"n\":1,\"n\":2}"],
            "write an object that names each member once",
            "twice",
        ),
        (
            &["--user", "demo", "--tool", "a", "--server", "x"],
            "--server: name one of fortune",
            "no server",
        ),
    ] {
        let done = folder.run(&[&["explain"], arguments].concat(), "").await;
        assert_ne!(done.code, Some(0), "{reason}: {}", done.out);
        assert!(done.err.contains(expected), "{reason}: {}", done.err);
    }
    drop(server);
}
