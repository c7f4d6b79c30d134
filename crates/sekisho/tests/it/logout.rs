//! `/auth/logout`, where the provider tells us, and `/logout`, where a person does.

use std::time::Duration;

use http::StatusCode;
use sekisho::authorization_server::ConsentRule;
use sekisho::clock::Clock as _;
use testkit::scripted_provider::Fault;
use testkit::world::authorize_url;
use testkit::{Answer, Browser, World};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

async fn tell(world: &World, id: &str, person: &str, sid: &str) -> Answer {
    let ends_at = world.clock.now().plus(Duration::from_mins(5));
    let token = world.provider.logout_token(id, person, sid, ends_at);
    post(world, &token).await
}

async fn post(world: &World, token: &str) -> Answer {
    let body: String =
        form_urlencoded::Serializer::new(String::new()).append_pair("logout_token", token).finish();
    world.post("/auth/logout", &[FORM], &body).await
}

// --- the provider tells us ------------------------------------------------------------------------

#[tokio::test]
async fn a_logout_at_the_provider_ends_its_grants_at_once() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let at_work = world.tokens(&client, "alice").await;
    let [sid] = world.provider.sids_of("alice").try_into().unwrap();
    let at_home = world.tokens(&client, "alice").await;
    let bob = world.tokens(&client, "bob").await;
    let status = async |access: &str| world.call("/mcp", access).await.status;
    assert_eq!(status(&at_work.access).await, 200, "seen before");

    let answer = tell(&world, "m1", "alice", &sid).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(status(&at_work.access).await, 401, "that session");
    assert_eq!(world.refresh(&client, &at_work.refresh).await.error(), "invalid_grant");
    assert_eq!(status(&at_home.access).await, 200, "another session of alice's");

    assert_eq!(tell(&world, "m2", "alice", "").await.status, 200);
    assert_eq!(status(&at_home.access).await, 401, "all of alice's");
    assert_eq!(status(&bob.access).await, 200);
    assert_eq!(tell(&world, "m3", "nobody", "").await.status, 200, "nothing to end is fine");
}

#[tokio::test]
async fn a_code_on_its_way_is_worth_nothing_after_a_logout() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let code = world.code(&client, "alice").await;
    tell(&world, "m", "alice", "").await;
    let answer = world.redeem(&client, &code, testkit::world::VERIFIER).await;
    assert_eq!(answer.error(), "invalid_grant");
}

#[tokio::test]
async fn a_logout_that_is_played_again_ends_nothing() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let ends_at = world.clock.now().plus(Duration::from_mins(5));
    let token = world.provider.logout_token("m", "alice", "", ends_at);
    assert_eq!(post(&world, &token).await.status, 200);
    let later = world.tokens(&client, "alice").await;
    let again = post(&world, &token).await;
    assert_eq!((again.status.as_u16(), again.header("cache-control")), (400, "no-store"));
    assert_eq!(world.call("/mcp", &later.access).await.status, 200, "logged in since");
}

#[tokio::test]
async fn what_is_not_believed_is_400_and_tells_nothing() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let tokens = world.tokens(&client, "alice").await;
    let rows = [
        ("logout_token=forged", "not the provider's"),
        ("logout_token=", "empty"),
        ("", "nothing"),
        ("logout_token=a&logout_token=b", "two"),
        ("token=a", "another name"),
    ];
    for (body, reason) in rows {
        let answer = world.post("/auth/logout", &[FORM], body).await;
        assert_eq!(answer.status, 400, "{reason}");
        assert_eq!(answer.error(), "invalid_request", "{reason}");
        assert_eq!(answer.header("cache-control"), "no-store", "{reason}");
        assert!(!answer.body.contains("forged"), "{reason}");
    }
    let json = ("content-type", "application/json");
    assert_eq!(world.post("/auth/logout", &[json], "{}").await.status, 400, "no form");
    let large = format!("logout_token={}", "x".repeat(20_000));
    let answer = world.post("/auth/logout", &[FORM], &large).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    let get = Browser::default().open(&world.app, "/auth/logout?logout_token=x").await;
    assert_eq!(get.status, StatusCode::METHOD_NOT_ALLOWED, "nothing is read from a URL");
    assert_eq!(world.call("/mcp", &tokens.access).await.status, 200);
}

#[tokio::test]
async fn a_provider_whose_keys_cannot_be_had_is_told_to_come_again() {
    let world = World::new().await;
    world.provider.set_fault(Some(Fault::Down));
    let answer = tell(&world, "m", "alice", "").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!answer.header("retry-after").is_empty());
    world.provider.set_fault(None);
    assert_eq!(tell(&world, "m", "alice", "").await.status, 200, "the message was not used up");
}

