//! The front layer as callers meet it: a small application behind it, asked over tower.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Extension};
use axum::routing::{any, get, post};
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::BodyExt as _;
use sekisho::front::{
    ClientAddress, Front, HostPolicy, OriginPolicy, READINESS_WAIT, Readiness, SLOW_STREAM_EVENTS,
    SLOW_STREAM_LONG_PAUSE, SLOW_STREAM_PATH, SLOW_STREAM_PAUSE, SLOW_STREAMS_MAX, Surfaces,
    TraceId, TrustedProxies, UNREAD_BYTES_MAX, UNREAD_WAIT, URI_BYTES_MAX,
};
use sekisho::identity_provider::{IdentityProvider, LoggedIn, LoginAttempt, ProviderError};
use sekisho::protocol::Secret;
use sekisho::protocol::oauth::Issuer;
use sekisho::store::{MemoryStore, Store as _, TableLimits};
use tokio::time::{Duration, Instant, sleep};
use tokio_util::sync::CancellationToken;
use tower::{Layer as _, ServiceExt as _};

const OUR_HOST: &str = "localhost:8000";

/// What browser clients put on their requests, in one revision or another.
const SENT_BY_CLIENTS: [&str; 9] = [
    "authorization",
    "content-type",
    "accept",
    "mcp-session-id",
    "mcp-protocol-version",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-param-x",
];

/// What they have to read from answers.
const READ_BY_CLIENTS: [&str; 4] =
    ["www-authenticate", "mcp-session-id", "mcp-protocol-version", "retry-after"];

/// An application whose MCP endpoint counts how often anyone got through to it.
struct World {
    app: Router,
    front: Front,
    reached: Arc<AtomicUsize>,
}

impl World {
    fn new() -> Self {
        let reached = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&reached);
        let mcp = any(move || {
            count.fetch_add(1, Ordering::SeqCst);
            async { (StatusCode::UNAUTHORIZED, [("www-authenticate", "Bearer")]) }
        });
        let app = Router::new()
            .route("/mcp", mcp)
            .route("/.well-known/oauth-authorization-server", get(|| async { "{}" }))
            .route("/token", post(|| async { "{}" }))
            .route("/authorize", get(|| async { "a page" }))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/whence", get(|Extension(ClientAddress(ip))| async move { ip.to_string() }))
            .route(
                "/trace",
                get(|Extension(id): Extension<TraceId>| async move {
                    assert_eq!(TraceId::current(), Some(id), "known without the extension too");
                    id.to_string()
                }),
            )
            .route("/panic", get(panics));
        let issuer = Issuer::parse("http://localhost:8000").unwrap();
        let front = Front::new(
            HostPolicy::new(&issuer, &[]).unwrap(),
            OriginPolicy::new(&issuer, &["https://app.example".into()]).unwrap(),
            Surfaces::new(["/mcp".into()]),
            TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]),
        );
        Self { app, front, reached }
    }

    /// A POST to the endpoint that refuses everybody and reads nothing.
    async fn post(&self, header: (&str, &str), version: Version, body: Body) -> Answer {
        let request = Request::post("/mcp").version(version).header("host", OUR_HOST);
        let request = request.header(header.0, header.1).body(body).unwrap();
        Answer::of(self.front.layer(self.app.clone()).oneshot(request).await.unwrap()).await
    }

    async fn ask(&self, method: Method, target: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method(method).uri(target);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", OUR_HOST);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let peer: SocketAddr = "10.1.2.3:4567".parse().unwrap();
        let request = request.extension(ConnectInfo(peer)).body(Body::empty()).unwrap();
        Answer::of(self.front.layer(self.app.clone()).oneshot(request).await.unwrap()).await
    }
}

async fn panics() -> &'static str {
    panic!("on purpose, by a test")
}

struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: String,
}

