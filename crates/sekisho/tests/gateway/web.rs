//! Servers at a port of this machine, which write down every byte they get; and the gateway itself
//! at one, for clients that are somebody.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt as _;
use sekisho::clock::SystemClock;
use sekisho::gateway::Gateway;
use sekisho::mcp::{McpEndpoints, McpService, Settings};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::child::Scripted;
use crate::rig::caller;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    async fn of(request: Request) -> Self {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let path = head.uri.to_string();
        Self { method: head.method, path, headers: head.headers, body }
    }

    /// The method of its message; nothing for what is no request or notification.
    pub(crate) fn says(&self) -> Option<String> {
        Some(self.json()["method"].as_str()?.to_owned())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A server at a port, which can become another one without moving.
pub(crate) struct Web {
    pub(crate) origin: String,
    current: Arc<Mutex<Router>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Web {
    pub(crate) async fn serve(router: Router) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let current = Arc::new(Mutex::new(router));
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (routers, notes) = (Arc::clone(&current), Arc::clone(&seen));
        let all = Router::new().fallback(move |request: Request| {
            let (routers, notes) = (Arc::clone(&routers), Arc::clone(&notes));
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                notes.lock().unwrap().push(Seen {
                    method: head.method.clone(),
                    path: head.uri.to_string(),
                    headers: head.headers.clone(),
                    body: body.clone(),
                });
                let router = routers.lock().unwrap().clone();
                router.oneshot(Request::from_parts(head, Body::from(body))).await.unwrap()
            }
        });
        tokio::spawn(async move { axum::serve(listener, all).await });
        Self { origin, current, seen }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// Is another server from now on.
    pub(crate) fn become_another(&self, router: Router) {
        *self.current.lock().unwrap() = router;
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How often it was sent a message of this method.
    pub(crate) fn count(&self, method: &str) -> usize {
        self.seen().iter().filter(|seen| seen.says().as_deref() == Some(method)).count()
    }
}

/// Which protocol a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// With a handshake, at `/mcp`.
    Handshake,
    /// Without, at `/mcp`.
    Stateless,
    /// HTTP+SSE, at `/sse`.
    HttpSse,
}

impl Speaks {
    pub(crate) const ALL: [Self; 3] = [Self::Handshake, Self::Stateless, Self::HttpSse];

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Handshake | Self::Stateless => "/mcp",
            Self::HttpSse => "/sse",
        }
    }

    /// The scripted server as one that speaks this alone.
    pub(crate) fn server(self) -> Router {
        let service: Arc<dyn McpService> = Arc::new(Scripted::default());
        let endpoints = endpoints(service);
        match self {
            Self::Stateless => endpoints.router("/"),
            Self::HttpSse => Router::new()
                .route("/sse", endpoints.sse())
                .route("/messages", endpoints.messages()),
            Self::Handshake => {
                Router::new().route("/mcp", endpoints.mcp()).layer(axum::middleware::from_fn(
                    async |request: Request, next: axum::middleware::Next| {
                        // As servers of older revisions answer to what they never heard of.
                        if request.headers().contains_key("mcp-method") {
                            return (StatusCode::BAD_REQUEST, "no valid session").into_response();
                        }
                        next.run(request).await
                    },
                ))
            }
        }
    }
}

fn endpoints(service: Arc<dyn McpService>) -> McpEndpoints {
    let mut settings = Settings::new("/messages");
    settings.keep_alive = Duration::from_millis(200);
    McpEndpoints::new(service, settings, None, CancellationToken::new(), Arc::new(SystemClock))
}

/// The gateway at a port. Whoever calls is who `X-Test-Person` says.
pub(crate) async fn in_front_of(gateway: &Arc<Gateway>) -> Web {
    let service: Arc<dyn McpService> = Arc::clone(gateway) as _;
    let somebody = async |mut request: Request, next: axum::middleware::Next| {
        let person = request.headers().get("x-test-person").map(|name| name.to_str().unwrap());
        if let Some(principal) = person.and_then(|name| caller(name).principal().cloned()) {
            request.extensions_mut().insert(principal);
        }
        next.run(request).await
    };
    let router = endpoints(service).router("/").layer(axum::middleware::from_fn(somebody));
    Web::serve(router).await
}

