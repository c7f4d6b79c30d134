//! `grant_type=client_credentials`: machines without a browser.

use std::time::Duration;

use sekisho::clock::Timestamp;
use sekisho::store::{Client, ClientOrigin};
use sekisho_protocol::Secret;
use sekisho_protocol::oauth::{
    ClientId, ClientMetadata, RegisteredRedirectUri, ScopeSet, TokenEndpointAuthMethod,
};
use testkit::world::authorize_url;
use testkit::{Browser, RegisteredClient, World};

const SECRET: &str = "the-secret-of-a-machine";

fn client(id: &str, scopes: &[&'static str]) -> Client {
    let now = Timestamp::from_unix_seconds(0);
    Client {
        id: ClientId::new(id),
        metadata: ClientMetadata {
            client_name: Some("Nightly".into()),
            redirect_uris: Vec::new(),
            token_endpoint_auth_method: TokenEndpointAuthMethod::ClientSecretBasic,
            refreshes: false,
            scope: ScopeSet::of(scopes.iter().copied()),
            client_uri: None,
            keys: None,
            acts_alone: true,
        },
        secret: Some(Secret::new(SECRET).hash()),
        secret_expires_at: None,
        created_at: now,
        origin: ClientOrigin::Preregistered,
        last_used_at: now,
    }
}

fn credentials(id: &str) -> RegisteredClient {
    RegisteredClient { id: id.into(), secret: Some(SECRET.into()), redirect_uri: String::new() }
}

/// A world with the machine `nightly` in its settings and `stored` in its store.
async fn world() -> World {
    let mut builder = World::builder();
    builder.settings.clients = vec![client("nightly", &["fortune", "other"])];
    let world = builder.build().await;
    world.store.register_client(&client("stored", &["fortune"])).await.unwrap();
    world
}

const GRANT: (&str, &str) = ("grant_type", "client_credentials");

#[tokio::test]
async fn a_machine_gets_a_token_of_its_own_and_no_refresh_token() {
    let world = world().await;
    for id in ["nightly", "stored"] {
        let answer = world.post_as(&credentials(id), "/token", &[GRANT]).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.header("cache-control"), "no-store");
        let document = answer.json();
        assert_eq!(document["token_type"], "Bearer");
        assert_eq!(document["scope"], "fortune");
        assert_eq!(document["expires_in"], 3600);
        assert!(document.get("refresh_token").is_none(), "OAuth 2.1 §4.2.2");
        let token = document["access_token"].as_str().unwrap();
        let called = world.call("/mcp", token).await;
        assert_eq!(called.status, 200);
        assert_eq!(called.json()["subject"], id, "the subject is the client");
        assert_eq!(called.json()["client_id"], id);
        world.clock.advance(Duration::from_secs(3600));
        assert_eq!(world.call("/mcp", token).await.status, 401);
    }
}

#[tokio::test]
async fn a_machine_has_its_scopes_at_one_resource_and_no_more() {
    let world = world().await;
    let other = "http://localhost:8000/other/mcp";
    let rows: &[(&str, &[(&str, &str)], &str, &str)] = &[
        ("nightly", &[], "fortune", "what it has here"),
        ("nightly", &[("scope", "fortune stale")], "fortune", "unknown ones are dropped"),
        ("nightly", &[("resource", other)], "other", "what it has there, not all that is there"),
        ("nightly", &[("resource", other), ("scope", "more")], "invalid_scope", "not its own"),
        ("nightly", &[("resource", other), ("scope", "other more")], "invalid_scope", "one of two"),
        ("nightly", &[("scope", "other")], "invalid_scope", "of another server"),
        ("nightly", &[("scope", "a\"b")], "invalid_scope", "no scope"),
        ("nightly", &[("resource", "https://evil.example")], "invalid_target", "nobody's"),
        ("stored", &[("resource", other)], "invalid_scope", "it has none there"),
    ];
    for (id, form, expected, reason) in rows {
        let form: Vec<_> = std::iter::once(&GRANT).chain(*form).copied().collect();
        let answer = world.post_as(&credentials(id), "/token", &form).await;
        let document = answer.json();
        let said = document["scope"].as_str().or(document["error"].as_str()).unwrap();
        assert_eq!(said, *expected, "{reason}");
    }
    let form = [GRANT, ("resource", other)];
    let token = world.post_as(&credentials("nightly"), "/token", &form).await.json();
    let token = token["access_token"].as_str().unwrap();
    assert_eq!(world.call("/mcp", token).await.status, 401, "bound to the other server");
}

