//! Group A of the attacks: a login belongs to the browser that said yes, and to nobody else.

use std::sync::Arc;

use testkit::scripted_provider::Fault;
use testkit::world::{ISSUER, VERIFIER, authorize_url, call, public_client, redeem};
use testkit::{Answer, App, Browser, ScriptedProvider, World, naive};

const THEIRS: &str = "http://127.0.0.1:19999/steal";

/// What an attacker has in the end.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// A token that speaks for the victim.
    Won,
    /// Nothing.
    Refused,
}

/// Mallory redeems what came to her redirect URI.
async fn mallory_redeems(
    app: &App,
    client: &testkit::RegisteredClient,
    location: Option<&str>,
) -> Outcome {
    let code = location
        .filter(|uri| uri.starts_with(THEIRS))
        .and_then(|uri| uri.split("code=").nth(1))
        .and_then(|rest| rest.split('&').next());
    let Some(code) = code else { return Outcome::Refused };
    let answer = redeem(app, client, code, VERIFIER).await;
    if answer.status != 200 {
        return Outcome::Refused;
    }
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let called = call(app, "/mcp", &token).await;
    if called.status == 200 && called.json()["subject"] == "sub-alice" {
        Outcome::Won
    } else {
        Outcome::Refused
    }
}

/// (a) Mallory starts a login, stops before the provider, and mails the link on.
async fn captured_link(app: &App, provider: &ScriptedProvider) -> Outcome {
    let client = public_client(app, THEIRS).await;
    let mut mallory = Browser::default();
    let begun = mallory.open(app, &authorize_url(&client, &[("state", "mallorystate")])).await;
    let link = match begun.location() {
        Some(link) => link.to_owned(),
        None => mallory.decide(app, &begun, "approve").await.location().unwrap().to_owned(),
    };
    // Alice has a session at the provider, so opening the link asks her nothing.
    let callback = provider.log_in("alice", &link);
    let landed = Browser::default().open(app, &callback).await;
    mallory_redeems(app, &client, landed.location()).await
}

/// (b) Alice opens Mallory's link to our own start; her browser follows redirects, she clicks nothing.
async fn start_link(app: &App, provider: &ScriptedProvider) -> Outcome {
    let client = public_client(app, THEIRS).await;
    let mut alice = Browser::default().sending("sec-fetch-site", "cross-site");
    let begun = alice.open(app, &authorize_url(&client, &[])).await;
    let Some(link) = begun.location() else { return Outcome::Refused };
    let landed = alice.open(app, &provider.log_in("alice", link)).await;
    mallory_redeems(app, &client, landed.location()).await
}

/// (c) Mallory's page posts an approval with Alice's browser: the form Mallory was shown, and the
/// form of a page loaded with Alice's own cookies, as an old browser would send them.
async fn forged_approval(app: &App, provider: &ScriptedProvider) -> Outcome {
    let client = public_client(app, THEIRS).await;
    let start = authorize_url(&client, &[]);
    let shown_to_mallory = Browser::default().open(app, &start).await;
    let mut alice = Browser::default();
    let begun = alice.open(app, &start).await;
    let forged = match begun.location() {
        Some(_) => begun,
        None => match forge(app, &alice, &begun, &shown_to_mallory).await {
            Some(answer) => answer,
            None => return Outcome::Refused,
        },
    };
    let link = forged.location().unwrap();
    let landed = alice.open(app, &provider.log_in("alice", link)).await;
    mallory_redeems(app, &client, landed.location()).await
}

/// Every way to say yes for somebody else; gives the answer that was taken for a yes.
async fn forge(app: &App, alice: &Browser, hers: &Answer, mallorys: &Answer) -> Option<Answer> {
    let mut from_evil = alice.clone().sending("origin", "http://evil.example");
    let tries = [
        alice.clone().decide(app, mallorys, "approve").await,
        from_evil.decide(app, hers, "approve").await,
        Browser::default().decide(app, mallorys, "approve").await,
    ];
    tries.into_iter().find(|answer| answer.location().is_some())
}