/// A client of one session, as `person`.
pub(crate) struct Person {
    http: reqwest::Client,
    url: String,
    headers: HeaderMap,
}

impl Person {
    pub(crate) async fn begin(web: &Web, person: &str, more: &[(&'static str, &str)]) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("x-test-person", person.parse().unwrap());
        headers.insert("accept", "application/json, text/event-stream".parse().unwrap());
        for (name, value) in more {
            headers.insert(*name, value.parse().unwrap());
        }
        let mut client = Self { http: reqwest::Client::new(), url: web.url("/mcp"), headers };
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {} });
        let answer = client.post("initialize", Some(0), params).await;
        let session = answer.headers()["mcp-session-id"].clone();
        client.headers.insert("mcp-session-id", session);
        client.post("notifications/initialized", None, json!({})).await;
        client
    }

    pub(crate) fn session(&self) -> String {
        self.headers["mcp-session-id"].to_str().unwrap().to_owned()
    }

    pub(crate) async fn post(
        &self,
        method: &str,
        id: Option<u64>,
        params: Value,
    ) -> reqwest::Response {
        let mut message = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        if let Some(id) = id {
            message["id"] = id.into();
        }
        let request = self.http.post(&self.url).headers(self.headers.clone()).json(&message);
        request.send().await.unwrap()
    }

    /// The stream of what belongs to no request, as it grows.
    pub(crate) async fn listen(&self) -> Arc<Mutex<String>> {
        let request = self.http.get(&self.url).headers(self.headers.clone());
        let mut stream = request.send().await.unwrap();
        assert_eq!(stream.status(), 200);
        let heard: Arc<Mutex<String>> = Arc::default();
        let writing = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok(Some(chunk)) = stream.chunk().await {
                writing.lock().unwrap().push_str(&String::from_utf8_lossy(&chunk));
            }
        });
        heard
    }
}

/// A response that is a stream of these pieces, and then ends.
pub(crate) fn stream_of(pieces: &[String]) -> Response {
    let pieces: Vec<_> =
        pieces.iter().map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece.clone()))).collect();
    let body = Body::from_stream(futures::stream::iter(pieces));
    ([("content-type", "text/event-stream")], body).into_response()
}

/// An event with this message.
pub(crate) fn event(message: &Value) -> String {
    format!("data: {message}\n\n")
}

/// A server whose greeting works, and whose calls `answer` answers.
pub(crate) fn greeting<F, A>(answer: F) -> Router
where
    F: Fn(Seen) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response> + Send,
{
    Router::new().fallback(move |request: Request| {
        let answer = answer.clone();
        async move {
            let seen = Seen::of(request).await;
            match seen.says().as_deref() {
                Some("server/discover") => {
                    (StatusCode::BAD_REQUEST, "no valid session").into_response()
                }
                Some("initialize") => {
                    let result = json!({
                        "protocolVersion": "2025-11-25",
                        "capabilities": { "tools": {} },
                        "serverInfo": { "name": "scripted", "version": "1" },
                    });
                    let body =
                        json!({ "jsonrpc": "2.0", "id": seen.json()["id"], "result": result });
                    ([("mcp-session-id", "their-session")], axum::Json(body)).into_response()
                }
                Some(method) if method.starts_with("notifications/") => {
                    StatusCode::ACCEPTED.into_response()
                }
                _ => answer(seen).await,
            }
        }
    })
}

/// A server without a handshake, whose requests `answer` answers.
pub(crate) fn stateless<F, A>(answer: F) -> Router
where
    F: Fn(Seen) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response> + Send,
{
    Router::new().fallback(move |request: Request| {
        let answer = answer.clone();
        async move {
            let seen = Seen::of(request).await;
            if seen.says().as_deref() != Some("server/discover") {
                return answer(seen).await;
            }
            let result =
                json!({ "supportedVersions": ["2026-07-28"], "capabilities": { "tools": {} } });
            axum::Json(result_of(&seen, &result)).into_response()
        }
    })
}

/// The answer to a request that was seen.
pub(crate) fn result_of(seen: &Seen, result: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": seen.json()["id"], "result": result })
}
