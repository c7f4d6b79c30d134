//! `GET /authorize`: group C of the attacks. A page until the return address is sure, then a redirect.

use serde_json::json;
use testkit::world::{ISSUER, authorize_url};
use testkit::{Browser, RegisteredClient, World};

async fn open(world: &World, url: &str) -> testkit::Answer {
    Browser::default().open(&world.app, url).await
}

#[tokio::test]
async fn an_error_reaches_the_client_with_state_and_iss() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let rows: &[(&[(&str, &str)], &str, &str)] = &[
        (&[("code_challenge", "")], "invalid_request", "no PKCE"),
        (&[("code_challenge_method", "plain")], "invalid_request", "plain"),
        (&[("code_challenge_method", "")], "invalid_request", "absent means plain"),
        (&[("code_challenge_method", "S512")], "invalid_request", "unknown"),
        (&[("response_type", "token")], "unsupported_response_type", "implicit"),
        (&[("response_type", "code token")], "unsupported_response_type", "hybrid"),
        (&[("response_mode", "fragment")], "invalid_request", "fragment"),
        (&[("request", "eyJ")], "request_not_supported", "request object"),
        (
            &[("request_uri", "http://127.0.0.1:1/canary")],
            "request_uri_not_supported",
            "by reference",
        ),
        (&[("scope", "unknown")], "invalid_scope", "unknown"),
        (&[("scope", "a\"\r\nb")], "invalid_scope", "syntax"),
        (&[("resource", "https://evil.example/mcp")], "invalid_target", "not ours"),
        (&[("resource", "mcp")], "invalid_target", "relative"),
        (&[("resource", "http://localhost:8000/mcp#f")], "invalid_target", "fragment"),
    ];
    for (changes, error, reason) in rows {
        let answer = open(&world, &authorize_url(&client, changes)).await;
        assert_eq!(answer.status, 303, "{reason}: {answer:?}");
        assert!(answer.location().unwrap().starts_with("https://app.example/cb?"), "{reason}");
        assert_eq!(answer.parameter("error").as_deref(), Some(*error), "{reason}");
        assert_eq!(answer.parameter("state").as_deref(), Some("client-state"), "{reason}");
        assert_eq!(answer.parameter("iss").as_deref(), Some(ISSUER), "{reason}");
    }
    assert_eq!(world.provider.authorizations(), 0);
}

#[tokio::test]
async fn doubled_parameters_are_refused() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let url = authorize_url(&client, &[]);
    for doubled in ["scope=fortune&scope=fortune", "code_challenge=x", "response_type=code"] {
        let answer = open(&world, &format!("{url}&{doubled}")).await;
        assert_eq!(answer.parameter("error").as_deref(), Some("invalid_request"), "{doubled}");
    }
    let state = open(&world, &format!("{url}&state=other")).await;
    assert_eq!(state.parameter("error").as_deref(), Some("invalid_request"));
    assert_eq!(state.parameters("state"), Vec::<String>::new(), "which of the two?");
    let client_id = open(&world, &format!("{url}&client_id={}", client.id)).await;
    assert!(client_id.is_page(400), "{client_id:?}");
    let redirect = open(&world, &format!("{url}&redirect_uri=https%3A%2F%2Fevil.example")).await;
    assert!(redirect.is_page(400), "{redirect:?}");
}

