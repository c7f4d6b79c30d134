//! `POST /token`: group D of the attacks, A1, A2, A16 to A20.

use std::time::Duration;

use base64::Engine as _;
use testkit::world::{ISSUER, VERIFIER, tokens};
use testkit::{RegisteredClient, World};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn code_form(client: &RegisteredClient, code: &str) -> String {
    form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "authorization_code")
        .append_pair("code", code)
        .append_pair("redirect_uri", &client.redirect_uri)
        .append_pair("code_verifier", VERIFIER)
        .append_pair("client_id", &client.id)
        .finish()
}

#[tokio::test]
async fn an_answer_has_the_shape_of_the_rfc() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let code = world.code(&client, "alice").await;
    assert_eq!(code.len(), "mcp_".len() + 32);
    let answer = world.redeem(&client, &code, VERIFIER).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    let document = answer.json();
    assert_eq!(document["token_type"], "Bearer");
    assert_eq!(document["expires_in"], 3600);
    assert_eq!(document["scope"], "fortune");
    let tokens = tokens(&answer);
    assert!(tokens.access.starts_with("mcp_") && tokens.access.len() == 4 + 64);
    assert!(tokens.refresh.starts_with("mcpr_") && tokens.refresh.len() == 5 + 64);
    let error = world.redeem(&client, "mcp_none", VERIFIER).await;
    assert_eq!((error.status.as_u16(), error.error().as_str()), (400, "invalid_grant"));
    assert_eq!(error.header("cache-control"), "no-store");
}

#[tokio::test]
async fn a_wrong_verifier_is_refused_and_does_not_use_the_code_up() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let code = world.code(&client, "alice").await;
    let wrong = VERIFIER.replace('d', "e");
    let rows = [
        (wrong.as_str(), "invalid_grant", "wrong"),
        ("short", "invalid_grant", "short"),
        ("", "invalid_request", "missing"),
    ];
    for (verifier, error, reason) in rows {
        let answer = world.redeem(&client, &code, verifier).await;
        assert_eq!((answer.status.as_u16(), answer.error().as_str()), (400, error), "{reason}");
    }
    let tokens = tokens(&world.redeem(&client, &code, VERIFIER).await);
    assert_eq!(world.redeem(&client, &code, &wrong).await.error(), "invalid_grant");
    assert_eq!(world.call("/mcp", &tokens.access).await.status, 200, "a guess kills nothing");
}

#[tokio::test]
async fn a_replayed_code_kills_what_it_bought() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    for wait in [Duration::ZERO, Duration::from_secs(301)] {
        let code = world.code(&client, "alice").await;
        let tokens = tokens(&world.redeem(&client, &code, VERIFIER).await);
        world.clock.advance(wait);
        assert_eq!(world.redeem(&client, &code, VERIFIER).await.error(), "invalid_grant");
        assert_eq!(world.call("/mcp", &tokens.access).await.status, 401);
        assert_eq!(world.refresh(&client, &tokens.refresh).await.error(), "invalid_grant");
    }
}

#[tokio::test]
async fn a_code_raced_for_is_redeemed_once() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    for _ in 0..20 {
        let code = world.code(&client, "alice").await;
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let (app, client, code) = (world.app.clone(), client.clone(), code.clone());
                tokio::spawn(async move {
                    testkit::world::redeem(&app, &client, &code, VERIFIER).await.status
                })
            })
            .collect();
        let mut won = 0;
        for task in tasks {
            won += usize::from(task.await.unwrap() == 200);
        }
        assert_eq!(won, 1);
    }
}

