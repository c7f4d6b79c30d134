//! `sekisho flows`: a login is told step by step, and found by the trace id of its error page.

use std::sync::Arc;
use std::time::Duration;

use sekisho::clock::SystemClock;
use serde_json::Value;
use testkit::identity_provider::{
    CLIENT_ID, CLIENT_SECRET, Endpoint, FakeIdentityProvider, Trouble,
};
use testkit::world::{authorize_url, public_client, redeem};
use testkit::{Browser, McpClient};
use tokio::time::{Instant, sleep};

use crate::harness::{Folder, Server, http};
use crate::person::{REDIRECT_URI, app, log_in, open_login};

/// The text once it has this part: steps are written a moment after they happened.
async fn told(folder: &Folder, arguments: &[&str], part: &str) -> String {
    let give_up = Instant::now() + Duration::from_secs(20);
    loop {
        let done = folder.run(arguments, "").await;
        if done.out.contains(part) {
            return done.out;
        }
        assert!(Instant::now() < give_up, "{part}: {}{}", done.out, done.err);
        sleep(Duration::from_millis(50)).await;
    }
}

/// Opens a page that says no, and gives its trace id.
async fn refused(server: &Server, path: &str) -> String {
    let answer = http().get(server.url(path)).send().await.unwrap();
    assert!(answer.status().is_client_error());
    let id = answer.headers()["x-trace-id"].to_str().unwrap().to_owned();
    assert!(answer.text().await.unwrap().contains(&id), "the page shows it");
    id
}

#[tokio::test]
async fn a_login_is_told_from_registration_to_the_first_call() {
    let folder = Folder::new();
    let server = folder.serve("").await;
    let password = server.password().unwrap();
    let tokens = log_in(&server, "demo", &password).await;
    let steps = "registered, authorize, consent shown, approved, sent to provider, came back, code \
                 given, token given; ";
    let line = told(&folder, &["flows"], "token given").await;
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.contains(steps), "{line}");
    assert!(line.contains("; never called http://localhost:"), "{line}");

    let mut client = McpClient::new(server.url("/mcp")).with_token(&tokens.access);
    assert_eq!(client.begin("2025-11-25").await.status, 200);
    let line = told(&folder, &["flows"], "; called http://localhost:").await;
    let json = folder.run(&["flows", "--json"], "").await.out;
    let json: Value = serde_json::from_str(&json).unwrap();
    let flow = &json[0];
    assert_eq!(flow["steps"].as_array().unwrap().len(), 8, "{flow}");
    assert!(line.contains(flow["client_id"].as_str().unwrap()), "{line}");

    // Each request of it has a trace id of its own, and each finds all of it.
    let ids: Vec<_> = flow["steps"].as_array().unwrap()[1..]
        .iter()
        .map(|step| step["trace_id"].as_str().unwrap())
        .collect();
    for id in &ids {
        let found = folder.run(&["flows", id], "").await;
        assert_eq!(found.out.lines().count(), 10, "{}", found.out);
        assert!(
            found.out.contains(&format!("token given  (trace id {})", ids[6])),
            "{}",
            found.out
        );
    }
    let grant = folder.run(&["grant", "revoke", "--user", "demo"], "").await;
    assert_eq!(grant.code, Some(0), "{}", grant.err);
    told(&folder, &["flows"], "; its grant has ended since").await;
}

#[tokio::test]
async fn an_error_page_is_found_by_its_trace_id_with_the_reason() {
    let folder = Folder::new();
    let server = folder.serve("").await;
    let client = public_client(&app(&server), REDIRECT_URI).await;
    let elsewhere = authorize_url(&client, &[("redirect_uri", "http://127.0.0.1:1/other")]);
    let rows = [
        ("/authorize?client_id=nobody", "there is no client \"nobody\"", "an unknown client"),
        (
            elsewhere.as_str(),
            "redirect_uri \"http://127.0.0.1:1/other\" is not registered for this client",
            "an unregistered redirect URI",
        ),
        (
            "/auth/callback?state=unknown&code=x",
            "the login is unknown, too old or finished",
            "a callback of nobody's login",
        ),
    ];
    for (path, reason, case) in rows {
        let id = refused(&server, path).await;
        let lines = told(&folder, &["flows", &id], "refused").await;
        let refused = lines.lines().find(|line| line.contains("  refused: ")).expect(case);
        assert!(refused.contains(reason) && refused.contains(&id), "{case}: {lines}");
        assert!(lines.ends_with("ended there\n"), "{case}: {lines}");
    }
}