impl Answer {
    async fn of(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Self {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

#[tokio::test]
async fn a_foreign_host_reaches_nothing_but_the_health_check() {
    let world = World::new();
    let rows = [
        ("/mcp", "evil.example", 421, "a rebound name"),
        ("/authorize", "evil.example", 421, "a page"),
        ("/.well-known/oauth-authorization-server", "evil.example", 421, "a document"),
        ("/mcp", "a/?x", 400, "rubbish"),
        ("/healthz", "10.0.0.7:8000", 200, "an orchestrator asks by address"),
        ("/healthz/../mcp", "evil.example", 421, "no way around by the path"),
    ];
    for (path, host, expected, reason) in rows {
        let answer = world.ask(Method::GET, path, &[("host", host)]).await;
        assert_eq!(answer.status, expected, "{reason}");
    }
    let both = [("host", "evil.example"), ("origin", "http://evil.example")];
    for method in [Method::GET, Method::POST, Method::OPTIONS] {
        let answer = world.ask(method.clone(), "/mcp", &both).await;
        assert_eq!(answer.status, 421, "{method}: a rebound name with the origin to match");
    }
    assert_eq!(world.reached.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn behind_a_proxy_the_public_names_are_served_and_no_others() {
    let issuer = Issuer::parse("https://mcp.example.com").unwrap();
    let world = World::new();
    let front = Front::new(
        HostPolicy::new(&issuer, &["mcp.internal:8000".into()]).unwrap(),
        OriginPolicy::new(&issuer, &[]).unwrap(),
        Surfaces::new(["/mcp".into()]),
        TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]),
    );
    let world = World { front, ..world };
    let rows = [
        ("mcp.example.com", None, 401, "the public name"),
        ("mcp.internal:8000", None, 401, "a name in allowed_hosts"),
        ("mcp.example.com", Some("https://mcp.example.com"), 401, "a page of our own"),
        ("mcp.example.com", Some("https://mcp.internal:8000"), 403, "a host is no origin"),
        ("mcp.example.com.evil.example", None, 421, "a look-alike"),
        ("10.1.2.3:8000", None, 421, "the address behind the proxy"),
    ];
    for (host, origin, expected, reason) in rows {
        let mut headers = vec![("host", host), ("x-forwarded-host", "evil.example")];
        headers.extend(origin.map(|origin| ("origin", origin)));
        let answer = world.ask(Method::POST, "/mcp", &headers).await;
        assert_eq!(answer.status, expected, "{reason}");
    }
}

#[tokio::test]
async fn a_foreign_origin_is_refused_before_authentication() {
    let world = World::new();
    let rows = [
        (None, 401, "no browser"),
        (Some("http://localhost:6274"), 401, "the Inspector"),
        (Some("https://app.example"), 401, "listed"),
        (Some("https://evil.example"), 403, "a stranger"),
        (Some("null"), 403, "a sandboxed frame"),
        (Some("http://app.example"), 403, "http for https"),
        (Some("https://app.example.evil"), 403, "a look-alike"),
    ];
    for method in [Method::GET, Method::POST, Method::DELETE] {
        for (origin, expected, reason) in rows {
            let before = world.reached.load(Ordering::SeqCst);
            let headers: Vec<_> = origin.map(|origin| ("origin", origin)).into_iter().collect();
            let answer = world.ask(method.clone(), "/mcp", &headers).await;
            assert_eq!(answer.status, expected, "{method}: {reason}");
            let got_through = world.reached.load(Ordering::SeqCst) - before;
            assert_eq!(got_through, usize::from(expected == 401), "{method}: {reason}");
            if expected == 403 {
                let error: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
                assert_eq!(error["jsonrpc"], "2.0");
                assert_eq!(error.get("id"), None, "it answers no particular request");
                assert_eq!(answer.header("access-control-allow-origin"), None);
            }
        }
    }
}

#[tokio::test]
async fn a_preflight_is_answered_without_a_token_for_listed_origins_only() {
    let world = World::new();
    let rows = [
        ("/mcp", "https://app.example", 204, Some("https://app.example"), "listed"),
        ("/mcp", "http://localhost:6274", 204, Some("http://localhost:6274"), "loopback"),
        ("/token", "https://app.example", 204, Some("https://app.example"), "the token endpoint"),
        ("/mcp", "https://evil.example", 403, None, "a stranger"),
        ("/token", "https://evil.example", 403, None, "a stranger at the token endpoint"),
        (
            "/.well-known/oauth-authorization-server",
            "https://evil.example",
            204,
            Some("*"),
            "a public document",
        ),
        ("/authorize", "https://app.example", 405, None, "pages are not for scripts"),
        ("/consent", "https://app.example", 404, None, "pages are not for scripts"),
    ];
    for (path, origin, expected, allowed, reason) in rows {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,mcp-param-x,x-other"),
        ];
        let answer = world.ask(Method::OPTIONS, path, &headers).await;
        assert_eq!(answer.status, expected, "{path}: {reason}");
        assert_eq!(answer.header("access-control-allow-origin"), allowed, "{path}: {reason}");
        assert_eq!(answer.header("access-control-allow-credentials"), None);
        if expected == 204 {
            let names = answer.header("access-control-allow-headers").unwrap();
            for name in SENT_BY_CLIENTS {
                assert!(names.split(", ").any(|allowed| allowed == name), "{name} in {names}");
            }
            assert!(!names.contains("x-other"), "what no client needs is not allowed: {names}");
        }
    }
    assert_eq!(world.reached.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_answer_may_be_read_by_the_page_that_may_ask() {
    let world = World::new();
    let mcp = world.ask(Method::POST, "/mcp", &[("origin", "https://app.example")]).await;
    assert_eq!(mcp.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(mcp.header("vary"), Some("origin"));
    let exposed = mcp.header("access-control-expose-headers").unwrap();
    for name in READ_BY_CLIENTS {
        assert!(exposed.split(", ").any(|exposed| exposed == name), "{name} in {exposed}");
    }

    let token = world.ask(Method::POST, "/token", &[("origin", "https://evil.example")]).await;
    assert_eq!(token.header("access-control-allow-origin"), None, "answered, but not readable");
    assert_eq!(token.header("vary"), Some("origin"));

    let page = world.ask(Method::GET, "/authorize", &[("origin", "https://app.example")]).await;
    assert_eq!(page.header("access-control-allow-origin"), None);

    let document = "/.well-known/oauth-authorization-server";
    let document = world.ask(Method::GET, document, &[]).await;
    assert_eq!(document.header("access-control-allow-origin"), Some("*"));
}

#[tokio::test]
async fn only_a_trusted_proxy_says_where_a_request_comes_from() {
    let world = World::new();
    let headers = [("x-forwarded-for", "198.51.100.1, 203.0.113.9")];
    assert_eq!(world.ask(Method::GET, "/whence", &headers).await.body, "203.0.113.9");
    assert_eq!(world.ask(Method::GET, "/whence", &[]).await.body, "10.1.2.3");
}

#[tokio::test]
async fn forwarding_headers_of_a_host_are_never_read() {
    let world = World::new();
    for name in ["x-forwarded-host", "forwarded", "x-original-url", "x-forwarded-prefix"] {
        let answer = world.ask(Method::GET, "/authorize", &[(name, "host=evil.example")]).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "a page"), "{name}");
    }
    let headers = [("host", "evil.example"), ("x-forwarded-host", OUR_HOST)];
    assert_eq!(world.ask(Method::GET, "/authorize", &headers).await.status, 421);
}

#[tokio::test]
async fn every_request_has_a_trace_id_and_failed_answers_show_it() {
    let world = World::new();
    let id = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{id}-b7ad6b7169203331-01");
    let answer = world.ask(Method::GET, "/trace", &[("traceparent", &parent)]).await;
    assert_eq!(answer.body, id, "taken over");
    assert_eq!(answer.header("x-trace-id"), None, "a good answer needs none");

    let fresh = world.ask(Method::GET, "/trace", &[]).await.body;
    assert_eq!(fresh.len(), 32);
    let missing = world.ask(Method::GET, "/nowhere", &[("traceparent", &parent)]).await;
    assert_eq!((missing.status, missing.header("x-trace-id")), (404, Some(id)));
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_next_request_is_unharmed() {
    let world = World::new();
    let answer = world.ask(Method::GET, "/panic", &[]).await;
    assert_eq!(answer.status, 500);
    assert!(!answer.body.contains("on purpose"), "the message is for the log: {}", answer.body);
    assert!(answer.header("x-trace-id").is_some());
    assert_eq!(world.ask(Method::GET, "/authorize", &[]).await.status, 200);
}

/// Never says whether logins can work, and counts how often it was asked.
#[derive(Debug, Default)]
struct SilentProvider(AtomicUsize);

#[async_trait::async_trait]
impl IdentityProvider for SilentProvider {
    async fn authorization_url(&self, _: &LoginAttempt) -> Result<String, ProviderError> {
        std::future::pending().await
    }

    async fn is_answer_from_us(&self, _: Option<&str>) -> Result<bool, ProviderError> {
        std::future::pending().await
    }

    async fn redeem(&self, _: &Secret, _: &LoginAttempt) -> Result<LoggedIn, ProviderError> {
        std::future::pending().await
    }

    async fn check(&self) -> Result<(), ProviderError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn readiness_waits_for_nobody_for_long_and_asks_seldom() {
    let provider = Arc::new(SilentProvider::default());
    let store = Arc::new(MemoryStore::new(TableLimits::default()));
    let stopping = CancellationToken::new();
    let asked = Arc::clone(&provider);
    let readiness = Readiness::new(stopping.clone())
        .needing("store", move || {
            let store = Arc::clone(&store);
            async move { store.check().await.is_ok() }
        })
        .needing("identity_provider", move || {
            let provider = Arc::clone(&asked);
            async move { provider.check().await.is_ok() }
        });
    let routes = readiness.routes();
    let ask = |path: &'static str| {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let routes = routes.clone();
        async { Answer::of(routes.oneshot(request).await.unwrap()).await }
    };
    let began = tokio::time::Instant::now();
    let answers = [ask("/readyz").await, ask("/readyz").await];
    for answer in answers {
        assert_eq!(answer.status, 503);
        assert_eq!(answer.body, r#"{"status":"unavailable","failing":["identity_provider"]}"#);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    assert_eq!(began.elapsed().as_secs(), READINESS_WAIT.as_secs(), "bounded, and asked once");
    assert_eq!(provider.0.load(Ordering::SeqCst), 1);
    assert_eq!(ask("/healthz").await.status, 200, "we ourselves are fine");

    tokio::time::advance(READINESS_WAIT).await;
    ask("/readyz").await;
    assert_eq!(provider.0.load(Ordering::SeqCst), 2, "asked again after a while");

    stopping.cancel();
    let began = tokio::time::Instant::now();
    assert_eq!(ask("/readyz").await.body, r#"{"status":"unavailable","failing":["stopping"]}"#);
    assert!(began.elapsed().is_zero(), "at once");
}

#[tokio::test(start_paused = true)]
async fn the_slow_stream_is_slow_and_bounded_and_ends_with_the_server() {
    use http_body_util::BodyExt as _;
    let stopping = CancellationToken::new();
    let routes = Readiness::new(stopping.clone()).routes();
    let ask = async |query: &str| {
        let request = Request::builder().uri(format!("{SLOW_STREAM_PATH}{query}"));
        let request = request.header("host", "mcp.example").body(Body::empty()).unwrap();
        routes.clone().oneshot(request).await.unwrap()
    };
    let whole = async |answer: axum::response::Response| {
        String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().into()).unwrap()
    };
    for (query, takes) in
        [("", SLOW_STREAM_PAUSE * 3), ("?patient", SLOW_STREAM_PAUSE * 2 + SLOW_STREAM_LONG_PAUSE)]
    {
        let began = tokio::time::Instant::now();
        let body = whole(ask(query).await).await;
        let first = "data: {\"event\":1,\"forwarded_for\":\"absent\",\"host\":\"mcp.example\"}\n\n";
        assert!(body.starts_with(first), "{body}");
        assert_eq!(body.matches("data: ").count(), usize::from(SLOW_STREAM_EVENTS));
        let took = began.elapsed();
        assert!(took >= takes && took < takes + SLOW_STREAM_PAUSE, "{took:?}");
    }
    let mut open = Vec::new();
    for _ in 0..SLOW_STREAMS_MAX {
        open.push(ask("?patient").await);
    }
    let over = ask("").await;
    assert_eq!(
        (over.status().as_u16(), &over.headers()["retry-after"]),
        (429, &"5".parse().unwrap())
    );
    stopping.cancel();
    let began = tokio::time::Instant::now();
    for answer in open {
        assert_eq!(whole(answer).await.matches("data: ").count(), 1);
    }
    assert!(began.elapsed().is_zero(), "at once");
    assert_eq!(ask("").await.status(), 200, "there is room again");
}

#[tokio::test]
async fn a_url_has_a_longest_length() {
    let world = World::new();
    let fits = format!("/authorize?{}", "x".repeat(URI_BYTES_MAX - "/authorize?".len()));
    assert_eq!(world.ask(Method::GET, &fits, &[]).await.status, 200);
    assert_eq!(world.ask(Method::GET, &format!("{fits}x"), &[]).await.status, 414);
}

/// A body of which `bytes` come after `wait`, and its end with them.
fn late(bytes: u64, wait: Duration) -> Body {
    let bytes = vec![b' '; usize::try_from(bytes).unwrap()];
    Body::from_stream(futures::stream::once(async move {
        sleep(wait).await;
        Ok::<_, Infallible>(bytes)
    }))
}

/// RFC 9112 §9.6. A client that writes its head and its body one after the other is refused in between.
#[tokio::test(start_paused = true)]
async fn an_answer_given_before_its_body_arrived_ends_no_connection_without_a_word() {
    let soon = UNREAD_WAIT / 2;
    let plain = ("accept", "application/json");
    let exact = Body::from(vec![b' '; usize::try_from(UNREAD_BYTES_MAX).unwrap() + 1]);
    let rows = [
        (plain, Version::HTTP_11, late(20, soon), None, soon, "it was on its way"),
        (plain, Version::HTTP_11, late(UNREAD_BYTES_MAX, soon), None, soon, "no more than is read"),
        (
            plain,
            Version::HTTP_11,
            late(20, UNREAD_WAIT * 2),
            Some("close"),
            UNREAD_WAIT,
            "it does not come",
        ),
        (
            plain,
            Version::HTTP_11,
            late(UNREAD_BYTES_MAX + 1, soon),
            Some("close"),
            soon,
            "too much came",
        ),
        (plain, Version::HTTP_11, exact, Some("close"), Duration::ZERO, "too much is announced"),
        (
            ("expect", "100-continue"),
            Version::HTTP_11,
            late(20, soon),
            Some("close"),
            Duration::ZERO,
            "it waits for our word",
        ),
        (plain, Version::HTTP_2, late(20, soon), None, Duration::ZERO, "a stream of its own"),
        (plain, Version::HTTP_11, Body::empty(), None, Duration::ZERO, "there is none"),
    ];
    for (header, version, body, connection, took, reason) in rows {
        let began = Instant::now();
        let answer = World::new().post(header, version, body).await;
        assert_eq!(answer.status, 401, "{reason}");
        assert_eq!(answer.header("connection"), connection, "{reason}");
        assert_eq!(began.elapsed().as_millis(), took.as_millis(), "{reason}");
    }
}