#[tokio::test]
async fn an_unsure_return_address_is_a_page() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let other = world.public_client("https://other.example/cb").await;
    let two = world
        .register(&json!({ "redirect_uris": ["https://a.example/1", "https://a.example/2"] }))
        .await;
    let two = RegisteredClient {
        id: two.json()["client_id"].as_str().unwrap().into(),
        secret: None,
        redirect_uri: String::new(),
    };
    let at = |uri| authorize_url(&client, &[("redirect_uri", uri)]);
    let rows = [
        (authorize_url(&client, &[("client_id", "unknown")]), "unknown client"),
        (authorize_url(&client, &[("client_id", "")]), "no client"),
        (authorize_url(&client, &[("redirect_uri", &other.redirect_uri)]), "another client's"),
        (authorize_url(&two, &[]), "omitted with two registered"),
        (at("https://app.example/cb/"), "trailing slash"),
        (at("https://app.example/CB"), "case"),
        (at("https://app.example/cb?x=1"), "added query"),
        (at("https://app.example/x/../cb"), "dot segments"),
        (at("https://app.example/%2e/cb"), "encoded dot"),
        (at("https://user@app.example/cb"), "userinfo"),
        (at("https://app.example@evil.example/cb"), "host behind userinfo"),
        (at("https://app.example:8443/cb"), "a port on https"),
        (at("https://app.example.evil/cb"), "a longer host"),
        (at("javascript:alert(1)"), "script"),
        (at("//app.example/cb"), "no scheme"),
    ];
    for (url, reason) in rows {
        // Whether the rest of the request is good or bad makes no difference.
        for url in [url.clone(), format!("{url}&request=x&scope=unknown")] {
            let answer = open(&world, &url).await;
            assert!(answer.is_page(400), "{reason}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_loopback_port_may_change_and_nothing_else() {
    let world = World::new().await;
    let rows = [
        ("http://127.0.0.1/cb", "http://127.0.0.1:49152/cb", true),
        ("http://localhost:3000/cb", "http://localhost:49152/cb", true),
        ("http://[::1]/cb", "http://[::1]:49152/cb", true),
        ("http://127.0.0.1/cb", "http://127.0.0.1:49152/other", false),
        ("http://127.0.0.1/cb", "http://localhost/cb", false),
        ("http://127.0.0.1/cb", "https://127.0.0.1/cb", false),
        ("http://127.0.0.1/cb", "http://127.0.0.1.evil/cb", false),
        ("http://127.0.0.1/cb", "http://[::ffff:127.0.0.1]/cb", false),
        ("http://127.0.0.1/cb", "http://2130706433/cb", false),
    ];
    for (registered, asked, accepted) in rows {
        let client = world.public_client(registered).await;
        let answer = open(&world, &authorize_url(&client, &[("redirect_uri", asked)])).await;
        assert!(answer.is_page(if accepted { 200 } else { 400 }), "{registered} {asked}");
    }
}

#[tokio::test]
async fn an_omitted_redirect_uri_is_the_only_registered_one() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let url = authorize_url(&client, &[("redirect_uri", "")]);
    let answer = world.log_in(&mut Browser::default(), "alice", &url).await;
    assert!(answer.location().unwrap().starts_with("https://app.example/cb?code="));
}

#[tokio::test]
async fn an_answer_has_one_of_each_whatever_the_redirect_uri_carries() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb?iss=x&code=y&state=z&keep=me").await;
    let answer = world.log_in(&mut Browser::default(), "alice", &authorize_url(&client, &[])).await;
    for name in ["iss", "code", "state", "keep"] {
        assert_eq!(answer.parameters(name).len(), 1, "{name}: {:?}", answer.location());
    }
    assert_eq!(answer.parameter("iss").as_deref(), Some(ISSUER));
    let denied = open(&world, &authorize_url(&client, &[("response_type", "token")])).await;
    assert_eq!(denied.parameters("iss"), [ISSUER]);
    assert_eq!(denied.parameters("code"), Vec::<String>::new());
}

#[tokio::test]
async fn a_private_use_scheme_gets_its_answer_by_redirect_too() {
    let world = World::new().await;
    let client = world.public_client("cursor://anysphere.cursor-mcp/oauth/callback").await;
    let answer = world.log_in(&mut Browser::default(), "alice", &authorize_url(&client, &[])).await;
    assert_eq!(answer.status, 303);
    assert!(
        answer
            .location()
            .unwrap()
            .starts_with("cursor://anysphere.cursor-mcp/oauth/callback?code=mcp_")
    );
}

#[tokio::test]
async fn the_consent_page_says_who_what_and_where_to() {
    let world = World::new().await;
    let hostile = json!({
        "client_name": "<img src=x onerror=alert(1)>\u{202e}nimda\n\n",
        "redirect_uris": ["http://127.0.0.1/cb"],
        "token_endpoint_auth_method": "none",
    });
    let registered = world.register(&hostile).await.json();
    let client = RegisteredClient {
        id: registered["client_id"].as_str().unwrap().into(),
        secret: None,
        redirect_uri: "http://127.0.0.1:5000/cb".into(),
    };
    let page = open(&world, &authorize_url(&client, &[])).await;
    assert!(page.body.contains("127.0.0.1:5000"), "where the answer goes");
    assert!(page.body.contains("fortune"), "the scope");
    assert!(!page.body.contains("<img") && !page.body.contains('\u{202e}'), "{}", page.body);
}