#[tokio::test]
async fn a_code_is_bound_to_client_redirect_resource_and_time() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let mallory = world.public_client("https://app.example/cb").await;
    let code = world.code(&client, "alice").await;
    let good = code_form(&client, &code);
    let other =
        form_urlencoded::byte_serialize(b"http://localhost:8000/other/mcp").collect::<String>();
    let rows = [
        (code_form(&mallory, &code), "invalid_grant", "another client"),
        (
            good.replace("app.example%2Fcb", "app.example%2Fcc"),
            "invalid_grant",
            "another redirect URI",
        ),
        (format!("{good}&resource={other}"), "invalid_grant", "another resource"),
        (
            format!("{good}&resource=https%3A%2F%2Fevil.example"),
            "invalid_grant",
            "a foreign resource",
        ),
        (format!("{good}&code={code}"), "invalid_request", "a doubled parameter"),
    ];
    for (form, error, reason) in rows {
        let answer = world.post("/token", &[FORM], &form).await;
        assert_eq!((answer.status.as_u16(), answer.error().as_str()), (400, error), "{reason}");
    }
    let named =
        form_urlencoded::byte_serialize(format!("{ISSUER}/sse").as_bytes()).collect::<String>();
    let form = format!("{good}&resource={named}");
    assert_eq!(world.post("/token", &[FORM], &form).await.status, 200, "another name of the same");

    let code = world.code(&client, "alice").await;
    world.clock.advance(Duration::from_secs(299));
    let in_time = world.code(&client, "alice").await;
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.redeem(&client, &code, VERIFIER).await.error(), "invalid_grant", "300 s");
    assert_eq!(world.redeem(&client, &in_time, VERIFIER).await.status, 200);
}

#[tokio::test]
async fn a_code_without_redirect_uri_is_fine() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let code = world.code(&client, "alice").await;
    let form = format!(
        "grant_type=authorization_code&code={code}&code_verifier={VERIFIER}&client_id={}",
        client.id
    );
    assert_eq!(world.post("/token", &[FORM], &form).await.status, 200, "OAuth 2.1 dropped it");
}

#[tokio::test]
async fn a_client_proves_itself_or_is_refused() {
    let world = World::new().await;
    let client = world.confidential_client().await;
    let public = world.public_client("https://app.example/cb").await;
    let secret = client.secret.clone().unwrap();
    let basic = |id: &str, secret: &str| {
        let joined = base64::engine::general_purpose::STANDARD.encode(format!("{id}:{secret}"));
        format!("Basic {joined}")
    };
    let grant = "grant_type=refresh_token&refresh_token=mcpr_x";
    let rows = [
        (Some(basic(&client.id, &secret)), grant.to_owned(), 400, "invalid_grant", "Basic, right"),
        (
            None,
            format!("{grant}&client_id={}&client_secret={secret}", client.id),
            400,
            "invalid_grant",
            "post, right",
        ),
        (Some(basic(&client.id, "wrong")), grant.to_owned(), 401, "invalid_client", "wrong secret"),
        (
            Some(basic("unknown", &secret)),
            grant.to_owned(),
            401,
            "invalid_client",
            "unknown client",
        ),
        (Some("Basic !!!".into()), grant.to_owned(), 401, "invalid_client", "bad base64"),
        (Some("Basic Og==".into()), grant.to_owned(), 401, "invalid_client", "an empty id"),
        (Some("Basic bm8tY29sb24=".into()), grant.to_owned(), 401, "invalid_client", "no colon"),
        (Some("Basic JXp6OnM=".into()), grant.to_owned(), 401, "invalid_client", "a bad escape"),
        (Some("Bearer x".into()), grant.to_owned(), 401, "invalid_client", "another scheme"),
        (None, format!("{grant}&client_id={}", client.id), 401, "invalid_client", "no secret"),
        (None, format!("{grant}&client_id="), 401, "invalid_client", "nobody"),
        (None, format!("{grant}&client_id=unknown"), 401, "invalid_client", "unknown, public"),
        (
            None,
            format!("{grant}&client_id={}&client_secret=x", public.id),
            401,
            "invalid_client",
            "a secret for a public client",
        ),
        (
            Some(basic(&client.id, &secret)),
            format!("{grant}&client_id={}&client_secret={secret}", client.id),
            400,
            "invalid_request",
            "two methods",
        ),
    ];
    for (authorization, form, status, error, reason) in rows {
        let mut headers = vec![FORM];
        headers.extend(authorization.as_deref().map(|value| ("authorization", value)));
        let answer = world.post("/token", &headers, &form).await;
        assert_eq!((answer.status.as_u16(), answer.error().as_str()), (status, error), "{reason}");
        let challenged = answer.header("www-authenticate").starts_with("Basic");
        assert_eq!(challenged, status == 401 && authorization.is_some(), "{reason}");
    }
}