#[tokio::test]
async fn forgers_are_slowed_and_the_provider_never_is() {
    let world = World::new().await;
    let address: std::net::IpAddr = [192, 0, 2, 7].into();
    let app = world.app.clone().layer(axum::Extension(sekisho::front::ClientAddress(address)));
    let world = World { app, ..world };
    let mut slowed = 0;
    for _ in 0..70 {
        let answer = post(&world, "forged").await;
        slowed += usize::from(answer.status == StatusCode::TOO_MANY_REQUESTS);
    }
    assert!((8..=10).contains(&slowed), "{slowed} of 70, with 60 a minute");
    let told = tell(&world, "m", "alice", "").await;
    assert_eq!(told.status, 200, "from the very same address");
}

// --- a person tells us ----------------------------------------------------------------------------

/// A browser where alice is known, and what the page said.
async fn known_browser() -> (World, Browser) {
    let mut builder = World::builder();
    builder.settings.consent = ConsentRule::Remember;
    let world = builder.build().await;
    let client = world.public_client("http://127.0.0.1:1/cb").await;
    let mut alice = Browser::default().sending("sec-fetch-site", "none");
    let code = world.log_in(&mut alice, "alice", &authorize_url(&client, &[])).await;
    let code = code.parameter("code").unwrap();
    assert_eq!(world.redeem(&client, &code, testkit::world::VERIFIER).await.status, 200);
    let again = alice.open(&world.app, &authorize_url(&client, &[])).await;
    assert_eq!(again.status, 303, "known, and asked nothing");
    (world, alice)
}

#[tokio::test]
async fn a_person_logs_out_here_and_at_the_provider() {
    let (world, mut alice) = known_browser().await;
    let browser = alice.clone();
    let page = alice.open(&world.app, "/logout").await;
    assert!(page.is_page(200), "asked first: {page:?}");
    let csrf = page.input("csrf").unwrap();
    let answer = alice.post(&world.app, "/logout", &[("csrf", &csrf)]).await;
    assert_eq!(answer.status, 303);
    assert!(answer.location().unwrap().starts_with("https://idp.test/logout?"), "{answer:?}");
    assert_eq!(answer.parameter("id_token_hint").as_deref(), Some("idp-id-token-of-alice"));
    let back = answer.parameter("post_logout_redirect_uri").unwrap();
    assert_eq!(back, "http://localhost:8000/logout");
    let state = answer.parameter("state").unwrap();
    let done = alice.open(&world.app, &format!("{back}?state={state}")).await;
    assert!(done.is_page(200) && done.input("csrf").is_none(), "nothing more to answer: {done:?}");

    assert!(!alice.cookies().keys().any(|name| name.contains("browser")), "{alice:?}");
    let client = world.public_client("http://127.0.0.1:1/cb").await;
    for mut browser in [alice, browser] {
        let page = browser.open(&world.app, &authorize_url(&client, &[])).await;
        assert!(page.is_page(200), "asked again, also with the old cookie: {page:?}");
    }
}

#[tokio::test]
async fn nobody_is_logged_out_by_another_site() {
    let (world, mut alice) = known_browser().await;
    let page = alice.open(&world.app, "/logout").await;
    let csrf = page.input("csrf").unwrap();
    let long = "0".repeat(64);
    let rows = [
        ("none", "", "no value"),
        ("none", "0000", "another value"),
        ("none", long.as_str(), "a value of the right form"),
        ("cross-site", csrf.as_str(), "posted by another site"),
        ("same-site", csrf.as_str(), "posted by a neighbour"),
    ];
    for (site, csrf, reason) in rows {
        let mut browser = alice.clone().sending("sec-fetch-site", site);
        let answer = browser.post(&world.app, "/logout", &[("csrf", csrf)]).await;
        assert!(answer.is_page(403), "{reason}: {answer:?}");
    }
    let mut stranger = Browser::default();
    let answer = stranger.post(&world.app, "/logout", &[("csrf", &csrf)]).await;
    assert!(answer.is_page(403), "without the cookie: {answer:?}");
    let client = world.public_client("http://127.0.0.1:1/cb").await;
    let asked = alice.open(&world.app, &authorize_url(&client, &[])).await;
    assert!(asked.is_page(200));
    let answer = alice.post(&world.app, "/logout", &[("csrf", &csrf)]).await;
    assert_eq!(answer.parameter("id_token_hint").as_deref(), Some("idp-id-token-of-alice"));
}

#[tokio::test]
async fn logging_out_works_without_a_provider_and_without_a_login() {
    let world = World::new().await;
    let mut somebody = Browser::default();
    let page = somebody.open(&world.app, "/logout").await;
    let csrf = page.input("csrf").unwrap();
    let answer = somebody.post(&world.app, "/logout", &[("csrf", &csrf)]).await;
    assert_eq!(answer.status, 303);
    assert_eq!(answer.parameter("id_token_hint"), None, "nobody was known here");

    let (world, mut alice) = known_browser().await;
    world.provider.set_fault(Some(Fault::Down));
    let page = alice.open(&world.app, "/logout").await;
    let csrf = page.input("csrf").unwrap();
    let answer = alice.post(&world.app, "/logout", &[("csrf", &csrf)]).await;
    assert!(answer.is_page(200), "here at least: {answer:?}");
    assert!(!alice.cookies().keys().any(|name| name.contains("browser")), "{alice:?}");
}