#[tokio::test]
async fn only_a_client_that_the_operator_made_for_it_acts_alone() {
    let world = world().await;
    let wrong = RegisteredClient { secret: Some("wrong".into()), ..credentials("nightly") };
    let none = RegisteredClient { secret: None, ..credentials("nightly") };
    let registered = world
        .register(&serde_json::json!({
            "redirect_uris": ["https://a.example/cb"],
            "grant_types": ["authorization_code", "client_credentials"],
        }))
        .await
        .json();
    let text = |name: &str| registered[name].as_str().unwrap().to_owned();
    let itself = RegisteredClient {
        id: text("client_id"),
        secret: Some(text("client_secret")),
        redirect_uri: String::new(),
    };
    let public = world.public_client("https://a.example/cb").await;
    let mut person = client("person", &["fortune"]);
    person.metadata.acts_alone = false;
    world.store.register_client(&person).await.unwrap();
    let rows = [
        (wrong, 401, "invalid_client", "a wrong secret"),
        (none, 401, "invalid_client", "no secret"),
        (itself, 400, "unauthorized_client", "a client that registered itself"),
        (public, 400, "unauthorized_client", "a public client"),
        (credentials("person"), 400, "unauthorized_client", "one that is for people"),
    ];
    for (client, status, error, reason) in rows {
        let answer = world.post_as(&client, "/token", &[GRANT]).await;
        assert_eq!((answer.status.as_u16(), answer.error().as_str()), (status, error), "{reason}");
    }
    // And it has no way to ask a person.
    let url = authorize_url(&credentials("nightly"), &[("redirect_uri", "https://a.example/cb")]);
    assert!(Browser::default().open(&world.app, &url).await.is_page(400));
}

#[tokio::test]
async fn a_removed_machine_is_refused_at_once() {
    let world = world().await;
    let answer = world.post_as(&credentials("stored"), "/token", &[GRANT]).await.json();
    let token = answer["access_token"].as_str().unwrap();
    let now = Timestamp::from_unix_seconds(0);
    assert!(world.store.remove_client(&ClientId::new("stored"), now).await.unwrap());
    assert_eq!(world.call("/mcp", token).await.status, 401);
    assert_eq!(world.post_as(&credentials("stored"), "/token", &[GRANT]).await.status, 401);
}

#[tokio::test]
async fn a_client_of_the_operator_logs_people_in_within_its_scopes() {
    let mut narrow = client("narrow", &["other"]);
    narrow.metadata.redirect_uris =
        vec![RegisteredRedirectUri::parse("https://narrow.example/cb").unwrap()];
    let mut builder = World::builder();
    builder.settings.clients = vec![narrow];
    let world = builder.build().await;
    let client = RegisteredClient {
        redirect_uri: "https://narrow.example/cb".into(),
        ..credentials("narrow")
    };
    let other = ("resource", "http://localhost:8000/other/mcp");
    let answer =
        world.log_in(&mut Browser::default(), "alice", &authorize_url(&client, &[other])).await;
    let code = answer.parameter("code").unwrap();
    let tokens = world.redeem(&client, &code, testkit::world::VERIFIER).await.json();
    assert_eq!(tokens["scope"], "other", "the server has `more`, and this client has not");

    let mut browser = Browser::default();
    let refused = browser.open(&world.app, &authorize_url(&client, &[])).await;
    assert_eq!(refused.parameter("error").as_deref(), Some("invalid_scope"), "nothing is left");
}

#[tokio::test]
async fn the_use_of_a_client_is_noted_now_and_then() {
    let world = World::new().await;
    let client = world.confidential_client().await;
    let id = ClientId::new(client.id.clone());
    let used = async || world.store.find_client(&id).await.unwrap().unwrap().last_used_at;
    let registered = used().await;
    world.tokens(&client, "alice").await;
    assert_eq!(used().await, registered, "it registered just now");
    world.clock.advance(Duration::from_secs(3600));
    let hour = registered.plus(Duration::from_secs(3600));
    assert_eq!(world.refresh(&client, "mcpr_none").await.status, 400);
    assert_eq!(used().await, registered, "what was refused is no use");
    world.tokens(&client, "alice").await;
    assert_eq!(used().await, hour);
    world.clock.advance(Duration::from_secs(3599));
    world.tokens(&client, "alice").await;
    assert_eq!(used().await, hour, "once in an hour is enough");
}