#[tokio::test]
async fn a_request_must_be_one_form() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let code = world.code(&client, "alice").await;
    let good = code_form(&client, &code);
    let json = format!("{{\"grant_type\":\"authorization_code\",\"code\":\"{code}\"}}");
    let large = format!("{good}&x={}", "x".repeat(1024 * 1024));
    let query = format!("/token?{good}");
    let rows = [
        ("/token", vec![("content-type", "application/json")], json.as_str(), 400, "JSON"),
        ("/token", vec![("content-type", "text/plain")], good.as_str(), 400, "text"),
        ("/token", vec![], good.as_str(), 400, "no content type"),
        (query.as_str(), vec![FORM], "", 400, "in the query"),
        ("/token", vec![FORM], large.as_str(), 413, "1 MB"),
        ("/token", vec![FORM], "", 400, "empty"),
    ];
    for (path, headers, body, status, reason) in rows {
        let answer = world.post(path, &headers, body).await;
        assert_eq!(answer.status.as_u16(), status, "{reason}: {}", answer.body);
        assert_eq!(answer.error(), "invalid_request", "{reason}");
    }
    let basic = |pair: &str| {
        format!("Basic {}", base64::Engine::encode(&base64::prelude::BASE64_STANDARD, pair))
    };
    let (first, second) = (basic(&format!("{}:", client.id)), basic("other:secret"));
    let doubled = [FORM, ("authorization", first.as_str()), ("authorization", second.as_str())];
    for path in ["/token", "/revoke", "/introspect"] {
        let answer = world.post(path, &doubled, &good).await;
        let said = (answer.status.as_u16(), answer.error());
        assert_eq!(said, (400, "invalid_request".to_owned()), "{path}: two clients at once");
    }
    let charset = [("content-type", "application/x-www-form-urlencoded; charset=UTF-8")];
    assert_eq!(world.post("/token", &charset, &good).await.status, 200, "with a charset");
}

#[tokio::test]
async fn other_grants_do_not_exist() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    for grant in ["password", "urn:ietf:params:oauth:grant-type:jwt-bearer", "implicit"] {
        let form =
            [("grant_type", grant), ("username", "a"), ("password", "b"), ("assertion", "c")];
        let answer = world.post_as(&client, "/token", &form).await;
        assert_eq!(
            (answer.status.as_u16(), answer.error().as_str()),
            (400, "unsupported_grant_type")
        );
    }
}

#[tokio::test]
async fn a_client_that_did_not_register_for_refresh_gets_no_refresh_token() {
    let world = World::new().await;
    let metadata = serde_json::json!({
        "redirect_uris": ["https://app.example/cb"],
        "grant_types": ["authorization_code"],
        "token_endpoint_auth_method": "none",
    });
    let registered = world.register(&metadata).await.json();
    let client = RegisteredClient {
        id: registered["client_id"].as_str().unwrap().into(),
        secret: None,
        redirect_uri: "https://app.example/cb".into(),
    };
    let code = world.code(&client, "alice").await;
    let answer = world.redeem(&client, &code, VERIFIER).await.json();
    assert!(answer.get("refresh_token").is_none());
    let refresh = world.refresh(&client, "mcpr_x").await;
    assert_eq!((refresh.status.as_u16(), refresh.error().as_str()), (400, "unauthorized_client"));
}