#[tokio::test]
async fn where_a_login_stopped_is_told() {
    let folder = Folder::new();
    let server = folder.serve("").await;
    let app = app(&server);
    let client = public_client(&app, REDIRECT_URI).await;
    let mut browser = Browser::default();
    let page = browser.open(&app, &authorize_url(&client, &[])).await;
    told(&folder, &["flows"], "consent shown; nobody has answered the consent page").await;
    browser.decide(&app, &page, "deny").await;
    let line = told(&folder, &["flows"], "denied").await;
    assert!(line.contains("consent shown, denied, refused; ended there"), "{line}");

    let form = open_login(&server).await;
    told(&folder, &["flows"], "the person has not come back from the provider").await;
    let password = server.password().unwrap();
    let mut form = form;
    let sent = form.submit(&server, "demo", &password).await;
    let back = form.browser.open(&app, sent.location().unwrap()).await;
    told(&folder, &["flows"], "the client has not traded its code").await;
    let code = back.parameter("code").unwrap();
    let wrong = redeem(&app, &form.client, &code, &"x".repeat(43)).await;
    assert_eq!(wrong.status, 400);
    let out = told(&folder, &["flows"], "code given, refused; ").await;
    let line = out.lines().find(|line| line.contains("code given")).unwrap();
    let id = line.split("trace id ").nth(1).unwrap().trim_end_matches(')');
    let lines = folder.run(&["flows", id], "").await.out;
    assert!(lines.contains("refused: the verifier does not match the challenge"), "{lines}");
    for secret in [code.as_str(), password.as_str()] {
        assert!(!lines.contains(secret) && !out.contains(secret), "a secret is shown");
    }
    let state = sent.location().unwrap().split("state=").nth(1).unwrap().split('&').next().unwrap();
    assert!(!lines.contains(state), "our state is shown");
}

#[tokio::test]
async fn what_the_provider_did_wrong_is_told() {
    let folder = Folder::new();
    let fake = FakeIdentityProvider::start(Arc::new(SystemClock)).await;
    let settings = format!(
        "[identity]\nprovider = \"oidc\"\nissuer = \"{}\"\nclient_id = \"{CLIENT_ID}\"\n\
         client_secret = \"{CLIENT_SECRET}\"\n",
        fake.issuer()
    );
    let server = folder.serve(&settings).await;
    let app = app(&server);
    let client = public_client(&app, REDIRECT_URI).await;
    let mut browser = Browser::default();
    let page = browser.open(&app, &authorize_url(&client, &[])).await;
    let approved = browser.decide(&app, &page, "approve").await;
    let callback = fake.log_in(approved.location().unwrap(), "alice").await;
    fake.misbehave(|it| it.trouble(Endpoint::Token, Trouble::Status(503)));
    let callback = callback.url.as_str().replace(&server.url(""), "");
    let back = browser.open(&app, &callback).await;
    assert_eq!(back.parameter("error").as_deref(), Some("temporarily_unavailable"));
    let out = told(&folder, &["flows", "--json"], "provider failed").await;
    assert!(out.contains("the token endpoint answered 503"), "{out}");
}

#[tokio::test]
async fn a_flood_of_beginnings_is_not_kept() {
    let folder = Folder::new();
    let server = folder.serve("").await;
    for number in 0..40 {
        refused(&server, &format!("/authorize?client_id=nobody{number}")).await;
    }
    told(&folder, &["flows"], "client nobody29").await;
    sleep(Duration::from_millis(600)).await;
    let out = folder.run(&["flows", "--json"], "").await.out;
    let kept = serde_json::from_str::<Value>(&out).unwrap().as_array().unwrap().len();
    assert!((30..=31).contains(&kept), "{kept} of 40 are kept");
}

#[tokio::test]
async fn what_there_is_nothing_of_is_one_sentence() {
    let folder = Folder::new();
    let server = folder.serve("").await;
    let empty = folder.run(&["flows"], "").await;
    assert_eq!((empty.code, empty.out.as_str()), (Some(0), ""), "{}", empty.err);
    let unknown = "0123456789abcdef0123456789abcdef";
    drop(server);
    let rows: [(&[&str], &str); 3] = [
        (&["flows", unknown], "no login has the trace id 0123456789abcdef0123456789abcdef"),
        (&["flows", "abc"], "\"abc\" is no trace id: copy the 32 digits"),
        (&["flows", "--store", "memory:"], "everything lives and dies with the server"),
    ];
    for (command, expected) in rows {
        let done = folder.run(command, "").await;
        assert_eq!((done.code, done.out.as_str()), (Some(1), ""), "{command:?}: {}", done.err);
        assert!(done.err.contains(expected), "{command:?}: {}", done.err);
        assert_eq!(done.err.lines().count(), 1, "{command:?}: {}", done.err);
    }
}
