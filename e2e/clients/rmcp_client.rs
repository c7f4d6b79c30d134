//! rmcp's own client and OAuth: signs in, runs the one tool, says which version it speaks.
//!
//! The way of a program with a browser: prints `open URL`, waits at its redirect URI, and at last
//! prints one JSON object.
#![expect(clippy::print_stdout, reason = "the ring reads what it prints")]

use std::error::Error;

use axum::Router;
use axum::extract::RawQuery;
use axum::routing::get;
use clap::{Parser, ValueEnum};
use rmcp::model::{CallToolRequestParams, ProtocolVersion};
use rmcp::service::{ClientLifecycleMode, serve_client_with_lifecycle};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::auth::{AuthClient, AuthorizationRequest, OAuthState};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// What to connect to, and how.
#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long)]
    url: String,
    #[arg(long, value_enum)]
    mode: Mode,
    /// `http://localhost:PORT/callback`.
    #[arg(long)]
    redirect_uri: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    /// The handshake alone.
    Legacy,
    /// `server/discover`, and the handshake where that is not known.
    Auto,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let mut login = OAuthState::new(&arguments.url, None).await?;
    let request = AuthorizationRequest::new(&arguments.redirect_uri).with_client_name("rmcp");
    let mut arrivals = listen(&arguments.redirect_uri).await?;
    login.start_authorization(request).await?;
    println!("open {}", login.get_authorization_url().await?);
    let brought = arrivals.recv().await.ok_or("nobody came")?;
    login.handle_callback_url(&format!("{}?{brought}", arguments.redirect_uri)).await?;
    let manager = login.into_authorization_manager().ok_or("the login came to nothing")?;

    let transport = StreamableHttpClientTransport::with_client(
        AuthClient::new(reqwest::Client::new(), manager),
        StreamableHttpClientTransportConfig::with_uri(arguments.url),
    );
    let client = serve_client_with_lifecycle((), transport, lifecycle(arguments.mode)).await?;
    let version = client.peer_info().ok_or("the server did not say who it is")?;
    let tools = client.list_all_tools().await?;
    let name = tools.first().ok_or("there is no tool")?.name.clone();
    let result = client.call_tool(CallToolRequestParams::new(name)).await?;
    let result = serde_json::to_value(result)?;
    let said = serde_json::json!({
        "answer": result.pointer("/content/0/text"),
        "version": version.protocol_version,
    });
    println!("{said}");
    client.cancel().await?;
    Ok(())
}

fn lifecycle(mode: Mode) -> ClientLifecycleMode {
    match mode {
        Mode::Legacy => ClientLifecycleMode::Initialize,
        Mode::Auto => ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            legacy_version: None,
        },
    }
}

/// What browsers bring to the redirect URI: its query.
async fn listen(redirect_uri: &str) -> Result<mpsc::Receiver<String>, Box<dyn Error>> {
    let (bring, arrivals) = mpsc::channel(1);
    let (_, rest) = redirect_uri.split_once("://").ok_or("the redirect URI has no scheme")?;
    let (authority, path) = rest.split_once('/').ok_or("the redirect URI has no path")?;
    let listener = TcpListener::bind(authority).await?;
    let arrive = get(|RawQuery(query): RawQuery| async move {
        // Nobody waits any more for a second one.
        let _ = bring.send(query.unwrap_or_default()).await;
        "arrived"
    });
    let app = Router::new().route(&format!("/{path}"), arrive);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(arrivals)
}