fn naive_world() -> (App, Arc<ScriptedProvider>) {
    let provider = Arc::new(ScriptedProvider::default());
    (naive::app(&provider), provider)
}

#[tokio::test]
async fn a_captured_link_to_the_provider_gives_nobody_a_code() {
    let (app, provider) = naive_world();
    assert_eq!(captured_link(&app, &provider).await, Outcome::Won, "the attack works where it can");
    let world = World::new().await;
    assert_eq!(captured_link(&world.app, &world.provider).await, Outcome::Refused);
    assert_eq!(world.provider.redemptions(), 0, "the provider's code was not even looked at");
}

#[tokio::test]
async fn a_start_link_stops_at_the_consent_page() {
    let (app, provider) = naive_world();
    assert_eq!(start_link(&app, &provider).await, Outcome::Won, "the attack works where it can");
    let world = World::new().await;
    assert_eq!(start_link(&world.app, &world.provider).await, Outcome::Refused);
    assert_eq!(world.provider.authorizations(), 0, "the provider was not contacted");
}

#[tokio::test]
async fn an_approval_cannot_be_forged() {
    let (app, provider) = naive_world();
    assert_eq!(
        forged_approval(&app, &provider).await,
        Outcome::Won,
        "the attack works where it can"
    );
    let world = World::new().await;
    assert_eq!(forged_approval(&world.app, &world.provider).await, Outcome::Refused);
    assert_eq!(world.provider.authorizations(), 0);
}

#[tokio::test]
async fn a_captured_login_is_void_afterwards_even_for_the_right_browser() {
    let world = World::new().await;
    let client = world.public_client(THEIRS).await;
    let mut mallory = Browser::default();
    let page = mallory.open(&world.app, &authorize_url(&client, &[])).await;
    let link = mallory.decide(&world.app, &page, "approve").await;
    let callback = world.provider.log_in("alice", link.location().unwrap());
    let elsewhere = Browser::default().open(&world.app, &callback).await;
    assert!(elsewhere.is_page(403), "{elsewhere:?}");
    let again = mallory.open(&world.app, &callback).await;
    assert!(again.is_page(400), "burned: {again:?}");
}

#[tokio::test]
async fn a_forged_consent_form_changes_nothing() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let mut alice = Browser::default();
    let page = alice.open(&world.app, &authorize_url(&client, &[])).await;
    let rows = [
        (alice.clone().sending("origin", "http://evil.example"), "another origin"),
        (alice.clone().sending("origin", "null"), "a sandboxed frame"),
        (alice.clone().sending("sec-fetch-site", "cross-site"), "cross-site"),
        (alice.clone().sending("sec-fetch-site", "same-site"), "a sibling site"),
        (Browser::default(), "no cookie"),
    ];
    for (mut forger, reason) in rows {
        let cookies = forger.cookies().len();
        let answer = forger.decide(&world.app, &page, "approve").await;
        assert!(answer.is_page(403), "{reason}: {answer:?}");
        assert_eq!(forger.cookies().len(), cookies, "{reason}: no cookie is set");
    }
    assert_eq!(world.provider.authorizations(), 0);
    // The page is still good for the person it was shown to.
    assert_eq!(alice.decide(&world.app, &page, "approve").await.status, 303);
}

#[tokio::test]
async fn a_tampered_consent_form_is_not_ours() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let mut alice = Browser::default();
    let page = alice.open(&world.app, &authorize_url(&client, &[])).await;
    let consent = page.input("consent").unwrap();
    let mut flipped = consent.clone().into_bytes();
    flipped[40] = if flipped[40] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).unwrap();
    for (text, reason) in [(flipped.as_str(), "flipped"), ("", "empty"), ("junk!", "junk")] {
        let form = [("consent", text), ("decision", "approve")];
        let answer = alice.post(&world.app, "/consent", &form).await;
        assert!(answer.is_page(403), "{reason}: {answer:?}");
    }
    let nothing = alice.post(&world.app, "/consent", &[("consent", &consent)]).await;
    assert!(nothing.is_page(400), "neither yes nor no: {nothing:?}");
}

