//! What must never be read by anybody else: secrets in the log, answers in a cache.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use axum::Router;
use http::Request;
use sekisho::front::{Front, HostPolicy, OriginPolicy, Surfaces, TrustedProxies};
use sekisho_protocol::oauth::Issuer;
use testkit::world::{ISSUER, VERIFIER, authorize_url, tokens};
use testkit::{Answer, App, Browser, World};
use tower::Layer as _;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The world as it is served: with the front, which writes the access log.
fn served(world: &World) -> App {
    let issuer = Issuer::parse(ISSUER).unwrap();
    let front = Front::new(
        HostPolicy::new(&issuer, &[]).unwrap(),
        OriginPolicy::new(&issuer, &[]).unwrap(),
        Surfaces::new(["/mcp".into(), "/sse".into()]),
        TrustedProxies::new(vec![]),
    );
    Router::new().fallback_service(front.layer(world.app.clone()))
}

#[tokio::test]
async fn no_secret_reaches_the_log_at_any_level() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let listening = tracing::subscriber::set_default(subscriber);

    let mut world = World::new().await;
    world.app = served(&world);
    let client = world.confidential_client().await;
    let mut browser = Browser::default();
    let page = browser.open(&world.app, &authorize_url(&client, &[])).await;
    let to_provider = browser.decide(&world.app, &page, "approve").await;
    let cookies: Vec<_> = browser.cookies().values().cloned().collect();
    let callback = world.provider.log_in("alice", to_provider.location().unwrap());
    let back = browser.open(&world.app, &callback).await;
    let code = back.parameter("code").unwrap();
    let first = tokens(&world.redeem(&client, &code, VERIFIER).await);
    assert_eq!(world.call("/mcp", &first.access).await.status, 200);
    let second = tokens(&world.refresh(&client, &first.refresh).await);

    // Now everything that goes wrong with a secret in hand, since errors are what is logged most.
    world.post(&format!("/mcp?access_token={}", second.access), &[], "").await;
    world.post("/mcp", &[FORM], &format!("access_token={}", second.access)).await;
    world.redeem(&client, &code, VERIFIER).await;
    world.refresh(&client, &first.refresh).await;
    world.call("/other/mcp", &second.access).await;
    world.revoke(&client, &second.refresh).await;
    browser.open(&world.app, &callback).await;
    browser.decide(&world.app, &page, "neither").await;
    drop(listening);

    let log = log.text();
    for expected in ["registered", "approved, login begins", "tokens issued", "POST", "/mcp"] {
        assert!(log.contains(expected), "the log was listened to: {expected:?}\n{log}");
    }
    let state = to_provider.parameter("state").unwrap();
    let provider_code = callback.split("code=").nth(1).unwrap().split('&').next().unwrap();
    let secrets = [
        (client.secret.as_deref().unwrap(), "the client's secret"),
        (&code, "our code"),
        (VERIFIER, "the PKCE verifier"),
        (&first.access, "an access token"),
        (&first.refresh, "a refresh token"),
        (&second.access, "an access token that was in a query"),
        (&second.refresh, "a refresh token that was given back"),
        (&state, "our state"),
        (provider_code, "the provider's code"),
        (&page.input("consent").unwrap(), "the sealed request"),
    ];
    for (secret, what) in
        secrets.into_iter().chain(cookies.iter().map(|value| (value.as_str(), "a cookie")))
    {
        assert!(secret.len() > 5, "{what} is long enough to be found: {secret:?}");
        assert!(!log.contains(secret), "{what} is in the log:\n{log}");
    }
}

#[tokio::test]
async fn no_answer_of_the_token_endpoint_may_be_kept() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let id = client.id.as_str();
    let rows = [
        ("/token", format!("client_id={id}"), 400, "invalid_request"),
        ("/token", format!("grant_type=password&client_id={id}"), 400, "unsupported_grant_type"),
        ("/token", "grant_type=refresh_token&refresh_token=x".to_owned(), 401, "invalid_client"),
        (
            "/token",
            format!("grant_type=refresh_token&refresh_token=x&client_id={id}"),
            400,
            "invalid_grant",
        ),
        ("/token", "x".repeat(1024 * 1024), 413, "invalid_request"),
        ("/revoke", format!("client_id={id}"), 400, "invalid_request"),
        ("/revoke", "token=x".to_owned(), 401, "invalid_client"),
    ];
    for (path, form, status, error) in rows {
        let answer = world.post(path, &[FORM], &form).await;
        assert_eq!((answer.status.as_u16(), answer.error().as_str()), (status, error), "{path}");
        assert_eq!(answer.header("content-type"), "application/json", "{error}");
        assert_eq!(answer.header("cache-control"), "no-store", "{error}");
    }
}

#[tokio::test]
async fn a_page_of_another_origin_reads_documents_and_no_decision() {
    let mut world = World::new().await;
    world.app = served(&world);
    let loopback = "http://localhost:6274";
    let rows = [
        ("GET", "/.well-known/oauth-authorization-server", true, "a document"),
        ("GET", "/.well-known/oauth-protected-resource/mcp", true, "a document"),
        ("POST", "/token", true, "a client in a page"),
        ("POST", "/register", true, "a client in a page"),
        ("POST", "/mcp", true, "the guarded endpoint, from a listed origin"),
        ("GET", "/authorize", false, "for people"),
        ("POST", "/consent", false, "for people"),
        ("GET", "/auth/callback", false, "for people"),
    ];
    for (method, path, may_be_read, reason) in rows {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost:8000")
            .header("origin", loopback)
            .body(axum::body::Body::empty())
            .unwrap();
        let answer = Answer::to(&world.app, request).await;
        let allowed = answer.header("access-control-allow-origin");
        assert_eq!(!allowed.is_empty(), may_be_read, "{path}: {reason}: {allowed:?}");
        assert_eq!(answer.header("access-control-allow-credentials"), "", "{path}");
    }
}
