//! `sekisho client` beside a running server, and `[[client]]` in its settings.

use reqwest::StatusCode;
use serde_json::Value;

use crate::harness::{Done, Folder, Server, http};

async fn ask(server: &Server, id: &str, secret: &str) -> (StatusCode, Value) {
    let form = [("grant_type", "client_credentials")];
    let asked = http().post(server.url("/token")).basic_auth(id, Some(secret)).form(&form);
    let answer = asked.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

fn json(done: &Done) -> Value {
    assert_eq!(done.code, Some(0), "{}", done.err);
    serde_json::from_str(&done.out).unwrap()
}

#[tokio::test]
async fn a_machine_is_added_listed_used_and_removed_beside_a_running_server() {
    let folder = Folder::new();
    let server = folder.serve("").await;
    let add = ["client", "add", "Nightly run", "--machine", "--scope", "fortune", "--json"];
    let added = json(&folder.run(&add, "").await);
    let (id, secret) =
        (added["client_id"].as_str().unwrap(), added["client_secret"].as_str().unwrap());
    assert_eq!((id.len(), secret.len()), (32, 64));

    let (status, answer) = ask(&server, id, secret).await;
    assert_eq!((status.as_u16(), answer["scope"].as_str()), (200, Some("fortune")), "{answer}");
    let token = answer["access_token"].as_str().unwrap().to_owned();
    let call = async || {
        let asked = http().post(server.url("/mcp")).bearer_auth(&token);
        asked.json(&serde_json::json!({})).send().await.unwrap().status()
    };
    assert_ne!(call().await, 401);

    let listed = json(&folder.run(&["client", "list", "--json"], "").await);
    assert_eq!(listed[0]["client_name"], "Nightly run");
    assert_eq!(listed[0]["origin"], "added by the operator");
    assert_eq!(listed[0]["grant_types"], serde_json::json!(["client_credentials"]));
    assert!(!listed.to_string().contains(secret), "said only once");
    let lines = folder.run(&["client", "list"], "").await.out;
    assert!(lines.starts_with(&format!("{id}\tadded by the operator\tNightly run\t")), "{lines}");

    let removed = folder.run(&["client", "remove", id], "").await;
    assert_eq!(removed.out, format!("removed {id} and everything granted to it\n"));
    assert_eq!(ask(&server, id, secret).await.0, 401);
    let refused = tokio::time::timeout(std::time::Duration::from_secs(1), async {
        let mut turn = tokio::time::interval(std::time::Duration::from_millis(20));
        while call().await != 401 {
            turn.tick().await;
        }
    });
    refused.await.expect("its token is refused within a second");
    let again = folder.run(&["client", "remove", id], "").await;
    assert_eq!(
        (again.code, again.err),
        (Some(1), format!("sekisho: there is no client \"{id}\"\n"))
    );
}

#[tokio::test]
async fn clients_of_the_settings_are_there_and_stay_there() {
    let folder = Folder::new();
    folder.write("nightly.secret", "the-secret-of-a-machine\n");
    let server = folder
        .serve(
            "[[client]]\nid = \"nightly\"\nsecret_file = \"nightly.secret\"\n\
             grant_types = [\"client_credentials\"]\nscopes = [\"fortune\"]\n",
        )
        .await;
    let (status, answer) = ask(&server, "nightly", "the-secret-of-a-machine").await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(ask(&server, "nightly", "another").await.0, 401);
    let listed = json(&folder.run(&["client", "list", "--json"], "").await);
    assert_eq!(listed[0]["origin"], "written in the settings");
    let removed = folder.run(&["client", "remove", "nightly"], "").await;
    assert_eq!(removed.code, Some(1));
    assert!(removed.err.contains("take it out there"), "{}", removed.err);
    let add = ["client", "add", "x", "--id", "nightly", "--redirect-uri", "https://a.example/cb"];
    let taken = folder.run(&add, "").await;
    assert!(taken.err.contains("there is a client \"nightly\" already"), "{}", taken.err);
}

#[tokio::test]
async fn what_cannot_be_added_is_one_sentence() {
    let folder = Folder::new();
    folder.write("private.json", r#"{"keys":[{"kty":"EC","d":"x"}]}"#);
    let uri = ["--redirect-uri", "https://a.example/cb"];
    let rows: &[(&[&str], &str)] = &[
        (&["x"], "--redirect-uri to log people in, or --machine to act alone"),
        (&["x", "--machine"], "--machine needs --scope"),
        (&["x", "--machine", "--scope", "gold"], "no server has it"),
        (&["x", "--redirect-uri", "http://a.example/cb"], "plain http is for loopback only"),
        (&["x", "--id", "https://a.example/c", uri[0], uri[1]], "clients known by a document"),
        (&["x", "--id", "a b", uri[0], uri[1]], "it is no id"),
        (&["x", "--jwks", "absent.json", uri[0], uri[1]], "cannot read it"),
        (&["x", "--jwks", "private.json", uri[0], uri[1]], "holds a private key"),
        (&["x", "--jwks-uri", "http://a.example/k", uri[0], uri[1]], "not an https URL"),
        (&["x", "--store", "memory:", uri[0], uri[1]], "there is nothing to administer"),
    ];
    for (arguments, expected) in rows {
        let arguments: Vec<_> = ["client", "add"].iter().chain(*arguments).copied().collect();
        let done = folder.run(&arguments, "").await;
        assert_eq!((done.code, done.out.as_str()), (Some(1), ""), "{arguments:?}: {}", done.err);
        assert!(done.err.contains(expected), "{arguments:?}: {}", done.err);
        assert_eq!(done.err.lines().count(), 1, "{arguments:?}: {}", done.err);
    }
    let added = folder.run(&["client", "add", "App", "--public", uri[0], uri[1]], "").await;
    assert_eq!(added.code, Some(0), "{}", added.err);
    assert!(!added.out.contains("client_secret"), "a public client has none: {}", added.out);
}