#[tokio::test]
async fn a_forged_binding_cookie_is_not_the_browser() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let mut alice = Browser::default();
    let page = alice.open(&world.app, &authorize_url(&client, &[])).await;
    assert!(
        !alice.cookies().keys().any(|name| name.contains("login")),
        "the binding cookie is absent before approval"
    );
    let link = alice.decide(&world.app, &page, "approve").await;
    let name = alice.cookies().keys().find(|name| name.contains("login")).unwrap().clone();
    alice.cookies_mut().insert(name, "0".repeat(64));
    let callback = world.provider.log_in("alice", link.location().unwrap());
    assert!(alice.open(&world.app, &callback).await.is_page(403));
}

#[tokio::test]
async fn a_login_cannot_be_finished_with_somebody_elses_code() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let url = authorize_url(&client, &[]);
    let mut alice = Browser::default();
    let page = alice.open(&world.app, &url).await;
    let hers = alice.decide(&world.app, &page, "approve").await;
    let mut mallory = Browser::default();
    let page = mallory.open(&world.app, &url).await;
    let theirs = mallory.decide(&world.app, &page, "approve").await;

    // Mallory logs in at the provider and puts her code behind Alice's state.
    let callback = world.provider.log_in("mallory", theirs.location().unwrap());
    let code = callback.split("code=").nth(1).unwrap().split('&').next().unwrap();
    let state = hers.parameter("state").unwrap();
    let injected = format!("/auth/callback?code={code}&state={state}&iss=https%3A%2F%2Fidp.test");
    let landed = alice.open(&world.app, &injected).await;
    assert_eq!(landed.parameter("code"), None, "PKCE and nonce at the provider do not match");
    assert_eq!(landed.parameter("error").as_deref(), Some("access_denied"));
}

#[tokio::test]
async fn the_provider_sees_a_state_of_our_own() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let mut seen = std::collections::HashSet::new();
    for number in 0..1000 {
        let state = format!("client-state-{number}");
        let mut browser = Browser::default();
        let page = browser.open(&world.app, &authorize_url(&client, &[("state", &state)])).await;
        let sent = browser.decide(&world.app, &page, "approve").await;
        let ours = sent.parameter("state").unwrap();
        assert!(ours.len() >= 32 && ours.bytes().all(|byte| byte.is_ascii_hexdigit()), "{ours}");
        assert_ne!(ours, state);
        assert!(seen.insert(ours), "never twice");
    }
}

#[tokio::test]
async fn no_state_in_means_no_state_out() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let url = authorize_url(&client, &[("state", "")]);
    let answer = world.log_in(&mut Browser::default(), "alice", &url).await;
    assert!(answer.parameter("code").is_some());
    assert_eq!(answer.parameters("state"), Vec::<String>::new());
}

#[tokio::test]
async fn a_person_or_the_provider_saying_no_reaches_the_client() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let mut browser = Browser::default();
    let page = browser.open(&world.app, &authorize_url(&client, &[])).await;
    let denied = browser.decide(&world.app, &page, "deny").await;
    assert_eq!(denied.status, 303);
    assert_eq!(denied.parameter("error").as_deref(), Some("access_denied"));
    assert_eq!(denied.parameter("state").as_deref(), Some("client-state"));
    assert_eq!(denied.parameter("iss").as_deref(), Some(ISSUER));

    let rows = [
        ("access_denied", "access_denied"),
        ("login_required", "access_denied"),
        ("temporarily_unavailable", "temporarily_unavailable"),
        ("<script>alert(1)</script>", "server_error"),
    ];
    for (said, heard) in rows {
        let page = browser.open(&world.app, &authorize_url(&client, &[])).await;
        let link = browser.decide(&world.app, &page, "approve").await;
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("error", said)
            .append_pair("error_description", "secret text of the provider")
            .append_pair("state", &link.parameter("state").unwrap())
            .append_pair("iss", "https://idp.test")
            .finish();
        let answer = browser.open(&world.app, &format!("/auth/callback?{query}")).await;
        assert_eq!(answer.parameter("error").as_deref(), Some(heard), "{said}");
        assert_eq!(answer.parameter("state").as_deref(), Some("client-state"));
        assert_eq!(answer.parameter("iss").as_deref(), Some(ISSUER));
        assert!(
            !answer.location().unwrap().contains("secret"),
            "the provider's text is not echoed"
        );
        assert!(!answer.location().unwrap().contains("alert"));
    }
    assert_eq!(world.provider.redemptions(), 0);
}

