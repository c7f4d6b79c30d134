//! The least that can be called a gateway, to measure ours against: axum, and a client with a pool of
//! kept connections. It reads no body, checks no token, and passes on what comes, both ways.

mod shared;

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::Parser;
use http::header::HOST;
use http::uri::{Authority, Scheme};
use http::{StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// What to serve.
#[derive(Debug, Parser)]
struct Arguments {
    /// Address to listen on.
    #[arg(long)]
    listen: SocketAddr,
    /// Who answers: host and port.
    #[arg(long)]
    to: Authority,
}

#[derive(Debug, Clone)]
struct Onward {
    client: Client<HttpConnector, Body>,
    to: Authority,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let app = Router::new()
        .route("/healthz", get(StatusCode::NO_CONTENT))
        .fallback(pass)
        .with_state(Onward { client, to: arguments.to });
    shared::serve(arguments.listen, app).await
}

async fn pass(State(onward): State<Onward>, mut request: Request) -> Response {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(onward.to);
    let Ok(uri) = Uri::from_parts(parts) else { return StatusCode::BAD_REQUEST.into_response() };
    *request.uri_mut() = uri;
    request.headers_mut().remove(HOST);
    match onward.client.request(request).await {
        Ok(response) => response.map(Body::new),
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}
