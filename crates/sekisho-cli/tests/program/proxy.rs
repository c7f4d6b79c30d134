//! A reverse proxy on loopback that passes on to a server, and does one thing wrong.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use http_body_util::BodyExt as _;
use tokio::task::JoinHandle;

use crate::harness::http;

/// What it does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    Nothing,
    /// Keeps an answer until it is whole.
    HoldsStreamsBack,
    /// Ends an answer after its first piece.
    CutsStreams,
    HidesChallenge,
    RewritesHost,
    /// Knows the well-known paths without a suffix alone.
    DropsSuffixedPaths,
    DropsAuthorization,
    AddsCors,
    DropsCors,
    AnswersPreflights,
    Forbids,
    /// Has nobody behind it.
    IsAlone,
    /// Says whom it passes on for, and nobody trusts it.
    IsNotTrusted,
}

/// A running proxy; it stops when dropped.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    serving: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Proxy {
    /// Listens, and passes on to `behind`.
    pub(crate) async fn start(behind: u16, wrong: Wrong) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let app = Router::new().fallback(pass_on).with_state((behind, wrong));
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Self { port, serving }
    }
}

async fn pass_on(State((behind, wrong)): State<(u16, Wrong)>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let is_suffixed = path.starts_with("/.well-known/") && path.matches('/').count() > 2;
    let is_preflight = parts.method == Method::OPTIONS;
    let refused = [
        (Wrong::IsAlone, true, StatusCode::BAD_GATEWAY),
        (Wrong::Forbids, path == "/mcp", StatusCode::FORBIDDEN),
        (Wrong::DropsSuffixedPaths, is_suffixed, StatusCode::NOT_FOUND),
        (Wrong::AnswersPreflights, is_preflight, StatusCode::METHOD_NOT_ALLOWED),
    ];
    let refused = refused.into_iter().find(|(does, when, _)| *does == wrong && *when);
    if let Some((_, _, status)) = refused {
        return status.into_response();
    }
    let mut headers = parts.headers;
    if wrong == Wrong::RewritesHost {
        headers.insert(header::HOST, format!("127.0.0.1:{behind}").parse().unwrap());
    }
    if wrong == Wrong::DropsAuthorization {
        headers.remove(header::AUTHORIZATION);
    }
    if wrong == Wrong::IsNotTrusted {
        headers.insert("x-forwarded-for", HeaderValue::from_static("203.0.113.9"));
    }
    let target = parts.uri.path_and_query().unwrap().as_str();
    let body = body.collect().await.unwrap().to_bytes();
    let sent = http().request(parts.method, format!("http://127.0.0.1:{behind}{target}"));
    let Ok(mut answer) = sent.headers(headers).body(body).send().await else {
        return StatusCode::BAD_GATEWAY.into_response();
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    response.headers_mut().remove(header::TRANSFER_ENCODING);
    let headers = response.headers_mut();
    if wrong == Wrong::HidesChallenge {
        headers.remove(header::WWW_AUTHENTICATE);
    }
    if wrong == Wrong::DropsCors {
        headers.remove(header::ACCESS_CONTROL_ALLOW_ORIGIN);
    }
    if wrong == Wrong::AddsCors {
        headers.append(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    *response.body_mut() = if wrong == Wrong::HoldsStreamsBack {
        Body::from(answer.bytes().await.unwrap())
    } else if wrong == Wrong::CutsStreams && path == "/healthz/stream" {
        Body::from(answer.chunk().await.unwrap().unwrap())
    } else {
        Body::from_stream(futures::stream::unfold(answer, async |mut answer| {
            let chunk = answer.chunk().await.transpose()?;
            Some((chunk, answer))
        }))
    };
    response
}