#[tokio::test]
async fn a_failing_provider_reaches_the_client_in_oauths_words() {
    let rows = [
        (Fault::Down, "temporarily_unavailable"),
        (Fault::Wrong, "server_error"),
        (Fault::Refuses, "access_denied"),
    ];
    for (fault, heard) in rows {
        let world = World::new().await;
        let client = world.public_client("https://app.example/cb").await;
        let mut browser = Browser::default();
        let page = browser.open(&world.app, &authorize_url(&client, &[])).await;
        let link = browser.decide(&world.app, &page, "approve").await;
        let callback = world.provider.log_in("alice", link.location().unwrap());
        world.provider.set_fault(Some(fault));
        let answer = browser.open(&world.app, &callback).await;
        assert_eq!(answer.parameter("error").as_deref(), Some(heard), "{fault:?}");
        assert_eq!(answer.parameter("state").as_deref(), Some("client-state"));
        assert_eq!(answer.parameter("iss").as_deref(), Some(ISSUER));
    }
    // Down already when the person says yes.
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    world.provider.set_fault(Some(Fault::Down));
    let mut browser = Browser::default();
    let page = browser.open(&world.app, &authorize_url(&client, &[])).await;
    let answer = browser.decide(&world.app, &page, "approve").await;
    assert_eq!(answer.parameter("error").as_deref(), Some("temporarily_unavailable"));
}

#[tokio::test]
async fn a_callback_that_names_no_login_is_a_page() {
    let world = World::new().await;
    let long = "s".repeat(60 * 1024);
    let rows = [
        ("/auth/callback".to_owned(), "nothing"),
        ("/auth/callback?code=c".to_owned(), "no state"),
        ("/auth/callback?state=s".to_owned(), "no code"),
        ("/auth/callback?code=c&state=unknown&iss=https%3A%2F%2Fidp.test".to_owned(), "unknown"),
        ("/auth/callback?code=c&state=a&state=b".to_owned(), "two states"),
        ("/auth/callback?error=access_denied&state=unknown".to_owned(), "an error for nobody"),
        (format!("/auth/callback?code=c&state={}", "00".repeat(32)), "well formed, unknown"),
        (format!("/auth/callback?code=c&state={long}"), "60 kB"),
    ];
    for (url, reason) in rows {
        let answer = Browser::default().open(&world.app, &url).await;
        assert!(answer.is_page(400), "{reason}: {answer:?}");
    }
}

#[tokio::test]
async fn a_login_is_finished_once() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let mut browser = Browser::default();
    let page = browser.open(&world.app, &authorize_url(&client, &[])).await;
    let link = browser.decide(&world.app, &page, "approve").await;
    let callback = world.provider.log_in("alice", link.location().unwrap());
    let at_once = (0..20).map(|_| {
        let (mut browser, app, callback) = (browser.clone(), world.app.clone(), callback.clone());
        tokio::spawn(async move { browser.open(&app, &callback).await })
    });
    let mut answers = Vec::new();
    for task in at_once.collect::<Vec<_>>() {
        answers.push(task.await.unwrap());
    }
    let codes = answers.iter().filter(|answer| answer.parameter("code").is_some()).count();
    assert_eq!(codes, 1);
    assert_eq!(answers.iter().filter(|answer| answer.is_page(400)).count(), 19);
    assert!(browser.open(&world.app, &callback).await.is_page(400), "and later neither");
}

