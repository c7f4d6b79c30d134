//! The limit to measure against: axum, one SHA-256 of the bearer, one look-up in a hash map, and an
//! answer that never changes. It does not even read the request's body, so nothing that speaks MCP
//! can be faster on this server. A GET opens a stream that says one thing and then nothing, for
//! the memory of streams.

mod shared;
#[path = "shared/tokens.rs"]
mod tokens;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use clap::Parser;
use futures::{StreamExt, stream};
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};

use tokens::Tokens;

/// What to serve.
#[derive(Debug, Parser)]
struct Arguments {
    /// Address to listen on.
    #[arg(long)]
    listen: SocketAddr,
    /// The one token that opens the door.
    #[arg(long)]
    token: String,
    /// The answer to a call, as it goes out.
    #[arg(long)]
    answer: String,
    /// The `WWW-Authenticate` header of a 401.
    #[arg(long)]
    challenge: HeaderValue,
    /// The body of a 401, as it goes out.
    #[arg(long)]
    refusal: String,
}

#[derive(Debug)]
struct Bare {
    tokens: Tokens,
    answer: Bytes,
    challenge: HeaderValue,
    refusal: Bytes,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let bare = Bare {
        tokens: Tokens::only(&arguments.token),
        answer: arguments.answer.into(),
        challenge: arguments.challenge,
        refusal: arguments.refusal.into(),
    };
    let app = Router::new().route("/mcp", post(answer).get(open)).with_state(Arc::new(bare));
    shared::serve(arguments.listen, app).await
}

async fn answer(State(bare): State<Arc<Bare>>, headers: HeaderMap) -> Response {
    if bare.tokens.holder(&headers).is_some() {
        json(StatusCode::OK, bare.answer.clone())
    } else {
        let mut refusal = json(StatusCode::UNAUTHORIZED, bare.refusal.clone());
        refusal.headers_mut().insert(WWW_AUTHENTICATE, bare.challenge.clone());
        refusal
    }
}

async fn open(State(bare): State<Arc<Bare>>, headers: HeaderMap) -> Response {
    if bare.tokens.holder(&headers).is_none() {
        return json(StatusCode::UNAUTHORIZED, bare.refusal.clone());
    }
    let opening = Bytes::from_static(b"id: 1-0\ndata:\n\n");
    let chunks = stream::once(async { Ok::<_, Infallible>(opening) }).chain(stream::pending());
    let mut response = Response::new(Body::from_stream(chunks));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

fn json(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
