//! The least that can be called an authorization server, to measure sign-ins against: the same
//! requests and the same identity provider, maps in memory, and no rules. It believes everything,
//! limits nothing, checks no signature and forgets all when it ends.

mod shared;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Parser;
use http::StatusCode;
use http::header::{LOCATION, SET_COOKIE};
use serde_json::{Value, json};

/// What to serve.
#[derive(Debug, Parser)]
struct Arguments {
    /// Address to listen on.
    #[arg(long)]
    listen: SocketAddr,
    /// The provider's issuer.
    #[arg(long)]
    provider: String,
    /// Our name there.
    #[arg(long)]
    client_id: String,
    /// Our secret there.
    #[arg(long)]
    client_secret: String,
}

/// Everything, by random names.
#[derive(Debug)]
struct Minimal {
    provider: String,
    client_id: String,
    client_secret: String,
    callback: String,
    http: reqwest::Client,
    clients: Mutex<HashMap<String, serde_json::Map<String, Value>>>,
    requests: Mutex<HashMap<String, Parameters>>,
    logins: Mutex<HashMap<String, Parameters>>,
    codes: Mutex<HashMap<String, String>>,
    access: Mutex<HashMap<String, String>>,
    refresh: Mutex<HashMap<String, String>>,
}

type Parameters = HashMap<String, String>;
type Shared = State<Arc<Minimal>>;
type Fault = (StatusCode, String);

/// Guards nothing: there is one verifier for all, as there is no attacker.
const CODE_VERIFIER: &str = "a-verifier-that-guards-nothing-but-a-benchmark";
const CODE_CHALLENGE: &str = "fNC0C4nHpumxoUtoK0wFXAZjA-3eybr6hn_szSD8TgI";

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let port = arguments.listen.port();
    let minimal = Minimal {
        provider: arguments.provider,
        client_id: arguments.client_id,
        client_secret: arguments.client_secret,
        callback: format!("http://localhost:{port}/auth/callback"),
        http: reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .build()
            .map_err(std::io::Error::other)?,
        clients: Mutex::default(),
        requests: Mutex::default(),
        logins: Mutex::default(),
        codes: Mutex::default(),
        access: Mutex::default(),
        refresh: Mutex::default(),
    };
    let app = Router::new()
        .route("/register", post(register))
        .route("/authorize", get(authorize))
        .route("/consent", post(consent))
        .route("/auth/callback", get(callback))
        .route("/token", post(token))
        .with_state(Arc::new(minimal));
    shared::serve(arguments.listen, app).await
}

async fn register(
    State(minimal): Shared,
    Json(mut metadata): Json<serde_json::Map<String, Value>>,
) -> Response {
    let id = random();
    metadata.insert("client_id".to_owned(), id.clone().into());
    lock(&minimal.clients).insert(id, metadata.clone());
    (StatusCode::CREATED, Json(metadata)).into_response()
}

async fn authorize(State(minimal): Shared, Query(asked): Query<Parameters>) -> Response {
    let client = asked.get("client_id").map(String::as_str).unwrap_or_default();
    if !lock(&minimal.clients).contains_key(client) {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let consent = random();
    let page = format!(
        r#"<form action="/consent" method="post"><input name="consent" value="{consent}"></form>"#
    );
    lock(&minimal.requests).insert(consent.clone(), asked);
    ([(SET_COOKIE, format!("browser={consent}"))], Html(page)).into_response()
}

async fn consent(State(minimal): Shared, Form(form): Form<Parameters>) -> Response {
    let consent = form.get("consent").map(String::as_str).unwrap_or_default();
    let Some(asked) = lock(&minimal.requests).remove(consent) else {
        return StatusCode::FORBIDDEN.into_response();
    };
    let state = random();
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("response_type", "code")
        .append_pair("client_id", &minimal.client_id)
        .append_pair("redirect_uri", &minimal.callback)
        .append_pair("scope", "openid email profile offline_access")
        .append_pair("state", &state)
        .append_pair("nonce", &random())
        .append_pair("code_challenge", CODE_CHALLENGE)
        .append_pair("code_challenge_method", "S256")
        .finish();
    lock(&minimal.logins).insert(state, asked);
    (StatusCode::SEE_OTHER, [(LOCATION, format!("{}/authorize?{query}", minimal.provider))])
        .into_response()
}

async fn callback(
    State(minimal): Shared,
    Query(answer): Query<Parameters>,
) -> Result<Response, Fault> {
    let parameter = |name: &str| answer.get(name).map(String::as_str).unwrap_or_default();
    let asked = lock(&minimal.logins).remove(parameter("state")).ok_or_else(|| fault("state"))?;
    let form = [
        ("grant_type", "authorization_code"),
        ("code", parameter("code")),
        ("redirect_uri", &minimal.callback),
        ("code_verifier", CODE_VERIFIER),
    ];
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let answer: Value = minimal
        .http
        .post(format!("{}/token", minimal.provider))
        .basic_auth(encode(&minimal.client_id), Some(encode(&minimal.client_secret)))
        .form(&form)
        .send()
        .await
        .map_err(fault)?
        .json()
        .await
        .map_err(fault)?;
    let id_token = answer.get("id_token").and_then(Value::as_str);
    let id_token = id_token.ok_or_else(|| fault("no id_token"))?;
    let code = random();
    lock(&minimal.codes).insert(code.clone(), id_token.to_owned());
    let parameter = |name: &str| asked.get(name).map(String::as_str).unwrap_or_default();
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("code", &code)
        .append_pair("state", parameter("state"))
        .finish();
    let location = format!("{}?{query}", parameter("redirect_uri"));
    Ok((StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response())
}

async fn token(State(minimal): Shared, body: Bytes) -> Response {
    let form: Parameters = form_urlencoded::parse(&body).into_owned().collect();
    let parameter = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let who = match parameter("grant_type") {
        "refresh_token" => lock(&minimal.refresh).remove(parameter("refresh_token")),
        _ => lock(&minimal.codes).remove(parameter("code")),
    };
    let Some(who) = who else { return StatusCode::BAD_REQUEST.into_response() };
    let (access, refresh) = (random(), random());
    lock(&minimal.access).insert(access.clone(), who.clone());
    lock(&minimal.refresh).insert(refresh.clone(), who);
    Json(json!({
        "access_token": access,
        "refresh_token": refresh,
        "token_type": "Bearer",
        "expires_in": 3600,
        "scope": "fortune",
    }))
    .into_response()
}

/// 32 random bytes as text.
fn random() -> String {
    let mut bytes = [0; 32];
    // A benchmark without randomness would fail soon enough.
    let _ = getrandom::fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
fn fault(reason: impl ToString) -> Fault {
    (StatusCode::BAD_GATEWAY, reason.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