#[tokio::test]
async fn a_login_and_a_consent_page_grow_too_old() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let ten_minutes = std::time::Duration::from_secs(600);
    let mut browser = Browser::default();
    let page = browser.open(&world.app, &authorize_url(&client, &[])).await;
    let link = browser.decide(&world.app, &page, "approve").await;
    let callback = world.provider.log_in("alice", link.location().unwrap());
    world.clock.advance(ten_minutes);
    assert!(browser.open(&world.app, &callback).await.is_page(400), "the login");
    assert!(browser.decide(&world.app, &page, "approve").await.is_page(400), "the page");
}

#[tokio::test]
async fn two_tabs_do_not_disturb_each_other() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let mut browser = Browser::default();
    let first = browser.open(&world.app, &authorize_url(&client, &[("state", "1")])).await;
    let second = browser.open(&world.app, &authorize_url(&client, &[("state", "2")])).await;
    let first = browser.decide(&world.app, &first, "approve").await;
    let second = browser.decide(&world.app, &second, "approve").await;
    let second = world.provider.log_in("alice", second.location().unwrap());
    let first = world.provider.log_in("alice", first.location().unwrap());
    let first = browser.open(&world.app, &first).await;
    let second = browser.open(&world.app, &second).await;
    for (answer, state) in [(first, "1"), (second, "2")] {
        assert!(answer.parameter("code").is_some(), "{answer:?}");
        assert_eq!(answer.parameter("state").as_deref(), Some(state));
    }
    assert!(!browser.cookies().keys().any(|name| name.contains("login")), "both cookies are gone");
}

#[tokio::test]
async fn an_answer_of_another_provider_is_not_looked_at() {
    let rows = [
        ("&iss=https%3A%2F%2Fevil.test", "another provider"),
        ("", "none, though it is advertised"),
        ("&iss=https%3A%2F%2Fidp.test&iss=https%3A%2F%2Fidp.test", "two"),
        ("&iss=https%3A%2F%2Fidp.test%2F", "a slash more"),
    ];
    for (iss, reason) in rows {
        let world = World::new().await;
        let client = world.public_client("https://app.example/cb").await;
        let mut browser = Browser::default();
        let page = browser.open(&world.app, &authorize_url(&client, &[])).await;
        let link = browser.decide(&world.app, &page, "approve").await;
        let callback = world.provider.log_in("alice", link.location().unwrap());
        let (start, _) = callback.split_once("&iss=").unwrap();
        let answer = browser.open(&world.app, &format!("{start}{iss}")).await;
        assert!(answer.is_page(400), "{reason}: {answer:?}");
        assert_eq!(world.provider.redemptions(), 0, "{reason}");
    }
}

#[tokio::test]
async fn every_step_is_sealed_against_framing_caching_and_leaking() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let mut browser = Browser::default();
    let consent = browser.open(&world.app, &authorize_url(&client, &[])).await;
    let link = browser.decide(&world.app, &consent, "approve").await;
    let error = browser.open(&world.app, "/auth/callback").await;
    let callback = world.provider.log_in("alice", link.location().unwrap());
    let back = browser.open(&world.app, &callback).await;
    let wrong =
        browser.open(&world.app, &authorize_url(&client, &[("response_type", "token")])).await;
    let rows = [
        (&consent, "same-origin", "the consent page"),
        (&error, "no-referrer", "an error page"),
        (&link, "no-referrer", "to the provider"),
        (&back, "no-referrer", "back to the client"),
        (&wrong, "no-referrer", "an error to the client"),
    ];
    for (answer, referrer, what) in rows {
        assert_eq!(answer.header("referrer-policy"), referrer, "{what}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{what}");
        assert!(
            answer.header("content-security-policy").contains("frame-ancestors 'none'"),
            "{what}"
        );
        assert!(!answer.header("content-security-policy").contains("form-action"), "{what}");
        assert_eq!(answer.header("cache-control"), "no-store", "{what}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{what}");
        assert_eq!(answer.header("access-control-allow-origin"), "", "{what}");
        assert!(answer.status == 303 || answer.location().is_none(), "{what}: never 307");
    }
}
